/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encryption of guest data. Metadata is never encrypted. The vector of a sector comes from where it
 * lies in the file (LUKS) or on the guest's disk (legacy AES), so parts are handled in whole
 * sectors of 512 bytes; the driver asks the core for that alignment.
 */
#include "block/formats/qcow2/crypt.h"
#include "io/loop.h"
#include "io/pool.h"
#include <string.h>

enum {
    BOUNCE_MAX = 1 << 20,
    INLINE_MAX = 16 << 10,    /* as much is not worth a thread */
    AES_KEY_LEN = 16,
};

struct Qcow2Crypt {
    CryptoBlock *block;       /* NULL: opened without a key */
    Luks *luks;
};

/* ---- data ----------------------------------------------------------------------------------- */

typedef struct {
    const CryptoBlock *block;
    bool encrypt;
    uint64_t off;             /* that feeds the vectors */
    Span from;
    void *to;                 /* @from.len bytes */
} CryptJob;

static int crypt_run(void *arg)
{
    CryptJob *j = arg;
    Span s = j->from;
    size_t done = 0;

    /* Pieces need not end at sectors: then all is gathered first. */
    if (s.iov) {
        span_read(s, j->to);
        s = span_of(j->to, s.len);
    }
    while (s.len) {
        size_t n;
        const void *p = span_head(s, &n);

        if (j->encrypt)
            crypto_block_encrypt(j->block, j->off + done, p, (uint8_t *)j->to + done, n);
        else
            crypto_block_decrypt(j->block, j->off + done, p, (uint8_t *)j->to + done, n);
        done += n;
        s = span_slice(s, n, s.len - n);
    }
    return 0;
}

static CO int crypt_job(CryptJob *j)
{
    if (j->from.len <= INLINE_MAX || loop_is_alone())
        return crypt_run(j);
    return pool_compute(crypt_run, j);
}

static uint64_t vector_off(const Qcow2 *q, uint64_t off, uint64_t host)
{
    return q->crypt_method == QCOW2_CRYPT_LUKS ? host : off;
}

CO int qcow2_crypt_read(Qcow2 *q, uint64_t off, uint64_t host, Span buf)
{
    g_autoptr(Aligned) bounce = NULL;

    if (!q->crypt || !q->crypt->block)
        return -EIO;
    bounce = aligned_try_alloc(MIN(buf.len, BOUNCE_MAX));
    if (!bounce)
        return -ENOMEM;
    for (uint64_t done = 0; done < buf.len;) {
        uint64_t len = MIN(buf.len - done, BOUNCE_MAX);
        uint64_t end = edge_size(q->data), at = host + done;
        uint64_t there = at < end ? MIN(len, end - at) : 0;
        CryptJob job = { .block = q->crypt->block, .off = vector_off(q, off + done, at),
                         .from = span_of(bounce, len), .to = bounce };
        int r;

        edge_event(q->storage, EV_READ_AIO);
        memset((uint8_t *)bounce + there, 0, len - there);
        r = there ? edge_pread_buf(q->data, at, bounce, there) : 0;
        if (r >= 0)
            r = crypt_job(&job);
        if (r < 0)
            return r;
        span_write(span_slice(buf, done, len), bounce);
        done += len;
    }
    return 0;
}

CO int qcow2_crypt_write(Qcow2 *q, uint64_t off, uint64_t host, Span buf)
{
    g_autoptr(Aligned) bounce = NULL;

    if (!q->crypt || !q->crypt->block)
        return -EIO;
    bounce = aligned_try_alloc(MIN(buf.len, BOUNCE_MAX));
    if (!bounce)
        return -ENOMEM;
    for (uint64_t done = 0; done < buf.len;) {
        uint64_t len = MIN(buf.len - done, BOUNCE_MAX);
        CryptJob job = { .block = q->crypt->block, .encrypt = true, .to = bounce,
                         .off = vector_off(q, off + done, host + done),
                         .from = span_slice(buf, done, len) };
        int r = crypt_job(&job);

        edge_event(q->storage, EV_WRITE_AIO);
        if (r >= 0)
            r = edge_pwrite_buf(q->data, host + done, bounce, len);
        if (r < 0)
            return r;
        done += len;
    }
    return 0;
}

