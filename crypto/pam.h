/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "pam" gives to this room. Nobody else includes this. */
#ifndef CRYPTO_PAM_H
#define CRYPTO_PAM_H

#include <glib.h>
#include <stdbool.h>

typedef struct {
    /* Do the account rules of @service let @user in? False with @err if they cannot be asked. */
    bool (*account)(const char *service, const char *user, bool *allowed, GError **err);
} PamModule;

#endif
