/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program: some of what it asks others is never answered. Looking up "never.test"
 * hangs; "once.test" is this machine the first time and hangs from then on; PAM hangs when asked
 * about an account.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

int pam_acct_mgmt(void *handle, int flags);

static _Noreturn void hang(void)
{
    for (;;)
        pause();
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **found)
{
    static atomic_int asked;
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (void *)dlsym(RTLD_NEXT, "getaddrinfo");

    if (host && !strcmp(host, "never.test"))
        hang();
    if (host && !strcmp(host, "once.test")) {
        if (asked++)
            hang();
        host = "127.0.0.1";
    }
    return real(host, port, hints, found);
}

int pam_acct_mgmt(void *handle, int flags)
{
    hang();
}
