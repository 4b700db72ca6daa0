/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables of a machine without legacy hardware: without them Debian's kernel finds neither
 * the second interrupt controller nor virtio devices. docs/spec/microvm.md
 */
#include "hw/ged.h"
#include "hw/ioapic.h"
#include "system/machine.h"
#include "util/endian.h"
#include "util/size.h"
#include <string.h>

/* ---- bytes ----------------------------------------------------------------------------------- */

static void put(GByteArray *a, const void *data, size_t len)
{
    g_byte_array_append(a, data, len);
}

static void put_u(GByteArray *a, uint64_t v, unsigned size)
{
    v = GUINT64_TO_LE(v);
    put(a, &v, size);
}

static void put_zeroes(GByteArray *a, size_t n)
{
    while (n--)
        put_u(a, 0, 1);
}

static void put_array(GByteArray *a, GByteArray *part)
{
    put(a, part->data, part->len);
    g_byte_array_unref(part);
}

/* ---- AML: chapter 20 of the ACPI specification ----------------------------------------------- */

enum {
    AML_NAME = 0x08, AML_BYTE = 0x0a, AML_WORD, AML_DWORD, AML_STRING, AML_SCOPE = 0x10,
    AML_BUFFER, AML_PACKAGE, AML_METHOD = 0x14, AML_EXT = 0x5b, AML_EXT_REGION = 0x80,
    AML_EXT_FIELD, AML_EXT_DEVICE, AML_LOCAL0 = 0x60, AML_STORE = 0x70, AML_AND = 0x7b,
    AML_NOTIFY = 0x86, AML_IF = 0xa0,
};

/* The length of a package counts its own bytes. */
static void put_package_length(GByteArray *a, size_t content)
{
    unsigned more = content + 1 < 64 ? 0 : content + 2 < 4096 ? 1 : 2;
    size_t len = content + 1 + more;

    if (!more) {
        put_u(a, len, 1);
        return;
    }
    put_u(a, more << 6 | (len & 15), 1);
    put_u(a, len >> 4, more);
}

/* @op, its length, and @content, which is freed. */
static void put_block(GByteArray *a, unsigned op, GByteArray *content)
{
    put_u(a, op, 1);
    put_package_length(a, content->len);
    put_array(a, content);
}

static void put_ext_block(GByteArray *a, unsigned op, GByteArray *content)
{
    put_u(a, AML_EXT, 1);
    put_block(a, op, content);
}

static void put_integer(GByteArray *a, uint32_t v)
{
    if (v <= 1) {
        put_u(a, v, 1);
    } else if (v <= 0xff) {
        put_u(a, AML_BYTE, 1);
        put_u(a, v, 1);
    } else {
        put_u(a, AML_DWORD, 1);
        put_u(a, v, 4);
    }
}

/* A name of four letters, filled up with '_'. */
static void put_name(GByteArray *a, const char *name)
{
    char four[5] = "____";

    memcpy(four, name, strlen(name));
    put(a, four, 4);
}

static void put_string(GByteArray *a, const char *text)
{
    put_u(a, AML_STRING, 1);
    put(a, text, strlen(text) + 1);
}

static void name_integer(GByteArray *a, const char *name, uint32_t v)
{
    put_u(a, AML_NAME, 1);
    put_name(a, name);
    put_integer(a, v);
}

static void name_string(GByteArray *a, const char *name, const char *text)
{
    put_u(a, AML_NAME, 1);
    put_name(a, name);
    put_string(a, text);
}

/* A hardware id as three letters and four digits are packed: "PNP0501". */
static void name_eisa_id(GByteArray *a, const char *id)
{
    uint16_t letters = (id[0] - 0x40) << 10 | (id[1] - 0x40) << 5 | (id[2] - 0x40);
    uint16_t number = g_ascii_strtoull(id + 3, NULL, 16);

    put_u(a, AML_NAME, 1);
    put_name(a, "_HID");
    put_u(a, AML_DWORD, 1);
    put_u(a, letters >> 8 | (letters & 0xff) << 8 | (uint32_t)(number >> 8) << 16 |
             (uint32_t)(number & 0xff) << 24, 4);
}

