/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frame of a stream: header, configuration, sections with footers, commands, description.
 * Reading is one walk for all who read; what a section of a device holds, they say.
 */
#ifndef MIGRATION_STREAM_H
#define MIGRATION_STREAM_H

#include "migration/ram.h"
#include "util/json.h"

typedef struct {
    uint32_t id;       /* of this stream only */
    char name[256];
    uint32_t instance, version;
} SectionHead;

typedef struct StreamReader StreamReader;
struct StreamReader {
    Input *in;
    RamBlocks *ram;
    char machine[256];
    const uint8_t *uuid;   /* that a stream's has to be; NULL: any will do */
    json_t *description;   /* of the sections of devices; NULL: it has not come */
    /* False: @in has failed. */
    bool (*configured)(StreamReader *r);                             /* .machine is known */
    /* reads all up to the footer */
    CO bool (*device)(StreamReader *r, const SectionHead *head);
    CO bool (*command)(StreamReader *r, unsigned command, const uint8_t *data, unsigned len);
    void *opaque;

    GArray *live;          /* of SectionHead: those that come in parts */
    bool has_configuration, ram_ended;
    bool is_interrupted;   /* set by .command: go no further; stream_read_rest does */
};

/* False: what comes does not begin like a stream, and @in says why. It stays to be read. */
CO bool stream_is_one(Input *in);
/* Reads up to the end mark, and, if @wants_description, the description. Frees nothing. */
CO bool stream_read(StreamReader *r, bool wants_description);
/* The same after an interruption, up to the end mark. */
CO bool stream_read_rest(StreamReader *r);
/* Reads all devices and commands of @in with the functions of @r. False: @in has failed. */
CO bool stream_read_package(const StreamReader *r, Input *in);
void stream_reader_clear(StreamReader *r);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StreamReader, stream_reader_clear)

/* @uuid: the guest's, 16 bytes; NULL: it does not go along. */
CO void stream_write_header(Output *out, const char *machine, const uint8_t *uuid);
CO void stream_write_section_start(Output *out, unsigned element, const SectionHead *head);
CO void stream_write_section_part(Output *out, unsigned element, uint32_t id);
CO void stream_write_footer(Output *out, uint32_t id);
/* The end mark and @description. */
CO void stream_write_end(Output *out, const json_t *description);

#endif
