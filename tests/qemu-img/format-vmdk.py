#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VMDK images that are damaged, cut off, or name files that they should not; kinds that only VMware writes."""
import json
import os
import pathlib
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, REFERENCE, case, img, io, main, require, run
from damage import changed, made, refused, unreadable
from this_run import TRACED, WATCHED

MIB = 1 << 20
VERSION, FLAGS, CAPACITY, GRAIN, DESC, DESC_LEN, TABLE_LEN, DIR2, DIR, OVERHEAD, COMPRESSION = \
    4, 8, 12, 20, 28, 36, 44, 48, 56, 64, 77


def image(options=''):
    return made('vmdk', '10M', 'write -P 1 0 256k', options=options)


def descriptor(*extents, create='monolithicFlat', cid='CID=12345678', parent='parentCID=ffffffff', more=''):
    return ('# Disk DescriptorFile\nversion=1\n' + ''.join(f'{line}\n' for line in (
        cid, parent, f'createType="{create}"', more, *extents) if line)).encode()


def write(name, content):
    pathlib.Path(name).write_bytes(content)


def opened_files(*command):
    """The names that our qemu-img opens besides libraries."""
    from shutil import which
    require(which('strace'), 'strace is not installed')
    run('strace', '-f', '-qq', '-e', 'trace=open,openat', '-o', 'trace', *command, code=None, env=TRACED)
    return pathlib.Path('trace').read_text()


@case
def headers_out_of_range():
    good = image()
    for edit in ((VERSION, '<I', 4), (CAPACITY, '<Q', 1 << 54), (CAPACITY, '<Q', 1 << 63), (CAPACITY, '<Q', (1 << 64) - 1),
                 (CAPACITY, '<Q', 0), (GRAIN, '<Q', 0), (GRAIN, '<Q', 1 << 22),
                 (GRAIN, '<Q', 1 << 40), (GRAIN, '<Q', 1 << 63), (TABLE_LEN, '<I', 0), (TABLE_LEN, '<I', 513),
                 (TABLE_LEN, '<I', 1 << 31), (DIR, '<Q', (1 << 64) - 1), (DESC_LEN, '<Q', 1 << 40),
                 (DESC, '<Q', 1 << 60), (COMPRESSION, '<H', 7)):
        refused('vmdk', good, edit)
    refused('vmdk', good, 100)
    refused('vmdk', good, 511)


@case
def directories_out_of_range():
    """Information needs no directory; whoever reads does."""
    good = image()
    for edit in ((DIR, '<Q', 1 << 40), (DIR2, '<Q', 1 << 40), (OVERHEAD, '<Q', 1 << 40), (DIR, '<Q', 1 << 50),
                 (CAPACITY, '<Q', 1 << 50)):
        changed(good, edit)
        img('info', 'x')
        for command in (('check', 'x'), ('map', 'x'), ('convert', '-O', 'raw', 'x', 'out')):
            done = img(*command, code=1)
            assert len(done.stderr.splitlines()) == 1, done.stderr


@case
def tables_out_of_range():
    good = image()
    directory = struct.unpack_from('<Q', good, DIR)[0] * 512
    table = struct.unpack_from('<I', good, directory)[0] * 512
    unreadable('vmdk', good, (directory, '<I', 99999999), good='0 0', bad='64k 64k')
    unreadable('vmdk', good, (table + 4, '<I', 99999999), bad='64k 64k')
    unreadable('vmdk', good, (table + 4, '<I', 0xffffffff), bad='64k 64k')
    done = img('check', 'x', code=1)
    assert 'ERROR: cluster offset for sector 128 points after EOF' in done.stderr
    for sector in (1, 5, 22):
        changed(good, (table + 4, '<I', sector))
        before = pathlib.Path('x').read_bytes()
        done = io('x', 'write 64k 64k', code=1)
        assert 'Input/output error' in done.stdout + done.stderr, 'a write into the header'
        assert pathlib.Path('x').read_bytes()[600 * 2:] == before[600 * 2:]


@case
def memory_is_bounded_by_the_file():
    """A directory of 2 TiB of disk in small grains cannot be in a file of 1 MiB: nothing is allocated for it."""
    changed(image(), (CAPACITY, '<Q', 1 << 50), (GRAIN, '<Q', 1), (TABLE_LEN, '<I', 1))
    limit = '' if WATCHED else 'ulimit -v 1000000; '     # watchers take address space for themselves
    done = run('bash', '-c', limit + 'exec "$@"', '-', str(IO), '-r', '-c', 'read 0 512', 'x', code=1)
    assert 'reaches past the end' in done.stderr


