#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images in formats that have no driver here are refused by name, as the reference probes them."""
import json
import pathlib
import re
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from cases import BUILD, IO, REFERENCE, case, img, main, require, run

NBD = BUILD / 'qemu-nbd'
CREATED = {
    'parallels': [''], 'qcow': [''], 'qed': [''], 'vdi': ['', 'static=on'],
    'vhdx': ['', 'subformat=fixed'], 'vpc': ['subformat=dynamic'],
    'vmdk': [f'subformat={s}' for s in ('monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse',
                                        'twoGbMaxExtentFlat', 'streamOptimized')],
}
FORMATS = [*CREATED, 'bochs', 'cloop', 'dmg']
# Those that still have none, and one of them that the reference can make.
FOREIGN = [f for f in FORMATS if 'cannot be read here yet' in img('info', '-f', f, __file__, code=None).stderr]
MADE = next((f for f in CREATED if f in FOREIGN), None)
REFUSED = re.compile(r"is in format '(\w+)', which cannot be read here yet")


def reference(*args, code=0):
    require((REFERENCE / 'qemu-img').exists(), 'the reference is not installed')
    return run(REFERENCE / 'qemu-img', *args, code=code)


def refused(format, *command, tool=None):
    done = run(tool or BUILD / 'qemu-img', *command, code=None)
    found = REFUSED.search(done.stderr)
    assert done.returncode and found and found[1] == format, \
        f'{command}: {format} expected, {done.returncode} {done.stdout}{done.stderr}'


def ours_probes(name):
    done = img('info', '--output=json', name, code=None)
    if not done.returncode:
        return json.loads(done.stdout)['format']
    found = REFUSED.search(done.stderr)
    return found[1] if found else f'error: {done.stderr}'


def reference_probes(name, candidates):
    """A format by whose driver the reference opens @name, or fails to in the same words."""
    done = reference('info', '--output=json', name, code=None)
    if not done.returncode:
        return [json.loads(done.stdout)['format']]
    return [f for f in candidates
            if reference('info', '--output=json', '-f', f, name, code=None).stderr == done.stderr]


def make(name):
    require(MADE, 'every format that the reference makes has a driver')
    reference('create', '-q', '-f', MADE, name, '1M')


@case
def made_by_the_reference():
    for format in set(CREATED) & set(FOREIGN):
        for i, options in enumerate(CREATED[format]):
            name = f'{format}{i}'
            reference('create', '-q', '-f', format, *(['-o', options] if options else []), name, '1M')
            assert reference_probes(name, []) == [format]
            refused(format, 'info', name)


@case
def every_opener():
    make('x')
    img('create', '-q', '-f', 'raw', 'r', '1M')
    img('create', '-q', '-f', 'qcow2', 'q', '1M')
    before = pathlib.Path('x').read_bytes()
    for command in (
            'info x', 'info --untrusted x', 'info --untrusted=strict x', 'info --image-opts file.filename=x',
            'check x', 'checksum x', 'checksum --untrusted x', 'compare x r', 'compare r x', 'map x',
            'measure -O qcow2 x', 'convert -O raw x out', 'convert --untrusted -O raw x out',
            'convert -O qcow2 --image-opts file.filename=x out', 'convert -n r --target-image-opts file.filename=x', 'dd if=x of=out', 'resize x 2M', 'snapshot -l x', 'commit x',
            'bitmap --add x b', 'bench -c 1 x', 'amend -o size=2M x',
            'convert -O raw blkdebug::x out', 'convert -O raw r x out'):
        refused(MADE, *command.split())
    refused(MADE, 'info', 'json:{"file":{"driver":"file","filename":"x"}}')
    refused(MADE, '-c', 'read 0 512', 'x', tool=IO)
    refused(MADE, '-c', 'open x', tool=IO)
    refused(MADE, '-t', '-k', pathlib.Path.cwd() / 's', 'x', tool=NBD)
    assert pathlib.Path('x').read_bytes() == before and not pathlib.Path('out').exists()


@case
def backing_file_without_a_format():
    make('x')
    img('create', '-q', '-f', 'qcow2', '-b', 'x', '-F', 'raw', 'q', '1M')
    format_extension = struct.pack('>I', 0xe2792aca)
    head = pathlib.Path('q').read_bytes()
    pathlib.Path('q').write_bytes(head.replace(format_extension, b'none', 1))
    img('create', '-q', '-f', 'raw', 'r', '1M')
    for command in ('convert -O raw q out', 'info --backing-chain q', 'map q', 'rebase -b r -F raw q',
                    'commit q'):
        refused(MADE, *command.split())


@case
def served_over_nbd():
    make('x')
    socket = pathlib.Path.cwd() / 's'
    run(NBD, '--fork', '-r', '-f', 'raw', '-k', socket, 'x')
    refused(MADE, 'convert', '-O', 'raw', f'nbd+unix:///?socket={socket}', 'out')


@case
def raw_when_that_is_said():
    make('x')
    img('convert', '-f', 'raw', '-O', 'raw', 'x', 'out')
    assert pathlib.Path('out').read_bytes().rstrip(b'\0') == pathlib.Path('x').read_bytes().rstrip(b'\0')
    img('convert', '--image-opts', '-O', 'raw', 'driver=raw,file.filename=x', 'out')
    img('create', '-q', '-f', 'qcow2', '-b', 'x', '-F', 'raw', 'q')
    img('compare', '-f', 'raw', 'x', 'q')
    run(IO, '-f', 'raw', '-c', 'write -P 1 0 512', 'x')
    run(IO, '-f', 'raw', '-c', 'read -P 1 0 512', 'x')


@case
def a_format_given_by_name():
    img('create', '-q', '-f', 'raw', 'x', '1M')
    for format in FOREIGN:
        for command in (('info', '-f', format, 'x'), ('map', '--image-opts', f'driver={format},file.filename=x')):
            done = img(*command, code=1)
            assert f"Format '{format}' cannot be read here yet" in done.stderr, done.stderr
    assert "Unknown driver 'vmdkk'" in img('info', '-f', 'vmdkk', 'x', code=1).stderr


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
                assert ours == format or format not in FOREIGN and ours.startswith('error: '), \
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


@case
def a_backing_file_may_be_named_without_being_read():
    """With -u, as with the reference: whoever reads the image has to know the format."""
    make('b')
    for what in ('create', '-u', '-q', '-f', 'qcow2', '-b', 'b', '-F', MADE, 'o', '1M'), \
                ('rebase', '-u', '-b', '', 'o'), ('rebase', '-u', '-b', 'b', '-F', MADE, 'o'):
        img(*what)
    assert json.loads(reference('info', '--output=json', 'o').stdout)['backing-filename-format'] == MADE
    for what in ('create', '-f', 'qcow2', '-b', 'b', '-F', MADE, 'p'), \
                ('rebase', '-b', 'b', '-F', MADE, 'o'), ('info', '--backing-chain', 'o'):
        assert 'cannot be read here yet' in img(*what, code=1).stderr, what
    for what in ('create', '-u', '-f', 'qcow2', '-b', 'b', '-F', 'vmdkk', 'p', '1M'), \
                ('rebase', '-u', '-b', 'b', '-F', 'vmdkk', 'o'):
        assert 'vmdkk' in img(*what, code=1).stderr, what


main('foreign')
