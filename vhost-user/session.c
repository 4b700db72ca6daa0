/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a client says: one message after the other, each with its own function, which checks all of
 * it. A client that says what it must not is told so if it has asked for that, else it is cut off.
 */
#include "block/driver.h"
#include "util/err.h"
#include "util/size.h"
#include "vhost-user/internal.h"
#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_PAGE = 4096, CONFIG_LIVE_MIGRATION = 1 };

#define F_INDIRECT (UINT64_C(1) << 28)
#define F_EVENT_INDEX (UINT64_C(1) << 29)
#define F_VERSION_1 (UINT64_C(1) << 32)

#define PROTOCOL (VHOST_P_MQ | VHOST_P_LOG_SHMFD | VHOST_P_REPLY_ACK | VHOST_P_CONFIG |            \
                  VHOST_P_MEM_SLOTS)

typedef struct {
    VhostHeader header;
    VhostPayload payload;     /* becomes that of the reply */
    uint32_t reply_size;      /* bytes; 0: there is no reply */
    int fd[CHANNEL_FDS_MAX];  /* those not taken are closed */
    unsigned fds;
} Message;

void vhost_session_warn(VhostSession *s, const char *message)
{
    if (!s->warned)
        block_warn("Export '%s' refused what its vhost-user client sent: %s", s->name, message);
    s->warned = true;
}

/* ---- the guest's memory ---------------------------------------------------------------------- */

static void *memory_range(void *opaque, uint64_t at, uint64_t len, bool write)
{
    return vhost_memory_range(((VhostSession *)opaque)->memory, at, len);
}

/* Sets a bit for each page, as a migration wants to know. */
static void memory_written(void *opaque, uint64_t at, uint64_t len)
{
    VhostSession *s = opaque;
    uint64_t page = at / LOG_PAGE, end;
    uint8_t *log;

    if (!s->log || !(s->features & VHOST_F_LOG_ALL) || !len)
        return;
    log = vhost_map_data(s->log);
    end = MIN((at + len - 1) / LOG_PAGE + 1, s->log_size * 8);
    while (page < end) {
        uint64_t bytes = page % 8 ? 0 : (end - page) / 8;

        if (bytes)
            memset(log + page / 8, 0xff, bytes);
        else
            __atomic_fetch_or(&log[page / 8], 1 << page % 8, __ATOMIC_RELAXED);
        page += bytes ? bytes * 8 : 1;
    }
}

static void set_memory(VhostSession *s, VhostMemory *m)
{
    vhost_memory_unref(s->memory);
    s->memory = m;
}

static CO bool set_mem_table(VhostSession *s, Message *m, GError **err)
{
    const VhostTable *t = &m->payload.table;
    VhostMemory *all;

    if (t->count > VHOST_TABLE_MAX || t->count != m->fds ||
        m->header.size < offsetof(VhostTable, region) + t->count * sizeof(t->region[0]))
        return err_set(err, EINVAL, "A table of %u regions came with %u descriptors in %u bytes",
                       t->count, m->fds, m->header.size);
    all = vhost_memory_new();
    for (unsigned i = 0; i < t->count; i++) {
        VhostMemory *more = vhost_memory_with(all, &t->region[i], m->fd[i], err);

        vhost_memory_unref(all);
        if (!more)
            return false;
        all = more;
    }
    set_memory(s, all);
    return true;
}

static CO bool get_max_mem_slots(VhostSession *s, Message *m, GError **err)
{
    m->payload.u64 = VHOST_REGIONS_MAX;
    m->reply_size = sizeof(uint64_t);
    return true;
}

static CO bool add_mem_reg(VhostSession *s, Message *m, GError **err)
{
    VhostMemory *more;

    if (m->fds != 1)
        return err_set(err, EINVAL, "A region came with %u descriptors", m->fds);
    more = vhost_memory_with(s->memory, &m->payload.slot.region, m->fd[0], err);
    if (more)
        set_memory(s, more);
    return more;
}

