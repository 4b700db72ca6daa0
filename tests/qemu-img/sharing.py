#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the file system lets files share space, convert does; holes stay, bytes are the same."""
import contextlib
import fcntl
import os
import pathlib
import random
import shutil
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, io, main, require, require_root, run
from this_run import SANDBOXED

MIB = 1 << 20
FS_IOC_FIEMAP, FIEMAP_EXTENT_SHARED, FIEMAP_FLAG_SYNC = 0xC020660B, 0x2000, 1
FILE_SYSTEMS = ('xfs', 'btrfs')


@contextlib.contextmanager
def mounted(kind):
    """An empty file system of that kind, as the current folder."""
    require_root()
    require(shutil.which(f'mkfs.{kind}'), f'mkfs.{kind} is not installed')
    os.mkdir('mnt')
    with open('disk', 'wb') as f:
        f.truncate(512 * MIB)
    run(f'mkfs.{kind}', '-q', 'disk')
    done = run('mount', '-o', 'loop', 'disk', 'mnt', code=None)
    require(done.returncode == 0, f'{kind} cannot be mounted here')
    top = os.getcwd()
    os.chdir('mnt')
    try:
        yield
    finally:
        os.chdir(top)
        run('umount', 'mnt')
        shutil.rmtree('mnt')
        os.unlink('disk')


def make_image(path, seed=1):
    """8 MiB: data, holes, and data that is zero."""
    dice = random.Random(seed)
    with open(path, 'wb') as f:
        f.truncate(8 * MIB)
        for at, length in ((0, MIB), (3 * MIB, MIB), (5 * MIB + 4096, 12288), (7 * MIB, 65536)):
            f.seek(at)
            f.write(dice.randbytes(length))
        f.seek(4 * MIB)
        f.write(bytes(MIB))
    os.sync()


def extents(path):
    """(bytes in extents, bytes in shared ones)"""
    room = 200
    answer = bytearray(struct.pack('=QQLLLL', 0, 1 << 62, FIEMAP_FLAG_SYNC, 0, room, 0)
                       + bytes(56 * room))
    with open(path, 'rb') as f:
        fcntl.ioctl(f, FS_IOC_FIEMAP, answer)
    whole = shared = 0
    for i in range(struct.unpack_from('=L', answer, 20)[0]):
        _, _, length, _, _, flags = struct.unpack_from('=QQQQQL', answer, 32 + 56 * i)
        whole += length
        shared += length if flags & FIEMAP_EXTENT_SHARED else 0
    return whole, shared


def same_content(one, other):
    a, b = (pathlib.Path(p).read_bytes() for p in (one, other))
    return a == b


def on_both(function):
    """A case for each of the file systems."""
    for kind in FILE_SYSTEMS:
        def one(kind=kind):
            with mounted(kind):
                function()
        one.__name__ = f'{function.__name__}_on_{kind}'
        case(one)
    return function


DATA = 2 * MIB + 12288 + 65536


@on_both
def raw_copies_share_space_and_keep_holes():
    make_image('a.raw')
    for options in ([], ['-W'], ['-m', '1'], ['-m', '16'], ['-t', 'none', '-T', 'none'],
                    ['-r', '100M'], ['--hash=tree'], ['--untrusted']):
        img('convert', *options, '-f', 'raw', '-O', 'raw', 'a.raw', 'b.raw', env=SANDBOXED)
        assert same_content('a.raw', 'b.raw'), options
        whole, shared = extents('b.raw')
        assert whole == shared == DATA, (options, whole, shared)


@on_both
def dd_shares_space_too():
    make_image('a.raw')
    img('dd', '-f', 'raw', 'bs=1M', 'skip=1', 'if=a.raw', 'of=b.raw')
    assert pathlib.Path('b.raw').read_bytes() == pathlib.Path('a.raw').read_bytes()[MIB:]
    assert extents('b.raw') == (DATA - MIB, DATA - MIB)


@on_both
def data_of_qcow2_is_shared_too():
    make_image('a.raw')
    img('convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'a.qcow2')
    os.sync()
    img('convert', '-f', 'qcow2', '-O', 'raw', 'a.qcow2', 'b.raw')
    assert same_content('a.raw', 'b.raw')
    whole, shared = extents('b.raw')
    assert whole == DATA and shared >= DATA - 128 * 1024, (whole, shared)


@on_both
def several_sources_and_odd_ends():
    make_image('a.raw')
    with open('odd.raw', 'wb') as f:
        f.write(random.Random(2).randbytes(MIB + 700))
    img('convert', '-f', 'raw', '-O', 'raw', 'odd.raw', 'a.raw', 'odd.raw', 'b.raw')
    odd, whole = (pathlib.Path(p).read_bytes() for p in ('odd.raw', 'a.raw'))
    odd += bytes(-len(odd) % 512)
    assert pathlib.Path('b.raw').read_bytes() == odd + whole + odd


@on_both
def space_of_its_own_where_it_was_asked_for():
    make_image('a.raw')
    for options in (['-S', '0'], ['-o', 'preallocation=full'], ['-o', 'preallocation=falloc']):
        img('convert', *options, '-f', 'raw', '-O', 'raw', 'a.raw', 'b.raw')
        assert same_content('a.raw', 'b.raw'), options
        assert extents('b.raw')[1] == 0, options


@on_both
def a_write_to_the_copy_leaves_the_source():
    make_image('a.raw')
    img('convert', '-f', 'raw', '-O', 'raw', 'a.raw', 'b.raw')
    before = pathlib.Path('a.raw').read_bytes()
    io('b.raw', 'write -P 9 1k 2M')
    assert pathlib.Path('a.raw').read_bytes() == before


@on_both
def existing_targets_are_overwritten():
    make_image('a.raw')
    make_image('b.raw', seed=3)
    io('b.raw', 'write -P 7 1M 6M')
    img('convert', '-n', '-f', 'raw', '-O', 'raw', 'a.raw', 'b.raw')
    assert same_content('a.raw', 'b.raw')


@on_both
def a_rate_is_kept():
    make_image('a.raw')
    began = time.monotonic()
    img('convert', '-r', '2M', '-f', 'raw', '-O', 'raw', 'a.raw', 'b.raw')
    assert time.monotonic() - began > 0.8
    assert extents('b.raw')[1] == DATA


@case
def other_file_systems_copy():
    make_image('a.raw')
    img('convert', '-f', 'raw', '-O', 'raw', 'a.raw', 'b.raw')
    assert same_content('a.raw', 'b.raw')
    assert os.stat('b.raw').st_blocks * 512 <= DATA + 65536


@case
def never_shares_across_file_systems():
    make_image('a.raw')
    with mounted('xfs'):
        img('convert', '-f', 'raw', '-O', 'raw', '../a.raw', 'b.raw')
        assert same_content('../a.raw', 'b.raw')
        assert extents('b.raw') == (DATA, 0)


main('sharing')
