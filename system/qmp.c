/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the machine. */
#include "gen/qmp.h"
#include "monitor/monitor.h"
#include "system/accel.h"
#include "system/base/lock.h"
#include "system/dump.h"
#include "system/migration-incoming.h"
#include "system/migration.h"
#include "system/options.h"
#include "system/run-state.h"
#include "system/vcpu.h"
#include "util/err.h"

/* ---- running --------------------------------------------------------------------------------- */

static RunState shown_state(void)
{
    static const RunState states[] = {
        [STATE_PRELAUNCH] = RUN_STATE_PRELAUNCH, [STATE_RUNNING] = RUN_STATE_RUNNING,
        [STATE_PAUSED] = RUN_STATE_PAUSED, [STATE_SHUTDOWN] = RUN_STATE_SHUTDOWN,
        [STATE_GUEST_PANICKED] = RUN_STATE_GUEST_PANICKED, [STATE_DEBUG] = RUN_STATE_DEBUG,
        [STATE_INTERNAL_ERROR] = RUN_STATE_INTERNAL_ERROR,
        [STATE_IO_ERROR] = RUN_STATE_IO_ERROR, [STATE_WATCHDOG] = RUN_STATE_WATCHDOG,
        [STATE_INMIGRATE] = RUN_STATE_INMIGRATE,
        [STATE_FINISH_MIGRATE] = RUN_STATE_FINISH_MIGRATE,
        [STATE_POSTMIGRATE] = RUN_STATE_POSTMIGRATE,
        [STATE_SAVE_VM] = RUN_STATE_SAVE_VM, [STATE_RESTORE_VM] = RUN_STATE_RESTORE_VM,
    };

    return states[run_state()];
}

CO bool qmp_query_status(StatusInfo **ret, GError **err)
{
    *ret = g_new0(StatusInfo, 1);
    (*ret)->running = run_state_is_running();
    (*ret)->status = shown_state();
    return true;
}

CO bool qmp_stop(GError **err)
{
    if (run_state_is_running())
        return incoming_may_stop(err) && (run_state_stop(STATE_PAUSED), true);
    if (run_state() == STATE_INMIGRATE)
        run_state_await_guest(false);
    return true;
}

CO bool qmp_cont(GError **err)
{
    if (run_state() == STATE_SHUTDOWN || run_state() == STATE_GUEST_PANICKED)
        return err_set(err, EINVAL, "Resetting the Virtual Machine is required");
    if (run_state() == STATE_RESTORE_VM)
        return err_set(err, EINVAL, "The guest was not loaded whole: reset it, or load a snapshot");
    if (dump_is_active())
        return err_set(err, EBUSY, "The guest's memory is being dumped");
    return migration_before_cont(err) && (run_state_start(), true);
}

CO bool qmp_system_reset(GError **err)
{
    if (dump_is_active())
        return err_set(err, EBUSY, "The guest's memory is being dumped");
    if (!incoming_may_stop(err) || !incoming_memory_is_here(err))
        return false;
    run_state_reset();
    return true;
}

CO bool qmp_system_powerdown(GError **err)
{
    machine_lock();
    machine_power_button(run_state_machine());
    machine_unlock();
    event_powerdown();
    return true;
}

CO bool qmp_system_wakeup(GError **err)
{
    return err_set(err, ENOTSUP, "wake-up from suspend is not supported by this guest");
}

CO bool qmp_inject_nmi(GError **err)
{
    Machine *m = run_state_machine();

    machine_lock();
    machine_inject_nmi(m);
    machine_unlock();
    return true;
}

CO bool qmp_quit(GError **err)
{
    run_state_quit(false);
    monitor_await_release();
    return true;
}

/* ---- what it is ------------------------------------------------------------------------------ */

CO bool qmp_query_name(NameInfo **ret, GError **err)
{
    *ret = g_new0(NameInfo, 1);
    (*ret)->name = g_strdup(options_guest_name());
    return true;
}

CO bool qmp_query_uuid(UuidInfo **ret, GError **err)
{
    *ret = g_new0(UuidInfo, 1);
    (*ret)->UUID = g_strdup(options_guest_uuid());
    return true;
}

CO bool qmp_query_kvm(KvmInfo **ret, GError **err)
{
    *ret = g_new0(KvmInfo, 1);
    (*ret)->present = true;
    (*ret)->enabled = run_state_machine()->config.accel == &accel_kvm;
    return true;
}

CO bool qmp_query_target(TargetInfo **ret, GError **err)
{
    *ret = g_new0(TargetInfo, 1);
    (*ret)->arch = SYS_EMU_TARGET_X86_64;
    return true;
}

