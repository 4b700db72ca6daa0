/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Capability release-ram: in a postcopy, memory that the target has goes back to the host.
 *
 * Only what the target has confirmed does: a ping follows the pages, and its answer tells that they
 * have arrived. So a broken connection can be recovered from, and a guest that has not run at the
 * target is whole here. Main loop only.
 */
#ifndef SYSTEM_MIGRATION_RELEASE_H
#define SYSTEM_MIGRATION_RELEASE_H

#include "migration/source.h"

/* Of the first block, which is the guest's memory. */
typedef struct {
    unsigned long *asked;  /* pages that were pending at the ping; NULL: none is under way */
    unsigned long *gone;   /* a bit for each page that was given back; NULL: none was */
    uint32_t ping;         /* of the last one */
    uint64_t bytes;        /* source_bytes when it was sent */
} Release;

void release_clear(Release *r);
/* Asks whether the target has what was sent, if that is enough to ask for. */
CO void release_ask(Release *r, MigSource *s);
/* The target has answered ping @value, which may be another one: gives back what it has. */
CO void release_answered(Release *r, const MigSource *s, uint32_t value, bool is_shared);
/* The target says that it has all memory: gives back what was sent. */
CO void release_rest(Release *r, const MigSource *s, bool is_shared);
/*
 * There is another connection, and what the target has not got is pending. False with @err: some of
 * that was given back, because the target has confirmed it.
 */
bool release_recover(Release *r, const MigSource *s, GError **err);

#endif
