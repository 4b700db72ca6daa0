/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power cuts: workload and verdict. */
#include "tests/lib/power-cut.h"
#include "block/driver.h"
#include "tests/lib/harness.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/power-cut-model.h"
#include "util/keyval.h"
#include "qapi/object.h"
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { DISKS = 2 };

struct PowerCut {
    const PowerCutWorkload *w;
    Node *disks[DISKS];
    Handle *h;
    Handle *under;      /* with an overlay: what is below it */
    GRand *rand;
    Timeline *time;
    uint64_t stamp;
    uint64_t state_len; /* bytes of state that the next snapshot gets */
};

struct PowerCutSnapshot {
    char *id;
    SectorState *state;
};

static const char *format_of(const PowerCutWorkload *w)
{
    return w->format ? w->format : "qcow2";
}

static uint64_t max_size(const PowerCutWorkload *w)
{
    return MAX(w->size, w->max_size);
}

/* ---- what workloads do ---------------------------------------------------------------------- */

Handle *power_cut_handle(PowerCut *pc)
{
    return pc->h;
}

Handle *power_cut_under(PowerCut *pc)
{
    return pc->under;
}

const uint8_t *power_cut_base(const char *name)
{
    size_t len;

    return memdisk_data(node_find(name), &len);
}

uint32_t power_cut_random(PowerCut *pc, uint32_t below)
{
    return g_rand_int_range(pc->rand, 0, below);
}

static size_t position(const PowerCut *pc)
{
    return memdisk_log_len(pc->disks[0]);
}

static void written(PowerCut *pc)
{
    if (pc->w->kind & POWER_CUT_WRITETHROUGH)
        timeline_flushed(pc->time, position(pc));
}

CO void power_cut_write(PowerCut *pc, uint64_t off, uint64_t len)
{
    g_autofree uint64_t *buf = g_malloc(len);
    uint64_t stamp = ++pc->stamp;

    for (uint64_t i = 0; i < len / 8; i++)
        buf[i] = stamp;
    timeline_write(pc->time, position(pc), off, len, stamp);
    g_assert_cmpint(handle_pwrite(pc->h, off, span_of(buf, len), 0), ==, 0);
    written(pc);
}

CO void power_cut_zero(PowerCut *pc, uint64_t off, uint64_t len, bool unmap)
{
    timeline_write(pc->time, position(pc), off, len, 0);
    g_assert_cmpint(handle_zero(pc->h, off, len, unmap ? REQ_MAY_UNMAP : 0), ==, 0);
    written(pc);
}

CO void power_cut_discard(PowerCut *pc, uint64_t off, uint64_t len)
{
    timeline_forget(pc->time, position(pc), off, len);
    g_assert_cmpint(handle_discard(pc->h, off, len), ==, 0);
}

CO void power_cut_flush(PowerCut *pc)
{
    g_assert_cmpint(handle_flush(pc->h), ==, 0);
    timeline_flushed(pc->time, position(pc));
}

CO Node *power_cut_want(PowerCut *pc, unsigned needs)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_new(handle_node(pc->h), HANDLE_USER, needs, ACCESS_ALL, &err);

    g_assert_no_error(err);
    handle_close(pc->h);
    pc->h = h;
    return handle_node(h);
}

void power_cut_is_durable(PowerCut *pc)
{
    timeline_flushed(pc->time, position(pc));
}

