/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img bitmap: changes a persistent bitmap of an image, step by step. */
#include "block/driver.h"
#include "qemu-img/bitmaps.h"
#include "qemu-img/command.h"
#include "qemu-img/tool.h"
#include "util/size.h"
#include <string.h>

typedef struct {
    const char *format, *granularity, *source, *source_format;
    GArray *steps;        /* --add, --remove, ... in their order */
    bool image_opts;
} BitmapArgs;

static const Option bitmap_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(BitmapArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(BitmapArgs, image_opts) },
    { 0, "add", NULL, "make BITMAP, recording from now on", OPT_LIST, offsetof(BitmapArgs, steps) },
    { 'g', "granularity", "SIZE", "bytes that share a mark in what --add makes", OPT_TEXT,
      offsetof(BitmapArgs, granularity) },
    { 0, "remove", NULL, "remove BITMAP", OPT_LIST, offsetof(BitmapArgs, steps) },
    { 0, "clear", NULL, "clear BITMAP", OPT_LIST, offsetof(BitmapArgs, steps) },
    { 0, "enable", NULL, "let BITMAP record", OPT_LIST, offsetof(BitmapArgs, steps) },
    { 0, "disable", NULL, "stop BITMAP from recording", OPT_LIST, offsetof(BitmapArgs, steps) },
    { 0, "merge", "BITMAP2", "mark in BITMAP what is marked in BITMAP2", OPT_LIST,
      offsetof(BitmapArgs, steps) },
    { 'b', "source-file", "SOURCE", "image that has the bitmaps --merge names", OPT_TEXT,
      offsetof(BitmapArgs, source) },
    { 'F', "source-format", "FMT", "format of SOURCE", OPT_TEXT,
      offsetof(BitmapArgs, source_format) },
    OPTION_OBJECT,
    OPTION_END
};

typedef struct {
    Node *node, *source;
    const char *name;          /* of the bitmap that is changed */
    uint32_t granularity;
} BitmapJob;

/* The bitmap @name of @n, if it may be used; NULL with @err. */
static DirtyBitmap *bitmap_usable(Node *n, const char *name, GError **err)
{
    DirtyBitmap *b = dirty_find(n, name);

    if (!b)
        err_set(err, ENOENT, "'%s' has no bitmap '%s'", node_filename(n), name);
    return b && dirty_check_known(b, err) ? b : NULL;
}

static CO bool bitmap_add(BitmapJob *j, const char *value, GError **err)
{
    if (!*j->name)
        return err_set(err, EINVAL, "The name of the bitmap is empty");
    if (!is_power_of_2(j->granularity) || j->granularity < 512)
        return err_set(err, EINVAL, "The granularity is a power of two, at least 512");
    if (dirty_find(j->node, j->name))
        return err_set(err, EEXIST, "'%s' has a bitmap of that name", node_filename(j->node));
    return dirty_add_persistent(j->node, j->name, j->granularity, err);
}

static CO bool bitmap_remove(BitmapJob *j, const char *value, GError **err)
{
    DirtyBitmap *b = dirty_find(j->node, j->name);

    if (!b)
        return err_set(err, ENOENT, "'%s' has no bitmap '%s'", node_filename(j->node), j->name);
    return dirty_delete(j->node, b, err);
}

static CO bool bitmap_clear(BitmapJob *j, const char *value, GError **err)
{
    DirtyBitmap *b = bitmap_usable(j->node, j->name, err);

    if (b)
        hbitmap_clear(b->bits, 0, hbitmap_bits(b->bits));
    return b;
}

static CO bool bitmap_enable(BitmapJob *j, const char *value, GError **err)
{
    DirtyBitmap *b = bitmap_usable(j->node, j->name, err);

    if (b)
        b->enabled = true;
    return b;
}

static CO bool bitmap_disable(BitmapJob *j, const char *value, GError **err)
{
    DirtyBitmap *b = bitmap_usable(j->node, j->name, err);

    if (b)
        b->enabled = false;
    return b;
}

