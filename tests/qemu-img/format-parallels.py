#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Parallels images that are damaged, not closed, or that have an extension."""
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, REFERENCE, case, img, io, main, run
from damage import changed, made, refused, unreadable
from this_run import MAY_ABORT, WATCHED

MIB = 1 << 20
VERSION, TRACKS, ENTRIES, SECTORS, IN_USE, DATA_OFF, EXT_OFF, TABLE = 16, 28, 32, 36, 44, 48, 56, 64
USED = 0x746F6E59
BITMAP = 0x20385FAE252CB34A
ID = '69640000-0000-0000-0000-000000000000'     # of bitmap()


def image():
    return made('parallels', '10M', 'write -P 1 100k 4k', 'write -P 2 5M 4k')


def extension(*features, magic=0xAB234CEF23DCEA87, end=True):
    """A cluster with (magic, flags, data, length) as its features."""
    body = b''.join(struct.pack('<QQII', m, flags, len(data) if length is None else length, 0) +
                    data.ljust(-(-len(data) // 8) * 8, b'\0') for m, flags, data, length in features)
    body = (body + (bytes(24) if end else b'')).ljust(MIB - 24, b'\0' if end else b'\1')
    return struct.pack('<Q', magic) + hashlib.md5(body).digest() + body


def bitmap(size=20480, granularity=128, l1_len=1, table=b'\1' + bytes(7)):
    return BITMAP, 0, struct.pack('<Q16sII', size, b'id', granularity, l1_len) + table, None


def with_extension(ext):
    good = image()
    pathlib.Path('x').write_bytes(good + ext)
    return changed(good + ext, (EXT_OFF, '<Q', len(good) // 512))


@case
def headers_out_of_range():
    good = image()
    for edits in ([(VERSION, '<I', 1)], [(TRACKS, '<I', 0)], [(TRACKS, '<I', 0x7fffffff)], [(TRACKS, '<I', 0xffffffff)],
                  [(ENTRIES, '<I', 0x20000000)], [(ENTRIES, '<I', 0xffffffff)], [(SECTORS, '<Q', 1 << 62)],
                  [(SECTORS, '<Q', (1 << 64) - 1)], [(SECTORS, '<Q', 1 << 55)], [0]):
        refused('parallels', good, *edits)


@case
def a_table_smaller_than_the_disk():
    """The reference shows zeroes, or what lies behind the table, for the rest."""
    for edit in ((ENTRIES, '<I', 0), (ENTRIES, '<I', 9), (SECTORS, '<Q', 20481), (TRACKS, '<I', 1)):
        refused('parallels', image(), edit, text='more than its')


@case
def a_table_larger_than_the_file_takes_no_memory():
    refused('parallels', image(), (ENTRIES, '<I', 0x1fffffff), text='has not')


@case
def clusters_out_of_range_cannot_be_read():
    good = image()
    for bad in (3, 1 << 20, 0xffffffff):
        unreadable('parallels', good, (TABLE, '<I', bad), good='5M 4k', bad='100k 512')
    old = (0, '16s', b'WithoutFreeSpace')
    for bad in (3 * 2048, 0xffffffff):
        unreadable('parallels', good, old, (TABLE, '<I', bad), (TABLE + 20, '<I', 4096), good='5M 4k', bad='100k 512')
    unreadable('parallels', good, old, (TABLE, '<I', 0), (TABLE + 4, '<I', 0xfffffffe), bad='1M 512')


@case
def a_repair_does_not_grow_the_file():
    """That of the reference makes it as long as the farthest cluster would be."""
    changed(image(), (TABLE, '<I', 1 << 20))
    img('check', 'x', code=2)
    img('check', '-r', 'leaks', 'x', code=2)
    img('check', '-r', 'all', 'x')
    assert pathlib.Path('x').stat().st_size <= 3 * MIB
    io('x', 'read -P 0 0 1M', 'read -P 2 5M 4k')


@case
def clusters_used_twice_are_told():
    """The reference finds nothing wrong."""
    changed(image(), (TABLE + 4, '<I', 1))
    assert 'cluster 1 is used twice' in img('check', 'x', code=2).stderr


@case
def one_that_was_not_closed_is_not_written():
    good = image()
    changed(good, (IN_USE, '<I', USED))
    run(IO, '-c', 'write 0 512', 'x', code=1)
    run(IO, '-r', '-c', 'read -P 1 100k 4k', 'x')
    img('check', '-r', 'leaks', 'x', code=2)
    assert struct.unpack_from('<I', pathlib.Path('x').read_bytes(), IN_USE)[0] == USED
    img('check', '-r', 'all', 'x')
    io('x', 'write -P 5 9M 1M', 'read -P 1 100k 4k')
    assert struct.unpack_from('<I', pathlib.Path('x').read_bytes(), IN_USE)[0] == 0
    run(IO, '-c', 'write -P 6 0 1M', '-c', 'abort', 'x', code=None, env=MAY_ABORT)
    run(IO, '-c', 'write 0 512', 'x', code=1)


@case
def data_behind_the_end_of_the_file_is_not_written():
    changed(image(), (DATA_OFF, '<I', 0xffffffff))
    run(IO, '-c', 'write 9M 512', 'x', code=1)
    assert pathlib.Path('x').stat().st_size == 3 * MIB


@case
def writing_loses_an_extension():
    """The bitmap would be wrong afterwards. (The reference overwrites it, and cannot open the image any more.)"""
    for features in ((), (bitmap(),), ((1234, 2, b'abc', None), bitmap())):
        with_extension(extension(*features))
        img('info', 'x')
        before = pathlib.Path('x').read_bytes()
        run(IO, '-r', '-c', 'read -P 1 100k 4k', 'x')
        img('convert', '-O', 'raw', 'x', 'out')
        assert pathlib.Path('x').read_bytes() == before
        done = run(IO, '-c', 'write -P 7 9M 512', 'x')
        assert "'x' has an extension, which is lost" in done.stderr, done.stderr
        assert struct.unpack_from('<Q', pathlib.Path('x').read_bytes(), EXT_OFF)[0] == 0
        done = run(IO, '-c', 'read -P 7 9M 512', '-c', 'read -P 0 9437696 4k', '-c', 'read -P 1 100k 4k', 'x')
        assert not done.stderr
        img('check', 'x')


def bitmap_told(tool, name='x'):
    """What QMP tells of the bitmap of a read-only node: granularity, bytes marked, hash of its bits."""
    commands = [('qmp_capabilities', {}),
                ('blockdev-add', {'driver': 'parallels', 'node-name': 'n', 'read-only': True,
                                  'file': {'driver': 'file', 'filename': name}}),
                ('query-named-block-nodes', {}),
                ('x-debug-block-dirty-bitmap-sha256', {'node': 'n', 'name': ID}), ('quit', {})]
    done = run(tool, '--chardev', 'stdio,id=c', '--monitor', 'c', stdin=None,
               input='\n'.join(json.dumps({'execute': c, 'arguments': a}) for c, a in commands))
    results = [json.loads(line) for line in done.stdout.splitlines() if '"return"' in line]
    node = [n for n in results[2]['return'] if n['node-name'] == 'n'][0]
    return node['dirty-bitmaps'], results[3]['return']


@case
def bitmaps_are_read():
    for granularity in 8, 128:
        bits = bytes(range(1, 20)).ljust(MIB, b'\0')
        for entry in 0, 1, 'bits':
            with_extension(extension(bitmap(granularity=granularity, table=struct.pack('<Q', 0))))
            at = os.path.getsize('x') // 512
            table = struct.pack('<Q', at if entry == 'bits' else entry)
            with_extension(extension(bitmap(granularity=granularity, table=table)))
            with open('x', 'ab') as f:
                f.write(bits)
            ours = bitmap_told(BUILD / 'qemu-storage-daemon')
            assert (ours[0][0]['count'] > 0) == (entry != 0) and ours[0][0]['name'] == ID, ours
            if (REFERENCE / 'qemu-storage-daemon').exists():
                theirs = bitmap_told(REFERENCE / 'qemu-storage-daemon')
                assert ours[0] == theirs[0], (ours, theirs, entry)
                # The reference's hash is over whole words, with what is after the last bit.
                assert ours[1] == theirs[1] or granularity == 128, (ours, theirs, entry)


@case
def bitmaps_that_lie():
    for entry in (1 << 63, (1 << 64) - 1, 1 << 40):
        with_extension(extension(bitmap(table=struct.pack('<Q', entry))))
        img('info', 'x')
        done = run(IO, '-r', '-c', 'read 0 512', 'x', code=1)
        assert 'Could not read bitmap' in done.stderr, done.stderr


def peak_of_reading(count, all_set=True):
    """
    Reads an image of 128 GiB with that many bitmaps, all set, or made of the cluster that has the
    extension again and again: KiB of memory, what is said.
    """
    sectors, cluster = 1 << 28, 2048
    img('create', '-q', '-f', 'parallels', 'x', str(sectors * 512))
    start = -(-os.path.getsize('x') // MIB)
    table = struct.pack('<Q', 1 if all_set else start * cluster) * (sectors // 8 // MIB)
    bitmaps = [(BITMAP, 0, struct.pack('<QQQII', sectors, i, 0, 1, len(table) // 8) + table, None) for i in range(count)]
    with open('x', 'r+b') as f:
        f.seek(start * MIB)
        f.write(extension(*bitmaps))
        f.seek(EXT_OFF)
        f.write(struct.pack('<Q', start * cluster))
    p = subprocess.Popen([IO, '-r', '-c', 'read 0 512', 'x'], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = p.stderr.read()
    return os.wait4(p.pid, 0)[2].ru_maxrss, said


@case
def bitmaps_take_bounded_memory():
    """However much a small file claims."""
    none, said = peak_of_reading(0)
    assert not said, said
    some, said = peak_of_reading(250)
    assert not said, said
    many, said = peak_of_reading(260)
    assert 'bitmaps of the image are too large' in said, said
    again, said = peak_of_reading(250, all_set=False)
    assert 'Could not read bitmap' in said, said
    assert WATCHED or max(some, many, again) < none + 64 * 1024, f'{some}, {many}, {again} KiB, {none} without'


@case
def extensions_out_of_range():
    good = image()
    for off in (1, 1 << 54, 1 << 55, 1 << 60, (1 << 64) - 1, len(good) // 512, len(good) // 512 - 1, 2048):
        refused('parallels', good, (EXT_OFF, '<Q', off))


@case
def extensions_that_lie():
    for ext in (extension(magic=1), extension()[:-1] + b'x', extension((1234, 1, b'', None)),
                extension((1234, 0, b'', 0xffffffff)), extension((1234, 0, b'', MIB), end=False),
                extension(end=False), extension(bitmap(granularity=0)), extension(bitmap(granularity=3)),
                extension(bitmap(size=20481)), extension(bitmap(size=0)), extension(bitmap(size=(1 << 64) - 1)),
                extension(bitmap(l1_len=0xffffffff)), extension(bitmap(l1_len=0)), extension(bitmap(table=b'')),
                extension((BITMAP, 0, b'short', None)), extension((BITMAP, 1, b'', None))):
        with_extension(ext)
        refused('parallels', pathlib.Path('x').read_bytes())


main('format-parallels')
