/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/x86/lib/generate.h"

typedef struct {
    uint8_t *code;
    unsigned at;
} Bytes;

static void add(Bytes *b, uint8_t byte)
{
    b->code[b->at++] = byte;
}

static void add_prefixes(Bytes *b, Random *r, const X86Form *f, X86DecodeMode mode)
{
    static const uint8_t segments[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
    static const uint8_t fixed[8] = { [P66] = 0x66, [PF3] = 0xf3, [PF2] = 0xf2 };
    unsigned prefix = f->when & W_PREFIX;
    uint32_t attributes = x86_operations[f->op].attributes;

    if (random_chance(r, 8))
        add(b, segments[random_below(r, 6)]);
    if (random_chance(r, 5))
        add(b, 0x67);
    if ((prefix == ANY || prefix == PF2 || prefix == PF3) && random_chance(r, 20))
        add(b, 0x66);
    if (attributes & X86_A_STRING && random_chance(r, 50))
        add(b, 0xf2 + random_below(r, 2));
    if (random_chance(r, f->attributes & LOCKABLE ? 20 : 1))
        add(b, 0xf0);
    if (fixed[prefix])
        add(b, fixed[prefix]);
    if (mode.bits == 64 && (f->when & IS_W))
        add(b, 0x48 | random_below(r, 8));
    else if (mode.bits == 64 && random_chance(r, 50))
        add(b, 0x40 | random_below(r, 16));
}

static void add_opcode(Bytes *b, Random *r, const X86Form *f)
{
    unsigned map = f->opcode >> 8, span = f->when & SPAN8 ? 8 : f->when & SPAN16 ? 16 : 1;

    if (map != X86_MAP_1)
        add(b, 0x0f);
    if (map == X86_MAP_0F38 || map == X86_MAP_0F3A)
        add(b, map == X86_MAP_0F38 ? 0x38 : 0x3a);
    add(b, f->opcode + random_below(r, span));
}

/* A byte that fits @f if it is a ModRM byte. */
static uint8_t modrm(Random *r, const X86Form *f)
{
    uint8_t m = random_next(r) >> 24;

    if (f->when & MOD3 || random_chance(r, 30))
        m |= 0xc0;
    if (f->when & MEM && m >= 0xc0)
        m ^= random_chance(r, 50) ? 0x40 : 0x80;
    if (f->when & W_REG)
        m = (m & 0xc7) | (f->when >> W_REG_SHIFT & 7) << 3;
    if (f->when & W_RM)
        m = (m & 0xf8) | (f->when >> W_RM_SHIFT & 7);
    return m;
}

static bool names_vvvv(const X86Form *f)
{
    for (unsigned i = 0; i < X86_OPERANDS; i++)
        if (x86_shapes[f->operand[i]].how == HOW_VVVV)
            return true;
    return false;
}

/* The prefix in its long form, or at times in the short one. */
static void add_vex(Bytes *b, Random *r, const X86Form *f, X86DecodeMode mode)
{
    static const uint8_t codes[8] = { [P66] = 1, [PF3] = 2, [PF2] = 3 };
    bool wide = f->when & IS_W || (!(f->when & NO_W) && random_chance(r, 30));
    bool large = f->when & IS_L1 || (!(f->when & IS_L0) && random_chance(r, 50));
    uint8_t registers = mode.bits == 64 ? random_next(r) >> 24 & 0xe0 : 0xe0;
    uint8_t vvvv = names_vvvv(f) || random_chance(r, 1) ? random_next(r) >> 24 & 0x78 : 0x78;
    uint8_t last = vvvv | large << 2 | codes[f->when & W_PREFIX];

    if (f->opcode >> 8 == X86_MAP_VEX && !wide && random_chance(r, 50)) {
        add(b, 0xc5);
        add(b, last | (mode.bits == 64 ? registers & 0x80 : 0x80));
        /* In 32-bit code the upper bit of vvvv must be set for it to be no lds. */
        if (mode.bits != 64)
            b->code[b->at - 1] |= 0x40;
    } else {
        add(b, 0xc4);
        add(b, registers | ((f->opcode >> 8) - X86_MAP_VEX + 1));
        add(b, last | wide << 7);
    }
    add(b, f->opcode);
}

void generate(Generated *g, Random *r, const X86Form *f, X86DecodeMode mode)
{
    Bytes b = { .code = g->code };

    if (f->opcode >> 8 >= X86_MAP_VEX) {
        if (random_chance(r, 8))
            add(&b, 0x65);
        if (random_chance(r, 5))
            add(&b, 0x67);
        add_vex(&b, r, f, mode);
    } else {
        add_prefixes(&b, r, f, mode);
        add_opcode(&b, r, f);
    }
    add(&b, modrm(r, f));
    while (b.at < X86_INSN_MAX)
        add(&b, random_next(r) >> 24);
    g->decoded = x86_decode(&g->insn, g->code, X86_INSN_MAX, mode);
}
