/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-io: options, opening the image, running commands on the loop. */
#include "io/loop.h"
#include "qemu-io/session.h"
#include "qemu-io/shell.h"
#include "tools/complain.h"
#include "tools/image.h"
#include "tools/program.h"
#include "tools/options.h"
#include "util/err.h"
#include <stdio.h>

typedef struct {
    OpenRequest open;
    const char *format;   /* -f; NULL: not given */
    bool image_opts;
    bool misalign;
    const char *file;     /* NULL: none */
    GPtrArray *commands;  /* of const char *; empty: read standard input */
    int exit_code;
} Job;

/* ---- options -------------------------------------------------------------------------------- */

static OptionResult print_version(void *args, const char *value)
{
    tool_print_version("qemu-io version");
    return OPTION_EXIT;
}

static OptionResult take_command(void *args, const char *value)
{
    g_ptr_array_add(((Job *)args)->commands, (char *)value);
    return OPTION_DONE;
}

static OptionResult take_read_only(void *args, const char *value)
{
    ((Job *)args)->open.flags &= ~(unsigned)OPEN_RDWR;
    return OPTION_DONE;
}

static OptionResult take_copy_on_read(void *args, const char *value)
{
    ((Job *)args)->open.flags |= OPEN_COPY_ON_READ;
    return OPTION_DONE;
}

static OptionResult take_force_share(void *args, const char *value)
{
    ((Job *)args)->open.flags |= OPEN_FORCE_SHARE;
    return OPTION_DONE;
}

static OptionResult take_cache(void *args, const char *value)
{
    return option_done_if(open_cache_mode("cache", value, &((Job *)args)->open.flags));
}

static OptionResult take_no_cache(void *args, const char *value)
{
    return take_cache(args, "none");
}

static OptionResult take_aio(void *args, const char *value)
{
    return option_done_if(open_aio_mode(value, &((Job *)args)->open.flags));
}

static OptionResult take_native_aio(void *args, const char *value)
{
    return take_aio(args, "native");
}

static OptionResult take_discard(void *args, const char *value)
{
    return option_done_if(open_discard_mode(value, &((Job *)args)->open.flags));
}

static const Option options[] = {
    { 'V', "version", NULL, "print the version and exit", OPT_CALL, .call = print_version },
    OPTION_OBJECT,
    { 0, "image-opts", NULL, "FILE is a list of options, driver=qcow2,file.filename=...", OPT_FLAG,
      offsetof(Job, image_opts) },
    { 'c', "cmd", " COMMAND", "run COMMAND and end; may be given many times", OPT_CALL,
      .call = take_command },
    { 'f', "format", " FORMAT", "format of FILE, instead of probing", OPT_TEXT,
      offsetof(Job, format) },
    { 'r', "read-only", NULL, "open FILE for reading only", OPT_CALL, .call = take_read_only },
    { 's', "snapshot", NULL, "writes go to a temporary file", OPT_FLAG,
      offsetof(Job, open.snapshot) },
    { 'n', "nocache", NULL, "the same as -t none", OPT_CALL, .call = take_no_cache },
    { 'C', "copy-on-read", NULL, "what is read from a backing file is stored in the image",
      OPT_CALL, .call = take_copy_on_read },
    { 'm', "misalign", NULL, "use memory that is not aligned for O_DIRECT", OPT_FLAG,
      offsetof(Job, misalign) },
    { 'k', "native-aio", NULL, "the same as -i native", OPT_CALL, .call = take_native_aio },
    { 'i', "aio", " MODE", "threads, native or io_uring", OPT_CALL, .call = take_aio },
    { 't', "cache", " MODE", "none, writeback, writethrough (default), directsync, unsafe",
      OPT_CALL, .call = take_cache },
    { 'd', "discard", " MODE", "ignore or unmap (default)", OPT_CALL, .call = take_discard },
    OPTION_TRACE,
    { 'U', "force-share", NULL, "share FILE with anybody; needs -r", OPT_CALL,
      .call = take_force_share },
    OPTION_END,
};

static void print_help(void)
{
    printf("Usage: %s [OPTION]... [-c COMMAND]... [FILE]\n"
           "Reads and writes parts of disk images, by commands.\n"
           "\n", tool_name());
    options_print_help(options);
    puts("\nWithout -c commands are read from standard input. 'qemu-io -c help' lists them.\n");
    tool_print_formats();
}

/* Reads the command line into @j. */
static OptionResult line_read(Job *j, int argc, char **argv)
{
    int first = 0;
    OptionResult r = options_parse(options, OPTIONS_ANYWHERE, argc, argv, j, &first);

    if (r != OPTION_DONE)
        return r;
    j->file = argv[first];
    if (argc - first > 1)
        return OPTION_USAGE;
    return option_done_if(!j->file || !j->image_opts || !j->format ||
                          complain("A format cannot be given beside --image-opts: driver= in the "
                                   "options is it"));
}

/* ---- running -------------------------------------------------------------------------------- */

/* Turns the file of the command line into what session_open wants. */
static bool open_request(Job *j)
{
    g_autoptr(GError) err = NULL;

    if (j->image_opts) {
        j->open.options = image_opts_parse(j->file, NULL, &err);
        return j->open.options || complain_err(err);
    }
    j->open.name = j->file;
    if (j->format)
        j->open.options = json_pack("{s:s}", "driver", j->format);
    return true;
}

static CO bool run_commands(Session *s, GPtrArray *lines)
{
    bool ok = true;

    for (guint i = 0; i < lines->len && !s->quit; i++)
        ok &= shell_run_line(s, lines->pdata[i]);
    return ok;
}

static CO void job_run(void *arg)
{
    Job *j = arg;
    g_autoptr(GPtrArray) tags = g_ptr_array_new_with_free_func(g_free);
    Session s = { .image_opts = j->image_opts, .misalign = j->misalign, .break_tags = tags };
    bool ok;

    j->exit_code = 1;
    if (j->file && (!open_request(j) || !session_open(&s, &j->open)))
        return;
    ok = j->commands->len ? run_commands(&s, j->commands) : shell_run_input(&s);
    ok &= session_close(&s);
    j->exit_code = ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    Job job = { .open.flags = OPEN_DEFAULTS, .commands = lines };

    tool_begin(argc ? argv[0] : "");
    switch (line_read(&job, argc, argv)) {
    case OPTION_DONE:
        loop_run(job_run, &job);
        break;
    case OPTION_HELP:
        print_help();
        break;
    case OPTION_EXIT:
        break;
    case OPTION_USAGE:
        print_help();
        job.exit_code = 1;
        break;
    case OPTION_BAD:
        job.exit_code = 1;
        break;
    }
    return tool_finish(job.exit_code, 1);
}
