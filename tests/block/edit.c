/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edits of the graph: all or nothing, one after the other, and nobody inside while they happen. */
#include "block/internal.h"
#include "block/jobs/filter.h"
#include "io/co-lock.h"
#include "tests/lib/edits.h"
#include "tests/lib/harness.h"
#include "tests/lib/memdisk.h"
#include "qapi/object.h"
#include <string.h>

enum { SIZE = 64 << 10 };

#define MS INT64_C(1000000)

/* ---- a filter that knows how many requests are inside --------------------------------------- */

static unsigned inside, inside_most;

static CO int slow_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r;

    inside++;
    inside_most = MAX(inside_most, inside);
    co_sleep(MS / 5);
    r = edge_pwrite(node_edge(n, ROLE_FILTERED), off, buf, flags);
    inside--;
    return r;
}

static const BlockDriver block_slow = { .name = "slow", .kind = BLK_FILTER, .pwrite = slow_pwrite };

static Node *slow_new(const char *name, Node *below)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Edit) edit = edit_begin();
    Node *n = node_new(&block_slow, name, &err);

    g_assert_no_error(err);
    n->flags = OPEN_RDWR;
    n->options = json_object();
    n->given = json_object();
    n->is_open = true;
    n->state = NODE_ACTIVE;
    node_set_size(n, SIZE);
    edit_attach(edit, n, "file", ROLE_FILTERED, below);
    edit_commit(edit, &err);
    g_assert_no_error(err);
    return n;
}

static Node *disk_node_new(const char *name)
{
    static const uint8_t zeroes[SIZE];

    return memdisk_new_scratch(name, zeroes, SIZE, SIZE);
}

static CO Handle *user_new(Node *n, unsigned needs, unsigned shares)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_new(n, HANDLE_USER, needs, shares, &err);

    g_assert_no_error(err);
    return h;
}

/* ---- a step that looks around while it prepares --------------------------------------------- */

static unsigned editing;

static CO bool watch_prepare(void *step, GError **err)
{
    g_assert_cmpuint(editing++, ==, 0);
    for (int i = 0; i < 5; i++) {
        g_assert_cmpuint(inside, ==, 0);
        co_sleep(MS / 10);
    }
    editing--;
    return !step || err_set(err, ECANCELED, "As the test wants it");
}

static const EditOps watch_ops = { .prepare = watch_prepare };

typedef struct {
    Handle *h;
    bool is_over;
} Writer;

static CO void writer_run(void *arg)
{
    Writer *w = arg;
    uint8_t buf[512] = { 1 };

    while (!w->is_over)
        g_assert_cmpint(handle_pwrite(w->h, 0, span_of(buf, sizeof(buf)), 0), ==, 0);
}

static CO void editor_run(void *arg)
{
    for (int i = 0; i < 10; i++) {
        g_autoptr(Edit) edit = edit_begin();

        edit_still(edit, arg);
        edit_add(edit, &watch_ops, i % 2 ? arg : NULL);
        g_assert_cmpint(edit_commit(edit, NULL), ==, i % 2 == 0);
    }
}

/* Several edits at once: each has the graph for itself, whether those before it failed or not. */
static CO void test_edits_at_once_let_no_request_in(void)
{
    g_autoptr(Node) disk = disk_node_new("disk"), slow = slow_new("slow", disk);
    CoGroup editors = {}, writers = {};
    Writer w[3];

    for (size_t i = 0; i < G_N_ELEMENTS(w); i++) {
        w[i] = (Writer){ .h = user_new(slow, ACCESS_WRITE, ACCESS_ALL) };
        co_group_start(&writers, writer_run, &w[i]);
    }
    for (int i = 0; i < 3; i++)
        co_group_start(&editors, editor_run, i % 2 ? disk : slow);
    co_group_wait(&editors);
    for (size_t i = 0; i < G_N_ELEMENTS(w); i++)
        w[i].is_over = true;
    co_group_wait(&writers);
    g_assert_cmpuint(inside_most, ==, G_N_ELEMENTS(w));
    for (size_t i = 0; i < G_N_ELEMENTS(w); i++)
        handle_close(w[i].h);
}

/* ---- a user's request that waits for a job's ------------------------------------------------ */

