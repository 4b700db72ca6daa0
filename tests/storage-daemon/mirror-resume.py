#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Mirrors with x-resume: they go on after a crash or a broken connection, and copy only what is left. That no
difference is missed at any moment is tested in block/mirror-resume; here processes are killed."""
import importlib.util
import json
import pathlib
import random
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'lib'))
from cases import BUILD, CASES, REFERENCE, case, img, io, main, run
from guest import Guest
from stored import await_nothing_left

spec = importlib.util.spec_from_file_location('jobs', HERE / 'jobs.py')
jobs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(jobs)
CASES.clear()    # those are run by themselves

X = ('--blockdev', 'qcow2,node-name=x,file.driver=file,file.filename=x.qcow2')
MIRROR = {'job_id': 'j', 'device': 't', 'target': 'x', 'sync': 'full', 'x_resume': 'r'}


def bitmaps(name='t.qcow2', program=BUILD):
    """Name and flags of the bitmaps that are in an image."""
    info = json.loads(run(program / 'qemu-img', 'info', '-U', '--output=json', '-f', 'qcow2', name).stdout)
    return {b['name']: b['flags'] for b in info['format-specific']['data'].get('bitmaps', [])}


def images(size=jobs.SIZE):
    for name in 't.qcow2', 'x.qcow2':
        img('create', '-q', '-f', 'qcow2', name, size)


def daemon(*more):
    return jobs.Daemon('--blockdev', json.dumps(jobs.node('t')), *X, *more)


def copied(d):
    """Bytes that the job j has copied until it was ready."""
    d.wait('READY')
    return next(e for e in d.events if e['event'] == 'BLOCK_JOB_READY')['data']['offset']


def is_same():
    return img('compare', '-f', 'qcow2', '-F', 'qcow2', 't.qcow2', 'x.qcow2', code=None).returncode == 0


@case
def a_mirror_of_a_killed_daemon_goes_on_where_it_was():
    images('64M')
    io('t.qcow2', 'write -q -P 1 0 64M')
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        assert copied(d) == 64 << 20
        await_nothing_left('t.qcow2')
        d.process.kill()
    assert bitmaps() == {'r': ['auto']}, bitmaps()
    io('t.qcow2', 'write -q -P 2 5M 1M')
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        assert copied(d) == 1 << 20
        d.finish('job-complete', 'concluded')
    assert is_same() and bitmaps() == {}


@case
def the_reference_trusts_the_bitmap_and_goes_on_recording():
    images('64M')
    io('t.qcow2', 'write -q -P 1 0 64M')
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        copied(d)
        await_nothing_left('t.qcow2')
        assert bitmaps(program=REFERENCE) == {'r': ['auto']}
        d.process.kill()
    run(REFERENCE / 'qemu-io', '-f', 'qcow2', 't.qcow2', '-c', 'write -q -P 3 40M 2M')
    assert run(REFERENCE / 'qemu-img', 'check', '-q', 't.qcow2', code=None).returncode in (0, 3)
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        assert copied(d) == 2 << 20
        d.finish('job-complete', 'concluded')
    assert is_same()


@case
def a_guest_that_writes_until_it_is_killed_loses_nothing():
    resumed = 0
    for seed in range(12):
        images()
        io('t.qcow2', 'write -q -P 1 0 16M')
        chance = random.Random(seed)
        for _ in range(2):
            pathlib.Path('nbd').unlink(missing_ok=True)
            with daemon(*jobs.EXPORT) as d:
                guest = Guest('nbd', 't', seed, most=8).start()
                guest.wait_for_writes(5)
                d.do('blockdev-mirror', **MIRROR, copy_mode=chance.choice(('background', 'write-blocking')))
                time.sleep(chance.random() * .6)
                d.process.kill()
                guest.stop()
            if 'r' not in bitmaps():
                break
            if 'in-use' in bitmaps()['r']:
                img('bitmap', '--remove', '-f', 'qcow2', 't.qcow2', 'r')
                break
            resumed += 1
        with daemon() as d:
            d.do('blockdev-mirror', **MIRROR)
            d.finish('READY', 'job-complete', 'concluded')
        assert is_same(), seed
        for name in 't.qcow2', 'x.qcow2':
            # Space that is lost with a kill is no harm.
            assert img('check', '-q', '-f', 'qcow2', name, code=None).returncode in (0, 3), (seed, name)
    assert resumed > 12, resumed


@case
def a_broken_connection_costs_no_second_copy():
    images('64M')
    io('t.qcow2', 'write -q -P 1 0 64M')

    def server():
        pathlib.Path('far').unlink(missing_ok=True)
        p = subprocess.Popen([BUILD / 'qemu-nbd', '-k', pathlib.Path('far').absolute(), '-f', 'qcow2', '-t',
                              '-e', '4', '-x', 'x', 'x.qcow2'])
        while not pathlib.Path('far').exists():
            time.sleep(.01)
        return p

    def far(name):
        return {'driver': 'nbd', 'node-name': name, 'export': 'x', 'server': {'type': 'unix', 'path': 'far'}}

    p = server()
    try:
        with jobs.Daemon('--blockdev', json.dumps(jobs.node('t')), '--blockdev', json.dumps(far('x')),
                         *jobs.EXPORT) as d:
            d.do('blockdev-mirror', **MIRROR)
            copied(d)
            await_nothing_left('t.qcow2')
            p.kill()
            p.wait()
            guest = Guest('nbd', 't', blocks=256).start()
            guest.wait_for_writes(5)
            error = d.finish('concluded')
            assert error, d.events
            guest.stop()
            p = server()
            d.do('blockdev-add', **far('y'))
            d.events.clear()
            d.do('blockdev-mirror', **{**MIRROR, 'target': 'y'})
            # What the guest has written, and what was stored with it.
            assert 0 < copied(d) <= 16 << 20
            assert d.finish('job-complete', 'concluded') is None
    finally:
        p.terminate()
        p.wait()
    assert is_same()


@case
def what_cannot_be_resumed_is_refused():
    images()
    img('create', '-q', '-f', 'raw', 'raw', jobs.SIZE)
    with daemon('--blockdev', 'raw,node-name=raw,file.driver=file,file.filename=raw') as d:
        def refused(words, **more):
            said = d.try_('blockdev-mirror', **{**MIRROR, **more})
            assert words in said.get('desc', ''), said
        refused('sync=full', sync='top')
        refused('cannot', device='raw')
        d.do('block-dirty-bitmap-add', node='t', name='off', persistent=True, disabled=True)
        refused('does not record', x_resume='off')
        d.do('block-dirty-bitmap-add', node='t', name='memory')
        refused('not persistent', x_resume='memory')
        refused('granularity', granularity=100)
        names = [b['name'] for n in d.do('query-named-block-nodes') if n['node-name'] == 't'
                 for b in n.get('dirty-bitmaps', [])]
        assert sorted(names) == ['memory', 'off'], names
        d.do('blockdev-mirror', **MIRROR)
        d.wait('READY')
        said = d.try_('block-dirty-bitmap-remove', node='t', name='r')
        assert 'in use' in said['desc'], said
        # Forced to end, nothing in the image is to be trusted until it is closed well.
        d.do('job-cancel', id='j')
        d.wait('null')
        assert bitmaps()['r'] == ['in-use', 'auto'], bitmaps()
        d.process.kill()
    with daemon() as d:
        said = d.try_('blockdev-mirror', **MIRROR)
        assert 'inconsistent' in said['desc'] or 'in use' in said['desc'], said


main('mirror-resume', 'storage-daemon')
