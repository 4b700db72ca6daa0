/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The graph of images, for the core itself. Drivers and users do not include this. */
#ifndef BLOCK_INTERNAL_H
#define BLOCK_INTERNAL_H

#include "block/account.h"
#include "block/driver.h"
#include "block/edit.h"
#include "block/range.h"
#include "util/hold.h"
#include <stdatomic.h>

/* The bitmaps of @n follow its new size; in dirty.c. */
bool dirty_resize(Node *n, GError **err);
/*
 * Others have written @n, and perhaps resized it, which nobody has recorded: bitmaps that are not
 * kept in the image cover all of it and are marked all over. One for which there is no memory is
 * inconsistent.
 */
void dirty_fill(Node *n);

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
};

typedef enum {
    NODE_OPENING,           /* found by nobody but the coroutine that opens it */
    NODE_ACTIVE,
    NODE_INACTIVE,          /* somebody else may be writing the image: no requests, no locks */
    NODE_CLOSING,           /* its last user is gone; what it has cached is being written */
} NodeState;

struct Node {
    const BlockDriver *drv;
    void *state_data;       /* the driver's */
    unsigned refs;
    char *name;             /* node-name; "#blockN" when it was not given */
    char *filename;         /* shown to people; see name.c */
    json_t *options;        /* what it was opened with, children excluded, typed */
    json_t *given;          /* of those, what drv->strong_options names, as it was written */
    OpenFlags flags;
    NodeState state;
    bool starts_inactive;   /* it is being opened, and inactive then */
    /* of @flags, those that a format gets only when it has been opened so */
    OpenFlags later;
    Loop *home;             /* where its driver is entered; home.c changes it */
    IoThread *iothread;     /* where it lives unless it is held (home.h); NULL: the main loop */
    bool is_open;           /* drv->open has succeeded, so drv->close is due */
    unsigned nesting;       /* in how many other nodes it was described */
    bool is_implicit;       /* a job's filter that nobody gave a name: names look through it */
    bool probed_raw;        /* raw because nothing else matched: block 0 is guarded */
    DetectZeroes detect_zeroes;
    uint64_t size;          /* bytes */
    Limits limits;
    GPtrArray *children;    /* of Edge, owned */
    GPtrArray *parents;     /* of Edge, not owned */
    char *backing_stored, *backing_format_stored;
    bool backing_is_given; /* options described the open backing file */
    char *read_only_why;    /* why the image cannot be written; NULL: not known */

    /* Access for which the driver holds locks. */
    unsigned locked_needs, locked_shares;
    bool has_identity;      /* @identity says which file of this machine it is */
    FileIdentity identity;
    RangeLock ranges;       /* writes in flight; exclusive: read-modify-write, copy on read */
    CoMutex flush_lock;
    uint64_t write_threshold; /* bytes: a write that ends past it is told of; 0: none */
    uint64_t writes, flushed; /* writes so far, and how many of them the last flush covered */
    uint64_t highest_write; /* bytes: where the highest write so far has ended */
    struct {
        uint64_t ok, failed, ok_bytes;
    } discards;             /* that the driver was asked for */
    DirtyBitmap *bitmaps, *last_bitmap;
    GHashTable *bitmap_names; /* DirtyBitmap by name; NULL: there was none yet */
    Hold *stays;            /* on hold_migration; NULL: the image can follow its guest */
    HoldPoint busy;         /* denied by jobs: what commands may not do to a node meanwhile */
};

/*
 * Its gate (.closed, .in_flight, .gate, .idle) is used only on the loop on which its node lives.
 */
typedef struct HandleThrottle HandleThrottle;

