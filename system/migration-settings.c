/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-settings.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

/* ---- capabilities ---------------------------------------------------------------------------- */

enum { CAPABILITIES = MIGRATION_CAPABILITY_POSTCOPY_PREEMPT + 1 };
static bool capabilities[CAPABILITIES];

/* Those that cannot be turned on, and why. */
static const char *const absent[CAPABILITIES] = {
    [MIGRATION_CAPABILITY_RDMA_PIN_ALL] = "there is no RDMA",
    [MIGRATION_CAPABILITY_ZERO_BLOCKS] = "images are not migrated by the guest's stream",
    [MIGRATION_CAPABILITY_COMPRESS] = "use 'multifd' with 'multifd-compression'",
    [MIGRATION_CAPABILITY_X_COLO] = "COLO is not supported",
    [MIGRATION_CAPABILITY_BLOCK] = "images are not migrated by the guest's stream",
    [MIGRATION_CAPABILITY_DIRTY_BITMAPS] = "bitmaps are not migrated yet",
    [MIGRATION_CAPABILITY_X_IGNORE_SHARED] = "memory is never shared",
    [MIGRATION_CAPABILITY_BACKGROUND_SNAPSHOT] = "background snapshots are not there yet",
    [MIGRATION_CAPABILITY_ZERO_COPY_SEND] = "memory is copied when it is sent",
    [MIGRATION_CAPABILITY_POSTCOPY_PREEMPT] = "all memory comes over one connection",
};

bool migration_has(MigrationCapability c)
{
    return capabilities[c];
}

/* What @c will be after the changes of @list. */
static bool will_have(const GPtrArray *list, MigrationCapability c)
{
    bool has = capabilities[c];

    for (guint i = 0; i < list->len; i++) {
        const MigrationCapabilityStatus *s = list->pdata[i];

        if (s->capability == c)
            has = s->state;
    }
    return has;
}

bool migration_set_capabilities(const GPtrArray *list, GError **err)
{
    for (guint i = 0; i < list->len; i++) {
        const MigrationCapabilityStatus *s = list->pdata[i];

        if (s->state && absent[s->capability])
            return err_set(err, ENOTSUP, "Capability '%s' cannot be turned on: %s",
                           schema_enum_name(&migration_capability_enum, s->capability),
                           absent[s->capability]);
    }
    if (will_have(list, MIGRATION_CAPABILITY_POSTCOPY_RAM) &&
        will_have(list, MIGRATION_CAPABILITY_MULTIFD))
        return err_set(err, ENOTSUP,
                       "Capabilities 'postcopy-ram' and 'multifd' cannot be combined: "
                       "memory that is waited for comes over the main connection");
    for (guint i = 0; i < list->len; i++) {
        const MigrationCapabilityStatus *s = list->pdata[i];

        capabilities[s->capability] = s->state;
    }
    return true;
}

/* ---- parameters ------------------------------------------------------------------------------ */

static json_t *values; /* what differs from the standard; NULL: nothing does */

typedef struct {
    const char *name;
    int64_t standard, min, max;
    const char *range;  /* for messages; NULL: "a value between MIN and MAX" */
    const char *lacks;  /* what it would change, which is not there; NULL: it works */
} Number;

#define PERCENT "an integer in the range of 1 to 99"

static const Number numbers[] = {
    { "announce-initial", 50, 0, 100000 },
    { "announce-max", 550, 0, 100000 },
    { "announce-rounds", 5, 0, 1000 },
    { "announce-step", 100, 0, 10000 },
    { "compress-level", 1, 0, 9, NULL, "capability 'compress'" },
    { "compress-threads", 8, 1, 255, NULL, "capability 'compress'" },
    { "decompress-threads", 2, 1, 255, NULL, "capability 'compress'" },
    { "throttle-trigger-threshold", 50, 1, 100, "an integer in the range of 1 to 100" },
    { "cpu-throttle-initial", 20, 1, 99, PERCENT },
    { "cpu-throttle-increment", 10, 1, 99, PERCENT },
    { "max-bandwidth", 128 << 20, 0, INT64_MAX },
    { "downtime-limit", 300, 0, 2000 * 1000, "an integer in the range of 0 to (2000 * 1000) ms" },
    { "x-checkpoint-delay", 20000, 0, UINT32_MAX, NULL, "capability 'x-colo'" },
    { "multifd-channels", 2, 1, 255 },
    { "xbzrle-cache-size", 64 << 20, 4096, INT64_MAX,
      "a power of two no less than the target page size" },
    { "max-postcopy-bandwidth", 0, 0, INT64_MAX },
    { "max-cpu-throttle", 99, 1, 99, "an integer in the range of cpu_throttle_initial to 99" },
    { "multifd-zlib-level", 1, 0, 9 },
    { "multifd-zstd-level", 1, 0, 20 },
};

