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
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    CODE_OBJECT = 256, CODE_IMAGE_OPTS, CODE_CACHE, CODE_AIO, CODE_DISCARD, CODE_DETECT_ZEROES,
    CODE_TLS_CREDS, CODE_TLS_OPTIONAL, CODE_TLS_ANONYMOUS, CODE_TLS_HOSTNAME, CODE_TLS_AUTHZ,
    CODE_FORK, CODE_PID_FILE, CODE_SELINUX, CODE_EXPORT, CODE_HANDSHAKE_LIMIT, CODE_IDLE_LIMIT, CODE_OUTPUT,
};

typedef enum { SERVE, LIST, CONNECT, DISCONNECT } Mode;

/* What the command line says beyond the job itself. */
typedef struct {
    Job job;
    GPtrArray *bitmaps;       /* of const char * */
    Mode mode;
    const char *disconnect;   /* -d */
    const char *tls_hostname;
    bool json;                /* --output */
    bool cache_given, aio_given, discard_given;
    bool exports_part;        /* an option says what of an image is exported, or how */
} Line;

static void print_help(void)
{
    const char *name = tool_name();

    printf("Usage: %s [OPTION]... FILE\n"
           "  or:  %s [OPTION]... --export EXPORT...\n"
           "  or:  %s -L [OPTION]...\n"
           "  or:  %s -d DEVICE\n", name, name, name, name);
    puts("Serves disk images by the NBD protocol.\n"
         "\n"
         "  -h, --help                print this text and exit\n"
         "  -V, --version             print the version and exit\n"
         "\n"
         "Connections:\n"
         "  -p, --port=PORT           TCP port (10809)\n"
         "  -b, --bind=ADDRESS        address to listen on (0.0.0.0)\n"
         "  -k, --socket=PATH         Unix socket instead of TCP; an absolute path\n"
         "  -e, --shared=NUM          clients at once (1); 0: no limit. More wait\n"
         "  -t, --persistent          go on when the last client has left\n"
         "      --handshake-limit=SECONDS\n"
         "                            time a client has to agree on an export (10); 0: no limit\n"
         "      --idle-limit=SECONDS  cut off clients that ask for nothing so long (0: never)\n"
         "  -v, --verbose             tell on standard error who comes and goes\n"
         "\n"
         "What is exported:\n"
         "  -x, --export-name=NAME    name of the export (empty)\n"
         "  -D, --description=TEXT    its description\n"
         "  -o, --offset=OFFSET       leave out what is before OFFSET\n"
         "  -A, --allocation-depth    offer context qemu:allocation-depth\n"
         "  -B, --bitmap=NAME         offer bitmap NAME as a context; may be repeated\n"
         "      --export EXPORT       instead of FILE: name=NAME[,readonly=on][,description=TEXT]\n"
         "                            [,allocation-depth=on][,bitmap=NAME]...,node.driver=..., or\n"
         "                            the same as a JSON object; may be repeated\n"
         "\n"
         "The image:\n"
         "  -f, --format=FORMAT       format of FILE, instead of probing\n"
         "      --image-opts          FILE is a list of options, driver=qcow2,file.filename=...\n"
         "  -r, --read-only           export for reading only\n"
         "  -s, --snapshot            writes go to a temporary file\n"
         "  -l, --load-snapshot=SNAPSHOT\n"
         "                            export an internal snapshot for reading: its id or name, or\n"
         "                            snapshot.id=ID,snapshot.name=NAME\n"
         "  -n, --nocache             the same as --cache=none\n"
         "      --cache=MODE          none, writeback (default), writethrough, directsync, unsafe\n"
         "      --aio=MODE            threads, native or io_uring (default: the fastest)\n"
         "      --discard=MODE        ignore (default) or unmap\n"
         "      --detect-zeroes=MODE  off (default), on or unmap\n"
         "\n"
         "Safety:\n"
         "      --object OBJECT       define an object, such as tls-creds-psk,id=ID,...\n"
         "                            ('help' lists them)\n"
         "      --tls-creds=ID        demand TLS, with the credentials of object ID; with -L, use it\n"
         "      --tls-authz=ID        object that decides who may connect\n"
         "      --tls-optional        clients may do without TLS\n"
         "      --tls-anonymous       credentials that prove nothing about the server are fine\n"
         "      --tls-hostname=NAME   with -L: the name in the server's certificate\n"
         "      --selinux-label=LABEL SELinux label of the listening socket\n"
         "\n"
         "The process:\n"
         "      --fork                run in the background; return as soon as clients can connect\n"
         "      --pid-file=PATH       store the process id in a file\n"
         "  -T, --trace [[enable=]PATTERN][,events=FILE][,file=FILE]\n"
         "                            turn on trace points ('help' lists them)\n"
         "\n"
         "Other jobs:\n"
         "  -L, --list                list what the server at -b and -p, or -k, exports\n"
         "      --output=FORMAT       with -L: human (default) or json\n"
         "  -c, --connect=DEVICE      make FILE appear as kernel device DEVICE (/dev/nbd0)\n"
         "  -d, --disconnect          undo that\n"
         "\n"
         "SIGUSR1 makes a server print a line about each client on standard error.");
    tool_print_formats();
}

