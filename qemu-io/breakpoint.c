/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands break, resume, wait_break and remove_break: requests stopped at events of blkdebug.
 */
#include "block/driver.h"
#include "qemu-io/breakpoint.h"
#include "qemu-io/command.h"
#include "tools/complain.h"
#include <stdio.h>

enum { POLL_NS = 1000000 };

/* The node that can stop requests of @n: itself or one that carries its bytes. NULL: none. */
static Node *debug_node(Node *n)
{
    while (n && !node_driver(n)->debug)
        n = node_filtered(n) ? node_filtered(n) : node_storage(n);
    return n;
}

/* The operations for the image of @s and the node in *@n; NULL with @err. */
static const DebugOps *debug_ops(Session *s, Node **n, GError **err)
{
    *n = debug_node(handle_node(s->file));
    if (!*n)
        err_set(err, ENOTSUP, "Nothing below this image can stop requests");
    return *n ? node_driver(*n)->debug : NULL;
}

/* The end of a command that was to do @what. Scripts know the text of the error's errno. */
static CommandResult break_end(bool ok, const char *what, const GError *err)
{
    if (!ok)
        printf("Could not %s: %s\n", what, g_strerror(-err_errno(err)));
    return ok ? CMD_OK : CMD_FAILED;
}

static CO CommandResult break_run(Session *s, int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Node *n;
    const DebugOps *ops = debug_ops(s, &n, &err);
    bool ok = ops && ops->add_break(n, argv[1], argv[2], &err);

    if (ok)
        g_ptr_array_add(s->break_tags, g_strdup(argv[2]));
    return break_end(ok, "set breakpoint", err);
}

static CO CommandResult resume_run(Session *s, int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Node *n;
    const DebugOps *ops = debug_ops(s, &n, &err);
    bool ok = ops && ops->resume(n, argv[1], &err);

    return break_end(ok, "resume request", err);
}

static CO CommandResult remove_break_run(Session *s, int argc, char **argv)
{
    g_autofree char *what = g_strdup_printf("remove breakpoint %s", argv[1]);
    g_autoptr(GError) err = NULL;
    Node *n;
    const DebugOps *ops = debug_ops(s, &n, &err);
    bool ok = ops && ops->remove_break(n, argv[1], &err);

    return break_end(ok, what, err);
}

static CO CommandResult wait_break_run(Session *s, int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Node *n;
    const DebugOps *ops = debug_ops(s, &n, &err);

    if (!ops) {
        complain_err(err);
        return CMD_FAILED;
    }
    fflush(stdout);
    while (!ops->is_suspended(n, argv[1])) {
        if (!s->background.running) {
            complain("No request is under way that could be stopped as '%s'", argv[1]);
            return CMD_FAILED;
        }
        co_sleep(POLL_NS);
    }
    return CMD_OK;
}

void breakpoints_release(Session *s)
{
    Node *n = debug_node(handle_node(s->file));

    while (n && s->break_tags->len && s->background.running) {
        const DebugOps *ops = node_driver(n)->debug;

        for (guint i = 0; i < s->break_tags->len; i++)
            if (ops->is_suspended(n, s->break_tags->pdata[i]))
                ops->remove_break(n, s->break_tags->pdata[i], NULL);
        co_sleep(POLL_NS);
    }
    g_ptr_array_set_size(s->break_tags, 0);
}

const Command cmd_break = {
    .name = "break",
    .min_args = 2,
    .max_args = 2,
    .synopsis = "event tag",
    .summary = "stops the next request at an event and calls it TAG",
    .run = break_run,
};

const Command cmd_resume = {
    .name = "resume",
    .min_args = 1,
    .max_args = 1,
    .synopsis = "tag",
    .summary = "lets the request that was stopped as TAG go on",
    .run = resume_run,
};

const Command cmd_wait_break = {
    .name = "wait_break",
    .min_args = 1,
    .max_args = 1,
    .synopsis = "tag",
    .summary = "waits until a request was stopped as TAG",
    .run = wait_break_run,
};

const Command cmd_remove_break = {
    .name = "remove_break",
    .min_args = 1,
    .max_args = 1,
    .synopsis = "tag",
    .summary = "removes a breakpoint and lets its request go on",
    .run = remove_break_run,
};
