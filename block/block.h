/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph of images, for its users: tools, exports, devices, jobs.
 *
 * A Node is a driver with its state. An Edge goes from a node to a child with a role. A Handle is a
 * user at the top; all requests enter by one. Offsets and lengths are bytes. Data-path functions
 * return 0 or a negative errno; control functions return bool or a pointer and set @err.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "io/co.h"
#include "io/iothread.h"
#include "qapi/schema.h"
#include "util/json.h"
#include "util/span.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct BlockDriver BlockDriver;
typedef struct Node Node;
typedef struct Edge Edge;
typedef struct Handle Handle;

/* ---- requests ------------------------------------------------------------------------------- */

typedef enum {
    REQ_FUA = 1 << 0,          /* durable when the request returns */
    REQ_MAY_UNMAP = 1 << 1,    /* zero: space may be given back */
    REQ_NO_FALLBACK = 1 << 2,  /* zero: -ENOTSUP rather than writing zeroes as data; copy: share */
    REQ_COMPRESSED = 1 << 3,   /* pwrite: store compressed, whole clusters only */
    REQ_UNCHANGED = 1 << 4,    /* pwrite: the guest-visible content stays what it was */
    REQ_COPY_ON_READ = 1 << 5, /* pread: store what comes from the backing file */
    REQ_PREFETCH = 1 << 6,     /* with COPY_ON_READ: the data itself is not wanted */
    REQ_SERIALISE = 1 << 7,    /* pwrite, zero: wait for overlapping requests, keep others out */
    REQ_NO_WAIT = 1 << 8,      /* with SERIALISE: -EBUSY instead of waiting */
} ReqFlags;

/* No single request is longer. */
#define REQ_LEN_MAX ((uint64_t)INT32_MAX & ~(uint64_t)0xffff)

/* What one question about extents is for; each is answered for as much as is alike. */
#define EXTENT_LEN_MAX (UINT64_C(1) << 50)

/*
 * No node is larger: requests rounded up to any alignment must not leave what a file offset holds.
 */
#define NODE_SIZE_MAX ((uint64_t)INT64_MAX & ~(uint64_t)0x3fffffff)

/* What a range of a node is made of. */
typedef enum {
    EXTENT_DATA = 1 << 0,       /* must be read to know what is there */
    EXTENT_ZERO = 1 << 1,       /* reads as zeroes */
    EXTENT_ALLOCATED = 1 << 2,  /* decided by this layer, not by its backing file */
    EXTENT_HOST = 1 << 3,       /* @host and @host_off say where the bytes lie as they are */
    EXTENT_COMPRESSED = 1 << 4,
    EXTENT_EOF = 1 << 5,        /* ends at the end of the node */
    EXTENT_PAST_BACKING = 1 << 6, /* zeroes only because the backing file below has ended here */
    EXTENT_RECURSE = 1 << 7,    /* from drivers only: ask @host at @host_off for the rest */
} ExtentFlags;

typedef struct {
    uint64_t len;      /* bytes from the asked offset that are alike; 0 only at the end */
    unsigned flags;    /* ExtentFlags */
    Node *host;        /* with EXTENT_HOST or EXTENT_RECURSE */
    uint64_t host_off; /* bytes within @host */
} Extent;

/* How a grown or created range gets its space. The names are those of the options. */
typedef enum { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL } Prealloc;
const char *prealloc_name(Prealloc p);
bool prealloc_parse(const char *name, Prealloc *p);  /* false: there is none of that name */

/* Any length and alignment; @off + @buf.len within the node (-EIO beyond it). */
CO int handle_pread(Handle *h, uint64_t off, Span buf, ReqFlags flags);
CO int handle_pwrite(Handle *h, uint64_t off, Span buf, ReqFlags flags);
CO int handle_zero(Handle *h, uint64_t off, uint64_t len, ReqFlags flags);
/* Advice: content afterwards is unspecified (zeroes or as before). Unaligned ends are ignored. */
CO int handle_discard(Handle *h, uint64_t off, uint64_t len);
/* The VM state of internal snapshots, a space of its own. -ENOTSUP where the format has none. */
CO int handle_vmstate_pread(Handle *h, uint64_t off, Span buf);
CO int handle_vmstate_pwrite(Handle *h, uint64_t off, Span buf);
/* All that was written before is durable when this returns 0. */
CO int handle_flush(Handle *h);
/*
 * What is at [@off, ...) of the handle's own node (not its backing file). At most @len bytes are
 * looked at. With @precise false, only EXTENT_ALLOCATED must be right: cheaper.
 */
