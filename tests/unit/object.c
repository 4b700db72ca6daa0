/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects users make, and the secrets among them. */
#include "crypto/secret.h"
#include "tests/lib/harness.h"
#include "util/err.h"
#include "qapi/object.h"
#include <string.h>
#include <unistd.h>

extern const ObjectClass object_secret;

/* Makes an object; 0 or the code of the error. */
static int add(const char *text)
{
    g_autoptr(GError) err = NULL;

    return object_add_text(text, &err) ? 0 : err->code;
}

static void expect_secret(const char *id, const char *content)
{
    g_auto(SecretBytes) s = { 0 };

    g_assert_true(secret_get(id, &s, NULL));
    g_assert_cmpmem(s.data, s.len, content, strlen(content));
}

/* What @fn(@text) prints to standard output. */
static char *printed(bool (*fn)(const char *text), const char *text, bool expected)
{
    g_autofree char *path = test_path("stdout");
    int keep = dup(STDOUT_FILENO);
    char *out;

    g_assert_nonnull(freopen(path, "w", stdout));
    g_assert_cmpint(fn(text), ==, expected);
    fflush(stdout);
    dup2(keep, STDOUT_FILENO);
    close(keep);
    g_assert_true(g_file_get_contents(path, &out, NULL, NULL));
    return out;
}

static void test_ids(void)
{
    g_assert_true(id_is_valid("a") && id_is_valid("Z9-._"));
    g_assert_false(id_is_valid("") || id_is_valid("1a") || id_is_valid("a b") ||
                   id_is_valid("_a") || id_is_valid("a/b") || id_is_valid("\xc3\xa9"));
}

static void test_life(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(add("secret,id=a,data=x"), ==, 0);
    g_assert_cmpint(add("secret,id=a,data=y"), ==, EEXIST);
    expect_secret("a", "x");
    g_assert_nonnull(object_find("a", &object_secret, NULL));
    g_assert_null(object_find("b", &object_secret, &err));
    g_assert_cmpint(err->code, ==, ENOENT);
    g_assert_true(object_delete("a", NULL));
    g_assert_false(object_delete("a", NULL));
    g_assert_cmpint(add("secret,id=a,data=y"), ==, 0);
    expect_secret("a", "y");
    object_delete_all();
    g_assert_null(object_find("a", &object_secret, NULL));
}

static void test_refused(void)
{
    g_assert_cmpint(add(""), ==, EINVAL);
    g_assert_cmpint(add("secret"), ==, EINVAL);
    g_assert_cmpint(add("id=a,data=x"), ==, EINVAL);
    g_assert_cmpint(add("nosuch,id=a"), ==, EINVAL);
    g_assert_cmpint(add("secret,id=1,data=x"), ==, EINVAL);
    g_assert_cmpint(add("secret,id=,data=x"), ==, EINVAL);
    g_assert_cmpint(add("secret,data=x"), ==, EINVAL);
    g_assert_cmpint(add("secret,id=a,data=x,colour=red"), ==, EINVAL);
    g_assert_cmpint(add("secret,id=a,data.b=x"), ==, EINVAL);
    g_assert_cmpint(add("secret_keyring,id=a"), ==, EINVAL);
    /* Nothing has been made then that would have to be destroyed. */
    g_assert_cmpint(add("throttle-group,id=a,x-iops-total=many"), ==, EINVAL);
    g_assert_cmpint(add("throttle-group,id=a,limits.bps=1"), ==, EINVAL);
    g_assert_cmpint(add("secret_keyring,id=a,serial=x"), ==, EINVAL);
    g_assert_cmpint(add("{\"qom-type\": \"secret\", \"id\": \"a\", \"data\": 5}"), ==, EINVAL);
    g_assert_cmpint(add("{\"qom-type\": \"secret\", \"id\": 7, \"data\": \"x\"}"), ==, EINVAL);
    g_assert_cmpint(add("{\"qom-type\": \"secret\", \"id\": \"a\""), ==, EINVAL);
    g_assert_cmpint(add("{\"qom-type\":\"secret_keyring\",\"id\":\"a\",\"serial\":\"1\"}"), ==,
                    EINVAL);
    g_assert_null(object_find("a", &object_secret, NULL));
}

static void test_json(void)
{
    g_assert_cmpint(add("{\"qom-type\": \"secret\", \"id\": \"a\", \"data\": \"x,y\"}"), ==, 0);
    expect_secret("a", "x,y");
    g_assert_cmpint(add("secret,id=b,data=x,,y"), ==, 0);
    expect_secret("b", "x,y");
    g_assert_cmpint(add("qom-type=secret,id=c,data="), ==, 0);
    expect_secret("c", "");
}

static void test_help(void)
{
    g_autofree char *list = printed(object_print_help, "help", true);
    g_autofree char *props = printed(object_print_help, "secret,id=a,help", true);
    g_autofree char *none = printed(object_print_help, "secret,id=help,data=help=", false);
    g_autofree char *json = printed(object_print_help, "{\"qom-type\": \"help\"}", false);

    g_assert_true(g_str_has_prefix(list, "List of user creatable objects:\n  "));
    g_assert_nonnull(strstr(list, "\n  secret\n  secret_keyring\n"));
    g_assert_cmpstr(props, ==, "secret options:\n  data=<string>\n  file=<string>\n"
                               "  format=<QCryptoSecretFormat>\n  iv=<string>\n"
                               "  keyid=<string>\n");
    g_assert_cmpstr(none, ==, "");
    g_assert_cmpstr(json, ==, "");
}

