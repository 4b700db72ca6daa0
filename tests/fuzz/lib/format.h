/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as an image, and anything done to it: errors, but no crash, leak or long wait; and a
 * repair that says it mended all leaves an image in which a second check finds nothing.
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

#include "block/block.h"
#include <stddef.h>
#include <stdint.h>

enum { FUZZ_OPS = 12, FUZZ_OP_LEN = 4, FUZZ_IMAGE_OFF = 2 + FUZZ_OPS * FUZZ_OP_LEN };

typedef struct {
    const char *driver;
    uint64_t disk_max;      /* bytes; a file does not grow beyond that */
    /* Adds to the options of opening @image; @how is byte 0 of the input. NULL: nothing to add. */
    void (*add_options)(json_t *options, const uint8_t *image, size_t len, uint8_t how);
    /* Options of amend, one of which an operation sets, ended by NULL. NULL: none. */
    const char *const (*amend)[2];
    /* Is a second file, node "data", beside the image? */
    bool has_data_file;
} FuzzFormat;

/* What LLVMFuzzerTestOneInput returns for input @data. */
int fuzz_format(const FuzzFormat *format, const uint8_t *data, size_t len);

/* The same for a format of which only the driver's name is to be known. */
int fuzz_driver(const char *driver, const uint8_t *data, size_t len);

/* Defined by each fuzzer; called by libFuzzer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
