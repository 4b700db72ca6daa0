/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a program adds to the tree of objects that clients see: devices, below /machine/peripheral
 * by their ids and below /machine/peripheral-anon as "device[N]". Main loop only.
 */
#ifndef MONITOR_QOM_H
#define MONITOR_QOM_H

#include "util/json.h"

typedef struct {
    const char *machine_type; /* of /machine */
    /* Calls @fn with the names and types of the devices with an id, or without one (@anonymous). */
    void (*each)(bool anonymous, void (*fn)(const char *name, const char *type, void *arg),
                 void *arg);
    /* The device called @name; NULL: there is none. Good until the next wait. */
    void *(*find)(bool anonymous, const char *name);
    const char *(*type)(const void *device);
    void (*properties)(const void *device,
                       void (*fn)(const char *name, const char *type, void *arg), void *arg);
    /* New reference; NULL with @err. */
    json_t *(*get)(const void *device, const char *name, GError **err);
    bool (*set)(void *device, const char *name, const json_t *value, GError **err);
} QomDevices;

/* @d lives on. Programs that have no devices never call it, and have no /machine. */
void qom_set_devices(const QomDevices *d);

#endif