@case
def descriptors_without_usable_extents():
    write('flat', bytes(131072))
    for lines in ([], ['rw 256 FLAT "flat" 0'], ['RW 0 FLAT "flat" 0'] * 2, ['RW -1 FLAT "flat" 0'], ['RW 256 FLAT flat 0'],
                  ['RW 256 FLAT "" 0'], ['RW 256 FLAT "flat"'], ['RW 256 flat "flat" 0'], ['RW 256 FLAT "flat" -1'],
                  ['NOACCESS 256 FLAT "flat" 0'], ['RW 256 VMFSRAW "flat"'], ['RW 256 FLAT'], ['RW 256'], ['RW '],
                  ['RW 9223372036854775807 FLAT "flat" 0'], ['RW 18014398509481983 FLAT "flat" 0'],
                  ['RW 18014398509481984 FLAT "flat" 0'], ['RW 100000000000000000000 FLAT "flat" 0'],
                  ['RW 18000000000000000 ZERO', 'RW 18000000000000000 ZERO']):
        refused('vmdk', descriptor(*lines))
    good = 'RW 256 FLAT "flat" 0'
    refused('vmdk', descriptor(good, create='custom'))
    refused('vmdk', descriptor(good, create='monolithicSparse'))
    refused('vmdk', descriptor(good, cid='CID=xyz'))
    refused('vmdk', descriptor(good, parent=''))
    refused('vmdk', descriptor(good, parent='parentCID=q'))
    write('x', descriptor(good))
    img('convert', '-O', 'raw', 'x', 'out')


@case
def disks_of_no_bytes():
    """The reference makes them, and cannot open them."""
    write('empty', b'')
    for subformat in ('monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat',
                      'streamOptimized'):
        for make in ('create', 'x', '0'), ('convert', 'empty', 'x'):
            img(*make[:1], '-f' if make[0] == 'create' else '-O', 'vmdk', '-o', f'subformat={subformat}', *make[1:])
            told = json.loads(img('info', '--output=json', 'x').stdout)
            assert (told['virtual-size'], told['format-specific']['data']['create-type']) == (0, subformat), told
            img('check', 'x')
            assert img('map', '--output=json', 'x').stdout == img('map', '--output=json', '-f', 'raw', 'empty').stdout
            run(IO, '-c', 'write 0 512', 'x', code=1)
            img('convert', '-O', 'raw', 'x', 'out')
            assert os.path.getsize('out') == 0


@case
def info_opens_only_the_image():
    write('flat', bytes(131072))
    os.mkfifo('fifo')
    for name in ('/etc/hostname', 'flat', 'fifo', 'nosuch', '/dev/zero', '../x'):
        for kind in ('FLAT', 'SPARSE', 'SESPARSE', 'VMFSSPARSE'):
            write('x.vmdk', descriptor(f'RW 256 {kind} "{name}"' + (' 0' if kind == 'FLAT' else '')))
            if kind != 'FLAT' and name == 'flat':
                continue    # a sparse extent beside the image: its header is looked at
            trace = opened_files(img.__globals__['IMG'], 'info', 'x.vmdk')
            assert f'"{name}"' not in trace and 'x.vmdk' in trace, trace
    write('x.vmdk', descriptor('RW 256 FLAT "flat" 0'))
    assert 'filename: flat' in img('info', 'x.vmdk').stdout


@case
def fifos_and_devices_are_no_extents():
    os.mkfifo('fifo')
    os.symlink('fifo', 'link')
    for name in ('fifo', 'link'):
        for kind in ('FLAT "%s" 0', 'SPARSE "%s"', 'SESPARSE "%s"', 'VMFSSPARSE "%s"'):
            write('x.vmdk', descriptor(f'RW 256 {kind % name}'))
            img('info', 'x.vmdk', timeout=20)
            for command in (('check', 'x.vmdk'), ('map', 'x.vmdk'), ('convert', '-O', 'raw', 'x.vmdk', 'out')):
                img(*command, code=1, timeout=20)


@case
def extents_are_files_and_nothing_else():
    """A name that looks like a protocol or a description is that of a file beside the image."""
    for name in ('nbd:localhost:1', "json:{'driver':'null-co'}", 'a:b'):
        write('x.vmdk', descriptor(f'RW 128 FLAT "{name}" 0'))
        img('map', 'x.vmdk', code=1)
        write(name, b'Z' * 65536)
        run(IO, '-r', '-c', 'read -P 90 0 64k', 'x.vmdk')
    write('x.vmdk', descriptor('RW 2 FLAT "x.vmdk" 0'))
    assert 'its own' in img('map', 'x.vmdk', code=1).stderr


