/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img checksum: the digest of what an image shows to its guest, whatever its format. */
#include "io/pool.h"
#include "qemu-img/command.h"
#include "qemu-img/copy.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include "qemu-img/untrusted.h"

enum { WORKERS_MIN = 8, WORKERS_MAX = 64 };

typedef struct {
    const char *format, *snapshot, *cache, *hash, *expect, *output, *progress, *untrusted;
    bool image_opts, force_share, quiet;
} ChecksumArgs;

static const Option checksum_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(ChecksumArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(ChecksumArgs, image_opts) },
    { 'l', "snapshot", "SNAPSHOT", "look at what an internal snapshot of FILE holds", OPT_TEXT,
      offsetof(ChecksumArgs, snapshot) },
    { 0, "hash", "sha256|tree", "kind of digest (sha256)", OPT_TEXT, offsetof(ChecksumArgs, hash) },
    OPTION_EXPECT(ChecksumArgs),
    { 0, "output", "human|json", "kind of output", OPT_TEXT, offsetof(ChecksumArgs, output) },
    { 'T', "cache", "MODE", "cache mode for FILE", OPT_TEXT, offsetof(ChecksumArgs, cache) },
    { 'U', "force-share", NULL, "open even if another program writes to the image", OPT_FLAG,
      offsetof(ChecksumArgs, force_share) },
    OPTION_UNTRUSTED(ChecksumArgs),
    OPTION_PROGRESS(ChecksumArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(ChecksumArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

static void checksum_print(Handle *h, const char *name, const char *kind, Digest *digest, bool json)
{
    g_autoptr(json_t) o = NULL;

    if (!json) {
        digest_print(digest, name);
        return;
    }
    o = json_object();
    json_put_str(o, "filename", name);
    json_put_str(o, "format", node_format(handle_node(h)));
    json_put_int(o, "virtual-size", (int64_t)handle_size(h));
    json_put_str(o, "hash", kind);
    json_put_str(o, "digest", digest_text(digest));
    tool_print_json(o);
}

static CO bool checksum_image(const ChecksumArgs *a, const char *name, OpenFlags flags, bool json)
{
    const char *kind = a->hash ? a->hash : "sha256";
    g_autoptr(Handle) h = tool_open(name, a->format, a->image_opts, flags);
    CopySource source = { .h = h, .name = name };
    CopyJob job = {
        .sources = &source,
        .nsources = 1,
        .workers = CLAMP(pool_cpus(), WORKERS_MIN, WORKERS_MAX),
        .target_is_zero = true,
    };
    g_autoptr(Digest) digest = NULL;

    if (!h || !untrusted_enter(a->untrusted, &h, 1) ||
        (a->snapshot && !image_load_snapshot(h, a->snapshot)))
        return false;
    job.len = source.len = handle_size(h);
    job.digest = digest = digest_new(kind, job.len, job.workers);
    if (!digest || !copy_run(&job))
        return false;
    progress_done();
    progress_end();
    if (!a->quiet)
        checksum_print(h, name, kind, digest, json);
    return digest_matches(digest, a->expect, name);
}

static CO int checksum_run(const void *args, char **words, int count)
{
    const ChecksumArgs *a = args;
    OpenFlags flags = a->force_share ? OPEN_FORCE_SHARE : OPEN_DENY_WRITERS;
    bool json, ok;

    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return 1;
    }
    if (!tool_output(a->output, &json) || !tool_check_image_opts(a->image_opts, a->format) ||
        !digest_check_args(a->hash ? a->hash : "sha256", a->expect) ||
        !open_cache_mode("source cache", a->cache, &flags) ||
        !untrusted_prepare(a->untrusted, &flags) ||
        !progress_begin(a->progress, a->quiet, "checksum", 1))
        return 1;
    ok = checksum_image(a, words[0], flags, json);
    progress_end();
    return ok ? 0 : 1;
}

const Command cmd_checksum = {
    .name = "checksum",
    .synopsis = "[OPTION]... FILE",
    .words = "filename",
    .summary = "Prints the digest of what an image shows to its guest, whatever its format.",
    .options = checksum_options,
    .args_size = sizeof(ChecksumArgs),
    .run = checksum_run,
};
