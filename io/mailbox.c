/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mail between threads: a stack of messages that senders push by compare-and-swap and the owner
 * takes as a whole.
 *
 * Going to sleep: the owner sets `asleep`, then looks for mail. Posting: the sender pushes, then
 * looks at `asleep`. All four are sequentially consistent, so at least one sees the other.
 */
#include "io/mailbox.h"
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct Mailbox {
    _Atomic(Mail *) head;  /* newest first */
    _Atomic bool asleep;
    _Atomic unsigned refs;
    _Atomic int fd;        /* set by the owner before it first sleeps; -1 until then */
};

Mailbox *mailbox_new(void)
{
    Mailbox *mb = g_new0(Mailbox, 1);

    atomic_init(&mb->refs, 1);
    atomic_init(&mb->fd, -1);
    return mb;
}

Mailbox *mailbox_ref(Mailbox *mb)
{
    atomic_fetch_add_explicit(&mb->refs, 1, memory_order_relaxed);
    return mb;
}

void mailbox_unref(Mailbox *mb)
{
    if (atomic_fetch_sub_explicit(&mb->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (mb->fd >= 0)
        close(mb->fd);
    g_free(mb);
}

/* Only ever between a reference taken and dropped: after the push the loop may be gone. */
static void mailbox_push(Mailbox *mb, Mail *m)
{
    Mail *head = atomic_load_explicit(&mb->head, memory_order_relaxed);

    do
        m->next = head;
    while (!atomic_compare_exchange_weak(&mb->head, &head, m));
}

void mailbox_post(Mailbox *mb, Mail *m)
{
    uint64_t one = 1;

    mailbox_ref(mb);
    mailbox_push(mb, m);
    if (atomic_load(&mb->asleep) && atomic_exchange(&mb->asleep, false)) {
        while (write(mb->fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    }
    mailbox_unref(mb);
}

bool mailbox_has_mail(Mailbox *mb)
{
    return atomic_load_explicit(&mb->head, memory_order_relaxed);
}

void mailbox_deliver(Mailbox *mb)
{
    Mail *m, *oldest = NULL;

    if (!mailbox_has_mail(mb))
        return;
    m = atomic_exchange_explicit(&mb->head, NULL, memory_order_acquire);
    while (m) {
        Mail *next = m->next;

        m->next = oldest;
        oldest = m;
        m = next;
    }
    while (oldest) {
        m = oldest;
        oldest = m->next;
        m->deliver(m);
    }
}

int mailbox_fd(Mailbox *mb)
{
    if (mb->fd < 0) {
        mb->fd = eventfd(0, EFD_CLOEXEC);
        if (mb->fd < 0)
            g_error("eventfd: %s", strerror(errno));
    }
    return mb->fd;
}

bool mailbox_sleep_begin(Mailbox *mb)
{
    mailbox_fd(mb);
    atomic_store(&mb->asleep, true);
    if (!atomic_load(&mb->head))
        return true;
    atomic_store(&mb->asleep, false);
    return false;
}

void mailbox_sleep_end(Mailbox *mb)
{
    atomic_store(&mb->asleep, false);
}

void mailbox_drain(Mailbox *mb)
{
    uint64_t count;

    while (read(mb->fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}

void mailbox_wait(Mailbox *mb, int64_t timeout_ns)
{
    struct pollfd p = { .fd = mailbox_fd(mb), .events = POLLIN };
    struct timespec ts = { .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000 };

    if (ppoll(&p, 1, timeout_ns < 0 ? NULL : &ts, NULL) == 1)
        mailbox_drain(mb);
}
