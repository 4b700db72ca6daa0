/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * measure PROGRAM ARG...: runs it and prints "WALL CPU PEAK EXIT" (seconds, seconds, KiB, code) to
 * descriptor 3. A small program of its own, since a process starts with its parent's peak.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
    return t.tv_sec + t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    double start = now(), wall;
    struct rusage usage;
    int status;
    pid_t pid = fork();

    if (pid < 0 || argc < 2)
        return 127;
    if (pid == 0) {
        close(3);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    if (wait4(pid, &status, 0, &usage) < 0)
        return 127;
    wall = now() - start;
    dprintf(3, "%f %f %ld %d\n", wall, seconds(usage.ru_utime) + seconds(usage.ru_stime),
            usage.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}
