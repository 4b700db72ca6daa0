/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AES (FIPS 197), SHA-1 and SHA-256 (FIPS 180), and carry-less multiplication. Not in constant
 * time: this is the executor that is right, not the one that is safe from neighbours.
 */
#include "target/x86/execute.h"

/* ---- AES ------------------------------------------------------------------------------------- */

static uint8_t sbox[256], inverse_sbox[256];

static uint8_t times2(uint8_t v)
{
    return v << 1 ^ (v & 0x80 ? 0x1b : 0);
}

static uint8_t multiply(uint8_t a, uint8_t b)
{
    uint8_t r = 0;

    for (; b; b >>= 1, a = times2(a))
        if (b & 1)
            r ^= a;
    return r;
}

static uint8_t rotate8(uint8_t v, unsigned n)
{
    return v << n | v >> (8 - n);
}

/* The inverse in GF(2^8), then the affine map, for all bytes. */
static void make_boxes(void)
{
    static gsize made;

    if (!g_once_init_enter(&made))
        return;
    for (unsigned v = 0; v < 256; v++) {
        uint8_t inverse = v;

        /* v^254 by multiplying: 253 times. */
        for (unsigned i = 0; i < 253; i++)
            inverse = multiply(inverse, v);
        sbox[v] = inverse ^ rotate8(inverse, 1) ^ rotate8(inverse, 2) ^ rotate8(inverse, 3) ^
                  rotate8(inverse, 4) ^ 0x63;
        inverse_sbox[sbox[v]] = v;
    }
    g_once_init_leave(&made, 1);
}

/* Bytes stand in columns of four; row k is rotated by k columns. */
static X86Vector shift_and_substitute(X86Vector v, const uint8_t *box, int direction)
{
    X86Vector r;

    make_boxes();
    for (int i = 0; i < 16; i++)
        r.b[i] = box[v.b[(i + direction * 4 * (i & 3)) & 15]];
    return r;
}

static X86Vector mix_columns(X86Vector v, const uint8_t factor[4])
{
    X86Vector r;

    for (int i = 0; i < 16; i++) {
        r.b[i] = 0;
        for (int k = 0; k < 4; k++)
            r.b[i] ^= multiply(v.b[(i & ~3) + k], factor[(k - i) & 3]);
    }
    return r;
}

static const uint8_t forward[4] = { 2, 3, 1, 1 }, backward[4] = { 14, 11, 13, 9 };

static void aes_round(X86Cpu *cpu, const X86Insn *in, bool decrypt, bool last)
{
    X86Vector key = x86_get_vector(cpu, in, 1), v = x86_get_vector(cpu, in, 0);

    v = shift_and_substitute(v, decrypt ? inverse_sbox : sbox, decrypt ? -1 : 1);
    if (!last)
        v = mix_columns(v, decrypt ? backward : forward);
    v.q[0] ^= key.q[0];
    v.q[1] ^= key.q[1];
    x86_set_vector(cpu, in, 0, v);
}

EXEC(aesenc)
{
    aes_round(cpu, in, false, false);
}

EXEC(aesenclast)
{
    aes_round(cpu, in, false, true);
}

EXEC(aesdec)
{
    aes_round(cpu, in, true, false);
}

EXEC(aesdeclast)
{
    aes_round(cpu, in, true, true);
}

EXEC(aesimc)
{
    x86_set_vector(cpu, in, 0, mix_columns(x86_get_vector(cpu, in, 1), backward));
}

static uint32_t substitute_word(uint32_t v)
{
    return sbox[v & 0xff] | sbox[v >> 8 & 0xff] << 8 | sbox[v >> 16 & 0xff] << 16 |
           (uint32_t)sbox[v >> 24] << 24;
}

