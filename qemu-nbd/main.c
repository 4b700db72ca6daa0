/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-nbd: options, and which of its jobs is meant: serving, listing, kernel devices. */
#include "io/loop.h"
#include "qemu-nbd/job.h"
#include "tools/complain.h"
#include "tools/daemon.h"
#include "tools/image.h"
#include "tools/program.h"
#include "tools/options.h"
#include "util/size.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef enum { SERVE, LIST, CONNECT, DISCONNECT } Mode;

/* What the command line says beyond the job itself. */
typedef struct {
    Job job;
    GPtrArray *bitmaps;       /* of const char * */
    Mode mode;
    const char *disconnect;   /* -d */
    const char *tls_hostname;
    bool json;                /* --output */
    bool read_only;           /* -r */
    bool cache_given, aio_given, discard_given;
} Line;

static OptionResult print_version(void *args, const char *value)
{
    tool_print_version("qemu-nbd");
    return OPTION_EXIT;
}

/* Marks *@given. False: complained, it was given before. */
static bool first_time(bool *given, const char *names)
{
    if (*given)
        return complain("%s can be given only once", names);
    *given = true;
    return true;
}

static OptionResult take_number(const char *what, const char *value, unsigned *out)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(value, &end, 0);
    if (errno || end == value || *end || v < 0 || v > INT_MAX)
        return option_done_if(complain("The %s must be a number from 0 to %d, not '%s'", what,
                                       INT_MAX, value));
    *out = v;
    return OPTION_DONE;
}

static OptionResult take_shared(void *args, const char *value)
{
    return take_number("number of clients", value, &((Line *)args)->job.shared);
}

static OptionResult take_handshake_limit(void *args, const char *value)
{
    return take_number("handshake limit", value, &((Line *)args)->job.handshake_limit);
}

static OptionResult take_idle_limit(void *args, const char *value)
{
    return take_number("idle limit", value, &((Line *)args)->job.idle_limit);
}

static OptionResult take_socket(void *args, const char *value)
{
    ((Line *)args)->job.socket = value;
    return option_done_if(*value == '/' || complain("The path of the socket must be absolute"));
}

static OptionResult take_offset(void *args, const char *value)
{
    Job *j = &((Line *)args)->job;
    char *end;

    if (size_parse(value, 1, &j->offset, NULL) < 0 || j->offset > INT64_MAX) {
        complain("'%s' is no offset", value);
        /* The line that scripts know comes with numbers too large, and those below 0 are that. */
        errno = 0;
        if (strtoull(value, &end, 0) > INT64_MAX && !errno && !*end)
            fputs(SIZE_SUFFIXES "\n", stderr);
        return OPTION_BAD;
    }
    return OPTION_DONE;
}

static OptionResult take_bitmap(void *args, const char *value)
{
    g_ptr_array_add(((Line *)args)->bitmaps, (char *)value);
    return OPTION_DONE;
}

static OptionResult take_export(void *args, const char *value)
{
    g_ptr_array_add(((Line *)args)->job.exports, (char *)value);
    return OPTION_DONE;
}

static OptionResult take_cache(void *args, const char *value)
{
    Line *l = args;

    return option_done_if(first_time(&l->cache_given, "-n and --cache") &&
                          open_cache_mode("cache", value, &l->job.flags));
}

static OptionResult take_no_cache(void *args, const char *value)
{
    return take_cache(args, "none");
}

static OptionResult take_aio(void *args, const char *value)
{
    Line *l = args;

    return option_done_if(first_time(&l->aio_given, "--aio") &&
                          open_aio_mode(value, &l->job.flags));
}

static OptionResult take_discard(void *args, const char *value)
{
    Line *l = args;

    return option_done_if(first_time(&l->discard_given, "--discard") &&
                          open_discard_mode(value, &l->job.flags));
}

static OptionResult take_detect_zeroes(void *args, const char *value)
{
    ((Line *)args)->job.detect_zeroes = value;
    return option_done_if(!strcmp(value, "off") || !strcmp(value, "on") ||
                          !strcmp(value, "unmap") ||
                          complain("There is no mode '%s' of --detect-zeroes; choose off, on or "
                                   "unmap", value));
}

static OptionResult take_output(void *args, const char *value)
{
    Line *l = args;

    l->json = !strcmp(value, "json");
    return option_done_if(l->json || !strcmp(value, "human") ||
                          complain("Output format '%s' is neither 'human' nor 'json'", value));
}

