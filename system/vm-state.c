/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/vm-state.h"
#include "migration/source.h"
#include "migration/target.h"
#include "system/base/lock.h"
#include "target/x86/code-pages.h"
#include "system/vcpu.h"
#include "util/err.h"
#include "util/size.h"
#include <string.h>

/* The area is read and written in pieces of so many bytes, at multiples of it. */
enum { PIECE = 1 << 20, SECTOR = 512 };

/* ---- saving ---------------------------------------------------------------------------------- */

typedef struct {
    Handle *handle;
    uint64_t off;       /* bytes of the area that are written */
    GByteArray *kept;   /* what comes next */
    bool is_locked;     /* with the machine's lock: only collect, do not write */
} Writer;

static CO int write_kept(Writer *w, size_t len)
{
    int r = handle_vmstate_pwrite(w->handle, w->off, span_of_const(w->kept->data, len));

    if (r < 0)
        return r;
    w->off += len;
    g_byte_array_remove_range(w->kept, 0, len);
    return 0;
}

static CO int put(void *opaque, const struct iovec *iov, int niov)
{
    Writer *w = opaque;
    int r = 0;

    for (int i = 0; i < niov; i++)
        g_byte_array_append(w->kept, iov[i].iov_base, iov[i].iov_len);
    while (!w->is_locked && w->kept->len >= PIECE && r >= 0)
        r = write_kept(w, PIECE);
    return r;
}

/* The rest, up to the end of a sector: encrypted images have no smaller pieces. */
static CO int put_rest(Writer *w)
{
    static const uint8_t zeroes[SECTOR];
    int r = 0;

    g_byte_array_append(w->kept, zeroes, round_up(w->kept->len, SECTOR) - w->kept->len);
    while (w->kept->len && r >= 0)
        r = write_kept(w, MIN(w->kept->len, PIECE));
    return r;
}

static CO int send_all(MigSource *s, Writer *w, const GPtrArray *sections,
                       bool (*must_end)(void *opaque), void *opaque)
{
    int r;

    source_begin(s, "microvm", NULL);
    source_begin_ram(s);
    while (!source_ram(s, PIECE, false)) {
        if (s->out.error)
            return s->out.error;
        if (must_end(opaque))
            return -ECANCELED;
        co_yield();
    }
    source_ram(s, 0, true);
    r = output_flush(&s->out);
    if (r < 0)
        return r;
    w->is_locked = true;
    machine_lock();
    r = source_finish(s, sections);
    machine_unlock();
    w->is_locked = false;
    return r < 0 ? r : put_rest(w);
}

CO bool vm_state_save(Machine *m, MachineState after, Handle *h, bool (*must_end)(void *opaque),
                      void *opaque, uint64_t *size, GError **err)
{
    CarriedState carried = { .state = after };
    g_autoptr(GPtrArray) sections = NULL;
    g_auto(RamBlocks) ram = { 0 };
    Writer w = { .handle = h, .kept = g_byte_array_new() };
    MigSource s;
    int r;

    if (!vcpus_check_read(m, err)) {
        g_byte_array_unref(w.kept);
        return false;
    }
    sections = machine_sections(m, &carried, true);
    ram_blocks_init(&ram);
    machine_ram_blocks(m, &ram, true);
    source_init(&s, &ram, put, &w);
    r = send_all(&s, &w, sections, must_end, opaque);
    *size = s.out.total;
    source_clear(&s);
    g_byte_array_unref(w.kept);
    return r >= 0 || err_set_errno(err, r, "The state of the machine could not be written to '%s'",
                                   node_filename(handle_node(h)));
}

/* ---- loading --------------------------------------------------------------------------------- */

typedef struct {
    Handle *handle;
    uint64_t at, size;       /* bytes of the area */
    uint64_t first, end;     /* which of them .piece has */
    uint8_t piece[PIECE];
} Reader;

static CO ssize_t take(void *opaque, void *buf, size_t len)
{
    Reader *r = opaque;
    size_t n;

    if (r->at >= r->size)
        return 0;
    if (r->at >= r->end) {
        size_t wanted = MIN(round_up(r->size - r->at, SECTOR), PIECE);
        int e = handle_vmstate_pread(r->handle, r->at, span_of(r->piece, wanted));

        if (e < 0)
            return e;
        r->first = r->at;
        r->end = MIN(r->at + wanted, r->size);
    }
    n = MIN(len, r->end - r->at);
    memcpy(buf, r->piece + (r->at - r->first), n);
    r->at += n;
    return n;
}

/* The loaded memory is not what processors have translated code from. */
static void forget_code(Machine *m)
{
    machine_lock();
    x86_code_pages_tell_all(m->code_pages, NULL);
    machine_unlock();
}

static CO bool receive(Machine *m, Reader *r, GError **err)
{
    CarriedState carried = { 0 };
    g_autoptr(GPtrArray) sections = machine_sections(m, &carried, false);
    g_auto(RamBlocks) ram = { 0 };
    g_auto(Input) in = { 0 };
    TargetConfig config = { .machine = "microvm", .ram = &ram, .sections = sections };

    ram_blocks_init(&ram);
    machine_ram_blocks(m, &ram, false);
    input_init(&in, take, r);
    if (!target_read(&in, &config, err))
        return false;
    machine_ram_received(m, &ram);
    return true;
}

CO bool vm_state_load(Machine *m, Handle *h, uint64_t size, GError **err)
{
    g_autofree Reader *r = g_new(Reader, 1);
    bool ok;

    r->handle = h;
    r->at = r->first = r->end = 0;
    r->size = size;
    machine_lock();
    machine_reset(m);
    machine_unlock();
    ok = receive(m, r, err);
    forget_code(m);
    return ok;
}
