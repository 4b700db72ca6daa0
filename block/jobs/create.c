/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * create: makes a file, or a format on a node that is there. amend: changes what an image says of
 * itself. The options are those of the schema, which have other names than those of -o here and
 * there.
 */
#include "block/internal.h"
#include "block/jobs/kinds.h"
#include <string.h>

typedef struct {
    const BlockDriver *drv;
    json_t *options;        /* as the command gave them; a reference */
    Node *node;             /* to be amended; a reference */
    bool force;
} Work;

/* ---- options --------------------------------------------------------------------------------- */

static bool table_has(const CreateOpt *table, const char *name)
{
    for (; table && table->name; table++)
        if (!strcmp(table->name, name))
            return true;
    return false;
}

/* The name in @table of what the schema calls @key. Caller frees; NULL with @err. */
static char *option_name(const CreateOpt *table, const char *key, GError **err)
{
    g_autofree char *name = g_strdup(key);

    if (table_has(table, name))
        return g_steal_pointer(&name);
    g_strdelimit(name, "-", '_');
    if (table_has(table, name))
        return g_steal_pointer(&name);
    err_set(err, ENOTSUP, "Option '%s' cannot be given to a job", key);
    return NULL;
}

static bool option_put(json_t *opts, const CreateOpt *table, const char *key, json_t *v,
                       GError **err)
{
    g_autofree char *name = option_name(table, key, err);

    if (name)
        json_object_set(opts, name, v);
    return name;
}

/*
 * The members of "encrypt" by dotted names; the format is known from the image when it is amended.
 */
static bool encrypt_put(json_t *opts, const CreateOpt *table, json_t *encrypt, GError **err)
{
    const char *key;
    json_t *v;

    json_object_foreach(encrypt, key, v) {
        g_autofree char *dotted = g_strconcat("encrypt.", key, NULL);

        if (!strcmp(key, "format") && !table_has(table, dotted))
            continue;
        if (!table_has(table, dotted))
            return err_set(err, ENOTSUP, "Option '%s' cannot be given to a job", dotted);
        json_object_set(opts, dotted, v);
    }
    return true;
}

/* What @table knows of @options; nodes are left out. NULL with @err. */
static json_t *options_for(const BlockDriver *drv, const CreateOpt *table, const json_t *options,
                           GError **err)
{
    g_autoptr(json_t) opts = json_object();
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)options, key, v) {
        bool ok = true;

        if (!strcmp(key, "driver") || !strcmp(key, "file") || !strcmp(key, "data-file") ||
            (drv->kind == BLK_PROTOCOL &&
             (!strcmp(key, "filename") || !strcmp(key, "location"))))
            continue;
        if (!strcmp(key, "encrypt"))
            ok = encrypt_put(opts, table, v, err);
        else if (!strcmp(key, "version") && table_has(table, "compat"))
            json_put_str(opts, "compat", strcmp(json_string_value(v), "v2") ? "1.1" : "0.10");
        else
            ok = option_put(opts, table, key, v, err);
        if (!ok)
            return NULL;
    }
    return create_opts_check(drv, NULL, opts, err) ? g_steal_pointer(&opts) : NULL;
}

/* ---- create ---------------------------------------------------------------------------------- */

/* The node that option @key names or describes, a reference. NULL with @err. */
static CO Node *node_given(const json_t *options, const char *key, GError **err)
{
    const json_t *v = json_get(options, key);
    Node *n;

    if (!json_is_string(v))
        return node_open(NULL, json_deep_copy(v), OPEN_RDWR | OPEN_RESIZE, 0, err);
    n = node_find(json_string_value(v));
    if (n)
        return node_ref(n);
    err_set(err, ENOENT, "Cannot find device='%s' nor node-name='%s'", json_string_value(v),
            json_string_value(v));
    return NULL;
}

static CO bool create_format(const Work *w, json_t *opts, GError **err)
{
    g_autoptr(Node) file = node_given(w->options, "file", err), data = NULL;

    if (!file)
        return false;
    if (json_has(w->options, "data-file")) {
        data = node_given(w->options, "data-file", err);
        if (!data)
            return false;
        json_put_str(opts, "data_file", node_filename(data));
        json_put_str(opts, "#data-node", data->name);
    }
    json_put_str(opts, "#node", file->name);
    return w->drv->create(node_filename(file), opts, err);
}

