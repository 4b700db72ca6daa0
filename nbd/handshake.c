/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake of a client: fixed newstyle, one option after the other until an export is agreed.
 *
 * Nothing is read ahead, so no byte sent in clear can be taken for one sent under TLS. What was
 * agreed before STARTTLS is forgotten. An option that is too long is refused and skipped, one that
 * is absurdly long ends the connection; either way memory is bounded by OPTION_MAX.
 */
#include "io/admit.h"
#include "nbd/internal.h"
#include "util/err.h"
#include "util/trace.h"
#include <inttypes.h>
#include <string.h>

enum {
    OPTION_MAX = 64 << 10, /* bytes of data we look at */
    SKIP_MAX = 4 << 20,    /* and more up to here are read and thrown away */
    REFUSALS_MAX = 16,     /* options of a client that is not authorised before it is cut off */
    QUOTE_MAX = 256,       /* bytes of a client's text in one of ours */
};

/* What an option leads to. */
typedef enum { NEXT, AGREED, LEAVE } Outcome;

/* ---- reading what a client sent -------------------------------------------------------------- */

static const uint8_t *data_take(NbdData *d, size_t len)
{
    const uint8_t *p = d->at;

    if (d->left < len)
        return NULL;
    d->at += len;
    d->left -= len;
    return p;
}

bool nbd_data_u16(NbdData *d, uint16_t *v)
{
    const uint8_t *p = data_take(d, sizeof(be16));

    *v = p ? be16_at(p) : 0;
    return p;
}

bool nbd_data_u32(NbdData *d, uint32_t *v)
{
    const uint8_t *p = data_take(d, sizeof(be32));

    *v = p ? be32_at(p) : 0;
    return p;
}

bool nbd_data_string(NbdData *d, const char **s, uint32_t *len)
{
    *s = NULL;
    if (nbd_data_u32(d, len))
        *s = (const char *)data_take(d, *len);
    return *s;
}

/* How many bytes of a name a text for people quotes: whole characters, none of what is no text. */
static int quotable(const char *name, size_t len)
{
    const char *end;

    if (!g_utf8_validate(name, len, NULL))
        return 0;
    g_utf8_validate(name, MIN(len, QUOTE_MAX), &end);
    return end - name;
}

/* ---- replies --------------------------------------------------------------------------------- */

CO int nbd_option_reply(NbdClient *c, uint32_t option, uint32_t type, const void *data, size_t len)
{
    NbdOptionReply head = {
        .magic = be64_of(NBD_OPTION_REPLY_MAGIC),
        .option = be32_of(option),
        .type = be32_of(type),
        .length = be32_of(len),
    };
    struct iovec iov[] = { { &head, sizeof(head) }, { (void *)data, len } };

    return channel_writev_all(c->channel, iov, len ? 2 : 1);
}

CO int nbd_option_refuse(NbdClient *c, uint32_t option, uint32_t type, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return nbd_option_reply(c, option, type, text, MIN(strlen(text), NBD_STRING_MAX));
}

static Outcome next_unless(int r)
{
    return r < 0 ? LEAVE : NEXT;
}

/* ---- options --------------------------------------------------------------------------------- */

static CO Outcome option_list(NbdClient *c, uint32_t option, NbdData d)
{
    NbdServer *s = c->server;
    int r = 0;

    if (d.left)
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                             "LIST takes no data"));
    for (guint i = 0; i < s->exports->len && r == 0; i++) {
        NbdExport *e = s->exports->pdata[i];
        g_autoptr(GByteArray) a = g_byte_array_new();
        be32 len = be32_of(strlen(e->name));

        g_byte_array_append(a, (void *)&len, sizeof(len));
        g_byte_array_append(a, (void *)e->name, strlen(e->name));
        if (e->description)
            g_byte_array_append(a, (void *)e->description, strlen(e->description));
        r = nbd_option_reply(c, option, NBD_REP_SERVER, a->data, a->len);
    }
    if (r == 0)
        r = nbd_option_reply(c, option, NBD_REP_ACK, NULL, 0);
    return next_unless(r);
}

/* An export is agreed: from here on it is the client's. */
static void agree(NbdClient *c, NbdExport *e)
{
    c->export = nbd_export_ref(e);
    if (c->context_export != e)
        nbd_contexts_forget(c);
}

