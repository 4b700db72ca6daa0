/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of a file by HTTP and FTP. docs/spec/http.md says what is asked and what counts as an
 * answer.
 *
 * libcurl's multi interface tells which sockets it waits for; a PollSet waits for them. A transfer
 * is one request with all its redirects.
 */
#include "block/curl.h"
#include "io/co-lock.h"
#include "io/poll-set.h"
#include "util/err.h"
#include "util/module.h"
#include "util/size.h"
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
    REDIRECTS = 10,
    RETRIES = 2,                 /* of a read whose connection broke */
    RATE_MIN = 1024,             /* bytes per second; a slower server counts as stalled */
    FTP_LOOK_MS = 50,            /* how often transfers by FTP are looked at */
    RATE_WHOLE = 16 << 10,       /* the same of a whole transfer, its timeout aside */
    TAG_MAX = 256,
};

struct CurlFile {
    CURLM *multi;
    PollSet *set;
    CoSemaphore free;
    GPtrArray *handles;          /* idle CURL * */
    GPtrArray *active;           /* Transfer * */
    bool cancelled;
    bool is_http;
    CurlConfig config;           /* texts are ours */
    char *url;                   /* where redirects led */
    struct curl_slist *headers;  /* of each request, beside those of libcurl */
    uint64_t size;
};

/* What the headers of an answer say. */
typedef struct {
    bool has_range;              /* Content-Range */
    bool has_bytes;              /* it tells which bytes these are, not only the size */
    bool has_total;
    bool is_encoded;             /* Content-Encoding other than identity */
    uint64_t first, last, total;
    char tag[TAG_MAX];           /* strong ETag; empty: none */
} Answer;

typedef struct {
    CurlFile *file;
    CURL *easy;
    uint64_t off;
    Span to;                     /* its length is what was asked for */
    size_t got;
    bool is_opening;
    bool done;
    Answer answer;
    CURLcode result;
    const char *why;             /* what is wrong with the answer, NULL: what libcurl says */
    char text[CURL_ERROR_SIZE];
} Transfer;

/* ---- headers --------------------------------------------------------------------------------- */

/* The value of header @name if @line is that one. Caller frees. */
static char *header_value(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    if (len <= n || line[n] != ':' || g_ascii_strncasecmp(line, name, n))
        return NULL;
    return g_strstrip(g_strndup(line + n + 1, len - n - 1));
}

/* A number that ends at @end; moves *@text past it. */
static bool number_take(const char **text, char end, uint64_t *value)
{
    char *after;

    if (!g_ascii_isdigit(**text))
        return false;
    errno = 0;
    *value = g_ascii_strtoull(*text, &after, 10);
    if (errno || *after != end || *value > INT64_MAX)
        return false;
    *text = after + (end != 0);
    return true;
}

/* RFC 9110, 14.4: "bytes FIRST-LAST/TOTAL", an unknown total as "*", or "bytes * /TOTAL". */
static void content_range_take(Answer *a, const char *text)
{
    a->has_range = true;
    if (g_ascii_strncasecmp(text, "bytes ", 6))
        return;
    text += 6;
    if (g_str_has_prefix(text, "*/")) {
        text += 2;
    } else {
        if (!number_take(&text, '-', &a->first) || !number_take(&text, '/', &a->last) ||
            a->last < a->first)
            return;
        a->has_bytes = true;
    }
    a->has_total = number_take(&text, 0, &a->total);
}

static size_t on_header(char *line, size_t one, size_t len, void *opaque)
{
    Transfer *t = opaque;
    g_autofree char *range = header_value(line, len, "Content-Range");
    g_autofree char *coding = header_value(line, len, "Content-Encoding");
    g_autofree char *tag = header_value(line, len, "ETag");

    if (len > 5 && !memcmp(line, "HTTP/", 5)) /* after a redirect */
        t->answer = (Answer){ 0 };
    if (range)
        content_range_take(&t->answer, range);
    if (coding && g_ascii_strcasecmp(coding, "identity"))
        t->answer.is_encoded = true;
    /* Weak ones ("W/...") do not promise the same bytes. */
    if (tag && *tag == '"' && strlen(tag) < TAG_MAX)
        strcpy(t->answer.tag, tag);
    return len;
}

/* ---- the body -------------------------------------------------------------------------------- */

