#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor for people's commands about images, exports, networks and objects: what they say is as the
reference's, and they do what they say."""
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require
from emulator import Emulator, wait_for
from guests import EMULATOR, REFERENCE_EMULATOR


class Quiet(Emulator):
    """The reference writes lines of its own between the answers."""

    def ask(self, text, resync=False):
        return [line for line in super().ask(text, resync) if line.startswith('{')]


def masked(text):
    text = re.sub(r'#block\d+', '#block', text)
    text = re.sub(r'device\[\d+\]', 'device[]', text)
    # An empty line stands before all but the first of all nodes, whose order differs.
    return re.sub(r'idle_time_ns=\d+', 'idle_time_ns=0', text).lstrip('\r\n')


def images():
    for name in 'a.qcow2', 't.qcow2':
        img('create', '-q', '-f', 'qcow2', name, '1M')
    for name in 'b.raw', 'd.raw', 'e.raw':
        img('create', '-q', '-f', 'raw', name, '1M')
    img('create', '-q', '-f', 'qcow2', '-b', 'b.raw', '-F', 'raw', 'c.qcow2')


DISKS = ('-S', '-m', '64', '-drive', 'if=none,id=dr,file=a.qcow2,format=qcow2',
         '-device', 'virtio-blk-device,drive=dr,id=d1', '-blockdev', 'file,filename=b.raw,node-name=n0',
         '-blockdev', 'qcow2,node-name=n1,file.driver=file,file.filename=c.qcow2',
         '-device', 'virtio-blk-device,drive=n1')


def beside(options, lines, prepare=lambda: None):
    """What both answer to @lines is the same."""
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    said = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        for f in pathlib.Path().iterdir():
            f.unlink()
        prepare()
        with Quiet(*options, program=program) as e:
            said.append([masked(e.say(line)) for line in lines])
    for line, ours, theirs in zip(lines, *said):
        assert ours == theirs, (line, ours, theirs)


@case
def images_are_shown_and_resized_as_there():
    beside(DISKS, [
        'info block', 'info block dr', 'info block n0', 'info block n1', 'info block nix', 'info blockstats',
        'block_resize dr 2M', 'block_resize dr 3', 'block_resize dr 1.5', 'block_resize dr -1', 'block_resize dr',
        'block_resize dr x', 'block_resize', 'block_resize nix 1M', 'block_resize dr 1x', 'block_resize dr 99999999999T',
        'block_stream', 'block_stream dr x', 'block_stream nix', 'block_job_set_speed nix 1M',
        'block_job_set_speed dr 1.5G', 'block_job_set_speed', 'block_job_pause', 'block_job_cancel',
        'drive_mirror nix m.qcow2', 'drive_mirror', 'drive_mirror dr', 'drive_backup nix x', 'drive_backup dr',
        'eject', 'change', 'change dr', 'logfile', 'dump-guest-memory',
    ], images)


@case
def an_overlay_has_the_modes_of_the_drive():
    modes = ('-S', '-m', '64', '-drive', 'if=none,id=ro,file=a.qcow2,format=qcow2,readonly=on',
             '-device', 'virtio-blk-device,drive=ro', '-drive',
             'if=none,id=dr,file=t.qcow2,format=qcow2,cache=directsync', '-device', 'virtio-blk-device,drive=dr')
    beside(modes, ['snapshot_blkdev dr file:s.qcow2', 'info block dr', 'info block ro'], images)
    images()
    with Quiet(*modes) as e:
        assert e.say('snapshot_blkdev ro r.qcow2') == '' and 'r.qcow2 (qcow2, read-only)' in e.say('info block ro')
        assert 'read-only' in e.say('block_resize ro 3')


@case
def drives_and_nodes_share_no_name():
    beside(DISKS, ['drive_add 0 if=none,id=n1,file=d.raw,format=raw', 'info block n1',
                   'drive_add 0 if=none,id=nn,file=e.raw,format=raw,node-name=dr',
                   'drive_add 0 "if=none,id=z,file=e.raw,format=raw"  ', 'info block z'], images)
    images()
    with Quiet(*DISKS) as e:
        assert 'conflicting with a device id' in str(e.answer('blockdev-add', driver='null-co', node_name='dr'))


@case
def flags_that_are_unknown_are_told():
    beside(DISKS, ['drive_mirror -x dr m.qcow2', 'snapshot_blkdev -x dr s', 'nbd_server_add -x dr', 'info block -x',
                   'block_job_cancel -x dr'], images)