/* ---- the header of LUKS --------------------------------------------------------------------- */

static bool luks_range_ok(const Qcow2 *q, uint64_t off, size_t len)
{
    return off <= q->crypt_len && len <= q->crypt_len - off;
}

static CO int luks_io_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    Qcow2 *q = opaque;

    return luks_range_ok(q, off, len) ? qcow2_file_read(q, q->crypt_off + off, buf, len) : -EINVAL;
}

static CO int luks_io_write(void *opaque, uint64_t off, const void *buf, size_t len)
{
    Qcow2 *q = opaque;

    return luks_range_ok(q, off, len)
               ? edge_pwrite_buf(q->storage, q->crypt_off + off, buf, len) : -EINVAL;
}

static CO int luks_io_flush(void *opaque)
{
    return qcow2_barrier(opaque);
}

static LuksIo luks_io(Qcow2 *q)
{
    return (LuksIo){ .read = luks_io_read, .write = luks_io_write, .flush = luks_io_flush,
                     .compute = pool_compute, .opaque = q };
}

/* ---- opening -------------------------------------------------------------------------------- */

/* The key of legacy AES is the start of the password. */
static CryptoBlock *aes_block(const SecretBytes *pass, GError **err)
{
    static const CryptoSpec spec = { .cipher = CIPHER_AES_128, .mode = MODE_CBC,
                                     .ivgen = IVGEN_PLAIN64 };
    uint8_t key[AES_KEY_LEN] = {};
    CryptoBlock *block;

    memcpy(key, pass->data, MIN(pass->len, sizeof(key)));
    block = crypto_block_new(&spec, key, sizeof(key), err);
    explicit_bzero(key, sizeof(key));
    return block;
}

static const char *method_name(Qcow2CryptMethod method)
{
    return method == QCOW2_CRYPT_LUKS ? "luks" : "aes";
}

bool qcow2_crypt_check_options(const Qcow2 *q, const json_t *options, GError **err)
{
    const char *format = json_get_str(json_get(options, "encrypt"), "format", NULL);

    if (!format || (q->crypt_method && !strcmp(format, method_name(q->crypt_method))))
        return true;
    if (!q->crypt_method)
        return err_set(err, EINVAL, "The image is not encrypted, but 'encrypt.format' is '%s'",
                       format);
    return err_set(err, EINVAL, "The image is encrypted with '%s', not with '%s'",
                   method_name(q->crypt_method), format);
}

/* The password in @secret; NULL: asked for. */
static bool password_of(const Qcow2 *q, const char *secret, SecretBytes *pass, GError **err)
{
    if (secret)
        return secret_get_utf8(secret, pass, err);
    return secret_ask(node_filename(edge_node(q->storage)), pass) ||
           err_set(err, EINVAL, "The image is encrypted: option 'encrypt.key-secret' is needed");
}

static CO bool unlock(Qcow2 *q, const json_t *options, GError **err)
{
    const char *secret = json_get_str(json_get(options, "encrypt"), "key-secret", NULL);
    g_auto(SecretBytes) pass = {};
    LuksIo io = luks_io(q);

    if (!password_of(q, secret, &pass, err))
        return false;
    q->key_secret = g_strdup(secret);
    q->crypt->block = q->crypt->luks ? luks_unlock(q->crypt->luks, &io, &pass, err)
                                     : aes_block(&pass, err);
    return q->crypt->block;
}

CO bool qcow2_crypt_open(Qcow2 *q, const json_t *options, OpenFlags flags, GError **err)
{
    LuksIo io = luks_io(q);

    if (q->crypt_method == QCOW2_CRYPT_NONE)
        return true;
    q->crypt = g_new0(Qcow2Crypt, 1);
    if (q->crypt_method == QCOW2_CRYPT_LUKS) {
        q->crypt->luks = luks_load(&io, q->crypt_len, err);
        if (!q->crypt->luks)
            return false;
    }
    return flags & OPEN_NO_IO ? true : unlock(q, options, err);
}

