/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The system calls that work on what is open needs; every other fails with EPERM.
 *
 * New threads are allowed (the pool), new processes are not: clone must ask for a thread, and clone3,
 * whose arguments a filter cannot see, is answered as on a kernel that lacks it.
 */
#include "io/sandbox-module.h"
#include "util/module.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const int allowed[] = {
    /* files that are open */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2),
    SCMP_SYS(pwritev2), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
    SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
    SCMP_SYS(close), SCMP_SYS(copy_file_range), SCMP_SYS(fadvise64),
    SCMP_SYS(sync_file_range),
    /* sockets that are open, such as the connection to an NBD server */
    SCMP_SYS(recvfrom), SCMP_SYS(shutdown),
    /* memory */
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk),
    /* threads, waiting, time */
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(exit),
    SCMP_SYS(exit_group), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(set_tid_address), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
    SCMP_SYS(eventfd2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(getrusage),
    SCMP_SYS(restart_syscall), SCMP_SYS(sysinfo), SCMP_SYS(getrandom),
    /* signals to ourselves */
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack), SCMP_SYS(alarm), SCMP_SYS(setitimer),
};

/* Requests to open files and devices. */
static const unsigned long allowed_ioctl[] = { BLKGETSIZE64, BLKSSZGET, FICLONERANGE };

/* Not among them: F_SETOWN and F_SETSIG, which let the kernel send signals to other processes. */
static const int allowed_fcntl[] = { F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL,
                                     F_OFD_GETLK, F_OFD_SETLK };

/* Allows @call if its argument @arg has none of the bits of @mask. */
static int allow_without(scmp_filter_ctx ctx, int call, unsigned arg, uint64_t mask)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
                            SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, 0));
}

/* Calls that are harmless with some arguments only. */
static int filter_fill_partly(scmp_filter_ctx ctx)
{
    /* No code but what is mapped; a message goes where the socket is connected to. */
    int r = allow_without(ctx, SCMP_SYS(mmap), 2, PROT_EXEC);

    if (r == 0)
        r = allow_without(ctx, SCMP_SYS(mprotect), 2, PROT_EXEC);
    if (r == 0)
        r = allow_without(ctx, SCMP_SYS(sendmsg), 2, MSG_FASTOPEN);
    if (r == 0)
        r = allow_without(ctx, SCMP_SYS(sendto), 4, UINT64_MAX);
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    for (size_t i = 0; r == 0 && i < sizeof(allowed_fcntl) / sizeof(allowed_fcntl[0]); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                             SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)allowed_fcntl[i]));
    return r;
}

static int filter_fill(scmp_filter_ctx ctx)
{
    int r;

    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
        /* An architecture may lack some of them. */
        if (r < 0 && r != -EDOM)
            return r;
    }
    for (size_t i = 0; i < sizeof(allowed_ioctl) / sizeof(allowed_ioctl[0]); i++) {
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_EQ, allowed_ioctl[i]));
        if (r < 0)
            return r;
    }
    r = filter_fill_partly(ctx);
    if (r < 0)
        return r;
    r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                         SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return r;
}

/* seccomp_api_get(3): from level 2 on filters for all threads at once. */
static bool sandbox_is_available(void)
{
    return seccomp_api_get() >= 2;
}

static int sandbox_filter(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r = ctx ? 0 : -ENOMEM;

    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    if (r == 0)
        r = filter_fill(ctx);
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}

MODULE_EXPORT const SandboxModule ferry_module_sandbox = {
    .is_available = sandbox_is_available,
    .filter = sandbox_filter,
};
