/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about devices. Messages are those of the reference, which clients see. */
#include "gen/qmp.h"
#include "system/run-state.h"
#include "util/err.h"
#include <string.h>

static bool refuse_missing(const char *id, GError **err)
{
    err_set(err, ENOENT, "Device '%s' not found", id);
    return err_class(err, "DeviceNotFound");
}

/* Neither ports nor virtio's places in memory can be told to a guest that runs. */
static bool is_cold(const DeviceClass *cls)
{
    return !strcmp(cls->bus, "virtio-bus") || !strcmp(cls->bus, "ISA");
}

static bool refuse_cold(const DeviceClass *cls, const char *bus, GError **err)
{
    return err_set(err, ENOTSUP, "Bus '%s' does not support hotplugging", bus ? bus : cls->bus);
}

CO bool qmp_device_add(json_t *args, GError **err)
{
    const char *driver = json_get_str(args, "driver", "");
    const DeviceClass *cls = device_class_find(driver);

    if (!cls || !cls->bus)
        return err_set(err, EINVAL, "'%s' is not a valid device model name", driver);
    if (is_cold(cls))
        return refuse_cold(cls, json_get_str(args, "bus", NULL), err);
    return machine_add_device(run_state_machine(), args, err);
}

static Device *find(const char *id)
{
    GPtrArray *devices = run_state_machine()->devices;

    for (guint i = 0; i < devices->len; i++)
        if (!g_strcmp0(((Device *)devices->pdata[i])->id, id))
            return devices->pdata[i];
    return NULL;
}

CO bool qmp_device_del(const QmpDeviceDelArgs *args, GError **err)
{
    Device *d = find(args->id);

    g_autofree char *path = NULL, *id = NULL;

    if (!d)
        return refuse_missing(args->id, err);
    if (!d->cls->bus || is_cold(d->cls))
        return refuse_cold(d->cls, NULL, err);
    id = g_strdup(args->id);
    path = g_strdup_printf("/machine/peripheral/%s", id);
    machine_remove_device(run_state_machine(), d);
    event_device_deleted(id, path);
    return true;
}

CO bool qmp_device_list_properties(const QmpDeviceListPropertiesArgs *args, GPtrArray **ret,
                                   GError **err)
{
    const DeviceClass *cls = device_class_find(args->typename);

    if (!cls)
        return refuse_missing(args->typename, err);
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)object_property_info_free);
    for (const Property *p = cls->properties; p && p->name; p++) {
        ObjectPropertyInfo *info = g_new0(ObjectPropertyInfo, 1);

        info->name = g_strdup(p->name);
        info->type = g_strdup(property_type(p));
        info->description = g_strdup(p->doc);
        g_ptr_array_add(*ret, info);
    }
    for (const DeviceAttribute *a = cls->attributes; a && a->name; a++) {
        ObjectPropertyInfo *info = g_new0(ObjectPropertyInfo, 1);

        info->name = g_strdup(a->name);
        info->type = g_strdup(a->type);
        g_ptr_array_add(*ret, info);
    }
    return true;
}
