/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a machine hands to whoever migrates it. */
#ifndef MIGRATION_SECTION_H
#define MIGRATION_SECTION_H

#include "migration/ram.h"
#include "system/base/state.h"

/* A section of a stream. They are written, and have to come, in the order of the machine's list. */
typedef struct {
    char *name;
    uint32_t instance;
    const StateLayout *layout;
    void *opaque;
    unsigned n;  /* for .save and .load */
    /* Fills in @image, which is zeroed. */
    void (*save)(void *opaque, unsigned n, void *image);
    bool (*load)(void *opaque, unsigned n, const void *image, GError **err);
} MigSection;

static inline void mig_section_free(gpointer p)
{
    g_free(((MigSection *)p)->name);
    g_free(p);
}

#endif
