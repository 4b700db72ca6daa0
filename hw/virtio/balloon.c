/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-balloon-device: the guest gives memory back to the host, as much as it is asked for
 * (virtio 1.2, 5.5 "Traditional Memory Balloon Device"). Which memory can be given back and when
 * is the business of balloon/; here is what the driver says, all of which may be lies.
 */
#include "hw/virtio/balloon.h"
#include "balloon/discard.h"
#include "balloon/hints.h"
#include "balloon/pages.h"
#include "balloon/stats.h"
#include "gen/qmp.h"
#include "hw/virtio/section.h"
#include "io/co-lock.h"
#include "io/iothread.h"
#include "system/base/clock.h"
#include "system/base/lock.h"
#include "util/endian.h"
#include "util/err.h"
#include <inttypes.h>
#include <unistd.h>

enum { ID = 5, QUEUE_SIZE = 128 };
/* Those of free memory follow: for hints, then for reports, each if it is offered. */
enum { INFLATE, DEFLATE, STATS, FIXED_QUEUES };

/*
 * What counts of one chain, so that a guest cannot keep the machine's lock for long: page
 * numbers, of which drivers in use send up to 1024, and bytes that are reported as free, of which
 * Linux sends 128 MiB.
 */
enum { NUMBERS_PIECE = 1024, NUMBERS_MAX = 4096, REPORT_MAX = 256 << 20 };

#define F_STATS (UINT64_C(1) << 1)
#define F_DEFLATE_ON_OOM (UINT64_C(1) << 2)
#define F_FREE_PAGE_HINT (UINT64_C(1) << 3)
#define F_PAGE_POISON (UINT64_C(1) << 4)
#define F_REPORTING (UINT64_C(1) << 5)

#define SECOND INT64_C(1000000000)
enum { INTERVAL_MAX = UINT32_MAX, WARN_INTERVAL = 5 };

typedef struct {
    le32 target;  /* pages that shall be in the balloon */
    le32 actual;  /* pages that the driver says are in it */
    le32 hint;    /* BalloonHints.command */
    le32 poison;  /* what the driver fills free pages with */
} Config;         /* virtio 1.2, 5.5.4 */
G_STATIC_ASSERT(sizeof(Config) == 16);

typedef struct {
    VirtioDevice virtio;
    bool deflates_on_oom, offers_poison, reports_free, hints_free; /* properties */
    char *iothread_name;    /* likewise; NULL: none */
    IoThread *iothread;     /* in use; NULL: none */

    BalloonPages *pages;
    uint64_t wanted;        /* pages that the user wants in the balloon */
    uint32_t target;        /* that the driver has been told */
    uint32_t actual, poison;
    uint32_t told;          /* .actual, as the last event said */
    BalloonHints hints;
    bool has_come;          /* from elsewhere: the driver is to look at the configuration */

    BalloonStats stats;
    bool has_request;       /* .request waits for the next time statistics are wanted */
    RingUsed request;
    int64_t interval;       /* seconds; 0: nobody asks */
    GuestTimer timer;

    int64_t warned;         /* guest time; 0: never */
    uint64_t lies;          /* since */
    CoGroup catching_up;    /* main loop */
    bool is_ending;         /* main loop */
} VirtioBalloon;

static VirtioBalloon *balloon_of(VirtioDevice *d)
{
    return (VirtioBalloon *)d;
}

static uint64_t pages_of_guest(const VirtioBalloon *s)
{
    return s->virtio.dev.board->ram_size >> BALLOON_PAGE_BITS;
}

/* ---- lies ------------------------------------------------------------------------------------ */

static void G_GNUC_PRINTF(3, 4) warn_of_lies(VirtioBalloon *s, uint64_t count, const char *fmt, ...)
{
    int64_t now = guest_clock_now();
    g_autofree char *text = NULL;
    va_list ap;

    s->lies += count;
    if (s->warned && now - s->warned < WARN_INTERVAL * SECOND)
        return;
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    s->virtio.dev.board->warn(s->virtio.dev.board, text);
    s->warned = MAX(now, 1);
    s->lies = 0;
}

/* ---- pages ----------------------------------------------------------------------------------- */