/* ---- secrets -------------------------------------------------------------------------------- */

static void test_secret_file(void)
{
    g_autofree char *path = test_path("password");
    g_autofree char *raw = g_strdup_printf("secret,id=raw,file=%s", path);
    g_autofree char *coded = g_strdup_printf("secret,id=coded,format=base64,file=%s", path);
    g_autofree char *both = g_strdup_printf("secret,id=both,data=x,file=%s", path);
    g_autofree char *big = g_strdup_printf("secret,id=big,file=/dev/zero");

    g_assert_true(g_file_set_contents(path, "YWJj\n", -1, NULL));
    g_assert_cmpint(add(raw), ==, 0);
    expect_secret("raw", "YWJj\n");
    g_assert_cmpint(add(coded), ==, 0);
    expect_secret("coded", "abc");
    g_assert_cmpint(add(both), ==, EINVAL);
    g_assert_cmpint(add("secret,id=none"), ==, EINVAL);
    g_assert_cmpint(add("secret,id=none,file=/nonexistent/x"), ==, ENOENT);
    g_assert_cmpint(add(big), ==, EFBIG);
}

static void test_secret_base64(void)
{
    g_assert_cmpint(add("secret,id=a,data=YW!j,format=base64"), ==, EINVAL);
    g_assert_cmpint(add("secret,id=a,data=YW j,format=base64"), ==, EINVAL);
    g_assert_cmpint(add("secret,id=a,data=x,format=hex"), ==, EINVAL);
    g_assert_cmpint(add("secret,id=a,data=AP8=,format=base64"), ==, 0);
    g_assert_cmpint(add("secret,id=e,data=,format=base64"), ==, 0);
    expect_secret("e", "");
    {
        g_auto(SecretBytes) s = { 0 };
        g_autoptr(GError) err = NULL;

        g_assert_true(secret_get("a", &s, NULL));
        g_assert_cmpmem(s.data, s.len, "\0\xff", 2);
        secret_bytes_clear(&s);
        g_assert_false(secret_get_utf8("a", &s, &err));
        g_assert_null(s.data);
    }
}

/* Made with: openssl enc -aes-256-cbc -a -A -K 000102..1f -iv 101112..1f */
#define MASTER "secret,id=k,format=base64,data=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define IV "iv=EBESExQVFhcYGRobHB0eHw=="
#define CODED "6Wa7U58YUl+hc//5rSKPgA=="

static void test_secret_encrypted(void)
{
    g_assert_cmpint(add(MASTER), ==, 0);
    g_assert_cmpint(add("secret,id=short,data=short"), ==, 0);
    g_assert_cmpint(add("secret,id=a,format=base64,keyid=k,data=" CODED "," IV), ==, 0);
    expect_secret("a", "letmein");
    g_assert_cmpint(add("secret,id=b,format=base64,keyid=none,data=" CODED "," IV), ==, ENOENT);
    g_assert_cmpint(add("secret,id=b,format=base64,keyid=short,data=" CODED "," IV), ==, EINVAL);
    g_assert_cmpint(add("secret,id=b,format=base64,keyid=k,data=" CODED), ==, EINVAL);
    g_assert_cmpint(add("secret,id=b,format=base64,keyid=k,iv=AAAA,data=" CODED), ==, EINVAL);
    g_assert_cmpint(add("secret,id=b,format=base64,keyid=k,data=YWJjZA==," IV), ==, EINVAL);
    g_assert_cmpint(add("secret,id=b,format=base64,keyid=k,data=," IV), ==, EINVAL);
    /* Not encrypted with this key: the padding is wrong. */
    g_assert_cmpint(add("secret,id=b,format=base64,keyid=k,data=AAAAAAAAAAAAAAAAAAAAAA==," IV), ==,
                    EINVAL);
}

/* A key in the kernel, which forgets it soon. */
static void test_secret_keyring(void)
{
    static const char script[] =
        "id=$(keyctl add user ferry-test hidden @u) && keyctl timeout $id 60 && echo $id";
    g_autofree char *out = NULL, *text = NULL;
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)script, NULL };
    int status, code;

    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL, &status,
                      NULL) || status || !g_ascii_isdigit(*out))
        test_skip("no kernel keyring, or no keyctl");
    text = g_strdup_printf("secret_keyring,id=r,serial=%s", g_strstrip(out));
    code = add(text);
    if (code == EACCES)
        test_skip("the kernel lets this process not read its own keys");
    g_assert_cmpint(code, ==, 0);
    expect_secret("r", "hidden");
    g_assert_cmpint(add("secret_keyring,id=s,serial=0"), !=, 0);
    g_assert_cmpint(add("secret_keyring,id=s,serial=99999999999"), ==, EINVAL);
}

const Test tests[] = {
    { "/object/ids", test_ids },
    { "/object/life", test_life },
    { "/object/refused", test_refused },
    { "/object/json-and-text", test_json },
    { "/object/help", test_help },
    { "/secret/file", test_secret_file },
    { "/secret/base64", test_secret_base64 },
    { "/secret/encrypted", test_secret_encrypted },
    { "/secret/keyring", test_secret_keyring },
    {},
};
