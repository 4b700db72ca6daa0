/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Giving back the memory of cached tables that nobody uses. */
#include "block/formats/qcow2/qcow2.h"

static CO void trim_run(void *arg)
{
    Qcow2 *q = arg;

    q->trimmer = co_self();
    while (!q->closing && q->trim_interval_ns && (q->l2.used || q->refblocks.used)) {
        if (!co_sleep((int64_t)q->trim_interval_ns) || q->closing)
            continue;
        cache_trim(&q->l2);
        cache_trim(&q->refblocks);
    }
    q->trimming = false;
    co_queue_wake_all(&q->pin_waiters);
}

void qcow2_trim_start(Qcow2 *q)
{
    if (q->trimming || q->closing || !q->trim_interval_ns)
        return;
    q->trimming = true;
    q->trimmer = NULL;
    co_start_keeper(trim_run, q);
}

CO void qcow2_trim_stop(Qcow2 *q)
{
    q->closing = true;
    if (q->trimming && q->trimmer)
        co_wake(q->trimmer);
    while (q->trimming)
        co_queue_wait(&q->pin_waiters);
}

CO void qcow2_leave_loop(Node *n)
{
    Qcow2 *q = qcow2_of(n);

    qcow2_trim_stop(q);
    q->closing = false; /* the next table that is loaded starts it again */
}
