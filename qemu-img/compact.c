/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img compact: makes the file of an image as short as what is in it. */
#include "qemu-img/command.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include "tools/image.h"
#include <stdio.h>

typedef struct {
    const char *format, *cache, *progress;
    bool image_opts, quiet;
} CompactArgs;

static const Option compact_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(CompactArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(CompactArgs, image_opts) },
    { 't', "cache", "MODE", "cache mode", OPT_TEXT, offsetof(CompactArgs, cache) },
    OPTION_PROGRESS(CompactArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(CompactArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

static CO bool compact_image(const CompactArgs *a, const char *name, OpenFlags flags)
{
    g_autoptr(Handle) h = tool_open(name, a->format, a->image_opts,
                                    flags | OPEN_RDWR | OPEN_RESIZE);
    g_autoptr(GError) err = NULL;
    CompactState s = {};

    if (!h)
        return false;
    while (!s.finished) {
        if (tool_interrupted())
            return complain("Interrupted; '%s' is whole, but not as short as it could be", name);
        if (!handle_compact(h, &s, &err))
            return complain_err(err);
        progress_update(s.done, MAX(s.total, 1));
    }
    return tool_close(&h);
}

static CO int compact_run(const void *args, char **words, int count)
{
    const CompactArgs *a = args;
    OpenFlags flags = OPEN_UNMAP;
    bool ok;

    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return 1;
    }
    if (!tool_check_image_opts(a->image_opts, a->format) ||
        !open_cache_mode("cache", a->cache, &flags) ||
        !progress_begin(a->progress, a->quiet, "compact", 1))
        return 1;
    tool_watch_interrupts();
    ok = compact_image(a, words[0], flags);
    if (ok)
        progress_done();
    progress_end();
    if (ok && !a->quiet)
        puts("Image compacted.");
    return ok ? 0 : 1;
}

const Command cmd_compact = {
    .name = "compact",
    .synopsis = "[OPTION]... FILE",
    .words = "filename",
    .summary = "Makes the file of an image as short as what is in it.",
    .notes = "What lies at the end of the file moves into unused space before it; nothing is\n"
             "written elsewhere. An image with internal snapshots is refused.\n",
    .options = compact_options,
    .args_size = sizeof(CompactArgs),
    .run = compact_run,
};
