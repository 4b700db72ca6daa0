/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power cuts: workload, model and verdict. */
#include "tests/lib/power-cut.h"
#include "block/driver.h"
#include "tests/lib/harness.h"
#include "tests/lib/memdisk.h"
#include "util/keyval.h"
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { SECTOR = 512 };

/* Sector contents are the number of the write that made them, repeated; 0 for zeroes. */
typedef enum { EVENT_WRITE, EVENT_MAY_ZERO, EVENT_FLUSHED } EventKind;

typedef struct {
    EventKind kind;
    size_t position;     /* of the disk's log when it began (FLUSHED: when it was done) */
    uint64_t first, count; /* sectors */
    uint64_t stamp;
} Event;

struct PowerCut {
    const PowerCutWorkload *w;
    Node *disk;
    Handle *h;
    GRand *rand;
    GArray *events;      /* of Event */
    uint64_t stamp;
};

Handle *power_cut_handle(PowerCut *pc)
{
    return pc->h;
}

uint32_t power_cut_random(PowerCut *pc, uint32_t below)
{
    return g_rand_int_range(pc->rand, 0, below);
}

static void event_add(PowerCut *pc, EventKind kind, uint64_t off, uint64_t len, uint64_t stamp)
{
    Event e = { kind, memdisk_log_len(pc->disk), off / SECTOR, len / SECTOR, stamp };

    g_array_append_val(pc->events, e);
}

CO void power_cut_write(PowerCut *pc, uint64_t off, uint64_t len)
{
    g_autofree uint64_t *buf = g_malloc(len);
    uint64_t stamp = ++pc->stamp;

    for (uint64_t i = 0; i < len / 8; i++)
        buf[i] = stamp;
    event_add(pc, EVENT_WRITE, off, len, stamp);
    g_assert_cmpint(handle_pwrite(pc->h, off, span_of(buf, len), 0), ==, 0);
}

CO void power_cut_zero(PowerCut *pc, uint64_t off, uint64_t len, bool unmap)
{
    event_add(pc, EVENT_WRITE, off, len, 0);
    g_assert_cmpint(handle_zero(pc->h, off, len, unmap ? REQ_MAY_UNMAP : 0), ==, 0);
}

void power_cut_forget(PowerCut *pc, uint64_t off, uint64_t len)
{
    event_add(pc, EVENT_MAY_ZERO, off, len, 0);
}

CO void power_cut_discard(PowerCut *pc, uint64_t off, uint64_t len)
{
    power_cut_forget(pc, off, len);
    g_assert_cmpint(handle_discard(pc->h, off, len), ==, 0);
}

CO void power_cut_flush(PowerCut *pc)
{
    g_assert_cmpint(handle_flush(pc->h), ==, 0);
    event_add(pc, EVENT_FLUSHED, 0, 0, 0);
}

CO void power_cut_mix(PowerCut *pc, unsigned ops, uint64_t max)
{
    for (unsigned i = 0; i < ops; i++) {
        uint64_t size = handle_size(pc->h) / SECTOR;
        uint64_t len = 1 + power_cut_random(pc, max / SECTOR);
        uint64_t off = power_cut_random(pc, size);
        unsigned kind = power_cut_random(pc, 10);

        len = MIN(len, size - off);
        if (kind < 6)
            power_cut_write(pc, off * SECTOR, len * SECTOR);
        else if (kind < 8)
            power_cut_zero(pc, off * SECTOR, len * SECTOR, kind == 7);
        else if (kind < 9)
            power_cut_discard(pc, off * SECTOR, len * SECTOR);
        else
            power_cut_flush(pc);
    }
}

/* ---- the model ------------------------------------------------------------------------------ */

typedef struct {
    GArray **allowed;     /* per sector, of uint64_t: what it may read as; the last is the newest */
    uint64_t sectors;
    size_t next_event;
} Model;

static void model_init(Model *m, uint64_t size)
{
    uint64_t zero = 0;

    *m = (Model){ .sectors = size / SECTOR };
    m->allowed = g_new(GArray *, m->sectors);
    for (uint64_t i = 0; i < m->sectors; i++) {
        m->allowed[i] = g_array_new(false, false, sizeof(uint64_t));
        g_array_append_val(m->allowed[i], zero);
    }
}

