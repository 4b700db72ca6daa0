/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tools/daemon.h"
#include "tools/complain.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static int ready_pipe = -1; /* to the waiting parent; -1: there is none */

/* The parent: leaves as soon as the child serves or has ended, with its exit code. */
static _Noreturn void parent_wait(pid_t child, int pipe)
{
    char byte;
    int status = 0;
    ssize_t n;

    do {
        n = read(pipe, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(0);
    waitpid(child, &status, 0);
    _exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

bool daemon_fork(void)
{
    int ends[2];
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return complain_errno(errno, "Cannot make a pipe");
    fflush(NULL);
    child = fork();
    if (child < 0)
        return complain_errno(errno, "Cannot fork");
    if (child) {
        close(ends[1]);
        parent_wait(child, ends[0]);
    }
    close(ends[0]);
    ready_pipe = ends[1];
    setsid();
    return true;
}

void daemon_ready(bool keep_stderr)
{
    autofd int null = -1;

    if (ready_pipe < 0)
        return;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    fflush(NULL);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    if (!keep_stderr)
        dup2(null, STDERR_FILENO);
    while (write(ready_pipe, "", 1) < 0 && errno == EINTR)
        ;
    close(ready_pipe);
    ready_pipe = -1;
}

void daemon_take_signals(const int *signals, sigset_t *taken)
{
    struct sigaction old;
    sigset_t blocked;

    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    sigemptyset(taken);
    for (; *signals; signals++)
        if (!sigismember(&blocked, *signals) && sigaction(*signals, NULL, &old) == 0 &&
            old.sa_handler != SIG_IGN)
            sigaddset(taken, *signals);
    pthread_sigmask(SIG_BLOCK, taken, NULL);
}
