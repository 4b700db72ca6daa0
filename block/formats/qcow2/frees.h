/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What commit.c needs of pins.c and frees.c. */
#ifndef BLOCK_FORMATS_QCOW2_FREES_H
#define BLOCK_FORMATS_QCOW2_FREES_H

#include "block/formats/qcow2/qcow2.h"

/* Waits until all requests that are in flight now have ended. Callers hold reclaim_lock. */
CO void qcow2_pins_pass(Qcow2 *q);
/* Adds all of @from (NULL: none) to *@to, a list of FreeRun that is made if need be. */
void frees_append(GArray **to, const GArray *from);
/* Moves all of *@from to the end of *@to. */
void frees_move(GArray **to, GArray **from);

#endif
