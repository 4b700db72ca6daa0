#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs while a guest writes: what the images hold afterwards, by a model; errors at any request; nodes that
jobs hold. Replies and events are compared with the reference's in compat/qmp-jobs.py."""
import json
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, REFERENCE, case, img, io, main, run
from guest import BLOCK, Guest
from nbd_frames import WRITE
from qmp import PATIENCE, Stdio

SIZE = '16M'
EXPORT = ('--nbd-server', 'addr.type=unix,addr.path=nbd', '--export', 'nbd,id=e,node-name=t,writable=on')


class Daemon(Stdio):
    """Remembers events; start() begins a job."""

    def __init__(self, *options):
        self.events = []
        super().__init__(BUILD / 'qemu-storage-daemon', *options)

    def do(self, command, **arguments):
        answer = self.try_(command, **arguments)
        assert not (isinstance(answer, dict) and 'desc' in answer), answer
        return answer

    def try_(self, command, **arguments):
        named = {k.replace('_', '-'): v for k, v in arguments.items()}
        reply = None
        for line in self.ask(json.dumps({'execute': command, 'arguments': named})):
            message = json.loads(line)
            if 'event' in message:
                self.events.append(message)
            else:
                reply = message.get('return', message.get('error'))
        return reply

    def wait(self, word, after=0, patience=PATIENCE):
        """Until there is an event of that name or state."""
        deadline = time.monotonic() + patience
        while not any(e['event'].endswith(word) or e['data'].get('status') == word for e in self.events[after:]):
            line = self.reader.line(max(deadline - time.monotonic(), 0))
            assert line is not None, f'no event {word}: {self.events[after:]}'
            self.events.append(json.loads(line))
        return self.events

    def finish(self, *steps):
        """Through @steps, which are words to wait for or commands to the job, to its end."""
        for step in (*steps, 'null'):
            if step.startswith('job-'):
                self.do(step, id='j')
            else:
                self.wait(step)
        ended = [e for e in self.events if e['event'] in ('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED')][-1]
        return ended['data'].get('error')


def chain():
    """t over m over a, with data in each."""
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', SIZE)
    io('a.qcow2', 'write -q -P 17 0 8M')
    img('create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', 'm.qcow2')
    io('m.qcow2', 'write -q -P 34 4M 6M', 'write -q -z 1M 1M')
    img('create', '-q', '-f', 'qcow2', '-b', 'm.qcow2', '-F', 'qcow2', 't.qcow2')
    io('t.qcow2', 'write -q -P 51 9M 2M')


def node(name, **more):
    return {'driver': 'qcow2', 'node-name': name, 'file': {'driver': 'file', 'filename': f'{name}.qcow2'}, **more}


TOP = ('--blockdev', json.dumps(node('t', backing=node('m', backing=node('a')))))


def target(name='x', form='qcow2'):
    img('create', '-q', '-f', form, f'{name}.{form}', SIZE)
    return ('--blockdev', json.dumps({'driver': form, 'node-name': name,
                                      'file': {'driver': 'file', 'filename': f'{name}.{form}'}}))


def content(*image):
    img('convert', '-O', 'raw', *image, 'content')
    return pathlib.Path('content').read_bytes()


def check(guest, *image, disk=None):
    bad = guest.problems(content(*image), disk, {})
    assert not bad, bad


def checked(*names):
    for name in names:
        img('check', '-q', '-f', 'qcow2', name)


def mirrored(**how):
    chain()
    with Daemon(*TOP, *target(), *EXPORT) as d:
        guest = Guest('nbd', 't').start()
        guest.wait_for_writes(20)
        d.do('blockdev-mirror', job_id='j', device='t', target='x', **{'sync': 'full', **how})
        d.wait('READY')
        guest.wait_for_writes(50)
        assert d.finish('job-complete', 'concluded') is None
        guest.wait_for_writes(50)
        guest.stop()
        guest.flush()
        names = {n['node-name'] for n in d.do('query-named-block-nodes', flat=True)}
        assert {'t', 'x'} <= names and len([n for n in names if n.startswith('#')]) == 4, names
        d.do('blockdev-del', **{'node-name': 't'})
    checked('x.qcow2', 't.qcow2', 'm.qcow2', 'a.qcow2')
    check(guest, 'x.qcow2')


@case
def a_mirror_takes_over():
    mirrored()


@case
def a_mirror_that_blocks_writes_takes_over():
    mirrored(copy_mode='write-blocking')