struct Handle {
    Edge *root;
    _Atomic(Loop *) home;   /* of its node; read on any loop, changed on the one that it names */
    _Atomic uint64_t size;  /* of its node, bytes; read on any loop */
    _Atomic uint64_t least_size; /* bytes: nobody may make its node smaller; read on any loop */
    _Atomic(const char *) keeper; /* whose wish that is; stored before .least_size */
    bool fixed_home;        /* its node is not to be given another iothread */
    bool looks_at_nodes;    /* its owner does, other than by requests: they stay on the main loop */
    GPtrArray *companions;  /* of Handle: those of its job, with nodes on one loop; NULL: none */
    unsigned working;       /* home_work() that run; home loop only, as the next two */
    bool must_leave;        /* the tree is about to move and waits for them */
    Co *work_sleeper;       /* see home_work_sleeper() */
    OpenFlags flags;
    HandleKind kind;
    unsigned rank;          /* of a job, while gates close: how many jobs are above it */
    unsigned closed;        /* how often its gate was closed; new requests wait unless it is 0 */
    bool flush_failed;      /* the last flush did, and the user was told */
    unsigned in_flight;
    struct Account *account; /* NULL: its requests are not counted */
    _Atomic(HandleThrottle *) throttle; /* NULL: it never had limits; made on the main loop */
    const HandleOps *ops;   /* of its owner; NULL: it wants to be told nothing */
    void *owner;
    uint64_t told_size;     /* that the owner knows; 0 without @ops */
    CoQueue gate;           /* requests that wait for it to open */
    CoQueue idle;           /* who waits for in_flight to be 0 */
};

static inline bool node_may_have_backing(const Node *n)
{
    return n->drv->takes_backing || n->drv->reads_backing;
}

/* handle-throttle.c */
/* Waits until limits let a request of @len bytes go on. Any loop, outside of the gate. */
CO void handle_throttle_wait(HandleThrottle *t, bool is_write, uint64_t len);
/* Limits end, with what waited at them. Requests of other loops must have ended before. */
CO void handle_throttle_free(Handle *h);

/* graph.c */
Node *node_new(const BlockDriver *drv, const char *name, GError **err);
/* The node called @name whatever its state; node_find gives only those that are open. */
Node *node_named(const char *name);
Node *node_ref(Node *n);
CO void node_unref(Node *n);           /* closes it with the last reference; NULL is fine */
/* For the last user of @n: brings the files of all nodes that go with it up to date. */
CO bool node_finish(Node *n, GError **err);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Node, node_unref)
/* True if @below can be reached from @n. */
bool node_reaches(const Node *n, const Node *below);
/* The @n @nodes, which may repeat, and all that can be reached from them, once each. */
GPtrArray *nodes_and_below(Node *const *nodes, guint n);
/* The same, each after all of its parents among them. */
GPtrArray *nodes_from_the_top(Node *const *nodes, guint n);
void node_refresh_limits(Node *n);
/*
 * @n has, or may have, another size: its bitmaps follow, its handles' owners are told, and filters
 * above that show just its size are resized, too. False: bitmaps could not follow.
 */
bool node_size_changed(Node *n, GError **err);
/*
 * False with @err: a user of @n, or of nodes above that follow its size, needs more than @size
 * bytes.
 */
bool node_may_shrink(const Node *n, uint64_t size, GError **err);
/*
 * Tells the owners of handles on @n its size, if it has changed. On the home loop of @n; if that is
 * not the main loop they are told later, there. In home.c.
 */
void node_tell_size(Node *n);
/* Names and limits of @n and of all above it, after a change of its children. */
void node_children_changed(Node *n);

/*
 * The parts of steps of edits, in graph.c. An edge has the caller's reference on @node from now on.
 */
Edge *edge_new(Node *parent, Handle *handle, const char *key, Role role, Node *node);
guint edge_unlink(Edge *e);            /* its place among the children of its parent */
void edge_link(Edge *e, guint at);     /* takes edge_unlink back */
void edge_delete(Edge *e);             /* after edge_unlink; its reference becomes the caller's */
extern const EditOps edit_detach_ops;

/*
 * access.c: the access of @nodes and of all below them becomes what their users need now. First on
 * the edges alone (NULL with @err, and nothing is changed, if users conflict; a release is not
 * checked), then with locks for old and new access together; in the end exactly one of undo and
 * settle.
 */
