/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a name or a tree of options to an open node.
 *
 *     file name -> protocol options -> protocol node -> probe -> format node -> backing chain
 *
 * Options given for a node win over what names and images say. A backing chain is opened from the
 * top down in a loop, so its length costs no stack.
 */
#include "block/home.h"
#include "block/internal.h"
#include "qapi/schema.h"
#include "util/keyval.h"
#include "util/printable.h"
#include "util/trace.h"
#include <inttypes.h>
#include <string.h>

enum { NESTING_MAX = 32 };

/* ---- flags ---------------------------------------------------------------------------------- */

bool cache_mode_parse(const char *mode, OpenFlags *flags)
{
    static const struct {
        const char *name;
        OpenFlags flags;
    } modes[] = {
        { "none", OPEN_DIRECT },
        { "off", OPEN_DIRECT },
        { "writeback", 0 },
        { "writethrough", OPEN_WRITETHROUGH },
        { "directsync", OPEN_DIRECT | OPEN_WRITETHROUGH },
        { "unsafe", OPEN_NO_FLUSH },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++)
        if (!strcmp(mode, modes[i].name)) {
            *flags &= ~(OPEN_DIRECT | OPEN_WRITETHROUGH | OPEN_NO_FLUSH);
            *flags |= modes[i].flags;
            return true;
        }
    return false;
}

bool discard_mode_parse(const char *mode, OpenFlags *flags)
{
    if (!strcmp(mode, "ignore") || !strcmp(mode, "off"))
        *flags &= ~OPEN_UNMAP;
    else if (!strcmp(mode, "unmap") || !strcmp(mode, "on"))
        *flags |= OPEN_UNMAP;
    else
        return false;
    return true;
}

bool aio_mode_parse(const char *mode, OpenFlags *flags)
{
    OpenFlags aio;

    if (!strcmp(mode, "threads"))
        aio = OPEN_AIO_THREADS;
    else if (!strcmp(mode, "native"))
        aio = OPEN_AIO_NATIVE;
    else if (!strcmp(mode, "io_uring"))
        aio = OPEN_AIO_URING;
    else
        return false;
    *flags = (*flags & ~(OPEN_AIO_THREADS | OPEN_AIO_NATIVE | OPEN_AIO_URING)) | aio;
    return true;
}

static OpenFlags flag_if(OpenFlags flags, OpenFlags flag, bool on)
{
    return on ? flags | flag : flags & ~flag;
}

OpenFlags node_child_flags(const Node *n, Role role)
{
    /* What a format has to read to be opened must be readable, whatever its user wants. */
    OpenFlags keep = OPEN_DIRECT | OPEN_NO_FLUSH | OPEN_FORCE_SHARE | OPEN_UNTRUSTED |
                     OPEN_AIO_THREADS | OPEN_AIO_NATIVE | OPEN_AIO_URING;
    OpenFlags flags = n->flags & keep;

    /* Whether a discard gets here is decided above. */
    flags |= OPEN_UNMAP;
    if (role == ROLE_BACKING)
        return flags | (n->flags & OPEN_NO_IO);
    flags |= (n->flags | n->later) & (OPEN_RDWR | OPEN_RESIZE | OPEN_AUTO_RDONLY);
    if (role == ROLE_FILTERED || role == ROLE_IMAGE) {
        if (n->flags & (OPEN_NO_BACKING | OPEN_GIVEN_BACKING))
            flags |= OPEN_GIVEN_BACKING;
        return flags | (n->flags & (OPEN_NO_IO | OPEN_CHECK));
    }
    return flags;
}