CO int handle_extent(Handle *h, uint64_t off, uint64_t len, bool precise, Extent *e);
/* As node_extent_above with a whole chain. */
CO int handle_extent_above(Handle *h, uint64_t off, uint64_t len, bool precise, Extent *e,
                           int *depth);
/*
 * Copies without the bytes passing through us, if the file systems can; -ENOTSUP otherwise, with
 * nothing promised about [@dst_off, @dst_off + @len). With REQ_NO_FALLBACK in @flags both files
 * share the space afterwards, or nothing happens; -EINVAL then says that just this range cannot be
 * shared.
 */
CO int handle_copy(Handle *src, uint64_t src_off, Handle *dst, uint64_t dst_off, uint64_t len,
                   ReqFlags flags);
/* How far compacting has come. Zeroed by the caller, who may look at the first three. */
typedef struct {
    uint64_t done, total;   /* bytes moved, and to be moved as far as is known */
    bool finished;
    /* the driver's: */
    unsigned phase, passes, idle;
    uint64_t at, limit, moved;
} CompactState;

/* False with @err: the format cannot, or the image is read-only. */
bool node_can_compact(Node *n, GError **err);
/*
 * A step, short, of moving what lies at the end of the image's file into free space before it; at
 * last the file is cut. Call it until @s->finished.
 */
CO bool handle_compact(Handle *h, CompactState *s, GError **err);
typedef struct {
    bool is_final;      /* the size is that of the whole image */
    uint64_t at, of;    /* bytes: about how much has been read of the file, and how long it is */
} SizeLearned;

/*
 * For an image opened with OPEN_SIZE_LATER, whose size is at first only what has been read of it:
 * reads on until there are at least @wanted bytes, or all.
 */
CO bool handle_learn_size(Handle *h, uint64_t wanted, SizeLearned *l, GError **err);
/* @exact: fail rather than be larger (a device). Grown space reads as zeroes. */
CO bool handle_resize(Handle *h, uint64_t size, bool exact, Prealloc prealloc, GError **err);

/* ---- opening -------------------------------------------------------------------------------- */

typedef enum {
    OPEN_RDWR = 1 << 0,
    OPEN_RESIZE = 1 << 1,         /* will call handle_resize */
    OPEN_NO_BACKING = 1 << 2,     /* leave the backing file alone */
    OPEN_NO_IO = 1 << 3,          /* metadata only: opens no data file, asks for no key */
    OPEN_CHECK = 1 << 4,          /* for check and repair: open in spite of damage */
    OPEN_DIRECT = 1 << 5,         /* cache.direct=on by default */
    OPEN_NO_FLUSH = 1 << 6,       /* cache.no-flush=on by default */
    OPEN_WRITETHROUGH = 1 << 7,   /* every write of the handle is durable when it returns */
    OPEN_UNMAP = 1 << 8,          /* discard=unmap by default */
    OPEN_FORCE_SHARE = 1 << 9,    /* force-share=on by default (-U) */
    OPEN_COPY_ON_READ = 1 << 10,
    OPEN_PROTOCOL = 1 << 11,      /* the bytes themselves: no format on top */
    OPEN_AUTO_RDONLY = 1 << 12,   /* auto-read-only=on by default */
    OPEN_UNTRUSTED = 1 << 13,     /* nothing named inside an image is opened */
    OPEN_DENY_WRITERS = 1 << 14,  /* nobody else may write or resize meanwhile */
    OPEN_AIO_THREADS = 1 << 15,   /* aio=threads by default; at most one of these three */
    OPEN_AIO_NATIVE = 1 << 16,    /* aio=native */
    OPEN_AIO_URING = 1 << 17,     /* aio=io_uring */
    OPEN_UNCHANGED = 1 << 18,     /* writes change nothing that users above can see: commit */
    OPEN_GIVEN_BACKING = 1 << 19, /* only backing files that options describe; below NO_BACKING */
    OPEN_SIZE_LATER = 1 << 20,    /* decode nothing for the size; see handle_learn_size */
} OpenFlags;

