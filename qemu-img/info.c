/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img info: what is known about an image, or about each one of its backing chain. */
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/describe.h"
#include "qemu-img/tool.h"
#include "qemu-img/untrusted.h"
#include "util/err.h"
#include "util/size.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    const char *format, *output, *untrusted;
    bool image_opts, chain, force_share, limits, children;
} InfoArgs;

static const Option info_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(InfoArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(InfoArgs, image_opts) },
    { 0, "backing-chain", NULL, "tell about every image of the backing chain", OPT_FLAG,
      offsetof(InfoArgs, chain) },
    { 0, "children", NULL, "tell about the nodes below the image too", OPT_FLAG,
      offsetof(InfoArgs, children) },
    { 0, "limits", NULL, "tell what requests must look like", OPT_FLAG,
      offsetof(InfoArgs, limits) },
    { 0, "output", "human|json", "kind of output", OPT_TEXT, offsetof(InfoArgs, output) },
    { 'U', "force-share", NULL, "open even if another program writes to the image", OPT_FLAG,
      offsetof(InfoArgs, force_share) },
    OPTION_UNTRUSTED(InfoArgs),
    OPTION_OBJECT,
    OPTION_END
};

/*
 * What tells a file from others: where it lies on the host, if that can be told, else its name.
 * Names alone would not find a loop that spells its file another way each time.
 */
static char *node_identity(Node *n)
{
    struct stat st;

    while (node_storage(n) || node_filtered(n))
        n = node_storage(n) ? node_storage(n) : node_filtered(n);
    if (!stat(node_filename(n), &st))
        return g_strdup_printf("%lx:%lx", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
    return g_strdup(node_filename(n));
}

typedef struct {
    json_t *list;         /* of images */
    GHashTable *seen;     /* of identities */
    GArray *snapshots;    /* of what is in the list, see describe.h */
    GPtrArray *open;      /* Handles of the images that these belong to */
    char *next, *format;  /* the backing file to go on with; NULL: none */
    OpenFlags flags;      /* to open all with */
} Chain;

/* A file that was cut off is worth a word beside what is printed, which callers parse. */
static CO void info_tell_cut(Node *n)
{
    g_autofree char *size = NULL;
    uint64_t missing;

    if (node_missing_end(n, true, &missing) < 0 || !missing)
        return;
    size = size_format(missing);
    complain("warning: The file of '%s' ends %s early; what is missing reads as zeroes",
             node_filename(n), size);
}

/* Opens one image and appends what is known about it. */
static CO bool info_one(const InfoArgs *a, Chain *c, const char *name, const char *format,
                        bool image_opts)
{
    unsigned what = (a->limits ? DESCRIBE_LIMITS : 0) | (a->children ? DESCRIBE_CHILDREN : 0);
    g_autoptr(Handle) h = tool_open(name, format, image_opts, c->flags);
    g_autoptr(GError) err = NULL;
    guint before = c->snapshots->len;
    json_t *image;

    if (!h || !untrusted_enter(a->untrusted, &h, 1))
        return false;
    if (!g_hash_table_add(c->seen, node_identity(handle_node(h))))
        return complain("The backing chain is a loop: it comes back to '%s'", name);
    image = describe_image(handle_node(h), what, c->snapshots, &err);
    if (!image)
        return complain_err(err);
    json_array_append_new(c->list, image);
    info_tell_cut(handle_node(h));
    if (c->snapshots->len > before)
        g_ptr_array_add(c->open, g_steal_pointer(&h));
    g_free(c->next);
    g_free(c->format);
    c->next = g_strdup(json_get_str(image, "full-backing-filename", NULL));
    c->format = g_strdup(json_get_str(image, "backing-filename-format", NULL));
    return true;
}

static CO bool info_collect(const InfoArgs *a, Chain *c, const char *name)
{
    if (!info_one(a, c, name, a->format, a->image_opts))
        return false;
    while (a->chain && c->next) {
        g_autofree char *next = g_steal_pointer(&c->next), *format = g_steal_pointer(&c->format);

        if (a->untrusted)
            return complain("Image '%s' has the backing file '%s', which was not named and is not "
                            "opened with --untrusted", name, next);
        if (!info_one(a, c, next, format, false))
            return false;
    }
    return true;
}

static void info_print(const InfoArgs *a, const json_t *list, GArray *snapshots, bool json)
{
    if (json) {
        describe_print_json(a->chain ? list : json_array_get(list, 0), snapshots);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i)
            putchar('\n');
        describe_print(json_array_get(list, i), snapshots);
    }
}

static CO int info_run(const void *args, char **words, int count)
{
    const InfoArgs *a = args;
    g_autoptr(json_t) list = json_array();
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GPtrArray) open = g_ptr_array_new_with_free_func((GDestroyNotify)handle_close);
    g_autoptr(GArray) snapshots = snapshot_lists_new();
    Chain chain = {
        .list = list,
        .seen = seen,
        .snapshots = snapshots,
        .open = open,
        .flags = OPEN_NO_BACKING | OPEN_NO_IO | (a->force_share ? OPEN_FORCE_SHARE : 0),
    };
    bool json, ok;

    if (!tool_output(a->output, &json) || !tool_check_image_opts(a->image_opts, a->format))
        return 1;
    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return 1;
    }
    if (!untrusted_prepare(a->untrusted, &chain.flags))
        return 1;
    ok = info_collect(a, &chain, words[0]);
    g_free(chain.next);
    g_free(chain.format);
    if (!ok)
        return 1;
    info_print(a, list, snapshots, json);
    return 0;
}

const Command cmd_info = {
    .name = "info",
    .synopsis = "[OPTION]... FILE",
    .words = "filename",
    .summary = "Tells what is known about an image.",
    .options = info_options,
    .args_size = sizeof(InfoArgs),
    .run = info_run,
};
