/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values of options. */
#include "system/options.h"
#include "qapi/schema.h"
#include "util/err.h"
#include "util/keyval.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

static bool parse_on_off(const char *key, const char *v, bool *out, GError **err)
{
    if (!strcmp(v, "on") || !strcmp(v, "off") || !strcmp(v, "auto"))
        *out = strcmp(v, "off");
    else
        return err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", key);
    return true;
}

/* No "auto". */
bool option_parse_switch(const char *key, const char *v, bool *out, GError **err)
{
    return (strcmp(v, "auto") ||
            err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", key)) &&
           parse_on_off(key, v, out, err);
}

/* ---- -M -------------------------------------------------------------------------------------- */

/* Properties that the reference has and that are so here, or cannot be had. */
static bool fixed_property(const char *key, const char *v, bool *is_known, GError **err)
{
    static const struct {
        const char *key;
        bool only;
    } fixed[] = {
        { "acpi", true }, { "ioapic2", true }, { "pcie", false }, { "x-option-roms", false },
        { "usb", false }, { "graphics", false }, { "mem-merge", true }, { "dump-guest-core", true },
        { "smm", false },
    };
    bool on;

    *is_known = false;
    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++) {
        if (strcmp(fixed[i].key, key))
            continue;
        *is_known = true;
        if (!strcmp(v, "auto"))
            return true;
        if (!parse_on_off(key, v, &on, err))
            return false;
        return on == fixed[i].only || err_set(err, ENOTSUP, "The machine property '%s=%s' is not "
                                              "there: only '%s'", key, v, on ? "off" : "on");
    }
    return true;
}

/* The machine has two I/O APICs, of which KVM could have but one. */
static bool kernel_irqchip(const char *v, GError **err)
{
    if (!strcmp(v, "on") || !strcmp(v, "off"))
        return err_set(err, ENOTSUP, "The property 'kernel-irqchip=%s' is not there: only 'split'",
                       v);
    return !strcmp(v, "split") || err_set(err, EINVAL, "Parameter 'kernel-irqchip' does not accept "
                                          "value '%s'", v);
}

static bool machine_property(Options *o, const char *key, const char *v, GError **err)
{
    const struct {
        const char *key;
        bool *to;
    } switches[] = {
        { "pic", &o->machine.pic }, { "pit", &o->machine.pit }, { "rtc", &o->machine.rtc },
        { "isa-serial", &o->machine.isa_serial },
        { "auto-kernel-cmdline", &o->machine.auto_kernel_cmdline },
    };
    bool is_known;

    for (size_t i = 0; i < G_N_ELEMENTS(switches); i++)
        if (!strcmp(switches[i].key, key))
            return parse_on_off(key, v, switches[i].to, err);
    if (!strcmp(key, "accel"))
        return option_accel(o, v, err);
    if (!strcmp(key, "kernel-irqchip"))
        return kernel_irqchip(v, err);
    if (!strcmp(key, "memory-backend")) {
        o->machine.memory_backend = g_intern_string(v);
        return true;
    }
    if (!fixed_property(key, v, &is_known, err))
        return false;
    return is_known || err_set(err, EINVAL, "Property 'microvm-machine.%s' not found", key);
}

bool option_machine(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, "type", err);
    const char *key;
    json_t *v;

    if (!items)
        return false;
    json_object_foreach(items, key, v) {
        if (!json_is_string(v))
            return err_set(err, ENOTSUP, "Machine property '%s' is not there", key);
        if (!strcmp(key, "type")) {
            o->machine.is_none = !strcmp(json_string_value(v), "none");
            if (!o->machine.is_none && strcmp(json_string_value(v), "microvm"))
                return err_set(err, EINVAL,
                               "unsupported machine type '%s' (there are 'microvm' and "
                               "'none')",
                               json_string_value(v));
        } else if (!machine_property(o, key, json_string_value(v), err)) {
            return false;
        }
    }
    return true;
}

/* ---- -accel ---------------------------------------------------------------------------------- */

