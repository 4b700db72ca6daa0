/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS headers in memory: making, unlocking, slots, and headers that lie. */
#include "crypto/luks.h"
#include "tests/lib/harness.h"
#include "util/endian.h"
#include "util/err.h"
#include <string.h>

enum { AREA = 3 << 20, PAYLOAD_AES256_XTS = 4040 * 512 };

/* A file in memory that can be made to fail. */
typedef struct {
    uint8_t *data;
    size_t len;
    int writes_left; /* then ENOSPC; -1: no limit */
    bool cancelled;
} Area;

static int area_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    const Area *a = opaque;

    if (off > a->len || len > a->len - off)
        return -EIO;
    memcpy(buf, a->data + off, len);
    return 0;
}

static int area_write(void *opaque, uint64_t off, const void *buf, size_t len)
{
    Area *a = opaque;

    if (!a->writes_left)
        return -ENOSPC;
    if (a->writes_left > 0)
        a->writes_left--;
    if (off > a->len || len > a->len - off)
        return -EIO;
    memcpy(a->data + off, buf, len);
    return 0;
}

static bool area_cancelled(void *opaque)
{
    return ((Area *)opaque)->cancelled;
}

static Area area_new(void)
{
    return (Area){ .data = g_malloc0(AREA), .len = AREA, .writes_left = -1 };
}

static void area_clear(Area *a)
{
    g_free(a->data);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Area, area_clear)

static LuksIo area_io(Area *a)
{
    return (LuksIo){ .read = area_read, .write = area_write, .cancelled = area_cancelled,
                     .opaque = a };
}

/* Test passwords are constants: nothing here frees them. */
static SecretBytes pass_of(const char *text)
{
    return (SecretBytes){ .data = (uint8_t *)text, .len = strlen(text) };
}

static LuksFormat quick_format(void)
{
    LuksFormat f;

    g_assert_true(luks_format_options(&f, NULL, "", NULL));
    f.iter_ms = 0;
    return f;
}

static Luks *quick_luks(Area *a, CryptoBlock **block)
{
    LuksFormat f = quick_format();
    SecretBytes pass = pass_of("first");
    LuksIo io = area_io(a);
    g_autoptr(GError) err = NULL;
    Luks *l = luks_format(&io, &f, &pass, false, block, &err);

    g_assert_no_error(err);
    return l;
}

/* Does @pass unlock what is in @a? */
static bool opens(Area *a, const char *pass)
{
    LuksIo io = area_io(a);
    SecretBytes p = pass_of(pass);
    g_autoptr(GError) err = NULL;
    g_autoptr(Luks) l = luks_load(&io, a->len, &err);
    g_autoptr(CryptoBlock) b = l ? luks_unlock(l, &io, &p, &err) : NULL;

    if (!b)
        g_assert_cmpint(err->code, ==, EPERM);
    return b;
}

static void test_round_trip(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(CryptoBlock) made = NULL, found = NULL;
    g_autoptr(Luks) l = quick_luks(&a, &made), again = NULL;
    LuksIo io = area_io(&a);
    SecretBytes pass = pass_of("first"), wrong = pass_of("First");
    g_autoptr(GError) err = NULL;
    uint8_t x[512] = "data", y[512];

    g_assert_cmpint(luks_probe(a.data, 512), ==, 100);
    g_assert_cmpuint(luks_payload_offset(l), ==, PAYLOAD_AES256_XTS);
    again = luks_load(&io, AREA, NULL);
    g_assert_null(luks_unlock(again, &io, &wrong, &err));
    g_assert_cmpint(err->code, ==, EPERM);
    found = luks_unlock(again, &io, &pass, NULL);
    g_assert_nonnull(found);
    crypto_block_encrypt(made, 4096, x, y, 512);
    g_assert_cmpint(memcmp(x, y, 512), !=, 0);
    crypto_block_decrypt(found, 4096, y, y, 512);
    g_assert_cmpmem(x, 512, y, 512);
}

