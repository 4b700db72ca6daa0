/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Module "keyring": keys kept by the kernel, through libkeyutils. */
#include "crypto/keyring.h"
#include "util/module.h"
#include <errno.h>
#include <keyutils.h>

extern const KeyringModule ferry_module_keyring;

static long keyring_read(int32_t serial, void *buf, size_t len)
{
    long n = keyctl_read(serial, buf, len);

    return n < 0 ? -errno : n;
}

MODULE_EXPORT const KeyringModule ferry_module_keyring = {
    .read = keyring_read,
};
