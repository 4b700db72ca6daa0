/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines typed on a terminal, by libedit's face of readline. */
#include "qemu-io/modules/edit/edit.h"
#include "util/module.h"
#include <stdio.h>
#include <editline/readline.h>

static char *done_line;
static bool is_done;

static void line_done(char *line)
{
    done_line = line;
    is_done = true;
    rl_callback_handler_remove();
}

static void edit_begin(const char *prompt)
{
    static bool is_set_up;

    if (!is_set_up) {
        rl_readline_name = "qemu-io";
        using_history();
        is_set_up = true;
    }
    is_done = false;
    rl_callback_handler_install(prompt, line_done);
}

static bool edit_feed(char **line)
{
    rl_callback_read_char();
    if (is_done && done_line && *done_line)
        add_history(done_line);
    *line = is_done ? done_line : NULL;
    return is_done;
}

MODULE_EXPORT const EditModule ferry_module_edit = {
    .begin = edit_begin,
    .feed = edit_feed,
};
