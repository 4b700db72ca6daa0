/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img check: is the metadata of an image consistent, and can it be made so? */
#include "qemu-img/command.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include "qemu-img/untrusted.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Exit codes, part of the contract. */
enum { CHECK_OK = 0, CHECK_FAILED = 1, CHECK_CORRUPT = 2, CHECK_LEAKS = 3, CHECK_UNSUPPORTED = 63 };

typedef struct {
    const char *format, *output, *repair, *cache, *progress, *untrusted;
    bool image_opts, force_share, quiet;
} CheckArgs;

static const Option check_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(CheckArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(CheckArgs, image_opts) },
    { 'r', "repair", "leaks|all", "leaks: free lost clusters; all: repair whatever can be "
      "repaired", OPT_TEXT,
      offsetof(CheckArgs, repair) },
    { 'T', "cache", "MODE", "cache mode for FILE", OPT_TEXT, offsetof(CheckArgs, cache) },
    { 0, "output", "human|json", "kind of output", OPT_TEXT, offsetof(CheckArgs, output) },
    { 'U', "force-share", NULL, "open even if another program writes to the image", OPT_FLAG,
      offsetof(CheckArgs, force_share) },
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(CheckArgs, quiet) },
    OPTION_UNTRUSTED(CheckArgs),
    OPTION_PROGRESS_LONG(CheckArgs),
    OPTION_OBJECT,
    OPTION_END
};

static void put_if_any(json_t *o, const char *key, int64_t v)
{
    if (v)
        json_put_int(o, key, v);
}

static void check_print_json(const CheckResult *r, const char *name, const char *format)
{
    g_autoptr(json_t) o = json_object();

    json_put_str(o, "filename", name);
    json_put_str(o, "format", format);
    json_put_int(o, "check-errors", r->check_errors);
    put_if_any(o, "image-end-offset", r->image_end_offset);
    put_if_any(o, "corruptions", r->corruptions);
    put_if_any(o, "leaks", r->leaks);
    put_if_any(o, "corruptions-fixed", r->corruptions_fixed);
    put_if_any(o, "leaks-fixed", r->leaks_fixed);
    put_if_any(o, "total-clusters", (int64_t)r->clusters.total);
    put_if_any(o, "allocated-clusters", (int64_t)r->clusters.allocated);
    put_if_any(o, "fragmented-clusters", (int64_t)r->clusters.fragmented);
    put_if_any(o, "compressed-clusters", (int64_t)r->clusters.compressed);
    tool_print_json(o);
}

static void check_print_human(const CheckResult *r)
{
    double allocated = (double)r->clusters.allocated;

    if (!r->corruptions && !r->leaks && !r->check_errors)
        puts("No errors were found on the image.");
    if (r->corruptions)
        printf("\n%" PRId64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               r->corruptions);
    if (r->leaks)
        printf("\n%" PRId64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n", r->leaks);
    if (r->check_errors)
        printf("\n%" PRId64 " internal errors have occurred during the check.\n", r->check_errors);
    if (r->clusters.total && r->clusters.allocated)
        printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %.2f%% fragmented, "
               "%.2f%% compressed clusters\n", r->clusters.allocated, r->clusters.total,
               allocated * 100 / (double)r->clusters.total,
               (double)r->clusters.fragmented * 100 / allocated,
               (double)r->clusters.compressed * 100 / allocated);
    if (r->image_end_offset)
        printf("Image end offset: %" PRId64 "\n", r->image_end_offset);
}

/* 0, or the exit code of a check that could not be done. */
static CO int check_once(Handle *h, CheckResult *r, CheckFix fix)
{
    g_autoptr(GError) err = NULL;
    int ret;

    memset(r, 0, sizeof(*r));
    fflush(stdout);
    work_listen(progress_update);
    ret = node_check(handle_node(h), r, fix, progress_stderr(), &err);
    work_listen(NULL);
    progress_hide();
    if (ret >= 0)
        return 0;
    if (ret == -ENOTSUP) {
        complain("This image format does not support checks: '%s'", node_format(handle_node(h)));
        return CHECK_UNSUPPORTED;
    }
    if (err)
        complain_err(err);
    else
        complain_errno(ret, "The check could not be finished");
    return CHECK_FAILED;
}

static void check_print_fixed(const CheckResult *r)
{
    printf("The following inconsistencies were found and repaired:\n\n"
           "    %" PRId64 " leaked clusters\n"
           "    %" PRId64 " corruptions\n\n"
           "Double checking the fixed image now...\n", r->leaks_fixed, r->corruptions_fixed);
}

static int check_verdict(const CheckResult *r)
{
    if (r->check_errors) {
        complain("The check could not look at everything");
        return CHECK_FAILED;
    }
    return r->corruptions ? CHECK_CORRUPT : r->leaks ? CHECK_LEAKS : CHECK_OK;
}

static CO int check_image(const CheckArgs *a, const char *name, CheckFix fix, OpenFlags flags,
                          bool json)
{
    g_autoptr(Handle) h = tool_open(name, a->format, a->image_opts, flags);
    CheckResult r;
    int code;

    if (!h || !untrusted_enter(a->untrusted, &h, 1))
        return CHECK_FAILED;
    if (fix)
        tool_say_interrupted("the repair of '%s' is not finished", name);
    code = check_once(h, &r, fix);
    if (!code && (r.corruptions_fixed || r.leaks_fixed)) {
        CheckResult fixed = r;

        if (!json && !a->quiet)
            check_print_fixed(&r);
        code = check_once(h, &r, 0);
        r.corruptions_fixed = fixed.corruptions_fixed;
        r.leaks_fixed = fixed.leaks_fixed;
    }
    if (code)
        return code;
    if (json && !a->quiet)
        check_print_json(&r, name, node_format(handle_node(h)));
    else if (!a->quiet)
        check_print_human(&r);
    code = check_verdict(&r);
    return tool_close(&h) ? code : CHECK_FAILED;
}

static CO int check_run(const void *args, char **words, int count)
{
    const CheckArgs *a = args;
    OpenFlags flags = OPEN_CHECK | (a->force_share ? OPEN_FORCE_SHARE : 0);
    CheckFix fix = 0;
    bool json;
    int code;

    if (a->repair && !strcmp(a->repair, "leaks")) {
        fix = CHECK_FIX_LEAKS;
    } else if (a->repair && !strcmp(a->repair, "all")) {
        fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS;
    } else if (a->repair) {
        complain_usage("Repair 'leaks' or 'all', not '%s'", a->repair);
        return CHECK_FAILED;
    }
    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return CHECK_FAILED;
    }
    if (!tool_output(a->output, &json) || !tool_check_image_opts(a->image_opts, a->format) ||
        !open_cache_mode("source cache", a->cache, &flags) ||
        !untrusted_prepare(a->untrusted, &flags) ||
        !progress_begin(a->progress, a->quiet, "check", 1))
        return CHECK_FAILED;
    code = check_image(a, words[0], fix, flags | (fix ? OPEN_RDWR : 0), json);
    if (code != CHECK_FAILED && code != CHECK_UNSUPPORTED)
        progress_done();
    progress_end();
    return code;
}

const Command cmd_check = {
    .name = "check",
    .synopsis = "[OPTION]... FILE",
    .words = "filename",
    .summary = "Checks the metadata of an image, and repairs it.",
    .notes = "Exit code: 0 nothing wrong (any more), 1 check not finished, 2 image is corrupt,\n"
             "3 clusters are lost but nothing is corrupt, 63 format cannot be checked.\n",
    .options = check_options,
    .args_size = sizeof(CheckArgs),
    .run = check_run,
};
