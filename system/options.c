/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line. Options may begin with one '-' or two. Those of the reference that are not
 * there are known by name, so that none is ignored or taken for something else.
 */
#include "system/options.h"
#include "control/control.h"
#include "monitor/chardev.h"
#include "net/net.h"
#include "system/drive.h"
#include "system/log.h"
#include "tools/complain.h"
#include "tools/program.h"
#include "util/err.h"
#include "qapi/object.h"
#include "util/size.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* An option has one of the last four. */
typedef struct {
    const char *name;
    const char *value; /* what help calls it; NULL: it takes none */
    const char *doc;
    OptionResult (*run)(Options *o, const char *value);
    bool (*read)(Options *o, const char *value, GError **err);
    CO bool (*setup)(const char *text, GError **err); /* makes something, in its turn */
    size_t member;     /* of Options: a const char * for the value; without a value a bool */
} LineOption;

#define READ(fn) .read = fn
#define SETUP(fn) .setup = fn
#define MEMBER(name) .member = offsetof(Options, name)

static const char *guest_name, *guest_uuid = "00000000-0000-0000-0000-000000000000";

const char *options_guest_name(void)
{
    return guest_name;
}

const char *options_guest_uuid(void)
{
    return guest_uuid;
}

/* ---- what options do ------------------------------------------------------------------------- */

OptionResult options_add_setup(Options *o, const char *name, const char *text,
                             CO bool (*apply)(const char *text, GError **err))
{
    Setup s = { name, g_strdup(text), apply };

    g_array_append_val(o->setups, s);
    return OPTION_DONE;
}

static OptionResult read_value(Options *o, const char *name, const char *value,
                             bool (*read)(Options *o, const char *value, GError **err))
{
    g_autoptr(GError) err = NULL;

    if (read(o, value, &err))
        return OPTION_DONE;
    complain("-%s: %s", name, err->message);
    return OPTION_BAD;
}

static OptionResult apply_machine(Options *o, const char *value)
{
    if (!tool_is_help(value))
        return read_value(o, "machine", value, option_machine);
    puts("Supported machines are:\n"
         "microvm              microvm (i386)\n"
         "none                 empty machine");
    return OPTION_EXIT;
}

static OptionResult apply_accel(Options *o, const char *value)
{
    if (!tool_is_help(value))
        return read_value(o, "accel", value, option_accel);
    puts("Accelerators supported in QEMU binary:\ntcg\nkvm");
    return OPTION_EXIT;
}

static OptionResult apply_enable_kvm(Options *o, const char *value)
{
    option_enable_kvm(o);
    return OPTION_DONE;
}

static OptionResult print_models(void)
{
    puts("Available CPUs:");
    for (const X86ModelInfo *m = x86_models; m->name; m++)
        printf("x86 %-20s  %s\n", m->name, m->doc);
    puts("\nRecognized CPUID flags:");
    for (const X86FlagInfo *f = x86_flags; f->name; f++)
        printf(" %s", f->name);
    putchar('\n');
    return OPTION_EXIT;
}

static OptionResult apply_cpu(Options *o, const char *value)
{
    if (tool_is_help(value))
        return print_models();
    o->model = value;
    return OPTION_DONE;
}

static OptionResult apply_object(Options *o, const char *value)
{
    return object_print_help(value) ? OPTION_EXIT
                                    : options_add_setup(o, "object", value, setup_object);
}

static OptionResult apply_chardev(Options *o, const char *value)
{
    if (!tool_is_help(value))
        return options_add_setup(o, "chardev", value, setup_chardev);
    chardev_print_kinds();
    return OPTION_EXIT;
}

static OptionResult apply_netdev(Options *o, const char *value)
{
    if (!tool_is_help(value))
        return options_add_setup(o, "netdev", value, netdev_add_text);
    netdev_print_types();
    return OPTION_EXIT;
}

/* A netdev and a device that is plugged into it. */
static OptionResult apply_nic(Options *o, const char *value)
{
    g_autofree char *id = g_strdup_printf("nic%u", o->devices->len), *netdev = NULL, *device = NULL;
    g_autoptr(GError) err = NULL;

    if (!strcmp(value, "none"))
        return OPTION_DONE;
    if (!netdev_split_nic(value, id, &netdev, &device, &err)) {
        complain("-nic: %s", err->message);
        return OPTION_BAD;
    }
    g_ptr_array_add(o->devices, g_steal_pointer(&device));
    return options_add_setup(o, "nic", netdev, netdev_add_text);
}