/* The generic options of @o, with @flags as what holds without them. */
bool flags_from_options(const json_t *o, OpenFlags *flags, DetectZeroes *detect, GError **err)
{
    static const char *const detects[] = { "off", "on", "unmap", NULL };
    const json_t *cache = json_get(o, "cache");
    const char *discard = json_get_str(o, "discard", NULL);
    const char *zeroes = json_get_str(o, "detect-zeroes", "off");

    if (json_has(o, "read-only"))
        *flags = flag_if(*flags, OPEN_RDWR, !json_get_bool(o, "read-only", false));
    *flags = flag_if(*flags, OPEN_AUTO_RDONLY,
                     json_get_bool(o, "auto-read-only", *flags & OPEN_AUTO_RDONLY));
    *flags = flag_if(*flags, OPEN_FORCE_SHARE,
                     json_get_bool(o, "force-share", *flags & OPEN_FORCE_SHARE));
    *flags = flag_if(*flags, OPEN_DIRECT, json_get_bool(cache, "direct", *flags & OPEN_DIRECT));
    *flags = flag_if(*flags, OPEN_NO_FLUSH,
                     json_get_bool(cache, "no-flush", *flags & OPEN_NO_FLUSH));
    if (discard)
        discard_mode_parse(discard, flags);
    for (*detect = DETECT_ZEROES_OFF; detects[*detect] && strcmp(detects[*detect], zeroes);)
        ++*detect;
    if (*detect == DETECT_ZEROES_UNMAP && !(*flags & OPEN_UNMAP))
        return err_set(err, EINVAL, "detect-zeroes=unmap needs discard=unmap");
    if (*flags & OPEN_FORCE_SHARE && *flags & OPEN_RDWR && !(*flags & OPEN_AUTO_RDONLY))
        return err_set(err, EINVAL, "force-share=on is for read-only use only");
    return true;
}

/* ---- options -------------------------------------------------------------------------------- */

/* Puts every member of @more into @o that is not there. */
static void options_default(json_t *o, json_t *more)
{
    const char *key;
    json_t *v;

    json_object_foreach(more, key, v) {
        if (!json_has(o, key))
            json_object_set(o, key, v);
    }
}

/* The member "file" of @o that is described in place, made if there is none; NULL with @err. */
static json_t *file_described(json_t *o, GError **err)
{
    json_t *file = json_get(o, "file");

    if (json_is_string(file)) {
        err_set(err, EINVAL, "Both a file name and a node are given for 'file'");
        return NULL;
    }
    if (!file)
        json_put(o, "file", file = json_object());
    return file;
}

/*
 * What @filename means as options of a protocol (or of a filter with a prefix), into @o; or if @o
 * is for a driver above a protocol, into the innermost "file" below it.
 */
static bool options_from_filename(const char *filename, json_t *o, GError **err)
{
    const BlockDriver *d;

    while ((d = driver_find(json_get_str(o, "driver", ""))) && d->kind != BLK_PROTOCOL &&
           !d->parse_filename) {
        o = file_described(o, err);
        if (!o)
            return false;
    }
    if (json_has(o, "driver")) {
        d = driver_find(json_get_str(o, "driver", ""));
        if (!d)
            return driver_unknown("driver", json_get_str(o, "driver", ""), err);
    } else {
        d = driver_for_filename(filename, true, err);
        if (!d)
            return false;
        json_put_str(o, "driver", d->name);
    }
    if (d->parse_filename && (d->kind == BLK_FILTER || filename_has_protocol(filename)))
        return d->parse_filename(filename, o, err);
    if (json_has(o, "filename"))
        return err_set(err, EINVAL, "Both the name '%s' and the option 'filename' are given",
                       filename);
    json_put_str(o, "filename", filename);
    return true;
}

/* Joins what a json: name says into @o. */
static bool options_from_json_name(const char *filename, json_t *o, GError **err)
{
    g_autoptr(json_t) named = json_parse(filename + 5, strlen(filename) - 5, err);

    if (!named)
        return err_prefix(err, "Could not read the description after 'json:': ");
    if (!json_is_object(named))
        return err_set(err, EINVAL, "What follows 'json:' must be an object");
    if (!keyval_nest(named, err))
        return false;
    options_default(o, named);
    return true;
}

