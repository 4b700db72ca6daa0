/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images that are written front to back, to what cannot seek: a pipe.
 *
 * The driver of a format that can be laid out ahead writes its metadata (.create_ahead) once it
 * knows which parts of the disk have data; then the disk is written in order, by a copy.
 */
#ifndef BLOCK_PIPE_H
#define BLOCK_PIPE_H

#include "block/driver.h"

/* What will be written to the disk. */
typedef struct PipeSource {
    uint64_t size;              /* bytes */
    /* Is [@off, @off + *@len) zero? Shortens *@len to where that changes. Errors count as data. */
    CO bool (*is_zero)(void *arg, uint64_t off, uint64_t *len);
    void *arg;
} PipeSource;

/*
 * A handle whose writes go to descriptor @fd, which stays the caller's. Offsets may only grow; what
 * is passed over becomes zeroes. Closing it writes zeroes up to the end that was set.
 */
CO Handle *pipe_open(int fd, GError **err);

/* A format that does not store the disk as plain bytes, or that has something after it. */
typedef struct {
    CO int (*write)(void *state, uint64_t off, Span buf); /* NULL: the disk is written as it is */
    CO int (*finish)(void *state);  /* the disk and zeroes up to its end were written */
    void (*free)(void *state);
} PipeFormat;

/* From now on writes go to @format. Takes over @state, which .free frees when the pipe closes. */
void pipe_set_format(Handle *pipe, const PipeFormat *format, void *state);
/* Bytes that were written so far. */
uint64_t pipe_length(Handle *pipe);
/* Writes @len bytes at the end; for drivers that create images and for PipeFormat. */
CO int pipe_append(Handle *pipe, const void *buf, size_t len);

/*
 * All of the disk was written: closing fills up with zeroes to @end bytes. Without this call the
 * image stays incomplete.
 */
void pipe_set_end(Handle *pipe, uint64_t end);

/*
 * From now on offsets are those of the disk. Its clusters whose bit in @used is set follow each
 * other in the pipe, the first at offset @start; no other cluster may be written. Takes over @used
 * (g_free).
 */
void pipe_set_clusters(Handle *pipe, uint8_t *used, unsigned cluster_bits, uint64_t start);

/*
 * A bit for each cluster of the disk that is not zero as a whole; *@count: how many. NULL: no
 * memory. The caller frees.
 */
CO uint8_t *pipe_used_clusters(const PipeSource *s, unsigned cluster_bits, uint64_t *count);

static inline bool pipe_cluster_is_used(const uint8_t *used, uint64_t i)
{
    return used[i / 8] >> i % 8 & 1;
}

#endif
