/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands about objects and their paths. Messages are those of the reference, which clients see.
 */
#include "gen/qmp.h"
#include "monitor/chardev.h"
#include "monitor/qom.h"
#include "util/err.h"
#include "qapi/object.h"
#include <string.h>

CO bool qmp_object_add(json_t *args, GError **err)
{
    const char *id = json_get_str(args, "id", ""), *type = json_get_str(args, "qom-type", "");
    g_autoptr(json_t) desc = NULL;

    if (!id_is_valid(id))
        return err_set(err, EINVAL, "Parameter 'id' expects an identifier");
    if (object_class_of(id))
        return err_set(err, EEXIST, "attempt to add duplicate property '%s' to object (type "
                       "'container')", id);
    if (!strcmp(type, "authz-listfile")) {
        /* The schema's name of a class that is called otherwise everywhere else. */
        desc = json_copy(args);
        json_put_str(desc, "qom-type", "authz-list-file");
    }
    return object_add(desc ? desc : args, err);
}

CO bool qmp_object_del(const QmpObjectDelArgs *args, GError **err)
{
    if (!object_class_of(args->id))
        return err_set(err, ENOENT, "object '%s' not found", args->id);
    if (object_is_used(args->id))
        return err_set(err, EBUSY, "object '%s' is in use, can not be deleted", args->id);
    return object_delete(args->id, err);
}

/* ---- the tree -------------------------------------------------------------------------------- */

/*
 *     /                container
 *     /objects         container       /objects/ID     an object
 *     /chardevs        container       /chardevs/ID    a character device
 *     /machine         the machine     /machine/peripheral/ID                a device
 *                                      /machine/peripheral-anon/device[N]    one without an id
 */
typedef enum {
    PLACE_ROOT, PLACE_OBJECTS, PLACE_CHARDEVS, PLACE_OBJECT, PLACE_CHARDEV, PLACE_MACHINE,
    PLACE_PERIPHERAL, PLACE_ANONYMOUS, PLACE_DEVICE,
} PlaceKind;

static const QomDevices *devices; /* NULL: there is no machine */

void qom_set_devices(const QomDevices *d)
{
    devices = d;
}

typedef struct {
    PlaceKind kind;
    const ObjectClass *cls; /* of an object */
    const char *id;
    const Chardev *chardev;
    void *device;
} Place;

/* The place called @name directly below *@p, into *@p. */
static bool place_step(Place *p, const char *name)
{
    switch (p->kind) {
    case PLACE_ROOT:
        if (devices && !strcmp(name, "machine")) {
            p->kind = PLACE_MACHINE;
            return true;
        }
        if (strcmp(name, "objects") && strcmp(name, "chardevs"))
            return false;
        p->kind = *name == 'o' ? PLACE_OBJECTS : PLACE_CHARDEVS;
        return true;
    case PLACE_OBJECTS:
        p->cls = object_class_of(name);
        p->id = object_id(name);
        p->kind = PLACE_OBJECT;
        return p->cls;
    case PLACE_CHARDEVS:
        p->chardev = chardev_find(name);
        p->kind = PLACE_CHARDEV;
        return p->chardev;
    case PLACE_MACHINE:
        p->kind = strcmp(name, "peripheral") ? PLACE_ANONYMOUS : PLACE_PERIPHERAL;
        return p->kind == PLACE_PERIPHERAL || !strcmp(name, "peripheral-anon");
    case PLACE_PERIPHERAL:
    case PLACE_ANONYMOUS:
        p->device = devices->find(p->kind == PLACE_ANONYMOUS, name);
        p->kind = PLACE_DEVICE;
        return p->device;
    default:
        return false;
    }
}

/* What @parts lead to from a place of @kind, into *@p. */
static bool place_walk(PlaceKind kind, char **parts, Place *p)
{
    *p = (Place){ .kind = kind };
    for (; *parts; parts++)
        if (**parts && !place_step(p, *parts))
            return false;
    return true;
}

static bool place_missing(const char *path, GError **err)
{
    err_set(err, ENOENT, "Device '%s' not found", path);
    return err_class(err, "DeviceNotFound");
}

/*
 * A path that starts with '/' begins at the root; any other may begin anywhere, if only one place
 * fits.
 */
static bool place_find(const char *path, Place *p, GError **err)
{
    static const PlaceKind starts[] = { PLACE_ROOT, PLACE_OBJECTS, PLACE_CHARDEVS, PLACE_MACHINE,
                                        PLACE_PERIPHERAL, PLACE_ANONYMOUS };
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    unsigned found = 0;

    if (*path == '/')
        return place_walk(PLACE_ROOT, parts, p) || place_missing(path, err);
    for (size_t i = 0; i < G_N_ELEMENTS(starts) && (devices || starts[i] < PLACE_MACHINE); i++) {
        Place here;

        if (place_walk(starts[i], parts, &here)) {
            *p = here;
            found++;
        }
    }
    if (found > 1)
        return err_set(err, EINVAL, "Path '%s' is ambiguous", path);
    return found || place_missing(path, err);
}

