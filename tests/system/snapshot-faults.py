#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of the whole machine while disks fail, and while the program is told to end."""
import os
import pathlib
import re
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, io, main, run
from guests import build
from migrating import Mover, source, wait_for
from qmp import PATIENCE, request

OLD, NEW = 0x11, 0x22


def node(name, rules=None):
    """A qcow2 image; @rules: how it fails."""
    if rules is None:
        return '-blockdev', f'qcow2,node-name={name},file.driver=file,file.filename={name}.qcow2'
    pathlib.Path(f'{name}.rules').write_text(rules)
    return ('-blockdev', f'qcow2,node-name={name},file.driver=blkdebug,file.config={name}.rules,'
            f'file.image.driver=file,file.image.filename={name}.qcow2')


def make(*names):
    for name in names:
        img('create', '-q', '-f', 'qcow2', f'{name}.qcow2', '8M')


def say(e, line):
    return e.answer('human-monitor-command', command_line=line)


def snapshots(name):
    return [line.split()[1] for line in img('snapshot', '-l', f'{name}.qcow2').stdout.splitlines()[2:]]


def check_clean(*names):
    for name in names:
        done = run('qemu-img', 'check', f'{name}.qcow2', code=None)
        assert done.returncode in (0, 3), done.stdout # at most leaks


def writer(name, disk):
    """A guest that writes to a SCSI disk all the time (tests/system/guests/moving.c)."""
    return Mover(
        name, '-kernel', build('moving'), '-netdev', 'hubport,hubid=0,id=n0', '-device', 'virtio-net-device,netdev=n0',
        '-netdev', 'hubport,hubid=0,id=n1', '-device', 'virtio-net-device,netdev=n1', '-device', 'virtio-serial-device',
        '-chardev', 'null,id=c0', '-device', 'virtconsole,chardev=c0', '-chardev', 'null,id=c1', '-device',
        'virtserialport,chardev=c1,name=count,nr=1', '-device', 'virtio-scsi-device', *disk, '-device', 'scsi-hd,drive=d')


@case
def a_disk_that_fails_while_the_guest_is_stopped_for_it_spoils_no_snapshot():
    """A state with requests that wait could not be loaded; the old snapshot of that name stays."""
    make('d')
    with writer('whole', node('d')) as e:
        e.await_rounds(1)
        assert say(e, 'savevm x') == ''
    before = img('snapshot', '-l', 'd.qcow2').stdout
    # Each write takes a while, so that savevm finds one under way.
    rules = '[inject-error]\nevent = "write_aio"\nerrno = "28"\ndelay-ns = "500000000"\n'
    with writer('failing', node('d', rules)) as e:
        wait_for(lambda: e.state() == 'io-error')
        told = say(e, 'savevm x')
        assert 'only while it is running or stopped' in told, told
        for _ in range(20):
            assert e.answer('cont') == {}
            told = say(e, 'savevm x')
            if 'Requests of a disk have failed and wait' in told:
                break
            wait_for(lambda: e.state() == 'io-error')
        assert 'Requests of a disk have failed and wait' in told, told
        wait_for(lambda: e.state() == 'io-error')
        assert e.answer('migrate', uri='exec:cat >/dev/null')['class'] == 'GenericError'
    assert img('snapshot', '-l', 'd.qcow2').stdout == before
    check_clean('d')


@case
def the_program_ends_while_a_snapshot_is_made():
    slow = '[inject-error]\nevent = "vmstate_save"\nerrno = "0"\ndelay-ns = "50000000"\n'
    # Memory that takes many pieces.
    pathlib.Path('ballast').write_bytes(os.urandom(16 << 20))
    for how in 'quit', 'signal':
        make('a')
        with source('-initrd', 'ballast', *node('a', slow)) as e:
            e.await_rounds(1)
            e.send(request('snapshot-save', job_id='j', tag='x', vmstate='a', devices=['a']).encode())
            while '"STOP"' not in (line := e.reader.line()):
                assert 'error' not in line, line
            if how == 'quit':
                e.send(request('quit').encode())
            else:
                e.process.send_signal(signal.SIGTERM)
            assert e.process.wait(PATIENCE) == 0
        run('qemu-img', 'check', 'a.qcow2')
        # Nor is half a state left in the active disk.
        assert snapshots('a') == []
        assert not re.search(r'^[1-9]\d*/', told := img('check', 'a.qcow2').stdout, re.M), told


def content(name):
    """Which of the two states the image shows."""
    shown = [p for p in (OLD, NEW) if 'Pattern verification failed' not in
             run('qemu-io', '-f', 'qcow2', '-c', f'read -P {p} 0 64k', f'{name}.qcow2', code=None).stdout]
    assert len(shown) == 1, (name, shown)
    return shown[0]


