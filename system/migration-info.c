/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-info.h"
#include "migration/forecast.h"
#include "migration/wire.h"
#include "system/migration-incoming.h"
#include "system/migration-outgoing.h"
#include "system/migration-settings.h"
#include "system/migration-status.h"
#include "system/migration-throttle.h"
#include "util/hold.h"

#define MS INT64_C(1000000)

/* ---- what is told ---------------------------------------------------------------------------- */

/* How long the migration away has gone on, or went on, at least 1 ns. */
static int64_t span(const OutgoingFigures *f)
{
    return MAX((f->ended ? f->ended : clock_now_ns()) - f->began, 1);
}

static json_t *ram_info(const OutgoingFigures *f)
{
    json_t *o = json_object();
    uint64_t after = f->before_stop ? f->transferred - f->before_stop : 0;
    uint64_t last = f->before_postcopy ? f->transferred - f->before_postcopy : 0;

    json_put_int(o, "transferred", f->transferred);
    json_put_int(o, "remaining", f->remaining);
    json_put_int(o, "total", f->total);
    json_put_int(o, "duplicate", f->zero_pages);
    json_put_int(o, "skipped", 0);
    json_put_int(o, "normal", f->pages);
    json_put_int(o, "normal-bytes", f->pages * RAM_PAGE_SIZE);
    json_put_int(o, "dirty-pages-rate", f->dirty_rate);
    json_put(o, "mbps", json_real(f->transferred * 8e3 / span(f)));
    json_put_int(o, "dirty-sync-count", f->passes);
    json_put_int(o, "postcopy-requests", f->requests);
    json_put_int(o, "page-size", RAM_PAGE_SIZE);
    json_put_int(o, "multifd-bytes", f->multifd_bytes);
    json_put_int(o, "pages-per-second", (f->pages + f->zero_pages) * 1e9 / span(f));
    json_put_int(o, "precopy-bytes", f->transferred - after);
    json_put_int(o, "downtime-bytes", after - last);
    json_put_int(o, "postcopy-bytes", last);
    json_put_int(o, "dirty-sync-missed-zero-copy", 0);
    return o;
}

static json_t *xbzrle_info(const Outgoing *out)
{
    XbzrleStats x = xbzrle_stats(out->xbzrle);
    json_t *o = json_object();

    json_put_int(o, "cache-size", xbzrle_cache_size(out->xbzrle));
    json_put_int(o, "bytes", x.bytes);
    json_put_int(o, "pages", x.pages);
    json_put_int(o, "cache-miss", x.misses);
    json_put(o, "cache-miss-rate", json_real(x.misses * 1e9 / span(&out->figures)));
    json_put(o, "encoding-rate",
             json_real(x.bytes ? (double)x.pages * RAM_PAGE_SIZE / x.bytes : 0));
    json_put_int(o, "overflow", x.overflows);
    return o;
}

static void put_reasons(json_t *o)
{
    json_t *reasons = json_array(), *holds = json_array();

    for (const GList *l = hold_migration.deny.head; l; l = l->next) {
        const Hold *h = l->data;
        json_t *shown = json_object();

        json_array_append_new(reasons, json_string(h->reason));
        json_put_str(shown, "owner", h->owner);
        json_put_str(shown, "reason", h->reason);
        json_put_int(shown, "since", h->since_us / 1000000);
        json_array_append_new(holds, shown);
    }
    if (json_array_size(reasons)) {
        json_put(o, "blocked-reasons", reasons);
        json_put(o, "x-holds", holds);
        return;
    }
    json_decref(reasons);
    json_decref(holds);
}

static json_t *forecast_info(const OutgoingFigures *figures)
{
    Measured m = {
        .bandwidth = figures->bandwidth,
        .pass_rate = MAX(figures->pass_rate, figures->bandwidth),
        .dirty_rate = figures->dirty_rate * (double)RAM_PAGE_SIZE,
        .passed = (clock_now_ns() - figures->collected) / 1e9,
        .remaining = figures->remaining,
        .memory = figures->total,
        .limit = migration_number("downtime-limit") / 1e3,
    };
    Forecast f = forecast(&m);
    json_t *o = json_object();

    json_put_bool(o, "converges", f.converges);
    if (f.converges) {
        json_put_int(o, "time-left", f.seconds * 1e3);
        json_put_int(o, "downtime", f.downtime * 1e3);
    }
    json_put_int(o, "dirty-rate", m.dirty_rate);
    json_put_int(o, "bandwidth", m.bandwidth);
    return o;
}

static void put_times(json_t *o, const Outgoing *out)
{
    MigrationStatus status = migration_status();
    const OutgoingFigures *f = &out->figures;
    bool completed = status == MIGRATION_STATUS_COMPLETED;

    if (status == MIGRATION_STATUS_SETUP)
        return;
    json_put_int(o, "total-time", ((completed ? f->ended : clock_now_ns()) - f->began) / MS);
    json_put_int(o, "setup-time", f->setup_ns / MS);
    if (completed)
        json_put_int(o, "downtime", f->downtime_ns / MS);
    else
        json_put_int(o, "expected-downtime",
                     f->bandwidth > 0 ? (int64_t)(f->remaining * 1e3 / f->bandwidth)
                                      : (int64_t)migration_number("downtime-limit"));
    if (status == MIGRATION_STATUS_ACTIVE && f->bandwidth > 0)
        json_put(o, "x-forecast", forecast_info(f));
    if (throttle_percent())
        json_put_int(o, "cpu-throttle-percentage", throttle_percent());
    json_put(o, "ram", ram_info(f));
    if (out->xbzrle)
        json_put(o, "xbzrle-cache", xbzrle_info(out));
}

static void put_blocktime(json_t *o, const Blocktime *b)
{
    json_t *each = json_array();

    for (unsigned i = 0; i < blocktime_count(b); i++)
        json_array_append_new(each, json_integer(blocktime_of(b, i) / MS));
    json_put_int(o, "postcopy-blocktime", blocktime_of_all(b) / MS);
    json_put(o, "postcopy-vcpu-blocktime", each);
}

json_t *migration_info(void)
{
    json_t *o = json_object();
    MigrationStatus status = migration_status();
    bool completed = status == MIGRATION_STATUS_COMPLETED;
    const Outgoing *out = outgoing();
    bool went = out->figures.began;
    const Stages *stages = went ? &out->stages : incoming_stages();

    put_reasons(o);
    if (status != MIGRATION_STATUS_NONE)
        json_put_str(o, "status", schema_enum_name(&migration_status_enum, status));
    if (went && (migration_is_active() || completed))
        put_times(o, out);
    if (completed && stages->stages)
        json_put(o, "x-downtime", stages_json(stages));
    if (completed && !went && incoming_blocktime())
        put_blocktime(o, incoming_blocktime());
    if (status == MIGRATION_STATUS_FAILED && out->error)
        json_put_str(o, "error-desc", out->error);
    if (incoming_is_awaited() && incoming_addresses())
        json_put(o, "socket-address", json_incref(incoming_addresses()));
    return o;
}
