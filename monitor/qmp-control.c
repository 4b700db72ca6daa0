/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the monitor itself. */
#include "gen/qmp.h"
#include "monitor/session.h"
#include "util/err.h"

static VersionInfo *version_info(void)
{
    VersionInfo *v = g_new0(VersionInfo, 1);

    v->qemu = g_new0(VersionTriple, 1);
    *v->qemu = (VersionTriple){ 7, 2, 22 };
    v->package = g_strdup("Ferry " FERRY_VERSION);
    return v;
}

json_t *session_greeting(void)
{
    g_autoptr(VersionInfo) v = version_info();

    return json_pack("{s:{s:o, s:[s]}}", "QMP", "version", version_info_to_json(v), "capabilities",
                     "oob");
}

CO bool qmp_qmp_capabilities(const QmpQmpCapabilitiesArgs *args, GError **err)
{
    QmpSession *s = session_current();

    for (guint i = 0; args->enable && i < args->enable->len; i++)
        if (g_array_index(args->enable, int, i) == QMP_CAPABILITY_OOB)
            s->has_oob = true;
    s->is_negotiated = true;
    return true;
}

CO bool qmp_query_version(VersionInfo **ret, GError **err)
{
    *ret = version_info();
    return true;
}

CO bool qmp_query_commands(GPtrArray **ret, GError **err)
{
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)command_info_free);
    for (const QmpCommand *c = session_commands(); c->name; c++) {
        CommandInfo *info = g_new0(CommandInfo, 1);

        info->name = g_strdup(c->name);
        g_ptr_array_add(*ret, info);
    }
    return true;
}

CO bool qmp_query_qmp_schema(json_t **ret, GError **err)
{
    *ret = schema_introspect_commands(session_commands());
    return true;
}
