/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Preloaded into a program: a machine of 128 processors, as far as the program can tell. */
#include <sched.h>
#include <string.h>
#include <sys/types.h>

enum { CPUS = 128 };

int sched_getaffinity(pid_t pid, size_t len, cpu_set_t *set)
{
    memset(set, 0, len);
    for (size_t i = 0; i < CPUS && i < len * 8; i++)
        CPU_SET_S(i, len, set);
    return 0;
}
