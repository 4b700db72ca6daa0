/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img measure: how large would the file of a new image be? */
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/createopts.h"
#include "qemu-img/tool.h"
#include "qemu-img/untrusted.h"
#include <inttypes.h>
#include <stdio.h>

typedef struct {
    const char *format, *target_format, *output, *size, *snapshot, *untrusted;
    GArray *options;
    bool image_opts, force_share;
} MeasureArgs;

static const Option measure_options[] = {
    { 'O', "target-format", "FMT", "format of the new image (raw)", OPT_TEXT,
      offsetof(MeasureArgs, target_format) },
    { 'o', "options", "NAME=VALUE,...", "options of that format ('help' lists them)", OPT_LIST,
      offsetof(MeasureArgs, options) },
    { 's', "size", "SIZE", "measure an empty image of that size", OPT_TEXT,
      offsetof(MeasureArgs, size) },
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(MeasureArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(MeasureArgs, image_opts) },
    { 'l', "snapshot", "SNAPSHOT", "measure what an internal snapshot of FILE holds", OPT_TEXT,
      offsetof(MeasureArgs, snapshot) },
    { 'U', "force-share", NULL, "open FILE even if another program writes to it", OPT_FLAG,
      offsetof(MeasureArgs, force_share) },
    { 0, "output", "human|json", "kind of output", OPT_TEXT, offsetof(MeasureArgs, output) },
    OPTION_UNTRUSTED(MeasureArgs),
    OPTION_OBJECT,
    OPTION_END
};

static void measure_print(const MeasureResult *r, bool json)
{
    g_autoptr(json_t) o = json_object();

    if (!json) {
        printf("required size: %" PRIu64 "\n", r->required);
        printf("fully allocated size: %" PRIu64 "\n", r->fully_allocated);
        if (r->bitmaps_known)
            printf("bitmaps size: %" PRIu64 "\n", r->bitmaps);
        return;
    }
    json_put_int(o, "required", (int64_t)r->required);
    json_put_int(o, "fully-allocated", (int64_t)r->fully_allocated);
    if (r->bitmaps_known)
        json_put_int(o, "bitmaps", (int64_t)r->bitmaps);
    tool_print_json(o);
}

/* @name: the source; NULL: an empty image of the size in @opts. */
static CO bool measure_image(const MeasureArgs *a, const char *name, const BlockDriver *format,
                             json_t *opts, bool json)
{
    g_autoptr(Handle) source = NULL;
    g_autoptr(GError) err = NULL;
    OpenFlags flags = a->force_share ? OPEN_FORCE_SHARE : 0;
    MeasureResult result = { 0 };

    if (name) {
        if (!untrusted_prepare(a->untrusted, &flags))
            return false;
        source = tool_open(name, a->format, a->image_opts, flags);
        if (!source || !untrusted_enter(a->untrusted, &source, 1) ||
             (a->snapshot && !image_load_snapshot(source, a->snapshot)))
            return false;
    }
    /* Options of the file that the image would lie in are fine, too. */
    if (!create_opts_check(format, driver_find("file"), opts, &err) ||
        !image_measure(format, opts, source, &result, &err))
        return complain_err(err);
    measure_print(&result, json);
    return true;
}

static bool measure_check_args(const MeasureArgs *a, int count)
{
    if (count > 1)
        return complain("Only one image can be measured at a time");
    if (!count && (a->image_opts || a->format || a->snapshot || a->untrusted))
        return complain("--image-opts, -f, -l and --untrusted need an image");
    if (a->size && count)
        return complain("Measure an image, or a size: not both");
    if (!a->size && !count)
        return complain("An image or --size is needed");
    return tool_check_image_opts(a->image_opts, a->format);
}

static CO int measure_run(const void *args, char **words, int count)
{
    const MeasureArgs *a = args;
    const char *fmt = a->target_format ? a->target_format : "raw";
    g_autoptr(json_t) opts = json_object();
    const BlockDriver *format;
    bool json, help = false;
    uint64_t size;

    if (!tool_output(a->output, &json) || !createopts_read(a->options, opts, &help))
        return 1;
    if (!measure_check_args(a, count))
        return 1;
    if (help)
        return createopts_help(fmt, NULL) ? 0 : 1;
    if (a->size && !tool_size("image size", a->size, INT64_MAX, &size))
        return 1;
    if (a->size)
        json_put_int(opts, "size", (int64_t)size);
    format = createopts_format(fmt);
    return format && measure_image(a, words[0], format, opts, json) ? 0 : 1;
}

const Command cmd_measure = {
    .name = "measure",
    .synopsis = "[OPTION]... (FILE | --size=SIZE)",
    .words = "[filename]",
    .summary = "Tells how large the file of a new image would be.",
    .options = measure_options,
    .args_size = sizeof(MeasureArgs),
    .run = measure_run,
};