CO void power_cut_resize(PowerCut *pc, uint64_t size)
{
    uint64_t old = handle_size(pc->h);
    g_autoptr(GError) err = NULL;

    if (size < old)
        timeline_forget(pc->time, position(pc), size, old - size);
    else
        timeline_write(pc->time, position(pc), old, size - old, 0);
    handle_resize(pc->h, size, false, PREALLOC_OFF, &err);
    g_assert_no_error(err);
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

CO void power_cut_state(PowerCut *pc, uint8_t fill, uint64_t len)
{
    g_autofree uint8_t *bytes = g_malloc(len);

    memset(bytes, fill, len);
    g_assert_cmpint(handle_vmstate_pwrite(pc->h, 0, span_of_const(bytes, len)), ==, 0);
    pc->state_len = len;
}

CO PowerCutSnapshot *power_cut_snapshot(PowerCut *pc, const char *name)
{
    Node *n = handle_node(pc->h);
    Snapshot s = {
        .name = (char *)name, .icount = UINT64_MAX, .vm_state_size = pc->state_len,
    };
    PowerCutSnapshot *taken = g_new(PowerCutSnapshot, 1);
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(node_driver(n)->snapshots->create(n, &s, &err), ==, 0);
    g_assert_no_error(err);
    pc->state_len = 0;
    *taken = (PowerCutSnapshot){ s.id, timeline_now(pc->time) };
    return taken;
}

CO void power_cut_snapshot_apply(PowerCut *pc, const PowerCutSnapshot *s)
{
    Node *n = handle_node(pc->h);
    g_autoptr(GError) err = NULL;

    timeline_restore(pc->time, position(pc), s->state);
    g_assert_true(snapshot_apply(node_driver(n)->snapshots, n, s->id, &err));
    g_assert_no_error(err);
    timeline_flushed(pc->time, position(pc));
}

CO void power_cut_snapshot_remove(PowerCut *pc, PowerCutSnapshot *s)
{
    Node *n = handle_node(pc->h);
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(node_driver(n)->snapshots->remove(n, s->id, &err), ==, 0);
    g_assert_no_error(err);
    g_free(s->id);
    g_free(s->state);
    g_free(s);
}

/* ---- images --------------------------------------------------------------------------------- */

static json_t *image_options(const PowerCutWorkload *w, const char *disk, const char *data,
                             const char *backing)
{
    g_autoptr(GError) err = NULL;
    json_t *o = w->open_options ? keyval_parse(w->open_options, NULL, &err) : json_object();

    g_assert_no_error(err);
    json_put_str(o, "driver", format_of(w));
    json_put_str(o, "file", disk);
    if (w->kind & POWER_CUT_DATA_FILE)
        json_put_str(o, "data-file", data);
    if (w->kind & POWER_CUT_LUKS) {
        json_t *encrypt = json_object();

        json_put_str(encrypt, "format", "luks");
        json_put_str(encrypt, "key-secret", "power-cut");
        json_put(o, "encrypt", encrypt);
    }
    if (backing)
        json_put_str(o, "backing", backing);
    else if (memdisk_format_has_backing(format_of(w)))
        json_put(o, "backing", json_null());
    return o;
}

static CO Handle *options_open(json_t *o, OpenFlags flags)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open(NULL, o, flags, &err);

    g_assert_no_error(err);
    return h;
}

/* The name of the backing file that the image on @disk stores, NULL if none; the caller frees. */
static CO char *stored_backing(const PowerCutWorkload *w, const char *disk, const char *data)
{
    Handle *h = options_open(image_options(w, disk, data, NULL), OPEN_NO_IO);
    char *name = g_strdup(node_backing_stored(handle_node(h)));

    handle_close(h);
    return name;
}

/* Opens the image on @disk, not what lies above it. */
static CO Handle *image_open(const PowerCutWorkload *w, const char *disk, const char *data,
                             OpenFlags flags)
{
    g_autofree char *backing = w->kind & POWER_CUT_BACKING ? stored_backing(w, disk, data) : NULL;

    return options_open(image_options(w, disk, data, backing), flags);
}

/* Opens the overlay on @second; @below describes or names what it lies on. */
static CO Handle *overlay_open(const char *second, json_t *below, OpenFlags flags)
{
    json_t *o = json_object();

    json_put_str(o, "driver", "qcow2");
    json_put_str(o, "file", second);
    json_put(o, "backing", below);
    return options_open(o, flags);
}

/* Opens where requests of the guest enter. */
static CO Handle *top_open(const PowerCutWorkload *w, const char *disk, const char *second,
                           OpenFlags flags)
{
    return w->kind & POWER_CUT_OVERLAY
               ? overlay_open(second, image_options(w, disk, NULL, NULL), flags)
               : image_open(w, disk, second, flags);
}

static void file_take(const char *path, MemdiskImage *out)
{
    g_autofree char *data = NULL;
    gsize len;

    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    memdisk_image_set(out, (uint8_t *)data, len);
    g_assert_cmpint(unlink(path), ==, 0);
}

