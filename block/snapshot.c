/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots: what needs no driver's knowledge. */
#include "block/driver.h"
#include "util/size.h"
#include <inttypes.h>
#include <time.h>

Node *snapshot_keeper(Node *n)
{
    Node *file;

    n = node_skip_filters(n);
    while (node_driver(n)->snapshots_of_file && (file = node_storage(n)))
        n = node_skip_filters(file);
    return n;
}

CO bool snapshot_apply(const SnapshotOps *ops, Node *n, const char *id, GError **err)
{
    void *state = ops->apply_begin(n, id, err);
    bool done, ok = state && ops->apply(n, state, &done, err);

    if (state)
        ops->apply_end(n, state);
    return ok;
}

const Snapshot *snapshot_find(const Snapshot *list, size_t count, const char *id, const char *name)
{
    for (size_t i = 0; id && i < count; i++)
        if (!g_strcmp0(list[i].id, id))
            return &list[i];
    for (size_t i = 0; name && i < count; i++)
        if (!g_strcmp0(list[i].name, name))
            return &list[i];
    return NULL;
}

/* ---- for people ------------------------------------------------------------------------------ */

static void put_cells(GString *out, const char *id, const char *name, const char *size,
                      const char *date, const char *clock, const char *icount)
{
    g_string_append_printf(out, "%-9s %-16s %8s %19s %12s %10s\n", id, name, size, date, clock,
                           icount);
}

void snapshot_put_row(GString *out, const Snapshot *s, const char *id)
{
    g_autofree char *size = NULL, *clock = NULL, *icount = NULL;
    char date[64] = "";
    uint64_t seconds;
    struct tm tm;
    time_t t;

    if (!s) {
        put_cells(out, "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
        return;
    }
    t = (time_t)s->date_sec;
    seconds = s->vm_clock_nsec / 1000000000;
    size = size_format(s->vm_state_size);
    if (localtime_r(&t, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    clock = g_strdup_printf("%02d:%02d:%02d.%03d", (int)(seconds / 3600),
                            (int)(seconds / 60 % 60), (int)(seconds % 60),
                            (int)(s->vm_clock_nsec / 1000000 % 1000));
    icount = s->icount == UINT64_MAX ? g_strdup("") : g_strdup_printf("%" PRIu64, s->icount);
    put_cells(out, id ? id : s->id, s->name, size, date, clock, icount);
}
