/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two filters of system calls. One allows what work on open files needs, and nothing else. The
 * other forbids what no work needs, and allows the rest. What is forbidden fails with EPERM.
 *
 * New threads are allowed (the pool), new processes are not: clone must ask for a thread, and
 * clone3, whose arguments a filter cannot see, is answered as on a kernel that lacks it.
 */
#include "io/sandbox-module.h"
#include "io/sandbox.h"
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

static int filter_fill(scmp_filter_ctx ctx, unsigned kinds)
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

/* A filter with @rest for calls that @fill does not name, in all threads. */
static int install(uint32_t rest, int (*fill)(scmp_filter_ctx ctx, unsigned kinds), unsigned kinds)
{
    scmp_filter_ctx ctx = seccomp_init(rest);
    int r = ctx ? 0 : -ENOMEM;

    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    if (r == 0)
        r = fill(ctx, kinds);
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}

static int sandbox_filter(void)
{
    return install(SCMP_ACT_ERRNO(EPERM), filter_fill, 0);
}

/* ---- the light one --------------------------------------------------------------------------- */

static const struct {
    unsigned kind; /* SandboxKind; 0: always */
    int call;
} forbidden[] = {
    { 0, SCMP_SYS(reboot) }, { 0, SCMP_SYS(swapon) }, { 0, SCMP_SYS(swapoff) },
    { 0, SCMP_SYS(syslog) }, { 0, SCMP_SYS(mount) }, { 0, SCMP_SYS(umount2) },
    { 0, SCMP_SYS(pivot_root) }, { 0, SCMP_SYS(move_mount) }, { 0, SCMP_SYS(open_tree) },
    { 0, SCMP_SYS(fsopen) }, { 0, SCMP_SYS(fsmount) }, { 0, SCMP_SYS(kexec_load) },
    { 0, SCMP_SYS(kexec_file_load) }, { 0, SCMP_SYS(init_module) }, { 0, SCMP_SYS(finit_module) },
    { 0, SCMP_SYS(delete_module) }, { 0, SCMP_SYS(acct) }, { 0, SCMP_SYS(quotactl) },
    { 0, SCMP_SYS(settimeofday) }, { 0, SCMP_SYS(clock_settime) }, { 0, SCMP_SYS(adjtimex) },
    { 0, SCMP_SYS(clock_adjtime) }, { 0, SCMP_SYS(sethostname) }, { 0, SCMP_SYS(setdomainname) },
    { 0, SCMP_SYS(iopl) }, { 0, SCMP_SYS(ioperm) }, { 0, SCMP_SYS(vhangup) },
    { 0, SCMP_SYS(nfsservctl) }, { 0, SCMP_SYS(afs_syscall) }, { 0, SCMP_SYS(security) },
    { 0, SCMP_SYS(tuxcall) }, { 0, SCMP_SYS(vserver) }, { 0, SCMP_SYS(getpmsg) },
    { 0, SCMP_SYS(putpmsg) },
    { SANDBOX_OBSOLETE, SCMP_SYS(uselib) }, { SANDBOX_OBSOLETE, SCMP_SYS(sysfs) },
    { SANDBOX_OBSOLETE, SCMP_SYS(ustat) }, { SANDBOX_OBSOLETE, SCMP_SYS(_sysctl) },
    { SANDBOX_OBSOLETE, SCMP_SYS(create_module) }, { SANDBOX_OBSOLETE, SCMP_SYS(query_module) },
    { SANDBOX_OBSOLETE, SCMP_SYS(get_kernel_syms) },
    { SANDBOX_PRIVILEGES, SCMP_SYS(setuid) }, { SANDBOX_PRIVILEGES, SCMP_SYS(setgid) },
    { SANDBOX_PRIVILEGES, SCMP_SYS(setreuid) }, { SANDBOX_PRIVILEGES, SCMP_SYS(setregid) },
    { SANDBOX_PRIVILEGES, SCMP_SYS(setresuid) }, { SANDBOX_PRIVILEGES, SCMP_SYS(setresgid) },
    { SANDBOX_PRIVILEGES, SCMP_SYS(setfsuid) }, { SANDBOX_PRIVILEGES, SCMP_SYS(setfsgid) },
    { SANDBOX_PRIVILEGES, SCMP_SYS(setgroups) }, { SANDBOX_PRIVILEGES, SCMP_SYS(capset) },
    { SANDBOX_PRIVILEGES, SCMP_SYS(setsid) }, { SANDBOX_PRIVILEGES, SCMP_SYS(setpgid) },
    { SANDBOX_SPAWN, SCMP_SYS(fork) }, { SANDBOX_SPAWN, SCMP_SYS(vfork) },
    { SANDBOX_SPAWN, SCMP_SYS(execve) }, { SANDBOX_SPAWN, SCMP_SYS(execveat) },
    { SANDBOX_RESOURCES, SCMP_SYS(setpriority) }, { SANDBOX_RESOURCES, SCMP_SYS(ioprio_set) },
    { SANDBOX_RESOURCES, SCMP_SYS(sched_setparam) },
    { SANDBOX_RESOURCES, SCMP_SYS(sched_setscheduler) },
    { SANDBOX_RESOURCES, SCMP_SYS(sched_setattr) },
    { SANDBOX_RESOURCES, SCMP_SYS(sched_setaffinity) },
    { SANDBOX_RESOURCES, SCMP_SYS(set_mempolicy) }, { SANDBOX_RESOURCES, SCMP_SYS(mbind) },
    { SANDBOX_RESOURCES, SCMP_SYS(migrate_pages) }, { SANDBOX_RESOURCES, SCMP_SYS(move_pages) },
};

static int forbid_fill(scmp_filter_ctx ctx, unsigned kinds)
{
    int r = 0;

    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        if (forbidden[i].kind && !(forbidden[i].kind & kinds))
            continue;
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), forbidden[i].call, 0);
        /* An architecture may lack some of them. */
        if (r < 0 && r != -EDOM)
            return r;
    }
    if (!(kinds & SANDBOX_SPAWN))
        return 0;
    r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                         SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return r;
}

static int sandbox_forbid_calls(unsigned kinds)
{
    return install(SCMP_ACT_ALLOW, forbid_fill, kinds);
}

MODULE_EXPORT const SandboxModule ferry_module_sandbox = {
    .is_available = sandbox_is_available,
    .filter = sandbox_filter,
    .forbid = sandbox_forbid_calls,
};
