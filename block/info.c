/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What drivers know of an image beyond its bytes. */
#include "block/internal.h"

const char *node_shown_name(const Node *n)
{
    return n->name;
}

CO int node_info(Node *n, NodeInfo *info)
{
    *info = (NodeInfo){ 0 };
    if (n->drv->info)
        return n->drv->info(n, info);
    if (n->drv->kind == BLK_FILTER && node_filtered(n))
        return node_info(node_filtered(n), info);
    return -ENOTSUP;
}

CO int node_missing_end(Node *n, uint64_t *bytes)
{
    *bytes = 0;
    return n->drv->missing_end ? n->drv->missing_end(n, bytes) : 0;
}

CO json_t *node_info_specific(Node *n, GError **err)
{
    if (n->drv->info_specific)
        return n->drv->info_specific(n, err);
    return NULL;
}

CO int node_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err)
{
    *result = (CheckResult){ 0 };
    if (!n->drv->check) {
        err_set(err, ENOTSUP, "Format '%s' of '%s' has no check", n->drv->name, node_filename(n));
        return -ENOTSUP;
    }
    return n->drv->check(n, result, fix, out, err);
}

CO bool image_measure(const BlockDriver *fmt, json_t *opts, Handle *source, MeasureResult *result,
                      GError **err)
{
    *result = (MeasureResult){ 0 };
    if (!fmt->measure)
        return err_set(err, ENOTSUP, "Format '%s' cannot be measured", fmt->name);
    return fmt->measure(opts, source, result, err);
}
