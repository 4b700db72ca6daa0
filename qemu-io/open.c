/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands open, close and reopen. */
#include "qemu-io/command.h"
#include "tools/complain.h"
#include "tools/image.h"
#include "util/err.h"
#include <getopt.h>
#include <stdio.h>

/* Merges option string @text into *@o, made if need be. False: complained. */
static bool options_add(json_t **o, const char *text)
{
    g_autoptr(GError) err = NULL;

    if (!*o)
        *o = json_object();
    return image_opts_merge(text, *o, &err) || complain_err(err);
}

/* ---- open ----------------------------------------------------------------------------------- */

static CommandResult open_options(const Session *s, OpenRequest *r, int argc, char **argv)
{
    bool ok = true;
    int c;

    command_options_begin();
    while (ok && (c = command_option(argc, argv, "Cd:i:kno:rst:U")) != -1)
        switch (c) {
        case 'C':
            r->flags |= OPEN_COPY_ON_READ;
            break;
        case 'd':
            ok = open_discard_mode(optarg, &r->flags);
            break;
        case 'i':
            ok = open_aio_mode(optarg, &r->flags);
            break;
        case 'k':
            ok = open_aio_mode("native", &r->flags);
            break;
        case 'n':
            ok = open_cache_mode("cache", "none", &r->flags);
            break;
        case 'o':
            if (s->image_opts) {
                puts("--image-opts and 'open -o' are mutually exclusive");
                ok = false;
            } else {
                ok = options_add(&r->options, optarg);
            }
            break;
        case 'r':
            r->flags &= ~(unsigned)OPEN_RDWR;
            break;
        case 's':
            r->snapshot = true;
            break;
        case 't':
            ok = open_cache_mode("cache", optarg, &r->flags);
            break;
        case 'U':
            r->flags |= OPEN_FORCE_SHARE;
            break;
        default:
            return CMD_BAD_USAGE;
        }
    if (!ok)
        return CMD_FAILED;
    return optind >= argc - 1 ? CMD_OK : CMD_BAD_USAGE;
}

/* The word that says what to open, if there is one. */
static bool open_word(const Session *s, OpenRequest *r, char *word)
{
    g_autoptr(GError) err = NULL;

    if (!s->image_opts || !word) {
        r->name = word;
        return true;
    }
    r->options = image_opts_parse(word, NULL, &err);
    return r->options || complain_err(err);
}

static CO CommandResult open_run(Session *s, int argc, char **argv)
{
    OpenRequest r = { .flags = OPEN_DEFAULTS };
    CommandResult result = open_options(s, &r, argc, argv);

    if (result == CMD_OK && s->file) {
        complain("An image is open already; 'close' ends its use");
        result = CMD_FAILED;
    }
    if (result == CMD_OK && !open_word(s, &r, argv[optind]))
        result = CMD_FAILED;
    if (result != CMD_OK) {
        json_decref(r.options);
        return result;
    }
    return session_open(s, &r) ? CMD_OK : CMD_FAILED;
}

static CO CommandResult close_run(Session *s, int argc, char **argv)
{
    return session_close(s) ? CMD_OK : CMD_FAILED;
}

/* ---- reopen --------------------------------------------------------------------------------- */

typedef struct {
    bool read_only, writable;  /* -r, -w */
    const char *cache;         /* -c; NULL: not given */
    json_t *options;           /* -o; flat */
} Reopen;

static CommandResult reopen_options(Reopen *r, OpenFlags *flags, int argc, char **argv)
{
    bool ok = true;
    int c;

    command_options_begin();
    while (ok && (c = command_option(argc, argv, "c:o:rw")) != -1)
        switch (c) {
        case 'c':
            r->cache = optarg;
            ok = open_cache_mode("cache", optarg, flags);
            break;
        case 'o':
            ok = options_add(&r->options, optarg);
            break;
        case 'r':
        case 'w':
            if (r->read_only || r->writable)
                ok = complain("Only one of -r and -w may be given, and only once");
            *(c == 'r' ? &r->read_only : &r->writable) = true;
            break;
        default:
            return CMD_BAD_USAGE;
        }
    if (!ok)
        return CMD_FAILED;
    return optind == argc ? CMD_OK : CMD_BAD_USAGE;
}

