/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dumps of the guest's memory, and one of their formats: an ELF core file with header, section
 * headers, program headers, notes, memory, names of sections. dump-kdump.c has the other.
 * Messages that begin with "dump:" are the reference's.
 */
#include "system/dump.h"
#include "io/channel.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "system/base/ram.h"
#include "system/debug.h"
#include "system/dump-kdump.h"
#include "system/dump-notes.h"
#include "system/run-state.h"
#include "system/vcpu.h"
#include "util/err.h"
#include <elf.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };
static const char section_names[] = "\0.shstrtab";

static struct {
    DumpStatus status;
    uint64_t done, total;
    GArray *segments;        /* of DumpSegment */
    DumpGuestMemoryFormat format;
    Channel *out;
    CoGroup running;
    bool was_running, is_ending;
} dump;

bool dump_is_active(void)
{
    return dump.status == DUMP_STATUS_ACTIVE;
}

DumpQueryResult *dump_result(void)
{
    DumpQueryResult *r = g_new0(DumpQueryResult, 1);

    r->status = dump.status;
    r->completed = (int64_t)dump.done;
    r->total = (int64_t)dump.total;
    return r;
}

/* ---- what is dumped -------------------------------------------------------------------------- */

static void add_segment(void *opaque, const MemoryRegion *r)
{
    const DumpArgs *a = opaque;
    uint64_t start = r->start, end = r->start + r->size;

    if (!r->is_ram)
        return;
    if (a->length) {
        start = MAX(start, a->begin);
        end = MIN(end, a->begin + a->length);
    }
    if (start < end)
        g_array_append_val(dump.segments, ((DumpSegment){ start, end - start }));
    if (start < end)
        dump.total += end - start;
}

static bool find_segments(const DumpArgs *a, GError **err)
{
    if (dump.segments)
        g_array_unref(dump.segments);
    dump.segments = g_array_new(FALSE, FALSE, sizeof(DumpSegment));
    dump.done = dump.total = 0;
    memory_map_each(run_state_machine()->board.memory, add_segment, (void *)a);
    return dump.total || err_set(err, ENOENT, "dump: no guest memory to dump");
}

/* ---- headers --------------------------------------------------------------------------------- */

static void put_elf_header(GByteArray *out, const Machine *m, unsigned programs)
{
    static const uint8_t ident[EI_NIDENT] = {
        ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT,
    };

    g_byte_array_append(out, ident, sizeof(ident));
    dump_put(out, ET_CORE, 2);
    dump_put(out, dump_is_64_bit(m) ? EM_X86_64 : EM_386, 2);
    dump_put(out, EV_CURRENT, 4);
    dump_put(out, 0, 8);                                        /* entry */
    dump_put(out, sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Shdr), 8);
    dump_put(out, sizeof(Elf64_Ehdr), 8);
    dump_put(out, 0, 4);                                        /* flags */
    dump_put(out, sizeof(Elf64_Ehdr), 2);
    dump_put(out, sizeof(Elf64_Phdr), 2);
    dump_put(out, programs, 2);
    dump_put(out, sizeof(Elf64_Shdr), 2);
    dump_put(out, 2, 2);
    dump_put(out, 1, 2);                                        /* where their names are */
}

/* The first section is none; the second has the names, at @off. */
static void put_section_headers(GByteArray *out, uint64_t off)
{
    for (unsigned i = 0; i < sizeof(Elf64_Shdr); i += 8)
        dump_put(out, 0, 8);
    dump_put(out, 1, 4);
    dump_put(out, SHT_STRTAB, 4);
    dump_put(out, 0, 8);
    dump_put(out, 0, 8);
    dump_put(out, off, 8);
    dump_put(out, sizeof(section_names), 8);
    for (unsigned i = 0; i < 3; i++)
        dump_put(out, 0, 8);
}

static void put_program_header(GByteArray *out, unsigned type, uint64_t off, uint64_t address,
                               uint64_t size)
{
    dump_put(out, type, 4);
    dump_put(out, 0, 4);
    dump_put(out, off, 8);
    dump_put(out, address, 8);
    dump_put(out, address, 8);
    dump_put(out, size, 8);
    dump_put(out, size, 8);
    dump_put(out, 0, 8);
}

