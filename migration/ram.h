/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory in a stream: blocks with names, pages of 4096 bytes as records. Nothing is ever
 * written outside of a block, whatever a stream says.
 */
#ifndef MIGRATION_RAM_H
#define MIGRATION_RAM_H

#include "migration/input.h"
#include "migration/output.h"

typedef struct {
    char name[256];
    uint8_t *host;      /* NULL: pages are checked and counted, but kept nowhere */
    uint64_t size;
    uint64_t size_max;  /* streams may make it anything up to that; else only .size is right */
    bool announced;     /* the stream has named it */
} RamBlock;

typedef struct RamBlocks RamBlocks;
struct RamBlocks {
    GPtrArray *blocks;  /* of RamBlock *; owned */
    /* A block that nobody knows: NULL with @in failed; NULL: such a stream is refused. */
    RamBlock *(*unknown)(RamBlocks *r, Input *in, const char *name, uint64_t size);
    /* A part of the section has ended. False: @in has failed. NULL: nothing is to be done. */
    CO bool (*part_ended)(RamBlocks *r, Input *in);
    /*
     * Puts the page at @off of @b, NULL for zeroes, where it belongs. False: @in has failed. NULL:
     * pages are written over what is there.
     */
    CO bool (*place)(RamBlocks *r, Input *in, RamBlock *b, uint64_t off, const uint8_t *page);
    void *opaque;       /* for these */
    RamBlock *last;     /* of the page before: what RAM_CONTINUE means */
    uint64_t zero_pages, pages, delta_pages, compressed_pages;
};

void ram_blocks_init(RamBlocks *r);
void ram_blocks_clear(RamBlocks *r);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RamBlocks, ram_blocks_clear)
RamBlock *ram_block_add(RamBlocks *r, const char *name, uint8_t *host, uint64_t size,
                        uint64_t size_max);
RamBlock *ram_block_find(const RamBlocks *r, const char *name);

/* The content of a section up to its end mark. @is_start: it lists the blocks. */
CO bool ram_read(Input *in, RamBlocks *r, bool is_start);

/* The list of blocks. */
CO void ram_write_start(Output *out, const RamBlocks *r);
/* The start of the record of a page, with one of RAM_ZERO, RAM_PAGE, RAM_XBZRLE as @flags. */
CO void ram_write_record(Output *out, const RamBlock *b, uint64_t off, uint64_t flags,
                         const RamBlock **last);
/*
 * The page at @off of @b as it is when that is written, or as zeroes; *@last is the block of the
 * page before. A guest that runs may change it until then: it comes again in any case.
 */
CO void ram_write_whole_page(Output *out, const RamBlock *b, uint64_t off, const RamBlock **last);
CO void ram_write_zero_page(Output *out, const RamBlock *b, uint64_t off, const RamBlock **last);
CO void ram_write_end_mark(Output *out);

/* True if all @len bytes, a multiple of 64, are zero. */
bool ram_is_zero(const void *p, size_t len);

#endif
