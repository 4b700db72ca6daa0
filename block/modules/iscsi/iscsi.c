/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logical units of iSCSI targets. docs/spec/iscsi.md says which commands are used for what.
 *
 * libiscsi tells which events it waits for on which socket, which changes when it connects anew; it
 * also wants to be called once a second. A PollSet does both.
 */
#include "block/iscsi.h"
#include "io/poll-set.h"
#include "util/err.h"
#include "util/module.h"
#include <errno.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <string.h>

enum {
    CONNECT_S = 30,           /* to log in and to look */
    RECONNECTS = 6,           /* in a row */
    RETRIES = 8,              /* of a command that the target is too busy for */
    RETRY_NS = 50 * 1000 * 1000,
    REPLY_MAX = 255,
    STATUS_REPLY = 8 + 16 * 64,
};
#define TICK_NS INT64_C(1000000000)

struct IscsiLun {
    struct iscsi_context *ctx;
    PollSet *set;
    int fd;                   /* that is watched; -1: none */
    int number;               /* of the unit */
    uint32_t block_len;
    int broken;               /* negative errno that all calls end with */
    int64_t deadline_ns;      /* of opening; 0: it is done */
    GPtrArray *calls;         /* under way */
    GPtrArray *abandoned;     /* that nobody waits for, and libiscsi may still call back */
};

/* A command, or the login. Freed by who is later: libiscsi, calling back, or whoever waits. */
typedef struct {
    IscsiLun *lun;
    struct scsi_task *task;
    bool done;
    bool called_back, abandoned;
    int status;
} Call;

/* ---- waiting --------------------------------------------------------------------------------- */

static void lun_break(IscsiLun *l, int error)
{
    l->broken = l->broken ? l->broken : error;
    for (guint i = 0; i < l->calls->len; i++)
        ((Call *)l->calls->pdata[i])->done = true;
    poll_set_changed(l->set);
}

/* What libiscsi waits for now. */
static void lun_watch(IscsiLun *l)
{
    int fd = iscsi_get_fd(l->ctx), events = iscsi_which_events(l->ctx), r = 0;

    if (fd != l->fd && l->fd >= 0)
        poll_set_watch(l->set, l->fd, 0);
    if (fd >= 0)
        r = poll_set_watch(l->set, fd, events & (POLLIN | POLLOUT));
    l->fd = fd;
    if (r < 0)
        lun_break(l, r);
    poll_set_alarm(l->set, clock_now_ns() + TICK_NS);
}

static void on_ready(void *opaque, int fd, unsigned events)
{
    IscsiLun *l = opaque;

    if (l->broken)
        return;
    if (l->deadline_ns && clock_now_ns() > l->deadline_ns)
        lun_break(l, -ETIMEDOUT);
    else if (iscsi_service(l->ctx, fd < 0 ? 0 : (int)events) < 0)
        lun_break(l, -EIO);
    else
        lun_watch(l);
}

static void on_done(struct iscsi_context *ctx, int status, void *data, void *opaque)
{
    Call *c = opaque;

    if (c->abandoned) {
        g_ptr_array_remove_fast(c->lun->abandoned, c);
        g_free(c);
        return;
    }
    c->status = status;
    c->done = c->called_back = true;
    poll_set_changed(c->lun->set);
}

static Call *call_new(IscsiLun *l)
{
    Call *c = g_new0(Call, 1);

    c->lun = l;
    return c;
}

static void call_free(Call *c)
{
    if (c->task && !c->called_back)
        iscsi_scsi_cancel_task(c->lun->ctx, c->task);
    if (c->task)
        scsi_free_scsi_task(c->task);
    if (c->called_back) {
        g_free(c);
    } else {
        c->abandoned = true;
        g_ptr_array_add(c->lun->abandoned, c);
    }
}

/* The end of @c, which libiscsi has taken. 0: it has a status. */
static CO int call_wait(Call *c)
{
    IscsiLun *l = c->lun;
    int r;

    g_ptr_array_add(l->calls, c);
    lun_watch(l);
    r = poll_set_wait(l->set, &c->done);
    if (r < 0)
        lun_break(l, r);
    g_ptr_array_remove_fast(l->calls, c);
    return l->broken;
}