/* What is wrong with the answer whose body begins; NULL: nothing. */
static const char *answer_problem(Transfer *t)
{
    const Answer *a = &t->answer;
    long status = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 206)
        return t->is_opening
                   ? "the server does not serve parts of files (byte ranges)"
                   : "the server sends the whole file: it has changed, or ranges are not served";
    if (a->is_encoded)
        return "the server sends an encoded copy";
    if (!a->has_bytes || !a->has_total)
        return "the server does not tell which part of how much it sends";
    if (a->first != t->off || a->last >= a->total || a->last - a->first >= t->to.len)
        return "the server sends another part than was asked for";
    if (!t->is_opening && a->total != t->file->size)
        return "the file has changed on the server";
    return NULL;
}

static size_t on_body(char *data, size_t one, size_t len, void *opaque)
{
    Transfer *t = opaque;

    if (!t->got && t->file->is_http)
        t->why = answer_problem(t);
    if (!t->why && len > t->to.len - t->got)
        t->why = "the server sends too much";
    if (t->why)
        return CURL_WRITEFUNC_ERROR;
    span_write(span_slice(t->to, t->got, len), data);
    t->got += len;
    return len;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void transfers_ended(CurlFile *f)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(f->multi, &left))) {
        Transfer *t = NULL;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        t->result = m->data.result;
        t->done = true;
        poll_set_changed(f->set);
    }
}

/*
 * libcurl 7.88 leaves a transfer by FTP without a socket and without an alarm if the answer to EPSV
 * is there at once. Only a look at all transfers, again and again, goes on with it.
 */
static void look_at_all(CurlFile *f)
{
    int running;

    poll_set_alarm(f->set, clock_now_ns() + FTP_LOOK_MS * INT64_C(1000000));
    G_GNUC_BEGIN_IGNORE_DEPRECATIONS
    curl_multi_socket_all(f->multi, &running);
    G_GNUC_END_IGNORE_DEPRECATIONS
}

static void on_ready(void *opaque, int fd, unsigned events)
{
    CurlFile *f = opaque;
    int mask = (events & POLLIN ? CURL_CSELECT_IN : 0) | (events & POLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & (POLLERR | POLLHUP) ? CURL_CSELECT_ERR : 0), running;

    if (fd < 0 && !f->is_http)
        look_at_all(f);
    curl_multi_socket_action(f->multi, fd < 0 ? CURL_SOCKET_TIMEOUT : fd, mask, &running);
    transfers_ended(f);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *opaque, void *socket_opaque)
{
    CurlFile *f = opaque;
    unsigned events = (what == CURL_POLL_IN || what == CURL_POLL_INOUT ? POLLIN : 0) |
                      (what == CURL_POLL_OUT || what == CURL_POLL_INOUT ? POLLOUT : 0);

    return poll_set_watch(f->set, fd, events) == 0 ? 0 : -1;
}

static int on_alarm(CURLM *multi, long ms, void *opaque)
{
    CurlFile *f = opaque;

    if (!f->is_http)
        ms = ms < 0 ? FTP_LOOK_MS : MIN(ms, FTP_LOOK_MS);
    poll_set_alarm(f->set, ms < 0 ? 0 : clock_now_ns() + ms * INT64_C(1000000));
    return 0;
}

/* ---- transfers ------------------------------------------------------------------------------- */

static void easy_set_limits(Transfer *t)
{
    const CurlConfig *c = &t->file->config;
    long whole = c->timeout_s ? c->timeout_s * 1000L + (long)(t->to.len * 1000 / RATE_WHOLE) : 0;

    curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT, (long)c->timeout_s);
    curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, whole);
    curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_LIMIT, c->timeout_s ? (long)RATE_MIN : 0L);
    curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_TIME, (long)c->timeout_s);
}

static void easy_set_who(CURL *easy, const CurlConfig *c)
{
    curl_easy_setopt(easy, CURLOPT_USERNAME, c->user);
    curl_easy_setopt(easy, CURLOPT_PASSWORD, c->password);
    curl_easy_setopt(easy, CURLOPT_PROXYUSERNAME, c->proxy_user);
    curl_easy_setopt(easy, CURLOPT_PROXYPASSWORD, c->proxy_password);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, (long)c->verify);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, c->verify ? 2L : 0L);
}

/* What all transfers of @f have in common. */
static CURL *easy_new(CurlFile *f)
{
    CURL *easy = curl_easy_init();

    if (!easy)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, f->is_http ? "http,https" : "ftp,ftps");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS);
    curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "ferry/" FERRY_VERSION);
    easy_set_who(easy, &f->config);
    return easy;
}

/* Is there to be no body? */
static bool is_size_only(const Transfer *t)
{
    return t->is_opening && (!t->file->is_http || t->file->config.force_range);
}