CO bool qmp_query_cpus_fast(GPtrArray **ret, GError **err)
{
    Machine *m = run_state_machine();

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)cpu_info_fast_free);
    for (guint i = 0; i < m->vcpus->len; i++) {
        CpuInfoFast *c = g_new0(CpuInfoFast, 1);

        c->cpu_index = i;
        c->qom_path = g_strdup_printf("/machine/unattached/device[%u]", 2 * i);
        c->thread_id = vcpu_thread_id(m->vcpus->pdata[i]);
        c->props = g_new0(CpuInstanceProperties, 1);
        c->props->core_id = i;
        c->target = SYS_EMU_TARGET_X86_64;
        g_ptr_array_add(*ret, c);
    }
    return true;
}

CO bool qmp_query_machines(GPtrArray **ret, GError **err)
{
    MachineInfo *i = g_new0(MachineInfo, 1);

    i->name = g_strdup("microvm");
    i->cpu_max = MACHINE_CPUS_MAX;
    i->default_cpu_type = g_strdup("qemu64-x86_64-cpu");
    i->default_ram_id = g_strdup("microvm.ram");
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)machine_info_free);
    g_ptr_array_add(*ret, i);
    return true;
}

CO bool qmp_query_memory_size_summary(MemoryInfo **ret, GError **err)
{
    *ret = g_new0(MemoryInfo, 1);
    (*ret)->base_memory = run_state_machine()->config.ram_size;
    return true;
}

/* What guests can be given; NULL: what is emulated. */
static const X86Host *host(void)
{
    const Accel *a = run_state_machine()->config.accel;

    return a->host ? a->host() : NULL;
}

CO bool qmp_query_cpu_definitions(GPtrArray **ret, GError **err)
{
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)cpu_definition_info_free);
    for (const X86ModelInfo *m = x86_models; m->name; m++) {
        CpuDefinitionInfo *i = g_new0(CpuDefinitionInfo, 1);
        g_autoptr(GPtrArray) missing = g_ptr_array_new();
        X86Model model;

        x86_model_parse(&model, m->name, host(), missing, NULL);
        i->name = g_strdup(m->name);
        i->typename = g_strdup_printf("%s-x86_64-cpu", m->name);
        i->migration_safe = m->flags;
        g_ptr_array_add(missing, NULL);
        i->unavailable_features = g_strdupv((char **)missing->pdata);
        g_ptr_array_add(*ret, i);
    }
    return true;
}

static json_t *flags_of(const X86Model *model)
{
    json_t *props = json_object();

    for (const X86FlagInfo *f = x86_flags; f->name; f++)
        json_put(props, f->name, json_boolean(x86_model_has(model, f)));
    return props;
}

/* Properties as -cpu takes them: "NAME,FLAG=on,...". NULL with @err. */
static char *model_text(const CpuModelInfo *m, GError **err)
{
    GString *text = g_string_new(m->name);
    const char *key;
    json_t *v;

    json_object_foreach(m->props, key, v) {
        if (!json_is_boolean(v)) {
            g_string_free(text, TRUE);
            err_set(err, EINVAL, "Invalid parameter type for '%s', expected: boolean", key);
            return NULL;
        }
        g_string_append_printf(text, ",%s=%s", key, json_is_true(v) ? "on" : "off");
    }
    return g_string_free(text, FALSE);
}

CO bool qmp_query_cpu_model_expansion(const QmpQueryCpuModelExpansionArgs *args,
                                      CpuModelExpansionInfo **ret, GError **err)
{
    bool is_static = args->type == CPU_MODEL_EXPANSION_TYPE_STATIC;
    g_autofree char *text = NULL;
    X86Model model;

    if (!x86_model_find_on(args->model->name, host()))
        return err_set(err, ENOENT, "CPU model '%s' not found", args->model->name);
    text = model_text(args->model, err);
    if (!text || !x86_model_parse(&model, text, host(), NULL, err))
        return false;
    *ret = g_new0(CpuModelExpansionInfo, 1);
    (*ret)->model = g_new0(CpuModelInfo, 1);
    (*ret)->model->name = g_strdup(is_static ? "base" : args->model->name);
    (*ret)->model->props = flags_of(&model);
    return true;
}

CO bool qmp_query_current_machine(CurrentMachineParams **ret, GError **err)
{
    *ret = g_new0(CurrentMachineParams, 1);
    return true;
}

CO bool qmp_query_display_options(DisplayOptions **ret, GError **err)
{
    *ret = g_new0(DisplayOptions, 1);
    (*ret)->type = DISPLAY_TYPE_NONE;
    return true;
}

/* ---- what shall happen ----------------------------------------------------------------------- */

CO bool qmp_set_action(const QmpSetActionArgs *args, GError **err)
{
    return run_state_set_actions(args, err);
}

CO bool qmp_watchdog_set_action(const QmpWatchdogSetActionArgs *args, GError **err)
{
    QmpSetActionArgs all = { .has_watchdog = true, .watchdog = args->action };

    return run_state_set_actions(&all, err);
}

/* Ticks of the clock that a guest has missed are not made up for: there are none to forget. */
CO bool qmp_rtc_reset_reinjection(GError **err)
{
    return true;
}
