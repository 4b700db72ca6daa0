/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that tell of parts of the machine: iothreads, virtio devices, buses that it may have. */
#include "gen/qmp.h"
#include "io/iothread.h"
#include "monitor/hmp.h"
#include "qapi/object.h"
#include "system/base/lock.h"
#include "system/run-state.h"
#include "util/err.h"
#include <string.h>

/* ---- iothreads ------------------------------------------------------------------------------- */

static int64_t number_of(const char *id, const char *property)
{
    g_autoptr(json_t) v = object_get(id, property, NULL);

    return json_integer_value(v);
}

static void add_iothread(const char *id, const ObjectClass *cls, void *state, void *list)
{
    const IoThread *t = iothread_find(id);
    IOThreadInfo *i;

    if (!t)
        return;
    i = g_new0(IOThreadInfo, 1);
    i->id = g_strdup(id);
    i->thread_id = loop_thread_id(iothread_thread(t));
    i->poll_max_ns = number_of(id, "poll-max-ns");
    i->poll_grow = number_of(id, "poll-grow");
    i->poll_shrink = number_of(id, "poll-shrink");
    i->aio_max_batch = number_of(id, "aio-max-batch");
    g_ptr_array_add(list, i);
}

CO bool qmp_query_iothreads(GPtrArray **ret, GError **err)
{
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)io_thread_info_free);
    object_foreach(add_iothread, *ret);
    return true;
}

/* ---- virtio ---------------------------------------------------------------------------------- */

/* The newest first, as in the reference. */
CO bool qmp_x_query_virtio(GPtrArray **ret, GError **err)
{
    const GPtrArray *devices = run_state_machine()->devices;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)virtio_info_free);
    for (guint i = devices->len; i-- > 0;) {
        const Device *d = devices->pdata[i];
        const char *kind = d->cls->name;
        VirtioInfo *info;

        if (g_strcmp0(d->cls->bus, "virtio-bus"))
            continue;
        info = g_new0(VirtioInfo, 1);
        info->path = d->id ? g_strdup_printf("/machine/peripheral/%s", d->id)
                           : g_strdup_printf("/machine/peripheral-anon/device[%u]", d->number);
        info->name = g_str_has_suffix(kind, "-device") ? g_strndup(kind, strlen(kind) - 7)
                                                       : g_strdup(kind);
        g_ptr_array_add(*ret, info);
    }
    return true;
}

/* ---- what this machine does not have --------------------------------------------------------- */

CO bool qmp_query_hotpluggable_cpus(GPtrArray **ret, GError **err)
{
    return err_set(err, ENOTSUP, "The feature 'query-hotpluggable-cpus' is not enabled");
}

/* Nothing, in a list that is its caller's. */
static bool none(GPtrArray **ret)
{
    *ret = g_ptr_array_new();
    return true;
}

CO bool qmp_query_pci(GPtrArray **ret, GError **err)
{
    return none(ret);
}

CO bool qmp_query_mice(GPtrArray **ret, GError **err)
{
    return none(ret);
}

/* There are no slots for memory or processors, whose state a guest would report. */
CO bool qmp_query_acpi_ospm_status(GPtrArray **ret, GError **err)
{
    return none(ret);
}

CO bool qmp_query_memory_devices(json_t **ret, GError **err)
{
    *ret = json_array();
    return true;
}

/* ---- what people are shown ------------------------------------------------------------------- */

static CO HumanReadableText *shown(const char *line)
{
    Hmp h = { .out = g_string_new(NULL) };
    HumanReadableText *t = g_new0(HumanReadableText, 1);

    hmp_run(&h, line);
    t->human_readable_text = g_string_free(h.out, FALSE);
    return t;
}

CO bool qmp_x_query_irq(HumanReadableText **ret, GError **err)
{
    *ret = shown("info irq");
    return true;
}

CO bool qmp_x_query_numa(HumanReadableText **ret, GError **err)
{
    *ret = shown("info numa");
    return true;
}
