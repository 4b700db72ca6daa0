/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Differencing images of Microsoft's formats, see the header. */
#include "block/formats/parent.h"
#include <errno.h>
#include <string.h>

static bool is_absolute(const char *path)
{
    return path[0] == '/' || (g_ascii_isalpha(path[0]) && path[1] == ':');
}

static char *beside_image(const char *path)
{
    if (is_absolute(path))
        path = strrchr(path, '/') ? strrchr(path, '/') + 1 : path + 2;
    while (g_str_has_prefix(path, "./"))
        path += 2;
    if (!*path)
        return NULL;
    /* It names a file even if it looks like a protocol: "./" says so. */
    return g_strdup_printf("%s%s", filename_has_protocol(path) ? "./" : "", path);
}

char *parent_name(const uint8_t *utf16, size_t len, bool big_endian)
{
    g_autofree gunichar2 *units = g_new(gunichar2, len / 2 + 1);
    g_autofree char *path = NULL;
    size_t n;

    for (n = 0; n < len / 2; n++) {
        units[n] = (gunichar2)(utf16[2 * n + !big_endian] << 8 | utf16[2 * n + big_endian]);
        if (!units[n])
            break;
    }
    path = g_utf16_to_utf8(units, (glong)n, NULL, NULL, NULL);
    return path ? beside_image(g_strdelimit(path, "\\", '/')) : NULL;
}

uint64_t parent_sectors(const uint8_t *bits, uint64_t from, uint64_t end, bool high_bit_first,
                        bool *here)
{
    unsigned flip = high_bit_first ? 7 : 0;
    uint64_t i = from;

    *here = bits[i / 8] >> (i % 8 ^ flip) & 1;
    while (i < end && (bits[i / 8] >> (i % 8 ^ flip) & 1) == *here)
        i += i % 8 == 0 && end - i >= 8 && bits[i / 8] == (*here ? 0xff : 0) ? 8 : 1;
    return i - from;
}

bool parent_mismatch(const Node *n, const Node *backing, const char *wanted, const char *found,
                     GError **err)
{
    err_set(err, EINVAL, "'%s' is not the parent of '%s': its identity is %s, not %s",
            node_filename(backing), node_filename(n), found, wanted);
    return err_hint(err, "The parent was replaced, or another file has its name now.");
}
