/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The same request to several children at once, for drivers that have many. */
#ifndef BLOCK_FAN_H
#define BLOCK_FAN_H

#include "block/driver.h"

typedef struct {
    Edge *to;
    enum { FAN_PREAD, FAN_PWRITE, FAN_ZERO, FAN_FLUSH } op;
    uint64_t off, len;  /* of FAN_ZERO */
    Span buf;           /* of FAN_PREAD and FAN_PWRITE */
    ReqFlags flags;
    int r;              /* the result, once fan_run is over */
} FanRequest;

/* Carries out all @count requests and waits for the last. */
CO void fan_run(FanRequest *requests, unsigned count);

#endif
