#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""convert with '-' as the target: a whole image on standard output, front to back."""
import json
import os
import pathlib
import random
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IMG, IO, REFERENCE, case, img, io, main, run

MIB = 1 << 20


def piped(name, *options, to='out', code=0):
    """What convert writes to a pipe, and its complaints."""
    with subprocess.Popen([IMG, 'convert', *options, name, '-'], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as p:
        content, complaints = p.communicate(timeout=200)
    assert p.returncode == code, complaints
    pathlib.Path(to).write_bytes(content)
    return complaints.decode()


def source(size, pieces, fmt='raw'):
    """Image 'in' with random data at each (offset, length) of @pieces, and the same in 'in.raw'."""
    r = random.Random(size)
    with open('in.raw', 'wb') as f:
        f.truncate(size)
        for at, length in pieces:
            f.seek(at)
            f.write(r.randbytes(length))
    if fmt != 'raw':
        img('convert', '-f', 'raw', '-O', fmt, 'in.raw', 'in')
    return 'in.raw' if fmt == 'raw' else 'in'


PIECES = [(0, 512), (65536 * 3 - 5, 10), (MIB, 300000), (40 * MIB + 7, 1), (64 * MIB - 512, 512)]


def same_for_all(name, fmt):
    img('compare', '-f', 'raw', '-F', fmt, 'in.raw', name)
    if (REFERENCE / 'qemu-img').exists():
        run(REFERENCE / 'qemu-img', 'compare', '-f', 'raw', '-F', fmt, 'in.raw', name)
        if fmt == 'qcow2':
            run(REFERENCE / 'qemu-img', 'check', name)


@case
def raw_comes_out_whole():
    for size, pieces in (64 * MIB, PIECES), (MIB, []), (0, []), (512, [(0, 512)]), (3 * MIB + 512, [(5, 9)]):
        name = source(size, pieces, 'qcow2')
        piped(name, '-O', 'raw')
        assert pathlib.Path('out').read_bytes() == pathlib.Path('in.raw').read_bytes()


@case
def qcow2_has_only_clusters_with_data():
    for size, pieces in (64 * MIB, PIECES), (MIB, []), (0, []), (512, [(0, 512)]), (3 * MIB + 512, [(3 * MIB, 512)]):
        for options in [], ['-o', 'cluster_size=512'], ['-o', 'cluster_size=2M,refcount_bits=1'], ['-o', 'compat=0.10']:
            piped(source(size, pieces), '-f', 'raw', '-O', 'qcow2', *options)
            same_for_all('out', 'qcow2')
            img('check', '-f', 'qcow2', 'out')
            assert os.path.getsize('out') < 4 * MIB + 20 * MIB * ('2M' in str(options))
    # Large and sparse: tables only where there is data.
    run('truncate', '-s', '1T', 'large')
    io('large', 'write -P 7 777G 64k', 'write -P 8 1G 1M')
    piped('large', '-f', 'raw', '-O', 'qcow2')
    assert os.path.getsize('out') < 3 * MIB, os.path.getsize('out')
    img('check', '-f', 'qcow2', 'out')
    io('out', 'read -P 7 777G 64k', 'read -P 8 1G 1M', 'read -P 0 2G 1M')


@case
def vmdk_streams_have_only_grains_with_data():
    for size, pieces in (64 * MIB, PIECES), (MIB, []), (512, [(0, 512)]), (3 * MIB + 512, [(3 * MIB, 512)]), \
            (40 * MIB, [(0, 40 * MIB)]):
        piped(source(size, pieces), '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized,adapter_type=lsilogic')
        same_for_all('out', 'vmdk')
        img('check', '-f', 'vmdk', 'out')
        assert os.path.getsize('out') < sum(p[1] for p in pieces) * 1.01 + MIB
    run('truncate', '-s', '1T', 'large')
    io('large', 'write -P 7 777G 64k', 'write -P 8 1G 1M')
    piped('large', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized')
    assert os.path.getsize('out') < MIB
    for tool in [IO] + [t for t in (REFERENCE / 'qemu-io',) if t.exists()]:
        run(tool, '-r', '-f', 'vmdk', '-c', 'read -P 7 777G 64k', '-c', 'read -P 8 1G 1M', '-c', 'read -P 0 2G 1M',
            'out')
    if (REFERENCE / 'qemu-img').exists():
        run(REFERENCE / 'qemu-img', 'check', '-f', 'vmdk', 'out')


@case
def vpc_is_the_disk_and_a_footer():
    for size, pieces in (64 * MIB, PIECES), (MIB, []), (512, [(0, 512)]), (3 * MIB + 512, [(3 * MIB, 512)]):
        for options in 'subformat=fixed', 'subformat=fixed,force_size=on':
            name = source(size, pieces)
            piped(name, '-f', 'raw', '-O', 'vpc', '-o', options)
            img('convert', '-f', 'raw', '-O', 'vpc', '-o', options, name, 'file')
            a, b = pathlib.Path('out').read_bytes(), pathlib.Path('file').read_bytes()
            assert len(a) == len(b) and a[:-512] == b[:-512], (size, options)
            same_for_all('out', 'vpc')
            if 'force' in options:
                assert json.loads(img('info', '-f', 'vpc', '--output=json', 'out').stdout)['virtual-size'] == size


@case
def a_piped_image_can_be_written_to():
    piped(source(8 * MIB, PIECES[:3]), '-f', 'raw', '-O', 'qcow2')
    io('out', 'write -P 1 0 8M', 'read -P 1 0 8M')
    img('check', '-f', 'qcow2', 'out')


@case
def sources_snapshots_and_files():
    source(4 * MIB, PIECES[:3])
    img('convert', '-O', 'qcow2', 'in.raw', 'a')
    img('snapshot', '-c', 's', 'a')
    io('a', 'write -P 9 0 1M')
    piped('a', '-O', 'qcow2', '-l', 's')
    same_for_all('out', 'qcow2')
    with open('both', 'wb') as f:
        subprocess.run([IMG, 'convert', '-O', 'raw', 'in.raw', 'in.raw', '-'], stdout=f, check=True)
    assert pathlib.Path('both').read_bytes() == pathlib.Path('in.raw').read_bytes() * 2
    with open('into-a-file', 'wb') as f:
        subprocess.run([IMG, 'convert', '-O', 'qcow2', 'in.raw', '-'], stdout=f, check=True)
    same_for_all('into-a-file', 'qcow2')
    piped('in.raw', '-f', 'raw', '--untrusted', '-O', 'qcow2')
    same_for_all('out', 'qcow2')
    # A file of that name is meant by a path.
    img('convert', '-O', 'raw', 'in.raw', './-')
    assert pathlib.Path('-').read_bytes() == pathlib.Path('in.raw').read_bytes()


@case
def random_disks():
    r = random.Random(11)
    for _ in range(12):
        size = r.randrange(1, 6000) * 512
        pieces = [(at, r.randrange(1, size - at + 1) % 9000 + 1) for at in
                  (r.randrange(size) for _ in range(r.randrange(20))) if at < size - 9001]
        options = f'cluster_size={512 << r.randrange(9)},refcount_bits={1 << r.randrange(7)}'
        piped(source(size, pieces, r.choice(['raw', 'qcow2'])), '-O', 'qcow2', '-o', options)
        same_for_all('out', 'qcow2')
        img('check', '-f', 'qcow2', 'out')


@case
def what_is_not_possible_is_refused():
    source(MIB, [])
    img('create', '-f', 'qcow2', 'base', '1M')
    for options in (['-O', 'vdi'], ['-O', 'vmdk'], ['-O', 'vmdk', '-o', 'subformat=monolithicFlat'], ['-O', 'vpc'],
                    ['-O', 'vmdk', '-o', 'subformat=streamOptimized,zeroed_grain=on'], ['-O', 'vhdx'], ['-O', 'luks'], ['-O', 'nonsense'], ['-n'], ['-p'], ['-W'], ['-C'],
                    ['-t', 'none'], ['--hash', 'sha256'], ['--for', 'azure'],
                    ['-O', 'qcow2', '-c'], ['-O', 'qcow2', '--bitmaps'], ['-O', 'qcow2', '-B', 'base', '-F', 'qcow2'],
                    *(['-O', 'qcow2', '-o', o] for o in ('preallocation=full', 'extended_l2=on', 'data_file=d',
                                                         'nonsense=1'))):
        complaints = piped('in.raw', '-f', 'raw', *options, code=1)
        assert not os.path.getsize('out') and complaints.startswith('qemu-img: '), (options, complaints)
        assert not os.path.exists('-') and not os.path.exists('d')


@case
def failures_are_told():
    source(8 * MIB, [(0, 8 * MIB)])
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([IMG, 'convert', '-f', 'raw', '-O', 'qcow2', 'in.raw', '-'], stdout=full,
                              stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b'No space left' in done.stderr, done.stderr
    # Nothing is made up for what could not be read.
    broken = json.dumps({'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': 'in.raw'},
                         'inject-error': [{'event': 'none', 'iotype': 'read', 'errno': 5, 'sector': 8192}]})
    for options in ['-O', 'raw'], ['-O', 'vpc', '-o', 'subformat=fixed'], ['-O', 'vmdk', '-o', 'subformat=streamOptimized']:
        piped('json:' + broken, *options, code=1)
        assert os.path.getsize('out') < 8 * MIB
        if 'vmdk' in options:
            img('info', '-f', 'vmdk', 'out', code=1)


@case
def a_pipe_that_does_not_wait_gets_all():
    source(4 * MIB, [(0, 4 * MIB)])
    out, into = os.pipe()
    os.set_blocking(into, False)
    with subprocess.Popen([IMG, 'convert', '-f', 'raw', '-O', 'raw', 'in.raw', '-'], stdout=into) as process:
        os.close(into)
        with os.fdopen(out, 'rb') as pipe:
            assert pipe.read() == pathlib.Path('in.raw').read_bytes()
        assert process.wait() == 0


main('convert-to-pipe')