bool node_describe_child(json_t *options, const char *key, const char *filename, GError **err)
{
    /* How many prefixes are being parsed: in "gzip:tar:..." one inside of the other. */
    static _Thread_local unsigned depth;
    json_t *child = json_get(options, key);
    bool ok;

    if (json_is_string(child))
        return err_set(err, EINVAL, "Both a file name and a node are given for '%s'", key);
    if (!child)
        json_put(options, key, child = json_object());
    if (depth == NESTING_MAX)
        return err_set(err, ELOOP, "A name has more than %d prefixes", NESTING_MAX);
    depth++;
    ok = g_str_has_prefix(filename, "json:") ? options_from_json_name(filename, child, err)
                                             : options_from_filename(filename, child, err);
    depth--;
    return ok;
}

/* Members of options that describe a child, or a list of them. */
static const char *const child_keys[] = { "file", "backing", "data-file", "image", "test", "raw",
                                          "log", "header", "children" };

/* Stands for a child that is described in place while its parent's own options are checked. */
static json_t *child_placeholder(const json_t *child)
{
    json_t *list, *v;
    size_t i;

    if (json_is_object(child))
        return json_string("described-in-place");
    if (!json_is_array(child))
        return json_incref((json_t *)child);
    list = json_array();
    json_array_foreach(child, i, v)
        json_array_append_new(list, child_placeholder(v));
    return list;
}

/*
 * Gives @o, the options of a node of driver @d, the types of the schema. Children are left as they
 * are: they are checked when they are opened.
 */
