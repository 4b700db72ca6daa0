#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Discs that come and go, and disks that are resized, by command: answers and events beside the reference's
emulator. What guests see of it is tested in system/virtio.slow."""
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import qmp
from cases import REFERENCE, case, img, main
from guests import EMULATOR

MACHINE = ('-M', 'microvm', '-accel', 'tcg', '-display', 'none', '-nodefaults', '-S', '-qmp',
           'unix:q,server=on,wait=off', '-device', 'virtio-scsi-device,id=s')
DISCS = ('-device', 'scsi-cd,id=cd',
         '-drive', 'if=none,id=dr,file=a.iso,format=raw,readonly=on', '-device', 'scsi-cd,drive=dr,id=cd2',
         '-blockdev', 'file,filename=b.iso,node-name=b,read-only=on',
         '-drive', 'if=none,id=hd,file=b.iso,format=raw,readonly=on', '-device', 'scsi-hd,drive=hd,id=hd1')


def in_both(options, steps):
    """Does @steps with both emulators; all answers and events have to be equal."""
    said = []
    for program in EMULATOR, REFERENCE / 'qemu-system-x86_64':
        pathlib.Path('q').unlink(missing_ok=True)
        p = subprocess.Popen([program, *MACHINE, *options])
        try:
            client = qmp.Client('q')
            said.append([(command, arguments, [json.loads(qmp.masked(line)) for line in
                                               client.ask(qmp.request(command, **arguments))])
                         for command, arguments in steps])
        finally:
            p.kill()
            p.wait()
    for ours, theirs in zip(*said):
        assert ours == theirs, (ours, theirs)


@case
def discs_come_and_go_as_in_the_references_emulator():
    pathlib.Path('a.iso').write_bytes(b'\x11' * 65536)
    pathlib.Path('b.iso').write_bytes(b'\x22' * 131072)
    steps = []
    for named in {'id': 'none'}, {}, {'id': 'hd1'}, {'id': 'cd', 'device': 'dr'}, {'device': 'none'}, {'device': 'hd'}:
        steps += [(command, named) for command in ('eject', 'blockdev-open-tray', 'blockdev-close-tray')]
        steps.append(('blockdev-change-medium', {'filename': 'a.iso', **named}))
    for name in 'none', 'hd1':
        steps.append(('blockdev-remove-medium', {'id': name}))
    steps += [
        ('blockdev-insert-medium', {'id': 'none', 'node_name': 'b'}),
        ('blockdev-insert-medium', {'id': 'cd', 'node_name': 'b'}),
        ('blockdev-open-tray', {'id': 'cd'}),
        ('blockdev-open-tray', {'id': 'cd'}),
        ('blockdev-remove-medium', {'id': 'cd'}),
        ('blockdev-insert-medium', {'id': 'cd', 'node_name': 'none'}),
        ('blockdev-insert-medium', {'id': 'cd', 'node_name': 'b'}),
        ('blockdev-insert-medium', {'id': 'cd', 'node_name': 'b'}),
        ('blockdev-close-tray', {'id': 'cd'}),
        ('blockdev-close-tray', {'id': 'cd'}),
        ('blockdev-remove-medium', {'id': 'cd'}),
        ('blockdev-del', {'node_name': 'b'}),
        ('eject', {'id': 'cd'}),
        ('eject', {'id': 'cd'}),
        ('blockdev-del', {'node_name': 'b'}),
        ('blockdev-close-tray', {'id': 'cd'}),
        ('blockdev-change-medium', {'id': 'cd', 'filename': 'a.iso'}),
        ('blockdev-change-medium', {'id': 'cd', 'filename': 'b.iso', 'format': 'raw', 'read_only_mode': 'read-only'}),
        ('blockdev-change-medium', {'id': 'cd', 'filename': 'b.iso', 'read_only_mode': 'never'}),
        ('eject', {'device': 'dr'}),
        ('blockdev-close-tray', {'device': 'dr'}),
        ('blockdev-change-medium', {'device': 'dr', 'filename': 'b.iso'}),
        ('eject', {'id': 'cd', 'force': True}),
    ]
    in_both(DISCS, steps)


@case
def disks_of_devices_are_resized_as_in_the_references_emulator():
    for name in 'a', 'b':
        img('create', '-q', '-f', 'qcow2', f'{name}.qcow2', '1M')
    in_both(('-blockdev', 'qcow2,node-name=a,file.driver=file,file.filename=a.qcow2',
             '-device', 'virtio-blk-device,drive=a',
             '-drive', 'if=none,id=b,file=b.qcow2,format=qcow2', '-device', 'scsi-hd,drive=b'),
            [('block_resize', {'node_name': 'a', 'size': 2 << 20}), ('block_resize', {'device': 'b', 'size': 3 << 20}),
             ('block_resize', {'device': 'c', 'size': 3 << 20}), ('block_resize', {'size': 3 << 20})])
    for name, size in ('a', 2 << 20), ('b', 3 << 20):
        assert json.loads(img('info', '--output=json', f'{name}.qcow2').stdout)['virtual-size'] == size


@case
def a_disk_that_was_refused_leaves_its_image_free():
    img('create', '-q', '-f', 'raw', 'a.raw', '0')
    pathlib.Path('q').unlink(missing_ok=True)
    p = subprocess.Popen([EMULATOR, *MACHINE, '-blockdev', 'file,node-name=a,filename=a.raw'])
    try:
        client = qmp.Client('q')
        for _ in range(2):
            answer = client.answer('device_add', driver='scsi-hd', drive='a', id='d')
            assert 'smaller than a block' in answer['desc'], answer
        assert client.answer('block_resize', node_name='a', size=1 << 20) == {}
        assert client.answer('device_add', driver='scsi-hd', drive='a', id='d') == {}
    finally:
        p.kill()
        p.wait()


@case
def the_monitor_for_people_changes_discs_as_there():
    pathlib.Path('a.iso').write_bytes(b'\x11' * 65536)
    pathlib.Path('b.iso').write_bytes(b'\x22' * 131072)
    lines = ('eject none', 'eject hd', 'eject dr', 'eject dr', 'change dr b.iso raw', 'change dr none.iso raw',
             'change none b.iso raw', 'change dr -f a.iso raw read-only', 'eject -f dr',
             'change dr a.iso raw nonsense', 'set_link none on', 'set_link none')
    steps = [('human-monitor-command', {'command_line': line}) for line in lines]
    in_both(DISCS, steps)


main('medium', 'system')
