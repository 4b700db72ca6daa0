/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects that say who may use a server.
 *
 *     authz-simple     exactly this identity
 *     authz-list       rules in order, the first that matches decides, else the policy
 *     authz-list-file  the same as JSON in a file: {"policy": "deny", "rules": [...]}, read again
 *                      when the file was changed or replaced
 *     authz-pam        the account rules of a PAM service
 */
#include "crypto/authz.h"
#include "crypto/pam.h"
#include "util/err.h"
#include "util/json.h"
#include "util/module.h"
#include "qapi/object.h"
#include <fnmatch.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

enum { LIST_FILE_MAX = 1 << 20 };

extern const ObjectClass object_authz_simple, object_authz_list, object_authz_list_file,
    object_authz_pam;

/* Every state begins with the question it answers. */
typedef bool AuthzFn(void *state, const char *identity, bool *allowed, GError **err);

typedef struct {
    AuthzFn *ask;
} Authz;

/* ---- authz-simple ---------------------------------------------------------------------------- */

typedef struct {
    Authz face;
    char *identity;
} AuthzSimple;

static bool simple_ask(void *state, const char *identity, bool *allowed, GError **err)
{
    const AuthzSimple *a = state;

    *allowed = !strcmp(identity, a->identity);
    return true;
}

static const char *const simple_changeable[] = { "identity", NULL };

static bool simple_change(void *state, json_t *props, GError **err)
{
    AuthzSimple *a = state;

    g_free(a->identity);
    a->identity = g_strdup(json_get_str(props, "identity", NULL));
    return true;
}

static bool simple_create(void *state, const char *id, json_t *props, GError **err)
{
    AuthzSimple *a = state;

    a->face.ask = simple_ask;
    return simple_change(state, props, err);
}

static void simple_destroy(void *state)
{
    AuthzSimple *a = state;

    g_free(a->identity);
}

/* ---- lists ----------------------------------------------------------------------------------- */

typedef struct {
    char *match;
    bool is_glob;
    bool allow;
} Rule;

typedef struct {
    bool allow; /* whom no rule matches */
    GArray *rules;
} RuleList;

static void rule_clear(gpointer p)
{
    g_free(((Rule *)p)->match);
}

