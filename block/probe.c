/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which format the bytes of a file are in. The one place where that is guessed. */
#include "block/internal.h"

static const BlockDriver *probe_kind(bool container, const uint8_t *head, size_t len,
                                     const char *filename)
{
    const BlockDriver *best = NULL;
    int best_score = 0;

    for (const BlockDriver *const *d = block_drivers; *d; d++) {
        int score = (*d)->probe && (*d)->is_container == container
                        ? (*d)->probe(head, len, filename) : 0;

        if (score > best_score) {
            best = *d;
            best_score = score;
        }
    }
    return best;
}

const BlockDriver *probe_head(const uint8_t *head, size_t len, const char *filename)
{
    return probe_kind(false, head, len, filename);
}

const BlockDriver *probe_container(const uint8_t *head, size_t len)
{
    return probe_kind(true, head, len, NULL);
}

CO const BlockDriver *probe_format(Node *n, const char *filename, GError **err)
{
    /* Null drivers leave buffers as they are: what is guessed must not depend on what was there. */
    uint8_t head[PROBE_LEN] = {};
    size_t len = MIN(n->size, sizeof(head));
    int r = node_pread(n, 0, span_of(head, len), 0);

    if (r < 0) {
        err_set_errno(err, r, "Could not read the start of '%s' to tell its format",
                      node_filename(n));
        return NULL;
    }
    return probe_head(head, len, filename);
}
