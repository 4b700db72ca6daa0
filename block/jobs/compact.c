/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x-compact: makes the file of an image as short as what is in it, while it is used. The format
 * does it in short steps, each with requests waiting; between two steps they run.
 */
#include "block/jobs/kinds.h"

typedef struct {
    Handle *handle;
    CompactState state;
} Compact;

static CO bool compact_run(Job *j, GError **err)
{
    Compact *c = job_state(j);
    CompactState *s = &c->state;

    while (!s->finished && !job_must_end(j)) {
        uint64_t before = s->done;

        job_pause_point(j);
        if (job_must_end(j) || !job_pace_wait(j))
            continue;
        if (!handle_compact(c->handle, s, err))
            return false;
        j->done = s->done;
        j->total = s->total;
        job_pace_add(j, s->done - before);
        co_yield();
    }
    return true;
}

static const JobDriver job_compact = {
    .type = JOB_TYPE_X_COMPACT,
    .state_size = sizeof(Compact),
    .is_block = true,
    .run = compact_run,
};

CO bool compact_start(const JobArgs *args, Node *n, GError **err)
{
    g_autoptr(Edit) edit = NULL;
    Compact *c;
    Job *j;

    if (!node_can_compact(n, err) || !node_check_idle(n, err))
        return false;
    j = job_new(&job_compact, args, err);
    if (!j)
        return false;
    c = job_state(j);
    edit = edit_begin();
    c->handle = job_attach(j, edit, n, ACCESS_UNCHANGED, ACCESS_ALL);
    if (!edit_commit(edit, err)) {
        g_clear_pointer(&edit, edit_free);
        job_drop(j, false);
        return false;
    }
    job_start(j);
    return true;
}
