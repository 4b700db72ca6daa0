/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD server of a program that is controlled by a monitor: there is one at most. Main loop only. */
#ifndef NBD_SERVICE_H
#define NBD_SERVICE_H

#include "io/co.h"
#include "util/json.h"

/* Starts it as @options say, which are like NbdServerOptions; the address may be in the older form. */
CO bool nbd_service_start(const json_t *options, GError **err);
bool nbd_service_is_running(void);
/* Ends it and its exports. False: the last data of an image could not be written. */
CO bool nbd_service_stop(void);

#endif
