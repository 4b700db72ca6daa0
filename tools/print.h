/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON values on standard output as people read them: nested lists and "key: value" lines. */
#ifndef TOOLS_PRINT_H
#define TOOLS_PRINT_H

#include "util/json.h"

/* Prints "@title:" and the members of object @v below it; nothing if @v is NULL. */
void print_section(const json_t *v, const char *title, int indent);

#endif
