/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration.h"
#include "block/block.h"
#include "block/edit.h"
#include "block/jobs/job.h"
#include "block/monitor-nodes.h"
#include "hw/virtio/drives.h"
#include "io/co-lock.h"
#include "migration/forecast.h"
#include "migration/source.h"
#include "migration/target.h"
#include "migration/wire.h"
#include "system/accel.h"
#include "system/base/lock.h"
#include "system/base/ram-log.h"
#include "system/migration-channels.h"
#include "system/migration-settings.h"
#include "system/migration-throttle.h"
#include "system/sections.h"
#include "system/vcpu.h"
#include "tools/complain.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/hold.h"
#include <inttypes.h>

#define MS INT64_C(1000000)
/* Memory is sent in pieces so long that others are not kept waiting. */
enum { PIECE = 1 << 20, MULTIFD_PIECE_MAX = 64 << 20, SLICE_MS = 50, LOOK_MS = 500 };

static struct {
    Machine *machine;

    MigrationStatus status;
    bool has_begun, is_incoming, awaits_uri, is_cancelled, may_continue, needs_activation;
    bool is_handed_over;   /* the target may have the guest, and run it */
    char *uri, *error;
    json_t *addresses;     /* on which a guest is awaited */
    Transport *transport;  /* NULL: none yet */
    MultifdSend *multifd_send;
    MultifdReceive *multifd_receive;
    Xbzrle *xbzrle;        /* of the migration away that is under way, or was the last; NULL: none */
    Hold *use;             /* of hold_migration, while one is under way from here */
    CoGroup running;
    CoQueue continued;

    /* Of the last migration away. */
    int64_t began, ended, stopped, setup_ns, downtime_ns;
    int64_t slice_began;
    uint64_t slice_bytes;
    uint64_t transferred, multifd_bytes, before_stop, zero_pages, pages, remaining, total, passes, dirty_rate;
    double bandwidth;      /* bytes a second, of the last pass */
    double pass_rate;      /* bytes of memory a second that the pass under way gets through */
    int64_t collected;     /* when written pages were looked for last */
    uint64_t written;      /* pages that were found then */
    int64_t part_ended;    /* at the target: when the last part of memory was here */
    Stages stages;         /* of the guest's pause */
} mig;

static void set_status(MigrationStatus status)
{
    mig.status = status;
    if (migration_has(MIGRATION_CAPABILITY_EVENTS))
        event_migration(status);
}

bool migration_is_active(void)
{
    switch (mig.status) {
    case MIGRATION_STATUS_SETUP:
    case MIGRATION_STATUS_ACTIVE:
    case MIGRATION_STATUS_PRE_SWITCHOVER:
    case MIGRATION_STATUS_DEVICE:
    case MIGRATION_STATUS_CANCELLING:
        return true;
    default:
        return false;
    }
}

/* Whatever waits for a connection of the migration soon fails. */
static void interrupt_transfer(void)
{
    if (mig.transport)
        transport_interrupt(mig.transport);
    if (mig.multifd_send)
        multifd_send_interrupt(mig.multifd_send);
    if (mig.multifd_receive)
        multifd_receive_interrupt(mig.multifd_receive);
}

static CO void free_transfer(void)
{
    multifd_send_free(g_steal_pointer(&mig.multifd_send));
    multifd_receive_free(g_steal_pointer(&mig.multifd_receive));
    transport_free(g_steal_pointer(&mig.transport));
}

/* ---- images ---------------------------------------------------------------------------------- */

/* Images that the guest leaves to another program, or takes back. */
static CO bool set_images_active(bool active, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    monitor_nodes_set_active(edit, active);
    drives_set_active(edit, active);
    if (!edit_commit(edit, err))
        return false;
    mig.needs_activation = !active;
    return true;
}

CO bool migration_before_cont(GError **err)
{
    if (mig.is_incoming)
        return true;
    if (migration_is_active() && run_state() == STATE_FINISH_MIGRATE)
        return err_set(err, EBUSY, "The guest is about to leave; cancel the migration first");
    return !mig.needs_activation || set_images_active(true, err);
}

