/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD protocol: numbers and messages as they are on the wire. Everything is big-endian.
 *
 * Source: "The NBD protocol", doc/proto.md of the NetworkBlockDevice project; section names below
 * are its. What we rely on is told in docs/spec/nbd.md.
 */
#ifndef NBD_PROTO_H
#define NBD_PROTO_H

#include "util/endian.h"
#include <glib.h>

/* ---- handshake ------------------------------------------------------------------------------- */

#define NBD_MAGIC 0x4e42444d41474943ULL          /* "NBDMAGIC", the first 8 bytes of a server */
#define NBD_OPTS_MAGIC 0x49484156454f5054ULL     /* "IHAVEOPT", newstyle and each option */
#define NBD_OLDSTYLE_MAGIC 0x00420281861253ULL   /* oldstyle negotiation */
#define NBD_OPTION_REPLY_MAGIC 0x3e889045565a9ULL

enum {
    NBD_PORT = 10809,
    NBD_STRING_MAX = 4096, /* "Values", bytes of a name, a description, an error text */
    NBD_OLDSTYLE_ZEROES = 124,
};

/* "Handshake phase": what the server says first in newstyle. */
typedef struct {
    be64 magic;        /* NBD_MAGIC */
    be64 opts_magic;   /* NBD_OPTS_MAGIC */
    be16 flags;        /* NBD_FLAG_FIXED_NEWSTYLE, ... */
} NbdGreeting;
G_STATIC_ASSERT(sizeof(NbdGreeting) == 18);

/* The rest of an oldstyle greeting, after NBD_MAGIC and NBD_OLDSTYLE_MAGIC. */
typedef struct {
    be64 size;
    be16 handshake_flags; /* always 0 */
    be16 flags;           /* NBD_FLAG_* of transmission */
    uint8_t zeroes[NBD_OLDSTYLE_ZEROES];
} NbdOldstyleExport;
G_STATIC_ASSERT(sizeof(NbdOldstyleExport) == 136);

/* Handshake flags, of server and client alike. */
enum {
    NBD_FLAG_FIXED_NEWSTYLE = 1 << 0,
    NBD_FLAG_NO_ZEROES = 1 << 1,
};

/* "Option negotiating": an option of the client; its data follows. */
typedef struct {
    be64 magic;  /* NBD_OPTS_MAGIC */
    be32 option; /* NBD_OPT_* */
    be32 length; /* bytes of data */
} NbdOption;
G_STATIC_ASSERT(sizeof(NbdOption) == 16);

enum {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_PEEK_EXPORT = 4, /* withdrawn */
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
    NBD_OPT_EXTENDED_HEADERS = 11,
};

/* The answer to NBD_OPT_EXPORT_NAME, followed by 124 zeroes unless NO_ZEROES was agreed. */
typedef struct {
    be64 size;  /* bytes */
    be16 flags; /* NBD_FLAG_* of transmission */
} NbdExportAnswer;
G_STATIC_ASSERT(sizeof(NbdExportAnswer) == 10);

/* An answer of the server to any other option; its data follows. */
typedef struct {
    be64 magic;  /* NBD_OPTION_REPLY_MAGIC */
    be32 option; /* of the client's */
    be32 type;   /* NBD_REP_* */
    be32 length; /* bytes of data */
} NbdOptionReply;
G_STATIC_ASSERT(sizeof(NbdOptionReply) == 20);

enum {
    NBD_REP_ACK = 1,
    NBD_REP_SERVER = 2,       /* be32 length of the name, name, description */
    NBD_REP_INFO = 3,         /* be16 NBD_INFO_*, then what belongs to it */
    NBD_REP_META_CONTEXT = 4, /* be32 id, name */
};

