/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Differencing images: which image is the parent, and which sectors are the image's own. */
#include "block/formats/vpc/vpc.h"
#include "block/formats/mapped.h"
#include "block/formats/parent.h"
#include <string.h>
#include <sys/stat.h>

/* Sets *@name to what @l says, if that is a relative path. */
static CO bool locator_read(Node *n, const VpcLocator *l, char **name, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    uint64_t at = be64_get(l->at), have = edge_size(file);
    uint32_t len = be32_get(l->len);
    g_autofree uint8_t *path = NULL;
    int r;

    if (memcmp(l->kind, "W2ru", sizeof(l->kind)) || !len)
        return true;
    if (len > PARENT_NAME_MAX || at > have || len > have - at)
        return err_set(err, EINVAL, "The name of the parent is not inside the file");
    path = g_malloc(len);
    r = edge_pread_buf(file, at, path, len);
    if (r < 0)
        return err_set_errno(err, r, "Could not read the name of the parent");
    *name = parent_name(path, len, false);
    return true;
}

CO bool vpc_parent_load(Node *n, const VpcHeader *h, GError **err)
{
    g_autofree char *name = NULL;
    Vpc *s = node_state(n);

    memcpy(s->parent_uuid, h->parent_uuid, sizeof(s->parent_uuid));
    s->parent_time = be32_get(h->parent_time);
    for (size_t i = 0; i < G_N_ELEMENTS(h->locators) && !name; i++)
        if (!locator_read(n, &h->locators[i], &name, err))
            return false;
    if (!name)
        name = parent_name(h->parent_name, sizeof(h->parent_name), true);
    if (!name)
        return err_set(err, EINVAL, "The differencing image does not name its parent");
    node_set_backing_stored(n, name, "vpc");
    return true;
}

/*
 * Writing to a parent changes the time of its file, not its identity. But copying it, which does no
 * harm, changes that time too: hence only a warning.
 */
static void time_check(const Node *n, const Node *backing)
{
    const Vpc *s = node_state(n);
    struct stat st;

    if (s->parent_time && !filename_has_protocol(node_filename(backing)) &&
        stat(node_filename(backing), &st) == 0 && st.st_mtime != (time_t)s->parent_time + VPC_EPOCH)
        block_warn("'%s' was copied or written to since '%s' was made on top of it: in the latter "
                   "case what is read is wrong", node_filename(backing), node_filename(n));
}

CO bool vpc_backing_check(Node *n, Node *backing, GError **err)
{
    const Vpc *s = node_state(n), *below = node_state(backing);
    g_autofree char *wanted = uuid_text(s->parent_uuid), *found = NULL;

    if (s->kind != VPC_DIFFERENCING)
        return err_set(err, EINVAL, "'%s' is no differencing image: it has no backing file",
                       node_filename(n));
    if (node_driver(backing) != node_driver(n))
        return parent_mismatch(n, backing, wanted, "missing (it is no VHD image)", err);
    found = uuid_text(below->footer.uuid);
    if (strcmp(wanted, found))
        return parent_mismatch(n, backing, wanted, found, err);
    time_check(n, backing);
    return true;
}

CO int vpc_sectors_find(Node *n, uint32_t i, uint64_t at, uint64_t within, uint64_t *len,
                        bool *here)
{
    Vpc *s = node_state(n);
    uint64_t first = within / VPC_SECTOR, end = div_round_up(within + *len, VPC_SECTOR);

    if (!s->sectors || s->sectors_of != i) {
        g_autofree uint8_t *bits = g_try_malloc(s->bitmap);
        int r = bits ? edge_pread_buf(node_edge(n, ROLE_STORAGE), at, bits, s->bitmap) : -ENOMEM;

        if (r < 0)
            return r;
        g_free(s->sectors);
        s->sectors = g_steal_pointer(&bits);
        s->sectors_of = i;
    }
    end = first + parent_sectors(s->sectors, first, end, true, here);
    *len = MIN(end * VPC_SECTOR - within, *len);
    return 0;
}
