/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest that leaves this program, and what is known of the last one that did. Main loop only. */
#ifndef SYSTEM_MIGRATION_OUTGOING_H
#define SYSTEM_MIGRATION_OUTGOING_H

#include "io/co-lock.h"
#include "migration/source.h"
#include "migration/transport.h"
#include "system/machine.h"
#include "system/migration-release.h"

/* Times are monotonic nanoseconds, sizes bytes. */
typedef struct {
    int64_t began;            /* 0: nothing ever did */
    int64_t stopped, ended;   /* 0: not yet */
    int64_t setup_ns, downtime_ns;
    uint64_t transferred, before_stop, multifd_bytes, total, remaining;
    uint64_t zero_pages, pages, passes, requests;
    uint64_t before_postcopy; /* .transferred then; 0: there was none */
    uint64_t dirty_rate;      /* pages a second */
    double bandwidth;         /* bytes a second, of the last pass */
    double pass_rate;         /* bytes of memory a second that the pass under way gets through */
    int64_t collected;        /* when written pages were looked for last */
} OutgoingFigures;

typedef struct {
    Machine *machine;
    char *uri, *error;        /* NULL: none */
    char *resume_uri;         /* where postcopy goes on; NULL: nobody has said */
    Transport *transport;     /* NULL: there is none now */
    MultifdSend *multifd;     /* NULL: likewise */
    Xbzrle *xbzrle;           /* also of the last one; NULL: it is not used */
    MigSource source;         /* while the guest is sent */
    bool is_cancelled, may_continue;
    bool has_return_path, plans_postcopy, wants_postcopy;
    bool is_handed_over;      /* the target may have the guest, and run it */
    bool may_run_there;       /* postcopy: even if the target says that it has failed */
    Release release;          /* postcopy: of memory that the target has, also of the last one */
    /* wakes whoever waits for .may_continue, .resume_uri, .is_cancelled */
    CoQueue continued;
    OutgoingFigures figures;
    Stages stages;            /* of the guest's pause */
} Outgoing;

/* Sends the guest of @m to @uri, which has been checked. */
void outgoing_start(Machine *m, const char *uri);
/*
 * In a postcopy only while that is paused: then the guest may run at the target, and stays stopped
 * here.
 */
void outgoing_cancel(void);
/* The guest moves as soon as possible; its memory follows. Only if that is planned. */
void outgoing_start_postcopy(void);
/* Breaks the connection of a postcopy, which then waits for outgoing_resume. */
void outgoing_pause(void);
/* Goes on with a postcopy whose connection has broken, to @uri, which has been checked. */
void outgoing_resume(const char *uri);
/* Goes on after the pause before the switch-over. */
void outgoing_continue(void);
/* Ends what is under way. */
CO void outgoing_end(void);
/* False with @err: the guest leaves or has left, and the host has got some of its memory back. */
bool outgoing_memory_is_here(GError **err);
/* The one under way, or the last. */
const Outgoing *outgoing(void);

#endif
