/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random edits of a graph under random requests, beside a copy in memory of what the disk must
 * hold.
 */
#ifndef TESTS_LIB_EDITS_H
#define TESTS_LIB_EDITS_H

#include "io/co.h"

/*
 * Makes @count edits: snapshots, streaming and dropping of backing files, filters that come and go,
 * reopening, moves to other loops, users that come and go, and edits of which a step fails; on
 * fresh images in test_dir(). Asserts that every request succeeds and reads what the disk must
 * hold, that a failed edit changes nothing, and in the end that the image alone holds the content.
 */
CO void random_edits(unsigned count, unsigned seed);

#endif