static OptionResult take_list(void *args, const char *value)
{
    ((Line *)args)->mode = LIST;
    return OPTION_DONE;
}

static OptionResult take_connect(void *args, const char *value)
{
    Line *l = args;

    l->mode = CONNECT;
    l->job.device = value;
    return OPTION_DONE;
}

static OptionResult take_disconnect(void *args, const char *value)
{
    ((Line *)args)->mode = DISCONNECT;
    return OPTION_DONE;
}

static const Option options[] = {
    { 'V', "version", NULL, "print the version and exit", OPT_CALL, .call = print_version },
    OPTION_TITLE("Connections:"),
    { 'p', "port", "PORT", "TCP port (10809)", OPT_TEXT, offsetof(Line, job.port) },
    { 'b', "bind", "ADDRESS", "address to listen on (0.0.0.0)", OPT_TEXT,
      offsetof(Line, job.bind) },
    { 'k', "socket", "PATH", "Unix socket instead of TCP; an absolute path", OPT_CALL,
      .call = take_socket },
    { 'e', "shared", "NUM", "clients served at once (1; 0: any number); others wait", OPT_CALL,
      .call = take_shared },
    { 't', "persistent", NULL, "go on when the last client has left", OPT_FLAG,
      offsetof(Line, job.persistent) },
    { 0, "handshake-limit", "SECONDS", "time a client has to agree on an export (10); 0: no limit",
      OPT_CALL, .call = take_handshake_limit },
    { 0, "idle-limit", "SECONDS", "cut off clients that ask for nothing so long (0: never)",
      OPT_CALL, .call = take_idle_limit },
    { 'v', "verbose", NULL, "tell on standard error who comes and goes", OPT_FLAG,
      offsetof(Line, job.verbose) },
    OPTION_TITLE("What is exported:"),
    { 'x', "export-name", "NAME", "name of the export (empty)", OPT_TEXT,
      offsetof(Line, job.name) },
    { 'D', "description", "TEXT", "its description", OPT_TEXT, offsetof(Line, job.description) },
    { 'o', "offset", "OFFSET", "leave out what is before OFFSET", OPT_CALL, .call = take_offset },
    { 'A', "allocation-depth", NULL, "offer context qemu:allocation-depth", OPT_FLAG,
      offsetof(Line, job.allocation_depth) },
    { 'B', "bitmap", "NAME", "offer bitmap NAME as a context; may be repeated", OPT_CALL,
      .call = take_bitmap },
    { 0, "export", " EXPORT", "instead of FILE: name=NAME,node.driver=..., with readonly=on, "
      "description=TEXT, allocation-depth=on and bitmap=NAME where wanted, or the same as a JSON "
      "object; may be repeated", OPT_CALL, .call = take_export },
    OPTION_TITLE("The image:"),
    { 'f', "format", "FORMAT", "format of FILE, instead of probing", OPT_TEXT,
      offsetof(Line, job.format) },
    { 0, "image-opts", NULL, "FILE is a list of options, driver=qcow2,file.filename=...", OPT_FLAG,
      offsetof(Line, job.image_opts) },
    { 'r', "read-only", NULL, "export for reading only", OPT_FLAG, offsetof(Line, read_only) },
    { 's', "snapshot", NULL, "writes go to a temporary file", OPT_FLAG,
      offsetof(Line, job.snapshot) },
    { 'l', "load-snapshot", "SNAPSHOT", "export an internal snapshot for reading: its id or name, "
      "or snapshot.id=ID,snapshot.name=NAME", OPT_TEXT, offsetof(Line, job.load_snapshot) },
    { 'n', "nocache", NULL, "the same as --cache=none", OPT_CALL, .call = take_no_cache },
    { 0, "cache", "MODE", "none, writeback (default), writethrough, directsync, unsafe", OPT_CALL,
      .call = take_cache },
    { 0, "aio", "MODE", "threads, native or io_uring (default: the fastest)", OPT_CALL,
      .call = take_aio },
    { 0, "discard", "MODE", "ignore (default) or unmap", OPT_CALL, .call = take_discard },
    { 0, "detect-zeroes", "MODE", "off (default), on or unmap", OPT_CALL,
      .call = take_detect_zeroes },
    OPTION_TITLE("Safety:"),
    OPTION_OBJECT,
    { 0, "tls-creds", "ID", "demand TLS, with the credentials of object ID; with -L, use it",
      OPT_TEXT, offsetof(Line, job.tls_creds) },
    { 0, "tls-authz", "ID", "object that decides who may connect", OPT_TEXT,
      offsetof(Line, job.tls_authz) },
    { 0, "tls-optional", NULL, "clients may do without TLS", OPT_FLAG,
      offsetof(Line, job.tls_optional) },
    { 0, "tls-anonymous", NULL, "accept credentials without certificates: clients cannot "
      "tell who serves", OPT_FLAG, offsetof(Line, job.tls_anonymous) },
    { 0, "tls-hostname", "NAME", "with -L: the name in the server's certificate", OPT_TEXT,
      offsetof(Line, tls_hostname) },
    { 0, "selinux-label", "LABEL", "SELinux label of the listening socket", OPT_TEXT,
      offsetof(Line, job.selinux_label) },
    OPTION_TITLE("The process:"),
    { 0, "fork", NULL, "run in the background; return as soon as clients can connect", OPT_FLAG,
      offsetof(Line, job.fork) },
    { 0, "pid-file", "PATH", "store the process id in a file", OPT_TEXT,
      offsetof(Line, job.pid_file) },
    OPTION_TRACE,
    OPTION_TITLE("Other jobs:"),
    { 'L', "list", NULL, "list what the server at -b and -p, or -k, exports", OPT_CALL,
      .call = take_list },
    { 0, "output", "FORMAT", "with -L: human (default) or json", OPT_CALL, .call = take_output },
    { 'c', "connect", "DEVICE", "attach FILE to kernel device DEVICE, such as /dev/nbd0", OPT_CALL,
      .call = take_connect },
    { 'd', "disconnect", NULL, "detach kernel device DEVICE from its server", OPT_CALL,
      .call = take_disconnect },
    { 'P', "partition", NULL, "Partitions are no longer picked out here; use -o with the "
      "partition's start, or --image-opts driver=raw,offset=...,size=...,file.filename=FILE",
      OPT_REFUSED },
    OPTION_END,
};

