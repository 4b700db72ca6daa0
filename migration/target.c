/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/target.h"
#include "io/co-lock.h"
#include "migration/fields.h"
#include "migration/postcopy-target.h"
#include "migration/stream.h"
#include "migration/wire.h"
#include "system/base/lock.h"
#include "util/endian.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

/* How much, and how long, is read of what a source sends that has been told of a failure. */
#define DRAIN_NS INT64_C(2000000000)
enum { DRAIN_BYTES = 256 << 20 };

typedef struct {
    StreamReader reader;
    const TargetConfig *config;
    bool *seen;              /* of each section */
    bool has_return_path;
    PostcopyTarget *postcopy; /* NULL: the source does not plan one */
    GByteArray *package;     /* of devices, for postcopy; NULL: none has come */
    bool runs;               /* the guest, before all memory is here */
    bool is_told;            /* the source, that it will not run */
    uint32_t owed;           /* the ping that is answered when the guest runs; 0: none */
} Target;

static bool configured(StreamReader *r)
{
    Target *t = r->opaque;

    if (strcmp(r->machine, t->config->machine))
        return input_fail(r->in, EINVAL, "The stream is of machine '%s', this is '%s'", r->machine,
                          t->config->machine);
    return true;
}

/* ---- sections -------------------------------------------------------------------------------- */

static int find_section(const Target *t, const SectionHead *h)
{
    for (guint i = 0; i < t->config->sections->len; i++) {
        const MigSection *m = t->config->sections->pdata[i];

        if (m->instance == h->instance && !strcmp(m->name, h->name))
            return i;
    }
    return -1;
}

static CO bool device(StreamReader *r, const SectionHead *h)
{
    Target *t = r->opaque;
    int i = find_section(t, h);
    g_autofree void *image = NULL;
    g_autoptr(GError) why = NULL;
    const MigSection *m;
    bool ok;

    if (t->runs)
        return input_fail(r->in, EINVAL, "A device comes after the guest");
    if (i < 0)
        return input_fail(r->in, ENOENT, "There is no such device here: both sides need the same");
    if (t->seen[i])
        return input_fail(r->in, EINVAL, "It comes twice");
    t->seen[i] = true;
    m = t->config->sections->pdata[i];
    image = g_malloc0(m->layout->size);
    if (!fields_read(r->in, m->layout, h->version, image))
        return false;
    machine_lock();
    ok = m->load(m->opaque, m->n, image, &why);
    machine_unlock();
    if (t->config->stages)
        stages_mark(t->config->stages, "device", m->name);
    return ok || input_fail(r->in, err_errno(why) ? -err_errno(why) : EINVAL, "%s", why->message);
}

static bool all_ram_announced(Input *in, const RamBlocks *ram)
{
    for (guint i = 0; i < ram->blocks->len; i++) {
        const RamBlock *b = ram->blocks->pdata[i];

        if (!b->announced && !b->size_max)
            return input_fail(in, EINVAL, "Memory '%s' did not come", b->name);
    }
    return true;
}

/* ---- messages back --------------------------------------------------------------------------- */

static CO bool reply(Target *t, Input *in, unsigned message, uint32_t value)
{
    struct {
        be16 message, len;
        be32 value;
    } m = { be16_of(message), be16_of(sizeof(be32)), be32_of(value) };
    int r;

    if (!t->has_return_path)
        return true;
    r = t->config->reply(t->config->opaque, &m, sizeof(m));
    return r >= 0 || input_fail(in, -r, "The source cannot be answered: %s", g_strerror(-r));
}

/*
 * The package is whole, so a broken connection does not keep the guest from running: postcopy will
 * be paused. No later answer may get through then: one that tells of a failure without this one
 * would mean that the guest has not run.
 */
static CO bool reply_from_package(Target *t, uint32_t value)
{
    g_auto(Input) ignored = { 0 };

    if (!reply(t, &ignored, RETURN_PONG, value))
        t->config->interrupt(t->config->opaque);
    return true;
}

/* In the main loop and in the thread that reads memory: one of them answers. */
static CO bool answer_owed(Target *t)
{
    uint32_t value = __atomic_exchange_n(&t->owed, 0, __ATOMIC_SEQ_CST);

    return !value || reply_from_package(t, value);
}

/*
 * The source gives back what this answer confirms, so it has to wait for a guest that might not
 * start. One ping is under way at a time.
 */
static CO bool answer_when_it_runs(Target *t, uint32_t value)
{
    __atomic_store_n(&t->owed, value, __ATOMIC_SEQ_CST);
    return !__atomic_load_n(&t->runs, __ATOMIC_SEQ_CST) || answer_owed(t);
}

static CO bool answer_ping(Target *t, Input *in, uint32_t value)
{
    if (in != t->reader.in)
        return reply_from_package(t, value);
    return t->package && value >= RELEASE_PING_FIRST ? answer_when_it_runs(t, value)
                                                     : reply(t, in, RETURN_PONG, value);
}

