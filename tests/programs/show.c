/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * show WHAT [=OPTION]: one line of standard input at a time, what util and qapi make of it on
 * standard output.
 *
 *     json, pretty     a JSON value printed again
 *     nest, flatten    an object of options, nested or flattened, then printed
 *     lenient, strict  a key=value list as JSON; OPTION is the implied key
 *     size             the number of bytes
 *     check            an object, converted to type OPTION of the schema
 *     introspect       the schema
 *
 * A line that is refused shows as "error: " and the message.
 */
#include "qapi/schema.h"
#include "util/err.h"
#include "util/json.h"
#include "util/keyval.h"
#include "util/size.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef char *ShowFn(const char *line, const char *option, GError **err);

static char *printed(json_t *v)
{
    char *text = v ? json_print(v) : NULL;

    json_decref(v);
    return text;
}

static char *show_json(const char *line, const char *option, GError **err)
{
    return printed(json_parse(line, strlen(line), err));
}

static char *show_pretty(const char *line, const char *option, GError **err)
{
    g_autoptr(json_t) v = json_parse(line, strlen(line), err);

    return v ? json_print_pretty(v) : NULL;
}

static char *show_nest(const char *line, const char *option, GError **err)
{
    g_autoptr(json_t) o = json_parse(line, strlen(line), err);

    return o && keyval_nest(o, err) ? json_print(o) : NULL;
}

static char *show_flatten(const char *line, const char *option, GError **err)
{
    g_autoptr(json_t) o = json_parse(line, strlen(line), err);

    return o ? printed(keyval_flatten(o)) : NULL;
}

static char *show_lenient(const char *line, const char *option, GError **err)
{
    return printed(keyval_parse(line, option, err));
}

static char *show_strict(const char *line, const char *option, GError **err)
{
    return printed(keyval_parse_strict(line, option, err));
}

static char *show_size(const char *line, const char *option, GError **err)
{
    uint64_t n;
    int r = size_parse(line, 1, &n, NULL);

    if (r < 0) {
        err_set_errno(err, r, "'%s'", line);
        return NULL;
    }
    return g_strdup_printf("%" PRIu64, n);
}

static char *show_check(const char *line, const char *option, GError **err)
{
    g_autoptr(json_t) o = json_parse(line, strlen(line), err);

    return o && schema_check(option, o, err) ? json_print(o) : NULL;
}

static char *show_introspect(const char *line, const char *option, GError **err)
{
    return printed(schema_introspect());
}

static const struct {
    const char *name;
    ShowFn *show;
} kinds[] = {
    { "json", show_json },       { "pretty", show_pretty }, { "nest", show_nest },
    { "flatten", show_flatten }, { "size", show_size },     { "lenient", show_lenient },
    { "strict", show_strict },   { "check", show_check },   { "introspect", show_introspect },
};

static ShowFn *find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (!g_strcmp0(kinds[i].name, name))
            return kinds[i].show;
    return NULL;
}

int main(int argc, char **argv)
{
    ShowFn *show = find(argc > 1 ? argv[1] : NULL);
    const char *option = argc > 2 && argv[2][0] == '=' ? argv[2] + 1 : NULL;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    if (!show)
        return 2;
    while ((len = getline(&line, &size, stdin)) > 0) {
        g_autoptr(GError) err = NULL;
        g_autofree char *text = NULL;

        line[len - (line[len - 1] == '\n')] = 0;
        text = show(line, option, &err);
        printf("%s%s\n", text ? "" : "error: ", text ? text : err->message);
        fflush(stdout);
    }
    free(line);
    return 0;
}