static void model_clear(Model *m)
{
    for (uint64_t i = 0; i < m->sectors; i++)
        g_array_free(m->allowed[i], true);
    g_free(m->allowed);
}

/* What is durable now is what was newest; a discarded sector stays undecided. */
static void model_flush(Model *m)
{
    for (uint64_t i = 0; i < m->sectors; i++) {
        GArray *a = m->allowed[i];
        uint64_t last = g_array_index(a, uint64_t, a->len - 1);

        if (last != UINT64_MAX && a->len > 1) {
            g_array_set_size(a, 0);
            g_array_append_val(a, last);
        }
    }
}

static void model_apply(Model *m, const Event *e)
{
    /* UINT64_MAX stands for: zero, or what was there. */
    uint64_t value = e->kind == EVENT_WRITE ? e->stamp : UINT64_MAX;

    if (e->kind == EVENT_FLUSHED)
        model_flush(m);
    for (uint64_t i = e->first; i < MIN(e->first + e->count, m->sectors); i++)
        g_array_append_val(m->allowed[i], value);
}

/* Moves on to what was known when the log had @position entries. */
static void model_advance(Model *m, const PowerCut *pc, size_t position)
{
    for (; m->next_event < pc->events->len; m->next_event++) {
        const Event *e = &g_array_index(pc->events, Event, m->next_event);

        if (e->kind == EVENT_FLUSHED ? e->position > position : e->position >= position)
            break;
        model_apply(m, e);
    }
}

static bool model_allows(const Model *m, uint64_t sector, uint64_t stamp)
{
    const GArray *a = m->allowed[sector];

    for (guint i = 0; i < a->len; i++) {
        uint64_t v = g_array_index(a, uint64_t, i);

        if (v == stamp || (v == UINT64_MAX && stamp == 0))
            return true;
    }
    return false;
}

/* ---- verdict -------------------------------------------------------------------------------- */

static CO Handle *image_open(const PowerCutWorkload *w, const char *node, OpenFlags flags)
{
    g_autoptr(GError) err = NULL;
    json_t *o = w->open_options ? keyval_parse(w->open_options, NULL, &err) : json_object();
    Handle *h;

    g_assert_no_error(err);
    json_put_str(o, "driver", "qcow2");
    json_put_str(o, "file", node);
    h = handle_open(NULL, o, flags, &err);
    g_assert_no_error(err);
    return h;
}

static CO void repair_leaks(Handle *h)
{
    g_autoptr(GError) err = NULL;
    FILE *out = fopen("/dev/null", "w");
    CheckResult r;
    int code = node_check(handle_node(h), &r, CHECK_FIX_LEAKS, out, &err);

    fclose(out);
    g_assert_no_error(err);
    g_assert_cmpint(code, ==, 0);
}

static CO void verify_clean(Handle *h, const char *what)
{
    g_autoptr(GError) err = NULL;
    CheckResult r;
    int code = node_check(handle_node(h), &r, 0, stderr, &err);

    g_assert_no_error(err);
    g_assert_cmpint(code, ==, 0);
    if (r.corruptions || r.check_errors || r.leaks)
        g_error("%s: after repairing leaks: %" PRId64 " corruptions, %" PRId64 " leaks, %" PRId64
                " check errors", what, r.corruptions, r.leaks, r.check_errors);
}

static CO void verify_content(Handle *h, const Model *m, const char *what)
{
    uint64_t size = MIN(handle_size(h), m->sectors * SECTOR);
    g_autofree uint8_t *buf = g_malloc(size);

    g_assert_cmpint(handle_pread(h, 0, span_of(buf, size), 0), ==, 0);
    for (uint64_t s = 0; s < size / SECTOR; s++) {
        uint64_t v[SECTOR / 8];

        memcpy(v, buf + s * SECTOR, SECTOR);
        for (int i = 1; i < SECTOR / 8; i++)
            if (v[i] != v[0])
                g_error("%s: sector %" PRIu64 " is torn", what, s);
        if (!model_allows(m, s, v[0]))
            g_error("%s: sector %" PRIu64 " reads %" PRIu64 ", last durable was %" PRIu64, what, s,
                    v[0], g_array_index(m->allowed[s], uint64_t, 0));
    }
}

