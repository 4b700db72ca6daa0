/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-outgoing.h"
#include "migration/postcopy-source.h"
#include "system/migration-channels.h"
#include "system/migration-passes.h"
#include "system/migration-postcopy.h"
#include "system/migration-settings.h"
#include "system/migration-status.h"
#include "system/migration-switchover.h"
#include "system/migration-throttle.h"
#include "system/sections.h"
#include "system/vcpu.h"
#include "util/err.h"
#include "util/hold.h"

static Outgoing out;
static CoGroup running;

const Outgoing *outgoing(void)
{
    return &out;
}

bool outgoing_memory_is_here(GError **err)
{
    MachineState state = run_state();

    /* In all other states it was filled anew since, by a reset or a snapshot. */
    return !out.release.gone || (state != STATE_FINISH_MIGRATE && state != STATE_POSTMIGRATE) ||
           err_set(err, EINVAL, "The guest has left, and its memory was given back (capability "
                   "'release-ram')");
}

/* Whoever waits for one of the connections soon fails. */
static void interrupt_transfer(void)
{
    if (out.transport)
        transport_interrupt(out.transport);
    if (out.multifd)
        multifd_send_interrupt(out.multifd);
}

static CO bool connect_all(Outgoing *o, GError **err)
{
    o->transport = migration_transport_new(o->uri, true, err);
    if (!o->transport || !transport_open(o->transport, err))
        return false;
    if (o->has_return_path && !transport_is_socket(o->transport))
        return err_set(err, ENOTSUP, "A return path needs a socket");
    if (!migration_more_channels())
        return true;
    o->multifd = migration_multifd_send();
    return migration_connect_more(o->transport, o->multifd, err);
}

static bool begin_xbzrle(Outgoing *o, GError **err)
{
    g_clear_pointer(&o->xbzrle, xbzrle_free);
    if (!migration_has(MIGRATION_CAPABILITY_XBZRLE))
        return true;
    o->xbzrle = xbzrle_new(migration_number("xbzrle-cache-size"), err);
    return o->xbzrle;
}

/* *@before: in what state the guest was when it had to stop. */
static CO bool send_guest(Outgoing *o, MachineState *before, GError **err)
{
    uint8_t uuid[16];

    source_begin(&o->source, "microvm", migration_carried_uuid(uuid));
    if (o->has_return_path)
        source_open_return_path(&o->source);
    if (o->plans_postcopy)
        postcopy_source_advise(&o->source);
    source_begin_ram(&o->source);
    o->figures.setup_ns = clock_now_ns() - o->figures.began;
    migration_set_status(MIGRATION_STATUS_ACTIVE);
    if (!passes_send_live(o, err))
        return false;
    throttle_end();
    o->figures.stopped = clock_now_ns();
    stages_begin(&o->stages, o->figures.stopped);
    *before = run_state();
    if (!machine_state_travels(*before))
        return err_set(err, EBUSY, "The guest has stopped in a state that streams do not carry");
    if (o->wants_postcopy)
        migration_set_status(MIGRATION_STATUS_POSTCOPY_ACTIVE);
    run_state_stop(STATE_FINISH_MIGRATE);
    stages_mark(&o->stages, "stop", NULL);
    return vcpus_check_read(o->machine, err) &&
           (o->wants_postcopy ? postcopy(o, *before, err) : switchover(o, *before, err));
}

static CO bool run_away(Outgoing *o, GError **err)
{
    MachineState before = run_state();
    g_auto(RamBlocks) ram = { 0 };
    bool ok;

    if (!connect_all(o, err) || !begin_xbzrle(o, err))
        return false;
    ram_blocks_init(&ram);
    machine_ram_blocks(o->machine, &ram, true);
    source_init(&o->source, &ram, transport_writev, o->transport);
    o->source.multifd = o->multifd;
    o->source.xbzrle = o->xbzrle;
    o->source.stages = &o->stages;
    passes_begin(o);
    ok = send_guest(o, &before, err);
    throttle_end();
    o->figures.ended = clock_now_ns();
    if (ok)
        run_state_stop(STATE_POSTMIGRATE);
    else
        switchover_take_back(o, before);
    if (ok && !o->figures.downtime_ns)
        o->figures.downtime_ns = o->figures.ended - o->figures.stopped;
    passes_end(o);
    source_clear(&o->source);
    return ok;
}

static CO void migrate_away(void *arg)
{
    Outgoing *o = &out;
    Hold *use = arg;
    g_autoptr(GError) err = NULL;
    bool ok = run_away(o, &err);

    if (!ok)
        interrupt_transfer();
    multifd_send_free(g_steal_pointer(&o->multifd));
    transport_free(g_steal_pointer(&o->transport));
    o->figures.ended = clock_now_ns();
    hold_release(use);
    if (ok) {
        migration_set_status(MIGRATION_STATUS_COMPLETED);
    } else if (o->is_cancelled && !o->is_handed_over) {
        migration_set_status(MIGRATION_STATUS_CANCELLED);
    } else {
        if (o->is_handed_over)
            err_prefix(&err, "The guest may be running at the target, so it stays stopped here%s: ",
                       o->release.gone ? "" : " until 'cont'");
        o->error = g_strdup(err->message);
        migration_set_status(MIGRATION_STATUS_FAILED);
    }
}

void outgoing_start(Machine *m, const char *uri)
{
    Hold *use = hold_take(&hold_migration, HOLD_USE, "migration", "a migration is under way", NULL);

    out.machine = m;
    g_free(out.uri);
    out.uri = g_strdup(uri);
    g_clear_pointer(&out.error, g_free);
    out.is_cancelled = out.is_handed_over = out.may_run_there = out.wants_postcopy = false;
    out.plans_postcopy = migration_has(MIGRATION_CAPABILITY_POSTCOPY_RAM);
    out.has_return_path = out.plans_postcopy || migration_has(MIGRATION_CAPABILITY_RETURN_PATH);
    release_clear(&out.release);
    out.figures = (OutgoingFigures){ .began = clock_now_ns() };
    stages_clear(&out.stages);
    migration_set_status(MIGRATION_STATUS_SETUP);
    co_group_start(&running, migrate_away, use);
}

void outgoing_cancel(void)
{
    bool is_paused = migration_status() == MIGRATION_STATUS_POSTCOPY_PAUSED;

    /*
     * The guest runs elsewhere: only its memory is here. The last resort is for a target that is
     * gone.
     */
    if (out.is_cancelled || (migration_is_postcopy() && !is_paused))
        return;
    out.is_cancelled = true;
    if (!is_paused)
        migration_set_status(MIGRATION_STATUS_CANCELLING);
    interrupt_transfer();
    co_queue_wake_all(&out.continued);
}

void outgoing_start_postcopy(void)
{
    out.wants_postcopy = true;
}

void outgoing_pause(void)
{
    interrupt_transfer();
}

void outgoing_resume(const char *uri)
{
    g_free(out.resume_uri);
    out.resume_uri = g_strdup(uri);
    co_queue_wake_all(&out.continued);
}

void outgoing_continue(void)
{
    out.may_continue = true;
    co_queue_wake_all(&out.continued);
}

CO void outgoing_end(void)
{
    out.is_cancelled = true;
    interrupt_transfer();
    co_queue_wake_all(&out.continued);
    co_group_wait(&running);
    g_free(out.uri);
    g_free(out.error);
    g_free(out.resume_uri);
    xbzrle_free(out.xbzrle);
    release_clear(&out.release);
    stages_clear(&out.stages);
}
