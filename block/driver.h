/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph of images, for authors of drivers.
 *
 * A driver is one constant struct at the end of its file. The core calls its operations in
 * coroutines of the node's home loop, only with requests that fit: inside the node, aligned to its
 * limits, not larger than they allow, never a write to a read-only node. A missing operation has
 * the default that stands beside it.
 */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "block/block.h"
#include "block/event.h"
#include "block/range.h"
#include "block/snapshot.h"
#include "block/dirty.h"
#include "util/err.h"
#include "util/size.h"

typedef enum {
    BLK_FORMAT,   /* gives meaning to the bytes of a child */
    BLK_PROTOCOL, /* has the bytes */
    BLK_FILTER,   /* shows its one filtered child; missing operations pass on to it */
} BlockKind;

/* What a child is to its parent. */
typedef enum {
    ROLE_STORAGE, ROLE_DATA, ROLE_METADATA, /* files */
    ROLE_BACKING,
    ROLE_FILTERED,
    ROLE_IMAGE, /* a whole image, beside others */
} Role;

/* A file of this machine: the same one under any name and through any link. */
typedef struct {
    uint64_t device, inode;
    int64_t born_ns; /* since 1970; 0: not known. A later file may get the inode, but not that */
} FileIdentity;

/* What requests must look like for a driver. Bytes; 0 means no limit, or 1 for alignments. */
typedef struct {
    uint32_t request_alignment; /* of every read and write; a power of two, at least 1 */
    uint32_t memory_alignment;  /* of buffers */
    uint64_t max_transfer;
    uint64_t opt_transfer;      /* preferred size */
    uint64_t zero_alignment;    /* of pwrite zeroes; the core writes the rest as data */
    uint64_t max_zero;
    uint64_t discard_alignment; /* the core drops unaligned ends */
    uint64_t max_discard;
    int max_iov;
} Limits;

struct PipeSource;

struct BlockDriver {
    const char *name;       /* "qcow2", also the value of driver= */
    BlockKind kind;
    const char *prefix;     /* "nbd" of nbd:...; NULL: none */
    const char *const *more_prefixes; /* "nbd+unix", ...; NULL-ended, NULL: no others */
    size_t state_size;      /* zeroed memory for node_state */
    bool takes_backing;     /* opens a backing file */
    bool reads_backing;     /* opens the one that an image names, but cannot give an image one */
    /* a file that images come in: found by probing only when that is asked for */
    bool is_container;
    bool is_compressing;    /* pwrite knows REQ_COMPRESSED */
    /* Images of this format cannot follow a guest that moves: its name then. NULL: they can. */
    const char *stays;
    bool write_grows;       /* a format that lets writes past its end through: raw */
    /*
     * While no request is in flight a node is tied to no loop and shares nothing with other trees,
     * so it may move to another loop. False: it stays on the main loop.
     */
    bool any_loop;
    /* ReqFlags pwrite knows beyond COMPRESSED; FUA is emulated by a flush */
    unsigned write_flags;
    unsigned zero_flags;    /* ReqFlags zero knows */
    const char *const *strong_options; /* options ("a", "a.b") kept in json:{} names; NULL-ended */

    /* 0 to 100: how surely the first @len bytes of a file are of this format. Formats only. */
    int (*probe)(const uint8_t *head, size_t len, const char *filename);
    /* Turns a name with the driver's prefix into options put into @options. */
    bool (*parse_filename)(const char *filename, json_t *options, GError **err);
    /*
     * Opens @n: takes its children (node_open_child), reads its headers, sets node_set_size and
     * node_limits. @options has typed values (schema) and is the driver's to read only. On failure
     * children taken are dropped by the core; .close is not called.
     */
    CO bool (*open)(Node *n, const json_t *options, OpenFlags flags, GError **err);
    /*
     * See handle_learn_size; calls node_set_size. NULL: the size is known when the node is open
     * (filters: pass on).
     */
    CO bool (*learn_size)(Node *n, uint64_t wanted, SizeLearned *l, GError **err);
    /*
     * Is @backing, which was just opened (filters on top of it are skipped), the image that @n was
     * made on top of? NULL: the format cannot tell.
     */
    CO bool (*backing_check)(Node *n, Node *backing, GError **err);
    /*
     * From now on somebody else may write the image, or it is closed: puts everything of a writable
     * @n into its file, durably. Children are told afterwards. False after a failure, which the
     * user is told. NULL: there is nothing but what .flush writes.
     */
    CO bool (*inactivate)(Node *n, GError **err);
    /*
     * Takes inactivate back, whether it has succeeded or not, before anybody else could write the
     * image. If that fails, after a warning @n takes no more writes. NULL: there is nothing to take
     * back.
     */
    CO void (*resume)(Node *n);
    /*
     * The image is ours again: reads anew what others may have changed, the size included; children
     * are told before. After a failure the node takes no requests, until this succeeds or .close is
     * called. NULL: there is nothing to read (filters: the size is that of the child).
     */
    CO bool (*activate)(Node *n, GError **err);
    /* Frees what the state has; cannot fail, writes nothing. NULL: nothing. */
    CO void (*close)(Node *n);
    /*
     * Reopening in two steps. prepare checks and may fail; *@change is the driver's; then exactly
     * one of commit and abort follows. NULL prepare: only generic options may change.
     */
    CO bool (*reconfigure_prepare)(Node *n, const json_t *options, OpenFlags flags, void **change,
                                   GError **err);
    CO void (*reconfigure_commit)(Node *n, void *change);
    CO void (*reconfigure_abort)(Node *n, void *change);
    /*
     * Pairs of options that exclude each other: reopening with the first one drops the second one
     * of an earlier time. Ended by NULLs, NULL: none.
     */
    const char *const (*superseded_options)[2];
    /*
     * Options that reopening cannot change though there is a reconfigure; NULL-ended, NULL: none.
     */
    const char *const *fixed_options;

