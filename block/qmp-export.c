/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about exports of any kind. */
#include "block/export.h"
#include "gen/qmp.h"

CO bool qmp_block_export_add(json_t *args, GError **err)
{
    return export_add(args, err);
}

CO bool qmp_block_export_del(const QmpBlockExportDelArgs *args, GError **err)
{
    Export *e = export_find(args->id);
    bool hard = args->has_mode && args->mode == BLOCK_EXPORT_REMOVE_MODE_HARD;

    return e ? export_remove(e, hard, err) : export_missing(args->id, err);
}

CO bool qmp_query_block_exports(GPtrArray **ret, GError **err)
{
    Export *e;
    unsigned n = 0;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)block_export_info_free);
    while (export_at(n))
        n++;
    /* The last one first, as the reference. */
    while (n-- > 0 && (e = export_at(n))) {
        BlockExportInfo *info = g_new0(BlockExportInfo, 1);

        info->id = g_strdup(e->id);
        info->type = schema_enum_parse(&block_export_type_enum, e->drv->type);
        info->node_name = g_strdup(export_node_name(e));
        info->shutting_down = e->removed;
        g_ptr_array_add(*ret, info);
    }
    return true;
}