/* Each cipher, mode, generator and hash that goes together makes a header that opens again. */
static void test_every_spec(void)
{
    SecretBytes pass = pass_of("p");
    int n = 0;

    for (int c = 0; c < CIPHER_COUNT; c++) {
        for (int m = 0; m < MODE_COUNT; m++) {
            for (int iv = 0; iv < IVGEN_COUNT; iv++) {
                LuksFormat f = quick_format();
                g_auto(Area) a = area_new();
                LuksIo io = area_io(&a);
                g_autoptr(Luks) l = NULL;

                f.spec = (CryptoSpec){ c, m, iv, HASH_SHA256 };
                f.hash = n++ % HASH_COUNT;
                f.store_ivgen_hash = iv == IVGEN_ESSIV;
                if (!crypto_spec_check(&f.spec, NULL) || (test_is_slowed() && n % 7))
                    continue;
                l = luks_format(&io, &f, &pass, false, NULL, NULL);
                g_assert_nonnull(l);
                g_assert_cmpuint(luks_payload_offset(l), ==, luks_format_header_len(&f));
                g_assert_true(opens(&a, "p"));
            }
        }
    }
}

static void test_empty_password(void)
{
    g_auto(Area) a = area_new();
    LuksFormat f = quick_format();
    SecretBytes empty = { .data = (uint8_t *)"", .len = 0 };
    LuksIo io = area_io(&a);
    g_autoptr(Luks) l = luks_format(&io, &f, &empty, true, NULL, NULL);

    g_assert_cmpuint(luks_payload_offset(l), ==, 0);
    g_assert_true(opens(&a, ""));
    g_assert_false(opens(&a, "x"));
}

/* ---- slots ---------------------------------------------------------------------------------- */

/* Amends with the given parts; returns 0 or the code of the error. */
static int amend(Luks *l, Area *a, bool active, int slot, const char *new, const char *old,
                 const char *pass, bool force)
{
    LuksAmend am = { .active = active, .slot = slot, .iter_ms = 0 };
    SecretBytes p = pass_of(pass);
    LuksIo io = area_io(a);
    g_autoptr(GError) err = NULL;

    if (new)
        am.new_secret = pass_of(new);
    if (old)
        am.old_secret = pass_of(old);
    return luks_amend(l, &io, &am, &p, force, &err) ? 0 : err->code;
}

/* Which slots are active on disk, as "x.......". */
static char *slots_on_disk(Area *a)
{
    char *s = g_strnfill(8, '.');

    for (int i = 0; i < 8; i++)
        if (be32_at(a->data + 208 + 48 * i) == 0x00ac71f3)
            s[i] = 'x';
    return s;
}

static void expect_slots(Area *a, const char *expected)
{
    g_autofree char *s = slots_on_disk(a);

    g_assert_cmpstr(s, ==, expected);
}

static void test_slots(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(Luks) l = quick_luks(&a, NULL);

    expect_slots(&a, "x.......");
    g_assert_cmpint(amend(l, &a, true, -1, "second", NULL, "wrong", false), ==, EPERM);
    expect_slots(&a, "x.......");
    g_assert_cmpint(amend(l, &a, true, -1, "second", NULL, "first", false), ==, 0);
    expect_slots(&a, "xx......");
    g_assert_cmpint(amend(l, &a, true, 5, "second", NULL, "second", false), ==, 0);
    expect_slots(&a, "xx...x..");
    g_assert_true(opens(&a, "first") && opens(&a, "second"));
    /* An active slot is overwritten by force only. */
    g_assert_cmpint(amend(l, &a, true, 0, "third", NULL, "second", false), ==, EEXIST);
    g_assert_true(opens(&a, "first"));
    g_assert_cmpint(amend(l, &a, true, 0, "third", NULL, "second", true), ==, 0);
    g_assert_true(!opens(&a, "first") && opens(&a, "third"));
    /* By old password: all slots it opens. */
    g_assert_cmpint(amend(l, &a, false, -1, NULL, "first", "", false), ==, EPERM);
    g_assert_cmpint(amend(l, &a, false, 0, NULL, "second", "", false), ==, EPERM);
    g_assert_cmpint(amend(l, &a, false, -1, NULL, "second", "", false), ==, 0);
    expect_slots(&a, "x.......");
    g_assert_true(!opens(&a, "second") && opens(&a, "third"));
    g_assert_cmpint(amend(l, &a, false, 1, NULL, NULL, "", false), ==, EINVAL);
}