static const struct {
    const char *name;
    bool standard;
    const char *lacks;
} flags[] = {
    { "compress-wait-thread", true, "capability 'compress'" },
    { "cpu-throttle-tailslow", false, NULL },
    { "block-incremental", false, "capability 'block'" },
};

static const struct {
    const char *name, *standard;
} texts[] = {
    { "tls-creds", "" }, { "tls-hostname", "" }, { "tls-authz", "" },
    { "multifd-compression", "none" },
};

int64_t migration_number(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (!strcmp(numbers[i].name, name))
            return json_get_int(values, name, numbers[i].standard);
    g_assert_not_reached();
}

bool migration_flag(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        if (!strcmp(flags[i].name, name))
            return json_get_bool(values, name, flags[i].standard);
    g_assert_not_reached();
}

const char *migration_text(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        if (!strcmp(texts[i].name, name))
            return json_get_str(values, name, texts[i].standard);
    g_assert_not_reached();
}

AnnounceParameters migration_announcement(void)
{
    return (AnnounceParameters){
        .initial = migration_number("announce-initial"), .max = migration_number("announce-max"),
        .rounds = migration_number("announce-rounds"), .step = migration_number("announce-step"),
    };
}

json_t *migration_parameters(void)
{
    json_t *o = json_object();

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        json_put_int(o, numbers[i].name, migration_number(numbers[i].name));
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        json_put_bool(o, flags[i].name, migration_flag(flags[i].name));
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        json_put_str(o, texts[i].name, migration_text(texts[i].name));
    return o;
}

/* ---- parameters: changing them --------------------------------------------------------------- */

/* Messages name parameters with underscores, as callers are used to. */
static bool out_of_range(const Number *n, GError **err)
{
    g_autofree char *name = g_strdelimit(g_strdup(n->name), "-", '_');
    g_autofree char *range = n->range ? g_strdup(n->range)
                                      : g_strdup_printf("a value between %" PRId64 " and %" PRId64,
                                                        n->min, n->max);

    return err_set(err, ERANGE, "Parameter '%s' expects %s", name, range);
}

static bool lacks(const char *name, const char *what, GError **err)
{
    return err_set(err, ENOTSUP, "Parameter '%s' cannot be changed: it belongs to %s, which Ferry "
                   "does not have", name, what);
}

static bool check_number(const Number *n, const json_t *changes, GError **err)
{
    int64_t v = json_get_int(changes, n->name, n->standard), min = n->min;

    if (!json_has(changes, n->name))
        return true;
    if (!strcmp(n->name, "max-cpu-throttle"))
        min = json_get_int(changes, "cpu-throttle-initial",
                           migration_number("cpu-throttle-initial"));
    if (v < min || v > n->max)
        return out_of_range(n, err);
    if (!strcmp(n->name, "xbzrle-cache-size") && v & (v - 1))
        return out_of_range(n, err);
    return !n->lacks || v == n->standard || lacks(n->name, n->lacks, err);
}

static bool check(const json_t *changes, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (!check_number(&numbers[i], changes, err))
            return false;
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        if (flags[i].lacks &&
            json_get_bool(changes, flags[i].name, flags[i].standard) != flags[i].standard)
            return lacks(flags[i].name, flags[i].lacks, err);
    return true;
}

bool migration_set_parameters(const json_t *changes, GError **err)
{
    const char *name;
    json_t *v;

    if (!check(changes, err))
        return false;
    if (!values)
        values = json_object();
    json_object_foreach((json_t *)changes, name, v) {
        if (json_is_null(v))
            json_object_del(values, name);
        else
            json_object_set(values, name, v);
    }
    return true;
}

void migration_settings_clear(void)
{
    g_clear_pointer(&values, json_decref);
}
