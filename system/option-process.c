/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options about the process itself: its messages, memory, user, system calls, descriptors. */
#include "io/sandbox.h"
#include "system/options.h"
#include "tools/complain.h"
#include "util/err.h"
#include "util/given-fd.h"
#include "util/keyval.h"
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>

typedef struct {
    const char *key;
    bool *to;
} Switch;

/* Items that are switches, all of them. */
static bool read_switches(const char *text, const Switch *switches, size_t n, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, NULL, err);
    const char *key;
    json_t *v;

    if (!items)
        return false;
    json_object_foreach(items, key, v) {
        size_t i = 0;

        while (i < n && strcmp(switches[i].key, key))
            i++;
        if (i == n)
            return err_set(err, EINVAL, "Invalid parameter '%s'", key);
        if (!option_parse_switch(key, json_is_string(v) ? json_string_value(v) : "", switches[i].to,
                                 err))
            return false;
    }
    return true;
}

/* ---- messages -------------------------------------------------------------------------------- */

void options_stamp_messages(const Options *o)
{
    complain_stamp(o->stamp_has_time, o->stamp_has_guest ? o->name : NULL);
}

bool option_msg(Options *o, const char *text, GError **err)
{
    const Switch switches[] = { { "timestamp", &o->stamp_has_time },
                                { "guest-name", &o->stamp_has_guest } };
    bool ok = read_switches(text, switches, G_N_ELEMENTS(switches), err);

    options_stamp_messages(o);
    return ok;
}

/* ---- privileges ------------------------------------------------------------------------------ */

bool option_overcommit(Options *o, const char *text, GError **err)
{
    bool owns_processors = false;
    const Switch switches[] = { { "mem-lock", &o->privileges.locks_memory },
                                { "cpu-pm", &owns_processors } };

    if (!read_switches(text, switches, G_N_ELEMENTS(switches), err))
        return false;
    return !owns_processors || err_set(err, ENOTSUP,
                                       "cpu-pm=on is not there: idle processors of the "
                                       "guest always give theirs back to the host");
}

/* "UID:GID". */
static bool read_numbers(const char *text, Privileges *p)
{
    char *end;
    uint64_t uid = g_ascii_strtoull(text, &end, 10), gid;
    const char *second = end + 1;

    if (!g_ascii_isdigit(*text) || *end != ':' || !g_ascii_isdigit(*second))
        return false;
    gid = g_ascii_strtoull(second, &end, 10);
    p->uid = uid;
    p->gid = gid;
    return !*end && uid < UINT32_MAX && gid < UINT32_MAX;
}

bool option_runas(Options *o, const char *text, GError **err)
{
    Privileges *p = &o->privileges;
    const struct passwd *pw = getpwnam(text);

    g_clear_pointer(&p->user, g_free);
    if (pw) {
        p->user = g_strdup(text);
        p->uid = pw->pw_uid;
        p->gid = pw->pw_gid;
    } else if (!read_numbers(text, p)) {
        return err_set(err, EINVAL, "User \"%s\" doesn't exist (and is not <uid>:<gid>)", text);
    }
    p->changes_user = true;
    return p->uid || err_set(err, EINVAL, "root would keep all its privileges: name another user");
}

static bool sandbox_word(Privileges *p, const char *key, const char *word, GError **err)
{
    static const struct {
        const char *key;
        SandboxKind kind;
    } kinds[] = {
        { "obsolete", SANDBOX_OBSOLETE }, { "elevateprivileges", SANDBOX_PRIVILEGES },
        { "spawn", SANDBOX_SPAWN }, { "resourcecontrol", SANDBOX_RESOURCES },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (strcmp(kinds[i].key, key))
            continue;
        /* Programs that are started never get more privileges than this process has. */
        if (kinds[i].kind == SANDBOX_PRIVILEGES && !strcmp(word, "children"))
            return true;
        if (strcmp(word, "allow") && strcmp(word, "deny"))
            return err_set(err, EINVAL, "invalid argument for %s", key);
        if (strcmp(word, "deny"))
            p->forbidden &= ~kinds[i].kind;
        else
            p->forbidden |= kinds[i].kind;
        return true;
    }
    return err_set(err, EINVAL, "Invalid parameter '%s'", key);
}

bool option_sandbox(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, "enable", err);
    Privileges *p = &o->privileges;
    const char *key;
    json_t *v;

    p->forbidden = SANDBOX_OBSOLETE;
    if (!items)
        return false;
    json_object_foreach(items, key, v) {
        const char *word = json_is_string(v) ? json_string_value(v) : "";

        if (!(strcmp(key, "enable") ? sandbox_word(p, key, word, err)
                                    : option_parse_switch(key, word, &p->is_filtered, err)))
            return false;
    }
    return true;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* A number that is not negative; -1: there is none such. */
static int64_t number_of(const json_t *items, const char *key)
{
    const char *text = json_get_str(items, key, ""), *end;
    uint64_t v = g_ascii_strtoull(text, (char **)&end, 10);

    return g_ascii_isdigit(*text) && !*end && v <= INT32_MAX ? (int64_t)v : -1;
}

bool option_add_fd(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, NULL, err);
    int64_t fd, set;
    const char *key;
    json_t *v;
    int copy;

    if (!items)
        return false;
    json_object_foreach(items, key, v)
        if (strcmp(key, "fd") && strcmp(key, "set") && strcmp(key, "opaque"))
            return err_set(err, EINVAL, "Invalid parameter '%s'", key);
    fd = number_of(items, "fd");
    set = number_of(items, "set");
    if (fd < 0)
        return err_set(err, EINVAL, "fd option is required and must be non-negative");
    if (fd <= STDERR_FILENO)
        return err_set(err, EINVAL, "fd cannot be a standard I/O stream");
    /* What this process has opened itself is closed on exec. */
    if (fcntl(fd, F_GETFD) < 0 || fcntl(fd, F_GETFD) & FD_CLOEXEC)
        return err_set(err, EBADF, "fd is not valid or already in use");
    if (set < 0)
        return err_set(err, EINVAL, "set option is required and must be non-negative");
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return err_set_errno(err, errno, "Descriptor %" PRId64 " cannot be copied", fd);
    fdset_add(set, copy, json_get_str(items, "opaque", NULL));
    g_array_append_val(o->given_fds, (int){ fd });
    return true;
}