static CO bool bitmap_merge(BitmapJob *j, const char *value, GError **err)
{
    DirtyBitmap *to = bitmap_usable(j->node, j->name, err);
    DirtyBitmap *from = to ? bitmap_usable(j->source, value, err) : NULL;

    if (!from)
        return false;
    if (to->size != from->size)
        return err_set(err, EINVAL, "Bitmap '%s' covers another size", value);
    bitmaps_merge(to, from);
    return true;
}

static const struct {
    const char *name;
    CO bool (*run)(BitmapJob *j, const char *value, GError **err);
} bitmap_steps[] = {
    { "add", bitmap_add },       { "remove", bitmap_remove },   { "clear", bitmap_clear },
    { "enable", bitmap_enable }, { "disable", bitmap_disable }, { "merge", bitmap_merge },
};

static CO bool bitmap_step(BitmapJob *j, const Given *given)
{
    g_autoptr(GError) err = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(bitmap_steps); i++) {
        const char *name = bitmap_steps[i].name;

        if (strcmp(name, given->option->name) || bitmap_steps[i].run(j, given->value, &err))
            continue;
        err_prefix(&err, "Step --%s of bitmap '%s' failed: ", name, j->name);
        return complain_err(err);
    }
    return true;
}

static CO bool bitmap_image(const BitmapArgs *a, char **words, uint64_t granularity)
{
    g_autoptr(Handle) h = tool_open(words[0], a->format, a->image_opts,
                                      OPEN_RDWR | OPEN_NO_BACKING);
    g_autoptr(Handle) source = NULL;
    BitmapJob j = { .name = words[1] };

    if (!h)
        return false;
    j.node = j.source = node_skip_filters(handle_node(h));
    j.granularity = a->granularity ? (uint32_t)granularity : dirty_default_granularity(j.node);
    if (a->source) {
        source = tool_open(a->source, a->source_format, false, OPEN_NO_IO | OPEN_NO_BACKING);
        if (!source)
            return false;
        j.source = node_skip_filters(handle_node(source));
    }
    tool_say_interrupted("'%s' has its old bitmaps or some of the new ones", words[0]);
    for (guint i = 0; i < a->steps->len; i++)
        if (!bitmap_step(&j, &g_array_index(a->steps, Given, i)))
            return false;
    return tool_close(&h);
}

static bool bitmap_has_step(const BitmapArgs *a, const char *name)
{
    for (guint i = 0; i < a->steps->len; i++)
        if (!strcmp(g_array_index(a->steps, Given, i).option->name, name))
            return true;
    return false;
}

static CO int bitmap_run(const void *args, char **words, int count)
{
    const BitmapArgs *a = args;
    uint64_t granularity = 0;

    if (a->granularity && !tool_size("granularity", a->granularity, INT64_MAX, &granularity))
        return 1;
    granularity = MIN(granularity, UINT32_MAX);
    if (!a->steps) {
        complain("Say what to do: --add, --remove, --clear, --enable, --disable or --merge");
        return 1;
    }
    if (count != 2) {
        complain("An image and the name of a bitmap are needed");
        return 1;
    }
    if (a->granularity && !bitmap_has_step(a, "add")) {
        complain("A granularity is for --add only");
        return 1;
    }
    if (a->source && !bitmap_has_step(a, "merge")) {
        complain("Another source of bitmaps is for --merge only");
        return 1;
    }
    if (a->source_format && !a->source) {
        complain("The format of a source is useless without a source (-b)");
        return 1;
    }
    return tool_check_image_opts(a->image_opts, a->format) && bitmap_image(a, words, granularity)
           ? 0 : 1;
}

const Command cmd_bitmap = {
    .name = "bitmap",
    .synopsis = "(--add | --remove | --clear | --enable | --disable | --merge=BITMAP2)... "
                "[OPTION]... FILE BITMAP",
    .words = "filename bitmap",
    .summary = "Changes a bitmap that an image keeps of what is written to it.",
    .options = bitmap_options,
    .args_size = sizeof(BitmapArgs),
    .run = bitmap_run,
};