static CO Outcome option_export_name(NbdClient *c, NbdData d)
{
    static const uint8_t zeroes[NBD_OLDSTYLE_ZEROES];
    NbdExport *e = nbd_export_lookup(c->server, (const char *)d.at, d.left);
    NbdExportAnswer answer;
    struct iovec iov[] = { { &answer, sizeof(answer) }, { (void *)zeroes, sizeof(zeroes) } };

    /* The protocol has no way to refuse here but to leave. */
    if (!e)
        return LEAVE;
    agree(c, e);
    nbd_client_tell_size(c, e);
    answer.size = be64_of(c->size);
    answer.flags = be16_of(nbd_export_flags(e, c->style));
    return channel_writev_all(c->channel, iov, c->no_zeroes ? 1 : 2) < 0 ? LEAVE : AGREED;
}

/* The infos a client wants besides those it always gets. */
typedef struct {
    bool name, description;
} Wanted;

static CO int send_info_text(NbdClient *c, uint32_t option, uint16_t info, const char *text)
{
    g_autoptr(GByteArray) a = g_byte_array_new();
    be16 type = be16_of(info);

    g_byte_array_append(a, (void *)&type, sizeof(type));
    g_byte_array_append(a, (void *)text, strlen(text));
    return nbd_option_reply(c, option, NBD_REP_INFO, a->data, a->len);
}

static CO int send_infos(NbdClient *c, uint32_t option, const NbdExport *e, Wanted w)
{
    NbdInfoExport info = {
        .info = be16_of(NBD_INFO_EXPORT),
        .size = be64_of(c->size),
        .flags = be16_of(nbd_export_flags(e, c->style)),
    };
    /* Any length at any offset is served: clients that do not ask need not be kept away. */
    NbdInfoBlockSize block = {
        .info = be16_of(NBD_INFO_BLOCK_SIZE),
        .minimum = be32_of(1),
        .preferred = be32_of(nbd_export_preferred_block(e)),
        .maximum = be32_of(NBD_PAYLOAD_MAX),
    };
    int r = 0;

    if (w.name)
        r = send_info_text(c, option, NBD_INFO_NAME, e->name);
    if (r == 0 && w.description && e->description)
        r = send_info_text(c, option, NBD_INFO_DESCRIPTION, e->description);
    if (r == 0)
        r = nbd_option_reply(c, option, NBD_REP_INFO, &block, sizeof(block));
    if (r == 0)
        r = nbd_option_reply(c, option, NBD_REP_INFO, &info, sizeof(info));
    return r;
}

/* The data of INFO and GO: a name, a count, and that many numbers of infos. */
static bool parse_info(NbdData *d, const char **name, uint32_t *len, Wanted *w)
{
    uint16_t count, info;

    *w = (Wanted){ false };
    if (!nbd_data_string(d, name, len) || !nbd_data_u16(d, &count) || d->left != 2 * (size_t)count)
        return false;
    while (nbd_data_u16(d, &info)) {
        w->name |= info == NBD_INFO_NAME;
        w->description |= info == NBD_INFO_DESCRIPTION;
    }
    return true;
}

static CO Outcome option_info(NbdClient *c, uint32_t option, NbdData d)
{
    const char *name;
    uint32_t len;
    Wanted w;
    NbdExport *e;
    int r;

    if (!parse_info(&d, &name, &len, &w))
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                             "Lengths in this option do not fit together"));
    if (len > NBD_STRING_MAX)
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                             "Names have at most %d bytes", NBD_STRING_MAX));
    e = nbd_export_lookup(c->server, name, len);
    if (!e) {
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_UNKNOWN,
                                             "There is no export '%.*s'",
                                             quotable(name, len), name));
    }
    /* Replies may take long to leave, and the export may go meanwhile. */
    nbd_export_ref(e);
    nbd_client_tell_size(c, e);
    r = send_infos(c, option, e, w);
    if (r == 0 && !e->removed)
        r = nbd_option_reply(c, option, NBD_REP_ACK, NULL, 0);
    if (r == 0 && e->removed)
        r = -ESHUTDOWN;
    if (r == 0 && option == NBD_OPT_GO)
        agree(c, e);
    else
        nbd_client_forget_size(c);
    nbd_export_unref(e);
    return r < 0 ? LEAVE : option == NBD_OPT_GO ? AGREED : NEXT;
}

