/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New images. A format writes its headers into a file that a protocol driver makes first. Options
 * that only the protocol knows travel in the member "#protocol" of the format's options. With a
 * member "#node" the image goes into that node, which is there.
 */
#include "block/internal.h"
#include "util/printable.h"
#include "util/suggest.h"
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

enum { SECTOR = 512 };

static const char *const prealloc_names[] = { "off", "metadata", "falloc", "full" };

const char *prealloc_name(Prealloc p)
{
    return prealloc_names[p];
}

bool prealloc_parse(const char *name, Prealloc *p)
{
    for (size_t i = 0; i < G_N_ELEMENTS(prealloc_names); i++)
        if (!strcmp(name, prealloc_names[i])) {
            *p = (Prealloc)i;
            return true;
        }
    return false;
}

static const CreateOpt *opt_find(const CreateOpt *table, const char *name)
{
    for (; table && table->name; table++)
        if (!strcmp(table->name, name))
            return table;
    return NULL;
}

static bool bool_parse(const char *text, bool *out)
{
    *out = !strcmp(text, "on") || !strcmp(text, "yes") || !strcmp(text, "true") ||
           !strcmp(text, "y");
    return *out || !strcmp(text, "off") || !strcmp(text, "no") || !strcmp(text, "false") ||
           !strcmp(text, "n");
}

/* The value of option @opt that @text means; NULL with @err. */
static json_t *opt_value(const CreateOpt *opt, const char *text, GError **err)
{
    uint64_t number;
    bool flag;

    switch (opt->type) {
    case OPT_STR:
        return json_string(text);
    case OPT_BOOL:
        if (bool_parse(text, &flag))
            return json_boolean(flag);
        err_set(err, EINVAL, "Option '%s' is 'on' or 'off', not '%s'", opt->name, text);
        return NULL;
    case OPT_NUM:
    case OPT_SIZE:
        if (size_parse(text, 1, &number, NULL) == 0 && number <= INT64_MAX)
            return json_integer(number);
        err_set(err, EINVAL, "Option '%s' is a %s, not '%s'", opt->name,
                opt->type == OPT_SIZE ? "size such as 10G" : "number", text);
        if (opt->type == OPT_SIZE && size_parse(text, 1, &number, NULL) == -EINVAL)
            err_line(err, SIZE_SUFFIXES);
        return NULL;
    }
    return NULL;
}

static void opts_try(Suggestion *s, const CreateOpt *table)
{
    for (; table && table->name; table++)
        suggest_try(s, table->name);
}

static bool opt_unknown(const BlockDriver *format, const BlockDriver *protocol, const char *name,
                        GError **err)
{
    Suggestion s = { .word = name };
    g_autofree char *perhaps = NULL;

    opts_try(&s, format->create_opts);
    opts_try(&s, protocol ? protocol->create_opts : NULL);
    perhaps = suggestion_text(&s);
    return err_set(err, EINVAL, "Format '%s' has no option '%s'%s", format->name, name, perhaps);
}

bool create_opts_check(const BlockDriver *format, const BlockDriver *protocol, json_t *opts,
                       GError **err)
{
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(opts, next, key, v) {
        const CreateOpt *opt = opt_find(format->create_opts, key);

        if (!opt && protocol)
            opt = opt_find(protocol->create_opts, key);
        if (!opt)
            return opt_unknown(format, protocol, key, err);
        if (json_is_string(v)) {
            json_t *typed = opt_value(opt, json_string_value(v), err);

            if (!typed)
                return false;
            json_object_set_new(opts, key, typed);
        }
    }
    return true;
}

/* Moves options that only @protocol knows into the member "#protocol". */
static void opts_split(const BlockDriver *format, const BlockDriver *protocol, json_t *opts)
{
    json_t *below = json_object();
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(opts, next, key, v) {
        if (!opt_find(format->create_opts, key) && opt_find(protocol->create_opts, key)) {
            json_object_set(below, key, v);
            json_object_del(opts, key);
        }
    }
    json_put(opts, "#protocol", below);
}

static unsigned begun; /* how often a file was made anew, or a device was about to be written to */

