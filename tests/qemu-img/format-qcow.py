#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of qcow version 1 that are damaged, and what the reference does not try."""
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, io, main
from damage import changed, made, refused, unreadable

NAME_OFF, NAME_LEN, SIZE, CLUSTER_BITS, L2_BITS, CRYPT, L1_OFF, L1 = 8, 16, 24, 32, 33, 36, 40, 48


def image():
    return made('qcow', '10M', 'write -P 1 100k 4k', 'write -P 2 5M 4k')


def l2_entry(image, off=100 << 10):
    return struct.unpack_from('>Q', image, L1 + off // (2 << 20) * 8)[0] + off % (2 << 20) // 4096 * 8


@case
def headers_out_of_range():
    good = image()
    for edits in ([(CLUSTER_BITS, 'B', 8)], [(CLUSTER_BITS, 'B', 17)], [(CLUSTER_BITS, 'B', 255)], [(L2_BITS, 'B', 5)],
                  [(L2_BITS, 'B', 14)], [(L2_BITS, 'B', 255)], [(CRYPT, '>I', 2)], [(L1_OFF, '>Q', 0)],
                  [(L1_OFF, '>Q', 49)], [(L1_OFF, '>Q', 1 << 40)], [(L1_OFF, '>Q', (1 << 64) - 8)], [(SIZE, '>Q', 0)],
                  [(SIZE, '>Q', 1 << 63)], [(SIZE, '>Q', (1 << 64) - 512)], [(SIZE, '>Q', 1 << 50)], [40],
                  [(NAME_OFF, '>Q', 48), (NAME_LEN, '>I', 1024)], [(NAME_OFF, '>Q', 1 << 40), (NAME_LEN, '>I', 4)],
                  [(NAME_OFF, '>Q', (1 << 64) - 1), (NAME_LEN, '>I', 4)]):
        refused('qcow', good, *edits)


@case
def entries_out_of_range_cannot_be_read():
    good = image()
    for bad in (1, 511, 1 << 40, (1 << 63) - 512, len(good), 1 << 63, (1 << 63) + (1 << 51), (1 << 64) - 1):
        unreadable('qcow', good, (l2_entry(good), '>Q', bad), good='5M 4k', bad='100k 512')
    for bad in (1, 1 << 40, 1 << 63, (1 << 64) - 512, len(good)):
        unreadable('qcow', good, (L1, '>Q', bad), good='5M 4k', bad='100k 512')


@case
def a_deflated_cluster_that_is_too_short_or_broken_is_an_error():
    made('qcow', '64k', 'write -c -P 7 0 4k', 'write -P 2 32k 4k')
    good = pathlib.Path('made').read_bytes()
    entry = struct.unpack_from('>Q', good, l2_entry(good, 0))[0]
    assert entry >> 63
    at, length = entry & (1 << 51) - 1, entry >> 51 & 4095
    unreadable('qcow', good, (at, 'B', 0xff), good='32k 4k', bad='0 512')
    unreadable('qcow', good, (l2_entry(good, 0), '>Q', 1 << 63 | (length - 2) << 51 | at), good='32k 4k', bad='0 512')


@case
def a_name_in_an_image_is_not_opened_untrusted():
    img('create', '-q', '-f', 'raw', 'b', '1M')
    img('create', '-q', '-f', 'qcow', '-b', 'b', '-F', 'raw', 'x', '1M')
    io('x', 'read -P 0 0 1M')
    for command in (['convert', '--untrusted', '-O', 'raw', 'x', 'out'], ['map', '--untrusted', 'x']):
        assert img(*command, code=1).stderr
    img('info', '--untrusted', 'x')


@case
def a_wrong_or_missing_secret():
    key = ['--object', 'secret,id=s,data=abc']
    img('create', '-q', *key, '-f', 'qcow', '-o', 'encrypt.format=aes,encrypt.key-secret=s', 'x', '1M')
    assert 'encrypted: yes' in img('info', 'x').stdout
    assert 'encrypt.key-secret' in img('map', 'x', code=1).stderr
    for options in ('encrypt.format=aes', 'encrypt.key-secret=s', 'encryption=on', 'encrypt.format=luks,encrypt.key-secret=s',
                    'encrypt.format=aes,encrypt.key-secret=none'):
        assert img('create', *key, '-f', 'qcow', '-o', options, 'y', '1M', code=1).stderr
    img('create', '-q', '-f', 'qcow', 'z', '1M')
    img('map', *key, '--image-opts', 'driver=qcow,file.filename=z,encrypt.format=aes,encrypt.key-secret=s', code=1)


main('format-qcow')
