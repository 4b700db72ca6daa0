/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake of a client, one option after the other.
 *
 *     greeting -> STARTTLS -> EXTENDED_HEADERS or STRUCTURED_REPLY -> contexts -> GO
 *
 * Servers that know less: GO becomes EXPORT_NAME, and an old-style server tells its only export in
 * its greeting.
 */
#include "nbd/client-handshake.h"
#include "nbd/proto.h"
#include "util/err.h"
#include "util/printable.h"
#include <inttypes.h>
#include <string.h>

/* What a server may say in answer to one option. */
enum {
    REPLY_MAX = 3 * NBD_STRING_MAX, /* bytes in one piece */
    REPLIES_MAX = 65536,            /* pieces */
    TEXT_MAX = 8 << 20,             /* bytes of names and descriptions in all of them */
    INFOS_MAX = 64,                 /* pieces in answer to GO or INFO */
    SHOWN_MAX = 5,                  /* names of exports in a message */
};

void nbd_offer_clear(NbdOffer *o)
{
    g_free(o->name);
    g_free(o->description);
    *o = (NbdOffer){ 0 };
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* One piece of the answer to an option. */
typedef struct {
    uint32_t type, len;
    uint8_t data[REPLY_MAX + 1]; /* a zero follows */
} Reply;

/*
 * What the server said when it ended TLS, which may be there though nothing can be sent any more.
 */
static const char *tls_problem(Channel *c)
{
    uint8_t rest;

    if (channel_is_tls(c) && !channel_tls_problem(c))
        channel_try_read(c, &rest, sizeof(rest));
    return channel_tls_problem(c);
}

static bool wire_fail(const NbdHandshake *h, int r, const char *doing, GError **err)
{
    const char *problem = tls_problem(h->channel);

    if (problem)
        return err_set(err, EACCES, "TLS: The server refused: %s", problem);
    if (h->tls_fresh && (r == -EPIPE || r == -EIO || r == -ECONNRESET))
        return err_set(err, EACCES, "The server left as soon as TLS was in use: it may not "
                       "authorise this client");
    if (r == -EPIPE || r == -EIO)
        return err_set(err, ECONNRESET, "The server left while we were %s", doing);
    return err_set_errno(err, r, "Connection failed while we were %s", doing);
}

static CO bool read_whole(NbdHandshake *h, void *buf, size_t len, const char *doing, GError **err)
{
    int r = channel_read_all(h->channel, buf, len);

    return r < 0 ? wire_fail(h, r, doing, err) : true;
}

static CO bool option_send(NbdHandshake *h, uint32_t option, const void *data, size_t len,
                           GError **err)
{
    NbdOption head = {
        .magic = be64_of(NBD_OPTS_MAGIC),
        .option = be32_of(option),
        .length = be32_of(len),
    };
    struct iovec iov[] = { { &head, sizeof(head) }, { (void *)data, len } };
    int r = channel_writev_all(h->channel, iov, len ? 2 : 1);

    return r < 0 ? wire_fail(h, r, "asking for an option", err) : true;
}

static CO bool reply_read(NbdHandshake *h, uint32_t option, Reply *reply, GError **err)
{
    NbdOptionReply head;

    if (!read_whole(h, &head, sizeof(head), "waiting for an answer", err))
        return false;
    h->tls_fresh = false;
    if (be64_get(head.magic) != NBD_OPTION_REPLY_MAGIC)
        return err_set(err, EPROTO, "The server's answer starts with 0x%" PRIx64
                       ", not as an NBD server's", be64_get(head.magic));
    if (be32_get(head.option) != option)
        return err_set(err, EPROTO, "The server answers option %u, not %u",
                       be32_get(head.option), option);
    reply->type = be32_get(head.type);
    reply->len = be32_get(head.length);
    if (reply->len > REPLY_MAX)
        return err_set(err, EPROTO, "The server's answer has %u bytes, more than %d", reply->len,
                       REPLY_MAX);
    reply->data[reply->len] = 0;
    return !reply->len || read_whole(h, reply->data, reply->len, "reading an answer", err);
}

static bool reply_is_error(const Reply *r)
{
    return r->type & NBD_REP_ERR(0);
}

/* True if @len bytes of text are UTF-8 without zeroes, and not too many. */
static bool text_is_fine(const uint8_t *text, size_t len)
{
    return len <= NBD_STRING_MAX && g_utf8_validate((const char *)text, len, NULL);
}

/* What an error answer means as an errno and in words. */
static const struct {
    uint32_t type;
    int code;
    const char *text;
} refusals[] = {
    { NBD_REP_ERR_UNSUP, ENOTSUP, "does not know it" },
    { NBD_REP_ERR_POLICY, EACCES, "does not allow it" },
    { NBD_REP_ERR_INVALID, EINVAL, "finds it malformed" },
    { NBD_REP_ERR_PLATFORM, ENOTSUP, "cannot do it where it runs" },
    { NBD_REP_ERR_TLS_REQD, EACCES, "demands TLS first" },
    { NBD_REP_ERR_UNKNOWN, ENOENT, "has no such export" },
    { NBD_REP_ERR_SHUTDOWN, ESHUTDOWN, "is shutting down" },
    { NBD_REP_ERR_BLOCK_SIZE_REQD, EINVAL, "wants its block sizes to be obeyed" },
    { NBD_REP_ERR_TOO_BIG, EOVERFLOW, "finds it too large" },
    { NBD_REP_ERR_EXT_HEADER_REQD, ENOTSUP, "wants extended headers" },
};

/* Sets @err to the refusal that @r is. @what the server was asked. */
static bool reply_refused(const Reply *r, const char *what, GError **err)
{
    const char *text = "refuses it for a reason we do not know";
    g_autofree char *said = NULL;
    int code = EINVAL;

    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++)
        if (refusals[i].type == r->type) {
            text = refusals[i].text;
            code = refusals[i].code;
        }
    err_set(err, code, "%s: the server %s", what, text);
    if (r->type == NBD_REP_ERR_TLS_REQD)
        err_line(err, "Did you forget a valid tls-creds?");
    else if (r->len && text_is_fine(r->data, r->len))
        err_line(err, "server reported: %s", said = printable((const char *)r->data));
    return false;
}