static void easy_prepare(Transfer *t)
{
    uint64_t last = t->off + t->to.len - 1;
    g_autofree char *range = g_strdup_printf("%" PRIu64 "-%" PRIu64, t->off, last);
    bool size_only = is_size_only(t);

    curl_easy_setopt(t->easy, CURLOPT_URL, t->file->url);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->text);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->file->headers);
    curl_easy_setopt(t->easy, CURLOPT_NOBODY, (long)size_only);
    curl_easy_setopt(t->easy, CURLOPT_RANGE, size_only ? NULL : range);
    easy_set_limits(t);
}

static CURL *easy_take(CurlFile *f)
{
    if (f->handles->len)
        return g_ptr_array_steal_index_fast(f->handles, f->handles->len - 1);
    return easy_new(f);
}

/* Runs @t, which has a handle. What became of it is in its members. */
static CO int transfer_wait(Transfer *t)
{
    CurlFile *f = t->file;
    int running, r;

    easy_prepare(t);
    if (curl_multi_add_handle(f->multi, t->easy) != CURLM_OK)
        return -ENOMEM;
    g_ptr_array_add(f->active, t);
    curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    transfers_ended(f);
    r = poll_set_wait(f->set, &t->done);
    g_ptr_array_remove_fast(f->active, t);
    curl_multi_remove_handle(f->multi, t->easy);
    return r;
}

/* Runs @t; 0 if libcurl and the answer's checks are content. */
static CO int transfer_run(Transfer *t)
{
    CurlFile *f = t->file;
    int r = -ENOMEM;

    co_semaphore_take(&f->free);
    t->easy = f->cancelled ? NULL : easy_take(f);
    if (t->easy)
        r = transfer_wait(t);
    co_semaphore_give(&f->free);
    if (f->cancelled)
        r = -ECANCELED;
    if (r < 0 || t->result == CURLE_OK)
        return r;
    return t->result == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO;
}

static void transfer_end(Transfer *t)
{
    if (t->easy)
        g_ptr_array_add(t->file->handles, t->easy);
    t->easy = NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Did the connection break, so that a new one may do better? */
static bool is_worth_a_retry(CURLcode result)
{
    return result == CURLE_PARTIAL_FILE || result == CURLE_RECV_ERROR ||
           result == CURLE_SEND_ERROR || result == CURLE_GOT_NOTHING ||
           result == CURLE_HTTP2_STREAM || result == CURLE_HTTP2;
}

static CO int read_once(CurlFile *f, uint64_t off, Span buf, size_t *got, CURLcode *result)
{
    Transfer t = { .file = f, .off = off, .to = buf };
    int r = transfer_run(&t);

    /* A server may send less than it was asked for, and say so. */
    *got = t.why ? 0 : t.got;
    *result = r == 0 && t.got < buf.len ? CURLE_PARTIAL_FILE : t.result;
    transfer_end(&t);
    return r;
}

static CO int file_read(CurlFile *f, uint64_t off, Span buf)
{
    bool moved = strcmp(f->url, f->config.url);
    CURLcode result = CURLE_OK;
    size_t got;
    int r = 0;

    for (unsigned tries = 0; tries <= RETRIES && buf.len; tries++) {
        r = read_once(f, off, buf, &got, &result);
        off += got;
        buf = span_slice(buf, got, buf.len - got);
        if (result == CURLE_HTTP_RETURNED_ERROR && moved) {
            /* Where the first redirect led is not for ever. */
            g_free(f->url);
            f->url = g_strdup(f->config.url);
            moved = false;
            continue;
        }
        if (r == -ECANCELED || !is_worth_a_retry(result))
            break;
    }
    return !buf.len ? 0 : r < 0 ? r : -EIO;
}

static void file_cancel(CurlFile *f)
{
    f->cancelled = true;
    for (guint i = 0; i < f->active->len; i++)
        ((Transfer *)f->active->pdata[i])->done = true;
    poll_set_changed(f->set);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void config_copy(CurlConfig *to, const CurlConfig *from)
{
    *to = *from;
    to->url = g_strdup(from->url);
    to->user = g_strdup(from->user);
    to->password = g_strdup(from->password);
    to->proxy_user = g_strdup(from->proxy_user);
    to->proxy_password = g_strdup(from->proxy_password);
    to->cookie = g_strdup(from->cookie);
}

static void header_add(CurlFile *f, const char *name, const char *value)
{
    g_autofree char *header = g_strconcat(name, ": ", value, NULL);

    f->headers = curl_slist_append(f->headers, header);
}

static void secret_free(const char *text)
{
    if (text)
        explicit_bzero((char *)text, strlen(text));
    g_free((char *)text);
}

static void config_clear(CurlConfig *c)
{
    g_free((char *)c->url);
    g_free((char *)c->user);
    g_free((char *)c->proxy_user);
    secret_free(c->password);
    secret_free(c->proxy_password);
    secret_free(c->cookie);
}

static void file_close(CurlFile *f)
{
    if (f->handles)
        g_ptr_array_free(f->handles, true);
    curl_multi_cleanup(f->multi);
    poll_set_free(f->set);
    g_ptr_array_free(f->active, true);
    curl_slist_free_all(f->headers);
    config_clear(&f->config);
    g_free(f->url);
    g_free(f);
}

static CurlFile *file_new(const CurlConfig *config, GError **err)
{
    CurlFile *f = g_new0(CurlFile, 1);

    config_copy(&f->config, config);
    f->url = g_strdup(config->url);
    f->is_http = !g_ascii_strncasecmp(config->url, "http", 4);
    f->active = g_ptr_array_new();
    f->handles = g_ptr_array_new_with_free_func(curl_easy_cleanup);
    co_semaphore_init(&f->free, config->connections);
    /* Not CURLOPT_COOKIE, which goes to whatever server a redirect leads to. */
    if (config->cookie)
        header_add(f, "Cookie", config->cookie);
    f->multi = curl_multi_init();
    f->set = f->multi ? poll_set_new(on_ready, f, err) : NULL;
    if (!f->set) {
        file_close(f);
        return NULL;
    }
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_alarm);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, (long)config->connections);
    return f;
}

