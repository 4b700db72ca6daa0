/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-self.h"
#include "block/jobs/job.h"
#include "hw/virtio/device.h"
#include "hw/virtio/drives.h"
#include "migration/check.h"
#include "migration/missing.h"
#include "system/dump.h"
#include "system/migration-info.h"
#include "system/migration-route.h"
#include "system/migration-settings.h"
#include "system/migration-status.h"
#include "system/options.h"
#include "system/sections.h"
#include "system/vm-snapshot.h"
#include "util/err.h"
#include "util/hold.h"
#include <string.h>

/* ---- the machine ----------------------------------------------------------------------------- */

static json_t *board_parts(const MachineConfig *c)
{
    const struct {
        const char *name;
        bool is_there;
    } parts[] = {
        { "pic", c->pic }, { "pit", c->pit }, { "rtc", c->rtc }, { "isa-serial", c->isa_serial },
    };
    json_t *list = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
        if (parts[i].is_there)
            json_array_append_new(list, json_string(parts[i].name));
    return list;
}

static json_t *memory_blocks(Machine *m)
{
    g_auto(RamBlocks) all = { 0 }, sent = { 0 };
    json_t *list = json_array();

    ram_blocks_init(&all);
    ram_blocks_init(&sent);
    machine_ram_blocks(m, &all, false);
    machine_ram_blocks(m, &sent, true);
    for (guint i = 0; i < all.blocks->len; i++) {
        const RamBlock *b = all.blocks->pdata[i];
        json_t *o = json_object();

        json_put_str(o, "name", b->name);
        json_put_int(o, "size", b->size);
        if (b->size_max)
            json_put_int(o, "max-size", b->size_max);
        json_put_bool(o, "sent", ram_block_find(&sent, b->name));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *processors(const MachineConfig *c)
{
    json_t *o = json_object(), *features = json_array();

    for (const X86FlagInfo *f = x86_flags; f->name; f++)
        if (x86_model_has(&c->model, f))
            json_array_append_new(features, json_string(f->name));
    json_put_int(o, "count", c->cpus);
    json_put_str(o, "model", c->model.info->name);
    json_put(o, "features", features);
    return o;
}

static json_t *sections(Machine *m)
{
    CarriedState unused = { 0 };
    g_autoptr(GPtrArray) all = machine_sections(m, &unused, run_state() != STATE_INMIGRATE);
    json_t *list = json_array();

    for (guint i = 0; i < all->len; i++) {
        const MigSection *s = all->pdata[i];
        json_t *o = json_object();

        json_put_str(o, "name", s->name);
        json_put_int(o, "instance", s->instance);
        json_put_int(o, "version", s->layout->version);
        json_put_int(o, "minimum-version", s->layout->oldest);
        json_array_append_new(list, o);
    }
    return list;
}

/* ---- devices --------------------------------------------------------------------------------- */

static json_t *visible_properties(const Device *d)
{
    json_t *o = json_object();

    for (const Property *p = d->cls->properties; p && p->name; p++)
        if (!p->is_local)
            json_put(o, p->name, property_get(d, p->name, NULL));
    return o;
}

/* NULL: it is no disk, or has no medium. */
static json_t *disk_of(const Device *d)
{
    g_autoptr(json_t) name = property_find(d->cls, "drive") ? property_get(d, "drive", NULL) : NULL;
    Handle *h = name ? drive_find(json_string_value(name)) : NULL;
    Node *n = h ? handle_node(h) : name ? node_find(json_string_value(name)) : NULL;
    json_t *o;

    if (!n)
        return NULL;
    o = json_object();
    json_put_str(o, "file", node_filename(n));
    json_put_int(o, "size", node_size(n));
    json_put_bool(o, "read-only", node_is_read_only(n));
    return o;
}

static void put_virtio(json_t *o, const VirtioDevice *d)
{
    json_put_str(o, "place", d->path);
    json_put_int(o, "offered", virtio_features(d));
    if (d->status & VIRTIO_STATUS_FEATURES_OK)
        json_put_int(o, "accepted", d->features);
}

static json_t *describe_device(const Device *d)
{
    json_t *o = json_object(), *disk = disk_of(d);
    g_autofree char *name = device_name(d);

    json_put_str(o, "driver", d->cls->name);
    json_put_str(o, "name", name);
    json_put(o, "properties", visible_properties(d));
    if (!strcmp(d->cls->bus, "virtio-bus"))
        put_virtio(o, (const VirtioDevice *)d);
    else if (device_section(d))
        json_put_str(o, "place", device_section(d)->name);
    if (disk)
        json_put(o, "disk", disk);
    return o;
}

/* Those of -device; what belongs to the board is told by its parts. */
static json_t *devices(const Machine *m)
{
    json_t *list = json_array();

    for (guint i = 0; i < m->devices->len; i++) {
        const Device *d = m->devices->pdata[i];

        if (d->cls->bus)
            json_array_append_new(list, describe_device(d));
    }
    return list;
}

/* ---- settings -------------------------------------------------------------------------------- */

static json_t *capabilities(void)
{
    json_t *list = json_array();

    for (int i = 0; i < migration_capability_enum.count; i++)
        if (migration_has(i))
            json_array_append_new(list, json_string(migration_capability_enum.names[i]));
    return list;
}

/* ---- what keeps the guest here --------------------------------------------------------------- */

static void add_holds(json_t *reasons)
{
    for (const GList *l = hold_migration.deny.head; l; l = l->next) {
        const Hold *h = l->data;

        migration_reason_add(reasons, "hold", "%s: %s", h->owner, h->reason);
    }
}

/* With the pause before the switch-over there is time to end them. */
static void add_jobs(json_t *reasons)
{
    const Job *j;

    for (unsigned i = 0; (j = job_at(i)); i++)
        if (j->drv->is_block && j->status != JOB_STATUS_CONCLUDED &&
            !migration_has(MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER))
            migration_reason_add(reasons, "job", "Job '%s' (%s) of the source has to end, or "
                                 "'pause-before-switchover' has to be on", j->id ? j->id : "",
                                 job_type_enum.names[j->drv->type]);
}

static void add_state(json_t *reasons)
{
    MachineState s = run_state();

    if (migration_is_active())
        migration_reason_add(reasons, "state", "The source has a migration under way");
    else if (dump_is_active())
        migration_reason_add(reasons, "state", "The source's memory is being dumped");
    else if (vm_snapshot_is_busy())
        migration_reason_add(reasons, "state", "A snapshot of the source is under way");
    else if (s == STATE_POSTMIGRATE)
        migration_reason_add(reasons, "state", "The source's guest has left already");
    else if (machine_has_failed_io(run_state_machine()))
        migration_reason_add(reasons, "state", "Failed disk requests wait at the source: "
                             "continue its guest first ('cont')");
    else if (!machine_state_travels(s))
        migration_reason_add(reasons, "state", "The source's guest cannot be migrated in this "
                             "state: continue or stop it first ('cont', 'stop')");
}

/* ---- what keeps it from coming --------------------------------------------------------------- */

/* Memory of a file is refused whether or not the source wants postcopy. */
static void add_postcopy(const Machine *m, json_t *reasons)
{
    if (migration_has(MIGRATION_CAPABILITY_POSTCOPY_RAM) && m->memory->fd >= 0)
        migration_reason_add(reasons, "memory", "Memory '%s' of the target is a file: "
                             "'postcopy-ram' has to be off there", m->memory->id);
}

/* Whether the host lets us wait for memory; tried as for a guest that comes. */
static void put_no_postcopy(json_t *end)
{
    g_auto(RamBlocks) none = { 0 };
    g_autoptr(Missing) m = NULL;
    g_autoptr(GError) err = NULL;

    ram_blocks_init(&none);
    m = missing_new(&none, NULL, &err);
    if (!m)
        json_put_str(end, "no-postcopy", err->message);
}

/* ---- all ------------------------------------------------------------------------------------- */

static CO json_t *reasons_against(const char *uri, bool is_incoming)
{
    json_t *reasons = json_array();

    if (!is_incoming) {
        add_holds(reasons);
        add_jobs(reasons);
        add_state(reasons);
    } else {
        add_postcopy(run_state_machine(), reasons);
    }
    if (uri)
        migration_route_check(uri, is_incoming, reasons);
    return reasons;
}

CO json_t *migration_describe(const char *uri, GError **err)
{
    Machine *m = run_state_machine();
    bool is_incoming = run_state() == STATE_INMIGRATE;
    g_autoptr(json_t) info = migration_info();
    json_t *o;

    if (m->config.is_none) {
        err_set(err, ENOTSUP, "Machine 'none' has nothing to migrate");
        return NULL;
    }
    o = json_object();
    json_put_str(o, "machine", "microvm");
    json_put(o, "board", board_parts(&m->config));
    json_put_str(o, "uuid", options_guest_uuid());
    json_put(o, "memory", memory_blocks(m));
    json_put(o, "processors", processors(&m->config));
    json_put(o, "sections", sections(m));
    json_put(o, "devices", devices(m));
    json_put(o, "capabilities", capabilities());
    json_put(o, "parameters", migration_parameters());
    json_put_bool(o, "incoming", is_incoming);
    if (is_incoming && json_has(info, "socket-address"))
        json_put(o, "addresses", json_incref(json_get(info, "socket-address")));
    if (is_incoming)
        put_no_postcopy(o);
    json_put(o, "reasons", reasons_against(uri, is_incoming));
    return o;
}
