/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of exports: URIs and the older forms, to and from the options of the driver.
 *
 *     nbd://HOST[:PORT]/[EXPORT]                 also nbd+tcp://
 *     nbd+unix:///[EXPORT]?socket=PATH
 *     nbd+vsock://CID[:PORT]/[EXPORT]            ours
 *     nbds://... nbds+tcp, nbds+unix, nbds+vsock ours: TLS; ?tls-creds=ID&tls-hostname=NAME
 *     nbd:HOST:PORT[:exportname=EXPORT]
 *     nbd:unix:PATH[:exportname=EXPORT]
 */
#ifndef NBD_URI_H
#define NBD_URI_H

#include "util/json.h"

/* Puts what @name means into @o: "server", "export", "tls", "tls-creds", "tls-hostname". */
bool nbd_uri_parse(const char *name, json_t *o, GError **err);

/*
 * The name that says what options @o say, or NULL if there is none that does. As the reference
 * shows it: nothing is escaped. Caller frees.
 */
char *nbd_uri_print(const json_t *o);

#endif
