/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions on character devices: order, commands out of band, events and their limits, clients that
 * send too much or read nothing.
 */
#include "gen/qmp.h"
#include "io/channel.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "io/pool.h"
#include "monitor/monitor.h"
#include "monitor/session.h"
#include "tests/lib/harness.h"
#include "util/err.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MS = 1000 * 1000 };

/* ---- commands -------------------------------------------------------------------------------- */

static CoQueue gate;            /* where "wait" waits */
static unsigned waiting, begun;

static CO bool run_wait(json_t *in, json_t **out, GError **err)
{
    begun++;
    waiting++;
    co_queue_wait(&gate);
    waiting--;
    return true;
}

static CO bool run_big(json_t *in, json_t **out, GError **err)
{
    g_autofree char *text = g_strnfill(1 << 20, 'x');

    begun++;
    *out = json_string(text);
    return true;
}

static CO bool run_count(json_t *in, json_t **out, GError **err)
{
    *out = json_integer(waiting);
    return true;
}

static CO bool run_plain(json_t *in, json_t **out, GError **err)
{
    begun++;
    return true;
}

static CO bool run_fail(json_t *in, json_t **out, GError **err)
{
    err_set(err, ENOENT, "There is no such thing");
    return err_class(err, "DeviceNotFound");
}

static CO bool run_capabilities(json_t *in, json_t **out, GError **err)
{
    g_autoptr(QmpQmpCapabilitiesArgs) args = qmp_qmp_capabilities_args_parse(in);

    return qmp_qmp_capabilities(args, err);
}

static const QmpCommand commands[] = {
    { .name = "qmp_capabilities", .flags = QMP_WITHOUT_NODES,
      .arg_type = "QmpQmpCapabilitiesArgs", .run = run_capabilities },
    { .name = "wait", .run = run_wait },
    { .name = "big", .run = run_big },
    { .name = "count", .flags = QMP_OOB, .run = run_count },
    { .name = "fail", .run = run_fail },
    { .name = "plain", .run = run_plain },
    { .name = "without-nodes", .flags = QMP_WITHOUT_NODES, .run = run_plain },
    {},
};

/* ---- clients --------------------------------------------------------------------------------- */

typedef struct {
    Channel *channel;
    GString *seen;
} Client;

/* A session on a device of its own, called @id, and the client at the other end. */
static CO Client client_new(const char *id)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) backend = NULL;
    g_autofree char *number = NULL;
    int ends[2];
    Chardev *c;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    number = g_strdup_printf("%d", ends[0]);
    backend = json_pack("{s:s, s:{s:{s:s, s:{s:s}}, s:b}}", "type", "socket", "data", "addr",
                        "type", "fd", "data", "str", number, "server", 0);
    c = chardev_add(id, backend, &err);
    g_assert_no_error(err);
    close(ends[0]);
    g_assert_true(monitor_add(c, false, &err));
    return (Client){ channel_new_socket(ends[1]), g_string_new(NULL) };
}

static CO void client_send(Client *c, const char *text)
{
    g_assert_cmpint(channel_write_all(c->channel, text, strlen(text)), ==, 0);
}

/* The next line that the session sends. Caller frees; NULL: it has hung up. */
static CO char *client_line(Client *c)
{
    for (;;) {
        char *end = strstr(c->seen->str, "\r\n");
        char buf[4096];
        ssize_t n;

        if (end) {
            char *line = g_strndup(c->seen->str, end - c->seen->str);

            g_string_erase(c->seen, 0, end + 2 - c->seen->str);
            return line;
        }
        n = channel_read(c->channel, buf, sizeof(buf));
        if (n <= 0)
            return NULL;
        g_string_append_len(c->seen, buf, n);
    }
}

static CO void expect(Client *c, const char *wanted)
{
    g_autofree char *line = client_line(c);

    g_assert_cmpstr(line, ==, wanted);
}

/* Nothing is sent for a while. */
static CO void expect_silence(Client *c)
{
    char buf[1];

    co_sleep(20 * MS);
    g_assert_cmpuint(c->seen->len, ==, 0);
    g_assert_cmpint(channel_try_read(c->channel, buf, 1), ==, -EAGAIN);
}