static Handle *mirror_job;

/* As a mirror does: the user's write ends when the job has written it to its target, too. */
static CO int mirror_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = edge_pwrite(node_edge(n, ROLE_FILTERED), off, buf, flags);

    co_yield();
    return r < 0 ? r : handle_pwrite(mirror_job, off, buf, 0);
}

static const BlockDriver block_mirroring = {
    .name = "mirroring", .kind = BLK_FILTER, .pwrite = mirror_pwrite,
};

/* With both gates closed at once a write already inside could never end. */
static CO void test_users_are_still_before_jobs(void)
{
    g_autoptr(Node) disk = disk_node_new("disk"), top = slow_new("top", disk);
    Writer w[4];
    CoGroup writers = {};

    top->drv = &block_mirroring;
    mirror_job = handle_new(disk, HANDLE_JOB, ACCESS_WRITE, ACCESS_ALL, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(w); i++) {
        w[i] = (Writer){ .h = user_new(top, ACCESS_WRITE, ACCESS_ALL) };
        co_group_start(&writers, writer_run, &w[i]);
    }
    for (int i = 0; i < 200; i++) {
        g_autoptr(Edit) edit = edit_begin();

        edit_still(edit, disk);
        g_assert_true(edit_commit(edit, NULL));
        co_yield();
    }
    for (size_t i = 0; i < G_N_ELEMENTS(w); i++)
        w[i].is_over = true;
    co_group_wait(&writers);
    for (size_t i = 0; i < G_N_ELEMENTS(w); i++)
        handle_close(w[i].h);
    handle_close(mirror_job);
}

/* ---- access --------------------------------------------------------------------------------- */

/* A node cannot become read-only while somebody else writes to it; nothing of the attempt stays. */
static CO void test_reopening_read_only_beside_a_writer_is_refused(void)
{
    g_autofree char *path = test_path("a"), *desc = NULL;
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;
    uint8_t buf[512] = { 7 };
    Handle *h, *writer;

    json_put_int(opts, "size", SIZE);
    g_assert_true(image_create(path, "raw", opts, NULL));
    desc = g_strdup_printf("json:{'driver':'raw','file':{'driver':'file','filename':'%s'}}", path);
    h = handle_open(desc, NULL, OPEN_RDWR, &err);
    g_assert_no_error(err);
    writer = user_new(handle_node(h), ACCESS_WRITE, ACCESS_ALL);
    g_assert_false(handle_reopen(h, NULL, node_flags(handle_node(h)) & ~OPEN_RDWR, &err));
    g_assert_error(err, FERRY_ERROR, EACCES);
    g_assert_true(handle_is_writable(h));
    g_assert_cmpint(handle_pwrite(writer, 0, span_of(buf, sizeof(buf)), 0), ==, 0);
    handle_close(writer);
    g_clear_error(&err);
    handle_reopen(h, NULL, node_flags(handle_node(h)) & ~OPEN_RDWR, &err);
    g_assert_no_error(err);
    g_assert_cmpint(handle_pwrite(h, 0, span_of(buf, sizeof(buf)), 0), <, 0);
    handle_close(h);
}

/* A second user that does not share writing is refused, and the first one keeps what it has. */
static CO void test_refused_user_leaves_access_as_it_was(void)
{
    g_autoptr(Node) disk = disk_node_new("disk"), slow = slow_new("slow", disk);
    Handle *h = user_new(slow, ACCESS_WRITE, ACCESS_ALL);
    const Edge *below = node_edge(slow, ROLE_FILTERED);
    g_autoptr(GError) err = NULL;

    g_assert_cmpuint(below->needs, ==, ACCESS_WRITE);
    g_assert_null(handle_new(slow, HANDLE_USER, ACCESS_READ, ACCESS_READ, &err));
    g_assert_error(err, FERRY_ERROR, EBUSY);
    g_assert_cmpuint(below->needs, ==, ACCESS_WRITE);
    g_assert_cmpuint(below->shares, ==, ACCESS_ALL);
    g_assert_cmpuint(slow->parents->len, ==, 1);
    handle_close(h);
    g_assert_cmpuint(below->needs, ==, 0);
}

/* ---- shape ---------------------------------------------------------------------------------- */