static OptionResult print_devices(void)
{
    for (const DeviceClass *const *c = device_classes; *c; c++)
        if ((*c)->bus)
            printf("name \"%s\", bus %s\n", (*c)->name, (*c)->bus);
    return OPTION_EXIT;
}

static OptionResult print_properties(const DeviceClass *c)
{
    printf("%s options:\n", c->name);
    for (const Property *p = c->properties; p && p->name; p++)
        printf("  %-22s - %s\n", p->name, p->doc);
    return OPTION_EXIT;
}

static OptionResult apply_device(Options *o, const char *value)
{
    g_autofree char *name = g_strndup(value, strcspn(value, ","));
    const char *rest = value + strlen(name);

    if (tool_is_help(value))
        return print_devices();
    if (*rest && tool_is_help(rest + 1) && device_class_find(name))
        return print_properties(device_class_find(name));
    g_ptr_array_add(o->devices, g_strdup(value));
    return OPTION_DONE;
}

static OptionResult apply_no_user_config(Options *o, const char *value)
{
    return OPTION_DONE; /* there are no configuration files */
}

static OptionResult apply_no_reboot(Options *o, const char *value)
{
    o->actions.reboot = REBOOT_ACTION_SHUTDOWN;
    return OPTION_DONE;
}

static OptionResult apply_no_shutdown(Options *o, const char *value)
{
    o->actions.shutdown = SHUTDOWN_ACTION_PAUSE;
    return OPTION_DONE;
}

static OptionResult apply_folder(Options *o, const char *value)
{
    if (tool_is_help(value)) {
        for (size_t i = 0; firmware_folders[i]; i++)
            puts(firmware_folders[i]);
        return OPTION_EXIT;
    }
    if (!o->machine.folders)
        o->machine.folders = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(o->machine.folders, g_strdup(value));
    return OPTION_DONE;
}

static OptionResult apply_trace(Options *o, const char *value)
{
    return tool_trace(o, value);
}

static OptionResult apply_log(Options *o, const char *value)
{
    g_autoptr(GError) err = NULL;

    if (tool_is_help(value)) {
        log_print_items();
        return OPTION_EXIT;
    }
    if (log_choose(value, &err))
        return OPTION_DONE;
    complain("-d: %s", err->message);
    return OPTION_BAD;
}

static bool read_log_file(Options *o, const char *value, GError **err)
{
    return log_open(value, err);
}

static bool read_log_filter(Options *o, const char *value, GError **err)
{
    return log_filter(value, err);
}

static OptionResult apply_version(Options *o, const char *value)
{
    tool_print_version("QEMU emulator version");
    return OPTION_EXIT;
}

static OptionResult apply_help(Options *o, const char *value);

/* ---- tables ---------------------------------------------------------------------------------- */

