/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-nbd -L: what a server exports. */
#include "nbd/list.h"
#include "nbd/proto.h"
#include "qemu-nbd/job.h"
#include "tools/complain.h"
#include "util/json.h"
#include "util/printable.h"
#include <inttypes.h>

/* The flags of transmission by their bits. */
static const struct {
    uint16_t flag;
    const char *name;
} flag_names[] = {
    { NBD_FLAG_READ_ONLY, "readonly" },   { NBD_FLAG_SEND_FLUSH, "flush" },
    { NBD_FLAG_SEND_FUA, "fua" },         { NBD_FLAG_ROTATIONAL, "rotational" },
    { NBD_FLAG_SEND_TRIM, "trim" },       { NBD_FLAG_SEND_WRITE_ZEROES, "zeroes" },
    { NBD_FLAG_SEND_DF, "df" },           { NBD_FLAG_CAN_MULTI_CONN, "multi" },
    { NBD_FLAG_SEND_RESIZE, "resize" },   { NBD_FLAG_SEND_CACHE, "cache" },
    { NBD_FLAG_SEND_FAST_ZERO, "fast-zero" },
};

/* One line; @text is a server's. */
static void print_text(const char *before, const char *text, const char *after)
{
    g_autofree char *shown = printable(text);

    printf("%s%s%s\n", before, shown, after);
}

static void print_listed(const NbdListed *l)
{
    const NbdOffer *o = &l->offer;

    print_text(" export: '", o->name, "'");
    if (o->description && *o->description)
        print_text("  description: ", o->description, "");
    if (l->is_described && o->flags) {
        printf("  size:  %" PRIu64 "\n  flags: 0x%x (", o->size, o->flags);
        for (size_t i = 0; i < G_N_ELEMENTS(flag_names); i++)
            if (o->flags & flag_names[i].flag)
                printf(" %s", flag_names[i].name);
        puts(" )");
    }
    if (o->has_blocks)
        printf("  min block: %" PRIu32 "\n  opt block: %" PRIu32 "\n  max block: %" PRIu32 "\n",
               o->block_min, o->block_preferred, o->block_max);
    if (l->contexts->len)
        printf("  available meta contexts: %u\n", l->contexts->len);
    for (guint i = 0; i < l->contexts->len; i++)
        print_text("   ", l->contexts->pdata[i], "");
}

/* The same for --output=json. New reference. */
static json_t *json_of_listed(const NbdListed *l)
{
    const NbdOffer *o = &l->offer;
    json_t *j = json_object(), *flags = json_array(), *contexts = json_array();

    json_put_str(j, "name", o->name);
    if (o->description)
        json_put_str(j, "description", o->description);
    if (l->is_described)
        json_put_int(j, "size", o->size);
    for (size_t i = 0; i < G_N_ELEMENTS(flag_names); i++)
        if (o->flags & flag_names[i].flag)
            json_array_append_new(flags, json_string(flag_names[i].name));
    json_put(j, "flags", flags);
    if (o->has_blocks) {
        json_put_int(j, "min-block", o->block_min);
        json_put_int(j, "opt-block", o->block_preferred);
        json_put_int(j, "max-block", o->block_max);
    }
    for (guint i = 0; i < l->contexts->len; i++)
        json_array_append_new(contexts, json_string(l->contexts->pdata[i]));
    json_put(j, "contexts", contexts);
    return j;
}

static void print_json(const GPtrArray *list)
{
    g_autoptr(json_t) all = json_array();
    g_autofree char *text = NULL;

    for (guint i = 0; i < list->len; i++)
        json_array_append_new(all, json_of_listed(list->pdata[i]));
    text = json_print_pretty(all);
    puts(text);
}

/* Where @j says the server is. False: complained. */
static bool target_of(const ListJob *l, NbdTarget *t)
{
    const Job *j = l->job;
    g_autoptr(GError) err = NULL;

    t->address.kind = j->socket ? NET_UNIX : NET_INET;
    t->address.path = g_strdup(j->socket);
    t->address.host = g_strdup(j->bind ? j->bind : "localhost");
    t->address.port = g_strdup(j->port ? j->port : G_STRINGIFY(10809));
    if (!j->tls_creds)
        return true;
    t->creds = tls_creds_find(j->tls_creds, TLS_CLIENT, &err);
    if (!t->creds)
        return complain_err(err);
    t->hostname = g_strdup(l->tls_hostname ? l->tls_hostname : j->bind);
    if (!t->hostname && !j->socket)
        t->hostname = g_strdup("localhost");
    if (!t->hostname && tls_creds_need_hostname(t->creds))
        return complain("--tls-hostname must say what the server's certificate is for");
    return true;
}

CO void list_run(void *arg)
{
    ListJob *l = arg;
    NbdTarget target = { 0 };
    g_autoptr(GError) err = NULL;
    g_autoptr(GPtrArray) list = NULL;

    l->exit_code = 1;
    if (target_of(l, &target)) {
        list = nbd_list(&target, &err);
        if (!list)
            complain_err(err);
    }
    nbd_target_clear(&target);
    if (!list)
        return;
    l->exit_code = 0;
    if (l->json) {
        print_json(list);
        return;
    }
    printf("exports available: %u\n", list->len);
    for (guint i = 0; i < list->len; i++)
        print_listed(list->pdata[i]);
}
