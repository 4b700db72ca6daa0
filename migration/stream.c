/* SPDX-License-Identifier: GPL-2.0-or-later */
/* docs/spec/migration-stream.md */
#include "migration/stream.h"
#include "migration/wire.h"
#include "util/endian.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* More sections that come in parts, or commands, no source has. */
enum { LIVE_MAX = 16, COMMAND_LEN_MAX = 4096, UUID_LEN = 16 };

/* ---- reading: header and configuration ------------------------------------------------------- */

CO bool stream_is_one(Input *in)
{
    const uint8_t *p = input_peek(in, sizeof(be32));

    if (p && be32_at(p) != STREAM_MAGIC)
        return input_fail(
            in, EINVAL, "This is no migration stream (it begins with 0x%08" PRIx32 ")", be32_at(p));
    return p;
}

static CO bool read_header(StreamReader *r)
{
    uint32_t version;

    if (!stream_is_one(r->in))
        return false;
    input_skip(r->in, sizeof(be32));
    version = input_u32(r->in);
    if (!input_ok(r->in))
        return false;
    if (version != STREAM_VERSION)
        return input_fail(r->in, ENOTSUP, "A stream of version %" PRIu32 "%s, not %u", version,
                          version == STREAM_VERSION_OBSOLETE ? ", which is obsolete" : "",
                          STREAM_VERSION);
    return true;
}

/* Only what changes how memory is sent is listed, and none of that is there. */
static CO bool read_capabilities(StreamReader *r)
{
    uint32_t count = input_u32(r->in);
    char name[256];

    if (!input_ok(r->in) || !count)
        return input_ok(r->in);
    return input_name(r->in, name) &&
           input_fail(r->in, ENOTSUP, "The source has '%s' turned on, which is not known here",
                      name);
}

static CO bool read_uuid(StreamReader *r)
{
    const uint8_t *p = input_take(r->in, UUID_LEN);

    if (p && r->uuid && memcmp(p, r->uuid, UUID_LEN))
        return input_fail(r->in, EINVAL, "The guest that comes has another UUID than this one");
    return p;
}

static CO bool read_configuration_part(StreamReader *r, const char *name)
{
    uint32_t version = input_u32(r->in);

    if (input_ok(r->in) && version != 1)
        return input_fail(r->in, ENOTSUP, "Version %" PRIu32 " is not understood", version);
    if (!strcmp(name, "configuration/capabilities"))
        return read_capabilities(r);
    if (!strcmp(name, "configuration/uuid"))
        return read_uuid(r);
    return input_fail(r->in, ENOTSUP, "It has a part '%s', which is not known here", name);
}

static CO bool read_configuration_parts(StreamReader *r)
{
    const uint8_t *p;
    char name[256];

    while ((p = input_peek(r->in, 1)) && *p == ELEMENT_SUBSECTION) {
        input_skip(r->in, 1);
        if (!input_name(r->in, name))
            return false;
        r->in->field = name;
        if (!read_configuration_part(r, name))
            return false;
        r->in->field = NULL;
    }
    input_enter(r->in, NULL);
    return input_ok(r->in);
}

static CO bool read_configuration(StreamReader *r)
{
    uint32_t len = input_u32(r->in);

    input_enter(r->in, "configuration");
    r->in->field = "machine";
    if (input_ok(r->in) && (!len || len > NAME_LEN_MAX))
        return input_fail(r->in, EINVAL, "The machine's name has %" PRIu32 " bytes", len);
    if (!input_bytes(r->in, r->machine, len))
        return false;
    r->machine[len] = 0;
    if (strlen(r->machine) != len || !g_utf8_validate(r->machine, -1, NULL))
        return input_fail(r->in, EINVAL, "The machine's name is no text");
    r->in->field = NULL;
    if (r->has_configuration)
        return input_fail(r->in, EINVAL, "It comes twice");
    r->has_configuration = true;
    return (!r->configured || r->configured(r)) && read_configuration_parts(r);
}

/* ---- reading: sections ----------------------------------------------------------------------- */