/* What the driver says with one chain of queue @queue. */
static void take_numbers(VirtioBalloon *s, unsigned queue, const RingChain *c)
{
    uint64_t count = c->out_len / sizeof(le32), bad = 0;
    uint32_t numbers[NUMBERS_PIECE], first_bad = 0;

    if (count > NUMBERS_MAX) {
        bad = count - NUMBERS_MAX;
        count = NUMBERS_MAX;
    }
    for (uint64_t i = 0; i < count; i += NUMBERS_PIECE) {
        unsigned n = MIN(count - i, NUMBERS_PIECE);

        ring_chain_read(c, i * sizeof(le32), numbers, n * sizeof(le32));
        for (unsigned k = 0; k < n; k++)
            numbers[k] = GUINT32_FROM_LE(numbers[k]);
        bad += queue == INFLATE ? balloon_pages_put(s->pages, numbers, n, &first_bad)
                                : balloon_pages_take(s->pages, numbers, n, &first_bad);
    }
    if (bad)
        warn_of_lies(s, bad, "The guest has %s its balloon %" PRIu64 " pages that are not its "
                     "memory%s; ignored (page 0x%" PRIx32 ")",
                     queue == INFLATE ? "put into" : "taken out of", s->lies + bad,
                     queue == INFLATE ? ", or are there already" : "", first_bad);
}

/* Memory that is zeroes afterwards would not be what the driver has filled it with. */
static bool is_poisoned(const VirtioBalloon *s)
{
    return virtio_has(&s->virtio, F_PAGE_POISON) && s->poison;
}

static bool take_free(VirtioBalloon *s, uint64_t at, uint64_t len)
{
    return balloon_pages_report(s->pages, at, len);
}

static bool take_hint(VirtioBalloon *s, uint64_t at, uint64_t len)
{
    uint64_t first, count;

    if (!balloon_pages_find(s->pages, at, len, &first, &count))
        return false;
    if (!discard_is_denied())
        hints_add(&s->hints, first, count);
    return true;
}

/* The driver says with @c that it does not use the memory that the chain consists of. */
static void take_memory(VirtioBalloon *s, const RingChain *c,
                        bool (*take)(VirtioBalloon *s, uint64_t at, uint64_t len))
{
    uint64_t left = REPORT_MAX;

    if (is_poisoned(s))
        return;
    for (unsigned i = c->out; i < c->out + c->in; i++) {
        uint64_t len = MIN(c->iov[i].iov_len, left);

        left -= len;
        if (len && !take(s, c->at[i], len))
            warn_of_lies(s, 1, "The guest reports memory that is not its own as free; ignored "
                         "(address 0x%" PRIx64 ")", c->at[i]);
    }
}

static void take_hints(VirtioBalloon *s, const RingChain *c)
{
    le32 number;

    if (ring_chain_read(c, 0, &number, sizeof(number)) == sizeof(number))
        hints_take_number(&s->hints, le32_get(number));
    take_memory(s, c, take_hint);
}

/* ---- statistics ------------------------------------------------------------------------------ */

/* Asks for them: the driver fills the buffer that is given back to it. */
static void ask(void *opaque)
{
    VirtioBalloon *s = opaque;

    if (!s->has_request || !virtio_is_running(&s->virtio))
        return;
    s->has_request = false;
    virtio_push_all(&s->virtio, STATS, &s->request, 1);
}

/* Keeps the chain until statistics are wanted next; there is only one at a time. */
static void take_stats(VirtioBalloon *s, const RingChain *c)
{
    uint8_t record[BALLOON_STAT_SIZE];

    ask(s);
    for (unsigned i = 0; i < 4 * BALLOON_STATS; i++) {
        if (ring_chain_read(c, i * sizeof(record), record, sizeof(record)) != sizeof(record))
            break;
        balloon_stats_take(&s->stats, record);
        s->stats.updated = g_get_real_time() / 1000000;
    }
    s->request = ring_used(c, 0);
    s->has_request = true;
    if (s->interval)
        guest_timer_set(&s->timer, guest_clock_now() + s->interval * SECOND);
}

/* ---- the driver ------------------------------------------------------------------------------ */

/* The driver may add chains meanwhile, and kicks again for more than fit into a queue. */
static void balloon_kick(VirtioDevice *d, unsigned queue)
{
    VirtioBalloon *s = balloon_of(d);
    g_autofree RingChain *c = g_new(RingChain, 1);

    virtio_want_kicks(d, queue, true);
    for (unsigned i = 0; i < QUEUE_SIZE && virtio_pop(d, queue, c); i++) {
        if (queue == STATS) {
            take_stats(s, c);
            continue;
        }
        if (queue < FIXED_QUEUES)
            take_numbers(s, queue, c);
        else if (queue == FIXED_QUEUES && s->hints_free)
            take_hints(s, c);
        else
            take_memory(s, c, take_free);
        virtio_push(d, queue, c, 0);
        virtio_want_kicks(d, queue, true);
    }
}

