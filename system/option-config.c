/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that are about options: -set, and files of -readconfig. */
#include "system/options.h"
#include "tools/complain.h"
#include "util/err.h"
#include "util/keyval.h"
#include <string.h>

/* ---- -set ------------------------------------------------------------------------------------ */

/* Has @text, the value of an option, this id? JSON has no items to be changed. */
static bool has_id(const char *text, const char *id)
{
    g_autoptr(json_t) items = *text == '{' ? NULL : keyval_parse(text, "driver", NULL);

    return items && !strcmp(json_get_str(items, "id", ""), id);
}

/* The value of the last option @group with that id; NULL: there is none. */
static char **find_item(Options *o, const char *group, const char *id)
{
    char **found = NULL;

    if (!strcmp(group, "device")) {
        for (guint i = 0; i < o->devices->len; i++)
            if (has_id(o->devices->pdata[i], id))
                found = (char **)&o->devices->pdata[i];
        return found;
    }
    for (guint i = 0; i < o->setups->len; i++) {
        Setup *s = &g_array_index(o->setups, Setup, i);

        if (!strcmp(s->name, group) && has_id(s->text, id))
            found = &s->text;
    }
    return found;
}

bool option_set(Options *o, const char *text, GError **err)
{
    static const char *const groups[] = { "device", "drive", "chardev", "netdev", "mon", NULL };
    const char *equals = strchr(text, '=');
    g_autofree char *path = g_strndup(text, equals ? equals - text : 0);
    g_auto(GStrv) words = g_strsplit(path, ".", 3);
    g_autofree char *value = NULL, *old = NULL;
    char **item;

    if (!equals || g_strv_length(words) != 3 || !*words[2])
        return err_set(err, EINVAL, "can't parse: \"%s\"", text);
    if (!g_strv_contains((const char *const *)groups, words[0]))
        return err_set(err, EINVAL, "There is no option group '%s'", words[0]);
    item = find_item(o, words[0], words[1]);
    if (!item)
        return err_set(err, ENOENT, "there is no %s \"%s\" defined", words[0], words[1]);
    value = keyval_escape(equals + 1);
    old = *item;
    *item = g_strdup_printf("%s,%s=%s", old, words[2], value);
    return true;
}

/* ---- -readconfig ----------------------------------------------------------------------------- */

/* A section: what becomes the value of an option, "id=ID,key=value". */
typedef struct {
    Options *o;
    const char *path;
    unsigned line, begins;
    char *group;    /* NULL: no section has begun */
    GString *value;
} Section;

/* Sections that are called otherwise than their option. */
static const char *option_of(const char *group)
{
    static const struct {
        const char *group, *option;
    } others[] = { { "memory", "m" }, { "smp-opts", "smp" }, { "boot-opts", "boot" } };

    for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
        if (!strcmp(others[i].group, group))
            return others[i].option;
    return group;
}

static bool may_stand_in_files(const char *option)
{
    static const char *const groups[] = { "accel",  "action",  "add-fd",     "boot",   "chardev",
                                          "device", "drive",   "fw_cfg",     "global", "icount",
                                          "m",      "machine", "mon",        "msg",    "name",
                                          "netdev", "object",  "overcommit", "rtc",    "sandbox",
                                          "smp",    NULL };

    return g_strv_contains(groups, option);
}

static OptionResult section_end(Section *s)
{
    OptionResult r = OPTION_DONE;

    if (s->group)
        r = options_apply(s->o, option_of(s->group), s->value->str);
    if (r == OPTION_BAD)
        complain("%s:%u: this section could not be taken", s->path, s->begins);
    g_clear_pointer(&s->group, g_free);
    g_string_truncate(s->value, 0);
    return r;
}

static void add_item(Section *s, const char *key, const char *value)
{
    g_autofree char *escaped = keyval_escape(value);

    g_string_append_printf(s->value, "%s%s=%s", s->value->len ? "," : "", key, escaped);
}

/* [group] or [group "id"]. */
static OptionResult section_begin(Section *s, char *head)
{
    char *end = strrchr(head, ']'), *id = strchr(head, '"'), *id_end = id ? strrchr(id, '"') : NULL;
    OptionResult r = section_end(s);

    if (r != OPTION_DONE)
        return r;
    if (!end || end[1] || (id && (id_end == id || id_end + 1 != end))) {
        complain("%s:%u: a section begins with [GROUP] or [GROUP \"ID\"]", s->path, s->line);
        return OPTION_BAD;
    }
    s->begins = s->line;
    s->group = g_strstrip(g_strndup(head + 1, (id ? id : end) - head - 1));
    if (id) {
        *id_end = 0;
        add_item(s, "id", id + 1);
    }
    if (may_stand_in_files(option_of(s->group)))
        return OPTION_DONE;
    complain("%s:%u: There is no option group '%s'", s->path, s->line, s->group);
    return OPTION_BAD;
}

/* key = "value". */
static OptionResult section_item(Section *s, char *line)
{
    char *equals = strchr(line, '='), *value = g_strstrip(equals ? equals + 1 : line);
    size_t len = strlen(value);

    if (!s->group) {
        complain("%s:%u: no section has begun", s->path, s->line);
        return OPTION_BAD;
    }
    if (len < 2 || *value != '"' || value[len - 1] != '"') {
        complain("%s:%u: an item is KEY = \"VALUE\"", s->path, s->line);
        return OPTION_BAD;
    }
    *equals = value[len - 1] = 0;
    add_item(s, g_strstrip(line), value + 1);
    return OPTION_DONE;
}

static OptionResult read_line(Section *s, char *line)
{
    g_strstrip(line);
    return !*line || *line == '#' ? OPTION_DONE
           : *line == '['         ? section_begin(s, line)
                                  : section_item(s, line);
}

OptionResult option_readconfig(Options *o, const char *path)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    Section s = { .o = o, .path = path };
    OptionResult r = OPTION_DONE;

    if (!g_file_get_contents(path, &text, NULL, &err)) {
        complain("-readconfig: %s", err->message);
        return OPTION_BAD;
    }
    lines = g_strsplit(text, "\n", -1);
    s.value = g_string_new(NULL);
    for (char **line = lines; *line && r == OPTION_DONE; line++) {
        s.line++;
        r = read_line(&s, *line);
    }
    if (r == OPTION_DONE)
        r = section_end(&s);
    g_free(s.group);
    g_string_free(s.value, TRUE);
    return r;
}