@case
def untrusted_images_name_no_files():
    write('flat', bytes(131072))
    write('x.vmdk', descriptor('RW 256 FLAT "flat" 0'))
    for command in (('map', '--untrusted', 'x.vmdk'), ('convert', '--untrusted', '-O', 'raw', 'x.vmdk', 'out')):
        assert "wants the file 'flat'" in img(*command, code=1).stderr
    assert 'virtual size: 128 KiB' in img('info', '--untrusted', 'x.vmdk').stdout
    img('create', '-q', '-f', 'vmdk', 'base.vmdk', '1M')
    img('create', '-q', '-f', 'vmdk', '-b', 'base.vmdk', '-F', 'vmdk', 'top.vmdk')
    assert "wants the backing file" in img('convert', '--untrusted', '-O', 'raw', 'top.vmdk', 'out', code=1).stderr
    write('raw', os.urandom(65536) * 3)
    img('convert', '-O', 'vmdk', '-o', 'subformat=streamOptimized', 'raw', 's.vmdk')
    img('convert', '--untrusted', '-O', 'raw', 's.vmdk', 'out')
    assert pathlib.Path('out').read_bytes() == pathlib.Path('raw').read_bytes()


@case
def kinds_of_extents():
    write('flat', b'A' * 65536 + b'B' * 65536)
    write('x.vmdk', descriptor('RW 128 FLAT "flat" 128', 'RW 128 ZERO', 'RDONLY 128 VMFS "flat"', 'RW 128 FLAT "flat" 0'))
    run(IO, '-r', '-c', 'read -P 66 0 64k', '-c', 'read -P 0 64k 64k', '-c', 'read -P 65 128k 128k', 'x.vmdk')
    io('x.vmdk', 'write -P 67 192k 1k')
    for at in ('64k', '128k'):
        done = io('x.vmdk', f'write {at} 1k', code=1)
        assert 'Permission denied' in done.stdout + done.stderr
    assert pathlib.Path('flat').read_bytes() == b'C' * 1024 + b'A' * 64512 + b'B' * 65536


@case
def esx_sparse_extents():
    cowd = bytearray(MIB)
    struct.pack_into('<4s7I', cowd, 0, b'COWD', 1, 3, 8192, 1, 4, 2, 100)
    struct.pack_into('<2I', cowd, 4 * 512, 8, 40)
    struct.pack_into('<2I', cowd, 8 * 512, 0, 80)
    cowd[80 * 512:81 * 512] = b'Z' * 512
    write('cowd', cowd)
    write('x.vmdk', descriptor('RW 8192 VMFSSPARSE "cowd"', create='vmfsSparse'))
    read = ('-c', 'read -P 0 0 512', '-c', 'read -P 90 512 512', '-c', 'read -P 5 9k 1k')
    io('x.vmdk', 'write -P 5 9k 1k')
    for tool in (IO, *([REFERENCE / 'qemu-io'] if (REFERENCE / 'qemu-io').exists() else [])):
        run(tool, '-r', *read, 'x.vmdk')
    assert 'open the descriptor' in img('info', 'cowd', code=1).stderr
    for at, value in ((16, 0), (12, 1 << 31), (20, 1 << 30)):
        write('cowd', cowd[:at] + struct.pack('<I', value) + cowd[at + 4:])
        img('map', 'x.vmdk', code=1)


def se_sparse(capacity=16384, replay=0, grain=8, version=0x200000001):
    extent = bytearray(MIB)
    head = [0xcafebabe, version, capacity, grain, 64, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 2, 2, 8, 64 * 2, 0, 0, 0, 0, 256, 64]
    struct.pack_into('<26Q', extent, 0, *head)
    struct.pack_into('<4Q', extent, 512, 0xcafecafe, 0, 0, replay)
    struct.pack_into('<Q', extent, 1024, 1 << 60 | 1)
    # Unallocated, unmapped, zero, the third grain, the first.
    struct.pack_into('<5Q', extent, (8 + 64) * 512, 0, 1 << 60, 2 << 60, 3 << 60 | 2 << 48, 3 << 60)
    for i in range(3):
        extent[256 * 512 + i * 4096:256 * 512 + (i + 1) * 4096] = bytes((70 + i,)) * 4096
    return bytes(extent)


@case
def space_efficient_extents():
    write('se', se_sparse())
    write('x.vmdk', descriptor('RW 16384 SESPARSE "se"', create='seSparse'))
    read = ('-c', 'read -P 0 0 12k', '-c', 'read -P 72 12k 4k', '-c', 'read -P 70 16k 4k', '-c', 'read -P 0 20k 1M')
    for tool in (IO, *([REFERENCE / 'qemu-io'] if (REFERENCE / 'qemu-io').exists() else [])):
        run(tool, '-r', *read, 'x.vmdk')
    if (REFERENCE / 'qemu-img').exists():
        for command in ('map', 'info'):
            args = (command, '--output=json', 'x.vmdk')
            assert img(*args).stdout == run(REFERENCE / 'qemu-img', *args).stdout
    io('x.vmdk', 'write 0 4k', code=1)
    for damage in (dict(replay=1), dict(grain=16), dict(version=1), dict(capacity=1 << 60), dict(capacity=1 << 30)):
        write('se', se_sparse(**damage))
        img('map', 'x.vmdk', code=1)
    write('se', se_sparse()[:40000])
    run(IO, '-r', '-c', 'read 0 512', 'x.vmdk', code=1)