@case
def what_is_marked_while_a_write_is_under_way_is_copied():
    """The mirror looks for many short pieces while a part of the last one is written to source and target."""
    disk = (bytes([34]) * 4096 + bytes(4096)) * 16384
    pathlib.Path('disk').write_bytes(disk)
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', len(disk))
    img('convert', '-S', '4k', '-O', 'qcow2', '-o', 'cluster_size=4k', 'disk', 't.qcow2')
    img('rebase', '-q', '-u', '-b', 'a.qcow2', '-F', 'qcow2', 't.qcow2')
    img('create', '-q', '-f', 'qcow2', 'x.qcow2', len(disk))
    slow = {'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': 't.qcow2'},
            'inject-error': [{'event': 'pwritev', 'errno': 0, 'delay-ns': 1_500_000_000, 'once': True}]}
    at = len(disk) - 8192
    with Daemon('--blockdev', json.dumps(node('t', file=slow, backing=node('a'))),
                '--blockdev', json.dumps(node('x')), *EXPORT) as d:
        guest = Guest('nbd', 't')
        d.do('blockdev-mirror', job_id='j', device='t', target='x', sync='top', copy_mode='write-blocking')
        assert guest.client.call(WRITE, at, 512, data=bytes([18]) * 512) == 0
        d.wait('READY')
        assert d.finish('job-complete', 'concluded') is None
    assert content('x.qcow2') == disk[:at] + bytes([18]) * 512 + disk[at + 512:]


@case
def a_mirror_of_small_granules_and_little_memory_takes_over():
    mirrored(granularity=4096, buf_size=4096)


@case
def what_is_written_while_a_piece_waits_for_its_turn_is_copied():
    """All pieces there may be are under way when the zeroes behind are looked at; then data is written there."""
    img('create', '-q', '-f', 'qcow2', 't.qcow2', SIZE)
    io('t.qcow2', 'write -q -P 17 0 2M')
    img('create', '-q', '-f', 'qcow2', 'x.qcow2', SIZE)
    slow = {'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': 'x.qcow2'},
            'inject-error': [{'event': 'pwritev', 'errno': 0, 'delay-ns': 500_000_000}]}
    with Daemon('--blockdev', json.dumps(node('t')), '--blockdev',
                json.dumps({'driver': 'qcow2', 'node-name': 'x', 'file': slow}), *EXPORT) as d:
        guest = Guest('nbd', 't')
        d.do('blockdev-mirror', job_id='j', device='t', target='x', sync='full')
        time.sleep(.2)
        assert guest.client.call(WRITE, 9 << 20, BLOCK, data=bytes([18]) * BLOCK) == 0
        d.wait('READY')
        assert d.finish('job-complete', 'concluded') is None
    assert content('x.qcow2') == bytes([17]) * (2 << 20) + bytes(7 << 20) + bytes([18]) * BLOCK + \
        bytes((7 << 20) - BLOCK)


@case
def a_mirror_that_is_stopped_leaves_a_copy_and_the_guest_where_it_was():
    chain()
    with Daemon(*TOP, *target(), *EXPORT) as d:
        guest = Guest('nbd', 't').start()
        d.do('blockdev-mirror', job_id='j', device='t', target='x', sync='full', copy_mode='write-blocking')
        d.wait('READY')
        guest.wait_for_writes(20)
        with guest.lock:
            before = list(guest.disk)
            d.do('block-job-cancel', device='j')
            assert d.finish() is None
        guest.wait_for_writes(20)
        guest.stop()
    check(guest, 't.qcow2')
    check(guest, 'x.qcow2', disk=before)


@case
def a_backup_shows_the_moment_it_began():
    chain()
    with Daemon(*TOP, *target(), *EXPORT) as d:
        guest = Guest('nbd', 't').start()
        guest.wait_for_writes(20)
        with guest.lock:
            before = list(guest.disk)
            d.do('blockdev-backup', job_id='j', device='t', target='x', sync='full', speed=8 << 20)
        guest.wait_for_writes(100)
        d.do('block-job-set-speed', device='j', speed=0)
        assert d.finish() is None
        guest.wait_for_writes(10)
        guest.stop()
    checked('x.qcow2', 't.qcow2')
    check(guest, 'x.qcow2', disk=before)
    check(guest, 't.qcow2')