@case
def one_word_or_the_rest_of_the_line_is_taken_as_there():
    beside(('-S', '-m', '64'), [
        'object_add secret,id=s,data=a b', 'qom-get /objects/s qom-type',
        'device_add nonsense x', 'chardev-add null,id=x y', 'chardev-add "null,id=n"  ', 'netdev_add user,id=u1 x',
        'netdev_add "user,id=u2" ', 'netdev_del u2', 'drive_add 0 if=none,id=z x'])


@case
def snapshots_are_made_and_deleted_as_there():
    beside(DISKS, [
        'snapshot_blkdev', 'snapshot_blkdev dr', 'snapshot_blkdev nix x', 'snapshot_blkdev dr s1.qcow2', 'info block dr',
        'snapshot_blkdev dr s2.qcow2 nonsense', 'snapshot_blkdev -n dr nofile', 'snapshot_blkdev dr x y z',
        'snapshot_blkdev dr s3.qcow2 qcow2', 'info block dr', 'snapshot_blkdev_internal dr', 'snapshot_blkdev_internal dr i',
        'snapshot_blkdev_internal nix i', 'snapshot_delete_blkdev_internal dr i 7', 'snapshot_delete_blkdev_internal dr',
        'snapshot_delete_blkdev_internal dr i', 'snapshot_delete_blkdev_internal dr i',
    ], images)


@case
def drives_come_and_go_as_there():
    beside(DISKS, [
        'drive_add 0 if=none,id=dd,file=d.raw,format=raw', 'drive_add 0 if=none,id=dd,file=d.raw,format=raw',
        'drive_add 0 file=nofile,if=none,id=d9', 'drive_add', 'drive_add x', 'drive_del nix', 'drive_del',
        'drive_del dd', 'drive_del dd', 'drive_add 0 if=none,id=dd,file=d.raw,format=raw', 'drive_del dd y',
        'drive_add -n 0 node-name=nn,driver=file,filename=t.qcow2', 'info block nn', 'drive_del nn', 'info block nn',
    ], images)


@case
def exports_answer_as_there():
    beside(DISKS, [
        'nbd_server_add dr', 'nbd_server_start', 'nbd_server_start -w unix:s', 'nbd_server_start -w -a unix:s',
        'nbd_server_start localhost', 'nbd_server_start x', 'nbd_server_start unix:s', 'nbd_server_start unix:s2',
        'nbd_server_add', 'nbd_server_add dr', 'nbd_server_add dr', 'nbd_server_add nix', 'nbd_server_add dr abc def',
        'nbd_server_remove', 'nbd_server_remove nix', 'nbd_server_remove dr', 'nbd_server_remove -f dr', 'nbd_server_stop',
    ], images)


@case
def networks_and_devices_of_characters_answer_as_there():
    beside(('-S', '-m', '64', '-netdev', 'user,id=u0', '-device', 'virtio-net-device,netdev=u0,id=nd',
            '-chardev', 'ringbuf,id=rb,size=64', '-chardev', 'null,id=nu'), [
        'netdev_add user,id=u9', 'netdev_del u9', 'netdev_del u9', 'netdev_del', 'chardev-change nu', 'chardev-change nix null',
        'chardev-change nu null', 'chardev-change nu null,', 'chardev-change nu null,,', 'chardev-change nu ringbuf,size=1024,',
        'chardev-change nu null,',
        'chardev-change nu nonsense', 'chardev-change nu null,id=zz', 'chardev-send-break nu',
        'chardev-send-break nix', 'chardev-send-break', 'ringbuf_write rb hello', 'ringbuf_write nix hello',
        'ringbuf_write rb', 'ringbuf_read', 'ringbuf_read rb', 'ringbuf_read rb 3', 'ringbuf_read rb 100',
        'ringbuf_read nix 1', 'ringbuf_read rb x', 'ringbuf_read rb 0', 'ringbuf_write nu hello', r'ringbuf_write rb "a\\b"',
        'ringbuf_read rb 9', 'closefd x', 'closefd',
    ])


@case
def objects_are_looked_at_and_changed_as_there():
    beside(('-S', '-m', '64', '-object', 'iothread,id=t0,poll-max-ns=7', '-device', 'virtio-rng-device,id=r'), [
        'qom-list', 'qom-list /nix', 'qom-get /objects/t0 poll-max-ns', 'qom-get /objects/t0 nix', 'qom-get /nix x',
        'qom-get /objects', 'qom-get', 'qom-set /objects/t0 poll-max-ns 99', 'qom-get /objects/t0 poll-max-ns',
        'qom-set -j /objects/t0 poll-max-ns 98', 'qom-get /objects/t0 poll-max-ns', 'qom-set -j /objects/t0 poll-max-ns "x"',
        'qom-set /objects/t0 nix 1', 'qom-set /objects x', 'qom-set', 'qom-get /machine type',
        'qom-get /machine/peripheral/r type',
    ])
    with Emulator('-S', '-m', '64') as e:
        assert e.say('qom-list /').startswith('type (string)\r\nobjects (child<container>)\r\n')
        assert e.say('qom-set /objects/nix x 1') == "Error: Device '/objects/nix' not found\r\n"


