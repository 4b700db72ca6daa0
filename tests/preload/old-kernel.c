/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program: makes the kernel look as if it had no Landlock, or no seccomp,
 * whichever OLD_KERNEL names.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int lacks(const char *what)
{
    const char *old = getenv("OLD_KERNEL");

    return old && strstr(old, what);
}

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list ap;

    va_start(ap, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if ((number == SYS_landlock_create_ruleset && lacks("landlock")) ||
        (number == SYS_seccomp && lacks("seccomp"))) {
        errno = ENOSYS;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int prctl(int option, ...)
{
    static int (*real)(int, ...);
    long a[4];
    va_list ap;

    va_start(ap, option);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (!real)
        real = (int (*)(int, ...))dlsym(RTLD_NEXT, "prctl");
    if ((option == PR_GET_SECCOMP || option == PR_SET_SECCOMP) && lacks("seccomp")) {
        errno = EINVAL;
        return -1;
    }
    return real(option, a[0], a[1], a[2], a[3]);
}
