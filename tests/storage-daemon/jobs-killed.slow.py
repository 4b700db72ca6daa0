#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kind of job, with a guest that writes and flushes, killed at many moments: images are consistent, the
disk is what the guest may find, and an image that is said to stand alone does."""
import importlib.util
import os
import pathlib
import random
import shutil
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'lib'))
from cases import CASES, IO, case, img, io, main, run
from guest import Guest
from this_run import SHARE

spec = importlib.util.spec_from_file_location('jobs', HERE / 'jobs.py')
jobs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(jobs)
CASES.clear()    # those are run by themselves

MOMENTS = int(os.environ.get('FERRY_MOMENTS', 48 // SHARE))


class Killed:
    """One run: what has happened until it was killed."""

    def __init__(self, seed, command, **arguments):
        self.random = random.Random(seed)
        for name in ('t', 'm', 'a', 'x'):
            shutil.copy(f'fresh/{name}.qcow2', f'{name}.qcow2')
        if os.path.exists('nbd'):
            os.unlink('nbd')
        *server, export = jobs.EXPORT
        # Every other time the images live, and are copied, on a thread of their own.
        export += ',iothread=i' if seed % 2 else ''
        with jobs.Daemon('--object', 'iothread,id=i', *jobs.TOP, '--blockdev',
                         'qcow2,node-name=x,file.driver=file,file.filename=x.qcow2', *server, export) as d:
            self.daemon = d
            self.guest = Guest('nbd', 't', seed, most=8).start()
            self.guest.wait_for_writes(5)
            with self.guest.lock:
                self.before = list(self.guest.disk)
                d.do(command, job_id='j', **{'node_name' if command == 'x-compact' else 'device': 't'}, **arguments)
            self.is_asked = False
            self.work()
            d.process.kill()
            self.guest.stop()
            self.is_over = self.has_seen('COMPLETED') or self.has_seen('concluded')

    def has_seen(self, word):
        d = self.daemon
        while (line := d.reader.line(0.05)) is not None:
            if '"event"' in line:
                d.events.append(jobs.json.loads(line))
        return any(e['event'].endswith(word) or e['data'].get('status') == word for e in d.events)

    def work(self):
        end = time.monotonic() + self.random.random() ** 2 * .25
        while time.monotonic() < end:
            if not self.is_asked and any(e['event'] == 'BLOCK_JOB_READY' for e in self.daemon.events):
                self.is_asked = True
                self.daemon.do('job-complete', id='j')
            self.daemon.do('query-jobs')

    def holds(self, image):
        bad = self.guest.problems(jobs.content(image))
        return not bad, bad


def check_once_free(name):
    """The kernel may give up the locks of a killed process only when its last requests have ended."""
    deadline = time.monotonic() + 20
    while True:
        found = img('check', '-f', 'qcow2', name, code=None)
        if 'lock' not in found.stderr or time.monotonic() > deadline:
            return found
        time.sleep(.05)


def each(command, images, judge, prepare=None, **arguments):
    """@judge says what is wrong with a run; @prepare changes the images before."""
    os.mkdir('fresh')
    os.chdir('fresh')
    jobs.chain()
    img('create', '-q', '-f', 'qcow2', 'x.qcow2', jobs.SIZE)
    if prepare:
        prepare()
    os.chdir('..')
    over = 0
    for seed in range(MOMENTS):
        run = Killed(seed, command, **arguments)
        over += run.is_over
        for name in images:
            # Space that is lost is no harm; what else check finds is.
            found = check_once_free(f'{name}.qcow2')
            assert found.returncode in (0, 3), (seed, name, found.stdout[-600:], found.stderr)
        wrong = judge(run)
        assert not wrong, (seed, run.daemon.events[-3:], wrong)
    print(f'# {command}: {over} of {MOMENTS} were over')


def guest_is_at(*images):
    """The disk is in one of @images, in the first if the job was not asked to end, in the last if it had."""
    def judge(run):
        found = [run.holds(f'{i}.qcow2') for i in images]
        if run.is_over:
            return found[-1][1]
        if not run.is_asked:
            return found[0][1]
        return None if any(ok for ok, _ in found) else found
    return judge


@case
def a_stream_that_is_killed():
    def judge(run):
        info = jobs.json.loads(img('info', '--output=json', '-f', 'qcow2', 't.qcow2').stdout)
        if 'backing-filename' not in info:
            os.unlink('m.qcow2')
            os.unlink('a.qcow2')
        elif run.is_over:
            return 'the backing file is still named'
        return run.holds('t.qcow2')[1]
    each('block-stream', ('t', 'm', 'a'), judge)


@case
def a_commit_of_a_layer_that_is_killed():
    def judge(run):
        info = jobs.json.loads(img('info', '--output=json', '-f', 'qcow2', 't.qcow2').stdout)
        if info['backing-filename'] == 'a.qcow2':
            os.unlink('m.qcow2')
        elif run.is_over:
            return 'the layer is still named'
        return run.holds('t.qcow2')[1]
    each('block-commit', ('t', 'm', 'a'), judge, top_node='m', base_node='a')


@case
def a_commit_of_the_top_that_is_killed():
    each('block-commit', ('t', 'm', 'a'), guest_is_at('t', 'a'), base_node='a')


@case
def a_mirror_that_is_killed():
    each('blockdev-mirror', ('t', 'x'), guest_is_at('t', 'x'), target='x', sync='full')


@case
def a_mirror_that_blocks_writes_and_is_killed():
    each('blockdev-mirror', ('t', 'x'), guest_is_at('t', 'x'), target='x', sync='full', copy_mode='write-blocking')


@case
def a_backup_that_is_killed():
    def judge(run):
        if run.is_over:
            bad = run.guest.problems(jobs.content('x.qcow2'), run.before, {})
            if bad:
                return bad
        return run.holds('t.qcow2')[1]
    each('blockdev-backup', ('t', 'x'), judge, target='x', sync='full')


def bitmap_flags(image):
    info = jobs.json.loads(img('info', '--output=json', '-f', 'qcow2', image).stdout)
    # That of a mirror has its target's hash behind its name.
    return {b['name'].split('.')[0]: b['flags'] for b in info['format-specific']['data'].get('bitmaps', ())}


@case
def an_incremental_backup_that_is_killed():
    def prepare():
        img('bitmap', '--add', 't.qcow2', 'b')
        io('t.qcow2', 'write -q -P 77 2M 9M')

    def judge(run):
        # What the bitmap would say is not all that was written: nobody may take it for that.
        if 'in-use' not in (flags := bitmap_flags('t.qcow2'))['b']:
            return flags
        return run.holds('t.qcow2')[1]
    each('blockdev-backup', ('t', 'x'), judge, prepare=prepare, target='x', sync='incremental', bitmap='b')


@case
def a_resumable_mirror_that_is_killed():
    def judge(run):
        flags = bitmap_flags('t.qcow2').get('r')
        ends = run.is_asked or run.is_over # and then it is removed
        if flags is None and not ends and '"data": true' in img('map', '--output=json', 'x.qcow2').stdout:
            return 'copied before the bitmap was stored'
        if flags not in (None, ['auto'], ['in-use', 'auto']):
            return flags
        return guest_is_at('t', 'x')(run)
    each('blockdev-mirror', ('t', 'x'), judge, target='x', sync='full', x_resume='r')


@case
def a_compaction_that_is_killed():
    def prepare():
        io('t.qcow2', 'write -q -P 5 0 16M')
        run(IO, '--image-opts', *[w for i in range(0, 16, 2) for w in ('-c', f'discard {i}M 1M')],
            'driver=qcow2,file.filename=t.qcow2,discard=unmap')

    each('x-compact', ('t', 'm', 'a'), guest_is_at('t'), prepare=prepare)


main('storage-daemon/jobs-killed')
