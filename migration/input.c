/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/input.h"
#include "util/endian.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

void input_init_memory(Input *in, const void *data, size_t len)
{
    *in = (Input){ .start = data, .at = data, .end = (const uint8_t *)data + len };
}

void input_init(Input *in, CO ssize_t (*read)(void *opaque, void *buf, size_t len), void *opaque)
{
    *in = (Input){ .read = read, .opaque = opaque, .buf = g_malloc(INPUT_BUFFER) };
    in->start = in->at = in->end = in->buf;
}

void input_restart(Input *in)
{
    input_enter(in, NULL);
    g_clear_error(&in->err);
    in->base = 0;
    in->start = in->at = in->end = in->buf;
}

void input_clear(Input *in)
{
    g_free(in->buf);
    g_free(in->section);
    g_clear_error(&in->err);
}

/* ---- failures -------------------------------------------------------------------------------- */

bool input_fail(Input *in, int code, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    if (in->err)
        return false;
    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (in->section && in->field)
        return err_set(&in->err, code,
                       "Byte %" PRIu64 " of the stream, section '%s', field '%s': %s",
                       input_place(in), in->section, in->field, what);
    if (in->section)
        return err_set(&in->err, code, "Byte %" PRIu64 " of the stream, section '%s': %s",
                       input_place(in), in->section, what);
    return err_set(&in->err, code, "Byte %" PRIu64 " of the stream: %s", input_place(in), what);
}

void input_enter(Input *in, const char *fmt, ...)
{
    va_list ap;

    g_clear_pointer(&in->section, g_free);
    in->field = NULL;
    if (!fmt)
        return;
    va_start(ap, fmt);
    in->section = g_strdup_vprintf(fmt, ap);
    va_end(ap);
}

bool input_report(Input *in, GError **err)
{
    g_propagate_error(err, g_steal_pointer(&in->err));
    return false;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Makes room for more behind what is unread. */
static void move_down(Input *in)
{
    size_t left = in->end - in->at;

    memmove(in->buf, in->at, left);
    in->base += in->at - in->start;
    in->start = in->at = in->buf;
    in->end = in->buf + left;
}

/* False at the end, and after a failure. */
static CO bool read_more(Input *in)
{
    ssize_t n;

    if (!in->read || in->err)
        return false;
    if (in->end == in->buf + INPUT_BUFFER || in->at == in->end)
        move_down(in);
    n = in->read(in->opaque, in->buf + (in->end - in->buf), in->buf + INPUT_BUFFER - in->end);
    if (n < 0)
        return input_fail(in, -n, "Cannot be read: %s", g_strerror(-n));
    in->end += n;
    return n;
}

CO const uint8_t *input_peek(Input *in, size_t len)
{
    g_assert(len <= INPUT_BUFFER);
    if (in->err)
        return NULL;
    if (in->buf && (size_t)(in->buf + INPUT_BUFFER - in->at) < len)
        move_down(in);
    while ((size_t)(in->end - in->at) < len)
        if (!read_more(in)) {
            input_fail(in, EINVAL, "The stream ends here; %zu more bytes were expected",
                       len - (in->end - in->at));
            return NULL;
        }
    return in->at;
}

CO const uint8_t *input_take(Input *in, size_t len)
{
    const uint8_t *p = input_peek(in, len);

    if (p)
        in->at += len;
    return p;
}

CO bool input_bytes(Input *in, void *to, size_t len)
{
    uint8_t *out = to;

    while (len) {
        size_t n = MIN(len, INPUT_BUFFER / 2);
        const uint8_t *p = input_take(in, n);

        if (!p) {
            memset(out, 0, len);
            return false;
        }
        memcpy(out, p, n);
        out += n;
        len -= n;
    }
    return input_ok(in);
}

CO bool input_skip(Input *in, uint64_t len)
{
    while (len) {
        size_t n = MIN(len, INPUT_BUFFER / 2);

        if (!input_take(in, n))
            return false;
        len -= n;
    }
    return input_ok(in);
}

CO bool input_at_end(Input *in)
{
    return in->at == in->end && !read_more(in) && input_ok(in);
}

/* ---- numbers and names ----------------------------------------------------------------------- */

CO uint8_t input_u8(Input *in)
{
    const uint8_t *p = input_take(in, 1);

    return p ? *p : 0;
}

CO uint16_t input_u16(Input *in)
{
    const uint8_t *p = input_take(in, 2);

    return p ? be16_at(p) : 0;
}

CO uint32_t input_u32(Input *in)
{
    const uint8_t *p = input_take(in, 4);

    return p ? be32_at(p) : 0;
}

CO uint64_t input_u64(Input *in)
{
    const uint8_t *p = input_take(in, 8);

    return p ? be64_at(p) : 0;
}

CO bool input_name(Input *in, char name[256])
{
    uint8_t len = input_u8(in);

    name[0] = 0;
    if (!input_ok(in) || !input_bytes(in, name, len))
        return false;
    name[len] = 0;
    for (unsigned i = 0; i < len; i++)
        if ((uint8_t)name[i] < 0x20 || name[i] == 0x7f)
            return input_fail(in, EINVAL, "A name has the character 0x%02x", (uint8_t)name[i]);
    return len || input_fail(in, EINVAL, "A name is empty");
}
