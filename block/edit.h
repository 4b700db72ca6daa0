/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Edits: the only way in which the graph, or the mode of a node in it, changes.
 *
 * An Edit is a list of steps. From edit_begin on no other edit is under way, so that what is looked
 * up then is still so when it is committed. edit_commit
 *
 *     closes the gates above what the steps touch, and waits until no request is in flight there,
 *     applies all steps in memory,
 *     checks the access that every user would have then, and takes the locks for it,
 *     lets each step do what may fail (prepare),
 *     settles all steps, which cannot fail, and opens the gates.
 *
 * What fails is undone in reverse order, so that either all of it happens or nothing. Main loop
 * only. Whoever has begun an edit has no request in flight, and until it is committed or freed
 * neither opens nor closes nodes, which are edits too.
 */
#ifndef BLOCK_EDIT_H
#define BLOCK_EDIT_H

#include "block/driver.h"
#include "io/iothread.h"

typedef struct Edit Edit;

/* A kind of step. Operations may be NULL; they get the step's own data. */
typedef struct {
    /* Changes memory only, without suspending. False: nothing was changed. */
    bool (*apply)(void *step, GError **err);
    /* Takes apply back. */
    CO void (*undo)(void *step);
    /* What may fail and may take time, once access is granted. False: nothing of it is left. */
    CO bool (*prepare)(void *step, GError **err);
    /* Takes prepare back. */
    CO void (*abort)(void *step);
    /* Makes it final. */
    CO void (*settle)(void *step);
    /* With the edit, after it is over: may close nodes that nobody uses any more. */
    CO void (*free)(void *step);
} EditOps;

/* Waits until no other edit is under way. */
CO Edit *edit_begin(void);
CO void edit_free(Edit *edit);  /* after edit_commit, or in its place; NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Edit, edit_free)

/*
 * Adds a step of kind @ops; @edit owns @step from now on. Steps are applied, prepared and settled
 * in the order in which they were added.
 */
void edit_add(Edit *edit, const EditOps *ops, void *step);
/* No request is in flight in @n during the edit. Takes a reference. */
void edit_still(Edit *edit, Node *n);
/* Access to @n and to all below it is worked out anew when the steps were applied. Likewise. */
void edit_access_below(Edit *edit, Node *n);

/* Does all or, with @err, nothing. Once per edit. */
CO bool edit_commit(Edit *edit, GError **err);

/* ---- steps ---------------------------------------------------------------------------------- */

/* A new edge from @parent to @child, which gets a reference. Fails if it would close a circle. */
void edit_attach(Edit *edit, Node *parent, const char *key, Role role, Node *child);
/* @h, which has no node yet, uses @n: it does @needs and shares @shares (Access bits). */
void edit_attach_handle(Edit *edit, Handle *h, Node *n, unsigned needs, unsigned shares);
/* Removes @e and its reference; the edge is gone with the edit. */
void edit_detach(Edit *edit, Edge *e);
/* Lets @e lead to @to. */
void edit_repoint(Edit *edit, Edge *e, Node *to);
/*
 * Lets all that leads to @from lead to @to instead, but for edges of @to itself and of what is
 * below it: puts a filter or an overlay @to on top of @from, or removes one.
 */
void edit_replace(Edit *edit, Node *from, Node *to);
/* From now on the user @h does @needs (Access bits) and has @flags (OpenFlags of handle_open). */
void edit_handle_access(Edit *edit, Handle *h, unsigned needs, OpenFlags flags);
/* The job's handle @h lets others do what they want and does nothing itself any more. */
void edit_handle_yield(Edit *edit, Handle *h);
/*
 * Assigns @n and all nodes connected with it to the loop of @thread (NULL: the main loop). They
 * live there unless they are held (block/home.h) or a job works on them. Fails if a driver knows
 * the main loop only, or if a user forbids the move.
 */
void edit_set_iothread(Edit *edit, Node *n, IoThread *thread);
/* All @n @nodes, which may use the same ones, become active or inactive; see node_set_active. */
void edit_set_active(Edit *edit, Node *const *nodes, guint n, bool active);
/*
 * Other options and flags for @n and for what carries its bytes; see handle_reopen. @changes, an
 * object, is nested and keeps its owner.
 */
void edit_reopen(Edit *edit, Node *n, json_t *changes, OpenFlags flags);
/*
 * The same with @options as all the options there are, those left out taking their defaults as if
 * @n were opened anew; a name at a child's key makes that node the child. False with @err if
 * @options want what cannot be, whatever the rest of @edit is.
 */
bool edit_reconfigure(Edit *edit, Node *n, json_t *options, GError **err);

#endif