void qcow2_crypt_close(Qcow2 *q)
{
    if (!q->crypt)
        return;
    crypto_block_free(q->crypt->block);
    luks_free(q->crypt->luks);
    g_clear_pointer(&q->crypt, g_free);
    g_clear_pointer(&q->key_secret, g_free);
}

json_t *qcow2_crypt_info(const Qcow2 *q)
{
    json_t *info;

    if (q->crypt_method == QCOW2_CRYPT_NONE)
        return NULL;
    info = q->crypt && q->crypt->luks ? luks_info(q->crypt->luks) : json_object();
    json_put_str(info, "format", method_name(q->crypt_method));
    return info;
}

/* ---- creating ------------------------------------------------------------------------------- */

void qcow2_crypt_create_clear(CryptCreate *c)
{
    g_clear_pointer(&c->secret, g_free);
}

/* Whoever gives a key must not get an image in clear. */
static bool refuse_without_format(const json_t *opts, GError **err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)opts, key, v) {
        if (g_str_has_prefix(key, "encrypt."))
            return err_set(err, EINVAL, "Option '%s' is given without 'encrypt.format'", key);
    }
    return true;
}

bool qcow2_crypt_create_options(CryptCreate *c, const json_t *opts, GError **err)
{
    const char *format = json_get_str(opts, "encrypt.format", NULL);

    if (json_get_bool(opts, "encryption", false)) {
        if (format)
            return err_set(err, EINVAL, "Options 'encryption' and 'encrypt.format' exclude each "
                           "other");
        format = "aes";
    }
    if (!format)
        return refuse_without_format(opts, err);
    if (!strcmp(format, "aes"))
        c->method = QCOW2_CRYPT_AES;
    else if (!strcmp(format, "luks"))
        c->method = QCOW2_CRYPT_LUKS;
    else
        return err_set(err, EINVAL, "Unknown encryption format '%s'; known are 'aes' and 'luks'",
                       format);
    c->secret = g_strdup(json_get_str(opts, "encrypt.key-secret", NULL));
    if (!c->secret)
        return err_set(err, EINVAL, "Encryption needs the option 'encrypt.key-secret'");
    return c->method == QCOW2_CRYPT_AES || luks_format_options(&c->luks, opts, "encrypt.", err);
}

uint64_t qcow2_crypt_header_len(const CryptCreate *c)
{
    return c->method == QCOW2_CRYPT_LUKS ? luks_format_header_len(&c->luks) : 0;
}

CO bool qcow2_crypt_create_header(const CryptCreate *c, const LuksIo *io, GError **err)
{
    g_auto(SecretBytes) pass = {};
    g_autoptr(CryptoBlock) block = NULL;
    g_autoptr(Luks) luks = NULL;

    if (!secret_get_utf8(c->secret, &pass, err))
        return false;
    if (c->method == QCOW2_CRYPT_AES) {
        block = aes_block(&pass, err);
        return block;
    }
    luks = luks_format(io, &c->luks, &pass, false, NULL, err);
    return luks;
}

/* ---- amend ---------------------------------------------------------------------------------- */

CO bool qcow2_crypt_amend(Qcow2 *q, const json_t *opts, bool force, GError **err)
{
    g_auto(LuksAmend) amend = {};
    g_auto(SecretBytes) pass = {};
    LuksIo io = luks_io(q);

    if (!q->crypt || !q->crypt->luks)
        return err_set(err, ENOTSUP, "Only images encrypted with LUKS have key slots to amend");
    if (!luks_amend_options(&amend, opts, "encrypt.", err))
        return false;
    if (!password_of(q, q->key_secret, &pass, err))
        return false;
    return luks_amend(q->crypt->luks, &io, &amend, &pass, force, err);
}
