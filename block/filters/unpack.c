/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file taken out of all containers that it is packed in. Each is recognized by its first bytes
 * (disk.tar.gz: gzip, then tar, then the disk).
 *
 * This happens only when a user names the driver: a guest decides what its disk begins with, so
 * probing must not unpack anything.
 */
#include "block/container.h"
#include <string.h>

enum { DEPTH_MAX = 8 };

static bool unpack_parse_filename(const char *filename, json_t *o, GError **err)
{
    const char *mark = strrchr(filename, '!');
    g_autofree char *file = mark ? g_strndup(filename, mark - filename) : g_strdup(filename);

    if (mark)
        json_put_str(o, "member", mark + 1);
    return container_parse_filename(file, o, err);
}

/* Opens what driver @d makes of node @below; @member: of an archive. */
static CO Handle *layer_open(const BlockDriver *d, Node *below, const char *member, OpenFlags flags,
                             GError **err)
{
    json_t *o = json_object();

    json_put_str(o, "driver", d->name);
    json_put_str(o, "file", node_shown_name(below));
    if (member)
        json_put_str(o, "member", member);
    return handle_open(NULL, o, flags, err);
}

/* The container that @h begins as; NULL in *@d: none. */
static CO bool layer_probe(Handle *h, const BlockDriver **d, GError **err)
{
    uint8_t head[PROBE_LEN] = { 0 };
    size_t len = MIN(handle_size(h), sizeof(head));
    int r = handle_pread(h, 0, span_of(head, len), 0);

    *d = r < 0 ? NULL : probe_container(head, len);
    return r >= 0 || err_set_errno(err, r, "Could not read the start of '%s'",
                                   node_filename(handle_node(h)));
}

/* The innermost file below @file, whose handle is replaced by that of what is in it. */
static CO bool unpack_all(Handle **file, const char *member, OpenFlags flags, GError **err)
{
    const BlockDriver *d;

    for (int depth = 0; depth < DEPTH_MAX; depth++) {
        Handle *inner;
        SizeLearned l;
        bool takes;

        if (!layer_probe(*file, &d, err))
            return false;
        if (!d)
            return !member || err_set(err, EINVAL, "'%s' is not an archive: it has no member '%s'",
                                      node_filename(handle_node(*file)), member);
        if (!handle_learn_size(*file, UINT64_MAX, &l, err))
            return false;
        takes = !strcmp(d->name, "tar");
        inner = layer_open(d, handle_node(*file), takes ? member : NULL, flags, err);
        if (!inner)
            return false;
        handle_close(*file);
        *file = inner;
        if (takes)
            member = NULL;
    }
    return err_set(err, EINVAL, "'%s' is packed more than %d times",
                   node_filename(handle_node(*file)), DEPTH_MAX);
}

static CO bool unpack_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    OpenFlags inner = flags & (OPEN_FORCE_SHARE | OPEN_UNTRUSTED | OPEN_DIRECT | OPEN_AIO_THREADS |
                               OPEN_AIO_NATIVE | OPEN_AIO_URING | OPEN_SIZE_LATER);
    json_t *given = json_get(o, "file");
    json_t *outermost = json_is_string(given)
                            ? json_pack("{s:s, s:O}", "driver", "raw", "file", given)
                            : json_deep_copy(given);
    g_autoptr(json_t) found = json_object();
    Handle *file;
    bool ok;

    file = handle_open_below(n, outermost, inner | OPEN_PROTOCOL, err);
    if (!file)
        return false;
    ok = node_fall_back_read_only(n, "Compressed files and archives can only be read", err) &&
         unpack_all(&file, json_get_str(o, "member", NULL), inner, err);
    if (ok) {
        json_put_str(found, "file", node_shown_name(handle_node(file)));
        ok = node_open_child(n, "file", NULL, found, ROLE_FILTERED, false, err);
    }
    handle_close(file);
    if (ok)
        node_set_size(n, edge_size(node_edge(n, ROLE_FILTERED)));
    return ok;
}

/* That of what was found: it needs no search. */
static char *unpack_plain_filename(Node *n)
{
    const char *found = node_filename(edge_node(node_edge(n, ROLE_FILTERED)));

    return g_str_has_prefix(found, "json:") ? NULL : g_strdup(found);
}

const BlockDriver block_unpack = {
    .name = "unpack",
    .kind = BLK_FILTER,
    .prefix = "unpack",
    .parse_filename = unpack_parse_filename,
    .plain_filename = unpack_plain_filename,
    .open = unpack_open,
};