static CO void test_circles_are_refused(void)
{
    g_autoptr(Node) disk = disk_node_new("disk"), low = slow_new("low", disk),
                    high = slow_new("high", low);
    g_autoptr(Edit) attach = edit_begin(), repoint = NULL;
    g_autoptr(GError) err = NULL;

    edit_attach(attach, low, "backing", ROLE_BACKING, high);
    g_assert_false(edit_commit(attach, &err));
    g_assert_error(err, FERRY_ERROR, ELOOP);
    g_clear_error(&err);
    repoint = edit_begin();
    edit_repoint(repoint, node_edge(low, ROLE_FILTERED), high);
    g_assert_false(edit_commit(repoint, &err));
    g_assert_error(err, FERRY_ERROR, ELOOP);
    g_assert_true(node_filtered(low) == disk);
    g_assert_null(node_backing(low));
}

/* A copy from one user's node to another's holds up edits of either. */
static CO void copy_run(void *arg)
{
    Handle **h = arg;

    for (int i = 0; i < 50; i++) {
        handle_copy(h[0], 0, h[1], 0, 4096, 0);
        co_yield();
    }
}

static CO void test_copies_and_edits_of_both_ends_do_not_deadlock(void)
{
    g_autoptr(Node) a = disk_node_new("a"), b = disk_node_new("b");
    Handle *there[] = { user_new(a, ACCESS_ALL & ~ACCESS_RESIZE, ACCESS_ALL),
                        user_new(b, ACCESS_ALL & ~ACCESS_RESIZE, ACCESS_ALL) };
    Handle *back[] = { there[1], there[0] };
    CoGroup group = {};

    co_group_start(&group, copy_run, there);
    co_group_start(&group, copy_run, back);
    co_group_start(&group, editor_run, a);
    co_group_start(&group, editor_run, b);
    co_group_wait(&group);
    handle_close(there[0]);
    handle_close(there[1]);
}

/* ---- edits that wait for each other ---------------------------------------------------------- */

typedef struct {
    Node *disk;
    Handle *h;
    Node *filter;
} Late;

/* Puts a filter on the disk once the edit before is through. */
static CO void late_filter(void *arg)
{
    Late *l = arg;
    g_autoptr(Edit) edit = NULL;

    l->filter = slow_new("late", l->disk);
    edit = edit_begin();
    edit_replace(edit, l->disk, l->filter);
    g_assert_true(edit_commit(edit, NULL));
}

static CO void late_writer(void *arg)
{
    const Late *l = arg;

    g_assert_true(handle_require(l->h, ACCESS_WRITE, NULL));
}

/* What an edit asks for is asked of the graph as it is when its turn comes. */
static CO void test_waiting_edits_see_what_those_before_did(void)
{
    g_autoptr(Node) disk = disk_node_new("disk");
    Late late = { .disk = disk, .h = user_new(disk, ACCESS_READ, ACCESS_ALL) };
    CoGroup group = {};
    const Edge *below;

    co_group_start(&group, editor_run, disk);
    co_group_start(&group, late_filter, &late);
    co_group_start(&group, late_writer, &late);
    co_group_wait(&group);
    g_assert_true(handle_node(late.h) == late.filter);
    below = node_edge(late.filter, ROLE_FILTERED);
    g_assert_cmpuint(below->needs, ==, ACCESS_READ | ACCESS_WRITE);
    handle_close(late.h);
    node_unref(late.filter);
}

/* ---- long waits ----------------------------------------------------------------------------- */

typedef struct {
    Handle *h;
    unsigned done;
} Throttled;

static CO void throttled_write(void *arg)
{
    Throttled *t = arg;
    uint8_t buf[512] = { 0 };

    g_assert_cmpint(handle_pwrite(t->h, 0, span_of(buf, sizeof(buf)), 0), ==, 0);
    t->done++;
}