/*
 * A freshly created image as bytes, with the workload's options if they are this format's. @data:
 * path of its data file, or NULL.
 */
static CO void image_make(const PowerCutWorkload *w, const char *format, const char *data,
                          const char *backing, const char *backing_fmt, MemdiskImage *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) opts = json_object();
    g_autofree char *path = test_path("power-cut.image");

    g_assert_true(
        keyval_parse_flat(strcmp(format, format_of(w)) ? "" : w->options, NULL, opts, &err));
    if (data)
        json_put_str(opts, "data_file", data);
    if (backing) {
        json_put_str(opts, "backing_file", backing);
        json_put_str(opts, "backing_fmt", backing_fmt);
    }
    if (w->kind & POWER_CUT_LUKS) {
        json_put_str(opts, "encrypt.format", "luks");
        json_put_str(opts, "encrypt.key-secret", "power-cut");
        json_put_int(opts, "encrypt.iter-time", 10);
    }
    json_put_int(opts, "size", w->size);
    image_create(path, format, opts, &err);
    g_assert_no_error(err);
    file_take(path, out);
}

static CO void images_make(const PowerCutWorkload *w, MemdiskImage *images)
{
    g_autofree char *data = w->kind & POWER_CUT_DATA_FILE ? test_path("power-cut.data") : NULL;
    bool backing = w->kind & POWER_CUT_BACKING;

    image_make(w, format_of(w), data, backing ? POWER_CUT_BASE_A : NULL, "raw", &images[0]);
    if (data)
        file_take(data, &images[1]);
    if (w->kind & POWER_CUT_OVERLAY)
        image_make(w, "qcow2", NULL, "under", format_of(w), &images[1]);
}

/* ---- verdict -------------------------------------------------------------------------------- */

static CO void repair(Handle *h, CheckFix fix, const char *what)
{
    g_autoptr(GError) err = NULL;
    FILE *out = fopen("/dev/null", "w");
    CheckResult r = { 0 };
    int code = node_check(handle_node(h), &r, fix, out, &err);

    fclose(out);
    if (code < 0 && code != -ENOTSUP)   /* only a check */
        g_error("%s: repair: %s", what, err ? err->message : g_strerror(-code));
}

static CO void verify_clean(Handle *h, bool leaks, const char *what)
{
    g_autoptr(GError) err = NULL;
    CheckResult r = { 0 };
    int code = node_check(handle_node(h), &r, 0, stderr, &err);

    g_assert_no_error(err);
    g_assert_cmpint(code, ==, 0);
    if (r.corruptions || r.check_errors || (r.leaks && !leaks))
        g_error("%s: after the repair: %" PRId64 " corruptions, %" PRId64 " leaks, %" PRId64
                " check errors", what, r.corruptions, r.leaks, r.check_errors);
}

static CO void verify_content(Handle *h, const Model *m, uint64_t max, const char *what)
{
    uint64_t size = MIN(handle_size(h), max);
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
                    v[0], model_oldest(m, s));
    }
}

/* Nothing but leaks is wrong: flags say what refcounts say. For qcow2. */
static CO void verify_leaks_only(Handle *h, const char *what)
{
    g_autoptr(GError) err = NULL;
    char *findings = NULL;
    size_t len;
    FILE *out = open_memstream(&findings, &len);
    CheckResult r = { 0 };
    int code = node_check(handle_node(h), &r, 0, out, &err);

    fclose(out);
    g_assert_no_error(err);
    g_assert_cmpint(code, ==, 0);
    if (r.corruptions || r.check_errors)
        g_error("%s: before the repair: %s", what, findings);
    free(findings);
}

/* Repairs as much as the workload allows; then nothing may be wrong. Returns it open. */
static CO Handle *sound_open(const PowerCutWorkload *w, const char *what, bool top)
{
    bool damaged = w->kind & POWER_CUT_DAMAGED;
    OpenFlags flags = OPEN_RDWR | OPEN_RESIZE | (damaged ? OPEN_CHECK : 0);
    Handle *h = top ? top_open(w, "cut-0", "cut-1", flags)
                    : image_open(w, "cut-0", "cut-1", flags);

    if (node_driver(handle_node(h))->check) {
        if (!damaged && !w->format)
            verify_leaks_only(h, what);
        repair(h, CHECK_FIX_LEAKS | (damaged ? CHECK_FIX_ERRORS : 0), what);
        verify_clean(h, w->kind & POWER_CUT_LEAKS, what);
    }
    if (!damaged)
        return h;
    handle_close(h);
    return top_open(w, "cut-0", "cut-1", OPEN_RDWR);
}

