/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors of the control path.
 *
 * Every setter returns false, so that a failure is one statement: return err_set(err, EINVAL, ...).
 * The code of an error is a positive errno. @err may be NULL wherever a GError ** is taken.
 */
#ifndef UTIL_ERR_H
#define UTIL_ERR_H

#include <glib.h>
#include <errno.h>
#include <stdbool.h>

#define FERRY_ERROR ferry_error_quark()
GQuark ferry_error_quark(void);

/* Sets @err to a message in our own words; @code is a positive errno. Returns false. */
bool err_set(GError **err, int code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* Like err_set, and appends ": " with the system's text for @code (sign ignored). Returns false. */
bool err_set_errno(GError **err, int code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* Puts text in front of the message already in @err (no-op when @err is NULL). Returns false. */
bool err_prefix(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Puts text behind the message already in @err (no-op when @err is NULL). Returns false. */
bool err_suffix(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Begins the message with "TEXT: ", unless it tells of @name in quotes anyway. Returns false. */
bool err_prefix_name(GError **err, const char *text, const char *name);

/* Remembers one line of advice, shown after the message on a terminal only. Returns false. */
bool err_hint(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/*
 * Remembers a whole line that always follows the message: text that callers of the reference
 * programs may look for. Returns false.
 */
bool err_line(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/*
 * Says that @err is of QMP error class @name ("DeviceNotFound"), a string that lives for ever;
 * without that it is of GenericError. Returns false.
 */
bool err_class(GError **err, const char *name);

/* The QMP error class of @err. */
const char *err_get_class(const GError *err);

/* The line given with err_line for @err, or NULL. Owned by the error. */
const char *err_get_line(const GError *err);

/* The advice given with err_hint for @err, or NULL. Owned by the error. */
const char *err_get_hint(const GError *err);

/* The errno of @err, negative, for handing to the data path. -EIO if @err is not one of ours. */
int err_errno(const GError *err);

#endif