static bool reply_unexpected(const Reply *r, const char *what, GError **err)
{
    if (reply_is_error(r))
        return reply_refused(r, what, err);
    return err_set(err, EPROTO, "%s: the server's answer of type %u and %u bytes makes no sense",
                   what, r->type, r->len);
}

/* ---- greeting -------------------------------------------------------------------------------- */

/* Checks what every offer must be. */
static bool offer_check(const NbdHandshake *h, NbdOffer *o, GError **err)
{
    if (o->size > INT64_MAX)
        return err_set(err, EFBIG, "The server's export has %" PRIu64 " bytes, too many", o->size);
    if (!(o->flags & NBD_FLAG_HAS_FLAGS))
        o->flags = 0;
    if (!o->has_blocks) {
        /* Unless told, any server takes sectors; one whose export ends inside of one, or that tells
         * the status of blocks, is newer and takes less. */
        o->block_min = o->size % 512 || h->has_context ? 1 : 512;
        o->block_preferred = 4096;
        o->block_max = NBD_PAYLOAD_MAX;
        return true;
    }
    if (!o->block_min || o->block_min & (o->block_min - 1) || o->block_min > 64 << 10)
        return err_set(err, EPROTO, "The server's smallest block of %u bytes is not a power of two "
                       "up to 64 KiB", o->block_min);
    if (o->block_preferred & (o->block_preferred - 1) ||
        o->block_preferred < MAX(o->block_min, 512))
        return err_set(err, EPROTO,
                       "The server's preferred block of %u bytes is not a power of two "
                       "from 512 and %u on",
                       o->block_preferred, o->block_min);
    if (o->block_max < o->block_min ||
        (o->block_max != UINT32_MAX && o->block_max % o->block_min))
        return err_set(err, EPROTO,
                       "The server's largest block of %u bytes is not a multiple of its "
                       "smallest, %u",
                       o->block_max, o->block_min);
    return true;
}

