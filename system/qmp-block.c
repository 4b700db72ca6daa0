/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the disks of the machine. */
#include "block/account.h"
#include "block/throttle.h"
#include "gen/qmp.h"
#include "util/err.h"

typedef struct {
    AccountKind kind;
    const char *name;
    const json_t *list; /* NULL: not given */
    uint64_t *bounds;
    size_t count;
} Bounds;

static bool read_bounds(Bounds *b, const char *device, GError **err)
{
    b->count = json_array_size(b->list);
    b->bounds = g_new(uint64_t, b->count);
    for (size_t i = 0; i < b->count; i++)
        b->bounds[i] = json_integer_value(json_array_get(b->list, i));
    return account_bounds_rise(b->bounds, b->count) ||
           err_set(err, EINVAL, "Device '%s' set %s boundaries fail", device, b->name);
}

/* All of @b are set, or none. */
static bool set_histograms(Handle *h, Bounds *b, unsigned n, const char *device, GError **err)
{
    bool ok = true, any = false;

    for (unsigned i = 0; i < n && ok; i++)
        ok = !b[i].list || read_bounds(&b[i], device, err);
    for (unsigned i = 0; i < n; i++) {
        if (ok && b[i].list)
            account_histogram(h, b[i].kind, b[i].bounds, b[i].count);
        any |= b[i].list != NULL;
        g_free(b[i].bounds);
    }
    if (!any)
        account_no_histograms(h);
    return ok;
}

CO bool qmp_block_latency_histogram_set(const QmpBlockLatencyHistogramSetArgs *args, GError **err)
{
    const json_t *all = args->boundaries;
    Bounds bounds[] = {
        { ACCOUNT_READ, "read", args->boundaries_read ? args->boundaries_read : all },
        { ACCOUNT_WRITE, "write", args->boundaries_write ? args->boundaries_write : all },
        { ACCOUNT_FLUSH, "flush", args->boundaries_flush ? args->boundaries_flush : all },
    };
    Handle *h = account_find(args->id);

    if (!h) {
        err_set(err, ENOENT, "Device '%s' not found", args->id);
        return err_class(err, "DeviceNotFound");
    }
    return set_histograms(h, bounds, G_N_ELEMENTS(bounds), args->id, err);
}

CO bool qmp_block_set_io_throttle(json_t *args, GError **err)
{
    g_autoptr(json_t) members = json_copy(args), limits = json_object();
    const char *device = json_get_str(args, "device", NULL), *id = json_get_str(args, "id", NULL);
    const char *name = device ? device : id;
    Handle *h;

    if (!device == !id)
        return err_set(err, EINVAL, "Need exactly one of 'device' and 'id'");
    h = device ? account_find_drive(device) : account_find(id);
    if (!h) {
        err_set(err, ENOENT, "Device '%s' not found", name);
        return err_class(err, "DeviceNotFound");
    }
    if (!handle_node(h))
        return err_set(err, ENOMEDIUM, "Device has no medium");
    return throttle_limits_take(members, limits, "", err) &&
           handle_throttle(h, name, json_get_str(args, "group", NULL), limits, err);
}