static void add_accel(Options *o, const Accel *a)
{
    for (unsigned i = 0; i < o->accels; i++)
        if (o->accel[i] == a)
            return;
    o->accel[o->accels++] = a;
}

/* "kvm:tcg": the first that can be had counts. */
static bool accel_names(Options *o, const char *names, GError **err)
{
    g_auto(GStrv) words = g_strsplit(names, ":", -1);

    for (char **w = words; *w; w++)
        if (!strcmp(*w, accel_tcg.name))
            add_accel(o, &accel_tcg);
        else if (!strcmp(*w, accel_kvm.name))
            add_accel(o, &accel_kvm);
        else if (!strcmp(*w, accel_qtest.name))
            add_accel(o, &accel_qtest);
        else
            return err_set(err, ENOTSUP, "The accelerator '%s' is not there, only 'tcg', 'kvm' and "
                           "'qtest'", *w);
    return true;
}

bool option_enable_kvm(Options *o)
{
    add_accel(o, &accel_kvm);
    return true;
}

static bool dirty_ring_size(Options *o, const char *v, GError **err)
{
    uint64_t n;

    if (size_parse(v, 1, &n, NULL) < 0 || n > UINT32_MAX || (n && !is_power_of_2(n)))
        return err_set(err, EINVAL, "Parameter 'dirty-ring-size' expects a power of two, not '%s'",
                       v);
    o->machine.dirty_ring_size = n;
    return true;
}

static bool kvm_property(Options *o, const char *key, const char *v, GError **err)
{
    if (!strcmp(key, "kernel-irqchip"))
        return kernel_irqchip(v, err);
    if (!strcmp(key, "dirty-ring-size"))
        return dirty_ring_size(o, v, err);
    if (!strcmp(key, "kvm-shadow-mem"))
        return err_set(err, ENOTSUP, "The property '%s' is not there", key);
    return err_set(err, EINVAL, "Property 'kvm-accel.%s' not found", key);
}

static bool tcg_property(Options *o, const char *key, const char *v, GError **err)
{
    if (!strcmp(key, "backend")) {
        o->machine.interpret = !strcmp(v, "interp");
        return o->machine.interpret || !strcmp(v, "auto") ||
               err_set(err, EINVAL, "The backend of tcg is 'auto' or 'interp', not '%s'", v);
    }
    if (!strcmp(key, "thread")) {
        o->threads_asked_for = !strcmp(v, "multi");
        o->machine.one_thread = !strcmp(v, "single");
        return !strcmp(v, "multi") || !strcmp(v, "single") ||
               err_set(err, EINVAL, "Invalid 'thread' setting %s", v);
    }
    return err_set(err, EINVAL, "Property 'tcg-accel.%s' not found", key);
}

/* Properties are of the accelerator before them. */
static bool accel_property(Options *o, const char *names, const char *key, const char *v,
                           GError **err)
{
    if (!strcmp(key, "accel"))
        return accel_names(o, v, err);
    if (!strcmp(names, accel_qtest.name))
        return err_set(err, EINVAL, "Property 'qtest-accel.%s' not found", key);
    return strcmp(names, accel_kvm.name) ? tcg_property(o, key, v, err)
                                         : kvm_property(o, key, v, err);
}

bool option_accel(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, "accel", err);
    const char *key, *names;
    json_t *v;

    if (!items)
        return false;
    names = json_get_str(items, "accel", "");
    json_object_foreach(items, key, v)
        if (!json_is_string(v) || !accel_property(o, names, key, json_string_value(v), err))
            return false;
    return true;
}

/* ---- -m and -smp ----------------------------------------------------------------------------- */

bool option_memory(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, "size", err);
    const char *size = items ? json_get_str(items, "size", NULL) : NULL;
    uint64_t v;

    if (!items)
        return false;
    if (json_has(items, "maxmem") || json_has(items, "slots"))
        return err_set(err, ENOTSUP,
                       "Memory is not plugged in while the guest runs (maxmem, slots)");
    if (json_object_size(items) != 1 || !size)
        return err_set(err, EINVAL, "-m takes a size");
    if (size_parse(size, MiB, &v, NULL) < 0)
        return err_set(err, EINVAL, "Parameter 'size' expects a size, not '%s'", size);
    v = v ? round_up(v, 4096) : 128 * MiB;
    o->machine.ram_size = v;
    o->machine.has_ram_size = true;
    return ram_size_is_fine(v, err);
}

