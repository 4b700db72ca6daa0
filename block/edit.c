/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edits: lists of steps that happen together or not at all. */
#include "block/edit.h"
#include "block/home.h"
#include "block/internal.h"
#include "util/trace.h"

typedef struct {
    const EditOps *ops;
    void *data;
} Step;

struct Edit {
    GArray *steps;        /* of Step */
    GPtrArray *still;     /* of Node, a reference each: no requests above */
    GPtrArray *access;    /* of Node, a reference each: access changes from here down */
    bool is_release;      /* every step only takes something away: there is nothing to check */
    bool is_over;         /* committed, or failed: others may begin */
};

/* One edit after the other. Main loop only. */
static CoMutex editing;
static Co *editor;        /* who holds it */

CO Edit *edit_begin(void)
{
    Edit *edit = g_new0(Edit, 1);

    g_assert(editor != co_self()); /* it would wait for itself */
    home_hold();
    co_mutex_lock(&editing);
    editor = co_self();

    edit->steps = g_array_new(false, false, sizeof(Step));
    edit->still = g_ptr_array_new();
    edit->access = g_ptr_array_new();
    edit->is_release = true;
    return edit;
}

static CO void nodes_unref(GPtrArray *nodes)
{
    for (guint i = 0; i < nodes->len; i++)
        node_unref(nodes->pdata[i]);
    g_ptr_array_free(nodes, true);
}

static Step *step_at(const Edit *edit, guint i)
{
    return &g_array_index(edit->steps, Step, i);
}

static void edit_end(Edit *edit)
{
    edit->is_over = true;
    editor = NULL;
    co_mutex_unlock(&editing);
    home_release();
}

CO void edit_free(Edit *edit)
{
    if (!edit)
        return;
    if (!edit->is_over)
        edit_end(edit);
    for (guint i = edit->steps->len; i-- > 0;) {
        const Step *s = step_at(edit, i);

        if (s->ops->free)
            s->ops->free(s->data);
    }
    nodes_unref(edit->still);
    nodes_unref(edit->access);
    g_array_free(edit->steps, true);
    g_free(edit);
}

void edit_add(Edit *edit, const EditOps *ops, void *step)
{
    Step s = { .ops = ops, .data = step };

    g_array_append_val(edit->steps, s);
    edit->is_release = edit->is_release && ops == &edit_detach_ops;
}

void edit_still(Edit *edit, Node *n)
{
    g_ptr_array_add(edit->still, node_ref(n));
}

void edit_access_below(Edit *edit, Node *n)
{
    g_ptr_array_add(edit->access, node_ref(n));
}

/* ---- committing ----------------------------------------------------------------------------- */

/* How many of the first steps were applied. */
static guint steps_apply(const Edit *edit, GError **err)
{
    for (guint i = 0; i < edit->steps->len; i++) {
        const Step *s = step_at(edit, i);

        if (s->ops->apply && !s->ops->apply(s->data, err))
            return i;
    }
    return edit->steps->len;
}

static CO void steps_undo(const Edit *edit, guint applied)
{
    while (applied-- > 0) {
        const Step *s = step_at(edit, applied);

        if (s->ops->undo)
            s->ops->undo(s->data);
    }
}

/* Prepares all steps or none. */
static CO bool steps_prepare(const Edit *edit, GError **err)
{
    guint i;

    for (i = 0; i < edit->steps->len; i++) {
        const Step *s = step_at(edit, i);

        if (s->ops->prepare && !s->ops->prepare(s->data, err))
            break;
    }
    if (i == edit->steps->len)
        return true;
    while (i-- > 0) {
        const Step *s = step_at(edit, i);

        if (s->ops->abort)
            s->ops->abort(s->data);
    }
    return false;
}

static CO void steps_settle(const Edit *edit)
{
    for (guint i = 0; i < edit->steps->len; i++) {
        const Step *s = step_at(edit, i);

        if (s->ops->settle)
            s->ops->settle(s->data);
    }
}

/* All of it, in a graph that is still. */
static CO bool edit_run(Edit *edit, GError **err)
{
    guint applied = steps_apply(edit, err);
    AccessChange *access = NULL;

    if (applied == edit->steps->len &&
        (access = access_change(edit->access, edit->is_release, err)) &&
        access_change_lock(access, err) && steps_prepare(edit, err)) {
        steps_settle(edit);
        access_change_settle(access);
        return true;
    }
    if (access)
        access_change_undo(access);
    steps_undo(edit, applied);
    return false;
}

CO bool edit_commit(Edit *edit, GError **err)
{
    Gates *gates;
    bool ok;

    gates = gates_close(edit->still);
    ok = edit_run(edit, err);
    TRACE(edit_commit, "steps=%u ok=%d", edit->steps->len, ok);
    gates_open(gates);
    edit_end(edit);
    gates_free(gates);
    return ok;
}
