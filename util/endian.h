/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Integers on disk and on the wire.
 *
 * Each type is an array of bytes: it needs no alignment and no packing, and cannot be used as a
 * number without a conversion. be32_get(x.field) reads, be32_set(&x.field, v) writes; be32_at(p)
 * and be32_put(p, v) work on raw memory.
 */
#ifndef UTIL_ENDIAN_H
#define UTIL_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define ENDIAN_TYPE(name, bits, from, to)                                                          \
    typedef struct {                                                                               \
        uint8_t b[bits / 8];                                                                       \
    } name;                                                                                        \
    static inline uint##bits##_t name##_at(const void *p)                                          \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof(v));                                                                  \
        return from(v);                                                                            \
    }                                                                                              \
    static inline void name##_put(void *p, uint##bits##_t v)                                       \
    {                                                                                              \
        v = to(v);                                                                                 \
        memcpy(p, &v, sizeof(v));                                                                  \
    }                                                                                              \
    static inline uint##bits##_t name##_get(name x)                                                \
    {                                                                                              \
        return name##_at(x.b);                                                                     \
    }                                                                                              \
    static inline void name##_set(name *x, uint##bits##_t v)                                       \
    {                                                                                              \
        name##_put(x->b, v);                                                                       \
    }                                                                                              \
    static inline name name##_of(uint##bits##_t v)                                                 \
    {                                                                                              \
        name x;                                                                                    \
        name##_put(x.b, v);                                                                        \
        return x;                                                                                  \
    }

ENDIAN_TYPE(be16, 16, be16toh, htobe16)
ENDIAN_TYPE(be32, 32, be32toh, htobe32)
ENDIAN_TYPE(be64, 64, be64toh, htobe64)
ENDIAN_TYPE(le16, 16, le16toh, htole16)
ENDIAN_TYPE(le32, 32, le32toh, htole32)
ENDIAN_TYPE(le64, 64, le64toh, htole64)

#undef ENDIAN_TYPE

#endif
