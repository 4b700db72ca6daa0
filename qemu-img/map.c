/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img map: where the content of an image and of its backing chain lies. */
#include "qemu-img/command.h"
#include "qemu-img/tool.h"
#include "qemu-img/untrusted.h"
#include "util/size.h"
#include <inttypes.h>
#include <stdio.h>

typedef struct {
    const char *format, *output, *start, *max_length, *untrusted;
    bool image_opts, force_share;
} MapArgs;

static const Option map_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(MapArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG, offsetof(MapArgs, image_opts) },
    { 's', "start-offset", "OFFSET", "begin there", OPT_TEXT, offsetof(MapArgs, start) },
    { 'l', "max-length", "LENGTH", "look at no more than that", OPT_TEXT,
      offsetof(MapArgs, max_length) },
    { 0, "output", "human|json", "kind of output", OPT_TEXT, offsetof(MapArgs, output) },
    { 'U', "force-share", NULL, "open even if another program writes to the image", OPT_FLAG,
      offsetof(MapArgs, force_share) },
    OPTION_UNTRUSTED(MapArgs),
    OPTION_OBJECT,
    OPTION_END
};

/* A run of the image that is alike. */
typedef struct {
    uint64_t start, len;
    int depth;            /* 0: the image itself, 1: its backing file, ... */
    bool present, zero, data;
    bool has_offset;
    uint64_t offset;      /* within @file */
    Node *file;
} MapEntry;

typedef struct {
    bool json, first;
} MapOutput;

static CO int map_look(Node *n, uint64_t off, uint64_t len, MapEntry *e)
{
    Extent x = { 0 };
    int depth = 0, r = node_extent_above(n, NULL, off, len, true, &x, &depth);

    if (r < 0)
        return r;
    *e = (MapEntry){
        .start = off,
        .len = x.len,
        .depth = depth,
        .present = x.flags & EXTENT_ALLOCATED && !(x.flags & EXTENT_PAST_BACKING),
        .zero = x.flags & EXTENT_ZERO,
        .data = x.flags & EXTENT_DATA,
        .has_offset = x.flags & EXTENT_HOST,
        .offset = x.host_off,
        .file = x.flags & EXTENT_HOST ? x.host : NULL,
    };
    return 0;
}

/* True if @b goes on where @a ends, in the same way. */
static bool map_continues(const MapEntry *a, const MapEntry *b)
{
    return a->len && a->zero == b->zero && a->data == b->data && a->present == b->present &&
           a->depth == b->depth &&
           a->has_offset == b->has_offset && a->file == b->file &&
           (!a->has_offset || a->offset + a->len == b->offset);
}

static bool map_print_human(const MapEntry *e)
{
    if (e->data && !e->has_offset)
        return complain("The image has data at offset %" PRIu64 " that is compressed or encrypted: "
                        "use --output=json", e->start);
    if (e->data && !e->zero)
        printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->len, e->offset,
               node_filename(e->file));
    return true;
}

static void map_print_json(const MapEntry *e, bool first)
{
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %d, \"present\": %s, "
           "\"zero\": %s, \"data\": %s", first ? "[" : ",\n", e->start, e->len, e->depth,
           e->present ? "true" : "false", e->zero ? "true" : "false", e->data ? "true" : "false");
    if (e->has_offset)
        printf(", \"offset\": %" PRIu64, e->offset);
    putchar('}');
}

static bool map_print(MapOutput *o, const MapEntry *e)
{
    if (!o->json)
        return map_print_human(e);
    map_print_json(e, o->first);
    o->first = false;
    return true;
}

/* Walks [@off, @end) of @n, merging what is alike. */
static CO bool map_walk(Node *n, uint64_t off, uint64_t end, MapOutput *o)
{
    MapEntry run = { .start = off }, e;

    while (off < end) {
        int r = map_look(n, off, MIN(end - off, EXTENT_LEN_MAX), &e);

        if (r < 0)
            return complain_errno(r, "The map of '%s' cannot be read at %" PRIu64, node_filename(n),
                                  off);
        if (map_continues(&run, &e)) {
            run.len += e.len;
        } else {
            if (run.len && !map_print(o, &run))
                return false;
            run = e;
        }
        off += e.len;
    }
    return map_print(o, &run);
}

static CO bool map_image(const MapArgs *a, const char *name, bool json, uint64_t off, uint64_t max)
{
    OpenFlags flags = a->force_share ? OPEN_FORCE_SHARE : 0;
    g_autoptr(Handle) h = NULL;
    MapOutput out = { .json = json, .first = true };
    uint64_t end, size;

    if (!untrusted_prepare(a->untrusted, &flags))
        return false;
    h = tool_open(name, a->format, a->image_opts, flags);
    if (!h || !untrusted_enter(a->untrusted, &h, 1))
        return false;
    size = handle_size(h);
    end = off < size && max < size - off ? off + max : size;
    if (!json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    if (!map_walk(handle_node(h), off, end, &out))
        return false;
    if (json)
        puts("]");
    return true;
}

static CO int map_run(const void *args, char **words, int count)
{
    const MapArgs *a = args;
    uint64_t off = 0, max = INT64_MAX;
    bool json;

    if (!tool_output(a->output, &json) || !tool_check_image_opts(a->image_opts, a->format) ||
        (a->start && !tool_size("start offset", a->start, INT64_MAX, &off)) ||
        (a->max_length && !tool_size("max length", a->max_length, INT64_MAX, &max)))
        return 1;
    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return 1;
    }
    return map_image(a, words[0], json, off, max) ? 0 : 1;
}

const Command cmd_map = {
    .name = "map",
    .synopsis = "[OPTION]... FILE",
    .words = "filename",
    .summary = "Shows where the content of an image lies.",
    .options = map_options,
    .args_size = sizeof(MapArgs),
    .run = map_run,
};
