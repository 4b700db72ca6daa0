/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-channels.h"
#include "system/migration-settings.h"
#include "system/options.h"
#include "util/err.h"
#include <string.h>

/* Zeroes: the guest has none. */
static void guest_uuid(uint8_t uuid[16])
{
    const char *p = options_guest_uuid();

    for (unsigned i = 0; i < 16; i++, p += 2) {
        p += *p == '-';
        uuid[i] = g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]);
    }
}

const uint8_t *migration_carried_uuid(uint8_t uuid[16])
{
    static const uint8_t none[16];

    if (!migration_has(MIGRATION_CAPABILITY_VALIDATE_UUID))
        return NULL;
    guest_uuid(uuid);
    return memcmp(uuid, none, sizeof(none)) ? uuid : NULL;
}

bool migration_check_uri(const char *uri, GError **err)
{
    if (!transport_check(uri, err))
        return false;
    return !migration_has(MIGRATION_CAPABILITY_MULTIFD) || transport_takes_more(uri) ||
           err_set(err, ENOTSUP, "multifd is not supported by current protocol");
}

Transport *migration_transport_new(const char *uri, bool sends, GError **err)
{
    const char *id = migration_text("tls-creds"), *host = migration_text("tls-hostname");
    const char *authz = migration_text("tls-authz");
    g_autoptr(TlsCreds) creds = NULL;

    if (*id) {
        creds = tls_creds_find(id, sends ? TLS_CLIENT : TLS_SERVER, err);
        if (!creds)
            return NULL;
    }
    return transport_new(uri, sends, &(TransportTls){
        .creds = creds, .hostname = *host ? host : NULL, .authz = *authz ? authz : NULL,
    });
}

unsigned migration_more_channels(void)
{
    return migration_has(MIGRATION_CAPABILITY_MULTIFD) ? migration_number("multifd-channels") : 0;
}

static MultifdConfig multifd_config(void)
{
    const char *name = migration_text("multifd-compression");
    MultifdConfig c = {
        .channels = migration_more_channels(),
        .compression = !strcmp(name, "zlib")   ? MULTIFD_ZLIB
                       : !strcmp(name, "zstd") ? MULTIFD_ZSTD
                                               : MULTIFD_NONE,
    };

    c.level = migration_number(c.compression == MULTIFD_ZLIB ? "multifd-zlib-level"
                                                             : "multifd-zstd-level");
    guest_uuid(c.uuid);
    return c;
}

MultifdSend *migration_multifd_send(void)
{
    MultifdConfig config = multifd_config();

    return multifd_send_new(&config);
}

MultifdReceive *migration_multifd_receive(RamBlocks *ram, void (*failed)(void *opaque),
                                          void *opaque)
{
    MultifdConfig config = multifd_config();

    return multifd_receive_new(&config, ram, failed, opaque);
}

CO bool migration_connect_more(Transport *t, MultifdSend *m, GError **err)
{
    for (unsigned i = migration_more_channels(); i; i--) {
        Channel *c = transport_open_more(t, err);

        if (!c || !multifd_send_add(m, c, err))
            return false;
    }
    return true;
}

CO bool migration_accept_more(Transport *t, MultifdReceive *m, GError **err)
{
    for (unsigned i = migration_more_channels(); i; i--) {
        Channel *c = transport_open_more(t, err);

        if (!c || !multifd_receive_add(m, c, err))
            return false;
    }
    return true;
}