CO bool image_create(const char *filename, const char *fmt, json_t *opts, GError **err)
{
    const BlockDriver *format = driver_find(fmt);
    const BlockDriver *protocol;
    unsigned before = begun;
    uint64_t stamp;

    if (!format)
        return driver_unknown("format", fmt, err);
    if (!format->create)
        return err_set(err, ENOTSUP, "Images of format '%s' cannot be created", fmt);
    protocol = driver_for_filename(filename, true, err);
    if (!protocol)
        return false;
    if (!create_opts_check(format, protocol, opts, err))
        return false;
    opts_split(format, protocol, opts);
    stamp = protocol->file_stamp ? protocol->file_stamp(filename) : 0;
    if (format->create(filename, opts, err))
        return true;
    if (!stamp && protocol->remove)
        file_create_undo(filename, err);
    else if (stamp && (begun != before || protocol->file_stamp(filename) != stamp))
        err_prefix(err, "'%s' was there before and may be incomplete now: ", filename);
    return false;
}

/* The node that a new image is to lie in, emptied. */
static CO Handle *node_to_fill(const char *name, uint64_t size, GError **err)
{
    Node *n = node_find(name);
    unsigned shares = ACCESS_READ | ACCESS_UNCHANGED;
    g_autoptr(Handle) h = NULL;

    if (!n) {
        err_set(err, ENOENT, "There is no node '%s'", name);
        return NULL;
    }
    h = handle_new(n, HANDLE_JOB, ACCESS_READ | ACCESS_WRITE | ACCESS_RESIZE, shares, err);
    if (!h || !handle_resize(h, 0, false, PREALLOC_OFF, err) ||
        (size && !handle_resize(h, size, false, PREALLOC_OFF, err)))
        return NULL;
    begun++;
    return g_steal_pointer(&h);
}

CO Handle *file_create(const char *filename, json_t *opts, uint64_t size, GError **err)
{
    const char *node = json_get_str(opts, "#node", NULL);
    const BlockDriver *protocol = node ? NULL : driver_for_filename(filename, true, err);
    g_autoptr(json_t) below = NULL;

    if (node)
        return node_to_fill(node, size, err);
    if (!protocol)
        return NULL;
    if (node_find_file(filename)) {
        g_autofree char *shown = printable(filename);

        err_set(err, EBUSY, "Failed to get \"write\" lock: '%s' is read here, and creating it anew "
                "would destroy what is read", filename);
        err_line(err, "Is another process using the image [%s]?", shown);
        return NULL;
    }
    if (!protocol->create) {
        err_set(err, ENOTSUP, "Protocol '%s' of '%s' cannot create files", protocol->name,
                filename);
        return NULL;
    }
    below = json_has(opts, "#protocol") ? json_copy(json_get(opts, "#protocol")) : json_object();
    json_put_int(below, "size", size);
    if (!protocol->create(filename, below, err))
        return NULL;
    begun++;
    return handle_open(filename, NULL, OPEN_RDWR | OPEN_RESIZE | OPEN_PROTOCOL, err);
}

CO bool protocol_create_existing(const char *driver, const char *filename, const json_t *opts,
                                 GError **err)
{
    const char *prealloc = json_get_str(opts, "preallocation", "off");
    OpenFlags flags = OPEN_RDWR | OPEN_RESIZE | OPEN_PROTOCOL;
    json_t *options = driver ? json_pack("{s:s, s:s}", "driver", driver, "filename", filename)
                             : NULL;
    g_autoptr(Handle) h = NULL;
    int r;

    if (strcmp(prealloc, "off")) {
        json_decref(options);
        return err_set(err, ENOTSUP,
                       "Unsupported preallocation mode '%s': '%s' has its space already", prealloc,
                       filename);
    }
    h = handle_open(driver ? NULL : filename, options, flags, err);
    if (!h || !handle_resize(h, json_get_int(opts, "size", 0), false, PREALLOC_OFF, err))
        return false;
    begun++;
    /*
     * As a hole if need be: devices that cannot keep the space are told so once by a write of
     * zeroes, and then the kernel offers no holes there either.
     */
    r = handle_zero(h, 0, MIN(handle_size(h), SECTOR), REQ_MAY_UNMAP);
    if (r >= 0)
        r = handle_flush(h);
    return r >= 0 || err_set_errno(err, r, "Could not clear the first sector of '%s'", filename);
}

CO void file_create_undo(const char *filename, GError **err)
{
    const BlockDriver *protocol = driver_for_filename(filename, true, NULL);
    int r = protocol && protocol->remove ? protocol->remove(filename) : -ENOTSUP;

    if (r < 0 && r != -ENOENT)
        err_prefix(err, "(an incomplete '%s' is left behind) ", filename);
}
