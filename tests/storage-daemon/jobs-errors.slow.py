#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kind of job meets an error at requests from the first to the last, of data, of metadata and of flushes, with each
policy: it ends well or says that it failed, and the disk of the guest is right whatever has become of it."""
import importlib.util
import json
import os
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'lib'))
from cases import CASES, case, img, main

spec = importlib.util.spec_from_file_location('jobs', HERE / 'jobs.py')
jobs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(jobs)
CASES.clear()    # those are run by themselves

STEP = int(os.environ.get('FERRY_STEP', '8'))    # every so manyth request; 1: all of them
POLICIES = 'report', 'stop', 'ignore'
# Of the file that the job writes; the requests of the guest's other images are never failed.
EVENTS = 'write_aio', 'read_aio', 'l2_update', 'cluster_alloc', 'flush_to_disk', 'refblock_update_part'
DATA = 'write_aio', 'read_aio'


def failing_file(name, event, number, error):
    """The file of image @name, which fails at @event number @number."""
    count = [{'event': event, 'state': i, 'new_state': i + 1} for i in range(1, number)]
    return {'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': f'{name}.qcow2'}, 'set-state': count,
            'inject-error': [{'event': event, 'state': number, 'errno': error, 'once': True}]}


class Attempt:
    """One job with one error."""

    def __init__(self, job, where, event, number, policy, error, **arguments):
        for name in 'tmax':
            shutil.copy(f'fresh/{name}.qcow2', f'{name}.qcow2')
        broken = {'file': failing_file(where, event, number, error)}

        def image(name, **more):
            return jobs.node(name, **{**more, **(broken if name == where else {})})
        with jobs.Daemon('--blockdev', json.dumps(image('t', backing=image('m', backing=image('a')))),
                         '--blockdev', json.dumps(image('x'))) as d:
            self.daemon = d
            d.do(job, job_id='j', device='t', **{**arguments, **policies(job, policy)})
            self.error = self.run(job)
            self.was_met = any(e['event'] == 'BLOCK_JOB_ERROR' for e in d.events)
            self.replaced = job == 'blockdev-mirror' and self.error is None

    def run(self, job):
        d, seen = self.daemon, 0
        while True:
            d.wait_for(lambda e: e['event'] == 'JOB_STATUS_CHANGE' and e['data']['status'] in (
                'paused', 'ready', 'null'), seen)
            at = next(i for i, e in enumerate(d.events) if i >= seen and e['event'] == 'JOB_STATUS_CHANGE' and
                      e['data']['status'] in ('paused', 'ready', 'null'))
            status = d.events[at]['data']['status']
            if status == 'null':
                ended = [e for e in d.events if e['event'] in ('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED')][-1]
                return ended['data'].get('error')
            # The pause with which some kinds begin needs nobody.
            d.try_('job-resume' if status == 'paused' else 'job-complete', id='j')
            seen = at + 1


def policies(job, policy):
    if job in ('block-stream', 'block-commit'):
        return {'on_error': policy}
    return {'on_source_error': policy, 'on_target_error': policy}


def wait_for(self, condition, seen):
    while not any(condition(e) for e in self.events[seen:]):
        line = self.reader.line()
        assert line is not None, f'nothing happens after {self.events[-3:]}'
        self.events.append(json.loads(line))


jobs.Daemon.wait_for = wait_for


def each(job, where, gives_up=False, **arguments):
    os.mkdir('fresh')
    os.chdir('fresh')
    jobs.SIZE = '12M'
    jobs.chain()
    img('create', '-q', '-f', 'qcow2', 'x.qcow2', jobs.SIZE)
    os.chdir('..')
    before = jobs.content('fresh/t.qcow2')
    met = 0
    for event in EVENTS:
        for policy in POLICIES:
            number = 1
            while True:
                at = (job, event, number, policy)
                a = Attempt(job, where, event, number, policy, 5, **arguments)
                met += a.was_met
                judge(a, at, event, policy, gives_up, before)
                # The last one had no error to meet.
                if not a.was_met and a.error is None:
                    break
                number += STEP
                assert number < 1000, at
    assert met >= len(POLICIES), met
    print(f'# {job}: {met} errors')


def judge(a, at, event, policy, gives_up, before):
    if a.was_met and policy == 'report':
        assert a.error, at
    if a.was_met and event in DATA and policy == 'stop':
        assert a.error is None, (at, a.error)
    if a.was_met and event in DATA and policy == 'ignore' and not gives_up:
        assert a.error is None, (at, a.error)
    for name in ('x', 't') if a.replaced else ('t',):
        assert jobs.content(f'{name}.qcow2') == before, (at, name, a.error)
    for name in 'tmax':
        found = img('check', '-f', 'qcow2', f'{name}.qcow2', code=None)
        # Space that a failed write took and nobody got back is no harm.
        assert found.returncode in (0, 3), (at, name, found.stdout[-500:])


@case
def a_stream_meets_errors_in_what_it_writes():
    each('block-stream', 't', gives_up=True)


@case
def a_stream_meets_errors_in_what_it_reads():
    each('block-stream', 'a', gives_up=True)


@case
def a_commit_meets_errors_in_what_it_writes():
    # The name of a node with so many rules is too long to be stored.
    each('block-commit', 'a', top_node='m', base_node='a', backing_file='a.qcow2')


@case
def a_commit_of_the_top_meets_errors_in_what_it_writes():
    each('block-commit', 'a', base_node='a')


@case
def a_mirror_meets_errors_in_what_it_writes():
    each('blockdev-mirror', 'x', target='x', sync='full')


@case
def a_mirror_meets_errors_in_what_it_reads():
    each('blockdev-mirror', 'a', target='x', sync='full')


@case
def a_backup_meets_errors_in_what_it_writes():
    each('blockdev-backup', 'x', target='x', sync='full')


@case
def a_backup_meets_errors_in_what_it_reads():
    each('blockdev-backup', 'a', target='x', sync='full')


main('storage-daemon/jobs-errors')
