/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of commands, and those that are a QMP command by another name. */
#include "system/hmp/commands.h"
#include "block/monitor-nodes.h"
#include "gen/qmp.h"
#include "system/base/lock.h"
#include "system/debug.h"
#include "system/log.h"
#include "target/x86/translate.h"
#include "util/err.h"
#include "util/keyval.h"
#include "qapi/object.h"
#include <string.h>

Vcpu *hmp_vcpu(const Hmp *h)
{
    return run_state_machine()->vcpus->pdata[h->cpu];
}

CO bool hmp_begin_look(Hmp *h)
{
    GError *err = NULL;

    if (debug_begin(&err))
        return true;
    hmp_error(h, err);
    return false;
}

bool hmp_has_vcpu(Hmp *h)
{
    bool has = run_state_machine()->vcpus->len;

    if (!has)
        g_string_append(h->out, "No CPU available\n");
    return has;
}

/* ---- running --------------------------------------------------------------------------------- */

#define PLAIN(name, call)                                                                          \
    static HMP_COMMAND(name)                                                                       \
    {                                                                                              \
        GError *err = NULL;                                                                        \
                                                                                                   \
        call(&err);                                                                                \
        hmp_error(h, err);                                                                         \
    }
PLAIN(hmp_stop, qmp_stop)
PLAIN(hmp_cont, qmp_cont)
PLAIN(hmp_reset, qmp_system_reset)
PLAIN(hmp_powerdown, qmp_system_powerdown)
PLAIN(hmp_wakeup, qmp_system_wakeup)
PLAIN(hmp_quit, qmp_quit)
PLAIN(hmp_nmi, qmp_inject_nmi)
PLAIN(hmp_nbd_stop, qmp_nbd_server_stop)

static HMP_COMMAND(hmp_show_help)
{
    hmp_help(h, a->text[0]);
}

static HMP_COMMAND(hmp_info)
{
    hmp_help(h, "info");
}

static HMP_COMMAND(hmp_log)
{
    GError *err = NULL;
    g_autofree char *unseen = NULL;
    const Machine *m = run_state_machine();
    const GPtrArray *vcpus = m->vcpus;

    if (!strcmp(a->text[0], "help")) {
        log_describe_items(h->out);
        return;
    }
    if (!hmp_begin_look(h))
        return;
    if (log_choose(a->text[0], &err))
        for (guint i = 0; i < vcpus->len; i++)
            x86_forget_code(vcpu_cpu(vcpus->pdata[i]));
    debug_end();
    unseen = log_unseen(m->config.accel);
    if (unseen)
        g_string_append_printf(h->out, "Nothing will be seen of '%s': accelerator '%s' cannot log "
                               "it\n", unseen, m->config.accel->name);
    hmp_error(h, err);
}

static HMP_COMMAND(hmp_logfile)
{
    GError *err = NULL;

    if (!hmp_begin_look(h))
        return;
    log_open(a->text[0], &err);
    debug_end();
    hmp_error(h, err);
}

static HMP_COMMAND(hmp_cpu)
{
    if (a->number[0] >= run_state_machine()->vcpus->len)
        g_string_append(h->out, "invalid CPU index\n");
    else
        h->cpu = a->number[0];
}

/* ---- things with ids ------------------------------------------------------------------------- */

static HMP_COMMAND(hmp_device_add)
{
    GError *err = NULL;
    g_autoptr(json_t) options = keyval_parse(a->text[0], "driver", &err);

    if (options)
        qmp_device_add(options, &err);
    hmp_error(h, err);
}

static HMP_COMMAND(hmp_device_del)
{
    GError *err = NULL;

    qmp_device_del(&(QmpDeviceDelArgs){ .id = (char *)a->text[0] }, &err);
    hmp_error(h, err);
}

static HMP_COMMAND(hmp_object_add)
{
    GError *err = NULL;

    object_add_text(a->text[0], &err);
    hmp_error(h, err);
}

static HMP_COMMAND(hmp_object_del)
{
    GError *err = NULL;

    qmp_object_del(&(QmpObjectDelArgs){ .id = (char *)a->text[0] }, &err);
    hmp_error(h, err);
}

static HMP_COMMAND(hmp_chardev_add)
{
    GError *err = NULL;
    g_autofree char *id = NULL;
    g_autoptr(json_t) backend = NULL;

    if (chardev_parse(a->text[0], &id, &backend, &err) && chardev_find(id))
        err_set(&err, EEXIST, "Chardev with id '%s' already exists", id);
    else if (id)
        chardev_add(id, backend, &err);
    hmp_error(h, err);
}

