/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/admit.h"
#include "crypto/authz.h"
#include "util/err.h"

/* A question, which may outlive whoever asked. */
typedef struct {
    char *id, *identity;
    GError *err;
} Admission;

static int admission_work(void *arg)
{
    Admission *a = arg;

    return authz_allows(a->id, a->identity, &a->err) ? 0 : -EACCES;
}

static void admission_free(void *p)
{
    Admission *a = p;

    g_free(a->id);
    g_free(a->identity);
    g_clear_error(&a->err);
    g_free(a);
}

CO bool channel_admit_peer(Channel *c, const char *authz, int64_t deadline_ns, DetachedCall **asked,
                           GError **err)
{
    Admission *a = g_new(Admission, 1);
    g_autoptr(DetachedCall) e = NULL;
    int allowed, r;

    *a = (Admission){ g_strdup(authz), g_strdup(channel_tls_peer(c)), NULL };
    *asked = e = detached_call_start(admission_work, a, admission_free);
    r = detached_call_wait(e, deadline_ns, &allowed);
    *asked = NULL;
    if (r < 0)
        return err_set_errno(err, r, "Object '%s' did not say whether to let a client in", authz);
    if (allowed < 0)
        g_propagate_error(err, g_steal_pointer(&a->err));
    return allowed == 0;
}