/* ---- what keeps a guest here ----------------------------------------------------------------- */

static bool check_holds(GError **err)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (const GList *l = hold_migration.deny.head; l; l = l->next)
        g_string_append_printf(all, "%s%s", all->len ? "; " : "", ((const Hold *)l->data)->reason);
    return !all->len || err_set(err, EBUSY, "The guest cannot be migrated: %s", all->str);
}

/*
 * Jobs use images that the target is about to take over. They may run until the switch-over: a mirror
 * to the target's disk ends in the pause before it.
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

/* ---- written memory -------------------------------------------------------------------------- */

static const Accel *accel(void)
{
    return mig.machine->config.accel;
}

static void begin_log(void *opaque)
{
    ram_log_begin(mig.machine->ram, mig.machine->config.ram_size);
    accel()->log_begin(mig.machine);
}

static void add_pending(void *opaque, size_t page)
{
    mig.written++;
    source_add_pending(opaque, page);
}

static void collect_log(void *opaque)
{
    accel()->log_sync(mig.machine);
    ram_log_collect(add_pending, opaque);
}

/* Looks for what was written since the last time, and how fast that goes. */
static CO void collect(MigSource *s)
{
    int64_t before = mig.collected;

    mig.written = 0;
    run_state_between(collect_log, s);
    mig.collected = clock_now_ns();
    mig.dirty_rate = mig.written * 1e9 / MAX(mig.collected - before, 1);
}

static void end_log(void *opaque)
{
    if (accel()->log_end)
        accel()->log_end(mig.machine);
    ram_log_end();
}

/* ---- sending memory -------------------------------------------------------------------------- */

static bool is_cancelled(GError **err)
{
    return mig.is_cancelled && (err_set(err, ECANCELED, "It was cancelled"), true);
}

static bool is_broken(const MigSource *s, GError **err)
{
    if (s->out.error)
        err_set_errno(err, s->out.error, "The stream cannot be written");
    return s->out.error;
}

static void note_progress(const MigSource *s)
{
    mig.transferred = source_bytes(s);
    mig.multifd_bytes = s->multifd ? multifd_send_bytes(s->multifd) : 0;
    mig.zero_pages = s->zero_pages;
    mig.pages = s->pages;
    mig.remaining = s->pending_pages * RAM_PAGE_SIZE;
}

/* Waits while more has been sent than the bandwidth allows, and lets others run. */
static CO void pace(const MigSource *s)
{
    uint64_t sent = source_bytes(s) - mig.slice_bytes;

    while (!mig.is_cancelled) {
        /* The limit may change while we wait. */
        uint64_t limit = migration_number("max-bandwidth");
        int64_t now = clock_now_ns(), due = now;

        if (limit && sent)
            due = mig.slice_began + (int64_t)MIN((unsigned __int128)sent * 1000000000 / limit,
                                                 (unsigned __int128)INT64_MAX / 4);
        if (due <= now)
            break;
        co_sleep(MIN(due - now, SLICE_MS * MS));
    }
    if (clock_now_ns() - mig.slice_began > SLICE_MS * MS) {
        mig.slice_began = clock_now_ns();
        mig.slice_bytes = source_bytes(s);
    }
    co_yield();
}

/* The end of each piece is a barrier for multifd's channels, so pieces are longer there. */
static uint64_t piece(const MigSource *s)
{
    uint64_t slice = migration_number("max-bandwidth") / 1000 * SLICE_MS;

    return !s->multifd ? PIECE : !slice ? MULTIFD_PIECE_MAX : CLAMP(slice, PIECE, MULTIFD_PIECE_MAX);
}