static void print_help(void)
{
    const char *name = tool_name();

    printf("Usage: %s [OPTION]... FILE\n"
           "  or:  %s [OPTION]... --export EXPORT...\n"
           "  or:  %s -L [OPTION]...\n"
           "  or:  %s -c DEVICE [OPTION]... FILE\n"
           "  or:  %s -d DEVICE\n"
           "Serves disk images by the NBD protocol.\n"
           "\n", name, name, name, name, name);
    options_print_help(options);
    puts("\nSIGUSR1 makes a server print a line about each client on standard error.\n");
    tool_print_formats();
}

static OptionResult usage_hint(void)
{
    fprintf(stderr, "Try `%s --help' for more information.\n", program_invocation_name);
    return OPTION_BAD;
}

/* True if an option says what is exported. Scripts give -r, -s and their like with -L, too. */
static bool says_what_is_exported(const Line *l)
{
    const Job *j = &l->job;

    return j->name || j->description || j->offset || j->allocation_depth || *j->bitmaps ||
           j->exports->len || j->format || j->load_snapshot || l->cache_given || l->aio_given ||
           l->discard_given;
}

/* Which options exclude each other. False: complained. */
static bool line_is_clear(const Line *l)
{
    const Job *j = &l->job;

    if (j->device && l->mode != CONNECT)
        return complain("-c excludes -d and -L");
    if (j->device && (j->tls_creds || j->exports->len))
        return complain("A device of the kernel shows FILE, without TLS");
    if (l->mode == LIST && j->fork)
        return complain("--fork is for servers: -L ends by itself");
    if (l->tls_hostname && l->mode != LIST)
        return complain("--tls-hostname is for -L: only a client looks for a name");
    if (l->json && l->mode != LIST)
        return complain("--output is for -L");
    if (l->mode == LIST && says_what_is_exported(l))
        return complain("-L shows what another server exports: nothing can be said about an image");
    if (j->tls_authz && !j->tls_creds)
        return complain("--tls-authz decides about who TLS proved to be: it needs --tls-creds");
    if ((j->tls_optional || j->tls_anonymous) && !j->tls_creds)
        return complain("--tls-optional and --tls-anonymous need --tls-creds");
    if (j->tls_authz && j->tls_optional)
        return complain("--tls-authz keeps nobody out who does without TLS: it excludes "
                        "--tls-optional");
    if ((j->tls_authz || j->tls_optional || j->tls_anonymous) && l->mode == LIST)
        return complain("--tls-authz, --tls-optional and --tls-anonymous are for servers");
    if (j->inherited && (j->socket || j->bind || j->port))
        return complain("The service manager says where to listen; -k, -b and -p cannot");
    if (j->image_opts && j->format)
        return complain("--image-opts excludes -f: driver= in the options is the format");
    if (j->snapshot && j->load_snapshot)
        return complain("-s excludes -l");
    if (j->exports->len && (j->name || j->description || j->offset || j->allocation_depth ||
                            *j->bitmaps || j->format || j->image_opts || j->snapshot ||
                            j->load_snapshot))
        return complain("--export describes all of an export: -x -D -o -A -B -f -s -l and "
                        "--image-opts are for FILE");
    if (j->detect_zeroes && !strcmp(j->detect_zeroes, "unmap") && !(j->flags & OPEN_UNMAP))
        return complain("--detect-zeroes=unmap needs --discard=unmap");
    if (j->socket && (j->bind || j->port))
        complain("warning: -k says where to listen; -b and -p have no effect");
    return true;
}

