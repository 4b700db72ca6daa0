/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/account-internal.h"
#include "block/internal.h"
#include <string.h>

static GPtrArray *accounts; /* of Handle that have one, in the order of opening; main loop only */

/* ---- counting -------------------------------------------------------------------------------- */

/* The bin of @ns: the number of bounds that are not above it. */
static size_t histogram_bin(const Histogram *g, uint64_t ns)
{
    size_t low = 0, high = g->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (ns < g->bounds[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void window_add(Window *w, uint64_t ns)
{
    w->min = w->count ? MIN(w->min, ns) : ns;
    w->max = MAX(w->max, ns);
    w->sum += ns;
    w->count++;
}

void interval_advance(Interval *v, int64_t now)
{
    int64_t half = v->length_ns / 2;

    if (now - v->since < half)
        return;
    if (now - v->since < 2 * half) {
        memcpy(v->before, v->current, sizeof(v->before));
        v->before_since = v->since;
        v->since += half;
    } else {
        memset(v->before, 0, sizeof(v->before));
        v->since = v->before_since = now;
    }
    memset(v->current, 0, sizeof(v->current));
}

static void account_latency(Account *a, AccountKind kind, uint64_t ns, int64_t now)
{
    Histogram *g = &a->histograms[kind];

    a->total_ns[kind] += ns;
    if (g->bins)
        g->bins[histogram_bin(g, ns)]++;
    for (unsigned i = 0; i < a->interval_count; i++) {
        interval_advance(&a->intervals[i], now);
        window_add(&a->intervals[i].current[kind], ns);
    }
}

int account_end(Handle *h, AccountKind kind, uint64_t bytes, int64_t start, int result)
{
    Account *a = h->account;
    int64_t now;

    if (!start || !a)
        return result;
    now = clock_now_ns();
    a->last_ns = now;
    if (result < 0) {
        a->failed[kind]++;
    } else {
        a->operations[kind]++;
        a->bytes[kind] += bytes;
    }
    account_latency(a, kind, now - start, now);
    return result;
}

void account_invalid(Handle *h, AccountKind kind)
{
    if (!h->account)
        return;
    h->account->invalid[kind]++;
    h->account->last_ns = clock_now_ns();
}

void account_merged(Handle *h, AccountKind kind, unsigned count)
{
    if (h->account)
        h->account->merged[kind] += count;
}

/* ---- opening and setting up ------------------------------------------------------------------ */

void account_open(Handle *h, const char *drive, const char *device)
{
    if (!h->account) {
        h->account = g_new0(Account, 1);
        if (!accounts)
            accounts = g_ptr_array_new();
        g_ptr_array_add(accounts, h);
    }
    if (drive || !h->account->drive) {
        g_free(h->account->drive);
        h->account->drive = g_strdup(drive ? drive : "");
    }
    g_free(h->account->device);
    h->account->device = g_strdup(device);
}

void account_give_back(Handle *h)
{
    if (h->account)
        g_clear_pointer(&h->account->device, g_free);
}

void account_close(Handle *h)
{
    if (!h->account)
        return;
    g_ptr_array_remove(accounts, h);
    if (!accounts->len)
        g_clear_pointer(&accounts, g_ptr_array_unref);
    account_no_histograms(h);
    g_free(h->account->drive);
    g_free(h->account->device);
    g_clear_pointer(&h->account, g_free);
}

const GPtrArray *accounts_all(void)
{
    static GPtrArray *none;

    if (!none)
        none = g_ptr_array_new();
    return accounts ? accounts : none;
}

Handle *account_find(const char *device)
{
    for (guint i = 0; accounts && i < accounts->len; i++) {
        Handle *h = accounts->pdata[i];

        if (!g_strcmp0(h->account->device, device))
            return h;
    }
    return NULL;
}

Handle *account_find_drive(const char *id)
{
    for (guint i = 0; accounts && *id && i < accounts->len; i++) {
        Handle *h = accounts->pdata[i];

        if (!strcmp(h->account->drive, id))
            return h;
    }
    return NULL;
}

const char *account_drive_of(const Node *n)
{
    for (guint i = 0; accounts && i < accounts->len; i++) {
        Handle *h = accounts->pdata[i];

        if (handle_node(h) == n && *h->account->drive)
            return h->account->drive;
    }
    return "";
}

bool account_interval(Handle *h, unsigned seconds)
{
    Account *a = h->account;

    if (!a || !seconds || a->interval_count == ACCOUNT_INTERVALS_MAX)
        return false;
    a->intervals[a->interval_count++] = (Interval){
        .length_ns = (int64_t)seconds * 1000000000,
        .since = clock_now_ns(),
        .before_since = clock_now_ns(),
    };
    return true;
}

bool account_bounds_rise(const uint64_t *bounds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bounds[i] <= (i ? bounds[i - 1] : 0))
            return false;
    return true;
}

void account_histogram(Handle *h, AccountKind kind, const uint64_t *bounds, size_t count)
{
    Histogram *g = &h->account->histograms[kind];

    g_free(g->bounds);
    g_free(g->bins);
    *g = (Histogram){
        .count = count,
        .bounds = g_memdup2(bounds, count * sizeof(*bounds)),
        .bins = g_new0(uint64_t, count + 1),
    };
}

void account_no_histograms(Handle *h)
{
    for (unsigned kind = 0; kind < ACCOUNT_KINDS; kind++) {
        Histogram *g = &h->account->histograms[kind];

        g_free(g->bounds);
        g_free(g->bins);
        *g = (Histogram){};
    }
}
