/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accounts: what devices ask of their images, counted for query-blockstats.
 *
 * A device opens its account once (account_open); from then on the handle itself counts the
 * device's requests and how long they took. What the handle cannot see, the device tells: requests
 * that it refused, and requests that it merged. Counting neither allocates nor locks, and belongs
 * to the loop on which the handle is used. A handle without an account counts nothing.
 */
#ifndef BLOCK_ACCOUNT_H
#define BLOCK_ACCOUNT_H

#include "block/block.h"

typedef enum { ACCOUNT_READ, ACCOUNT_WRITE, ACCOUNT_FLUSH, ACCOUNT_UNMAP } AccountKind;
enum { ACCOUNT_KINDS = ACCOUNT_UNMAP + 1 };

/*
 * Opens the account of @h, or gives it other names. @drive: id of the -drive, "": there is none,
 * NULL: as before. @device: how users call the device, NULL: none uses the drive yet. The handle
 * closes its account.
 */
void account_open(Handle *h, const char *drive, const char *device);
/* The handle of the device that users call @device; NULL: there is none. */
Handle *account_find(const char *device);
/* The handle of -drive @id; NULL: there is none. */
Handle *account_find_drive(const char *id);
/* The id of the -drive whose image is @n, "" if there is none. */
const char *account_drive_of(const Node *n);
/* A drive outlives its device: nobody uses @h now. */
void account_give_back(Handle *h);

/* The device refused a request as invalid. */
void account_invalid(Handle *h, AccountKind kind);
/* @count requests of a guest were made part of other ones. */
void account_merged(Handle *h, AccountKind kind, unsigned count);
enum { ACCOUNT_INTERVALS_MAX = 8 };
/* Also tells of the last @seconds, at least of half of them. False: too many intervals. */
bool account_interval(Handle *h, unsigned seconds);

bool account_bounds_rise(const uint64_t *bounds, size_t count); /* and the first is not 0 */
/*
 * Counts requests of @kind by how long they take from now on: bin 0 below @bounds[0] ns, bin i from
 * @bounds[i - 1] on. The bounds rise.
 */
void account_histogram(Handle *h, AccountKind kind, const uint64_t *bounds, size_t count);
void account_no_histograms(Handle *h);

#endif