static uint32_t rotate_right(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

EXEC(aeskeygenassist)
{
    X86Vector b = x86_get_vector(cpu, in, 1), r;

    make_boxes();
    for (int i = 0; i < 2; i++) {
        uint32_t v = substitute_word(b.d[2 * i + 1]);

        r.d[2 * i] = v;
        r.d[2 * i + 1] = rotate_right(v, 8) ^ in->imm;
    }
    x86_set_vector(cpu, in, 0, r);
}

EXEC(pclmulqdq)
{
    uint64_t b = x86_get_vector(cpu, in, 1).q[in->imm >> 4 & 1];
    uint64_t a = x86_get_vector(cpu, in, 0).q[in->imm & 1];
    X86Vector r = { 0 };

    for (unsigned i = 0; i < 64; i++) {
        if (!(b >> i & 1))
            continue;
        r.q[0] ^= a << i;
        r.q[1] ^= i ? a >> (64 - i) : 0;
    }
    x86_set_vector(cpu, in, 0, r);
}

/* ---- SHA-1: words stand with the first in the highest lane ----------------------------------- */

static uint32_t rotate_left(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

EXEC(sha1nexte)
{
    X86Vector r = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0);

    r.d[3] += rotate_left(a.d[3], 30);
    x86_set_vector(cpu, in, 0, r);
}

EXEC(sha1msg1)
{
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0);
    X86Vector r = { .d = { b.d[2] ^ a.d[0], b.d[3] ^ a.d[1], a.d[0] ^ a.d[2], a.d[1] ^ a.d[3] } };

    x86_set_vector(cpu, in, 0, r);
}

EXEC(sha1msg2)
{
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0), r;

    r.d[3] = rotate_left(a.d[3] ^ b.d[2], 1);
    r.d[2] = rotate_left(a.d[2] ^ b.d[1], 1);
    r.d[1] = rotate_left(a.d[1] ^ b.d[0], 1);
    r.d[0] = rotate_left(a.d[0] ^ r.d[3], 1);
    x86_set_vector(cpu, in, 0, r);
}

/* The function of a quarter of the rounds, and its constant. */
static uint32_t sha1_function(unsigned which, uint32_t b, uint32_t c, uint32_t d)
{
    switch (which) {
    case 0:
        return ((b & c) ^ (~b & d)) + UINT32_C(0x5a827999);
    case 1:
        return (b ^ c ^ d) + UINT32_C(0x6ed9eba1);
    case 2:
        return ((b & c) ^ (b & d) ^ (c & d)) + UINT32_C(0x8f1bbcdc);
    default:
        return (b ^ c ^ d) + UINT32_C(0xca62c1d6);
    }
}

EXEC(sha1rnds4)
{
    X86Vector w = x86_get_vector(cpu, in, 1), v = x86_get_vector(cpu, in, 0);
    uint32_t a = v.d[3], b = v.d[2], c = v.d[1], d = v.d[0], e = 0;

    for (int i = 0; i < 4; i++) {
        uint32_t next = sha1_function(in->imm & 3, b, c, d) + rotate_left(a, 5) + w.d[3 - i] + e;

        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    x86_set_vector(cpu, in, 0, (X86Vector){ .d = { d, c, b, a } });
}

/* ---- SHA-256 --------------------------------------------------------------------------------- */

static uint32_t small_sigma0(uint32_t v)
{
    return rotate_right(v, 7) ^ rotate_right(v, 18) ^ v >> 3;
}

static uint32_t small_sigma1(uint32_t v)
{
    return rotate_right(v, 17) ^ rotate_right(v, 19) ^ v >> 10;
}

EXEC(sha256msg1)
{
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0), r;

    for (int i = 0; i < 4; i++)
        r.d[i] = a.d[i] + small_sigma0(i < 3 ? a.d[i + 1] : b.d[0]);
    x86_set_vector(cpu, in, 0, r);
}

EXEC(sha256msg2)
{
    X86Vector b = x86_get_vector(cpu, in, 1), a = x86_get_vector(cpu, in, 0), r;

    r.d[0] = a.d[0] + small_sigma1(b.d[2]);
    r.d[1] = a.d[1] + small_sigma1(b.d[3]);
    r.d[2] = a.d[2] + small_sigma1(r.d[0]);
    r.d[3] = a.d[3] + small_sigma1(r.d[1]);
    x86_set_vector(cpu, in, 0, r);
}

/* Two rounds. Operand 0 holds C D G H, operand 1 A B E F, each from the highest lane down. */
EXEC(sha256rnds2)
{
    X86Vector s = x86_get_vector(cpu, in, 1), v = x86_get_vector(cpu, in, 0), k = cpu->xmm[0];
    uint32_t a = s.d[3], b = s.d[2], c = v.d[3], d = v.d[2];
    uint32_t e = s.d[1], f = s.d[0], g = v.d[1], h = v.d[0];

    for (int i = 0; i < 2; i++) {
        uint32_t big1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t big0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t t1 = h + big1 + ((e & f) ^ (~e & g)) + k.d[i];
        uint32_t t2 = big0 + ((a & b) ^ (a & c) ^ (b & c));

        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    x86_set_vector(cpu, in, 0, (X86Vector){ .d = { f, e, b, a } });
}
