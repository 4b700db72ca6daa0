#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img measure -O qcow2 by us and by the reference: sizes, options, sources, bitmaps."""
import concurrent.futures
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

REFERENCE = os.environ.get('FERRY_REFERENCE', '/usr/bin')
OURS = os.environ.get('FERRY_BUILD', str(pathlib.Path(__file__).parents[2] / 'build'))
SECRET = ['--object', 'secret,id=s,data=a']
SIZES = ['0', '1', '512', '65536', '1000000', '10M', '5G', '1T']
CLUSTERS = ['512', '4096', '65536', '2M']
OPTIONS = ['', 'extended_l2=on', 'refcount_bits=1', 'refcount_bits=64', 'compat=0.10',
           'preallocation=metadata', 'preallocation=falloc', 'preallocation=full',
           'lazy_refcounts=on', 'data_file=x', 'data_file=x,data_file_raw=on',
           'backing_file=x', 'compression_type=zstd']
CRYPT = ['encrypt.format=luks,encrypt.key-secret=s',
         'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-128',
         'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-256,'
         'encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256',
         'encrypt.format=aes,encrypt.key-secret=s']
BAD = ['cluster_size=1000', 'cluster_size=256', 'cluster_size=4M', 'refcount_bits=3',
       'refcount_bits=128', 'extended_l2=on,cluster_size=8k', 'compat=0.10,refcount_bits=8',
       'compat=2', 'preallocation=some', 'nothing=1']


def run(folder, args, cwd):
    p = subprocess.run([f'{folder}/qemu-img', *args], cwd=cwd, capture_output=True, timeout=60,
                       stdin=subprocess.DEVNULL)
    return p.returncode, p.stdout.decode()


def sources(cwd):
    """Makes the images to be measured; their names and formats."""
    def img(*args):
        subprocess.run([f'{REFERENCE}/qemu-img', *args], cwd=cwd, check=True, capture_output=True)

    def io(fmt, name, *commands):
        subprocess.run([f'{REFERENCE}/qemu-io', '-f', fmt] +
                       [x for c in commands for x in ('-c', c)] + [name], cwd=cwd, check=True,
                       capture_output=True)
    img('create', '-f', 'raw', 's.raw', '10M')
    io('raw', 's.raw', 'write 0 100k', 'write 3M 1k', 'write -P 0 5M 1M', 'write 8190k 3k')
    img('create', '-f', 'qcow2', 't.qcow2', '10M')
    io('qcow2', 't.qcow2', 'write 0 100k', 'write 3M 1k', 'write -z 5M 1M', 'write -c 7M 64k')
    img('create', '-f', 'qcow2', '-b', 't.qcow2', '-F', 'qcow2', 'u.qcow2', '20M')
    io('qcow2', 'u.qcow2', 'write 9M 2M', 'write -z 0 64k')
    img('create', '-f', 'qcow2', '-o', 'cluster_size=512', 'v.qcow2', '3M')
    io('qcow2', 'v.qcow2', 'write 1000k 5k', 'write 512 512')
    img('bitmap', '--add', 'v.qcow2', 'one')
    img('bitmap', '--add', '-g', '512', 'v.qcow2', 'another')
    img('create', '-f', 'qcow2', 'w.qcow2', '1G')
    for g in ('512', '64k', '1M'):
        img('bitmap', '--add', '-g', g, 'w.qcow2', f'bitmap-{g}')
    return [('raw', 's.raw'), ('qcow2', 't.qcow2'), ('qcow2', 'u.qcow2'), ('qcow2', 'v.qcow2'),
            ('qcow2', 'w.qcow2')]


def command_lines(cwd):
    for size, cluster, option in itertools.product(SIZES, CLUSTERS, OPTIONS):
        if option.startswith('extended') and int(cluster.replace('M', '000000')) < 16384:
            continue
        if size not in ('0', '5G') and option not in ('', 'extended_l2=on',
                                                                 'refcount_bits=64'):
            continue
        o = ','.join(x for x in (f'cluster_size={cluster}', option) if x)
        yield ['--size', size, '-o', o]
    for option in CRYPT:
        for cluster in ('512', '65536'):
            yield [*SECRET, '--size', '1G', '-o', f'{option},cluster_size={cluster}']
    for option in BAD:
        yield ['--size', '1G', '-o', option]
    yield ['--size', '7E']
    yield ['--size', '200T', '-o', 'cluster_size=512']
    for fmt, name in sources(cwd):
        for option in OPTIONS + ['cluster_size=512', 'cluster_size=2M', 'cluster_size=4k']:
            yield ['-f', fmt, *(['-o', option] if option else []), name]
        yield ['-f', fmt, '--output=json', name]


def main():
    if not os.access(f'{REFERENCE}/qemu-img', os.X_OK):
        print('no reference is installed')
        return 77
    bad = 0
    with tempfile.TemporaryDirectory() as cwd:
        lines = list(command_lines(cwd))

        def both(line):
            args = ['measure', '-O', 'qcow2', *line]
            return run(OURS, args, cwd), run(REFERENCE, args, cwd)
        # The reference may derive keys for minutes where CPU time is counted coarsely.
        lines = [line for line in lines if 'luks' not in str(line)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            results = list(pool.map(both, lines))
        for line, (ours, reference) in zip(lines, results):
            name = '_'.join(x for x in line if x not in SECRET)
            if ours == reference:
                print(f'ok {name}')
            else:
                print(f'not ok {name} ours {ours}, reference {reference}')
                bad += 1
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
