/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of a guest that another process shares with us. It may shorten the files behind it at any
 * time: what is gone then reads as zeroes, and the memory counts as lost.
 */
#ifndef VHOST_USER_MEMORY_H
#define VHOST_USER_MEMORY_H

#include "vhost-user/protocol.h"
#include <stdbool.h>

/* A set of regions that never changes; whoever uses an address in it holds a reference. */
typedef struct VhostMemory VhostMemory;

/* Without regions. */
VhostMemory *vhost_memory_new(void);
VhostMemory *vhost_memory_ref(VhostMemory *m);
void vhost_memory_unref(VhostMemory *m);

/* The regions of @m and @r, which is mapped from @fd (stays the caller's). NULL with @err. */
VhostMemory *vhost_memory_with(const VhostMemory *m, const VhostRegion *r, int fd, GError **err);
/* The regions of @m but for @r. NULL with @err. */
VhostMemory *vhost_memory_without(const VhostMemory *m, const VhostRegion *r, GError **err);

/* Where the @len bytes are that the guest sees at @at; NULL: not all are in one region. */
void *vhost_memory_range(const VhostMemory *m, uint64_t at, uint64_t len);
/* The guest's address of what the front-end sees at @user. False: there is nothing. */
bool vhost_memory_guest(const VhostMemory *m, uint64_t user, uint64_t *at);
bool vhost_memory_is_lost(const VhostMemory *m);

/* Maps @len bytes from @offset of @fd. NULL with @err. To be given to vhost_unmap. */
typedef struct VhostMap VhostMap;
VhostMap *vhost_map(int fd, uint64_t offset, uint64_t len, GError **err);
void *vhost_map_data(const VhostMap *m);
bool vhost_map_is_lost(const VhostMap *m);
void vhost_unmap(VhostMap *m);

#endif
