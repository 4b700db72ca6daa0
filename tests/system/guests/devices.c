/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looks at every device of the machine by its registers. */
#include "guest.h"

enum { APIC = 0xfee00000, IOAPIC0 = 0xfec00000, IOAPIC1 = 0xfec10000 };

static void unassigned(void)
{
    check_equal("ports without a device read as ones", in32(0x2f8), 0xffffffff);
    check_equal("addresses without a device read as ones", mmio_get(0xfe000000), 0xffffffff);
    mmio_put(0xfe000000, 1);
}

static void serial(void)
{
    out8(COM1 + 7, 0x5a);
    check_equal("serial: the scratch register keeps a byte", in8(COM1 + 7), 0x5a);
    out8(COM1 + 3, 0x83);
    out8(COM1, 1);
    out8(COM1 + 1, 2);
    uint16_t divisor = in8(COM1) | in8(COM1 + 1) << 8;
    out8(COM1 + 3, 3);
    check_equal("serial: the divisor is kept", divisor, 0x201);
    out8(COM1 + 2, 7);
    check_equal("serial: it is a 16550A", in8(COM1 + 2) & 0xc0, 0xc0);
    out8(COM1 + 4, 0x1a);
    uint8_t modem = in8(COM1 + 6) & 0xf0;
    out8(COM1, 'x');
    uint8_t state = in8(COM1 + 5), got = in8(COM1);
    out8(COM1 + 4, 8);
    check_equal("serial: in a loop the modem lines are our own", modem, 0x90);
    check_equal("serial: in a loop what is sent comes back", got, 'x');
    check("serial: and that it came", state & 1);
    out8(COM1 + 1, 2);
    uint8_t first = in8(COM1 + 2), second = in8(COM1 + 2);
    out8(COM1 + 1, 0);
    check_equal("serial: an empty transmitter interrupts once", first << 8 | second, 0xc2c1);
}

static void interval_timer(void)
{
    out8(0x43, 0x34);
    out8(0x40, 0xff);
    out8(0x40, 0xff);
    uint16_t last = 0xffff, now;
    bool down = true;
    for (unsigned i = 0; i < 20; i++) {
        out8(0x43, 0x00);
        now = in8(0x40);
        now |= in8(0x40) << 8;
        down = down && now <= last;
        last = now;
    }
    check("i8254: it counts down", down);
    out8(0x43, 0xe2);
    check_equal("i8254: its status shows the mode", in8(0x40) & 0x3f, 0x34);
    out8(0x61, 0);
    out8(0x43, 0xb0);
    out8(0x42, 100);
    out8(0x42, 0);
    check("i8254: without its gate the third counter stands still", !(in8(0x61) & 0x20));
    out8(0x61, 1);
    uint64_t deadline = time_stamp() + 2000000000;
    while (!(in8(0x61) & 0x20) && time_stamp() < deadline)
        ;
    check("i8254: with it the end shows at port 61h", in8(0x61) & 0x20);
}

static void legacy_interrupts(void)
{
    out8(0x20, 0x11);
    out8(0x21, 0x20);
    out8(0x21, 4);
    out8(0x21, 1);
    out8(0xa0, 0x11);
    out8(0xa1, 0x28);
    out8(0xa1, 2);
    out8(0xa1, 1);
    out8(0xa1, 0xff);
    out8(0x21, 0xfe);
    check_equal("i8259: the mask is kept", in8(0x21), 0xfe);
    out8(0x43, 0x34);
    out8(0x40, 0x00);
    out8(0x40, 0x10);
    check("i8259: the timer interrupts by LINT0", wait_served(0x20, 1));
    out8(0x20, 0x0b);
    check_equal("i8259: and is in service", in8(0x20) & 1, 1);
    uint32_t before = served[0x20];
    __asm__ volatile("sti\n nop\n nop\n cli");
    check_equal("i8259: until then it does not come again", served[0x20], before);
    out8(0x20, 0x20);
    check("i8259: after the end of interrupt it does", wait_served(0x20, before + 1));
    out8(0x20, 0x20);
    out8(0x21, 0xff);
}

static unsigned from_bcd(unsigned v)
{
    return (v & 15) + (v >> 4) * 10;
}

static uint8_t rtc(uint8_t reg)
{
    out8(0x70, reg);
    return in8(0x71);
}

static void real_time_clock(void)
{
    check_equal("rtc: the battery is good", rtc(0x0d), 0x80);
    check_equal("rtc: 24 hours, not binary", rtc(0x0b) & 6, 2);
    check("rtc: the century is ours", from_bcd(rtc(0x32)) >= 20);
    check("rtc: there are 60 seconds", from_bcd(rtc(0)) < 60);
    check("rtc: there are 12 months", from_bcd(rtc(8)) - 1 < 12);
    out8(0x70, 0x40);
    out8(0x71, 0xa5);
    check_equal("rtc: memory is memory", rtc(0x40), 0xa5);
    out8(0x70, 0x0b);
    out8(0x71, 0x82);
    out8(0x70, 0x04);
    out8(0x71, 0x13);
    out8(0x70, 0x0b);
    out8(0x71, 0x02);
    check_equal("rtc: the hour can be set", rtc(4), 0x13);
}

static struct __attribute__((packed)) {
    uint32_t control, length;
    uint64_t address;
} volatile access;
static volatile uint8_t target[16];

static uint32_t transfer(uint32_t control, uint64_t address, uint32_t length)
{
    access.control = __builtin_bswap32(control);
    access.length = __builtin_bswap32(length);
    access.address = __builtin_bswap64(address);
    out32(0x514, __builtin_bswap32((uint64_t)&access >> 32));
    out32(0x518, __builtin_bswap32((uint64_t)&access));
    return __builtin_bswap32(access.control);
}

