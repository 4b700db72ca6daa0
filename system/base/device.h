/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What devices are: a class, which is one constant struct at the end of the device's file, and
 * objects that begin with a Device. All with the machine's lock held, unless told otherwise.
 *
 * The state that a guest can see or has set is plain data in the object, and the class's .section
 * tells how it goes into a migration stream: what is not there follows from it, or is the host's.
 */
#ifndef SYSTEM_BASE_DEVICE_H
#define SYSTEM_BASE_DEVICE_H

#include "system/base/ram.h"
#include "system/base/state.h"
#include "util/hold.h"
#include "util/json.h"

typedef struct Device Device;
typedef struct DeviceClass DeviceClass;

/* ---- state ----------------------------------------------------------------------------------- */

/*
 * How a device goes into a migration stream, and comes out of one: by way of an image, a struct
 * that the layout describes. It may have several sections of the same name: @n counts them from 0.
 */
typedef struct {
    const char *name;   /* of the section */
    const StateLayout *layout;
    unsigned count;     /* of sections; 0: one */
    void (*save)(const Device *d, unsigned n, void *image); /* @image is zeroed */
    /*
     * Takes the state over, which replaces that of a reset; lines of interrupts stay as their
     * controllers have them. False with @err: it can not be.
     */
    bool (*load)(Device *d, unsigned n, const void *image, GError **err);
} DeviceSection;

#define STATE(type, member) STATE_ONE(STATE_UINT, #member, type, member)
#define STATE_ARRAY(type, member) STATE_MANY(STATE_UINT, #member, type, member)
/* @member of each element of @array. */
#define STATE_EACH(type, array, member)                                                            \
    { #array "." #member, STATE_UINT, offsetof(type, array[0].member),                             \
      STATE_SIZE(type, array[0].member), G_N_ELEMENTS(((type *)0)->array),                         \
      STATE_SIZE(type, array[0]), NULL, 0 }

/* ---- properties ------------------------------------------------------------------------------ */

typedef enum { DEVICE_STR, DEVICE_BOOL, DEVICE_UINT16, DEVICE_UINT32, DEVICE_SIZE } PropertyKind;

/* What -device may say: strings become char * owned by the device, others an integer or a bool. */
typedef struct {
    const char *name; /* NULL ends a table */
    PropertyKind kind;
    size_t offset;
    const char *doc;
    /* the target of a migration may have another value: no guest sees it, or it moves */
    bool is_local;
} Property;

#define PROPERTY(name, kind, type, member, doc) { name, kind, offsetof(type, member), doc, false }
#define LOCAL_PROPERTY(name, kind, type, member, doc)                                              \
    {                                                                                              \
        name, kind, offsetof(type, member), doc, true                                              \
    }

/* NULL: there is no such property. */
const Property *property_find(const DeviceClass *cls, const char *name);
/* How people call its kind: "uint32". */
const char *property_type(const Property *p);

/* What clients see of a device that lives (qom-get) and may change (qom-set). Main loop. */
typedef struct {
    const char *name; /* NULL ends a table */
    const char *type; /* for people */
    json_t *(*get)(const Device *d);                            /* new reference */
    bool (*set)(Device *d, const json_t *value, GError **err);  /* NULL: it is read-only */
} DeviceAttribute;

/* ---- classes --------------------------------------------------------------------------------- */

