/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/check.h"
#include "migration/check-device.h"
#include "migration/wire.h"
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

void migration_reason_add(json_t *list, const char *subject, const char *fmt, ...)
{
    json_t *o = json_object();
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_put_str(o, "subject", subject);
    json_put_str(o, "reason", text);
    json_array_append_new(list, o);
}

static bool list_has(const json_t *list, const char *word)
{
    const json_t *v;
    size_t i;

    json_array_foreach(list, i, v)
        if (!strcmp(json_string_value(v), word))
            return true;
    return false;
}

/* Calls for each word of @a that @b lacks. */
static void each_missing(const json_t *a, const json_t *b, GString *out)
{
    const json_t *v;
    size_t i;

    json_array_foreach(a, i, v)
        if (!list_has(b, json_string_value(v)))
            g_string_append_printf(out, "%s%s", out->len ? ", " : "", json_string_value(v));
}

/* ---- machine --------------------------------------------------------------------------------- */

static void check_machine(const Check *c)
{
    const char *ours = json_get_str(c->source, "machine", ""),
               *theirs = json_get_str(c->target, "machine", "");
    g_autoptr(GString) missing = g_string_new(NULL), more = g_string_new(NULL);

    if (strcmp(ours, theirs))
        migration_reason_add(c->reasons, "machine", "The source is a machine '%s', the target is a "
                             "'%s'", ours, theirs);
    each_missing(json_get(c->source, "board"), json_get(c->target, "board"), missing);
    each_missing(json_get(c->target, "board"), json_get(c->source, "board"), more);
    if (missing->len)
        migration_reason_add(c->reasons, "machine", "The machine of the target lacks: %s",
                             missing->str);
    if (more->len)
        migration_reason_add(c->warnings, "machine", "The machine of the target has more: %s",
                             more->str);
}

