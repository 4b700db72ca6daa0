/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu-migrate/end.h"
#include "qapi/schema.h"
#include "qemu-migrate/migrate.h"
#include "tools/complain.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/json-stream.h"
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* How long a monitor may take for an answer. */
enum { PATIENCE_S = 10 };

typedef struct {
    int fd;
    const char *name;
    JsonStream *stream;
} Monitor;

/* ---- connecting ------------------------------------------------------------------------------ */

static int connect_unix(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(a.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(a.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        int r = errno;

        close(fd);
        errno = r;
        fd = -1;
    }
    return fd;
}

static int connect_any(const struct addrinfo *list)
{
    int fd = -1;

    errno = EADDRNOTAVAIL;
    for (; list && fd < 0; list = list->ai_next) {
        fd = socket(list->ai_family, list->ai_socktype | SOCK_CLOEXEC, list->ai_protocol);
        if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) < 0) {
            int r = errno;

            close(fd);
            errno = r;
            fd = -1;
        }
    }
    return fd;
}

/* @text: HOST:PORT. */
static int connect_tcp(const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool in_brackets = len >= 2 && *text == '[' && text[len - 1] == ']';
    g_autofree char *host = in_brackets ? g_strndup(text + 1, len - 2) : g_strndup(text, len);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
    int fd;

    if (!colon || !len || getaddrinfo(host, colon + 1, &hints, &list)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    fd = connect_any(list);
    freeaddrinfo(list);
    return fd;
}

static bool set_patience(int fd)
{
    struct timeval t = { .tv_sec = PATIENCE_S };

    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)) == 0;
}

/* -1, and *@is_monitor false, if @name is a file. */
static int open_monitor(const char *name, bool *is_monitor)
{
    struct stat st;

    *is_monitor = true;
    if (g_str_has_prefix(name, "unix:"))
        return connect_unix(name + strlen("unix:"));
    if (g_str_has_prefix(name, "tcp:"))
        return connect_tcp(name + strlen("tcp:"));
    if (stat(name, &st) == 0 && S_ISSOCK(st.st_mode))
        return connect_unix(name);
    *is_monitor = false;
    return -1;
}

/* ---- talking --------------------------------------------------------------------------------- */

static bool refuse_silence(const Monitor *m, ssize_t n)
{
    if (n == 0)
        return complain("%s: The monitor has closed the connection", m->name);
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return complain("%s: The monitor does not answer; it talks to one client at a time",
                        m->name);
    return complain_errno(errno, "%s", m->name);
}

/* The next message. NULL: complained. */
static json_t *receive(const Monitor *m)
{
    for (;;) {
        g_autoptr(GError) err = NULL;
        json_t *v = NULL;
        char piece[65536];
        ssize_t n;

        switch (json_stream_next(m->stream, &v, &err)) {
        case JSON_STREAM_VALUE:
            return v;
        case JSON_STREAM_ERROR:
            complain("%s: It is no QMP monitor: %s", m->name, err->message);
            return NULL;
        default:
            break;
        }
        n = recv(m->fd, piece, sizeof(piece), 0);
        if (n <= 0) {
            refuse_silence(m, n);
            return NULL;
        }
        json_stream_feed(m->stream, piece, n);
    }
}

static bool send_all(const Monitor *m, const char *text)
{
    for (size_t len = strlen(text); len;) {
        ssize_t n = send(m->fd, text, len, MSG_NOSIGNAL);

        if (n <= 0)
            return refuse_silence(m, n);
        text += n;
        len -= n;
    }
    return true;
}

/* What the command returns. NULL: complained. */
static json_t *ask(const Monitor *m, json_t *request)
{
    g_autofree char *text = json_print(request);

    if (!send_all(m, text))
        return NULL;
    for (;;) {
        g_autoptr(json_t) answer = receive(m);
        const json_t *error, *class;

        if (!answer)
            return NULL;
        if (json_object_get(answer, "return"))
            return json_incref(json_object_get(answer, "return"));
        error = json_object_get(answer, "error");
        class = json_object_get(error, "class");
        if (json_is_string(class) && !strcmp(json_string_value(class), "CommandNotFound"))
            complain("%s: This emulator has no x-migrate-describe; only Ferry's has", m->name);
        else if (json_is_string(json_object_get(error, "desc")))
            complain("%s: %s", m->name, json_string_value(json_object_get(error, "desc")));
        if (error)
            return NULL;
    }
}

static json_t *describe(const Monitor *m, const char *uri)
{
    g_autoptr(json_t) hello = receive(m), begin = json_object(), question = json_object();
    g_autoptr(json_t) nothing = NULL;
    json_t *arguments = json_object();

    json_put_str(begin, "execute", "qmp_capabilities");
    json_put_str(question, "execute", "x-migrate-describe");
    json_put(question, "arguments", arguments);
    if (uri)
        json_put_str(arguments, "uri", uri);
    if (!hello)
        return NULL;
    if (!json_object_get(hello, "QMP")) {
        complain("%s: It is no QMP monitor", m->name);
        return NULL;
    }
    nothing = ask(m, begin);
    return nothing ? ask(m, question) : NULL;
}

/* ---- all ------------------------------------------------------------------------------------- */

static json_t *read_file(const char *name)
{
    g_autoptr(GBytes) bytes = file_read(name);
    g_autoptr(GError) err = NULL;
    const void *data;
    size_t size;
    json_t *v;

    if (!bytes)
        return NULL;
    data = g_bytes_get_data(bytes, &size);
    v = json_parse(data ? data : "", size, &err);
    if (!v)
        complain("%s: %s", name, err->message);
    return v;
}

static json_t *read_monitor(int fd, const char *name, const char *uri)
{
    g_autoptr(JsonStream) stream = json_stream_new();

    if (!set_patience(fd)) {
        complain_errno(errno, "%s", name);
        return NULL;
    }
    return describe(&(Monitor){ fd, name, stream }, uri);
}

json_t *end_read(const char *name, const char *uri)
{
    bool is_monitor;
    autofd int fd = open_monitor(name, &is_monitor);
    g_autoptr(json_t) end = NULL;
    g_autoptr(GError) err = NULL;

    if (is_monitor && fd < 0) {
        complain_errno(errno, "Cannot connect to '%s'", name);
        return NULL;
    }
    end = is_monitor ? read_monitor(fd, name, uri) : read_file(name);
    if (!end)
        return NULL;
    if (!json_is_object(end) || !schema_check_exact("MigrationEnd", end, &err)) {
        complain("%s: It is no description by 'qemu-migrate describe'%s%s", name, err ? ": " : "",
                 err ? err->message : "");
        return NULL;
    }
    return g_steal_pointer(&end);
}
