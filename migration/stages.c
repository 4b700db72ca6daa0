/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/stages.h"
#include "io/co.h"

void stages_clear(Stages *s)
{
    json_decref(s->stages);
    *s = (Stages){ 0 };
}

void stages_begin(Stages *s, int64_t ns)
{
    stages_clear(s);
    *s = (Stages){ .began = ns, .last = ns, .stages = json_array() };
}

void stages_mark(Stages *s, const char *stage, const char *device)
{
    int64_t now = clock_now_ns();
    json_t *o;

    if (!s->stages)
        return;
    o = json_object();
    json_put_str(o, "stage", stage);
    if (device)
        json_put_str(o, "device", device);
    json_put_int(o, "time", (now - s->last) / 1000);
    json_array_append_new(s->stages, o);
    s->last = now;
}

json_t *stages_json(const Stages *s)
{
    json_t *o;

    if (!s->stages)
        return NULL;
    o = json_object();
    json_put_int(o, "total", (s->last - s->began) / 1000);
    json_put(o, "stages", json_incref(s->stages));
    return o;
}
