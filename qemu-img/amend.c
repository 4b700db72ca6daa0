/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img amend: changes options that an image was made with. */
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/createopts.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include <string.h>

typedef struct {
    const char *format, *cache, *progress;
    GArray *options;
    bool image_opts, force, quiet;
} AmendArgs;

static const Option amend_options[] = {
    { 'o', "options", "NAME=VALUE,...", "what to change ('help' lists it)", OPT_LIST,
      offsetof(AmendArgs, options) },
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(AmendArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(AmendArgs, image_opts) },
    { 't', "cache", "MODE", "cache mode for FILE", OPT_TEXT, offsetof(AmendArgs, cache) },
    { 0, "force", NULL, "do it even if data can no longer be read afterwards", OPT_FLAG,
      offsetof(AmendArgs, force) },
    OPTION_PROGRESS(AmendArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(AmendArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

static const BlockDriver *amend_supported(const BlockDriver *d)
{
    if (d && !d->amend) {
        complain("Options of an image of format '%s' cannot be changed", d->name);
        return NULL;
    }
    return d;
}

static bool amend_help(const BlockDriver *d)
{
    g_autofree char *title = NULL;

    if (!amend_supported(d))
        return false;
    title = g_strdup_printf("Amend options for '%s':", d->name);
    createopts_print_table(title, d->amend_opts);
    return true;
}

/* Gives the options their types; refuses what can be chosen only when an image is made. */
static bool amend_check_opts(const BlockDriver *d, json_t *opts, GError **err)
{
    BlockDriver amending = { .name = d->name, .create_opts = d->amend_opts };
    const char *key;
    json_t *v;

    json_object_foreach(opts, key, v) {
        if (!createopts_knows(d->amend_opts, key) && createopts_knows(d->create_opts, key)) {
            err_set(err, EINVAL, "Option '%s' of '%s' cannot be changed", key, d->name);
            return err_line(err, "This option is only supported for image creation");
        }
    }
    return create_opts_check(&amending, NULL, opts, err);
}

static CO bool amend_node(const AmendArgs *a, Node *n, json_t *opts)
{
    const BlockDriver *d = amend_supported(node_driver(n));
    g_autoptr(GError) err = NULL;
    bool ok;

    if (!d)
        return false;
    if (!amend_check_opts(d, opts, &err))
        return complain_err(err);
    progress_update(0, 1);
    work_listen(progress_update);
    ok = d->amend(n, opts, a->force, &err) || complain_err(err);
    work_listen(NULL);
    progress_done();
    return ok;
}

static CO bool amend_image(const AmendArgs *a, const char *name, OpenFlags flags, json_t *opts,
                           bool help)
{
    g_autoptr(Handle) h = tool_open(name, a->format, a->image_opts, flags);
    Node *n;

    if (!h)
        return false;
    n = node_skip_filters(handle_node(h));
    if (help)
        return amend_help(node_driver(n));
    tool_say_interrupted("'%s' has its old options or some of the new ones", name);
    return amend_node(a, n, opts) && tool_close(&h);
}

static CO int amend_run(const void *args, char **words, int count)
{
    const AmendArgs *a = args;
    g_autoptr(json_t) opts = json_object();
    OpenFlags flags = OPEN_RDWR | OPEN_RESIZE;
    bool help = false, ok;

    if (!a->options) {
        complain_usage("Say what to change (-o)");
        return 1;
    }
    if (!createopts_read(a->options, opts, &help))
        return 1;
    if (help && a->format && count == 0)
        return amend_help(tool_format("file format", a->format)) ? 0 : 1;
    if (count != 1) {
        complain("Exactly one image is needed");
        return 1;
    }
    if (!tool_check_image_opts(a->image_opts, a->format) ||
        !open_cache_mode("cache", a->cache, &flags) ||
        !progress_begin(a->progress, a->quiet, "amend", 1))
        return 1;
    ok = amend_image(a, words[0], flags, opts, help);
    progress_end();
    return ok ? 0 : 1;
}

const Command cmd_amend = {
    .name = "amend",
    .synopsis = "[OPTION]... -o NAME=VALUE,... FILE",
    .words = "filename",
    .summary = "Changes options that an image was made with.",
    .options = amend_options,
    .args_size = sizeof(AmendArgs),
    .run = amend_run,
};
