/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sandbox: Landlock takes away the file system, then seccomp all but harmless system calls.
 *
 * Facts: landlock(7), seccomp(2).
 */
#include "io/sandbox.h"
#include "io/loop.h"
#include "io/memory.h"
#include "io/pool.h"
#include "io/sandbox-module.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/module.h"
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Every right over files that Landlock of ABI 1 knows; nothing is allowed back. */
#define ALL_FILE_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

/* How long threads that have ended may be seen in /proc still. */
enum { THREADS_LINGER_MS = 1000 };

bool sandbox_prepare(GError **err)
{
    loop_forbid_uring();
    memory_limit(); /* it is read from files */
    return module_load("sandbox", err) != NULL;
}

/* Threads of this process; 0 where that cannot be told. */
static unsigned threads_count(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/task", 0, NULL);
    unsigned n = 0;

    while (dir && g_dir_read_name(dir))
        n++;
    return n;
}

/* Landlock binds this thread and those it starts, so there must be no other. */
static bool threads_end(GError **err)
{
    pool_dismiss();
    for (int ms = 0; threads_count() > 1; ms++) {
        if (ms == THREADS_LINGER_MS)
            return err_set(err, EBUSY, "The sandbox cannot hold a program with other threads, such "
                           "as those of objects of type iothread");
        g_usleep(1000);
    }
    return true;
}

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static const SandboxModule *seccomp_module(void)
{
    const SandboxModule *m = module_load("sandbox", NULL);

    return m && m->is_available() ? m : NULL;
}

const char *sandbox_missing(void)
{
    bool files = has_landlock(), calls = seccomp_module();

    return files && calls ? NULL : calls ? "Landlock" : files ? "seccomp" : "Landlock and seccomp";
}

static bool landlock_enter(GError **err)
{
    struct landlock_ruleset_attr attr = { .handled_access_fs = ALL_FILE_RIGHTS };
    autofd int fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

    return (fd >= 0 && syscall(SYS_landlock_restrict_self, fd, 0) == 0) ||
           err_set_errno(err, errno, "Could not enter the Landlock sandbox");
}

#ifdef __SANITIZE_ADDRESS__
static bool is_inside;

/* Asked by the sanitizer: it looks for leaks by ptrace, which is refused inside. */
int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return is_inside;
}
#endif

bool sandbox_enter(GError **err)
{
    const SandboxModule *seccomp = seccomp_module();
    int r;

    if (!threads_end(err))
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_set_errno(err, errno, "Could not give up privileges for the sandbox");
    if (has_landlock() && !landlock_enter(err))
        return false;
#ifdef __SANITIZE_ADDRESS__
    is_inside = true;
#endif
    r = seccomp ? seccomp->filter() : 0;
    return r >= 0 || err_set_errno(err, r, "Could not install the system call filter");
}

bool sandbox_forbid(unsigned kinds, GError **err)
{
    const SandboxModule *seccomp = seccomp_module();
    int r;

    if (!seccomp)
        return err_set(err, ENOTSUP,
                       "There is no filter of system calls: either this kernel or the "
                       "module 'sandbox' is without it");
    r = seccomp->forbid(kinds);
    return r >= 0 || err_set_errno(err, r, "Could not install the system call filter");
}