static CO void greet(Client *c, bool oob)
{
    g_autofree char *greeting = client_line(c);

    g_assert_true(g_str_has_prefix(greeting, "{\"QMP\": {\"version\": "));
    client_send(c, oob ? "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}"
                       : "{\"execute\":\"qmp_capabilities\"}");
    expect(c, "{\"return\": {}}");
}

static void client_free(Client *c)
{
    channel_free(c->channel);
    g_string_free(c->seen, TRUE);
}

/* ---- order ----------------------------------------------------------------------------------- */

static void test_commands_run_in_order(void)
{
    Client c;

    monitor_begin(commands);
    monitor_start();
    c = client_new("c");
    greet(&c, false);
    client_send(&c, "{\"execute\":\"wait\",\"id\":1}{\"execute\":\"count\",\"id\":2}"
                    "{\"execute\":\"fail\",\"id\":3} nonsense {\"execute\":\"nope\",\"id\":[4]}");
    expect_silence(&c);
    g_assert_cmpuint(waiting, ==, 1);
    co_queue_wake_all(&gate);
    expect(&c, "{\"return\": {}, \"id\": 1}");
    expect(&c, "{\"return\": 0, \"id\": 2}");
    expect(&c, "{\"id\": 3, \"error\": {\"class\": \"DeviceNotFound\", \"desc\": "
               "\"There is no such thing\"}}");
    expect(&c, "{\"error\": {\"class\": \"GenericError\", \"desc\": "
               "\"JSON parse error, invalid keyword 'nonsense'\"}}");
    expect(&c, "{\"id\": [4], \"error\": {\"class\": \"CommandNotFound\", \"desc\": "
               "\"The command nope has not been found\"}}");
    client_free(&c);
    g_assert_true(monitor_end());
}

static void test_out_of_band_overtakes(void)
{
    Client c;

    monitor_begin(commands);
    monitor_start();
    c = client_new("c");
    greet(&c, true);
    client_send(&c, "{\"execute\":\"wait\",\"id\":1}{\"execute\":\"wait\",\"id\":2}");
    expect_silence(&c);
    client_send(&c, "{\"exec-oob\":\"count\",\"id\":3}{\"exec-oob\":\"wait\",\"id\":4}");
    expect(&c, "{\"return\": 1, \"id\": 3}");
    expect(&c, "{\"id\": 4, \"error\": {\"class\": \"GenericError\", \"desc\": "
               "\"The command wait does not support OOB\"}}");
    co_queue_wake_all(&gate);
    expect(&c, "{\"return\": {}, \"id\": 1}");
    client_send(&c, "{\"exec-oob\":\"count\",\"id\":5}");
    expect(&c, "{\"return\": 1, \"id\": 5}");
    co_queue_wake_all(&gate);
    expect(&c, "{\"return\": {}, \"id\": 2}");
    client_free(&c);
    g_assert_true(monitor_end());
}

/* Without that capability the word means nothing; and with a full queue it is not reached. */
static void test_out_of_band_has_its_limits(void)
{
    Client plain, full;

    monitor_begin(commands);
    monitor_start();
    plain = client_new("plain");
    greet(&plain, false);
    client_send(&plain, "{\"exec-oob\":\"count\"}");
    expect(&plain, "{\"error\": {\"class\": \"GenericError\", \"desc\": "
                   "\"QMP input member 'exec-oob' is unexpected\"}}");
    full = client_new("full");
    greet(&full, true);
    for (int i = 0; i < QMP_QUEUE_MAX; i++)
        client_send(&full, "{\"execute\":\"wait\"}");
    client_send(&full, "{\"exec-oob\":\"count\"}");
    expect_silence(&full);
    co_queue_wake_all(&gate);
    expect(&full, "{\"return\": {}}");
    expect(&full, "{\"return\": 1}");
    for (int i = 1; i < QMP_QUEUE_MAX; i++) {
        co_queue_wake_all(&gate);
        expect(&full, "{\"return\": {}}");
    }
    client_free(&plain);
    client_free(&full);
    g_assert_true(monitor_end());
}

