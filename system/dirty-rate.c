/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/dirty-rate.h"
#include "io/co-lock.h"
#include "io/timer.h"
#include "system/accel.h"
#include "system/base/ram-log.h"
#include "system/migration-incoming.h"
#include "system/run-state.h"
#include "util/err.h"
#include "util/hold.h"
#include "util/size.h"
#include <zlib.h>

enum { PAGE_BYTES = 4096, LOOK_NS = 50 * 1000 * 1000 };
#define SECOND INT64_C(1000000000)

typedef struct {
    uint64_t page;
    uint32_t sum;
} Sample;

static struct {
    DirtyRateStatus status;
    DirtyRateMeasureMode mode;
    unsigned seconds, samples;
    int64_t began_ns, took_ns;
    uint64_t rate;          /* MiB a second */
    size_t written;         /* pages that were noted */
    Hold *hold;             /* the log of writes is in use; NULL: it is not */
    CoGroup running;
    bool is_ending;
} measure;

/* Waits until the time is over, and memory can be looked at. */
static CO void let_time_pass(void)
{
    int64_t end = measure.began_ns + measure.seconds * SECOND, left;

    while (!measure.is_ending &&
           ((left = end - clock_now_ns()) > 0 || !incoming_memory_is_here(NULL)))
        co_sleep(left > 0 ? MIN(left, LOOK_NS) : LOOK_NS);
    measure.took_ns = MAX(clock_now_ns() - measure.began_ns, 1);
}

static void set_rate(double bytes)
{
    measure.rate = (uint64_t)(bytes / MiB * SECOND / measure.took_ns);
}

/* ---- sampling -------------------------------------------------------------------------------- */

static uint32_t page_sum(const Machine *m, uint64_t page)
{
    return crc32(0, m->ram + page * PAGE_BYTES, PAGE_BYTES);
}

static CO void by_sampling(const Machine *m)
{
    uint64_t pages = m->config.ram_size / PAGE_BYTES;
    size_t count = MAX(m->config.ram_size * measure.samples / GiB, 1), changed = 0;
    g_autofree Sample *list = g_new(Sample, count);
    GRand *random = g_rand_new();

    for (size_t i = 0; i < count; i++) {
        list[i].page = (uint64_t)(g_rand_double(random) * pages);
        list[i].sum = page_sum(m, list[i].page);
    }
    g_rand_free(random);
    let_time_pass();
    if (measure.is_ending)
        return;
    for (size_t i = 0; i < count; i++)
        changed += page_sum(m, list[i].page) != list[i].sum;
    set_rate((double)m->config.ram_size * changed / count);
}

/* ---- noting writes --------------------------------------------------------------------------- */

static void begin_log(void *opaque)
{
    Machine *m = opaque;

    ram_log_begin(m->ram, m->config.ram_size);
    m->config.accel->log_begin(m);
}

static void count_page(void *opaque, size_t page)
{
    measure.written++;
}

static void end_log(void *opaque)
{
    Machine *m = opaque;

    m->config.accel->log_sync(m);
    ram_log_collect(count_page, NULL);
    if (m->config.accel->log_end)
        m->config.accel->log_end(m);
    ram_log_end();
}

static CO void by_log(Machine *m)
{
    measure.written = 0;
    run_state_between(begin_log, m);
    measure.began_ns = clock_now_ns();
    let_time_pass();
    run_state_between(end_log, m);
    set_rate((double)measure.written * PAGE_BYTES);
}

/* ---- both ------------------------------------------------------------------------------------ */

static CO void run(void *arg)
{
    if (measure.mode == DIRTY_RATE_MEASURE_MODE_PAGE_SAMPLING)
        by_sampling(run_state_machine());
    else
        by_log(run_state_machine());
    g_clear_pointer(&measure.hold, hold_release);
    measure.status = DIRTY_RATE_STATUS_MEASURED;
}

CO bool dirty_rate_start(DirtyRateMeasureMode mode, unsigned seconds, unsigned samples,
                         GError **err)
{
    if (!run_state_machine()->ram)
        return err_set(err, ENOTSUP, "There is no guest memory");
    if (!incoming_memory_is_here(err))
        return false;
    if (measure.status == DIRTY_RATE_STATUS_MEASURING)
        return err_set(err, EBUSY, "still measuring");
    if (mode == DIRTY_RATE_MEASURE_MODE_DIRTY_RING &&
        !run_state_machine()->config.dirty_ring_size)
        return err_set(err, ENOTSUP, "There is no dirty ring: use page-sampling or dirty-bitmap");
    if (mode != DIRTY_RATE_MEASURE_MODE_PAGE_SAMPLING) {
        measure.hold = hold_take(&hold_migration, HOLD_DENY, "calc-dirty-rate",
                                 "the rate of written memory is being measured", err);
        if (!measure.hold)
            return false;
        samples = 0;
    }
    measure.mode = mode;
    measure.seconds = seconds;
    measure.samples = samples;
    measure.began_ns = clock_now_ns();
    measure.status = DIRTY_RATE_STATUS_MEASURING;
    co_group_start(&measure.running, run, NULL);
    return true;
}

DirtyRateInfo *dirty_rate_result(void)
{
    bool is_measured = measure.status == DIRTY_RATE_STATUS_MEASURED;
    DirtyRateInfo *i = g_new0(DirtyRateInfo, 1);

    i->status = measure.status;
    i->mode = measure.mode;
    i->start_time = measure.began_ns / SECOND;
    i->calc_time = measure.seconds;
    i->sample_pages = measure.samples;
    i->has_dirty_rate = is_measured;
    i->dirty_rate = (int64_t)measure.rate;
    return i;
}

CO void dirty_rate_end(void)
{
    measure.is_ending = true;
    co_group_wait(&measure.running);
}
