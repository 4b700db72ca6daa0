/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The graph of images, for the core itself. Drivers and users do not include this. */
#ifndef BLOCK_INTERNAL_H
#define BLOCK_INTERNAL_H

#include "block/driver.h"
#include "block/range.h"

/* The bitmaps of @n follow its new size; in dirty.c. */
bool dirty_resize(Node *n, GError **err);

typedef enum { DETECT_ZEROES_OFF, DETECT_ZEROES_ON, DETECT_ZEROES_UNMAP } DetectZeroes;

/*
 * From a user to what it uses: from a parent node, or from a handle, to a node. It holds one
 * reference on @node.
 */
struct Edge {
    Node *node;
    Node *parent;      /* NULL: a handle's */
    Handle *handle;    /* NULL: a node's */
    char *key;         /* option name in the parent, "root" for handles */
    Role role;
    unsigned needs, shares; /* Access bits in force */
    bool is_guard;          /* what it does not share concerns other programs only */
};

struct Node {
    const BlockDriver *drv;
    void *state;
    unsigned refs;
    char *name;             /* node-name; "#blockN" when it was not given */
    char *filename;         /* shown to people; see name.c */
    json_t *options;        /* what it was opened with, children excluded, typed */
    json_t *given;          /* of those, what drv->strong_options names, as it was written */
    OpenFlags flags;
    bool is_closing;
    bool is_open;           /* drv->open has succeeded */
    bool probed_raw;        /* raw because nothing else matched: block 0 is guarded */
    DetectZeroes detect_zeroes;
    uint64_t size;          /* bytes */
    Limits limits;
    GPtrArray *children;    /* of Edge, owned */
    GPtrArray *parents;     /* of Edge, not owned */
    char *backing_stored, *backing_format_stored;
    bool backing_is_given; /* options described the open backing file */

    bool has_identity;      /* @identity says which file of this machine it is */
    FileIdentity identity;
    RangeLock ranges;       /* writes in flight; exclusive: read-modify-write, copy on read */
    CoMutex flush_lock;
    uint64_t writes, flushed; /* writes so far, and how many of them the last flush covered */
    DirtyBitmap *bitmaps, *last_bitmap;
    GHashTable *bitmap_names; /* DirtyBitmap by name; NULL: there was none yet */
};

struct Handle {
    Edge *root;
    OpenFlags flags;
    bool is_gated;          /* new requests wait */
    bool flush_failed;      /* the last flush did, and the user was told */
    unsigned in_flight;
    CoQueue gate;           /* requests that wait for it to open */
    CoQueue idle;           /* who waits for in_flight to be 0 */
};

/* graph.c */
Node *node_new(const BlockDriver *drv, const char *name, GError **err);
Node *node_ref(Node *n);
CO void node_unref(Node *n);           /* closes it with the last reference; NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Node, node_unref)
/* A new edge; takes over the caller's reference on @node. Access is not asked for yet. */
Edge *edge_new(Node *parent, Handle *handle, const char *key, Role role, Node *node);
CO void edge_free(Edge *e);
/* True if @below can be reached from @n. */
bool node_reaches(const Node *n, const Node *below);
void node_refresh_limits(Node *n);

/* access.c */
CO bool access_refresh(Node *n, GError **err);  /* needs and shares from the parents down, locks */
CO bool edge_set_access(Edge *e, unsigned needs, unsigned shares, GError **err);

/* filename.c: says in @err that there is no driver @name; @what: "format" or "driver". False. */
bool driver_unknown(const char *what, const char *name, GError **err);

/* open.c */
CO Node *node_open(const char *filename, json_t *options, OpenFlags flags, GError **err);
bool node_is_same_file(const Node *a, const Node *b);
/* True if protocol nodes @a and @b are certainly one file, device or export. */
bool node_is_same_bytes(const Node *a, const Node *b);
/* A protocol node of this process whose bytes @filename means, NULL if there is none. */
const Node *node_find_file(const char *filename);
/* Gives @o, options of driver @d, the schema's types; children are left alone. */
bool options_check(const BlockDriver *d, json_t *o, GError **err);
/* The generic options in @o over the defaults in *@flags. */
bool flags_from_options(const json_t *o, OpenFlags *flags, DetectZeroes *detect, GError **err);
OpenFlags node_child_flags(const Node *n, Role role);

/* handle.c: what a user with @flags does with its node */
unsigned handle_needs(OpenFlags flags);

/* gate.c */
CO void gate_close_above(Node *n);     /* and wait until no request is in flight there */
void gate_open_above(Node *n);

/* name.c */
json_t *options_strong(const BlockDriver *d, const json_t *o); /* a copy of those; new reference */
void node_refresh_filename(Node *n);   /* after opening and after a change of children */
json_t *node_full_options(Node *n);    /* all that reopens @n; new reference */

/* request.c: requests between nodes; @needs_grow: may enlarge the node */
CO int node_pread(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int node_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int node_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags);
CO int node_discard(Node *n, uint64_t off, uint64_t len);
CO int node_flush(Node *n);
CO void node_event(Node *n, BlockEvent event);
/* copy.c: host-side copy between the protocol nodes below; -ENOTSUP when that cannot be done */
CO int node_copy(Node *src, uint64_t src_off, Node *dst, uint64_t dst_off, uint64_t len,
                 ReqFlags flags);
/* copy-on-read.c */
CO int copy_on_read(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO bool node_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                    GError **err);
/* extent.c */
CO int node_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);

/* probe.c: the format of @n's content, never NULL (raw at worst) unless reading failed. */
CO const BlockDriver *probe_format(Node *n, const char *filename, GError **err);

#endif