/* Sets in *@flags what cache mode @mode ("none", "writeback", ...) means. False: no such mode. */
bool cache_mode_parse(const char *mode, OpenFlags *flags);
/* discard mode "ignore"/"off" or "unmap"/"on". */
bool discard_mode_parse(const char *mode, OpenFlags *flags);
/* aio mode "threads", "native" or "io_uring". */
bool aio_mode_parse(const char *mode, OpenFlags *flags);

/*
 * Opens an image. @filename is a file name, PROTOCOL:..., json:{...}, or NULL when @options names
 * everything. @options: nested or dotted options as the schema's BlockdevOptions describes them
 * (values may be strings), or NULL; the reference is taken. Without a "driver" the format is
 * probed. Fails leaving nothing open.
 */
CO Handle *handle_open(const char *filename, json_t *options, OpenFlags flags, GError **err);
/*
 * Closes @h. If it is the last user, everything is written first, durably; false if that failed.
 * NULL is fine.
 */
CO bool handle_close_err(Handle *h, GError **err);
/* The same where nobody can be told but by a warning: after another failure. */
CO void handle_close(Handle *h);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Handle, handle_close)

/*
 * What a handle is for. A user's request may have to wait for a job's, never the reverse. A guard
 * makes none: it only keeps other programs from what it does not share, while this one goes on as
 * before.
 */
typedef enum { HANDLE_USER, HANDLE_JOB, HANDLE_GUARD } HandleKind;

/* A handle on an existing node (a reference of its own). @needs, @shares: ACCESS_* bits. */
CO Handle *handle_new(Node *n, HandleKind kind, unsigned needs, unsigned shares, GError **err);
/*
 * The same on the node of @other, which may be another one by the time that the graph can be
 * changed.
 */
CO Handle *handle_new_beside(Handle *other, HandleKind kind, unsigned needs, unsigned shares,
                             GError **err);

/* A drive without a medium: handle_node is NULL, requests fail with -ENOMEDIUM. */
Handle *handle_new_empty(void);
/*
 * When its requests have ended, puts @h on @n, as handle_new would, or on none (NULL). If @h is the
 * last user of what it was on, that is written first. False: nothing has changed.
 */
CO bool handle_change_medium(Handle *h, Node *n, unsigned needs, unsigned shares, GError **err);

/* Changes what the reference lets change: options of the top node; OPEN_RDWR, cache, discard. */
CO bool handle_reopen(Handle *h, json_t *options, OpenFlags flags, GError **err);

/*
 * Makes @n and all below it inactive or active. Inactive nodes accept no requests (-EPERM) and hold
 * no locks, so that another program may write the image; before, all that is cached is written.
 * Active again, they read anew what may have changed, sizes included; backing files stay those that
 * are open. Fails, and leaves all in the state in which it was, if a node that stays active uses
 * one of them, or if the image cannot be had again.
 */
CO bool node_set_active(Node *n, bool active, GError **err);
/*
 * Makes @tops (of Node) inactive, one by one and for good: what they and nodes below keep in memory
 * is written. Nodes below that others use stay active until the last of those is stored. One of
 * which @failed tells why stays active; only its backing files go on without it.
 */
CO void nodes_store(const GPtrArray *tops, void (*failed)(const GError *why));
/*
 * Nodes that are opened from now on are inactive from the start, or again as usual: an image that
 * another program writes is read to be opened, but neither locked nor written.
 */
void nodes_start_inactive(bool yes);
bool node_is_active(const Node *n);

/* What a user of a node does, and lets others do meanwhile. */
typedef enum {
    ACCESS_READ = 1 << 0,       /* consistent reads */
    ACCESS_WRITE = 1 << 1,
    ACCESS_UNCHANGED = 1 << 2,  /* writes that change nothing visible */
    ACCESS_RESIZE = 1 << 3,
    ACCESS_ALL = 15,
} Access;