    /* Options of -o, of the schema (image-options.json); NULL: this driver cannot create. */
    const CreateOpt *create_opts;
    /*
     * Protocols: makes the file. Formats: makes the file through file_create and writes the format.
     */
    CO bool (*create)(const char *filename, json_t *opts, GError **err);
    /*
     * Writes what precedes the content of a new image to @pipe and says where clusters go
     * (block/pipe.h);
     * *@end: bytes of the whole image. NULL: the format cannot be laid out ahead.
     */
    CO bool (*create_ahead)(Handle *pipe, json_t *opts, const struct PipeSource *s, uint64_t *end,
                            GError **err);
    /*
     * Protocols: a number that changes whenever a regular file is written to, 0 if there is no such
     * file; removes it again after a failed create. NULL: cannot.
     */
    uint64_t (*file_stamp)(const char *filename);
    /* Which file of this machine @filename means; false if there is none. NULL: cannot be told. */
    bool (*identify)(const char *filename, FileIdentity *id);
    /* Does @n read the file @id, though it is no child of it? NULL: no. */
    bool (*reads_file)(const Node *n, FileIdentity id);
    CO int (*remove)(const char *filename);
    /* The same for amend. */
    const CreateOpt *amend_opts;
    CO bool (*amend)(Node *n, json_t *opts, bool force, GError **err);

    CO int (*pread)(Node *n, uint64_t off, Span buf, ReqFlags flags);
    /*
     * Does all of [@off, @off + @len) come from one child, byte for byte at the same offsets? Then
     * *@below is it, and all that a read does here has been done. The core goes on there, so that a
     * chain of any length costs no stack. 0 or a negative errno. NULL: pread decides.
     */
    CO int (*reads_through)(Node *n, uint64_t off, uint64_t len, Node **below);
    CO int (*pwrite)(Node *n, uint64_t off, Span buf, ReqFlags flags);
    /* -ENOTSUP: the core writes zeroes instead (unless REQ_NO_FALLBACK). NULL: the same. */
    CO int (*zero)(Node *n, uint64_t off, uint64_t len, ReqFlags flags);
    CO int (*discard)(Node *n, uint64_t off, uint64_t len);  /* NULL: nothing happens */
    bool counts_discards;          /* BlockStatsSpecific has a case for it */
    /* Moves everything cached in the driver to its children. NULL: nothing to move. */
    CO int (*flush)(Node *n);
    /*
     * Makes what is not a child's durable, after .flush and only if @n was written since the last
     * flush; then the core flushes every child. NULL: nothing. Left out with OPEN_NO_FLUSH, which
     * spares this host's disks, unless @syncs_elsewhere.
     */
    CO int (*sync)(Node *n);
    bool syncs_elsewhere;
    /* In place of all that, for who flushes its children its own way. NULL: the core does it. */
    CO int (*flush_all)(Node *n);
    /* At least one byte; see Extent. NULL: all data, allocated (filters: pass on). */
    CO int (*extent)(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e);
    /*
     * Host-side copy from @src_off of @src, a protocol node; see handle_copy. NULL: -ENOTSUP.
     */
    CO int (*copy)(Node *n, uint64_t off, Node *src, uint64_t src_off, uint64_t len,
                   ReqFlags flags);
    CO bool (*resize)(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                      GError **err);