typedef struct AccessChange AccessChange;
AccessChange *access_change(const GPtrArray *nodes, bool is_release, GError **err);
bool access_change_lock(AccessChange *c, GError **err);
void access_change_undo(AccessChange *c);
void access_change_settle(AccessChange *c);

/* filename.c: says in @err that there is no driver @name; @what: "format" or "driver". False. */
bool driver_unknown(const char *what, const char *name, GError **err);

/* open.c */
/* @nesting: in how many other nodes it is described. */
CO Node *node_open(const char *filename, json_t *options, OpenFlags flags, unsigned nesting,
                   GError **err);
bool node_is_same_file(const Node *a, const Node *b);
/* True if protocol nodes @a and @b are certainly one file, device or export. */
bool node_is_same_bytes(const Node *a, const Node *b);
/* True if @n reads the file @filename without a child for it. */
bool node_reads_file_named(const Node *n, const char *filename);
/* A protocol node of this process that reads what @filename means, NULL if there is none. */
const Node *node_find_file(const char *filename);
/* Gives @o, options of driver @d, the schema's types; children are left alone. */
bool options_check(const BlockDriver *d, json_t *o, GError **err);
/* The generic options in @o over the defaults in *@flags. */
bool flags_from_options(const json_t *o, OpenFlags *flags, DetectZeroes *detect, GError **err);
OpenFlags node_child_flags(const Node *n, Role role);

/* home.c */
static inline Loop *handle_home(const Handle *h)
{
    return atomic_load_explicit(&h->home, memory_order_acquire);
}
/* Called where requests enter drivers: they run on the home loop only. */
static inline void node_assert_home(const Node *n)
{
    g_assert(n->home == loop_self());
}
void handle_refresh_size(Handle *h);
/* @n closes. */
void home_forget(Node *n);

/* handle.c */
/* A handle that an edit will attach; it does @needs (Access bits) then. */
Handle *handle_prepare(HandleKind kind, unsigned needs);
/* A request of several parts, made of node_ and edge_ functions, is in flight between these two. */
CO void handle_begin(Handle *h);
void handle_end(Handle *h);
void handle_tell_size(Handle *h);       /* its owner, if the size is another one */
void handle_tell_replaced(Handle *h);   /* its owner, after its edge was led to another node */
unsigned handle_needs(OpenFlags flags); /* what a user with @flags does with its node */
CO void handle_drain(Handle *h);        /* waits until no request is in flight */
void handle_open_gate(Handle *h);       /* once for each time it was closed */

/* account.c. When a request of @h begins, for account_end; 0: it is not counted. */
static inline int64_t account_start(const Handle *h)
{
    return G_UNLIKELY(h->account != NULL) ? clock_now_ns() : 0;
}
/* Counts a request that began at @start; returns its @result. */
int account_end(Handle *h, AccountKind kind, uint64_t bytes, int64_t start, int result);
void account_close(Handle *h); /* with the handle; it need not have one */

/* gate.c */
/* With @on, whatever waits at @nodes for its turn, and not for I/O, goes on at once. */
void nodes_rush(const GPtrArray *nodes, bool on);
/* No request is in flight above @nodes between these two. Edits and moves only. */
typedef struct Gates Gates;
CO Gates *gates_close(const GPtrArray *nodes);
void gates_open(Gates *g);
CO void gates_free(Gates *g);

/* name.c */
Node *node_skip_implicit(Node *n);     /* below the filters that jobs put on top of @n unasked */
json_t *options_strong(const BlockDriver *d, const json_t *o); /* a copy of those; new reference */
void node_refresh_filename(Node *n);   /* after opening and after a change of children */
void node_backing_changed(Node *n);    /* an edit gave it another backing file, or none */
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
CO bool node_learn_size(Node *n, uint64_t wanted, SizeLearned *l, GError **err);
CO bool node_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                    GError **err);
/* extent.c */
CO int node_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);

/* probe.c: the driver for @n's content; NULL if reading failed. */
CO const BlockDriver *probe_format(Node *n, const char *filename, GError **err);

#endif
