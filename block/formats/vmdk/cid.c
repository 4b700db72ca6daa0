/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content identifiers: an image gets another one when it is written for the first time after
 * opening, and an overlay remembers that of its backing file. So it is found out if that was
 * written behind its back.
 */
#include "block/formats/vmdk/vmdk.h"
#include <stdio.h>

/*
 * As many digits as before: the text keeps its length, so that a power cut finds the old number or
 * the new one.
 */
static void digits_make(const VmdkDescriptor *d, char *digits)
{
    for (size_t i = 0; i < d->cid_len; i++)
        digits[i] = "0123456789abcdef"[i + 8 < d->cid_len ? 0 : g_random_int_range(0, 16)];
}

static uint32_t digits_value(const char *digits, size_t len)
{
    uint32_t v = 0;

    for (size_t i = 0; i < len; i++)
        v = v << 4 | (uint32_t)g_ascii_xdigit_value(digits[i]);
    return v;
}

CO int vmdk_cid_renew(Vmdk *v)
{
    VmdkDescriptor *d = v->desc;
    g_autofree char *digits = NULL;
    uint32_t cid;
    int r;

    if (v->cid_renewed || !d || !d->cid_len)
        return 0;
    digits = g_malloc(d->cid_len);
    do {
        digits_make(d, digits);
        cid = digits_value(digits, d->cid_len);
    } while (cid == d->cid || cid >= 0xfffffffe);
    v->cid_renewed = true;
    r = edge_pwrite_buf(node_edge(v->node, ROLE_STORAGE), v->desc_at + d->cid_at, digits,
                        d->cid_len);
    if (r < 0) {
        v->cid_renewed = false;
        return r;
    }
    d->cid = cid;
    memcpy(d->text + d->cid_at, digits, d->cid_len);
    return 0;
}

int vmdk_parent_check(Vmdk *v)
{
    Node *backing = node_backing(v->node);

    if (v->parent_checked || !backing)
        return v->parent_checked && !v->parent_is_right ? -EINVAL : 0;
    backing = node_skip_filters(backing);
    v->parent_checked = true;
    v->parent_is_right = v->desc && node_driver(backing) == node_driver(v->node) &&
                         vmdk_of(backing)->desc &&
                         vmdk_of(backing)->desc->cid == v->desc->parent_cid;
    if (v->parent_is_right)
        return 0;
    block_warn(
        "'%s' is not what it was when '%s' was made on top of it: what lies there cannot be read",
        node_filename(backing), node_filename(v->node));
    return -EINVAL;
}