static CO bool rem_mem_reg(VhostSession *s, Message *m, GError **err)
{
    VhostMemory *less = vhost_memory_without(s->memory, &m->payload.slot.region, err);

    if (less)
        set_memory(s, less);
    return less;
}

static CO bool set_log_base(VhostSession *s, Message *m, GError **err)
{
    VhostLog log = m->payload.log;
    VhostMap *map;

    if (m->fds != 1)
        return err_set(err, EINVAL, "A log came with %u descriptors", m->fds);
    map = vhost_map(m->fd[0], log.offset, log.size, err);
    if (!map)
        return false;
    vhost_unmap(s->log);
    s->log = map;
    s->log_size = log.size;
    m->payload.u64 = 0;
    m->reply_size = sizeof(uint64_t);
    return true;
}

/* Nobody is woken when the log changes: whoever reads it does so at times of its own. */
static CO bool accept_silently(VhostSession *s, Message *m, GError **err)
{
    return true;
}

/* ---- features -------------------------------------------------------------------------------- */

static uint64_t offered(const VhostSession *s)
{
    return virtio_disk_features(s->disk) | F_INDIRECT | F_EVENT_INDEX | F_VERSION_1 |
           VHOST_F_LOG_ALL | VHOST_F_PROTOCOL_FEATURES;
}

static CO bool get_features(VhostSession *s, Message *m, GError **err)
{
    m->payload.u64 = offered(s);
    m->reply_size = sizeof(uint64_t);
    return true;
}

static CO bool set_features(VhostSession *s, Message *m, GError **err)
{
    uint64_t wrong = m->payload.u64 & ~offered(s);

    if (wrong)
        return err_set(err, EINVAL, "Features 0x%" PRIx64 " are not offered", wrong);
    s->features = m->payload.u64;
    for (unsigned i = 0; i < s->count; i++) {
        VhostQueue *q = &s->queues[i];

        q->ring.event_index = s->features & F_EVENT_INDEX;
        q->ring.indirect = s->features & F_INDIRECT;
        if (!(s->features & VHOST_F_PROTOCOL_FEATURES))
            vhost_queue_enable(q, true);
    }
    return true;
}

static CO bool get_protocol_features(VhostSession *s, Message *m, GError **err)
{
    m->payload.u64 = PROTOCOL;
    m->reply_size = sizeof(uint64_t);
    return true;
}

static CO bool set_protocol_features(VhostSession *s, Message *m, GError **err)
{
    if (m->payload.u64 & ~(uint64_t)PROTOCOL)
        return err_set(err, EINVAL, "Protocol features 0x%" PRIx64 " are not offered",
                       m->payload.u64 & ~(uint64_t)PROTOCOL);
    s->protocol = m->payload.u64;
    return true;
}

static CO bool get_queue_num(VhostSession *s, Message *m, GError **err)
{
    m->payload.u64 = s->count;
    m->reply_size = sizeof(uint64_t);
    return true;
}

/* ---- configuration --------------------------------------------------------------------------- */

static bool check_config(const VhostConfig *c, const Message *m, GError **err)
{
    return (c->size <= VHOST_CONFIG_MAX && c->offset <= VHOST_CONFIG_MAX - c->size &&
            m->header.size >= offsetof(VhostConfig, data) + c->size) ||
           err_set(err, EINVAL, "There are no %u bytes of configuration at %u", c->size, c->offset);
}

static CO bool get_config(VhostSession *s, Message *m, GError **err)
{
    VhostConfig *c = &m->payload.config;
    uint8_t all[VHOST_CONFIG_MAX] = { 0 };

    if (!check_config(c, m, err))
        return false;
    virtio_disk_take_size(s->disk);
    virtio_disk_config(s->disk, all);
    memcpy(c->data, all + c->offset, c->size);
    m->reply_size = offsetof(VhostConfig, data) + c->size;
    return true;
}

