/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gates: how the graph below users is kept still while it changes.
 *
 * Each handle counts its requests in flight. Closing the gates above a node makes new requests wait
 * at their handle and lets those under way finish; then nobody follows an edge there.
 */
#include "block/internal.h"

typedef void GateVisit(Handle *h);

/* Calls @visit for each handle from which @n can be reached. */
static void gate_visit_above(Node *n, GateVisit *visit)
{
    for (guint i = 0; i < n->parents->len; i++) {
        Edge *e = n->parents->pdata[i];

        if (e->handle)
            visit(e->handle);
        else
            gate_visit_above(e->parent, visit);
    }
}

static void gate_close(Handle *h)
{
    h->is_gated = true;
}

static CO void gate_drain(Handle *h)
{
    while (h->in_flight)
        co_queue_wait(&h->idle);
}

static void gate_open(Handle *h)
{
    h->is_gated = false;
    co_queue_wake_all(&h->gate);
}

CO void gate_close_above(Node *n)
{
    gate_visit_above(n, gate_close);
    gate_visit_above(n, gate_drain);
}

void gate_open_above(Node *n)
{
    gate_visit_above(n, gate_open);
}