/* ---- postcopy -------------------------------------------------------------------------------- */

static bool advise(Target *t, Input *in, const uint8_t *data, unsigned len)
{
    g_autoptr(GError) why = NULL;

    if (!t->config->lend || !t->has_return_path)
        return input_fail(in, ENOTSUP, "The source plans postcopy: turn on 'postcopy-ram' at both "
                          "sides, and connect by a socket");
    if (t->postcopy || t->reader.live->len)
        return input_fail(in, EINVAL, "It comes too late");
    if (len != 2 * sizeof(be64))
        return input_fail(in, EINVAL, "It has %u bytes", len);
    if (be64_at(data) != RAM_PAGE_SIZE || be64_at(data + 8) != RAM_PAGE_SIZE)
        return input_fail(in, ENOTSUP, "Pages have 0x%" PRIx64 " and 0x%" PRIx64 " bytes, not %u",
                          be64_at(data), be64_at(data + 8), RAM_PAGE_SIZE);
    t->postcopy = postcopy_target_new(t->config->ram, t->config->blocktime, &why);
    return t->postcopy || input_fail(in, -err_errno(why), "%s", why->message);
}

/* The package is read when nothing of this command is under way any more. */
static CO bool keep_package(Target *t, Input *in, const uint8_t *data, unsigned len)
{
    uint32_t size = len == sizeof(be32) ? be32_at(data) : 0;

    if (t->package)
        return input_fail(in, EINVAL, "It comes twice");
    if (!size || size > PACKAGE_MAX)
        return input_fail(in, EINVAL, "It announces a package of %" PRIu32
                          " bytes; 1 to %d can be read", size, PACKAGE_MAX);
    t->package = g_byte_array_new();
    while (t->package->len < size) {
        uint32_t n = MIN(size - t->package->len, INPUT_BUFFER / 2);
        const uint8_t *p = input_take(in, n);

        if (!p)
            return false;
        g_byte_array_append(t->package, p, n);
    }
    t->reader.is_interrupted = true;
    return true;
}

static CO bool late_device(StreamReader *r, const SectionHead *h)
{
    return input_fail(r->in, EINVAL, "A device comes after the guest");
}

static CO bool listen(Target *t, Input *in)
{
    t->reader.device = late_device;
    if (!postcopy_target_listen(t->postcopy, in))
        return false;
    t->config->lend(t->config->opaque, postcopy_target_loop(t->postcopy));
    postcopy_target_start(t->postcopy, &t->reader, t->config->reply,
                          t->config->interrupt, t->config->arrived, t->config->opaque);
    t->config->lack(t->config->opaque, postcopy_target_here, t->postcopy);
    return true;
}

static CO bool run(Target *t, Input *in)
{
    g_autoptr(GError) why = NULL;

    if (!postcopy_target_loop(t->postcopy) || t->runs)
        return input_fail(in, EINVAL, "It comes too early");
    if (!all_ram_announced(in, t->config->ram))
        return false;
    if (!t->config->run(t->config->opaque, &why))
        return input_fail(in, EIO, "%s", why->message);
    __atomic_store_n(&t->runs, true, __ATOMIC_SEQ_CST);
    return answer_owed(t);
}

static CO bool postcopy_command(Target *t, Input *in, unsigned number, const uint8_t *data,
                                unsigned len)
{
    if (number == COMMAND_POSTCOPY_ADVISE)
        return advise(t, in, data, len);
    if (!t->postcopy)
        return input_fail(in, EINVAL, "Postcopy was not planned");
    if ((in == t->reader.in) ==
        (number == COMMAND_POSTCOPY_LISTEN || number == COMMAND_POSTCOPY_RUN))
        return input_fail(in, EINVAL, "It does not belong here");
    switch (number) {
    case COMMAND_RECV_BITMAP:
        return postcopy_target_tell_received(t->postcopy, in, data, len);
    case COMMAND_POSTCOPY_RESUME:
        return postcopy_target_go_on(t->postcopy, in);
    case COMMAND_POSTCOPY_DISCARD:
        return !postcopy_target_loop(t->postcopy)
                   ? postcopy_target_discard(t->postcopy, in, data, len)
                   : input_fail(in, EINVAL, "It comes too late");
    case COMMAND_PACKAGED:
        return keep_package(t, in, data, len);
    case COMMAND_POSTCOPY_LISTEN:
        return listen(t, in);
    default:
        return run(t, in);
    }
}

/* All memory is here, over as many connections as it takes. */
static CO bool await_memory(Target *t)
{
    Input *in = t->reader.in;

    while (!postcopy_target_wait(t->postcopy)) {
        t->config->lend(t->config->opaque, NULL);
        if (!t->config->recover(t->config->opaque, in->err))
            return false;
        input_restart(in);
        t->config->lend(t->config->opaque, postcopy_target_loop(t->postcopy));
        postcopy_target_resume(t->postcopy, t->config->resumed);
    }
    return true;
}