/* Sends all that is pending now. */
static CO bool send_pass(MigSource *s, GError **err)
{
    int64_t start = clock_now_ns(), end;
    uint64_t bytes = source_bytes(s), pages = s->pages + s->zero_pages;

    while (!source_ram(s, piece(s), false)) {
        if (is_broken(s, err) || is_cancelled(err))
            return false;
        pace(s);
        /* The first pass is long, and without a look at it nothing is known of what comes then. */
        if (s->is_first_pass && clock_now_ns() - mig.collected > LOOK_MS * MS)
            collect(s);
        note_progress(s);
        mig.pass_rate = (s->pages + s->zero_pages - pages) * (double)RAM_PAGE_SIZE * 1e9 /
                        MAX(clock_now_ns() - start, 1);
        if (s->is_first_pass)
            mig.bandwidth = (source_bytes(s) - bytes) * 1e9 / MAX(clock_now_ns() - start, 1);
    }
    note_progress(s);
    end = clock_now_ns();
    if (end > start)
        mig.bandwidth = (source_bytes(s) - bytes) * 1e9 / (end - start);
    return !is_broken(s, err) && !is_cancelled(err);
}

/* True if the rest can be sent while the guest stands still. */
static bool is_short_enough(void)
{
    uint64_t limit = migration_number("downtime-limit");

    return !run_state_is_running() || mig.remaining <= mig.bandwidth * limit / 1000;
}

/* Passes over memory while the guest runs, each over what was written during the one before. */
static CO bool send_live(MigSource *s, GError **err)
{
    do {
        uint64_t dirty, sent = source_bytes(s);

        mig.passes++;
        if (migration_has(MIGRATION_CAPABILITY_EVENTS))
            event_migration_pass(mig.passes);
        if (!send_pass(s, err))
            return false;
        collect(s);
        note_progress(s);
        source_begin_pass(s);
        dirty = s->pending_pages;
        if (migration_has(MIGRATION_CAPABILITY_AUTO_CONVERGE))
            throttle_after_pass(mig.machine, dirty * RAM_PAGE_SIZE, source_bytes(s) - sent);
    } while (!is_short_enough());
    return true;
}

/* ---- switching over -------------------------------------------------------------------------- */

static CO bool await_continue(GError **err)
{
    if (!migration_has(MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER))
        return true;
    set_status(MIGRATION_STATUS_PRE_SWITCHOVER);
    mig.may_continue = false;
    while (!mig.may_continue && !mig.is_cancelled)
        co_queue_wait(&mig.continued);
    if (is_cancelled(err))
        return false;
    set_status(MIGRATION_STATUS_DEVICE);
    return true;
}

/* Devices are saved with the lock held, with which nobody may wait: what they write stays in memory. */
static CO int keep_in_memory(void *opaque, const void *buf, size_t len)
{
    g_byte_array_append(opaque, buf, len);
    return 0;
}

/* Until the end mark is on its way nobody else can run the guest; from then on the target may. */
static CO int send_kept(const MigSource *s, const GByteArray *bytes)
{
    size_t rest = s->out.total - s->end, devices = bytes->len - rest;
    int r = transport_write(mig.transport, bytes->data, devices);

    if (r < 0)
        return r;
    mig.is_handed_over = transport_is_socket(mig.transport);
    return transport_write(mig.transport, bytes->data + devices, rest);
}

static CO int send_devices(MigSource *s, const GPtrArray *sections)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    int r = output_flush(&s->out);

    s->out.write = keep_in_memory;
    s->out.opaque = bytes;
    machine_lock();
    r = r ? r : source_finish(s, sections);
    machine_unlock();
    return r ? r : send_kept(s, bytes);
}

/* The target says whether it has got everything. */
static CO bool await_answer(Transport *t, GError **err)
{
    for (;;) {
        struct {
            be16 message, len;
            be32 value;
        } m;
        size_t have = 0;

        while (have < sizeof(m)) {
            ssize_t n = transport_read(t, (uint8_t *)&m + have, sizeof(m) - have);

            if (n <= 0)
                return err_set(err, EPIPE, "The target does not say that it has got everything");
            have += n;
        }
        if (be16_get(m.len) != sizeof(be32))
            return err_set(err, EINVAL, "The target sends a message of %u bytes", be16_get(m.len));
        if (be16_get(m.message) == RETURN_SHUT && be32_get(m.value)) {
            mig.is_handed_over = false;
            return err_set(err, EIO, "The target could not load the stream");
        }
        if (be16_get(m.message) == RETURN_SHUT)
            return true;
        if (be16_get(m.message) != RETURN_PONG)
            return err_set(err, EINVAL, "The target sends message %u", be16_get(m.message));
    }
}