/* _CRS with resource descriptors @r, which are freed. */
static void name_resources(GByteArray *a, GByteArray *r)
{
    GByteArray *buffer = g_byte_array_new();

    put_u(r, 0x79, 1); /* the end; a checksum of 0 is none */
    put_u(r, 0, 1);
    put_integer(buffer, r->len);
    put_array(buffer, r);
    put_u(a, AML_NAME, 1);
    put_name(a, "_CRS");
    put_block(a, AML_BUFFER, buffer);
}

static void resource_ports(GByteArray *r, uint16_t start, uint8_t size)
{
    put_u(r, 0x47, 1);
    put_u(r, 1, 1); /* 16 bits decoded */
    put_u(r, start, 2);
    put_u(r, start, 2);
    put_u(r, 1, 1);
    put_u(r, size, 1);
}

static void resource_isa_irq(GByteArray *r, unsigned irq)
{
    put_u(r, 0x22, 1); /* edges, active high */
    put_u(r, 1 << irq, 2);
}

static void resource_interrupt(GByteArray *r, uint32_t gsi, bool edge)
{
    put_u(r, 0x89, 1);
    put_u(r, 6, 2);
    put_u(r, 1 | (edge ? 2 : 0), 1); /* consumer, active high, exclusive */
    put_u(r, 1, 1);
    put_u(r, gsi, 4);
}

static void resource_memory(GByteArray *r, uint32_t start, uint32_t size)
{
    put_u(r, 0x86, 1);
    put_u(r, 9, 2);
    put_u(r, 1, 1); /* writable */
    put_u(r, start, 4);
    put_u(r, size, 4);
}

/* ---- devices --------------------------------------------------------------------------------- */

static GByteArray *device(const char *name)
{
    GByteArray *d = g_byte_array_new();

    put_name(d, name);
    return d;
}

static void put_fw_cfg(GByteArray *scope)
{
    GByteArray *d = device("FWCF"), *r = g_byte_array_new();

    name_string(d, "_HID", "QEMU0002");
    name_integer(d, "_STA", 0x0b);
    resource_ports(r, 0x510, 12);
    name_resources(d, r);
    put_ext_block(scope, AML_EXT_DEVICE, d);
}

static void put_isa_device(GByteArray *scope, const char *name, const char *id, uint16_t port,
                           unsigned ports, unsigned irq)
{
    GByteArray *d = device(name), *r = g_byte_array_new();

    name_eisa_id(d, id);
    name_integer(d, "_UID", 1);
    name_integer(d, "_STA", 0x0f);
    resource_ports(r, port, ports);
    resource_isa_irq(r, irq);
    name_resources(d, r);
    put_ext_block(scope, AML_EXT_DEVICE, d);
}

static void put_virtio(GByteArray *scope, unsigned slot)
{
    g_autofree char *name = g_strdup_printf("VR%02u", slot);
    GByteArray *d = device(name), *r = g_byte_array_new();

    name_string(d, "_HID", "LNRO0005");
    name_integer(d, "_UID", slot);
    name_integer(d, "_CCA", 1);
    resource_memory(r, VIRTIO_MMIO_ADDRESS + VIRTIO_MMIO_SIZE * slot, VIRTIO_MMIO_SIZE);
    resource_interrupt(r, VIRTIO_MMIO_GSI + slot, false);
    name_resources(d, r);
    put_ext_block(scope, AML_EXT_DEVICE, d);
}

/* The register of events, as a field of a region. */
static void put_event_register(GByteArray *d)
{
    GByteArray *field = g_byte_array_new();

    put_u(d, AML_EXT, 1);
    put_u(d, AML_EXT_REGION, 1);
    put_name(d, "EREG");
    put_u(d, 0, 1); /* memory */
    put_integer(d, GED_ADDRESS);
    put_integer(d, 4);
    put_name(field, "EREG");
    put_u(field, 0x43, 1); /* by 32 bits, no lock, other bits are written as zeroes */
    put_name(field, "ESEL");
    put_u(field, 32, 1);
    put_ext_block(d, AML_EXT_FIELD, field);
}