/* Asks for @needs (ACCESS_* bits) besides what @h has. False: somebody does not let us. */
CO bool handle_require(Handle *h, unsigned needs, GError **err);

/*
 * What a handle tells its owner. Called on the main loop, from within the change: they must not
 * suspend, nor make requests or edits. NULL members are not called.
 */
typedef struct {
    /* handle_size is another number than the owner was told last, for whatever reason. */
    void (*resized)(void *owner);
    /* An edit has put another node in place of the one the handle was on; the content stays. */
    void (*node_replaced)(void *owner);
    /* handle_change_medium: there is another content, or none. Comes before .resized. */
    void (*medium_changed)(void *owner);
    /*
     * The node lives on @thread from now on (NULL: on the main loop), but for commands and edits,
     * during which requests are passed on. The owner may have been told already.
     */
    void (*home_changed)(void *owner, IoThread *thread);
} HandleOps;

/* From now on @h tells @owner; with @ops NULL nobody. */
void handle_listen(Handle *h, const HandleOps *ops, void *owner);
/*
 * From now on nobody can make the node of @h smaller than @size bytes; 0: everybody can. @who says
 * whose wish that is to those who try, and stays the caller's until @h is closed. Main loop only.
 */
void handle_keep_size(Handle *h, uint64_t size, const char *who);

/* The owner of @h uses its nodes other than by requests, so they stay on the main loop. */
void handle_look_at_nodes(Handle *h);

Node *handle_node(Handle *h);            /* NULL: there is no medium */
uint64_t handle_size(Handle *h);         /* 0 then */
bool handle_is_writable(Handle *h);

/* ---- looking at nodes ----------------------------------------------------------------------- */

const BlockDriver *node_driver(const Node *n);
const char *node_format(const Node *n);          /* the driver's name: "qcow2" */
const char *node_name(const Node *n);            /* node-name, "" if it was not given one */
/* The same, and for one without a name that which it was given here: "#block001". */
const char *node_shown_name(const Node *n);
/* The name shown to people: a plain or protocol name where that reopens the node, else json:{}. */
const char *node_filename(const Node *n);
uint64_t node_size(const Node *n);               /* bytes a user sees */
uint64_t node_allocated(Node *n, bool *known);   /* bytes it takes on the host, all its files */
bool node_is_read_only(const Node *n);
Node *node_storage(const Node *n);               /* child with role storage; NULL if none */
Node *node_data(const Node *n);                  /* external data file, else the storage */
Node *node_backing(const Node *n);               /* backing file; NULL if none is open */
Node *node_filtered(const Node *n);              /* of a filter: what it filters; else NULL */
Node *node_skip_filters(Node *n);              /* the first node at or below @n that is no filter */
/* The backing file of @n below any filters, or NULL. */
Node *node_backing_chain_next(Node *n);
/* The backing file's name and format as the image stores them, NULL if none. */
const char *node_backing_stored(const Node *n);
const char *node_backing_format_stored(const Node *n);
/* The stored name made absolute or relative to this process. NULL if none, or @err set. Free it. */
char *node_backing_full(const Node *n, GError **err);
/* True if @n certainly reads as zeroes wherever nothing was written since it was created. */
bool node_has_zero_init(const Node *n);
/* True if @filename means the file that @n lies on, by whatever path. */
bool node_is_file_named(const Node *n, const char *filename);
/*
 * False with @err if some file that @n or a node below it may write is open in this process a
 * second time: whatever reads there would lose its content, which locks do not prevent where they
 * are off (force-share=on, locking=off, or a file system or protocol without them).
 */
bool node_check_alone(const Node *n, GError **err);
/* Finds a node by node-name, NULL if there is none. */
Node *node_find(const char *name);

/*
 * Is [@off, @off + *@len) of @n decided by @n or by a layer above @base (exclusive unless
 * @include_base; @base NULL: the whole chain)? 1 yes, 0 no, negative errno; *@len is cut to the
 * run.
 */
CO int node_is_allocated_above(Node *n, Node *base, bool include_base, uint64_t off,
                               uint64_t *len);
