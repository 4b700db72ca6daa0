/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block driver nbd: an export of an NBD server as a node.
 *
 * Nodes are seen in whole sectors, exports may end inside of one: what is past their end reads as
 * zeroes and cannot be written.
 */
#include "block/driver.h"
#include "gen/schema.h"
#include "nbd/options.h"
#include "nbd/uri.h"
#include <inttypes.h>
#include <limits.h>
#include <string.h>

enum {
    RUNS_MAX = 64 << 10,           /* remembered of one answer */
    RUNS_AGE_NS = 1000 * 1000 * 1000,
    SECTOR = 512,
    COARSE = 64 << 10,
    CRUMBS_MAX = 64,
    LOOK_AHEAD = 16 << 20,         /* asked for at least where one question follows another */
};

/*
 * What an answer told about the extents behind the one that was asked for. It counts for who goes
 * on from there, once, for a second at most, and only until something is changed: others may write,
 * too.
 */
typedef struct {
    NbdRun *at;        /* RUNS_MAX of them, or NULL: none yet */
    unsigned i, n;     /* those left are at[i] ... at[n - 1] ... */
    uint64_t off;      /* ... from here on, in bytes */
    int64_t until_ns;
    bool asking;       /* a call fills them */
    uint64_t changes;  /* begun and ended */
    unsigned changing; /* under way */
} Runs;

typedef struct {
    NbdRemote *remote;
    int flush_error;        /* of the last flush that the server answered; 0: it succeeded */
    unsigned flush_losses;  /* nbd_remote_losses then */
    uint64_t size;     /* bytes of the export */
    uint16_t flags;    /* NBD_FLAG_* of transmission */
    uint32_t align;    /* bytes, of every request */
    bool has_extents;  /* the server tells what is allocated */
    bool is_allocation; /* base:allocation, not another context that was asked for */
    bool is_depth;     /* in depths of a backing chain */
    uint64_t crumbs, told; /* runs smaller than a sector that it told, and bytes of all runs */
    uint64_t next_extent; /* where the last answer about extents ended */
    Runs runs;
    json_t *options;   /* ours, with "server" */
} Nbd;

/* ---- opening --------------------------------------------------------------------------------- */

static void nbd_limits(Node *n, const NbdOffer *o)
{
    Limits *l = node_limits(n);

    l->request_alignment = o->block_min;
    l->memory_alignment = 1;
    l->max_transfer = round_down(MIN(o->block_max, NBD_PAYLOAD_MAX), o->block_min);
    l->opt_transfer = o->has_blocks ? o->block_preferred : 0;
}

static CO bool nbd_connect(Node *n, NbdTarget *t, GError **err)
{
    Nbd *s = node_state(n);
    const NbdOffer *offer;
    bool wants_context = json_has(s->options, "x-dirty-bitmap");
    g_autofree char *name = g_strdup(t->export_name), *server = net_address_text(&t->address);
    const char *context;

    s->remote = nbd_remote_open(t, err);
    if (!s->remote)
        return false;
    offer = nbd_remote_offer(s->remote);
    s->flags = offer->flags;
    s->has_extents = nbd_remote_has_context(s->remote);
    context = json_get_str(s->options, "x-dirty-bitmap", NBD_CONTEXT_ALLOCATION);
    s->is_allocation = !strcmp(context, NBD_CONTEXT_ALLOCATION);
    s->is_depth = !strcmp(context, NBD_CONTEXT_DEPTH);
    s->align = offer->block_min;
    s->size = round_down(offer->size, offer->block_min);
    if (wants_context && !s->has_extents)
        return err_set(err, EINVAL, "Server '%s' has no metadata context '%s' for export '%s'",
                       server, context, name);
    nbd_limits(n, offer);
    node_set_size(n, s->size);
    if (s->flags & NBD_FLAG_READ_ONLY) {
        g_autofree char *why = g_strdup_printf("Export '%s' of server '%s' is read-only", name,
                                               server);

        return node_fall_back_read_only(n, why, err);
    }
    return true;
}

static CO void nbd_close(Node *n)
{
    Nbd *s = node_state(n);

    nbd_remote_close(s->remote);
    g_free(s->runs.at);
    json_decref(s->options);
}

static CO bool nbd_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Nbd *s = node_state(n);
    NbdTarget target = { 0 };

    s->options = nbd_options_modern(o, err);
    if (s->options && nbd_target_read(s->options, &target, err) && nbd_connect(n, &target, err))
        return true;
    nbd_close(n);
    return false;
}

