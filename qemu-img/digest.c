/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Digests of content that several workers read.
 *
 * A tree is the Merkle tree of RFC 6962 over blocks of 1 MiB. What is known of it at any time is a
 * stack of whole subtrees, each larger than those above it; a block of zeroes, and a whole subtree
 * of such blocks, has a digest that is known beforehand, so a hole costs no more than its number of
 * blocks has bits. "sha256" is the same with a single block and without the marks of the tree.
 */
#include "qemu-img/digest.h"
#include "crypto/crypto.h"
#include "io/co-lock.h"
#include "io/pool.h"
#include "qemu-img/tool.h"
#include "util/size.h"
#include <stdio.h>
#include <string.h>

enum { DIGEST_LEN = 32, LEVELS = 44, TREE_BLOCK = 1 << 20, SERIAL_UNIT = 64 << 10 };
enum { INLINE_MAX = 16 << 10, ZERO_SLICE = 64 << 20 };

/* RFC 6962 section 2.1: what a leaf, or a pair of subtrees, is hashed behind. */
static const uint8_t LEAF_MARK = 0, PAIR_MARK = 1;

/* The digest of a leaf of zeroes, as docs/spec/hash.md gives it. */
static const uint8_t ZERO_LEAF[DIGEST_LEN] = {
    0x2c, 0xb7, 0x4e, 0xdb, 0xa7, 0x54, 0xa8, 0x1d, 0x12, 0x1c, 0x9d, 0xb6, 0x83, 0x37, 0x04, 0xa8,
    0xe7, 0xd4, 0x17, 0xe5, 0xb1, 0x3d, 0x1a, 0x19, 0xf4, 0xa5, 0x2f, 0x00, 0x7d, 0x64, 0x42, 0x64,
};

/* A block that some, but not all bytes have been added to. */
typedef struct {
    bool used;
    uint64_t number;
    uint64_t fill;                /* bytes added */
    Hash hash;
} Block;

typedef struct {
    unsigned level;               /* it has 2^level blocks; the last one on the stack may be cut */
    uint8_t digest[DIGEST_LEN];
} Subtree;

struct Digest {
    bool is_tree, abandoned;
    uint64_t len, block_len;
    Hash fresh;                   /* a hash with nothing in it */
    uint64_t complete;            /* blocks that are in the stack: all up to this number */
    Subtree stack[LEVELS];
    unsigned height;
    uint8_t zero[LEVELS][DIGEST_LEN]; /* whole subtrees of zeroes */
    CoQueue moved;                /* @complete, or the @fill of a block */
    char *text;
    unsigned nblocks;
    Block blocks[];
};

/* ---- making --------------------------------------------------------------------------------- */

bool digest_check_args(const char *kind, const char *expect)
{
    if (kind && strcmp(kind, "sha256") && strcmp(kind, "tree"))
        return complain("Digest '%s' is neither 'sha256' nor 'tree'", kind);
    if (!expect)
        return true;
    if (!kind)
        return complain("--expect needs --hash");
    if (strlen(expect) != 2 * DIGEST_LEN ||
        strspn(expect, "0123456789abcdefABCDEF") != 2 * DIGEST_LEN)
        return complain("'%s' is no digest: %d hexadecimal digits are", expect, 2 * DIGEST_LEN);
    return true;
}

static void hash_pair(const Digest *d, const uint8_t *left, const uint8_t *right, uint8_t *out)
{
    Hash h = d->fresh;

    hash_update(&h, &PAIR_MARK, 1);
    hash_update(&h, left, DIGEST_LEN);
    hash_update(&h, right, DIGEST_LEN);
    hash_final(&h, out);
}

Digest *digest_new(const char *kind, uint64_t len, unsigned workers)
{
    /* One block in the hands of each worker, and one that is waiting for its next piece. */
    unsigned nblocks = workers + 1;
    g_autoptr(Digest) d = g_malloc0(sizeof(*d) + nblocks * sizeof(Block));
    g_autoptr(GError) err = NULL;

    d->is_tree = !strcmp(kind, "tree");
    d->len = len;
    d->block_len = d->is_tree ? TREE_BLOCK : UINT64_C(1) << 63;
    d->nblocks = nblocks;
    if (!hash_init(&d->fresh, HASH_SHA256, &err)) {
        complain_err(err);
        return NULL;
    }
    memcpy(d->zero[0], ZERO_LEAF, DIGEST_LEN);
    for (unsigned i = 1; i < LEVELS; i++)
        hash_pair(d, d->zero[i - 1], d->zero[i - 1], d->zero[i]);
    return g_steal_pointer(&d);
}

void digest_free(Digest *d)
{
    if (d)
        g_free(d->text);
    g_free(d);
}

uint64_t digest_unit(const Digest *d)
{
    return d->is_tree ? TREE_BLOCK : SERIAL_UNIT;
}

/* ---- the tree ------------------------------------------------------------------------------- */

/* Adds the subtree of 2^@level blocks that comes next. */
static void tree_push(Digest *d, unsigned level, const uint8_t *digest)
{
    Subtree *top = &d->stack[d->height++];

    top->level = level;
    memcpy(top->digest, digest, DIGEST_LEN);
    while (d->height > 1 && top[-1].level == top->level) {
        hash_pair(d, top[-1].digest, top->digest, top[-1].digest);
        d->height--;
        top--;
        top->level++;
    }
    d->complete += UINT64_C(1) << level;
}

