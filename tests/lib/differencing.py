# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes differencing images of VHD and VHDX from dynamic ones, since no program here creates them."""
import pathlib
import struct

from cases import IMG, IO, run

MIB = 1 << 20
CRC = [0]
for i in range(1, 256):
    for _ in range(8):
        i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
    CRC.append(i)


def dynamic(fmt, name, size, *writes, options=''):
    """A dynamic image; @writes: (sector, sectors, pattern)."""
    run(IMG, 'create', '-q', '-f', fmt, *(['-o', options] if options else []), name, str(size))
    for sector, count, pattern in writes:
        run(IO, '-f', fmt, '-c', f'write -P {pattern} {sector * 512} {count * 512}', name)
    return bytearray(pathlib.Path(name).read_bytes())


def vhd_sum(image, at, length, field):
    image[at + field:at + field + 4] = bytes(4)
    struct.pack_into('>I', image, at + field, ~sum(image[at:at + length]) & 0xffffffff)


def vhd(name, parent, size, *writes, path=None, locator=None, uuid=None, time=0):
    """
    @parent: the file of the parent. @path: the name in the header; @locator: the relative name, None: no
    locator.
    """
    image = dynamic('vpc', name, size, *writes, options='force_size=on')
    footer = len(image) - 512
    for at in (0, footer):
        struct.pack_into('>I', image, at + 0x3c, 4)
        vhd_sum(image, at, 512, 0x40)
    owner = pathlib.Path(parent).read_bytes()[:512] if uuid is None else b''
    image[512 + 40:512 + 56] = owner[0x44:0x54] if uuid is None else uuid
    struct.pack_into('>I', image, 512 + 56, time)
    words = (path if path is not None else parent).encode('utf-16-be')
    image[512 + 64:512 + 64 + len(words)] = words
    entries, block = struct.unpack_from('>II', image, 512 + 28)
    for i in range(entries):
        start = struct.unpack_from('>I', image, 1536 + 4 * i)[0]
        if start == 0xffffffff:
            continue
        bits = bytearray(block // 512 // 8)
        for sector, count, _ in writes:
            for s in range(sector, sector + count):
                if s * 512 // block == i:
                    s %= block // 512
                    bits[s // 8] |= 0x80 >> s % 8
        image[start * 512:start * 512 + len(bits)] = bits
    if locator is not None:
        # After the last block, in place of the footer, which moves.
        words = locator.encode('utf-16-le')
        struct.pack_into('>4sIIIQ', image, 512 + 576, b'W2ru', 512, len(words), 0, footer)
        image[footer:footer] = words.ljust(512, b'\0')
    vhd_sum(image, 512, 1024, 36)
    pathlib.Path(name).write_bytes(image)
    return image


def crc32c(data):
    v = 0xffffffff
    for byte in data:
        v = v >> 8 ^ CRC[(v ^ byte) & 255]
    return v ^ 0xffffffff


def data_guid(name):
    """The GUID of the newest header, which says which data the image has."""
    image = pathlib.Path(name).read_bytes()
    newest = max((65536, 131072), key=lambda at: struct.unpack_from('<Q', image, at + 8)[0])
    return image[newest + 32:newest + 48]


def guid_text(raw):
    a, b, c = struct.unpack_from('<IHH', raw)
    return f'{a:08x}-{b:04x}-{c:04x}-{raw[8:10].hex()}-{raw[10:].hex()}'


def locator(values):
    """An item of metadata: a parent locator with these keys and values."""
    table, texts = b'', b''
    start = 20 + 12 * len(values)
    for key, value in values.items():
        key, value = key.encode('utf-16-le'), value.encode('utf-16-le')
        table += struct.pack('<IIHH', start + len(texts), start + len(texts) + len(key), len(key), len(value))
        texts += key + value
    kind = struct.pack('<IHH', 0xb04aefb7, 0xd19e, 0x4a81) + bytes.fromhex('b78925b8e9445913')
    return kind + struct.pack('<HH', 0, len(values)) + table + texts


def vhdx(name, parent, size, *writes, values=None, sector=512):
    """@values: of the locator, instead of the identity and the relative name of @parent."""
    image = dynamic('vhdx', name, size, *writes, options='block_size=1M,block_state_zero=off')
    bat, metadata = 2 * MIB, 3 * MIB
    if values is None:
        values = {'parent_linkage': '{' + guid_text(data_guid(parent)) + '}', 'relative_path': '.\\' + parent}
    item = locator(values)
    struct.pack_into('<I', image, metadata + 65536 + 4, 2)      # has a parent
    count = struct.unpack_from('<H', image, metadata + 10)[0]
    image[metadata + 32 + 32 * count:metadata + 64 + 32 * count] = struct.pack('<IHH', 0xa8d35f2d, 0xb30b, 0x454d) + \
        bytes.fromhex('abf7d3d84834ab0c') + struct.pack('<IIII', 131072, len(item), 4, 0)
    struct.pack_into('<H', image, metadata + 10, count + 1)
    image[metadata + 131072:metadata + 131072 + len(item)] = item
    bits = bytearray(MIB)
    for start, length, _ in writes:
        for s in range(start, start + length):
            bits[s // 8] |= 1 << s % 8
    ratio = (1 << 23) * sector // MIB
    partial = False
    for b in range(-(-size // MIB)):
        entry = struct.unpack_from('<Q', image, bat + 8 * b)[0]
        part = bits[b * MIB // sector // 8:(b + 1) * MIB // sector // 8]
        if entry & 7 == 6 and part != b'\xff' * len(part):
            struct.pack_into('<Q', image, bat + 8 * b, entry | 7)
            partial = True
        elif entry & 7 != 6:
            struct.pack_into('<Q', image, bat + 8 * b, 0)
    if partial:
        image += bytes(-len(image) % MIB)
        struct.pack_into('<Q', image, bat + 8 * ratio, len(image) | 6)
        image += bits
    pathlib.Path(name).write_bytes(image)
    return image
