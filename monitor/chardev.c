/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All character devices: their table, their life, and what is the same for every kind. */
#include "monitor/backend.h"
#include "util/err.h"
#include "util/fd.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static GPtrArray *all; /* of Chardev, in the order they were made */
static bool is_patient = true; /* first clients are waited for */

/* ---- looking --------------------------------------------------------------------------------- */

Chardev *chardev_at(unsigned i)
{
    return all && i < all->len ? all->pdata[i] : NULL;
}

Chardev *chardev_find(const char *id)
{
    Chardev *c;

    for (unsigned i = 0; (c = chardev_at(i)); i++)
        if (!strcmp(c->id, id))
            return c;
    return NULL;
}

const char *chardev_id(const Chardev *c)
{
    return c->id;
}

const char *chardev_kind(const Chardev *c)
{
    return c->drv->name;
}

const char *chardev_pty_name(const Chardev *c)
{
    return c->pty;
}

bool chardev_is_used(const Chardev *c)
{
    return c->is_used;
}

char *chardev_filename(const Chardev *c)
{
    return c->drv->filename ? c->drv->filename(c) : g_strdup(c->drv->name);
}

const char *chardev_kind_at(unsigned i)
{
    return chardev_drivers[i] ? chardev_drivers[i]->name : NULL;
}

void chardev_print_kinds(void)
{
    puts("Available chardev backend types: ");
    for (const ChardevDriver *const *d = chardev_drivers; *d; d++)
        printf("  %s\n", (*d)->name);
}

static const ChardevDriver *driver_find(const char *name)
{
    for (const ChardevDriver *const *d = chardev_drivers; *d; d++)
        if (!strcmp((*d)->name, name))
            return *d;
    return NULL;
}

/* ---- connections ----------------------------------------------------------------------------- */

void chardev_connected(Chardev *c, Channel *in, Channel *out)
{
    g_assert(!c->is_open);
    c->in = in;
    c->out = out;
    c->is_open = true;
    co_queue_wake_all(&c->changed);
}

CO void chardev_wait_closed(Chardev *c)
{
    while (c->is_open && !c->closing)
        co_queue_wait(&c->changed);
}

bool chardev_comes_again(const Chardev *c)
{
    return c->drv->run;
}

CO bool chardev_wait_open(Chardev *c)
{
    while (!c->is_open && !c->closing)
        co_queue_wait(&c->changed);
    return !c->closing;
}

CO ssize_t chardev_read(Chardev *c, void *buf, size_t len)
{
    if (c->in)
        return channel_read(c->in, buf, len);
    /* Nobody will ever say anything. */
    while (c->is_open && !c->closing)
        co_queue_wait(&c->changed);
    return 0;
}

static void log_write(const Chardev *c, const char *buf, size_t len)
{
    while (len) {
        ssize_t n = write(c->log_fd, buf, len);

        if (n < 0 && errno != EINTR)
            return;
        if (n > 0) {
            buf += n;
            len -= n;
        }
    }
}

CO int chardev_write(Chardev *c, const void *buf, size_t len)
{
    if (c->log_fd >= 0)
        log_write(c, buf, len);
    if (c->drv->write)
        c->drv->write(c, buf, len);
    return c->out ? channel_write_all(c->out, buf, len) : 0;
}

int chardev_take_fd(Chardev *c)
{
    return c->in ? channel_take_fd(c->in) : -1;
}

void chardev_cut(Chardev *c)
{
    if (c->in)
        channel_shutdown(c->in);
    if (c->out && c->out != c->in)
        channel_shutdown(c->out);
}

void chardev_hang_up(Chardev *c)
{
    if (!c->is_open)
        return;
    if (c->out != c->in)
        channel_free(c->out);
    channel_free(c->in);
    c->in = c->out = NULL;
    c->is_open = false;
    co_queue_wake_all(&c->changed);
}

/* ---- users ----------------------------------------------------------------------------------- */

bool chardev_claim(Chardev *c, GError **err)
{
    if (c->is_used)
        return err_set(err, EBUSY, "Device '%s' is in use", c->id);
    c->is_used = true;
    return true;
}