bool options_check(const BlockDriver *d, json_t *o, GError **err)
{
    g_autoptr(json_t) children = json_object();
    bool ok;

    for (size_t i = 0; i < G_N_ELEMENTS(child_keys); i++) {
        json_t *child = json_get(o, child_keys[i]);

        if (child) {
            json_object_set(children, child_keys[i], child);
            json_put(o, child_keys[i], child_placeholder(child));
        }
    }
    json_put_str(o, "driver", d->name);
    ok = schema_check("BlockdevOptions", o, err);
    json_object_update(o, children);
    return ok;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

bool node_fall_back_read_only(Node *n, const char *why, GError **err)
{
    if (n->drv->kind != BLK_PROTOCOL) {
        g_free(n->read_only_why);
        n->read_only_why = g_strdup(why);
    }
    if (!((n->flags | n->later) & OPEN_RDWR))
        return true;
    if (!(n->flags & OPEN_AUTO_RDONLY))
        return err_set(err, EACCES, "%s", why);
    n->flags &= ~OPEN_RDWR;
    n->later &= ~OPEN_RDWR;
    return true;
}

/* A guest whose image cannot follow it has to stay. The reason is worded as the reference does. */
static bool hold_guest(Node *n, GError **err)
{
    g_autofree char *reason = NULL;

    if (!n->drv->stays)
        return true;
    reason = g_strdup_printf("The %s format used by node '%s' does not support live migration",
                             n->drv->stays, n->name);
    n->stays = hold_take(&hold_migration, HOLD_DENY, n->name, reason, err);
    return n->stays;
}

/* Whether nodes are inactive from the start. */
static bool start_inactive;

void nodes_start_inactive(bool yes)
{
    start_inactive = yes;
}

/*
 * Lets the driver open @n. A format that is to be inactive then sees an image that is only read, as
 * it must not write a thing; it gets to know better when it is activated.
 */
static CO bool driver_open(Node *n, const json_t *o, GError **err)
{
    bool ok;

    n->starts_inactive = start_inactive;
    n->later = start_inactive && n->drv->kind == BLK_FORMAT ? n->flags & OPEN_RDWR : 0;
    n->flags &= ~n->later;
    ok = n->drv->open(n, o, n->flags, err);
    n->flags |= n->later;
    n->later = 0;
    return ok;
}

/* A node of driver @d with checked options @o; its backing file is not opened yet. */
static CO Node *node_open_driver(const BlockDriver *d, json_t *o, OpenFlags flags,
                                 unsigned nesting, GError **err)
{
    g_autoptr(json_t) given = options_strong(d, o);
    g_autoptr(Node) n = NULL;
    DetectZeroes detect;

    if (!options_check(d, o, err) || !flags_from_options(o, &flags, &detect, err))
        return NULL;
    n = node_new(d, json_get_str(o, "node-name", NULL), err);
    if (!n)
        return NULL;
    n->options = json_incref(o);
    n->given = g_steal_pointer(&given);
    n->flags = flags;
    n->nesting = nesting;
    n->detect_zeroes = detect;
    n->filename = g_strdup(json_get_str(o, "filename", NULL));
    if (!hold_guest(n, err))
        return NULL;
    if (!driver_open(n, o, err)) {
        if (d->kind == BLK_FORMAT && node_storage(n)) {
            const char *name = node_filename(node_storage(n));
            g_autofree char *image = g_strdup_printf("Image '%s'", name);

            err_prefix_name(err, image, name);
        }
        return NULL;
    }
    n->is_open = true;
    if (n->size > NODE_SIZE_MAX) {
        err_set(err, EFBIG, "'%s' has %" PRIu64 " bytes, more than the %" PRIu64 " there may be",
                node_filename(n) ? node_filename(n) : d->name, n->size, NODE_SIZE_MAX);
        return NULL;
    }
    node_refresh_limits(n);
    node_refresh_filename(n);
    return g_steal_pointer(&n);
}

/* A new reference on the node called @name, NULL with @err if there is none that can be used. */
static Node *node_to_use(const char *name, GError **err)
{
    Node *n = node_named(name);

    if (n && (n->state == NODE_ACTIVE || (n->state == NODE_INACTIVE && start_inactive)))
        return node_ref(n);
    if (!n)
        err_set(err, ENOENT, "There is no node '%s'", name);
    else if (n->state == NODE_INACTIVE)
        err_set(err, EBUSY, "Node '%s' is inactive", name);
    else if (n->state == NODE_OPENING)
        err_set(err, EBUSY, "Node '%s' is still being opened", name);
    else
        err_set(err, EBUSY, "Node '%s' is being closed", name);
    return NULL;
}

/* The format of what @o's "file" or @filename holds; leaves the opened file as @o's "file". */
static CO const BlockDriver *node_open_probed(const char *filename, json_t *o, OpenFlags flags,
                                              unsigned nesting, Node **file, GError **err)
{
    g_autoptr(json_t) child = json_has(o, "file") && json_is_object(json_get(o, "file"))
                                  ? json_incref(json_get(o, "file")) : json_object();
    Node shape = { .flags = flags };
    OpenFlags child_flags = node_child_flags(&shape, ROLE_STORAGE) | OPEN_PROTOCOL;

    if (json_is_string(json_get(o, "file"))) {
        *file = node_to_use(json_string_value(json_get(o, "file")), err);
        if (!*file)
            return NULL;
    } else if (!filename && !json_has(o, "file")) {
        err_set(err, EINVAL, "The options name neither a 'driver' nor a 'file'");
        return NULL;
    } else {
        *file = node_open(filename, json_incref(child), child_flags, nesting + 1, err);
        if (!*file)
            return NULL;
        json_put_str(o, "file", (*file)->name);
    }
    return probe_format(*file, filename, err);
}

/* Remembers that the format was guessed, and tells who may write. The lines are the reference's. */
static void node_set_probed_raw(Node *n, const char *filename)
{
    g_autofree char *shown = printable(filename ? filename : node_filename(n));

    n->probed_raw = true;
    if (n->flags & OPEN_RDWR)
        fprintf(stderr,
                "WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
                "         Automatically detecting the format is dangerous for raw images, write "
                "operations on block 0 will be restricted.\n"
                "         Specify the 'raw' format explicitly to remove the restrictions.\n",
                shown);
}

/* One layer of a chain. */
static CO Node *node_open_layer(const char *filename, json_t *o, OpenFlags flags, unsigned nesting,
                                GError **err)
{
    const char *name = json_get_str(o, "driver", NULL);
    const BlockDriver *d = name ? driver_find(name) : NULL;
    g_autoptr(Node) file = NULL;
    Node *n;

    if (name && !d) {
        driver_unknown("driver", name, err);
        return NULL;
    }
    if (flags & OPEN_PROTOCOL || (d && (d->kind == BLK_PROTOCOL || d->prefix))) {
        if (filename && !options_from_filename(filename, o, err))
            return NULL;
        if (!filename && !d && json_has(o, "filename")) {
            d = driver_for_filename(json_get_str(o, "filename", ""), false, err);
            if (!d)
                return NULL;
        }
        d = d ? d : driver_find(json_get_str(o, "driver", ""));
        if (!d) {
            err_set(err, EINVAL, "The options name no driver");
            return NULL;
        }
    } else if (!d) {
        d = node_open_probed(filename, o, flags, nesting, &file, err);
        if (!d)
            return NULL;
    } else if (filename) {
        json_t *child = file_described(o, err);

        if (!child)
            return NULL;
        if (json_has(child, "filename")) {
            err_set(err, EINVAL, "Both a file name and the option 'file.filename' are given");
            return NULL;
        }
        if (!options_from_filename(filename, child, err))
            return NULL;
    }
    n = node_open_driver(d, o, flags & ~OPEN_PROTOCOL, nesting, err);
    if (n && file && d == driver_find("raw"))
        node_set_probed_raw(n, filename);
    return n;
}

/* The lowest node of @n's own storage. */
static const Node *node_bottom(const Node *n)
{
    const Node *below;

    while ((below = node_storage(n)) || (below = node_filtered(n)))
        n = below;
    return n;
}

/* @options with what a json: name in *@filename says; *@filename is then NULL. New reference. */
static json_t *options_prepare(const char **filename, json_t *options, GError **err)
{
    g_autoptr(json_t) o = options ? options : json_object();

    if (!keyval_nest(o, err))
        return NULL;
    if (*filename && g_str_has_prefix(*filename, "json:")) {
        if (!options_from_json_name(*filename, o, err))
            return NULL;
        *filename = NULL;
    }
    if (json_is_string(json_get(o, "backing")) && !*json_get_str(o, "backing", "")) {
        block_warn("\"backing\": \"\" is an old way to say null");
        json_put(o, "backing", json_null());
    }
    return g_steal_pointer(&o);
}

/* One layer from a name and options, which are taken. */
static CO Node *node_open_alone(const char *filename, json_t *options, OpenFlags flags,
                                unsigned nesting, GError **err)
{
    g_autoptr(json_t) o = options_prepare(&filename, options, err);
    Node *n;

    if (!o)
        return NULL;
    if (nesting >= NESTING_MAX) {
        err_set(err, ELOOP, "The nodes described are nested more than %d deep", NESTING_MAX);
        return NULL;
    }
    n = node_open_layer(filename, o, flags, nesting, err);
    if (n)
        TRACE(node_open, "%s '%s' driver=%s size=%" PRIu64 " flags=0x%x", n->name, node_filename(n),
              n->drv->name, n->size, n->flags);
    return n;
}

/* ---- backing files -------------------------------------------------------------------------- */

char *node_backing_full(const Node *n, GError **err)
{
    if (!n->backing_stored)
        return NULL;
    return filename_combine(node_filename(node_bottom(n)), n->backing_stored, err);
}

static bool identity_is(FileIdentity a, FileIdentity b)
{
    return a.device == b.device && a.inode == b.inode;
}

bool node_is_same_file(const Node *a, const Node *b)
{
    a = node_bottom(a);
    b = node_bottom(b);
    return a->has_identity && b->has_identity && identity_is(a->identity, b->identity);
}

/* Which file @filename means; false if there is none or none of this machine. */
static bool filename_identify(const char *filename, FileIdentity *id)
{
    const BlockDriver *d = driver_for_filename(filename, true, NULL);

    return d && d->identify && d->identify(filename, id);
}

bool filename_is_same(const char *a, const char *b)
{
    FileIdentity one, other;

    if (!strcmp(a, b))
        return true;
    return filename_identify(a, &one) && filename_identify(b, &other) && identity_is(one, other);
}

/* True if protocol node @n is what @filename means to a driver whose names are no files. */
static bool node_is_named(const Node *n, const char *filename)
{
    g_autoptr(json_t) named = json_object(), strong = NULL;

    if (driver_for_filename(filename, true, NULL) != n->drv || !n->drv->parse_filename ||
        !n->drv->parse_filename(filename, named, NULL))
        return false;
    strong = options_strong(n->drv, named);
    return json_equal(strong, n->given);
}

bool node_is_file_named(const Node *n, const char *filename)
{
    FileIdentity id;

    if (!strcmp(node_filename(n), filename))
        return true;
    n = node_bottom(n);
    if (!n->has_identity)
        return node_is_named(n, filename);
    return filename_identify(filename, &id) && identity_is(n->identity, id);
}

bool node_reads_file_named(const Node *n, const char *filename)
{
    FileIdentity id;

    return n->drv->reads_file && filename_identify(filename, &id) && n->drv->reads_file(n, id);
}

bool node_is_same_bytes(const Node *a, const Node *b)
{
    return a->has_identity ? node_is_same_file(a, b)
                           : a->drv == b->drv && json_object_size(a->given) &&
                                 json_equal(a->given, b->given);
}

/* False if @n, the newest layer of the chain from @top, is one of the layers above it. */
static bool chain_check_loop(Node *top, const Node *n, GError **err)
{
    for (Node *above = node_skip_filters(top); above && above != n;
         above = node_skip_filters(node_backing_chain_next(above)))
        if (node_is_same_file(above, n))
            return err_set(err, ELOOP, "'%s' is its own backing file, directly or over others",
                           node_filename(n));
    return true;
}

/* Makes @child a child of @n, which gets a reference of its own. */
static CO bool child_attach(Node *n, const char *key, Role role, Node *child, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    edit_attach(edit, n, key, role, child);
    return edit_commit(edit, err);
}

/* Options for the backing file of @n: those given, with the stored format as a default. */
static json_t *backing_options(const Node *n)
{
    json_t *given = json_get(n->options, "backing");
    json_t *o = json_is_object(given) ? json_copy(given) : json_object();

    if (n->backing_format_stored && !json_has(o, "driver"))
        json_put_str(o, "driver", n->backing_format_stored);
    return o;
}

/*
 * True if @o, the options of a node or of several, say themselves where its bytes are. Otherwise
 * the name that the image above stores is taken for the innermost file.
 */
static bool options_name_a_place(const json_t *o)
{
    static const char *const places[] = { "filename", "server", "path", "host" };
    static const char *const below[] = { "file", "image", "raw", "test", "children" };
    json_t *v;
    size_t i;

    if (json_is_string(o))
        return true; /* of a node that is there */
    json_array_foreach((json_t *)o, i, v) {
        if (options_name_a_place(v))
            return true;
    }
    for (i = 0; i < G_N_ELEMENTS(places); i++)
        if (json_has(o, places[i]))
            return true;
    for (i = 0; i < G_N_ELEMENTS(below); i++)
        if (json_has(o, below[i]) && options_name_a_place(json_get(o, below[i])))
            return true;
    return false;
}

/*
 * Opens the next layer below @n, which has none yet. True with *@next NULL where the chain ends.
 */
static CO bool chain_open_next(Node *n, Node **next, GError **err)
{
    json_t *given = json_get(n->options, "backing");
    g_autofree char *filename = NULL;
    g_autoptr(Node) backing = NULL;

    *next = NULL;
    if (n->flags & OPEN_NO_BACKING && given && !json_is_null(given))
        return err_set(err, EINVAL, "Options for the backing file of '%s' were given where it is "
                       "not opened", node_filename(n));
    if (!node_may_have_backing(n) || n->flags & OPEN_NO_BACKING || json_is_null(given) ||
        (n->flags & OPEN_GIVEN_BACKING && !given) || node_backing(n))
        return true;
    if (json_is_string(given)) {
        backing = node_to_use(json_string_value(given), err);
        if (!backing)
            return false;
    } else {
        if (!given && !n->backing_stored)
            return true;
        if (!options_name_a_place(given) && n->backing_stored) {
            /* Options that name no file leave the choice of the backing file to the image. */
            if (n->flags & OPEN_UNTRUSTED)
                return err_set(err, EPERM, "Image '%s' wants the backing file '%s', which was not "
                               "named", node_filename(n), n->backing_stored);
            filename = node_backing_full(n, err);
            if (!filename)
                return false;
        }
        backing = node_open_alone(filename, backing_options(n), node_child_flags(n, ROLE_BACKING),
                                  n->nesting, err);
        if (!backing)
            return err_prefix(err, "Could not open backing file of '%s': ", node_filename(n));
    }
    if (n->drv->backing_check && !n->drv->backing_check(n, node_skip_filters(backing), err))
        return false;
    if (!child_attach(n, "backing", ROLE_BACKING, backing, err))
        return false;
    n->backing_is_given = given != NULL;
    *next = backing;
    return true;
}

/* Opens all of the chain below @top. */
static CO bool chain_open(Node *top, GError **err)
{
    Node *n = top;

    while ((n = node_skip_filters(n))) {
        Node *next;

        if (!chain_open_next(n, &next, err))
            return false;
        if (!next)
            break;
        if (!chain_check_loop(top, node_skip_filters(next), err))
            return false;
        n = next;
    }
    node_refresh_filename(top);
    return true;
}

/* From now on others may use @top and the layers below it. */
static void chain_opened(Node *top)
{
    for (Node *n = top; n && n->state == NODE_OPENING; n = node_backing_chain_next(n)) {
        n->state = n->starts_inactive ? NODE_INACTIVE : NODE_ACTIVE;
        if (n->starts_inactive)
            dirty_drop_stored(n);
        n->starts_inactive = false;
    }
}

static CO Node *open_held(const char *filename, json_t *options, OpenFlags flags, unsigned nesting,
                          GError **err)
{
    g_autoptr(Node) n = node_open_alone(filename, options, flags, nesting, err);

    if (!n || !chain_open(n, err))
        return NULL;
    chain_opened(n);
    return g_steal_pointer(&n);
}

CO Node *node_open(const char *filename, json_t *options, OpenFlags flags, unsigned nesting,
                   GError **err)
{
    Node *n;

    home_hold(); /* drivers read from nodes that exist already, here on the main loop */
    n = open_held(filename, options, flags, nesting, err);
    home_release();
    return n;
}

/* ---- children for drivers ------------------------------------------------------------------- */

/* The member of @options at @key, which may be "children.0". */
static const json_t *child_option(const json_t *options, const char *key)
{
    const char *dot = strchr(key, '.');
    g_autofree char *list = dot ? g_strndup(key, dot - key) : NULL;

    if (!dot)
        return json_get(options, key);
    return json_array_get(json_get(options, list), g_ascii_strtoull(dot + 1, NULL, 10));
}

CO Edge *node_open_child(Node *n, const char *key, const char *filename, const json_t *options,
                         Role role, bool optional, GError **err)
{
    const json_t *value = child_option(options, key);
    OpenFlags flags = node_child_flags(n, role);
    g_autoptr(Node) child = NULL;

    if (!value && !filename) {
        if (!optional)
            err_set(err, EINVAL, "Node of driver '%s' needs the option '%s'", n->drv->name, key);
        return NULL;
    }
    if (role != ROLE_IMAGE && role != ROLE_BACKING)
        flags |= OPEN_PROTOCOL;
    child = json_is_string(value) ? node_to_use(json_string_value(value), err)
                                  : node_open(filename, value ? json_deep_copy(value) : NULL, flags,
                                              n->nesting + 1, err);
    if (!child)
        return NULL;
    if (role == ROLE_DATA && node_storage(n) && node_is_same_file(node_storage(n), child)) {
        err_set(err, ELOOP, "'%s' cannot be its own data file", node_filename(child));
        return NULL;
    }
    return child_attach(n, key, role, child, err) ? n->children->pdata[n->children->len - 1] : NULL;
}
