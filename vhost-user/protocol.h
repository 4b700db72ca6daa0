/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of the vhost-user protocol: docs/spec/vhost-user.md. All numbers are in the byte order
 * of the machine, which both ends share.
 */
#ifndef VHOST_USER_PROTOCOL_H
#define VHOST_USER_PROTOCOL_H

#include <glib.h>
#include <stdint.h>

enum {
    VHOST_GET_FEATURES = 1, VHOST_SET_FEATURES = 2, VHOST_SET_OWNER = 3, VHOST_RESET_OWNER = 4,
    VHOST_SET_MEM_TABLE = 5, VHOST_SET_LOG_BASE = 6, VHOST_SET_LOG_FD = 7,
    VHOST_SET_VRING_NUM = 8, VHOST_SET_VRING_ADDR = 9, VHOST_SET_VRING_BASE = 10,
    VHOST_GET_VRING_BASE = 11, VHOST_SET_VRING_KICK = 12, VHOST_SET_VRING_CALL = 13,
    VHOST_SET_VRING_ERR = 14, VHOST_GET_PROTOCOL_FEATURES = 15, VHOST_SET_PROTOCOL_FEATURES = 16,
    VHOST_GET_QUEUE_NUM = 17, VHOST_SET_VRING_ENABLE = 18, VHOST_GET_CONFIG = 24,
    VHOST_SET_CONFIG = 25, VHOST_GET_MAX_MEM_SLOTS = 36, VHOST_ADD_MEM_REG = 37,
    VHOST_REM_MEM_REG = 38,
};

enum {
    VHOST_VERSION = 1, VHOST_VERSION_MASK = 3, VHOST_REPLY = 1 << 2, VHOST_NEED_REPLY = 1 << 3,

    VHOST_P_MQ = 1 << 0, VHOST_P_LOG_SHMFD = 1 << 1, VHOST_P_REPLY_ACK = 1 << 3,
    VHOST_P_CONFIG = 1 << 9, VHOST_P_MEM_SLOTS = 1 << 15,

    VHOST_INDEX_MASK = 0xff, VHOST_NO_FD = 1 << 8, /* of messages that bring a descriptor */
    VHOST_REGIONS_MAX = 32, VHOST_TABLE_MAX = 8, VHOST_CONFIG_MAX = 256,
};

/* Besides those of virtio. */
#define VHOST_F_LOG_ALL (UINT64_C(1) << 26)
#define VHOST_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)

typedef struct {
    uint32_t request, flags;
    uint32_t size; /* bytes; the payload follows */
} VhostHeader;
G_STATIC_ASSERT(sizeof(VhostHeader) == 12);

typedef struct {
    uint32_t index, num;
} VhostVringState;

typedef struct {
    uint32_t index, flags;
    uint64_t desc, used, avail; /* addresses of the front-end */
    uint64_t log;
} VhostVringAddr;
G_STATIC_ASSERT(sizeof(VhostVringAddr) == 40);

typedef struct {
    uint64_t guest, size, user; /* where the guest and where the front-end sees it */
    uint64_t offset;            /* in the file that comes with it */
} VhostRegion;
G_STATIC_ASSERT(sizeof(VhostRegion) == 32);

typedef struct {
    uint32_t count, padding;
    VhostRegion region[VHOST_TABLE_MAX];
} VhostTable;

typedef struct {
    uint64_t padding;
    VhostRegion region;
} VhostSlot;

typedef struct {
    uint64_t size, offset;
} VhostLog;

typedef struct {
    uint32_t offset, size, flags;
    uint8_t data[VHOST_CONFIG_MAX];
} VhostConfig;

typedef union {
    uint64_t u64;
    VhostVringState state;
    VhostVringAddr addr;
    VhostTable table;
    VhostSlot slot;
    VhostLog log;
    VhostConfig config;
} VhostPayload;

#endif