/* ---- options -------------------------------------------------------------------------------- */

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "port", required_argument, NULL, 'p' },
    { "bind", required_argument, NULL, 'b' },
    { "socket", required_argument, NULL, 'k' },
    { "shared", required_argument, NULL, 'e' },
    { "persistent", no_argument, NULL, 't' },
    { "handshake-limit", required_argument, NULL, CODE_HANDSHAKE_LIMIT },
    { "idle-limit", required_argument, NULL, CODE_IDLE_LIMIT },
    { "verbose", no_argument, NULL, 'v' },
    { "export-name", required_argument, NULL, 'x' },
    { "description", required_argument, NULL, 'D' },
    { "offset", required_argument, NULL, 'o' },
    { "allocation-depth", no_argument, NULL, 'A' },
    { "bitmap", required_argument, NULL, 'B' },
    { "export", required_argument, NULL, CODE_EXPORT },
    { "format", required_argument, NULL, 'f' },
    { "image-opts", no_argument, NULL, CODE_IMAGE_OPTS },
    { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' },
    { "load-snapshot", required_argument, NULL, 'l' },
    { "nocache", no_argument, NULL, 'n' },
    { "cache", required_argument, NULL, CODE_CACHE },
    { "aio", required_argument, NULL, CODE_AIO },
    { "discard", required_argument, NULL, CODE_DISCARD },
    { "detect-zeroes", required_argument, NULL, CODE_DETECT_ZEROES },
    { "object", required_argument, NULL, CODE_OBJECT },
    { "tls-creds", required_argument, NULL, CODE_TLS_CREDS },
    { "tls-authz", required_argument, NULL, CODE_TLS_AUTHZ },
    { "tls-optional", no_argument, NULL, CODE_TLS_OPTIONAL },
    { "tls-anonymous", no_argument, NULL, CODE_TLS_ANONYMOUS },
    { "tls-hostname", required_argument, NULL, CODE_TLS_HOSTNAME },
    { "selinux-label", required_argument, NULL, CODE_SELINUX },
    { "fork", no_argument, NULL, CODE_FORK },
    { "pid-file", required_argument, NULL, CODE_PID_FILE },
    { "trace", required_argument, NULL, 'T' },
    { "list", no_argument, NULL, 'L' },
    { "output", required_argument, NULL, CODE_OUTPUT },
    { "connect", required_argument, NULL, 'c' },
    { "disconnect", no_argument, NULL, 'd' },
    {}
};

static OptionResult done_if(bool ok)
{
    return ok ? OPTION_DONE : OPTION_BAD;
}

/* Marks *@given. False: complained, it was given before. */
static bool first_time(bool *given, const char *names)
{
    if (*given)
        return complain("%s can be given only once", names);
    *given = true;
    return true;
}

static bool option_number(const char *what, unsigned *out)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(optarg, &end, 0);
    if (errno || end == optarg || *end || v < 0 || v > INT_MAX)
        return complain("The %s must be a number from 0 to %d, not '%s'", what, INT_MAX, optarg);
    *out = v;
    return true;
}

