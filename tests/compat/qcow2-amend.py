#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Amended qcow2 images are sound and mean what those that the reference amended mean."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

BUILD = os.path.abspath(os.environ.get('FERRY_BUILD', 'build'))
REF = os.environ.get('FERRY_REFERENCE', '/usr/bin')
THEIRS = os.path.join(REF, 'qemu-img')

OPTIONS = ['compat=0.10', 'compat=1.1', 'lazy_refcounts=on', 'lazy_refcounts=off',
           'refcount_bits=8', 'refcount_bits=1', 'refcount_bits=64', 'size=128M', 'size=1M',
           'backing_file=base.raw,backing_fmt=raw', 'data_file=d.raw', 'data_file_raw=on',
           'cluster_size=4k', 'compat=0.10,lazy_refcounts=on', 'compat=0.10,refcount_bits=8',
           'compat=1.1,refcount_bits=1']

# Create options, requests, take a snapshot between the two halves of them.
IMAGES = {
    'plain': (['64M'], ['write 0 1M', 'write -z 512k 1M', 'write -c 30M 128k'], False),
    'backing': (['-b', 'base.raw', '-F', 'raw', '64M'], ['write 0 1M', 'write -z 512k 1M'], False),
    'version-2-snapshot': (['-o', 'compat=0.10', '64M'], ['write 0 1M', 'write 512k 1M'], True),
    'snapshot': (['64M'], ['write 0 1M', 'write 512k 1M'], True),
    'extended': (['-o', 'extended_l2=on,lazy_refcounts=on', '64M'], ['write 0 1M'], False),
}


def run(*cmd):
    return subprocess.run(cmd, capture_output=True, text=True)


def must(*cmd):
    r = run(*cmd)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def make(name):
    create, requests, snapshot = IMAGES[name]
    must(THEIRS, 'create', '-q', '-f', 'qcow2', *create[:-1], 'src.qcow2', create[-1])
    for i, c in enumerate(requests):
        must(os.path.join(REF, 'qemu-io'), '-c', c, 'src.qcow2')
        if snapshot and not i:
            must(THEIRS, 'snapshot', '-c', 'one', 'src.qcow2')


def amended(program, options):
    """Exit code, lines without the program's name, and what the image is then."""
    shutil.copy('src.qcow2', 'k.qcow2')
    r = run(program, 'amend', '-o', options, 'k.qcow2')
    lines = [x for x in r.stderr.splitlines() if not x.startswith('qemu-img: ')]
    info = json.loads(must(THEIRS, 'info', '--output=json', 'k.qcow2'))
    info.pop('actual-size')
    check = run(THEIRS, 'check', 'k.qcow2')
    same = run(THEIRS, 'compare', 'src.qcow2', 'k.qcow2').stdout
    return r.returncode, lines, info, check.returncode, same


def main():
    if not os.access(THEIRS, os.X_OK):
        print('no reference', file=sys.stderr)
        sys.exit(77)
    with tempfile.TemporaryDirectory() as d:
        os.chdir(d)
        with open('base.raw', 'wb') as f:
            f.write(b'\x09' * (1 << 20))
        for name in IMAGES:
            make(name)
            for options in OPTIONS:
                theirs = amended(THEIRS, options)
                ours = amended(os.path.join(BUILD, 'qemu-img'), options)
                label = f'{name}-{options}'
                print(f'ok {label}' if ours == theirs else f'not ok {label} {theirs} {ours}')


if __name__ == '__main__':
    main()