/* ---- commands -------------------------------------------------------------------------------- */

static int sense_errno(const struct scsi_sense *s)
{
    switch (s->key) {
    case SCSI_SENSE_ILLEGAL_REQUEST:
        return s->ascq == SCSI_SENSE_ASCQ_INVALID_OPERATION_CODE ||
               s->ascq == SCSI_SENSE_ASCQ_INVALID_FIELD_IN_CDB ? -ENOTSUP : -EINVAL;
    case SCSI_SENSE_DATA_PROTECTION: /* 27h, 07h: space allocation failed */
        return s->ascq == 0x2707 ? -ENOSPC : -EACCES;
    case SCSI_SENSE_NOT_READY:
        return -EBUSY;
    default:
        return -EIO;
    }
}

static bool is_passing(const Call *c)
{
    return c->status == SCSI_STATUS_BUSY || c->status == SCSI_STATUS_TASK_SET_FULL ||
           (c->status == SCSI_STATUS_CHECK_CONDITION &&
            c->task->sense.key == SCSI_SENSE_UNIT_ATTENTION);
}

static int call_errno(const Call *c)
{
    switch (c->status) {
    case SCSI_STATUS_GOOD:
        return 0;
    case SCSI_STATUS_CHECK_CONDITION:
        return sense_errno(&c->task->sense);
    case SCSI_STATUS_TIMEOUT:
        return -ETIMEDOUT;
    case SCSI_STATUS_RESERVATION_CONFLICT:
        return -EBUSY;
    default:
        return -EIO;
    }
}

/* Makes the command anew for each try. */
typedef struct scsi_task *MakeTask(IscsiLun *l, void *arg, Call *c);

/* Runs a command until the target takes it. *@task, unless NULL, is the caller's to free. */
static CO int command(IscsiLun *l, MakeTask *make, void *arg, struct scsi_task **task)
{
    int r = -EIO;

    for (int tries = 0; tries <= RETRIES; tries++) {
        Call *c;
        bool again;

        if (l->broken)
            return l->broken;
        c = call_new(l);
        c->task = make(l, arg, c);
        if (!c->task) {
            g_free(c);
            return -ENOMEM;
        }
        r = call_wait(c);
        if (r == 0)
            r = call_errno(c);
        again = r < 0 && !l->broken && is_passing(c);
        if (task && r == 0)
            *task = g_steal_pointer(&c->task);
        call_free(c);
        if (!again)
            return r;
        co_sleep(RETRY_NS << MIN(tries, 4));
    }
    return r;
}

typedef struct {
    uint64_t off, len;
    struct scsi_iovec *iov;
    int niov;
    bool flag;                /* FUA; UNMAP of WRITE SAME; a page of INQUIRY is meant */
    int page;
} Args;

/* The vectors of @buf. Caller frees. */
static struct scsi_iovec *vectors_of(Span buf, int *n)
{
    GArray *a = g_array_new(false, false, sizeof(struct scsi_iovec));

    _Static_assert(sizeof(struct scsi_iovec) == sizeof(struct iovec), "the same by another name");
    while (buf.len) {
        size_t len;
        struct iovec v = { .iov_base = span_head(buf, &len) };

        v.iov_len = len;
        g_array_append_vals(a, &v, 1);
        buf = span_slice(buf, len, buf.len - len);
    }
    *n = a->len;
    return (struct scsi_iovec *)g_array_free(a, false);
}

static struct scsi_task *make_read(IscsiLun *l, void *arg, Call *c)
{
    Args *a = arg;

    return iscsi_read16_iov_task(l->ctx, l->number, a->off / l->block_len, a->len, l->block_len, 0,
                                 0, 0, 0, 0, on_done, c, a->iov, a->niov);
}

static struct scsi_task *make_write(IscsiLun *l, void *arg, Call *c)
{
    Args *a = arg;

    return iscsi_write16_iov_task(l->ctx, l->number, a->off / l->block_len, NULL, a->len,
                                  l->block_len, 0, 0, a->flag, 0, 0, on_done, c, a->iov, a->niov);
}