static CO bool greeting_oldstyle(NbdHandshake *h, TlsCreds *creds, GError **err)
{
    NbdOldstyleExport e;

    if (creds)
        return err_set(err, ENOTSUP, "The server is of the old style, which has no TLS");
    if (!read_whole(h, &e, sizeof(e), "reading the export of an old-style server", err))
        return false;
    h->oldstyle = true;
    h->old.size = be64_get(e.size);
    h->old.flags = be16_get(e.flags);
    return offer_check(h, &h->old, err);
}

static CO bool greeting_newstyle(NbdHandshake *h, GError **err)
{
    uint32_t flags = 0;
    be16 theirs;
    be32 ours;
    int r;

    if (!read_whole(h, &theirs, sizeof(theirs), "reading the greeting", err))
        return false;
    h->fixed = be16_get(theirs) & NBD_FLAG_FIXED_NEWSTYLE;
    h->no_zeroes = be16_get(theirs) & NBD_FLAG_NO_ZEROES;
    flags |= h->fixed ? NBD_FLAG_FIXED_NEWSTYLE : 0;
    flags |= h->no_zeroes ? NBD_FLAG_NO_ZEROES : 0;
    ours = be32_of(flags);
    r = channel_write_all(h->channel, &ours, sizeof(ours));
    return r < 0 ? wire_fail(h, r, "answering the greeting", err) : true;
}

static CO bool greeting_read(NbdHandshake *h, TlsCreds *creds, GError **err)
{
    be64 magic, style;

    if (!read_whole(h, &magic, sizeof(magic), "waiting for the greeting", err))
        return false;
    if (be64_get(magic) != NBD_MAGIC)
        return err_set(err, EPROTO, "This is not an NBD server: it says 0x%016" PRIx64,
                       be64_get(magic));
    if (!read_whole(h, &style, sizeof(style), "reading the greeting", err))
        return false;
    if (be64_get(style) == NBD_OLDSTYLE_MAGIC)
        return greeting_oldstyle(h, creds, err);
    if (be64_get(style) == NBD_OPTS_MAGIC)
        return greeting_newstyle(h, err);
    return err_set(err, EPROTO, "The server speaks an unknown kind of NBD, 0x%016" PRIx64,
                   be64_get(style));
}

/* ---- TLS and kinds of replies ---------------------------------------------------------------- */

/* An option without data that is granted or not. False with @err if the server makes no sense. */
static CO bool option_try(NbdHandshake *h, uint32_t option, const char *what, bool *granted,
                          GError **err)
{
    g_autofree Reply *reply = g_new(Reply, 1);

    *granted = false;
    if (!option_send(h, option, NULL, 0, err) || !reply_read(h, option, reply, err))
        return false;
    *granted = reply->type == NBD_REP_ACK && !reply->len;
    return *granted || reply_is_error(reply) ? true : reply_unexpected(reply, what, err);
}

static CO bool handshake_tls(NbdHandshake *h, TlsCreds *creds, const char *hostname, GError **err)
{
    g_autofree Reply *reply = g_new(Reply, 1);

    if (!h->fixed)
        return err_set(err, ENOTSUP, "The server is too old for TLS");
    if (!option_send(h, NBD_OPT_STARTTLS, NULL, 0, err) ||
        !reply_read(h, NBD_OPT_STARTTLS, reply, err))
        return false;
    if (reply->type != NBD_REP_ACK || reply->len)
        return reply_unexpected(reply, "TLS", err);
    h->tls_fresh = channel_start_tls(h->channel, creds, hostname, err);
    return h->tls_fresh;
}

bool nbd_handshake_start(NbdHandshake *h, Channel *channel, TlsCreds *creds, const char *hostname,
                         GError **err)
{
    *h = (NbdHandshake){ .channel = channel };
    if (!greeting_read(h, creds, err))
        return false;
    return !creds || handshake_tls(h, creds, hostname, err);
}

bool nbd_handshake_replies(NbdHandshake *h, bool extended, GError **err)
{
    if (!h->fixed)
        return true;
    if (extended &&
        !option_try(h, NBD_OPT_EXTENDED_HEADERS, "Extended headers", &h->extended, err))
        return false;
    h->structured = h->extended;
    return h->extended || option_try(h, NBD_OPT_STRUCTURED_REPLY, "Structured replies",
                                     &h->structured, err);
}

/* ---- exports --------------------------------------------------------------------------------- */