/*
 * Later requests go where the redirects of the first led, and only for the file as it was then. Not
 * with a password or a cookie, which are not for other servers.
 */
static void file_remember(CurlFile *f, const Transfer *t)
{
    const CurlConfig *c = &f->config;
    const char *url = NULL;

    curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (url && !c->user && !c->password && !c->cookie) {
        g_free(f->url);
        f->url = g_strdup(url);
    }
    if (*t->answer.tag)
        header_add(f, "If-Range", t->answer.tag);
}

/* The size from the first answer, which has come as it should. */
static bool found_size(Transfer *t, CurlFound *found, GError **err)
{
    curl_off_t len = -1;

    if (!is_size_only(t)) {
        found->size = t->answer.total;
        found->head_len = t->got;
        return t->got == t->answer.last + 1 || err_set(err, EIO, "the server sends too little");
    }
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &len);
    found->size = MAX(len, 0);
    return len >= 0 || err_set(err, EIO, "the server does not tell the size of the file");
}

/* A file of no bytes has no part that could be served: "416", or the whole for any range. */
static bool is_empty_file(Transfer *t)
{
    curl_off_t len = -1;
    long status = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &len);
    if (is_size_only(t) || t->got)
        return false;
    return status == 416 ? t->answer.has_total && !t->answer.total : status == 200 && len == 0;
}

static CO bool file_look(CurlFile *f, CurlFound *found, GError **err)
{
    Transfer t = { .file = f, .to = span_of(found->head, f->config.head_len), .is_opening = true };
    int r = transfer_run(&t);
    bool ok = false;

    if (t.easy && is_empty_file(&t))
        ok = true;
    else if (t.why)
        err_set(err, EIO, "%s", t.why);
    else if (r < 0 && t.easy && t.result != CURLE_OK)
        err_set(err, -r, "%s", *t.text ? t.text : curl_easy_strerror(t.result));
    else if (r < 0)
        err_set_errno(err, r, "no transfer");
    else if (!is_size_only(&t) && !t.got) /* a body would have been looked at */
        err_set(err, EIO, "the server sends nothing");
    else
        ok = found_size(&t, found, err);
    if (ok)
        file_remember(f, &t);
    transfer_end(&t);
    f->size = found->size;
    return ok;
}

static CO CurlFile *file_open(const CurlConfig *config, CurlFound *found, GError **err)
{
    static gsize once;
    CurlFile *f;

    if (g_once_init_enter(&once))
        g_once_init_leave(&once, curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 1 : 2);
    if (once != 1) {
        err_set(err, EIO, "libcurl does not start");
        return NULL;
    }
    f = file_new(config, err);
    if (!f)
        return NULL;
    *found = (CurlFound){ .head = g_malloc(config->head_len) };
    if (file_look(f, found, err))
        return f;
    file_close(f);
    g_clear_pointer(&found->head, g_free);
    return NULL;
}

MODULE_EXPORT const CurlModule ferry_module_curl = {
    .open = file_open,
    .read = file_read,
    .cancel = file_cancel,
    .close = file_close,
};
