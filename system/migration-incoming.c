/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-incoming.h"
#include "balloon/discard.h"
#include "block/jobs/job.h"
#include "control/control.h"
#include "io/co-lock.h"
#include "io/timer.h"
#include "migration/stream.h"
#include "migration/target.h"
#include "net/net.h"
#include "system/migration-channels.h"
#include "system/migration-images.h"
#include "system/migration-settings.h"
#include "system/migration-status.h"
#include "system/sections.h"
#include "system/vcpu.h"
#include "tools/complain.h"
#include <unistd.h>

/* How long the program's end waits for memory: less than it may take at all. */
#define MEMORY_NS (INT64_C(4500) * 1000000)

static struct {
    Machine *machine;
    char *uri;
    bool is_awaited, has_uri, is_ending;
    bool is_loading;          /* what comes is a stream: there is no other try */
    bool is_partial;          /* the guest runs, and memory is missing */
    bool lacks_memory;        /* from before it runs until all has come */
    CoQueue whole;            /* wakes whoever waits for the end of .lacks_memory, or .is_ending */
    CoQueue recovered;        /* wakes whoever waits for .has_uri or .is_ending */
    json_t *addresses;        /* on which the guest is awaited; NULL: on none */
    Transport *transport;     /* NULL: there is none now */
    MultifdReceive *multifd;  /* NULL: likewise */
    Hold *stays;              /* memory must not be discarded while it comes; NULL: it may */
    int64_t part_ended;       /* when the last part of memory was here; 0: none was */
    Stages stages;
    Blocktime *blocktime;     /* NULL: it is not measured */
    CoGroup running;
} in;

bool incoming_is_awaited(void)
{
    return in.is_awaited;
}

json_t *incoming_addresses(void)
{
    return in.addresses;
}

const Stages *incoming_stages(void)
{
    return &in.stages;
}

const Blocktime *incoming_blocktime(void)
{
    return in.blocktime;
}

static void channel_failed(void *opaque)
{
    transport_interrupt(in.transport);
}

/* What belongs to the guest that comes. */
typedef struct {
    RamBlocks ram;
    CarriedState carried;
    bool runs; /* before all of its memory is here */
} Guest;

/* Its images become ours at the latest when it runs. */
static CO bool take_over(const Guest *g, GError **err)
{
    bool runs = g->carried.state == STATE_RUNNING ||
                (g->carried.state == STATE_PRELAUNCH && !g->carried.has_come);
    bool starts = runs && run_state_guest_starts();
    AnnounceParameters how = migration_announcement();

    machine_ram_received(in.machine, &g->ram);
    in.is_awaited = false;
    /* What the source has written meanwhile is read anew. */
    if ((starts || !migration_has(MIGRATION_CAPABILITY_LATE_BLOCK_ACTIVATE)) &&
        !migration_images_take(err))
        return false;
    stages_mark(&in.stages, "images", NULL);
    run_state_stop(runs ? STATE_PAUSED : g->carried.state);
    if (starts)
        run_state_start();
    netdev_announce(&how);
    stages_mark(&in.stages, "start", NULL);
    return true;
}

/* Port scanners and health checks connect too: as long as nothing was loaded the wait goes on. */
static void tell_dropped(const GError *why)
{
    complain("a client was disconnected, and the guest is still awaited: %s", why->message);
}

/* ---- postcopy -------------------------------------------------------------------------------- */

static CO void lend(void *opaque, Loop *loop)
{
    in.lacks_memory |= loop != NULL;
    transport_lend(in.transport, loop);
}

/* Devices look for it from now on, or try again what they could not do without it. */
static void arrived(void *opaque)
{
    machine_lock();
    for (guint i = 0; i < in.machine->devices->len; i++) {
        Device *d = in.machine->devices->pdata[i];

        if (d->cls->arrived)
            d->cls->arrived(d);
    }
    machine_unlock();
}

static void lack(void *opaque, MemoryHereFn *here, void *postcopy)
{
    machine_lock();
    memory_map_lack(in.machine->board.memory, here, postcopy);
    machine_unlock();
    arrived(NULL);
}

static void interrupt(void *opaque)
{
    transport_interrupt(in.transport);
}

static CO ssize_t read_stream(void *opaque, void *buf, size_t len)
{
    return transport_read(in.transport, buf, len);
}

static CO int reply(void *opaque, const void *buf, size_t len)
{
    return transport_write(in.transport, buf, len);
}

static void measure_waits(void)
{
    const GPtrArray *vcpus = in.machine->vcpus;
    g_autofree int *threads = g_new(int, vcpus->len);

    for (guint i = 0; i < vcpus->len; i++)
        threads[i] = vcpu_thread_id(vcpus->pdata[i]);
    in.blocktime = blocktime_new(threads, vcpus->len);
}

