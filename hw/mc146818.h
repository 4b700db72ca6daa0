/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_MC146818_H
#define HW_MC146818_H

#include "system/base/device.h"

/* What the clock goes by. */
typedef enum {
    RTC_BY_HOST, /* the host's clock, with all that sets it */
    RTC_BY_RT,   /* the host's time, which nobody sets */
    RTC_BY_VM,   /* the guest's time, which stands still while the guest is stopped */
} RtcSource;

/* From now on @d goes by @source. It shows @now, in seconds since 1970. */
void mc146818_set(Device *d, RtcSource source, int64_t now);

#endif
