/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as a LUKS header: refused or described, never unlocked for long. */
#include "crypto/luks.h"
#include <string.h>

typedef struct {
    const uint8_t *data;
    size_t len;
} Bytes;

static int bytes_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    const Bytes *b = opaque;

    if (off > b->len || len > b->len - off)
        return -EIO;
    memcpy(buf, b->data + off, len);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    Bytes b = { data, len };
    LuksIo io = { .read = bytes_read, .opaque = &b };
    g_autoptr(Luks) l = luks_load(&io, UINT64_MAX, NULL);
    g_autoptr(json_t) info = l ? luks_info(l) : NULL;

    g_assert_true(!l || json_is_object(info));
    return 0;
}