/* Eight requests at two a second: an edit does not wait for their turns, though they count. */
static CO void test_throttled_requests_do_not_hold_up_an_edit(void)
{
    g_autoptr(GError) err = NULL;
    Throttled t = {};
    CoGroup group = {};
    int64_t start;

    g_assert_true(object_add_text("throttle-group,id=g,x-iops-write=2", &err));
    t.h = handle_open(
        "json:{'driver':'throttle','throttle-group':'g','file':{'driver':'raw','file':"
        "{'driver':'null-co','size':1048576}}}",
        NULL, OPEN_RDWR, &err);
    g_assert_no_error(err);
    for (int i = 0; i < 8; i++)
        co_group_start(&group, throttled_write, &t);
    co_sleep(10 * MS);
    g_assert_cmpuint(t.done, <, 8);
    start = clock_now_ns();
    handle_reopen(t.h, NULL, node_flags(handle_node(t.h)) ^ OPEN_NO_FLUSH, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(t.done, ==, 8);
    g_assert_cmpint(clock_now_ns() - start, <, 2000 * MS);
    /* The debt of what went through is still there. */
    start = clock_now_ns();
    throttled_write(&t);
    g_assert_cmpint(clock_now_ns() - start, >, 1500 * MS);
    co_group_wait(&group);
    handle_close(t.h);
    object_delete_all();
}

static CO void test_random_edits(void)
{
    random_edits(test_is_slowed() ? 200 : 2000, 1);
}

/* ---- filters of jobs ------------------------------------------------------------------------- */

/* Hides from what is below that users write. */
static void veil_access(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                        unsigned *needs, unsigned *shares)
{
    *needs = 0;
    *shares = ACCESS_ALL;
}

static CO int veil_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return edge_pread(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

static const BlockDriver block_veil = {
    .name = "veil", .kind = BLK_FILTER, .pread = veil_pread, .child_access = veil_access,
};

static CO Node *veil_put_on(Node *below)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Edit) edit = edit_begin();
    Node *veil = filter_insert(edit, &block_veil, "veil", below, &err);

    g_assert_nonnull(veil);
    g_assert_true(edit_commit(edit, &err));
    filter_inserted(veil);
    return veil;
}

static CO void test_a_filter_that_cannot_go_goes_on_filtering(void)
{
    Node *disk = disk_node_new("disk");
    Handle *writer = user_new(disk, ACCESS_READ | ACCESS_WRITE, ACCESS_ALL), *other;
    Node *veil = veil_put_on(disk);
    uint8_t data[512];

    other = user_new(disk, ACCESS_READ, ACCESS_READ);
    filter_remove(veil);
    g_assert_true(handle_node(writer) == veil);
    g_assert_true(node_find("veil") == veil);
    g_assert_cmpint(handle_pread(writer, 0, span_of(data, sizeof(data)), 0), ==, 0);
    handle_close(other);
    handle_close(writer);
    g_assert_null(node_find("veil"));
    node_unref(disk);
}

static CO void test_a_filter_goes_from_between(void)
{
    Node *disk = disk_node_new("disk");
    Handle *user = user_new(disk, ACCESS_READ, ACCESS_ALL);

    filter_remove(veil_put_on(disk));
    g_assert_true(handle_node(user) == disk);
    g_assert_null(node_find("veil"));
    handle_close(user);
    node_unref(disk);
}

const Test tests[] = {
    { "/edit/edits-at-once-let-no-request-in", test_edits_at_once_let_no_request_in },
    { "/edit/users-are-still-before-jobs", test_users_are_still_before_jobs },
    { "/edit/reopening-read-only-beside-a-writer-is-refused",
      test_reopening_read_only_beside_a_writer_is_refused },
    { "/edit/refused-user-leaves-access-as-it-was", test_refused_user_leaves_access_as_it_was },
    { "/edit/circles-are-refused", test_circles_are_refused },
    { "/edit/copies-and-edits-of-both-ends-do-not-deadlock",
      test_copies_and_edits_of_both_ends_do_not_deadlock },
    { "/edit/waiting-edits-see-what-those-before-did",
      test_waiting_edits_see_what_those_before_did },
    { "/edit/throttled-requests-do-not-hold-up-an-edit",
      test_throttled_requests_do_not_hold_up_an_edit },
    { "/edit/random-edits-under-random-requests", test_random_edits },
    { "/edit/filters/one-goes-from-between", test_a_filter_goes_from_between },
    { "/edit/filters/one-that-cannot-go-goes-on-filtering",
      test_a_filter_that_cannot_go_goes_on_filtering },
    {}
};
