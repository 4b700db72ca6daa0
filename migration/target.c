/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/target.h"
#include "migration/fields.h"
#include "migration/stream.h"
#include "migration/wire.h"
#include "system/base/lock.h"
#include "util/endian.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

typedef struct {
    StreamReader reader;
    const char *machine;
    const GPtrArray *sections;
    Stages *stages;
    bool *seen;              /* of each section */
    bool has_return_path;
    CO int (*reply)(void *opaque, const void *buf, size_t len);
    void *opaque;
} Target;

static bool configured(StreamReader *r)
{
    Target *t = r->opaque;

    if (strcmp(r->machine, t->machine))
        return input_fail(r->in, EINVAL, "The stream is of machine '%s', this is '%s'", r->machine,
                          t->machine);
    return true;
}

/* ---- sections -------------------------------------------------------------------------------- */

static int find_section(const Target *t, const SectionHead *h)
{
    for (guint i = 0; i < t->sections->len; i++) {
        const MigSection *m = t->sections->pdata[i];

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

    if (i < 0)
        return input_fail(r->in, ENOENT, "There is no such device here: both sides need the same");
    if (t->seen[i])
        return input_fail(r->in, EINVAL, "It comes twice");
    t->seen[i] = true;
    m = t->sections->pdata[i];
    image = g_malloc0(m->layout->size);
    if (!fields_read(r->in, m->layout, h->version, image))
        return false;
    machine_lock();
    ok = m->load(m->opaque, m->n, image, &why);
    machine_unlock();
    if (t->stages)
        stages_mark(t->stages, "device", m->name);
    return ok || input_fail(r->in, err_errno(why) ? -err_errno(why) : EINVAL, "%s", why->message);
}

/* ---- messages back --------------------------------------------------------------------------- */

static CO bool reply(Target *t, unsigned message, uint32_t value)
{
    struct {
        be16 message, len;
        be32 value;
    } m = { be16_of(message), be16_of(sizeof(be32)), be32_of(value) };
    int r;

    if (!t->has_return_path)
        return true;
    r = t->reply(t->opaque, &m, sizeof(m));
    return r >= 0 || input_fail(t->reader.in, -r, "The source cannot be answered: %s", g_strerror(-r));
}

static CO bool command(StreamReader *r, unsigned number, const uint8_t *data, unsigned len)
{
    Target *t = r->opaque;

    switch (number) {
    case COMMAND_OPEN_RETURN_PATH:
        if (!t->reply)
            return input_fail(r->in, ENOTSUP, "The source wants answers, and this is a one-way stream");
        t->has_return_path = true;
        return true;
    case COMMAND_PING:
        if (len != sizeof(be32))
            return input_fail(r->in, EINVAL, "It has %u bytes", len);
        return reply(t, RETURN_PONG, be32_at(data));
    default:
        return input_fail(r->in, ENOTSUP, "Command %u is not there yet", number);
    }
}

/* ---- all ------------------------------------------------------------------------------------- */

static bool all_ram_came(const StreamReader *r)
{
    if (!r->ram_ended)
        return input_fail(r->in, EINVAL, "The stream ends without the end of memory");
    for (guint i = 0; i < r->ram->blocks->len; i++) {
        const RamBlock *b = r->ram->blocks->pdata[i];

        if (!b->announced && !b->size_max)
            return input_fail(r->in, EINVAL, "Memory '%s' did not come", b->name);
    }
    return true;
}

CO bool target_read(Input *in, const char *machine, const uint8_t *uuid, RamBlocks *ram,
                    const GPtrArray *sections,
                    CO int (*reply_fn)(void *opaque, const void *buf, size_t len), void *opaque,
                    Stages *stages, GError **err)
{
    Target t = {
        .reader = { .in = in, .ram = ram, .uuid = uuid, .configured = configured, .device = device,
                    .command = command, .opaque = &t },
        .machine = machine, .sections = sections, .seen = g_new0(bool, sections->len),
        .stages = stages, .reply = reply_fn, .opaque = opaque,
    };
    bool ok = stream_read(&t.reader, false) && all_ram_came(&t.reader);

    reply(&t, RETURN_SHUT, !ok);
    if (input_ok(in) && !ok)
        input_fail(in, EINVAL, "The stream is not whole");
    stream_reader_clear(&t.reader);
    g_free(t.seen);
    return ok || input_report(in, err);
}