struct DeviceClass {
    const char *name;             /* "virtio-blk-device" */
    const char *bus;              /* what it is plugged into by -device; NULL: part of a machine */
    const char *provides;         /* the bus that others are plugged into; NULL: none */
    size_t size;                  /* of the object; zeroed */
    const DeviceSection *section; /* NULL: it cannot be migrated, unless it has no state */
    /* The same of one whose section depends on what is plugged in; NULL with .section. */
    const DeviceSection *(*own_section)(const Device *d);
    /* nothing is to be migrated, or another device's section has it */
    bool is_stateless;
    const Property *properties;   /* NULL: none */
    const DeviceAttribute *attributes; /* NULL: none */
    void (*defaults)(Device *d);  /* of properties, before they are set; NULL: all zero */
    bool (*realize)(Device *d, GError **err); /* properties and Board are there */
    /*
     * Plugs @child, which is realized, into the bus that @d provides. Main loop, without the lock.
     */
    bool (*plug)(Device *d, Device *child, GError **err);
    void (*reset)(Device *d);                 /* as after power-on; NULL: nothing changes */
    void (*unrealize)(Device *d);             /* also after realize has failed; NULL: nothing */
    void (*pause)(Device *d);  /* the guest was stopped: touch its memory no more; NULL: does not */
    /*
     * Waits until the host has done what the guest has asked for: main loop, without the lock,
     * while the guest stands still. NULL: nothing takes time. May suspend.
     */
    void (*drain)(Device *d);
    /*
     * Memory may be missing from now on, or some has come (memory_map_here). NULL: it lacks none.
     */
    void (*arrived)(Device *d);
    void (*resume)(Device *d); /* the guest begins to run, or goes on; NULL: does not matter */
    /*
     * Ends what it does on the host, on the main loop and without the lock, while the guest stands
     * still; comes before unrealize. NULL: nothing. May suspend.
     */
    void (*disconnect)(Device *d);
};

/* Generated; NULL-ended. */
extern const DeviceClass *const device_classes[];

/* ---- what is around a device ----------------------------------------------------------------- */

/* What the machine is for its devices. */
typedef struct Board {
    MemoryMap *memory;
    MemoryMap *ports; /* 64 KiB of I/O ports */
    uint8_t *ram;     /* the guest's memory, wherever it stands; NULL: it has none */
    uint64_t ram_size;
    uint64_t ram_page_size;    /* of the host, where it is mapped */
    bool ram_is_shared;        /* writes go to the file behind it */
    bool ram_is_copy;          /* privately mapped file: written pages are copies */
    Device *balloon;  /* NULL: there is none */
    /* Sets an input of the interrupt controllers: a global system interrupt. */
    void (*set_irq)(struct Board *b, unsigned gsi, bool level);
    /* Requests to the program. */
    void (*shutdown)(struct Board *b, int exit_code); /* the guest powers off */
    void (*reset)(struct Board *b);
    void (*panicked)(struct Board *b, bool crash_loaded);
    void (*watchdog_expired)(struct Board *b);
    unsigned anonymous; /* devices of -device without an id so far */
    void (*io_error)(struct Board *b); /* the guest stops until the user lets it go on */
    unsigned failed_io; /* requests of disks that rest until then, or until a reset */
    void (*warn)(struct Board *b, const char *text); /* tells the user, on standard error */
} Board;

struct Device {
    const DeviceClass *cls;
    char *id;          /* NULL: it was given none */
    unsigned number;   /* among those of -device without an id */
    Board *board;
    Hold *stays;       /* on hold_migration; NULL: it can move */
};

/*
 * Makes a device of @cls. @options, an object of strings and JSON values, sets its properties, and
 * is left to the caller; NULL: none. NULL with @err.
 */
Device *device_new(Board *board, const DeviceClass *cls, const char *id, const json_t *options,
                   GError **err);
void device_free(Device *d);
/* How users call it: its id, or its place among those without one. The caller frees it. */
char *device_name(const Device *d);
void device_reset(Device *d);

/* New reference; NULL with @err: it has no such property. */
json_t *property_get(const Device *d, const char *name, GError **err);

const DeviceClass *device_class_find(const char *name);
/* NULL: it has none. */
const DeviceSection *device_section(const Device *d);

/* Adds I/O ports whose place the user chose. False with @err: others are there. */
bool board_add_ports(Board *b, uint32_t start, uint32_t size, const MmioOps *ops, void *opaque,
                     GError **err);

#endif
