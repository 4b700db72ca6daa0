/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which requests are in flight. Each holds a pin of one of two generations; to wait for those that
 * run now, a new generation starts and the old one runs empty.
 */
#include "block/formats/qcow2/frees.h"

CO int qcow2_enter(Qcow2 *q, unsigned *pin)
{
    while (q->exclusive)
        co_queue_wait(&q->pin_waiters);
    /* Found perhaps by whoever kept this request out. */
    if (q->is_corrupt)
        return -ENOMEDIUM;
    *pin = q->pin_now;
    q->pins[*pin]++;
    return 0;
}

void qcow2_leave(Qcow2 *q, unsigned pin)
{
    if (!--q->pins[pin])
        co_queue_wake_all(&q->pin_waiters);
}

CO void qcow2_exclusive_begin(Qcow2 *q)
{
    while (q->exclusive)
        co_queue_wait(&q->pin_waiters);
    q->exclusive = true;
    while (q->pins[0] || q->pins[1])
        co_queue_wait(&q->pin_waiters);
}

void qcow2_exclusive_end(Qcow2 *q)
{
    q->exclusive = false;
    co_queue_wake_all(&q->pin_waiters);
}

CO void qcow2_pins_pass(Qcow2 *q)
{
    unsigned old = q->pin_now;

    q->pin_now = !old;
    while (q->pins[old])
        co_queue_wait(&q->pin_waiters);
}