static bool topology_number(const json_t *items, const char *key, uint64_t *v, GError **err)
{
    const char *text = json_get_str(items, key, "1"), *end;

    *v = g_ascii_strtoull(text, (char **)&end, 10);
    return (end != text && !*end && *v >= 1 && *v <= 1 << 16) ||
           err_set(err, EINVAL, "Parameter 'smp.%s' expects a number, not '%s'", key, text);
}

bool option_smp(Options *o, const char *text, GError **err)
{
    static const char *const parts[] = { "sockets", "dies", "cores", "threads", NULL };
    g_autoptr(json_t) items = keyval_parse(text, "cpus", err);
    uint64_t cpus, maximum, product = 1, v;
    const char *key;
    json_t *value;

    if (!items)
        return false;
    json_object_foreach(items, key, value)
        if (!g_strv_contains(parts, key) && strcmp(key, "cpus") && strcmp(key, "maxcpus"))
            return err_set(err, EINVAL, "Parameter 'smp.%s' is unexpected", key);
    for (size_t i = 0; parts[i]; i++) {
        if (!topology_number(items, parts[i], &v, err))
            return false;
        product *= v;
    }
    if (!topology_number(items, "cpus", &cpus, err) ||
        !topology_number(items, "maxcpus", &maximum, err))
        return false;
    if (!json_has(items, "cpus"))
        cpus = product;
    if (cpus > MACHINE_CPUS_MAX || maximum > MACHINE_CPUS_MAX || product > MACHINE_CPUS_MAX)
        return err_set(err, ENOTSUP, "Invalid SMP CPUs %" PRIu64 ". The max CPUs supported by "
                       "machine 'microvm' is %u", MAX(cpus, MAX(maximum, product)),
                       MACHINE_CPUS_MAX);
    o->machine.cpus = cpus;
    return true;
}

/* ---- names ----------------------------------------------------------------------------------- */

bool option_name(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, "guest", err);
    const char *key;
    json_t *v;

    if (!items)
        return false;
    json_object_foreach(items, key, v)
        if (strcmp(key, "guest") && strcmp(key, "debug-threads"))
            return err_set(err, ENOTSUP, "-name: parameter '%s' is not there", key);
    g_free(o->name);
    o->name = g_strdup(json_get_str(items, "guest", NULL));
    options_stamp_messages(o);
    return true;
}

bool option_uuid(Options *o, const char *text, GError **err)
{
    if (!g_uuid_string_is_valid(text))
        return err_set(err, EINVAL, "'%s' is no UUID", text);
    g_free(o->uuid);
    o->uuid = g_ascii_strdown(text, -1);
    return true;
}

bool option_display(Options *o, const char *text, GError **err)
{
    return !strcmp(text, "none") || err_set(err, ENOTSUP, "The display '%s' is not there, only "
                                            "'none'", text);
}

bool option_action(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, NULL, err);
    g_autoptr(QmpSetActionArgs) args = NULL;

    if (!items || !schema_check("QmpSetActionArgs", items, err))
        return false;
    args = qmp_set_action_args_parse(items);
    return actions_set(&o->actions, args, err);
}

bool option_watchdog_action(Options *o, const char *text, GError **err)
{
    g_autofree char *escaped = keyval_escape(text);
    g_autofree char *action = g_strconcat("watchdog=", escaped, NULL);

    return option_action(o, action, err);
}

/* "2006-06-17T16:01:21" or "2006-06-17". */
static bool read_date(const char *text, int64_t *seconds)
{
    static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d" };

    for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++) {
        struct tm t = { 0 };
        const char *end = strptime(text, forms[i], &t);

        if (end && !*end) {
            *seconds = timegm(&t);
            return true;
        }
    }
    return false;
}