static CO Outcome option_style(NbdClient *c, uint32_t option, NbdData d)
{
    NbdReplyStyle style = option == NBD_OPT_EXTENDED_HEADERS ? NBD_EXTENDED : NBD_STRUCTURED;

    if (d.left)
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                             "This option takes no data"));
    if (style == NBD_STRUCTURED && c->style == NBD_EXTENDED)
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_EXT_HEADER_REQD,
                                             "Extended headers are agreed already"));
    if (style == c->style)
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                             "This is agreed already"));
    c->style = style;
    return next_unless(nbd_option_reply(c, option, NBD_REP_ACK, NULL, 0));
}

/* ---- TLS ------------------------------------------------------------------------------------- */

/* Asks whether the peer that TLS proved is welcome, within the time of a handshake. */
static CO bool peer_is_admitted(NbdClient *c, GError **err)
{
    NbdServer *s = c->server;

    return !s->authz || channel_admit_peer(c->channel, s->authz, nbd_handshake_deadline(c),
                                           &c->admission, err);
}

static CO Outcome option_starttls(NbdClient *c, uint32_t option, NbdData d, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (d.left)
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                             "STARTTLS takes no data"));
    if (channel_is_tls(c->channel))
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                             "TLS is in use already"));
    if (!c->server->config.tls)
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_POLICY,
                                             "This server was set up without TLS"));
    if (nbd_option_reply(c, option, NBD_REP_ACK, NULL, 0) < 0 ||
        !channel_start_tls(c->channel, c->server->config.tls, NULL, err))
        return LEAVE;
    if (!peer_is_admitted(c, &why)) {
        if (!why || why->code != EACCES) {
            g_propagate_error(err, g_steal_pointer(&why));
            return LEAVE;
        }
        nbd_report(c, "%s", why->message);
        c->refusals_left = REFUSALS_MAX;
    }
    c->style = NBD_SIMPLE;
    nbd_contexts_forget(c);
    return NEXT;
}

/* True if this option may not be answered before TLS is in use. */
static bool needs_tls(const NbdClient *c, uint32_t option)
{
    const NbdServerConfig *config = &c->server->config;

    return config->tls && !config->tls_optional && !channel_is_tls(c->channel) &&
           option != NBD_OPT_STARTTLS && option != NBD_OPT_ABORT;
}

/* A client that is not authorised is told so: it would not know why the server left. */
static CO Outcome option_unwelcome(NbdClient *c, uint32_t option)
{
    if (option == NBD_OPT_EXPORT_NAME || option == NBD_OPT_ABORT ||
        nbd_option_refuse(c, option, NBD_REP_ERR_POLICY, "This client is not authorised here") < 0)
        return LEAVE;
    return --c->refusals_left ? NEXT : LEAVE;
}

/* ---- one option after the other -------------------------------------------------------------- */

static CO Outcome option_run(NbdClient *c, uint32_t option, NbdData d, GError **err)
{
    if (c->refusals_left)
        return option_unwelcome(c, option);
    if (needs_tls(c, option)) {
        if (option == NBD_OPT_EXPORT_NAME)
            return LEAVE;
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_TLS_REQD,
                                             "This server demands TLS"));
    }
    switch (option) {
    case NBD_OPT_EXPORT_NAME:
        return option_export_name(c, d);
    case NBD_OPT_ABORT:
        nbd_option_reply(c, option, NBD_REP_ACK, NULL, 0);
        return LEAVE;
    case NBD_OPT_LIST:
        return option_list(c, option, d);
    case NBD_OPT_STARTTLS:
        return option_starttls(c, option, d, err);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return option_info(c, option, d);
    case NBD_OPT_STRUCTURED_REPLY:
    case NBD_OPT_EXTENDED_HEADERS:
        return option_style(c, option, d);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return next_unless(nbd_option_meta(c, option, d));
    default:
        return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_UNSUP,
                                             "There is no option %" PRIu32, option));
    }
}