static uint64_t balloon_features(const VirtioDevice *d)
{
    const VirtioBalloon *s = (const VirtioBalloon *)d;

    return F_STATS | (s->deflates_on_oom ? F_DEFLATE_ON_OOM : 0) |
           (s->offers_poison ? F_PAGE_POISON : 0) | (s->reports_free ? F_REPORTING : 0) |
           (s->hints_free ? F_FREE_PAGE_HINT : 0);
}

static void balloon_config_read(const VirtioDevice *d, uint8_t *config)
{
    const VirtioBalloon *s = (const VirtioBalloon *)d;
    Config *c = (Config *)config;

    c->target = le32_of(s->target);
    c->actual = le32_of(s->actual);
    c->hint = le32_of(s->hints.command);
    c->poison = le32_of(s->poison);
}

/* Bytes come one after another; the last of a number completes it. */
static void balloon_config_write(VirtioDevice *d, unsigned offset, uint8_t value)
{
    VirtioBalloon *s = balloon_of(d);
    unsigned shift = offset % 4 * 8;
    uint32_t *to = offset / 4 == 1 ? &s->actual : offset / 4 == 3 ? &s->poison : NULL;

    if (!to || (to == &s->poison && !virtio_has(d, F_PAGE_POISON)))
        return;
    *to = (*to & ~(UINT32_C(0xff) << shift)) | (uint32_t)value << shift;
    if (to != &s->actual || shift != 24 || s->told == s->actual)
        return;
    s->told = s->actual;
    event_balloon_change((int64_t)balloon_actual(&d->dev));
}

static void balloon_reset(VirtioDevice *d)
{
    VirtioBalloon *s = balloon_of(d);

    s->has_request = false;
    guest_timer_cancel(&s->timer);
    s->actual = s->told = s->poison = 0;
    s->hints.is_answering = false;
    balloon_pages_clear(s->pages);
}

/* ---- for commands ---------------------------------------------------------------------------- */

/* Tells the driver of the target that is due. */
static void apply_target(VirtioBalloon *s)
{
    if (s->wanted == s->target || (s->wanted > s->target && discard_is_denied()))
        return;
    s->target = s->wanted;
    virtio_config_changed(&s->virtio);
}

void balloon_set_target(Device *d, uint64_t bytes)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    s->wanted = (d->board->ram_size - MIN(bytes, d->board->ram_size)) >> BALLOON_PAGE_BITS;
    apply_target(s);
}

uint64_t balloon_target(const Device *d)
{
    const VirtioBalloon *s = (const VirtioBalloon *)d;

    return d->board->ram_size - (s->wanted << BALLOON_PAGE_BITS);
}

uint64_t balloon_actual(const Device *d)
{
    const VirtioBalloon *s = (const VirtioBalloon *)d;

    return d->board->ram_size - (MIN((uint64_t)s->actual, pages_of_guest(s)) << BALLOON_PAGE_BITS);
}

uint64_t balloon_kept(const Device *d)
{
    return balloon_pages_kept(((const VirtioBalloon *)d)->pages) << BALLOON_PAGE_BITS;
}

void balloon_ask_for_hints(Device *d)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    if (!virtio_has(&s->virtio, F_FREE_PAGE_HINT))
        return;
    hints_begin_round(&s->hints);
    virtio_config_changed(&s->virtio);
}

void balloon_end_hints(Device *d, bool is_done)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    if (s->hints.command == HINTS_DONE || !s->hints.round)
        return;
    hints_end_round(&s->hints, is_done ? HINTS_DONE : HINTS_STOP);
    virtio_config_changed(&s->virtio);
}

void balloon_take_hints(Device *d, void (*fn)(void *opaque, uint64_t first, uint64_t count),
                        void *opaque)
{
    hints_take(&((VirtioBalloon *)d)->hints, fn, opaque);
}

static CO void catch_up(void *opaque)
{
    VirtioBalloon *s = opaque;
    bool more = true;

    while (more && !s->is_ending) {
        machine_lock();
        more = balloon_pages_catch_up(s->pages);
        machine_unlock();
        co_yield();
    }
}

