/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as an image, and anything done to it: errors, but no crash, leak or long wait; and a repair
 * that says it mended all leaves an image in which a second check finds nothing.
 *
 *     0     how it is opened: one byte, see format.c
 *     1     a second byte, kept for alignment
 *     2     FUZZ_OPS operations of four bytes: kind, variant, where (le16)
 *     50    the image
 *
 * Each format is a file of its own that names itself. A Python file beside it, NAME.py, says which
 * images of the reference are seeds (tests/fuzz/run).
 */
#ifndef TESTS_FUZZ_LIB_FORMAT_H
#define TESTS_FUZZ_LIB_FORMAT_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_OPS = 12, FUZZ_OP_LEN = 4, FUZZ_IMAGE_OFF = 2 + FUZZ_OPS * FUZZ_OP_LEN };

/* What LLVMFuzzerTestOneInput returns for input @data. */
int fuzz_format(const char *format, const uint8_t *data, size_t len);

/* Defined by each fuzzer; called by libFuzzer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
