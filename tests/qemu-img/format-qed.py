#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QED images that are damaged, not closed, or that the reference gets wrong."""
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, case, img, io, main, run
from damage import changed, made, refused, unreadable

CLUSTER, TABLE, HEADER, FEATURES, AUTOCLEAR, L1_OFF, SIZE, NAME_OFF, NAME_LEN = 4, 8, 12, 16, 32, 40, 48, 56, 60
L1 = 4096
BACKING, NEED_CHECK = 1, 2


def image():
    return made('qed', '10M', 'write -P 1 100k 4k', 'write -P 2 5M 4k', options='cluster_size=4k,table_size=2')


def l2_entry(image):
    """Where the entry for the cluster at 100k is."""
    return struct.unpack_from('<Q', image, L1)[0] + 25 * 8


def features():
    return struct.unpack_from('<Q', pathlib.Path('x').read_bytes(), FEATURES)[0]


@case
def headers_out_of_range():
    good = image()
    for edits in ([(FEATURES, '<Q', 8)], [(FEATURES, '<Q', 1 << 63)], [(CLUSTER, '<I', 0)], [(CLUSTER, '<I', 3 << 12)],
                  [(CLUSTER, '<I', 2048)], [(CLUSTER, '<I', 1 << 27)], [(TABLE, '<I', 0)], [(TABLE, '<I', 3)],
                  [(TABLE, '<I', 32)], [(HEADER, '<I', 0)], [(HEADER, '<I', 2)], [(HEADER, '<I', 0xffffffff)],
                  [(L1_OFF, '<Q', 0)], [(L1_OFF, '<Q', 4097)], [(L1_OFF, '<Q', 1 << 63)],
                  [(L1_OFF, '<Q', (1 << 64) - 4096)], [(SIZE, '<Q', 513)], [(SIZE, '<Q', 1 << 63)],
                  [(SIZE, '<Q', (4 << 30) + 512)], [(SIZE, '<Q', (1 << 64) - 512)],
                  [(FEATURES, '<Q', BACKING), (NAME_OFF, '<I', 64), (NAME_LEN, '<I', 1 << 30)],
                  [(FEATURES, '<Q', BACKING), (NAME_OFF, '<I', 1 << 30), (NAME_LEN, '<I', 4)],
                  [(FEATURES, '<Q', BACKING), (NAME_OFF, '<I', 0xffffffff), (NAME_LEN, '<I', 0xffffffff)], [4096], [60]):
        refused('qed', good, *edits)


@case
def a_table_larger_than_the_file_takes_no_memory():
    refused('qed', image(), (CLUSTER, '<I', 1 << 26), (TABLE, '<I', 16), (L1_OFF, '<Q', 1 << 26))


@case
def entries_out_of_range_cannot_be_read():
    good = image()
    for bad in (2, 4095, 512, 1 << 40, 1 << 63, (1 << 64) - 4096, len(good)):
        unreadable('qed', good, (l2_entry(good), '<Q', bad), good='5M 4k', bad='100k 512')
    for bad in (1, 512, 1 << 40, (1 << 64) - 4096, len(good) - 4096):
        unreadable('qed', good, (L1, '<Q', bad), good='5M 4k', bad='100k 512')


@case
def a_write_into_zeroes_leaves_the_rest_zero():
    """The reference fills the rest of the cluster from the backing file."""
    img('create', '-q', '-f', 'raw', 'base', '1M')
    io('base', 'write -P 6 0 1M')
    img('create', '-q', '-f', 'qed', '-b', 'base', '-F', 'raw', 'x')
    io('x', 'write -z 0 128k', 'write -P 8 512 512', 'write -P 9 130k 1k')
    io('x', 'read -P 0 0 512', 'read -P 8 512 512', 'read -P 0 1k 127k', 'read -P 6 128k 2k', 'read -P 9 130k 1k',
       'read -P 6 131k 100k')
    img('check', 'x')


@case
def tables_of_one_cluster():
    """The reference makes such images and cannot open them."""
    img('create', '-q', '-f', 'qed', '-o', 'cluster_size=4k,table_size=1', 'x', '1G')
    io('x', 'write -P 1 1023M 1M', 'write -P 2 3M 5k')
    io('x', 'read -P 1 1023M 1M', 'read -P 2 3M 5k', 'read -P 0 4M 1M')
    img('check', 'x')


@case
def an_image_that_was_not_closed_is_checked():
    good = image()
    changed(good, (FEATURES, '<Q', NEED_CHECK))
    assert '"dirty-flag": true' in img('info', '--output=json', 'x').stdout
    img('check', 'x')
    run(IO, '-r', '-c', 'read -P 1 100k 4k', 'x')
    assert features() == NEED_CHECK
    io('x', 'read -P 1 100k 4k')
    assert features() == 0
    changed(good, (FEATURES, '<Q', NEED_CHECK), (l2_entry(good), '<Q', 1 << 40))
    io('x', 'read -P 0 100k 4k')
    assert features() == 0
    img('check', 'x', code=3)


@case
def one_that_no_repair_mends_is_not_written():
    good = image()
    at = l2_entry(good)
    changed(good, (FEATURES, '<Q', NEED_CHECK), (at + 8, '<Q', struct.unpack_from('<Q', good, at)[0]))
    run(IO, '-c', 'write 0 512', 'x', code=1)
    img('check', '-r', 'all', 'x', code=2)
    assert features() == NEED_CHECK
    run(IO, '-r', '-c', 'read -P 1 100k 4k', 'x')


@case
def unknown_features_that_clear_themselves():
    changed(image(), (AUTOCLEAR, '<Q', 5), (AUTOCLEAR - 8, '<Q', 9))
    run(IO, '-r', '-c', 'read 0 512', 'x')
    assert struct.unpack_from('<2Q', pathlib.Path('x').read_bytes(), AUTOCLEAR - 8) == (9, 5)
    io('x', 'read 0 512')
    assert struct.unpack_from('<2Q', pathlib.Path('x').read_bytes(), AUTOCLEAR - 8) == (9, 0)


@case
def info_opens_no_backing_file():
    changed(image(), (FEATURES, '<Q', BACKING), (NAME_OFF, '<I', 64), (NAME_LEN, '<I', 7), (64, '7s', b'nbd:x:1'))
    assert 'nbd:x:1' in img('info', 'x').stdout


main('format-qed')