/* A driver may say whether writes are cached, and nothing else. */
static CO bool set_config(VhostSession *s, Message *m, GError **err)
{
    const VhostConfig *c = &m->payload.config;
    uint32_t within = VIRTIO_BLK_CONFIG_WRITEBACK - c->offset;
    bool has_writeback = check_config(c, m, NULL) && within < c->size;

    if (!has_writeback || (c->size != 1 && c->flags != CONFIG_LIVE_MIGRATION))
        return err_set(err, EINVAL, "Of the configuration only the byte at %d can be written",
                       VIRTIO_BLK_CONFIG_WRITEBACK);
    s->disk->writeback = c->data[within] & 1;
    return true;
}

/* ---- queues ---------------------------------------------------------------------------------- */

static VhostQueue *queue_at(VhostSession *s, uint32_t index, GError **err)
{
    if (index < s->count)
        return &s->queues[index];
    err_set(err, EINVAL, "There is no queue %u", index);
    return NULL;
}

static VhostQueue *resting_queue_at(VhostSession *s, uint32_t index, GError **err)
{
    VhostQueue *q = queue_at(s, index, err);

    if (!q || !q->ring.ready)
        return q;
    err_set(err, EBUSY, "Queue %u runs", index);
    return NULL;
}

static CO bool set_vring_num(VhostSession *s, Message *m, GError **err)
{
    VhostVringState state = m->payload.state;
    VhostQueue *q = resting_queue_at(s, state.index, err);

    if (!q)
        return false;
    if (!is_power_of_2(state.num) || state.num > RING_SIZE_MAX)
        return err_set(err, EINVAL, "A queue has a power of two, up to %d, of entries, not %u",
                       RING_SIZE_MAX, state.num);
    q->ring.size = state.num;
    return true;
}

static CO bool set_vring_base(VhostSession *s, Message *m, GError **err)
{
    VhostVringState state = m->payload.state;
    VhostQueue *q = resting_queue_at(s, state.index, err);

    if (!q)
        return false;
    if (state.num > UINT16_MAX)
        return err_set(err, EINVAL, "A queue cannot begin at %u", state.num);
    q->base = state.num;
    return true;
}

/* Comes again while the queue runs when a log begins or ends. */
static CO bool set_vring_addr(VhostSession *s, Message *m, GError **err)
{
    const VhostVringAddr *a = &m->payload.addr;
    VhostQueue *q = queue_at(s, a->index, err);
    uint64_t desc, avail, used;

    if (!q)
        return false;
    if (!vhost_memory_guest(s->memory, a->desc, &desc) ||
        !vhost_memory_guest(s->memory, a->avail, &avail) ||
        !vhost_memory_guest(s->memory, a->used, &used))
        return err_set(err, EFAULT, "Queue %u is not in the memory that is shared", a->index);
    if (q->ring.ready && (q->ring.desc != desc || q->ring.avail != avail || q->ring.used != used))
        return err_set(err, EBUSY, "Queue %u runs and cannot move", a->index);
    q->ring.desc = desc;
    q->ring.avail = avail;
    q->ring.used = used;
    return true;
}

static CO bool get_vring_base(VhostSession *s, Message *m, GError **err)
{
    VhostQueue *q = queue_at(s, m->payload.state.index, err);

    if (!q)
        return false;
    vhost_queue_stop(q);
    m->payload.state.num = q->base;
    m->reply_size = sizeof(VhostVringState);
    return true;
}

static CO bool set_vring_enable(VhostSession *s, Message *m, GError **err)
{
    VhostQueue *q = queue_at(s, m->payload.state.index, err);

    if (q)
        vhost_queue_enable(q, m->payload.state.num);
    return q;
}

/* Is it a timerfd, userfaultfd or the like, as far as /proc is there to tell? */
static bool is_other_kind(int fd)
{
    static const char eventfd[] = "anon_inode:[eventfd]";
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    char to[sizeof(eventfd)];
    ssize_t n = readlink(path, to, sizeof(to));

    return n >= 0 && (n != sizeof(eventfd) - 1 || memcmp(to, eventfd, n));
}