static CO int lun_transfer(IscsiLun *l, MakeTask *make, uint64_t off, Span buf, bool fua)
{
    Args a = { .off = off, .len = buf.len, .flag = fua };
    g_autofree struct scsi_iovec *iov = vectors_of(buf, &a.niov);
    struct scsi_task *task = NULL;
    int r;

    a.iov = iov;
    r = command(l, make, &a, &task);
    if (r < 0)
        return r;
    /* What the target did not send would be whatever was in memory. */
    if (task->residual_status == SCSI_RESIDUAL_UNDERFLOW && task->residual)
        r = -EIO;
    scsi_free_scsi_task(task);
    return r;
}

static CO int lun_read(IscsiLun *l, uint64_t off, Span buf)
{
    return lun_transfer(l, make_read, off, buf, false);
}

static CO int lun_write(IscsiLun *l, uint64_t off, Span buf, bool fua)
{
    return lun_transfer(l, make_write, off, buf, fua);
}

static struct scsi_task *make_same(IscsiLun *l, void *arg, Call *c)
{
    static unsigned char zeroes[64 << 10];
    Args *a = arg;

    return iscsi_writesame16_task(l->ctx, l->number, a->off / l->block_len, zeroes, l->block_len,
                                  a->len / l->block_len, 0, a->flag, 0, 0, on_done, c);
}

static CO int lun_zero(IscsiLun *l, uint64_t off, uint64_t len, bool may_unmap)
{
    Args a = { .off = off, .len = len, .flag = may_unmap };

    return command(l, make_same, &a, NULL);
}

static struct scsi_task *make_unmap(IscsiLun *l, void *arg, Call *c)
{
    Args *a = arg;
    struct unmap_list list = { .lba = a->off / l->block_len, .num = a->len / l->block_len };

    return iscsi_unmap_task(l->ctx, l->number, 0, 0, &list, 1, on_done, c);
}

static CO int lun_unmap(IscsiLun *l, uint64_t off, uint64_t len)
{
    Args a = { .off = off, .len = len };

    return command(l, make_unmap, &a, NULL);
}

static struct scsi_task *make_sync(IscsiLun *l, void *arg, Call *c)
{
    return iscsi_synchronizecache10_task(l->ctx, l->number, 0, 0, 0, 0, on_done, c);
}

static CO int lun_sync(IscsiLun *l)
{
    return command(l, make_sync, NULL, NULL);
}

static struct scsi_task *make_status(IscsiLun *l, void *arg, Call *c)
{
    Args *a = arg;

    return iscsi_get_lba_status_task(l->ctx, l->number, a->off / l->block_len, STATUS_REPLY,
                                     on_done, c);
}

static CO int lun_status(IscsiLun *l, uint64_t off, uint64_t *len, bool *mapped)
{
    Args a = { .off = off };
    struct scsi_get_lba_status *s;
    struct scsi_task *task = NULL;
    int r = command(l, make_status, &a, &task);

    if (r < 0)
        return r;
    s = scsi_datain_unmarshall(task);
    if (!s || !s->num_descriptors || !s->descriptors[0].num_blocks ||
        s->descriptors[0].lba != off / l->block_len) {
        r = -EIO;
    } else {
        *len = (uint64_t)s->descriptors[0].num_blocks * l->block_len;
        *mapped = s->descriptors[0].provisioning == SCSI_PROVISIONING_TYPE_MAPPED;
    }
    scsi_free_scsi_task(task);
    return r;
}

/* ---- looking at the unit --------------------------------------------------------------------- */

static struct scsi_task *make_capacity(IscsiLun *l, void *arg, Call *c)
{
    return iscsi_readcapacity16_task(l->ctx, l->number, on_done, c);
}

static struct scsi_task *make_inquiry(IscsiLun *l, void *arg, Call *c)
{
    Args *a = arg;

    return iscsi_inquiry_task(l->ctx, l->number, a->flag, a->page, REPLY_MAX, on_done, c);
}