static bool option_offset(Job *j)
{
    char *end;

    if (size_parse(optarg, 1, &j->offset, NULL) < 0 || j->offset > INT64_MAX) {
        complain("'%s' is no offset", optarg);
        /* The line that scripts know comes with numbers too large, and those below 0 are that. */
        errno = 0;
        if (strtoull(optarg, &end, 0) > INT64_MAX && !errno && !*end)
            fputs(SIZE_SUFFIXES "\n", stderr);
        return false;
    }
    return true;
}

static bool option_detect_zeroes(Job *j)
{
    j->detect_zeroes = optarg;
    return !strcmp(optarg, "off") || !strcmp(optarg, "on") || !strcmp(optarg, "unmap") ||
           complain("There is no mode '%s' of --detect-zeroes; choose off, on or unmap", optarg);
}

static bool option_output(Line *l)
{
    l->json = !strcmp(optarg, "json");
    return l->json || !strcmp(optarg, "human") ||
           complain("Output format '%s' is neither 'human' nor 'json'", optarg);
}

/* Options that say what of which image is exported, and how it is opened. */
static OptionResult option_image(Line *l, int code)
{
    Job *j = &l->job;

    l->exports_part = true;
    switch (code) {
    case 'x':
        j->name = optarg;
        return OPTION_DONE;
    case 'D':
        j->description = optarg;
        return OPTION_DONE;
    case 'o':
        return done_if(option_offset(j));
    case 'A':
        j->allocation_depth = true;
        return OPTION_DONE;
    case 'B':
        g_ptr_array_add(l->bitmaps, optarg);
        return OPTION_DONE;
    case CODE_EXPORT:
        g_ptr_array_add(j->exports, optarg);
        return OPTION_DONE;
    case 'f':
        j->format = optarg;
        return OPTION_DONE;
    case CODE_IMAGE_OPTS:
        j->image_opts = true;
        return OPTION_DONE;
    case 'r':
        j->flags &= ~(unsigned)OPEN_RDWR;
        return OPTION_DONE;
    case 's':
        j->snapshot = true;
        return OPTION_DONE;
    case 'l':
        j->load_snapshot = optarg;
        j->flags &= ~(unsigned)OPEN_RDWR;
        return OPTION_DONE;
    case 'n':
        return done_if(first_time(&l->cache_given, "-n and --cache") &&
                       open_cache_mode("cache", "none", &j->flags));
    case CODE_CACHE:
        return done_if(first_time(&l->cache_given, "-n and --cache") &&
                       open_cache_mode("cache", optarg, &j->flags));
    case CODE_AIO:
        return done_if(first_time(&l->aio_given, "--aio") && open_aio_mode(optarg, &j->flags));
    case CODE_DISCARD:
        return done_if(first_time(&l->discard_given, "--discard") &&
                       open_discard_mode(optarg, &j->flags));
    case CODE_DETECT_ZEROES:
        return done_if(option_detect_zeroes(j));
    default:
        return OPTION_BAD;
    }
}

