#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of the whole machine in qcow2: savevm, loadvm, delvm, -loadvm and the jobs; our states are
loaded by the reference and its states by us."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require, run
from emulator import MACHINE, wait_for
from guests import EMULATOR, REFERENCE_EMULATOR
from migrating import Mover, source


def drive(name, fmt='qcow2'):
    return ('-drive', f'if=none,id={name},file={name}.{fmt},format={fmt}',
            '-device', f'virtio-blk-device,drive={name}')


def node(name, more=''):
    return '-blockdev', f'qcow2,node-name={name},file.driver=file,file.filename={name}.qcow2{more}'


def make(*names, size='8M'):
    for name in names:
        img('create', '-q', '-f', 'qcow2', f'{name}.qcow2', size)


def say(e, line):
    return e.answer('human-monitor-command', command_line=line)


def job(e, command, **arguments):
    """The error of a job, "" for none."""
    assert e.answer(command, job_id='j', **arguments) == {}
    wait_for(lambda: e.answer('query-jobs')[0]['status'] == 'concluded')
    error = e.answer('query-jobs')[0].get('error', '')
    assert e.answer('job-dismiss', id='j') == {}
    return error


def masked(text):
    text = re.sub(r'\d+(\.\d+)? [KM]iB', 'SIZE', text)
    text = re.sub(r' +SIZE', ' SIZE', text)
    text = re.sub(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d\d:\d\d:\d\d\.\d{3}', 'TIME', text)
    return re.sub(r'vm-\d{14} *', 'vm-NOW ', text)


def names(image):
    return [line.split()[1] for line in img('snapshot', '-l', image).stdout.splitlines()[2:]]


def check_clean(*images):
    for image in images:
        assert 'No errors were found' in img('check', image).stdout


def save(e, tag):
    """The rounds of the guest before and after the snapshot."""
    first = e.rounds()[-1]
    assert say(e, f'savevm {tag}') == ''
    return first, e.rounds()[-1] + 2


def load(e, tag, saved):
    """The guest goes back to the snapshot, and goes on from it."""
    before = len(e.rounds())
    assert say(e, f'loadvm {tag}') == ''
    if e.state() != 'running':
        assert e.answer('cont') == {}
    went_back = []

    def happened():
        seen = e.rounds()
        went_back[:] = [i for i in range(max(before - 1, 1), len(seen)) if seen[i] <= seen[i - 1]]
        return went_back and len(seen) > went_back[0] + 1

    wait_for(happened)
    after = e.rounds()[went_back[0]:]
    assert saved[0] <= after[0] <= saved[1] and after == list(range(after[0], after[0] + len(after))), (saved, after)


def starts_there(e, saved):
    e.await_rounds()
    assert saved[0] <= e.rounds()[0] <= saved[1], (saved, e.rounds())


@case
def a_running_guest_is_saved_goes_on_and_goes_back():
    make('a', 'b')
    with source(*drive('a'), *drive('b')) as e:
        e.await_rounds()
        x = save(e, 'x')
        assert [v['event'] for v in e.events if v['event'] in ('STOP', 'RESUME')][-2:] == ['STOP', 'RESUME']
        e.await_rounds(4)
        load(e, 'x', x)
        e.await_rounds(4)
        assert say(e, 'stop') == '' and say(e, 'savevm y') == '' and e.state() == 'paused'
        assert say(e, 'loadvm x') == '' and e.state() == 'paused'
        load(e, 'x', x)
        assert say(e, 'delvm x') == '' and say(e, 'delvm nothing') == ''
        assert 'does not exist' in say(e, 'loadvm x') and e.state() == 'running'
    check_clean('a.qcow2', 'b.qcow2')
    assert names('a.qcow2') == names('b.qcow2') == ['y']
    rows = [img('snapshot', '-l', f'{n}.qcow2').stdout.splitlines()[2].split() for n in 'ab']
    assert rows[0][3] in ('KiB', 'MiB') and rows[1][2:4] == ['0', 'B'], rows


@case
def a_guest_starts_from_a_snapshot():
    make('a')
    with source(*drive('a')) as e:
        e.await_rounds()
        x = save(e, 'x')
    for options, state in ((), 'running'), (('-S',), 'prelaunch'):
        with source(*drive('a'), '-loadvm', 'x', *options) as e:
            assert e.state() == state
            if options:
                assert e.answer('cont') == {}
            starts_there(e, x)
    for options, words in ((('-loadvm', 'y', *drive('a')), "Snapshot 'y' does not exist in one or more devices"),
                           (('-loadvm', 'x', '-m', '32', *drive('a')), "Memory 'microvm.ram'"),
                           (('-loadvm', 'x'), 'no block device can store vmstate for snapshot')):
        done = run(EMULATOR, *MACHINE, '-serial', 'null', *options, code=1)
        assert words in done.stderr, done.stderr


@case
def the_reference_loads_our_snapshots_and_we_load_its():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    make('a')
    with source(*drive('a')) as e:
        e.await_rounds()
        ours = save(e, 'ours')
    with source(*drive('a'), '-loadvm', 'ours', program=REFERENCE_EMULATOR) as e:
        starts_there(e, ours)
        theirs = save(e, 'theirs')
        assert e.answer('quit') == {}
        e.process.wait()
    check_clean('a.qcow2')
    with source(*drive('a'), '-loadvm', 'theirs') as e:
        starts_there(e, theirs)
        e.await_rounds(4)
        load(e, 'ours', ours)
        e.await_rounds(theirs[1] - ours[0] + 4)
        load(e, 'theirs', theirs)
    check_clean('a.qcow2')
    run('qemu-img', 'check', 'a.qcow2')


LINES = ['info snapshots', 'savevm x', 'info snapshots', 'savevm y', 'savevm x', 'savevm', 'info snapshots',
         'savevm 1', 'info snapshots', 'loadvm 1', 'loadvm y', 'info status', 'delvm 2', 'delvm y',
         'info snapshots', 'stop', 'savevm z', 'info status', 'cont', 'loadvm z', 'info status', 'loadvm',
         'delvm', 'loadvm no']


@case
def answers_are_those_of_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    img('create', '-q', '-f', 'raw', 'r.raw', '1M')
    told = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        make('a', 'b')
        told.append([])
        for disks in (), drive('r', 'raw'), (*drive('a'), *drive('r', 'raw')):
            with source('-S', *disks, program=program) as e:
                told[-1] += [say(e, line) for line in ('info snapshots', 'savevm x', 'loadvm x', 'delvm x')]
        with source(*drive('a'), *drive('b'), program=program) as e:
            told[-1] += [masked(say(e, line)) for line in LINES]
        img('snapshot', '-c', 'disk', 'a.qcow2')
        img('snapshot', '-c', 'both', 'a.qcow2')
        img('snapshot', '-c', 'both', 'b.qcow2')
        with source('-S', *drive('a'), *drive('b'), program=program) as e:
            told[-1] += [masked(say(e, line)) for line in
                         ('info snapshots', 'loadvm disk', 'loadvm both', 'delvm both', 'info snapshots')]
        told[-1] += [masked(img('snapshot', '-l', f'{n}.qcow2').stdout) for n in 'ab']
    assert told[0] == told[1], [pair for pair in zip(*told) if pair[0] != pair[1]]


JOBS = [('snapshot-save', dict(tag='t', vmstate='a', devices=['a', 'b'])),
        ('snapshot-save', dict(tag='t', vmstate='a', devices=['a', 'b'])),
        ('snapshot-save', dict(tag='u', vmstate='b', devices=['a'])),
        ('snapshot-save', dict(tag='u', vmstate='a', devices=['no'])),
        ('snapshot-save', dict(tag='u', vmstate='a', devices=[])),
        ('snapshot-save', dict(tag='u', vmstate='c', devices=['c'])),
        ('snapshot-save', dict(tag='u', vmstate='a', devices=['a', 'c'])),
        ('snapshot-save', dict(tag='u', vmstate='a', devices=['a'])),
        ('snapshot-load', dict(tag='t', vmstate='a', devices=['a', 'b'])),
        ('snapshot-load', dict(tag='t', vmstate='b', devices=['a', 'b'])),
        ('snapshot-load', dict(tag='no', vmstate='a', devices=['a', 'b'])),
        ('snapshot-load', dict(tag='u', vmstate='a', devices=['a', 'b'])),
        ('snapshot-delete', dict(tag='no', devices=['a'])),
        ('snapshot-delete', dict(tag='t', devices=['a', 'c'])),
        ('snapshot-delete', dict(tag='t', devices=[])),
        ('snapshot-delete', dict(tag='t', devices=['a', 'b']))]


@case
def jobs_end_as_those_of_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    told, left = [], []
    for program in EMULATOR, REFERENCE_EMULATOR:
        make('a', 'b', 'c')
        with source(*node('a'), *node('b'), *node('c', ',read-only=on'), '-device', 'virtio-blk-device,drive=a',
                    program=program) as e:
            told.append([job(e, command, **arguments) for command, arguments in JOBS])
            bad = e.answer('snapshot-save', job_id='!j', tag='t', vmstate='a', devices=['a'])
            told[-1].append(bad['desc'])
        left.append(names('a.qcow2') + names('b.qcow2'))
        check_clean('a.qcow2', 'b.qcow2')
    assert told[0] == told[1], [pair for pair in zip(*told) if pair[0] != pair[1]]
    assert left[0] == left[1] == ['u'], left


@case
def a_save_that_fails_leaves_the_guest_running_and_the_old_snapshot():
    make('a', 'b')
    broken = 'qcow2,node-name=b,file.driver=blkdebug,file.config=rules,file.image.driver=file,file.image.filename=b.qcow2'
    for event in 'vmstate_save', 'reftable_grow', 'l1_update', 'l2_update', 'write_aio', 'flush_to_disk':
        for times in 'on', 'off':
            pathlib.Path('rules').write_text(
                f'[inject-error]\nevent = "{event}"\nerrno = "28"\nonce = "{times}"\nstate = "2"\n'
                '[set-state]\nevent = "vmstate_save"\nstate = "1"\nnew_state = "2"\n')
            # First a snapshot of that name by a whole image, then one that cannot be made.
            with source(*node('a'), *node('b')) as e:
                e.await_rounds(1)
                assert say(e, 'savevm x') == ''
            before = img('snapshot', '-l', 'a.qcow2').stdout, img('snapshot', '-l', 'b.qcow2').stdout
            with source('-blockdev', broken, *node('a')) as e:
                e.await_rounds(1)
                answer = job(e, 'snapshot-save', tag='y', vmstate='b', devices=['a', 'b'])
                assert e.state() == 'running', e.state()
                e.await_rounds(1)
            after = img('snapshot', '-l', 'a.qcow2').stdout, img('snapshot', '-l', 'b.qcow2').stdout
            if answer:
                assert after == before, (event, times, answer, before, after)
            else:
                assert 'y' in names('a.qcow2') and 'y' in names('b.qcow2'), (event, times, after)
            for n in 'ab':
                done = run('qemu-img', 'check', f'{n}.qcow2', code=None)
                assert done.returncode in (0, 3), (event, times, done.stdout) # at most leaks
                if 'y' in names(f'{n}.qcow2'):
                    img('snapshot', '-d', 'y', f'{n}.qcow2')


@case
def a_state_that_is_damaged_stops_the_guest_until_it_is_reset():
    make('a')
    with source(*drive('a')) as e:
        e.await_rounds(1)
        assert say(e, 'savevm x') == ''
    data = pathlib.Path('a.qcow2').read_bytes()
    at = data.index(b'\x06serial\0\0\0\0\0\0\0\x03')
    pathlib.Path('a.qcow2').write_bytes(data[:at + 14] + b'\x09' + data[at + 15:])
    with source(*drive('a')) as e:
        e.await_rounds(1)
        assert "section 'serial'" in say(e, 'loadvm x')
        assert e.state() == 'restore-vm'
        assert 'not loaded whole' in e.answer('cont')['desc']
        assert e.answer('system_reset') == {} and e.answer('cont') == {}
        e.await_rounds(1)
    check_clean('a.qcow2')


@case
def snapshots_and_what_would_spoil_them_exclude_each_other():
    make('a')
    with source(*drive('a')) as e:
        e.await_rounds(1)
        assert e.answer('blockdev-add', driver='null-co', node_name='t', size=8 << 20) == {}
        assert e.answer('blockdev-mirror', device='a', target='t', sync='full', job_id='m', speed=1) == {}
        told = say(e, 'savevm x')
        assert 'block job: mirror' in told, told
        assert e.answer('block-job-cancel', device='m', force=True) == {}
        wait_for(lambda: not e.answer('query-jobs'))
        assert e.answer('blockdev-del', node_name='t') == {}
        e.tune(max_bandwidth=100000)
        assert e.answer('migrate', uri='exec:cat >/dev/null') == {}
        assert "migration process in progress" in say(e, 'savevm x') and "migration process" in say(e, 'loadvm x')
        assert e.answer('migrate_cancel') == {}
        wait_for(lambda: e.status() == 'cancelled')
        assert say(e, 'savevm x') == ''
    with source(*drive('a'), '-icount', 'shift=3') as e:
        told = say(e, 'savevm y')
        assert 'Instructions are counted' in told, told


@case
def images_that_the_guest_has_left_keep_their_snapshots():
    make('a')
    with source(*drive('a')) as e:
        e.await_rounds(1)
        save(e, 'x')
        e.migrate('exec:cat >stream')
        assert e.state() == 'postmigrate'
        for command in 'savevm y', 'loadvm x', 'delvm x':
            told = say(e, command)
            assert told.startswith('Error: '), (command, told)
    with Mover('target', *drive('a'), '-incoming', 'defer') as e:
        assert 'inactive' in say(e, 'delvm x')
    assert names('a.qcow2') == ['x']
    check_clean('a.qcow2')


@case
def a_bitmap_that_forbids_to_go_back_costs_nothing():
    make('a', 'b')
    with source(*drive('a'), *node('b'),
                '-device', 'virtio-blk-device,drive=b') as e:
        e.await_rounds(1)
        save(e, 'x')
        assert e.answer('block-dirty-bitmap-add', node='b', name='m') == {}
        assert "Dirty bitmap 'm' of 'b'" in say(e, 'loadvm x') and e.state() == 'running'
        e.await_rounds(2)
        assert e.answer('block-dirty-bitmap-remove', node='b', name='m') == {}
        y = save(e, 'y')
        e.await_rounds(4)
        load(e, 'y', y)
    check_clean('a.qcow2', 'b.qcow2')


@case
def a_machine_without_parts_has_nothing_to_save():
    make('a')
    with Mover('none', *drive('a')[:2], '-M', 'none') as e:
        for command, words in (('savevm x', "Machine 'none'"), ('loadvm x', "Machine 'none'"),
                               ('dump-guest-memory core', 'no guest memory'),
                               ('calc_dirty_rate 1', 'no guest memory'), ('calc_dirty_rate -b 1', 'no guest memory')):
            assert words in say(e, command), command
        assert say(e, 'info snapshots') == 'There is no snapshot available.\r\n'
    assert names('a.qcow2') == []


main('snapshots', 'system')