static CO void nbd_leave_loop(Node *n)
{
    nbd_remote_pause(((Nbd *)node_state(n))->remote);
}

/* A move ends the attempt to connect that is under way, so with many of them none would succeed. */
static bool nbd_needs_main_loop(const Node *n)
{
    return !nbd_remote_is_up(((Nbd *)node_state(n))->remote);
}

static CO void nbd_enter_loop(Node *n)
{
    nbd_remote_go_on(((Nbd *)node_state(n))->remote);
}

/* What was told before about extents may no longer be so. */
static CO bool nbd_activate(Node *n, GError **err)
{
    Nbd *s = node_state(n);

    s->runs.n = 0;
    s->runs.changes++;
    return true;
}

static CO bool nbd_reconfigure_prepare(Node *n, const json_t *o, OpenFlags flags, void **change,
                                       GError **err)
{
    Nbd *s = node_state(n);

    if (flags & OPEN_RDWR && s->flags & NBD_FLAG_READ_ONLY)
        return err_set(err, EACCES, "The server's export '%s' is read-only",
                       json_get_str(s->options, "export", ""));
    return true;
}

/* ---- requests -------------------------------------------------------------------------------- */

static CO int nbd_call(Node *n, NbdCall *q)
{
    Nbd *s = node_state(n);

    return nbd_remote_call(s->remote, q, NULL, NULL);
}

/* Is [@off, @off + @len) of the node inside of the export? */
static bool nbd_holds(const Nbd *s, uint64_t off, uint64_t len)
{
    return off <= s->size && len <= s->size - off;
}

static CO int nbd_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Nbd *s = node_state(n);
    uint64_t have = off < s->size ? MIN(buf.len, s->size - off) : 0;
    NbdCall q = {
        .type = NBD_CMD_READ,
        .off = off,
        .len = have,
        .buf = span_slice(buf, 0, have),
    };

    if (have < buf.len)
        span_zero(span_slice(buf, have, buf.len - have));
    return have ? nbd_call(n, &q) : 0;
}

/*
 * A server may have lost what it could not flush. While a connection lasts it is the server that
 * has to remember; a restarted server knows nothing of it and would report the next flush as a
 * success.
 */
static CO int nbd_sync(Node *n)
{
    Nbd *s = node_state(n);
    NbdCall q = { .type = NBD_CMD_FLUSH };
    unsigned losses = 0;
    bool answered;
    int r;

    if (!(s->flags & NBD_FLAG_SEND_FLUSH))
        return 0;
    r = nbd_remote_call(s->remote, &q, &answered, &losses);
    if (s->flush_error && nbd_remote_losses(s->remote) != s->flush_losses)
        return s->flush_error;
    if (answered) {
        s->flush_error = r;
        s->flush_losses = losses;
    }
    return r;
}

/* Remembered extents do not outlive a change; answers that cross it are not remembered. */
static CO int nbd_change_call(Node *n, NbdCall *q)
{
    Runs *k = &((Nbd *)node_state(n))->runs;
    int r;

    k->n = 0;
    k->changes++;
    k->changing++;
    r = nbd_call(n, q);
    k->changing--;
    k->changes++;
    return r;
}

/* A change that is durable when this returns, if @flags say so. */
static CO int nbd_change(Node *n, NbdCall *q, ReqFlags flags)
{
    Nbd *s = node_state(n);
    bool fua = flags & REQ_FUA, native = s->flags & NBD_FLAG_SEND_FUA;
    int r;

    if (!nbd_holds(s, q->off, q->len))
        return -ENOSPC;
    if (fua && native)
        q->flags |= NBD_CMD_FLAG_FUA;
    r = nbd_change_call(n, q);
    return r == 0 && fua && !native ? nbd_sync(n) : r;
}

static CO int nbd_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    NbdCall q = { .type = NBD_CMD_WRITE, .off = off, .len = buf.len, .buf = buf };

    return nbd_change(n, &q, flags);
}

static CO int nbd_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    Nbd *s = node_state(n);
    NbdCall q = { .type = NBD_CMD_WRITE_ZEROES, .off = off, .len = len };

    if (!(s->flags & NBD_FLAG_SEND_WRITE_ZEROES))
        return -ENOTSUP;
    if (flags & REQ_NO_FALLBACK) {
        if (!(s->flags & NBD_FLAG_SEND_FAST_ZERO))
            return -ENOTSUP;
        q.flags |= NBD_CMD_FLAG_FAST_ZERO;
    }
    if (!(flags & REQ_MAY_UNMAP))
        q.flags |= NBD_CMD_FLAG_NO_HOLE;
    return nbd_change(n, &q, flags);
}