static CO bool create_run(Job *j, GError **err)
{
    const Work *w = job_state(j);
    g_autoptr(json_t) opts = options_for(w->drv, w->drv->create_opts, w->options, err);
    const char *name = json_get_str(w->options, "filename", NULL);
    int64_t size = json_get_int(w->options, "size", 0);

    j->done = 1;
    if (!opts)
        return false;
    if (size % 512)
        return err_set(err, EINVAL, "Image size must be a multiple of 512 bytes");
    if (w->drv->kind != BLK_PROTOCOL)
        return create_format(w, opts, err);
    if (name && node_find_file(name))
        return err_set(err, EBUSY, "'%s' is in use", name);
    if (!name)
        json_object_set(opts, "#location", json_get(w->options, "location"));
    return w->drv->create(name, opts, err);
}

static CO void work_clean(Job *j)
{
    Work *w = job_state(j);

    json_decref(w->options);
    node_unref(w->node);
    *w = (Work){};
}

static const JobDriver job_create = {
    .type = JOB_TYPE_CREATE,
    .state_size = sizeof(Work),
    .starts_at_once = true,
    .run = create_run,
    .clean = work_clean,
};

CO bool create_start(const char *id, json_t *options, GError **err)
{
    const BlockDriver *drv = driver_find(json_get_str(options, "driver", ""));
    JobArgs args = { .id = id, .auto_finalize = true };
    Work *w;
    Job *j;

    if (!drv || !drv->create || !drv->create_opts ||
        !(json_has(options, "file") || json_has(options, "filename") ||
          json_has(options, "location")))
        return err_set(err, ENOTSUP, "Driver does not support blockdev-create");
    j = job_new(&job_create, &args, err);
    if (!j)
        return false;
    w = job_state(j);
    *w = (Work){ .drv = drv, .options = json_incref(options) };
    j->total = 1;
    job_start(j);
    return true;
}

/* ---- amend ----------------------------------------------------------------------------------- */

typedef struct {
    const Work *work;
    json_t *opts;
} AmendStep;

static CO bool amend_prepare(void *step, GError **err)
{
    const AmendStep *s = step;

    return s->work->drv->amend(s->work->node, s->opts, s->work->force, err);
}

static const EditOps amend_ops = { .prepare = amend_prepare };

static CO bool amend_run(Job *j, GError **err)
{
    const Work *w = job_state(j);
    g_autoptr(json_t) opts = options_for(w->drv, w->drv->amend_opts, w->options, err);
    AmendStep step = { .work = w, .opts = opts };
    g_autoptr(Edit) edit = NULL;

    j->done = 1;
    if (!opts)
        return false;
    if (!json_object_size(opts))
        return true;
    edit = edit_begin();
    edit_still(edit, w->node);
    edit_add(edit, &amend_ops, &step);
    return edit_commit(edit, err);
}

static const JobDriver job_amend = {
    .type = JOB_TYPE_AMEND,
    .state_size = sizeof(Work),
    .starts_at_once = true,
    .run = amend_run,
    .clean = work_clean,
};

CO bool amend_start(const char *id, Node *n, json_t *options, bool force, GError **err)
{
    JobArgs args = { .id = id, .auto_finalize = true };
    const BlockDriver *drv = node_driver(n);
    Work *w;
    Job *j;

    if (strcmp(json_get_str(options, "driver", ""), drv->name))
        return err_set(err, EINVAL, "x-blockdev-amend doesn't support changing the block driver");
    if (!drv->amend || !drv->amend_opts)
        return err_set(err, ENOTSUP, "Driver does not support x-blockdev-amend");
    if (node_is_read_only(n))
        return err_set(err, EACCES, "'%s' is read-only", node_filename(n));
    if (!node_check_idle(n, err))
        return false;
    j = job_new(&job_amend, &args, err);
    if (!j)
        return false;
    w = job_state(j);
    *w = (Work){ .drv = drv, .options = json_incref(options), .node = node_ref(n), .force = force };
    job_use_node(j, n);
    j->total = 1;
    job_start(j);
    return true;
}