/* Checks the number of words behind the options, and takes FILE. */
static OptionResult line_words(Line *l, char **words)
{
    unsigned n = g_strv_length(words);
    bool wants_word = l->mode != LIST && !l->job.exports->len;

    if (n && l->mode == LIST)
        return option_done_if(complain("-L takes no image"));
    if (n != wants_word) {
        complain("%s", n ? "Too many arguments" : "The image is missing");
        return usage_hint();
    }
    if (l->mode == DISCONNECT)
        l->disconnect = words[0];
    else
        l->job.file = words[0];
    return OPTION_DONE;
}

/* Reads the command line into @l. */
static OptionResult line_read(Line *l, int argc, char **argv)
{
    int first = 0;
    OptionResult r = options_parse(options, OPTIONS_ANYWHERE, argc, argv, l, &first);

    if (r != OPTION_DONE)
        return r;
    if (l->read_only || l->job.load_snapshot)
        l->job.flags &= ~(unsigned)OPEN_RDWR;
    g_ptr_array_add(l->bitmaps, NULL);
    l->job.bitmaps = (const char **)l->bitmaps->pdata;
    return line_words(l, argv + first);
}

/* ---- running -------------------------------------------------------------------------------- */

static int serve(Job *j)
{
    serve_block_signals();
    if (j->fork && !daemon_fork())
        return 1;
    loop_run(serve_run, j);
    return j->exit_code;
}

static int list(const Line *l)
{
    ListJob job = { .job = &l->job, .tls_hostname = l->tls_hostname, .json = l->json };

    loop_run(list_run, &job);
    return job.exit_code;
}

static int connect_device(Job *j)
{
    bool listens = j->socket || j->bind || j->port || j->inherited;

    /* Without other clients there is nothing left to serve once the device is detached. */
    j->persistent = j->persistent && listens;
    j->fork = j->fork || !j->verbose;
    return serve(j);
}

static int run(Line *l)
{
    switch (l->mode) {
    case LIST:
        return list(l);
    case CONNECT:
        return connect_device(&l->job);
    case DISCONNECT:
        return device_disconnect(l->disconnect) ? 0 : 1;
    default:
        return serve(&l->job);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) bitmaps = g_ptr_array_new(), exports = g_ptr_array_new();
    Line line = {
        .job = {
            .flags = OPEN_RDWR,
            .exports = exports,
            .shared = 1,
            .handshake_limit = 10,
            .inherited = listen_inherited(),
        },
        .bitmaps = bitmaps,
    };
    int code = 0;

    tool_begin(argc ? argv[0] : "");
    switch (line_read(&line, argc, argv)) {
    case OPTION_DONE:
        code = line_is_clear(&line) ? run(&line) : 1;
        break;
    case OPTION_HELP:
        print_help();
        break;
    case OPTION_EXIT:
        break;
    case OPTION_USAGE:
        complain("Try '%s --help'", tool_name());
        code = 1;
        break;
    case OPTION_BAD:
        code = 1;
        break;
    }
    return tool_finish(code, 1);
}
