/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a request to its answer. Messages are those of the reference, which clients see. */
#include "monitor/session.h"
#include "qapi/types.h"
#include "util/err.h"
#include "util/trace.h"
#include <string.h>

/*
 * In-band commands of all sessions run one after the other, and so does what session_in_turn runs:
 * lines of HMP, and jobs that take long. Commands that look at no node do not wait for these, even
 * if these wait themselves, nor for a command that waits for nodes: so a client can end the
 * program, which lets them end early.
 */
static CoMutex in_band;
static unsigned let_pass;    /* those in session_in_turn or before it, and who waits for nodes */
static bool is_beside;       /* the command that is just begun has no turn */
static QmpSession *current;

enum { LOOK_NS = 1000 * 1000 };

static unsigned running;   /* commands, but for those that wait to be released */
static bool is_stopping;   /* no more are begun */
static bool is_released;
static CoQueue released;

static CO void (*turn_begin)(void);
static void (*turn_end)(void);

void monitor_set_turn(CO void (*begin)(void), void (*end)(void))
{
    turn_begin = begin;
    turn_end = end;
}

QmpSession *session_current(void)
{
    return current;
}

static json_t *answer_new(const char *key, json_t *value, json_t *id)
{
    json_t *answer = json_object();

    json_put(answer, key, value);
    if (id)
        json_object_set(answer, "id", id);
    return answer;
}

json_t *session_error(const GError *err, json_t *id)
{
    json_t *e = json_object();

    json_put_str(e, "class", err_get_class(err));
    json_put_str(e, "desc", err->message);
    return answer_new("error", e, id);
}

bool session_is_oob(const QmpSession *s, const json_t *value)
{
    return s->has_oob && json_is_object(value) && json_has(value, "exec-oob");
}

/* ---- what is asked for ----------------------------------------------------------------------- */

typedef struct {
    const char *name;
    bool oob;
    json_t *arguments; /* borrowed; NULL: none */
} Call;

static bool call_member(const QmpSession *s, Call *call, const char *key, json_t *v, GError **err)
{
    bool oob = !strcmp(key, "exec-oob") && s->has_oob;

    if (!strcmp(key, "id"))
        return true;
    if (!strcmp(key, "execute") || oob) {
        if (!json_is_string(v))
            return err_set(err, EINVAL, "QMP input member '%s' must be a string", key);
        if (call->name)
            return err_set(err, EINVAL, "QMP input member '%s' clashes with '%s'", key,
                           oob ? "execute" : "exec-oob");
        call->name = json_string_value(v);
        call->oob = oob;
        return true;
    }
    if (strcmp(key, "arguments"))
        return err_set(err, EINVAL, "QMP input member '%s' is unexpected", key);
    if (!json_is_object(v))
        return err_set(err, EINVAL, "QMP input member 'arguments' must be an object");
    call->arguments = v;
    return true;
}

static bool call_read(const QmpSession *s, const json_t *value, Call *call, GError **err)
{
    g_autofree const char **keys = NULL;

    if (!json_is_object(value))
        return err_set(err, EINVAL, "QMP input must be a JSON object");
    keys = json_visible_keys(value);
    for (const char **key = keys; *key; key++)
        if (!call_member(s, call, *key, json_get(value, *key), err))
            return false;
    return call->name || err_set(err, EINVAL, "QMP input lacks member 'execute'");
}

