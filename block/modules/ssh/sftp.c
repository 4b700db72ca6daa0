/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SFTP version 3 (draft-ietf-secsh-filexfer-02, OpenSSH's PROTOCOL for extensions), many requests
 * at a time: libssh's own client waits for each answer.
 */
#include "block/modules/ssh/internal.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/module.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

enum {
    FXP_INIT = 1, FXP_VERSION = 2, FXP_OPEN = 3, FXP_READ = 5, FXP_WRITE = 6, FXP_FSTAT = 8,
    FXP_FSETSTAT = 10, FXP_STATUS = 101, FXP_HANDLE = 102, FXP_DATA = 103, FXP_ATTRS = 105,
    FXP_EXTENDED = 200, FXP_EXTENDED_REPLY = 201,

    FXF_READ = 1, FXF_WRITE = 2, FXF_CREAT = 8, FXF_TRUNC = 16,
    ATTR_SIZE = 1, ATTR_UIDGID = 2, ATTR_PERMISSIONS = 4,

    PIECE = 32 << 10,             /* of data that every server takes */
    PIECE_MAX = 255 << 10,
    PACKET_MAX = 512 << 10,
    HANDLE_MAX = 256,
    VERSION = 3,
};

/* A request, on the stack of who made it or in an array of theirs. */
typedef struct {
    uint32_t id;
    bool done;
    int error;
    uint8_t want;      /* the type of the answer beside STATUS */
    bool is_end;       /* STATUS: end of the file */
    Span to;           /* DATA */
    size_t got;
    bool has_size;     /* ATTRS */
    uint64_t size;
    uint32_t mode;
    uint64_t limits[3]; /* EXTENDED_REPLY */
} Call;

/* ---- writing packets ------------------------------------------------------------------------- */

static void put_u8(GByteArray *b, uint8_t v)
{
    g_byte_array_append(b, &v, 1);
}

static void put_u32(GByteArray *b, uint32_t v)
{
    uint32_t be = GUINT32_TO_BE(v);

    g_byte_array_append(b, (uint8_t *)&be, sizeof(be));
}

static void put_u64(GByteArray *b, uint64_t v)
{
    put_u32(b, v >> 32);
    put_u32(b, (uint32_t)v);
}

static void put_bytes(GByteArray *b, const void *bytes, size_t len)
{
    put_u32(b, len);
    g_byte_array_append(b, bytes, len);
}

static void put_text(GByteArray *b, const char *text)
{
    put_bytes(b, text, strlen(text));
}

/* The length that comes first, once the packet that began at @start is whole. */
static void packet_end(GByteArray *b, size_t start)
{
    uint32_t be = GUINT32_TO_BE((uint32_t)(b->len - start - sizeof(uint32_t)));

    memcpy(b->data + start, &be, sizeof(be));
}

/* Begins a request; packet_end(f->out, what this returns) follows. */
static size_t call_begin(SshFile *f, Call *c, uint8_t type, uint8_t want)
{
    size_t start = f->out->len;

    c->id = f->next_id++;
    c->want = want;
    g_hash_table_insert(f->calls, GUINT_TO_POINTER(c->id), c);
    put_u32(f->out, 0);
    put_u8(f->out, type);
    put_u32(f->out, c->id);
    return start;
}

static size_t call_begin_file(SshFile *f, Call *c, uint8_t type, uint8_t want)
{
    size_t start = call_begin(f, c, type, want);

    put_bytes(f->out, f->handle->data, f->handle->len);
    return start;
}

/* ---- reading packets ------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at;
    size_t left;
    bool bad;
} Reader;

static const uint8_t *take(Reader *r, size_t len)
{
    const uint8_t *at = r->at;

    if (r->bad || len > r->left) {
        r->bad = true;
        return NULL;
    }
    r->at += len;
    r->left -= len;
    return at;
}

static uint32_t take_u32(Reader *r)
{
    const uint8_t *at = take(r, 4);

    return at ? (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3] : 0;
}

static uint64_t take_u64(Reader *r)
{
    uint64_t high = take_u32(r);

    return high << 32 | take_u32(r);
}

static const uint8_t *take_bytes(Reader *r, uint32_t *len)
{
    *len = take_u32(r);
    return take(r, *len);
}

static int status_errno(uint32_t code)
{
    static const int errors[] = { 0, 0, ENOENT, EACCES, EIO, EIO, EIO, EIO, ENOTSUP };

    return code < G_N_ELEMENTS(errors) ? -errors[code] : -EIO;
}

static void data_take(Call *c, Reader *r)
{
    uint32_t len;
    const uint8_t *data = take_bytes(r, &len);

    if (!data || !len || len > c->to.len) {
        r->bad = true;
        return;
    }
    span_write(span_slice(c->to, 0, len), data);
    c->got = len;
}

static void attrs_take(Call *c, Reader *r)
{
    uint32_t flags = take_u32(r);

    c->has_size = flags & ATTR_SIZE;
    if (flags & ATTR_SIZE)
        c->size = take_u64(r);
    if (flags & ATTR_UIDGID)
        take(r, 8);
    if (flags & ATTR_PERMISSIONS)
        c->mode = take_u32(r);
}

static void handle_take(SshFile *f, Reader *r)
{
    uint32_t len;
    const uint8_t *handle = take_bytes(r, &len);

    if (!handle || !len || len > HANDLE_MAX)
        r->bad = true;
    else
        g_byte_array_append(f->handle, handle, len);
}

/* What the server can do beyond the protocol. */
static void version_take(SshFile *f, Reader *r)
{
    r->bad |= take_u32(r) < VERSION;
    while (!r->bad && r->left) {
        uint32_t name_len, data_len;
        const char *name = (const char *)take_bytes(r, &name_len);

        if (!take_bytes(r, &data_len))
            return;
        f->can_sync |= name_len == 17 && !memcmp(name, "fsync@openssh.com", 17);
        f->has_limits |= name_len == 18 && !memcmp(name, "limits@openssh.com", 18);
    }
}

/* The answer to @c, whose type is @type. */
static void answer_take(SshFile *f, Call *c, uint8_t type, Reader *r)
{
    if (type == FXP_STATUS) {
        uint32_t code = take_u32(r);

        c->is_end = code == 1;
        c->error = status_errno(code);
        r->bad |= !code && c->want != FXP_STATUS;
    } else if (type != c->want) {
        r->bad = true;
    } else if (type == FXP_DATA) {
        data_take(c, r);
    } else if (type == FXP_ATTRS) {
        attrs_take(c, r);
    } else if (type == FXP_HANDLE) {
        handle_take(f, r);
    } else if (type == FXP_EXTENDED_REPLY) {
        for (int i = 0; i < 3; i++)
            c->limits[i] = take_u64(r);
    }
    if (r->bad)
        c->error = -EIO;
}

/* One whole packet. False: the server talks nonsense. */
static bool packet_take(SshFile *f, const uint8_t *at, size_t len)
{
    Reader r = { .at = at + 1, .left = len - 1 };
    uint32_t id = *at == FXP_VERSION ? 0 : take_u32(&r);
    Call *c = g_hash_table_lookup(f->calls, GUINT_TO_POINTER(id));

    if (!c || r.bad)
        return false;
    if (*at == FXP_VERSION && c->want == FXP_VERSION)
        version_take(f, &r);
    else
        answer_take(f, c, *at, &r);
    g_hash_table_remove(f->calls, GUINT_TO_POINTER(id));
    c->done = true;
    poll_set_changed(f->set);
    return !r.bad;
}

/* ---- the channel ----------------------------------------------------------------------------- */

static void file_break(SshFile *f, int error)
{
    GHashTableIter iter;
    gpointer value;

    f->broken = f->broken ? f->broken : error;
    g_hash_table_iter_init(&iter, f->calls);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Call *c = value;

        c->error = f->broken;
        c->done = true;
        g_hash_table_iter_remove(&iter);
    }
    poll_set_changed(f->set);
}

