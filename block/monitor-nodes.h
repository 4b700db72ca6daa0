/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes that the user made by name and that live until the user removes them. Main loop only. */
#ifndef BLOCK_MONITOR_NODES_H
#define BLOCK_MONITOR_NODES_H

#include "block/edit.h"
#include "gen/qmp.h"

/* Opens what the checked BlockdevOptions @options describe. Takes the reference. */
CO bool monitor_node_add(json_t *options, GError **err);
/* False with @err: it is in use, or it is gone but its last data could not be stored. */
CO bool monitor_node_remove(const char *name, GError **err);
/* Gives up a reference to @n. False with @err if it closes by that and could not be stored. */
CO bool node_give_up(Node *n, GError **err);
/* The node that a command names as device or node-name. NULL with @err. */
Node *monitor_node_or_device(const char *device, const char *name, GError **err);
/* Adds all of them to @list (of Node), without references. */
void monitor_nodes_add(GPtrArray *list);
/* A node that is not the monitor's is shown with those that are, or not any more. */
void monitor_node_show(Node *n, bool on);
/* All of them, those of devices, and the nodes below, each once, in the order of opening. */
GPtrArray *monitor_nodes_all(void);
/*
 * Top images, which are no part of another: first those of drives and devices, then the monitor's.
 * Returns references.
 */
GPtrArray *monitor_nodes_tops(void);
/* What is known of @n and, unless @flat, of the images below; in qmp.c. NULL with @err. */
CO BlockDeviceInfo *node_device_info(Node *n, bool flat, GError **err);
/* Closes all, the last one first; nobody may use them. False: warned, not all could be stored. */
CO bool monitor_nodes_close(void);

#endif
