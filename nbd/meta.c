/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Metadata contexts of an export, as options list and choose them: base:allocation,
 * qemu:allocation-depth, qemu:dirty-bitmap:NAME.
 */
#include "nbd/internal.h"
#include <string.h>

typedef struct {
    NbdExport *export;
    bool list;       /* wildcards count */
    uint64_t chosen; /* a bit for each */
} Query;

static bool is_text(const char *s, uint32_t len, const char *text)
{
    return len == strlen(text) && !memcmp(s, text, len);
}

static uint64_t context_bit(unsigned id)
{
    return UINT64_C(1) << id;
}

/* What the rest @s behind "qemu:dirty-bitmap:" means. */
static void query_bitmap(Query *q, const char *s, uint32_t len)
{
    for (guint i = 0; i < q->export->bitmaps->len; i++) {
        const DirtyBitmap *b = q->export->bitmaps->pdata[i];

        if (is_text(s, len, b->name) || (q->list && !len))
            q->chosen |= context_bit(NBD_ID_BITMAP + i);
    }
}

static void query_add(Query *q, const char *s, uint32_t len)
{
    size_t prefix = strlen(NBD_CONTEXT_BITMAP);
    bool all = q->list && is_text(s, len, "qemu:");

    if (is_text(s, len, NBD_CONTEXT_ALLOCATION) || (q->list && is_text(s, len, "base:")))
        q->chosen |= context_bit(NBD_ID_ALLOCATION);
    if (q->export->depth && (all || is_text(s, len, NBD_CONTEXT_DEPTH)))
        q->chosen |= context_bit(NBD_ID_DEPTH);
    if (all)
        query_bitmap(q, "", 0);
    else if (len >= prefix && !memcmp(s, NBD_CONTEXT_BITMAP, prefix))
        query_bitmap(q, s + prefix, len - prefix);
}

static void query_everything(Query *q)
{
    query_add(q, "base:", strlen("base:"));
    query_add(q, "qemu:", strlen("qemu:"));
}

/* Reads all queries in @d. False: their lengths do not fit. */
static bool queries_parse(Query *q, NbdData d)
{
    uint32_t count, len;
    const char *s;

    if (!nbd_data_u32(&d, &count))
        return false;
    if (!count && q->list)
        query_everything(q);
    for (uint32_t i = 0; i < count; i++) {
        if (!nbd_data_string(&d, &s, &len) || len > NBD_STRING_MAX)
            return false;
        query_add(q, s, len);
    }
    return !d.left;
}

static CO int context_send(NbdClient *c, uint32_t option, unsigned id, const char *prefix,
                           const char *name)
{
    g_autoptr(GByteArray) a = g_byte_array_new();
    /* Numbers mean something only once they are chosen. */
    be32 number = be32_of(option == NBD_OPT_SET_META_CONTEXT ? id : 0);

    g_byte_array_append(a, (void *)&number, sizeof(number));
    g_byte_array_append(a, (void *)prefix, strlen(prefix));
    g_byte_array_append(a, (void *)name, strlen(name));
    return nbd_option_reply(c, option, NBD_REP_META_CONTEXT, a->data, a->len);
}

static CO int contexts_send(NbdClient *c, uint32_t option, const Query *q)
{
    int r = 0;

    if (q->chosen & context_bit(NBD_ID_ALLOCATION))
        r = context_send(c, option, NBD_ID_ALLOCATION, NBD_CONTEXT_ALLOCATION, "");
    if (r == 0 && q->chosen & context_bit(NBD_ID_DEPTH))
        r = context_send(c, option, NBD_ID_DEPTH, NBD_CONTEXT_DEPTH, "");
    for (guint i = 0; i < q->export->bitmaps->len && r == 0; i++) {
        const DirtyBitmap *b = q->export->bitmaps->pdata[i];

        if (q->chosen & context_bit(NBD_ID_BITMAP + i))
            r = context_send(c, option, NBD_ID_BITMAP + i, NBD_CONTEXT_BITMAP, b->name);
    }
    return r < 0 ? r : nbd_option_reply(c, option, NBD_REP_ACK, NULL, 0);
}

void nbd_contexts_forget(NbdClient *c)
{
    c->contexts = 0;
    nbd_export_unref(g_steal_pointer(&c->context_export));
}

CO int nbd_option_meta(NbdClient *c, uint32_t option, NbdData d)
{
    Query q = { .list = option == NBD_OPT_LIST_META_CONTEXT };
    const char *name;
    uint32_t len;
    int r;

    if (!q.list)
        nbd_contexts_forget(c);
    if (c->style == NBD_SIMPLE)
        return nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                 "Contexts need structured replies, which were not agreed");
    if (!nbd_data_string(&d, &name, &len) || len > NBD_STRING_MAX)
        return nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                 "The length of the name does not fit");
    q.export = nbd_export_lookup(c->server, name, len);
    if (!q.export)
        return nbd_option_refuse(c, option, NBD_REP_ERR_UNKNOWN, "There is no such export");
    if (!queries_parse(&q, d))
        return nbd_option_refuse(c, option, NBD_REP_ERR_INVALID,
                                 "Lengths in this option do not fit together");
    if (!q.list) {
        c->contexts = q.chosen;
        c->context_export = nbd_export_ref(q.export);
    }
    /* Replies may take long to leave, and the export may go meanwhile. */
    nbd_export_ref(q.export);
    r = contexts_send(c, option, &q);
    nbd_export_unref(q.export);
    return r;
}