#define NBD_REP_ERR(n) (0x80000000U | (n)) /* data: a text for people */
#define NBD_REP_ERR_UNSUP NBD_REP_ERR(1)
#define NBD_REP_ERR_POLICY NBD_REP_ERR(2)
#define NBD_REP_ERR_INVALID NBD_REP_ERR(3)
#define NBD_REP_ERR_PLATFORM NBD_REP_ERR(4)
#define NBD_REP_ERR_TLS_REQD NBD_REP_ERR(5)
#define NBD_REP_ERR_UNKNOWN NBD_REP_ERR(6)
#define NBD_REP_ERR_SHUTDOWN NBD_REP_ERR(7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD NBD_REP_ERR(8)
#define NBD_REP_ERR_TOO_BIG NBD_REP_ERR(9)
#define NBD_REP_ERR_EXT_HEADER_REQD NBD_REP_ERR(10)

enum {
    NBD_INFO_EXPORT = 0,      /* NbdInfoExport */
    NBD_INFO_NAME = 1,        /* the canonical name */
    NBD_INFO_DESCRIPTION = 2, /* a text */
    NBD_INFO_BLOCK_SIZE = 3,  /* NbdInfoBlockSize */
};

typedef struct {
    be16 info; /* NBD_INFO_EXPORT */
    be64 size; /* bytes */
    be16 flags;
} NbdInfoExport;
G_STATIC_ASSERT(sizeof(NbdInfoExport) == 12);

/* "Block size constraints", all in bytes. */
typedef struct {
    be16 info; /* NBD_INFO_BLOCK_SIZE */
    be32 minimum, preferred, maximum;
} NbdInfoBlockSize;
G_STATIC_ASSERT(sizeof(NbdInfoBlockSize) == 14);

/* "Transmission flags": what an export can do. */
enum {
    NBD_FLAG_HAS_FLAGS = 1 << 0,
    NBD_FLAG_READ_ONLY = 1 << 1,
    NBD_FLAG_SEND_FLUSH = 1 << 2,
    NBD_FLAG_SEND_FUA = 1 << 3,
    NBD_FLAG_ROTATIONAL = 1 << 4,
    NBD_FLAG_SEND_TRIM = 1 << 5,
    NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
    NBD_FLAG_SEND_DF = 1 << 7,
    NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
    NBD_FLAG_SEND_RESIZE = 1 << 9, /* experimental; unused here */
    NBD_FLAG_SEND_CACHE = 1 << 10,
    NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
    NBD_FLAG_BLOCK_STAT_PAYLOAD = 1 << 12,
};

/* ---- transmission ---------------------------------------------------------------------------- */

#define NBD_REQUEST_MAGIC 0x25609513U
#define NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71U
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698U
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efU
#define NBD_EXTENDED_REPLY_MAGIC 0x6e8a278cU

/* "Request message", compact; payload follows for NBD_CMD_WRITE. */
typedef struct {
    be32 magic;  /* NBD_REQUEST_MAGIC */
    be16 flags;  /* NBD_CMD_FLAG_* */
    be16 type;   /* NBD_CMD_* */
    be64 cookie; /* opaque, echoed in the reply */
    be64 offset; /* bytes */
    be32 length; /* bytes */
} NbdRequest;
G_STATIC_ASSERT(sizeof(NbdRequest) == 28);

/*
 * Extended; @length bytes of payload follow with NBD_CMD_FLAG_PAYLOAD_LEN, else it is the effect's.
 */
typedef struct {
    be32 magic; /* NBD_EXTENDED_REQUEST_MAGIC */
    be16 flags;
    be16 type;
    be64 cookie;
    be64 offset;
    be64 length;
} NbdExtendedRequest;
G_STATIC_ASSERT(sizeof(NbdExtendedRequest) == 32);

enum {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6,
    NBD_CMD_BLOCK_STATUS = 7,
};

enum {
    NBD_CMD_FLAG_FUA = 1 << 0,
    NBD_CMD_FLAG_NO_HOLE = 1 << 1,
    NBD_CMD_FLAG_DF = 1 << 2,
    NBD_CMD_FLAG_REQ_ONE = 1 << 3,
    NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
    NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5,
};