/* Commands of all sessions share one order: they change the same things. */
static void test_sessions_take_turns(void)
{
    Client a, b;

    monitor_begin(commands);
    monitor_start();
    a = client_new("a");
    b = client_new("b");
    greet(&a, false);
    greet(&b, false);
    client_send(&a, "{\"execute\":\"wait\"}");
    expect_silence(&a);
    client_send(&b, "{\"execute\":\"count\"}");
    expect_silence(&b);
    co_queue_wake_all(&gate);
    expect(&a, "{\"return\": {}}");
    expect(&b, "{\"return\": 0}");
    client_free(&a);
    client_free(&b);
    g_assert_true(monitor_end());
}

/* What was sent before a client closed its end is carried out, and answered if it still listens. */
static void test_half_closed_clients_get_answers(void)
{
    Client c;

    monitor_begin(commands);
    monitor_start();
    c = client_new("c");
    greet(&c, false);
    client_send(&c, "{\"execute\":\"count\",\"id\":1}{\"execute\":\"count\",\"id\":2}{\"exec");
    shutdown(channel_fd(c.channel), SHUT_WR);
    expect(&c, "{\"return\": 0, \"id\": 1}");
    expect(&c, "{\"return\": 0, \"id\": 2}");
    g_assert_null(client_line(&c));
    client_free(&c);
    g_assert_true(monitor_end());
}

/* ---- events ---------------------------------------------------------------------------------- */

/* The next line, an event; what is behind its timestamp. */
static CO char *event_tail(Client *c)
{
    g_autofree char *line = client_line(c);

    g_assert_true(g_str_has_prefix(line, "{\"timestamp\": {\"seconds\": "));
    return g_strdup(strstr(line, "}, ") + 3);
}

static CO void expect_event(Client *c, const char *wanted)
{
    g_autofree char *tail = event_tail(c);

    g_assert_cmpstr(tail, ==, wanted);
}

static int emit_in_thread(void *arg)
{
    event_block_export_deleted("thread");
    return 0;
}

static void test_events_go_to_all(void)
{
    Client a, b, silent;
    g_autofree char *greeting = NULL;

    monitor_begin(commands);
    monitor_start();
    a = client_new("a");
    b = client_new("b");
    silent = client_new("silent");
    greet(&a, false);
    greet(&b, false);
    greeting = client_line(&silent);
    event_block_export_deleted("x");
    g_assert_cmpint(pool_run(emit_in_thread, NULL), ==, 0);
    for (int i = 0; i < 2; i++) {
        Client *c = i ? &b : &a;

        expect_event(c, "\"event\": \"BLOCK_EXPORT_DELETED\", \"data\": {\"id\": \"x\"}}");
        expect_event(c, "\"event\": \"BLOCK_EXPORT_DELETED\", \"data\": {\"id\": \"thread\"}}");
    }
    /* Who has not agreed on capabilities gets none. */
    expect_silence(&silent);
    client_free(&a);
    client_free(&b);
    client_free(&silent);
    g_assert_true(monitor_end());
    event_block_export_deleted("nobody listens any more");
}

static void report(const char *node, int64_t sector)
{
    event_quorum_report_bad(QUORUM_OP_TYPE_READ, NULL, node, sector, 1);
}

#define REPORT(node, sector)                                                                       \
    "\"event\": \"QUORUM_REPORT_BAD\", \"data\": {\"node-name\": \"" node                         \
    "\", \"sectors-count\": 1, \"sector-num\": " #sector ", \"type\": \"read\"}}"

/* The first at once, the last of the others a second later, for each node on its own. */
static void test_some_events_are_limited(void)
{
    int64_t start = clock_now_ns();
    Client c;

    monitor_begin(commands);
    monitor_start();
    c = client_new("c");
    greet(&c, false);
    for (int i = 0; i < 100; i++) {
        report("a", i);
        report("b", i);
    }
    expect_event(&c, REPORT("a", 0));
    expect_event(&c, REPORT("b", 0));
    expect_silence(&c);
    expect_event(&c, REPORT("a", 99));
    expect_event(&c, REPORT("b", 99));
    g_assert_cmpint(clock_now_ns() - start, >=, 1000 * (int64_t)MS);
    report("a", 7);
    expect_event(&c, REPORT("a", 7));
    g_assert_cmpint(clock_now_ns() - start, >=, 2000 * (int64_t)MS);
    co_sleep(1100 * (int64_t)MS);
    report("a", 8);
    expect_event(&c, REPORT("a", 8));
    client_free(&c);
    g_assert_true(monitor_end());
}