void chardev_release(Chardev *c)
{
    c->is_used = false;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* A device that is in no table yet. */
static Chardev *chardev_new(const char *id, const ChardevDriver *drv)
{
    Chardev *c = g_new0(Chardev, 1);

    c->id = g_strdup(id);
    c->drv = drv;
    c->state = g_malloc0(MAX(drv->state_size, 1));
    c->log_fd = -1;
    return c;
}

void chardev_shutdown(Chardev *c)
{
    if (c->closing)
        return;
    c->closing = true;
    chardev_cut(c);
    if (c->drv->interrupt)
        c->drv->interrupt(c);
    co_queue_wake_all(&c->changed);
}

static CO void chardev_free(Chardev *c)
{
    g_assert(!c->is_used);
    chardev_shutdown(c);
    co_group_wait(&c->running);
    chardev_hang_up(c);
    if (c->drv->close)
        c->drv->close(c);
    fd_cleanup(&c->log_fd);
    g_free(c->state);
    g_free(c->pty);
    g_free(c->id);
    g_free(c);
}

static CO void run_driver(void *arg)
{
    Chardev *c = arg;

    c->drv->run(c);
}

static bool log_open(Chardev *c, const json_t *data, GError **err)
{
    const char *path = json_get_str(data, "logfile", NULL);
    bool append = json_get_bool(data, "logappend", false);

    if (!path)
        return true;
    c->log_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
    return c->log_fd >= 0 || err_set_errno(err, errno, "Unable to open logfile %s", path);
}

/* Makes what @backend describes; it is in no table yet. NULL with @err. */
static CO Chardev *chardev_make(const char *id, const json_t *backend, GError **err)
{
    const char *kind = json_get_str(backend, "type", "");
    const json_t *data = json_get(backend, "data");
    const ChardevDriver *drv = driver_find(kind);
    Chardev *c;

    if (!drv) {
        err_set(err, EINVAL, "'%s' is not a valid char driver name", kind);
        return NULL;
    }
    c = chardev_new(id, drv);
    if (!log_open(c, data, err) || !drv->open(c, data, err)) {
        chardev_free(c);
        return NULL;
    }
    if (drv->run)
        co_group_start(&c->running, run_driver, c);
    return c;
}

/*
 * Puts @c into the table and waits for a client, should the options say so; that is seen by
 * others, who may end it.
 */
static CO bool chardev_enter(Chardev *c, guint at, const json_t *backend, GError **err)
{
    const json_t *data = json_get(backend, "data");

    if (!all)
        all = g_ptr_array_new();
    g_ptr_array_insert(all, at, c);
    if (!json_get_bool(data, "wait", false))
        return true;
    c->is_used = true;
    if (!c->is_open) {
        g_autofree char *name = chardev_filename(c);

        fprintf(stderr, "%s: info: waiting for connection on: %s\n", g_get_prgname(), name);
    }
    while (is_patient && !c->is_open)
        co_queue_wait(&c->changed);
    c->is_used = false;
    return is_patient || err_set(err, ECANCELED, "Nobody came before the program ends");
}

void chardev_wait_for_nobody(void)
{
    Chardev *c;

    is_patient = false;
    for (unsigned i = 0; (c = chardev_at(i)); i++)
        co_queue_wake_all(&c->changed);
}

CO Chardev *chardev_add(const char *id, const json_t *backend, GError **err)
{
    Chardev *c;

    if (chardev_find(id)) {
        err_set(err, EEXIST, "Chardev with id '%s' already exists", id);
        return NULL;
    }
    c = chardev_make(id, backend, err);
    if (!c)
        return NULL;
    if (chardev_enter(c, all ? all->len : 0, backend, err))
        return c;
    chardev_remove(c);
    return NULL;
}

CO Chardev *chardev_change(const char *id, const json_t *backend, GError **err)
{
    Chardev *old = chardev_find(id), *c = chardev_make(id, backend, err);
    guint at;

    if (!c)
        return NULL;
    g_ptr_array_find(all, old, &at);
    chardev_remove(old);
    if (chardev_enter(c, at, backend, err))
        return c;
    chardev_remove(c);
    return NULL;
}

CO void chardev_remove(Chardev *c)
{
    g_ptr_array_remove(all, c);
    chardev_free(c);
}

void chardev_shutdown_all(void)
{
    Chardev *c;

    for (unsigned i = 0; (c = chardev_at(i)); i++)
        chardev_shutdown(c);
}

CO void chardev_remove_all(void)
{
    Chardev *c;

    while ((c = chardev_at(0)))
        chardev_remove(c);
    g_clear_pointer(&all, g_ptr_array_unref);
}