/* Data follows after a read that succeeded. */
typedef struct {
    be32 magic; /* NBD_SIMPLE_REPLY_MAGIC */
    be32 error; /* NBD_E* */
    be64 cookie;
} NbdSimpleReply;
G_STATIC_ASSERT(sizeof(NbdSimpleReply) == 16);

/* "Structured reply chunk message". */
typedef struct {
    be32 magic;  /* NBD_STRUCTURED_REPLY_MAGIC */
    be16 flags;  /* NBD_REPLY_FLAG_DONE */
    be16 type;   /* NBD_REPLY_TYPE_* */
    be64 cookie;
    be32 length; /* bytes of payload */
} NbdStructuredReply;
G_STATIC_ASSERT(sizeof(NbdStructuredReply) == 20);

/* "Extended reply chunk message". */
typedef struct {
    be32 magic;  /* NBD_EXTENDED_REPLY_MAGIC */
    be16 flags;
    be16 type;
    be64 cookie;
    be64 offset; /* of the request */
    be64 length; /* bytes of payload */
} NbdExtendedReply;
G_STATIC_ASSERT(sizeof(NbdExtendedReply) == 32);

enum { NBD_REPLY_FLAG_DONE = 1 << 0 };

enum {
    NBD_REPLY_TYPE_NONE = 0,
    NBD_REPLY_TYPE_OFFSET_DATA = 1,      /* be64 offset, data */
    NBD_REPLY_TYPE_OFFSET_HOLE = 2,      /* NbdHole */
    NBD_REPLY_TYPE_BLOCK_STATUS = 5,     /* be32 context id, NbdExtent... */
    NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6, /* be32 context id, be32 count, NbdExtentExt... */
    NBD_REPLY_TYPE_ERROR_BIT = 1 << 15,
    NBD_REPLY_TYPE_ERROR = NBD_REPLY_TYPE_ERROR_BIT | 1,        /* NbdErrorChunk, text */
    NBD_REPLY_TYPE_ERROR_OFFSET = NBD_REPLY_TYPE_ERROR_BIT | 2, /* the same, be64 offset */
};

typedef struct {
    be64 offset;
    be32 length;
} NbdHole;
G_STATIC_ASSERT(sizeof(NbdHole) == 12);

typedef struct {
    be32 length;
    be32 flags; /* meaning by context */
} NbdExtent;
G_STATIC_ASSERT(sizeof(NbdExtent) == 8);

typedef struct {
    be64 length;
    be64 flags;
} NbdExtentExt;
G_STATIC_ASSERT(sizeof(NbdExtentExt) == 16);

typedef struct {
    be32 error;
    be16 length; /* bytes of text */
} NbdErrorChunk;
G_STATIC_ASSERT(sizeof(NbdErrorChunk) == 6);

/* "Error values". */
enum {
    NBD_SUCCESS = 0,
    NBD_EPERM = 1,
    NBD_EIO = 5,
    NBD_ENOMEM = 12,
    NBD_EINVAL = 22,
    NBD_ENOSPC = 28,
    NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95,
    NBD_ESHUTDOWN = 108,
};

/* ---- metadata contexts ----------------------------------------------------------------------- */

#define NBD_CONTEXT_ALLOCATION "base:allocation"
/* Below "qemu:", see QEMU's docs/interop/nbd. */
#define NBD_CONTEXT_DEPTH "qemu:allocation-depth"
#define NBD_CONTEXT_BITMAP "qemu:dirty-bitmap:" /* the name of a bitmap follows */

/* Of base:allocation. */
enum {
    NBD_STATE_HOLE = 1 << 0,
    NBD_STATE_ZERO = 1 << 1,
};

/* Of qemu:dirty-bitmap. */
enum { NBD_STATE_DIRTY = 1 << 0 };

/* ---- our bounds ------------------------------------------------------------------------------ */

enum {
    NBD_PAYLOAD_MAX = 32 << 20, /* bytes of data in one request or reply */
};

#endif
