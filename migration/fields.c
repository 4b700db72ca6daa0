/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/fields.h"
#include "migration/wire.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- integers of the host -------------------------------------------------------------------- */

static uint64_t get_number(const void *p, unsigned size)
{
    switch (size) {
    case 1:
        return *(const uint8_t *)p;
    case 2:
        return *(const uint16_t *)p;
    case 4:
        return *(const uint32_t *)p;
    default:
        return *(const uint64_t *)p;
    }
}

static void put_number(void *p, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        *(uint8_t *)p = v;
        break;
    case 2:
        *(uint16_t *)p = v;
        break;
    case 4:
        *(uint32_t *)p = v;
        break;
    default:
        *(uint64_t *)p = v;
        break;
    }
}

static uint32_t elements(const StateField *f, const void *image)
{
    return f->present ? f->present(image) : f->count;
}

/* ---- writing --------------------------------------------------------------------------------- */

static CO void write_number(Output *out, uint64_t v, unsigned size)
{
    switch (size) {
    case 1:
        output_u8(out, v);
        break;
    case 2:
        output_u16(out, v);
        break;
    case 4:
        output_u32(out, v);
        break;
    default:
        output_u64(out, v);
        break;
    }
}

static CO void write_one(Output *out, const StateField *f, const uint8_t *p)
{
    switch (f->kind) {
    case STATE_BUFFER:
        output_bytes(out, p, f->size);
        break;
    case STATE_FILLER:
        output_zeroes(out, f->size);
        break;
    case STATE_STRUCT:
        fields_write(out, f->inner, p);
        break;
    case STATE_BOOL:
        output_u8(out, *(const bool *)p);
        break;
    default:
        write_number(out, get_number(p, f->size), f->size);
        break;
    }
}

static bool is_present(const StateLayout *sub, const void *image)
{
    return *((const bool *)((const uint8_t *)image + sub->present));
}