static bool not_found(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static bool not_found(GError **err, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    err_set(err, ENOENT, "%s", text);
    return err_class(err, "CommandNotFound");
}

/* The command that @call means, if @s may run it now. NULL with @err. */
static const QmpCommand *call_command(const QmpSession *s, const Call *call, GError **err)
{
    const QmpCommand *c = qmp_command_find(session_commands(), call->name);
    bool negotiates = !strcmp(call->name, "qmp_capabilities");

    if (!s->is_negotiated && !negotiates)
        not_found(err, "Expecting capabilities negotiation with 'qmp_capabilities'");
    else if (!c)
        not_found(err, "The command %s has not been found", call->name);
    else if (call->oob && !(c->flags & QMP_OOB))
        err_set(err, EINVAL, "The command %s does not support OOB", call->name);
    else if (s->is_negotiated && negotiates)
        not_found(err, "Capabilities negotiation is already complete, command ignored");
    else
        return c;
    return NULL;
}

/* Those of @arguments that the schema knows. */
static json_t *known_members(const QmpCommand *c, const json_t *arguments)
{
    const SchemaType *t = schema_type_find(c->arg_type);
    json_t *known = json_object(), *v;
    const char *key;

    json_object_foreach((json_t *)arguments, key, v)
        if (schema_member_find(t->members, key))
            json_object_set(known, key, v);
    return known;
}

static bool check_arguments(const QmpCommand *c, const json_t *arguments, GError **err)
{
    g_autofree const char **keys = NULL;

    if (c->flags & QMP_OPEN) {
        g_autoptr(json_t) known = known_members(c, arguments);

        return schema_check_exact(c->arg_type, known, err);
    }
    if (c->arg_type)
        return schema_check_exact(c->arg_type, arguments, err);
    keys = json_visible_keys(arguments);
    return !keys[0] || err_set(err, EINVAL, "Parameter '%s' is unexpected", keys[0]);
}

/* ---- running --------------------------------------------------------------------------------- */

/*
 * Runs @c for @s. An out-of-band command may run while an in-band one waits; it never waits itself,
 * so the current session is simply restored when it returns.
 */
static CO bool command_run(QmpSession *s, const QmpCommand *c, json_t *arguments, json_t **out,
                           GError **err)
{
    QmpSession *before = current;
    bool ok;

    current = s;
    running++;
    TRACE(qmp_command, "%s on '%s'", c->name, chardev_id(s->chardev));
    ok = c->run(arguments, out, err);
    running--;
    current = before;
    return ok;
}

CO void monitor_stop_commands(int64_t deadline_ns)
{
    is_stopping = true;
    while (running && clock_now_ns() < deadline_ns)
        co_sleep(LOOK_NS);
}

/*
 * Jobs that wait for their turn have to see that there is none any more: the program's end waits
 * for them.
 */
CO void monitor_await_release(void)
{
    bool has_turn = !is_beside;

    running--;
    is_stopping = true;
    is_beside = false;
    if (has_turn)
        co_mutex_unlock(&in_band);
    while (!is_released)
        co_queue_wait(&released);
    if (has_turn)
        co_mutex_lock(&in_band);
    running++;
}

void monitor_release(void)
{
    is_released = true;
    co_queue_wake_all(&released);
}

static CO json_t *dispatch(QmpSession *s, json_t *value, const Call *call, GError **err)
{
    const QmpCommand *c = call_command(s, call, err);
    g_autoptr(json_t) arguments = NULL;
    json_t *result = NULL;

    if (!c)
        return NULL;
    arguments = call->arguments ? json_incref(call->arguments) : json_object();
    if (!check_arguments(c, arguments, err) || !command_run(s, c, arguments, &result, err))
        return NULL;
    return answer_new("return", result ? result : json_object(), json_get(value, "id"));
}

/* False: it runs without waiting for the block layer, where a request may hang. */
static bool call_needs_nodes(const Call *call)
{
    const QmpCommand *c = qmp_command_find(session_commands(), call->name);

    return c && !(c->flags & QMP_WITHOUT_NODES);
}

static CO json_t *dispatch_beside(QmpSession *s, json_t *value, const Call *call, GError **err)
{
    json_t *answer;

    if (is_stopping)
        return NULL;
    is_beside = true;
    answer = dispatch(s, value, call, err);
    is_beside = false;
    return answer;
}

/* The same in its turn. */
static CO json_t *dispatch_in_turn(QmpSession *s, json_t *value, const Call *call, GError **err)
{
    CO_LOCKED(&in_band);
    bool has_turn = turn_begin && call_needs_nodes(call);
    json_t *answer = NULL;

    if (is_stopping)
        return NULL;
    if (has_turn) {
        let_pass++;
        turn_begin();
        let_pass--;
    }
    /* The program may have begun to end while the command waited. */
    if (!is_stopping)
        answer = dispatch(s, value, call, err);
    if (has_turn)
        turn_end();
    return answer;
}

static CO json_t *dispatch_in_band(QmpSession *s, json_t *value, const Call *call, GError **err)
{
    return let_pass && !call_needs_nodes(call) ? dispatch_beside(s, value, call, err)
                                               : dispatch_in_turn(s, value, call, err);
}

static CO bool run_in_turn(CO void (*fn)(void *opaque), void *opaque)
{
    CO_LOCKED(&in_band);
    bool runs;

    if (is_stopping)
        return false;
    running++;
    if (turn_begin)
        turn_begin();
    runs = !is_stopping;
    if (runs)
        fn(opaque);
    if (turn_end)
        turn_end();
    running--;
    return runs;
}

CO bool session_in_turn(CO void (*fn)(void *opaque), void *opaque)
{
    bool runs;

    let_pass++;
    runs = run_in_turn(fn, opaque);
    let_pass--;
    return runs;
}

CO json_t *session_dispatch(QmpSession *s, json_t *value)
{
    g_autoptr(GError) err = NULL;
    Call call = { 0 };
    json_t *answer = NULL;

    if (call_read(s, value, &call, &err))
        answer = call.oob ? dispatch(s, value, &call, &err)
                          : dispatch_in_band(s, value, &call, &err);
    if (!answer && err)
        answer = session_error(err, json_get(value, "id"));
    return answer;
}
