/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers of the stream: docs/spec/migration-stream.md. All integers are big-endian. */
#ifndef MIGRATION_WIRE_H
#define MIGRATION_WIRE_H

#include <stdint.h>

enum {
    STREAM_MAGIC = 0x5145564d, STREAM_VERSION = 3, STREAM_VERSION_OBSOLETE = 2,

    /* The first byte of each element. */
    ELEMENT_EOF = 0, ELEMENT_START = 1, ELEMENT_PART = 2, ELEMENT_END = 3, ELEMENT_FULL = 4,
    ELEMENT_SUBSECTION = 5, ELEMENT_DESCRIPTION = 6, ELEMENT_CONFIGURATION = 7, ELEMENT_COMMAND = 8,
    ELEMENT_FOOTER = 0x7e,

    COMMAND_OPEN_RETURN_PATH = 1, COMMAND_PING = 2, COMMAND_POSTCOPY_ADVISE = 3,
    COMMAND_POSTCOPY_LISTEN = 4, COMMAND_POSTCOPY_RUN = 5, COMMAND_POSTCOPY_DISCARD = 6,
    COMMAND_PACKAGED = 7, COMMAND_ENABLE_COLO = 8, COMMAND_POSTCOPY_RESUME = 9,
    COMMAND_RECV_BITMAP = 10, COMMANDS,

    /* Messages back to the source. */
    RETURN_SHUT = 1, RETURN_PONG = 2, RETURN_REQUEST_NAMED = 3, RETURN_REQUEST = 4,
    RETURN_RECEIVED = 5, RETURN_RESUMED = 6,
    RETURN_LEN_MAX = 512,

    RAM_VERSION = 4, RAM_PAGE_SIZE = 4096,
    RAM_ZERO = 0x02, RAM_MEM_SIZE = 0x04, RAM_PAGE = 0x08, RAM_EOS = 0x10, RAM_CONTINUE = 0x20,
    RAM_XBZRLE = 0x40, RAM_COMPRESSED = 0x100,

    RESUMED = 1,                /* the value of RETURN_RESUMED */
    POSTCOPY_PING_RUN = 3,      /* the ping in a package just before COMMAND_POSTCOPY_RUN */
    RELEASE_PING_FIRST = 0x100, /* Ferry's: from here on they are answered when the guest runs */

    NAME_LEN_MAX = 255,
    PACKAGE_MAX = 32 << 20,     /* bytes of devices that precede a postcopy */
    DESCRIPTION_MAX = 16 << 20, /* bytes of JSON; a stream that announces more is damaged */
};

/* What follows the map of received pages. */
#define RECEIVED_END UINT64_C(0x0123456789abcdef)

#endif
