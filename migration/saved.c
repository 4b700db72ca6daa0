/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/saved.h"
#include "migration/stream.h"
#include "migration/wire.h"
#include "util/endian.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

/* No machine has so many; a description could tell of any number that takes no bytes. */
enum { VALUES_MAX = 1 << 20, DEPTH_MAX = 64 };

typedef struct {
    SavedStream *s;
    Input in;
    const uint8_t *end;       /* of the stream */
    json_t *description;      /* NULL: there is none */
    size_t next;              /* device of the description that comes next */
    unsigned values;
    uint8_t *(*memory)(void *opaque, const char *name, uint64_t size);
    void *opaque;
} Taker;

/* ---- the description ------------------------------------------------------------------------- */

/* It fills the end of the stream, behind its length. */
static json_t *find_description(const uint8_t *data, size_t len)
{
    size_t first = len > DESCRIPTION_MAX ? len - DESCRIPTION_MAX : 0;

    for (size_t i = len; i-- > first + 6;) {
        const uint8_t *p = data + i;

        if (*p == '{' && p[-5] == ELEMENT_DESCRIPTION && p[-6] == ELEMENT_EOF &&
            be32_at(p - 4) == len - i)
            return json_parse((const char *)p, len - i, NULL);
    }
    return NULL;
}

/* What another wrote: each value may be of any type. */
static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text ? text : "";
}

static int64_t number_of(const json_t *o, const char *key, int64_t absent)
{
    const json_t *v = json_object_get(o, key);

    return json_is_integer(v) ? json_integer_value(v) : absent;
}

static const json_t *next_device(Taker *t, const SectionHead *h)
{
    const json_t *d = json_array_get(json_object_get(t->description, "devices"), t->next);

    if (!json_is_object(d) || strcmp(text_of(d, "name"), h->name) ||
        number_of(d, "instance_id", -1) != h->instance)
        return NULL;
    t->next++;
    return d;
}

/* ---- values ---------------------------------------------------------------------------------- */

static json_t *bytes_value(Input *in, uint64_t size)
{
    GString *hex = g_string_new(NULL);

    while (size && input_ok(in)) {
        size_t n = MIN(size, 4096);
        const uint8_t *p = input_take(in, n);

        for (size_t i = 0; p && i < n; i++)
            g_string_append_printf(hex, "%02x", p[i]);
        size -= n;
    }
    json_t *v = json_string(hex->str);
    g_string_free(hex, TRUE);
    return v;
}

static uint64_t big_endian(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++)
        v = v << 8 | p[i];
    return v;
}

/* Numbers that JSON's integers do not hold are text in hexadecimal. */
static json_t *number_value(Input *in, unsigned size, bool is_signed)
{
    const uint8_t *p = input_take(in, size);
    uint64_t v = p ? big_endian(p, size) : 0;
    g_autofree char *text = NULL;

    if (is_signed)
        return json_integer((int64_t)(v << (64 - 8 * size)) >> (64 - 8 * size));
    if (v <= INT64_MAX)
        return json_integer(v);
    text = g_strdup_printf("0x%" PRIx64, v);
    return json_string(text);
}

static bool take_fields(Taker *t, const json_t *described, json_t *to, unsigned depth);

static json_t *one_value(Taker *t, const json_t *field, uint64_t size, unsigned depth)
{
    const json_t *inner = json_object_get(field, "struct");
    const char *type = text_of(field, "type");
    bool is_signed = g_str_has_prefix(type, "int") || !strcmp(type, "timer");
    json_t *list;

    if (++t->values > VALUES_MAX) {
        input_fail(&t->in, EINVAL, "The description has more than %d values", VALUES_MAX);
        return json_null();
    }
    if (json_is_object(inner)) {
        list = json_array();
        take_fields(t, inner, list, depth + 1);
        return list;
    }
    if ((is_signed || g_str_has_prefix(type, "uint") || !strcmp(type, "bool")) &&
        (size == 1 || size == 2 || size == 4 || size == 8))
        return number_value(&t->in, size, is_signed);
    return bytes_value(&t->in, size);
}

static bool take_field(Taker *t, const json_t *field, json_t *to, unsigned depth)
{
    int64_t size = number_of(field, "size", -1), count = number_of(field, "array_len", 1);
    const char *name = text_of(field, "name");
    json_t *o = json_object(), *values = NULL;

    json_array_append_new(to, o);
    json_put_str(o, "name", name);
    json_put_str(o, "type", text_of(field, "type"));
    t->in.field = name;
    if (size < 0 || count < 0 || count > VALUES_MAX)
        return input_fail(&t->in, EINVAL, "The description of it makes no sense");
    if (!json_has(field, "array_len")) {
        json_put(o, "value", one_value(t, field, size, depth));
        return input_ok(&t->in);
    }
    values = json_array();
    json_put(o, "value", values);
    for (int64_t i = 0; i < count && input_ok(&t->in); i++)
        json_array_append_new(values, one_value(t, field, size, depth));
    return input_ok(&t->in);
}