static const LineOption options[] = {
    { "h", NULL, NULL, apply_help },
    { "help", NULL, "print this text and exit", apply_help },
    { "version", NULL, "print the version and exit", apply_version },
    { "M", "microvm[,PROPERTY=on|off][,...]", "as -machine", apply_machine },
    { "machine", "microvm[,PROPERTY=on|off][,...]",
      "the machine; properties: pic, pit, rtc,\n"
      "isa-serial, auto-kernel-cmdline, accel=tcg|kvm|qtest,\n"
      "memory-backend=ID (an object that is its memory),\n"
      "kernel-irqchip=split",
      apply_machine },
    { "accel", "tcg[,backend=interp]|kvm[,kernel-irqchip=split][,dirty-ring-size=N]|qtest",
      "translate guest code, interpret it, or run it on\n"
      "the host's processors, or run none of it, for tests;\n"
      "given twice: the first one that is available is used",
      apply_accel },
    { "enable-kvm", NULL, "as -accel kvm", apply_enable_kvm },
    { "cpu", "MODEL[,+FLAG][,-FLAG][,...]", "the processor ('help' lists models) [qemu64]",
      apply_cpu },
    { "m", "[size=]MEGABYTES", "memory; a suffix M or G may follow [128]", READ(option_memory) },
    { "mem-path", "FILE|FOLDER", "file that holds the memory", MEMBER(machine.mem_path) },
    { "mem-prealloc", NULL, "take all memory from the host at once", MEMBER(machine.mem_prealloc) },
    { "smp", "[cpus=]NUMBER", "processors [1]", READ(option_smp) },
    { "name", "NAME", "of the guest, for QMP", READ(option_name) },
    { "uuid", "UUID", "of the guest, for QMP", READ(option_uuid) },
    { "kernel", "FILE", "kernel to start: a bzImage, or ELF with PVH or multiboot",
      MEMBER(machine.kernel) },
    { "bios", "FILE", "firmware to start", MEMBER(machine.bios) },
    { "L", "FOLDER", "where -bios is looked for, too", apply_folder },
    { "boot", "[menu=on|off][,splash-time=MS][,reboot-timeout=MS][,strict=on|off]",
      "what firmware does", READ(option_boot) },
    { "fw_cfg", "[name=]opt/NAME,file=FILE|string=TEXT",
      "an item of fw_cfg, for firmware and guest", READ(option_fw_cfg) },
    { "initrd", "FILE", "its initial RAM disk", MEMBER(machine.initrd) },
    { "append", "TEXT", "its command line", MEMBER(machine.append) },
    { "object", "TYPE,id=ID[,...]", "define an object, such as a secret", apply_object },
    { "blockdev", "[driver=]DRIVER,node-name=NAME[,...]", "open an image as a node",
      SETUP(setup_blockdev) },
    { "drive", "if=none,id=ID,file=FILE[,format=FMT][,...]",
      "open an image for a device;\nalso readonly=on, snapshot=on, cache=MODE, discard=MODE,\n"
      "detect-zeroes=MODE, aio=MODE, throttling.LIMIT=N",
      SETUP(drive_add) },
    { "snapshot", NULL, "what is written to images of -drive is gone at the end",
      MEMBER(snapshot) },
    { "device", "DRIVER[,id=ID][,PROPERTY=VALUE][,...]", "plug in a device ('help' lists them)",
      apply_device },
    { "netdev", "TYPE,id=ID[,...]", "make a network for a device ('help' lists types)",
      apply_netdev },
    { "nic", "TYPE[,model=virtio-net-device][,mac=MAC][,...]|none",
      "make a network and a network device", apply_nic },
    { "chardev", "KIND,id=ID[,...]", "make a character device ('help' lists kinds)",
      apply_chardev },
    { "serial", "none|null|stdio|pty|file:PATH|unix:PATH|tcp:HOST:PORT|chardev:ID",
      "where the serial port leads", option_serial },
    { "qmp", "stdio|unix:PATH,server=on,wait=off|tcp:HOST:PORT,...|chardev:ID", "speak QMP",
      option_qmp },
    { "qmp-pretty", "DEVICE", "the same, answers on many lines", option_qmp_pretty },
    { "mon", "[chardev=]ID[,mode=readline|control][,pretty=on]",
      "a monitor for people, or QMP, on a character device", SETUP(setup_monitor) },
    { "monitor", "none|stdio|pty|unix:PATH,...|tcp:HOST:PORT,...|chardev:ID",
      "a monitor for people", option_monitor },
    { "gdb", "tcp:[HOST]:PORT|unix:PATH|stdio|chardev:ID", "serve gdb there", option_gdb },
    { "s", NULL, "as -gdb tcp::1234", option_gdb_default },
    { "qtest", "stdio|unix:PATH|tcp:HOST:PORT|chardev:ID",
      "let a test read and write devices; see -accel qtest", option_qtest },
    { "qtest-log", "FILE|none", "log of what is said [standard error]", MEMBER(qtest_log) },
    { "display", "none", "there is no display", READ(option_display) },
    { "nographic", NULL, "the serial port is on standard input and output", MEMBER(nographic) },
    { "nodefaults", NULL, "nothing but what is asked for", MEMBER(no_defaults) },
    { "no-user-config", NULL, "there is no configuration of the user's", apply_no_user_config },
    { "global", "virtio-mmio.force-legacy=on|off", "virtio devices of before virtio 1.0",
      READ(option_global) },
    { "S", NULL, "do not start the guest: QMP's cont does", MEMBER(stopped) },
    { "incoming", "tcp:HOST:PORT|unix:PATH|vsock:CID:PORT|fd:NAME|exec:COMMAND|file:PATH|defer",
      "wait for a guest that is migrated here, or\nuntil QMP's migrate-incoming says where from",
      MEMBER(incoming) },
    { "loadvm", "TAG", "start from the snapshot of that name", MEMBER(load_snapshot) },
    { "only-migratable", NULL, "refuse devices and images that cannot be migrated",
      MEMBER(only_migratable) },
    { "action", "reboot=reset|shutdown,shutdown=poweroff|pause,panic=ACTION,watchdog=ACTION",
      "what a reboot, a power-off, a crash of the guest or a watchdog does;\n"
      "a crash: pause, shutdown, exit-failure, none; a watchdog: reset,\n"
      "shutdown, poweroff, pause, debug, none, inject-nmi",
      READ(option_action) },
    { "watchdog-action", "ACTION", "the same as -action watchdog=ACTION",
      READ(option_watchdog_action) },
    { "rtc", "[base=utc|localtime|DATE][,clock=host|rt|vm][,driftfix=none]",
      "what the clock shows at first, and what it goes by", READ(option_rtc) },
    { "icount", "[shift=]NUMBER|auto[,sleep=on|off][,align=on|off]",
      "each instruction takes 2^NUMBER ns of the guest's time;\n"
      "with sleep=off time jumps to the next timer when nothing\n"
      "runs, with align=on the guest does not get ahead of the host",
      READ(option_icount) },
    { "no-reboot", NULL, "end when the guest reboots", apply_no_reboot },
    { "no-shutdown", NULL, "stop, and do not end, when the guest powers off", apply_no_shutdown },
    { "daemonize", NULL, "run in the background", MEMBER(daemonize) },
    { "pidfile", "PATH", "store the process id in a file", MEMBER(pid_file) },
    { "chroot", "FOLDER", "have no files but those in it, once all is open",
      MEMBER(privileges.root) },
    { "runas", "USER|UID:GID", "become that user, once all is open", READ(option_runas) },
    { "sandbox",
      "on|off[,spawn=deny][,elevateprivileges=deny|children]\n"
      "                         [,resourcecontrol=deny][,obsolete=allow]",
      "refuse system calls that are not needed", READ(option_sandbox) },
    { "overcommit", "mem-lock=on|off", "keep all memory of the process out of the swap",
      READ(option_overcommit) },
    { "add-fd", "fd=FD,set=SET[,opaque=TEXT]", "put an open descriptor into a set: /dev/fdset/SET",
      READ(option_add_fd) },
    { "readconfig", "FILE", "read options from a file, in sections", option_readconfig },
    { "set", "GROUP.ID.KEY=VALUE",
      "change an item that was given before: a device, drive,\n"
      "chardev, netdev or mon",
      READ(option_set) },
    { "msg", "[timestamp=on|off][,guest-name=on|off]", "what messages begin with",
      READ(option_msg) },
    { "d", "ITEM[,...]", "log what processors do ('help' lists items)", apply_log },
    { "D", "FILE", "file for the log of -d [standard error]", READ(read_log_file) },
    { "dfilter", "START+LENGTH|START-LENGTH|START..END[,...]", "log only code at these addresses",
      READ(read_log_filter) },
    { "trace", "[[enable=]PATTERN][,events=FILE][,file=FILE]", "turn on trace points",
      apply_trace },
    {}
};