static void tree_push_zeroes(Digest *d, uint64_t count)
{
    while (count) {
        unsigned level = 0;

        while (level + 1 < LEVELS && count >> (level + 1) &&
               is_aligned(d->complete, UINT64_C(2) << level))
            level++;
        tree_push(d, level, d->zero[level]);
        count -= UINT64_C(1) << level;
    }
}

/* The digest of everything: the stack hashed together from its top. */
static void tree_root(const Digest *d, uint8_t *root)
{
    Hash h = d->fresh;

    if (!d->height) {
        hash_final(&h, root);
        return;
    }
    memcpy(root, d->stack[d->height - 1].digest, DIGEST_LEN);
    for (unsigned i = d->height - 1; i > 0; i--)
        hash_pair(d, d->stack[i - 1].digest, root, root);
}

/* ---- adding --------------------------------------------------------------------------------- */

typedef struct {
    Hash *hash;
    const uint8_t *buf; /* NULL: zeroes */
    uint64_t len;
} HashJob;

static int hash_job(void *arg)
{
    HashJob *j = arg;

    for (uint64_t n; j->len; j->len -= n) {
        n = j->buf ? j->len : MIN(j->len, (uint64_t)ZEROES_LEN);
        hash_update(j->hash, j->buf ? j->buf : zero_bytes, n);
    }
    return 0;
}

static CO void hash_bytes(Digest *d, Hash *h, const uint8_t *buf, uint64_t len)
{
    for (uint64_t done = 0, n; done < len && !d->abandoned; done += n) {
        HashJob job;

        n = buf ? len : MIN(len - done, ZERO_SLICE);
        job = (HashJob){ h, buf, n };
        if (n <= INLINE_MAX)
            hash_job(&job);
        else
            pool_compute(hash_job, &job);
        if (tool_interrupted())
            digest_abandon(d);
    }
}

/* Waits until all blocks before @number are in the tree. False: abandoned. */
static CO bool await_blocks(Digest *d, uint64_t number)
{
    while (d->complete < number && !d->abandoned)
        co_queue_wait(&d->moved);
    return !d->abandoned;
}

/* The record of block @number, a new one if nothing was added to it yet. */
static Block *block_find(Digest *d, uint64_t number)
{
    Block *unused = NULL;

    for (unsigned i = 0; i < d->nblocks; i++) {
        Block *b = &d->blocks[i];

        if (b->used && b->number == number)
            return b;
        if (!b->used)
            unused = b;
    }
    g_assert(unused);
    *unused = (Block){ .used = true, .number = number, .hash = d->fresh };
    if (d->is_tree)
        hash_update(&unused->hash, &LEAF_MARK, 1);
    return unused;
}

/* @b has all its bytes. */
static CO void block_finish(Digest *d, Block *b)
{
    uint8_t digest[DIGEST_LEN];

    hash_final(&b->hash, digest);
    if (!await_blocks(d, b->number))
        return;
    b->used = false;
    tree_push(d, 0, digest);
    co_queue_wake_all(&d->moved);
}

/* Adds to block @number the @len bytes at @within. */
static CO void block_add(Digest *d, uint64_t number, uint64_t within, const uint8_t *buf,
                         uint64_t len)
{
    Block *b = block_find(d, number);

    while (b->fill != within && !d->abandoned)
        co_queue_wait(&d->moved);
    hash_bytes(d, &b->hash, buf, len);
    if (d->abandoned)
        return;
    b->fill += len;
    if (b->fill == MIN(d->block_len, d->len - number * d->block_len))
        block_finish(d, b);
    else
        co_queue_wake_all(&d->moved);
}

void digest_add(Digest *d, uint64_t off, const void *buf, uint64_t len)
{
    const uint8_t *at = buf;

    while (len && !d->abandoned) {
        uint64_t number = off / d->block_len, within = off % d->block_len;
        uint64_t n = MIN(len, d->block_len - within);

        if (d->is_tree && n == d->block_len && (!at || buffer_is_zero(at, n))) {
            if (!at)
                n = round_down(len, d->block_len);
            if (await_blocks(d, number))
                tree_push_zeroes(d, n / d->block_len);
            co_queue_wake_all(&d->moved);
        } else {
            block_add(d, number, within, at, n);
        }
        off += n;
        len -= n;
        at = at ? at + n : NULL;
    }
}

void digest_abandon(Digest *d)
{
    d->abandoned = true;
    co_queue_wake_all(&d->moved);
}

/* ---- results -------------------------------------------------------------------------------- */

const char *digest_text(Digest *d)
{
    uint8_t root[DIGEST_LEN];

    if (d->text)
        return d->text;
    tree_root(d, root);
    d->text = hash_hex(root, DIGEST_LEN);
    return d->text;
}

void digest_print(Digest *d, const char *name)
{
    printf("%s  %s\n", digest_text(d), name);
}

bool digest_matches(Digest *d, const char *expect, const char *name)
{
    if (!expect || !g_ascii_strcasecmp(expect, digest_text(d)))
        return true;
    return complain("'%s' has the digest %s, not the expected %s", name, digest_text(d), expect);
}
