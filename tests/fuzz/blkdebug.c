/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any text as a configuration of blkdebug, then every event and a request under its rules. */
#include "block/filters/blkdebug-rules.h"
#include "io/loop.h"
#include <string.h>

static CO void fuzz_run(void *arg)
{
    g_autoptr(DebugRules) rules = debug_rules_new();
    g_autoptr(GError) err = NULL;

    if (!debug_rules_parse(rules, "config", arg, &err)) {
        g_assert_nonnull(err);
        return;
    }
    for (int e = 0; e < EV_MAX; e++) {
        debug_rules_event(rules, e);
        g_assert_cmpint(debug_rules_check(rules, DEBUG_READ, 0, 512), <=, 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = g_strndup((const char *)data, len);

    /* Waiting is what that one is for. */
    if (!strstr(text, "delay"))
        loop_run(fuzz_run, text);
    return 0;
}
