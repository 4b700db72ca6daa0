/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a server has to offer. */
#ifndef NBD_LIST_H
#define NBD_LIST_H

#include "nbd/remote.h"

/* One export. */
typedef struct {
    NbdOffer offer;        /* its name is never NULL */
    bool is_described;     /* the server told more than the name and a description */
    GPtrArray *contexts;   /* names of metadata contexts, of char * */
} NbdListed;

/*
 * Asks the server at @target (whose export does not matter) for its exports. Array of NbdListed, in
 * the server's order; NULL with @err.
 */
CO GPtrArray *nbd_list(const NbdTarget *target, GError **err);

#endif
