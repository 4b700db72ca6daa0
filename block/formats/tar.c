/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One file in an archive of tar (and so the disk of an OVA), read only.
 *
 *     0      header, 512 bytes: name, size, check, type, ...
 *     512    content, up to a multiple of 512
 *            the next header
 *
 * Formats: ustar and pax (POSIX.1-2001), the older one of GNU with its long names; sparse files as
 * GNU tar writes them in both. The archive is walked once, when it is opened. See docs/spec/tar.md.
 */
#include "block/container.h"
#include "util/endian.h"
#include "util/printable.h"
#include "util/ranges.h"
#include <inttypes.h>
#include <string.h>

enum {
    BLOCK = 512,
    TEXT_MAX = 1 << 20,     /* bytes of a long name or of attributes */
    PIECES_MAX = 1 << 20,   /* of a sparse file */
    NAMES_SHOWN = 8,
};

/* Bytes of the file that lie in the archive; between two of them are zeroes. */
typedef struct {
    uint64_t off, len;      /* in the file; for ranges_find */
    uint64_t at;            /* in the archive */
} Piece;

typedef struct {
    char *name;
    uint64_t size;          /* bytes of the file */
    uint64_t at, stored;    /* bytes of the archive: where the content lies */
    uint64_t header;        /* where the header lies */
    bool is_old_sparse, is_sparse;
} Member;

typedef struct {
    GArray *pieces;         /* of Piece, by offset */
    char *member;           /* its name */
} Tar;

/* ---- headers -------------------------------------------------------------------------------- */

/* A number of @len bytes: octal digits, or binary if the first bit says so. False: neither. */
static bool number_read(const uint8_t *p, size_t len, uint64_t *v)
{
    size_t i = 0;

    *v = 0;
    if (p[0] == 0x80) {
        for (i = 1; i < len; i++) {
            if (*v >> 55)
                return false;
            *v = *v << 8 | p[i];
        }
        return true;
    }
    while (i < len && p[i] == ' ')
        i++;
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) {
        if (*v >> 60)
            return false;
        *v = *v << 3 | (p[i] - '0');
    }
    return i == len || !p[i] || p[i] == ' ';
}

