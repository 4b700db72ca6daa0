/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sending side of a migration, piece by piece: whoever runs the machine says when. The order is
 * begin, begin_ram, any number of ram passes, finish.
 */
#ifndef MIGRATION_SOURCE_H
#define MIGRATION_SOURCE_H

#include "migration/multifd.h"
#include "migration/output.h"
#include "migration/section.h"
#include "migration/stages.h"
#include "migration/xbzrle.h"

typedef struct {
    Output out;
    RamBlocks *ram;           /* not owned */
    MultifdSend *multifd;     /* takes pages that are not zero; NULL: the stream does. Not owned */
    Stages *stages;           /* takes the time that devices need; NULL: nobody asks. Not owned */
    Xbzrle *xbzrle;           /* for pages that come again; NULL: they go whole. Not owned */
    bool is_first_pass, is_last_pass;
    unsigned long **pending;  /* of each block: a bit for each page that is to be sent */
    uint64_t pending_pages;
    int pagemap;              /* /proc/self/pagemap; -1: it cannot be read */
    guint at_block;           /* how far the pass under way has come */
    size_t at_word;
    const RamBlock *last;
    uint64_t zero_pages, pages;
    uint64_t end;             /* the place of the end mark, once that is put */
    GArray *wanted;           /* of WantedPage: the target waits for these, the oldest first */
    guint wanted_block;       /* of the last request */
    uint64_t requests;        /* pages that the target has asked for */
} MigSource;

void source_init(MigSource *s, RamBlocks *ram,
                 CO int (*write)(void *opaque, const struct iovec *iov, int niov), void *opaque);
void source_clear(MigSource *s);

/* The header, with @uuid unless it is NULL. */
CO void source_begin(MigSource *s, const char *machine, const uint8_t *uuid);
/* The target shall answer: messages RETURN_* come back. */
CO void source_open_return_path(MigSource *s);
/* The list of memory; all pages are pending. */
CO void source_begin_ram(MigSource *s);
/* Bytes that have been sent, or will be with the next flush. */
uint64_t source_bytes(const MigSource *s);
/* All that was pending has been sent once; what is added now comes again. */
void source_begin_pass(MigSource *s);
/* The page with that number of the first block. */
void source_add_pending(MigSource *s, size_t page);
/* So many pages of the first block from @page on need not be sent. */
void source_drop_pending(MigSource *s, size_t page, size_t count);
/*
 * Sends up to @limit bytes, about, of what is pending, as a part of the section; @is_last: all of
 * it, as the section's end. True: the pass has come to the end of memory. What became pending
 * behind it is for the next one.
 */
CO bool source_ram(MigSource *s, uint64_t limit, bool is_last);
/*
 * The target waits for [@off, @off + @len) of memory @name ("": the one of the last call): what is
 * pending of it comes next. False: there is no such memory.
 */
bool source_want(MigSource *s, const char *name, uint64_t off, uint32_t len);
/* The sections of devices, of MigSection *; @devices gets the description of each. */
CO void source_devices(MigSource *s, const GPtrArray *sections, json_t *devices);
/* The same, and the end. 0 or the first error of all that was written. */
CO int source_finish(MigSource *s, const GPtrArray *sections);

#endif
