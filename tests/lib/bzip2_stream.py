# SPDX-License-Identifier: GPL-2.0-or-later
"""A stream of bzip2 whose one block holds chosen bytes as they are, so that it can look like anything inside."""
MARK, END = 0x314159265359, 0x177245385090
LITERALS = 254      # symbols: two for runs, one less than these, one for the end of the block: 256 codes of 8 bits


def block_crc(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04c11db7 if crc >> 31 else 0)) & 0xffffffff
    return crc ^ 0xffffffff


def last_column(symbols):
    """Undoes runs and move-to-front."""
    order, out, run, weight = list(range(LITERALS)), bytearray(), 0, 1
    for s in [*symbols, None]:
        if s in (0, 1):
            run += weight << s
            weight <<= 1
            continue
        out += bytes([order[0]]) * run
        run, weight = 0, 1
        if s is not None:
            order.insert(0, order.pop(s - 1))
            out.append(order[0])
    return out


def sorted_back(column):
    """Undoes the sorting of rotations; the first one is where the content begins."""
    following = sorted(range(len(column)), key=lambda i: column[i])
    at, out = following[0], bytearray()
    for _ in column:
        out.append(column[at])
        at = following[at]
    return out


def unrolled(data):
    """Four equal bytes are followed by how many more there are."""
    out, same, i = bytearray(), 0, 0
    while i < len(data):
        same = same + 1 if same and out[-1] == data[i] else 1
        out.append(data[i])
        i += 1
        if same == 4 and i < len(data):
            out += out[-1:] * data[i]
            same, i = 0, i + 1
    return bytes(out)


def stream_that_holds(payload):
    """A whole stream; no byte of @payload is 255, which ends the block."""
    assert 255 not in payload
    crc = block_crc(unrolled(sorted_back(last_column(payload))))
    bits = []

    def put(value, width):
        bits.append(format(value, f'0{width}b'))
    put(MARK, 48)
    put(crc, 32)
    put(0, 1 + 24)                      # not randomised, the first rotation
    put(0xffff, 16)
    for _ in range(15):
        put(0xffff, 16)
    put(0xfffc, 16)                     # bytes 254 and 255 are not used
    put(2, 3)                           # tables; only the first is used
    selectors = len(payload) // 50 + 1
    put(selectors, 15)
    put(0, selectors)
    for _ in range(2):
        put(8, 5)
        put(0, 256)
    for byte in payload:
        put(byte, 8)
    put(255, 8)
    put(END, 48)
    put(crc, 32)
    text = ''.join(bits)
    text += '0' * (-len(text) % 8)
    return b'BZh9' + int(text, 2).to_bytes(len(text) // 8, 'big')
