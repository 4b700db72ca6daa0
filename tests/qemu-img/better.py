#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where qemu-img differs from the reference on purpose, and why."""
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from this_run import SLOWER

TOOL = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve() / 'qemu-img'


def run(*args):
    done = subprocess.run([TOOL, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60 * SLOWER, text=True)
    return done.returncode, done.stdout


def amend_to_v2_keeps_bitmaps():
    """The reference makes a version 2 image with useless bitmaps and leaks their clusters."""
    run('create', '-q', '-f', 'qcow2', 'b', '1M')
    run('bitmap', '--add', 'b', 'kept')
    code, text = run('amend', '-o', 'compat=0.10', 'b')
    _, after = run('info', 'b')
    return code == 1 and 'bitmaps' in text and 'name: kept' in after and 'compat: 1.1' in after, text


def failed_create_leaves_nothing():
    """The reference leaves an empty file, which looks like an image to those who do not check."""
    code, text = run('create', '-f', 'raw', '-o', 'preallocation=metadata', 'x', '1M')
    return code == 1 and 'metadata' in text and not os.path.exists('x'), text


def failed_create_keeps_what_was_there():
    """The reference empties the file first and looks at the options then."""
    pathlib.Path('old').write_text('kept')
    code, text = run('create', '-f', 'raw', '-o', 'preallocation=metadata', 'old', '1M')
    return code == 1 and pathlib.Path('old').read_text() == 'kept', text


def one_table_for_everything_is_refused():
    """The reference maps a small file with one L2 table named millions of times for minutes."""
    run('create', '-q', '-f', 'qcow2', 'shared', '1T')
    with open('shared', 'r+b') as f:
        f.seek(40)
        l1 = int.from_bytes(f.read(8), 'big')
        f.seek(l1)
        f.write(struct.pack('>Q', l1 + 65536) * 2048)
        f.truncate(l1 + 2 * 65536)
    refused = [run(*command.split(), 'shared') for command in ('map', 'measure -O raw')]
    checked = run('check', '-q', 'shared')
    told = all(code == 1 and 'more L2 tables than' in text for code, text in refused)
    return told and checked[0] == 2, f'{refused} {checked[0]}'


def repeat_compressed(name, kind, times):
    """Makes an image of 512 GiB that refers to one compressed cluster of 2 MiB @times."""
    pathlib.Path('raw').write_bytes(b'x' * (2 << 20))
    run('convert', '-c', '-O', 'qcow2', '-o', f'cluster_size=2M,compression_type={kind}', 'raw', name)
    run('resize', name, '512G')
    with open(name, 'r+b') as f:
        f.seek(40)
        f.seek(int.from_bytes(f.read(8), 'big'))
        l2 = int.from_bytes(f.read(8), 'big') & (1 << 56) - 512
        f.seek(l2)
        entry = f.read(8)
        f.seek(l2)
        f.write(entry * times)


def compressed_clusters_without_end_are_refused():
    """The reference inflates the same few bytes for hours."""
    told = []
    for kind in 'zlib', 'zstd':
        repeat_compressed(kind, kind, 1 << 18)
        for code, command in ((3, ['compare', kind, kind]), (1, ['checksum', kind]),
                              (1, ['convert', '-O', 'raw', kind, 'out'])):
            got, text = run(*command)
            told.append(got == code and 'Structure needs cleaning' in text or (command, got, text))
    return all(t is True for t in told), told


def much_data_in_few_compressed_bytes_is_read():
    found = []
    for kind in 'zlib', 'zstd':
        repeat_compressed(kind, kind, 600)
        found.append(run('compare', kind, kind))
    return found == [(0, 'Images are identical.\n')] * 2, found


def what_a_format_in_a_format_leaves_open_is_data():
    """The reference takes what the overlay below raw has from its backing file for zeroes."""
    pathlib.Path('base').write_bytes(b'x' * (256 << 10))
    run('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', 'top')
    name = 'driver=raw,file.driver=qcow2,file.file.driver=file,file.file.filename=top'
    told = [run('compare', '--image-opts', name, 'driver=raw,file.filename=base'),
            run('map', '--output=json', '--image-opts', name)]
    same = run('measure', '-O', 'qcow2', '--image-opts', name) == run('measure', '-O', 'qcow2', '-f', 'raw', 'base')
    return same and told == [(0, 'Images are identical.\n'),
                             (0, '[{ "start": 0, "length": 262144, "depth": 0, "present": false, '
                                 '"zero": false, "data": true}]\n')], told


def a_filter_over_something_shorter_is_walked_to_its_end():
    """The reference gives up with an assertion, or never ends."""
    name = 'driver=blkverify,test.driver=null-co,test.size=1M,raw.driver=null-co,raw.size=64k'
    told = [run('measure', '-O', 'qcow2', '--image-opts', name)[0],
            run('map', '--output=json', '--image-opts', name)]
    return told == [0, (0, '[{ "start": 0, "length": 65536, "depth": 0, "present": false, "zero": false, '
                           '"data": false},\n{ "start": 65536, "length": 983040, "depth": 0, '
                           '"present": true, "zero": false, "data": true}]\n')], told


def what_looks_random_is_stored_as_it_is_and_nothing_else():
    """Trying to compress it costs as much as compressing; what only seems random is compressed."""
    rng = random.Random(1)
    block, big = rng.randbytes(4000), rng.randbytes(1 << 20)
    halves = b''.join(big[i:i + 2048] * 2 for i in range(0, 1 << 19, 2048))
    told = {}
    for name, data in (('random', big), ('counting', bytes(range(256)) * 4096), ('halves', halves),
                       ('repeated', (block * 300)[:1 << 20]), ('text', str(list(range(150000))).encode())):
        pathlib.Path('raw').write_bytes(data[:1 << 19])
        run('convert', '-c', '-f', 'raw', '-O', 'qcow2', 'raw', 'small')
        told[name] = json.loads(run('check', '--output=json', 'small')[1]).get('compressed-clusters', 0)
        same = run('compare', '-f', 'raw', '-F', 'qcow2', 'raw', 'small')
        if same[0] or told[name] != (0 if name == 'random' else 8):
            return False, (name, told, same)
    return True, told


def main():
    bad = 0
    for test in (amend_to_v2_keeps_bitmaps, failed_create_leaves_nothing,
                 failed_create_keeps_what_was_there, one_table_for_everything_is_refused,
                 compressed_clusters_without_end_are_refused,
                 much_data_in_few_compressed_bytes_is_read,
                 what_a_format_in_a_format_leaves_open_is_data,
                 a_filter_over_something_shorter_is_walked_to_its_end,
                 what_looks_random_is_stored_as_it_is_and_nothing_else):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            ok, text = test()
            name = 'qemu-img/better/' + test.__name__.replace('_', '-')
            print(f'ok {name}' if ok else f'not ok {name} {text!r}', flush=True)
            bad += not ok
            os.chdir('/')
    return bad > 0


sys.exit(main())
