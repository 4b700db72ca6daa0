# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeds of the fuzzer vpc."""
import struct

IMAGES = [
    ('', '300k', []),
    ('force_size=on', '5M', ['write -P 1 0 512', 'write -P 2 3M 4k']),
    ('subformat=fixed,force_size=on', '4k', ['write -P 1 0 1k']),
]
MAX_LEN = 8 << 10


def variants(image):
    """A dynamic image also as one that has a parent."""
    yield image
    if image[512:520] != b'cxsparse':
        return
    child = bytearray(image)
    struct.pack_into('>I', child, 0x3c, 4)
    child[0x40:0x44] = bytes(4)
    struct.pack_into('>I', child, 0x40, ~sum(child[:512]) & 0xffffffff)
    child[512 + 64:512 + 80] = 'C:\\a.vhd'.encode('utf-16-be')
    struct.pack_into('>4sIIIQ', child, 512 + 576, b'W2ru', 512, 8, 0, 2048)
    child[2048:2056] = '.\\ab'.encode('utf-16-le')
    child[2560:2568] = b'\xa5' * 8
    yield bytes(child)