static CO int nbd_discard(Node *n, uint64_t off, uint64_t len)
{
    Nbd *s = node_state(n);
    NbdCall q = { .type = NBD_CMD_TRIM, .off = off, .len = len };

    if (!(s->flags & NBD_FLAG_SEND_TRIM))
        return -ENOTSUP;
    return nbd_holds(s, off, len) ? nbd_change_call(n, &q) : -EINVAL;
}

/* ---- extents --------------------------------------------------------------------------------- */

/*
 * What the flags of base:allocation mean. Other contexts are read as if they were that, of depths
 * only whether it is none, the top, or below.
 */
static unsigned nbd_extent_flags(const Nbd *s, uint64_t status)
{
    unsigned flags;

    if (s->is_depth)
        status = MIN(status, 2);
    flags = (status & NBD_STATE_HOLE ? 0 : EXTENT_DATA) |
            (status & NBD_STATE_ZERO ? EXTENT_ZERO : 0);
    return flags | (flags ? EXTENT_HOST : 0);
}

/*
 * Takes from what is remembered the run that @off is in, cut to start there. False: there is none.
 */
static bool runs_take(const Nbd *s, Runs *k, uint64_t off, NbdRun *run)
{
    if (k->asking || off < k->off || clock_now_ns() > k->until_ns)
        k->n = 0;
    for (; k->i < k->n; k->i++) {
        NbdRun here = k->at[k->i];
        uint64_t len = MIN(here.len, s->size - k->off);

        if (off - k->off < len) {
            *run = (NbdRun){ len - (off - k->off), here.flags };
            return true;
        }
        k->off += len;
    }
    return false;
}

/* One run of the status from @off on, which is aligned, looking @len bytes far. */
static CO int runs_ask(Node *n, uint64_t off, uint64_t len, NbdRun *run)
{
    NbdCall q = {
        .type = NBD_CMD_BLOCK_STATUS,
        .flags = NBD_CMD_FLAG_REQ_ONE,
        .off = off,
        .len = len,
        .runs = run,
        .max_runs = 1,
    };

    return nbd_call(n, &q);
}

/* The same, and remembers the runs behind it. */
static CO int runs_ask_many(Node *n, uint64_t off, uint64_t len, NbdRun *run)
{
    Nbd *s = node_state(n);
    Runs *k = &s->runs;
    uint64_t changes = k->changes;
    NbdCall q = { .type = NBD_CMD_BLOCK_STATUS, .off = off, .len = len, .max_runs = RUNS_MAX };
    int r;

    if (!k->at)
        k->at = g_new(NbdRun, RUNS_MAX);
    q.runs = k->at;
    k->n = 0;
    k->asking = true;
    r = nbd_call(n, &q);
    k->asking = false;
    if (r < 0)
        return r;
    *run = k->at[0];
    if (k->changes == changes && !k->changing) {
        k->i = 0;
        k->n = q.n_runs;
        k->off = off;
        k->until_ns = clock_now_ns() + RUNS_AGE_NS;
    }
    return 0;
}

/*
 * Counts @run, which starts at @off. A server that has no end of pieces of a few bytes would cost a
 * request for each: then what is around such a piece is taken for data, or for dirty, as it may
 * always be. True if that was done.
 */
static bool run_coarsen(Nbd *s, uint64_t off, NbdRun *run)
{
    bool is_crumb = run->len < SECTOR && run->len < s->size - off;

    s->crumbs += is_crumb;
    s->told += MIN(run->len, s->size - off);
    if (!is_crumb || s->crumbs < CRUMBS_MAX + s->told / COARSE)
        return false;
    run->len = round_down(off, COARSE) + COARSE - off;
    run->flags = s->is_allocation ? 0 : run->flags | NBD_STATE_DIRTY;
    s->told += run->len;
    return true;
}