static CO bool read_head(StreamReader *r, SectionHead *h)
{
    h->id = input_u32(r->in);
    if (!input_name(r->in, h->name))
        return false;
    h->instance = input_u32(r->in);
    h->version = input_u32(r->in);
    if (h->instance)
        input_enter(r->in, "%s/%" PRIu32, h->name, h->instance);
    else
        input_enter(r->in, "%s", h->name);
    return input_ok(r->in);
}

static CO bool read_footer(StreamReader *r, uint32_t id)
{
    uint8_t mark = input_u8(r->in);
    uint32_t has;

    if (!input_ok(r->in))
        return false;
    if (mark != ELEMENT_FOOTER)
        return input_fail(r->in, EINVAL, "It does not end where it should: 0x%02x follows", mark);
    has = input_u32(r->in);
    if (input_ok(r->in) && has != id)
        return input_fail(r->in, EINVAL, "It ends as section %" PRIu32 ", but is %" PRIu32, has,
                          id);
    input_enter(r->in, NULL);
    return input_ok(r->in);
}

static const SectionHead *find_live(const StreamReader *r, uint32_t id)
{
    for (guint i = 0; i < r->live->len; i++)
        if (g_array_index(r->live, SectionHead, i).id == id)
            return &g_array_index(r->live, SectionHead, i);
    return NULL;
}

static CO bool read_live(StreamReader *r, const SectionHead *h, unsigned element)
{
    if (strcmp(h->name, "ram"))
        return input_fail(r->in, ENOTSUP, "A live section of this name is not known here");
    if (r->ram_ended)
        return input_fail(r->in, EINVAL, "It goes on after its end");
    r->ram_ended = element == ELEMENT_END;
    return ram_read(r->in, r->ram, element == ELEMENT_START) && read_footer(r, h->id);
}

static CO bool read_start(StreamReader *r)
{
    SectionHead h;

    if (!read_head(r, &h))
        return false;
    if (find_live(r, h.id) || r->live->len == LIVE_MAX)
        return input_fail(r->in, EINVAL, "Section %" PRIu32 " starts twice", h.id);
    if (h.version != RAM_VERSION || h.instance)
        return input_fail(r->in, ENOTSUP, "Version %" PRIu32 " is not understood", h.version);
    for (guint i = 0; i < r->live->len; i++)
        if (!strcmp(g_array_index(r->live, SectionHead, i).name, h.name))
            return input_fail(r->in, EINVAL, "It starts twice");
    g_array_append_val(r->live, h);
    return read_live(r, &h, ELEMENT_START);
}

static CO bool read_more_of(StreamReader *r, unsigned element)
{
    uint32_t id = input_u32(r->in);
    const SectionHead *h = input_ok(r->in) ? find_live(r, id) : NULL;

    if (!h)
        return input_fail(r->in, EINVAL, "Section %" PRIu32 " goes on, but has not started", id);
    input_enter(r->in, "%s", h->name);
    return read_live(r, h, element);
}

static CO bool read_device(StreamReader *r)
{
    SectionHead h;

    return read_head(r, &h) && r->device(r, &h) && read_footer(r, h.id);
}

static CO bool read_command(StreamReader *r)
{
    uint16_t command = input_u16(r->in), len = input_u16(r->in);
    const uint8_t *data;

    input_enter(r->in, "command %u", command);
    if (input_ok(r->in) && (!command || command >= COMMANDS || len > COMMAND_LEN_MAX))
        return input_fail(r->in, EINVAL, "There is no such command of %u bytes", len);
    data = input_take(r->in, len);
    if (!data || (r->command && !r->command(r, command, data, len)))
        return false;
    input_enter(r->in, NULL);
    return true;
}

/* ---- reading: the end ------------------------------------------------------------------------ */