static CO bool switch_over(MigSource *s, MachineState before, GError **err)
{
    CarriedState carried = { .state = before };
    g_autoptr(GPtrArray) sections = machine_sections(mig.machine, &carried, true);
    int r;

    mig.before_stop = source_bytes(s);
    if (!await_continue(err) || !check_jobs(err))
        return false;
    if (migration_has(MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER))
        stages_mark(&mig.stages, "pre-switchover", NULL);
    collect(s);
    mig.passes++;
    if (migration_has(MIGRATION_CAPABILITY_EVENTS))
        event_migration_pass(mig.passes);
    source_ram(s, 0, true);
    note_progress(s);
    stages_mark(&mig.stages, "memory", NULL);
    if (is_broken(s, err) || is_cancelled(err) || !set_images_active(false, err))
        return false;
    stages_mark(&mig.stages, "images", NULL);
    r = send_devices(s, sections);
    note_progress(s);
    stages_mark(&mig.stages, "send", NULL);
    if (r < 0)
        return err_set_errno(err, r, "The stream cannot be written");
    if (migration_has(MIGRATION_CAPABILITY_RETURN_PATH) && !await_answer(mig.transport, err))
        return false;
    r = transport_finish(mig.transport);
    stages_mark(&mig.stages, "end", NULL);
    /* From here on the guest is the target's. */
    return r >= 0 || err_set_errno(err, r, "The stream may not have arrived");
}

/* ---- a migration away ------------------------------------------------------------------------ */

static bool carries_uuid(const uint8_t uuid[16])
{
    static const uint8_t none[16];

    return migration_has(MIGRATION_CAPABILITY_VALIDATE_UUID) && memcmp(uuid, none, sizeof(none));
}

/* *@before: in what state the guest was when it had to stop. */
static CO bool send_guest(MigSource *s, MachineState *before, GError **err)
{
    uint8_t uuid[16];

    migration_guest_uuid(uuid);
    source_begin(s, "microvm", carries_uuid(uuid) ? uuid : NULL);
    if (migration_has(MIGRATION_CAPABILITY_RETURN_PATH))
        source_open_return_path(s);
    mig.setup_ns = clock_now_ns() - mig.began;
    set_status(MIGRATION_STATUS_ACTIVE);
    if (!send_live(s, err))
        return false;
    throttle_end();
    mig.stopped = clock_now_ns();
    stages_begin(&mig.stages, mig.stopped);
    *before = run_state();
    if (!machine_state_travels(*before))
        return err_set(err, EBUSY, "The guest has stopped in a state that streams do not carry");
    run_state_stop(STATE_FINISH_MIGRATE);
    stages_mark(&mig.stages, "stop", NULL);
    if (!vcpus_check_read(mig.machine, err))
        return false;
    return switch_over(s, *before, err);
}

