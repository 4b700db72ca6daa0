#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that does anything to every register does the emulator no harm."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main
from guests import EXIT, build, emulate

ROUNDS = 50_000
BACKENDS = [
    '-object', 'iothread,id=io', '-chardev', 'null,id=a', '-chardev', 'ringbuf,id=b', '-blockdev', 'null-co,node-name=s,size=1M',
    # What it sends comes back to it.
    '-netdev', 'dgram,id=n,local.type=unix,local.path=n,remote.type=unix,remote.path=n',
]
DEVICES = [
    'virtio-blk-device,drive=d', 'virtio-serial-device', 'virtio-net-device,netdev=n,id=n',
    'virtio-scsi-device', 'virtio-rng-device',
    'virtio-balloon-device,free-page-reporting=on,free-page-hint=on,iothread=io',
]
CHILDREN = [
    '-device', 'virtconsole,chardev=a', '-device', 'virtserialport,chardev=b,name=port,id=b',
    '-device', 'scsi-hd,drive=s', '-device', 'scsi-cd',
]


def fuzz(seed, rounds, timeout=60):
    packed = seed % 2
    img('create', '-q', '-f', 'qcow2', 'd.qcow2', '1M')
    done = emulate('-kernel', build('fuzz'), '-m', '64', '-serial', 'null', '-no-reboot', *EXIT,
                   '-append', f'{seed} {rounds} {packed}',
                   '-drive', 'if=none,id=d,file=d.qcow2,format=qcow2',
                   *BACKENDS, *[word for d in DEVICES
                                for word in ('-device', f'{d},packed={"on" if packed else "off"}')],
                   *CHILDREN, code=None, timeout=timeout)
    # It may put its own code into the balloon and be reset.
    assert done.returncode in (0, 1), (done.returncode, done.stderr)


@case
def registers_take_anything():
    for seed in range(1, 5):
        fuzz(seed, ROUNDS)


if __name__ == '__main__':
    main('fuzz', 'system')
