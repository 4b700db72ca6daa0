/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Create options. */
#include "qemu-img/createopts.h"
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/tool.h"
#include "util/keyval.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- reading -------------------------------------------------------------------------------- */

/* True if one of the comma-separated parts of @text asks for help. */
static bool has_help_part(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);

    for (char **p = parts; *p; p++)
        if (tool_is_help(*p))
            return true;
    return false;
}

/* A list that starts or ends in a comma would change its meaning when joined to others. */
static bool is_list(const char *text)
{
    size_t len = strlen(text), commas = 0;

    while (commas < len && text[len - 1 - commas] == ',')
        commas++;
    return len && text[0] != ',' && !(commas % 2);
}

bool createopts_read(const GArray *list, json_t *opts, bool *help)
{
    guint n = list ? list->len : 0;

    for (guint i = 0; i < n; i++)
        if (!is_list(g_array_index(list, Given, i).value))
            return complain("'%s' is not a list of options NAME=VALUE",
                            g_array_index(list, Given, i).value);
    for (guint i = 0; i < n; i++)
        if (has_help_part(g_array_index(list, Given, i).value))
            *help = true;
    for (guint i = 0; i < n && !*help; i++) {
        g_autoptr(GError) err = NULL;

        if (!keyval_parse_flat(g_array_index(list, Given, i).value, NULL, opts, &err))
            return complain_err(err);
    }
    return true;
}

const BlockDriver *createopts_format(const char *fmt)
{
    const BlockDriver *d = tool_format("file format", fmt);

    if (d && !d->create_opts) {
        complain("Images of format '%s' cannot be created", fmt);
        return NULL;
    }
    return d;
}

const BlockDriver *createopts_protocol(const char *filename)
{
    g_autoptr(GError) err = NULL;
    const BlockDriver *d = driver_for_filename(filename, true, &err);

    if (!d)
        complain_err(err);
    else if (!d->create)
        complain("Protocol '%s' of '%s' cannot create files", d->name, filename);
    return d && d->create ? d : NULL;
}

/* ---- the backing file ----------------------------------------------------------------------- */

bool createopts_check_backing(const char *filename, const json_t *opts, GError **err)
{
    const char *data = json_get_str(opts, "data_file", NULL);
    g_autofree char *full = filename_combine(filename, json_get_str(opts, BACKING_FILE, ""), err);

    if (!full)
        return false;
    if (filename_is_same(full, filename))
        return err_set(err, EINVAL, "An image cannot be its own backing file");
    if (data && filename_is_same(full, data))
        return err_set(err, EINVAL, "'%s' cannot be both backing file and data file", full);
    return true;
}

CO bool createopts_open_backing(const char *filename, const json_t *opts, Handle **h, GError **err)
{
    const char *format = json_get_str(opts, BACKING_FMT, NULL);
    g_autofree char *full = filename_combine(filename, json_get_str(opts, BACKING_FILE, ""), err);

    if (!full)
        return false;
    *h = tool_open_err(full, format, false, OPEN_NO_IO | OPEN_FORCE_SHARE, err);
    return *h || err_prefix(err, "Backing file: ");
}

/* ---- tables --------------------------------------------------------------------------------- */

static const CreateOpt *find_opt(const CreateOpt *table, const char *name)
{
    for (; table && table->name; table++)
        if (!strcmp(table->name, name))
            return table;
    return NULL;
}

bool createopts_knows(const CreateOpt *table, const char *name)
{
    return find_opt(table, name);
}

/* The options of @a, then those of @b that @a has not. */
static GPtrArray *merged_table(const CreateOpt *a, const CreateOpt *b)
{
    GPtrArray *all = g_ptr_array_new();

    for (const CreateOpt *o = a; o && o->name; o++)
        g_ptr_array_add(all, (void *)o);
    for (const CreateOpt *o = b; o && o->name; o++)
        if (!find_opt(a, o->name))
            g_ptr_array_add(all, (void *)o);
    return all;
}

static int compare_opts(const void *a, const void *b)
{
    return strcmp((*(const CreateOpt *const *)a)->name, (*(const CreateOpt *const *)b)->name);
}

static void print_table(const char *title, GPtrArray *all)
{
    static const char *const types[] = {
        [OPT_STR] = "str",
        [OPT_BOOL] = "bool (on/off)",
        [OPT_NUM] = "num",
        [OPT_SIZE] = "size",
    };

    g_ptr_array_sort(all, compare_opts);
    puts(title);
    for (guint i = 0; i < all->len; i++) {
        const CreateOpt *o = all->pdata[i];
        g_autofree char *left = g_strdup_printf("%s=<%s>", o->name, types[o->type]);

        printf("  %-22s - %s\n", left, o->help);
    }
}

void createopts_print_table(const char *title, const CreateOpt *table)
{
    g_autoptr(GPtrArray) all = merged_table(table, NULL);

    print_table(title, all);
}

bool createopts_help(const char *fmt, const char *filename)
{
    const BlockDriver *format = createopts_format(fmt), *protocol = NULL;
    g_autofree char *title = NULL;
    g_autoptr(GPtrArray) all = NULL;

    if (!format || (filename && !(protocol = createopts_protocol(filename))))
        return false;
    all = merged_table(format->create_opts, protocol ? protocol->create_opts : NULL);
    title = filename ? g_strdup("Supported options:")
                     : g_strdup_printf("Supported %s options:", fmt);
    print_table(title, all);
    if (!filename)
        puts("\nThe protocol level may support further options.\n"
             "Specify the target filename to include those options.");
    return true;
}

/* ---- printing ------------------------------------------------------------------------------- */

static void print_value(const CreateOpt *o, const json_t *v)
{
    g_autofree char *text = NULL;

    if (json_is_string(v)) {
        text = keyval_escape(json_string_value(v));
        printf(" %s=%s", o->name, text);
    } else if (json_is_boolean(v)) {
        printf(" %s=%s", o->name, json_is_true(v) ? "on" : "off");
    } else {
        printf(" %s=%" JSON_INTEGER_FORMAT, o->name, json_integer_value(v));
    }
}

void createopts_print(const char *filename, const BlockDriver *format, const BlockDriver *protocol,
                      const json_t *opts)
{
    g_autoptr(GPtrArray) all = merged_table(format->create_opts, protocol->create_opts);

    printf("Formatting '%s', fmt=%s", filename, format->name);
    for (guint i = 0; i < all->len; i++) {
        const CreateOpt *o = all->pdata[i];
        const json_t *v = json_get(opts, o->name);

        if (v)
            print_value(o, v);
        else if (o->def)
            printf(" %s=%s", o->name, o->def);
    }
    putchar('\n');
    fflush(stdout);
}
