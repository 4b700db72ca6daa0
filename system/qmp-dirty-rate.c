/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that measure how fast the guest writes. Messages are the reference's. */
#include "system/dirty-rate.h"
#include "util/err.h"

enum { SECONDS_MAX = 60, SAMPLES_MIN = 128, SAMPLES_MAX = 16384 };

CO bool qmp_calc_dirty_rate(const QmpCalcDirtyRateArgs *a, GError **err)
{
    int64_t samples = a->has_sample_pages ? a->sample_pages : DIRTY_RATE_SAMPLES;
    DirtyRateMeasureMode mode = a->has_mode ? a->mode : DIRTY_RATE_MEASURE_MODE_PAGE_SAMPLING;

    if (a->calc_time < 1 || a->calc_time > SECONDS_MAX)
        return err_set(err, ERANGE, "calc-time is out of range[1, %d].", SECONDS_MAX);
    if (a->has_sample_pages && mode != DIRTY_RATE_MEASURE_MODE_PAGE_SAMPLING)
        return err_set(err, EINVAL, "sample-pages only goes with mode page-sampling");
    if (samples < SAMPLES_MIN || samples > SAMPLES_MAX)
        return err_set(err, ERANGE, "sample-pages is out of range[%d, %d].", SAMPLES_MIN,
                       SAMPLES_MAX);
    return dirty_rate_start(mode, a->calc_time, samples, err);
}

CO bool qmp_query_dirty_rate(DirtyRateInfo **ret, GError **err)
{
    *ret = dirty_rate_result();
    return true;
}
