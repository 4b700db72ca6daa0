/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Things with ids and paths: objects, character devices, networks, descriptors. */
#include "gen/qmp.h"
#include "system/hmp/commands.h"
#include "net/net.h"
#include "util/err.h"
#include "util/json.h"
#include <string.h>

#define SAY(...) g_string_append_printf(h->out, __VA_ARGS__)

/* ---- the tree -------------------------------------------------------------------------------- */

HMP_COMMAND(hmp_qom_list)
{
    g_autoptr(GPtrArray) list = NULL;
    GError *err = NULL;

    if (!a->text[0]) {
        SAY("/\n");
        return;
    }
    if (qmp_qom_list(&(QmpQomListArgs){ .path = (char *)a->text[0] }, &list, &err))
        for (guint i = 0; i < list->len; i++) {
            const ObjectPropertyInfo *p = list->pdata[i];

            SAY("%s (%s)\n", p->name, p->type);
        }
    hmp_error(h, err);
}

HMP_COMMAND(hmp_qom_get)
{
    QmpQomGetArgs args = { .path = (char *)a->text[0], .property = (char *)a->text[1] };
    g_autoptr(json_t) value = NULL;
    GError *err = NULL;

    if (qmp_qom_get(&args, &value, &err)) {
        g_autofree char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_INDENT(4));

        SAY("%s\n", text);
    }
    hmp_error(h, err);
}

/* What @text stands for as a value of the type that @now is of. */
static json_t *value_like(const json_t *now, const char *text)
{
    char *end;
    int64_t n;

    if (json_is_boolean(now) && (!strcmp(text, "on") || !strcmp(text, "off")))
        return json_boolean(!strcmp(text, "on"));
    errno = 0;
    n = g_ascii_strtoll(text, &end, 0);
    if (json_is_integer(now) && *text && !*end && !errno)
        return json_integer(n);
    return json_string(text);
}

/* The value that qom-set is given: JSON (@is_json), or as of an option. NULL with @err. */
static CO json_t *value_read(char *path, char *property, const char *text, bool is_json,
                             GError **err)
{
    g_autoptr(json_t) now = NULL;
    json_t *v;

    if (is_json)
        return json_parse(text, strlen(text), err);
    if (!qmp_qom_get(&(QmpQomGetArgs){ .path = path, .property = property }, &now, err))
        return NULL;
    v = value_like(now, text);
    if (!v)
        err_set(err, EINVAL, "The value is not UTF-8");
    return v;
}

HMP_COMMAND(hmp_qom_set)
{
    QmpQomSetArgs args = { .path = (char *)a->text[1], .property = (char *)a->text[2] };
    GError *err = NULL;
    g_autoptr(json_t) value = value_read(args.path, args.property, a->text[3], a->is_given[0],
                                         &err);

    args.value = value;
    if (value)
        qmp_qom_set(&args, &err);
    hmp_error(h, err);
}

/* ---- character devices ----------------------------------------------------------------------- */

/* What goes between @text and another option: nothing if it ends with a comma of its own. */
static const char *separator(const char *text)
{
    size_t commas = 0;

    for (size_t len = strlen(text); commas < len && text[len - commas - 1] == ',';)
        commas++;
    return commas % 2 ? "" : ",";
}

HMP_COMMAND(hmp_chardev_change)
{
    g_autofree char *id = NULL, *text = NULL;
    g_autoptr(json_t) backend = NULL;
    g_autoptr(ChardevReturn) made = NULL;
    GError *err = NULL;

    if (!chardev_find(a->text[0])) {
        err_set(&err, ENOENT, "Chardev '%s' does not exist", a->text[0]);
    } else if (strstr(a->text[1], ",id=")) {
        err_set(&err, EINVAL, "Unexpected 'id' parameter");
    } else {
        text = g_strconcat(a->text[1], separator(a->text[1]), "id=", a->text[0], NULL);
        if (chardev_parse(text, &id, &backend, &err))
            qmp_chardev_change(&(QmpChardevChangeArgs){ .id = id, .backend = backend }, &made,
                               &err);
    }
    hmp_error(h, err);
}

HMP_COMMAND(hmp_chardev_send_break)
{
    GError *err = NULL;

    qmp_chardev_send_break(&(QmpChardevSendBreakArgs){ .id = (char *)a->text[0] }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_ringbuf_write)
{
    QmpRingbufWriteArgs args = { .device = (char *)a->text[0], .data = (char *)a->text[1] };
    GError *err = NULL;

    qmp_ringbuf_write(&args, &err);
    hmp_error(h, err);
}

/* Bytes that are no text are shown as \uNNNN, and a backslash twice. */
HMP_COMMAND(hmp_ringbuf_read)
{
    QmpRingbufReadArgs args = { .device = (char *)a->text[0], .size = (int64_t)a->number[1] };
    g_autofree char *data = NULL;
    GError *err = NULL;

    if (qmp_ringbuf_read(&args, &data, &err)) {
        g_autofree char *text = g_utf8_make_valid(data, -1);

        for (const char *p = text; *p; p++)
            if (*p == '\\')
                SAY("\\\\");
            else if (g_ascii_iscntrl(*p) && *p != '\n' && *p != '\t')
                SAY("\\u%04X", (uint8_t)*p);
            else
                g_string_append_c(h->out, *p);
        SAY("\n");
    }
    hmp_error(h, err);
}

/* ---- networks and descriptors ---------------------------------------------------------------- */

HMP_COMMAND(hmp_netdev_add)
{
    GError *err = NULL;

    netdev_add_text(a->text[0], &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_netdev_del)
{
    GError *err = NULL;

    qmp_netdev_del(&(QmpNetdevDelArgs){ .id = (char *)a->text[0] }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_closefd)
{
    GError *err = NULL;

    qmp_closefd(&(QmpClosefdArgs){ .fdname = (char *)a->text[0] }, &err);
    hmp_error(h, err);
}