static void put_u16(GByteArray *b, uint16_t v)
{
    be16 x = be16_of(v);

    g_byte_array_append(b, x.b, sizeof(x));
}

static void put_u32(GByteArray *b, uint32_t v)
{
    be32 x = be32_of(v);

    g_byte_array_append(b, x.b, sizeof(x));
}

static void put_text(GByteArray *b, const char *text)
{
    put_u32(b, strlen(text));
    g_byte_array_append(b, (const uint8_t *)text, strlen(text));
}

static bool name_check(const char *name, GError **err)
{
    if (strlen(name) > NBD_STRING_MAX)
        return err_set(err, ENAMETOOLONG, "The name of the export has %zu bytes, more than %d",
                       strlen(name), NBD_STRING_MAX);
    return true;
}

static bool info_blocks(const Reply *r, NbdOffer *o, GError **err)
{
    const NbdInfoBlockSize *b = (const void *)r->data;

    if (r->len != sizeof(*b))
        return err_set(err, EPROTO, "The server tells its block sizes in %u bytes, not %zu", r->len,
                       sizeof(*b));
    o->has_blocks = true;
    o->block_min = be32_get(b->minimum);
    o->block_preferred = be32_get(b->preferred);
    o->block_max = be32_get(b->maximum);
    return true;
}

/* Takes one NBD_REP_INFO. *@has_export: the one that must be there has come. */
static bool info_take(const Reply *r, NbdOffer *o, bool *has_export, GError **err)
{
    const NbdInfoExport *e = (const void *)r->data;
    char **text;

    if (r->len < 2)
        return err_set(err, EPROTO, "The server tells something in %u bytes, too few", r->len);
    switch (be16_at(r->data)) {
    case NBD_INFO_EXPORT:
        if (r->len != sizeof(*e))
            return err_set(err, EPROTO, "The server tells its export in %u bytes, not %zu", r->len,
                           sizeof(*e));
        o->size = be64_get(e->size);
        o->flags = be16_get(e->flags);
        *has_export = true;
        return true;
    case NBD_INFO_BLOCK_SIZE:
        return info_blocks(r, o, err);
    case NBD_INFO_NAME:
    case NBD_INFO_DESCRIPTION:
        if (!text_is_fine(r->data + 2, r->len - 2))
            return err_set(err, EPROTO,
                           "The server's name or description is not a text of up to %d "
                           "bytes",
                           NBD_STRING_MAX);
        text = be16_at(r->data) == NBD_INFO_NAME ? &o->name : &o->description;
        g_free(*text);
        *text = g_strdup((const char *)r->data + 2);
        return true;
    default: /* newer than we are */
        return true;
    }
}

/* GO or INFO. */
static CO bool export_ask(NbdHandshake *h, uint32_t option, const char *name, NbdOffer *o,
                          GError **err)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    g_autofree Reply *reply = g_new(Reply, 1);
    g_autofree char *what = g_strdup_printf("Export '%s'", name);
    bool has_export = false;

    put_text(data, name);
    if (option == NBD_OPT_GO) {
        put_u16(data, 1);
        put_u16(data, NBD_INFO_BLOCK_SIZE);
    } else {
        put_u16(data, 3);
        put_u16(data, NBD_INFO_NAME);
        put_u16(data, NBD_INFO_DESCRIPTION);
        put_u16(data, NBD_INFO_BLOCK_SIZE);
    }
    if (!option_send(h, option, data->data, data->len, err))
        return false;
    for (int i = 0; i < INFOS_MAX; i++) {
        if (!reply_read(h, option, reply, err))
            return false;
        if (reply->type == NBD_REP_ACK && !reply->len && has_export)
            return offer_check(h, o, err);
        if (reply->type != NBD_REP_INFO)
            return reply_unexpected(reply, what, err);
        if (!info_take(reply, o, &has_export, err))
            return err_prefix(err, "%s: ", what);
    }
    return err_set(err, EPROTO, "%s: the server tells more than %d things about it", what,
                   INFOS_MAX);
}

