/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports: nodes shown to other programs, each with an id. Kinds of export live in rooms above; the
 * table of kinds is made from the list of their files. Main loop only.
 */
#ifndef BLOCK_EXPORT_H
#define BLOCK_EXPORT_H

#include "block/block.h"

typedef struct Export Export;

/* A kind of export: one constant struct at the end of its file. */
typedef struct ExportDriver {
    const char *type; /* "nbd", of the schema's BlockExportType */
    bool follows_size; /* others may resize the image meanwhile */
    /* Anything that keeps it from exporting @n by the checked BlockExportOptions @options? */
    bool (*may_add)(const json_t *options, GError **err);
    /*
     * Shows @h, which is the export's from now on (also after a failure), as @options say. What it
     * returns is the driver's; NULL with @err. export_gone follows some time after remove.
     */
    CO void *(*add)(Export *e, const json_t *options, Handle *h, GError **err);
    bool (*is_used)(const Export *e);
    /* Takes it away from clients. @hard: those that use it are cut off. Never fails. */
    CO void (*remove)(Export *e, bool hard);
} ExportDriver;

/* Generated; NULL-ended. */
extern const ExportDriver *const export_drivers[];

struct Export {
    const ExportDriver *drv;
    char *id;
    Handle *handle;     /* until it is removed */
    IoThread *iothread; /* that its user named; NULL: none */
    char *node_name;    /* see export_node_name */
    void *state;
    bool removed; /* but not yet gone */
};

/* Makes the export that the checked BlockExportOptions @options describe. NULL with @err. */
CO Export *export_add(const json_t *options, GError **err);
Export *export_find(const char *id);
/* Sets @err as if export @id had been looked for in vain. */
bool export_missing(const char *id, GError **err);
/* The node that @e serves, or served last: edits may have put another one in its place. */
const char *export_node_name(Export *e);
/* In the order they were made; NULL behind the last. */
Export *export_at(unsigned i);
/*
 * Removes @e. Without @hard only if nobody uses it: false with @err. Returns when it is gone,
 * unless clients have to leave first.
 */
CO bool export_remove(Export *e, bool hard, GError **err);
/* Removes all there are, those in use too; returns when they are gone. */
CO void export_remove_all(void);
/* For drivers: the image is closed, nobody will use @e any more. Tells of it and frees @e. */
void export_gone(Export *e);
/* Waits until there is none of kind @drv (NULL: any). */
CO void export_wait_gone(const ExportDriver *drv);

#endif
