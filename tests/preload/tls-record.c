/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program: there is no memory to encrypt its TLS record number FAIL_RECORD, from
 * 1.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>

enum { GNUTLS_E_MEMORY_ERROR = -25 };

ssize_t gnutls_record_send(void *session, const void *data, size_t len)
{
    static ssize_t (*real)(void *session, const void *data, size_t len);
    static int seen;
    const char *nth = getenv("FAIL_RECORD");

    if (!real)
        real = dlsym(dlopen("libgnutls.so.30", RTLD_NOW | RTLD_NOLOAD), "gnutls_record_send");
    if (nth && ++seen == atoi(nth))
        return GNUTLS_E_MEMORY_ERROR;
    return real(session, data, len);
}