static void test_last_slot(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(Luks) l = quick_luks(&a, NULL);

    g_assert_cmpint(amend(l, &a, false, 0, NULL, NULL, "", false), ==, EPERM);
    g_assert_cmpint(amend(l, &a, false, -1, NULL, "first", "", false), ==, EPERM);
    g_assert_true(opens(&a, "first"));
    g_assert_cmpint(amend(l, &a, false, 0, NULL, NULL, "", true), ==, 0);
    expect_slots(&a, "........");
    g_assert_false(opens(&a, "first"));
}

static void test_slots_full(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(Luks) l = quick_luks(&a, NULL);

    for (int i = 1; i < LUKS_SLOTS; i++)
        g_assert_cmpint(amend(l, &a, true, -1, "same", NULL, "first", false), ==, 0);
    g_assert_cmpint(amend(l, &a, true, -1, "same", NULL, "first", false), ==, ENOSPC);
    g_assert_cmpint(amend(l, &a, false, -1, NULL, "same", "", false), ==, 0);
    expect_slots(&a, "x.......");
}

/* Emptying a slot leaves nothing of its split key behind. */
static void test_erase_overwrites(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(Luks) l = quick_luks(&a, NULL);
    g_autofree uint8_t *before = NULL;
    size_t at, len = 64 * 4000, same = 0;

    g_assert_cmpint(amend(l, &a, true, 1, "second", NULL, "first", false), ==, 0);
    at = be32_at(a.data + 208 + 48 + 40) * 512;
    before = g_memdup2(a.data + at, len);
    g_assert_cmpint(amend(l, &a, false, 1, NULL, NULL, "", false), ==, 0);
    for (size_t i = 0; i < len; i += 512)
        same += !memcmp(before + i, a.data + at + i, 512);
    g_assert_cmpuint(same, ==, 0);
}

/* When the material cannot be written, the header still shows what is true. */
static void test_failed_write(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(Luks) l = quick_luks(&a, NULL);

    a.writes_left = 0;
    g_assert_cmpint(amend(l, &a, true, -1, "second", NULL, "first", false), ==, ENOSPC);
    expect_slots(&a, "x.......");
    a.writes_left = 1;
    g_assert_cmpint(amend(l, &a, true, -1, "second", NULL, "first", false), ==, ENOSPC);
    expect_slots(&a, "x.......");
    a.writes_left = -1;
    g_assert_true(opens(&a, "first") && !opens(&a, "second"));
    g_assert_cmpint(amend(l, &a, true, -1, "second", NULL, "first", false), ==, 0);
    expect_slots(&a, "xx......");
}

static void test_cancel(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(Luks) l = quick_luks(&a, NULL);

    a.cancelled = true;
    g_assert_cmpint(amend(l, &a, true, -1, "second", NULL, "first", false), ==, ECANCELED);
}

/* ---- headers that lie ----------------------------------------------------------------------- */

typedef struct {
    const char *what;
    size_t at;
    uint32_t value; /* be32 */
} Lie;

static void expect_refused(Area *a, const char *what, size_t area_len)
{
    LuksIo io = area_io(a);
    g_autoptr(GError) err = NULL;
    g_autoptr(Luks) l = luks_load(&io, area_len, &err);

    if (l)
        g_error("a header with wrong %s was accepted", what);
    g_assert_nonnull(err);
}

static void test_hostile(void)
{
    static const Lie lies[] = {
        { "magic", 0, 0x4c554b54 },
        { "key bytes", 108, 0 },
        { "key bytes", 108, 63 },
        { "key bytes", 108, 128 },
        { "key bytes", 108, UINT32_MAX },
        { "digest rounds", 164, 0 },
        { "digest rounds", 164, UINT32_MAX },
        { "payload inside the keys", 104, 4035 },
        { "payload inside the header", 104, 1 },
        { "slot state", 208, 1 },
        { "rounds", 212, 0 },
        { "rounds", 212, UINT32_MAX },
        { "key offset in the header", 248, 0 },
        { "key offset in the header", 248, 1 },
        { "key offset past the end", 248, UINT32_MAX },
        { "key offset past the data", 248, 4000 },
        { "overlapping keys", 248, 13 },
        { "stripes", 252, 0 },
        { "stripes", 252, 3999 },
        { "stripes", 252, UINT32_MAX },
        { "stripes of an empty slot", 300, 1 },
        { "key offset of an empty slot", 296, UINT32_MAX },
    };

    g_auto(Area) a = area_new();
    g_autoptr(Luks) made G_GNUC_UNUSED = quick_luks(&a, NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
        uint32_t truth = be32_at(a.data + lies[i].at);

        be32_put(a.data + lies[i].at, lies[i].value);
        expect_refused(&a, lies[i].what, AREA);
        be32_put(a.data + lies[i].at, truth);
    }
    be16_put(a.data + 6, 2);
    expect_refused(&a, "version", AREA);
    be16_put(a.data + 6, 1);
    expect_refused(&a, "short area", 591);
    expect_refused(&a, "area shorter than the keys", PAYLOAD_AES256_XTS - 4096 * 8);
    g_assert_true(opens(&a, "first"));
}

