/* SPDX-License-Identifier: GPL-2.0-or-later */
/* info of parts of the machine, and of those that it does not have. */
#include "gen/qmp.h"
#include "system/hmp/commands.h"
#include <inttypes.h>

#define SAY(...) g_string_append_printf(h->out, __VA_ARGS__)

HMP_COMMAND(hmp_info_iothreads)
{
    g_autoptr(GPtrArray) list = NULL;

    qmp_query_iothreads(&list, NULL);
    for (guint i = 0; i < list->len; i++) {
        const IOThreadInfo *t = list->pdata[i];

        SAY("%s:\n  thread_id=%" PRId64 "\n  poll-max-ns=%" PRId64 "\n  poll-grow=%" PRId64
            "\n  poll-shrink=%" PRId64 "\n  aio-max-batch=%" PRId64 "\n", t->id, t->thread_id,
            t->poll_max_ns, t->poll_grow, t->poll_shrink, t->aio_max_batch);
    }
}

HMP_COMMAND(hmp_info_virtio)
{
    g_autoptr(GPtrArray) list = NULL;

    qmp_x_query_virtio(&list, NULL);
    if (!list->len)
        SAY("No VirtIO devices\n");
    for (guint i = 0; i < list->len; i++) {
        const VirtioInfo *v = list->pdata[i];

        SAY("%s [%s]\n", v->path, v->name);
    }
}

HMP_COMMAND(hmp_info_hotpluggable_cpus)
{
    g_autoptr(GPtrArray) list = NULL;
    GError *err = NULL;

    qmp_query_hotpluggable_cpus(&list, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_info_mice)
{
    g_autoptr(GPtrArray) list = NULL;

    if (qmp_query_mice(&list, NULL) && !list->len)
        SAY("No mouse devices connected\n");
}

/* There is no PCI bus and no slot for memory: nothing is shown, as in the reference. */
HMP_COMMAND(hmp_info_nothing)
{
}
