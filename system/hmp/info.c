/* SPDX-License-Identifier: GPL-2.0-or-later */
/* info: what QMP's queries answer, for people. */
#include "gen/qmp.h"
#include "system/hmp/commands.h"
#include "system/options.h"
#include <inttypes.h>

#define SAY(...) g_string_append_printf(h->out, __VA_ARGS__)

HMP_COMMAND(hmp_info_status)
{
    static const char *const states[] = {
        [STATE_PRELAUNCH] = " (prelaunch)", [STATE_RUNNING] = "", [STATE_PAUSED] = "",
        [STATE_SHUTDOWN] = " (shutdown)", [STATE_GUEST_PANICKED] = " (guest-panicked)",
        [STATE_DEBUG] = " (debug)", [STATE_IO_ERROR] = " (io-error)",
        [STATE_INTERNAL_ERROR] = " (internal-error)", [STATE_WATCHDOG] = " (watchdog)",
        [STATE_INMIGRATE] = " (inmigrate)", [STATE_FINISH_MIGRATE] = " (finish-migrate)",
        [STATE_POSTMIGRATE] = " (postmigrate)", [STATE_SAVE_VM] = " (save-vm)",
        [STATE_RESTORE_VM] = " (restore-vm)",
    };

    SAY("VM status: %s%s\n", run_state_is_running() ? "running" : "paused", states[run_state()]);
}

HMP_COMMAND(hmp_info_version)
{
    SAY("7.2.22Ferry %s\n", FERRY_VERSION);
}

HMP_COMMAND(hmp_info_name)
{
    if (options_guest_name())
        SAY("%s\n", options_guest_name());
}

HMP_COMMAND(hmp_info_uuid)
{
    SAY("%s\n", options_guest_uuid());
}

HMP_COMMAND(hmp_info_kvm)
{
    g_autoptr(KvmInfo) info = NULL;

    qmp_query_kvm(&info, NULL);
    SAY("kvm support: %s\n", !info->present ? "not compiled" : info->enabled ? "enabled"
                                                                             : "disabled");
}

HMP_COMMAND(hmp_info_cpus)
{
    GPtrArray *vcpus = run_state_machine()->vcpus;

    for (guint i = 0; i < vcpus->len; i++)
        SAY("%c CPU #%u: thread_id=%d\n", i == h->cpu ? '*' : ' ', i,
            vcpu_thread_id(vcpus->pdata[i]));
}

HMP_COMMAND(hmp_info_chardev)
{
    Chardev *c;

    for (unsigned i = 0; (c = chardev_at(i)); i++) {
        g_autofree char *name = chardev_filename(c);

        SAY("%s: filename=%s\n", chardev_id(c), name);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

HMP_COMMAND(hmp_info_memdev)
{
    static const char *const truth[] = { "false", "true" };
    g_autoptr(GPtrArray) list = NULL;

    qmp_query_memdev(&list, NULL);
    for (guint i = 0; i < list->len; i++) {
        const Memdev *d = list->pdata[i];

        SAY("memory backend: %s\n  size:  %" PRIu64 "\n  merge: %s\n  dump: %s\n  prealloc: %s\n"
            "  share: %s\n  reserve: %s\n  policy: default\n  host nodes: \n\n",
            d->id, d->size, truth[d->merge], truth[d->dump], truth[d->prealloc], truth[d->share],
            truth[d->reserve]);
    }
}

HMP_COMMAND(hmp_info_memory_size)
{
    SAY("base memory: %" PRIu64 "\nplugged memory: 0\n", run_state_machine()->config.ram_size);
}

HMP_COMMAND(hmp_info_numa)
{
    SAY("0 nodes\n");
}

/* ---- others ---------------------------------------------------------------------------------- */

HMP_COMMAND(hmp_info_history)
{
    for (guint i = 0; h->history && i < h->history->len; i++)
        SAY("%u: '%s'\n", i, (char *)h->history->pdata[i]);
}
