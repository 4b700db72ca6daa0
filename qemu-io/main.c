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
#include <getopt.h>
#include <stdio.h>

enum { CODE_OBJECT = 256, CODE_IMAGE_OPTS };

typedef struct {
    OpenRequest open;
    const char *format;   /* -f; NULL: not given */
    bool image_opts;
    bool misalign;
    const char *file;     /* NULL: none */
    GPtrArray *commands;  /* of const char *; empty: read standard input */
    int exit_code;
} Job;

static void print_help(void)
{
    printf("Usage: %s [OPTION]... [-c COMMAND]... [FILE]\n", tool_name());
    puts("Reads and writes parts of disk images, by commands.\n"
         "\n"
         "      --object OBJECT      define an object, such as secret,id=ID,file=FILE\n"
         "                           ('help' lists them)\n"
         "      --image-opts         FILE is a list of options, driver=qcow2,file.filename=...\n"
         "  -c, --cmd COMMAND        run COMMAND and end; may be given many times\n"
         "  -f, --format FORMAT      format of FILE, instead of probing\n"
         "  -r, --read-only          open FILE for reading only\n"
         "  -s, --snapshot           writes go to a temporary file\n"
         "  -n, --nocache            the same as -t none\n"
         "  -C, --copy-on-read       what is read from a backing file is stored in the image\n"
         "  -m, --misalign           use memory that is not aligned for O_DIRECT\n"
         "  -k, --native-aio         the same as -i native\n"
         "  -i, --aio MODE           threads, native or io_uring\n"
         "  -t, --cache MODE         none, writeback, writethrough (default), directsync, unsafe\n"
         "  -d, --discard MODE       ignore or unmap (default)\n"
         "  -T, --trace [[enable=]PATTERN][,events=FILE][,file=FILE]\n"
         "                           turn on trace points ('help' lists them)\n"
         "  -U, --force-share        share FILE with anybody; needs -r\n"
         "  -h, --help               print this text and exit\n"
         "  -V, --version            print the version and exit\n"
         "\n"
         "Without -c commands are read from standard input. 'qemu-io -c help' lists them.\n");
    tool_print_formats();
}

/* ---- options -------------------------------------------------------------------------------- */

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "cmd", required_argument, NULL, 'c' },
    { "format", required_argument, NULL, 'f' },
    { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' },
    { "nocache", no_argument, NULL, 'n' },
    { "copy-on-read", no_argument, NULL, 'C' },
    { "misalign", no_argument, NULL, 'm' },
    { "native-aio", no_argument, NULL, 'k' },
    { "aio", required_argument, NULL, 'i' },
    { "cache", required_argument, NULL, 't' },
    { "discard", required_argument, NULL, 'd' },
    { "trace", required_argument, NULL, 'T' },
    { "force-share", no_argument, NULL, 'U' },
    { "object", required_argument, NULL, CODE_OBJECT },
    { "image-opts", no_argument, NULL, CODE_IMAGE_OPTS },
    {}
};

static OptionResult done_if(bool ok)
{
    return ok ? OPTION_DONE : OPTION_BAD;
}

static OptionResult option_apply(Job *j, int code)
{
    OpenFlags *flags = &j->open.flags;

    switch (code) {
    case 'h':
        print_help();
        return OPTION_EXIT;
    case 'V':
        tool_print_version("qemu-io version");
        return OPTION_EXIT;
    case 'c':
        g_ptr_array_add(j->commands, optarg);
        return OPTION_DONE;
    case 'f':
        j->format = optarg;
        return OPTION_DONE;
    case 'r':
        *flags &= ~(unsigned)OPEN_RDWR;
        return OPTION_DONE;
    case 's':
        j->open.snapshot = true;
        return OPTION_DONE;
    case 'n':
        return done_if(open_cache_mode("cache", "none", flags));
    case 'C':
        *flags |= OPEN_COPY_ON_READ;
        return OPTION_DONE;
    case 'm':
        j->misalign = true;
        return OPTION_DONE;
    case 'k':
        return done_if(open_aio_mode("native", flags));
    case 'i':
        return done_if(open_aio_mode(optarg, flags));
    case 't':
        return done_if(open_cache_mode("cache", optarg, flags));
    case 'd':
        return done_if(open_discard_mode(optarg, flags));
    case 'T':
        return tool_trace(optarg);
    case 'U':
        *flags |= OPEN_FORCE_SHARE;
        return OPTION_DONE;
    case CODE_OBJECT:
        return tool_object(optarg);
    case CODE_IMAGE_OPTS:
        j->image_opts = true;
        return OPTION_DONE;
    default:
        return OPTION_BAD;
    }
}

/* Complains about the option getopt stumbled over; @word is where it stands. */
static OptionResult option_refuse(int code, const char *word)
{
    bool is_letter = optopt > 0 && optopt < CODE_OBJECT;
    char letter[] = { '-', (char)optopt, 0 };

    g_autofree char *perhaps = code == '?' ? option_suggestion(long_options, word) : NULL;

    complain(code == ':' ? "Option '%s' needs a value" : "Unknown or ambiguous option '%s'%s",
             is_letter ? letter : word, perhaps);
    print_help();
    return OPTION_BAD;
}

/* Reads the command line into @j. */
static OptionResult options_read(Job *j, int argc, char **argv)
{
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":hVc:d:f:i:rsnCmkt:T:U", long_options, NULL)) != -1) {
        OptionResult r;

        if (code == ':' || code == '?')
            return option_refuse(code, argv[optind - 1]);
        r = option_apply(j, code);
        if (r != OPTION_DONE)
            return r;
    }
    j->file = argv[optind];
    if (argc - optind > 1) {
        print_help();
        return OPTION_BAD;
    }
    if (j->file && j->image_opts && j->format)
        return done_if(complain("A format cannot be given beside --image-opts: driver= in the "
                                "options is it"));
    return OPTION_DONE;
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
    switch (options_read(&job, argc, argv)) {
    case OPTION_DONE:
        loop_run(job_run, &job);
        break;
    case OPTION_EXIT:
        break;
    case OPTION_BAD:
        job.exit_code = 1;
        break;
    }
    return tool_finish(job.exit_code, 1);
}