/* Texts must end in their fields, be printable, and name what we have. */
static void test_hostile_text(void)
{
    static const struct {
        size_t at;
        const char *text;
    } lies[] = {
        { 8, "aes\n" },
        { 8, "rot13" },
        { 8, "" },
        { 40, "xts" },
        { 40, "xts-plain63" },
        { 40, "xts-plain64:sha3" },
        { 40, "gcm-plain64" },
        { 40, "cbc-essiv" },
        { 40, "-" },
        { 40, "" },
        { 72, "sha3" },
        { 72, "" },
    };

    g_auto(Area) a = area_new();
    g_autoptr(Luks) made G_GNUC_UNUSED = quick_luks(&a, NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
        uint8_t truth[32];

        memcpy(truth, a.data + lies[i].at, 32);
        memset(a.data + lies[i].at, 0, 32);
        memcpy(a.data + lies[i].at, lies[i].text, strlen(lies[i].text));
        expect_refused(&a, lies[i].text, AREA);
        memcpy(a.data + lies[i].at, truth, 32);
    }
    for (size_t at = 8; at <= 168; at += at == 72 ? 96 : 32) {
        uint8_t truth[40];
        size_t len = at == 168 ? 40 : 32;

        memcpy(truth, a.data + at, len);
        memset(a.data + at, 'a', len);
        expect_refused(&a, "text without end", AREA);
        memcpy(a.data + at, truth, len);
    }
    g_assert_true(opens(&a, "first"));
}

/* Any header whatever: an answer, no crash. */
static void test_random_damage(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    g_auto(Area) a = area_new();
    g_autoptr(Luks) made G_GNUC_UNUSED = quick_luks(&a, NULL);
    LuksIo io = area_io(&a);
    uint8_t truth[592];

    memcpy(truth, a.data, sizeof(truth));
    for (int i = 0; i < 20000; i++) {
        g_autoptr(GError) err = NULL;
        g_autoptr(Luks) other = NULL;

        for (int n = g_rand_int_range(rand, 1, 5); n; n--)
            a.data[g_rand_int_range(rand, 8, 592)] ^= 1 << g_rand_int_range(rand, 0, 8);
        other = luks_load(&io, AREA, &err);
        g_assert_true(!other == !!err);
        if (other)
            json_decref(luks_info(other));
        memcpy(a.data, truth, sizeof(truth));
    }
}

static void test_truncated(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(Luks) l = quick_luks(&a, NULL);
    LuksIo io = area_io(&a);
    SecretBytes pass = pass_of("first");
    g_autoptr(GError) err = NULL;

    a.len = 8192;
    g_assert_null(luks_unlock(l, &io, &pass, &err));
    g_assert_cmpint(err->code, ==, EIO);
}

/* ---- options and information ---------------------------------------------------------------- */

