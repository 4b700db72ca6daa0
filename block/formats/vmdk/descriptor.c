/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The descriptor:
 *
 *     # Disk DescriptorFile
 *     version=1
 *     CID=1234abcd
 *     parentCID=ffffffff
 *     createType="twoGbMaxExtentFlat"
 *     RW 4194304 FLAT "disk-f001.vmdk" 0
 *     ddb.adapterType = "ide"
 *
 * Lines that begin with nothing known say nothing about the content.
 */
#include "block/formats/vmdk/vmdk.h"
#include <inttypes.h>
#include <string.h>

/* ---- probing -------------------------------------------------------------------------------- */

static const char *skip_line(const char *p, const char *end)
{
    const char *newline = memchr(p, '\n', (size_t)(end - p));

    return newline ? newline + 1 : end;
}

/* Comments and lines of blanks, then the line of the version. */
int vmdk_descriptor_probe(const char *head, size_t len)
{
    static const char *const versions[] = {
        "version=1\n",   "version=2\n",   "version=3\n",
        "version=1\r\n", "version=2\r\n", "version=3\r\n",
    };
    const char *p = head, *end = head + len;

    while (p < end && (*p == '#' || *p == ' ')) {
        if (*p == ' ') {
            while (p < end && *p == ' ')
                p++;
            if (p < end && *p == '\r')
                p++;
            if (p == end || *p != '\n')
                return 0;
        }
        p = skip_line(p, end);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++)
        if ((size_t)(end - p) >= strlen(versions[i]) &&
            !memcmp(p, versions[i], strlen(versions[i])))
            return 100;
    return 0;
}

/* ---- extents -------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    VmdkKind kind;
    enum { NEEDED, OPTIONAL, NONE } offset;
} types[] = {
    { "FLAT", VMDK_FLAT, NEEDED },
    { "VMFS", VMDK_FLAT, OPTIONAL },
    { "SPARSE", VMDK_HOSTED, NONE },
    { "VMFSSPARSE", VMDK_COWD, NONE },
    { "SESPARSE", VMDK_SE, NONE },
    { "ZERO", VMDK_ZERO, NONE },
};

static void skip_blanks(const char **p)
{
    while (**p == ' ' || **p == '\t')
        ++*p;
}

/* The next word of the line at *@p; the caller frees. */
static char *take_word(const char **p)
{
    const char *start;

    skip_blanks(p);
    start = *p;
    *p += strcspn(start, " \t\r");
    return g_strndup(start, *p - start);
}

/* The next word as a number of sectors, in bytes. */
static bool take_sectors(const char **p, uint64_t *bytes)
{
    g_autofree char *word = take_word(p);
    uint64_t sectors;

    return g_ascii_isdigit(*word) &&
           g_ascii_string_to_unsigned(word, 10, 0, UINT64_MAX, &sectors, NULL) &&
           size_mul(sectors, VMDK_SECTOR, bytes) && *bytes <= INT64_MAX;
}

/* The next word in quotes; NULL if there is none. */
static char *take_quoted(const char **p)
{
    const char *start, *end;

    skip_blanks(p);
    if (**p != '"')
        return NULL;
    start = *p + 1;
    end = strchr(start, '"');
    if (!end || end == start)
        return NULL;
    *p = end + 1;
    return g_strndup(start, end - start);
}

static void line_clear(void *arg)
{
    g_free(((VmdkLine *)arg)->name);
}

/* What follows "RW" in line @line; false if it makes no sense. */
static bool parse_extent(const char *p, VmdkLine *l)
{
    g_autofree char *word = NULL;
    size_t i = 0;

    if (!take_sectors(&p, &l->len))
        return false;
    word = take_word(&p);
    while (i < G_N_ELEMENTS(types) && strcmp(types[i].word, word))
        i++;
    if (i == G_N_ELEMENTS(types))
        return false;
    l->kind = types[i].kind;
    l->type = types[i].word;
    if (l->kind == VMDK_ZERO)
        return true;
    l->name = take_quoted(&p);
    if (!l->name)
        return false;
    skip_blanks(&p);
    if (types[i].offset == NONE || (types[i].offset == OPTIONAL && (!*p || *p == '\r')))
        return true;
    return take_sectors(&p, &l->offset);
}

