/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img resize: makes an image larger or smaller. */
#include "qemu-img/command.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include "util/size.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *format, *preallocation, *progress;
    bool image_opts, shrink, quiet;
} ResizeArgs;

static const Option resize_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(ResizeArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(ResizeArgs, image_opts) },
    { 0, "preallocation", "off|metadata|falloc|full", "how what is added gets its space", OPT_TEXT,
      offsetof(ResizeArgs, preallocation) },
    { 0, "shrink", NULL, "allow a smaller size; data beyond the new end are lost", OPT_FLAG,
      offsetof(ResizeArgs, shrink) },
    OPTION_PROGRESS_LONG(ResizeArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(ResizeArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

/* SIZE, +SIZE or -SIZE. */
typedef struct {
    uint64_t bytes;
    char sign;   /* 0: absolute */
} NewSize;

static bool resize_read_size(const char *text, NewSize *s)
{
    const char *digits = *text == '+' || *text == '-' ? text + 1 : text;

    s->sign = digits > text ? *text : 0;
    if (size_parse(digits, 1, &s->bytes, NULL) == 0)
        return true;
    complain("'%s' is not a size", text);
    fputs(SIZE_SUFFIXES "\n", stderr);
    return false;
}

static bool resize_read_preallocation(const char *text, Prealloc *p)
{
    *p = PREALLOC_OFF;
    return !text || prealloc_parse(text, p) ||
           complain("There is no preallocation mode '%s'; choose off, metadata, falloc or full",
                    text);
}

/* The size in bytes that @s means for an image of @old bytes; false: complained. */
static bool resize_target(const NewSize *s, uint64_t old, uint64_t *size)
{
    *size = s->bytes;
    if (s->sign == '+' && !size_add(old, s->bytes, size))
        *size = 0;
    if (s->sign == '-')
        *size = s->bytes < old ? old - s->bytes : 0;
    if (!*size || *size > INT64_MAX)
        return complain("The new size must lie between 1 and %" PRId64 " bytes", INT64_MAX);
    return true;
}

static CO bool resize_image(const ResizeArgs *a, const char *name, const NewSize *s, Prealloc p)
{
    g_autoptr(Handle) h = tool_open(name, a->format, a->image_opts, OPEN_RDWR | OPEN_RESIZE);
    g_autoptr(GError) err = NULL;
    uint64_t old, size;
    bool ok;

    if (!h)
        return false;
    old = handle_size(h);
    if (!resize_target(s, old, &size))
        return false;
    if (size < old && !a->shrink) {
        complain("'%s' would lose everything beyond byte %" PRIu64 ".", name, size);
        return complain("Make sure that nothing of it is needed, then use --shrink");
    }
    if (size <= old && p != PREALLOC_OFF)
        return complain("Only an image that grows can have its new space allocated beforehand");
    /* The format takes the size as it is given, so that it can refuse what it cannot have. */
    tool_say_interrupted("'%s' has its old size or its new one", name);
    work_listen(progress_update);
    ok = handle_resize(h, size, true, p, &err);
    work_listen(NULL);
    tool_say_when_killed(false);
    if (!ok)
        return complain_err(err);
    return tool_close(&h);
}

static CO int resize_run(const void *args, char **words, int count)
{
    const ResizeArgs *a = args;
    Prealloc p;
    NewSize size;
    bool ok;

    if (!tool_check_image_opts(a->image_opts, a->format) ||
        !resize_read_preallocation(a->preallocation, &p))
        return 1;
    if (count != 2) {
        complain_usage("An image and a size are needed");
        return 1;
    }
    if (!resize_read_size(words[1], &size) ||
        !progress_begin(a->progress, a->quiet, "resize", 1))
        return 1;
    ok = resize_image(a, words[0], &size, p);
    if (ok)
        progress_done();
    progress_end();
    if (ok && !a->quiet)
        puts("Image resized.");
    return ok ? 0 : 1;
}

const Command cmd_resize = {
    .name = "resize",
    .synopsis = "[OPTION]... FILE [+|-]SIZE",
    .words = "filename [+ | -]size",
    .summary = "Makes an image larger or smaller.",
    .notes =
        "Shrink the file systems and partitions inside before the image; grow them after it.\n",
    .options = resize_options,
    .args_size = sizeof(ResizeArgs),
    .last_is_word = true,
    .run = resize_run,
};