@case
def backups_by_bitmap_add_up():
    chain()
    with Daemon(*TOP, *target(), *EXPORT) as d:
        guest = Guest('nbd', 't', most=4)
        d.do('block-dirty-bitmap-add', node='t', name='b')
        guest.start()
        for sync, mode in (('full', 'on-success'), ('incremental', None), ('bitmap', 'always'), ('incremental', None)):
            guest.wait_for_writes(20)
            with guest.lock:
                before = list(guest.disk)
                how = {'bitmap-mode': mode} if mode else {}
                d.do('blockdev-backup', job_id='j', device='t', target='x', sync=sync, bitmap='b', **how)
            seen = len(d.events)
            d.wait('null', seen)
        guest.stop()
    check(guest, 'x.qcow2', disk=before)


@case
def a_bitmap_gets_back_what_a_failed_backup_did_not_copy():
    chain()
    failing = json.dumps({'driver': 'blkdebug', 'node-name': 'e', 'image': {'driver': 'null-co', 'size': 16 << 20},
                          'inject-error': [{'event': 'none', 'iotype': 'write', 'errno': 5, 'sector': 16 << 11 >> 1}]})
    with Daemon(*TOP, '--blockdev', failing, *EXPORT) as d:
        d.do('block-dirty-bitmap-add', node='t', name='b')
        guest = Guest('nbd', 't')
        for _ in range(60):
            guest.write()

        def marked():
            nodes = d.do('query-named-block-nodes', flat=True)
            return next(n for n in nodes if n['node-name'] == 't')['dirty-bitmaps'][0]['count']
        before = marked()
        for mode in ('on-success', 'never'):
            d.do('blockdev-backup', job_id='j', device='t', target='e', sync='bitmap', bitmap='b',
                 **{'bitmap-mode': mode})
            d.wait('null', len(d.events))
            assert marked() == before, (mode, marked(), before)


@case
def a_stream_makes_an_image_stand_alone():
    chain()
    with Daemon(*TOP, *EXPORT) as d:
        guest = Guest('nbd', 't').start()
        guest.wait_for_writes(20)
        d.do('block-stream', job_id='j', device='t')
        guest.wait_for_writes(20)
        assert d.finish() is None
        guest.wait_for_writes(20)
        guest.stop()
        assert {n['node-name'] for n in d.do('query-named-block-nodes')} & {'m', 'a'} == set()
    os.unlink('m.qcow2')
    os.unlink('a.qcow2')
    checked('t.qcow2')
    check(guest, 't.qcow2')


@case
def a_stream_of_a_part_keeps_the_base():
    chain()
    before = content('a.qcow2')
    with Daemon(*TOP, *EXPORT) as d:
        guest = Guest('nbd', 't').start()
        d.do('block-stream', job_id='j', device='t', base_node='a')
        assert d.finish() is None
        guest.wait_for_writes(20)
        guest.stop()
    os.unlink('m.qcow2')
    checked('t.qcow2')
    check(guest, 't.qcow2')
    assert content('a.qcow2') == before


@case
def a_commit_of_a_layer_changes_nothing_that_the_guest_sees():
    chain()
    with Daemon(*TOP, *EXPORT) as d:
        guest = Guest('nbd', 't').start()
        guest.wait_for_writes(20)
        d.do('block-commit', job_id='j', device='t', top_node='m', base_node='a')
        assert d.finish() is None
        guest.wait_for_writes(20)
        guest.stop()
        nodes = {n['node-name']: n for n in d.do('query-named-block-nodes', flat=True)}
        assert 'm' not in nodes and nodes['a']['ro'], nodes.keys()
    os.unlink('m.qcow2')
    checked('t.qcow2', 'a.qcow2')
    check(guest, 't.qcow2')


@case
def a_commit_of_the_top_moves_the_guest():
    chain()
    with Daemon(*TOP, *EXPORT) as d:
        guest = Guest('nbd', 't').start()
        guest.wait_for_writes(20)
        d.do('block-commit', job_id='j', device='t', base_node='a')
        d.wait('READY')
        guest.wait_for_writes(20)
        assert d.finish('job-complete') is None
        guest.wait_for_writes(20)
        guest.stop()
    checked('a.qcow2')
    check(guest, 'a.qcow2')