static CO bool read_description(StreamReader *r)
{
    g_autoptr(GByteArray) text = g_byte_array_new();
    g_autoptr(GError) why = NULL;
    uint32_t len;

    if (input_at_end(r->in))
        return true;
    input_enter(r->in, "description");
    if (input_u8(r->in) != ELEMENT_DESCRIPTION)
        return input_fail(r->in, EINVAL, "Something else follows the end");
    len = input_u32(r->in);
    if (len > DESCRIPTION_MAX)
        return input_fail(r->in, EINVAL, "It has %" PRIu32 " bytes", len);
    while (text->len < len) {
        uint32_t n = MIN(len - text->len, INPUT_BUFFER / 2);
        const uint8_t *p = input_take(r->in, n);

        if (!p)
            return false;
        g_byte_array_append(text, p, n);
    }
    if (!input_ok(r->in))
        return false;
    r->description = json_parse((const char *)text->data, text->len, &why);
    if (!r->description)
        return input_fail(r->in, EINVAL, "%s", why->message);
    input_enter(r->in, NULL);
    return true;
}

static CO bool read_element(StreamReader *r, unsigned element)
{
    switch (element) {
    case ELEMENT_START:
        return read_start(r);
    case ELEMENT_PART:
    case ELEMENT_END:
        return read_more_of(r, element);
    case ELEMENT_FULL:
        return read_device(r);
    case ELEMENT_CONFIGURATION:
        return read_configuration(r);
    case ELEMENT_COMMAND:
        return read_command(r);
    default:
        return input_fail(r->in, EINVAL, "Nothing begins with 0x%02x", element);
    }
}

CO bool stream_read(StreamReader *r, bool wants_description)
{
    r->live = g_array_new(FALSE, TRUE, sizeof(SectionHead));
    if (!read_header(r) || !stream_read_rest(r))
        return false;
    return !wants_description || r->is_interrupted || read_description(r);
}

CO bool stream_read_rest(StreamReader *r)
{
    r->is_interrupted = false;
    while (!r->is_interrupted) {
        uint8_t element = input_u8(r->in);

        if (!input_ok(r->in))
            return false;
        if (element == ELEMENT_EOF)
            break;
        if (!read_element(r, element))
            return false;
    }
    return true;
}

CO bool stream_read_package(const StreamReader *r, Input *in)
{
    StreamReader inner = *r;
    bool ok = true;

    inner.in = in;
    inner.live = g_array_new(FALSE, TRUE, sizeof(SectionHead));
    while (ok && !input_at_end(in)) {
        uint8_t element = input_u8(in);

        ok = element == ELEMENT_FULL || element == ELEMENT_COMMAND
                 ? read_element(&inner, element)
                 : input_fail(in, EINVAL, "Nothing in a package begins with 0x%02x", element);
    }
    g_array_unref(inner.live);
    return ok && input_ok(in);
}

void stream_reader_clear(StreamReader *r)
{
    if (r->live)
        g_array_unref(r->live);
    json_decref(r->description);
}

/* ---- writing --------------------------------------------------------------------------------- */

static CO void write_uuid(Output *out, const uint8_t *uuid)
{
    output_u8(out, ELEMENT_SUBSECTION);
    output_name(out, "configuration/uuid");
    output_u32(out, 1);
    output_bytes(out, uuid, UUID_LEN);
}

CO void stream_write_header(Output *out, const char *machine, const uint8_t *uuid)
{
    output_u32(out, STREAM_MAGIC);
    output_u32(out, STREAM_VERSION);
    output_u8(out, ELEMENT_CONFIGURATION);
    output_u32(out, strlen(machine));
    output_bytes(out, machine, strlen(machine));
    if (uuid)
        write_uuid(out, uuid);
}

CO void stream_write_section_start(Output *out, unsigned element, const SectionHead *head)
{
    output_u8(out, element);
    output_u32(out, head->id);
    output_name(out, head->name);
    output_u32(out, head->instance);
    output_u32(out, head->version);
}

CO void stream_write_section_part(Output *out, unsigned element, uint32_t id)
{
    output_u8(out, element);
    output_u32(out, id);
}

CO void stream_write_footer(Output *out, uint32_t id)
{
    output_u8(out, ELEMENT_FOOTER);
    output_u32(out, id);
}

CO void stream_write_end(Output *out, const json_t *description)
{
    g_autofree char *text = json_print(description);

    output_u8(out, ELEMENT_EOF);
    output_u8(out, ELEMENT_DESCRIPTION);
    output_u32(out, strlen(text));
    output_bytes(out, text, strlen(text));
}
