#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats that are only read, of which the tests make the images: dmg, bochs, cloop."""
import base64
import bz2
import lzma
import os
import pathlib
import random
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, REFERENCE, case, img, main, run

ZERO, RAW, ADC, ZLIB, BZIP2, LZFSE, LZMA, END = (
    0, 1, 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008, 0xffffffff)


def written(name, content):
    pathlib.Path(name).write_bytes(content)
    return name


def same_as_the_reference(name, fmt):
    if not (REFERENCE / 'qemu-img').exists():
        return
    for command in ('info', '--output=json'), ('map', '--output=json'), ('map',), ('info',):
        theirs = run(REFERENCE / 'qemu-img', *command, '-f', fmt, name, code=None)
        ours = img(*command, '-f', fmt, name, code=theirs.returncode)
        assert ours.stdout == theirs.stdout, f'{command}: {ours.stdout}, not {theirs.stdout}'
    run(REFERENCE / 'qemu-img', 'convert', '-f', fmt, '-O', 'raw', name, 'theirs')
    img('convert', '-f', fmt, '-O', 'raw', name, 'ours')
    assert pathlib.Path('ours').read_bytes() == pathlib.Path('theirs').read_bytes()


def refused(name, fmt):
    for command in ('info', name), ('map', name), ('convert', '-O', 'raw', name, 'out'):
        done = img(command[0], '-f', fmt, *command[1:], code=1, timeout=20)
        assert len(done.stderr.splitlines()) == 1, done.stderr


# ---- dmg --------------------------------------------------------------------------------------

def mish(chunks, first=0):
    """@chunks: (kind, sector, sectors, offset, length)"""
    runs = b''.join(struct.pack('>IIQQQQ', kind, 0, *rest) for kind, *rest in chunks)
    return struct.pack('>4sIQQQII', b'mish', 1, first, 0, 0, 2056, 0).ljust(200, b'\0') + \
        struct.pack('>I', len(chunks)) + runs


def dmg(data, tables, fork=False, trailer=(), pad=b'', sectors=0):
    if fork:
        resources = b''.join(struct.pack('>I', len(t)) + t for t in tables)
        where = struct.pack('>QQ', len(data), 256 + len(resources))
        place, lists = (40, where), struct.pack('>IIII', 256, 256 + len(resources), len(resources), 0).ljust(256, b'\0') + resources
    else:
        lists = b'<plist><dict><key>blkx</key><array>' + b''.join(
            b'<dict><key>Data</key>\n<data>\n' + base64.encodebytes(t) + b'</data></dict>' for t in tables) + b'</array>'
        place = (216, struct.pack('>QQ', len(data), len(lists)))
    end = bytearray(512)
    struct.pack_into('>4sIIIQQQ', end, 0, b'koly', 4, 512, 1, 0, 0, len(data))
    end[place[0]:place[0] + 16] = place[1]
    struct.pack_into('>Q', end, 492, sectors)
    for at, fmt, value in trailer:
        struct.pack_into(fmt, end, at, value)
    return data + lists + pad + bytes(end)


def parts(*chunks):
    """@chunks: (kind, sector, sectors, bytes). The data, and the chunks as mish takes them."""
    data, table = b'', []
    for kind, sector, sectors, content in chunks:
        table.append((kind, sector, sectors, len(data), len(content)))
        data += content
    return data, table


TEXT = (b'hello world ' * 5462)[:65536]


@case
def dmg_chunks():
    data, table = parts((ZLIB, 0, 128, zlib.compress(TEXT)), (RAW, 128, 8, b'R' * 4096), (ZERO, 136, 100, b''),
                        (2, 236, 20, b''), (ZLIB, 256, 128, zlib.compress(os.urandom(65536))), (END, 384, 0, b''))
    for pad in (b'', b'x' * 17):
        same_as_the_reference(written('x.dmg', dmg(data, [mish(table)], pad=pad, sectors=384)), 'dmg')
        run(IO, '-r', '-c', 'read -P 82 64k 4k', '-c', 'read -P 0 68k 60k', 'x.dmg')
        img('convert', '-O', 'raw', 'x.dmg', 'out')
        written('y.dmg', dmg(data, [mish(table)], fork=True, pad=pad))
        img('compare', '-F', 'raw', 'y.dmg', 'out')
    # Two tables, the first for a later part of the disk, and a gap, of which the reference reads nothing.
    written('x.dmg', dmg(data, [mish(table[:1], 512), mish(table[1:])]))
    img('convert', '-O', 'raw', 'x.dmg', 'two')
    whole, two = pathlib.Path('out').read_bytes(), pathlib.Path('two').read_bytes()
    assert two == (bytes(65536) + whole[65536:]).ljust(262144, b'\0') + TEXT
    assert 'can only be read' in run(IO, '-c', 'write 0 512', 'x.dmg', code=1).stderr