static void check_processors(const Check *c)
{
    const json_t *ours = json_get(c->source, "processors"),
                 *theirs = json_get(c->target, "processors");
    int64_t n = json_get_int(ours, "count", 0), m = json_get_int(theirs, "count", 0);
    const char *model = json_get_str(ours, "model", ""), *other = json_get_str(theirs, "model", "");
    g_autoptr(GString) missing = g_string_new(NULL), more = g_string_new(NULL);

    if (n != m)
        migration_reason_add(n > m ? c->reasons : c->warnings, "processors", "The source has "
                             "%" PRId64 " processors, the target %" PRId64, n, m);
    each_missing(json_get(ours, "features"), json_get(theirs, "features"), missing);
    each_missing(json_get(theirs, "features"), json_get(ours, "features"), more);
    if (missing->len)
        migration_reason_add(c->reasons, "processors", "Processors of the target (model '%s') lack "
                             "features of the source's (model '%s'): %s", other, model,
                             missing->str);
    if (more->len)
        migration_reason_add(c->warnings, "processors", "Processors of the target (model '%s') "
                             "have more features than the source's (model '%s'): %s", other, model,
                             more->str);
    if (strcmp(model, other) && !missing->len && !more->len)
        migration_reason_add(c->warnings, "processors", "Processors are of model '%s' at the "
                             "source and of '%s' at the target", model, other);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static const json_t *find_named(const json_t *list, const char *name)
{
    const json_t *o;
    size_t i;

    json_array_foreach(list, i, o)
        if (!strcmp(json_get_str(o, "name", ""), name))
            return o;
    return NULL;
}

static void check_size(const Check *c, const json_t *ours, const json_t *theirs)
{
    int64_t size = json_get_int(ours, "size", 0), wanted = json_get_int(theirs, "size", 0);

    if (size != wanted &&
        (size > json_get_int(theirs, "max-size", 0) || size % RAM_PAGE_SIZE))
        migration_reason_add(c->reasons, "memory",
                             "Memory '%s' has %" PRId64 " bytes at the "
                             "source and %" PRId64 " at the target",
                             json_get_str(ours, "name", ""), size, wanted);
}

/* Memory of the same use under two names is one reason, not two. */
static void report_names(const Check *c, const char *sent, const char *expected)
{
    if (sent && expected)
        migration_reason_add(c->reasons, "memory",
                             "Memory is called '%s' at the source and '%s' "
                             "at the target: both need the same id of '-machine memory-backend'",
                             sent, expected);
    else if (sent)
        migration_reason_add(c->reasons, "memory", "The target has no memory '%s'", sent);
    else if (expected)
        migration_reason_add(c->reasons, "memory", "The source has no memory '%s'", expected);
}

static void check_memory(const Check *c)
{
    const json_t *ours = json_get(c->source, "memory"), *theirs = json_get(c->target, "memory");
    const char *sent = NULL, *expected = NULL;
    const json_t *o;
    size_t i;

    json_array_foreach(ours, i, o) {
        const json_t *other = find_named(theirs, json_get_str(o, "name", ""));

        if (!json_get_bool(o, "sent", false))
            continue;
        if (other)
            check_size(c, o, other);
        else
            sent = json_get_str(o, "name", "");
    }
    json_array_foreach(theirs, i, o) {
        const json_t *other = find_named(ours, json_get_str(o, "name", ""));

        if (!json_has(o, "max-size") && !json_get_bool(other, "sent", false))
            expected = json_get_str(o, "name", "");
    }
    report_names(c, sent, expected);
}

/* ---- sections -------------------------------------------------------------------------------- */

const json_t *migration_find_section(const json_t *list, const json_t *like)
{
    const json_t *s;
    size_t i;

    json_array_foreach(list, i, s)
        if (!strcmp(json_get_str(s, "name", ""), json_get_str(like, "name", "")) &&
            json_get_int(s, "instance", 0) == json_get_int(like, "instance", 0))
            return s;
    return NULL;
}

/* Is what the section belongs to missing at the target, and reported by another name? */
static bool is_reported(const Check *c, const json_t *section)
{
    static const struct {
        const char *section, *part;
    } parts[] = {
        { "i8259", "pic" }, { "i8254", "pit" }, { "mc146818rtc", "rtc" },
        { "serial", "isa-serial" },
    };
    static const char *const of_processors[] = { "cpu_common", "cpu", "apic", NULL };
    const char *name = json_get_str(section, "name", "");

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
        if (!strcmp(name, parts[i].section))
            return list_has(json_get(c->source, "board"), parts[i].part) &&
                   !list_has(json_get(c->target, "board"), parts[i].part);
    if (g_strv_contains(of_processors, name))
        return json_get_int(section, "instance", 0) >=
               json_get_int(json_get(c->target, "processors"), "count", 0);
    return check_device_has_section(c->source, name);
}

static void check_sections(const Check *c)
{
    const json_t *theirs = json_get(c->target, "sections"), *s;
    size_t i;

    json_array_foreach(json_get(c->source, "sections"), i, s) {
        const char *name = json_get_str(s, "name", "");
        int64_t version = json_get_int(s, "version", 0), n = json_get_int(s, "instance", 0);
        const json_t *t = migration_find_section(theirs, s);

        if (!t && !is_reported(c, s))
            migration_reason_add(c->reasons, "device", "The target has nothing to load section "
                                 "'%s/%" PRId64 "' into", name, n);
        else if (t && (version > json_get_int(t, "version", 0) ||
                       version < json_get_int(t, "minimum-version", 0)))
            migration_reason_add(c->reasons, "device",
                                 "The target reads section '%s/%" PRId64 "' "
                                 "of versions %" PRId64 " to %" PRId64
                                 ", the source writes version "
                                 "%" PRId64,
                                 name, n, json_get_int(t, "minimum-version", 0),
                                 json_get_int(t, "version", 0), version);
    }
}

/* ---- settings -------------------------------------------------------------------------------- */

static bool is_on(const json_t *end, const char *capability)
{
    return list_has(json_get(end, "capabilities"), capability);
}

/* A target that allows it takes a guest, too, of which all memory comes before it runs. */
static void check_postcopy(const Check *c)
{
    const char *why = json_get_str(c->target, "no-postcopy", NULL);

    if (!is_on(c->source, "postcopy-ram"))
        return;
    if (!is_on(c->target, "postcopy-ram"))
        migration_reason_add(c->reasons, "capability", "Capability 'postcopy-ram' is on at the "
                             "source only");
    if (why)
        migration_reason_add(c->reasons, "capability", "The target cannot have 'postcopy-ram': %s",
                             why);
}

static void check_capabilities(const Check *c)
{
    static const char *const same[] = { "multifd", "postcopy-preempt", "x-colo" };

    for (size_t i = 0; i < G_N_ELEMENTS(same); i++)
        if (is_on(c->source, same[i]) != is_on(c->target, same[i]))
            migration_reason_add(c->reasons, "capability", "Capability '%s' is on at the %s only",
                                 same[i], is_on(c->source, same[i]) ? "source" : "target");
    check_postcopy(c);
}

static bool is_protected(const json_t *end)
{
    return *json_get_str(json_get(end, "parameters"), "tls-creds", "");
}

static void check_parameters(const Check *c)
{
    const json_t *ours = json_get(c->source, "parameters"),
                 *theirs = json_get(c->target, "parameters");
    int64_t n = json_get_int(ours, "multifd-channels", 0),
            m = json_get_int(theirs, "multifd-channels", 0);
    const char *how = json_get_str(ours, "multifd-compression", "none"),
               *other = json_get_str(theirs, "multifd-compression", "none");

    if (is_protected(c->source) != is_protected(c->target))
        migration_reason_add(c->reasons, "parameter", "Only the %s is to use TLS (parameter "
                             "'tls-creds')", is_protected(c->source) ? "source" : "target");
    if (!is_on(c->source, "multifd") || !is_on(c->target, "multifd"))
        return;
    if (n != m)
        migration_reason_add(c->reasons, "parameter", "Parameter 'multifd-channels' is %" PRId64 " "
                             "at the source and %" PRId64 " at the target", n, m);
    if (strcmp(how, other))
        migration_reason_add(c->reasons, "parameter", "Parameter 'multifd-compression' is '%s' at "
                             "the source and '%s' at the target", how, other);
}

/* Multifd's channels carry it in any case. */
static void check_uuid(const Check *c)
{
    const char *ours = json_get_str(c->source, "uuid", ""),
               *theirs = json_get_str(c->target, "uuid", "");
    bool matters = (is_on(c->source, "multifd") && is_on(c->target, "multifd")) ||
                   (is_on(c->source, "validate-uuid") && is_on(c->target, "validate-uuid"));

    if (strcmp(ours, theirs))
        migration_reason_add(matters ? c->reasons : c->warnings, "machine", "The source has UUID "
                             "%s, the target %s", ours, theirs);
}

/* ---- the way --------------------------------------------------------------------------------- */

static bool listens_at(const json_t *address, const char *type, const char *port)
{
    if (strcmp(json_get_str(address, "type", ""), type))
        return false;
    return !strcmp(type, "unix") || !strcmp(json_get_str(address, "port", ""), port);
}

/*
 * A tunnel or a forwarded port may lead there. The source has looked for the socket of a path
 * itself.
 */
static void check_address(const Check *c, const char *uri)
{
    const json_t *addresses = json_get(c->target, "addresses"), *a;
    const char *type = g_str_has_prefix(uri, "tcp:")     ? "inet"
                       : g_str_has_prefix(uri, "unix:")  ? "unix"
                       : g_str_has_prefix(uri, "vsock:") ? "vsock" : NULL;
    const char *port = strrchr(uri, ':') + 1;
    g_autofree char *first = NULL;
    size_t i;

    if (!type || !json_array_size(addresses))
        return;
    json_array_foreach(addresses, i, a)
        if (listens_at(a, type, port))
            return;
    first = json_print(json_array_get(addresses, 0));
    migration_reason_add(c->warnings, "uri", "The target does not listen at '%s' itself, but at %s",
                         uri, first);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void take_reasons(const Check *c, const json_t *end)
{
    json_array_extend(c->reasons, json_get(end, "reasons"));
}

static void compare(const Check *c, const char *uri)
{
    if (!json_get_bool(c->target, "incoming", false))
        migration_reason_add(c->reasons, "state", "The target does not wait for a guest: it has to "
                             "be started with -incoming");
    check_machine(c);
    check_processors(c);
    check_memory(c);
    check_devices(c);
    check_sections(c);
    check_capabilities(c);
    check_parameters(c);
    check_uuid(c);
    if (uri)
        check_address(c, uri);
    take_reasons(c, c->target);
}

json_t *migration_check(const json_t *source, const json_t *target, const char *uri)
{
    Check c = { source, target, json_array(), json_array() };
    json_t *o = json_object();

    if (json_get_bool(source, "incoming", false))
        migration_reason_add(c.reasons, "state", "The source waits for a guest itself");
    else
        take_reasons(&c, source);
    if (target)
        compare(&c, uri);
    json_put_bool(o, "possible", !json_array_size(c.reasons));
    json_put(o, "reasons", c.reasons);
    json_put(o, "warnings", c.warnings);
    return o;
}
