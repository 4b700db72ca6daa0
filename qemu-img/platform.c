/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What hypervisors and clouds take, from their manuals; docs/spec/platforms.md says which.
 */
#include "qemu-img/platform.h"
#include "qemu-img/tool.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

enum { OPTIONS_MAX = 3, SECTOR = 512 };

typedef struct {
    const char *name, *value; /* @value NULL: true */
} PlatformOption;

struct Platform {
    const char *name, *format;
    PlatformOption options[OPTIONS_MAX];
    uint64_t unit;         /* the size of the disk is a multiple of it */
    uint64_t max;          /* bytes; 0: no limit but that of the format */
    const char *file;      /* what the target has to be called; NULL: as one likes */
};

static const Platform platforms[] = {
    { "azure", "vpc", { { "subformat", "fixed" }, { "force_size", NULL } }, MiB, 2040 * GiB },
    { "hyperv", "vhdx", { { "subformat", "dynamic" } }, SECTOR, 64 * TiB },
    { "esxi",
      "vmdk",
      { { "subformat", "monolithicFlat" }, { "adapter_type", "lsilogic" } },
      KiB,
      62 * TiB },
    { "vsphere",
      "vmdk",
      { { "subformat", "streamOptimized" }, { "adapter_type", "lsilogic" } },
      KiB,
      62 * TiB },
    { "aws", "vmdk", { { "subformat", "streamOptimized" } }, SECTOR },
    { "gce", "raw", { }, GiB, .file = "disk.raw" },
    { "virtualbox", "vdi", { }, SECTOR },
    { "proxmox", "qcow2", { }, SECTOR },
    { "parallels", "parallels", { }, SECTOR },
    { "utm", "qcow2", { }, SECTOR },
};

const Platform *platform_find(const char *name)
{
    g_autoptr(GString) known = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(platforms); i++) {
        if (!strcmp(platforms[i].name, name))
            return &platforms[i];
        g_string_append_printf(known, "%s%s", i ? ", " : "", platforms[i].name);
    }
    complain("--for knows %s, not '%s'", known->str, name);
    return NULL;
}

/* Sets option @o of @p's, unless the user has said the same. */
static bool option_apply(const Platform *p, const PlatformOption *o, json_t *opts)
{
    json_t *given = json_get(opts, o->name);
    const char *text = json_is_string(given) ? json_string_value(given) : NULL;

    if (!given) {
        json_put_str(opts, o->name, o->value ? o->value : "on");
        return true;
    }
    if (o->value ? text && !strcmp(text, o->value)
                 : json_is_true(given) || (text && !strcmp(text, "on")))
        return true;
    return complain("--for=%s needs %s=%s", p->name, o->name, o->value ? o->value : "on");
}

bool platform_apply(const Platform *p, const char **format, json_t *opts)
{
    if (*format && strcmp(*format, p->format))
        return complain("--for=%s takes images of format '%s', not '%s'", p->name, p->format,
                        *format);
    *format = p->format;
    for (int i = 0; i < OPTIONS_MAX && p->options[i].name; i++)
        if (!option_apply(p, &p->options[i], opts))
            return false;
    return true;
}

bool platform_check(const Platform *p, uint64_t size, const char *target)
{
    g_autofree char *file = g_path_get_basename(target);

    if (!size || size % p->unit)
        return complain("%s takes disks whose size is a multiple of %" PRIu64
                        " bytes; this one has %" PRIu64 ": resize it to %" PRIu64 " first",
                        p->name, p->unit, size, MAX(round_up(size, p->unit), p->unit));
    if (p->max && size > p->max)
        return complain("%s takes disks of at most %" PRIu64 " bytes; this one has %" PRIu64,
                        p->name, p->max, size);
    if (p->file && strcmp(file, p->file))
        return complain("%s takes a file of the name '%s' in its archive, not '%s'", p->name,
                        p->file, file);
    return true;
}
