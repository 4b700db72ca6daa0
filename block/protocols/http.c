/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files on servers of HTTP and FTP, read-only: http, https, ftp, ftps.
 *
 * Small reads come from blocks that are kept; while reads follow one another the blocks ahead are
 * fetched beside them, over several connections. Large reads go past the blocks.
 */
#include "block/curl.h"
#include "block/driver.h"
#include "crypto/secret.h"
#include "io/co-lock.h"
#include "util/module.h"
#include <string.h>

enum {
    BLOCK_DEFAULT = 256 << 10,
    BLOCK_MIN = 4 << 10,
    BLOCK_MAX = 16 << 20,
    CACHE_BYTES = 8 << 20,       /* and at least CACHE_BLOCKS */
    CACHE_BLOCKS = 8,
    AHEAD_BYTES = 4 << 20,       /* fetched ahead of reads in order, at most */
    LARGE = 2 << 20,             /* requests that are worth their way */
    TIMEOUT_S = 5,
    CONNECTIONS = 16,            /* at once */
};

/* A piece of the file. */
typedef struct {
    uint64_t index;              /* times the size of a block: where it is */
    uint8_t *data;               /* NULL: this place is free */
    bool loading;
    unsigned users;              /* who use it and wait for it: it stays */
    int error;                   /* of loading it */
    uint64_t used;               /* when, in requests */
    CoQueue waiters;             /* for loading */
} Block;

typedef struct {
    const CurlModule *module;
    CurlFile *file;
    char *url;
    uint64_t size;               /* bytes */
    size_t block_len;
    Block *blocks;
    unsigned n_blocks;
    uint64_t requests;
    uint64_t next;               /* where the last request ended */
    unsigned in_order;           /* requests that followed one another */
    CoGroup ahead;
} Http;

/* ---- blocks ---------------------------------------------------------------------------------- */

static size_t block_size(const Http *s, const Block *b)
{
    return MIN(s->block_len, s->size - b->index * s->block_len);
}

static Block *block_find(Http *s, uint64_t index)
{
    for (unsigned i = 0; i < s->n_blocks; i++)
        if (s->blocks[i].data && s->blocks[i].index == index)
            return &s->blocks[i];
    return NULL;
}

/* The place whose content has not been used for longest. NULL: all are in use. */
static Block *block_evict(Http *s)
{
    Block *oldest = NULL;

    for (unsigned i = 0; i < s->n_blocks; i++) {
        Block *b = &s->blocks[i];

        if (!b->users && (!oldest || !b->data || (oldest->data && b->used < oldest->used)))
            oldest = b;
    }
    return oldest;
}

/* Block @index, with a user more, loaded or to be loaded; NULL: there is no place now. */
static Block *block_take(Http *s, uint64_t index)
{
    Block *b = block_find(s, index);

    if (!b) {
        b = block_evict(s);
        if (!b)
            return NULL;
        if (!b->data)
            b->data = g_try_malloc(s->block_len);
        if (!b->data)
            return NULL;
        b->index = index;
        b->error = -EAGAIN;
    }
    b->users++;
    b->used = s->requests;
    return b;
}

/* What could not be loaded is tried again by who comes next. */
static void block_release(Block *b)
{
    b->users--;
    if (!b->users && b->error)
        g_clear_pointer(&b->data, g_free);
}

/* Until @b is loaded; 0 or a negative errno. */
static CO int block_load(Http *s, Block *b)
{
    if (b->loading) {
        co_queue_wait(&b->waiters);
    } else if (b->error == -EAGAIN) {
        b->loading = true;
        b->error = s->module->read(s->file, b->index * s->block_len,
                                   span_of(b->data, block_size(s, b)));
        b->loading = false;
        co_queue_wake_all(&b->waiters);
    }
    return b->error;
}

typedef struct {
    Http *http;
    Block *block;
} Ahead;

static CO void ahead_run(void *arg)
{
    Ahead *a = arg;

    block_load(a->http, a->block);
    block_release(a->block);
    g_free(a);
}