/* EXPORT_NAME, the old way to begin: a refusal is the end of the connection. */
static CO bool export_take_old(NbdHandshake *h, const char *name, NbdOffer *o, GError **err)
{
    uint8_t zeroes[NBD_OLDSTYLE_ZEROES];
    NbdExportAnswer answer;

    if (!option_send(h, NBD_OPT_EXPORT_NAME, name, strlen(name), err))
        return false;
    if (!read_whole(h, &answer, sizeof(answer), "waiting for the export", err))
        return err_prefix(err, "Export '%s' may not exist: ", name);
    if (!h->no_zeroes && !read_whole(h, zeroes, sizeof(zeroes), "waiting for the export", err))
        return false;
    o->size = be64_get(answer.size);
    o->flags = be16_get(answer.flags);
    return offer_check(h, o, err);
}

/* ---- lists ----------------------------------------------------------------------------------- */

/* Takes an NBD_REP_SERVER into @offers. */
static bool listed_take(const Reply *r, GPtrArray *offers, GError **err)
{
    uint32_t len = r->len >= 4 ? be32_at(r->data) : UINT32_MAX;
    NbdOffer *o;

    if (len > r->len - 4 || !text_is_fine(r->data + 4, len) ||
        !text_is_fine(r->data + 4 + len, r->len - 4 - len))
        return err_set(err, EPROTO, "The server's list holds a malformed name");
    o = g_new0(NbdOffer, 1);
    o->name = g_strndup((const char *)r->data + 4, len);
    if (r->len > 4 + len)
        o->description = g_strdup((const char *)r->data + 4 + len);
    g_ptr_array_add(offers, o);
    return true;
}

bool nbd_handshake_list(NbdHandshake *h, GPtrArray *offers, GError **err)
{
    g_autofree Reply *reply = g_new(Reply, 1);
    size_t text = 0;

    if (!option_send(h, NBD_OPT_LIST, NULL, 0, err))
        return false;
    for (int i = 0; i < REPLIES_MAX && text < TEXT_MAX; i++) {
        if (!reply_read(h, NBD_OPT_LIST, reply, err))
            return false;
        if (reply->type == NBD_REP_ACK && !reply->len)
            return true;
        if (reply->type != NBD_REP_SERVER)
            return reply_unexpected(reply, "List of exports", err);
        if (!listed_take(reply, offers, err))
            return false;
        text += reply->len;
    }
    return err_set(err, EPROTO, "The server's list of exports is longer than %d names or %d MiB",
                   REPLIES_MAX, TEXT_MAX >> 20);
}

static void offer_free(void *p)
{
    nbd_offer_clear(p);
    g_free(p);
}

/* Adds to *@err, which says that there is no such export, which there are. */
static CO void exports_tell(NbdHandshake *h, GError **err)
{
    g_autoptr(GPtrArray) offers = g_ptr_array_new_with_free_func(offer_free);
    g_autoptr(GString) names = g_string_new("");

    if (!nbd_handshake_list(h, offers, NULL) || !offers->len)
        return;
    for (guint i = 0; i < MIN(offers->len, SHOWN_MAX); i++) {
        g_autofree char *name = g_strescape(((NbdOffer *)offers->pdata[i])->name, NULL);

        g_string_append_printf(names, "%s'%s'", i ? ", " : "", name);
    }
    if (offers->len > SHOWN_MAX)
        g_string_append_printf(names, " and %u more", offers->len - SHOWN_MAX);
    err_suffix(err, ", only %s", names->str);
}

/* ---- taking one ------------------------------------------------------------------------------ */

bool nbd_handshake_go(NbdHandshake *h, const char *name, NbdOffer *offer, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (!name_check(name, err))
        return false;
    if (h->oldstyle) {
        if (*name)
            return err_set(err, ENOENT, "The server is of the old style: its export has no name, "
                           "'%s' was asked for", name);
        *offer = h->old;
        return true;
    }
    if (!h->fixed)
        return export_take_old(h, name, offer, err);
    if (export_ask(h, NBD_OPT_GO, name, offer, &why))
        return true;
    if (err_errno(why) == -ENOTSUP) {
        nbd_offer_clear(offer);
        return export_take_old(h, name, offer, err);
    }
    if (err_errno(why) == -ENOENT)
        exports_tell(h, &why);
    g_propagate_error(err, g_steal_pointer(&why));
    return false;
}

