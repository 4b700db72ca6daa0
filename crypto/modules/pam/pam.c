/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Module "pam": account rules of PAM services. Nobody is asked for a password. */
#include "crypto/pam.h"
#include "util/err.h"
#include "util/module.h"
#include <security/pam_appl.h>

extern const PamModule ferry_module_pam;

/* There is nobody to talk to. */
static int no_conversation(int n, const struct pam_message **messages,
                           struct pam_response **answers, void *arg)
{
    return PAM_CONV_ERR;
}

static bool account(const char *service, const char *user, bool *allowed, GError **err)
{
    const struct pam_conv conversation = { .conv = no_conversation };
    pam_handle_t *pam = NULL;
    int r = pam_start(service, user, &conversation, &pam);

    if (r != PAM_SUCCESS)
        return err_set(err, EIO, "PAM service '%s': %s", service, pam_strerror(pam, r));
    r = pam_acct_mgmt(pam, PAM_SILENT);
    *allowed = r == PAM_SUCCESS;
    pam_end(pam, r);
    return true;
}

MODULE_EXPORT const PamModule ferry_module_pam = { .account = account };