@case
def dmg_adc():
    """Bytes as they are, short repeats, long repeats, repeats of what is just being made."""
    packed = b'\x83abcd' + bytes((0x04, 3)) + bytes((0x40 | 10, 0, 0)) + b'\x80Z'
    plain = b'abcd' + b'abcd' + b'd' * 14 + b'Z'
    rest = 512 - len(plain)
    packed += b''.join(b'\xff' + b'q' * 128 for _ in range(rest // 128)) + bytes((0x7f + rest % 128,)) + b'q' * (rest % 128)
    data, table = parts((ADC, 0, 1, packed))
    written('x.dmg', dmg(data, [mish(table)]))
    img('convert', '-O', 'raw', 'x.dmg', 'out')
    assert pathlib.Path('out').read_bytes() == plain + b'q' * rest
    for bad in (b'\x04\3', b'\x83abcd\x04\4', b'\x83ab', b'\x83abcd\x40\0', packed + b'\x80Z', b''):
        data, table = parts((ADC, 0, 1, bad))
        written('x.dmg', dmg(data, [mish(table)]))
        done = run(IO, '-r', '-c', 'read 0 512', 'x.dmg', code=None)
        assert (done.returncode == 0) == bad.startswith(packed), bad


@case
def dmg_lengths_that_lie():
    good = zlib.compress(TEXT)
    far = (1 << 64) - 1
    for chunk in ((ZLIB, 0, 1 << 56, 0, len(good)), (ZLIB, 0, 128, 0, 1 << 40), (ZLIB, 0, far, 0, 1), (ZLIB, far, 1, 0, 1),
                  (ZLIB, 1 << 62, 1 << 62, 0, 1), (RAW, 0, 1 << 60, 0, 512), (RAW, 0, 1, far, far), (ZERO, 1, far, 0, 0),
                  (ZLIB, 0, 1 << 18, 0, len(good))):
        refused(written('x.dmg', dmg(good, [mish([chunk])])), 'dmg')
    # Overlaps; the trailer; what is no table.
    refused(written('x.dmg', dmg(good, [mish([(ZLIB, 0, 128, 0, len(good)), (RAW, 127, 1, 0, 512)])])), 'dmg')
    for edit in ((216, '>Q', far), (224, '>Q', far), (224, '>Q', 1 << 40), (224, '>Q', 0), (48, '>Q', 1 << 30),
                 (492, '>Q', far), (492, '>Q', 1 << 54), (48, '>Q', 8), (8, '>I', 0), (0, '>I', 0)):
        refused(written('x.dmg', dmg(good, [mish([(ZLIB, 0, 128, 0, len(good))])], trailer=[edit])), 'dmg')
    for content in (b'', b'koly', b'koly' * 200):
        refused(written('x.dmg', content), 'dmg')
    # Chunks without sectors do not count; those without bytes cannot be read.
    written('x.dmg', dmg(good, [mish([(ZLIB, 0, 0, 0, 0), (ZLIB, 0, 128, 0, len(good)), (RAW, 0, 0, 0, 0)])]))
    run(IO, '-r', '-c', 'read -v 0 16', 'x.dmg', timeout=20)
    for chunk in ((ZLIB, 0, 128, 0, 0), (ZLIB, 0, 127, 0, len(good)), (ZLIB, 0, 129, 0, len(good)),
                  (ZLIB, 0, 128, 1, len(good)), (ZLIB, 0, 128, 1 << 40, 9), (ADC, 0, 1, 0, 0), (BZIP2, 0, 1, 0, 9), (LZMA, 0, 1, 0, 9),
                  (LZFSE, 0, 1, 0, 9)):
        written('x.dmg', dmg(good, [mish([chunk])]))
        run(IO, '-r', '-c', 'read 0 512', 'x.dmg', code=1, timeout=20)
    assert 'lzfse' in img('info', 'x.dmg').stderr


@case
def chunks_of_bzip2_and_lzma():
    content = random.Random(3).randbytes(32 * 512) + bytes(32 * 512)
    for kind, packed in (BZIP2, bz2.compress(content)), (LZMA, lzma.compress(content)), \
            (LZMA, lzma.compress(content, format=lzma.FORMAT_ALONE)):
        for name in ['x.dmg']:
            written(name, dmg(packed, [mish([(kind, 0, 64, 0, len(packed))])]))
            for how in [], ['--untrusted']:
                assert not img('convert', *how, '-O', 'raw', name, 'out').stderr
                assert pathlib.Path('out').read_bytes() == content
            for bad in (63, len(packed)), (65, len(packed)), (64, len(packed) - 1), (64, 1):
                written(name, dmg(packed, [mish([(kind, 0, bad[0], 0, bad[1])])]))
                run(IO, '-r', '-c', 'read 0 512', name, code=1, timeout=20)


# ---- bochs ------------------------------------------------------------------------------------

def bochs(catalog, extents, size, version=0x20000, extent=4096, bitmap=1, header=512, entries=None):
    head = struct.pack('<32s16s16sIIIII', b'Bochs Virtual HD Image', b'Redolog', b'Growing', version, header,
                       len(catalog) if entries is None else entries, bitmap, extent)
    head += struct.pack('<IQ', 0, size) if version == 0x20000 else struct.pack('<Q', size)
    return head.ljust(512, b'\0') + struct.pack(f'<{len(catalog)}I', *catalog) + \
        b''.join(bits.ljust(512, b'\0') + content for bits, content in extents)


@case
def bochs_images():
    draw = random.Random(1)
    extents = [(bytes((draw.randrange(256),)), draw.randbytes(4096)) for _ in range(5)]
    catalog = [3, 0xffffffff, 0, 0xffffffff, 4, 1, 2, 0xffffffff]
    for version in (0x10000, 0x20000):
        name = written('x', bochs(catalog, extents, 8 * 4096, version))
        same_as_the_reference(name, 'bochs')
        disk = bytearray(8 * 4096)
        for i, index in enumerate(catalog):
            for s in range(8 if index != 0xffffffff else 0):
                if extents[index][0][0] >> s & 1:
                    disk[i * 4096 + s * 512:][:0] = b''
                    disk[i * 4096 + s * 512:i * 4096 + s * 512 + 512] = extents[index][1][s * 512:s * 512 + 512]
        img('convert', '-O', 'raw', name, 'out')
        assert pathlib.Path('out').read_bytes() == disk
    assert 'can only be read' in run(IO, '-c', 'write 0 512', 'x', code=1).stderr
    for more in (dict(extent=0), dict(extent=100), dict(extent=1 << 30), dict(bitmap=0), dict(bitmap=1 << 31),
                 dict(header=0), dict(header=1 << 31), dict(entries=1 << 31), dict(entries=0)):
        refused(written('x', bochs(catalog, extents, 8 * 4096, **more)), 'bochs')
    for size in (9 * 4096, 1 << 63, (1 << 64) - 1):
        refused(written('x', bochs(catalog, extents, size)), 'bochs')
    written('x', bochs([9], extents, 4096))
    run(IO, '-r', '-c', 'read 0 512', 'x', code=1)


# ---- cloop ------------------------------------------------------------------------------------

SCRIPT = b'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'.ljust(128, b'\0')


def cloop(blocks, size=65536, count=None, starts=None):
    packed = [zlib.compress(b) for b in blocks]
    at = [136 + 8 * (len(blocks) + 1)]
    for p in packed:
        at.append(at[-1] + len(p))
    return SCRIPT + struct.pack('>II', size, len(blocks) if count is None else count) + \
        struct.pack(f'>{len(at)}Q', *(starts or at)) + b''.join(packed)


@case
def cloop_images():
    blocks = [os.urandom(65536), bytes(65536), TEXT]
    same_as_the_reference(written('x', cloop(blocks)), 'cloop')
    img('convert', '-O', 'raw', 'x', 'out')
    assert pathlib.Path('out').read_bytes() == b''.join(blocks)
    assert 'can only be read' in run(IO, '-c', 'write 0 512', 'x', code=1).stderr
    far = (1 << 64) - 1
    for more in (dict(size=0), dict(size=100), dict(size=1 << 31), dict(count=1 << 31), dict(count=0xffffffff),
                 dict(starts=[1000, 999, 2000, 3000]), dict(starts=[0, far, far, far]), dict(starts=[0, 1 << 30, 1 << 31, 1 << 32])):
        refused(written('x', cloop(blocks, **more)), 'cloop')
    refused(written('x', SCRIPT), 'cloop')
    for at, content in ((131072, cloop(blocks)[:-40]), (0, cloop([b'x' * 65535])), (0, cloop([b'x' * 65537])),
                        (0, cloop([TEXT], starts=[1 << 40] * 2))):
        run(IO, '-r', '-c', f'read {at} 512', written('x', content), code=1)


main('format-dmg')