static char *place_type(const Place *p)
{
    if (p->kind == PLACE_OBJECT)
        return g_strdup(p->cls->name);
    if (p->kind == PLACE_CHARDEV)
        return g_strconcat("chardev-", chardev_kind(p->chardev), NULL);
    if (p->kind == PLACE_DEVICE)
        return g_strdup(devices->type(p->device));
    if (p->kind == PLACE_MACHINE)
        return g_strdup(devices->machine_type);
    return g_strdup("container");
}

/* ---- listing --------------------------------------------------------------------------------- */

static void list_add(GPtrArray *list, const char *name, const char *type)
{
    ObjectPropertyInfo *info = g_new0(ObjectPropertyInfo, 1);

    info->name = g_strdup(name);
    info->type = g_strdup(type);
    g_ptr_array_add(list, info);
}

static void list_add_prop(const char *name, const char *type, void *list)
{
    list_add(list, name, type);
}

static void list_add_object(const char *id, const ObjectClass *cls, void *state, void *list)
{
    g_autofree char *type = g_strdup_printf("child<%s>", cls->name);

    list_add(list, id, type);
}

static void list_add_device(const char *name, const char *device_type, void *list)
{
    g_autofree char *type = g_strdup_printf("child<%s>", device_type);

    list_add(list, name, type);
}

static void list_add_chardevs(GPtrArray *list)
{
    const Chardev *c;

    for (unsigned i = 0; (c = chardev_at(i)); i++) {
        g_autofree char *type = g_strdup_printf("child<chardev-%s>", chardev_kind(c));

        list_add(list, chardev_id(c), type);
    }
}

CO bool qmp_qom_list(const QmpQomListArgs *args, GPtrArray **ret, GError **err)
{
    GPtrArray *list;
    Place p;

    if (!place_find(args->path, &p, err))
        return false;
    list = *ret = g_ptr_array_new_with_free_func((GDestroyNotify)object_property_info_free);
    list_add(list, "type", "string");
    if (p.kind == PLACE_ROOT) {
        list_add(list, "objects", "child<container>");
        list_add(list, "chardevs", "child<container>");
        if (devices)
            list_add_device("machine", devices->machine_type, list);
    } else if (p.kind == PLACE_OBJECTS) {
        object_foreach(list_add_object, list);
    } else if (p.kind == PLACE_CHARDEVS) {
        list_add_chardevs(list);
    } else if (p.kind == PLACE_OBJECT) {
        object_class_props(p.cls, list_add_prop, list);
    } else if (p.kind == PLACE_MACHINE) {
        list_add(list, "peripheral", "child<container>");
        list_add(list, "peripheral-anon", "child<container>");
    } else if (p.kind == PLACE_PERIPHERAL || p.kind == PLACE_ANONYMOUS) {
        devices->each(p.kind == PLACE_ANONYMOUS, list_add_device, list);
    } else if (p.kind == PLACE_DEVICE) {
        devices->properties(p.device, list_add_prop, list);
    }
    return true;
}

/* Where a child of @p is, from the root. */
static char *child_path(const Place *p, const char *name)
{
    static const char *const paths[] = {
        [PLACE_ROOT] = "", [PLACE_OBJECTS] = "/objects", [PLACE_CHARDEVS] = "/chardevs",
        [PLACE_MACHINE] = "/machine", [PLACE_PERIPHERAL] = "/machine/peripheral",
        [PLACE_ANONYMOUS] = "/machine/peripheral-anon",
    };

    return g_strdup_printf("%s/%s", paths[p->kind], name);
}

CO bool qmp_qom_get(const QmpQomGetArgs *args, json_t **ret, GError **err)
{
    g_autofree char *type = NULL, *child = NULL;
    Place p, below;

    if (!place_find(args->path, &p, NULL))
        return place_missing(args->path, err);
    type = place_type(&p);
    if (!strcmp(args->property, "type")) {
        *ret = json_string(type);
        return true;
    }
    if (p.kind == PLACE_OBJECT)
        return (*ret = object_get(p.id, args->property, err));
    if (p.kind == PLACE_DEVICE)
        return (*ret = devices->get(p.device, args->property, err));
    below = p;
    if (!*args->property || !place_step(&below, args->property))
        return err_set(err, ENOENT, "Property '%s.%s' not found", type, args->property);
    child = child_path(&p, args->property);
    *ret = json_string_nocheck(child);
    return true;
}

