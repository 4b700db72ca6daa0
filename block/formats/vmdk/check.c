/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks that what tables lead to is in the file. */
#include "block/formats/vmdk/vmdk.h"
#include <inttypes.h>

static CO int check_extent(VmdkExtent *e, FILE *out)
{
    uint64_t grains = div_round_up(e->len, e->grain), size = edge_size(e->file);

    for (uint64_t g = 0; g < grains;) {
        VmdkRun run;
        int r = vmdk_run(e, g, 1, &run);
        uint64_t step = 1;

        if (r < 0) {
            fprintf(out, "ERROR: could not read the table of sector %" PRIu64 "\n",
                    (e->start + g * e->grain) / VMDK_SECTOR);
            return r;
        }
        if (run.kind == VMDK_RUN_NONE && !e->dir[g / e->table_len])
            step = e->table_len - g % e->table_len;
        if ((run.kind == VMDK_RUN_DATA || run.kind == VMDK_RUN_COMPRESSED) && run.host >= size) {
            fprintf(out, "ERROR: cluster offset for sector %" PRIu64 " points after EOF\n",
                    (e->start + g * e->grain) / VMDK_SECTOR);
            return -EINVAL;
        }
        g += step;
    }
    return 0;
}

CO int vmdk_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err)
{
    Vmdk *v = vmdk_of(n);
    int r = 0;

    if (fix)
        return -ENOTSUP;
    for (guint i = 0; i < v->extents->len && r == 0; i++) {
        VmdkExtent *e = v->extents->pdata[i];

        if (e->grain)
            r = check_extent(e, out);
    }
    return r;
}
