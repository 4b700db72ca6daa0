/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/power-cut-jobs.h"
#include "block/jobs/kinds.h"
#include "io/loop.h"

enum { SMALL = 16 * 1024 };

static const JobArgs with_name = { .id = "j", .auto_finalize = true };

/*
 * Until job j has ended well; completes it when it is ready. With @pc, the image is written
 * meanwhile.
 */
static CO void finish(PowerCut *pc)
{
    GError *err = NULL;
    Job *j = job_find("j");
    bool is_asked = false;

    while (j->status != JOB_STATUS_CONCLUDED) {
        if (job_is_ready(j) && !is_asked) {
            is_asked = true;
            job_complete(j, &err);
            g_assert_no_error(err);
        } else if (pc && !is_asked) {
            power_cut_mix(pc, 1, SMALL);
        }
        co_sleep(100000);
    }
    g_assert_no_error(j->error);
    job_dismiss(j, &err);
    g_assert_no_error(err);
}

CO void power_cut_stream(PowerCut *pc)
{
    StreamArgs args = { .job = with_name, .node = power_cut_want(pc, ACCESS_READ | ACCESS_WRITE) };
    GError *err = NULL;

    args.bottom = node_backing(args.node);
    power_cut_mix(pc, 5, SMALL);
    stream_start(&args, &err);
    g_assert_no_error(err);
    finish(pc);
    /* Without the base: nothing may be missing. */
    g_assert_null(node_backing(args.node));
    power_cut_mix(pc, 5, SMALL);
}

CO void power_cut_commit(PowerCut *pc)
{
    Node *top = power_cut_want(pc, ACCESS_READ | ACCESS_WRITE);
    CommitArgs args = { .job = with_name, .active = top, .top = top, .base = node_backing(top) };
    GError *err = NULL;

    power_cut_mix(pc, 15, SMALL);
    commit_active_start(&args, &err);
    g_assert_no_error(err);
    finish(pc);
    g_assert_true(handle_node(power_cut_handle(pc)) == args.base);
}

CO void power_cut_mirror(PowerCut *pc)
{
    MirrorArgs args = { .job = with_name, .source = node_find(POWER_CUT_BASE_B),
                        .target = power_cut_want(pc, 0), .sync = MIRROR_SYNC_MODE_FULL };
    GError *err = NULL;

    power_cut_becomes(pc, POWER_CUT_BASE_B);
    mirror_start(&args, &err);
    g_assert_no_error(err);
    finish(NULL);
    power_cut_is_durable(pc);
}

CO void power_cut_backup(PowerCut *pc)
{
    BackupArgs args = { .job = with_name, .source = node_find(POWER_CUT_BASE_B),
                        .target = power_cut_want(pc, 0), .sync = MIRROR_SYNC_MODE_FULL };
    Edit *edit = edit_begin();
    GError *err = NULL;
    bool ok;
    Job *j = backup_new(&args, edit, &ok, &err);

    g_assert_no_error(err);
    g_assert_true(ok && edit_commit(edit, &err));
    edit_free(edit);
    power_cut_becomes(pc, POWER_CUT_BASE_B);
    job_start(j);
    finish(NULL);
    power_cut_is_durable(pc);
}
