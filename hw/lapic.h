/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APICs, one for each processor, and the bus between them. All with the machine's lock held.
 */
#ifndef HW_LAPIC_H
#define HW_LAPIC_H

#include "system/base/clock.h"
#include "system/base/device.h"

typedef struct Lapic Lapic;

/* What a local APIC does to its processor. */
typedef struct {
    void (*interrupt)(void *cpu, bool pending); /* ask lapic_acknowledge, or need not any more */
    void (*set_cr8)(void *cpu, uint8_t priority);
    uint64_t (*tsc)(void *cpu); /* counts nanoseconds */
    void (*nmi)(void *cpu);
    void (*init)(void *cpu);
    void (*start)(void *cpu, uint8_t page);
    bool (*waits_for_start)(void *cpu); /* after INIT, until somebody starts it */
    void (*set_waits_for_start)(void *cpu, bool waits);
} LapicCpu;

/* Has no device: what connects the APICs of a machine. */
typedef struct LapicBus LapicBus;
LapicBus *lapic_bus_new(void (*eoi)(void *opaque, uint8_t vector), void *opaque);
void lapic_bus_free(LapicBus *bus);

typedef enum {
    LAPIC_FIXED, LAPIC_LOWEST, LAPIC_SMI, LAPIC_NMI = 4, LAPIC_INIT, LAPIC_STARTUP, LAPIC_EXTINT,
} LapicDelivery;

typedef struct {
    uint32_t destination;
    bool logical, level_triggered;
    LapicDelivery delivery;
    uint8_t vector;
} LapicMessage;

void lapic_bus_send(LapicBus *bus, const LapicMessage *m);
/* A processor has served @vector, which was level-triggered. */
void lapic_bus_eoi(LapicBus *bus, uint8_t vector);

/*
 * Where the processors have local APICs of their own, the devices only hold their registers while
 * the processors stand still, and messages go to @send. @route tells what an input of the I/O APICs
 * sends, NULL: nothing, before it does.
 */
typedef struct {
    void (*send)(void *opaque, const LapicMessage *m);
    void (*route)(void *opaque, unsigned input, const LapicMessage *m);
} LapicRemote;
/* Before there are APICs. */
void lapic_bus_set_remote(LapicBus *bus, const LapicRemote *ops, void *opaque);
void lapic_bus_route(LapicBus *bus, unsigned input, const LapicMessage *m);

extern const DeviceClass device_lapic;
/* To be called at once after device_new. The first is that of the boot processor. */
void lapic_connect(Device *d, LapicBus *bus, const LapicCpu *ops, void *cpu);

/* The output of the legacy interrupt controller, which reaches the boot processor by LINT0. */
void lapic_set_external(Device *d, bool level);
/*
 * The vector the processor is to serve, which counts as taken; -1: none; LAPIC_ASK_PIC: the legacy
 * controller has it. @cr8 is what the processor has there.
 */
enum { LAPIC_ASK_PIC = 256 };
int lapic_acknowledge(Device *d, uint8_t cr8);
/*
 * The processor has changed CR8. Without this call new interrupts would be judged by the old value,
 * and one that has just become urgent enough would be withdrawn.
 */
void lapic_set_cr8(Device *d, uint8_t cr8);

/* IA32_APIC_BASE, the registers of x2APIC and the deadline: false if there is no such register. */
bool lapic_msr_read(Device *d, uint32_t index, uint64_t *value);
bool lapic_msr_write(Device *d, uint32_t index, uint64_t value);
/* The deadline goes into streams with the processor, and comes after the APIC. */
uint64_t lapic_deadline(const Device *d);
void lapic_load_deadline(Device *d, uint64_t deadline);
/* Registers in memory, of the processor that asks. */
uint32_t lapic_read(Device *d, uint64_t offset);
void lapic_write(Device *d, uint64_t offset, uint32_t value);
bool lapic_is_enabled(const Device *d);
/* The registers in memory, one for each 16 bytes: of where they are while the guest runs. */
enum { LAPIC_REGISTERS = 64 };
typedef struct {
    uint64_t base, deadline;
    uint32_t reg[LAPIC_REGISTERS];
} LapicRegisters;
void lapic_get_registers(Device *d, LapicRegisters *out);
void lapic_set_registers(Device *d, const LapicRegisters *in);
/* @vector, which counts as taken, is to be taken again. False: it does not count as taken. */
bool lapic_take_back(Device *d, uint8_t vector);
/* For people. */
void lapic_describe(const Device *d, GString *out);

#endif