/* The run that @off is in, cut to start there. */
static CO int nbd_run(Node *n, uint64_t off, uint64_t len, NbdRun *run)
{
    Nbd *s = node_state(n);
    uint64_t start = round_down(off, s->align);
    bool goes_on = off && off == s->next_extent;
    int r;

    if (goes_on && runs_take(s, &s->runs, off, run)) {
        run_coarsen(s, off, run);
        return 0;
    }
    if (goes_on)
        len = MAX(len, MIN(LOOK_AHEAD, s->size - off));
    len = MIN(round_up(off - start + len, s->align), round_down(REQ_LEN_MAX, s->align));
    r = goes_on && !s->runs.asking ? runs_ask_many(n, start, len, run)
                                   : runs_ask(n, start, len, run);
    /* It ends before @off, inside of a block of ours: where it ends a smaller block of the server's
     * begins. */
    while (r == 0 && !run_coarsen(s, start, run) && run->len <= off - start) {
        start += run->len;
        len -= run->len;
        r = runs_ask(n, start, len, run);
    }
    run->len -= r == 0 ? off - start : 0;
    return r;
}

static CO int nbd_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Nbd *s = node_state(n);
    NbdRun run;
    int r;

    if (off >= s->size) {
        *e = (Extent){ .len = len, .flags = EXTENT_ZERO | EXTENT_ALLOCATED };
        return 0;
    }
    *e = (Extent){
        .len = MIN(len, s->size - off),
        .flags = EXTENT_DATA | EXTENT_HOST,
        .host = n,
        .host_off = off,
    };
    if (!s->has_extents)
        return 0;
    r = nbd_run(n, off, e->len, &run);
    if (r == -ENOTSUP)
        return 0;
    if (r < 0)
        return r;
    e->len = MIN(e->len, run.len);
    e->flags = nbd_extent_flags(s, run.flags);
    s->next_extent = off + e->len;
    return 0;
}

/* ---- size ------------------------------------------------------------------------------------ */

static CO bool nbd_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                          GError **err)
{
    uint64_t have = node_size(n);

    /* It never grows, so there is never anything to preallocate: any @prealloc is fine. */
    if (exact ? size != have : size > have)
        return err_set(err, ENOTSUP, "An NBD export keeps its size, here %" PRIu64 " bytes, not %"
                       PRIu64, have, size);
    return true;
}

/* "Creates" an export that is there: it must be large enough, and forgets what its start said. */
static CO bool nbd_create(const char *filename, json_t *o, GError **err)
{
    return protocol_create_existing(NULL, filename, o, err);
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool nbd_parse_filename(const char *filename, json_t *o, GError **err)
{
    return nbd_uri_parse(filename, o, err);
}

static char *nbd_plain_filename(Node *n)
{
    Nbd *s = node_state(n);
    g_autofree char *name = nbd_uri_print(s->options);

    /* Longer ones are no names to the reference, nor to what reads its output. */
    return name && strlen(name) < PATH_MAX ? g_steal_pointer(&name) : NULL;
}

static uint64_t nbd_allocated(Node *n, bool *known)
{
    *known = false;
    return 0;
}

static const char *const nbd_strong_options[] = {
    "path", "host", "port", "export", "tls", "tls-creds", "tls-hostname", "server", NULL,
};

static const char *const nbd_fixed_options[] = {
    "path", "host", "port", "export", "tls", "tls-creds", "tls-hostname", "server",
    "x-dirty-bitmap", "connections", "reconnect-delay", "open-timeout", NULL,
};

static const char *const nbd_more_prefixes[] = {
    "nbd+tcp", "nbd+unix", "nbd+vsock", "nbds", "nbds+tcp", "nbds+unix", "nbds+vsock", NULL,
};

const BlockDriver block_nbd = {
    .name = "nbd",
    .kind = BLK_PROTOCOL,
    .prefix = "nbd",
    .more_prefixes = nbd_more_prefixes,
    .state_size = sizeof(Nbd),
    .any_loop = true,
    .write_flags = REQ_FUA,
    .zero_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .strong_options = nbd_strong_options,
    .fixed_options = nbd_fixed_options,
    .parse_filename = nbd_parse_filename,
    .open = nbd_open,
    .close = nbd_close,
    .activate = nbd_activate,
    .needs_main_loop = nbd_needs_main_loop,
    .leave_loop = nbd_leave_loop,
    .enter_loop = nbd_enter_loop,
    .reconfigure_prepare = nbd_reconfigure_prepare,
    .create_opts = create_opts_nbd,
    .create = nbd_create,
    .pread = nbd_pread,
    .pwrite = nbd_pwrite,
    .zero = nbd_zero,
    .discard = nbd_discard,
    .sync = nbd_sync,
    .syncs_elsewhere = true,
    .extent = nbd_extent,
    .resize = nbd_resize,
    .allocated = nbd_allocated,
    .plain_filename = nbd_plain_filename,
};