/* The sum of all bytes, those of the sum itself taken for spaces. */
static bool header_is_right(const uint8_t *h)
{
    uint64_t want, sum = 0;

    for (int i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    return number_read(h + 148, 8, &want) && want == sum;
}

static char *header_name(const uint8_t *h)
{
    g_autofree char *name = g_strndup((const char *)h, 100);
    g_autofree char *prefix = g_strndup((const char *)h + 345, 155);
    bool has_prefix = !memcmp(h + 257, "ustar", 6) && *prefix;

    return has_prefix ? g_strconcat(prefix, "/", name, NULL) : g_steal_pointer(&name);
}

/* What precedes a member and changes what its header says. */
typedef struct {
    char *name;
    bool is_final_name;     /* @name is the real one of a sparse file */
    bool has_size, has_real_size, is_sparse;
    uint64_t size, real_size;
    bool is_unknown_sparse;
} Attributes;

static void attributes_clear(Attributes *a)
{
    g_free(a->name);
    *a = (Attributes){ 0 };
}

static void attribute_set(Attributes *a, const char *key, const char *value)
{
    bool is_final = !strcmp(key, "GNU.sparse.name");

    if (is_final || (!strcmp(key, "path") && !a->is_final_name)) {
        g_free(a->name);
        a->name = g_strdup(value);
        a->is_final_name = is_final;
    } else if (!strcmp(key, "size")) {
        a->has_size = g_ascii_string_to_unsigned(value, 10, 0, INT64_MAX, &a->size, NULL);
    } else if (!strcmp(key, "GNU.sparse.realsize")) {
        a->has_real_size = g_ascii_string_to_unsigned(value, 10, 0, INT64_MAX, &a->real_size, NULL);
    } else if (!strcmp(key, "GNU.sparse.major")) {
        a->is_sparse = !strcmp(value, "1");
        a->is_unknown_sparse |= !a->is_sparse;
    } else if (!strcmp(key, "GNU.sparse.map") || !strcmp(key, "GNU.sparse.numblocks")) {
        a->is_unknown_sparse = true;
    }
}

/* Records "LENGTH KEY=VALUE\n" in the @len bytes at @text, which ends in a zero byte. */
static bool attributes_parse(Attributes *a, char *text, size_t len, GError **err)
{
    while (len && *text) {
        char *space = memchr(text, ' ', MIN(len, 20)), *equals;
        uint64_t record = g_ascii_strtoull(text, NULL, 10);

        if (!space || record > len || text + record < space + 2 || text[record - 1] != '\n')
            return err_set(err, EINVAL, "The attributes of a member are damaged");
        text[record - 1] = '\0';
        equals = strchr(space + 1, '=');
        if (!equals)
            return err_set(err, EINVAL, "The attributes of a member are damaged");
        *equals = '\0';
        attribute_set(a, space + 1, equals + 1);
        text += record;
        len -= record;
    }
    return true;
}

/* ---- walking -------------------------------------------------------------------------------- */

typedef struct {
    Edge *file;
    const char *wanted;     /* NULL: the only one, or the only disk */
    Attributes next;
    Member found;           /* the last one that is meant */
    unsigned files, disks;  /* seen */
    GString *names;         /* of the first ones */
} Walk;

static void member_clear(Member *m)
{
    g_free(m->name);
    *m = (Member){ 0 };
}

/* @len bytes at @at with a zero byte after them; NULL with @err. */
static CO char *text_read(Edge *file, uint64_t at, uint64_t len, GError **err)
{
    g_autofree char *text = len <= TEXT_MAX ? g_malloc(len + 1) : NULL;
    int r = text ? edge_pread_buf(file, at, text, len) : -EFBIG;

    if (r < 0) {
        err_set_errno(err, r, "Could not read the name or attributes, %" PRIu64 " bytes, at byte %"
                      PRIu64, len, at);
        return NULL;
    }
    text[len] = '\0';
    return g_steal_pointer(&text);
}

static const char *name_plain(const char *name)
{
    while (g_str_has_prefix(name, "./"))
        name += 2;
    return name;
}

static bool name_is_disk(const char *name)
{
    static const char *const suffixes[] = {
        ".vmdk", ".vhd", ".vhdx", ".vdi", ".qcow2", ".qcow", ".qed", ".img", ".raw", ".hdd", ".iso",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++)
        if (g_str_has_suffix(name, suffixes[i]))
            return true;
    return false;
}

static void walk_show(Walk *w, const char *name)
{
    g_autofree char *shown = printable(name);

    if (w->files <= NAMES_SHOWN)
        g_string_append_printf(w->names, "%s'%s'", w->names->len ? ", " : "", shown);
    else if (w->files == NAMES_SHOWN + 1)
        g_string_append(w->names, ", ...");
}

/* Takes @m, a regular file, if it is what is looked for. Owns @m's name then. */
static void walk_take(Walk *w, Member *m)
{
    bool is_disk = name_is_disk(m->name), is_it;

    w->files++;
    walk_show(w, m->name);
    if (w->wanted)
        is_it = !strcmp(name_plain(m->name), name_plain(w->wanted));
    else
        is_it = is_disk ? !w->disks : !w->disks && w->files == 1;
    w->disks += is_disk;
    if (is_it) {
        member_clear(&w->found);
        w->found = *m;
        m->name = NULL;
    }
}

/* A regular file whose header @h is at @at. */
static bool walk_file(Walk *w, const uint8_t *h, uint64_t at, uint64_t size, GError **err)
{
    Attributes *a = &w->next;
    Member m = { .name = a->name ? g_steal_pointer(&a->name) : header_name(h), .header = at,
                 .at = at + BLOCK, .size = size, .stored = size, .is_sparse = a->is_sparse,
                 .is_old_sparse = h[156] == 'S' };
    bool ok = true;

    if (m.is_old_sparse)
        ok = number_read(h + 483, 12, &m.size) && m.size <= INT64_MAX;
    else if (m.is_sparse)
        ok = a->has_real_size;
    if (m.is_sparse && a->has_real_size)
        m.size = a->real_size;
    if (!ok || a->is_unknown_sparse)
        err_set(err, ENOTSUP, "Member '%s' is sparse in a way that cannot be read", m.name);
    else if (!g_str_has_suffix(m.name, "/"))
        walk_take(w, &m);
    member_clear(&m);
    return ok && !w->next.is_unknown_sparse;
}

/* The member with header @h at @at; *@len: its bytes after the header. */
static CO bool walk_member(Walk *w, const uint8_t *h, uint64_t at, uint64_t *len, GError **err)
{
    char type = (char)h[156];
    bool is_file = !type || type == '0' || type == '7' || type == 'S';
    g_autofree char *text = NULL;

    if (!number_read(h + 124, 12, len))
        return err_set(err, EINVAL, "The header at byte %" PRIu64 " has no size", at);
    if (w->next.has_size && is_file)
        *len = w->next.size;
    if (type >= '1' && type <= '6')
        *len = 0;
    if (*len > INT64_MAX)
        return err_set(err, EINVAL, "The header at byte %" PRIu64 " has an impossible size", at);
    if (type == 'L' || type == 'x') {
        text = text_read(w->file, at + BLOCK, *len, err);
        if (text && type == 'x')
            return attributes_parse(&w->next, text, *len, err) ||
                   err_prefix(err, "Header at byte %" PRIu64 ": ", at);
        g_free(w->next.name);
        w->next.name = g_steal_pointer(&text);
        return w->next.name;
    }
    if (type == 'K' || type == 'g')
        return true;
    if (is_file && !walk_file(w, h, at, *len, err))
        return false;
    attributes_clear(&w->next);
    return true;
}

/* After an old sparse header come more with its map, which do not count in its size. */
static CO bool old_sparse_pass(Edge *file, const uint8_t *h, uint64_t *at, GError **err)
{
    uint8_t more[BLOCK];
    bool has_more = h[156] == 'S' && h[482];

    while (has_more) {
        int r = *at < edge_size(file) ? edge_pread_buf(file, *at, more, BLOCK) : -EIO;

        if (r < 0)
            return err_set_errno(err, r, "Could not read the map of a sparse member at byte %"
                                 PRIu64, *at);
        *at += BLOCK;
        has_more = more[504];
    }
    return true;
}

static CO bool walk(Walk *w, GError **err)
{
    uint8_t h[BLOCK];
    uint64_t at = 0, len;

    while (at < edge_size(w->file)) {
        int r = edge_pread_buf(w->file, at, h, BLOCK);
        uint64_t next = at + BLOCK;

        if (r < 0)
            return err_set_errno(err, r, "Could not read the header at byte %" PRIu64, at);
        if (buffer_is_zero(h, BLOCK))
            break;
        if (!header_is_right(h))
            return err_set(err, EINVAL, "There is no header of tar at byte %" PRIu64, at);
        if (!walk_member(w, h, at, &len, err) || !old_sparse_pass(w->file, h, &next, err))
            return false;
        if (next > edge_size(w->file) || len > edge_size(w->file) - next)
            return err_set(err, EINVAL, "The archive is cut off: it ends before the %" PRIu64
                           " bytes of the member at byte %" PRIu64, len, at);
        if (w->found.header == at && w->found.name)
            w->found.at = next;
        at = next + round_up(len, BLOCK);
    }
    return true;
}

/* The member that is meant, which is found once the archive was walked. */
static bool walk_result(const Walk *w, GError **err)
{
    if (w->wanted && !w->found.name)
        return err_set(err, ENOENT, "The archive has no file '%s'; it has %s", w->wanted,
                       w->files ? w->names->str : "none");
    if (w->found.name && (w->wanted || w->files == 1 || w->disks == 1))
        return true;
    if (!w->files)
        return err_set(err, ENOENT, "The archive has no file");
    err_set(err, EINVAL, "The archive has %u files, of which %u look like disks: %s", w->files,
            w->disks, w->names->str);
    err_hint(err, "Name one of them: tar:FILE!MEMBER.");
    return false;
}

/* ---- maps of sparse files ------------------------------------------------------------------- */

/* Adds @len bytes at @off of the file, the next ones in the archive. */
static bool piece_add(GArray *pieces, const Member *m, uint64_t off, uint64_t len, uint64_t *used)
{
    const Piece *last = pieces->len ? &g_array_index(pieces, Piece, pieces->len - 1) : NULL;
    Piece p = { .off = off, .len = len, .at = m->at + *used };

    if (pieces->len >= PIECES_MAX || off > m->size || len > m->size - off ||
        len > m->stored - *used || (last && off < last->off + last->len))
        return false;
    *used += len;
    if (len)
        g_array_append_val(pieces, p);
    return true;
}

/* Entries of 24 bytes in a header: offset and length. *@done at one without. */
static bool old_entries_add(GArray *pieces, const Member *m, const uint8_t *p, int count,
                            bool *done, uint64_t *used)
{
    for (int i = 0; i < count && !*done; i++, p += 24) {
        uint64_t off, len;

        *done = !p[0] && !p[12];
        if (*done)
            break;
        if (!number_read(p, 12, &off) || !number_read(p + 12, 12, &len) ||
            !piece_add(pieces, m, off, len, used))
            return false;
    }
    return true;
}

static CO bool old_sparse_read(GArray *pieces, const Member *m, Edge *file)
{
    uint8_t h[BLOCK];
    uint64_t used = 0, at = m->header;
    bool done = false, more;

    if (edge_pread_buf(file, at, h, BLOCK) < 0 ||
        !old_entries_add(pieces, m, h + 386, 4, &done, &used))
        return false;
    for (more = h[482]; more; more = h[504]) {
        at += BLOCK;
        if (edge_pread_buf(file, at, h, BLOCK) < 0 ||
            !old_entries_add(pieces, m, h, 21, &done, &used))
            return false;
    }
    return true;
}

/* A line with a decimal number at *@at of the archive, before @end; moves on. */
static CO bool line_read(Edge *file, uint64_t *at, uint64_t end, uint8_t *buf, uint64_t *buf_at,
                         uint64_t *v)
{
    *v = 0;
    for (int digits = 0; *at < end; digits++) {
        uint64_t block = *at / BLOCK * BLOCK;
        uint8_t c;

        if (*buf_at != block && edge_pread_buf(file, block, buf, BLOCK) < 0)
            return false;
        *buf_at = block;
        c = buf[(*at)++ % BLOCK];
        if (c == '\n')
            return digits > 0;
        if (c < '0' || c > '9' || digits > 18)
            return false;
        *v = *v * 10 + (c - '0');
    }
    return false;
}

/* The map is at the start of the content: the number of pieces, then offset and length of each. */
static CO bool new_sparse_read(GArray *pieces, Member *m, Edge *file)
{
    uint64_t at = m->at, end = m->at + m->stored, buf_at = UINT64_MAX, count, used = 0;
    g_autoptr(GArray) entries = g_array_new(false, false, sizeof(Piece));
    uint8_t buf[BLOCK];

    if (!line_read(file, &at, end, buf, &buf_at, &count) || count > PIECES_MAX)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        Piece p = { 0 };

        if (!line_read(file, &at, end, buf, &buf_at, &p.off) ||
            !line_read(file, &at, end, buf, &buf_at, &p.len))
            return false;
        g_array_append_val(entries, p);
    }
    at = round_up(at, BLOCK);
    if (at > end)
        return false;
    m->stored = end - at;
    m->at = at;
    for (uint64_t i = 0; i < count; i++) {
        const Piece *p = &g_array_index(entries, Piece, i);

        if (!piece_add(pieces, m, p->off, p->len, &used))
            return false;
    }
    return true;
}