/* Judges one image that a cut could have left. */
static CO void verify(const PowerCutWorkload *w, const MemdiskImage *image, const Model *m,
                      const char *what)
{
    Node *disk = memdisk_new("cut", image->data, image->len);
    Handle *h = image_open(w, "cut", OPEN_RDWR | OPEN_RESIZE);

    repair_leaks(h);
    verify_clean(h, what);
    verify_content(h, m, what);
    handle_close(h);
    memdisk_free(disk);
}

typedef struct {
    GRand *rand;
    int mode; /* 0 none, 1 all, 2 torn */
} Tear;

static bool tear_keep(void *arg, size_t sector)
{
    Tear *t = arg;

    return t->mode == 1 || (t->mode == 2 && g_rand_boolean(t->rand));
}

/* The image of a cut after entry @end - 1: all that was flushed, and some of the rest. */
static void image_cut(MemdiskImage *m, Node *disk, size_t end, bool in_order, GRand *rand)
{
    size_t flushed = 0, len;
    const uint8_t *origin = memdisk_origin(disk, &len);

    for (size_t i = 0; i < end; i++)
        if (memdisk_log(disk, i)->op == MEMDISK_FLUSH)
            flushed = i;
    memdisk_image_set(m, origin, len);
    for (size_t i = 0; i < end; i++) {
        Tear t = { rand, in_order || i < flushed ? 1 : g_rand_int_range(rand, 0, 3) };

        memdisk_image_apply(m, memdisk_log(disk, i), tear_keep, &t);
    }
}

/* ---- running -------------------------------------------------------------------------------- */

/* The freshly created image as bytes. */
static CO void image_make(const PowerCutWorkload *w, MemdiskImage *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) opts = json_object();
    g_autofree char *path = test_path("power-cut.qcow2"), *data = NULL;
    gsize len;

    g_assert_true(keyval_parse_flat(w->options, NULL, opts, &err));
    json_put_int(opts, "size", w->size);
    image_create(path, "qcow2", opts, &err);
    g_assert_no_error(err);
    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    memdisk_image_set(out, (uint8_t *)data, len);
    g_assert_cmpint(unlink(path), ==, 0);
}

static CO unsigned verify_points(PowerCut *pc, unsigned points)
{
    size_t total = memdisk_log_len(pc->disk);
    unsigned done = 0;
    MemdiskImage image = { 0 };
    Model model;

    model_init(&model, pc->w->size);
    for (size_t end = 0; end <= total; end++) {
        /* In order at every boundary, then random subsets spread over all of them. */
        unsigned here = 1 + (points > total ? (points - total) / (total + 1) : 0);

        model_advance(&model, pc, end);
        for (unsigned i = 0; i < here; i++) {
            g_autofree char *what = g_strdup_printf("%s, cut after write %zu of %zu, variant %u",
                                                    pc->w->name, end, total, i);

            image_cut(&image, pc->disk, end, i == 0, pc->rand);
            verify(pc->w, &image, &model, what);
            done++;
        }
    }
    model_clear(&model);
    memdisk_image_clear(&image);
    return done;
}

CO unsigned power_cut_run(const PowerCutWorkload *w, unsigned points, uint32_t seed)
{
    PowerCut pc = {
        .w = w,
        .rand = g_rand_new_with_seed(seed),
        .events = g_array_new(false, false, sizeof(Event)),
    };
    MemdiskImage image = { 0 };
    unsigned done;

    image_make(w, &image);
    pc.disk = memdisk_new("workload", image.data, image.len);
    pc.h = image_open(w, "workload", OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP);
    w->run(&pc);
    power_cut_flush(&pc);
    handle_close(pc.h);
    done = verify_points(&pc, points);
    memdisk_free(pc.disk);
    g_array_free(pc.events, true);
    g_rand_free(pc.rand);
    memdisk_image_clear(&image);
    return done;
}
