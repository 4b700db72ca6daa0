#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reopening with other options or another mode: all of it or nothing, on disk too."""
import json
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, main

THROTTLED = ['--object', 'throttle-group,id=g', '--image-opts',
             'driver=throttle,throttle-group=g,file.driver=qcow2,file.file.driver=file,'
             'file.file.filename=a.qcow2']


def make_image():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '1M')
    img('bitmap', '--add', 'a.qcow2', 'b')


def session(*commands, opts):
    """Runs @commands in one qemu-io, which ends by SIGKILL after them; what it printed."""
    words = [w for c in (*commands, 'sigraise 9') for w in ('-c', c)]
    done = subprocess.run([BUILD / 'qemu-io', *opts, *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done
    return done.stdout


def flags():
    info = json.loads(img('info', '--output=json', 'a.qcow2').stdout)
    return info['format-specific']['data']['bitmaps'][0]['flags']


@case
def bitmaps_stay_in_use_when_going_read_only_fails_above():
    """Or the write after it would be missing in the next incremental backup."""
    make_image()
    told = session('reopen -r -o throttle-group=nope', 'write -P 1 0 64k', 'flush', opts=THROTTLED)
    assert 'nope' in told and 'wrote 65536/65536' in told, told
    assert 'in-use' in flags(), flags()


@case
def bitmaps_are_stored_when_going_read_only():
    make_image()
    told = session('write -P 1 0 64k', 'reopen -r', opts=THROTTLED)
    assert 'wrote 65536/65536' in told, told
    assert flags() == ['auto'], flags()


@case
def bitmaps_are_in_use_after_going_writable_again():
    make_image()
    told = session('reopen -r', 'reopen -w', 'write -P 1 0 64k', 'flush', opts=THROTTLED)
    assert 'wrote 65536/65536' in told, told
    assert 'in-use' in flags(), flags()


@case
def an_outer_images_last_writes_are_in_the_bitmap_of_the_image_below():
    """The outer image lies in the inner one, whose bitmap records what the outer one writes in the end."""
    img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', 'in.qcow2', '2M')
    outer = 'driver=qcow2,file.driver=qcow2,file.file.filename=in.qcow2'
    img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', 'out.qcow2', '1M')
    img('convert', '-n', '-f', 'raw', '-O', 'qcow2', 'out.qcow2', 'in.qcow2')
    img('bitmap', '--add', '-g', '512', '--image-opts', outer, 'b')
    img('bitmap', '--add', '-g', '512', 'in.qcow2', 'b')
    img('convert', '-O', 'raw', 'in.qcow2', 'before.raw')
    session('write -P 1 0 64k', 'reopen -r', opts=['--image-opts', outer])
    img('convert', '-O', 'raw', 'in.qcow2', 'after.raw')
    before, after = (pathlib.Path(f'{n}.raw').read_bytes() for n in ('before', 'after'))
    changed = {i for i in range(len(after) // 512) if before[i * 512:][:512] != after[i * 512:][:512]}
    server = subprocess.Popen([BUILD / 'qemu-nbd', '-r', '-k', f'{pathlib.Path.cwd()}/s', '-f', 'qcow2',
                               '-B', 'b', 'in.qcow2'])
    try:
        while not pathlib.Path('s').exists():
            assert server.poll() is None
        runs = json.loads(img('map', '--output=json', '--image-opts', 'driver=nbd,server.type=unix,'
                              'server.path=s,x-dirty-bitmap=qemu:dirty-bitmap:b').stdout)
    finally:
        server.terminate()
        server.wait()
    dirty = {i // 512 for r in runs if not r['data'] for i in range(r['start'], r['start'] + r['length'], 512)}
    assert changed and changed <= dirty, sorted(changed - dirty)


@case
def bitmaps_stay_stored_when_going_writable_fails_above():
    make_image()
    session('reopen -w -o throttle-group=nope', opts=['-r', *THROTTLED])
    assert flags() == ['auto'], flags()


if __name__ == '__main__':
    main('block/reopen')