/* ---- clients that do not read ---------------------------------------------------------------- */

static void test_answers_not_read_stop_commands(void)
{
    Client c;

    monitor_begin(commands);
    monitor_start();
    c = client_new("c");
    greet(&c, false);
    for (int i = 0; i < 20; i++)
        client_send(&c, "{\"execute\":\"big\"}");
    co_sleep(100 * (int64_t)MS);
    g_assert_cmpuint(begun, <=, 4);
    for (int i = 0; i < 20; i++) {
        g_autofree char *line = client_line(&c);

        g_assert_cmpuint(strlen(line), >, 1 << 20);
    }
    client_free(&c);
    g_assert_true(monitor_end());
}

static void test_events_not_read_end_the_connection(void)
{
    g_autofree char *id = g_strnfill(1 << 20, 'x');
    Client c;
    bool over = false;

    monitor_begin(commands);
    monitor_start();
    c = client_new("c");
    greet(&c, false);
    for (int i = 0; i < 40; i++) {
        event_block_export_deleted(id);
        co_yield();
    }
    /* What is in the socket can be read, then comes the end; there is no gap before it. */
    while (!over) {
        g_autofree char *line = client_line(&c);

        over = !line;
        g_assert_true(over || strlen(line) > 1 << 20);
    }
    client_free(&c);
    g_assert_true(monitor_end());
}

/* ---- the end --------------------------------------------------------------------------------- */

static void test_ends_under_clients(void)
{
    Client idle, half;

    monitor_begin(commands);
    monitor_start();
    idle = client_new("idle");
    half = client_new("half");
    greet(&idle, false);
    client_send(&half, "{\"execute\": [[[[");
    co_sleep(5 * MS);
    monitor_stop_commands(clock_now_ns() + 100 * (int64_t)MS);
    client_send(&idle, "{\"execute\":\"count\"}");
    co_sleep(5 * MS);
    g_assert_true(monitor_end());
    /* A command after the last moment is not run. */
    g_assert_null(client_line(&idle));
    client_free(&idle);
    client_free(&half);
}