/* Judges what a cut could have left. */
static CO void verify(const PowerCutWorkload *w, const MemdiskImage *images, const Model *m,
                      const char *what)
{
    Node *disks[DISKS] = {
        memdisk_new_scratch("cut-0", images[0].data, images[0].len, UINT64_MAX),
        memdisk_new_scratch("cut-1", images[1].data, images[1].len, UINT64_MAX),
    };
    Handle *h;

    if (w->kind & POWER_CUT_OVERLAY)
        handle_close(sound_open(w, what, false));
    h = sound_open(w, what, true);
    verify_content(h, m, max_size(w), what);
    if (w->verify)
        w->verify(h);
    handle_close(h);
    for (int i = 0; i < DISKS; i++)
        memdisk_free(disks[i]);
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

/* The images of a cut after entry @end - 1: all that was flushed, and some of the rest. */
static void images_cut(const PowerCut *pc, MemdiskImage *images, size_t end, bool in_order)
{
    size_t flushed[DISKS] = { 0, 0 };

    for (size_t i = 0; i < end; i++) {
        const MemdiskEntry *e = memdisk_log(pc->disks[0], i);

        if (e->op == MEMDISK_FLUSH)
            flushed[e->disk == pc->disks[1]] = i;
    }
    for (int d = 0; d < DISKS; d++) {
        size_t len;
        const uint8_t *origin = memdisk_origin(pc->disks[d], &len);

        memdisk_image_set(&images[d], origin, len);
    }
    for (size_t i = 0; i < end; i++) {
        const MemdiskEntry *e = memdisk_log(pc->disks[0], i);
        int d = e->disk == pc->disks[1];
        Tear t = { pc->rand, in_order || i < flushed[d] ? 1 : g_rand_int_range(pc->rand, 0, 3) };

        if (t.mode || e->op != MEMDISK_RESIZE)
            memdisk_image_apply(&images[d], e, tear_keep, &t);
    }
}

static CO unsigned verify_points(PowerCut *pc, unsigned points)
{
    size_t total = position(pc);
    unsigned done = 0;
    MemdiskImage images[DISKS] = { { 0 } };
    Model *model = model_new(pc->time);

    for (size_t end = 0; end <= total; end++) {
        /* In order at every boundary, then random subsets spread over all of them. */
        unsigned here = 1 + (points > total ? (points - total) / (total + 1) : 0);

        model_advance(model, end);
        for (unsigned i = 0; i < here; i++) {
            g_autofree char *what = g_strdup_printf("%s, cut after write %zu of %zu, variant %u",
                                                    pc->w->name, end, total, i);

            images_cut(pc, images, end, i == 0);
            verify(pc->w, images, model, what);
            done++;
        }
    }
    model_free(model);
    for (int i = 0; i < DISKS; i++)
        memdisk_image_clear(&images[i]);
    return done;
}

/* ---- running -------------------------------------------------------------------------------- */

static void disks_insert(PowerCut *pc, const MemdiskImage *images)
{
    pc->disks[0] = memdisk_new("work-0", images[0].data, images[0].len);
    pc->disks[1] = memdisk_new_beside(pc->disks[0], "work-1", images[1].data, images[1].len);
}

static CO void disks_remove(PowerCut *pc)
{
    memdisk_free(pc->disks[1]);
    memdisk_free(pc->disks[0]);
}

/* Opens the image of the work disks, with a writable handle on what an overlay lies on. */
static CO void work_open(PowerCut *pc, OpenFlags flags)
{
    json_t *o;

    if (!(pc->w->kind & POWER_CUT_OVERLAY)) {
        pc->h = image_open(pc->w, "work-0", "work-1", flags);
        return;
    }
    o = image_options(pc->w, "work-0", NULL, NULL);
    json_put_str(o, "node-name", "under");
    pc->under = options_open(o, flags | OPEN_UNCHANGED);
    pc->h = overlay_open("work-1", json_string("under"), flags);
}

static CO void work_close(PowerCut *pc)
{
    handle_close(g_steal_pointer(&pc->h));
    if (pc->under)
        handle_close(g_steal_pointer(&pc->under));
}

/* The state in which the log begins: @images are changed to it, and the timeline begins anew. */
static CO void prepare(PowerCut *pc, MemdiskImage *images)
{
    g_autofree SectorState *state = NULL;

    disks_insert(pc, images);
    work_open(pc, OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP);
    pc->w->prepare(pc);
    power_cut_flush(pc);
    work_close(pc);
    for (int i = 0; i < DISKS; i++) {
        size_t len;
        const uint8_t *data = memdisk_data(pc->disks[i], &len);

        memdisk_image_set(&images[i], data, len);
    }
    disks_remove(pc);
    if (pc->w->damage)
        pc->w->damage(images[0].data, images[0].len);
    state = timeline_now(pc->time);
    timeline_free(pc->time);
    pc->time = timeline_new(max_size(pc->w), state);
}

/* What a base has: every other piece of it is @own stamp, the others are the same in all. */
static SectorState *base_state(const PowerCutWorkload *w, uint64_t own)
{
    enum { PIECE = 64 };
    SectorState *s = g_new0(SectorState, max_size(w) / SECTOR);

    for (uint64_t i = 0; i < w->size / SECTOR; i++)
        s[i].stamp = (UINT64_C(1) << 40) + i / 8 * 4 + (i / PIECE % 2 ? own : 0);
    return s;
}

static Node *base_insert(const char *name, const PowerCutWorkload *w, const SectorState *s)
{
    g_autofree uint64_t *data = g_malloc(w->size);

    for (uint64_t i = 0; i < w->size / 8; i++)
        data[i] = s[i / (SECTOR / 8)].stamp;
    return memdisk_new_scratch(name, (uint8_t *)data, w->size, UINT64_MAX);
}

void power_cut_becomes(PowerCut *pc, const char *base)
{
    g_autofree SectorState *s = base_state(pc->w, strcmp(base, POWER_CUT_BASE_A) ? 2 : 1);

    timeline_restore(pc->time, position(pc), s);
}

static void secret_make(void)
{
    static bool made;
    g_autoptr(GError) err = NULL;

    if (made)
        return;
    made = object_add_text("secret,id=power-cut,data=x", &err);
    g_assert_no_error(err);
}

CO unsigned power_cut_run(const PowerCutWorkload *w, unsigned points, uint32_t seed)
{
    bool backing = w->kind & POWER_CUT_BACKING, damaged = w->kind & POWER_CUT_DAMAGED;
    g_autofree SectorState *a = base_state(w, 1);
    g_autofree SectorState *b = base_state(w, 2);
    PowerCut pc = { .w = w, .rand = g_rand_new_with_seed(seed) };
    Node *bases[] = { base_insert(POWER_CUT_BASE_A, w, a), base_insert(POWER_CUT_BASE_B, w, b) };
    MemdiskImage images[DISKS] = { { 0 } };
    OpenFlags flags = OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP | (damaged ? OPEN_CHECK : 0) |
                      (w->kind & POWER_CUT_WRITETHROUGH ? OPEN_WRITETHROUGH : 0);
    unsigned done;

    secret_make();
    images_make(w, images);
    pc.time = timeline_new(max_size(w), backing ? a : NULL);
    if (w->prepare)
        prepare(&pc, images);
    disks_insert(&pc, images);
    work_open(&pc, flags);
    w->run(&pc);
    power_cut_flush(&pc);
    work_close(&pc);
    done = verify_points(&pc, points);
    disks_remove(&pc);
    for (size_t i = 0; i < G_N_ELEMENTS(bases); i++)
        memdisk_free(bases[i]);
    for (int i = 0; i < DISKS; i++)
        memdisk_image_clear(&images[i]);
    timeline_free(pc.time);
    g_rand_free(pc.rand);
    return done;
}
