/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking people for passwords. */
#ifndef TOOLS_PASSWORD_H
#define TOOLS_PASSWORD_H

#include "crypto/secret.h"

/*
 * Asks for the password of @what on the terminal, without showing it. False: there is no terminal
 * to ask on, or no answer. A signal that comes meanwhile acts once the terminal is as it was.
 */
bool password_ask(const char *what, SecretBytes *out);

#endif