/* ---- the end of what cannot be loaded -------------------------------------------------------- */

typedef struct {
    const TargetConfig *config;
    Co *co;      /* NULL: it does not wait */
    bool is_over;
    CoGroup running;
} Patience;

static CO void lose_patience(void *arg)
{
    Patience *p = arg;

    p->co = co_self();
    if (!p->is_over && co_sleep(DRAIN_NS))
        p->config->interrupt(p->config->opaque);
    p->co = NULL;
}

/*
 * The source is told that the guest has not run, before the answer to the ping could mean that it
 * has. A connection that is closed with unread bytes may take that word back, so they are read
 * until the source hangs up.
 */
static CO void refuse_package(Target *t, Input *package)
{
    Patience p = { .config = t->config };

    t->is_told = true;
    co_group_start(&p.running, lose_patience, &p);
    reply(t, package, RETURN_SHUT, 1); /* waits too, for a source that does not read */
    if (postcopy_target_loop(t->postcopy))
        postcopy_target_wait(t->postcopy); /* the thread reads */
    else
        input_skip(t->reader.in, DRAIN_BYTES);
    p.is_over = true;
    if (p.co)
        co_wake(p.co);
    co_group_wait(&p.running);
}

/* ---- postcopy, from the package on ----------------------------------------------------------- */

/* Loads the devices while a thread reads memory, starts the guest, and waits for the rest. */
static CO bool finish_postcopy(Target *t, GError **err)
{
    g_auto(Input) in = { 0 };
    bool ok, rest = true;

    input_init_memory(&in, t->package->data, t->package->len);
    /* What might follow the start of the guest changes nothing any more. */
    ok = stream_read_package(&t->reader, &in) || t->runs;
    if (ok && !t->runs)
        ok = input_fail(&in, EINVAL, "The package of devices does not start the guest");
    if (!ok)
        refuse_package(t, &in);
    else if (postcopy_target_loop(t->postcopy))
        rest = await_memory(t);
    t->config->lend(t->config->opaque, NULL);
    return ok ? rest : input_report(&in, err);
}

/* ---- commands -------------------------------------------------------------------------------- */

static CO bool command(StreamReader *r, unsigned number, const uint8_t *data, unsigned len)
{
    Target *t = r->opaque;

    switch (number) {
    case COMMAND_OPEN_RETURN_PATH:
        if (!t->config->reply)
            return input_fail(r->in, ENOTSUP,
                              "The source wants answers, and this is a one-way stream");
        t->has_return_path = true;
        return true;
    case COMMAND_PING:
        if (len != sizeof(be32))
            return input_fail(r->in, EINVAL, "It has %u bytes", len);
        return answer_ping(t, r->in, be32_at(data));
    case COMMAND_POSTCOPY_ADVISE:
    case COMMAND_POSTCOPY_LISTEN:
    case COMMAND_POSTCOPY_RUN:
    case COMMAND_POSTCOPY_DISCARD:
    case COMMAND_POSTCOPY_RESUME:
    case COMMAND_RECV_BITMAP:
    case COMMAND_PACKAGED:
        return postcopy_command(t, r->in, number, data, len);
    default:
        return input_fail(r->in, ENOTSUP, "Command %u is not there yet", number);
    }
}

/* ---- all ------------------------------------------------------------------------------------- */

static bool all_ram_came(const StreamReader *r)
{
    if (!r->ram_ended)
        return input_fail(r->in, EINVAL, "The stream ends without the end of memory");
    return all_ram_announced(r->in, r->ram);
}

CO bool target_read(Input *in, const TargetConfig *config, GError **err)
{
    Target t = {
        .reader = { .in = in, .ram = config->ram, .uuid = config->uuid, .configured = configured,
                    .device = device, .command = command, .opaque = &t },
        .config = config, .seen = g_new0(bool, config->sections->len),
    };
    g_autoptr(GError) why = NULL;
    bool ok = stream_read(&t.reader, false);

    if (ok && t.package)
        ok = finish_postcopy(&t, &why);
    ok = ok && all_ram_came(&t.reader);
    if (!t.is_told)
        reply(&t, in, RETURN_SHUT, !ok);
    if (input_ok(in) && !ok)
        input_fail(in, EINVAL, "The stream is not whole");
    /* Devices look at what they lacked when they hear that nothing is missing. */
    if (t.postcopy && !t.runs)
        postcopy_target_give_up(t.postcopy);
    if (t.postcopy)
        config->lack(config->opaque, NULL, NULL);
    postcopy_target_free(t.postcopy);
    stream_reader_clear(&t.reader);
    if (t.package)
        g_byte_array_unref(t.package);
    g_free(t.seen);
    if (why)
        g_propagate_error(err, g_steal_pointer(&why));
    else if (!ok)
        input_report(in, err);
    return ok;
}
