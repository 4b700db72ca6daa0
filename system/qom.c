/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's devices in the tree of objects. Messages are those of the reference. */
#include "monitor/qom.h"
#include "system/base/lock.h"
#include "system/run-state.h"
#include "util/err.h"
#include <string.h>

typedef void Tell(const char *name, const char *type, void *arg);

static char *name_of(const Device *d)
{
    return d->id ? g_strdup(d->id) : g_strdup_printf("device[%u]", d->number);
}

/* Is it a device of -device, and does it belong to the container? */
static bool is_in(const Device *d, bool anonymous)
{
    return d->cls->bus && !d->id == anonymous;
}

static void devices_each(bool anonymous, Tell *fn, void *arg)
{
    const GPtrArray *all = run_state_machine()->devices;

    for (guint i = 0; i < all->len; i++) {
        const Device *d = all->pdata[i];
        g_autofree char *name = name_of(d);

        if (is_in(d, anonymous))
            fn(name, d->cls->name, arg);
    }
}

static void *device_find(bool anonymous, const char *name)
{
    const GPtrArray *all = run_state_machine()->devices;

    for (guint i = 0; i < all->len; i++) {
        g_autofree char *its = name_of(all->pdata[i]);

        if (is_in(all->pdata[i], anonymous) && !strcmp(its, name))
            return all->pdata[i];
    }
    return NULL;
}

static const char *device_type(const void *device)
{
    return ((const Device *)device)->cls->name;
}

static void device_properties(const void *device, Tell *fn, void *arg)
{
    const DeviceClass *cls = ((const Device *)device)->cls;

    for (const Property *p = cls->properties; p && p->name; p++)
        fn(p->name, property_type(p), arg);
    for (const DeviceAttribute *a = cls->attributes; a && a->name; a++)
        fn(a->name, a->type, arg);
}

static const DeviceAttribute *attribute_find(const Device *d, const char *name)
{
    for (const DeviceAttribute *a = d->cls->attributes; a && a->name; a++)
        if (!strcmp(a->name, name))
            return a;
    return NULL;
}

static bool refuse(const Device *d, const char *name, const char *why, GError **err)
{
    return err_set(err, ENOENT, "Property '%s.%s' %s", d->cls->name, name, why);
}

static json_t *device_get(const void *device, const char *name, GError **err)
{
    const Device *d = device;
    const DeviceAttribute *a = attribute_find(d, name);
    json_t *value;

    if (!a)
        return property_get(d, name, err);
    machine_lock();
    value = a->get(d);
    machine_unlock();
    return value;
}

static bool device_set(void *device, const char *name, const json_t *value, GError **err)
{
    Device *d = device;
    const DeviceAttribute *a = attribute_find(d, name);
    bool ok;

    if (!a)
        return property_find(d->cls, name)
               ? err_set(err, EPERM, "Attempt to set property '%s' on device '%s' (type '%s') "
                         "after it was realized", name, d->id ? d->id : "", d->cls->name)
               : refuse(d, name, "not found", err);
    if (!a->set)
        return refuse(d, name, "is not writable", err);
    machine_lock();
    ok = a->set(d, value, err);
    machine_unlock();
    return ok;
}

void machine_show_devices(void)
{
    static const QomDevices all = {
        "microvm-machine", devices_each, device_find, device_type, device_properties, device_get,
        device_set,
    };

    qom_set_devices(&all);
}
