/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/virtio/net-offload.h"
#include "util/endian.h"
#include <string.h>

enum {
    CSUM_START = 6, CSUM_OFFSET = 8, ETHERNET = 14, TAG = 4, TCP = 6, TCP_SUM = 16, TCP_MIN = 20,
    IPV4_MIN = 20, IPV4_LEN = 2, IPV4_PROTOCOL = 9, IPV4_SUM = 10, IPV4_FROM = 12,
    IPV6_SIZE = 40, IPV6_LEN = 4, IPV6_NEXT = 6, IPV6_FROM = 8,
};

/* The sum of 16-bit words in the order of memory, not folded to the end. */
static uint64_t sum_of(const uint8_t *p, size_t len)
{
    uint64_t sum = 0;

    for (; len >= 4; p += 4, len -= 4) {
        uint32_t v;

        memcpy(&v, p, 4);
        sum += v;
    }
    if (len) {
        uint32_t v = 0;

        memcpy(&v, p, len);
        sum += v;
    }
    return sum;
}

/* The checksum that makes the sum right, in the order of memory. */
static uint16_t checksum(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

/* The driver has put the sum of the pseudo header where the checksum belongs. */
static bool finish_sum(uint8_t *frame, size_t len, unsigned start, unsigned offset)
{
    uint16_t sum;

    if (start > len || offset + 2 > len - start)
        return false;
    sum = checksum(sum_of(frame + start, len - start));
    if (!sum)
        sum = 0xffff;
    memcpy(frame + start + offset, &sum, 2);
    return true;
}

/* A long TCP segment becomes one packet: its lengths and sums are set anew. */
static bool finish_tcp(uint8_t *ip, size_t len, bool is_v6)
{
    size_t head = is_v6 ? IPV6_SIZE : len ? (ip[0] & 15) * 4 : 0, body;
    uint8_t pseudo[4] = { 0, TCP };
    uint64_t sum;
    uint16_t result;

    if (len > UINT16_MAX || head < (is_v6 ? IPV6_SIZE : IPV4_MIN) || len < head + TCP_MIN)
        return false;
    if (ip[is_v6 ? IPV6_NEXT : IPV4_PROTOCOL] != TCP)
        return false;
    body = len - head;
    if (is_v6) {
        be16_put(ip + IPV6_LEN, body);
    } else {
        be16_put(ip + IPV4_LEN, len);
        memset(ip + IPV4_SUM, 0, 2);
        result = checksum(sum_of(ip, head));
        memcpy(ip + IPV4_SUM, &result, 2);
    }
    be16_put(pseudo + 2, body);
    memset(ip + head + TCP_SUM, 0, 2);
    sum = sum_of(is_v6 ? ip + IPV6_FROM : ip + IPV4_FROM, is_v6 ? 32 : 8) + sum_of(pseudo, 4) +
          sum_of(ip + head, body);
    result = checksum(sum);
    memcpy(ip + head + TCP_SUM, &result, 2);
    return true;
}

static bool finish(const uint8_t *header, uint8_t *frame, size_t len)
{
    uint8_t type = header[1] & ~NET_HEADER_ECN;
    size_t skip = ETHERNET;

    if (type == NET_HEADER_GSO_NONE)
        return finish_sum(frame, len, le16_at(header + CSUM_START), le16_at(header + CSUM_OFFSET));
    if (len > ETHERNET && be16_at(frame + 12) == 0x8100)
        skip += TAG;
    if (len < skip || (type != NET_HEADER_GSO_TCPV4 && type != NET_HEADER_GSO_TCPV6))
        return false;
    return finish_tcp(frame + skip, len - skip, type == NET_HEADER_GSO_TCPV6);
}

bool net_offload_send(Netdev *n, const uint8_t *header, Span frame)
{
    g_autofree uint8_t *copy = g_malloc(frame.len);

    span_read(frame, copy);
    /* What cannot be finished is no packet, and lost. */
    return !finish(header, copy, frame.len) || netdev_send(n, span_of(copy, frame.len));
}
