/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img snapshot: lists, makes, applies and deletes internal snapshots. */
#include "block/snapshot.h"
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/describe.h"
#include "qemu-img/tool.h"
#include <string.h>

typedef struct {
    const char *format;
    GArray *actions;        /* of Given: -l, -c, -a, -d */
    bool image_opts, force_share, quiet;
} SnapshotArgs;

static const Option snapshot_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(SnapshotArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(SnapshotArgs, image_opts) },
    { 'l', "list", NULL, "list the snapshots (what is done by default)", OPT_LIST,
      offsetof(SnapshotArgs, actions) },
    { 'c', "create", "SNAPSHOT", "make a snapshot of that name", OPT_LIST,
      offsetof(SnapshotArgs, actions) },
    { 'a', "apply", "SNAPSHOT", "go back to the content of a snapshot", OPT_LIST,
      offsetof(SnapshotArgs, actions) },
    { 'd', "delete", "SNAPSHOT", "delete a snapshot", OPT_LIST, offsetof(SnapshotArgs, actions) },
    { 'U', "force-share", NULL, "open even if another program writes to the image", OPT_FLAG,
      offsetof(SnapshotArgs, force_share) },
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(SnapshotArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

/* What to do: a letter of the options, and with which snapshot. */
typedef struct {
    char letter;
    const char *name;       /* NULL for 'l' */
} Action;

typedef struct {
    Node *node;
    const SnapshotOps *ops;
    Snapshot *list;
    size_t count;
} Snapshots;

/* Reads the list; formats without snapshots have none. */
static CO int snapshots_read(Handle *h, Snapshots *s)
{
    int r;

    s->node = snapshot_keeper(handle_node(h));
    s->ops = node_driver(s->node)->snapshots;
    if (!s->ops)
        return -ENOTSUP;
    r = s->ops->list(s->node, &s->list, &s->count);
    return r;
}

static CO bool snapshots_list(Snapshots *s)
{
    if (s->count)
        describe_snapshots(s->list, s->count);
    return true;
}

/* Longer names are cut, as callers are used to. */
enum { NAME_MAX_BYTES = 255 };

static CO bool snapshots_create(Snapshots *s, const char *name, GError **err)
{
    g_autofree char *cut = g_strndup(name, NAME_MAX_BYTES);
    gint64 now = g_get_real_time();
    Snapshot new = {
        .name = cut,
        .date_sec = now / G_USEC_PER_SEC,
        .date_nsec = (uint32_t)(now % G_USEC_PER_SEC) * 1000,
    };
    bool ok = s->ops->create(s->node, &new, err) >= 0;

    g_free(new.id);
    return ok;
}

/* Applies @name, an id or a name; or deletes it, a name. */
static CO bool snapshots_change(Snapshots *s, Action a, GError **err)
{
    bool apply = a.letter == 'a';
    const Snapshot *found = snapshot_find(s->list, s->count, apply ? a.name : NULL, a.name);

    if (!found)
        return err_set(err, ENOENT, "'%s' has no snapshot '%s'", node_filename(s->node), a.name);
    return apply ? snapshot_apply(s->ops, s->node, found->id, err)
                 : s->ops->remove(s->node, found->id, err) >= 0;
}

static CO bool snapshots_act(Snapshots *s, Action a)
{
    g_autoptr(GError) err = NULL;
    bool ok = a.letter == 'c' ? snapshots_create(s, a.name, &err) : snapshots_change(s, a, &err);

    return ok || complain_err(err);
}

static CO bool snapshot_image(const SnapshotArgs *a, const char *name, Action action)
{
    bool write = action.letter != 'l';
    OpenFlags flags = (write ? OPEN_RDWR : 0) | (a->force_share ? OPEN_FORCE_SHARE : 0);
    g_autoptr(Handle) h = tool_open(name, a->format, a->image_opts, flags);
    Snapshots s = { 0 };
    bool ok;
    int r;

    if (!h)
        return false;
    r = snapshots_read(h, &s);
    if (r < 0 && (write || r != -ENOTSUP))
        return complain_errno(r, "Snapshots of '%s' (format '%s') cannot be %s", name,
                              node_format(s.node), write ? "changed" : "listed");
    if (write)
        tool_say_interrupted("the snapshots of '%s' are the old or the new ones", name);
    ok = write ? snapshots_act(&s, action) : snapshots_list(&s);
    g_free(s.list);
    return ok && tool_close(&h);
}

static CO int snapshot_run(const void *args, char **words, int count)
{
    const SnapshotArgs *a = args;
    Action action = { 'l', NULL };

    if (a->actions && a->actions->len > 1) {
        complain_usage("Choose one of -l, -a, -c and -d");
        return 1;
    }
    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return 1;
    }
    if (!tool_check_image_opts(a->image_opts, a->format))
        return 1;
    if (a->actions) {
        const Given *g = &g_array_index(a->actions, Given, 0);

        action = (Action){ g->option->letter, g->value };
    }
    return snapshot_image(a, words[0], action) ? 0 : 1;
}

const Command cmd_snapshot = {
    .name = "snapshot",
    .synopsis = "[OPTION]... FILE",
    .words = "filename",
    .summary = "Lists, makes, applies and deletes snapshots inside an image.",
    .options = snapshot_options,
    .args_size = sizeof(SnapshotArgs),
    .run = snapshot_run,
};