    CO int (*info)(Node *n, NodeInfo *info);
    CO json_t *(*info_specific)(Node *n, GError **err);
    /* See node_missing_end. NULL: not known. */
    CO int (*missing_end)(Node *n, bool quick, uint64_t *bytes);
    CO int (*check)(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err);
    CO bool (*measure)(json_t *opts, Handle *source, MeasureResult *result, GError **err);
    /* Rewrites the stored backing name and format; NULL @name removes them. */
    CO int (*change_backing)(Node *n, const char *name, const char *format);
    /* Empties the image: everything reads from the backing file again. NULL: -ENOTSUP. */
    CO int (*make_empty)(Node *n);
    /* See handle_compact; requests wait meanwhile. NULL: -ENOTSUP. */
    CO bool (*compact)(Node *n, CompactState *s, GError **err);
    /* Bytes taken on the host by this node's own files. NULL: the sum of its children. */
    uint64_t (*allocated)(Node *n, bool *known);
    bool (*has_zero_init)(Node *n);   /* NULL: false (filters: pass on) */
    /*
     * The plain name that reopens @n, or NULL; the caller frees. NULL operation: by kind, see
     * name.c.
     */
    char *(*plain_filename)(Node *n);
    /*
     * What @n asks of a child with role @role when its parents need and share this. NULL: defaults.
     */
    void (*child_access)(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                         unsigned *needs, unsigned *shares);
    /*
     * For drivers with any number of equal children: the key under which @child is added, which the
     * caller frees; may @e be removed? NULL: the children stay those with which it was opened.
     */
    char *(*child_add)(Node *n, const Node *child, GError **err);
    bool (*child_remove)(Node *n, const Edge *e, GError **err);
    /*
     * Takes the locks for needs and shares, and gives up what goes beyond them. Cannot fail, and
     * may be given no @err, if no more is asked than is held. Does not suspend. NULL: nothing to
     * do. Protocols only.
     */
    bool (*lock)(Node *n, unsigned needs, unsigned shares, GError **err);
    /*
     * Until this is called with @on false, requests that wait for anything but I/O go on at once:
     * an edit waits for them. Does not suspend. NULL: none waits.
     */
    void (*rush)(Node *n, bool on);
    /*
     * Waits until nothing is in flight that no request waits for any more. An edit does so when
     * requests have ended. NULL: there is nothing such.
     */
    CO void (*drain)(Node *n);
    /*
     * @n is about to live on another loop: ends its coroutines and timers on this one. No request
     * is in flight. NULL: there are none. Then, on the new loop: starts them there.
     */
    CO void (*leave_loop)(Node *n);
    CO void (*enter_loop)(Node *n);
    /* With any_loop: must @n stay on the main loop for the time being? NULL: never. */
    bool (*needs_main_loop)(const Node *n);
    /* Recomputes node_limits(n) when those of a child changed. */
    void (*refresh_limits)(Node *n);
    /* Something that BlockEvent names is about to happen in the parent. blkdebug. */
    CO void (*event)(Node *n, BlockEvent event);
    const DebugOps *debug;         /* breakpoints; NULL: none */
    const SnapshotOps *snapshots;  /* NULL: none */
    bool snapshots_of_file;        /* shows those of its file as its own: raw */
    const BitmapOps *bitmaps;      /* persistent dirty bitmaps; NULL: none */
    /* VM state of internal snapshots, in a space of its own. */
    CO int (*vmstate_pread)(Node *n, uint64_t off, Span buf);
    CO int (*vmstate_pwrite)(Node *n, uint64_t off, Span buf);
};

/*
 * The driver of the format that the first @len bytes of a file, at most PROBE_LEN, are in: raw
 * unless they look like something else. @filename is the name the user gave, NULL if there is none.
 */
enum { PROBE_LEN = 512 };
const BlockDriver *probe_head(const uint8_t *head, size_t len, const char *filename);
/* The same of containers. NULL: of none. */
const BlockDriver *probe_container(const uint8_t *head, size_t len);

/* ---- a driver's view of its node ------------------------------------------------------------ */

void *node_state(const Node *n);
Limits *node_limits(Node *n);
/*
 * Sets the size in bytes; rounded up to a multiple of 512, as images are seen everywhere. Reads
 * past the end of a file give zeroes.
 */