static bool rtc_base(MachineConfig *m, const char *base, GError **err)
{
    m->rtc_is_local = !strcmp(base, "localtime");
    m->rtc_has_date = !m->rtc_is_local && strcmp(base, "utc");
    return !m->rtc_has_date || read_date(base, &m->rtc_date) ||
           err_set(err, EINVAL, "base is utc, localtime, a date like 2006-06-17 or one with a time "
                   "like 2006-06-17T16:01:21, not '%s'", base);
}

static bool rtc_clock(MachineConfig *m, const char *clock, GError **err)
{
    static const char *const names[] = { "host", "rt", "vm", NULL };

    for (unsigned i = 0; names[i]; i++)
        if (!strcmp(clock, names[i])) {
            m->rtc_source = i;
            return true;
        }
    return err_set(err, EINVAL, "clock is host, rt or vm, not '%s'", clock);
}

bool option_rtc(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, NULL, err);
    const char *key;
    json_t *value;

    if (!items)
        return false;
    json_object_foreach(items, key, value) {
        const char *word = json_is_string(value) ? json_string_value(value) : "";
        bool ok = !strcmp(key, "base")    ? rtc_base(&o->machine, word, err)
                  : !strcmp(key, "clock") ? rtc_clock(&o->machine, word, err)
                  : strcmp(key, "driftfix") ? err_set(err, EINVAL, "Invalid parameter '%s'", key)
                  : !strcmp(word, "none")   ? true
                  : err_set(err, ENOTSUP, "driftfix is none: interrupts that come too late are not "
                            "made up for");

        if (!ok)
            return false;
    }
    return true;
}

static bool icount_shift(IcountConfig *c, const char *text, GError **err)
{
    const char *end;
    uint64_t shift = g_ascii_strtoull(text, (char **)&end, 10);

    c->is_on = true;
    c->is_auto = !strcmp(text, "auto");
    if (c->is_auto) {
        c->shift = 3; /* 125 million instructions a second, to begin with */
        return true;
    }
    c->shift = shift;
    return (g_ascii_isdigit(*text) && !*end && shift <= ICOUNT_SHIFT_MAX) ||
           err_set(err, EINVAL, "icount: Invalid shift value");
}

bool option_icount(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, "shift", err);
    IcountConfig *c = &o->machine.icount;
    const char *key;
    bool sleeps = true;
    json_t *value;

    if (!items)
        return false;
    json_object_foreach(items, key, value) {
        const char *word = json_is_string(value) ? json_string_value(value) : "";
        bool ok = !strcmp(key, "shift")   ? icount_shift(c, word, err)
                  : !strcmp(key, "sleep") ? option_parse_switch(key, word, &sleeps, err)
                  : !strcmp(key, "align") ? option_parse_switch(key, word, &c->aligns, err)
                  : g_str_has_prefix(key, "rr")
                      ? err_set(err, ENOTSUP, "'%s' is not there: nothing is recorded or replayed",
                                key)
                      : err_set(err, EINVAL, "Invalid parameter '%s'", key);

        if (!ok)
            return false;
    }
    c->does_not_sleep = !sleeps;
    if (!c->is_on)
        return err_set(err, EINVAL, "-icount needs shift=NUMBER or shift=auto");
    return !c->aligns || sleeps || err_set(err, EINVAL, "align=on and sleep=off are incompatible");
}

bool option_global(Options *o, const char *text, GError **err)
{
    static const char legacy[] = "virtio-mmio.force-legacy=";
    static const char *const yes[] = { "on", "yes", "true", "y", NULL };
    static const char *const no[] = { "off", "no", "false", "n", NULL };
    const char *v = text + strlen(legacy);

    if (!g_str_has_prefix(text, legacy))
        return err_set(err, ENOTSUP, "The only property that can be set this way is "
                       "virtio-mmio.force-legacy");
    o->machine.legacy_virtio = g_strv_contains(yes, v);
    return o->machine.legacy_virtio || g_strv_contains(no, v) ||
           err_set(err, EINVAL, "virtio-mmio.force-legacy is 'on' or 'off', not '%s'", v);
}
