/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The entries of a FAT folder. See docs/spec/vvfat.md for the rules of short names. */
#include "block/protocols/vvfat/name.h"
#include "block/protocols/vvfat/layout.h"
#include "util/endian.h"
#include <string.h>
#include <time.h>

enum {
    BASE_LEN = 8, EXTENSION_LEN = 3, SHORT_LEN = BASE_LEN + EXTENSION_LEN,
    LONG_UNITS = 13,             /* UTF-16 units of a long name in one entry */
    LONG_LAST = 0x40,
    LONG_ATTRIBUTES = FAT_READ_ONLY | FAT_HIDDEN | FAT_SYSTEM | FAT_VOLUME,
    FIRST_YEAR = 1980, LAST_YEAR = 2107,
};

struct FatNames {
    GHashTable *taken;   /* short names */
    GHashTable *next;    /* short name before it is numbered: the first number that may be free */
};

FatNames *fat_names_new(void)
{
    FatNames *n = g_new0(FatNames, 1);

    n->taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    n->next = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return n;
}

void fat_names_free(FatNames *n)
{
    if (!n)
        return;
    g_hash_table_unref(n->taken);
    g_hash_table_unref(n->next);
    g_free(n);
}

/* ---- short names ----------------------------------------------------------------------------- */

static bool is_short_char(char c)
{
    return g_ascii_isalnum(c) || (c && strchr("$%'-_@~`!(){}^#&", c));
}

/*
 * Copies the characters of [@from, @end) that short names can have to @to, at most @max, in
 * capitals. True if that was all of them.
 */
static bool take_short(char *to, unsigned max, const char *from, const char *end)
{
    bool all = true;

    for (unsigned used = 0; from < end; from++)
        if (used < max && is_short_char(*from))
            to[used++] = g_ascii_toupper(*from);
        else
            all = false;
    return all;
}

/* What is before the first dot, and what is after the last one. True: that says all of @name. */
static bool shorten(const char *name, char *out)
{
    const char *start = name, *first, *last;
    bool all;

    while (*start && !is_short_char(*start))
        start++;
    first = strchr(start, '.');
    last = strrchr(start, '.');
    all = start == name && first == last;
    memset(out, ' ', SHORT_LEN);
    out[SHORT_LEN] = 0;
    all &= take_short(out, BASE_LEN, start, first ? first : start + strlen(start));
    if (last)
        all &= take_short(out + BASE_LEN, EXTENSION_LEN, last + 1, last + strlen(last));
    return all;
}

static void number_name(const char *plain, unsigned number, char *out)
{
    g_autofree char *tail = g_strdup_printf("~%u", number);
    unsigned base = BASE_LEN;

    while (base && plain[base - 1] == ' ')
        base--;
    memcpy(out, plain, SHORT_LEN + 1);
    memcpy(out + MIN(base, BASE_LEN - strlen(tail)), tail, strlen(tail));
}

static void short_name(FatNames *n, const char *name, char *out)
{
    char plain[SHORT_LEN + 1];
    bool all = shorten(name, plain);
    unsigned number;

    memcpy(out, plain, sizeof(plain));
    if (!all || g_hash_table_contains(n->taken, out)) {
        number = GPOINTER_TO_UINT(g_hash_table_lookup(n->next, plain));
        do
            number_name(plain, ++number, out);
        while (g_hash_table_contains(n->taken, out));
        g_hash_table_insert(n->next, g_strdup(plain), GUINT_TO_POINTER(number));
    }
    g_hash_table_add(n->taken, g_strdup(out));
}

/* ---- entries --------------------------------------------------------------------------------- */

/* "ChkSum" of the specification: of a short name, for the entries of its long name. */
static uint8_t short_checksum(const char *name)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < SHORT_LEN; i++)
        sum = (uint8_t)(sum << 7 | sum >> 1) + (uint8_t)name[i];
    return sum;
}

/* Appends the entries of a long name, the last part first. False: @name is not UTF-8. */
static bool add_long(GByteArray *entries, const char *name, uint8_t checksum)
{
    /* Offsets in the entry of the units that it holds. */
    static const uint8_t at[LONG_UNITS] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    glong units;
    g_autofree gunichar2 *text = g_utf8_to_utf16(name, -1, NULL, &units, NULL);

    if (!text)
        return false;
    for (glong part = (units - 1) / LONG_UNITS; part >= 0; part--) {
        bool last = (part + 1) * LONG_UNITS >= units;
        uint8_t e[FAT_ENTRY_LEN] = { [0] = (uint8_t)(part + 1) | (last ? LONG_LAST : 0),
                                     [11] = LONG_ATTRIBUTES, [13] = checksum };

        for (glong i = 0; i < LONG_UNITS; i++) {
            glong u = part * LONG_UNITS + i;

            le16_put(e + at[i], u < units ? text[u] : u == units ? 0 : UINT16_MAX);
        }
        g_byte_array_append(entries, e, sizeof(e));
    }
    return true;
}

/* A date and a time of two seconds, in this host's time zone; the nearest there is. */
static void put_time(uint8_t *time, uint8_t *date, time_t t)
{
    struct tm tm;
    unsigned d, clock;

    if (!localtime_r(&t, &tm))   /* the year is more than an int can be */
        tm = (struct tm){ .tm_year = t < 0 ? 0 : LAST_YEAR };
    if (tm.tm_year > LAST_YEAR - 1900)
        tm = (struct tm){ .tm_year = LAST_YEAR - 1900, .tm_mon = 11, .tm_mday = 31, .tm_hour = 23,
                          .tm_min = 59, .tm_sec = 59 };
    if (tm.tm_year < FIRST_YEAR - 1900)
        tm = (struct tm){ .tm_year = FIRST_YEAR - 1900, .tm_mday = 1 };
    d = (tm.tm_year - (FIRST_YEAR - 1900)) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday;
    clock = tm.tm_hour << 11 | tm.tm_min << 5 | MIN(tm.tm_sec, 59) / 2;
    le16_put(date, d);
    if (time)
        le16_put(time, clock);
}

void fat_entry_add_plain(GByteArray *entries, const char *name, unsigned attributes,
                         const struct stat *st)
{
    uint8_t e[FAT_ENTRY_LEN] = { [11] = attributes };

    memcpy(e, name, SHORT_LEN);
    if (st) {
        put_time(e + 14, e + 16, st->st_ctime);
        put_time(NULL, e + 18, st->st_atime);
        put_time(e + 22, e + 24, st->st_mtime);
    }
    g_byte_array_append(entries, e, sizeof(e));
}

bool fat_entry_add(GByteArray *entries, FatNames *names, const char *name, const struct stat *st,
                   uint32_t *at)
{
    char shown[SHORT_LEN + 1];
    bool has_long;

    short_name(names, name, shown);
    has_long = add_long(entries, name, short_checksum(shown));
    *at = entries->len;
    fat_entry_add_plain(entries, shown, S_ISDIR(st->st_mode) ? FAT_FOLDER : FAT_ARCHIVE, st);
    return has_long;
}

void fat_entry_set_content(uint8_t *entry, uint32_t cluster, uint32_t size)
{
    le16_put(entry + 20, cluster >> 16);
    le16_put(entry + 26, (uint16_t)cluster);
    le32_put(entry + 28, size);
}