CO bool qmp_qom_set(const QmpQomSetArgs *args, GError **err)
{
    g_autofree char *type = NULL;
    Place p;

    if (!place_find(args->path, &p, NULL))
        return place_missing(args->path, err);
    type = place_type(&p);
    if (!strcmp(args->property, "type"))
        return err_set(err, EPERM, "Property '%s.type' is not writable", type);
    if (p.kind == PLACE_OBJECT)
        return object_set(p.id, args->property, args->value, err);
    if (p.kind == PLACE_DEVICE)
        return devices->set(p.device, args->property, args->value, err);
    return err_set(err, ENOENT, "Property '%s.%s' not found", type, args->property);
}

/* ---- types ----------------------------------------------------------------------------------- */

/* Types that are only there to be a parent. */
static const struct {
    const char *name, *parent;
} abstract_types[] = {
    { "authz", "object" },
    { "chardev", "object" },
    { "chardev-fd", "chardev" },
    { "event-loop-base", "object" },
    { "secret_common", "object" },
    { "tls-creds", "object" },
};

/* Parents of the others, by how their names begin; the longest counts. */
static const struct {
    const char *prefix, *parent;
} parents[] = {
    { "authz-", "authz" },
    { "chardev-file", "chardev-fd" },
    { "chardev-memory", "chardev-ringbuf" },
    { "chardev-pipe", "chardev-fd" },
    { "chardev-stdio", "chardev-fd" },
    { "chardev-", "chardev" },
    { "iothread", "event-loop-base" },
    { "secret", "secret_common" },
    { "tls-creds-", "tls-creds" },
};

static const char *parent_of(const char *type)
{
    for (size_t i = 0; i < G_N_ELEMENTS(abstract_types); i++)
        if (!strcmp(abstract_types[i].name, type))
            return abstract_types[i].parent;
    for (size_t i = 0; i < G_N_ELEMENTS(parents); i++)
        if (g_str_has_prefix(type, parents[i].prefix))
            return parents[i].parent;
    return !strcmp(type, "object") ? NULL : "object";
}

static bool implements(const char *type, const char *wanted)
{
    for (; type; type = parent_of(type))
        if (!strcmp(type, wanted))
            return true;
    return false;
}

static void types_add(GPtrArray *list, const char *type, bool abstract, const char *wanted)
{
    ObjectTypeInfo *info;

    if (wanted && !implements(type, wanted))
        return;
    info = g_new0(ObjectTypeInfo, 1);
    info->name = g_strdup(type);
    info->parent = g_strdup(parent_of(type));
    info->has_abstract = info->abstract = abstract;
    g_ptr_array_add(list, info);
}

CO bool qmp_qom_list_types(const QmpQomListTypesArgs *args, GPtrArray **ret, GError **err)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)object_type_info_free);
    const char *kind;

    *ret = list;
    types_add(list, "container", false, args->implements);
    for (const ObjectClass *const *c = object_classes; *c; c++)
        types_add(list, (*c)->name, false, args->implements);
    for (unsigned i = 0; (kind = chardev_kind_at(i)); i++) {
        g_autofree char *type = g_strconcat("chardev-", kind, NULL);

        types_add(list, type, false, args->implements);
    }
    for (size_t i = 0; args->abstract && i < G_N_ELEMENTS(abstract_types); i++)
        types_add(list, abstract_types[i].name, true, args->implements);
    return true;
}

/* True if there is a type @name; the class of its objects into *@cls, NULL if users make none. */
static bool type_find(const char *name, const ObjectClass **cls)
{
    bool known = !strcmp(name, "object") || !strcmp(name, "container");
    const char *kind;

    *cls = object_class_find(name);
    for (size_t i = 0; i < G_N_ELEMENTS(abstract_types); i++)
        known |= !strcmp(name, abstract_types[i].name);
    for (unsigned i = 0; (kind = chardev_kind_at(i)); i++)
        known |= g_str_has_prefix(name, "chardev-") && !strcmp(name + strlen("chardev-"), kind);
    return *cls || known;
}

CO bool qmp_qom_list_properties(const QmpQomListPropertiesArgs *args, GPtrArray **ret, GError **err)
{
    const ObjectClass *cls;

    if (!type_find(args->typename, &cls)) {
        err_set(err, ENOENT, "Class '%s' not found", args->typename);
        return err_class(err, "DeviceNotFound");
    }
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)object_property_info_free);
    list_add(*ret, "type", "string");
    if (cls)
        object_class_props(cls, list_add_prop, *ret);
    return true;
}
