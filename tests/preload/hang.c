/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program: some of what it asks others is never answered. Looking up "never.test"
 * hangs; "once.test" is this machine the first time and hangs from then on; PAM hangs when asked
 * about an account; the attributes of an open file named "dead-mount" never come.
 */
#include <dlfcn.h>
#include <limits.h>
#include <netdb.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
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

int fstatat64(int dir, const char *path, struct stat64 *st, int flags)
{
    int (*real)(int, const char *, struct stat64 *, int) =
        (int (*)(int, const char *, struct stat64 *, int))dlsym(RTLD_NEXT, "fstatat64");
    char target[PATH_MAX] = "";
    const char *name;

    if (readlinkat(dir, path, target, sizeof(target) - 1) > 0 && (name = strrchr(target, '/')) &&
        !strcmp(name, "/dead-mount"))
        hang();
    return real(dir, path, st, flags);
}
