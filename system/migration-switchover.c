/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-switchover.h"
#include "block/jobs/job.h"
#include "migration/return-path.h"
#include "migration/wire.h"
#include "system/base/lock.h"
#include "system/migration-images.h"
#include "system/migration-passes.h"
#include "system/migration-settings.h"
#include "system/migration-status.h"
#include "system/sections.h"
#include "tools/complain.h"
#include "util/err.h"

static CO bool await_continue(Outgoing *o, GError **err)
{
    if (!migration_has(MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER))
        return true;
    migration_set_status(MIGRATION_STATUS_PRE_SWITCHOVER);
    o->may_continue = false;
    while (!o->may_continue && !o->is_cancelled)
        co_queue_wait(&o->continued);
    if (!passes_may_go_on(o, err))
        return false;
    migration_set_status(MIGRATION_STATUS_DEVICE);
    return true;
}

/*
 * Jobs use images that the target is about to take over. They may run until the switch-over: a
 * mirror to the target's disk ends in the pause before it.
 */
static bool check_jobs(GError **err)
{
    g_autoptr(GString) all = g_string_new(NULL);
    const Job *j;

    for (unsigned i = 0; (j = job_at(i)); i++)
        if (j->drv->is_block && j->status != JOB_STATUS_CONCLUDED)
            g_string_append_printf(all, "%s'%s' (%s)", all->len ? ", " : "", j->id ? j->id : "",
                                   job_type_enum.names[j->drv->type]);
    return !all->len || err_set(err, EBUSY, "The guest cannot leave while jobs run: %s", all->str);
}

/* ---- devices --------------------------------------------------------------------------------- */

/* Devices are saved with the lock held, with which nobody may wait: they are written to memory. */
static CO int keep_in_memory(void *opaque, const struct iovec *iov, int niov)
{
    for (int i = 0; i < niov; i++)
        g_byte_array_append(opaque, iov[i].iov_base, iov[i].iov_len);
    return 0;
}

/* Until the end mark is on its way nobody else can run the guest; from then on the target may. */
static CO int send_kept(Outgoing *o, const GByteArray *bytes)
{
    size_t rest = o->source.out.total - o->source.end, devices = bytes->len - rest;
    int r = transport_write(o->transport, bytes->data, devices);

    if (r < 0)
        return r;
    o->is_handed_over = transport_is_socket(o->transport);
    return transport_write(o->transport, bytes->data + devices, rest);
}

CO int switchover_collect(Outgoing *o, CO int (*put)(MigSource *s, const GPtrArray *sections),
                          const GPtrArray *sections, GByteArray *bytes)
{
    MigSource *s = &o->source;
    int r = output_flush(&s->out);

    s->out.write = keep_in_memory;
    s->out.opaque = bytes;
    machine_lock();
    r = r ? r : put(s, sections);
    machine_unlock();
    s->out.write = transport_writev;
    s->out.opaque = o->transport;
    return r;
}

static CO int send_devices(Outgoing *o, const GPtrArray *sections)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    int r = switchover_collect(o, source_finish, sections, bytes);

    return r ? r : send_kept(o, bytes);
}

/* The target says whether it has got everything. */
static CO bool await_answer(Outgoing *o, GError **err)
{
    ReturnMessage m;

    do {
        if (!return_message_read(transport_read, o->transport, &m, err))
            return false;
    } while (m.message == RETURN_PONG);
    if (m.message != RETURN_SHUT)
        return err_set(err, EINVAL, "The target asks for memory that it has");
    if (!m.value)
        return true;
    o->is_handed_over = false;
    return err_set(err, EIO, "The target could not load the stream");
}

/* ---- both ways ------------------------------------------------------------------------------- */

CO bool switchover_await(Outgoing *o, GError **err)
{
    if (!await_continue(o, err) || !check_jobs(err))
        return false;
    if (migration_has(MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER))
        stages_mark(&o->stages, "pre-switchover", NULL);
    return true;
}

CO bool switchover(Outgoing *o, MachineState before, GError **err)
{
    CarriedState carried = { .state = before };
    g_autoptr(GPtrArray) sections = machine_sections(o->machine, &carried, true);
    int r;

    o->figures.before_stop = source_bytes(&o->source);
    if (!switchover_await(o, err) || !passes_send_rest(o, err))
        return false;
    stages_mark(&o->stages, "memory", NULL);
    if (!migration_images_leave(err))
        return false;
    stages_mark(&o->stages, "images", NULL);
    r = send_devices(o, sections);
    passes_note_progress(o);
    stages_mark(&o->stages, "send", NULL);
    if (r < 0)
        return err_set_errno(err, r, "The stream cannot be written");
    if (o->has_return_path && !await_answer(o, err))
        return false;
    r = transport_finish(o->transport);
    stages_mark(&o->stages, "end", NULL);
    /* From here on the guest is the target's. */
    return r >= 0 || err_set_errno(err, r, "The stream may not have arrived");
}

CO void switchover_take_back(Outgoing *o, MachineState before)
{
    g_autoptr(GError) err = NULL;

    if (o->is_handed_over) {
        run_state_stop(STATE_POSTMIGRATE);
        return;
    }
    if (!migration_images_are_ours() && !migration_images_take(&err)) {
        complain("The guest stays stopped, since its images cannot be had again: %s", err->message);
        run_state_stop(STATE_PAUSED);
        return;
    }
    if (run_state() != STATE_FINISH_MIGRATE)
        return;
    if (before == STATE_RUNNING)
        run_state_start();
    else
        run_state_stop(before);
}
