/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Preloaded into an emulator: while a file "unreadable" exists, KVM_GET_SREGS fails. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT,
                                                                                   "ioctl");
    void *arg;
    va_list ap;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (request == KVM_GET_SREGS && !access("unreadable", F_OK)) {
        errno = EIO;
        return -1;
    }
    return real(fd, request, arg);
}
