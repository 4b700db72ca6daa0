/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-postcopy.h"
#include "migration/postcopy-source.h"
#include "migration/return-path.h"
#include "migration/wire.h"
#include "system/migration-channels.h"
#include "system/migration-images.h"
#include "system/migration-passes.h"
#include "system/migration-settings.h"
#include "system/migration-status.h"
#include "system/migration-switchover.h"
#include "system/sections.h"
#include "tools/complain.h"
#include "util/err.h"

#define LAST_WORDS_NS INT64_C(1000000000)
#define LOOK_NS INT64_C(5000000)

/* What the target says while its guest runs. */
typedef struct {
    Outgoing *o;
    bool is_done;    /* it has got everything */
    GError *err;
} Answers;

static CO bool hear(Answers *a)
{
    bool is_shared = a->o->machine->board.ram_is_shared;
    ReturnMessage m;

    if (!return_message_read(transport_read, a->o->transport, &m, &a->err))
        return false;
    switch (m.message) {
    case RETURN_SHUT:
        a->is_done = !m.value;
        if (a->is_done && migration_has(MIGRATION_CAPABILITY_RELEASE_RAM))
            release_rest(&a->o->release, &a->o->source, is_shared);
        /* The command that starts the guest comes after this ping: it has not been read. */
        if (!a->is_done && !a->o->may_run_there)
            a->o->is_handed_over = false;
        return a->is_done || err_set(&a->err, EIO, "The target could not load the stream");
    case RETURN_PONG:
        a->o->may_run_there |= m.value == POSTCOPY_PING_RUN;
        release_answered(&a->o->release, &a->o->source, m.value, is_shared);
        return true;
    default:
        return source_want(&a->o->source, m.block, m.start, m.len) ||
               err_set(&a->err, EINVAL, "The target asks for memory that does not exist");
    }
}

static CO void hear_all(void *arg)
{
    Answers *a = arg;

    while (!a->is_done)
        if (!hear(a)) {
            transport_interrupt(a->o->transport);
            return;
        }
}

/* A target that has hung up may have said why: that is still to be heard. */
static CO void hear_last_words(Outgoing *o, const CoGroup *hearing)
{
    int64_t end = clock_now_ns() + LAST_WORDS_NS;

    while (hearing->running && !o->is_cancelled && clock_now_ns() < end)
        co_sleep(LOOK_NS);
    transport_interrupt(o->transport);
}

static CO bool send_memory(Outgoing *o, GError **err)
{
    Answers answers = { .o = o };
    CoGroup hearing = { 0 };
    int r = 0;
    bool ok;

    co_group_start(&hearing, hear_all, &answers);
    ok = passes_send_wanted(o, err);
    if (ok)
        r = postcopy_source_end(&o->source);
    if (!ok || r < 0)
        hear_last_words(o, &hearing);
    co_group_wait(&hearing);
    passes_note_progress(o);
    if (answers.err) {
        g_clear_error(err);
        g_propagate_error(err, answers.err);
        return false;
    }
    return ok && (r >= 0 || err_set_errno(err, r, "The stream cannot be written"));
}

/* The target may have failed before all of the package was written, and have said so. */
static CO void hear_refusal(Outgoing *o)
{
    Answers answers = { .o = o };
    CoGroup hearing = { 0 };

    co_group_start(&hearing, hear_all, &answers);
    hear_last_words(o, &hearing);
    co_group_wait(&hearing);
    g_clear_error(&answers.err);
}

/* The target may run the guest as soon as it has the end of the package. */
static CO bool send_package(Outgoing *o, const GPtrArray *sections, GError **err)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    int r = switchover_collect(o, postcopy_source_put_package, sections, bytes);

    r = r ? r : postcopy_source_announce_package(&o->source, bytes->len);
    if (r >= 0) {
        o->is_handed_over = true;
        r = transport_write(o->transport, bytes->data, bytes->len);
    }
    return r >= 0 || err_set_errno(err, r, "The stream cannot be written");
}

/* ---- another connection ---------------------------------------------------------------------- */