void node_set_size(Node *n, uint64_t size);
/* Says which file of this machine @n is, so that loops are found. Protocols. */
void node_set_identity(Node *n, FileIdentity id);
/* The options @n was opened with, typed. */
const json_t *node_options(const Node *n);
/* True if @n is raw only because its content looked like no known format. */
bool node_is_probed_raw(const Node *n);
/* True if no option was given to @n that a json:{} name would have to tell. */
bool node_is_plain(const Node *n);
/* The same if @option does not count. */
bool node_is_plain_but(const Node *n, const char *option);
/* The OpenFlags in force for @n: OPEN_RDWR, OPEN_DIRECT, OPEN_NO_FLUSH, OPEN_UNMAP, ... */
OpenFlags node_flags(const Node *n);
/*
 * Turns @n read-only while opening, for an image that cannot be written, if auto-read-only lets us;
 * false with @err (EACCES, starting with @why) otherwise. Formats and filters: it stays so until
 * closed.
 */
bool node_fall_back_read_only(Node *n, const char *why, GError **err);

/*
 * Opens the child that option @key of @options describes (an object, or a string naming a node) or,
 * when @key is absent, the file @filename. Flags the child inherits come from @n and @role. Returns
 * its edge, also found by node_storage(n) etc. from then on. NULL with @err; with @optional, NULL
 * and no error when there is neither.
 */
CO Edge *node_open_child(Node *n, const char *key, const char *filename, const json_t *options,
                         Role role, bool optional, GError **err);
/* As handle_open, for driver code of @n, which counts as the node above. Borrows @options. */
CO Handle *handle_open_below(const Node *n, json_t *options, OpenFlags flags, GError **err);
/*
 * Puts what @filename means (a name, PROTOCOL:..., json:{...}) into member @key of @options, as the
 * options of a node that has no format on top, unless there are such options. For parse_filename.
 */
bool node_describe_child(json_t *options, const char *key, const char *filename, GError **err);

/* What the image says about its backing file; @format NULL: not stored. Copied. */
void node_set_backing_stored(Node *n, const char *filename, const char *format);

Edge *node_edge(const Node *n, Role role);    /* the first child of that role, NULL if none */
Edge *node_edge_at(const Node *n, unsigned i);  /* the i-th child, NULL past the end */
unsigned node_child_count(const Node *n);
Node *edge_node(const Edge *e);
const char *edge_key(const Edge *e);          /* "file", "backing", "children.0" */

/* Requests from a driver to a child: the same meaning as those of handles. */
CO int edge_pread(Edge *e, uint64_t off, Span buf, ReqFlags flags);
CO int edge_pwrite(Edge *e, uint64_t off, Span buf, ReqFlags flags);
CO int edge_zero(Edge *e, uint64_t off, uint64_t len, ReqFlags flags);
CO int edge_discard(Edge *e, uint64_t off, uint64_t len);
CO int edge_flush(Edge *e);
CO int edge_extent(Edge *e, uint64_t off, uint64_t len, bool precise, Extent *ext);
CO int edge_copy(Edge *e, uint64_t off, Node *src, uint64_t src_off, uint64_t len, ReqFlags flags);
CO bool edge_resize(Edge *e, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                    GError **err);
uint64_t edge_size(const Edge *e);

static inline CO int edge_pread_buf(Edge *e, uint64_t off, void *buf, size_t len)
{
    return edge_pread(e, off, span_of(buf, len), 0);
}

static inline CO int edge_pwrite_buf(Edge *e, uint64_t off, const void *buf, size_t len)
{
    return edge_pwrite(e, off, span_of_const(buf, len), 0);
}

/* Tells the child @e, if it is a blkdebug, that @event is about to happen. May suspend there. */
CO void edge_event(Edge *e, BlockEvent event);

/*
 * Creates the file a new format image is to lie in, @size bytes long (0 for formats that grow),
 * with the options of the protocol that came along in @opts (the create operation's), and opens it
 * for writing and resizing. NULL with @err.
 */
CO Handle *file_create(const char *filename, json_t *opts, uint64_t size, GError **err);
/*
 * The create operation of protocols whose files exist already: devices, exports. Checks that
 * @filename has room for "size" bytes and clears its first sector, lest it hold another format's
 * header. @driver: of @filename; NULL: @filename says so itself.
 */
CO bool protocol_create_existing(const char *driver, const char *filename, const json_t *opts,
                                 GError **err);
/* Removes what file_create made, after a failure; image_create does so by itself. */
CO void file_create_undo(const char *filename, GError **err);

/* Tells the WorkListener. Cheap. Main loop only. */
void work_tell(uint64_t done, uint64_t total);

/* A line on stderr that starts with the program's name: "NAME: warning: ...". */
void block_warn(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

#endif