static CO bool run_early(void *opaque, GError **err)
{
    Guest *g = opaque;

    in.stays = discard_deny("migration", "Memory of the guest is on its way here (postcopy)");
    migration_set_status(MIGRATION_STATUS_POSTCOPY_ACTIVE);
    g->runs = in.is_partial = take_over(g, err);
    return g->runs;
}

/* Processors that wait for memory cannot be stopped, and must not go on without it. */
static void give_up_partial(const char *why)
{
    complain("The guest has ended, since memory that it needs has not come: %s", why);
    pid_file_remove();
    _exit(1);
}

static void lose_patience(Timer *t)
{
    give_up_partial("the program ends");
}

static CO bool listen_again(GError **err)
{
    Transport *t = in.transport = migration_transport_new(in.uri, false, err);

    g_clear_pointer(&in.addresses, json_decref);
    if (!t || !transport_listen(t, 0, &in.addresses, tell_dropped, err) || !transport_open(t, err))
        return false;
    transport_stop_listening(t);
    return transport_is_socket(t) || err_set(err, ENOTSUP, "Postcopy needs a socket");
}

static CO bool recover(void *opaque, const GError *reason)
{
    g_autoptr(GError) why = g_error_copy(reason);

    do {
        transport_free(g_steal_pointer(&in.transport));
        if (in.is_ending)
            give_up_partial(why->message);
        complain("postcopy is paused (to go on: 'migrate-recover' here, then 'migrate' with "
                 "'resume' at the source): %s", why->message);
        g_clear_error(&why);
        in.has_uri = false;
        migration_set_status(MIGRATION_STATUS_POSTCOPY_PAUSED);
        while (!in.has_uri && !in.is_ending)
            co_queue_wait(&in.recovered);
        if (in.is_ending)
            give_up_partial("no source has connected");
        migration_set_status(MIGRATION_STATUS_SETUP);
    } while (!listen_again(&why));
    migration_set_status(MIGRATION_STATUS_POSTCOPY_RECOVER);
    return true;
}

static void resumed(void *opaque)
{
    migration_set_status(MIGRATION_STATUS_POSTCOPY_ACTIVE);
}

/* ---- the stream ------------------------------------------------------------------------------ */

static CO bool read_all(Guest *g, GError **err)
{
    g_autoptr(GPtrArray) sections = machine_sections(in.machine, &g->carried, false);
    Transport *t = in.transport;
    g_auto(Input) input = { 0 };
    uint8_t uuid[16];
    TargetConfig config = {
        .machine = "microvm", .uuid = migration_carried_uuid(uuid), .ram = &g->ram,
        .sections = sections, .stages = &in.stages, .opaque = g,
        .reply = transport_is_socket(t) ? reply : NULL,
        .lend = migration_has(MIGRATION_CAPABILITY_POSTCOPY_RAM) ? lend : NULL,
        .lack = lack, .arrived = arrived, .interrupt = interrupt, .run = run_early,
        .recover = recover, .resumed = resumed,
    };

    g_clear_pointer(&in.blocktime, blocktime_free);
    if (migration_has(MIGRATION_CAPABILITY_POSTCOPY_BLOCKTIME))
        measure_waits();
    config.blocktime = in.blocktime;
    input_init(&input, read_stream, NULL);
    transport_set_known(t, false);
    if (!stream_is_one(&input) || (in.multifd && !multifd_receive_greeted(in.multifd, &input)))
        return input_report(&input, err);
    transport_set_known(t, true);
    transport_stop_listening(t);
    in.is_loading = true;
    migration_set_status(MIGRATION_STATUS_ACTIVE);
    return target_read(&input, &config, err);
}

static CO bool part_ended(RamBlocks *ram, Input *input)
{
    bool ok = !in.multifd || multifd_receive_sync(in.multifd, input);

    /* The guest stands still since the end of some part: the last but one will have been it. */
    stages_begin(&in.stages, in.part_ended ? in.part_ended : clock_now_ns());
    stages_mark(&in.stages, "memory", NULL);
    in.part_ended = in.stages.last;
    return ok;
}

static CO bool receive_from(Guest *g, GError **err)
{
    bool ok = true;

    ram_blocks_clear(&g->ram);
    ram_blocks_init(&g->ram);
    machine_ram_blocks(in.machine, &g->ram, false);
    g->ram.part_ended = part_ended;
    if (migration_more_channels()) {
        in.multifd = migration_multifd_receive(&g->ram, channel_failed, NULL);
        ok = migration_accept_more(in.transport, in.multifd, err);
    }
    ok = ok && read_all(g, err);
    /* The channel's own fault tells more than what the main stream lacks for it. */
    if (in.multifd && !ok)
        multifd_receive_error(in.multifd, err);
    multifd_receive_free(g_steal_pointer(&in.multifd));
    return ok;
}