/* Local0 = ESEL; if (Local0 & GED_POWER_BUTTON) Notify(PWRB, 0x80) */
static void put_event_method(GByteArray *d)
{
    GByteArray *method = g_byte_array_new(), *then = g_byte_array_new();

    put_name(method, "_EVT");
    put_u(method, 1 | 8, 1); /* one argument, serialised */
    put_u(method, AML_STORE, 1);
    put_name(method, "ESEL");
    put_u(method, AML_LOCAL0, 1);
    put_u(then, AML_AND, 1);
    put_u(then, AML_LOCAL0, 1);
    put_integer(then, GED_POWER_BUTTON);
    put_u(then, 0, 1); /* the result goes nowhere else */
    put_u(then, AML_NOTIFY, 1);
    put_name(then, "PWRB");
    put_integer(then, 0x80);
    put_block(method, AML_IF, then);
    put_block(d, AML_METHOD, method);
}

static void put_ged(GByteArray *scope)
{
    GByteArray *d = device("GED"), *r = g_byte_array_new(), *button = device("PWRB");

    name_string(d, "_HID", "ACPI0013");
    name_string(d, "_UID", "GED");
    resource_interrupt(r, GED_IRQ, true);
    name_resources(d, r);
    put_event_register(d);
    put_event_method(d);
    put_ext_block(scope, AML_EXT_DEVICE, d);
    name_eisa_id(button, "PNP0C0C");
    name_integer(button, "_UID", 0);
    put_ext_block(scope, AML_EXT_DEVICE, button);
}

/* \_S5: the value that powers off. */
static void put_s5(GByteArray *a)
{
    GByteArray *package = g_byte_array_new();

    put_u(package, 1, 1);
    put_integer(package, GED_S5);
    put_u(a, AML_NAME, 1);
    put(a, "\\", 1);
    put_name(a, "_S5");
    put_block(a, AML_PACKAGE, package);
}

/* ---- tables ---------------------------------------------------------------------------------- */

enum { HEADER_SIZE = 36, LENGTH_AT = 4, CHECKSUM_AT = 9 };

static uint8_t checksum(const uint8_t *p, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += p[i];
    return -sum;
}

/* Starts a table, to be ended by finish_table. The address it will have. */
static uint32_t start_table(GByteArray *area, const char *signature, unsigned revision)
{
    uint32_t at;

    put_zeroes(area, -area->len & 15);
    at = area->len;
    put(area, signature, 4);
    put_u(area, 0, 4);
    put_u(area, revision, 1);
    put_u(area, 0, 1);
    put(area, "FERRY ", 6);
    put(area, "MICROVM ", 8);
    put_u(area, 1, 4);
    put(area, "FRRY", 4);
    put_u(area, 1, 4);
    return ACPI_ADDRESS + at;
}

static void finish_table(GByteArray *area, uint32_t address)
{
    uint8_t *p = area->data + (address - ACPI_ADDRESS);
    size_t len = area->data + area->len - p;

    le32_put(p + LENGTH_AT, len);
    p[CHECKSUM_AT] = checksum(p, len);
}

static uint32_t put_dsdt(const Machine *m, GByteArray *area)
{
    uint32_t at = start_table(area, "DSDT", 2);
    GByteArray *scope = g_byte_array_new();

    put(scope, "\\", 1);
    put_name(scope, "_SB");
    put_fw_cfg(scope);
    if (m->config.isa_serial)
        put_isa_device(scope, "COM1", "PNP0501", 0x3f8, 8, 4);
    if (m->config.rtc)
        put_isa_device(scope, "RTC", "PNP0B00", 0x70, 8, 8);
    put_ged(scope);
    for (unsigned i = 0; i < VIRTIO_MMIO_COUNT; i++)
        if (m->slot[i])
            put_virtio(scope, i);
    put_block(area, AML_SCOPE, scope);
    put_s5(area);
    finish_table(area, at);
    return at;
}

