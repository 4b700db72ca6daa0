/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command that ends the program. */
#include "gen/qmp.h"
#include "monitor/monitor.h"
#include "storage-daemon/daemon.h"

CO bool qmp_quit(GError **err)
{
    run_stop();
    monitor_await_release();
    return true;
}