/* What had to wait is done when nobody denies discarding any more. */
static void denial_changed(void *opaque, bool denied)
{
    VirtioBalloon *s = opaque;

    if (denied)
        return;
    machine_lock();
    apply_target(s);
    machine_unlock();
    co_group_start(&s->catching_up, catch_up, s);
}

/* ---- properties of a device that lives ------------------------------------------------------- */

static json_t *get_stats(const Device *d)
{
    return balloon_stats_show(&((const VirtioBalloon *)d)->stats);
}

static json_t *get_interval(const Device *d)
{
    return json_integer(((const VirtioBalloon *)d)->interval);
}

static bool set_interval(Device *d, const json_t *value, GError **err)
{
    VirtioBalloon *s = (VirtioBalloon *)d;
    int64_t interval = json_integer_value(value);

    if (!json_is_integer(value))
        return err_set(err, EINVAL, "Invalid parameter type for 'guest-stats-polling-interval', "
                       "expected: integer");
    if (interval < 0)
        return err_set(err, ERANGE, "timer value must be greater than zero");
    if (interval > INTERVAL_MAX)
        return err_set(err, ERANGE, "timer value is too big");
    s->interval = interval;
    if (interval)
        guest_timer_set(&s->timer, guest_clock_now() + interval * SECOND);
    else
        guest_timer_cancel(&s->timer);
    return true;
}

static const DeviceAttribute balloon_attributes[] = {
    { "guest-stats-polling-interval", "int", get_interval, set_interval },
    { "guest-stats", "guest statistics", get_stats, NULL },
    {}
};

/* ---- migration ------------------------------------------------------------------------------- */

/* Values of .hint_status, from which the target makes .hint of the configuration. */
enum { HINT_STATUS_STOP = 0, HINT_STATUS_DONE = 3 };

typedef struct {
    uint32_t target, actual, hint_round, hint_status, poison;
    bool has_hints, has_poison;
} BalloonImage;

static const StateField hint_fields[] = {
    STATE_U("free_page_hint_cmd_id", BalloonImage, hint_round),
    STATE_U("free_page_hint_status", BalloonImage, hint_status), {}
};
static const StateLayout hint_layout = {
    "virtio-balloon-device/free-page-report", 1, 1, sizeof(BalloonImage), hint_fields, NULL,
    offsetof(BalloonImage, has_hints)
};
static const StateField poison_fields[] = { STATE_U("poison_val", BalloonImage, poison), {} };
static const StateLayout poison_layout = {
    "virtio-balloon-device/page-poison", 1, 1, sizeof(BalloonImage), poison_fields, NULL,
    offsetof(BalloonImage, has_poison)
};
static const StateLayout *const balloon_parts[] = { &hint_layout, &poison_layout, NULL };
static const StateField balloon_fields[] = {
    STATE_U("num_pages", BalloonImage, target), STATE_U("actual", BalloonImage, actual), {}
};
static const StateLayout balloon_layout = {
    "virtio-balloon-device", 1, 1, sizeof(BalloonImage), balloon_fields, balloon_parts
};

/* How much of the configuration there is depends on what is offered. */
static unsigned balloon_config_size(const VirtioDevice *d)
{
    const VirtioBalloon *s = (const VirtioBalloon *)d;

    return s->offers_poison ? sizeof(Config)
           : s->hints_free  ? offsetof(Config, poison) : offsetof(Config, hint);
}

/* No round is under way at the target: the driver may use again what it has kept for the last. */
static void balloon_save(const VirtioDevice *d, void *part)
{
    const VirtioBalloon *s = (const VirtioBalloon *)d;

    *(BalloonImage *)part = (BalloonImage){
        .target = s->target, .actual = s->actual, .poison = s->poison,
        .hint_round = s->hints.round,
        .hint_status = s->hints.round ? HINT_STATUS_DONE : HINT_STATUS_STOP,
        .has_hints = s->hints_free, .has_poison = s->offers_poison,
    };
}

static bool balloon_load(VirtioDevice *d, const void *part, const uint8_t *config, GError **err)
{
    VirtioBalloon *s = balloon_of(d);
    const BalloonImage *i = part;

    if (i->target > pages_of_guest(s))
        return err_set(err, ERANGE, "The balloon's target is %" PRIu32 " pages, but the guest has "
                       "only %" PRIu64, i->target, pages_of_guest(s));
    s->wanted = s->target = i->target;
    s->actual = s->told = i->actual;
    s->poison = i->poison;
    s->hints.round = i->hint_round;
    hints_end_round(&s->hints, i->hint_round ? HINTS_DONE : HINTS_STOP);
    s->has_come = i->hint_round;
    s->has_request = false;
    balloon_pages_clear(s->pages);
    return true;
}