static GByteArray *headers(void)
{
    const Machine *m = run_state_machine();
    GByteArray *out = g_byte_array_new(), *notes = g_byte_array_new();
    unsigned programs = 1 + dump.segments->len;
    uint64_t at = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Shdr) + programs * sizeof(Elf64_Phdr);

    dump_put_notes(notes, m);
    put_elf_header(out, m, programs);
    put_section_headers(out, at + notes->len + dump.total);
    put_program_header(out, PT_NOTE, at, 0, notes->len);
    at += notes->len;
    for (guint i = 0; i < dump.segments->len; i++) {
        const DumpSegment *s = &g_array_index(dump.segments, DumpSegment, i);

        put_program_header(out, PT_LOAD, at, s->start, s->size);
        at += s->size;
    }
    g_byte_array_append(out, notes->data, notes->len);
    g_byte_array_unref(notes);
    return out;
}

/* ---- writing --------------------------------------------------------------------------------- */

static CO bool put(const void *data, size_t len, const char *what, GError **err)
{
    int r = channel_write_all(dump.out, data, len);

    return r >= 0 || err_set_errno(err, r, "dump: failed to write %s", what);
}

static bool may_go_on(GError **err)
{
    return !dump.is_ending || err_set(err, ECANCELED, "The program ends");
}

/* @bytes more of memory are written. False with @err: the dump has to end. */
static CO bool advance(uint64_t bytes, GError **err)
{
    dump.done += bytes;
    co_yield();
    return may_go_on(err);
}

static CO bool put_segment(const DumpSegment *s, GError **err)
{
    const uint8_t *host = debug_range(run_state_machine(), s->start, s->size);

    for (uint64_t at = 0; at < s->size;) {
        size_t len = MIN(s->size - at, PIECE);

        if (!put(host + at, len, "memory", err) || !advance(len, err))
            return false;
        at += len;
    }
    return true;
}

static CO bool put_elf(GError **err)
{
    GByteArray *head = headers();
    bool ok = put(head->data, head->len, "elf header", err);

    for (guint i = 0; i < dump.segments->len && ok; i++)
        ok = put_segment(&g_array_index(dump.segments, DumpSegment, i), err);
    g_byte_array_unref(head);
    return ok && put(section_names, sizeof(section_names), "section names", err);
}

static CO bool put_all(GError **err)
{
    const Machine *m = run_state_machine();

    if (dump.format == DUMP_GUEST_MEMORY_FORMAT_ELF)
        return put_elf(err);
    if (!dump_is_64_bit(m))
        return err_set(err, ENOTSUP, "dump: the kdump-compressed format is for 64-bit guests here");
    return kdump_write(m, dump.segments, kdump_packer(dump.format), put, advance, err);
}

static CO bool run(GError **err)
{
    g_autoptr(DumpQueryResult) result = NULL;
    g_autoptr(GError) why = NULL;
    bool ok = vcpus_check_read(run_state_machine(), &why) && put_all(&why);

    debug_end();
    channel_free(g_steal_pointer(&dump.out));
    dump.status = ok ? DUMP_STATUS_COMPLETED : DUMP_STATUS_FAILED;
    if (dump.was_running && run_state() == STATE_SAVE_VM && !dump.is_ending)
        run_state_start();
    result = dump_result();
    event_dump_completed(result, ok ? NULL : why->message);
    if (!ok)
        g_propagate_error(err, g_steal_pointer(&why));
    return ok;
}

static CO void run_detached(void *arg)
{
    run(NULL);
}

CO bool dump_start(const DumpArgs *args, int fd, GError **err)
{
    DumpStatus before = dump.status;

    if (!may_go_on(err) || !find_segments(args, err)) {
        close(fd);
        return false;
    }
    /* From here on, since processors may take long to stand still, there is no other dump. */
    dump.status = DUMP_STATUS_ACTIVE;
    dump.format = args->format;
    dump.out = channel_new_fd(fd);
    if (!debug_begin(err)) {
        channel_free(g_steal_pointer(&dump.out));
        dump.status = before;
        return false;
    }
    dump.was_running = run_state_is_running();
    if (dump.was_running)
        run_state_stop(STATE_SAVE_VM);
    if (!args->detach)
        return run(err);
    co_group_start(&dump.running, run_detached, NULL);
    return true;
}

CO void dump_end(void)
{
    dump.is_ending = true;
    if (dump.out)
        channel_shutdown(dump.out);
    co_group_wait(&dump.running);
    while (dump_is_active())
        co_yield();
    if (dump.segments)
        g_array_unref(g_steal_pointer(&dump.segments));
}
