/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine that is emulated: microvm, docs/spec/microvm.md. Its files: machine.c puts it
 * together, vcpu.c runs processors, run-state.c stops and starts it, linux.c loads kernels, acpi.c
 * makes tables.
 */
#ifndef SYSTEM_MACHINE_H
#define SYSTEM_MACHINE_H

#include "hw/lapic.h"
#include "hw/mc146818.h"
#include "io/co.h"
#include "system/icount.h"
#include "system/memory-backend.h"
#include "target/x86/code-pages.h"
#include "target/x86/cpuid.h"

#define MACHINE_LOW_END UINT64_C(0xc0000000) /* RAM above this stands at 4 GiB */
#define MACHINE_HIGH (UINT64_C(1) << 32)
#define VIRTIO_MMIO_ADDRESS UINT64_C(0xfeb00000)
enum { VIRTIO_MMIO_SIZE = 0x200, VIRTIO_MMIO_COUNT = 24, VIRTIO_MMIO_GSI = 24, IRQ0_GSI = 2 };

typedef struct Vcpu Vcpu;

/* An item of -fw_cfg. */
typedef struct {
    char *name;
    GBytes *data;
} FwCfgItem;

/* What the command line says of it. */
typedef struct {
    uint64_t ram_size;
    bool has_ram_size;      /* it was given */
    const char *memory_backend; /* id of the object that is its memory; NULL: none */
    const char *mem_path;   /* file or folder that its memory is in; NULL: none */
    bool mem_prealloc;
    unsigned cpus;
    X86Model model;
    const struct Accel *accel;
    bool interpret;         /* -accel tcg,backend=interp */
    bool one_thread;        /* -accel tcg,thread=single: processors run in turn */
    uint32_t dirty_ring_size; /* -accel kvm,dirty-ring-size: entries, a power of two; 0: none */
    IcountConfig icount;
    bool pic, pit, rtc, isa_serial;
    RtcSource rtc_source;
    bool rtc_is_local, rtc_has_date; /* at first it shows the host's local time; .rtc_date */
    int64_t rtc_date;                /* seconds since 1970, UTC */
    bool auto_kernel_cmdline;
    bool legacy_virtio;     /* -global virtio-mmio.force-legacy=on */
    bool is_none;           /* -M none: nothing but what makes backends */
    const char *kernel, *initrd, *append, *bios; /* NULL: none */
    const char *serial;     /* id of the character device; NULL: none */
    /* What firmware is told; times in milliseconds, -1: nothing. */
    bool boot_menu;
    int64_t splash_time, reboot_timeout;
    GArray *fw_cfg;         /* of FwCfgItem; NULL: none */
    GPtrArray *folders;     /* of char *: where firmware is looked for first; NULL: none */
} MachineConfig;

/* A piece of the memory map that guests are told of. */
typedef struct {
    uint64_t start, size;
    uint32_t type; /* 1: RAM, 2: reserved */
} E820Entry;
enum { E820_RAM = 1, E820_RESERVED = 2, E820_MAX = 8 };

/*
 * Memory besides the machine's own that streams may carry: firmware, which stands below 1 MiB and
 * below 4 GiB, and tables that it reads. Nothing of it is there unless a guest came with it.
 */
enum { FIRMWARE_SIZE = 64 << 10, FIRMWARE_LOW = 0xf0000, MACHINE_ROMS = 4 };
typedef struct {
    const char *name;
    uint8_t *host;
    uint64_t size, size_max;
    bool has_come;
} MachineRom;

typedef struct Machine {
    Board board;            /* first */
    MachineConfig config;
    uint8_t *ram;
    MemoryBackend *memory;  /* NULL: it has none */
    MemoryBackend *own_memory; /* the same if no object describes it */
    MachineRom rom[MACHINE_ROMS]; /* the firmware first */
    GPtrArray *devices;     /* of Device, in the order they were made */
    GPtrArray *vcpus;       /* of Vcpu */
    LapicBus *lapic_bus;
    void *accel_state;      /* the accelerator's own */
    X86CodePages *code_pages;
    Device *ioapic[2], *pic, *fw_cfg, *ged;
    Device *slot[VIRTIO_MMIO_COUNT]; /* transports; NULL: none is there */
    /* What starts; NULL each: something else does. */
    struct LinuxImage *linux_image;
    struct ElfImage *elf_image;
    struct Firmware *firmware;
} Machine;

/* ---- machine.c ------------------------------------------------------------------------------- */

/* Main loop, without the lock. NULL with @err. */
Machine *machine_new(const MachineConfig *config, GError **err);
/* The guest has stopped for good. */
CO void machine_free(Machine *m);
/*
 * Adds a device of the class that @options names as "driver"; the rest are its properties and id.
 */
CO bool machine_add_device(Machine *m, json_t *options, GError **err);
/* Takes out a device that is neither part of the machine nor in a place of its own in memory. */
CO void machine_remove_device(Machine *m, Device *d);
/* Puts everything into the state after power-on. With the lock, while no processor runs. */
void machine_reset(Machine *m);
void machine_power_button(Machine *m);
void machine_inject_nmi(Machine *m); /* into all processors; with the lock */
/* Do requests of disks that have failed wait for the guest to go on? */
bool machine_has_failed_io(const Machine *m);
/* Lets clients reach devices by path (qom-get). */
void machine_show_devices(void);
/* False with @err: no machine has so much memory. */
bool ram_size_is_fine(uint64_t size, GError **err);
unsigned machine_e820(const Machine *m, E820Entry *out);

/* ---- linux.c --------------------------------------------------------------------------------- */

/*
 * Takes the kernel @file over, reads the initial RAM disk, checks that they fit. False with @err.
 */
bool linux_open(Machine *m, uint8_t *file, size_t size, GError **err);
void linux_close(Machine *m);
/* Puts them into memory, and the boot processor to their entry. */
void linux_load(Machine *m, X86Cpu *cpu);

/* ---- boot-elf.c ------------------------------------------------------------------------------ */

/* Is it an ELF file, or has it a multiboot header? */
bool elf_is_kernel(const uint8_t *file, size_t size);
/* Takes @file over. False with @err. */
bool elf_open(Machine *m, uint8_t *file, size_t size, GError **err);
void elf_close(Machine *m);
void elf_load(Machine *m, X86Cpu *cpu);

/* ---- firmware.c ------------------------------------------------------------------------------ */

extern const char *const firmware_folders[]; /* where distributions put it; NULL-ended */

/* Reads the image that the configuration names. False with @err. */
bool firmware_read(Machine *m, GError **err);
/* Of the image, or of what stands for it where there is none. */
size_t firmware_size(const Machine *m);
/* Tells it of the kernel that it is to start. */
bool firmware_tell(Machine *m, GError **err);
void firmware_close(Machine *m);
void firmware_load(Machine *m);

/* ---- acpi.c ---------------------------------------------------------------------------------- */

enum { ACPI_ADDRESS = 0xe0000, ACPI_SIZE = 0x10000 };
/* Makes the tables, the root pointer first, for an area of ACPI_SIZE bytes at ACPI_ADDRESS. */
GByteArray *acpi_build(const Machine *m);

#endif
