#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Differencing images of VHD and VHDX read through to their parents, and refuse an image that is not theirs."""
import json
import os
import pathlib
import random
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import differencing
from cases import IO, case, img, io, main, run

MIB = 1 << 20
SIZE = 6 * MIB
FORMATS = {'vpc': differencing.vhd, 'vhdx': differencing.vhdx}


def base(fmt, name='base', pattern=1, size=SIZE):
    differencing.dynamic(fmt, name, size, (0, size // 512, pattern),
                         options='force_size=on' if fmt == 'vpc' else 'block_size=1M')


def fails(name, *texts, command='convert', more=()):
    done = img(command, *more, name, *(['-O', 'raw', 'out'] if command == 'convert' else []), code=1)
    assert all(t in done.stderr for t in texts), done.stderr
    assert not os.path.exists('out')


@case
def sectors_come_from_the_image_or_its_parent():
    for fmt, make in FORMATS.items():
        base(fmt)
        make('child', 'base', SIZE, (1, 1, 2), (3, 20, 3), (100, 9, 4), (4096, 2048, 5), (12287, 1, 6))
        want = bytearray(b'\1' * SIZE)
        for sector, count, pattern in ((1, 1, 2), (3, 20, 3), (100, 9, 4), (4096, 2048, 5), (12287, 1, 6)):
            want[sector * 512:(sector + count) * 512] = bytes([pattern]) * 512 * count
        img('convert', '-O', 'raw', 'child', 'out')
        assert pathlib.Path('out').read_bytes() == want, fmt
        io_read = ['-c', 'read -P 1 0 512', '-c', 'read -P 2 512 512', '-c', 'read -P 1 1024 512', '-c',
                   'read -P 3 1537 10000', '-c', 'read -P 6 6291000 456']
        run(IO, '-r', *io_read, 'child')
        os.remove('out')


@case
def random_sectors():
    rng = random.Random(7)
    for fmt, make in FORMATS.items():
        base(fmt)
        want = bytearray(b'\1' * SIZE)
        writes = []
        for i in range(12):
            count = rng.choice((1, 2, 7, 8, 9, 64, 3000))
            at = rng.randrange(SIZE // 512 - count)
            writes.append((at, count, i + 2))
            want[at * 512:(at + count) * 512] = bytes([i + 2]) * 512 * count
        make('child', 'base', SIZE, *writes)
        for how in ([], ['-m', '1', '-W']):
            img('convert', *how, '-O', 'raw', 'child', 'out')
            assert pathlib.Path('out').read_bytes() == want, (fmt, writes)
        os.remove('out')


@case
def a_chain_is_read_and_told():
    for fmt, make in FORMATS.items():
        base(fmt)
        make('middle', 'base', SIZE, (0, 8, 2))
        make('top', 'middle', SIZE, (4, 8, 3))
        run(IO, '-r', '-c', 'read -P 2 0 2k', '-c', 'read -P 3 2k 4k', '-c', 'read -P 1 6k 1M', 'top')
        chain = json.loads(img('info', '--backing-chain', '--output=json', 'top').stdout)
        assert [c['filename'] for c in chain] == ['top', 'middle', 'base'], chain
        assert [c.get('backing-filename-format') for c in chain] == [fmt, fmt, None], chain
        depth = [(m['start'], m['length'], m['depth']) for m in json.loads(img('map', '--output=json', 'top').stdout)]
        assert depth[:3] == [(0, 2048, 1), (2048, 4096, 0), (6144, depth[2][1], 2)], depth


@case
def a_parent_that_is_another_one_is_told_by_name():
    for fmt, make in FORMATS.items():
        base(fmt)
        make('child', 'base', SIZE, (0, 1, 2))
        base(fmt, pattern=9)
        fails('child', "'base' is not the parent of 'child'")
        img('info', 'child')
        img('convert', '-O', 'qcow2', 'base', 'other')
        os.rename('other', 'base')
        fails('child', "base")
        os.remove('base')
        fails('child', 'base', 'No such file')
        img('info', 'child')


@case
def a_written_vhdx_parent_is_another_one():
    base('vhdx')
    differencing.vhdx('child', 'base', SIZE, (0, 1, 2))
    io('base', 'write -P 3 1M 512')
    fails('child', 'is not the parent')


@case
def a_written_vhd_parent_is_warned_of():
    base('vpc')
    differencing.vhd('child', 'base', SIZE, (0, 1, 2), time=12345)
    done = img('convert', '-O', 'raw', 'child', 'out')
    assert "'base' was copied or written to since" in done.stderr, done.stderr
    os.utime('base', (12345 + 946684800,) * 2)
    assert not img('convert', '-O', 'raw', 'child', 'out').stderr


@case
def names_are_paths_of_windows():
    os.mkdir('d')
    for fmt in FORMATS:
        base(fmt)
        base(fmt, 'd/b:c')
        for path, relative, parent, found in (
                ('C:\\vm\\base', None, 'base', 'base'), ('\\\\server\\share\\base', None, 'base', 'base'),
                ('nonsense', '.\\d\\b:c', 'd/b:c', 'd/b:c'), ('nonsense', 'd\\..\\base', 'base', 'd/../base'),
                ('nonsense', 'd\\b:c', 'd/b:c', 'd/b:c')):
            if fmt == 'vpc':
                differencing.vhd('child', parent, SIZE, (0, 1, 2), path=path, locator=relative)
            else:
                values = {'parent_linkage': '{' + differencing.guid_text(differencing.data_guid(parent)) + '}',
                          'absolute_win32_path': path}
                if relative:
                    values['relative_path'] = relative
                differencing.vhdx('child', parent, SIZE, (0, 1, 2), values=values)
            told = json.loads(img('info', '--output=json', 'child').stdout)
            assert told['backing-filename'] == found, told
            run(IO, '-r', '-c', 'read -P 2 0 512', '-c', 'read -P 1 512 1M', 'child')


@case
def a_name_is_no_protocol():
    base('vpc')
    differencing.vhd('child', 'base', SIZE, locator='nbd:unix:sock')
    fails('child', './nbd:unix:sock')


@case
def untrusted_images_open_no_parent():
    for fmt, make in FORMATS.items():
        base(fmt)
        make('child', 'base', SIZE, (0, 1, 2))
        fails('child', "'base', which was not named", more=('--untrusted',))
        img('convert', '--untrusted', '--image-opts', '-O', 'raw',
            f'driver={fmt},file.filename=child,backing.driver={fmt},backing.file.filename=base', 'out')
        os.remove('out')


@case
def only_reading_is_possible():
    for fmt, make in FORMATS.items():
        base(fmt)
        make('child', 'base', SIZE, (0, 1, 2))
        before = pathlib.Path('child').read_bytes()
        done = run(IO, '-c', 'write 0 512', 'child', code=1)
        assert 'can only be read' in done.stderr, done.stderr
        done = run(IO, '-r', '-c', 'reopen -w', '-c', 'write 0 512', 'child', code=1)
        assert 'can only be read' in done.stderr, done.stderr
        assert pathlib.Path('child').read_bytes() == before
        # Above it, an image of a format that is written.
        img('create', '-q', '-f', 'qcow2', '-b', 'child', '-F', fmt, 'top')
        io('top', 'write -P 7 1k 1k', 'read -P 7 1k 1k', 'read -P 2 0 512', 'read -P 1 512 512')
        done = img('commit', 'top', code=1)
        assert 'can only be read' in done.stderr, done.stderr


@case
def loops_are_found():
    base('vpc')
    image = differencing.vhd('child', 'base', SIZE, (0, 1, 2))
    differencing.vhd('child', 'child', SIZE, (0, 1, 2), uuid=bytes(image[0x44:0x54]))
    image = pathlib.Path('child').read_bytes()
    changed = bytearray(image)
    changed[512 + 40:512 + 56] = image[0x44:0x54]
    pathlib.Path('child').write_bytes(changed)
    fails('child', 'its own backing file')


@case
def vhd_headers_that_lie():
    base('vpc')
    good = differencing.vhd('child', 'base', SIZE, (0, 1, 2), locator='base')
    entry = 512 + 576
    for off, fmt, value in ((entry + 8, '>I', 0xffffffff), (entry + 8, '>I', 70000), (entry + 16, '>Q', 1 << 63),
                            (entry + 16, '>Q', (1 << 64) - 2), (entry + 16, '>Q', len(good))):
        bad = bytearray(good)
        struct.pack_into(fmt, bad, off, value)
        pathlib.Path('x').write_bytes(bad)
        fails('x', 'not inside the file')
        fails('x', 'not inside the file', command='info')
    bad = bytearray(good)
    bad[entry:entry + 4] = b'W2ku'
    bad[512 + 64:512 + 576] = bytes(512)
    pathlib.Path('x').write_bytes(bad)
    fails('x', 'does not name its parent')


@case
def vhdx_locators_that_lie():
    base('vhdx')
    good = differencing.vhdx('child', 'base', SIZE, (0, 1, 2))
    item, bat = 3 * MIB + 131072, 2 * MIB
    table = 3 * MIB + 32 + 32 * 5
    for off, fmt, value in ((item, '<I', 1), (item + 18, '<H', 0xffff), (item + 18, '<H', 0), (item + 20, '<I', 1 << 31),
                            (item + 24, '<I', 0xffffffff), (item + 30, '<H', 0xffff), (table + 20, '<I', 4),
                            (table + 20, '<I', 0), (table + 20, '<I', 2 << 20), (table + 16, '<I', 0xffffffff),
                            (table, '<I', 0)):
        bad = bytearray(good)
        struct.pack_into(fmt, bad, off, value)
        pathlib.Path('x').write_bytes(bad)
        fails('x', 'metadata' if off in (table, table + 16) else 'ocator')
    ratio = (1 << 23) * 512 // MIB
    for value in (0, 2, 7, 6, MIB | 6, (1 << 64) - MIB | 6):
        bad = bytearray(good)
        struct.pack_into('<Q', bad, bat + 8 * ratio, value)
        pathlib.Path('x').write_bytes(bad)
        fails('x', 'bitmap of block')
    bad = bytearray(good)
    struct.pack_into('<Q', bad, bat + 8 * ratio, 1 << 40 | 6)
    pathlib.Path('x').write_bytes(bad)
    done = run(IO, '-r', '-c', 'read 0 512', 'x', code=None)
    assert 'read failed' in done.stdout + done.stderr or 'Input/output' in done.stdout + done.stderr, done


@case
def a_repair_with_nothing_to_repair_succeeds():
    base('vhdx')
    good = bytearray(differencing.vhdx('child', 'base', SIZE, (0, 1, 2)))
    img('check', 'child')
    img('check', '-r', 'all', 'child')
    assert pathlib.Path('child').read_bytes() == good


main('differencing')