/* Says it if -r, -w or -c and the options want the same thing set. */
static bool reopen_is_clear(const Reopen *r)
{
    if ((r->read_only || r->writable) && json_has(r->options, "read-only"))
        return complain("-r and -w exclude the option 'read-only'");
    if (r->cache && (json_has(r->options, "cache.direct") ||
                     json_has(r->options, "cache.no-flush")))
        return complain("-c excludes the options 'cache.direct' and 'cache.no-flush'");
    return true;
}

/* Makes -r, -w and -c options too: they win over what the image was opened with. */
static void reopen_set_options(Reopen *r, OpenFlags flags)
{
    if (r->read_only || r->writable)
        json_put_bool(r->options, "read-only", r->read_only);
    if (r->cache) {
        json_put_bool(r->options, "cache.direct", flags & OPEN_DIRECT);
        json_put_bool(r->options, "cache.no-flush", flags & OPEN_NO_FLUSH);
    }
}

/* Follows the option read-only in *@flags. */
static bool reopen_access(const Reopen *r, OpenFlags *flags)
{
    const char *text = json_get_str(r->options, "read-only", NULL);

    if (r->read_only || (text && !g_strcmp0(text, "on"))) {
        if (text && *flags & OPEN_RDWR)
            return complain("The image is in use for writing; -r ends that");
        if (*flags & OPEN_COPY_ON_READ)
            return complain("An image with copy-on-read cannot become read-only");
        *flags &= ~(unsigned)OPEN_RDWR;
    } else if (r->writable || (text && !g_strcmp0(text, "off"))) {
        *flags |= OPEN_RDWR;
    }
    return true;
}

static CO bool reopen_apply(Session *s, Reopen *r, OpenFlags flags)
{
    g_autoptr(GError) err = NULL;

    if (!r->options)
        r->options = json_object();
    if (!reopen_is_clear(r) || !reopen_access(r, &flags))
        return false;
    reopen_set_options(r, flags);
    if (!handle_reopen(s->file, g_steal_pointer(&r->options), flags, &err))
        return complain_err(err);
    s->flags = flags;
    return true;
}

static CO CommandResult reopen_run(Session *s, int argc, char **argv)
{
    Reopen r = { false };
    OpenFlags flags = s->flags;
    CommandResult result = reopen_options(&r, &flags, argc, argv);

    if (result == CMD_OK && !reopen_apply(s, &r, flags))
        result = CMD_FAILED;
    json_decref(r.options);
    return result;
}

const Command cmd_open = {
    .name = "open",
    .alias = "o",
    .min_args = 1,
    .max_args = ANY_COUNT,
    .flags = CMD_WITHOUT_FILE,
    .synopsis = "[-rsCnkU] [-t cache] [-d discard] [-i aio] [-o options] [path]",
    .summary = "opens an image",
    .help = "\n"
            "Opens PATH, or what the options describe, for the other commands. In a program\n"
            "started with --image-opts PATH is a list of options, and there is no -o.\n"
            "\n"
            "  -C    what is read from a backing file is stored in the image\n"
            "  -d    discard mode: ignore or unmap\n"
            "  -i    AIO mode: threads, native or io_uring\n"
            "  -k    the same as -i native\n"
            "  -n    the same as -t none\n"
            "  -o    options of the block driver: driver=raw,...\n"
            "  -r    for reading only\n"
            "  -s    writes go to a temporary file\n"
            "  -t    cache mode: none, writeback, writethrough (default), directsync or unsafe\n"
            "  -U    share the image with anybody; needs -r\n"
            "\n"
            "Example: open -n -o driver=raw /tmp/data\n",
    .run = open_run,
};

const Command cmd_close = {
    .name = "close",
    .alias = "c",
    .synopsis = "",
    .summary = "closes the image",
    .run = close_run,
};

const Command cmd_reopen = {
    .name = "reopen",
    .max_args = ANY_COUNT,
    .synopsis = "[(-r|-w)] [-c cache] [-o options]",
    .summary = "opens the same image in another way",
    .help = "\n"
            "What is not mentioned stays as it is.\n"
            "\n"
            "  -c    cache mode: none, writeback, writethrough, directsync or unsafe\n"
            "  -o    options of the block driver\n"
            "  -r    for reading only\n"
            "  -w    for reading and writing\n"
            "\n"
            "Example: reopen -o lazy-refcounts=on\n",
    .run = reopen_run,
};