def prepare():
    """Images that show NEW, with a snapshot "x" in which they show OLD."""
    make('a', 'b', 'c')
    for name in 'abc':
        io(f'{name}.qcow2', f'write -P {OLD} 0 64k')
    with source(*node('a'), *node('b'), *node('c')) as e:
        e.await_rounds(1)
        assert say(e, 'savevm x') == ''
    for name in 'abc':
        io(f'{name}.qcow2', f'write -P {NEW} 0 64k')


def end_during(job, event):
    """Ends the program while @job works on b, and c after it, which takes @event a while."""
    slow = f'[inject-error]\nevent = "{event}"\nerrno = "0"\ndelay-ns = "100000000"\n'
    more = {} if job == 'snapshot-delete' else {'vmstate': 'a'}
    for how in 'quit', 'signal':
        prepare()
        with source(*node('a'), *node('b', slow), *node('c')) as e:
            e.await_rounds(1)
            e.send(request(job, job_id='j', tag='x', devices=['a', 'b', 'c'], **more).encode())
            while '"running"' not in (line := e.reader.line()):
                assert 'error' not in line, line
            if how == 'quit':
                e.send(request('quit').encode())
            else:
                e.process.send_signal(signal.SIGTERM)
            assert e.process.wait(PATIENCE) == 0
        for name in 'abc':
            check_clean(name)
        yield {(content(name), tuple(snapshots(name))) for name in 'abc'}


@case
def the_program_ends_while_a_snapshot_is_loaded():
    for states in end_during('snapshot-load', 'read_aio'):
        assert states in ({(OLD, ('x',))}, {(NEW, ('x',))}), states


@case
def the_program_ends_while_a_snapshot_is_deleted():
    for states in end_during('snapshot-delete', 'refblock_update'):
        assert states in ({(NEW, ())}, {(NEW, ('x',))}), states


def load(rules=None):
    """Loads the snapshot while image b fails: what is told, and the guest's state then."""
    with source(*node('a'), *node('b', rules), *node('c')) as e:
        e.await_rounds(1)
        told = say(e, 'loadvm x')
        state = e.state()
        if state == 'running':
            e.await_rounds(1)
        elif state == 'restore-vm':
            assert 'not loaded whole' in e.answer('cont')['desc']
            # Nor does another try that fails, before it changes anything, let it run.
            again = say(e, 'loadvm x')
            assert 'No space left' in again and 'is shown by' not in again, again
            assert e.state() == 'restore-vm'
    return told, state


@case
def a_disk_without_space_leaves_all_disks_and_the_guest_as_they_were():
    for event in 'l1_update', 'refblock_update_part', 'refblock_alloc_write_table', 'cluster_alloc':
        prepare()
        rules = f'[inject-error]\nevent = "{event}"\nerrno = "28"\n'
        told, state = load(rules)
        assert told.startswith('Error: ') and 'No space left' in told and 'b.qcow2' in told, (event, told)
        assert 'is shown by' not in told and state == 'running', (event, told, state)
        assert [content(n) for n in 'abc'] == [NEW] * 3, event
        check_clean('a', 'b', 'c')
    told, state = load()
    assert told == '' and state == 'running', told
    assert [content(n) for n in 'abc'] == [OLD] * 3
    check_clean('a', 'b', 'c')


@case
def a_disk_that_fails_at_the_last_write_is_named_with_what_each_shows():
    prepare()
    # The next write to the first sector is that of the header. Another try has no space for the table.
    rules = ('[set-state]\nevent = "l1_update"\nstate = "1"\nnew_state = "2"\n'
             '[inject-error]\nevent = "pwritev"\nsector = "0"\nerrno = "5"\nstate = "2"\n'
             '[inject-error]\nevent = "l1_update"\nerrno = "28"\nstate = "2"\n'
             '[set-state]\nevent = "l1_update"\nstate = "2"\nnew_state = "3"\n')
    told, state = load(rules)
    shown = [f'{n}.qcow2' for n in 'abc' if content(n) == OLD]
    assert told.startswith('Error: ') and state == 'restore-vm', (told, state)
    done, same = re.search(r"the snapshot is shown by (.*), unchanged: (.*)", told.strip()).groups()
    assert re.findall("'(.*?)'", done) == shown == ['a.qcow2'], (told, shown)
    assert [n[-7:] for n in re.findall("'(.*?)'", same)] == ['b.qcow2', 'c.qcow2'], told
    check_clean('a', 'b', 'c')
    # Once the disk works again, so does loading.
    told, state = load()
    assert told == '' and [content(n) for n in 'abc'] == [OLD] * 3, told


main('snapshot-faults', 'system')
