/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/base/device.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

const DeviceClass *device_class_find(const char *name)
{
    for (const DeviceClass *const *c = device_classes; *c; c++)
        if (!strcmp((*c)->name, name))
            return *c;
    return NULL;
}

const DeviceSection *device_section(const Device *d)
{
    return d->cls->own_section ? d->cls->own_section(d) : d->cls->section;
}

/* ---- properties ------------------------------------------------------------------------------ */

const Property *property_find(const DeviceClass *cls, const char *name)
{
    for (const Property *p = cls->properties; p && p->name; p++)
        if (!strcmp(p->name, name))
            return p;
    return NULL;
}

const char *property_type(const Property *p)
{
    static const char *const kinds[] = {
        [DEVICE_STR] = "str", [DEVICE_BOOL] = "bool", [DEVICE_UINT16] = "uint16",
        [DEVICE_UINT32] = "uint32", [DEVICE_SIZE] = "size",
    };

    return kinds[p->kind];
}

json_t *property_get(const Device *d, const char *name, GError **err)
{
    const Property *p = property_find(d->cls, name);
    const void *at = (const uint8_t *)d + (p ? p->offset : 0);

    if (!p) {
        err_set(err, ENOENT, "Property '%s.%s' not found", d->cls->name, name);
        return NULL;
    }
    switch (p->kind) {
    case DEVICE_STR:
        return json_string(*(char *const *)at ? *(char *const *)at : "");
    case DEVICE_BOOL:
        return json_boolean(*(const bool *)at);
    case DEVICE_UINT16:
        return json_integer(*(const uint16_t *)at);
    case DEVICE_UINT32:
        return json_integer(*(const uint32_t *)at);
    default:
        return json_integer(*(const uint64_t *)at);
    }
}

static bool set_bool(const Property *p, bool *to, const json_t *v, GError **err)
{
    const char *text = json_is_string(v) ? json_string_value(v) : NULL;

    if (json_is_boolean(v))
        *to = json_is_true(v);
    else if (text && (!strcmp(text, "on") || !strcmp(text, "yes") || !strcmp(text, "true")))
        *to = true;
    else if (text && (!strcmp(text, "off") || !strcmp(text, "no") || !strcmp(text, "false")))
        *to = false;
    else
        return err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", p->name);
    return true;
}

static bool read_number(const Property *p, uint64_t *to, const json_t *v, GError **err)
{
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *to = json_integer_value(v);
        return true;
    }
    if (json_is_string(v) && size_parse(json_string_value(v), 1, to, NULL) == 0)
        return true;
    return err_set(err, EINVAL, "Parameter '%s' expects a number", p->name);
}

static bool set_number(const Property *p, void *to, const json_t *v, GError **err)
{
    uint64_t n, max = p->kind == DEVICE_UINT16 ? UINT16_MAX
                      : p->kind == DEVICE_UINT32 ? UINT32_MAX : INT64_MAX;

    if (!read_number(p, &n, v, err))
        return false;
    if (n > max)
        return err_set(err, ERANGE, "Parameter '%s' is at most %" PRIu64, p->name, max);
    if (p->kind == DEVICE_UINT16)
        *(uint16_t *)to = n;
    else if (p->kind == DEVICE_UINT32)
        *(uint32_t *)to = n;
    else
        *(uint64_t *)to = n;
    return true;
}

static bool property_set(Device *d, const char *name, const json_t *v, GError **err)
{
    const Property *p = property_find(d->cls, name);
    void *to;

    if (!p)
        return err_set(err, EINVAL, "Property '%s.%s' not found", d->cls->name, name);
    to = (uint8_t *)d + p->offset;
    switch (p->kind) {
    case DEVICE_STR:
        if (!json_is_string(v))
            return err_set(err, EINVAL, "Parameter '%s' expects a string", p->name);
        g_free(*(char **)to);
        *(char **)to = g_strdup(json_string_value(v));
        return true;
    case DEVICE_BOOL:
        return set_bool(p, to, v, err);
    default:
        return set_number(p, to, v, err);
    }
}

static bool set_properties(Device *d, const json_t *options, GError **err)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)options, name, v)
        if (!property_set(d, name, v, err))
            return false;
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

Device *device_new(Board *board, const DeviceClass *cls, const char *id, const json_t *options,
                   GError **err)
{
    Device *d = g_malloc0(cls->size);

    d->cls = cls;
    d->id = g_strdup(id);
    d->board = board;
    if (cls->defaults)
        cls->defaults(d);
    if (!id && cls->bus)
        d->number = board->anonymous++;
    if (set_properties(d, options, err) && (!cls->realize || cls->realize(d, err)))
        return d;
    device_free(d);
    return NULL;
}

char *device_name(const Device *d)
{
    return d->id ? g_strdup(d->id)
                 : g_strdup_printf("/machine/peripheral-anon/device[%u]", d->number);
}

void device_free(Device *d)
{
    if (!d)
        return;
    hold_release(d->stays);
    if (d->cls->unrealize)
        d->cls->unrealize(d);
    for (const Property *p = d->cls->properties; p && p->name; p++)
        if (p->kind == DEVICE_STR)
            g_free(*(char **)((uint8_t *)d + p->offset));
    g_free(d->id);
    g_free(d);
}

void device_reset(Device *d)
{
    if (d->cls->reset)
        d->cls->reset(d);
}

bool board_add_ports(Board *b, uint32_t start, uint32_t size, const MmioOps *ops, void *opaque,
                     GError **err)
{
    if (!memory_map_is_free(b->ports, start, size))
        return err_set(err, EBUSY, "Ports from 0x%x on belong to another device", start);
    memory_map_add_mmio(b->ports, start, size, ops, opaque);
    return true;
}
