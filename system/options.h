/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-system-x86_64: what the command line says. options.c reads it, option-values.c values of it.
 */
#ifndef SYSTEM_OPTIONS_H
#define SYSTEM_OPTIONS_H

#include "system/accel.h"
#include "system/privileges.h"
#include "system/run-state.h"
#include "tools/options.h"

enum { MACHINE_CPUS_MAX = 64 };

/* An option that makes something, in the order of the command line. */
typedef struct {
    const char *name; /* "blockdev" */
    char *text;
    CO bool (*apply)(const char *text, GError **err);
} Setup;

typedef struct {
    MachineConfig machine;
    MachineActions actions;
    const char *model;           /* of -cpu */
    GArray *setups;          /* of Setup: objects, character devices, images, monitors */
    GPtrArray *devices;      /* of char *: values of -device */
    char *gdb;               /* id of the character device of -gdb; NULL: none */
    char *qtest;             /* likewise of -qtest */
    const char *qtest_log;   /* file, or "none"; NULL: standard error */
    char *serial;            /* value of -serial; NULL: it was not given */
    char *name, *uuid;
    const char *pid_file;
    const char *incoming;    /* NULL: the guest starts here */
    const char *load_snapshot;  /* with which it starts; NULL: with none */
    Privileges privileges;
    GArray *given_fds;       /* of int: descriptors of -add-fd, of which sets have copies */
    bool stamp_has_time, stamp_has_guest; /* -msg */
    bool only_migratable;
    const Accel *accel[3];       /* that were asked for: the first that can be had counts */
    unsigned accels;
    bool threads_asked_for;      /* -accel tcg,thread=multi */
    bool daemonize, stopped, no_defaults, nographic;
    bool snapshot;               /* what is written to -drive images is gone at the end */
} Options;

/* What @apply makes of @text, in its turn. */
OptionResult options_add_setup(Options *o, const char *name, const char *text,
                             CO bool (*apply)(const char *text, GError **err));
/* One option and its value, if it takes one. Complains. */
OptionResult options_apply(Options *o, const char *name, const char *value);
/* OPTION_EXIT: what was asked for has been printed. OPTION_BAD: complained. */
OptionResult options_read(Options *o, int argc, char **argv);
void options_free(Options *o);

/* What commands tell. */
const char *options_guest_name(void); /* NULL: it has none */
const char *options_guest_uuid(void);

/* ---- option-values.c ------------------------------------------------------------------------- */

bool option_machine(Options *o, const char *text, GError **err);
bool option_accel(Options *o, const char *text, GError **err);
bool option_enable_kvm(Options *o);
bool option_memory(Options *o, const char *text, GError **err);
bool option_smp(Options *o, const char *text, GError **err);
bool option_name(Options *o, const char *text, GError **err);
bool option_uuid(Options *o, const char *text, GError **err);
bool option_display(Options *o, const char *text, GError **err);
bool option_action(Options *o, const char *text, GError **err);
bool option_watchdog_action(Options *o, const char *text, GError **err);
bool option_icount(Options *o, const char *text, GError **err);
bool option_rtc(Options *o, const char *text, GError **err);
bool option_global(Options *o, const char *text, GError **err);
/* "on" or "off" as the value of @key. */
bool option_parse_switch(const char *key, const char *v, bool *out, GError **err);

/* ---- option-chardev.c ------------------------------------------------------------------------ */

OptionResult option_qmp(Options *o, const char *value);
OptionResult option_qmp_pretty(Options *o, const char *value);
OptionResult option_monitor(Options *o, const char *value);
OptionResult option_gdb(Options *o, const char *value);
OptionResult option_gdb_default(Options *o, const char *value); /* -s */
OptionResult option_qtest(Options *o, const char *value);
OptionResult option_serial(Options *o, const char *value);
/*
 * When all is read: the serial port leads where -serial says, or by default nowhere; with
 * -nographic to the user. False: complained.
 */
bool options_choose_serial(Options *o);

/* ---- option-boot.c: firmware and what it is told --------------------------------------------- */

bool option_boot(Options *o, const char *text, GError **err);
bool option_fw_cfg(Options *o, const char *text, GError **err);

/* ---- option-process.c ------------------------------------------------------------------------ */

bool option_msg(Options *o, const char *text, GError **err);
/* To be called when the guest's name is known, too. */
void options_stamp_messages(const Options *o);
bool option_overcommit(Options *o, const char *text, GError **err);
bool option_runas(Options *o, const char *text, GError **err);
bool option_sandbox(Options *o, const char *text, GError **err);
bool option_add_fd(Options *o, const char *text, GError **err);

/* ---- option-config.c ------------------------------------------------------------------------- */

/* Changes an item that was given before: "drive.ID.file=PATH". */
bool option_set(Options *o, const char *text, GError **err);
/* Options from a file, in sections. */
OptionResult option_readconfig(Options *o, const char *path);

#endif