static CO bool pieces_read(GArray *pieces, Member *m, Edge *file, GError **err)
{
    uint64_t used = 0;
    bool ok = m->is_old_sparse ? old_sparse_read(pieces, m, file)
              : m->is_sparse ? new_sparse_read(pieces, m, file)
                             : piece_add(pieces, m, 0, m->size, &used);

    return ok || err_set(err, EINVAL, "The map of the sparse member '%s' is damaged", m->name);
}

/* ---- the driver ----------------------------------------------------------------------------- */

static int tar_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= BLOCK && !memcmp(head + 257, "ustar", 5) && header_is_right(head) ? 100 : 0;
}

static bool tar_parse_filename(const char *filename, json_t *o, GError **err)
{
    const char *mark = strrchr(filename, '!');
    g_autofree char *file = mark ? g_strndup(filename, mark - filename) : g_strdup(filename);

    if (mark && !mark[1])
        return err_set(err, EINVAL, "'%s' names no member after the '!'", filename);
    if (mark)
        json_put_str(o, "member", mark + 1);
    return container_parse_filename(file, o, err);
}

static char *tar_plain_filename(Node *n)
{
    const char *file = node_filename(edge_node(node_edge(n, ROLE_STORAGE)));
    const Tar *t = node_state(n);

    if (g_str_has_prefix(file, "json:") || strchr(t->member, '!'))
        return NULL;
    return g_strdup_printf("tar:%s!%s", file, t->member);
}

