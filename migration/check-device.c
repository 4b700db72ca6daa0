/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/check-device.h"
#include <inttypes.h>
#include <string.h>

static const char *driver_of(const json_t *d)
{
    return json_get_str(d, "driver", "");
}

static const char *place_of(const json_t *d)
{
    return json_get_str(d, "place", NULL);
}

/* For messages. Caller frees. */
static char *shown(const json_t *d)
{
    return g_strdup_printf("'%s' (%s)", json_get_str(d, "name", ""), driver_of(d));
}

bool check_device_has_section(const json_t *end, const char *name)
{
    const json_t *d;
    size_t i;

    json_array_foreach(json_get(end, "devices"), i, d) {
        const char *place = place_of(d);

        if (place && g_str_has_prefix(name, place) && strchr("/", name[strlen(place)]))
            return true;
    }
    return false;
}

/* ---- a device that is at both ends ----------------------------------------------------------- */

static unsigned check_properties(const Check *c, const json_t *ours, const json_t *theirs)
{
    json_t *a = json_get(ours, "properties"), *b = json_get(theirs, "properties");
    g_autofree char *device = shown(ours);
    const char *name;
    unsigned n = 0;
    json_t *v;

    json_object_foreach(a, name, v) {
        const json_t *other = json_object_get(b, name);
        g_autofree char *one = json_print(v), *two = other ? json_print(other) : NULL;

        if (other && json_equal(v, other))
            continue;
        n++;
        migration_reason_add(c->reasons, "device", "Property '%s' of device %s is %s at the source "
                             "and %s at the target", name, device, one, two ? two : "missing");
    }
    return n;
}

static unsigned check_medium(const Check *c, const json_t *ours, const json_t *theirs)
{
    const json_t *a = json_get(ours, "disk"), *b = json_get(theirs, "disk");
    int64_t size = json_get_int(a, "size", 0), other = json_get_int(b, "size", 0);
    const char *file = json_get_str(a, "file", ""), *their_file = json_get_str(b, "file", "");
    bool is_fixed = json_get_bool(a, "read-only", false);
    g_autofree char *device = shown(ours);
    size_t before = json_array_size(c->reasons);

    if (!a && b)
        migration_reason_add(c->warnings, "disk", "Device %s has a medium at the target only: '%s'",
                             device, their_file);
    if (a && !b)
        migration_reason_add(c->reasons, "disk", "Device %s has a medium at the source only: '%s'",
                             device, file);
    if (!a || !b)
        return json_array_size(c->reasons) - before;
    if (size != other)
        migration_reason_add(c->reasons, "disk", "The disk of device %s has %" PRId64 " bytes at "
                             "the source ('%s') and %" PRId64 " at the target ('%s')", device, size,
                             file, other, their_file);
    if (is_fixed != json_get_bool(b, "read-only", false))
        migration_reason_add(c->reasons, "disk", "The disk of device %s is read-only at the %s "
                             "only", device, is_fixed ? "source" : "target");
    if (strcmp(file, their_file))
        migration_reason_add(c->warnings, "disk", "The disk of device %s is '%s' at the source and "
                             "'%s' at the target: both have to lead to the same data", device, file,
                             their_file);
    return json_array_size(c->reasons) - before;
}

/* Without a driver there is nothing to be lost yet: the guest will find what the target offers. */
static void check_features(const Check *c, const json_t *ours, const json_t *theirs)
{
    bool has_driver = json_has(ours, "accepted");
    uint64_t needed = json_get_int(ours, has_driver ? "accepted" : "offered", 0);
    uint64_t missing = needed & ~(uint64_t)json_get_int(theirs, "offered", 0);
    g_autoptr(GString) bits = g_string_new(NULL);
    g_autofree char *device = shown(ours);

    for (unsigned i = 0; i < 64; i++)
        if (missing >> i & 1)
            g_string_append_printf(bits, "%s%u", bits->len ? ", " : "", i);
    if (missing)
        migration_reason_add(has_driver ? c->reasons : c->warnings, "device", "Device %s %s "
                             "features of virtio that the target does not offer: bit %s", device,
                             has_driver ? "is used with" : "offers", bits->str);
}

static void check_pair(const Check *c, const json_t *ours, const json_t *theirs)
{
    unsigned found = check_properties(c, ours, theirs);

    found += check_medium(c, ours, theirs);
    /* Most of them follow from properties and disks, and would be the same reason again. */
    if (!found && json_has(ours, "offered"))
        check_features(c, ours, theirs);
}

