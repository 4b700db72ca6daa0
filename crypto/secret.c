/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Secrets: objects "secret" and "secret_keyring". See crypto/secret.h for what users write. */
#include "crypto/secret.h"
#include "crypto/crypto.h"
#include "crypto/keyring.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/module.h"
#include "qapi/object.h"
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

/* State of both classes. */
typedef struct {
    SecretBytes content;
} Secret;

enum { MASTER_KEY_LEN = 32, IV_LEN = 16 };

extern const ObjectClass object_secret, object_secret_keyring;

void secret_bytes_clear(SecretBytes *s)
{
    key_free(s->data, s->len);
    *s = (SecretBytes){ 0 };
}

/* Room for @len bytes, zeroed. */
static SecretBytes secret_bytes_new(size_t len)
{
    return (SecretBytes){ .data = g_malloc0(len + 1), .len = len };
}

static SecretBytes secret_bytes_copy(const void *data, size_t len)
{
    SecretBytes s = secret_bytes_new(len);

    if (len)
        memcpy(s.data, data, len);
    return s;
}

/* All that can be read from @path, which may be a pipe. */
static bool secret_read_file(const char *path, SecretBytes *out, GError **err)
{
    autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_auto(SecretBytes) room = secret_bytes_new(SECRET_MAX + 1);
    size_t got = 0;

    if (fd < 0)
        return err_set_errno(err, errno, "Cannot open '%s'", path);
    while (got < room.len) {
        ssize_t n = read(fd, room.data + got, room.len - got);

        if (n < 0 && errno != EINTR)
            return err_set_errno(err, errno, "Cannot read '%s'", path);
        if (!n)
            break;
        got += n > 0 ? n : 0;
    }
    if (got > SECRET_MAX)
        return err_set(err, EFBIG, "'%s' is longer than the %d bytes a secret may have", path,
                       SECRET_MAX);
    *out = secret_bytes_copy(room.data, got);
    room.len = got; /* to be wiped */
    return true;
}

static bool secret_read_keyring(int64_t serial, SecretBytes *out, GError **err)
{
    const KeyringModule *m = module_load("keyring", err);
    g_auto(SecretBytes) room = secret_bytes_new(SECRET_MAX);
    long n;

    if (!m)
        return false;
    if (serial < INT32_MIN || serial > INT32_MAX)
        return err_set(err, EINVAL, "Property 'serial' must be a number of 32 bits, not %" PRId64,
                       serial);
    n = m->read((int32_t)serial, room.data, room.len);
    if (n < 0)
        return err_set_errno(err, -n, "Cannot read key %" PRId64 " of the kernel", serial);
    if (n > (long)room.len)
        return err_set(err, EFBIG, "Key %" PRId64 " is longer than the %d bytes a secret may have",
                       serial, SECRET_MAX);
    *out = secret_bytes_copy(room.data, n);
    return true;
}

/* Replaces base64 text by what it stands for. Line ends are allowed, @what names it in errors. */
static bool secret_decode(SecretBytes *s, const char *what, GError **err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                 "+/=\n";
    size_t len = 0;

    if (strspn((const char *)s->data, digits) != s->len)
        return err_set(err, EINVAL, "The %s is not valid base64", what);
    if (!s->len)
        return true;
    /* One digit has too few bits for a byte, and GLib does not take it. */
    if (s->len > 1)
        g_base64_decode_inplace((char *)s->data, &len);
    /* In place: the text is longer. What is left of it behind the result is wiped here. */
    explicit_bzero(s->data + len, s->len - len);
    s->len = len;
    return true;
}

