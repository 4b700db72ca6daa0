/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands sleep, sigraise and abort. */
#include "qemu-io/command.h"
#include "qemu-io/number.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { NS_PER_MS = 1000000 };

static CO CommandResult sleep_run(Session *s, int argc, char **argv)
{
    char *end;
    long long ms;

    errno = 0;
    ms = strtoll(argv[1], &end, 0);
    if (errno || end == argv[1] || *end || ms < 0 || ms > INT64_MAX / 2 / NS_PER_MS) {
        printf("%s is not a valid number\n", argv[1]);
        return CMD_FAILED;
    }
    fflush(stdout);
    co_sleep(ms * NS_PER_MS);
    return CMD_OK;
}

static CO CommandResult sigraise_run(Session *s, int argc, char **argv)
{
    uint64_t sig;

    if (!arg_size(argv[1], &sig))
        return CMD_FAILED;
    if (sig > NSIG) {
        printf("signal argument '%s' is too large to be a valid signal\n", argv[1]);
        return CMD_FAILED;
    }
    fflush(stdout);
    raise((int)sig);
    return CMD_OK;
}

static CO CommandResult abort_run(Session *s, int argc, char **argv)
{
    abort();
}

const Command cmd_sleep = {
    .name = "sleep",
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_WITHOUT_FILE,
    .synopsis = "milliseconds",
    .summary = "waits so long",
    .run = sleep_run,
};

const Command cmd_sigraise = {
    .name = "sigraise",
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_WITHOUT_FILE,
    .synopsis = "signal",
    .summary = "sends this program a signal, by number",
    .help = "\n"
            "Example: sigraise 15\n",
    .run = sigraise_run,
};

const Command cmd_abort = {
    .name = "abort",
    .flags = CMD_WITHOUT_FILE,
    .synopsis = "",
    .summary = "ends this program as a crash would",
    .run = abort_run,
};