/* Those of the reference that are not there, and why; NULL: they are still to come. */
static const struct {
    const char *names, *why;
} absent[] = {
    { "full-screen k portrait rotate spice vga vnc", "there is no display" },
    { "audio audio-help audiodev", "there is no sound" },
    { "usb usbdevice", "there is no USB" },
    { "xen-attach xen-domid xen-domid-restrict", "there is no Xen" },
    { "cdrom fda fdb hda hdb hdc hdd mtdblock pflash sd",
      "images come by -blockdev or -drive, and are plugged in by -device" },
    { "net", "networks come by -netdev and -device, or by -nic" },
    { "smbios", "this machine has no SMBIOS tables" },
    { "no-hpet", "this machine has no HPET" },
    { "no-fd-bootchk", "this machine has no floppy disks" },
    { "parallel", "this machine has no parallel port" },
    { "option-rom", "this machine has no option ROMs" },
    { "dtb", "this machine has no device tree of the user's" },
    { "numa", "this machine has one node of memory" },
    { "tpmdev", "this machine has no TPM" },
    { "fsdev virtfs", "no folder of the host is shared with guests" },
    { "preconfig acpitable async-teardown compat debugcon dump-vmstate echr enable-sync-profile "
      "iscsi no-acpi plugin seed singlestep win2k-hack",
      NULL },
};