static bool take_subsection(Taker *t, const json_t *described, json_t *to, unsigned depth)
{
    const char *name = text_of(described, "vmsd_name");
    json_t *o = json_object(), *fields = json_array();
    char has[256];

    json_array_append_new(to, o);
    json_put_str(o, "part", name);
    json_put(o, "fields", fields);
    t->in.field = name;
    if (input_u8(&t->in) != ELEMENT_SUBSECTION || !input_name(&t->in, has) || strcmp(has, name))
        return input_fail(&t->in, EINVAL, "The part that is described here is not there");
    json_put_int(o, "version", input_u32(&t->in));
    return take_fields(t, described, fields, depth + 1);
}

static bool take_fields(Taker *t, const json_t *described, json_t *to, unsigned depth)
{
    const json_t *v;
    size_t i;

    if (depth > DEPTH_MAX)
        return input_fail(&t->in, EINVAL, "The description is too deep");
    json_array_foreach(json_object_get(described, "fields"), i, v)
        if (!take_field(t, v, to, depth))
            return false;
    json_array_foreach(json_object_get(described, "subsections"), i, v)
        if (!take_subsection(t, v, to, depth))
            return false;
    t->in.field = NULL;
    return input_ok(&t->in);
}

/* ---- sections -------------------------------------------------------------------------------- */

static bool may_follow(const uint8_t *p, const uint8_t *end)
{
    return p < end && (*p == ELEMENT_FULL || *p == ELEMENT_EOF || *p == ELEMENT_END ||
                       *p == ELEMENT_COMMAND);
}

/* Without a description a section goes up to what looks like its footer. */
static bool skip_to_footer(Taker *t, uint32_t id)
{
    for (const uint8_t *p = t->in.at; t->end - p >= 5; p++)
        if (*p == ELEMENT_FOOTER && be32_at(p + 1) == id && may_follow(p + 5, t->end)) {
            t->in.at = p;
            return true;
        }
    t->in.at = t->end;
    return input_fail(&t->in, EINVAL, "The stream ends before this section does");
}

static bool device(StreamReader *r, const SectionHead *h)
{
    Taker *t = r->opaque;
    const json_t *described = next_device(t, h);
    json_t *o = json_object(), *fields = json_array();
    uint64_t start = input_place(&t->in);
    bool ok;

    json_array_append_new(t->s->sections, o);
    json_put_str(o, "name", h->name);
    json_put_int(o, "instance", h->instance);
    json_put_int(o, "version", h->version);
    json_put_int(o, "offset", start);
    if (described)
        json_put(o, "fields", fields);
    else
        json_decref(fields);
    ok = described ? take_fields(t, described, fields, 0) : skip_to_footer(t, h->id);
    json_put_int(o, "size", input_place(&t->in) - start);
    return ok;
}

static bool configured(StreamReader *r)
{
    ((Taker *)r->opaque)->s->machine = g_strdup(r->machine);
    return true;
}

static bool command(StreamReader *r, unsigned number, const uint8_t *data, unsigned len)
{
    ((Taker *)r->opaque)->s->commands++;
    if (number == COMMAND_PACKAGED)
        return input_fail(r->in, ENOTSUP, "Postcopy streams are not read yet");
    return true;
}

static RamBlock *unknown(RamBlocks *ram, Input *in, const char *name, uint64_t size)
{
    Taker *t = (Taker *)((uint8_t *)in - offsetof(Taker, in));

    return ram_block_add(ram, name, t->memory ? t->memory(t->opaque, name, size) : NULL, size,
                         size);
}

/* ---- all ------------------------------------------------------------------------------------- */

bool saved_read(SavedStream *s, const void *data, size_t len,
                uint8_t *(*memory)(void *opaque, const char *name, uint64_t size), void *opaque,
                GError **err)
{
    Taker t = { .s = s, .end = (const uint8_t *)data + len, .memory = memory, .opaque = opaque };
    g_auto(StreamReader) r = {
        .in = &t.in, .ram = &s->ram, .configured = configured, .device = device, .command = command,
        .opaque = &t,
    };
    bool ok;

    *s = (SavedStream){ .sections = json_array() };
    ram_blocks_init(&s->ram);
    s->ram.unknown = unknown;
    input_init_memory(&t.in, data, len);
    t.description = find_description(data, len);
    s->is_described = t.description;
    ok = stream_read(&r, true);
    s->is_whole = ok;
    if (!ok)
        input_report(&t.in, err);
    json_decref(t.description);
    input_clear(&t.in);
    return ok;
}

void saved_clear(SavedStream *s)
{
    g_free(s->machine);
    json_decref(s->sections);
    ram_blocks_clear(&s->ram);
}
