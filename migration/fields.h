/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State by its table: written, read with all checks, described. */
#ifndef MIGRATION_FIELDS_H
#define MIGRATION_FIELDS_H

#include "migration/input.h"
#include "migration/output.h"
#include "system/base/state.h"
#include "util/json.h"

CO void fields_write(Output *out, const StateLayout *l, const void *image);

/*
 * Reads version @version of @l and its subsections into @image, which is zeroed. False: the failure
 * is in @in. Nothing beyond the image is touched.
 */
CO bool fields_read(Input *in, const StateLayout *l, uint32_t version, void *image);

/* "fields" and "subsections" of what fields_write writes. New reference. */
json_t *fields_describe(const StateLayout *l, const void *image);

#endif
