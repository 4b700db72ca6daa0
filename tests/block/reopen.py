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
def bitmaps_stay_stored_when_going_writable_fails_above():
    make_image()
    session('reopen -w -o throttle-group=nope', opts=['-r', *THROTTLED])
    assert flags() == ['auto'], flags()


if __name__ == '__main__':
    main('block/reopen')
