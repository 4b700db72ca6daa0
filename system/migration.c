/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration.h"
#include "block/block.h"
#include "block/edit.h"
#include "block/monitor-nodes.h"
#include "hw/virtio/drives.h"
#include "io/co-lock.h"
#include "migration/source.h"
#include "migration/target.h"
#include "migration/transport.h"
#include "migration/wire.h"
#include "system/accel.h"
#include "system/base/lock.h"
#include "system/base/ram-log.h"
#include "system/sections.h"
#include "tools/complain.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/hold.h"
#include <inttypes.h>

#define MS INT64_C(1000000)
/* Memory is sent in pieces so long that others are not kept waiting. */
enum { PIECE = 1 << 20, SLICE_MS = 50 };

static struct {
    Machine *machine;
    HoldPoint point;
    MigrationCapabilities capabilities;
    MigrationLimits limits;

    MigrationStatus status;
    bool has_begun, is_incoming, awaits_uri, is_cancelled, may_continue, needs_activation;
    char *uri, *error;
    json_t *addresses;     /* on which a guest is awaited */
    Transport *transport;  /* NULL: none yet */
    CoGroup running;
    CoQueue continued;

    /* Of the last migration away. */
    int64_t began, ended, stopped, setup_ns, downtime_ns;
    int64_t slice_began;
    uint64_t slice_bytes;
    uint64_t transferred, before_stop, zero_pages, pages, remaining, total, passes, dirty_rate;
    double bandwidth;      /* bytes a second, of the last pass */
} mig = {
    .point = HOLD_POINT_INIT("Migration"),
    .limits = { .max_bandwidth = 128 << 20, .downtime_limit = 300 },
};

MigrationCapabilities *migration_capabilities(void)
{
    return &mig.capabilities;
}

MigrationLimits *migration_limits(void)
{
    return &mig.limits;
}

static void set_status(MigrationStatus status)
{
    mig.status = status;
    if (mig.capabilities.events)
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

bool migration_admit_devices(const Machine *m, bool only, GError **err)
{
    for (guint i = 0; i < m->devices->len; i++) {
        g_autofree char *why = device_migration_problem(m->devices->pdata[i]);

        if (why && only)
            return err_set(err, ENOTSUP, "-only-migratable: %s", why);
    }
    return true;
}

/* Why the guest cannot leave, strings owned by the list: its devices, which come and go, and holds. */
static GPtrArray *reasons_new(void)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) held = hold_reasons(&mig.point);

    for (guint i = 0; mig.machine && i < mig.machine->devices->len; i++) {
        char *why = device_migration_problem(mig.machine->devices->pdata[i]);

        if (why)
            g_ptr_array_add(list, why);
    }
    for (guint i = 0; i < held->len; i++)
        g_ptr_array_add(list, g_strdup(held->pdata[i]));
    return list;
}

static bool check_holds(GError **err)
{
    g_autoptr(GPtrArray) reasons = reasons_new();
    g_autofree char *all = NULL;

    if (!reasons->len)
        return true;
    g_ptr_array_add(reasons, NULL);
    all = g_strjoinv("; ", (char **)reasons->pdata);
    return err_set(err, EBUSY, "The guest cannot be migrated: %s", all);
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
    source_add_pending(opaque, page);
}

static void collect_log(void *opaque)
{
    accel()->log_sync(mig.machine);
    ram_log_collect(add_pending, opaque);
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
    mig.transferred = s->out.total;
    mig.zero_pages = s->zero_pages;
    mig.pages = s->pages;
    mig.remaining = s->pending_pages * RAM_PAGE_SIZE;
}

/* Waits while more has been sent than the bandwidth allows, and lets others run. */
static CO void pace(const MigSource *s)
{
    uint64_t limit = mig.limits.max_bandwidth, sent = s->out.total - mig.slice_bytes;
    int64_t now = clock_now_ns(), due;

    if (limit && sent) {
        due = mig.slice_began + (int64_t)MIN((unsigned __int128)sent * 1000000000 / limit,
                                             (unsigned __int128)INT64_MAX / 4);
        if (due > now)
            co_sleep(MIN(due - now, SLICE_MS * MS));
    }
    if (clock_now_ns() - mig.slice_began > SLICE_MS * MS) {
        mig.slice_began = clock_now_ns();
        mig.slice_bytes = s->out.total;
    }
    co_yield();
}

/* Sends all that is pending now. */
static CO bool send_pass(MigSource *s, GError **err)
{
    int64_t start = clock_now_ns(), end;
    uint64_t bytes = s->out.total;

    while (!source_ram(s, PIECE, false)) {
        if (is_broken(s, err) || is_cancelled(err))
            return false;
        note_progress(s);
        pace(s);
    }
    note_progress(s);
    end = clock_now_ns();
    if (end > start)
        mig.bandwidth = (s->out.total - bytes) * 1e9 / (end - start);
    return !is_broken(s, err) && !is_cancelled(err);
}