/* The guest goes on here as if nothing had been, unless it may be running at the target. */
static CO void take_back(MachineState before)
{
    g_autoptr(GError) err = NULL;

    if (mig.is_handed_over) {
        run_state_stop(STATE_POSTMIGRATE);
        return;
    }
    if (mig.needs_activation && !set_images_active(true, &err)) {
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

static CO bool run_away(GError **err)
{
    MachineState before = run_state();
    g_auto(RamBlocks) ram = { 0 };
    MigSource s;
    bool ok;

    mig.transport = migration_transport_new(mig.uri, true, err);
    if (!mig.transport || !transport_open(mig.transport, err))
        return false;
    if (migration_has(MIGRATION_CAPABILITY_RETURN_PATH) && !transport_is_socket(mig.transport))
        return err_set(err, ENOTSUP, "A return path needs a socket");
    if (migration_more_channels()) {
        mig.multifd_send = migration_multifd_send();
        if (!migration_connect_more(mig.transport, mig.multifd_send, err))
            return false;
    }
    g_clear_pointer(&mig.xbzrle, xbzrle_free);
    if (migration_has(MIGRATION_CAPABILITY_XBZRLE)) {
        mig.xbzrle = xbzrle_new(migration_number("xbzrle-cache-size"), err);
        if (!mig.xbzrle)
            return false;
    }
    ram_blocks_init(&ram);
    machine_ram_blocks(mig.machine, &ram, true);
    source_init(&s, &ram, transport_write, mig.transport);
    s.multifd = mig.multifd_send;
    s.xbzrle = mig.xbzrle;
    s.stages = &mig.stages;
    mig.collected = clock_now_ns();
    run_state_between(begin_log, NULL);
    mig.total = mig.machine->config.ram_size;
    ok = send_guest(&s, &before, err);
    throttle_end();
    mig.ended = clock_now_ns();
    if (ok)
        run_state_stop(STATE_POSTMIGRATE);
    else
        take_back(before);
    mig.downtime_ns = ok ? mig.ended - mig.stopped : 0;
    run_state_between(end_log, NULL);
    source_clear(&s);
    return ok;
}

static CO void migrate_away(void *arg)
{
    g_autoptr(GError) err = NULL;
    bool ok = run_away(&err);

    if (!ok)
        interrupt_transfer();
    free_transfer();
    mig.ended = clock_now_ns();
    g_clear_pointer(&mig.use, hold_release);
    if (ok) {
        set_status(MIGRATION_STATUS_COMPLETED);
    } else if (mig.is_cancelled && !mig.is_handed_over) {
        set_status(MIGRATION_STATUS_CANCELLED);
    } else {
        if (mig.is_handed_over)
            err_prefix(&err, "The guest may be running at the target, so it stays stopped here until "
                       "'cont': ");
        mig.error = g_strdup(err->message);
        set_status(MIGRATION_STATUS_FAILED);
    }
}

bool migration_start(const char *uri, GError **err)
{
    if (migration_is_active())
        return err_set(err, EBUSY, "There's a migration process in progress");
    if (mig.is_incoming)
        return err_set(err, EBUSY, "Guest is waiting for an incoming migration");
    if (run_state() == STATE_POSTMIGRATE)
        return err_set(err, EBUSY, "Can't migrate the vm that was paused due to previous migration");
    /* After an error of a disk, for example, requests wait that streams of ours do not carry. */
    if (!machine_state_travels(run_state()))
        return err_set(err, EBUSY, "The guest has to go on, or be stopped, before it can be migrated");
    if (!migration_check_uri(uri, err) || !check_holds(err))
        return false;
    mig.use = hold_take(&hold_migration, HOLD_USE, "migration", "a migration is under way", NULL);
    g_free(mig.uri);
    g_clear_pointer(&mig.error, g_free);
    mig.uri = g_strdup(uri);
    mig.is_cancelled = mig.is_handed_over = false;
    mig.has_begun = true;
    mig.began = mig.slice_began = clock_now_ns();
    mig.slice_bytes = mig.transferred = mig.multifd_bytes = mig.before_stop = mig.zero_pages = mig.pages = 0;
    mig.bandwidth = mig.pass_rate = 0;
    stages_clear(&mig.stages);
    mig.remaining = mig.passes = mig.dirty_rate = mig.downtime_ns = mig.ended = mig.setup_ns = 0;
    set_status(MIGRATION_STATUS_SETUP);
    co_group_start(&mig.running, migrate_away, NULL);
    return true;
}

void migration_cancel(void)
{
    if (!migration_is_active() || mig.is_incoming || mig.is_cancelled)
        return;
    mig.is_cancelled = true;
    set_status(MIGRATION_STATUS_CANCELLING);
    interrupt_transfer();
    co_queue_wake_all(&mig.continued);
}

bool migration_continue(MigrationStatus state, GError **err)
{
    const char *has = schema_enum_name(&migration_status_enum, mig.status);

    if (mig.status != state || state != MIGRATION_STATUS_PRE_SWITCHOVER)
        return err_set(err, EINVAL, "Migration not in expected state: %s", has);
    mig.may_continue = true;
    co_queue_wake_all(&mig.continued);
    return true;
}

/* ---- a guest that comes ---------------------------------------------------------------------- */

static void channel_failed(void *opaque)
{
    transport_interrupt(mig.transport);
}

static CO bool read_all(RamBlocks *ram, CarriedState *carried, GError **err)
{
    g_autoptr(GPtrArray) sections = machine_sections(mig.machine, carried, false);
    Transport *t = mig.transport;
    g_auto(Input) in = { 0 };
    uint8_t uuid[16];

    input_init(&in, transport_read, t);
    migration_guest_uuid(uuid);
    return target_read(&in, "microvm", carries_uuid(uuid) ? uuid : NULL, ram, sections,
                       transport_is_socket(t) ? transport_write : NULL, t, &mig.stages,
                       err);
}

static CO bool part_ended(RamBlocks *ram, Input *in)
{
    bool ok = !mig.multifd_receive || multifd_receive_sync(mig.multifd_receive, in);

    /* The guest stands still since the end of some part: the last but one will have been it. */
    stages_begin(&mig.stages, mig.part_ended ? mig.part_ended : clock_now_ns());
    stages_mark(&mig.stages, "memory", NULL);
    mig.part_ended = mig.stages.last;
    return ok;
}

static CO bool receive_from(CarriedState *carried, GError **err)
{
    g_auto(RamBlocks) ram = { 0 };
    bool ok = true;

    ram_blocks_init(&ram);
    machine_ram_blocks(mig.machine, &ram, false);
    ram.part_ended = part_ended;
    if (migration_more_channels()) {
        mig.multifd_receive = migration_multifd_receive(&ram, channel_failed, NULL);
        ok = migration_accept_more(mig.transport, mig.multifd_receive, err);
    }
    ok = ok && read_all(&ram, carried, err);
    /* The channel's own fault tells more than what the main stream lacks for it. */
    if (mig.multifd_receive && !ok)
        multifd_receive_error(mig.multifd_receive, err);
    multifd_receive_free(g_steal_pointer(&mig.multifd_receive));
    if (ok)
        machine_ram_received(mig.machine, &ram);
    return ok;
}

static CO bool receive(CarriedState *carried, GError **err)
{
    unsigned more = migration_more_channels();
    bool ok;

    mig.transport = migration_transport_new(mig.uri, false, err);
    if (!mig.transport || !transport_listen(mig.transport, more, &mig.addresses, err))
        return false;
    ok = transport_open(mig.transport, err);
    if (!more)
        transport_stop_listening(mig.transport);
    if (ok) {
        set_status(MIGRATION_STATUS_ACTIVE);
        ok = receive_from(carried, err);
    }
    free_transfer();
    return ok;
}

static CO void await_guest(void *arg)
{
    g_autoptr(GError) err = NULL;
    CarriedState carried = { .state = STATE_RUNNING };
    bool runs, late;

    if (!receive(&carried, &err)) {
        set_status(MIGRATION_STATUS_FAILED);
        if (mig.is_cancelled)
            return;
        complain("load of migration failed: %s", err->message);
        run_state_fail();
        return;
    }
    mig.is_incoming = false;
    runs = carried.state == STATE_RUNNING ||
           (carried.state == STATE_PRELAUNCH && !carried.has_come);
    late = migration_has(MIGRATION_CAPABILITY_LATE_BLOCK_ACTIVATE) &&
           !(runs && run_state_guest_starts());
    /* What the source has written meanwhile is read anew. */
    if (!late && !set_images_active(true, &err)) {
        complain("load of migration failed: %s", err->message);
        set_status(MIGRATION_STATUS_FAILED);
        run_state_fail();
        return;
    }
    stages_mark(&mig.stages, "images", NULL);
    if (runs) {
        run_state_stop(STATE_PAUSED);
        if (run_state_guest_starts())
            run_state_start();
    } else {
        run_state_stop(carried.state);
    }
    stages_mark(&mig.stages, "start", NULL);
    set_status(MIGRATION_STATUS_COMPLETED);
}

bool migration_receive(const char *uri, GError **err)
{
    if (!mig.is_incoming || !mig.awaits_uri)
        return err_set(err, EINVAL, "%s", mig.is_incoming
                                        ? "The incoming migration has already been started"
                                        : "'-incoming' was not specified on the command line");
    if (!migration_check_uri(uri, err))
        return false;
    mig.awaits_uri = false;
    mig.uri = g_strdup(uri);
    mig.has_begun = true;
    set_status(MIGRATION_STATUS_SETUP);
    co_group_start(&mig.running, await_guest, NULL);
    return true;
}

/* ---- what is told ---------------------------------------------------------------------------- */

static json_t *ram_info(void)
{
    json_t *o = json_object();
    int64_t end = mig.ended ? mig.ended : clock_now_ns(), span = MAX(end - mig.began, 1);
    uint64_t after = mig.before_stop ? mig.transferred - mig.before_stop : 0;

    json_put_int(o, "transferred", mig.transferred);
    json_put_int(o, "remaining", mig.remaining);
    json_put_int(o, "total", mig.total);
    json_put_int(o, "duplicate", mig.zero_pages);
    json_put_int(o, "skipped", 0);
    json_put_int(o, "normal", mig.pages);
    json_put_int(o, "normal-bytes", mig.pages * RAM_PAGE_SIZE);
    json_put_int(o, "dirty-pages-rate", mig.dirty_rate);
    json_put(o, "mbps", json_real(mig.transferred * 8e3 / span));
    json_put_int(o, "dirty-sync-count", mig.passes);
    json_put_int(o, "postcopy-requests", 0);
    json_put_int(o, "page-size", RAM_PAGE_SIZE);
    json_put_int(o, "multifd-bytes", mig.multifd_bytes);
    json_put_int(o, "pages-per-second", (mig.pages + mig.zero_pages) * 1e9 / span);
    json_put_int(o, "precopy-bytes", mig.transferred - after);
    json_put_int(o, "downtime-bytes", after);
    json_put_int(o, "postcopy-bytes", 0);
    json_put_int(o, "dirty-sync-missed-zero-copy", 0);
    return o;
}

static json_t *xbzrle_info(void)
{
    XbzrleStats x = xbzrle_stats(mig.xbzrle);
    int64_t end = mig.ended ? mig.ended : clock_now_ns();
    json_t *o = json_object();

    json_put_int(o, "cache-size", xbzrle_cache_size(mig.xbzrle));
    json_put_int(o, "bytes", x.bytes);
    json_put_int(o, "pages", x.pages);
    json_put_int(o, "cache-miss", x.misses);
    json_put(o, "cache-miss-rate", json_real(x.misses * 1e9 / MAX(end - mig.began, 1)));
    json_put(o, "encoding-rate",
             json_real(x.bytes ? (double)x.pages * RAM_PAGE_SIZE / x.bytes : 0));
    json_put_int(o, "overflow", x.overflows);
    return o;
}

static void put_reasons(json_t *o)
{
    json_t *reasons = json_array(), *holds = json_array();

    for (const GList *l = hold_migration.deny.head; l; l = l->next) {
        const Hold *h = l->data;
        json_t *shown = json_object();

        json_array_append_new(reasons, json_string(h->reason));
        json_put_str(shown, "owner", h->owner);
        json_put_str(shown, "reason", h->reason);
        json_put_int(shown, "since", h->since_us / 1000000);
        json_array_append_new(holds, shown);
    }
    if (json_array_size(reasons)) {
        json_put(o, "blocked-reasons", reasons);
        json_put(o, "x-holds", holds);
        return;
    }
    json_decref(reasons);
    json_decref(holds);
}

static json_t *forecast_info(void)
{
    Measured m = {
        .bandwidth = mig.bandwidth, .pass_rate = MAX(mig.pass_rate, mig.bandwidth),
        .dirty_rate = mig.dirty_rate * (double)RAM_PAGE_SIZE,
        .passed = (clock_now_ns() - mig.collected) / 1e9, .remaining = mig.remaining,
        .memory = mig.total, .limit = migration_number("downtime-limit") / 1e3,
    };
    Forecast f = forecast(&m);
    json_t *o = json_object();

    json_put_bool(o, "converges", f.converges);
    if (f.converges) {
        json_put_int(o, "time-left", f.seconds * 1e3);
        json_put_int(o, "downtime", f.downtime * 1e3);
    }
    json_put_int(o, "dirty-rate", m.dirty_rate);
    json_put_int(o, "bandwidth", m.bandwidth);
    return o;
}

static void put_times(json_t *o)
{
    bool completed = mig.status == MIGRATION_STATUS_COMPLETED;
    int64_t end = completed ? mig.ended : clock_now_ns();

    if (mig.status == MIGRATION_STATUS_SETUP)
        return;
    json_put_int(o, "total-time", (end - mig.began) / MS);
    json_put_int(o, "setup-time", mig.setup_ns / MS);
    if (completed)
        json_put_int(o, "downtime", mig.downtime_ns / MS);
    else
        json_put_int(o, "expected-downtime",
                     mig.bandwidth > 0 ? (int64_t)(mig.remaining * 1e3 / mig.bandwidth)
                                       : (int64_t)migration_number("downtime-limit"));
    if (mig.status == MIGRATION_STATUS_ACTIVE && mig.bandwidth > 0)
        json_put(o, "x-forecast", forecast_info());
    if (throttle_percent())
        json_put_int(o, "cpu-throttle-percentage", throttle_percent());
    json_put(o, "ram", ram_info());
    if (mig.xbzrle)
        json_put(o, "xbzrle-cache", xbzrle_info());
}

json_t *migration_info(void)
{
    json_t *o = json_object();
    bool away = mig.uri && mig.began;

    put_reasons(o);
    if (mig.has_begun)
        json_put_str(o, "status", schema_enum_name(&migration_status_enum, mig.status));
    if (mig.has_begun && away &&
        (migration_is_active() || mig.status == MIGRATION_STATUS_COMPLETED))
        put_times(o);
    if (mig.status == MIGRATION_STATUS_COMPLETED && mig.stages.stages)
        json_put(o, "x-downtime", stages_json(&mig.stages));
    if (mig.status == MIGRATION_STATUS_FAILED && mig.error)
        json_put_str(o, "error-desc", mig.error);
    if (mig.is_incoming && mig.addresses)
        json_put(o, "socket-address", json_incref(mig.addresses));
    return o;
}

/* ---- life ------------------------------------------------------------------------------------ */

CO void migration_begin(Machine *m, const char *incoming)
{
    g_autoptr(GError) err = NULL;

    mig.machine = m;
    if (!incoming)
        return;
    mig.is_incoming = mig.awaits_uri = true;
    /* Until the guest is here its images are the source's. */
    if (!set_images_active(false, &err) ||
        (strcmp(incoming, "defer") && !migration_receive(incoming, &err))) {
        complain("-incoming %s: %s", incoming, err->message);
        run_state_fail();
    }
}

CO void migration_end(void)
{
    mig.is_cancelled = true;
    interrupt_transfer();
    co_queue_wake_all(&mig.continued);
    co_group_wait(&mig.running);
    migration_settings_clear();
    json_decref(mig.addresses);
    g_free(mig.uri);
    g_free(mig.error);
    xbzrle_free(mig.xbzrle);
    stages_clear(&mig.stages);
}