@case
def a_snapshot_is_shown_while_the_guest_writes():
    chain()
    cbw = json.dumps({'driver': 'copy-before-write', 'node-name': 'c', 'file': 't', 'target': 'x'})
    with Daemon(*TOP, *target(), '--blockdev', cbw, '--blockdev', 'snapshot-access,node-name=s,file=c',
                '--nbd-server', 'addr.type=unix,addr.path=nbd', '--export',
                'nbd,id=e,node-name=c,writable=on', '--export', 'nbd,id=f,node-name=s'):
        guest = Guest('nbd', 'c')
        before = list(guest.disk)
        guest.start()
        guest.wait_for_writes(50)
        check(guest, '-f', 'raw', 'nbd+unix:///s?socket=nbd', disk=before)
        guest.wait_for_writes(10)
        guest.stop()
    check(guest, 't.qcow2')


def writes_above_a_slow_target(program, policy, speed):
    """What a guest is told whose second write waits for a copy that takes too long; then what reading the
    snapshot says."""
    for name in 't', 'x':
        img('create', '-q', '-f', 'qcow2', f'{name}.qcow2', SIZE)
    io('t.qcow2', 'write -q -P 9 0 16M')
    slow = {'driver': 'throttle', 'node-name': 'slow', 'throttle-group': 'g', 'file': node('x')}
    cbw = {'driver': 'copy-before-write', 'node-name': 'c', 'file': 't', 'target': 'slow', 'cbw-timeout': 1,
           'on-cbw-error': policy}
    pathlib.Path('nbd').unlink(missing_ok=True)
    with Stdio(program / 'qemu-storage-daemon', '--object', f'throttle-group,id=g,x-bps-total={speed}',
               '--blockdev', json.dumps(node('t')), '--blockdev', json.dumps(slow), '--blockdev', json.dumps(cbw),
               '--blockdev', 'snapshot-access,node-name=s,file=c', '--nbd-server',
               'addr.type=unix,addr.path=nbd', '--export', 'nbd,id=e,node-name=c,writable=on',
               '--export', 'nbd,id=f,node-name=s') as d:
        def ask(name, *commands, more=()):
            done = run(IO, *more, '-f', 'raw', f'nbd+unix:///{name}?socket=nbd',
                       *[w for c in commands for w in ('-c', c)], code=None)
            # Of errors that NBD does not know the servers make different ones.
            return re.sub(r'(failed:).*|.*ops;.*', r'\1', done.stdout + done.stderr)
        said = ask('c', 'write -P 1 0 64k', 'write -P 2 1M 64k', 'read -P 2 1M 64k')
        said += ask('s', 'read -P 9 8M 64k', more=['-r'])
        start = time.monotonic()
        assert d.answer('block-export-del', id='e', mode='hard') == {}
        return said, time.monotonic() - start


@case
def a_copy_that_takes_too_long_counts_as_failed():
    for policy in 'break-guest-write', 'break-snapshot':
        ours, took = writes_above_a_slow_target(BUILD, policy, 1024)
        theirs, _ = writes_above_a_slow_target(REFERENCE, policy, 16384)
        assert ours == theirs, (policy, ours, theirs)
        assert took < 20, took    # an edit did not wait for the copy, which had a minute to go


# ---- errors ----

def failing_file(name, event, error=5):
    """The file of image @name, which fails at the first @event."""
    return {'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': f'{name}.qcow2'},
            'inject-error': [{'event': event, 'errno': error, 'once': True}]}


def failing(job, policy, is_busy, **arguments):
    """Runs @job, which meets an error in the lowest layer or in the target; how it ends, and the disk."""
    chain()
    img('create', '-q', '-f', 'qcow2', 'x.qcow2', SIZE)
    before = content('t.qcow2')
    disk = [int.from_bytes(before[i:i + 8], 'little') for i in range(0, len(before), BLOCK)]
    is_copy = 'target' in arguments
    broken = failing_file('x' if is_copy else 'a', 'read_aio' if job == 'block-stream' else 'write_aio')
    with Daemon('--blockdev', json.dumps(node('t', backing=node('m', backing=node('a', **(
            {} if is_copy else {'file': broken}))))), '--blockdev', json.dumps(node('x', **(
                {'file': broken} if is_copy else {}))), *EXPORT) as d:
        guest = Guest('nbd', 't', blocks=64, disk=disk)
        d.do(job, job_id='j', device='t', **arguments, **policy)
        if is_busy:
            guest.start()
        d.wait('ERROR')
        at = next(i for i, e in enumerate(d.events) if e['event'] == 'BLOCK_JOB_ERROR')
        if 'stop' in policy.values():
            d.wait('paused', at)
            assert d.do('query-block-jobs')[0]['io-status'] == 'failed'
            d.do('job-resume', id='j')
        if job == 'blockdev-mirror' and 'report' not in policy.values():
            d.wait('READY')
            d.do('job-complete', id='j')
        error = d.finish()
        guest.stop() if is_busy else None
    return error, guest


