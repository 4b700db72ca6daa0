#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VHDX images that are damaged, cut off, of a kind that is not read, or that were not closed."""
import os
import pathlib
import struct
import subprocess
import sys
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IMG, IO, REFERENCE, case, img, io, main, require, run
from damage import changed, made, refused, unreadable

KIB, MIB = 1 << 10, 1 << 20
HEADERS, REGIONS, LOG, BAT, METADATA = (64 * KIB, 128 * KIB), (192 * KIB, 256 * KIB), MIB, 2 * MIB, 3 * MIB
VALUES = METADATA + 64 * KIB
TABLE = []


def crc32c(data):
    if not TABLE:
        for i in range(256):
            for _ in range(8):
                i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
            TABLE.append(i)
    v = 0xffffffff
    for byte in data:
        v = v >> 8 ^ TABLE[(v ^ byte) & 255]
    return v ^ 0xffffffff


def checked(image, at, length):
    """Makes the checksum at @at + 4 right."""
    image[at + 4:at + 8] = bytes(4)
    struct.pack_into('<I', image, at + 4, crc32c(image[at:at + length]))


def edited(image, places, length, *edits):
    """@edits at each of @places, whose checksums are right again."""
    image = bytearray(image)
    for at in places:
        for off, fmt, value in edits:
            struct.pack_into(fmt, image, at + off, value)
        checked(image, at, length)
    return bytes(image)


def headers(image, *edits):
    return edited(image, HEADERS, 4096, *edits)


def regions(image, *edits):
    return edited(image, REGIONS[:1], 64 * KIB, *edits)


def image(options='block_size=1M', size='5M'):
    return made('vhdx', size, 'write -P 1 0 4k', 'write -P 2 2M 4k', options=options)


@case
def headers_out_of_range():
    good = image()
    for edit in ((64, '<H', 1), (66, '<H', 2), (68, '<I', 0), (68, '<I', 4096), (68, '<I', 0xfff00000),
                 (72, '<Q', 0), (72, '<Q', MIB + 4096), (72, '<Q', 1 << 60), (72, '<Q', (1 << 64) - MIB),
                 (72, '<Q', BAT), (72, '<Q', METADATA)):
        refused('vhdx', headers(good, edit))
    refused('vhdx', good, (HEADERS[0] + 5, '<B', 1), (HEADERS[1] + 5, '<B', 1), text='Neither header')
    refused('vhdx', good, 100)
    refused('vhdx', good, 3 * MIB)
    # One of two is enough.
    changed(good, (HEADERS[0] + 100, '<B', 1))
    img('convert', '-O', 'raw', 'x', 'out')


@case
def regions_out_of_range():
    good = image()
    for edit in ((8, '<I', 2048), (8, '<I', 1), (8, '<I', 0), (32, '<Q', 1 << 63), (32, '<Q', 0), (32, '<Q', BAT + 512),
                 (32, '<Q', METADATA), (40, '<I', 0), (40, '<I', 0xfff00000), (16, '<I', 7), (64, '<Q', BAT),
                 (64, '<Q', LOG), (64, '<Q', 1 << 50)):
        data = bytearray(regions(good, edit))
        data[REGIONS[1]] = 0
        struct.pack_into('<I', data, REGIONS[0] + 44, 1)    # the first one must be understood
        checked(data, REGIONS[0], 64 * KIB)
        refused('vhdx', bytes(data))
    changed(good, (REGIONS[0] + 5000, '<B', 1))
    img('convert', '-O', 'raw', 'x', 'out')


@case
def metadata_out_of_range():
    good = image()
    for edit in ((METADATA, '<B', 0), (METADATA + 10, '<H', 2048), (METADATA + 10, '<H', 1),
                 (METADATA + 48, '<I', 0), (METADATA + 48, '<I', 0xfffffff0), (METADATA + 52, '<I', 4),
                 (VALUES, '<I', 0), (VALUES, '<I', 3 * MIB), (VALUES, '<I', 512), (VALUES, '<I', 512 * MIB),
                 (VALUES + 8, '<Q', 1 << 63), (VALUES + 8, '<Q', (1 << 46) + 512), (VALUES + 8, '<Q', 1000),
                 (VALUES + 8, '<Q', 1 << 46), (VALUES + 32, '<I', 0), (VALUES + 32, '<I', 513),
                 (VALUES + 32, '<I', 1 << 31), (METADATA + 32 + 128, '<I', 7)):
        refused('vhdx', good, edit)
    refused('vhdx', good, (VALUES + 4, '<I', 2), text='parent locator')


