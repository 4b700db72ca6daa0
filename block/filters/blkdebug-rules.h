/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of blkdebug: what happens at which event, and which requests fail.
 *
 * An event looks at every rule for it whose state is the current one (or 0). inject-error rules
 * found there become the active ones in place of those before; requests fail by active rules until
 * the next event with such a rule. set-state rules change the current state, which starts as 1.
 * Breakpoints hold the request that caused the event.
 */
#ifndef BLOCK_FILTERS_BLKDEBUG_RULES_H
#define BLOCK_FILTERS_BLKDEBUG_RULES_H

#include "block/driver.h"

typedef enum {
    DEBUG_READ = 1 << 0,
    DEBUG_WRITE = 1 << 1,
    DEBUG_WRITE_ZEROES = 1 << 2,
    DEBUG_DISCARD = 1 << 3,
    DEBUG_FLUSH = 1 << 4,
    DEBUG_BLOCK_STATUS = 1 << 5,
} DebugIo;

typedef struct DebugRules DebugRules;

DebugRules *debug_rules_new(void);
void debug_rules_free(DebugRules *d);   /* nobody may be held by a breakpoint */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DebugRules, debug_rules_free)

/*
 * Adds the rule that @o describes, typed as the schema's members of inject-error (@is_error) or
 * set-state. Rules added first have the last word.
 */
bool debug_rules_add(DebugRules *d, bool is_error, const json_t *o, GError **err);
/* Adds the rules of the configuration file @filename. */
bool debug_rules_read(DebugRules *d, const char *filename, GError **err);
/* The same from @text, which is changed; @filename is for messages. */
bool debug_rules_parse(DebugRules *d, const char *filename, char *text, GError **err);

/* @event happens; returns when no breakpoint holds the caller any more. */
CO void debug_rules_event(DebugRules *d, BlockEvent event);
/* 0, or the negative errno that a request of kind @io at [@off, @off + @len) is to fail with. */
CO int debug_rules_check(DebugRules *d, DebugIo io, uint64_t off, uint64_t len);

/* As DebugOps. */
bool debug_rules_break(DebugRules *d, const char *event, const char *tag, GError **err);
bool debug_rules_unbreak(DebugRules *d, const char *tag, GError **err);
bool debug_rules_resume(DebugRules *d, const char *tag, GError **err);
/* Is there a breakpoint, or a request that one holds? */
bool debug_rules_has_breaks(const DebugRules *d);
bool debug_rules_is_suspended(const DebugRules *d, const char *tag);

#endif