/* Replaces @s by its decryption under the key in secret @keyid. */
static bool secret_decrypt(SecretBytes *s, const char *keyid, const char *iv_text, GError **err)
{
    g_auto(SecretBytes) key = { 0 }, iv = { 0 };
    uint8_t pad;

    if (!secret_get(keyid, &key, err))
        return false;
    if (key.len != MASTER_KEY_LEN)
        return err_set(err, EINVAL, "Master key '%s' has %zu bytes instead of %d", keyid, key.len,
                       MASTER_KEY_LEN);
    if (!iv_text)
        return err_set(err, EINVAL, "An encrypted secret needs 'iv'");
    iv = secret_bytes_copy(iv_text, strlen(iv_text));
    if (!secret_decode(&iv, "value of 'iv'", err))
        return false;
    if (iv.len != IV_LEN)
        return err_set(err, EINVAL, "The value of 'iv' has %zu bytes instead of %d", iv.len,
                       IV_LEN);
    if (!s->len)
        return err_set(err, EINVAL, "The encrypted secret is empty");
    if (!crypto_cbc_decrypt(CIPHER_AES_256, key.data, iv.data, s->data, s->data, s->len, err))
        return false;
    pad = s->data[s->len - 1];
    if (!pad || pad > IV_LEN || pad > s->len)
        return err_set(err, EINVAL, "The encrypted secret has wrong padding; is '%s' its key?",
                       keyid);
    for (size_t i = s->len - pad; i < s->len; i++)
        if (s->data[i] != pad)
            return err_set(err, EINVAL, "The encrypted secret has wrong padding; is '%s' its key?",
                           keyid);
    explicit_bzero(s->data + s->len - pad, pad);
    s->len -= pad;
    return true;
}

/* What the properties common to both classes say about the bytes found. */
static bool secret_unwrap(SecretBytes *s, const json_t *props, GError **err)
{
    const char *format = json_get_str(props, "format", "raw");
    const char *keyid = json_get_str(props, "keyid", NULL);

    if (strcmp(format, "raw") && strcmp(format, "base64"))
        return err_set(err, EINVAL, "Property 'format' must be raw or base64, not '%s'", format);
    if (!strcmp(format, "base64") && !secret_decode(s, "content", err))
        return false;
    return !keyid || secret_decrypt(s, keyid, json_get_str(props, "iv", NULL), err);
}

static bool secret_create(void *state, const char *id, json_t *props, GError **err)
{
    Secret *s = state;
    const char *data = json_get_str(props, "data", NULL);
    const char *file = json_get_str(props, "file", NULL);

    if (!data == !file)
        return err_set(err, EINVAL, "Exactly one of 'data' and 'file' must be given");
    if (data)
        s->content = secret_bytes_copy(data, json_string_length(json_get(props, "data")));
    else if (!secret_read_file(file, &s->content, err))
        return false;
    if (s->content.len > SECRET_MAX)
        return err_set(err, EFBIG, "A secret may have at most %d bytes", SECRET_MAX);
    return secret_unwrap(&s->content, props, err);
}

static bool keyring_create(void *state, const char *id, json_t *props, GError **err)
{
    Secret *s = state;

    return secret_read_keyring(json_get_int(props, "serial", 0), &s->content, err) &&
           secret_unwrap(&s->content, props, err);
}

static void secret_destroy(void *state)
{
    Secret *s = state;

    secret_bytes_clear(&s->content);
}

bool secret_get(const char *id, SecretBytes *out, GError **err)
{
    static const ObjectClass *const classes[] = { &object_secret, &object_secret_keyring, NULL };
    const Secret *s = object_find_any(id, classes, "secret", NULL, err);

    if (!s)
        return false;
    *out = secret_bytes_copy(s->content.data, s->content.len);
    return true;
}

static SecretAsk *asker;

void secret_ask_set(SecretAsk *ask)
{
    asker = ask;
}

bool secret_ask(const char *what, SecretBytes *out)
{
    return asker && asker(what, out);
}

bool secret_get_utf8(const char *id, SecretBytes *out, GError **err)
{
    if (!secret_get(id, out, err))
        return false;
    if (g_utf8_validate((const char *)out->data, out->len, NULL) &&
        !memchr(out->data, 0, out->len))
        return true;
    secret_bytes_clear(out);
    return err_set(err, EINVAL, "Secret '%s' is not text in UTF-8", id);
}

const ObjectClass object_secret = {
    .name = "secret",
    .state_size = sizeof(Secret),
    .props = "SecretProperties",
    .hidden = "data",
    .create = secret_create,
    .destroy = secret_destroy,
};

const ObjectClass object_secret_keyring = {
    .name = "secret_keyring",
    .state_size = sizeof(Secret),
    .props = "SecretKeyringProperties",
    .create = keyring_create,
    .destroy = secret_destroy,
};
