/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/base/guest-log.h"

unsigned guest_log_items;
void (*guest_log_write)(const char *line);

void guest_log(unsigned item, const char *format, ...)
{
    g_autofree char *line = NULL;
    va_list args;

    if (G_LIKELY(!(guest_log_items & item)))
        return;
    va_start(args, format);
    line = g_strdup_vprintf(format, args);
    va_end(args);
    guest_log_write(line);
}
