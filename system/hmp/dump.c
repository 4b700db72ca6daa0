/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dumps of memory, and how fast the guest writes to it. */
#include "gen/qmp.h"
#include "gen/schema.h"
#include "system/hmp/commands.h"
#include "util/err.h"
#include <inttypes.h>

#define SAY(...) g_string_append_printf(h->out, __VA_ARGS__)

enum { PAGING, DETACH, FIRST_FORMAT, FILE_NAME = FIRST_FORMAT + 4, BEGIN, LENGTH };

HMP_COMMAND(hmp_dump)
{
    static const DumpGuestMemoryFormat formats[] = {
        DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB, DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO,
        DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY, DUMP_GUEST_MEMORY_FORMAT_WIN_DMP,
    };
    g_autofree char *protocol = g_strconcat("file:", a->text[FILE_NAME], NULL);
    QmpDumpGuestMemoryArgs args = {
        .paging = a->is_given[PAGING], .protocol = protocol,
        .has_detach = true, .detach = a->is_given[DETACH],
        .has_begin = a->is_given[BEGIN], .begin = (int64_t)a->number[BEGIN],
        .has_length = a->is_given[LENGTH], .length = (int64_t)a->number[LENGTH],
    };
    GError *err = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
        if (a->is_given[FIRST_FORMAT + i]) {
            args.has_format = true;
            args.format = formats[i];
        }
    qmp_dump_guest_memory(&args, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_info_dump)
{
    g_autoptr(DumpQueryResult) r = NULL;

    qmp_query_dump(&r, NULL);
    SAY("Status: %s\n", schema_enum_name(&dump_status_enum, r->status));
    if (r->status == DUMP_STATUS_ACTIVE)
        SAY("Finished: %.2f %%\n", r->total ? 100.0 * r->completed / r->total : 0);
}

HMP_COMMAND(hmp_calc_dirty_rate)
{
    QmpCalcDirtyRateArgs args = {
        .calc_time = (int64_t)a->number[2],
        .has_sample_pages = a->is_given[3], .sample_pages = (int64_t)a->number[3],
        .has_mode = true,
        .mode = a->is_given[0] ? DIRTY_RATE_MEASURE_MODE_DIRTY_RING
              : a->is_given[1] ? DIRTY_RATE_MEASURE_MODE_DIRTY_BITMAP
                               : DIRTY_RATE_MEASURE_MODE_PAGE_SAMPLING,
    };
    GError *err = NULL;

    if (!args.calc_time) {
        SAY("Incorrect period length specified!\n");
        return;
    }
    if (a->is_given[0] && a->is_given[1]) {
        SAY("Either dirty ring or dirty bitmap can be specified!\n");
        return;
    }
    if (qmp_calc_dirty_rate(&args, &err))
        SAY("Starting dirty rate measurement with period %" PRId64 " seconds\n"
            "[Please use 'info dirty_rate' to check results]\n", args.calc_time);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_info_dirty_rate)
{
    g_autoptr(DirtyRateInfo) i = NULL;

    qmp_query_dirty_rate(&i, NULL);
    SAY("Status: %s\nStart Time: %" PRId64 " (ms)\nSample Pages: %" PRIu64 " (per GB)\n"
        "Period: %" PRId64 " (sec)\nMode: %s\nDirty rate: ",
        schema_enum_name(&dirty_rate_status_enum, i->status), i->start_time, i->sample_pages,
        i->calc_time, schema_enum_name(&dirty_rate_measure_mode_enum, i->mode));
    if (i->has_dirty_rate)
        SAY("%" PRId64 " (MB/s)\n", i->dirty_rate);
    else
        SAY("(not ready)\n");
}