/* All packets that are whole in what has come. */
static bool packets_take(SshFile *f)
{
    size_t at = 0;

    while (f->in->len - at >= 4) {
        Reader r = { .at = f->in->data + at, .left = 4 };
        uint32_t len = take_u32(&r);

        if (!len || len > PACKET_MAX)
            return false;
        if (f->in->len - at - 4 < len)
            break;
        if (!packet_take(f, f->in->data + at + 4, len))
            return false;
        at += 4 + len;
    }
    if (at)
        g_byte_array_remove_range(f->in, 0, at);
    return true;
}

/* Reads what is there. 0, or a negative errno. */
static int channel_receive(SshFile *f)
{
    for (;;) {
        size_t have = f->in->len;
        int n;

        g_byte_array_set_size(f->in, have + PIECE_MAX);
        n = ssh_channel_read_nonblocking(f->channel, f->in->data + have, PIECE_MAX, 0);
        g_byte_array_set_size(f->in, have + MAX(n, 0));
        if (n == 0 || n == SSH_AGAIN)
            return ssh_channel_is_eof(f->channel) || !ssh_is_connected(f->session) ? -EPIPE : 0;
        if (n < 0)
            return -EIO;
        if (!packets_take(f))
            return -EPROTO;
    }
}

/* Hands over what the server's window has room for. */
static int channel_send(SshFile *f)
{
    while (f->out_at < f->out->len) {
        int n = ssh_channel_write(f->channel, f->out->data + f->out_at,
                                  MIN(f->out->len - f->out_at, 1 << 20));

        if (n == SSH_AGAIN || n == 0)
            return 0;
        if (n < 0)
            return -EIO;
        f->out_at += n;
    }
    g_byte_array_set_size(f->out, 0);
    f->out_at = 0;
    return 0;
}

