/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Migration. */
#include "gen/qmp.h"
#include "gen/schema.h"
#include "qapi/schema.h"
#include "system/hmp/commands.h"
#include "system/migration-settings.h"
#include "util/err.h"
#include "util/hold.h"
#include "util/json.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

#define SAY(...) g_string_append_printf(h->out, __VA_ARGS__)

HMP_COMMAND(hmp_migrate)
{
    QmpMigrateArgs args = {
        .uri = (char *)a->text[4], .has_blk = a->is_given[1], .blk = a->is_given[1],
        .has_inc = a->is_given[2], .inc = a->is_given[2], .has_resume = a->is_given[3],
        .resume = a->is_given[3],
    };
    GError *err = NULL;

    if (qmp_migrate(&args, &err) && !a->is_given[0])
        SAY("terminal does not allow synchronous migration, continuing detached\n");
    hmp_error(h, err);
}

HMP_COMMAND(hmp_migrate_cancel)
{
    qmp_migrate_cancel(NULL);
}

/* The value of @e that is called @name; -1, after a message, if there is none. */
static int value_named(Hmp *h, const SchemaEnum *e, const char *name)
{
    int v = schema_enum_parse(e, name);

    if (v < 0)
        SAY("Error: invalid parameter value: %s\n", name);
    return v;
}