static OptionResult apply_help(Options *o, const char *value)
{
    puts("Usage: qemu-system-x86_64 -M microvm [OPTION]...\n"
         "Emulates a machine with virtio devices and runs a guest in it.\n");
    for (const LineOption *p = options; p->name; p++) {
        g_auto(GStrv) lines = p->doc ? g_strsplit(p->doc, "\n", -1) : NULL;

        if (!lines)
            continue;
        printf("  -%s %s\n", p->name, p->value ? p->value : "");
        for (char **line = lines; *line; line++)
            printf("                        %s\n", *line);
    }
    return OPTION_EXIT;
}

/* ---- the line -------------------------------------------------------------------------------- */

static OptionResult refuse(const char *word)
{
    const char *name = word + (word[1] == '-' ? 2 : 1);

    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++) {
        g_auto(GStrv) names = g_strsplit(absent[i].names, " ", -1);

        if (!g_strv_contains((const char *const *)names, name))
            continue;
        complain("%s: this option is not there%s%s", word, absent[i].why ? ": " : " yet",
                 absent[i].why ? absent[i].why : "");
        return OPTION_BAD;
    }
    complain("%s: invalid option", word);
    return OPTION_BAD;
}

static const LineOption *option_find(const char *name)
{
    for (const LineOption *p = options; p->name; p++)
        if (!strcmp(p->name, name))
            return p;
    return NULL;
}

static OptionResult apply(Options *o, const LineOption *p, const char *value)
{
    void *member = (uint8_t *)o + p->member;

    if (p->run)
        return p->run(o, value);
    if (p->setup)
        return options_add_setup(o, p->name, value, p->setup);
    if (p->read)
        return read_value(o, p->name, value, p->read);
    if (value)
        *(const char **)member = value;
    else
        *(bool *)member = true;
    return OPTION_DONE;
}

OptionResult options_apply(Options *o, const char *name, const char *value)
{
    return apply(o, option_find(name), value);
}

static OptionResult read_words(Options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const LineOption *p = *argv[i] == '-' && argv[i][1]
                              ? option_find(argv[i] + (argv[i][1] == '-' ? 2 : 1)) : NULL;
        OptionResult r;

        if (!p && (*argv[i] != '-' || !argv[i][1])) {
            complain("%s: a disk image is given by -blockdev or -drive", argv[i]);
            return OPTION_BAD;
        }
        if (!p)
            return refuse(argv[i]);
        if (p->value && i + 1 == argc) {
            complain("%s: requires an argument", argv[i]);
            return OPTION_BAD;
        }
        r = apply(o, p, p->value ? argv[++i] : NULL);
        if (r != OPTION_DONE)
            return r;
    }
    return OPTION_DONE;
}

static bool choose_model(Options *o)
{
    const Accel *a = o->machine.accel;
    const X86Host *host = a->host ? a->host() : NULL;
    X86Model *m = &o->machine.model;
    g_autoptr(GPtrArray) missing = g_ptr_array_new();
    g_autoptr(GError) err = NULL;

    if (!x86_model_parse(m, o->model ? o->model : "qemu64", host, missing, &err))
        return complain("-cpu: %s", err->message);
    for (guint i = 0; i < missing->len && (m->is_checked || m->is_enforced); i++)
        complain("warning: the CPU flag '%s' is not %s and left out",
                 (const char *)missing->pdata[i], host ? "there on this host" : "emulated");
    if (m->is_enforced && missing->len)
        return complain("-cpu: %u CPU flags cannot be had (see above), and 'enforce' demands all",
                        missing->len);
    return true;
}

