/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-passes.h"
#include "gen/qmp.h"
#include "hw/virtio/balloon.h"
#include "migration/wire.h"
#include "system/accel.h"
#include "system/base/lock.h"
#include "system/base/ram-log.h"
#include "system/migration-settings.h"
#include "system/migration-status.h"
#include "system/migration-throttle.h"
#include "system/run-state.h"
#include "util/err.h"

#define MS INT64_C(1000000)
/* Memory is sent in pieces so long that others are not kept waiting. */
enum { PIECE = 1 << 20, MULTIFD_PIECE_MAX = 64 << 20, SLICE_MS = 50, LOOK_MS = 500,
       LOOK_AGAIN_MS = 5, POSTCOPY_PIECE = 128 << 10 };

bool passes_may_go_on(const Outgoing *o, GError **err)
{
    int r = o->source.out.error;

    if (r < 0)
        return err_set_errno(err, r, "The stream cannot be written");
    return !o->is_cancelled || err_set(err, ECANCELED, "It was cancelled");
}

void passes_note_progress(Outgoing *o)
{
    const MigSource *s = &o->source;

    o->figures.transferred = source_bytes(s);
    o->figures.multifd_bytes = s->multifd ? multifd_send_bytes(s->multifd) : 0;
    o->figures.zero_pages = s->zero_pages;
    o->figures.pages = s->pages;
    o->figures.requests = s->requests;
    o->figures.remaining = s->pending_pages * RAM_PAGE_SIZE;
}

/* ---- free memory ---------------------------------------------------------------------------- */

/*
 * A page that the guest needs again after it has hinted at it is written, and comes again: so hints
 * are taken before each look at what was written, and are asked for anew with it. In postcopy
 * nothing would tell the target that a page does not come.
 */
static void drop_run(void *opaque, uint64_t first, uint64_t count)
{
    source_drop_pending(opaque, first, count);
}

static void take_hints(Outgoing *o)
{
    Device *balloon = o->machine->board.balloon;

    if (balloon)
        balloon_take_hints(balloon, drop_run, &o->source);
}

static void ask_for_hints(Outgoing *o)
{
    Device *balloon = o->machine->board.balloon;

    if (balloon && !o->plans_postcopy)
        balloon_ask_for_hints(balloon);
}

static void end_hints(Outgoing *o, bool is_done)
{
    Device *balloon = o->machine->board.balloon;

    if (balloon)
        balloon_end_hints(balloon, is_done);
}

/* ---- written memory -------------------------------------------------------------------------- */

static const Accel *accel(const Outgoing *o)
{
    return o->machine->config.accel;
}

static void begin_log(void *opaque)
{
    Outgoing *o = opaque;

    ram_log_begin(o->machine->ram, o->machine->config.ram_size);
    accel(o)->log_begin(o->machine);
}

static void end_log(void *opaque)
{
    Outgoing *o = opaque;

    if (accel(o)->log_end)
        accel(o)->log_end(o->machine);
    ram_log_end();
    end_hints(o, true);
}

CO void passes_begin(Outgoing *o)
{
    o->figures.collected = clock_now_ns();
    o->figures.total = o->machine->config.ram_size;
    run_state_between(begin_log, o);
}

CO void passes_end(Outgoing *o)
{
    run_state_between(end_log, o);
}

typedef struct {
    Outgoing *o;
    uint64_t written; /* pages */
} Collection;

static void add_pending(void *opaque, size_t page)
{
    Collection *c = opaque;

    c->written++;
    source_add_pending(&c->o->source, page);
}

static void collect_log(void *opaque)
{
    Collection *c = opaque;

    take_hints(c->o);
    accel(c->o)->log_sync(c->o->machine);
    ram_log_collect(add_pending, c);
    if (run_state_is_running())
        ask_for_hints(c->o);
    else
        end_hints(c->o, false);
}

/* Looks for what was written since the last time, and how fast that goes. */
static CO void collect(Outgoing *o)
{
    OutgoingFigures *f = &o->figures;
    int64_t before = f->collected;
    Collection c = { o };

    run_state_between(collect_log, &c);
    f->collected = clock_now_ns();
    f->dirty_rate = c.written * 1e9 / MAX(f->collected - before, 1);
}

/* ---- one pass -------------------------------------------------------------------------------- */

/* The time in which so many bytes were sent: what max-bandwidth is held against. */
typedef struct {
    int64_t began;
    uint64_t bytes;
} Slice;

static Slice slice_from_here(const Outgoing *o)
{
    return (Slice){ clock_now_ns(), source_bytes(&o->source) };
}

/* The target waits for a page, or the user for something else than this pass. */
static bool is_urgent(const Outgoing *o)
{
    return o->is_cancelled || o->source.wanted->len ||
           (o->wants_postcopy && !migration_is_postcopy());
}

