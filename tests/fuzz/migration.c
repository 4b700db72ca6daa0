/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a migration stream: taken apart by its own description, and loaded by the tables of
 * all devices into a small memory. Neither writes outside, and what is loaded can be written and
 * read again.
 */
#include "migration/fields.h"
#include "migration/saved.h"
#include "migration/target.h"
#include "system/base/device.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { MEMORY = 64 << 10 };

typedef struct {
    uint8_t *memory;
    bool is_taken;
} Place;

/*
 * One block, however great it says it is, gets memory up to a bound; the sanitizer watches its
 * ends.
 */
static uint8_t *place(void *opaque, const char *name, uint64_t size)
{
    Place *p = opaque;

    if (p->is_taken || size > MEMORY)
        return NULL;
    p->is_taken = true;
    p->memory = g_malloc0(size);
    return p->memory;
}

static void take_apart(const uint8_t *data, size_t len)
{
    g_auto(SavedStream) s = { 0 };
    Place p = { 0 };

    saved_read(&s, data, len, place, &p, NULL);
    g_free(p.memory);
}

/* ---- loading --------------------------------------------------------------------------------- */

static int append(void *opaque, const struct iovec *iov, int niov)
{
    for (int i = 0; i < niov; i++)
        g_byte_array_append(opaque, iov[i].iov_base, iov[i].iov_len);
    return 0;
}

/* What was read is what is written, but for fillers: it can be read again and is the same then. */
static bool load(void *opaque, unsigned n, const void *image, GError **err)
{
    const StateLayout *l = ((const DeviceSection *)opaque)->layout;
    g_autofree uint8_t *again = g_malloc0(l->size);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    Output out;
    Input in;

    output_init(&out, append, bytes);
    fields_write(&out, l, image);
    output_u8(&out, 0x7e);
    g_assert_cmpint(output_flush(&out), ==, 0);
    output_clear(&out);
    input_init_memory(&in, bytes->data, bytes->len);
    g_assert_true(fields_read(&in, l, l->version, again));
    g_assert_cmpuint(in.end - in.at, ==, 1);
    g_assert_true(!memcmp(image, again, l->size));
    input_clear(&in);
    json_decref(fields_describe(l, image));
    return true;
}

static void add(GPtrArray *list, const DeviceSection *s)
{
    for (unsigned n = 0; n < 2; n++) {
        MigSection *m = g_new0(MigSection, 1);

        *m = (MigSection){
            .name = g_strdup(s->name), .instance = n, .layout = s->layout, .opaque = (void *)s,
            .load = load,
        };
        g_ptr_array_add(list, m);
    }
}

static int answer(void *opaque, const void *buf, size_t len)
{
    return 0;
}

static void load_all(const uint8_t *data, size_t len)
{
    g_autoptr(GPtrArray) sections = g_ptr_array_new_with_free_func(mig_section_free);
    g_autofree uint8_t *memory = g_malloc0(MEMORY), *table = g_malloc0(2 * 4096);
    g_auto(RamBlocks) ram = { 0 };
    g_auto(Input) in = { 0 };
    TargetConfig config = {
        .machine = "microvm", .ram = &ram, .sections = sections, .reply = answer
    };

    for (const DeviceClass *const *c = device_classes; *c; c++)
        if ((*c)->section)
            add(sections, (*c)->section);
    ram_blocks_init(&ram);
    ram_block_add(&ram, "microvm.ram", memory, MEMORY, 0);
    ram_block_add(&ram, "pc.bios", table, 4096, 2 * 4096);
    input_init_memory(&in, data, len);
    target_read(&in, &config, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    take_apart(data, len);
    load_all(data, len);
    return 0;
}