/* What libssh waits for. */
static unsigned session_events(SshFile *f)
{
    return POLLIN | (ssh_get_poll_flags(f->session) & SSH_WRITE_PENDING ? POLLOUT : 0);
}

/* Lets libssh do what it can now. */
static void channel_turn(SshFile *f)
{
    int r = f->broken ? f->broken : channel_send(f);

    /* Sending may have received, so that the socket says nothing of it. */
    if (r == 0)
        r = channel_receive(f);
    if (r == 0)
        r = channel_send(f);
    if (r == 0)
        r = poll_set_watch(f->set, f->fd, session_events(f));
    if (r < 0)
        file_break(f, r);
    poll_set_alarm(f->set, g_hash_table_size(f->calls) ? clock_now_ns() + f->timeout_ns : 0);
}

static void on_ready(void *opaque, int fd, unsigned events)
{
    SshFile *f = opaque;

    if (fd < 0)
        file_break(f, -ETIMEDOUT);
    else
        channel_turn(f);
}

static CO int call_wait(SshFile *f, Call *c)
{
    int r = poll_set_wait(f->set, &c->done);

    if (r < 0)
        file_break(f, r);
    return c->error;
}

static CO int call_run(SshFile *f, Call *c)
{
    channel_turn(f);
    return call_wait(f, c);
}

/* ---- reading and writing --------------------------------------------------------------------- */

static void read_send(SshFile *f, Call *c, uint64_t off)
{
    size_t start = call_begin_file(f, c, FXP_READ, FXP_DATA);

    put_u64(f->out, off);
    put_u32(f->out, c->to.len);
    packet_end(f->out, start);
}

/* What a server sent too little of is asked for again. */
static CO int read_rest(SshFile *f, Call *c, uint64_t off)
{
    int r = call_wait(f, c);

    while (r == 0 && c->got < c->to.len) {
        Call more = { .to = span_slice(c->to, c->got, c->to.len - c->got) };

        /* The file has become shorter. */
        if (c->is_end)
            return -EIO;
        read_send(f, &more, off + c->got);
        r = call_run(f, &more);
        c->got += more.got;
        c->is_end = more.is_end;
    }
    return r;
}

/* @send for each piece of @buf, and waits for all answers with @wait. */
static CO int pieces_run(SshFile *f, uint64_t off, Span buf, size_t piece,
                         void (*send)(SshFile *f, Call *c, uint64_t off),
                         CO int (*wait)(SshFile *f, Call *c, uint64_t off))
{
    size_t n = (buf.len + piece - 1) / piece;
    g_autofree Call *calls = g_new0(Call, n);
    int result = f->broken;

    if (result)
        return result;
    for (size_t i = 0; i < n; i++) {
        calls[i].to = span_slice(buf, i * piece, MIN(piece, buf.len - i * piece));
        send(f, &calls[i], off + i * piece);
    }
    channel_turn(f);
    for (size_t i = 0; i < n; i++) {
        int r = wait(f, &calls[i], off + i * piece);

        result = result ? result : r;
    }
    return result;
}

static CO int file_read(void *file, uint64_t off, Span buf)
{
    SshFile *f = file;

    return pieces_run(f, off, buf, f->read_max, read_send, read_rest);
}

static void write_send(SshFile *f, Call *c, uint64_t off)
{
    size_t start = call_begin_file(f, c, FXP_WRITE, FXP_STATUS), at;

    put_u64(f->out, off);
    put_u32(f->out, c->to.len);
    at = f->out->len;
    g_byte_array_set_size(f->out, at + c->to.len);
    span_read(c->to, f->out->data + at);
    packet_end(f->out, start);
}

static CO int write_rest(SshFile *f, Call *c, uint64_t off)
{
    return call_wait(f, c);
}

static CO int file_write(void *file, uint64_t off, Span buf)
{
    SshFile *f = file;

    return pieces_run(f, off, buf, f->write_max, write_send, write_rest);
}