static void test_info(void)
{
    g_auto(Area) a = area_new();
    g_autoptr(Luks) l = quick_luks(&a, NULL);
    g_autoptr(json_t) o = luks_info(l);
    const json_t *slots = json_get(o, "slots");

    g_assert_cmpstr(json_get_str(o, "cipher-alg", NULL), ==, "aes-256");
    g_assert_cmpstr(json_get_str(o, "cipher-mode", NULL), ==, "xts");
    g_assert_cmpstr(json_get_str(o, "ivgen-alg", NULL), ==, "plain64");
    g_assert_false(json_has(o, "ivgen-hash-alg"));
    g_assert_cmpint(json_get_int(o, "payload-offset", 0), ==, PAYLOAD_AES256_XTS);
    g_assert_cmpint(json_get_int(o, "master-key-iters", 0), ==, 1000);
    g_assert_cmpint(strlen(json_get_str(o, "uuid", "")), ==, 36);
    g_assert_cmpint(json_array_size(slots), ==, 8);
    g_assert_cmpint(json_get_int(json_array_get(slots, 0), "iters", 0), ==, 1000);
    g_assert_cmpint(json_get_int(json_array_get(slots, 0), "stripes", 0), ==, 4000);
    g_assert_cmpint(json_get_int(json_array_get(slots, 7), "key-offset", 0), ==, 1810432);
    g_assert_false(json_has(json_array_get(slots, 7), "iters"));
}

static void expect_format(const char *json, bool ok)
{
    g_autoptr(json_t) o = json_parse(json, strlen(json), NULL);
    LuksFormat f;

    g_assert_nonnull(o);
    g_assert_cmpint(luks_format_options(&f, o, "encrypt.", NULL), ==, ok);
}

static void test_format_options(void)
{
    g_autoptr(json_t) o = json_object();
    LuksFormat f;

    json_put_str(o, "cipher-alg", "serpent-128");
    json_put_str(o, "cipher-mode", "cbc");
    json_put_str(o, "ivgen-alg", "essiv");
    json_put_str(o, "ivgen-hash-alg", "md5");
    json_put_str(o, "hash-alg", "sha1");
    json_put_int(o, "iter-time", 33);
    g_assert_true(luks_format_options(&f, o, "", NULL));
    g_assert_cmpint(f.spec.cipher, ==, CIPHER_SERPENT_128);
    g_assert_cmpint(f.spec.mode, ==, MODE_CBC);
    g_assert_cmpint(f.spec.ivgen, ==, IVGEN_ESSIV);
    g_assert_cmpint(f.spec.ivgen_hash, ==, HASH_MD5);
    g_assert_cmpint(f.hash, ==, HASH_SHA1);
    g_assert_cmpuint(f.iter_ms, ==, 33);
    expect_format("{\"encrypt.cipher-alg\": \"aes-128\"}", true);
    expect_format("{\"encrypt.cipher-alg\": \"aes\"}", false);
    expect_format("{\"encrypt.cipher-mode\": \"gcm\"}", false);
    expect_format("{\"encrypt.ivgen-alg\": \"null\"}", false);
    expect_format("{\"encrypt.hash-alg\": \"sha3\"}", false);
    expect_format("{\"encrypt.ivgen-hash-alg\": \"sha3\"}", false);
    expect_format("{\"encrypt.iter-time\": -1}", false);
    expect_format("{\"encrypt.cipher-alg\": \"cast5-128\"}", false);
}

static void test_too_long(void)
{
    g_auto(Area) a = area_new();
    LuksFormat f = quick_format();
    SecretBytes pass = pass_of("p");
    LuksIo io = area_io(&a);
    g_autoptr(GError) err = NULL;

    f.iter_ms = UINT64_C(1) << 32;
    g_assert_null(luks_format(&io, &f, &pass, false, NULL, &err));
    g_assert_cmpint(err->code, ==, ERANGE);
}

const Test tests[] = {
    { "/luks/round-trip", test_round_trip },
    { "/luks/every-combination-opens-again", test_every_spec },
    { "/luks/empty-password-detached", test_empty_password },
    { "/luks/slots/state-machine", test_slots },
    { "/luks/slots/last-one-is-kept", test_last_slot },
    { "/luks/slots/full", test_slots_full },
    { "/luks/slots/erase-overwrites", test_erase_overwrites },
    { "/luks/slots/failed-write-changes-nothing", test_failed_write },
    { "/luks/slots/derivation-can-be-cancelled", test_cancel },
    { "/luks/hostile/numbers", test_hostile },
    { "/luks/hostile/texts", test_hostile_text },
    { "/luks/hostile/random-damage", test_random_damage },
    { "/luks/hostile/truncated", test_truncated },
    { "/luks/info", test_info },
    { "/luks/options", test_format_options },
    { "/luks/iter-time-too-long", test_too_long },
    {},
};
