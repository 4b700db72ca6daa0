/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/icount.h"
#include "io/co.h"
#include "system/base/clock.h"
#include "target/x86/translate.h"
#include "tools/complain.h"
#include "util/size.h"

/* The most instructions in one run. */
#define RUN_MAX (UINT64_C(1) << 20)

/* How far the guest's time and the host's may be apart. */
#define TOLERANCE_NS (3 * INT64_C(1000000))
#define LATE_NS (INT64_C(1000000000))   /* a warning is due */
#define ADJUST_NS (INT64_C(100000000))  /* between two adjustments of the shift */

static struct {
    IcountConfig config;
    Hold *stays;
    int64_t base;         /* the guest's time before the run that is under way */
    uint64_t budget;      /* of that run */
    int64_t seen;         /* the time as other threads see it; atomic */
    int64_t host_ahead;   /* the host's clock when the guest's was 0 */
    int64_t adjust_at;    /* the host's time of the next adjustment */
    int64_t was_late, warned_late;
} icount;

/* The processor that runs on this thread. */
static __thread const X86Cpu *running;

bool icount_is_on(void)
{
    return icount.config.is_on;
}

static int64_t now(void)
{
    int64_t t;

    if (!running)
        return __atomic_load_n(&icount.seen, __ATOMIC_RELAXED);
    t = icount.base + ((icount.budget - x86_budget_left(running)) << icount.config.shift);
    __atomic_store_n(&icount.seen, t, __ATOMIC_RELAXED);
    return t;
}

static void set_now(int64_t t)
{
    icount.base = t;
    __atomic_store_n(&icount.seen, t, __ATOMIC_RELAXED);
}

/* ---- beside the host's time ------------------------------------------------------------------ */

/* How far the guest's time is ahead of the host's; negative: behind. */
static int64_t ahead(void)
{
    return icount.base - (clock_now_ns() - icount.host_ahead);
}

/* If the guest falls further behind each instruction has to take longer, and the reverse. */
static void adjust_shift(void)
{
    int64_t late = -ahead();

    if (clock_now_ns() < icount.adjust_at)
        return;
    icount.adjust_at = clock_now_ns() + ADJUST_NS;
    if (late > TOLERANCE_NS && late > icount.was_late && icount.config.shift < ICOUNT_SHIFT_MAX)
        icount.config.shift++;
    else if (late < -TOLERANCE_NS && late < icount.was_late && icount.config.shift)
        icount.config.shift--;
    icount.was_late = late;
}

static void warn_late(void)
{
    int64_t late = -ahead();

    if (late < icount.warned_late + LATE_NS)
        return;
    icount.warned_late = late;
    complain("warning: the guest is %.1f seconds late: this host executes too few instructions for "
             "-icount shift=%u", late / 1e9, icount.config.shift);
}

bool icount_align(MachineCond *wake)
{
    int64_t early = icount.config.aligns ? ahead() : 0;

    if (early > TOLERANCE_NS) {
        machine_cond_wait(wake, clock_now_ns() + early);
        return true;
    }
    if (icount.config.aligns)
        warn_late();
    return false;
}

void icount_resume(void)
{
    icount.host_ahead = clock_now_ns() - icount.base;
    icount.adjust_at = clock_now_ns() + ADJUST_NS;
    icount.was_late = icount.warned_late = 0;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Up to the next timer, and at least one. */
static uint64_t instructions(int64_t due, uint64_t most)
{
    int64_t one = INT64_C(1) << icount.config.shift;

    if (due == INT64_MAX)
        return most;
    due -= guest_clock_now();
    return due <= one ? 1 : MIN(most, (uint64_t)(due + one - 1) >> icount.config.shift);
}

void icount_run(X86Cpu *cpu, uint64_t most)
{
    icount.budget = instructions(guest_timers_expire(), MIN(most, RUN_MAX));
    cpu->left = icount.budget;
    cpu->untouched = 0;
    running = cpu;
}

void icount_stop(X86Cpu *cpu)
{
    int64_t t = now();

    running = NULL;
    set_now(t);
    guest_timers_expire();
    if (icount.config.is_auto)
        adjust_shift();
}

void icount_idle(MachineCond *wake)
{
    int64_t due = guest_timers_expire(), left = due == INT64_MAX ? due : due - guest_clock_now();
    int64_t start = clock_now_ns(), gone;

    if (due == INT64_MAX || !icount.config.does_not_sleep)
        machine_cond_wait(wake, due == INT64_MAX ? due : start + left);
    if (icount.config.does_not_sleep)
        gone = due == INT64_MAX ? 0 : left;
    else
        gone = MIN(clock_now_ns() - start, left);
    set_now(icount.base + gone);
    guest_timers_expire();
}

/* ---- life ------------------------------------------------------------------------------------ */

bool icount_begin(const IcountConfig *config, void (*sooner)(void), GError **err)
{
    icount.config = *config;
    if (!config->is_on)
        return true;
    icount.stays = hold_take(&hold_migration, HOLD_DENY, "icount", "Instructions are counted", err);
    if (!icount.stays)
        return false;
    guest_clock_follow(now, sooner);
    return true;
}

void icount_end(void)
{
    hold_release(icount.stays);
    icount.stays = NULL;
    icount.config.is_on = false;
}
