/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A processor's sections of migration streams, but for its APIC's. */
#ifndef SYSTEM_VCPU_STATE_H
#define SYSTEM_VCPU_STATE_H

#include "migration/section.h"
#include "system/machine.h"

/* Appends them to @list, of MigSection *. */
void vcpu_add_sections(Vcpu *v, unsigned index, GPtrArray *list);

#endif
