#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VDI images that are damaged, cut off, or of a kind that is not read."""
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, REFERENCE, case, img, main, run
from damage import changed, made, refused, unreadable

MIB = 1 << 20
VERSION, TYPE, MAP_OFF, DATA_OFF, SECTOR_SIZE, SIZE, BLOCK, EXTRA, BLOCKS, USED, LINK, PARENT, MAP = (
    0x44, 0x4c, 0x154, 0x158, 0x168, 0x170, 0x178, 0x17c, 0x180, 0x184, 0x1a8, 0x1b8, 0x200)


def image():
    return made('vdi', '3M', 'write -P 1 0 4k', 'write -P 2 2M 4k')


def entries(name='x'):
    return struct.unpack_from('<4I', pathlib.Path(name).read_bytes(), USED)[:1] + \
        struct.unpack_from('<3I', pathlib.Path(name).read_bytes(), MAP)


@case
def headers_out_of_range():
    good = image()
    for edits in ([(VERSION, '<I', 0x10000)], [(TYPE, '<I', 0)], [(TYPE, '<I', 5)], [(MAP_OFF, '<I', 0)],
                  [(MAP_OFF, '<I', 513)], [(MAP_OFF, '<I', 1024)], [(MAP_OFF, '<I', 1 << 31)],
                  [(DATA_OFF, '<I', 0)], [(DATA_OFF, '<I', 512)], [(DATA_OFF, '<I', 1025)],
                  [(SECTOR_SIZE, '<I', 4096)], [(SIZE, '<Q', 3 * MIB + 1)], [(SIZE, '<Q', 1 << 63)],
                  [(SIZE, '<Q', (1 << 64) - 1)], [(BLOCK, '<I', 0)], [(BLOCK, '<I', 3 << 18)],
                  [(BLOCK, '<I', 1 << 31)], [(BLOCKS, '<I', 0)], [(BLOCKS, '<I', 0xffffffff)], [300], [512]):
        refused('vdi', good, *edits)


@case
def kinds_that_are_not_read():
    good = image()
    for edit in ((TYPE, '<I', 3), (TYPE, '<I', 4), (LINK, '<I', 1), (PARENT, '<I', 1)):
        refused('vdi', good, edit, text='difference')
    refused('vdi', good, (EXTRA, '<I', 512), text='blocks of')


@case
def a_map_larger_than_the_file_takes_no_memory():
    refused('vdi', image(), (BLOCKS, '<I', 0x1fffff80), (SIZE, '<Q', 0x1fffff80 << 20),
            (DATA_OFF, '<I', 0x80000000), text='ends before its map')


@case
def blocks_out_of_range_cannot_be_read():
    unreadable('vdi', image(), (MAP, '<I', 5), good='2M 512', bad='0 512')
    unreadable('vdi', image(), (MAP + 8, '<I', 0xfffffffd), bad='2M 512')
    done = img('check', 'x', code=2)
    assert 'ERROR: block index 2 too large, is 4294967293' in done.stderr


@case
def a_header_that_counts_too_few_blocks_destroys_nothing():
    """The reference gives the next block the number that the header tells, which is in use."""
    changed(image(), (USED, '<I', 0))
    run(IO, '-f', 'vdi', '-c', 'write -P 3 1M 64k', 'x')
    run(IO, '-f', 'vdi', '-c', 'read -P 1 0 4k', '-c', 'read -P 3 1M 64k', '-c', 'read -P 2 2M 4k', 'x')
    img('check', 'x')
    assert entries() == (3, 0, 2, 1)


@case
def a_map_with_gaps_is_filled():
    """Two of three blocks, numbers 2 and 1, and a header that counts two."""
    changed(image(), (MAP, '<I', 2), (MAP + 8, '<I', 1))
    run(IO, '-f', 'vdi', '-c', 'write -P 3 1M 64k', '-c', 'read -P 3 1M 64k', '-c', 'read -P 2 2M 4k', 'x')
    run(IO, '-f', 'vdi', '-c', 'read -P 3 1M 64k', '-c', 'read -P 0 1088k 900k', 'x')
    assert entries() == (3, 2, 0, 1)


@case
def too_many_references_leave_no_place():
    changed(image(), (MAP, '<I', 0), (MAP + 8, '<I', 0), (BLOCKS, '<I', 3))
    run(IO, '-f', 'vdi', '-c', 'write -P 3 1M 64k', 'x')
    img('check', 'x', code=2)


@case
def the_count_is_repaired():
    for wrong in (0, 1, 3, 0xffffffff):
        changed(image(), (USED, '<I', wrong))
        done = img('check', 'x', code=2)
        assert done.stderr == f'ERROR: allocated blocks mismatch, is 2, should be {wrong}\n'
        img('check', '-r', 'leaks', 'x')
        img('check', 'x')
        assert entries()[0] == 2
        run(REFERENCE / 'qemu-img', 'check', 'x')


@case
def double_use_is_told_and_not_repaired():
    changed(image(), (MAP, '<I', 1))
    before = pathlib.Path('x').read_bytes()
    for repair in ([], ['-r', 'leaks'], ['-r', 'all']):
        done = img('check', *repair, 'x', code=2)
        assert done.stderr == 'ERROR: block index 1 also used by 1\n', done.stderr
    assert pathlib.Path('x').read_bytes() == before


@case
def a_file_that_was_cut_off():
    changed(image(), 1024 + MIB + 100)
    assert 'ends' in img('info', 'x').stderr
    assert img('convert', '-O', 'raw', 'x', 'out', code=1).stderr and not pathlib.Path('out').exists()
    img('convert', '--salvage', '-O', 'raw', 'x', 'out')


@case
def blocks_of_other_sizes():
    """Two of 2 MiB."""
    good = image()
    changed(good, (BLOCK, '<I', 2 * MIB), (BLOCKS, '<I', 2), (SIZE, '<Q', 4 * MIB), (USED, '<I', 1),
            (MAP, '<I', 0xffffffff), (MAP + 4, '<I', 0))
    run(IO, '-c', 'read -P 0 0 2M', '-c', 'read -P 1 2M 4k', '-c', 'write -P 5 1M 2M', 'x')
    run(IO, '-c', 'read -P 5 1M 2M', '-c', 'read -P 0 0 1M', 'x')
    img('check', 'x')


main('format-vdi')