static CO bool receive(Guest *g, GError **err)
{
    Transport *t = in.transport = migration_transport_new(in.uri, false, err);
    bool ok;

    if (!t || !transport_listen(t, migration_more_channels(), &in.addresses, tell_dropped, err))
        return false;
    for (;;) {
        g_autoptr(GError) why = NULL;

        ok = transport_open(t, &why) && receive_from(g, &why);
        if (ok)
            break;
        if (in.is_loading || in.is_ending || !transport_is_listening(t)) {
            g_propagate_error(err, g_steal_pointer(&why));
            break;
        }
        tell_dropped(why);
        transport_drop(t);
    }
    transport_free(g_steal_pointer(&in.transport));
    return ok;
}

/* ---- life ------------------------------------------------------------------------------------ */

static CO void await_guest(void *arg)
{
    g_autoptr(GError) err = NULL;
    Guest g = { .carried = { .state = STATE_RUNNING } };
    bool ok = receive(&g, &err) && (g.runs || take_over(&g, &err));

    ram_blocks_clear(&g.ram);
    in.is_partial = in.lacks_memory = false;
    co_queue_wake_all(&in.whole);
    discard_allow(g_steal_pointer(&in.stays));
    migration_set_status(ok ? MIGRATION_STATUS_COMPLETED : MIGRATION_STATUS_FAILED);
    if (ok || in.is_ending)
        return;
    complain("load of migration failed: %s", err->message);
    run_state_fail();
}

bool incoming_receive(const char *uri, GError **err)
{
    if (!in.is_awaited)
        return err_set(err, EINVAL, "'-incoming' was not specified on the command line");
    if (in.has_uri)
        return err_set(err, EINVAL, "The incoming migration has already been started");
    if (migration_has(MIGRATION_CAPABILITY_POSTCOPY_RAM) && in.machine->memory->fd >= 0)
        return err_set(err, ENOTSUP, "Postcopy needs anonymous memory, and '%s' is a file",
                       in.machine->memory->id);
    if (!migration_check_uri(uri, err))
        return false;
    in.has_uri = true;
    in.uri = g_strdup(uri);
    migration_set_status(MIGRATION_STATUS_SETUP);
    co_group_start(&in.running, await_guest, NULL);
    return true;
}

bool incoming_is_partial(void)
{
    return in.is_partial;
}

bool incoming_memory_is_here(GError **err)
{
    return !in.lacks_memory ||
           err_set(err, EBUSY, "Memory of the guest is still on its way here (postcopy)");
}

CO bool incoming_await_memory(void)
{
    while (in.lacks_memory && !in.is_ending)
        co_queue_wait(&in.whole);
    return !in.lacks_memory;
}

bool incoming_may_stop(GError **err)
{
    return !in.is_partial || migration_status() == MIGRATION_STATUS_POSTCOPY_ACTIVE ||
           err_set(err, EBUSY,
                   "No memory comes, and processors that wait for it cannot be stopped: "
                   "use 'migrate-recover' here and 'migrate' with 'resume' at the source first");
}

void incoming_pause(void)
{
    if (in.transport)
        transport_interrupt(in.transport);
}

bool incoming_recover(const char *uri, GError **err)
{
    if (!in.is_partial || migration_status() != MIGRATION_STATUS_POSTCOPY_PAUSED)
        return err_set(err, EINVAL, "Migrate recover can only be run when postcopy is paused.");
    if (!migration_check_uri(uri, err))
        return false;
    g_free(in.uri);
    in.uri = g_strdup(uri);
    in.has_uri = true;
    co_queue_wake_all(&in.recovered);
    return true;
}

void incoming_begin(Machine *m)
{
    in.machine = m;
    in.is_awaited = true;
}

/*
 * The memory may never come, and then the end is not orderly: what the guest was told is written
 * has to be stored before.
 */
static CO void store_images(void)
{
    run_state_halt_devices();
    jobs_cancel_all(); /* an image that a job works on cannot be stored */
    migration_images_store();
}

CO void incoming_end(void)
{
    Timer patience = { .expired = lose_patience };
    int64_t end = clock_now_ns() + MEMORY_NS;

    if (in.is_partial) {
        store_images();
        timer_set(&patience, end);
    }
    in.is_ending = true;
    /* Processors end when the memory is here that they wait for. */
    if (in.transport && migration_status() != MIGRATION_STATUS_POSTCOPY_ACTIVE)
        transport_interrupt(in.transport);
    co_queue_wake_all(&in.recovered);
    co_queue_wake_all(&in.whole);
    if (in.multifd)
        multifd_receive_interrupt(in.multifd);
    co_group_wait(&in.running);
    timer_cancel(&patience);
    json_decref(in.addresses);
    g_free(in.uri);
    stages_clear(&in.stages);
    g_clear_pointer(&in.blocktime, blocktime_free);
}
