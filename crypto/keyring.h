/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "keyring" gives: keys kept by the kernel. */
#ifndef CRYPTO_KEYRING_H
#define CRYPTO_KEYRING_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    /*
     * The payload of key @serial, cut to @len bytes, in @buf; its whole length or negative errno.
     */
    long (*read)(int32_t serial, void *buf, size_t len);
} KeyringModule;

#endif