static struct scsi_task *make_mode(IscsiLun *l, void *arg, Call *c)
{
    return iscsi_modesense6_task(l->ctx, l->number, 1, SCSI_MODESENSE_PC_CURRENT,
                                 SCSI_MODEPAGE_RETURN_ALL_PAGES, 0, REPLY_MAX, on_done, c);
}

/* The answer to a command, @reply in @task; NULL: there is none that makes sense. */
static CO void *ask(IscsiLun *l, MakeTask *make, Args *a, struct scsi_task **task)
{
    *task = NULL;
    return command(l, make, a, task) == 0 ? scsi_datain_unmarshall(*task) : NULL;
}

static CO bool look_at_kind(IscsiLun *l, GError **err)
{
    Args a = { 0 };
    struct scsi_task *task;
    struct scsi_inquiry_standard *s = ask(l, make_inquiry, &a, &task);
    int kind = s ? (int)s->device_type : -1;

    if (task)
        scsi_free_scsi_task(task);
    return kind == SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_DIRECT_ACCESS ||
           err_set(err, ENOTSUP, "unit %d is not a disk", l->number);
}

static CO bool look_at_size(IscsiLun *l, IscsiFound *f, GError **err)
{
    struct scsi_task *task;
    struct scsi_readcapacity16 *s = ask(l, make_capacity, NULL, &task);
    bool ok = s && s->block_length >= 512 && s->block_length <= 64 << 10 &&
              !(s->block_length & (s->block_length - 1)) &&
              s->returned_lba < INT64_MAX / s->block_length - 1;

    if (ok) {
        f->block_len = l->block_len = s->block_length;
        f->size = (s->returned_lba + 1) * s->block_length;
        f->is_thin = s->lbpme;
        f->unmap_zeroes = s->lbprz;
    }
    if (task)
        scsi_free_scsi_task(task);
    return ok || err_set(err, EIO, "unit %d does not tell a size that makes sense", l->number);
}

static CO void look_at_limits(IscsiLun *l, IscsiFound *f)
{
    Args a = { .flag = true, .page = SCSI_INQUIRY_PAGECODE_BLOCK_LIMITS };
    struct scsi_task *task;
    struct scsi_inquiry_block_limits *s = ask(l, make_inquiry, &a, &task);

    if (s) {
        f->max_transfer = (uint64_t)s->max_xfer_len * l->block_len;
        f->opt_transfer = (uint64_t)s->opt_xfer_len * l->block_len;
        f->max_unmap = (uint64_t)s->max_unmap * l->block_len;
        f->unmap_align = (uint64_t)s->opt_unmap_gran * l->block_len;
        f->max_same = MIN(s->max_ws_len, UINT32_MAX) * l->block_len;
    }
    if (task)
        scsi_free_scsi_task(task);
}

static CO void look_at_provisioning(IscsiLun *l, IscsiFound *f)
{
    Args a = { .flag = true, .page = SCSI_INQUIRY_PAGECODE_LOGICAL_BLOCK_PROVISIONING };
    struct scsi_task *task;
    struct scsi_inquiry_logical_block_provisioning *s = ask(l, make_inquiry, &a, &task);

    if (s) {
        f->has_unmap = s->lbpu;
        f->same_unmaps = s->lbpws;
    }
    if (task)
        scsi_free_scsi_task(task);
}

static CO void look_at_protection(IscsiLun *l, IscsiFound *f)
{
    struct scsi_task *task;
    struct scsi_mode_sense *s = ask(l, make_mode, NULL, &task);

    f->is_read_only = s && s->device_specific_parameter & 0x80;
    if (task)
        scsi_free_scsi_task(task);
}

static CO bool lun_look(IscsiLun *l, IscsiFound *f, GError **err)
{
    *f = (IscsiFound){ 0 };
    if (!look_at_kind(l, err) || !look_at_size(l, f, err))
        return false;
    look_at_limits(l, f);
    if (f->is_thin)
        look_at_provisioning(l, f);
    look_at_protection(l, f);
    f->has_same = true;
    return !l->broken || err_set_errno(err, l->broken, "unit %d", l->number);
}

/* ---- the session ----------------------------------------------------------------------------- */

