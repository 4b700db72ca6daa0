/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS images: a header with eight key slots, then the data, each sector encrypted on its own.
 *
 *     0        header and key material (crypto/luks.h)
 *     payload  sector 0 of the data
 *
 * With option header the header is in a file of its own, and the data begins where it says there.
 */
#include "block/crypt.h"
#include "gen/schema.h"
#include "io/pool.h"
#include <inttypes.h>

enum { LUKS_CHUNK = 1 << 20, LUKS_SPARES = 8 };

typedef struct {
    Luks *header;
    char *key_secret;     /* name of the secret that unlocks; NULL: none was given */
    CryptoBlock *cipher;  /* NULL when opened without the key, for information only */
    uint64_t payload;     /* bytes */
    Aligned *spares[LUKS_SPARES]; /* LUKS_CHUNK bytes each, kept for writes; home loop only */
} LuksState;

static int luks_driver_probe(const uint8_t *head, size_t len, const char *filename)
{
    return luks_probe(head, len);
}

/* The edge whose file starts with the header. */
static Edge *luks_header_edge(Node *n)
{
    Edge *e = node_edge(n, ROLE_METADATA);

    return e ? e : node_edge(n, ROLE_STORAGE);
}

static bool no_secret(GError **err)
{
    return err_set(err, EINVAL, "Option 'key-secret' must name the secret with the password");
}

/*
 * The password that opens @n: in the secret of option key-secret, or asked for. Volumes of other
 * programs may have one that is no text.
 */
static bool luks_password(const Node *n, SecretBytes *pass, GError **err)
{
    const LuksState *s = node_state(n);

    if (s->key_secret)
        return secret_get(s->key_secret, pass, err);
    return secret_ask(node_filename(node_storage(n)), pass) || no_secret(err);
}

/* The same for a new image, whose password must be text. */
static bool luks_new_password(const json_t *opts, SecretBytes *pass, GError **err)
{
    const char *id = json_get_str(opts, "key-secret", NULL);

    return id ? secret_get_utf8(id, pass, err) : no_secret(err);
}

static CO bool luks_unlock_node(Node *n, const LuksIo *io, GError **err)
{
    LuksState *s = node_state(n);
    g_auto(SecretBytes) pass = { 0 };

    if (!luks_password(n, &pass, err))
        return false;
    s->cipher = luks_unlock(s->header, io, &pass, err);
    return s->cipher;
}

static void luks_release(LuksState *s)
{
    luks_free(s->header);
    g_free(s->key_secret);
    crypto_block_free(s->cipher);
    for (int i = 0; i < LUKS_SPARES; i++)
        aligned_free(s->spares[i]);
    *s = (LuksState){ 0 };
}

static CO bool luks_open_header(Node *n, Edge *file, const json_t *o, OpenFlags flags,
                                GError **err)
{
    LuksState *s = node_state(n);
    Edge *header = luks_header_edge(n);
    LuksIo io = crypt_luks_io(header);

    s->key_secret = g_strdup(json_get_str(o, "key-secret", NULL));
    s->header = luks_load(&io, edge_size(header), err);
    if (!s->header)
        return err_prefix(err, "Image '%s': ", node_filename(edge_node(header)));
    s->payload = luks_payload_offset(s->header);
    if (!s->payload && header == file)
        return err_set(err, EINVAL, "'%s' is a detached LUKS header: the data is in another file",
                       node_filename(edge_node(file)));
    if (s->payload > edge_size(file))
        return err_set(err, EINVAL, "The LUKS header of '%s' says that the data begins at byte "
                                    "%" PRIu64 ", past the end at %" PRIu64,
                       node_filename(edge_node(file)), s->payload, edge_size(file));
    return flags & OPEN_NO_IO || luks_unlock_node(n, &io, err);
}

/* The header does not change what there is but for its size. */
static CO bool luks_activate(Node *n, GError **err)
{
    const LuksState *s = node_state(n);
    uint64_t have = edge_size(node_edge(n, ROLE_STORAGE));

    if (have < s->payload)
        return err_set(err, EINVAL, "'%s' ends before its data begins", node_filename(n));
    /* A last sector cut short by the end of the file is padded with zeroes there. */
    node_set_size(n, round_up(have - s->payload, CRYPTO_SECTOR));
    return true;
}

static CO bool luks_driver_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err);
    LuksState *s = node_state(n);

    if (!file || (json_has(o, "header") &&
                  !node_open_child(n, "header", NULL, o, ROLE_METADATA, false, err)))
        return false;
    if (luks_open_header(n, file, o, flags, err) && luks_activate(n, err))
        return true;
    luks_release(s);
    return false;
}

static CO void luks_driver_close(Node *n)
{
    luks_release(node_state(n));
}

static void luks_refresh_limits(Node *n)
{
    const Limits *below = node_limits(edge_node(node_edge(n, ROLE_STORAGE)));

    *node_limits(n) = (Limits){
        .request_alignment = CRYPTO_SECTOR,
        .memory_alignment = below->memory_alignment,
        .opt_transfer = below->opt_transfer,
    };
}

/* ---- requests ------------------------------------------------------------------------------- */

static CO int luks_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    LuksState *s = node_state(n);
    int r;

    if (!s->cipher)
        return -EPERM;
    r = edge_pread(node_edge(n, ROLE_STORAGE), s->payload + off, buf, flags);
    return r < 0 ? r : crypt_decrypt(s->cipher, off, buf);
}