static const VirtioPart balloon_part = {
    .name = "virtio-balloon", .version = 1, .layout = &balloon_layout, .save = balloon_save,
    .load = balloon_load, .config_size = balloon_config_size, .held_queues = 1 << STATS,
};

/* ---- the device ------------------------------------------------------------------------------ */

static const Property balloon_properties[] = {
    PROPERTY("deflate-on-oom", DEVICE_BOOL, VirtioBalloon, deflates_on_oom,
             "the guest may take memory out when it has no other [off]"),
    PROPERTY("page-poison", DEVICE_BOOL, VirtioBalloon, offers_poison,
             "the guest tells what it fills free pages with [on]"),
    PROPERTY("free-page-reporting", DEVICE_BOOL, VirtioBalloon, reports_free,
             "memory that the guest does not use goes back to the host [off]"),
    PROPERTY("free-page-hint", DEVICE_BOOL, VirtioBalloon, hints_free,
             "memory that the guest does not use is left out of migrations [off]"),
    LOCAL_PROPERTY("iothread", DEVICE_STR, VirtioBalloon, iothread_name,
                   "the iothread that free-page-hint needs"),
    VIRTIO_PROPERTIES, {}
};

static const VirtioType balloon_type = {
    .part = &balloon_part,
    .id = ID,
    .queues = FIXED_QUEUES,
    .features = balloon_features,
    .config_size = sizeof(Config),
    .config_read = balloon_config_read,
    .config_write = balloon_config_write,
    .kick = balloon_kick,
    .reset = balloon_reset,
};

static void balloon_defaults(Device *d)
{
    ((VirtioBalloon *)d)->offers_poison = true;
}

/* What hints cost is so little that no other thread has to do it. */
static bool use_iothread(VirtioBalloon *s, GError **err)
{
    if (s->hints_free && !s->iothread_name)
        return err_set(err, EINVAL, "'free-page-hint' requires 'iothread' to be set");
    if (!s->iothread_name)
        return true;
    s->iothread = iothread_find(s->iothread_name);
    if (!s->iothread)
        return err_set(err, ENODEV, "Device '%s' not found", s->iothread_name);
    iothread_use(s->iothread);
    return true;
}

static bool balloon_realize(Device *d, GError **err)
{
    VirtioBalloon *s = (VirtioBalloon *)d;
    Board *b = d->board;

    if (b->balloon)
        return err_set(err, EBUSY, "Only one balloon device is supported");
    if (!use_iothread(s, err))
        return false;
    b->balloon = d;
    virtio_init(&s->virtio, &balloon_type, QUEUE_SIZE);
    s->virtio.queues += s->hints_free + s->reports_free;
    s->virtio.untouched = ~UINT64_C(0) << FIXED_QUEUES;
    s->timer = (GuestTimer){ .expired = ask, .opaque = s };
    s->pages = balloon_pages_new(b->memory, &(BalloonMemory){ b->ram, b->ram_size, b->ram_page_size,
                                                              b->ram_is_shared, b->ram_is_copy });
    balloon_stats_clear(&s->stats);
    hints_init(&s->hints, pages_of_guest(s));
    discard_hear(denial_changed, s);
    return true;
}

/* What the driver has kept for hints it may use again. */
static void balloon_resume(Device *d)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    if (s->has_come)
        virtio_config_changed(&s->virtio);
    s->has_come = false;
}

static CO void balloon_disconnect(Device *d)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    s->is_ending = true;
    discard_hear(NULL, NULL);
    co_group_wait(&s->catching_up);
}

static void balloon_unrealize(Device *d)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    if (d->board->balloon != d)
        return;
    guest_timer_cancel(&s->timer);
    balloon_pages_free(s->pages);
    hints_clear(&s->hints);
    if (s->iothread)
        iothread_drop(s->iothread);
    d->board->balloon = NULL;
}

const DeviceClass device_virtio_balloon = {
    .name = "virtio-balloon-device",
    .bus = "virtio-bus",
    .size = sizeof(VirtioBalloon),
    .is_stateless = true,
    .properties = balloon_properties,
    .attributes = balloon_attributes,
    .defaults = balloon_defaults,
    .realize = balloon_realize,
    .resume = balloon_resume,
    .disconnect = balloon_disconnect,
    .unrealize = balloon_unrealize,
};
