/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What drivers of containers share, see the header. */
#include "block/container.h"
#include "util/err.h"
#include <errno.h>
#include <string.h>

bool container_parse_filename(const char *filename, json_t *options, GError **err)
{
    const char *file = strchr(filename, ':') + 1;

    if (!*file)
        return err_set(err, EINVAL, "'%s' names no file after the colon", filename);
    return node_describe_child(options, "file", file, err);
}

char *container_plain_filename(Node *n)
{
    const char *file = node_filename(edge_node(node_edge(n, ROLE_STORAGE)));

    if (!node_is_plain(n) || g_str_has_prefix(file, "json:"))
        return NULL;
    return g_strdup_printf("%s:%s", node_driver(n)->name, file);
}

CO Edge *container_open_file(Node *n, const json_t *options, GError **err)
{
    if (!node_fall_back_read_only(n, "Compressed files and archives can only be read", err))
        return NULL;
    return node_open_child(n, "file", NULL, options, ROLE_STORAGE, false, err);
}