/*
 * The descriptor of @m, an eventfd, which becomes the caller's; *@fd is -1 if there is none.
 * Anything else could make us wait when we write to it.
 */
static bool take_eventfd(Message *m, int *fd, GError **err)
{
    bool none = m->payload.u64 & VHOST_NO_FD;
    struct stat st;

    *fd = -1;
    if (m->fds != (none ? 0 : 1))
        return err_set(err, EINVAL, "An event came with %u descriptors", m->fds);
    if (none)
        return true;
    if (fstat(m->fd[0], &st) < 0 || st.st_mode & S_IFMT || is_other_kind(m->fd[0]))
        return err_set(err, EINVAL, "The descriptor of a queue's events is not an eventfd");
    fcntl(m->fd[0], F_SETFL, fcntl(m->fd[0], F_GETFL) | O_NONBLOCK);
    *fd = m->fd[0];
    m->fds = 0;
    return true;
}

static CO bool set_vring_kick(VhostSession *s, Message *m, GError **err)
{
    uint32_t index = m->payload.u64 & VHOST_INDEX_MASK;
    VhostQueue *q = queue_at(s, index, err);
    int fd;

    if (!q || !take_eventfd(m, &fd, err))
        return false;
    if (fd < 0)
        return err_set(err, ENOTSUP, "Queue %u has no eventfd for kicks; queues are not polled",
                       index);
    return vhost_queue_start(q, fd, err);
}

static bool set_event(VhostSession *s, Message *m, size_t member, GError **err)
{
    VhostQueue *q = queue_at(s, m->payload.u64 & VHOST_INDEX_MASK, err);
    int fd, *to = (int *)((char *)q + member);

    if (!q || !take_eventfd(m, &fd, err))
        return false;
    if (*to >= 0)
        close(*to);
    *to = fd;
    return true;
}

static CO bool set_vring_call(VhostSession *s, Message *m, GError **err)
{
    return set_event(s, m, offsetof(VhostQueue, call), err);
}

static CO bool set_vring_err(VhostSession *s, Message *m, GError **err)
{
    return set_event(s, m, offsetof(VhostQueue, err), err);
}

static CO bool reset_owner(VhostSession *s, Message *m, GError **err)
{
    for (unsigned i = 0; i < s->count; i++)
        vhost_queue_enable(&s->queues[i], false);
    return true;
}

/* ---- messages -------------------------------------------------------------------------------- */

static const struct {
    uint32_t request;
    uint32_t size; /* bytes of the payload, at least */
    CO bool (*fn)(VhostSession *s, Message *m, GError **err);
} kinds[] = {
    { VHOST_GET_FEATURES, 0, get_features },
    { VHOST_SET_FEATURES, sizeof(uint64_t), set_features },
    { VHOST_SET_OWNER, 0, accept_silently },
    { VHOST_RESET_OWNER, 0, reset_owner },
    { VHOST_SET_MEM_TABLE, offsetof(VhostTable, region), set_mem_table },
    { VHOST_SET_LOG_BASE, sizeof(VhostLog), set_log_base },
    { VHOST_SET_LOG_FD, 0, accept_silently },
    { VHOST_SET_VRING_NUM, sizeof(VhostVringState), set_vring_num },
    { VHOST_SET_VRING_ADDR, sizeof(VhostVringAddr), set_vring_addr },
    { VHOST_SET_VRING_BASE, sizeof(VhostVringState), set_vring_base },
    { VHOST_GET_VRING_BASE, sizeof(VhostVringState), get_vring_base },
    { VHOST_SET_VRING_KICK, sizeof(uint64_t), set_vring_kick },
    { VHOST_SET_VRING_CALL, sizeof(uint64_t), set_vring_call },
    { VHOST_SET_VRING_ERR, sizeof(uint64_t), set_vring_err },
    { VHOST_GET_PROTOCOL_FEATURES, 0, get_protocol_features },
    { VHOST_SET_PROTOCOL_FEATURES, sizeof(uint64_t), set_protocol_features },
    { VHOST_GET_QUEUE_NUM, 0, get_queue_num },
    { VHOST_SET_VRING_ENABLE, sizeof(VhostVringState), set_vring_enable },
    { VHOST_GET_CONFIG, offsetof(VhostConfig, data), get_config },
    { VHOST_SET_CONFIG, offsetof(VhostConfig, data), set_config },
    { VHOST_GET_MAX_MEM_SLOTS, 0, get_max_mem_slots },
    { VHOST_ADD_MEM_REG, sizeof(VhostSlot), add_mem_reg },
    { VHOST_REM_MEM_REG, sizeof(VhostSlot), rem_mem_reg },
};

