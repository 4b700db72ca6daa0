/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img dd: copies part of an image into a new one, with the operands of dd(1). */
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/copy.h"
#include "qemu-img/createopts.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include "util/size.h"
#include <string.h>

enum { WORKERS = 2, HOLE = 4096 };

typedef struct {
    const char *format, *target_format, *progress;
    bool image_opts, force_share;
} DdArgs;

static const Option dd_options[] = {
    { 'f', "format", "FMT", "format of INPUT", OPT_TEXT, offsetof(DdArgs, format) },
    { 0, "image-opts", NULL, "INPUT is a list of options", OPT_FLAG, offsetof(DdArgs, image_opts) },
    { 'O', "output-format", "FMT", "format of OUTPUT (raw)", OPT_TEXT,
      offsetof(DdArgs, target_format) },
    { 'U', "force-share", NULL, "open INPUT even if another program writes to it", OPT_FLAG,
      offsetof(DdArgs, force_share) },
    OPTION_PROGRESS(DdArgs),
    OPTION_OBJECT,
    OPTION_END
};

typedef struct {
    const char *input, *output;
    uint64_t bs, count, skip;   /* the last two in blocks */
    bool has_count;
} Operands;

/* Reads one NAME=VALUE. False: complained. */
static bool operand_read(Operands *o, const char *word)
{
    const char *eq = strchr(word, '=');
    g_autofree char *name = eq ? g_strndup(word, eq - word) : g_strdup(word);
    const char *value = eq ? eq + 1 : "";

    if (eq && !strcmp(name, "if")) {
        o->input = value;
    } else if (eq && !strcmp(name, "of")) {
        o->output = value;
    } else if (eq && !strcmp(name, "bs")) {
        if (!tool_size("block size", value, INT32_MAX, &o->bs))
            return false;
        if (!o->bs)
            return complain("Blocks of 0 bytes cannot be copied");
    } else if (eq && !strcmp(name, "count")) {
        o->has_count = true;
        return tool_size("count", value, INT64_MAX, &o->count);
    } else if (eq && !strcmp(name, "skip")) {
        return tool_size("skip", value, INT64_MAX, &o->skip);
    } else {
        return complain("Unknown operand '%s'", word);
    }
    return true;
}

/*
 * Where the part of an input of @size bytes that is copied begins and ends. As ever with this
 * command, the blocks that are skipped count as well: it is where to stop, not how many to copy.
 */
static void dd_range(const Operands *o, uint64_t size, uint64_t *from, uint64_t *end)
{
    uint64_t bytes;

    if (!size_mul(o->skip, o->bs, from))
        *from = UINT64_MAX;
    *end = size;
    if (o->has_count && size_mul(o->count, o->bs, &bytes))
        *end = MIN(size, bytes);
}

static CO Handle *dd_create(const char *name, const char *fmt, uint64_t len)
{
    const BlockDriver *format = createopts_format(fmt);
    g_autoptr(json_t) opts = json_pack("{s:I}", "size", (json_int_t)len);
    g_autoptr(GError) err = NULL;
    Handle *h;

    if (!format || !createopts_protocol(name))
        return NULL;
    complain_last_words_set("'%s' is incomplete: the work was not finished", name);
    tool_say_when_killed(true);
    if (!image_create(name, fmt, opts, &err)) {
        err_prefix_name(&err, name, name);
        complain_err(err);
        return NULL;
    }
    h = handle_open(name, json_pack("{s:s}", "driver", fmt), OPEN_RDWR | OPEN_UNMAP, &err);
    if (!h)
        complain_err(err);
    return h;
}

static CO bool dd_copy(const DdArgs *a, const Operands *o)
{
    g_autoptr(Handle) in = tool_open(o->input, a->format, a->image_opts,
                                     a->force_share ? OPEN_FORCE_SHARE : 0);
    CopySource source = { .h = in, .name = o->input };
    CopyJob job = { .sources = &source, .nsources = 1, .target_name = o->output,
                    .workers = WORKERS, .min_sparse = HOLE, .share = true };
    g_autoptr(Handle) out = NULL;
    uint64_t end;

    if (!in)
        return false;
    dd_range(o, handle_size(in), &source.from, &end);
    job.len = source.len = source.from < end ? end - source.from : 0;
    if (source.from > end)
        complain("'%s' ends before the blocks that are not skipped", o->input);
    out = dd_create(o->output, a->target_format ? a->target_format : "raw", job.len);
    if (!out)
        return false;
    job.target = out;
    job.target_is_zero = node_has_zero_init(handle_node(out));
    tool_watch_interrupts();
    if (!copy_run(&job))
        return false;
    progress_done();
    return tool_close(&out);
}

static CO int dd_run(const void *args, char **words, int count)
{
    const DdArgs *a = args;
    Operands o = { .bs = 512 };
    bool ok = true;

    for (int i = 0; i < count && ok; i++)
        ok = operand_read(&o, words[i]);
    if (!ok)
        return 1;
    if (!o.input || !o.output) {
        complain("Both if=INPUT and of=OUTPUT are needed");
        return 1;
    }
    if (!tool_check_image_opts(a->image_opts, a->format) ||
        !progress_begin(a->progress, false, "dd", 1))
        return 1;
    ok = dd_copy(a, &o);
    progress_end();
    return ok ? 0 : 1;
}

const Command cmd_dd = {
    .name = "dd",
    .synopsis = "[OPTION]... [bs=BYTES] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT",
    .words = "[bs=block_size] [count=blocks] [skip=blocks] if=input of=output",
    .summary = "Copies part of an image into a new one.",
    .notes = "  bs=BYTES      size of a block (512)\n"
             "  count=BLOCKS  stop after so many blocks of INPUT, those left out included\n"
             "  skip=BLOCKS   leave out so many blocks of INPUT before\n",
    .options = dd_options,
    .args_size = sizeof(DdArgs),
    .run = dd_run,
};