def errors_of(job, key, is_busy=True, gives_up=False, **arguments):
    for policy in ('report', 'stop', 'ignore'):
        error, guest = failing(job, {key: policy}, is_busy, **arguments)
        fails = policy == 'report' or (gives_up and policy == 'ignore')
        assert error == ('Input/output error' if fails else None), (policy, error)
        # Whatever has become of the job, the disk is the guest's.
        moved = job == 'blockdev-mirror' and not fails
        check(guest, 'x.qcow2' if moved else 't.qcow2')
        checked('t.qcow2', 'm.qcow2', 'a.qcow2')


@case
def errors_of_a_stream():
    errors_of('block-stream', 'on_error', is_busy=False, gives_up=True)


@case
def errors_of_a_commit():
    errors_of('block-commit', 'on_error', top_node='m', base_node='a')


@case
def errors_of_a_backup():
    errors_of('blockdev-backup', 'on_target_error', is_busy=False, target='x', sync='full')


@case
def errors_of_a_mirror():
    errors_of('blockdev-mirror', 'on_target_error', target='x', sync='full')


# ---- beyond the reference ----

def hollow():
    chain()
    io('t.qcow2', 'write -q -P 5 0 16M')
    options = 'driver=qcow2,file.filename=t.qcow2,discard=unmap'
    run(IO, '--image-opts', *[w for i in range(0, 16, 2) for w in ('-c', f'discard {i}M 1M')], options)


@case
def an_image_is_compacted_while_the_guest_writes():
    hollow()
    before = os.stat('t.qcow2').st_size
    with Daemon(*TOP, *EXPORT) as d:
        guest = Guest('nbd', 't', blocks=1024, most=4).start()
        guest.wait_for_writes(20)
        d.do('x-compact', job_id='j', node_name='t')
        answer = d.try_('block-stream', job_id='k', device='t')
        assert 'in use by block job: x-compact' in answer.get('desc', '') or any(
            e['event'] == 'BLOCK_JOB_COMPLETED' for e in d.events), answer
        assert d.finish() is None
        guest.wait_for_writes(20)
        guest.stop()
    assert os.stat('t.qcow2').st_size < before - (5 << 20), (before, os.stat('t.qcow2').st_size, d.events)
    checked('t.qcow2')
    check(guest, 't.qcow2')


@case
def compacting_may_be_slow_paused_and_cancelled():
    hollow()
    with Daemon(*TOP, *EXPORT) as d:
        guest = Guest('nbd', 't').start()
        d.do('x-compact', job_id='j', node_name='t', speed=1)
        d.do('job-pause', id='j')
        d.do('job-resume', id='j')
        d.do('job-cancel', id='j')
        d.wait('null')
        guest.stop()
        for name in ('m', 'n'):    # read-only, absent
            assert 'desc' in d.try_('x-compact', job_id='j', node_name=name)
    checked('t.qcow2')
    check(guest, 't.qcow2')