/* Waits until somebody says where the target is. False: it is cancelled, or the program ends. */
static CO bool await_resume(Outgoing *o, const GError *why)
{
    if (o->is_cancelled)
        return false;
    complain("postcopy is paused (to go on: 'migrate-recover' there, then 'migrate' with 'resume' "
             "here; 'migrate_cancel' if the target is gone): %s", why->message);
    g_clear_pointer(&o->resume_uri, g_free);
    migration_set_status(MIGRATION_STATUS_POSTCOPY_PAUSED);
    while (!o->resume_uri && !o->is_cancelled)
        co_queue_wait(&o->continued);
    return !o->is_cancelled;
}

static CO bool await_message(Outgoing *o, unsigned message, ReturnMessage *m, GError **err)
{
    do {
        if (!return_message_read(transport_read, o->transport, m, err))
            return false;
    } while (m->message != message && m->message != RETURN_SHUT);
    return m->message == message || err_set(err, EIO, "The target has ended");
}

/* All that the target does not have is pending. */
static CO bool compare_memory(Outgoing *o, GError **err)
{
    MigSource *s = &o->source;
    ReturnMessage m;

    for (guint i = 0; i < s->ram->blocks->len; i++) {
        const RamBlock *b = s->ram->blocks->pdata[i];
        g_autofree uint8_t *map = NULL;
        int r = postcopy_source_ask_received(s, b);

        if (r < 0)
            return err_set_errno(err, r, "The stream cannot be written");
        if (!await_message(o, RETURN_RECEIVED, &m, err))
            return false;
        if (strcmp(m.block, b->name))
            return err_set(err, EINVAL, "The target tells of memory '%s', not of '%s'", m.block,
                           b->name);
        map = return_map_read(transport_read, o->transport, b->size / RAM_PAGE_SIZE, err);
        if (!map)
            return false;
        postcopy_source_set_received(s, i, map);
    }
    return true;
}

static CO bool reconnect(Outgoing *o, GError **err)
{
    ReturnMessage m;
    int r;

    transport_free(g_steal_pointer(&o->transport));
    o->transport = migration_transport_new(o->resume_uri, true, err);
    if (!o->transport || !transport_open(o->transport, err))
        return false;
    migration_set_status(MIGRATION_STATUS_POSTCOPY_RECOVER);
    output_restart(&o->source.out, o->transport);
    if (!compare_memory(o, err) || !release_recover(&o->release, &o->source, err))
        return false;
    r = postcopy_source_resume(&o->source);
    if (r < 0)
        return err_set_errno(err, r, "The stream cannot be written");
    if (!await_message(o, RETURN_RESUMED, &m, err))
        return false;
    migration_set_status(MIGRATION_STATUS_POSTCOPY_ACTIVE);
    return true;
}

static CO bool send_all_memory(Outgoing *o, GError **err)
{
    g_autoptr(GError) why = NULL;
    bool ok = send_memory(o, &why);

    while (!ok) {
        if (!o->is_handed_over || !await_resume(o, why)) {
            g_propagate_error(err, g_steal_pointer(&why));
            return false;
        }
        g_clear_error(&why);
        o->may_run_there = true;
        ok = reconnect(o, &why) && send_memory(o, &why);
    }
    return true;
}

/* ---- all ------------------------------------------------------------------------------------- */

CO bool postcopy(Outgoing *o, MachineState before, GError **err)
{
    CarriedState carried = { .state = before };
    g_autoptr(GPtrArray) sections = machine_sections(o->machine, &carried, true);

    o->figures.before_stop = source_bytes(&o->source);
    if (!switchover_await(o, err))
        return false;
    if (migration_status() != MIGRATION_STATUS_POSTCOPY_ACTIVE)
        migration_set_status(MIGRATION_STATUS_POSTCOPY_ACTIVE);
    passes_begin_postcopy(o);
    stages_mark(&o->stages, "memory", NULL);
    if (!passes_may_go_on(o, err) || !migration_images_leave(err))
        return false;
    stages_mark(&o->stages, "images", NULL);
    postcopy_source_discard(&o->source);
    if (!send_package(o, sections, err)) {
        if (o->is_handed_over)
            hear_refusal(o);
        return false;
    }
    stages_mark(&o->stages, "send", NULL);
    o->figures.before_postcopy = source_bytes(&o->source);
    o->figures.downtime_ns = clock_now_ns() - o->figures.stopped;
    return send_all_memory(o, err);
}
