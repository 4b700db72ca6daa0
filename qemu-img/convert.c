/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img convert: copies images into a new one, or into one that is there. */
#include "block/driver.h"
#include "io/pool.h"
#include "qemu-img/bitmaps.h"
#include "qemu-img/command.h"
#include "qemu-img/convert.h"
#include "qemu-img/createopts.h"
#include "qemu-img/progress.h"
#include "qemu-img/to-pipe.h"
#include "qemu-img/tool.h"
#include "qemu-img/unsized.h"
#include "qemu-img/untrusted.h"
#include "util/size.h"
#include <string.h>

enum { WORKERS_DEFAULT = 8, WORKERS_MAX = 16, SPARSE_DEFAULT = 4096, SPARSE_MAX = 16 << 20 };

static const Option convert_options[] = {
    { 'f', "source-format", "FMT", "format of the sources", OPT_TEXT,
      offsetof(ConvertArgs, source_format) },
    { 0, "image-opts", NULL, "the sources are lists of options", OPT_FLAG,
      offsetof(ConvertArgs, image_opts) },
    { 'l', "source-snapshot", "SNAPSHOT", "copy what an internal snapshot holds", OPT_TEXT,
      offsetof(ConvertArgs, snapshot) },
    { 'T', "source-cache", "MODE", "cache mode for the sources", OPT_TEXT,
      offsetof(ConvertArgs, source_cache) },
    { 'U', "force-share", NULL, "open the sources even if another program writes to them", OPT_FLAG,
      offsetof(ConvertArgs, force_share) },
    { 'O', "target-format", "FMT", "format of the target (raw)", OPT_TEXT,
      offsetof(ConvertArgs, format) },
    { 0, "for", "PLATFORM",
      "format and options that azure, hyperv, esxi, vsphere, aws, gce, virtualbox, "
      "proxmox, parallels or utm takes; refuses a disk that breaks its rules",
      OPT_TEXT, offsetof(ConvertArgs, platform) },
    { 0, "target-image-opts", NULL, "the target is a list of options", OPT_FLAG,
      offsetof(ConvertArgs, target_image_opts) },
    { 'o', "target-format-options", "NAME=VALUE,...", "options of the format ('help' lists them)",
      OPT_LIST, offsetof(ConvertArgs, options) },
    { 'B', "backing", "BACKING",
      "keep only what differs from image BACKING, which must have the "
      "content of the source's backing file",
      OPT_TEXT, offsetof(ConvertArgs, backing) },
    { 'b', NULL, "BACKING", "the same as -B", OPT_TEXT, offsetof(ConvertArgs, backing) },
    { 'F', "backing-format", "FMT", "format of BACKING", OPT_TEXT,
      offsetof(ConvertArgs, backing_format) },
    { 't', "target-cache", "MODE", "cache mode for the target (unsafe)", OPT_TEXT,
      offsetof(ConvertArgs, target_cache) },
    { 'n', "no-create", NULL, "write into an existing target", OPT_FLAG,
      offsetof(ConvertArgs, no_create) },
    { 0, "target-is-zero", NULL, "with -n: the target reads as zeroes, which need not be "
      "written", OPT_FLAG,
      offsetof(ConvertArgs, target_is_zero) },
    { 'c', "compress", NULL, "store compressed", OPT_FLAG, offsetof(ConvertArgs, compress) },
    { 0, "bitmaps", NULL, "copy persistent bitmaps too", OPT_FLAG, offsetof(ConvertArgs, bitmaps) },
    { 0, "skip-broken-bitmaps", NULL, "leave out bitmaps that are inconsistent", OPT_FLAG,
      offsetof(ConvertArgs, skip_broken) },
    { 'S', "sparse-size", "SIZE", "zeroes for so long become holes (4k); 0: write everything",
      OPT_TEXT, offsetof(ConvertArgs, sparse) },
    { 'm', "parallel", "COUNT", "pieces copied at a time (8)", OPT_TEXT,
      offsetof(ConvertArgs, workers) },
    { 'W', "oob", NULL, "write in any order", OPT_FLAG, offsetof(ConvertArgs, any_order) },
    { 'C', "copy-range-offloading", NULL, "let the host copy if it can", OPT_FLAG,
      offsetof(ConvertArgs, offload) },
    { 'r', "rate-limit", "RATE", "bytes a second to write at most", OPT_TEXT,
      offsetof(ConvertArgs, rate) },
    { 0, "salvage", NULL, "take zeroes for what cannot be read", OPT_FLAG,
      offsetof(ConvertArgs, salvage) },
    { 0, "hash", "sha256|tree", "print the digest of what was copied", OPT_TEXT,
      offsetof(ConvertArgs, hash) },
    OPTION_EXPECT(ConvertArgs),
    OPTION_UNTRUSTED(ConvertArgs),
    OPTION_PROGRESS(ConvertArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(ConvertArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

/* ---- options -------------------------------------------------------------------------------- */

static bool convert_read_sparse(const char *text, uint64_t *out)
{
    *out = SPARSE_DEFAULT;
    if (!text)
        return true;
    if (!tool_size("buffer size for sparse output", text, INT64_MAX, out))
        return false;
    if (*out % 512 || *out > SPARSE_MAX)
        return complain(
            "Holes of %s bytes cannot be made: give a multiple of 512 up to %d, or 0 to "
            "write everything",
            text, SPARSE_MAX);
    return true;
}

static bool convert_read_numbers(const ConvertArgs *a, CopyJob *j)
{
    uint64_t workers = WORKERS_DEFAULT;

    if (a->workers &&
        !tool_number("number of pieces copied at a time", a->workers, 1, WORKERS_MAX, &workers))
        return false;
    /* Each hashes a block at a time. */
    if (!a->workers && a->hash)
        workers = CLAMP(pool_cpus(), WORKERS_DEFAULT, WORKERS_MAX);
    j->workers = (unsigned)workers;
    if (!convert_read_sparse(a->sparse, &j->min_sparse))
        return false;
    j->write_all = !j->min_sparse;
    return !a->rate || tool_size("rate limit", a->rate, INT64_MAX, &j->rate);
}

/* Options that do not go together. */
static bool convert_check_args(const ConvertArgs *a)
{
    if (!tool_check_image_opts(a->image_opts, a->source_format) ||
        !tool_check_image_opts(a->target_image_opts, a->format))
        return false;
    if (a->target_image_opts && !a->no_create)
        return complain("--target-image-opts needs a target that is there (-n)");
    if (a->offload && a->sparse)
        return complain("The host cannot look for zeroes: -C and -S exclude each other");
    if (a->offload && a->compress)
        return complain("The host cannot compress: -C and -c exclude each other");
    if (a->offload && a->salvage)
        return complain("The host cannot skip what it fails to read: -C and --salvage exclude each "
                        "other");
    if (a->offload && a->hash)
        return complain("The host tells no digest: -C and --hash exclude each other");
    if (a->target_is_zero && !a->no_create)
        return complain("--target-is-zero needs a target that is there (-n)");
    if (a->skip_broken && !a->bitmaps)
        return complain("--skip-broken-bitmaps needs --bitmaps");
    if (a->no_create && a->options)
        return complain(
            "Options of a target that is there cannot be chosen: -n and -o exclude each "
            "other");
    return digest_check_args(a->hash, a->expect);
}

/* Options that need a file which can be written anywhere, or print where the image goes. */
static bool pipe_check_args(const ConvertArgs *a)
{
    const char *what = a->no_create ? "-n"
                       : a->backing ? "-B"
                       : a->backing_format ? "-F"
                       : a->compress ? "-c"
                       : a->bitmaps ? "--bitmaps"
                       : a->any_order ? "-W"
                       : a->offload ? "-C"
                       : a->target_cache ? "-t"
                       : a->hash ? "--hash"
                       : a->platform ? "--for"
                       : a->progress ? "-p" : NULL;

    return !what || complain("%s is not possible with standard output ('-') as the target; './-' "
                             "is a file of that name", what);
}

/* ---- sources -------------------------------------------------------------------------------- */

/* Can a source be copied before its size is known? */
static bool convert_may_grow(const Convert *c, const char *target, unsigned nsources)
{
    const ConvertArgs *a = c->args;

    return nsources == 1 && !c->to_pipe && !a->image_opts && !a->snapshot && !a->no_create &&
           !a->backing && !a->bitmaps && !a->hash && !c->platform &&
           unsized_target(target, c->format, c->opts);
}

/* NULL: complained. */
static CO Handle *convert_open_source(Convert *c, char **names, unsigned count, unsigned i)
{
    const ConvertArgs *a = c->args;
    Handle *h = convert_may_grow(c, names[count], count)
                    ? unsized_open(names[i], a->source_format, c->source_flags) : NULL;

    if (!h)
        return tool_open(names[i], a->source_format, a->image_opts, c->source_flags);
    c->job.grow = unsized_grow;
    c->target_flags |= OPEN_RESIZE;
    return h;
}

/* @names: @count sources, then the target. */
static CO bool convert_open_sources(Convert *c, char **names, unsigned count)
{
    const ConvertArgs *a = c->args;
    CopyJob *j = &c->job;

    if (a->snapshot && count > 1)
        return complain("A snapshot can only be taken from a single source");
    if (a->bitmaps && count > 1)
        return complain("Bitmaps can only be copied from a single source");
    j->sources = g_new0(CopySource, count);
    for (unsigned i = 0; i < count; i++) {
        CopySource *s = &j->sources[i];

        s->name = names[i];
        s->h = convert_open_source(c, names, count, i);
        if (!s->h)
            return false;
        j->nsources++;
        s->start = j->len;
        s->len = handle_size(s->h);
        if (!size_add(j->len, s->len, &j->len) || j->len > INT64_MAX)
            return complain("The sources are too large to be put together");
    }
    if (!a->snapshot)
        return true;
    if (!image_load_snapshot(j->sources[0].h, a->snapshot))
        return false;
    j->len = j->sources[0].len = handle_size(j->sources[0].h);
    return true;
}

/* Where the end of a file was cut off an image reads as zeroes: copied only if the user knows. */
static CO bool convert_check_ends(const Convert *c)
{
    for (unsigned i = 0; i < c->job.nsources; i++) {
        Node *n = node_skip_filters(handle_node(c->job.sources[i].h));

        for (; n; n = node_backing_chain_next(n)) {
            g_autofree char *size = NULL;
            uint64_t missing;

            /* What cannot be read here the copy cannot read either. */
            if (node_missing_end(n, false, &missing) < 0 || !missing)
                continue;
            size = size_format(missing);
            if (!c->args->salvage)
                return complain("The file of '%s' ends %s early; --salvage copies the image with "
                                "zeroes for what is missing", node_filename(n), size);
            complain(
                "warning: The file of '%s' ends %s early; zeroes are copied for what is missing",
                node_filename(n), size);
        }
    }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static bool convert_enter_sandbox(const Convert *c)
{
    const CopyJob *j = &c->job;
    g_autofree Handle **images = g_new(Handle *, j->nsources);

    for (unsigned i = 0; i < j->nsources; i++)
        images[i] = j->sources[i].h;
    return untrusted_enter(c->args->untrusted, images, j->nsources);
}

/* Is a source on a server whose answers take long, so that many should be on their way? */
static bool convert_is_far(const CopyJob *j)
{
    bool is_far = false;

    for (unsigned i = 0; i < j->nsources; i++)
        is_far |= node_limits(handle_node(j->sources[i].h))->opt_transfer >= MiB;
    return is_far;
}

static CO bool convert_images(Convert *c, char **names, unsigned count)
{
    const ConvertArgs *a = c->args;
    const char *target = names[count - 1];
    Node *source;

    if (!convert_open_sources(c, names, count - 1) || !convert_check_ends(c))
        return false;
    source = handle_node(c->job.sources[0].h);
    if (a->bitmaps && !bitmaps_can_copy(source, a->skip_broken))
        return false;
    /* Before the digest, which has room for so many. */
    if (!a->workers && convert_is_far(&c->job))
        c->job.workers = WORKERS_MAX;
    if (a->hash && !(c->job.digest = digest_new(a->hash, c->job.len, c->job.workers)))
        return false;
    if (c->platform && !platform_check(c->platform, c->job.len, target))
        return false;
    c->job.target_name = target;
    complain_last_words_set("'%s' is incomplete: the work was not finished", target);
    if (!convert_open_target(c, target))
        return false;
    if (a->bitmaps && !bitmaps_supported(handle_node(c->job.target)))
        return false;
    if (!convert_enter_sandbox(c))
        return false;
    convert_plan(c);
    tool_watch_interrupts();
    if (!copy_run(&c->job))
        return false;
    if (c->to_pipe)
        to_pipe_end(&c->job, c->pipe_end);
    if (a->bitmaps && !bitmaps_copy(source, handle_node(c->job.target), a->skip_broken))
        return false;
    return tool_close(&c->job.target);
}

static CO int convert_open(Convert *c, char **names, unsigned count)
{
    bool ok;

    if (!progress_begin(c->args->progress, c->args->quiet, "convert", 1))
        return 1;
    ok = convert_images(c, names, count);
    if (ok)
        progress_done();
    progress_end();
    if (ok && c->job.digest) {
        digest_print(c->job.digest, names[count - 1]);
        ok = digest_matches(c->job.digest, c->args->expect, names[count - 1]);
    }
    handle_close(c->job.target);
    for (unsigned i = 0; i < c->job.nsources; i++)
        handle_close(c->job.sources[i].h);
    g_free(c->job.sources);
    digest_free(c->job.digest);
    return ok ? 0 : 1;
}

/* Makes the target one that --for names. */
static bool convert_read_platform(Convert *c)
{
    const ConvertArgs *a = c->args;
    const char *format = a->format;

    if (!a->platform)
        return true;
    if (a->no_create || a->target_image_opts || a->backing)
        return complain(
            "--for makes an image of its own: it excludes -n, -B and --target-image-opts");
    c->platform = platform_find(a->platform);
    if (!c->platform || !platform_apply(c->platform, &format, c->opts))
        return false;
    c->format = format;
    return true;
}

static CO int convert_run(const void *args, char **words, int count)
{
    const ConvertArgs *a = args;
    g_autoptr(json_t) opts = json_object();
    Convert c = {
        .args = a,
        .format = a->format ? a->format : "raw",
        .opts = opts,
        .source_flags = a->force_share ? OPEN_FORCE_SHARE : OPEN_DENY_WRITERS,
        .target_flags = OPEN_RDWR | OPEN_UNMAP,
        .job = {
            .compress = a->compress,
            .any_order = a->any_order && !a->compress,
            .offload = a->offload,
            .salvage = a->salvage,
            .quiet = a->quiet,
        },
    };
    bool help = false;

    if (!createopts_read(a->options, opts, &help) || !convert_read_platform(&c))
        return 1;
    if (help)
        return createopts_help(c.format, count > 1 ? words[count - 1] : NULL) ? 0 : 1;
    if (!convert_read_numbers(a, &c.job) || !convert_check_args(a))
        return 1;
    if (count < 2) {
        complain(count ? "The name of the target is missing" : "The names of images are missing");
        return 1;
    }
    c.to_pipe = !strcmp(words[count - 1], "-") && !a->target_image_opts;
    if (c.to_pipe && !pipe_check_args(a))
        return 1;
    if (!open_cache_mode("cache", a->target_cache ? a->target_cache : "unsafe", &c.target_flags) ||
        !open_cache_mode("source cache", a->source_cache, &c.source_flags) ||
        !untrusted_prepare(a->untrusted, &c.source_flags))
        return 1;
    return convert_open(&c, words, (unsigned)count);
}

const Command cmd_convert = {
    .name = "convert",
    .synopsis = "[OPTION]... FILE... TARGET",
    .words = "filename [filename2 [...]] output_filename",
    .summary = "Copies images, one after the other, into a new one.",
    .options = convert_options,
    .args_size = sizeof(ConvertArgs),
    .run = convert_run,
};