/* With libiscsi's words, some of which end in a line's end, or in how C writes one. */
static bool lun_fail(IscsiLun *l, int code, GError **err)
{
    g_autofree char *text = g_strstrip(g_strdup(iscsi_get_error(l->ctx)));

    if (g_str_has_suffix(text, "\\n"))
        text[strlen(text) - 2] = '\0';
    return err_set(err, code, "%s", text);
}

static void context_set_digest(struct iscsi_context *ctx, const char *name)
{
    static const struct {
        const char *name;
        enum iscsi_header_digest digest;
    } digests[] = {
        { "none", ISCSI_HEADER_DIGEST_NONE },
        { "none-crc32c", ISCSI_HEADER_DIGEST_NONE_CRC32C },
        { "crc32c-none", ISCSI_HEADER_DIGEST_CRC32C_NONE },
        { "crc32c", ISCSI_HEADER_DIGEST_CRC32C },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(digests); i++)
        if (name && !strcmp(digests[i].name, name))
            iscsi_set_header_digest(ctx, digests[i].digest);
}

static CO bool lun_log_in(IscsiLun *l, const IscsiConfig *c, GError **err)
{
    Call *call = call_new(l);
    int r = iscsi_full_connect_async(l->ctx, c->portal, l->number, on_done, call);
    bool ok;

    if (r == 0)
        r = call_wait(call);
    ok = r == 0 && call->status == SCSI_STATUS_GOOD;
    call_free(call);
    if (r == -ETIMEDOUT)
        return err_set_errno(err, r, "it does not answer");
    return ok || lun_fail(l, EIO, err);
}

static CO bool lun_start(IscsiLun *l, const IscsiConfig *c, IscsiFound *found, GError **err)
{
    l->set = poll_set_new(on_ready, l, err);
    if (!l->set)
        return false;
    l->ctx = iscsi_create_context(c->initiator);
    if (!l->ctx)
        return err_set(err, ENOMEM, "no session for initiator '%s'", c->initiator);
    if (iscsi_set_targetname(l->ctx, c->target) < 0 ||
        (c->user && iscsi_set_initiator_username_pwd(l->ctx, c->user, c->password) < 0))
        return lun_fail(l, EINVAL, err);
    iscsi_set_session_type(l->ctx, ISCSI_SESSION_NORMAL);
    iscsi_set_timeout(l->ctx, c->timeout_s);
    iscsi_set_reconnect_max_retries(l->ctx, RECONNECTS);
    context_set_digest(l->ctx, c->header_digest);
    return lun_log_in(l, c, err) && lun_look(l, found, err);
}

static CO void lun_close(IscsiLun *l)
{
    if (l->ctx && !l->broken && iscsi_is_logged_in(l->ctx)) {
        Call *c = call_new(l);

        l->deadline_ns = clock_now_ns() + TICK_NS;
        if (iscsi_logout_async(l->ctx, on_done, c) == 0)
            call_wait(c);
        call_free(c);
    }
    if (l->ctx)
        iscsi_destroy_context(l->ctx);
    /* A login that fails halfway is not called back at all. */
    g_ptr_array_set_free_func(l->abandoned, g_free);
    g_ptr_array_free(l->abandoned, true);
    poll_set_free(l->set);
    g_ptr_array_free(l->calls, true);
    g_free(l);
}

static CO IscsiLun *lun_open(const IscsiConfig *config, IscsiFound *found, GError **err)
{
    IscsiLun *l = g_new0(IscsiLun, 1);

    l->fd = -1;
    l->number = config->lun;
    l->calls = g_ptr_array_new();
    l->abandoned = g_ptr_array_new();
    l->deadline_ns = clock_now_ns() + CONNECT_S * TICK_NS;
    if (lun_start(l, config, found, err)) {
        l->deadline_ns = 0;
        return l;
    }
    lun_close(l);
    return NULL;
}

MODULE_EXPORT const IscsiModule ferry_module_iscsi = {
    .open = lun_open,
    .read = lun_read,
    .write = lun_write,
    .zero = lun_zero,
    .unmap = lun_unmap,
    .sync = lun_sync,
    .status = lun_status,
    .close = lun_close,
};
