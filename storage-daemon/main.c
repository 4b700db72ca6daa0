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
#include <stdio.h>

static OptionResult print_version(void *args, const char *value)
{
    tool_print_version("qemu-storage-daemon version");
    return OPTION_EXIT;
}

/* Notes something to make, in the order of the command line. */
static OptionResult note(Daemon *d, const char *name, const char *text,
                         CO bool (*apply)(const char *text, GError **err))
{
    Setup s = { name, text, apply };

    g_array_append_val(d->setups, s);
    return OPTION_DONE;
}

/* Help that a value asks for is given at once. */
static OptionResult take_object(void *args, const char *value)
{
    return object_print_help(value) ? OPTION_EXIT : note(args, "object", value, setup_object);
}

static OptionResult take_chardev(void *args, const char *value)
{
    if (!tool_is_help(value))
        return note(args, "chardev", value, setup_chardev);
    chardev_print_kinds();
    return OPTION_EXIT;
}

static OptionResult take_blockdev(void *args, const char *value)
{
    return note(args, "blockdev", value, setup_blockdev);
}

static OptionResult take_monitor(void *args, const char *value)
{
    return note(args, "monitor", value, setup_monitor);
}

static OptionResult take_nbd_server(void *args, const char *value)
{
    return note(args, "nbd-server", value, setup_nbd_server);
}

static OptionResult take_export(void *args, const char *value)
{
    return note(args, "export", value, setup_export);
}

static OptionResult refuse_word(void *args, const char *value)
{
    complain("There is nothing that '%s' could be: all is told by options", value);
    return OPTION_BAD;
}

static const Option options[] = {
    { 'V', "version", NULL, "print the version and exit", OPT_CALL, .call = print_version },
    { .kind = OPT_WORD, .call = refuse_word },
    OPTION_TITLE("What to set up, in the order given. Each may be repeated, and most values may\n"
                 "also be JSON objects:"),
    { 0, "object", " OBJECT",
      "define an object, such as secret,id=ID,file=FILE ('help' lists them)", OPT_CALL,
      .call = take_object },
    { 0, "blockdev", " [driver=]DRIVER,node-name=NAME[,...]",
      "open an image as a node; options as for blockdev-add", OPT_CALL, .call = take_blockdev },
    { 0, "chardev", " KIND,id=ID[,...]",
      "make a character device ('help' lists the kinds), "
      "such as socket,id=ID,path=PATH,server=on,wait=off",
      OPT_CALL, .call = take_chardev },
    { 0, "monitor", " [chardev=]ID[,mode=control][,pretty=on|off]",
      "speak QMP on a character device", OPT_CALL, .call = take_monitor },
    { 0, "nbd-server", " addr.type=unix,addr.path=PATH[,...]",
      "listen for NBD clients on a Unix socket", OPT_CALL, .call = take_nbd_server },
    { 0, "nbd-server", " addr.type=inet,addr.host=HOST,addr.port=PORT[,...]", "the same over TCP",
      OPT_CALL },
    { 0, "nbd-server", " addr.type=fd,addr.str=FD[,...]",
      "the same, on a socket that listens "
      "already; more options: tls-creds=ID, tls-authz=ID, max-connections=NUMBER",
      OPT_CALL },
    { 0, "export", " [type=]nbd,id=ID,node-name=NAME[,name=NAME][,writable=on|off][,...]",
      "show a node to NBD clients; more options: description=TEXT, bitmaps.0=NAME, "
      "allocation-depth=on|off, writethrough=on|off",
      OPT_CALL, .call = take_export },
    { 0, "export", " [type=]fuse,id=ID,node-name=NAME,mountpoint=FILE[,writable=on|off][,...]",
      "show a node in the place of a file; more options: growable=on|off, "
      "allow-other=on|off|auto, writethrough=on|off",
      OPT_CALL },
    { 0, "export",
      " [type=]vhost-user-blk,id=ID,node-name=NAME,addr.type=unix,addr.path=PATH[,...]",
      "show a node as a disk to another process' virtual machine; more options: writable=on|off, "
      "num-queues=NUMBER, logical-block-size=BYTES, writethrough=on|off",
      OPT_CALL },
    OPTION_TITLE("The process:"),
    { 0, "daemonize", NULL, "run in the background; return when all is set up", OPT_FLAG,
      offsetof(Daemon, daemonize) },
    { 0, "pidfile", " PATH", "store the process id in a file, locked while it runs", OPT_TEXT,
      offsetof(Daemon, pid_file) },
    OPTION_TRACE,
    OPTION_END,
};

static void print_help(void)
{
    puts("Usage: qemu-storage-daemon [OPTION]...\n"
         "Opens disk images and shows them to other programs, controlled over QMP.\n");
    options_print_help(options);
    puts("\nIt runs until QMP's quit, or SIGINT, SIGHUP or SIGTERM.\n");
    tool_print_formats();
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
    int code = 0, first;

    tool_begin(argc ? argv[0] : "");
    switch (options_parse(options, OPTIONS_ANYWHERE, argc, argv, &d, &first)) {
    case OPTION_DONE:
        code = serve(&d);
        break;
    case OPTION_HELP:
        print_help();
        break;
    case OPTION_EXIT:
        break;
    case OPTION_USAGE:
    case OPTION_BAD:
        code = 1;
        break;
    }
    return tool_finish(code, 1);
}