static HMP_COMMAND(hmp_chardev_remove)
{
    GError *err = NULL;

    qmp_chardev_remove(&(QmpChardevRemoveArgs){ .id = (char *)a->text[0] }, &err);
    hmp_error(h, err);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

#define JOB(name, call, type)                                                                      \
    static HMP_COMMAND(name)                                                                       \
    {                                                                                              \
        GError *err = NULL;                                                                        \
                                                                                                   \
        call(&(type){ .device = (char *)a->text[0] }, &err);                                       \
        hmp_error(h, err);                                                                         \
    }
JOB(hmp_job_pause, qmp_block_job_pause, QmpBlockJobPauseArgs)
JOB(hmp_job_resume, qmp_block_job_resume, QmpBlockJobResumeArgs)
JOB(hmp_job_complete, qmp_block_job_complete, QmpBlockJobCompleteArgs)

static HMP_COMMAND(hmp_job_cancel)
{
    GError *err = NULL;

    qmp_block_job_cancel(&(QmpBlockJobCancelArgs){ .device = (char *)a->text[1],
                                                   .has_force = true, .force = a->is_given[0] },
                         &err);
    hmp_error(h, err);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static HMP_COMMAND(hmp_memsave)
{
    GError *err = NULL;

    qmp_memsave(&(QmpMemsaveArgs){ .val = a->number[0], .size = a->number[1],
                                   .filename = (char *)a->text[2], .has_cpu_index = true,
                                   .cpu_index = h->cpu }, &err);
    hmp_error(h, err);
}

static HMP_COMMAND(hmp_pmemsave)
{
    GError *err = NULL;

    qmp_pmemsave(&(QmpPmemsaveArgs){ .val = a->number[0], .size = a->number[1],
                                     .filename = (char *)a->text[2] }, &err);
    hmp_error(h, err);
}

/* ---- the table ------------------------------------------------------------------------------- */

const HmpCommand hmp_machine_commands[] = {
    { "help|?", "?s", "[cmd]", "what a command does, or all of them", hmp_show_help },
    { "info", "", "[subcommand]", "show something: 'help info' lists what", hmp_info },
    { "announce_self", "?s?s", "[interfaces] [id]",
      "tell networks where the guest is, as the parameters of migrations say", hmp_announce_self },
    { "balloon", "n", "target", "ask the guest to make do with so many MiB", hmp_balloon },
    { "block_job_cancel", "-fB", "[-f] device", "stop a job (-f: at once, even if it is ready)",
      hmp_job_cancel },
    { "block_job_complete", "B", "device", "end a job that is ready", hmp_job_complete },
    { "block_job_pause", "B", "device", "pause a job", hmp_job_pause },
    { "block_job_resume", "B", "device", "let a paused job go on", hmp_job_resume },
    { "block_job_set_speed", "Bo", "device speed", "limit a job (MiB a second; 0: no limit)",
      hmp_job_set_speed },
    { "block_resize", "Bo", "device size", "make an image longer or shorter (in MiB)",
      hmp_block_resize },
    { "block_set_io_throttle", "Bnnnnnn", "device bps bps_rd bps_wr iops iops_rd iops_wr",
      "limit bytes and requests a second of a drive (0: no limit)", hmp_block_set_io_throttle },
    { "block_stream", "B?o?s", "device [speed [base]]", "copy from backing files into an image",
      hmp_block_stream },
    { "calc_dirty_rate", "-r-bn?n", "[-r] [-b] seconds [samples per GiB]",
      "measure how fast the guest writes (-b: by recording all writes)", hmp_calc_dirty_rate },
    { "change", "B-fF?s?s", "device [-f] filename [format [read-only-mode]]",
      "insert another disc (-f: even if the guest has locked the tray)", hmp_change },
    { "chardev-add", "s", "args", "make a character device, as with -chardev", hmp_chardev_add },
    { "chardev-change", "ss", "id args", "put another backend behind a character device",
      hmp_chardev_change },
    { "chardev-remove", "s", "id", "remove a character device", hmp_chardev_remove },
    { "chardev-send-break", "s", "id", "send a break", hmp_chardev_send_break },
    { "closefd", "s", "name", "close a descriptor that has a name", hmp_closefd },
    { "cont|c", "", "", "let the guest run", hmp_cont },
    { "cpu", "n", "index", "the processor whose registers and addresses are meant", hmp_cpu },
    { "delvm", "s", "tag", "delete a snapshot", hmp_delvm },
    { "device_add", "s", "driver[,prop=value][,...]", "plug in a device, as with -device",
      hmp_device_add },
    { "device_del", "s", "device", "unplug a device", hmp_device_del },
    { "drive_add", "-nss", "[-n] place options",
      "make a drive, as with -drive, or a node, as with -blockdev (-n)", hmp_drive_add },
    { "drive_backup", "-n-f-cBs?s", "[-n] [-f] [-c] device target [format]",
      "copy a drive as it is now (-n: into a file that is there, -f: its backing files, too, -c: "
      "compressed)",
      hmp_drive_backup },
    { "drive_del", "B", "device", "remove a drive that no device uses, or a node", hmp_drive_del },
    { "drive_mirror", "-n-fBs?s", "[-n] [-f] device target [format]",
      "copy a drive and what is written meanwhile (-n: into a file that is there, -f: its backing "
      "files, too)",
      hmp_drive_mirror },
    { "dump-guest-memory", "-p-d-z-l-s-wF?n?n", "[-p] [-d] [-z|-l|-s|-w] file [begin length]",
      "dump memory as ELF, or by zlib (-z), lzo (-l), snappy (-s); -d: do not wait", hmp_dump },
    { "eject", "-fB", "[-f] device", "eject a disc (-f: even if the guest has locked the tray)",
      hmp_eject },
    { "gpa2hva", "n", "addr", "the host's address of a physical address", hmp_gpa2hva },
    { "gva2gpa", "n", "addr", "the physical address of a linear address", hmp_gva2gpa },
    { "i", "/n", "/fmt addr", "read a port", hmp_port_read },
    { "loadvm", "s", "tag", "go back to a snapshot", hmp_loadvm },
    { "log", "s", "item1[,...]", "log what processors do: 'log help' lists items", hmp_log },
    { "logfile", "F", "filename", "file to write the log to", hmp_logfile },
    { "memsave", "nns", "addr size file", "save memory from a linear address on", hmp_memsave },
    { "migrate", "-d-b-i-rs", "[-d] [-b] [-i] [-r] uri",
      "migrate the guest; 'info migrate' tells how far it is", hmp_migrate },
    { "migrate_cancel", "", "", "end the migration; the guest goes on here", hmp_migrate_cancel },
    { "migrate_continue", "s", "state", "continue a migration that waits in that state",
      hmp_migrate_continue },
    { "migrate_incoming", "s", "uri", "wait there for an incoming guest (-incoming defer)",
      hmp_migrate_incoming },
    { "migrate_pause", "", "", "break the connection of a postcopy", hmp_migrate_pause },
    { "migrate_recover", "s", "uri", "wait at the URI for the rest of a paused postcopy",
      hmp_migrate_recover },
    { "migrate_set_capability", "sb", "capability on|off", "turn a capability on or off",
      hmp_migrate_set_capability },
    { "migrate_set_parameter", "ss", "parameter value", "change a parameter of migrations",
      hmp_migrate_set_parameter },
    { "migrate_start_postcopy", "", "", "run the guest at the target now; its memory follows",
      hmp_migrate_start_postcopy },
    { "nbd_server_add", "-wB?s", "[-w] device [name]", "show an image by NBD (-w: writable)",
      hmp_nbd_add },
    { "nbd_server_remove", "-fs", "[-f] name", "end an export by NBD (-f: even if it has clients)",
      hmp_nbd_remove },
    { "nbd_server_start", "-a-ws", "[-a] [-w] host:port|unix:path",
      "serve NBD there (-a: all drives, -w: writable)", hmp_nbd_start },
    { "nbd_server_stop", "", "", "end all exports by NBD", hmp_nbd_stop },
    { "netdev_add", "s", "type,id=str[,prop=value][,...]", "make a network, as with -netdev",
      hmp_netdev_add },
    { "netdev_del", "s", "id", "remove a network", hmp_netdev_del },
    { "nmi", "", "", "interrupt all processors (NMI)", hmp_nmi },
    { "o", "/nn", "/fmt addr value", "write a port", hmp_port_write },
    { "object_add", "S", "qom-type,id=str[,prop=value][,...]", "make an object, as with -object",
      hmp_object_add },
    { "object_del", "s", "id", "remove an object", hmp_object_del },
    { "pmemsave", "nns", "addr size file", "save memory from a physical address on", hmp_pmemsave },
    { "print|p", "/n", "/fmt expr", "show a number; $reg is a register", hmp_print },
    { "qom-get", "ss", "path property", "show a property of an object", hmp_qom_get },
    { "qom-list", "?s", "path", "list what an object has", hmp_qom_list },
    { "qom-set", "-jssS", "[-j] path property value", "set a property (-j: the value is JSON)",
      hmp_qom_set },
    { "quit|q", "", "", "end the emulator", hmp_quit },
    { "ringbuf_read", "sn", "device size", "take bytes out of a ring buffer", hmp_ringbuf_read },
    { "ringbuf_write", "ss", "device data", "put a word into a ring buffer", hmp_ringbuf_write },
    { "savevm", "?s", "[tag]", "make or replace a snapshot of memory and images", hmp_savevm },
    { "set_link", "sb", "name on|off", "plug in or pull a network cable", hmp_set_link },
    { "snapshot_blkdev", "-nB?F?s", "[-n] device [file] [format]",
      "go on in an overlay (-n: in a file that is there)", hmp_snapshot_blkdev },
    { "snapshot_blkdev_internal", "Bs", "device name", "make a snapshot inside an image",
      hmp_snapshot_blkdev_internal },
    { "snapshot_delete_blkdev_internal", "Bs?s", "device name [id]",
      "delete a snapshot inside an image", hmp_snapshot_delete_blkdev_internal },
    { "stop|s", "", "", "stop the guest", hmp_stop },
    { "sum", "nn", "addr size", "sum of the bytes of memory, as BSD's sum", hmp_sum },
    { "system_powerdown", "", "", "press the power button", hmp_powerdown },
    { "system_reset", "", "", "press the reset button", hmp_reset },
    { "system_wakeup", "", "", "wake the guest from suspend", hmp_wakeup },
    { "watchdog_action", "s", "action", "what happens when a watchdog expires",
      hmp_watchdog_action },
    { "x", "/n", "/fmt addr", "show memory at a linear address", hmp_x },
    { "xp", "/n", "/fmt addr", "show memory at a physical address", hmp_xp },

    { "info balloon", "", "", "memory that the guest has", hmp_info_balloon },
    { "info block", "-n-v?B", "[-n] [-v] [device]", "images", hmp_info_block },
    { "info block-jobs", "", "", "jobs of images and how far they are", hmp_info_jobs },
    { "info blockstats", "", "", "what drives were asked for", hmp_info_blockstats },
    { "info chardev", "", "", "character devices", hmp_info_chardev },
    { "info cpus", "", "", "processors", hmp_info_cpus },
    { "info dirty_rate", "", "", "how fast the guest writes, as measured", hmp_info_dirty_rate },
    { "info dump", "", "", "how far a dump of memory is", hmp_info_dump },
    { "info history", "", "", "lines typed so far", hmp_info_history },
    { "info hotpluggable-cpus", "", "", "processors that can be plugged in",
      hmp_info_hotpluggable_cpus },
    { "info iothreads", "", "", "iothreads", hmp_info_iothreads },
    { "info irq", "", "", "interrupts so far", hmp_info_irq },
    { "info kvm", "", "", "whether the guest runs by KVM", hmp_info_kvm },
    { "info lapic", "?n", "[apic-id]", "the local APIC of a processor", hmp_info_lapic },
    { "info mem", "", "", "linear addresses that are mapped", hmp_info_mem },
    { "info memdev", "", "", "what memory is made of", hmp_info_memdev },
    { "info memory-devices", "", "", "memory that was plugged in", hmp_info_nothing },
    { "info memory_size_summary", "", "", "how much memory there is", hmp_info_memory_size },
    { "info mice", "", "", "mice", hmp_info_mice },
    { "info migrate", "", "", "how far the migration is", hmp_info_migrate },
    { "info migrate_capabilities", "", "", "its capabilities", hmp_info_migrate_capabilities },
    { "info migrate_parameters", "", "", "parameters of migrations", hmp_info_migrate_parameters },
    { "info mtree", "-f", "[-f]", "physical addresses and ports", hmp_info_mtree },
    { "info name", "", "", "name of the guest", hmp_info_name },
    { "info numa", "", "", "NUMA nodes", hmp_info_numa },
    { "info pci", "", "", "PCI devices", hmp_info_nothing },
    { "info pic", "", "", "interrupt controllers", hmp_info_pic },
    { "info qdm", "", "", "devices that -device knows", hmp_info_qdm },
    { "info qtree", "", "", "devices", hmp_info_qtree },
    { "info registers", "-a?n", "[-a|vcpu]", "registers of a processor, or of all (-a)",
      hmp_info_registers },
    { "info snapshots", "", "", "snapshots of memory and images", hmp_info_snapshots },
    { "info status", "", "", "whether the guest runs", hmp_info_status },
    { "info tlb", "", "", "pages that are mapped", hmp_info_tlb },
    { "info uuid", "", "", "UUID of the guest", hmp_info_uuid },
    { "info version", "", "", "version of the emulator", hmp_info_version },
    { "info virtio", "", "", "virtio devices", hmp_info_virtio },
    {}
};