/* A register in memory of 8 bits. */
static void put_register(GByteArray *a, uint64_t address)
{
    put_u(a, 0, 1);
    put_u(a, 8, 1);
    put_u(a, 0, 1);
    put_u(a, 1, 1);
    put_u(a, address, 8);
}

static uint32_t put_fadt(const Machine *m, GByteArray *area, uint32_t dsdt)
{
    enum { WBINVD = 1, PWR_BUTTON = 1 << 4, RESET = 1 << 10, REDUCED = 1 << 20, NO_VGA = 1 << 2,
           NO_RTC = 1 << 5 };
    uint32_t at = start_table(area, "FACP", 6);
    size_t start = at - ACPI_ADDRESS;

    put_zeroes(area, 109 - HEADER_SIZE);
    put_u(area, NO_VGA | (m->config.rtc ? 0 : NO_RTC), 2);
    put_u(area, 0, 1);
    put_u(area, WBINVD | PWR_BUTTON | RESET | REDUCED, 4);
    put_register(area, GED_REGISTERS + GED_RESET);
    put_u(area, GED_RESET_VALUE, 1);
    put_u(area, 0, 2);
    put_u(area, 3, 1); /* minor version */
    put_u(area, 0, 8);
    put_u(area, dsdt, 8);
    put_zeroes(area, 244 - (area->len - start));
    put_register(area, GED_REGISTERS + GED_SLEEP_CONTROL);
    put_register(area, GED_REGISTERS + GED_SLEEP_STATUS);
    put_u(area, 0, 8);
    finish_table(area, at);
    return at;
}

static uint32_t put_madt(const Machine *m, GByteArray *area)
{
    uint32_t at = start_table(area, "APIC", 5);

    put_u(area, 0xfee00000, 4);
    put_u(area, m->config.pic, 4);
    for (unsigned i = 0; i < m->config.cpus; i++) {
        put_u(area, 0 | 8 << 8, 2);
        put_u(area, i, 1);
        put_u(area, i, 1);
        put_u(area, 1, 4);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(m->ioapic); i++) {
        put_u(area, 1 | 12 << 8, 2);
        put_u(area, i, 1);
        put_u(area, 0, 1);
        put_u(area, 0xfec00000 + 0x10000 * i, 4);
        put_u(area, IOAPIC_PINS * i, 4);
    }
    put_u(area, 2 | 10 << 8, 2); /* interrupt 0 comes at pin 2 */
    put_u(area, 0, 2);
    put_u(area, IRQ0_GSI, 4);
    put_u(area, 0, 2);
    put_u(area, 4 | 6 << 8, 2);  /* NMI comes by LINT1 */
    put_u(area, 0xff, 1);
    put_u(area, 0, 2);
    put_u(area, 1, 1);
    finish_table(area, at);
    return at;
}

static uint32_t put_xsdt(GByteArray *area, const uint32_t *tables, unsigned count)
{
    uint32_t at = start_table(area, "XSDT", 1);

    for (unsigned i = 0; i < count; i++)
        put_u(area, tables[i], 8);
    finish_table(area, at);
    return at;
}

GByteArray *acpi_build(const Machine *m)
{
    enum { RSDP_SIZE = 36, OLD_SIZE = 20 };
    GByteArray *area = g_byte_array_new();
    uint32_t tables[2], xsdt;
    uint8_t *p;

    put_zeroes(area, RSDP_SIZE);
    tables[0] = put_fadt(m, area, put_dsdt(m, area));
    tables[1] = put_madt(m, area);
    xsdt = put_xsdt(area, tables, G_N_ELEMENTS(tables));
    p = area->data;
    memcpy(p, "RSD PTR ", 8);
    memcpy(p + 9, "FERRY ", 6);
    p[15] = 2;
    le32_put(p + 20, RSDP_SIZE);
    le64_put(p + 24, xsdt);
    p[8] = checksum(p, OLD_SIZE);
    p[32] = checksum(p, RSDP_SIZE);
    g_assert(area->len <= ACPI_SIZE);
    return area;
}