static void test_a_command_without_end_is_told_of(void)
{
    Client c;

    monitor_begin(commands);
    monitor_start();
    c = client_new("c");
    greet(&c, false);
    client_send(&c, "{\"execute\":\"wait\"}");
    co_sleep(5 * MS);
    monitor_stop_commands(clock_now_ns() + 20 * (int64_t)MS);
    g_assert_false(monitor_end());
    co_queue_wake_all(&gate);
    g_assert_true(monitor_end());
    client_free(&c);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static CoQueue turn;
static unsigned before_turn;    /* commands that wait for it */
static bool has_no_turn;

static CO void turn_begin(void)
{
    before_turn++;
    while (has_no_turn)
        co_queue_wait(&turn);
    before_turn--;
}

static void turn_end(void)
{
}

/* A client of a program whose commands have to wait for their turn from now on. */
static CO Client client_without_turn(void)
{
    Client c;

    monitor_begin(commands);
    monitor_set_turn(turn_begin, turn_end);
    monitor_start();
    c = client_new("c");
    greet(&c, false);
    has_no_turn = true;
    return c;
}

static CO void turn_come(void)
{
    has_no_turn = false;
    co_queue_wake_all(&turn);
    while (before_turn)
        co_yield();
}

static CO void test_commands_without_nodes_need_no_turn(void)
{
    Client c = client_without_turn();

    client_send(&c, "{\"execute\":\"without-nodes\"}");
    expect(&c, "{\"return\": {}}");
    client_send(&c, "{\"execute\":\"plain\"}");
    expect_silence(&c);
    g_assert_cmpuint(before_turn, ==, 1);
    turn_come();
    expect(&c, "{\"return\": {}}");
    g_assert_cmpuint(begun, ==, 2);
    client_free(&c);
    g_assert_true(monitor_end());
}

/*
 * Another client's command that looks at no node is answered while somebody waits for their turn.
 */
static CO void check_another_passes(void)
{
    Client other = client_new("other");

    greet(&other, false);
    while (!before_turn)
        co_yield();
    client_send(&other, "{\"execute\":\"without-nodes\"}");
    expect(&other, "{\"return\": {}}");
    g_assert_cmpuint(before_turn, ==, 1);
    turn_come();
    client_free(&other);
}

static CO void test_commands_without_nodes_pass_one_that_waits(void)
{
    Client c = client_without_turn();

    client_send(&c, "{\"execute\":\"plain\"}");
    check_another_passes();
    expect(&c, "{\"return\": {}}");
    client_free(&c);
    g_assert_true(monitor_end());
}

static CO void line_of_people(void *was_run)
{
    *(bool *)was_run = true;
}

static CO void line_that_runs(void *was_run)
{
    g_assert_true(session_in_turn(line_of_people, was_run));
}

static CO void test_commands_without_nodes_pass_a_line_that_waits(void)
{
    Client c = client_without_turn();
    bool was_run = false;
    CoGroup lines = {};

    co_group_start(&lines, line_that_runs, &was_run);
    check_another_passes();
    co_group_wait(&lines);
    g_assert_true(was_run);
    client_free(&c);
    g_assert_true(monitor_end());
}

static CO void test_no_command_begins_once_the_program_ends(void)
{
    Client c = client_without_turn();

    client_send(&c, "{\"execute\":\"plain\"}{\"execute\":\"plain\"}");
    while (!before_turn)
        co_yield();
    monitor_stop_commands(clock_now_ns() + 100 * (int64_t)MS);
    turn_come();
    g_assert_true(monitor_end());
    g_assert_null(client_line(&c));
    g_assert_cmpuint(begun, ==, 0);
    client_free(&c);
}

static CO void line_in_turn(void *was_run)
{
    g_assert_false(session_in_turn(line_of_people, was_run));
}

static CO void test_no_line_of_people_begins_once_the_program_ends(void)
{
    Client c = client_without_turn();
    bool was_run[2] = {};
    CoGroup lines = {};

    co_group_start(&lines, line_in_turn, &was_run[0]);
    co_group_start(&lines, line_in_turn, &was_run[1]);
    while (!before_turn)
        co_yield();
    monitor_stop_commands(clock_now_ns() + 20 * (int64_t)MS);
    turn_come();
    co_group_wait(&lines);
    g_assert_false(was_run[0] || was_run[1]);
    client_free(&c);
    g_assert_true(monitor_end());
}

const Test tests[] = {
    { "/monitor/commands-run-in-order", test_commands_run_in_order },
    { "/monitor/out-of-band/overtakes", test_out_of_band_overtakes },
    { "/monitor/out-of-band/has-its-limits", test_out_of_band_has_its_limits },
    { "/monitor/sessions-take-turns", test_sessions_take_turns },
    { "/monitor/half-closed-clients-get-answers", test_half_closed_clients_get_answers },
    { "/monitor/events/go-to-all", test_events_go_to_all },
    { "/monitor/events/some-are-limited", test_some_events_are_limited },
    { "/monitor/unread/answers-stop-commands", test_answers_not_read_stop_commands },
    { "/monitor/unread/events-end-the-connection", test_events_not_read_end_the_connection },
    { "/monitor/end/under-clients", test_ends_under_clients },
    { "/monitor/end/a-command-without-end-is-told-of", test_a_command_without_end_is_told_of },
    { "/monitor/end/no-command-begins-any-more", test_no_command_begins_once_the_program_ends },
    { "/monitor/end/no-line-of-people-begins-any-more",
      test_no_line_of_people_begins_once_the_program_ends },
    { "/monitor/turns/commands-without-nodes-need-none", test_commands_without_nodes_need_no_turn },
    { "/monitor/turns/commands-without-nodes-pass-one-that-waits",
      test_commands_without_nodes_pass_one_that_waits },
    { "/monitor/turns/commands-without-nodes-pass-a-line-that-waits",
      test_commands_without_nodes_pass_a_line_that_waits },
    {},
};