@case
def blocks_in_headers_and_tables():
    """Information needs no BAT; whoever reads does."""
    good = image()
    for entry in (6, LOG | 6, BAT | 6, METADATA | 6, (1 << 63) - MIB | 6, (1 << 64) - MIB | 6, 4 * MIB | 7, 4):
        changed(good, (BAT, '<Q', entry))
        img('info', 'x')
        for command in (('check', 'x'), ('convert', '-O', 'raw', 'x', 'out'), ('map', 'x')):
            done = img(*command, code=1)
            assert len(done.stderr.splitlines()) == 1, done.stderr
        run(IO, '-c', 'write 0 512', 'x', code=1)
    unreadable('vhdx', good, (BAT, '<Q', 1 << 40 | 6), good='2M 4k', bad='0 512')
    for state in (0, 1, 2, 3, 5):
        changed(good, (BAT, '<Q', state))
        io('x', 'read -P 0 0 1M', 'write -P 4 4k 4k', 'read -P 4 4k 4k', 'read -P 0 0 4k', 'read -P 2 2M 4k')


def entry(log, sequence, tail, descriptors, flushed=0, last=0):
    """An entry of the log. @descriptors: (offset, bytes) or (offset, number of zeroes)."""
    sectors = [content for _, content in descriptors if isinstance(content, bytes)]
    count = -(-(64 + 32 * len(descriptors)) // 4096)
    length = 4096 * (count + len(sectors))
    data = bytearray(struct.pack('<4sIIIQII16sQQ', b'loge', 0, length, tail, sequence, len(descriptors), 0, log,
                                 flushed, last))
    for at, content in descriptors:
        if isinstance(content, bytes):
            data += struct.pack('<4s4s8sQQ', b'desc', content[-4:], content[:8], at, sequence)
        else:
            data += struct.pack('<4sIQQQ', b'zero', 0, content, at, sequence)
    data = data.ljust(4096 * count, b'\0')
    for content in sectors:
        data += struct.pack('<4sI4084sI', b'data', sequence >> 32, content[8:-4], sequence & 0xffffffff)
    checked(data, 0, length)
    return bytes(data)


def logged(image, *entries, guid=None):
    """@image not closed, with (offset in the log, entry) in the log, which is empty otherwise."""
    data = bytearray(image)
    data[LOG:LOG + MIB] = bytes(MIB)
    for at, content in entries:
        for i in range(0, len(content), 4096):
            where = LOG + (at + i) % MIB
            data[where:where + 4096] = content[i:i + 4096]
    for header in HEADERS:
        data[header + 48:header + 64] = guid or GUID
        checked(data, header, 4096)
    pathlib.Path('x').write_bytes(data)


GUID = uuid.UUID('12345678-1234-1234-1234-123456789abc').bytes_le
A, B, C = bytes((1,)) * 4096, bytes((2,)) * 4096, bytes(range(256)) * 16


def tools():
    yield IO
    if (REFERENCE / 'qemu-io').exists():
        yield REFERENCE / 'qemu-io'


def replays(expect, *entries, only_ours=False):
    """Ours and the reference's find the same after @entries, at 4 MiB and what follows."""
    good = made('vhdx', '5M', 'write -P 9 0 1M', options='block_size=1M,block_state_zero=off')
    start = struct.unpack_from('<Q', good, BAT)[0] & ~0xfffff
    place = [(at, entry(GUID, seq, tail, [(start + off, what) for off, what in parts], *more))
             for at, seq, tail, parts, *more in entries]
    for tool in [IO] if only_ours else tools():
        logged(good, *place)
        run(tool, '-f', 'vhdx', '-c', 'read 0 512', 'x')
        found = run(IO, '-r', '-f', 'vhdx', '-c', 'read -v 0 20k', 'x').stdout
        pathlib.Path('y').write_bytes(b''.join(expect).ljust(20480, b'\x09'))
        want = run(IO, '-r', '-f', 'raw', '-c', 'read -v 0 20k', 'y').stdout
        assert [line for line in found.splitlines() if ':  ' in line] == \
            [line for line in want.splitlines() if ':  ' in line], (tool, [e[:3] for e in entries])
        run(IMG, 'check', '-f', 'vhdx', 'x')


@case
def logs_are_replayed():
    zero = bytes(4096)
    replays([A, B, C], (0, 5, 0, [(0, A), (4096, B), (8192, C)]))
    replays([zero, zero, A], (0, 5, 0, [(0, 8192), (8192, A)]))
    # A sequence of three; its last entry says where it begins, so the first one was done with already.
    replays([b'\x09' * 4096, B, C], (0, 5, 0, [(0, A)]), (8192, 6, 8192, [(4096, B)]), (16384, 7, 8192, [(8192, C)]),
            only_ours=True)
    replays([A, B, C], (0, 5, 0, [(0, A)]), (8192, 6, 0, [(4096, B)]), (16384, 7, 0, [(8192, C)]))
    # Of two sequences the newer one counts; a gap in the numbers ends a sequence.
    replays([b'\x09' * 4096, B], (0, 5, 0, [(0, A)]), (8192, 7, 8192, [(4096, B)]), only_ours=True)
    replays([A], (0, 9, 0, [(0, A)]), (65536, 7, 65536, [(4096, B)]))
    # Around the end of the ring.
    replays([A, B], (MIB - 4096, 5, MIB - 4096, [(0, A), (4096, B)]))


@case
def logs_that_lie():
    good = image()
    huge = (1 << 62)
    for parts, flushed, last in (([(BAT, huge)], 0, 0), ([(huge, huge)], 0, 0), ([(BAT, (1 << 64) - 4096)], 0, 0),
                                 ([(0, 4096)], 0, huge), ([(0, A)], huge, huge), ([(huge, A)], 0, 0),
                                 ([((1 << 64) - 4096, A)], 0, 0), ([(BAT, 512)], 0, 0), ([(BAT + 512, A)], 0, 0)):
        logged(good, (0, entry(GUID, 5, 0, parts, flushed, last)))
        size = os.path.getsize('x')
        run(IO, '-f', 'vhdx', '-c', 'read 0 512', 'x', code=None, timeout=20)
        assert os.path.getsize('x') == size
    # No entry, one of another log, one whose checksum is wrong, one that is longer than the log.
    bad = bytearray(entry(GUID, 5, 0, [(BAT, A)]))
    bad[200] ^= 1
    long = bytearray(entry(GUID, 5, 0, []))
    struct.pack_into('<I', long, 8, 1 << 31)
    many = bytearray(entry(GUID, 5, 0, []))
    struct.pack_into('<I', many, 24, 0xffffffff)
    checked(many, 0, 4096)
    for content in (b'', entry(bytes(15) + b'x', 5, 0, [(BAT, A)]), bytes(bad), bytes(long), bytes(many),
                    entry(GUID, 5, 4096, [(BAT, A)]), entry(GUID, 0, 0, [(BAT, A)])):
        logged(good, (0, content))
        before = pathlib.Path('x').read_bytes()
        done = run(IO, '-f', 'vhdx', '-c', 'write 0 512', 'x', code=1, timeout=20)
        assert 'has no valid entry' in done.stderr, done.stderr
        assert pathlib.Path('x').read_bytes() == before


@case
def images_that_were_not_closed():
    """A killed writer loses nothing that it flushed, for the reference's tools either."""
    img('create', '-q', '-f', 'vhdx', '-o', 'block_size=1M', 'a', '40M')
    for i in range(4):
        subprocess.run([IO, '-f', 'vhdx', '-c', f'write -P {i + 1} {i * 5}M 4k', '-c', 'flush', '-c',
                        f'write -P {i + 11} {i * 5 + 2}M 4k', '-c', 'flush', '-c', 'sigraise 9', 'a'],
                       stdout=subprocess.DEVNULL, check=False)
        assert 'cleanly shut down: no' in img('info', 'a').stdout
        done = img('map', 'a', code=1)
        assert "To replay the log, run:\nqemu-img check -r all 'a'" in done.stderr
        if i % 2 and (REFERENCE / 'qemu-img').exists():
            run(REFERENCE / 'qemu-img', 'check', '-q', '-r', 'all', 'a')
        elif i % 3 == 0:
            assert '1 corruptions' in img('check', '-r', 'all', 'a').stdout
        for tool in tools():
            reads = [f'read -P {k + 1} {k * 5}M 4k' for k in range(i + 1)] + \
                    [f'read -P {k + 11} {k * 5 + 2}M 4k' for k in range(i + 1)]
            run(tool, '-f', 'vhdx', *[w for c in reads for w in ('-c', c)], 'a')


@case
def sectors_of_4_kib():
    good = bytearray(made('vhdx', '20M', options='block_size=1M'))
    # With as many blocks to a bitmap as the larger sectors make, no entry moves in an image that small.
    struct.pack_into('<I', good, VALUES + 32, 4096)
    struct.pack_into('<I', good, VALUES + 36, 4096)
    pathlib.Path('x').write_bytes(good)
    io('x', 'write -P 1 4k 8k', 'write -P 2 1M 512', 'read -P 1 4k 8k', 'read -P 2 1M 512', 'read -P 0 1049088 3584')
    img('check', 'x')


@case
def a_fixed_image_has_its_blocks():
    img('create', '-q', '-f', 'vhdx', '-o', 'subformat=fixed,block_size=1M', 'f', '5M')
    size = os.path.getsize('f')
    io('f', 'write -P 1 0 5M')
    assert os.path.getsize('f') == size
    if (REFERENCE / 'qemu-io').exists():
        run(REFERENCE / 'qemu-io', '-c', 'read -P 1 0 5M', '-c', 'write -P 2 1M 1M', 'f')
        assert os.path.getsize('f') == size
    io('f', 'read -P 2 1M 1M', 'read -P 1 2M 3M')


@case
def conversion_leaves_holes_in_blocks():
    pathlib.Path('r').write_bytes(b''.join(b'x' * 4096 + bytes(1020 * KIB) for _ in range(20)))
    img('convert', '-O', 'vhdx', 'r', 'v')
    assert os.stat('v').st_blocks * 512 < 2 * MIB
    img('compare', 'r', 'v')


main('format-vhdx')
