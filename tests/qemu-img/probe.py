#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which format a file is taken for, beside the reference."""
import json
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from cases import IO, REFERENCE, case, img, main, require, run


def reference(*args, code=0):
    require((REFERENCE / 'qemu-img').exists(), 'the reference is not installed')
    return run(REFERENCE / 'qemu-img', *args, code=code)


def ours_probes(name):
    done = img('info', '--output=json', name, code=None)
    return f'error: {done.stderr}' if done.returncode else json.loads(done.stdout)['format']


def reference_probes(name, candidates):
    """A format by whose driver the reference opens @name, or fails to in the same words."""
    done = reference('info', '--output=json', name, code=None)
    if not done.returncode:
        return [json.loads(done.stdout)['format']]
    return [f for f in candidates
            if reference('info', '--output=json', '-f', f, name, code=None).stderr == done.stderr]


def bochs(magic=b'Bochs Virtual HD Image', type=b'Redolog', subtype=b'Growing', version=0x20000):
    return struct.pack('<32s16s16sI', magic, type, subtype, version)


CLOOP = b'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'
HEADS = {
    'bochs': [bochs(), bochs(version=0x10000)],
    'cloop': [CLOOP],
    'parallels': [b'WithoutFreeSpace\2\0\0\0', b'WithouFreSpacExt\2\0\0\0'],
    'qcow': [b'QFI\xfb\0\0\0\1'],
    'qcow2': [b'QFI\xfb\0\0\0\2', b'QFI\xfb\0\0\0\3', b'QFI\xfb\0\0\0\4'],
    'qed': [b'QED\0'],
    'luks': [b'LUKS\xba\xbe\0\1'],
    'vdi': [bytes(64) + b'\x7f\x10\xda\xbe',
            b'<<< Oracle VM VirtualBox Disk Image >>>\n'.ljust(64, b'\0') + b'\x7f\x10\xda\xbe'],
    'vhdx': [b'vhdxfile'],
    'vmdk': [b'KDMV', b'COWD', b'version=1\n', b'version=2\r\n', b'version=3\n',
             b'# Disk DescriptorFile\nversion=1\n', b'#\r\n#\nversion=1\r\n', b'   \n#x\nversion=1\n',
             b'#x\n \n  \nversion=1\n', b'#x\n \r\nversion=1\n', b'#a\0b\nversion=1\n',
             b'#' + b'x' * 500 + b'\nversion=1\n', b'#' + b'x' * 499 + b'\nversion=1\r\n'],
    'vpc': [b'conectix'],
    'raw': [b'', bochs(version=3), bochs(subtype=b'Undoable'), bochs(type=b'x'),
            bochs(b'Bochs Virtual HD Imagex'), CLOOP[:-1], CLOOP[:-1] + b'\r\n', b'LUKS\xba\xbe\0\2',
            b'WithoutFreeSpace\1\0\0\0', b'WithouFreSpacExt\3\0\0\0', b'QFI\xfb\0\0\0\0', b'QED\1', b'vhdxfil',
            b'<<< Oracle VM VirtualBox Disk Image >>>\n', b'VMDK', b'cxsparse',
            b'version=0\n', b'version=4\n', b'version=1', b'version=1 \n', b'version=10\n', b'version=1\r',
            b'version=1\rx', b'\nversion=1\n', b' version=1\n', b'#x\n\nversion=1\n', b'#x\n\tversion=1\n',
            b'# x\n\r\nversion=1\n', b' #x\nversion=1\n', b'#x\nCID=1\nversion=1\n', b'#x', b'  ',
            b'#' + b'x' * 501 + b'\nversion=1\n', b'#' + b'x' * 501 + b'\nversion=1\r\n', b'VERSION=1\n'],
}


@case
def signatures():
    for format, heads in HEADS.items():
        for head in heads:
            for size in (65536, len(head)):
                pathlib.Path('x').write_bytes(head.ljust(size, b'\0'))
                theirs = reference_probes('x', [format])
                assert format in theirs, f'{head} of {size} bytes: the reference takes it for {theirs}'
                ours = ours_probes('x')
                assert ours == format or format != 'raw' and ours.startswith('error: '), \
                    f'{head} of {size} bytes is {format} and taken for {ours}'


@case
def a_raw_image_is_not_made_to_look_like_one():
    for format, heads in HEADS.items():
        for head in heads[:1] if format != 'raw' else []:
            img('create', '-q', '-f', 'raw', 'r', '64k')
            pathlib.Path('p').write_bytes(head.ljust(512, b'\0'))
            done = run(IO, '-c', 'write -s p 0 512', 'r', code=1)
            assert 'write failed: Operation not permitted' in done.stdout + done.stderr, (format, done)
            assert pathlib.Path('r').read_bytes() == bytes(65536), format


@case
def zeroes_do_not_make_it_look_like_one():
    for command in ('write -z 17 1', 'discard 17 1', 'write -z -u 17 1'):
        pathlib.Path('r').write_bytes(b'WithoutFreeSpace\2\1\0\0'.ljust(65536, b'\0'))
        run(IO, '-c', command, 'r', code=None)
        assert ours_probes('r') == 'raw', command


main('probe')
