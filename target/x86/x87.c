/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/x86/x87.h"

void x87_init(X87 *f)
{
    f->control = 0x37f;
    f->status = 0;
    f->top = 0;
    f->in_use = 0;
    f->opcode = 0;
    f->ip = f->dp = 0;
    f->cs = f->ds = 0;
}

/* ES and B say whether an exception is pending that is not masked. */
static void update_summary(X87 *f)
{
    bool pending = f->status & ~f->control & X87_EXCEPTIONS;

    f->status = (f->status & ~(X87_ES | X87_B)) | (pending ? X87_ES | X87_B : 0);
}

void x87_set_status(X87 *f, uint16_t status)
{
    f->top = status >> 11 & 7;
    f->status = status & ~(7 << 11);
    update_summary(f);
}

void x87_set_control(X87 *f, uint16_t control)
{
    f->control = (control & 0x1f7f) | 0x40;
    update_summary(f);
}

uint16_t x87_tags(const X87 *f)
{
    uint16_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        const X87Number *n = &f->r[i];
        unsigned exponent = n->sign_exponent & 0x7fff, tag = 0;

        if (!(f->in_use >> i & 1))
            tag = 3;
        else if (!exponent && !n->mantissa)
            tag = 1;
        else if (exponent == 0x7fff || !(n->mantissa >> 63))
            tag = 2;
        tags |= tag << 2 * i;
    }
    return tags;
}