static void firmware_configuration(void)
{
    uint32_t signature = 0;

    out16(0x510, 0);
    for (unsigned i = 0; i < 4; i++)
        signature |= (uint32_t)in8(0x511) << 8 * i;
    check_equal("fw_cfg: the signature", signature, 0x554d4551);
    check_equal("fw_cfg: behind its end an item is zero", in8(0x511), 0);
    out16(0x510, 1);
    check_equal("fw_cfg: there is DMA", in8(0x511), 3);
    check_equal("fw_cfg: DMA shows its signature", in32(0x514), 0x554d4551);
    out16(0x510, 5);
    check_equal("fw_cfg: one processor", in8(0x511), 1);
    check_equal("fw_cfg: DMA selects and reads", transfer(8 | 2, (uint64_t)target, 4), 0);
    check_equal("fw_cfg: the same bytes", *(volatile uint32_t *)target, 0x554d4551);
    check_equal("fw_cfg: DMA to no memory fails", transfer(8 | 2, 0xfee00000, 4), 1);
    check_equal("fw_cfg: DMA beyond all addresses fails", transfer(8 | 2, -4, 16), 1);
    check_equal("fw_cfg: DMA over the end of memory fails",
                transfer(8 | 2, (64 << 20) - 8, 0xffffffff), 1);
    check_equal("fw_cfg: nothing can be written", transfer(8 | 16, (uint64_t)target, 4), 1);
}

static void local_apic(void)
{
    msr_put(0x1b, msr_get(0x1b));
    check_equal("apic: of the boot processor, at its place", msr_get(0x1b), 0xfee00900);
    check_equal("apic: version and vectors", mmio_get(APIC + 0x30), 0x50014);
    mmio_put(APIC + 0xf0, 0x1ff);
    mmio_put(APIC + 0x3e0, 0x0b);
    mmio_put(APIC + 0x320, 0x40);
    mmio_put(APIC + 0x380, 100000);
    check("apic: the timer counts", mmio_get(APIC + 0x390) <= 100000);
    check("apic: and interrupts", wait_served(0x40, 1));
    check_equal("apic: once", mmio_get(APIC + 0x390), 0);
    mmio_put(APIC + 0x320, 0x20041);
    mmio_put(APIC + 0x380, 100000);
    check("apic: periodic it does so again and again", wait_served(0x41, 3));
    mmio_put(APIC + 0x320, 0x40042);
    msr_put(0x6e0, time_stamp() + 100000);
    check("apic: by a deadline", wait_served(0x42, 1));
    check_equal("apic: which is then over", msr_get(0x6e0), 0);
    mmio_put(APIC + 0x320, 0x10000);
    mmio_put(APIC + 0x80, 0x50);
    mmio_put(APIC + 0x300, 0x40043);
    __asm__ volatile("sti\n nop\n nop\n cli");
    check_equal("apic: what is not urgent enough waits", served[0x43], 0);
    check_equal("apic: and is seen to wait", mmio_get(APIC + 0x220) & 8, 8);
    uint64_t cr8;
    __asm__ volatile("movq %%cr8, %0" : "=r"(cr8));
    check_equal("apic: CR8 is its priority", cr8, 5);
    __asm__ volatile("movq %0, %%cr8" : : "r"(3ULL));
    check("apic: until the priority falls", wait_served(0x43, 1));
    mmio_put(APIC + 0x80, 0);
    mmio_put(APIC + 0x300, 0x40005);
    mmio_put(APIC + 0x280, 0);
    check_equal("apic: a vector below 16 is an error", mmio_get(APIC + 0x280), 0x20);
}

static uint32_t ioapic_get(uint64_t at, uint8_t reg)
{
    mmio_put(at, reg);
    return mmio_get(at + 0x10);
}

static void ioapic_put(uint64_t at, uint8_t reg, uint32_t v)
{
    mmio_put(at, reg);
    mmio_put(at + 0x10, v);
}

static void io_apic(void)
{
    check_equal("ioapic: 24 inputs", ioapic_get(IOAPIC0, 1), 0x170020);
    check_equal("ioapic: the second one too", ioapic_get(IOAPIC1, 1), 0x170020);
    check_equal("ioapic: inputs are masked", ioapic_get(IOAPIC0, 0x10), 0x10000);
    ioapic_put(IOAPIC0, 0x10 + 2 * 2, 0x50);
    out8(0x43, 0x34);
    out8(0x40, 0x00);
    out8(0x40, 0x10);
    check("ioapic: the timer comes at input 2", wait_served(0x50, 2));
    ioapic_put(IOAPIC0, 0x10 + 2 * 2, 0x10050);
    ioapic_put(IOAPIC0, 0x10 + 2 * 4, 0x8051);
    quiet_port = COM1 + 1;
    out8(COM1 + 1, 2);
    check("ioapic: the serial port, by level", wait_served(0x51, 1));
    quiet_port = 0;
    check_equal("ioapic: after its end the input is free", ioapic_get(IOAPIC0, 0x10 + 2 * 4),
                0x8051);
    ioapic_put(IOAPIC0, 0x10 + 2 * 4, 0x10000);
}

static void power(void)
{
    check_equal("ged: nothing has happened", mmio_get(0xfea00000), 0);
}

void guest(void)
{
    interrupts_init();
    unassigned();
    serial();
    interval_timer();
    legacy_interrupts();
    real_time_clock();
    firmware_configuration();
    local_apic();
    io_apic();
    power();
}