bool nbd_handshake_info(NbdHandshake *h, const char *name, NbdOffer *offer, GError **err)
{
    return name_check(name, err) && export_ask(h, NBD_OPT_INFO, name, offer, err);
}

/* ---- metadata contexts ----------------------------------------------------------------------- */

/* Sends LIST_ or SET_META_CONTEXT with at most one query. */
static CO bool contexts_ask(NbdHandshake *h, uint32_t option, const char *name, const char *query,
                            GError **err)
{
    g_autoptr(GByteArray) data = g_byte_array_new();

    put_text(data, name);
    put_u32(data, query ? 1 : 0);
    if (query)
        put_text(data, query);
    return option_send(h, option, data->data, data->len, err);
}

/* Names of metadata contexts have a namespace, a colon and more. */
static bool context_check(const Reply *r, GError **err)
{
    const char *name = (const char *)r->data + 4, *colon = r->len < 4 ? NULL : strchr(name, ':');

    if (r->len < 4 || !text_is_fine(r->data + 4, r->len - 4))
        return err_set(err, EPROTO, "The server names a metadata context by what is not a text");
    if (!colon || colon == name)
        return err_set(err, EPROTO, "The server names a metadata context '%s', without a namespace",
                       name);
    return true;
}

bool nbd_handshake_context(NbdHandshake *h, const char *name, const char *context, bool *has,
                           uint32_t *id, GError **err)
{
    const uint32_t option = NBD_OPT_SET_META_CONTEXT;
    g_autofree Reply *reply = g_new(Reply, 1);

    *has = false;
    if (!name_check(name, err))
        return false;
    if (strlen(context) > NBD_STRING_MAX)
        return err_set(err, ENAMETOOLONG,
                       "The name of the metadata context has %zu bytes, more than "
                       "%d",
                       strlen(context), NBD_STRING_MAX);
    if (!h->structured)
        return true;
    if (!contexts_ask(h, option, name, context, err) || !reply_read(h, option, reply, err))
        return false;
    if (reply->type == NBD_REP_META_CONTEXT) {
        if (!context_check(reply, err))
            return false;
        if (strcmp((const char *)reply->data + 4, context))
            return err_set(err, EPROTO, "The server offers metadata context '%s' for '%s'",
                           (const char *)reply->data + 4, context);
        *has = true;
        *id = be32_at(reply->data);
        if (!reply_read(h, option, reply, err))
            return false;
    }
    /* A refusal is no reason to fail: everything is taken for data then. */
    if (reply_is_error(reply) || (reply->type == NBD_REP_ACK && !reply->len)) {
        h->has_context = *has = *has && !reply_is_error(reply);
        return true;
    }
    return reply_unexpected(reply, "Metadata context", err);
}

bool nbd_handshake_list_contexts(NbdHandshake *h, const char *name, GPtrArray *names, GError **err)
{
    const uint32_t option = NBD_OPT_LIST_META_CONTEXT;
    g_autofree Reply *reply = g_new(Reply, 1);
    size_t text = 0;

    if (!name_check(name, err) || !contexts_ask(h, option, name, NULL, err))
        return false;
    for (int i = 0; i < REPLIES_MAX && text < TEXT_MAX; i++) {
        if (!reply_read(h, option, reply, err))
            return false;
        if (reply->type == NBD_REP_ACK && !reply->len)
            return true;
        if (reply->type != NBD_REP_META_CONTEXT)
            return reply_unexpected(reply, "List of metadata contexts", err);
        if (!context_check(reply, err))
            return false;
        g_ptr_array_add(names, g_strdup((const char *)reply->data + 4));
        text += reply->len;
    }
    return err_set(err, EPROTO, "The server's list of metadata contexts does not end");
}

void nbd_handshake_abort(NbdHandshake *h)
{
    if (h->oldstyle) {
        NbdRequest bye = {
            .magic = be32_of(NBD_REQUEST_MAGIC),
            .type = be16_of(NBD_CMD_DISC),
        };

        channel_write_all(h->channel, &bye, sizeof(bye));
    } else if (h->fixed) {
        option_send(h, NBD_OPT_ABORT, NULL, 0, NULL);
    }
}
