#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtio devices with a driver that does what it should, and everything that it should not."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main
from emulator import Emulator, wait_for
from guests import all_ok, build, run_guest

DISK = ('-device', 'virtio-blk-device,drive=d,serial=Ferry')


@case
def a_driver_does_no_harm_whatever_it_says():
    img('create', '-q', '-f', 'qcow2', 'd.qcow2', '1M')
    all_ok(run_guest('virtio', '-m', '64', '-drive', 'if=none,id=d,file=d.qcow2,format=qcow2', *DISK), 50)
    img('check', '-q', 'd.qcow2')


@case
def a_node_of_the_block_layer_is_a_disk():
    img('create', '-q', 'd.raw', '1M')
    all_ok(run_guest('virtio', '-m', '64', '-blockdev', 'file,filename=d.raw,node-name=d', *DISK), 50)


@case
def packed_queues_go_round():
    img('create', '-q', 'd.raw', '1M')
    all_ok(run_guest('packed', '-m', '64', '-blockdev', 'file,filename=d.raw,node-name=d',
                     '-device', 'virtio-blk-device,drive=d,packed=on'), 15)


def commands_of_scsi_disks(*more):
    img('create', '-q', '-f', 'qcow2', 'd.qcow2', '1M')
    img('create', '-q', 'd.raw', '1M')
    pathlib.Path('disc.iso').write_bytes(b'\x11' * 65536)
    pathlib.Path('rules').write_text('[inject-error]\nevent="none"\niotype="read"\nerrno="5"\nsector="0"\n')
    all_ok(run_guest('scsi', '-m', '64', '-blockdev', 'qcow2,node-name=d,file.driver=file,file.filename=d.qcow2',
                     '-blockdev', 'file,filename=disc.iso,node-name=cd,read-only=on',
                     '-blockdev', 'file,filename=d.raw,node-name=ro,read-only=on',
                     '-blockdev', 'blkdebug,config=rules,node-name=bad,image.driver=null-co',
                     '-device', 'virtio-scsi-device', '-device', 'scsi-hd,drive=d',
                     '-device', 'scsi-cd,drive=cd', '-device', 'scsi-hd,drive=ro',
                     '-device', 'scsi-hd,drive=bad', *more), 70)
    img('check', '-q', 'd.qcow2')


@case
def commands_of_scsi_disks_do_what_their_standards_say():
    commands_of_scsi_disks()


@case
def they_do_so_for_legacy_drivers():
    commands_of_scsi_disks('-global', 'virtio-mmio.force-legacy=on')


@case
def a_write_that_rests_is_forgotten_by_a_reset():
    img('create', '-q', '-f', 'qcow2', 'd.qcow2', '1M')
    with Emulator('-S', '-m', '64', '-kernel', build('rest'), '-serial', 'file:out', '-blockdev',
                  'qcow2,node-name=d,file.driver=blkdebug,file.image.driver=file,file.image.filename=d.qcow2,'
                  'file.inject-error.0.event=none,file.inject-error.0.iotype=write,'
                  'file.inject-error.0.errno=5,file.inject-error.0.once=on',
                  '-device', 'virtio-scsi-device', '-device', 'scsi-hd,drive=d,werror=stop') as e:
        e.go()
        e.until('BLOCK_IO_ERROR')
        e.until('STOP')
        assert e.state() == 'io-error'
        assert 'only while it is running or stopped' in e.say('savevm x')
        assert e.answer('system_reset') == {} and e.say('savevm x') == ''
        e.go()
        wait_for(lambda: 'reads ' in pathlib.Path('out').read_text(), 'the second life')
        e.answer('stop')
    assert pathlib.Path('out').read_text() == 'writes\nreads 0x0\n'
    img('check', '-q', 'd.qcow2')
    img('convert', '-f', 'qcow2', '-O', 'raw', 'd.qcow2', 'd.raw')
    assert not any(pathlib.Path('d.raw').read_bytes())


main('virtio', 'system')