static CO int file_sync(void *file)
{
    SshFile *f = file;
    Call c = { 0 };
    size_t start;

    if (!f->can_sync || f->broken)
        return f->broken ? f->broken : -ENOTSUP;
    start = call_begin(f, &c, FXP_EXTENDED, FXP_STATUS);
    put_text(f->out, "fsync@openssh.com");
    put_bytes(f->out, f->handle->data, f->handle->len);
    packet_end(f->out, start);
    return call_run(f, &c);
}

static CO int file_resize(void *file, uint64_t size)
{
    SshFile *f = file;
    Call c = { 0 };
    size_t start;

    if (f->broken)
        return f->broken;
    start = call_begin_file(f, &c, FXP_FSETSTAT, FXP_STATUS);
    put_u32(f->out, ATTR_SIZE);
    put_u64(f->out, size);
    packet_end(f->out, start);
    return call_run(f, &c);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The first exchange, whose packets have no number. */
static CO int sftp_hello(SshFile *f)
{
    Call c = { .want = FXP_VERSION };

    g_hash_table_insert(f->calls, GUINT_TO_POINTER(0), &c);
    put_u32(f->out, 5);
    put_u8(f->out, FXP_INIT);
    put_u32(f->out, VERSION);
    return call_run(f, &c);
}

/* How much data in a packet the server takes and gives. */
static CO int sftp_limits(SshFile *f)
{
    Call c = { 0 };
    size_t start;
    int r;

    f->read_max = f->write_max = PIECE;
    if (!f->has_limits)
        return 0;
    start = call_begin(f, &c, FXP_EXTENDED, FXP_EXTENDED_REPLY);
    put_text(f->out, "limits@openssh.com");
    packet_end(f->out, start);
    r = call_run(f, &c);
    if (r < 0 && !f->broken)
        return 0;
    f->read_max = CLAMP(c.limits[1], PIECE, PIECE_MAX);
    f->write_max = CLAMP(c.limits[2], PIECE, PIECE_MAX);
    return r;
}

static CO int sftp_open(SshFile *f, const SshConfig *config)
{
    Call c = { 0 };
    size_t start = call_begin(f, &c, FXP_OPEN, FXP_HANDLE);

    put_text(f->out, config->path);
    put_u32(f->out, FXF_READ | (config->write ? FXF_WRITE : 0) |
            (config->create ? FXF_CREAT | FXF_TRUNC : 0));
    put_u32(f->out, config->create ? ATTR_PERMISSIONS : 0);
    if (config->create)
        put_u32(f->out, 0644);
    packet_end(f->out, start);
    return call_run(f, &c);
}

static CO int sftp_size(SshFile *f, uint64_t *size)
{
    Call c = { 0 };
    size_t start = call_begin_file(f, &c, FXP_FSTAT, FXP_ATTRS);
    int r;

    packet_end(f->out, start);
    r = call_run(f, &c);
    *size = c.size;
    if (r < 0)
        return r;
    return c.mode && !S_ISREG(c.mode) && !S_ISBLK(c.mode) ? -EINVAL : c.has_size ? 0 : -EIO;
}

static CO void file_close(void *file)
{
    SshFile *f = file;

    poll_set_free(f->set);
    session_end(f);
    g_hash_table_destroy(f->calls);
    g_byte_array_free(f->out, true);
    g_byte_array_free(f->in, true);
    g_byte_array_free(f->handle, true);
    g_free(f);
}

static CO bool file_start(SshFile *f, const SshConfig *config, uint64_t *size, GError **err)
{
    int r;

    f->set = poll_set_new(on_ready, f, err);
    if (!f->set || !session_start(f, config, err))
        return false;
    r = sftp_hello(f);
    if (r == 0)
        r = sftp_limits(f);
    if (r < 0)
        return err_set_errno(err, r, "the server does not speak SFTP");
    r = sftp_open(f, config);
    if (r == 0)
        r = sftp_size(f, size);
    return r == 0 || err_set_errno(err, r, "'%s'", config->path);
}

static CO SshFile *file_open(const SshConfig *config, uint64_t *size, GError **err)
{
    SshFile *f = g_new0(SshFile, 1);

    f->fd = -1;
    f->next_id = 1;
    f->timeout_ns = config->timeout_s * INT64_C(1000000000);
    f->calls = g_hash_table_new(NULL, NULL);
    f->out = g_byte_array_new();
    f->in = g_byte_array_new();
    f->handle = g_byte_array_new();
    if (file_start(f, config, size, err))
        return f;
    file_close(f);
    return NULL;
}

MODULE_EXPORT const SshModule ferry_module_ssh = {
    .open = file_open,
    .file = {
        .read = file_read,
        .write = file_write,
        .sync = file_sync,
        .resize = file_resize,
        .close = file_close,
    },
};