def stream(*grains, capacity=1024, tail=b''):
    """A stream as VMware writes it: tables and a footer at the end. @grains: (number, content)."""
    def header(directory):
        head = struct.pack('<4sIIQQQQIQQQ', b'KDMV', 3, 0x30001, capacity, 128, 1, 20, 512, 0, directory, 128)
        return (head + b'\0\n \r\n' + struct.pack('<H', 1)).ljust(512, b'\0')
    text = descriptor('RW 1024 SPARSE "x"', create='streamOptimized')
    data = bytearray(header((1 << 64) - 1) + text.ljust(127 * 512, b'\0'))
    table = bytearray(2048)
    for number, content in grains:
        packed = zlib.compress(content)
        struct.pack_into('<I', table, number * 4, len(data) // 512)
        data += struct.pack('<QI', number * 128, len(packed)) + packed
        data += bytes(-len(data) % 512)
    data += struct.pack('<QII', 4, 0, 1).ljust(512, b'\0')
    at = len(data) // 512
    data += table + struct.pack('<QII', 1, 0, 2).ljust(512, b'\0')
    directory = len(data) // 512
    data += struct.pack('<I', at).ljust(512, b'\0')
    data += struct.pack('<QII', 1, 0, 3).ljust(512, b'\0') + header(directory) + bytes(512) + tail
    return bytes(data)


@case
def streams_with_a_footer():
    parts = [(0, b'a' * 65536), (3, os.urandom(65536)), (7, b'z' * 65536)]
    write('x', stream(*parts))
    img('convert', '-O', 'raw', 'x', 'out')
    disk = bytearray(1024 * 512)
    for number, content in parts:
        disk[number * 65536:(number + 1) * 65536] = content
    assert pathlib.Path('out').read_bytes() == disk
    img('check', 'x')
    os.unlink('out')
    for cut in (b'x', b'y' * 512):
        refused('vmdk', stream(*parts, tail=cut), text='footer')
    # The last grain may be as short as the disk is.
    write('x', stream((0, b'q' * 1024), capacity=2))
    io('x', 'read -P 113 0 1k')


@case
def streams_that_lie():
    good = stream((0, b'a' * 65536), (3, os.urandom(65536)))
    for length in (0, 1, 1 << 31, (1 << 32) - 1, 200000, 70):
        unreadable('vmdk', good, (128 * 512 + 8, '<I', length), good='192k 64k', bad='0 512')
    unreadable('vmdk', good, (128 * 512 + 12, '<I', 0x12345678), good='192k 64k', bad='0 64k')
    # A grain that inflates to more, or to less, than it should.
    for content in (b'a' * 65537, b'a' * 65535, b''):
        unreadable('vmdk', stream((0, content), (3, bytes(65536))), good='192k 64k', bad='0 64k')


@case
def conversion_compresses_streams():
    """-O vmdk -o subformat=streamOptimized compresses without -c, with all grains in order."""
    write('raw', b''.join(os.urandom(4096) + bytes(61440) for _ in range(100)))
    img('convert', '-O', 'vmdk', '-o', 'subformat=streamOptimized', 'raw', 's.vmdk')
    assert os.path.getsize('s.vmdk') < 100 * 5120 + 65536
    img('compare', 's.vmdk', 'raw')
    if (REFERENCE / 'qemu-img').exists():
        run(REFERENCE / 'qemu-img', 'compare', 's.vmdk', 'raw')


@case
def the_cid_changes_in_place():
    """The descriptor is never rewritten: a text of any length around the number stays as it is."""
    write('flat', bytes(65536))
    for digits in ('12345678', '1', 'abc', '000000012345678'):
        more = 'x' * 600
        before = descriptor('RW 128 FLAT "flat" 0', cid=f'CID={digits}', more=f'# {more}')
        write('x.vmdk', before)
        io('x.vmdk', 'write 0 512', 'write 1k 512')
        after = pathlib.Path('x.vmdk').read_bytes()
        assert len(before) == len(after) and before != after
        at = before.index(b'CID=') + 4
        assert before[:at] == after[:at] and before[at + len(digits):] == after[at + len(digits):]


main('format-vmdk')
