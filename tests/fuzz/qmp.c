/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a QMP client sends: any bytes are answered or refused, line by line, and no answer breaks
 * JSON. Commands are those of the storage daemon; those that would use files, sockets or threads
 * of this machine are refused here as the schema's checks come before them.
 */
#include "block/monitor-nodes.h"
#include "gen/qmp.h"
#include "io/loop.h"
#include "monitor/session.h"
#include "nbd/service.h"
#include "qapi/object.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t *input;
static size_t input_len;

CO bool qmp_quit(GError **err)
{
    return true;
}

/* A string in @v that names what is outside of this process. */
static bool reaches_outside(const json_t *v)
{
    static const char *const names[] = {
        "file", "host_device", "nbd", "luks", "pipe", "pty", "socket", "stdio", "iothread",
        "authz-pam", "authz-listfile", "secret_keyring", "tls-creds-x509", "tls-creds-psk",
        "tls-creds-anon", "nbd-server-start", "inet", "unix", "vsock", "fd", "fuse", NULL,
    };
    const char *key;
    json_t *member;
    size_t i;

    if (json_is_string(v))
        return g_strv_contains(names, json_string_value(v));
    json_object_foreach((json_t *)v, key, member)
        if (!strcmp(key, "logfile") || !strcmp(key, "filename") || reaches_outside(member))
            return true;
    json_array_foreach(v, i, member)
        if (reaches_outside(member))
            return true;
    return false;
}

/* What a client makes of @text. Judged by the parser of clients' input: it takes NUL in strings. */
static json_t *as_client_reads(const char *text)
{
    g_autoptr(JsonStream) in = json_stream_new();
    json_t *value = NULL;

    json_stream_feed(in, text, strlen(text));
    g_assert_true(json_stream_next(in, &value, NULL) == JSON_STREAM_VALUE);
    return value;
}

/* All of it is checked; it is carried out only if it stays inside. */
static CO void answer(QmpSession *s, json_t *value)
{
    const char *name = json_is_object(value) ? json_string_value(json_get(value, "execute")) : NULL;
    const QmpCommand *c = name ? qmp_command_find(qmp_commands, name) : NULL;
    const json_t *arguments = json_get(value, "arguments");
    g_autoptr(json_t) message = NULL, again = NULL;
    g_autofree char *text = NULL;

    if (c && c->arg_type && json_is_object(arguments))
        schema_check_exact(c->arg_type, arguments, NULL);
    if (reaches_outside(value))
        return;
    message = session_dispatch(s, value);
    text = json_print(message);
    again = as_client_reads(text);
    g_assert_true(json_has(again, "return") || json_has(again, "error"));
}

/* The first byte says in which pieces the rest comes. */
static CO void talk(QmpSession *s)
{
    size_t piece = 1 + (input_len ? input[0] % 64 : 0);

    for (size_t at = 1; at < input_len; at += piece) {
        json_stream_feed(s->input, (const char *)input + at, MIN(piece, input_len - at));
        for (;;) {
            g_autoptr(json_t) value = NULL;
            g_autoptr(GError) err = NULL;
            JsonStreamResult r = json_stream_next(s->input, &value, &err);

            if (r == JSON_STREAM_MORE)
                break;
            g_assert_true((r == JSON_STREAM_VALUE) == (value != NULL) && !value == !!err);
            if (value)
                answer(s, value);
        }
    }
}

static CO void run(void *arg)
{
    g_autoptr(json_t) backend = json_pack("{s:s, s:{}}", "type", "null", "data");
    Chardev *c;
    QmpSession *s;

    monitor_begin(qmp_commands);
    c = chardev_add("fuzz", backend, NULL);
    chardev_claim(c, NULL);
    s = session_new(c, false);
    s->is_negotiated = true;
    s->input = json_stream_new();
    talk(s);
    json_stream_free(s->input);
    session_free(s);
    nbd_service_stop();
    monitor_nodes_close();
    monitor_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    input = data;
    input_len = len;
    loop_run(run, NULL);
    object_delete_all();
    return 0;
}
