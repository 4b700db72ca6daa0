/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which format the bytes of a file are in. The one place where that is guessed. */
#include "block/internal.h"

/* The driver that is surest of @head; raw takes everything. */
static const BlockDriver *probe_drivers(const uint8_t *head, size_t len, const char *filename)
{
    const BlockDriver *best = NULL;
    int best_score = 0;

    for (const BlockDriver *const *d = block_drivers; *d; d++) {
        int score = (*d)->probe ? (*d)->probe(head, len, filename) : 0;

        if (score > best_score) {
            best = *d;
            best_score = score;
        }
    }
    return best;
}

const BlockDriver *probe_head(const uint8_t *head, size_t len, const char *filename,
                              const char **foreign)
{
    const BlockDriver *d = probe_drivers(head, len, filename);

    *foreign = d == driver_find("raw") ? foreign_format(head, len, filename) : NULL;
    return *foreign ? NULL : d;
}

CO const BlockDriver *probe_format(Node *n, const char *filename, GError **err)
{
    /* Null drivers leave buffers as they are: what is guessed must not depend on what was there. */
    uint8_t head[PROBE_LEN] = {};
    size_t len = MIN(n->size, sizeof(head));
    int r = node_pread(n, 0, span_of(head, len), 0);
    const char *foreign;
    const BlockDriver *d;

    if (r < 0) {
        err_set_errno(err, r, "Could not read the start of '%s' to tell its format",
                      node_filename(n));
        return NULL;
    }
    d = probe_head(head, len, filename, &foreign);
    if (!d) {
        err_set(err, ENOTSUP, "The content of '%s' is in format '%s', which cannot be read here yet",
                node_filename(n), foreign);
        err_hint(err, "Convert it elsewhere first. Format 'raw' would give the bytes of the "
                 "container, not those of the disk.");
    }
    return d;
}
