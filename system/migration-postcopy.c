/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-postcopy.h"
#include "migration/postcopy-source.h"
#include "migration/return-path.h"
#include "migration/wire.h"
#include "system/migration-images.h"
#include "system/migration-passes.h"
#include "system/migration-status.h"
#include "system/migration-switchover.h"
#include "system/sections.h"
#include "util/err.h"

/* What the target says while its guest runs. */
typedef struct {
    Outgoing *o;
    bool is_done;    /* it has got everything */
    GError *err;
} Answers;

static CO bool hear(Answers *a)
{
    ReturnMessage m;

    if (!return_message_read(transport_read, a->o->transport, &m, &a->err))
        return false;
    switch (m.message) {
    case RETURN_SHUT:
        a->is_done = !m.value;
        return a->is_done || err_set(&a->err, EIO, "The target could not load the stream");
    case RETURN_PONG:
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
        transport_interrupt(o->transport);
    co_group_wait(&hearing);
    passes_note_progress(o);
    if (answers.err) {
        g_clear_error(err);
        g_propagate_error(err, answers.err);
        return false;
    }
    return ok && (r >= 0 || err_set_errno(err, r, "The stream cannot be written"));
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
    if (!send_package(o, sections, err))
        return false;
    stages_mark(&o->stages, "send", NULL);
    o->figures.before_postcopy = source_bytes(&o->source);
    o->figures.downtime_ns = clock_now_ns() - o->figures.stopped;
    return send_memory(o, err);
}