static CO bool tar_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Tar *t = node_state(n);
    Edge *file = container_open_file(n, o, err);
    Walk w = { .file = file, .wanted = json_get_str(o, "member", NULL) };
    bool ok;

    if (!file)
        return false;
    w.names = g_string_new(NULL);
    t->pieces = g_array_new(false, false, sizeof(Piece));
    ok = walk(&w, err) && walk_result(&w, err) && pieces_read(t->pieces, &w.found, file, err);
    if (ok) {
        node_set_size(n, w.found.size);
        t->member = g_steal_pointer(&w.found.name);
    } else {
        g_array_unref(t->pieces);
    }
    attributes_clear(&w.next);
    member_clear(&w.found);
    g_string_free(w.names, true);
    return ok;
}

static CO void tar_close(Node *n)
{
    Tar *t = node_state(n);

    g_array_unref(t->pieces);
    g_free(t->member);
}

/* What is at @off: bytes of a piece, or a gap (NULL); *@len: as far as that goes, at most. */
static const Piece *piece_at(const Tar *t, uint64_t off, uint64_t *len)
{
    const Piece *p = ranges_find(t->pieces, off);

    if (!p)
        return NULL;
    if (off < p->off) {
        *len = MIN(*len, p->off - off);
        return NULL;
    }
    *len = MIN(*len, p->off + p->len - off);
    return p;
}