/* Waits while more has been sent than the bandwidth allows, and lets others run. */
static CO void pace(const Outgoing *o, Slice *slice, const char *parameter)
{
    uint64_t sent = source_bytes(&o->source) - slice->bytes;

    while (!is_urgent(o)) {
        /* The limit may change while we wait. */
        uint64_t limit = migration_number(parameter);
        int64_t now = clock_now_ns(), due = now;

        if (limit && sent)
            due = slice->began + (int64_t)MIN((unsigned __int128)sent * 1000000000 / limit,
                                              (unsigned __int128)INT64_MAX / 4);
        if (due <= now)
            break;
        co_sleep(MIN(due - now, LOOK_AGAIN_MS * MS));
    }
    if (clock_now_ns() - slice->began > SLICE_MS * MS)
        *slice = slice_from_here(o);
    co_yield();
}

/* The end of each piece is a barrier for multifd's channels, so pieces are longer there. */
static uint64_t piece(const Outgoing *o)
{
    uint64_t slice = migration_number("max-bandwidth") / 1000 * SLICE_MS;

    if (!o->source.multifd)
        return PIECE;
    return !slice ? MULTIFD_PIECE_MAX : CLAMP(slice, PIECE, MULTIFD_PIECE_MAX);
}

static void leave_out_free(Outgoing *o)
{
    if (!o->machine->board.balloon)
        return;
    machine_lock();
    take_hints(o);
    machine_unlock();
}

/* Sends all that is pending now. */
static CO bool send_pass(Outgoing *o, Slice *slice, GError **err)
{
    MigSource *s = &o->source;
    OutgoingFigures *f = &o->figures;
    int64_t start = clock_now_ns(), end;
    uint64_t bytes = source_bytes(s), pages = s->pages + s->zero_pages;

    while (!source_ram(s, piece(o), false)) {
        if (!passes_may_go_on(o, err))
            return false;
        if (o->wants_postcopy)
            return true;
        pace(o, slice, "max-bandwidth");
        leave_out_free(o);
        /* The first pass is long, and without a look at it nothing is known of what comes then. */
        if (s->is_first_pass && clock_now_ns() - f->collected > LOOK_MS * MS)
            collect(o);
        passes_note_progress(o);
        f->pass_rate = (s->pages + s->zero_pages - pages) * (double)RAM_PAGE_SIZE * 1e9 /
                       MAX(clock_now_ns() - start, 1);
        if (s->is_first_pass)
            f->bandwidth = (source_bytes(s) - bytes) * 1e9 / MAX(clock_now_ns() - start, 1);
    }
    passes_note_progress(o);
    end = clock_now_ns();
    if (end > start)
        f->bandwidth = (source_bytes(s) - bytes) * 1e9 / (end - start);
    return passes_may_go_on(o, err);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void count_pass(Outgoing *o)
{
    o->figures.passes++;
    if (migration_has(MIGRATION_CAPABILITY_EVENTS))
        event_migration_pass(o->figures.passes);
}

/* True if the rest can be sent while the guest stands still. */
static bool is_short_enough(const OutgoingFigures *f)
{
    uint64_t limit = migration_number("downtime-limit");

    return !run_state_is_running() || f->remaining <= f->bandwidth * limit / 1000;
}

CO bool passes_send_live(Outgoing *o, GError **err)
{
    MigSource *s = &o->source;
    Slice slice = { o->figures.began, 0 };

    machine_lock();
    ask_for_hints(o);
    machine_unlock();
    do {
        uint64_t dirty, sent = source_bytes(s);

        count_pass(o);
        if (!send_pass(o, &slice, err))
            return false;
        if (o->wants_postcopy)
            return true;
        collect(o);
        passes_note_progress(o);
        source_begin_pass(s);
        dirty = s->pending_pages;
        if (migration_has(MIGRATION_CAPABILITY_AUTO_CONVERGE))
            throttle_after_pass(o->machine, dirty * RAM_PAGE_SIZE, source_bytes(s) - sent);
    } while (!is_short_enough(&o->figures));
    return true;
}

CO void passes_begin_postcopy(Outgoing *o)
{
    collect(o);
    count_pass(o);
    passes_note_progress(o);
    /* Changes are of no use to a target that has forgotten the page. */
    o->source.xbzrle = NULL;
}

CO bool passes_send_wanted(Outgoing *o, GError **err)
{
    Slice slice = slice_from_here(o);

    while (o->source.pending_pages) {
        source_ram(&o->source, POSTCOPY_PIECE, false);
        if (o->may_run_there && migration_has(MIGRATION_CAPABILITY_RELEASE_RAM))
            release_ask(&o->release, &o->source);
        passes_note_progress(o);
        if (!passes_may_go_on(o, err))
            return false;
        pace(o, &slice, "max-postcopy-bandwidth");
    }
    return true;
}

CO bool passes_send_rest(Outgoing *o, GError **err)
{
    collect(o);
    count_pass(o);
    source_ram(&o->source, 0, true);
    passes_note_progress(o);
    return passes_may_go_on(o, err);
}