/* Fetches what requests in order will want after @off. */
static void blocks_ahead(Http *s, uint64_t off)
{
    uint64_t len = MIN((uint64_t)AHEAD_BYTES, (uint64_t)s->block_len << MIN(s->in_order, 16));
    uint64_t end = MIN(s->size, off + len);

    if (s->in_order < 2)
        return;
    for (uint64_t i = off / s->block_len; i * s->block_len < end; i++) {
        Block *b = block_find(s, i) ? NULL : block_take(s, i);
        Ahead *a;

        if (!b)
            continue;
        a = g_new(Ahead, 1);
        *a = (Ahead){ s, b };
        co_group_start(&s->ahead, ahead_run, a);
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static CO int read_block(Http *s, uint64_t off, Span buf)
{
    Block *b = block_take(s, off / s->block_len);
    int r;

    if (!b)
        return s->module->read(s->file, off, buf);
    r = block_load(s, b);
    if (r == 0)
        span_write(buf, b->data + off % s->block_len);
    block_release(b);
    return r;
}

static CO int read_small(Http *s, uint64_t off, Span buf)
{
    int r = 0;

    while (buf.len && r == 0) {
        size_t n = MIN(buf.len, s->block_len - off % s->block_len);

        r = read_block(s, off, span_slice(buf, 0, n));
        off += n;
        buf = span_slice(buf, n, buf.len - n);
    }
    return r;
}

/* Several users that each go on in order count as one: their requests come near each other. */
static void order_watch(Http *s, uint64_t off, uint64_t len)
{
    uint64_t gap = off > s->next ? off - s->next : s->next - off;

    s->requests++;
    s->in_order = gap <= 4 * s->block_len ? MIN(s->in_order + 1, 16) : 0;
    s->next = off + len;
}

static CO int http_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Http *s = node_state(n);
    uint64_t have = off < s->size ? MIN(buf.len, s->size - off) : 0;

    span_zero(span_slice(buf, have, buf.len - have));
    if (!have)
        return 0;
    buf = span_slice(buf, 0, have);
    order_watch(s, off, have);
    if (have > s->block_len)
        return s->module->read(s->file, off, buf);
    blocks_ahead(s, off + have);
    return read_small(s, off, buf);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Puts the text of the secret that option @key names into *@text, if it is given. */
static bool secret_option(const json_t *o, const char *key, SecretBytes *bytes, const char **text,
                          GError **err)
{
    const char *id = json_get_str(o, key, NULL);

    if (!id)
        return true;
    if (!secret_get_utf8(id, bytes, err))
        return false;
    *text = (const char *)bytes->data;
    return true;
}

static bool block_len_set(Http *s, const json_t *o, GError **err)
{
    int64_t len = json_get_int(o, "readahead", BLOCK_DEFAULT);

    if (len < 0 || len % 512)
        return err_set(err, EINVAL, "readahead must be a multiple of 512");
    s->block_len = MAX(MIN(len, BLOCK_MAX), BLOCK_MIN);
    s->n_blocks = MAX(CACHE_BLOCKS, CACHE_BYTES / s->block_len);
    s->blocks = g_new0(Block, s->n_blocks);
    return true;
}

static bool config_read(const json_t *o, const char *scheme, CurlConfig *c, GError **err)
{
    int64_t timeout = json_get_int(o, "timeout", TIMEOUT_S);

    if (timeout < 0 || timeout > 24 * 3600)
        return err_set(err, EINVAL, "timeout must be between 0 and a day of seconds");
    c->url = json_get_str(o, "url", "");
    if (g_ascii_strncasecmp(c->url, scheme, strlen(scheme)) ||
        !g_str_has_prefix(c->url + strlen(scheme), "://"))
        return err_set(err, EINVAL, "URL '%s' does not begin with '%s://'", c->url, scheme);
    if (json_has(o, "cookie") && json_has(o, "cookie-secret"))
        return err_set(err, EINVAL, "cookie and cookie-secret exclude each other");
    c->user = json_get_str(o, "username", NULL);
    c->proxy_user = json_get_str(o, "proxy-username", NULL);
    c->cookie = json_get_str(o, "cookie", NULL);
    c->verify = json_get_bool(o, "sslverify", true);
    c->force_range = json_get_bool(o, "force-range", false);
    c->timeout_s = timeout;
    return true;
}

/* The block that came along with the size. */
static void block_keep(Http *s, CurlFound *found)
{
    if (found->head_len == MIN(s->block_len, s->size) && s->size) {
        s->blocks[0].data = found->head;
        found->head = NULL;
    }
}

static CO void file_close(Http *s)
{
    s->module->close(s->file);
    for (unsigned i = 0; i < s->n_blocks; i++)
        g_clear_pointer(&s->blocks[i].data, g_free);
    g_clear_pointer(&s->url, g_free);
}

static CO bool file_open(Node *n, const json_t *o, GError **err)
{
    Http *s = node_state(n);
    /* In the sandbox that follows no connection can be made. */
    CurlConfig c = {
        .head_len = s->block_len,
        .connections = node_flags(n) & OPEN_UNTRUSTED ? 1 : CONNECTIONS,
    };
    g_auto(SecretBytes) password = { 0 }, proxy = { 0 }, cookie = { 0 };
    CurlFound found = { 0 };

    if (!config_read(o, node_format(n), &c, err) ||
        !secret_option(o, "password-secret", &password, &c.password, err) ||
        !secret_option(o, "proxy-password-secret", &proxy, &c.proxy_password, err) ||
        !secret_option(o, "cookie-secret", &cookie, &c.cookie, err))
        return false;
    s->module = module_load("curl", err);
    s->file = s->module ? s->module->open(&c, &found, err) : NULL;
    if (!s->file)
        return err_prefix(err, "Cannot open '%s': ", c.url);
    s->url = g_strdup(c.url);
    s->size = found.size;
    block_keep(s, &found);
    g_free(found.head);
    if (s->size <= NODE_SIZE_MAX)
        return true;
    err_set(err, EFBIG, "'%s' is too large", c.url);
    file_close(s);
    return false;
}

static CO bool http_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Http *s = node_state(n);
    g_autofree char *why = g_strdup_printf("Files of servers of %s are read-only", node_format(n));

    if (!node_fall_back_read_only(n, why, err))
        return false;
    if (!block_len_set(s, o, err))
        return false;
    if (file_open(n, o, err)) {
        node_set_size(n, s->size);
        node_limits(n)->opt_transfer = LARGE;
        return true;
    }
    g_free(s->blocks);
    return false;
}

static CO void http_close(Node *n)
{
    Http *s = node_state(n);

    s->module->cancel(s->file);
    co_group_wait(&s->ahead);
    file_close(s);
    g_free(s->blocks);
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool http_parse_filename(const char *filename, json_t *o, GError **err)
{
    json_put_str(o, "url", filename);
    return true;
}

static char *http_plain_filename(Node *n)
{
    Http *s = node_state(n);
    const json_t *o = node_options(n);
    static const char *const telling[] = { "cookie", "cookie-secret", "username", "password-secret",
                                           "proxy-username", "proxy-password-secret", NULL };

    for (const char *const *key = telling; *key; key++)
        if (json_has(o, *key))
            return NULL;
    return json_get_bool(o, "sslverify", true) ? g_strdup(s->url) : NULL;
}

static uint64_t http_allocated(Node *n, bool *known)
{
    *known = false;
    return 0;
}

static const char *const http_strong_options[] = {
    "url", "sslverify", "username", "password-secret", "proxy-username", "proxy-password-secret",
    "cookie", "cookie-secret", NULL,
};

#define HTTP_OPERATIONS                                                                            \
    .kind = BLK_PROTOCOL,                                                                          \
    .state_size = sizeof(Http),                                                                    \
    .strong_options = http_strong_options,                                                         \
    .parse_filename = http_parse_filename,                                                         \
    .open = http_open,                                                                             \
    .close = http_close,                                                                           \
    .pread = http_pread,                                                                           \
    .allocated = http_allocated,                                                                   \
    .plain_filename = http_plain_filename

const BlockDriver block_http = { HTTP_OPERATIONS, .name = "http", .prefix = "http" };
const BlockDriver block_https = { HTTP_OPERATIONS, .name = "https", .prefix = "https" };
const BlockDriver block_ftp = { HTTP_OPERATIONS, .name = "ftp", .prefix = "ftp" };
const BlockDriver block_ftps = { HTTP_OPERATIONS, .name = "ftps", .prefix = "ftps" };