@case
def a_job_tells_its_rate_and_how_long_it_will_take():
    chain()
    with Daemon(*TOP, *target()) as d:
        d.do('blockdev-backup', job_id='j', device='t', target='x', sync='full', speed=2 << 20)
        deadline = time.monotonic() + PATIENCE
        while 'x-seconds-left' not in (told := d.do('query-jobs', x_forecast=True)[0]) or not told['x-rate']:
            assert time.monotonic() < deadline, told
            time.sleep(.05)
        left = told['total-progress'] - told['current-progress']
        assert told['x-seconds-left'] == -(-left // told['x-rate']), told
        deadline = time.monotonic() + PATIENCE
        while not (2 << 20) * .5 < told['x-rate'] < (2 << 20) * 1.8:
            assert time.monotonic() < deadline, told
            time.sleep(.2)
            told = d.do('query-jobs', x_forecast=True)[0]
        assert 'x-rate' not in d.do('query-jobs')[0]
        d.do('job-pause', id='j')
        assert 'x-rate' not in d.do('query-jobs', x_forecast=True)[0]
        d.do('job-cancel', id='j')


# ---- nodes ----

@case
def a_job_lets_go_of_its_nodes_in_the_end():
    chain()
    with Daemon(*TOP, *target()) as d:
        for job in (lambda: d.do('blockdev-backup', job_id='j', device='t', target='x', sync='full', speed=1),
                    lambda: d.do('blockdev-mirror', job_id='j', device='t', target='x', sync='full', speed=1),
                    lambda: d.do('block-stream', job_id='j', device='t', speed=1),
                    lambda: d.do('block-commit', job_id='j', device='t', top_node='m', speed=1)):
            job()
            for command in ({'command': 'blockdev-del', 'node_name': 't'},
                            {'command': 'block_resize', 'node_name': 't', 'size': 1 << 25},
                            {'command': 'blockdev-set-active', 'node_name': 't', 'active': False},
                            {'command': 'block-commit', 'job_id': 'k', 'device': 't', 'top_node': 'm'}):
                answer = d.try_(**command)
                words = answer.get('desc', '')
                assert any(w in words for w in ('in use', 'uses it', 'Need a root')), (command, answer, d.events[-4:])
            seen = len(d.events)
            d.do('job-cancel', id='j')
            d.wait('null', seen)
        d.do('blockdev-del', node_name='x')
        d.do('blockdev-del', node_name='t')
        assert not d.do('query-named-block-nodes')
    checked('t.qcow2', 'm.qcow2', 'a.qcow2', 'x.qcow2')


@case
def nobody_reads_a_layer_that_a_commit_makes_worthless():
    chain()
    with Daemon(*TOP, *EXPORT) as d:
        d.do('block-commit', job_id='j', device='t', top_node='m', base_node='a', speed=1)
        answer = d.try_('block-export-add', type='nbd', id='f', node_name='m')
        assert 'desc' in answer, answer
        answer = d.try_('blockdev-add', **node('o', backing='m', file={'driver': 'file', 'filename': 'm.qcow2'}))
        assert 'desc' in answer, answer
        Guest('nbd', 't').close()
        d.do('job-cancel', id='j')
        d.do('block-export-add', type='nbd', id='f', node_name='m')
        answer = d.try_('block-commit', job_id='j', device='t', top_node='m', base_node='a')
        assert 'desc' in answer, answer


@case
def chains_of_busy_nodes_are_not_changed():
    chain()
    with Daemon(*TOP) as d:
        d.do('block-stream', job_id='j', device='t', speed=1)
        for how in ({'backing': None}, {'backing': 'a'}):
            answer = d.try_('blockdev-reopen', options=[{'driver': 'qcow2', 'node-name': 't', 'file': node('t')['file'],
                                                         **how}])
            assert 'in use by block job' in answer['desc'], answer
        d.do('job-cancel', id='j')


@case
def a_daemon_that_ends_cancels_its_jobs():
    for job in ({'command': 'blockdev-backup', 'sync': 'full', 'target': 'x'},
                {'command': 'blockdev-mirror', 'sync': 'full', 'target': 'x'}, {'command': 'block-stream'},
                {'command': 'block-commit', 'top_node': 'm'}, {'command': 'block-commit'}):
        chain()
        with Daemon(*TOP, *target(), *EXPORT) as d:
            guest = Guest('nbd', 't').start()
            d.do(job_id='j', device='t', speed=1, **job)
            guest.wait_for_writes(10)
            start = time.monotonic()
            d.process.terminate()
            guest.stop()
            assert d.end() == 0 and time.monotonic() - start < 5
        checked('t.qcow2')
        bad = guest.problems(content('t.qcow2'))
        assert not bad, (job, bad)


@case
def zeroes_cost_nothing():
    """Of 64 GiB with 2 MiB of data nothing else is read or written."""
    img('create', '-q', '-f', 'qcow2', 't.qcow2', '64G')
    io('t.qcow2', 'write -q -P 1 1G 1M', 'write -q -P 2 63G 1M')
    img('create', '-q', '-f', 'raw', 'x.raw', '64G')
    for command in ('blockdev-mirror', 'blockdev-backup'):
        with Daemon('--blockdev', json.dumps(node('t')), '--blockdev', 'file,node-name=x,filename=x.raw') as d:
            start = time.monotonic()
            d.do(command, job_id='j', device='t', target='x', sync='full')
            d.finish(*(('READY', 'job-complete') if command == 'blockdev-mirror' else ()))
            took = time.monotonic() - start
            assert took < 10, took
        assert os.stat('x.raw').st_blocks * 512 < 4 << 20
        img('compare', '-q', '-f', 'qcow2', '-F', 'raw', 't.qcow2', 'x.raw')


if __name__ == '__main__':
    main('storage-daemon/jobs')
