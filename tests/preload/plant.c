/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program: stands for an attacker who has taken it over. Tries what a sandbox is
 * to prevent, in a worker thread (at its first read) and in the main thread (at the end), and tells
 * the outcome on standard error: "planted worker openat 1 connect 1 send 1 signal 1 owner 1 code 1
 * execve 1", the numbers being those of errno, 0 meaning that it worked.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static int door = -1; /* a socket made beforehand */
static atomic_int told;

__attribute__((constructor)) static void begin(void)
{
    door = socket(AF_UNIX, SOCK_STREAM, 0);
}

static int outcome(long r)
{
    return r < 0 ? errno : 0;
}

/* Memory that is code: mapped so, or made so. */
static int try_code(void)
{
    int all = PROT_READ | PROT_WRITE | PROT_EXEC, flags = MAP_PRIVATE | MAP_ANONYMOUS, changed;
    void *mapped = mmap(NULL, 4096, all, flags, -1, 0);
    void *plain = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);

    changed = outcome(mprotect(plain, 4096, PROT_READ | PROT_EXEC));
    return mapped == MAP_FAILED ? changed : 0;
}

static void plant(const char *where)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/nowhere" };
    char *argv[] = { (char *)"/bin/true", NULL };
    int opened, connected, sent, signalled, owned, code, executed;
    char text[160];

    opened = outcome(syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY));
    connected = outcome(connect(door, (struct sockaddr *)&addr, sizeof(addr)));
    sent = outcome(sendto(door, "x", 1, 0, (struct sockaddr *)&addr, sizeof(addr)));
    signalled = outcome(syscall(SYS_tgkill, getppid(), getppid(), 0));
    owned = outcome(fcntl(door, F_SETOWN, getppid()));
    code = try_code();
    /* Not at the end of the program if it would work: nothing more would be told. */
    executed = opened ? outcome(execve(argv[0], argv, argv + 1)) : 0;
    snprintf(text, sizeof(text),
             "planted %s openat %d connect %d send %d signal %d owner %d code %d "
             "execve %d\n",
             where, opened, connected, sent, signalled, owned, code, executed);
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(99);
}

__attribute__((destructor)) static void end(void)
{
    plant("main");
}

static void on_read(void)
{
    if (syscall(SYS_gettid) != getpid() && !atomic_fetch_add(&told, 1))
        plant("worker");
}

#define WRAP(name, params, args)                                                                   \
    ssize_t name params;                                                                           \
    ssize_t name params                                                                            \
    {                                                                                              \
        static ssize_t(*real) params;                                                              \
                                                                                                   \
        if (!real)                                                                                 \
            real = (ssize_t(*) params)dlsym(RTLD_NEXT, #name);                                     \
        on_read();                                                                                 \
        return real args;                                                                          \
    }

WRAP(preadv, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
WRAP(preadv64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
WRAP(preadv2, (int fd, const struct iovec *v, int n, off_t o, int f), (fd, v, n, o, f))
WRAP(preadv64v2, (int fd, const struct iovec *v, int n, off64_t o, int f), (fd, v, n, o, f))