def of_ring(e, data):
    assert e.answer('ringbuf-write', device='rb', data=data) == {}
    return e.say('ringbuf_read rb 100')


@case
def bytes_that_are_no_text_are_shown_as_there():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    ours, theirs = [], []
    for program, said in (EMULATOR, ours), (REFERENCE_EMULATOR, theirs):
        with Quiet('-S', '-chardev', 'ringbuf,id=rb,size=512', program=program) as e:
            said += [of_ring(e, 'a\\b\tc\r\n\x01\x1b\x7f \u00e9Z'), of_ring(e, '')]
    assert ours == theirs, (ours, theirs)


def jobs(e):
    return e.answer('query-block-jobs')


@case
def what_is_copied_is_whole():
    images()
    img('create', '-q', '-f', 'raw', 'there.raw', '1M')
    pathlib.Path('b.raw').write_bytes(b'\x5a' * (1 << 20))
    with Emulator(*DISKS) as e:
        assert e.say('drive_mirror -f n1 m.raw raw') == ''
        wait_for(lambda: jobs(e)[0]['ready'], 'the end of the copy')
        assert 'Type mirror, device n1: Completed ' in e.say('info block-jobs')
        assert 'n1: c.qcow2 (qcow2)\r\n' in e.say('info block'), e.say('info block')
        assert e.answer('query-blockstats')[1]['node-name'] == 'n1'
        assert e.say('block_job_set_speed n1 8') == ''
        assert jobs(e)[0]['speed'] == 8 << 20
        assert e.say('block_job_complete n1') == ''
        wait_for(lambda: not jobs(e), 'the end of the job')
        assert e.say('drive_backup -n -f n1 there.raw raw') == ''
        wait_for(lambda: not jobs(e), 'the end of the backup')
    for name in 'm.raw', 'there.raw':
        assert pathlib.Path(name).read_bytes() == b'\x5a' * (1 << 20), name
    assert pathlib.Path('c.qcow2').stat().st_size < 1 << 20


@case
def a_stream_takes_the_backing_file_away():
    images()
    with Emulator(*DISKS) as e:
        assert 'Backing file:     b.raw' in e.say('info block')
        assert e.say('block_stream n1') == ''
        wait_for(lambda: not jobs(e), 'the end of the stream')
        assert 'Backing file' not in e.say('info block')


@case
def all_drives_are_exported():
    images()
    with Emulator(*DISKS) as e:
        assert e.say('nbd_server_start -a unix:s') == ''
        assert {x['id'] for x in e.answer('query-block-exports')} == {'dr', 'n1'}
        # The reference says that a drive without a name cannot be found.
        shown = json.loads(img('info', '--output=json', 'nbd+unix:///dr?socket=s').stdout)
        assert shown['virtual-size'] == 1 << 20
        assert e.say('nbd_server_stop') == ''
        # One that fails leaves no server.
        assert 'Cannot listen' in e.say('nbd_server_start -a unix:/nonexistent/s')
        assert e.say('nbd_server_stop') == 'Error: NBD server not running\r\n'
        assert e.say('nbd_server_start [::1]:nonsense').startswith('Error: ')


@case
def a_drive_that_is_used_stays():
    images()
    with Emulator(*DISKS) as e:
        assert e.say('drive_del dr') == "Drive 'dr' is in use by a device\r\n"
        assert 'dr (#block' in e.say('info block')
        assert 'in use' in e.say('drive_del n1')
        assert e.say('drive_add 0 if=none,id=dd,file=d.raw,format=raw') == 'OK\r\n'
        assert e.answer('blockdev-add', driver='file', filename='e.raw', node_name='t') == {}
        assert e.answer('blockdev-mirror', device='dd', target='t', sync='full', job_id='j') == {}
        assert 'busy' in e.say('drive_del dd')
        assert e.answer('block-job-cancel', device='j') == {}
        wait_for(lambda: not jobs(e), 'the end of the job')
        assert e.say('drive_del dd') == ''
        # It is closed, and with that free for others.
        img('resize', '-q', '-f', 'raw', 'd.raw', '2M')


main('hmp-images', 'system')
