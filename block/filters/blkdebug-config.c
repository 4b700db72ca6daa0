/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration files of blkdebug: a rule per section.
 *
 *     # comment
 *     [inject-error]            or [inject-error "name"]
 *     event = "read_aio"
 *     errno = "5"
 */
#include "block/filters/blkdebug-rules.h"
#include "util/fd.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG_MAX = 1 << 20 };

typedef struct {
    const char *filename;
    unsigned line;
    DebugRules *rules;
    json_t *section;    /* members of the open section; NULL: none is open */
    bool is_error;      /* it is an inject-error */
    GHashTable *names;  /* "inject-error NAME" of named sections so far */
} Config;

/* The options of a section: what is a number, a switch, or text. */
static const struct {
    const char *name;
    enum { VALUE_TEXT, VALUE_NUMBER, VALUE_SWITCH } type;
    bool in_error, in_state;
} config_keys[] = {
    { "event", VALUE_TEXT, true, true },
    { "state", VALUE_NUMBER, true, true },
    { "new_state", VALUE_NUMBER, false, true },
    { "iotype", VALUE_TEXT, true, false },
    { "errno", VALUE_NUMBER, true, false },
    { "sector", VALUE_NUMBER, true, false },
    { "once", VALUE_SWITCH, true, false },
    { "immediately", VALUE_SWITCH, true, false },
    { "delay-ns", VALUE_NUMBER, true, false },
};

static bool config_error(const Config *c, const char *what, const char *text, GError **err)
{
    return err_set(err, EINVAL, "Line %u of blkdebug configuration '%s': %s '%s'", c->line,
                   c->filename, what, text);
}

/* Ends the open section, if there is one. */
static bool section_end(Config *c, GError **err)
{
    bool ok = !c->section || debug_rules_add(c->rules, c->is_error, c->section, err);

    json_decref(c->section);
    c->section = NULL;
    return ok || err_prefix(err, "Blkdebug configuration '%s', before line %u: ", c->filename,
                            c->line + 1);
}

/* A line "[NAME]" or "[NAME "ID"]". */
static bool section_begin(Config *c, const char *line, GError **err)
{
    g_autofree char *text = NULL;
    const char *id;

    if (!section_end(c, err))
        return false;
    if (!g_str_has_suffix(line, "]"))
        return config_error(c, "no ']' ends the section", line, err);
    text = g_strndup(line + 1, strlen(line) - 2);
    id = strchr(text, ' ');
    c->is_error = g_str_has_prefix(text, "inject-error") && (!text[12] || text[12] == ' ');
    if (!c->is_error && !(g_str_has_prefix(text, "set-state") && (!text[9] || text[9] == ' ')))
        return config_error(c, "there is no section", text, err);
    if (id && (id[1] != '"' || strlen(id) < 4 || !g_str_has_suffix(id, "\"")))
        return config_error(c, "a name in quotes is expected in section", text, err);
    if (id && !g_hash_table_add(c->names, g_strdup(text)))
        return config_error(c, "there was before a section", text, err);
    c->section = json_object();
    return true;
}

static json_t *value_parse(int type, const char *text)
{
    gint64 number;

    if (type == VALUE_TEXT)
        return json_string(text);
    if (type == VALUE_SWITCH)
        return !strcmp(text, "on") ? json_true() : !strcmp(text, "off") ? json_false() : NULL;
    if (g_str_has_prefix(text, "0x")) {
        guint64 hex;

        return g_ascii_string_to_unsigned(text + 2, 16, 0, INT64_MAX, &hex, NULL)
                   ? json_integer(hex) : NULL;
    }
    return g_ascii_string_to_signed(text, 10, INT64_MIN, INT64_MAX, &number, NULL)
               ? json_integer(number) : NULL;
}

/* A line KEY = "VALUE". */
static bool config_assign(Config *c, const char *line, GError **err)
{
    size_t key_len = strcspn(line, " \t=");
    const char *p = line + key_len + strspn(line + key_len, " \t");
    g_autofree char *key = g_strndup(line, key_len), *value = NULL;

    if (*p != '=')
        return config_error(c, "neither a section nor an assignment:", line, err);
    p += 1 + strspn(p + 1, " \t");
    if (*p != '"')
        return config_error(c, "a value in quotes is expected after '=' in", line, err);
    if (strlen(p) > 1 && g_str_has_suffix(p, "\""))
        value = g_strndup(p + 1, strlen(p) - 2);
    else
        return config_error(c, "no quote ends the value in", line, err);
    if (!c->section)
        return config_error(c, "no section is open for", line, err);
    for (size_t i = 0; i < G_N_ELEMENTS(config_keys); i++) {
        json_t *v;

        if (strcmp(config_keys[i].name, key) ||
            !(c->is_error ? config_keys[i].in_error : config_keys[i].in_state))
            continue;
        v = value_parse(config_keys[i].type, value);
        if (!v)
            return config_error(c, "this is no value for the option:", line, err);
        json_put(c->section, key, v);
        return true;
    }
    return config_error(c, "there is no option", key, err);
}

static bool config_parse(Config *c, char *text, GError **err)
{
    char *next;

    for (char *line = text; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        c->line++;
        g_strstrip(line);
        if (!*line || *line == '#')
            continue;
        if (!(*line == '[' ? section_begin(c, line, err) : config_assign(c, line, err)))
            return false;
    }
    return section_end(c, err);
}

/* The text of @filename, read without ever waiting; NULL with @err. */
static char *config_load(const char *filename, GError **err)
{
    autofd int fd = open(filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    g_autofree char *text = g_malloc(CONFIG_MAX + 1);
    struct stat st;
    size_t len = 0;
    ssize_t r = fd;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode)) {
        err_set(err, EINVAL, "'%s' is a pipe, not a configuration of blkdebug", filename);
        return NULL;
    }
    while (r >= 0 && len < CONFIG_MAX && (r = read(fd, text + len, CONFIG_MAX - len)) > 0)
        len += r;
    if (r < 0) {
        err_set_errno(err, errno, "Could not read blkdebug configuration '%s'", filename);
        return NULL;
    }
    text[len] = 0;
    if (len == CONFIG_MAX || strlen(text) != len) {
        err_set(err, EINVAL, "'%s' is no configuration of blkdebug: %s", filename,
                len == CONFIG_MAX ? "it is too long" : "it holds a zero byte");
        return NULL;
    }
    return g_steal_pointer(&text);
}

bool debug_rules_parse(DebugRules *d, const char *filename, char *text, GError **err)
{
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Config c = { .filename = filename, .rules = d, .names = names };
    bool ok = config_parse(&c, text, err);

    json_decref(c.section);
    return ok;
}

bool debug_rules_read(DebugRules *d, const char *filename, GError **err)
{
    g_autofree char *text = config_load(filename, err);

    return text && debug_rules_parse(d, filename, text, err);
}
