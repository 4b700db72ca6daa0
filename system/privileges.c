/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/privileges.h"
#include "io/sandbox.h"
#include "tools/complain.h"
#include <errno.h>
#include <grp.h>
#include <sys/mman.h>
#include <unistd.h>

static bool forbid(unsigned kinds)
{
    g_autoptr(GError) err = NULL;

    return sandbox_forbid(kinds, &err) || complain("-sandbox: %s", err->message);
}

bool privileges_begin(const Privileges *p)
{
    if (p->locks_memory && mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        return complain_errno(errno, "-overcommit: The memory of this process cannot be locked "
                              "(ulimit -l is the limit)");
    /* The change of user is ours, and still to come. */
    return !p->is_filtered || forbid(p->forbidden & ~SANDBOX_PRIVILEGES);
}

static bool change_root(const char *folder)
{
    if (chroot(folder) < 0)
        return complain_errno(errno, "-chroot: '%s' cannot become the root folder", folder);
    return chdir("/") == 0 || complain_errno(errno, "-chroot: Cannot go to '%s'", folder);
}

static bool change_user(const Privileges *p)
{
    if (setgid(p->gid) < 0 ||
        (p->user ? initgroups(p->user, p->gid) : setgroups(1, &p->gid)) < 0 || setuid(p->uid) < 0)
        return complain_errno(errno, "-runas: Cannot become user %u of group %u",
                              (unsigned)p->uid, (unsigned)p->gid);
    /* Whoever can become root again has given nothing up. */
    return setuid(0) < 0 || complain("-runas: The privileges of root cannot be dropped");
}

bool privileges_drop(const Privileges *p)
{
    if (p->root && !change_root(p->root))
        return false;
    if (p->changes_user && !change_user(p))
        return false;
    return !p->is_filtered || !(p->forbidden & SANDBOX_PRIVILEGES) || forbid(SANDBOX_PRIVILEGES);
}