static CO int tar_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = 0;

    while (buf.len && r == 0) {
        uint64_t len = buf.len;
        const Piece *p = piece_at(node_state(n), off, &len);
        Span part = span_slice(buf, 0, len);

        if (p)
            r = edge_pread(node_edge(n, ROLE_STORAGE), p->at + (off - p->off), part, 0);
        else
            span_zero(part);
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

static CO int tar_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    const Piece *p = piece_at(node_state(n), off, &len);

    *e = (Extent){ .len = len, .flags = p ? EXTENT_RECURSE : EXTENT_ZERO | EXTENT_ALLOCATED };
    if (p) {
        e->host = edge_node(node_edge(n, ROLE_STORAGE));
        e->host_off = p->at + (off - p->off);
    }
    return 0;
}

static const char *const tar_strong_options[] = { "member", NULL };

const BlockDriver block_tar = {
    .name = "tar",
    .kind = BLK_FORMAT,
    .prefix = "tar",
    .is_container = true,
    .state_size = sizeof(Tar),
    .strong_options = tar_strong_options,
    .probe = tar_probe,
    .parse_filename = tar_parse_filename,
    .plain_filename = tar_plain_filename,
    .open = tar_open,
    .close = tar_close,
    .pread = tar_pread,
    .extent = tar_extent,
};