HMP_COMMAND(hmp_migrate_continue)
{
    int state = value_named(h, &migration_status_enum, a->text[0]);
    GError *err = NULL;

    if (state < 0)
        return;
    qmp_migrate_continue(&(QmpMigrateContinueArgs){ .state = state }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_migrate_start_postcopy)
{
    GError *err = NULL;

    qmp_migrate_start_postcopy(&err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_migrate_pause)
{
    GError *err = NULL;

    qmp_migrate_pause(&err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_migrate_recover)
{
    GError *err = NULL;

    qmp_migrate_recover(&(QmpMigrateRecoverArgs){ .uri = (char *)a->text[0] }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_migrate_incoming)
{
    GError *err = NULL;

    qmp_migrate_incoming(&(QmpMigrateIncomingArgs){ .uri = (char *)a->text[0] }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_migrate_set_capability)
{
    int capability = value_named(h, &migration_capability_enum, a->text[0]);
    MigrationCapabilityStatus status = { .capability = capability, .state = a->number[1] };
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    GError *err = NULL;

    if (capability < 0)
        return;
    g_ptr_array_add(list, &status);
    qmp_migrate_set_capabilities(&(QmpMigrateSetCapabilitiesArgs){ .capabilities = list }, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_info_migrate_capabilities)
{
    g_autoptr(GPtrArray) list = NULL;

    if (!qmp_query_migrate_capabilities(&list, NULL))
        return;
    for (guint i = 0; i < list->len; i++) {
        const MigrationCapabilityStatus *s = list->pdata[i];

        SAY("%s: %s\n", schema_enum_name(&migration_capability_enum, s->capability),
            s->state ? "on" : "off");
    }
}

/* In the reference's order, with the text that follows the value. */
static const struct {
    const char *name, *unit;
} parameters[] = {
    { "announce-initial", " ms" }, { "announce-max", " ms" }, { "announce-rounds", "" },
    { "announce-step", " ms" }, { "compress-level", "" }, { "compress-threads", "" },
    { "compress-wait-thread", "" }, { "decompress-threads", "" },
    { "throttle-trigger-threshold", "" }, { "cpu-throttle-initial", "" },
    { "cpu-throttle-increment", "" }, { "cpu-throttle-tailslow", "" }, { "max-cpu-throttle", "" },
    { "tls-creds", "" }, { "tls-hostname", "" }, { "max-bandwidth", " bytes/second" },
    { "downtime-limit", " ms" }, { "x-checkpoint-delay", " ms" }, { "block-incremental", "" },
    { "multifd-channels", "" }, { "multifd-compression", "" }, { "xbzrle-cache-size", " bytes" },
    { "max-postcopy-bandwidth", "" }, { "tls-authz", "" },
};

static bool is_parameter(const char *name)
{
    g_autoptr(json_t) all = migration_parameters();

    return json_has(all, name);
}

/* Rates without a unit are MiB; other numbers are as QMP takes them. NULL with @err. */
static json_t *parameter_value(const char *name, const char *text, GError **err)
{
    uint64_t size;

    if (!g_str_has_suffix(name, "-bandwidth"))
        return json_string(text);
    if (size_parse(text, MiB, &size, NULL) == 0 && size <= INT64_MAX)
        return json_integer((json_int_t)size);
    err_set(err, EINVAL, "Invalid size %s", text);
    return NULL;
}

HMP_COMMAND(hmp_migrate_set_parameter)
{
    const char *name = a->text[0];
    g_autoptr(json_t) change = json_object();
    GError *err = NULL;
    json_t *value;

    if (!is_parameter(name)) {
        SAY("Error: invalid parameter value: %s\n", name);
        return;
    }
    value = parameter_value(name, a->text[1], &err);
    if (value)
        json_put(change, name, value);
    if (value && schema_check("MigrateSetParameters", change, &err))
        qmp_migrate_set_parameters(change, &err);
    hmp_error(h, err);
}

HMP_COMMAND(hmp_info_migrate_parameters)
{
    g_autoptr(json_t) all = NULL;

    if (!qmp_query_migrate_parameters(&all, NULL))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(parameters); i++) {
        const char *name = parameters[i].name;
        const json_t *v = json_get(all, name);

        if (json_is_boolean(v))
            SAY("%s: %s\n", name, json_is_true(v) ? "on" : "off");
        else if (json_is_string(v) && g_str_has_prefix(name, "tls-"))
            SAY("%s: '%s'\n", name, json_string_value(v));
        else if (json_is_string(v))
            SAY("%s: %s\n", name, json_string_value(v));
        else
            SAY("%s: %" PRId64 "%s\n", name, json_get_int(all, name, 0), parameters[i].unit);
    }
}

/* ---- how far it is --------------------------------------------------------------------------- */

typedef struct {
    const char *name, *label, *unit;
    unsigned divisor;
    bool only_if_any;
} Line;

static const Line ram_lines[] = {
    { "remaining", "remaining ram", " kbytes", 1024 }, { "total", "total ram", " kbytes", 1024 },
    { "duplicate", "duplicate", " pages", 1 }, { "skipped", "skipped", " pages", 1 },
    { "normal", "normal", " pages", 1 }, { "normal-bytes", "normal bytes", " kbytes", 1024 },
    { "dirty-sync-count", "dirty sync count", "", 1 },
    { "page-size", "page size", " kbytes", 1024 },
    { "multifd-bytes", "multifd bytes", " kbytes", 1024 },
    { "pages-per-second", "pages-per-second", "", 1 },
    { "dirty-pages-rate", "dirty pages rate", " pages", 1, true },
    { "postcopy-requests", "postcopy request count", "", 1, true },
    { "precopy-bytes", "precopy ram", " kbytes", 1024, true },
    { "downtime-bytes", "downtime ram", " kbytes", 1024, true },
    { "postcopy-bytes", "postcopy ram", " kbytes", 1024, true }, {}
};
static const Line cache_lines[] = {
    { "cache-size", "cache size", " bytes", 1 },
    { "bytes", "xbzrle transferred", " kbytes", 1024 }, { "pages", "xbzrle pages", " pages", 1 },
    { "cache-miss", "xbzrle cache miss", " pages", 1 }, {}
};
static const Line time_lines[] = {
    { "total-time", "total time", " ms", 1 },
    { "expected-downtime", "expected downtime", " ms", 1, true },
    { "downtime", "downtime", " ms", 1, true }, { "setup-time", "setup", " ms", 1, true }, {}
};

static void say_lines(Hmp *h, const json_t *o, const Line *lines)
{
    for (const Line *l = lines; l->name; l++) {
        int64_t v = json_get_int(o, l->name, 0);

        if (v || !l->only_if_any)
            SAY("%s: %" PRId64 "%s\n", l->label, v / l->divisor, l->unit);
    }
}

static double real_of(const json_t *o, const char *name)
{
    return json_number_value(json_get(o, name));
}

static void say_forecast(Hmp *h, const json_t *f)
{
    if (!json_get_bool(f, "converges", false))
        SAY("forecast: does not converge\n");
    else
        SAY("forecast: %" PRId64 " ms left, downtime %" PRId64 " ms\n",
            json_get_int(f, "time-left", 0), json_get_int(f, "downtime", 0));
}

static void say_blocktime(Hmp *h, const json_t *info)
{
    const json_t *each = json_get(info, "postcopy-vcpu-blocktime");

    if (!each)
        return;
    SAY("postcopy blocktime: %" PRId64 "\npostcopy vcpu blocktime: ",
        json_get_int(info, "postcopy-blocktime", 0));
    for (size_t i = 0; i < json_array_size(each); i++)
        SAY("%s%" PRId64, i ? "," : "", (int64_t)json_integer_value(json_array_get(each, i)));
    SAY("\n");
}

static void say_progress(Hmp *h, const json_t *info)
{
    const char *error = json_get_str(info, "error-desc", NULL);
    const json_t *ram = json_get(info, "ram"), *cache = json_get(info, "xbzrle-cache");

    SAY("Migration status: %s", json_get_str(info, "status", ""));
    if (error)
        SAY(" (%s)", error);
    SAY("\n");
    say_lines(h, info, time_lines);
    if (ram) {
        SAY("transferred ram: %" PRId64 " kbytes\nthroughput: %0.2f mbps\n",
            json_get_int(ram, "transferred", 0) / 1024, real_of(ram, "mbps"));
        say_lines(h, ram, ram_lines);
    }
    if (cache) {
        say_lines(h, cache, cache_lines);
        SAY("xbzrle cache miss rate: %0.2f\nxbzrle encoding rate: %0.2f\nxbzrle overflow: %" PRId64
            "\n", real_of(cache, "cache-miss-rate"), real_of(cache, "encoding-rate"),
            json_get_int(cache, "overflow", 0));
    }
    say_blocktime(h, info);
    if (json_has(info, "cpu-throttle-percentage"))
        SAY("cpu throttle percentage: %" PRId64 "\n",
            json_get_int(info, "cpu-throttle-percentage", 0));
    if (json_has(info, "x-forecast"))
        say_forecast(h, json_get(info, "x-forecast"));
}

HMP_COMMAND(hmp_info_migrate)
{
    g_autoptr(json_t) info = NULL;
    const json_t *reasons;

    if (!qmp_query_migrate(&info, NULL))
        return;
    /* What never changes here, for scripts that look for lines by number. */
    SAY("globals:\nstore-global-state: on\nonly-migratable: %s\nsend-configuration: on\n"
        "send-section-footer: on\ndecompress-error-check: on\nclear-bitmap-shift: 18\n",
        hold_migration.refusal ? "on" : "off");
    reasons = json_get(info, "blocked-reasons");
    if (reasons)
        SAY("Outgoing migration blocked:\n");
    for (size_t i = 0; i < json_array_size(reasons); i++)
        SAY("  %s\n", json_string_value(json_array_get(reasons, i)));
    if (json_has(info, "status"))
        say_progress(h, info);
}