/* Whoever asks for KVM and takes tcg, too, gets that. */
static bool choose_accel(Options *o)
{
    if (!o->accels)
        o->accel[o->accels++] = &accel_tcg;
    for (unsigned i = 0; i < o->accels; i++) {
        g_autoptr(GError) err = NULL;

        o->machine.accel = o->accel[i];
        if (!o->accel[i]->open || o->accel[i]->open(&err))
            return true;
        fprintf(stderr, "%s\n", err->message);
        if (i + 1 == o->accels)
            complain("-accel: the accelerator '%s' cannot be had", o->accel[i]->name);
        else
            complain("warning: the accelerator '%s' cannot be had: falling back to '%s'",
                     o->accel[i]->name, o->accel[i + 1]->name);
    }
    return false;
}

static void warn_unseen_log(const Options *o)
{
    g_autofree char *unseen = log_unseen(o->machine.accel);

    if (unseen)
        complain("warning: -d: nothing will be seen of '%s': accelerator '%s' cannot log it",
                 unseen, o->machine.accel->name);
}

/* What only some accelerators can do. */
static bool check_accel(Options *o)
{
    if (o->gdb && !o->machine.accel->can_debug)
        return complain(
            "-gdb: the accelerator '%s' cannot stop a guest for a debugger: use -accel tcg",
            o->machine.accel->name);
    if (o->machine.icount.is_on && o->machine.accel != &accel_tcg)
        return complain("-icount: instructions are counted with the accelerator 'tcg' only");
    if (o->machine.icount.is_on && o->threads_asked_for)
        return complain("-accel: No MTTCG when icount is enabled");
    if (o->machine.accel != &accel_tcg) /* these are of a choice that was not needed */
        o->machine.interpret = o->machine.one_thread = false;
    if (o->machine.is_none && o->machine.fw_cfg)
        return complain("-fw_cfg: fw_cfg device not available");
    warn_unseen_log(o);
    return true;
}

/* Those of -add-fd: the sets have copies. One may have been named twice. */
static void close_given_fds(Options *o)
{
    for (guint i = 0; i < o->given_fds->len; i++)
        close(g_array_index(o->given_fds, int, i));
}

/* -snapshot: a drive that says otherwise itself is left alone. */
static void drop_writes_of_drives(Options *o)
{
    for (guint i = 0; i < o->setups->len; i++) {
        Setup *s = &g_array_index(o->setups, Setup, i);
        g_autofree char *old = s->text;

        s->text = strcmp(s->name, "drive") ? g_strdup(old) : g_strdup_printf("snapshot=on,%s", old);
    }
}

OptionResult options_read(Options *o, int argc, char **argv)
{
    OptionResult r;

    *o = (Options){
        .machine = { .ram_size = 128 * MiB, .cpus = 1, .pic = true, .pit = true, .rtc = true,
                     .isa_serial = true, .auto_kernel_cmdline = true,
                     .splash_time = -1, .reboot_timeout = -1 },
        .setups = g_array_new(FALSE, FALSE, sizeof(Setup)),
        .actions = { .panic = PANIC_ACTION_SHUTDOWN },
        .devices = g_ptr_array_new_with_free_func(g_free),
        .given_fds = g_array_new(FALSE, FALSE, sizeof(int)),
    };
    r = read_words(o, argc, argv);
    if (r == OPTION_DONE &&
        (!choose_accel(o) || !check_accel(o) || !choose_model(o) || !options_choose_serial(o)))
        r = OPTION_BAD;
    close_given_fds(o);
    if (o->snapshot)
        drop_writes_of_drives(o);
    guest_name = o->name;
    if (o->uuid)
        guest_uuid = o->uuid;
    return r;
}

void options_free(Options *o)
{
    for (guint i = 0; i < o->setups->len; i++)
        g_free(g_array_index(o->setups, Setup, i).text);
    g_array_unref(o->setups);
    g_ptr_array_unref(o->devices);
    g_array_unref(o->given_fds);
    g_clear_pointer(&o->machine.folders, g_ptr_array_unref);
    g_clear_pointer(&o->machine.fw_cfg, g_array_unref);
    g_free(o->privileges.user);
    g_free(o->gdb);
    g_free(o->qtest);
    g_free(o->serial);
    g_free(o->name);
    g_free(o->uuid);
}
