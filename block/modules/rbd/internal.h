/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of module "rbd" share. */
#ifndef BLOCK_MODULES_RBD_INTERNAL_H
#define BLOCK_MODULES_RBD_INTERNAL_H

#include "block/rbd.h"
#include "io/poll-set.h"
#include "io/pool.h"
#include <rados/librados.h>
#include <rbd/librbd.h>

struct RbdImage {
    rados_t cluster;        /* these three: NULL until they are there */
    rados_ioctx_t pool;
    rbd_image_t image;
    uint64_t header;        /* bytes that the encryption takes of the image */
    int event;              /* eventfd that tells of answers; -1: none */
    PollSet *set;
};

/* In workers, as librbd's calls wait. False with @err; what @f has then is ceph_disconnect's. */
bool ceph_connect(RbdImage *f, const RbdConfig *config, GError **err);
bool ceph_open(RbdImage *f, const RbdConfig *config, RbdFound *found, GError **err);
bool ceph_create(RbdImage *f, const RbdConfig *config, const RbdNew *new, GError **err);
void ceph_disconnect(RbdImage *f);
/* Gives the image @size bytes of content. 0 or a negative errno. */
int ceph_set_size(RbdImage *f, uint64_t size);

CO int ceph_extent(RbdImage *f, uint64_t off, uint64_t len, uint64_t *run, bool *data);
CO int ceph_snapshots(RbdImage *f, RbdSnapshot **list, size_t *count);
void ceph_free_snapshots(RbdSnapshot *list, size_t count);
CO int ceph_act(RbdImage *f, RbdSnapshotAction action, const char *name, uint64_t *size);

#endif
