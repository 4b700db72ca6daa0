/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How other threads reach a loop: a list of mails without a lock, and an eventfd that is written
 * only while the loop sleeps.
 *
 * A mail is memory of the sender, usually on the stack of a coroutine that waits for the answer.
 * Once posted it belongs to the loop. The mailbox is counted, since a loop may end between the
 * posting of a mail and the write to its eventfd.
 */
#ifndef IO_MAILBOX_H
#define IO_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Mail Mail;
struct Mail {
    Mail *next;
    void (*deliver)(Mail *m); /* called by the loop, in no coroutine */
};

typedef struct Mailbox Mailbox;

Mailbox *mailbox_new(void);
Mailbox *mailbox_ref(Mailbox *mb);      /* any thread */
void mailbox_unref(Mailbox *mb);        /* any thread */

/* Any thread that knows @mb to be alive: it holds a reference, or @m keeps the loop from ending. */
void mailbox_post(Mailbox *mb, Mail *m);

/* The rest is for the owner. */

/* Delivers all mail, oldest first. */
void mailbox_deliver(Mailbox *mb);

/* True if mailbox_deliver has something to do. */
bool mailbox_has_mail(Mailbox *mb);

/* Before sleeping: from now on posting writes to the eventfd. False if there is mail already. */
bool mailbox_sleep_begin(Mailbox *mb);
void mailbox_sleep_end(Mailbox *mb);

/* The eventfd, made at the first call. */
int mailbox_fd(Mailbox *mb);
/* Sleeps on the eventfd alone. */
void mailbox_wait(Mailbox *mb, int64_t timeout_ns);
/* Takes back what was written to the eventfd. */
void mailbox_drain(Mailbox *mb);

#endif