static OptionResult option_apply(Line *l, int code)
{
    Job *j = &l->job;

    switch (code) {
    case 'h':
        print_help();
        return OPTION_EXIT;
    case 'V':
        tool_print_version("qemu-nbd");
        return OPTION_EXIT;
    case 'T':
        return tool_trace(optarg);
    case CODE_OBJECT:
        return tool_object(optarg);
    case 'p':
        j->port = optarg;
        return OPTION_DONE;
    case 'b':
        j->bind = optarg;
        return OPTION_DONE;
    case 'k':
        j->socket = optarg;
        return done_if(*optarg == '/' || complain("The path of the socket must be absolute"));
    case 'e':
        return done_if(option_number("number of clients", &j->shared));
    case 't':
        j->persistent = true;
        return OPTION_DONE;
    case CODE_HANDSHAKE_LIMIT:
        return done_if(option_number("handshake limit", &j->handshake_limit));
    case CODE_IDLE_LIMIT:
        return done_if(option_number("idle limit", &j->idle_limit));
    case 'v':
        j->verbose = true;
        return OPTION_DONE;
    case CODE_TLS_CREDS:
        j->tls_creds = optarg;
        return OPTION_DONE;
    case CODE_TLS_AUTHZ:
        j->tls_authz = optarg;
        return OPTION_DONE;
    case CODE_TLS_OPTIONAL:
        j->tls_optional = true;
        return OPTION_DONE;
    case CODE_TLS_ANONYMOUS:
        j->tls_anonymous = true;
        return OPTION_DONE;
    case CODE_TLS_HOSTNAME:
        l->tls_hostname = optarg;
        return OPTION_DONE;
    case CODE_SELINUX:
        j->selinux_label = optarg;
        return OPTION_DONE;
    case CODE_FORK:
        j->fork = true;
        return OPTION_DONE;
    case CODE_PID_FILE:
        j->pid_file = optarg;
        return OPTION_DONE;
    case 'L':
        l->mode = LIST;
        return OPTION_DONE;
    case CODE_OUTPUT:
        return done_if(option_output(l));
    case 'c':
        l->mode = CONNECT;
        j->device = optarg;
        return OPTION_DONE;
    case 'd':
        l->mode = DISCONNECT;
        return OPTION_DONE;
    default:
        return option_image(l, code);
    }
}

static OptionResult usage_hint(void)
{
    fprintf(stderr, "Try `%s --help' for more information.\n", program_invocation_name);
    return OPTION_BAD;
}

/* Complains about the option getopt stumbled over; @word is where it stands. */
static OptionResult option_refuse(int code, const char *word)
{
    bool is_letter = optopt > 0 && optopt < CODE_OBJECT;
    char letter[] = { '-', (char)optopt, 0 };

    g_autofree char *perhaps = code == '?' ? option_suggestion(long_options, word) : NULL;

    complain(code == ':' ? "Option '%s' needs a value" : "Unknown or ambiguous option '%s'%s",
             is_letter ? letter : word, perhaps);
    if (code == '?' && (optopt == 'P' || g_str_has_prefix(word, "--partition")))
        complain("Partitions are no longer picked out here; use -o with the partition's start, or "
                 "--image-opts driver=raw,offset=...,size=...,file.filename=FILE");
    else
        complain("Try '%s --help'", tool_name());
    return OPTION_BAD;
}

/* Which options exclude each other. False: complained. */
static bool line_is_clear(const Line *l)
{
    const Job *j = &l->job;

    if (j->device && l->mode != CONNECT)
        return complain("-c excludes -d and -L");
    if (j->device && (j->tls_creds || j->exports->len))
        return complain("A device of the kernel shows FILE, without TLS");
    if (l->tls_hostname && l->mode != LIST)
        return complain("--tls-hostname is for -L: only a client looks for a name");
    if (l->json && l->mode != LIST)
        return complain("--output is for -L");
    if (l->mode == LIST && l->exports_part)
        return complain("-L shows what another server exports: nothing can be said about an image");
    if (j->tls_authz && !j->tls_creds)
        return complain("--tls-authz decides about who TLS proved to be: it needs --tls-creds");
    if ((j->tls_optional || j->tls_anonymous) && !j->tls_creds)
        return complain("--tls-optional and --tls-anonymous need --tls-creds");
    if (j->tls_authz && j->tls_optional)
        return complain("--tls-authz keeps nobody out who does without TLS: it excludes --tls-optional");
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
        return done_if(complain("-L takes no image"));
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
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":hVp:b:k:e:tvx:D:o:AB:f:rsl:nT:Lc:d", long_options,
                               NULL)) != -1) {
        OptionResult r;

        if (code == ':' || code == '?')
            return option_refuse(code, argv[optind - 1]);
        r = option_apply(l, code);
        if (r != OPTION_DONE)
            return r;
    }
    g_ptr_array_add(l->bitmaps, NULL);
    l->job.bitmaps = (const char **)l->bitmaps->pdata;
    return line_words(l, argv + optind);
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
    case OPTION_EXIT:
        break;
    case OPTION_BAD:
        code = 1;
        break;
    }
    return tool_finish(code, 1);
}