CO void fields_write(Output *out, const StateLayout *l, const void *image)
{
    for (const StateField *f = l->fields; f->name; f++)
        for (unsigned i = 0; i < elements(f, image); i++)
            write_one(out, f, (const uint8_t *)image + f->offset + i * f->stride);
    for (const StateLayout *const *s = l->subsections; s && *s; s++) {
        if (!is_present(*s, image))
            continue;
        output_u8(out, ELEMENT_SUBSECTION);
        output_name(out, (*s)->name);
        output_u32(out, (*s)->version);
        fields_write(out, *s, image);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static CO uint64_t read_number(Input *in, unsigned size)
{
    switch (size) {
    case 1:
        return input_u8(in);
    case 2:
        return input_u16(in);
    case 4:
        return input_u32(in);
    default:
        return input_u64(in);
    }
}

static CO bool read_plain(Input *in, const StateLayout *l, void *image);
static CO bool read_subsections(Input *in, const StateLayout *l, void *image);

static CO bool read_one(Input *in, const StateField *f, uint8_t *p)
{
    uint64_t v;

    switch (f->kind) {
    case STATE_BUFFER:
        return input_bytes(in, p, f->size);
    case STATE_FILLER:
        return input_skip(in, f->size);
    case STATE_STRUCT:
        /* A byte of what follows the struct could pass for the mark of a subsection. */
        return read_plain(in, f->inner, p) &&
               (!f->inner->subsections || read_subsections(in, f->inner, p));
    case STATE_BOOL:
        v = input_u8(in);
        if (v > 1)
            return input_fail(in, EINVAL, "The value %" PRIu64 " is neither 0 nor 1", v);
        *(bool *)p = v;
        return input_ok(in);
    default:
        v = read_number(in, f->size);
        if (f->max && v > f->max)
            return input_fail(in, ERANGE, "The value %" PRIu64 " is greater than %" PRIu64, v,
                              f->max);
        put_number(p, f->size, v);
        return input_ok(in);
    }
}

static CO bool read_plain(Input *in, const StateLayout *l, void *image)
{
    for (const StateField *f = l->fields; f->name; f++) {
        uint32_t n = elements(f, image);

        in->field = f->name;
        if (n > f->count)
            return input_fail(in, ERANGE,
                              "There are %" PRIu32 " of them, and at most %u are understood", n,
                              f->count);
        for (unsigned i = 0; i < n; i++)
            if (!read_one(in, f, (uint8_t *)image + f->offset + i * f->stride))
                return false;
    }
    in->field = NULL;
    return true;
}

static const StateLayout *find_subsection(const StateLayout *l, const char *name)
{
    for (const StateLayout *const *s = l->subsections; s && *s; s++)
        if (!strcmp((*s)->name, name))
            return *s;
    return NULL;
}

/* The name of the subsection that comes next, if one does, without reading it. */
static CO bool next_subsection(Input *in, char name[256])
{
    const uint8_t *p = input_peek(in, 1);
    unsigned len;

    if (!p || *p != ELEMENT_SUBSECTION)
        return false;
    p = input_peek(in, 2);
    len = p ? p[1] : 0;
    p = p ? input_peek(in, 2 + len) : NULL;
    if (!p)
        return false;
    memcpy(name, p + 2, len);
    name[len] = 0;
    return true;
}

static CO bool read_subsection(Input *in, const StateLayout *s, void *image)
{
    bool *present = (bool *)((uint8_t *)image + s->present);
    uint32_t version;

    input_skip(in, 2 + strlen(s->name));
    in->field = s->name;
    if (*present)
        return input_fail(in, EINVAL, "This part has come twice");
    version = input_u32(in);
    if (!fields_read(in, s, version, image))
        return false;
    *present = true;
    return true;
}

/* A name without our own before it belongs to what comes next, which may be a struct around us. */
static CO bool read_subsections(Input *in, const StateLayout *l, void *image)
{
    size_t own = strlen(l->name);
    char name[256];

    while (input_ok(in) && next_subsection(in, name)) {
        const StateLayout *s = find_subsection(l, name);

        if (s && !read_subsection(in, s, image))
            return false;
        if (!s && (strncmp(name, l->name, own) || name[own] != '/'))
            return true;
        if (!s)
            return input_fail(in, ENOTSUP, "It has a part '%s', which is not known here", name);
    }
    return input_ok(in);
}

CO bool fields_read(Input *in, const StateLayout *l, uint32_t version, void *image)
{
    if (input_ok(in) && (version > l->version || version < l->oldest))
        return input_fail(in, ENOTSUP,
                          "Version %" PRIu32 " of '%s' is not understood, only %u to %u", version,
                          l->name, l->oldest, l->version);
    return read_plain(in, l, image) && read_subsections(in, l, image);
}

/* ---- describing ------------------------------------------------------------------------------ */

/* Bytes that one element, at @p, takes in the stream. */
static size_t wire_size(const StateField *f, const uint8_t *p)
{
    size_t n = 0;

    if (f->kind != STATE_STRUCT)
        return f->size;
    for (const StateField *i = f->inner->fields; i->name; i++)
        for (unsigned k = 0; k < elements(i, p); k++)
            n += wire_size(i, p + i->offset + k * i->stride);
    return n;
}

static void put_type(json_t *o, const StateField *f)
{
    static const char *const names[] = {
        [STATE_BOOL] = "bool", [STATE_TIME] = "timer", [STATE_BUFFER] = "buffer",
        [STATE_FILLER] = "unused_buffer", [STATE_STRUCT] = "struct",
    };
    g_autofree char *number =
        g_strdup_printf("%s%u", f->kind == STATE_INT ? "int" : "uint", 8 * f->size);

    json_put_str(o, "type",
                 f->kind == STATE_UINT || f->kind == STATE_INT ? number : names[f->kind]);
}

/* @count elements that begin at @p. */
static json_t *describe_field(const StateField *f, const uint8_t *p, uint32_t count)
{
    json_t *o = json_object();

    json_put_str(o, "name", f->name);
    if (count > 1)
        json_put_int(o, "array_len", count);
    put_type(o, f);
    json_put_int(o, "size", wire_size(f, p));
    if (f->kind == STATE_STRUCT) {
        json_t *inner = fields_describe(f->inner, p);

        json_put_str(inner, "vmsd_name", f->inner->name);
        json_put_int(inner, "version", f->inner->version);
        json_put(o, "struct", inner);
    }
    return o;
}

/* Structs of an array of varying length may differ in their fields, so each is described. */
static void describe_elements(json_t *to, const StateField *f, const uint8_t *p, uint32_t count)
{
    bool each = f->present && f->kind == STATE_STRUCT;

    for (uint32_t i = 0; each && i < count; i++)
        json_array_append_new(to, describe_field(f, p + i * f->stride, 1));
    if (!each && count)
        json_array_append_new(to, describe_field(f, p, count));
}

json_t *fields_describe(const StateLayout *l, const void *image)
{
    json_t *o = json_object(), *fields = json_array(), *subsections = json_array();

    for (const StateField *f = l->fields; f->name; f++)
        describe_elements(fields, f, (const uint8_t *)image + f->offset, elements(f, image));
    for (const StateLayout *const *s = l->subsections; s && *s; s++) {
        json_t *sub;

        if (!is_present(*s, image))
            continue;
        sub = fields_describe(*s, image);
        json_put_str(sub, "vmsd_name", (*s)->name);
        json_put_int(sub, "version", (*s)->version);
        json_array_append_new(subsections, sub);
    }
    json_put(o, "fields", fields);
    if (json_array_size(subsections))
        json_put(o, "subsections", subsections);
    else
        json_decref(subsections);
    return o;
}