static bool add_extent(VmdkDescriptor *d, const char *line, const char *rest, bool read_only,
                       GError **err)
{
    VmdkLine l = { .read_only = read_only };

    if (!parse_extent(rest, &l)) {
        g_free(l.name);
        return err_set(err, EINVAL, "The descriptor has an extent line that cannot be read: '%s'",
                       line);
    }
    g_array_append_val(d->lines, l);
    return true;
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* The last eight of the hexadecimal digits at @p are the number, as in the reference. */
static bool parse_cid(const char *p, uint32_t *cid, size_t *len)
{
    *len = strspn(p, "0123456789abcdefABCDEF");
    *cid = 0;
    for (size_t i = 0; i < *len; i++)
        *cid = *cid << 4 | (uint32_t)g_ascii_xdigit_value(p[i]);
    return *len;
}

static const char *after(const char *line, const char *prefix)
{
    return g_str_has_prefix(line, prefix) ? line + strlen(prefix) : NULL;
}

/* Keeps the quoted word at @p in *@to, unless there is one. */
static void keep_quoted(const char *p, char **to)
{
    if (!*to)
        *to = take_quoted(&p);
}

typedef struct {
    bool has_cid, has_parent;
} Seen;

/* @at: where @line is in the text. */
static bool parse_line(VmdkDescriptor *d, const char *line, size_t at, Seen *seen, GError **err)
{
    const char *p = line, *v;
    size_t len;

    skip_blanks(&p);
    if ((v = after(p, "RW ")))
        return add_extent(d, p, v, false, err);
    if ((v = after(p, "RDONLY ")))
        return add_extent(d, p, v, true, err);
    if (after(p, "NOACCESS "))
        return err_set(err, ENOTSUP, "The descriptor has an extent that must not be accessed: '%s'",
                       p);
    if ((v = after(p, "CID=")) && !seen->has_cid) {
        if (!parse_cid(v, &d->cid, &len))
            return err_set(err, EINVAL, "The CID in the descriptor is no hexadecimal number");
        d->cid_at = at + (v - line);
        d->cid_len = len;
        seen->has_cid = true;
    } else if ((v = after(p, "parentCID=")) && !seen->has_parent) {
        if (!parse_cid(v, &d->parent_cid, &len))
            return err_set(err, EINVAL, "The parentCID in the descriptor is no hexadecimal number");
        seen->has_parent = true;
    } else if ((v = after(p, "createType="))) {
        keep_quoted(v, &d->create_type);
    } else if ((v = after(p, "parentFileNameHint="))) {
        keep_quoted(v, &d->parent);
    }
    return true;
}

VmdkDescriptor *vmdk_descriptor_parse(const char *text, size_t len, GError **err)
{
    g_autoptr(VmdkDescriptor) d = g_new0(VmdkDescriptor, 1);
    Seen seen = { 0 };

    d->text = g_strndup(text, len);
    d->len = strlen(d->text);
    d->cid = d->parent_cid = (uint32_t)VMDK_NO_CID;
    d->lines = g_array_new(false, false, sizeof(VmdkLine));
    g_array_set_clear_func(d->lines, line_clear);
    for (const char *p = d->text, *end; *p; p = *end ? end + 1 : end) {
        g_autofree char *line = NULL;

        end = p + strcspn(p, "\n");
        line = g_strndup(p, end - p);
        if (!parse_line(d, line, p - d->text, &seen, err))
            return NULL;
    }
    if (!seen.has_parent) {
        err_set(err, EINVAL, "The descriptor has no parentCID");
        return NULL;
    }
    return g_steal_pointer(&d);
}

void vmdk_descriptor_free(VmdkDescriptor *d)
{
    if (!d)
        return;
    g_free(d->text);
    g_free(d->create_type);
    g_free(d->parent);
    if (d->lines)
        g_array_unref(d->lines);
    g_free(d);
}