static CO bool dispatch(VhostSession *s, Message *m, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (kinds[i].request != m->header.request)
            continue;
        if (m->header.size < kinds[i].size)
            return err_set(err, EINVAL, "Message %u has %u bytes instead of %u", m->header.request,
                           m->header.size, kinds[i].size);
        return kinds[i].fn(s, m, err);
    }
    return err_set(err, ENOTSUP, "Message %u is not known", m->header.request);
}

/* False: there is none, or it cannot be made out where the next one begins. */
static CO bool receive(VhostSession *s, Message *m, GError **err)
{
    memset(&m->payload, 0, sizeof(m->payload));
    m->reply_size = m->fds = 0;
    if (channel_read_all(s->channel, &m->header, sizeof(m->header)) < 0)
        return false;
    if ((m->header.flags & VHOST_VERSION_MASK) != VHOST_VERSION ||
        m->header.size > sizeof(m->payload))
        return err_set(err, EPROTO, "A message of version %u has %u bytes",
                       m->header.flags & VHOST_VERSION_MASK, m->header.size);
    if (channel_read_all(s->channel, &m->payload, m->header.size) < 0)
        return false;
    while ((m->fd[m->fds] = channel_take_fd(s->channel)) >= 0)
        if (++m->fds == CHANNEL_FDS_MAX)
            break;
    return true;
}

static CO bool reply(VhostSession *s, Message *m)
{
    m->header.flags = VHOST_VERSION | VHOST_REPLY;
    m->header.size = m->reply_size;
    return channel_writev_all(s->channel, (struct iovec[]){ { &m->header, sizeof(m->header) },
                              { &m->payload, m->reply_size } }, 2) >= 0;
}

/* One message. False: it was the last. */
static CO bool serve(VhostSession *s)
{
    g_autoptr(GError) err = NULL;
    Message m;
    bool ok, wants_result;

    if (!receive(s, &m, &err)) {
        if (err)
            vhost_session_warn(s, err->message);
        return false;
    }
    ok = dispatch(s, &m, &err);
    for (unsigned i = 0; i < m.fds; i++)
        close(m.fd[i]);
    if (!ok)
        vhost_session_warn(s, err->message);
    wants_result = m.header.flags & VHOST_NEED_REPLY && s->protocol & VHOST_P_REPLY_ACK;
    if (!m.reply_size && wants_result) {
        m.payload.u64 = !ok;
        m.reply_size = sizeof(uint64_t);
    } else if (!ok) {
        return false;
    }
    return !m.reply_size || reply(s, &m);
}

CO void vhost_session_run(VirtioDisk *disk, const char *name, Channel *channel)
{
    g_autofree VhostQueue *queues = g_new(VhostQueue, disk->queues);
    VhostSession s = {
        .channel = channel,
        .disk = disk,
        .name = name,
        .memory = vhost_memory_new(),
        .ring_memory = { .range = memory_range, .written = memory_written, .opaque = &s },
        .queues = queues,
        .count = disk->queues,
    };

    channel_accept_fds(channel);
    for (unsigned i = 0; i < s.count; i++)
        vhost_queue_init(&queues[i], &s);
    while (serve(&s))
        co_yield(); /* there may be messages always, and others have to run */
    for (unsigned i = 0; i < s.count; i++)
        vhost_queue_end(&queues[i]);
    vhost_unmap(s.log);
    vhost_memory_unref(s.memory);
}
