/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * $TEXT#CHECKSUM, acknowledged by + or sent again at -. What has a meaning of its own is escaped by
 * }.
 */
#include "io/co-lock.h"
#include "system/gdb/gdb.h"
#include <string.h>

enum { PACKET_MAX = 16384, INTERRUPT = 3 };

static struct {
    Chardev *chardev; /* NULL: there is no server */
    CoGroup running;
    CoMutex sending;
    bool is_connected, no_acks;
    GString *last;    /* as it was sent */
    /* The packet that is coming: */
    enum { OUTSIDE, INSIDE, ESCAPED, FIRST_DIGIT, SECOND_DIGIT } state;
    GString *text;
    uint8_t sum, told;
} gdb;

static CO void put(const char *text, size_t len)
{
    CO_LOCKED(&gdb.sending);

    if (gdb.is_connected)
        chardev_write(gdb.chardev, text, len);
}

CO void gdb_send(const char *text, size_t len)
{
    uint8_t sum = 0;

    g_string_assign(gdb.last, "$");
    for (size_t i = 0; i < len; i++) {
        if (strchr("#$}*", text[i])) {
            g_string_append_c(gdb.last, '}');
            g_string_append_c(gdb.last, text[i] ^ 0x20);
        } else {
            g_string_append_c(gdb.last, text[i]);
        }
    }
    for (size_t i = 1; i < gdb.last->len; i++)
        sum += gdb.last->str[i];
    g_string_append_printf(gdb.last, "#%02x", sum);
    put(gdb.last->str, gdb.last->len);
}

void gdb_no_acks(void)
{
    gdb.no_acks = true;
}

static CO void finish_packet(void)
{
    bool right = gdb.sum == gdb.told;

    gdb.state = OUTSIDE;
    if (!gdb.no_acks)
        put(right ? "+" : "-", 1);
    if (right)
        gdb_command(gdb.text->str, gdb.text->len);
}

static CO void outside(char c)
{
    if (c == '$') {
        gdb.state = INSIDE;
        gdb.sum = 0;
        g_string_truncate(gdb.text, 0);
    } else if (c == INTERRUPT) {
        gdb_interrupt();
    } else if (c == '-') {
        put(gdb.last->str, gdb.last->len);
    }
}

static CO void take(char c)
{
    switch (gdb.state) {
    case OUTSIDE:
        outside(c);
        break;
    case INSIDE:
    case ESCAPED:
        if (c == '#') {
            gdb.state = FIRST_DIGIT;
            break;
        }
        gdb.sum += c;
        if (gdb.state == INSIDE && c == '}') {
            gdb.state = ESCAPED;
            break;
        }
        if (gdb.text->len < PACKET_MAX)
            g_string_append_c(gdb.text, gdb.state == ESCAPED ? c ^ 0x20 : c);
        gdb.state = INSIDE;
        break;
    case FIRST_DIGIT:
        gdb.told = g_ascii_xdigit_value(c) << 4;
        gdb.state = SECOND_DIGIT;
        break;
    case SECOND_DIGIT:
        gdb.told |= g_ascii_xdigit_value(c) & 15;
        finish_packet();
        break;
    }
}

static CO void serve(void *opaque)
{
    while (chardev_wait_open(gdb.chardev)) {
        char buf[1024];
        ssize_t n;

        gdb.is_connected = true;
        gdb.no_acks = false;
        gdb.state = OUTSIDE;
        if (gdb_attach())
            while ((n = chardev_read(gdb.chardev, buf, sizeof(buf))) > 0)
                for (ssize_t i = 0; i < n; i++)
                    take(buf[i]);
        gdb_detach();
        put("", 0);
        gdb.is_connected = false;
        chardev_hang_up(gdb.chardev);
    }
}

bool gdb_start(Chardev *c, GError **err)
{
    if (!chardev_claim(c, err))
        return false;
    gdb.chardev = c;
    gdb.last = g_string_new(NULL);
    gdb.text = g_string_new(NULL);
    co_group_start(&gdb.running, serve, NULL);
    return true;
}

CO void gdb_end(void)
{
    if (!gdb.chardev)
        return;
    chardev_shutdown(gdb.chardev);
    co_group_wait(&gdb.running);
    chardev_release(gdb.chardev);
    g_string_free(gdb.last, TRUE);
    g_string_free(gdb.text, TRUE);
    gdb.chardev = NULL;
}
