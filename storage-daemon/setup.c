/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that make something that only this program has. */
#include "block/export.h"
#include "control/control.h"
#include "nbd/service.h"
#include "storage-daemon/daemon.h"

CO bool setup_nbd_server(const char *text, GError **err)
{
    g_autoptr(json_t) o = setup_parse(text, "NbdServerOptions", NULL, err);

    return o && nbd_service_start(o, err);
}

CO bool setup_export(const char *text, GError **err)
{
    g_autoptr(json_t) o = setup_parse(text, "BlockExportOptions", "type", err);

    return o && export_add(o, err);
}