/* ---- which belong together ------------------------------------------------------------------- */

static const json_t *find_place(const json_t *list, const char *place)
{
    const json_t *d;
    size_t i;

    json_array_foreach(list, i, d)
        if (!g_strcmp0(place_of(d), place))
            return d;
    return NULL;
}

/* The device of that id, if it is at another place. Names without an id only count devices. */
static const json_t *find_moved(const json_t *list, const json_t *like)
{
    const char *name = json_get_str(like, "name", "");
    const json_t *d;
    size_t i;

    json_array_foreach(list, i, d)
        if (*name != '/' && !strcmp(json_get_str(d, "name", ""), name) &&
            !strcmp(driver_of(d), driver_of(like)) && place_of(d) &&
            strcmp(place_of(d), place_of(like)))
            return d;
    return NULL;
}

static void check_placed(const Check *c, const json_t *ours)
{
    const json_t *list = json_get(c->target, "devices"), *theirs = find_place(list, place_of(ours));
    const json_t *moved = find_moved(list, ours);
    g_autofree char *device = shown(ours), *other = theirs ? shown(theirs) : NULL;

    if (moved)
        migration_reason_add(c->reasons, "device", "Device %s is at %s at the source and at %s at "
                             "the target", device, place_of(ours), place_of(moved));
    else if (theirs && !strcmp(driver_of(theirs), driver_of(ours)))
        check_pair(c, ours, theirs);
    else if (theirs)
        migration_reason_add(c->reasons, "device", "At %s the source has %s and the target %s",
                             place_of(ours), device, other);
    else
        migration_reason_add(c->reasons, "device", "The target has no device for %s at %s", device,
                             place_of(ours));
}

static bool is_taken(const GPtrArray *taken, const json_t *d)
{
    return g_ptr_array_find((GPtrArray *)taken, d, NULL);
}

/* Devices without a place are known by what they are: any that is alike, else any of the driver. */
static const json_t *find_alike(const json_t *list, const json_t *like, bool exactly,
                                const GPtrArray *taken)
{
    const json_t *d;
    size_t i;

    json_array_foreach(list, i, d)
        if (!place_of(d) && !strcmp(driver_of(d), driver_of(like)) && !is_taken(taken, d) &&
            (!exactly || json_equal(json_get(d, "properties"), json_get(like, "properties"))))
            return d;
    return NULL;
}

static void check_unplaced(const Check *c, GPtrArray *taken)
{
    const json_t *ours = json_get(c->source, "devices"),
                 *theirs = json_get(c->target, "devices"), *d;
    g_autoptr(GPtrArray) rest = g_ptr_array_new();
    size_t i;

    json_array_foreach(ours, i, d) {
        const json_t *other = place_of(d) ? NULL : find_alike(theirs, d, true, taken);

        if (other)
            g_ptr_array_add(taken, (gpointer)other);
        else if (!place_of(d))
            g_ptr_array_add(rest, (gpointer)d);
    }
    for (guint n = 0; n < rest->len; n++) {
        const json_t *other = find_alike(theirs, rest->pdata[n], false, taken);
        g_autofree char *device = shown(rest->pdata[n]);

        if (!other) {
            migration_reason_add(c->reasons, "device", "The target has no device for %s", device);
            continue;
        }
        g_ptr_array_add(taken, (gpointer)other);
        check_pair(c, rest->pdata[n], other);
    }
}

static void warn_of_more(const Check *c, const GPtrArray *taken)
{
    const json_t *ours = json_get(c->source, "devices"), *d;
    size_t i;

    json_array_foreach(json_get(c->target, "devices"), i, d) {
        g_autofree char *device = shown(d);

        if (place_of(d) ? !find_place(ours, place_of(d)) : !is_taken(taken, d))
            migration_reason_add(c->warnings, "device", "Device %s is at the target only", device);
    }
}

void check_devices(const Check *c)
{
    g_autoptr(GPtrArray) taken = g_ptr_array_new();
    const json_t *d;
    size_t i;

    json_array_foreach(json_get(c->source, "devices"), i, d)
        if (place_of(d))
            check_placed(c, d);
    check_unplaced(c, taken);
    warn_of_more(c, taken);
}
