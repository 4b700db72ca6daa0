/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known about an image, collected into an object of the schema's type ImageInfo. */
#include "block/describe.h"
#include "block/driver.h"
#include <string.h>

json_t *describe_snapshot(const Snapshot *s)
{
    json_t *o = json_object();

    json_put_str(o, "id", s->id);
    json_put_str(o, "name", s->name);
    json_put_int(o, "vm-state-size", (int64_t)s->vm_state_size);
    json_put_int(o, "date-sec", s->date_sec);
    json_put_int(o, "date-nsec", s->date_nsec);
    json_put_int(o, "vm-clock-sec", (int64_t)(s->vm_clock_nsec / 1000000000));
    json_put_int(o, "vm-clock-nsec", (int64_t)(s->vm_clock_nsec % 1000000000));
    if (s->icount != UINT64_MAX)
        json_put_int(o, "icount", (int64_t)s->icount);
    return o;
}

static void snapshot_list_clear(void *list)
{
    g_free(((SnapshotList *)list)->list);
}

GArray *snapshot_lists_new(void)
{
    GArray *lists = g_array_new(FALSE, FALSE, sizeof(SnapshotList));

    g_array_set_clear_func(lists, snapshot_list_clear);
    return lists;
}

static CO bool collect_snapshots(Node *n, json_t *image, GArray *lists, GError **err)
{
    Node *keeper = node_driver(n)->snapshots_of_file ? snapshot_keeper(n) : n;
    const SnapshotOps *ops = node_driver(keeper)->snapshots;
    SnapshotList found = { 0 };
    int r;

    if (!ops)
        return true;
    r = ops->list(keeper, &found.list, &found.count);
    if (r == -ENOTSUP || r == -ENOMEDIUM)
        return true;
    if (r < 0)
        return err_set_errno(err, r, "Snapshots of '%s' cannot be listed", node_filename(n));
    if (!found.count) {
        g_free(found.list);
        return true;
    }
    json_put_int(image, "snapshots", lists->len);
    g_array_append_val(lists, found);
    return true;
}

static bool collect_backing(Node *n, json_t *image)
{
    const char *stored = node_backing_stored(n), *format = node_backing_format_stored(n);
    g_autofree char *full = NULL;

    if (!stored)
        return true;
    json_put_str(image, "backing-filename", stored);
    full = node_backing_full(n, NULL);
    if (full)
        json_put_str(image, "full-backing-filename", full);
    if (format)
        json_put_str(image, "backing-filename-format", format);
    return true;
}

static json_t *limits_object(Node *n)
{
    const Limits *l = node_limits(n);
    const struct {
        const char *name;
        uint64_t value;
    } known[] = {
        { "max-discard", l->max_discard },
        { "pdiscard-alignment", l->discard_alignment },
        { "max-write-zeroes", l->max_zero },
        { "pwrite-zeroes-alignment", l->zero_alignment },
        { "opt-transfer", l->opt_transfer },
        { "max-transfer", l->max_transfer },
        { "max-iov", (uint64_t)MAX(l->max_iov, 0) },
    };
    json_t *o = json_object();

    json_put_int(o, "request-alignment", MAX(l->request_alignment, 1));
    json_put_int(o, "min-mem-alignment", MAX(l->memory_alignment, 1));
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i].value)
            json_put_int(o, known[i].name, (int64_t)known[i].value);
    return o;
}

static CO json_t *collect(Node *n, unsigned what, GArray *lists, GError **err);

static CO bool collect_children(Node *n, unsigned what, json_t *image, GArray *lists, GError **err)
{
    json_t *array = json_array();
    Edge *e;

    json_put(image, "children", array);
    for (unsigned i = 0; (e = node_edge_at(n, i)); i++) {
        json_t *child = json_object(), *info = collect(edge_node(e), what, lists, err);

        json_array_append_new(array, child);
        if (!info)
            return false;
        json_put_str(child, "name", edge_key(e));
        json_put(child, "info", info);
    }
    return true;
}

static CO bool collect_specific(Node *n, json_t *image, GError **err)
{
    g_autoptr(GError) why = NULL;
    json_t *specific = node_info_specific(n, &why);

    if (why) {
        g_propagate_error(err, g_steal_pointer(&why));
        return false;
    }
    if (!specific)
        return true;
    if (!strcmp(node_format(n), "luks") || json_has(json_get(specific, "data"), "encrypt"))
        json_put_bool(image, "encrypted", true);
    json_put(image, "format-specific", specific);
    return true;
}

/* What @n itself knows, and with DESCRIBE_CHILDREN those below it. */
static CO json_t *collect(Node *n, unsigned what, GArray *lists, GError **err)
{
    g_autoptr(json_t) image = json_object();
    NodeInfo info = { 0 };
    uint64_t allocated;
    bool known = false;

    json_put_str(image, "filename", node_filename(n));
    json_put_str(image, "format", node_format(n));
    json_put_int(image, "virtual-size", (int64_t)node_size(n));
    allocated = node_allocated(n, &known);
    if (known)
        json_put_int(image, "actual-size", (int64_t)allocated);
    if (node_info(n, &info) >= 0) {
        if (info.cluster_size)
            json_put_int(image, "cluster-size", (int64_t)info.cluster_size);
        json_put_bool(image, "dirty-flag", info.is_dirty);
        if (info.is_encrypted)
            json_put_bool(image, "encrypted", true);
    }
    if (!collect_specific(n, image, err) || !collect_backing(n, image) ||
        !collect_snapshots(n, image, lists, err))
        return NULL;
    if (what & DESCRIBE_LIMITS)
        json_put(image, "limits", limits_object(n));
    if (what & DESCRIBE_CHILDREN && !collect_children(n, what, image, lists, err))
        return NULL;
    return g_steal_pointer(&image);
}

json_t *describe_image(Node *n, unsigned what, GArray *lists, GError **err)
{
    return collect(n, what, lists, err);
}