static void rule_list_clear(RuleList *l)
{
    g_clear_pointer(&l->rules, g_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RuleList, rule_list_clear)

/* The string at @key of @o must be @yes or @no; *@out is whether it is @yes, @def when absent. */
static bool choice_get(const json_t *o, const char *key, const char *yes, const char *no, bool def,
                       bool *out, GError **err)
{
    const json_t *v = json_get(o, key);
    const char *text = json_string_value(v);

    *out = v ? text && !strcmp(text, yes) : def;
    if (!v || *out || (text && !strcmp(text, no)))
        return true;
    return err_set(err, EINVAL, "'%s' must be %s or %s", key, yes, no);
}

static bool rule_parse(const json_t *v, Rule *out, GError **err)
{
    const json_t *match = json_get(v, "match");

    if (!json_is_object(v) || !json_is_string(match))
        return err_set(err, EINVAL, "A rule needs a string 'match'");
    if (!json_has(v, "policy"))
        return err_set(err, EINVAL, "A rule needs a 'policy'");
    if (!choice_get(v, "policy", "allow", "deny", false, &out->allow, err) ||
        !choice_get(v, "format", "glob", "exact", false, &out->is_glob, err))
        return false;
    out->match = g_strdup(json_string_value(match));
    return true;
}

static bool rule_list_parse(const json_t *v, RuleList *out, GError **err)
{
    g_auto(RuleList) l = { .rules = g_array_new(FALSE, TRUE, sizeof(Rule)) };
    const json_t *rules = json_get(v, "rules");
    json_t *rule;
    size_t i;

    g_array_set_clear_func(l.rules, rule_clear);
    if (!json_is_object(v) || (rules && !json_is_array(rules)))
        return err_set(err, EINVAL, "'rules' must be a list");
    if (!choice_get(v, "policy", "allow", "deny", false, &l.allow, err))
        return false;
    json_array_foreach(rules, i, rule) {
        Rule r = { 0 };

        if (!rule_parse(rule, &r, err))
            return err_prefix(err, "Rule %zu: ", i);
        g_array_append_val(l.rules, r);
    }
    rule_list_clear(out);
    *out = l;
    l.rules = NULL;
    return true;
}

static bool rule_list_allows(const RuleList *l, const char *identity)
{
    for (guint i = 0; i < l->rules->len; i++) {
        const Rule *r = &g_array_index(l->rules, Rule, i);

        if (r->is_glob ? !fnmatch(r->match, identity, 0) : !strcmp(r->match, identity))
            return r->allow;
    }
    return l->allow;
}

typedef struct {
    Authz face;
    RuleList list;
} AuthzList;

static bool list_ask(void *state, const char *identity, bool *allowed, GError **err)
{
    const AuthzList *a = state;

    *allowed = rule_list_allows(&a->list, identity);
    return true;
}

static const char *const list_changeable[] = { "policy", "rules", NULL };

static bool list_change(void *state, json_t *props, GError **err)
{
    AuthzList *a = state;

    return rule_list_parse(props, &a->list, err);
}

static bool list_create(void *state, const char *id, json_t *props, GError **err)
{
    AuthzList *a = state;

    a->face.ask = list_ask;
    return list_change(state, props, err);
}

static void list_destroy(void *state)
{
    AuthzList *a = state;

    rule_list_clear(&a->list);
}

/* ---- a list in a file ------------------------------------------------------------------------ */

typedef struct {
    Authz face;
    char *path;
    bool refresh;
    pthread_mutex_t lock; /* of what follows: several may ask at once */
    struct stat seen;     /* the file whose rules these are */
    RuleList list;
} AuthzListFile;

static bool file_load(AuthzListFile *a, GError **err)
{
    g_autofree char *text = NULL;
    g_autoptr(json_t) v = NULL;
    struct stat st;
    gsize len;

    if (stat(a->path, &st) < 0)
        return err_set_errno(err, errno, "Cannot read '%s'", a->path);
    if (!S_ISREG(st.st_mode) || st.st_size > LIST_FILE_MAX)
        return err_set(err, EINVAL, "'%s' is not a plain file of at most %d bytes", a->path,
                       LIST_FILE_MAX);
    if (!g_file_get_contents(a->path, &text, &len, err))
        return false;
    v = json_parse(text, len, err);
    if (!v || !rule_list_parse(v, &a->list, err))
        return err_prefix(err, "File '%s': ", a->path);
    a->seen = st;
    return true;
}

static bool file_has_changed(const AuthzListFile *a)
{
    struct stat st;

    return stat(a->path, &st) < 0 || st.st_ino != a->seen.st_ino || st.st_dev != a->seen.st_dev ||
           st.st_size != a->seen.st_size || st.st_mtim.tv_sec != a->seen.st_mtim.tv_sec ||
           st.st_mtim.tv_nsec != a->seen.st_mtim.tv_nsec;
}

static bool file_ask(void *state, const char *identity, bool *allowed, GError **err)
{
    AuthzListFile *a = state;
    bool ok;

    pthread_mutex_lock(&a->lock);
    /* Rules that cannot be read let nobody in: the old ones may be what was to be changed. */
    ok = !a->refresh || !file_has_changed(a) || file_load(a, err);
    if (ok)
        *allowed = rule_list_allows(&a->list, identity);
    pthread_mutex_unlock(&a->lock);
    return ok;
}

static bool file_create(void *state, const char *id, json_t *props, GError **err)
{
    AuthzListFile *a = state;

    a->face.ask = file_ask;
    pthread_mutex_init(&a->lock, NULL);
    a->path = g_strdup(json_get_str(props, "filename", NULL));
    a->refresh = json_get_bool(props, "refresh", true);
    return file_load(a, err);
}

static void file_destroy(void *state)
{
    AuthzListFile *a = state;

    pthread_mutex_destroy(&a->lock);
    g_free(a->path);
    rule_list_clear(&a->list);
}

/* ---- authz-pam ------------------------------------------------------------------------------- */

typedef struct {
    Authz face;
    const PamModule *module;
    char *service;
} AuthzPam;

static bool pam_ask(void *state, const char *identity, bool *allowed, GError **err)
{
    const AuthzPam *a = state;

    return a->module->account(a->service, identity, allowed, err);
}

static bool pam_create(void *state, const char *id, json_t *props, GError **err)
{
    AuthzPam *a = state;

    a->face.ask = pam_ask;
    a->service = g_strdup(json_get_str(props, "service", NULL));
    a->module = module_load("pam", err);
    return a->module;
}

static void pam_destroy(void *state)
{
    AuthzPam *a = state;

    g_free(a->service);
}

/* ---- all ------------------------------------------------------------------------------------- */

static Authz *authz_find(const char *id, GError **err)
{
    static const ObjectClass *const classes[] = {
        &object_authz_simple, &object_authz_list, &object_authz_list_file, &object_authz_pam, NULL,
    };

    return object_find_any(id, classes, "authorisation object", NULL, err);
}

bool authz_exists(const char *id, GError **err)
{
    return authz_find(id, err);
}

bool authz_allows(const char *id, const char *identity, GError **err)
{
    Authz *a = authz_find(id, err);
    bool allowed = false;

    if (!a)
        return false;
    if (!identity)
        return err_set(err, EACCES, "A peer without an identity is not let in by '%s'", id);
    if (!a->ask(a, identity, &allowed, err))
        return err_prefix(err, "Authorisation '%s': ", id);
    return allowed || err_set(err, EACCES, "'%s' is not let in by '%s'", identity, id);
}

const ObjectClass object_authz_simple = {
    .name = "authz-simple",
    .state_size = sizeof(AuthzSimple),
    .props = "AuthZSimpleProperties",
    .changeable = simple_changeable,
    .change = simple_change,
    .create = simple_create,
    .destroy = simple_destroy,
};

const ObjectClass object_authz_list = {
    .name = "authz-list",
    .state_size = sizeof(AuthzList),
    .props = "AuthZListProperties",
    .changeable = list_changeable,
    .change = list_change,
    .create = list_create,
    .destroy = list_destroy,
};

const ObjectClass object_authz_list_file = {
    .name = "authz-list-file",
    .state_size = sizeof(AuthzListFile),
    .props = "AuthZListFileProperties",
    .defaults = "{'refresh': true}",
    .create = file_create,
    .destroy = file_destroy,
};

const ObjectClass object_authz_pam = {
    .name = "authz-pam",
    .state_size = sizeof(AuthzPam),
    .props = "AuthZPAMProperties",
    .create = pam_create,
    .destroy = pam_destroy,
};
