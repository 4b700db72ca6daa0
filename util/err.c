/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors of the control path: GError with an errno as code, an optional line of advice and a QMP
 * class.
 *
 * Advice and class ride in the private data of an extended error domain.
 */
#include "util/err.h"
#include <string.h>

typedef struct {
    char *hint; /* NULL: no advice */
    char *line; /* NULL: none */
    const char *class; /* NULL: GenericError */
} FerryErrorPrivate;

static void ferry_error_private_init(FerryErrorPrivate *p)
{
    p->hint = NULL;
    p->line = NULL;
    p->class = NULL;
}

static void ferry_error_private_copy(const FerryErrorPrivate *src, FerryErrorPrivate *dst)
{
    dst->hint = g_strdup(src->hint);
    dst->line = g_strdup(src->line);
    dst->class = src->class;
}

static void ferry_error_private_clear(FerryErrorPrivate *p)
{
    g_free(p->hint);
    g_free(p->line);
}

G_DEFINE_EXTENDED_ERROR(FerryError, ferry_error)

bool err_set(GError **err, int code, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return false;
    va_start(ap, fmt);
    g_assert(!*err);
    *err = g_error_new_valist(FERRY_ERROR, code < 0 ? -code : code, fmt, ap);
    va_end(ap);
    return false;
}

bool err_set_errno(GError **err, int code, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    if (!err)
        return false;
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    code = code < 0 ? -code : code;
    return err_set(err, code, "%s: %s", text, g_strerror(code));
}

bool err_prefix(GError **err, const char *fmt, ...)
{
    g_autofree char *text = NULL, *old = NULL;
    va_list ap;

    if (!err || !*err)
        return false;
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    old = (*err)->message;
    (*err)->message = g_strconcat(text, old, NULL);
    return false;
}

bool err_suffix(GError **err, const char *fmt, ...)
{
    g_autofree char *text = NULL, *old = NULL;
    va_list ap;

    if (!err || !*err)
        return false;
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    old = (*err)->message;
    (*err)->message = g_strconcat(old, text, NULL);
    return false;
}

bool err_prefix_name(GError **err, const char *text, const char *name)
{
    g_autofree char *quoted = g_strdup_printf("'%s'", name);

    if (err && *err && !strstr((*err)->message, quoted))
        err_prefix(err, "%s: ", text);
    return false;
}

bool err_hint(GError **err, const char *fmt, ...)
{
    FerryErrorPrivate *p;
    va_list ap;

    if (!err || !*err || (*err)->domain != FERRY_ERROR)
        return false;
    p = ferry_error_get_private(*err);
    g_free(p->hint);
    va_start(ap, fmt);
    p->hint = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return false;
}

bool err_line(GError **err, const char *fmt, ...)
{
    FerryErrorPrivate *p;
    va_list ap;

    if (!err || !*err || (*err)->domain != FERRY_ERROR)
        return false;
    p = ferry_error_get_private(*err);
    g_free(p->line);
    va_start(ap, fmt);
    p->line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return false;
}

bool err_class(GError **err, const char *name)
{
    if (err && *err && (*err)->domain == FERRY_ERROR)
        ((FerryErrorPrivate *)ferry_error_get_private(*err))->class = name;
    return false;
}

const char *err_get_class(const GError *err)
{
    const FerryErrorPrivate *p = err->domain == FERRY_ERROR ? ferry_error_get_private(err) : NULL;

    return p && p->class ? p->class : "GenericError";
}

const char *err_get_line(const GError *err)
{
    if (!err || err->domain != FERRY_ERROR)
        return NULL;
    return ((FerryErrorPrivate *)ferry_error_get_private(err))->line;
}

const char *err_get_hint(const GError *err)
{
    if (!err || err->domain != FERRY_ERROR)
        return NULL;
    return ((FerryErrorPrivate *)ferry_error_get_private(err))->hint;
}

int err_errno(const GError *err)
{
    if (!err || err->domain != FERRY_ERROR || err->code <= 0)
        return -EIO;
    return -err->code;
}
