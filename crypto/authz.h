/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may use a server: objects authz-simple, authz-list, authz-list-file and authz-pam, asked with
 * the identity that TLS proved (a distinguished name or a PSK identity).
 */
#ifndef CRYPTO_AUTHZ_H
#define CRYPTO_AUTHZ_H

#include <glib.h>
#include <stdbool.h>

/* Is there an authorisation object @id? */
bool authz_exists(const char *id, GError **err);

/*
 * Asks object @id about @identity (NULL: the peer has none, which is always refused). False with
 * @err, code EACCES for a refusal. authz-pam may take long, or never end: call
 * it from another thread, several at once if need be, while nobody deletes the object.
 */
bool authz_allows(const char *id, const char *identity, GError **err);

#endif
