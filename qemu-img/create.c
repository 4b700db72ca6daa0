/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img create: a new image, perhaps on top of a backing file. */
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/createopts.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *format, *backing, *backing_format, *progress;
    GArray *options;
    bool quiet, unsafe;
} CreateArgs;

static const Option create_options[] = {
    { 'f', "format", "FMT", "format of the new image (raw)", OPT_TEXT,
      offsetof(CreateArgs, format) },
    { 'o', "options", "NAME=VALUE,...", "options of the format ('help' lists them)", OPT_LIST,
      offsetof(CreateArgs, options) },
    { 'b', "backing", "BACKING", "keep only what differs from image BACKING", OPT_TEXT,
      offsetof(CreateArgs, backing) },
    { 'B', "backing-format", "FMT", "format of BACKING", OPT_TEXT,
      offsetof(CreateArgs, backing_format) },
    { 'F', NULL, "FMT", "the same as -B", OPT_TEXT, offsetof(CreateArgs, backing_format) },
    { 'u', "backing-unsafe", NULL, "do not open BACKING to check it; SIZE is then needed", OPT_FLAG,
      offsetof(CreateArgs, unsafe) },
    OPTION_PROGRESS_LONG(CreateArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(CreateArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

/*
 * Opens the backing file named in @opts as *@h: it must be there, and may lend its size and format.
 */
static CO bool create_try_backing(const char *filename, json_t *opts, Handle **h, GError **err)
{
    const char *backing = json_get_str(opts, BACKING_FILE, NULL);
    const char *format = json_get_str(opts, BACKING_FMT, NULL);

    if (!createopts_open_backing(filename, opts, h, err))
        return err_line(err, "Could not open backing image.");
    if (!format) {
        err_set(err, EINVAL, "The format of backing file '%s' is missing (-F)", backing);
        return err_line(err, "Detected format of %s.", node_format(handle_node(*h)));
    }
    if (!json_has(opts, "size"))
        json_put_int(opts, "size", (int64_t)node_size(handle_node(*h)));
    return true;
}

static CO bool create_check_backing(const CreateArgs *a, const char *filename, json_t *opts,
                                    Handle **h, GError **err)
{
    const char *backing = json_get_str(opts, BACKING_FILE, NULL);

    if (!backing)
        return true;
    if (!*backing)
        return err_set(err, EINVAL, "The name of the backing file is empty");
    if (!createopts_check_backing(filename, opts, err))
        return false;
    if (!a->unsafe)
        return create_try_backing(filename, opts, h, err);
    if (!json_has(opts, BACKING_FMT))
        return err_set(err, EINVAL, "The format of backing file '%s' is missing (-F)", backing);
    return true;
}

/* Puts -b and -B, which win over -o, among the options. */
static bool create_merge_backing(const CreateArgs *a, const BlockDriver *format, json_t *opts)
{
    if (a->backing)
        json_put_str(opts, BACKING_FILE, a->backing);
    if (a->backing_format)
        json_put_str(opts, BACKING_FMT, a->backing_format);
    if ((a->backing || a->backing_format) && !createopts_knows(format->create_opts, BACKING_FILE))
        return complain("Images of format '%s' have no backing files", format->name);
    return true;
}

static CO bool create_image(const CreateArgs *a, const char *filename, const BlockDriver *format,
                            json_t *opts)
{
    const BlockDriver *protocol = createopts_protocol(filename);
    g_autoptr(Handle) backing = NULL;
    g_autoptr(GError) err = NULL;
    bool ok;

    if (!protocol || !create_merge_backing(a, format, opts))
        return false;
    if (!create_opts_check(format, protocol, opts, &err) ||
        !create_check_backing(a, filename, opts, &backing, &err)) {
        err_prefix_name(&err, filename, filename);
        return complain_err(err);
    }
    if (!json_has(opts, "size"))
        return complain("%s: The size of the new image is missing", filename);
    if (!a->quiet)
        createopts_print(filename, format, protocol, opts);
    complain_last_words_set("'%s' is incomplete: the work was not finished", filename);
    tool_say_when_killed(true);
    work_listen(progress_update);
    ok = image_create(filename, format->name, opts, &err);
    work_listen(NULL);
    tool_say_when_killed(false);
    if (!ok) {
        err_prefix_name(&err, filename, filename);
        return complain_err(err);
    }
    return true;
}

static CO int create_run(const void *args, char **words, int count)
{
    const CreateArgs *a = args;
    const char *fmt = a->format ? a->format : "raw";
    const BlockDriver *format;
    g_autoptr(json_t) opts = json_object();
    bool help = false, ok;
    uint64_t size;

    if (!createopts_read(a->options, opts, &help))
        return 1;
    if (help)
        return createopts_help(fmt, count ? words[0] : NULL) ? 0 : 1;
    if (!count) {
        complain_usage("The name of the new image is missing");
        return 1;
    }
    if (count > 1 && !tool_size("image size", words[1], INT64_MAX, &size))
        return 1;
    if (count > 2) {
        complain_usage("Too much: '%s'", words[2]);
        return 1;
    }
    if (count == 2) {
        if (json_has(opts, "size")) {
            complain("%s: The size is given twice", words[0]);
            return 1;
        }
        json_put_int(opts, "size", (int64_t)size);
    }
    format = createopts_format(fmt);
    if (!format || !progress_begin(a->progress, a->quiet, "create", 1))
        return 1;
    ok = create_image(a, words[0], format, opts);
    if (ok)
        progress_done();
    progress_end();
    return ok ? 0 : 1;
}

const Command cmd_create = {
    .name = "create",
    .synopsis = "[OPTION]... FILE [SIZE]",
    .words = "filename [size]",
    .summary = "Creates an image.",
    .notes = "SIZE may be left out when a backing file lends its own, or with -o size=.\n",
    .options = create_options,
    .args_size = sizeof(CreateArgs),
    .run = create_run,
};