/* True if the rest can be sent while the guest stands still. */
static bool is_short_enough(void)
{
    uint64_t limit = mig.limits.downtime_limit;

    return !run_state_is_running() || mig.remaining <= mig.bandwidth * limit / 1000;
}

/* Passes over memory while the guest runs, each over what was written during the one before. */
static CO bool send_live(MigSource *s, GError **err)
{
    do {
        int64_t start = clock_now_ns();
        uint64_t dirty;

        mig.passes++;
        if (mig.capabilities.events)
            event_migration_pass(mig.passes);
        if (!send_pass(s, err))
            return false;
        run_state_between(collect_log, s);
        note_progress(s);
        dirty = s->pending_pages;
        mig.dirty_rate = dirty * 1e9 / MAX(clock_now_ns() - start, 1);
    } while (!is_short_enough());
    return true;
}

/* ---- switching over -------------------------------------------------------------------------- */

static CO bool await_continue(GError **err)
{
    if (!mig.capabilities.pause_before_switchover)
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

static CO int send_devices(MigSource *s, const GPtrArray *sections)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    CO int (*write)(void *opaque, const void *buf, size_t len) = s->out.write;
    void *opaque = s->out.opaque;
    int r = output_flush(&s->out);

    s->out.write = keep_in_memory;
    s->out.opaque = bytes;
    machine_lock();
    r = r ? r : source_finish(s, sections);
    machine_unlock();
    s->out.write = write;
    s->out.opaque = opaque;
    return r ? r : write(opaque, bytes->data, bytes->len);
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
        if (be16_get(m.message) == RETURN_SHUT)
            return !be32_get(m.value) || err_set(err, EIO, "The target could not load the stream");
        if (be16_get(m.message) != RETURN_PONG)
            return err_set(err, EINVAL, "The target sends message %u", be16_get(m.message));
    }
}

static CO bool switch_over(MigSource *s, MachineState before, GError **err)
{
    CarriedState carried = { .state = before };
    g_autoptr(GPtrArray) sections = machine_sections(mig.machine, &carried, true);
    int r;

    mig.before_stop = s->out.total;
    if (!await_continue(err))
        return false;
    run_state_between(collect_log, s);
    mig.passes++;
    if (mig.capabilities.events)
        event_migration_pass(mig.passes);
    source_ram(s, 0, true);
    note_progress(s);
    if (is_broken(s, err) || is_cancelled(err) || !set_images_active(false, err))
        return false;
    r = send_devices(s, sections);
    mig.transferred = s->out.total;
    if (r < 0)
        return err_set_errno(err, r, "The stream cannot be written");
    if (mig.capabilities.return_path && !await_answer(mig.transport, err))
        return false;
    r = transport_finish(mig.transport);
    /* From here on the guest is the target's. */
    return r >= 0 || err_set_errno(err, r, "The stream may not have arrived");
}

/* ---- a migration away ------------------------------------------------------------------------ */

/* *@before: in what state the guest was when it had to stop. */
static CO bool send_guest(MigSource *s, MachineState *before, GError **err)
{
    source_begin(s, "microvm");
    if (mig.capabilities.return_path)
        source_open_return_path(s);
    mig.setup_ns = clock_now_ns() - mig.began;
    set_status(MIGRATION_STATUS_ACTIVE);
    if (!send_live(s, err))
        return false;
    mig.stopped = clock_now_ns();
    *before = run_state();
    if (!machine_state_travels(*before))
        return err_set(err, EBUSY, "The guest has stopped in a state that streams do not carry");
    run_state_stop(STATE_FINISH_MIGRATE);
    return switch_over(s, *before, err);
}