/* Reads and forgets @len bytes. 0 or a negative errno. */
static CO int skip(NbdClient *c, uint32_t len)
{
    g_autofree uint8_t *waste = g_malloc(4096);

    while (len) {
        ssize_t n = channel_read(c->channel, waste, MIN(len, 4096));

        if (n <= 0)
            return n < 0 ? n : -EPIPE;
        len -= n;
    }
    return 0;
}

/* An option that is longer than anything we understand. */
static CO Outcome option_too_long(NbdClient *c, uint32_t option, uint32_t len)
{
    if (len > SKIP_MAX || option == NBD_OPT_EXPORT_NAME || skip(c, len) < 0)
        return LEAVE;
    return next_unless(nbd_option_refuse(c, option, NBD_REP_ERR_TOO_BIG,
                                         "Options have at most %d bytes of data", OPTION_MAX));
}

/* Receives the @len bytes of data of @option, and answers it. */
static CO Outcome option_take(NbdClient *c, uint32_t option, uint32_t len, GError **err)
{
    g_autofree uint8_t *data = g_try_malloc(len + 1);
    int r;

    c->data.since_ns = clock_now_ns();
    r = data ? channel_read_all(c->channel, data, len) : -ENOMEM;
    c->data.since_ns = 0;
    if (r < 0) {
        err_set_errno(err, r, "The connection ended in the data of an option");
        return LEAVE;
    }
    return option_run(c, option, (NbdData){ data, len }, err);
}

static CO Outcome option_receive(NbdClient *c, GError **err)
{
    Outcome outcome;
    NbdOption head;
    uint32_t option, len;
    int r = channel_read_all(c->channel, &head, sizeof(head));

    if (r < 0) {
        err_set_errno(err, r, "The connection ended in the handshake");
        return LEAVE;
    }
    option = be32_get(head.option);
    len = be32_get(head.length);
    TRACE(nbd_option, "%s option=%" PRIu32 " len=%" PRIu32, c->peer, option, len);
    if (be64_get(head.magic) != NBD_OPTS_MAGIC) {
        err_set(err, EPROTO, "An option starts with the wrong magic number");
        return LEAVE;
    }
    if (!c->fixed && option != NBD_OPT_EXPORT_NAME) {
        err_set(err, EPROTO, "Option %" PRIu32 " needs a client that speaks fixed newstyle",
                option);
        return LEAVE;
    }
    if (len > OPTION_MAX)
        return option_too_long(c, option, len);
    if (len && !nbd_memory_try(c, len) && !nbd_memory_take(c, len))
        return LEAVE;
    outcome = option_take(c, option, len, err);
    nbd_memory_give(c, len);
    return outcome;
}

/* The greeting of both sides. */
static CO bool greet(NbdClient *c, GError **err)
{
    NbdGreeting hello = {
        .magic = be64_of(NBD_MAGIC),
        .opts_magic = be64_of(NBD_OPTS_MAGIC),
        .flags = be16_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
    };
    be32 answer;
    uint32_t flags;
    int r = channel_write_all(c->channel, &hello, sizeof(hello));

    if (r == 0)
        r = channel_read_all(c->channel, &answer, sizeof(answer));
    if (r < 0)
        return err_set_errno(err, r, "The connection ended in the greeting");
    flags = be32_get(answer);
    if (flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
        return err_set(err, EPROTO, "Unknown handshake flags 0x%" PRIx32, flags);
    c->fixed = flags & NBD_FLAG_FIXED_NEWSTYLE;
    c->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    return true;
}

/*
 * Between two options: who sends them faster than we answer makes no call wait, so that nobody else
 * would have a turn and no limit would be noticed.
 */
static CO bool may_go_on(NbdClient *c, GError **err)
{
    int64_t deadline = nbd_handshake_deadline(c);

    co_yield();
    if (deadline && clock_now_ns() >= deadline)
        return err_set_errno(err, ETIMEDOUT, "The handshake did not end");
    return !c->server->stopping;
}

CO bool nbd_handshake(NbdClient *c, GError **err)
{
    Outcome o;

    if (!greet(c, err))
        return false;
    do {
        o = option_receive(c, err);
    } while (o == NEXT && may_go_on(c, err));
    return o == AGREED && !c->server->stopping;
}
