/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-storage-daemon: the command line. */
#include "control/control.h"
#include "io/loop.h"
#include "monitor/chardev.h"
#include "storage-daemon/daemon.h"
#include "tools/complain.h"
#include "tools/daemon.h"
#include "tools/program.h"
#include "qapi/object.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum {
    CODE_BLOCKDEV = 256, CODE_CHARDEV, CODE_DAEMONIZE, CODE_EXPORT, CODE_MONITOR, CODE_NBD_SERVER,
    CODE_OBJECT, CODE_PIDFILE,
};

static void print_help(void)
{
    puts("Usage: qemu-storage-daemon [OPTION]...\n"
         "Opens disk images and shows them to other programs, controlled over QMP.\n"
         "\n"
         "  -h, --help                print this text and exit\n"
         "  -V, --version             print the version and exit\n"
         "\n"
         "What there is, in the order of the command line. Each may be repeated, and most\n"
         "values may also be JSON objects:\n"
         "      --object OBJECT       define an object, such as secret,id=ID,...\n"
         "                            ('help' lists them)\n"
         "      --blockdev [driver=]DRIVER,node-name=NAME[,...]\n"
         "                            open an image as a node; options as for blockdev-add\n"
         "      --chardev KIND,id=ID[,...]\n"
         "                            make a character device ('help' lists the kinds), such as\n"
         "                            socket,id=ID,path=PATH,server=on,wait=off\n"
         "      --monitor [chardev=]ID[,mode=control][,pretty=on|off]\n"
         "                            speak QMP on a character device\n"
         "      --nbd-server addr.type=unix,addr.path=PATH[,...]\n"
         "      --nbd-server addr.type=inet,addr.host=HOST,addr.port=PORT[,...]\n"
         "      --nbd-server addr.type=fd,addr.str=FD[,...]\n"
         "                            listen for NBD clients; more options: tls-creds=ID,\n"
         "                            tls-authz=ID, max-connections=NUMBER\n"
         "      --export [type=]nbd,id=ID,node-name=NAME[,name=NAME][,writable=on|off][,...]\n"
         "                            show a node to NBD clients; more options: description=TEXT,\n"
         "                            bitmaps.0=NAME, allocation-depth=on|off,\n"
         "                            writethrough=on|off\n"
         "      --export [type=]fuse,id=ID,node-name=NAME,mountpoint=FILE[,writable=on|off][,...]\n"
         "                            show a node in the place of a file; more options:\n"
         "                            growable=on|off, allow-other=on|off|auto,\n"
         "                            writethrough=on|off\n"
         "      --export [type=]vhost-user-blk,id=ID,node-name=NAME,addr.type=unix,addr.path=PATH[,...]\n"
         "                            show a node as a disk to another process' virtual machine; more\n"
         "                            options: writable=on|off, num-queues=NUMBER,\n"
         "                            logical-block-size=BYTES, writethrough=on|off\n"
         "\n"
         "The process:\n"
         "      --daemonize           run in the background; return when all is set up\n"
         "      --pidfile PATH        store the process id in a file, locked while it runs\n"
         "  -T, --trace [[enable=]PATTERN][,events=FILE][,file=FILE]\n"
         "                            turn on trace points ('help' lists them)\n"
         "\n"
         "It runs until QMP's quit, or SIGINT, SIGHUP or SIGTERM.");
    tool_print_formats();
}

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "trace", required_argument, NULL, 'T' },
    { "blockdev", required_argument, NULL, CODE_BLOCKDEV },
    { "chardev", required_argument, NULL, CODE_CHARDEV },
    { "daemonize", no_argument, NULL, CODE_DAEMONIZE },
    { "export", required_argument, NULL, CODE_EXPORT },
    { "monitor", required_argument, NULL, CODE_MONITOR },
    { "nbd-server", required_argument, NULL, CODE_NBD_SERVER },
    { "object", required_argument, NULL, CODE_OBJECT },
    { "pidfile", required_argument, NULL, CODE_PIDFILE },
    {}
};

static OptionResult add(Daemon *d, const char *name, CO bool (*apply)(const char *text, GError **err))
{
    Setup s = { name, optarg, apply };

    g_array_append_val(d->setups, s);
    return OPTION_DONE;
}

/* Help that a value asks for is given at once. */
static OptionResult option_object(Daemon *d)
{
    return object_print_help(optarg) ? OPTION_EXIT : add(d, "object", setup_object);
}

static OptionResult option_chardev(Daemon *d)
{
    if (!tool_is_help(optarg))
        return add(d, "chardev", setup_chardev);
    chardev_print_kinds();
    return OPTION_EXIT;
}

static OptionResult option_apply(Daemon *d, int code)
{
    switch (code) {
    case 'h':
        print_help();
        return OPTION_EXIT;
    case 'V':
        tool_print_version("qemu-storage-daemon version");
        return OPTION_EXIT;
    case 'T':
        return tool_trace(optarg);
    case CODE_BLOCKDEV:
        return add(d, "blockdev", setup_blockdev);
    case CODE_CHARDEV:
        return option_chardev(d);
    case CODE_DAEMONIZE:
        d->daemonize = true;
        return OPTION_DONE;
    case CODE_EXPORT:
        return add(d, "export", setup_export);
    case CODE_MONITOR:
        return add(d, "monitor", setup_monitor);
    case CODE_NBD_SERVER:
        return add(d, "nbd-server", setup_nbd_server);
    case CODE_OBJECT:
        return option_object(d);
    default:
        d->pid_file = optarg;
        return OPTION_DONE;
    }
}

/* Complains about the option getopt stumbled over; @word is where it stands. */
static OptionResult option_refuse(int code, const char *word)
{
    bool is_letter = optopt > 0 && optopt < CODE_BLOCKDEV;
    char letter[] = { '-', (char)optopt, 0 };

    complain(code == ':' ? "Option '%s' needs a value" : "Unknown or ambiguous option '%s'; try "
             "'qemu-storage-daemon --help'", is_letter ? letter : word);
    return OPTION_BAD;
}

static OptionResult line_read(Daemon *d, int argc, char **argv)
{
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, "-:hVT:", long_options, NULL)) != -1) {
        OptionResult r;

        if (code == ':' || code == '?')
            return option_refuse(code, argv[optind - 1]);
        if (code == 1)
            return complain("There is nothing that '%s' could be: all is told by options", optarg),
                   OPTION_BAD;
        r = option_apply(d, code);
        if (r != OPTION_DONE)
            return r;
    }
    return OPTION_DONE;
}

static int serve(Daemon *d)
{
    signals_block();
    if (d->daemonize && !daemon_fork())
        return 1;
    if (d->daemonize)
        chardev_forbid_stdio();
    loop_run(run, d);
    return d->exit_code;
}

int main(int argc, char **argv)
{
    g_autoptr(GArray) setups = g_array_new(FALSE, FALSE, sizeof(Setup));
    Daemon d = { .setups = setups };
    int code = 0;

    tool_begin(argc ? argv[0] : "");
    switch (line_read(&d, argc, argv)) {
    case OPTION_DONE:
        code = serve(&d);
        break;
    case OPTION_EXIT:
        break;
    case OPTION_BAD:
        code = 1;
        break;
    }
    return tool_finish(code, 1);
}