/* The extent of the whole chain from @n down to above @base (NULL: all). @depth may be NULL. */
CO int node_extent_above(Node *n, Node *base, uint64_t off, uint64_t len, bool precise, Extent *e,
                         int *depth);

/* ---- creating ------------------------------------------------------------------------------- */

/*
 * Creates an image of format @fmt. @opts: flat object of typed values by create option name
 * (checked with create_opts_check), "size" included. No file is left when this fails, unless the
 * message says so.
 */
CO bool image_create(const char *filename, const char *fmt, json_t *opts, GError **err);

/* Gives string values the type of their option, refuses unknown names. */
bool create_opts_check(const BlockDriver *format, const BlockDriver *protocol, json_t *opts,
                       GError **err);

/* ---- long work ------------------------------------------------------------------------------ */

/*
 * @done of @total bytes: how far something has come that no request of ours tells of, such as a
 * check, or the space of a new image. Called every few milliseconds.
 */
typedef void WorkListener(uint64_t done, uint64_t total);
/* From now on @fn (NULL: nobody) is told. One per process. */
void work_listen(WorkListener *fn);

/* ---- finding drivers ------------------------------------------------------------------------ */

extern const BlockDriver *const block_drivers[];
const BlockDriver *driver_find(const char *name);
/* "; did you mean 'qcow2'?" or "", for the end of a message about @name. Caller frees. */
char *driver_suggestion(const char *name);
/* The protocol driver for @filename: by its PREFIX:, else host_device or file. NULL with @err. */
const BlockDriver *driver_for_filename(const char *filename, bool allow_prefix, GError **err);
/* True if @filename starts with "letters:" before any slash. */
bool filename_has_protocol(const char *filename);
/* True if both names mean one file, by whatever paths. */
bool filename_is_same(const char *a, const char *b);
/* The name @filename means when found inside the image @base. Caller frees; NULL with @err. */
char *filename_combine(const char *base, const char *filename, GError **err);

/* ---- what is known about an image ----------------------------------------------------------- */

typedef struct {
    uint64_t cluster_size;      /* bytes, 0: no clusters */
    uint64_t vm_state_offset;
    uint64_t subcluster_size;   /* bytes, granularity of allocation; 0 as cluster_size */
    uint64_t expansion;         /* bytes that a byte of a compressed cluster can become; 0: none */
    bool is_dirty;
    bool is_encrypted;          /* where format-specific information does not tell */
    bool wants_compressed;      /* new data has to be written with REQ_COMPRESSED */
} NodeInfo;

/* -ENOTSUP when the driver has nothing to say. */
CO int node_info(Node *n, NodeInfo *info);
/*
 * *@bytes: how much the file of image @n lacks at its end of what the image refers to; a read there
 * gives zeroes. With @quick a few reads have to do: where the image itself says that its counts may
 * be too low, a loss that they do not show is not found. 0, or a negative errno.
 */
CO int node_missing_end(Node *n, bool quick, uint64_t *bytes);
/*
 * The "format-specific" object ({"type":..., "data": {...}}), NULL if there is none or with @err.
 */
CO json_t *node_info_specific(Node *n, GError **err);

typedef enum { CHECK_FIX_LEAKS = 1, CHECK_FIX_ERRORS = 2 } CheckFix;

typedef struct {
    int64_t corruptions, leaks, check_errors;
    int64_t corruptions_fixed, leaks_fixed;
    int64_t image_end_offset;   /* bytes; 0 unknown */
    struct {
        uint64_t total, allocated, fragmented, compressed;
    } clusters;                 /* total 0: unknown */
    bool clusters_known;
} CheckResult;

/* Findings are printed to @out, a line each, as they come. -ENOTSUP: this format has no check. */
CO int node_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err);

typedef struct {
    uint64_t required, fully_allocated;
    uint64_t bitmaps;
    bool bitmaps_known;
} MeasureResult;

/* How large @fmt would be with @opts for @source's content (NULL: opts' size, all unallocated). */
CO bool image_measure(const BlockDriver *fmt, json_t *opts, Handle *source, MeasureResult *result,
                      GError **err);

#endif