/* The guest goes on here as if nothing had been. */
static CO void take_back(MachineState before)
{
    g_autoptr(GError) err = NULL;

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

    mig.transport = transport_connect(mig.uri, err);
    if (!mig.transport || is_cancelled(err))
        return false;
    if (mig.capabilities.return_path && !transport_is_socket(mig.transport))
        return err_set(err, ENOTSUP, "A return path needs a socket");
    ram_blocks_init(&ram);
    machine_ram_blocks(mig.machine, &ram, true);
    source_init(&s, &ram, transport_write, mig.transport);
    run_state_between(begin_log, NULL);
    mig.total = mig.machine->config.ram_size;
    ok = send_guest(&s, &before, err);
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
    Transport *t = g_steal_pointer(&mig.transport);

    if (t && !ok)
        transport_interrupt(t);
    transport_free(t);
    mig.ended = clock_now_ns();
    if (ok) {
        set_status(MIGRATION_STATUS_COMPLETED);
    } else if (mig.is_cancelled) {
        set_status(MIGRATION_STATUS_CANCELLED);
    } else {
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
    if (!transport_check(uri, err) || !check_holds(err))
        return false;
    g_free(mig.uri);
    g_clear_pointer(&mig.error, g_free);
    mig.uri = g_strdup(uri);
    mig.is_cancelled = false;
    mig.has_begun = true;
    mig.began = mig.slice_began = clock_now_ns();
    mig.slice_bytes = mig.transferred = mig.before_stop = mig.zero_pages = mig.pages = 0;
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
    if (mig.transport)
        transport_interrupt(mig.transport);
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

static void listening(void *opaque, json_t *addresses)
{
    json_decref(mig.addresses);
    mig.addresses = addresses;
}

static CO bool receive_from(Transport *t, CarriedState *carried, GError **err)
{
    g_autoptr(GPtrArray) sections = machine_sections(mig.machine, carried, false);
    g_auto(RamBlocks) ram = { 0 };
    g_auto(Input) in = { 0 };
    bool ok;

    ram_blocks_init(&ram);
    machine_ram_blocks(mig.machine, &ram, false);
    input_init(&in, transport_read, t);
    ok = target_read(&in, "microvm", &ram, sections, transport_is_socket(t) ? transport_write : NULL,
                     t, err);
    if (ok)
        machine_ram_received(mig.machine, &ram);
    return ok;
}

static CO bool receive(CarriedState *carried, GError **err)
{
    bool ok;

    mig.transport = transport_accept(mig.uri, listening, NULL, err);
    if (!mig.transport)
        return false;
    set_status(MIGRATION_STATUS_ACTIVE);
    ok = receive_from(mig.transport, carried, err);
    transport_free(g_steal_pointer(&mig.transport));
    return ok;
}

static void tell_devices(void)
{
    machine_lock();
    for (guint i = 0; i < mig.machine->devices->len; i++) {
        Device *d = mig.machine->devices->pdata[i];

        if (d->cls->arrived)
            d->cls->arrived(d);
    }
    machine_unlock();
}

static CO void await_guest(void *arg)
{
    g_autoptr(GError) err = NULL;
    CarriedState carried = { .state = STATE_RUNNING };

    if (!receive(&carried, &err)) {
        set_status(MIGRATION_STATUS_FAILED);
        if (mig.is_cancelled)
            return;
        complain("load of migration failed: %s", err->message);
        run_state_fail();
        return;
    }
    mig.is_incoming = false;
    /* What the source has written meanwhile is read anew. */
    if (!set_images_active(true, &err)) {
        complain("load of migration failed: %s", err->message);
        set_status(MIGRATION_STATUS_FAILED);
        run_state_fail();
        return;
    }
    tell_devices();
    if (carried.state == STATE_RUNNING || (carried.state == STATE_PRELAUNCH && !carried.has_come)) {
        run_state_stop(STATE_PAUSED);
        if (run_state_guest_starts())
            run_state_start();
    } else {
        run_state_stop(carried.state);
    }
    set_status(MIGRATION_STATUS_COMPLETED);
}

bool migration_receive(const char *uri, GError **err)
{
    if (!mig.is_incoming || !mig.awaits_uri)
        return err_set(err, EINVAL, "%s", mig.is_incoming
                                        ? "The incoming migration has already been started"
                                        : "'-incoming' was not specified on the command line");
    if (!transport_check(uri, err))
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
    json_put_int(o, "multifd-bytes", 0);
    json_put_int(o, "pages-per-second", (mig.pages + mig.zero_pages) * 1e9 / span);
    json_put_int(o, "precopy-bytes", mig.transferred - after);
    json_put_int(o, "downtime-bytes", after);
    json_put_int(o, "postcopy-bytes", 0);
    json_put_int(o, "dirty-sync-missed-zero-copy", 0);
    return o;
}

static void put_reasons(json_t *o)
{
    g_autoptr(GPtrArray) reasons = reasons_new();
    json_t *list = json_array();

    for (guint i = 0; i < reasons->len; i++)
        json_array_append_new(list, json_string(reasons->pdata[i]));
    if (reasons->len)
        json_put(o, "blocked-reasons", list);
    else
        json_decref(list);
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
                                       : (int64_t)mig.limits.downtime_limit);
    json_put(o, "ram", ram_info());
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
    if (mig.transport)
        transport_interrupt(mig.transport);
    co_queue_wake_all(&mig.continued);
    /* Who waits for somebody to connect has nothing to end. */
    if (mig.transport || !mig.is_incoming)
        co_group_wait(&mig.running);
    json_decref(mig.addresses);
    g_free(mig.uri);
    g_free(mig.error);
}
