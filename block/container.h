/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What drivers of containers share: compressed files and archives, which are read only. */
#ifndef BLOCK_CONTAINER_H
#define BLOCK_CONTAINER_H

#include "block/driver.h"

/* A .parse_filename operation for PREFIX:FILE. */
bool container_parse_filename(const char *filename, json_t *options, GError **err);
/* A .plain_filename operation for drivers whose prefix is their name. */
char *container_plain_filename(Node *n);
/* Opens "file", read only; NULL with @err. */
CO Edge *container_open_file(Node *n, const json_t *options, GError **err);

#endif
