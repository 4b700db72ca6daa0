#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel on the emulated machine: to its first process, with several processors, with disks,
and to its end by power-off, reset and the power button."""
import hashlib
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main
from linux_guest import boot, ramdisk


@case
def the_first_process_runs_on_every_model():
    kernel = ramdisk('echo "MODEL $(/bin/busybox grep -m1 "model name" /proc/cpuinfo)"')
    for model in 'max', 'qemu64', 'Nehalem', 'Haswell', 'EPYC':
        said = boot(kernel, '-cpu', model)
        assert 'UP 1' in said and 'MODEL model name' in said, (model, said)


@case
def several_processors_run():
    kernel = ramdisk('for i in 1 2 3 4 5 6; do (echo "sum $(/bin/busybox seq 20000 | '
                     '/bin/busybox sha256sum)") & done; wait')
    text = ''.join(f'{i}\n' for i in range(1, 20001)).encode()
    for cpus in 2, 4:
        said = boot(kernel, '-cpu', 'max', '-smp', cpus)
        assert f'UP {cpus}' in said, said
        assert said.count('sum ' + hashlib.sha256(text).hexdigest()) == 6, said


@case
def disks_are_read_and_written():
    content = os.urandom(4 << 20)
    pathlib.Path('a.raw').write_bytes(content + bytes(4 << 20))
    img('create', '-q', '-f', 'qcow2', 'b.qcow2', '8M')
    kernel = ramdisk('echo "A $(/bin/busybox sha256sum /dev/vda)"; '
                     'echo "SERIAL $(/bin/busybox cat /sys/block/vda/serial)"; '
                     '/bin/busybox dd if=/dev/vda of=/dev/vdb bs=64k 2>/dev/null; '
                     'echo 3 >/proc/sys/vm/drop_caches; '
                     'echo "B $(/bin/busybox sha256sum /dev/vdb)"; /bin/busybox sync',
                     ['virtio_mmio', 'virtio_blk'])
    said = boot(kernel, '-cpu', 'max', '-blockdev', 'file,node-name=f,filename=a.raw',
                '-device', 'virtio-blk-device,drive=d,serial=second',
                '-device', 'virtio-blk-device,drive=f,serial=first',
                '-drive', 'if=none,id=d,file=b.qcow2,format=qcow2')
    digest = hashlib.sha256(content + bytes(4 << 20)).hexdigest()
    assert f'A {digest}' in said and f'B {digest}' in said, said
    assert 'SERIAL first' in said, said
    img('compare', '-q', 'a.raw', 'b.qcow2')
    img('check', '-q', 'b.qcow2')


@case
def a_reboot_ends_it():
    kernel = ramdisk('', end='reboot')
    assert 'UP 1' in boot(kernel, '-cpu', 'max')


main('boot', 'system')
