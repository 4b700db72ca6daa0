/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-throttle.h"
#include "io/co-lock.h"
#include "system/base/lock.h"
#include "system/migration-settings.h"
#include "system/vcpu.h"

/* How long the processors run between two pauses. */
#define RUN_NS INT64_C(10000000)

static struct {
    Machine *machine;
    unsigned percent;
    CoGroup running;
} throttle;

unsigned throttle_percent(void)
{
    return throttle.percent;
}

static CO void take_time(void *arg)
{
    while (throttle.percent) {
        int64_t pause = RUN_NS * throttle.percent / (100 - throttle.percent);

        machine_lock();
        vcpus_pause(throttle.machine, pause);
        machine_unlock();
        co_sleep(RUN_NS + pause);
    }
}

/* Percent to add to the throttle; with cpu-throttle-tailslow no more than is just enough. */
static unsigned step(uint64_t dirty, uint64_t bearable)
{
    unsigned more = migration_number("cpu-throttle-increment"), left = 100 - throttle.percent;
    unsigned ideal = dirty ? (uint64_t)left * bearable / dirty : left;

    if (!migration_flag("cpu-throttle-tailslow"))
        return more;
    return MIN(more, left - MIN(ideal, left));
}

void throttle_after_pass(Machine *m, uint64_t dirty, uint64_t sent)
{
    uint64_t bearable = sent / 100 * migration_number("throttle-trigger-threshold");
    bool was_running = throttle.percent;

    if (dirty <= bearable)
        return;
    throttle.machine = m;
    throttle.percent = was_running ? throttle.percent + step(dirty, bearable)
                                   : migration_number("cpu-throttle-initial");
    throttle.percent = MIN(throttle.percent, migration_number("max-cpu-throttle"));
    if (!was_running)
        co_group_start(&throttle.running, take_time, NULL);
}

CO void throttle_end(void)
{
    throttle.percent = 0;
    co_group_wait(&throttle.running);
}