/* Memory of LUKS_CHUNK bytes, or NULL. */
static Aligned *luks_chunk_take(LuksState *s)
{
    for (int i = 0; i < LUKS_SPARES; i++)
        if (s->spares[i])
            return g_steal_pointer(&s->spares[i]);
    return aligned_try_alloc(LUKS_CHUNK);
}

static void luks_chunk_give(LuksState *s, Aligned *chunk)
{
    for (int i = 0; i < LUKS_SPARES; i++) {
        if (!s->spares[i]) {
            s->spares[i] = chunk;
            return;
        }
    }
    aligned_free(chunk);
}

static CO int luks_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    LuksState *s = node_state(n);
    Aligned *chunk;
    int r = 0;

    if (!s->cipher)
        return -EPERM;
    chunk = luks_chunk_take(s);
    if (!chunk)
        return -ENOMEM;
    for (uint64_t done = 0; done < buf.len && r == 0;) {
        uint64_t len = MIN(buf.len - done, LUKS_CHUNK);

        crypt_encrypt(s->cipher, off + done, span_slice(buf, done, len), chunk);
        r = edge_pwrite(node_edge(n, ROLE_STORAGE), s->payload + off + done, span_of(chunk, len),
                        flags);
        done += len;
    }
    luks_chunk_give(s, chunk);
    return r;
}

static CO bool luks_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                           GError **err)
{
    LuksState *s = node_state(n);
    uint64_t end;

    if (!size_add(s->payload, size, &end) || end > INT64_MAX)
        return err_set(err, EFBIG, "Size %" PRIu64 " of '%s' is too large", size,
                       node_filename(n));
    if (!edge_resize(node_edge(n, ROLE_STORAGE), end, exact, prealloc, 0, err))
        return false;
    node_set_size(n, round_up(size, CRYPTO_SECTOR));
    return true;
}

/* ---- what is known -------------------------------------------------------------------------- */

static CO int luks_node_info(Node *n, NodeInfo *info)
{
    return 0;
}

static CO json_t *luks_info_specific(Node *n, GError **err)
{
    LuksState *s = node_state(n);
    json_t *o = json_object();

    json_put_str(o, "type", "luks");
    json_put(o, "data", luks_info(s->header));
    return o;
}

/* The header's length and the size of @opts' image or of @source together, in *@total. */
static bool luks_total(const json_t *opts, Handle *source, LuksFormat *f, uint64_t *total,
                       GError **err)
{
    uint64_t size = source ? handle_size(source) : (uint64_t)json_get_int(opts, "size", 0);

    if (!luks_format_options(f, opts, "", err))
        return false;
    if (!size_add(size, luks_format_header_len(f), total) || *total > INT64_MAX)
        return err_set(err, EFBIG, "Size %" PRIu64 " is too large for a LUKS image", size);
    return true;
}

static CO bool luks_measure(json_t *opts, Handle *source, MeasureResult *result, GError **err)
{
    g_auto(SecretBytes) pass = { 0 };
    LuksFormat f;

    if (!luks_new_password(opts, &pass, err) ||
        !luks_total(opts, source, &f, &result->required, err))
        return false;
    result->fully_allocated = result->required;
    return true;
}

/* ---- creating and changing ------------------------------------------------------------------ */

static CO int luks_handle_write(void *opaque, uint64_t off, const void *buf, size_t len)
{
    return handle_pwrite(opaque, off, span_of_const(buf, len), 0);
}

static CO int luks_handle_flush(void *opaque)
{
    return handle_flush(opaque);
}

static CO bool luks_create(const char *filename, json_t *opts, GError **err)
{
    g_auto(SecretBytes) pass = { 0 };
    g_autoptr(Handle) h = NULL;
    g_autoptr(Luks) l = NULL;
    LuksIo io = { .write = luks_handle_write, .flush = luks_handle_flush,
                  .compute = pool_compute };
    LuksFormat f;
    uint64_t total;

    if (!luks_new_password(opts, &pass, err) ||
        !luks_total(opts, NULL, &f, &total, err))
        return false;
    h = file_create(filename, opts, total, err);
    if (!h)
        return false;
    io.opaque = h;
    l = luks_format(&io, &f, &pass, false, NULL, err);
    return l;
}

static CO bool luks_driver_amend(Node *n, json_t *opts, bool force, GError **err)
{
    LuksState *s = node_state(n);
    LuksIo io = crypt_luks_io(luks_header_edge(n));
    g_auto(SecretBytes) pass = { 0 };
    g_auto(LuksAmend) a = { 0 };

    return luks_amend_options(&a, opts, "", err) && luks_password(n, &pass, err) &&
           luks_amend(s->header, &io, &a, &pass, force, err);
}

static const char *const luks_strong_options[] = { "key-secret", NULL };

/* The bytes of the image are those of the file, only in another writing: access passes on. */
static void luks_child_access(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                              unsigned *needs, unsigned *shares)
{
    *needs = parent_needs | (role == ROLE_METADATA ? ACCESS_READ : 0);
    *shares = parent_shares;
}

const BlockDriver block_luks = {
    .name = "luks",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(LuksState),
    .write_flags = REQ_FUA,
    .strong_options = luks_strong_options,
    .probe = luks_driver_probe,
    .open = luks_driver_open,
    .activate = luks_activate,
    .close = luks_driver_close,
    .create_opts = create_opts_luks,
    .create = luks_create,
    .amend_opts = amend_opts_luks,
    .amend = luks_driver_amend,
    .pread = luks_pread,
    .pwrite = luks_pwrite,
    .resize = luks_resize,
    .info = luks_node_info,
    .info_specific = luks_info_specific,
    .measure = luks_measure,
    .refresh_limits = luks_refresh_limits,
    .child_access = luks_child_access,
};
