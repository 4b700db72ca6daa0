#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Capabilities and parameters of migrations, told and set as the reference does it, and what each of them
changes."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IMG, case, main, require, run
from emulator import wait_for
from guests import REFERENCE_EMULATOR
from migrating import Mover, check_moved, source, target

# What no migration of ours does: everything that RDMA, COLO and storage migration bring, and more.
ABSENT = {'rdma-pin-all', 'zero-blocks', 'compress', 'x-colo', 'block',
          'dirty-bitmaps', 'x-ignore-shared', 'background-snapshot', 'zero-copy-send',
          'postcopy-preempt'}


@case
def all_capabilities_are_known_and_those_absent_are_refused_by_name():
    with Mover('a', '-S') as a:
        names = [c['capability'] for c in a.answer('query-migrate-capabilities')]
        assert len(names) == 21 and ABSENT < set(names), names
        for name in names:
            for state in True, False:
                said = a.answer('migrate-set-capabilities', capabilities=[{'capability': name, 'state': state}])
                assert (said == {}) == (name not in ABSENT or not state), said
                assert said == {} or name in said['desc']
        both = [{'capability': 'xbzrle', 'state': True}, {'capability': 'x-colo', 'state': True}]
        assert 'x-colo' in a.answer('migrate-set-capabilities', capabilities=both)['desc']
        assert not any(c['state'] for c in a.answer('query-migrate-capabilities'))


VALUES = [('compress_level', 10), ('compress_threads', 0), ('decompress_threads', 0),
          ('throttle_trigger_threshold', 0), ('throttle_trigger_threshold', 101), ('cpu_throttle_initial', 0),
          ('cpu_throttle_initial', 100), ('cpu_throttle_increment', 0), ('downtime_limit', 2000001),
          ('multifd_channels', 0), ('xbzrle_cache_size', 4095), ('xbzrle_cache_size', 5000),
          ('max_cpu_throttle', 5), ('max_cpu_throttle', 100), ('announce_initial', 100001),
          ('announce_rounds', 1001), ('max_bandwidth', 0), ('downtime_limit', 7), ('multifd_channels', 255),
          ('multifd_compression', 'zstd'), ('tls_creds', 'x'), ('tls_creds', None), ('tls_hostname', 'y'),
          ('cpu_throttle_tailslow', True), ('cpu_throttle_initial', 50), ('max_cpu_throttle', 49),
          ('xbzrle_cache_size', 4096), ('throttle_trigger_threshold', 100)]


@case
def parameters_are_the_references():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    with Mover('a', '-S') as a, Mover('b', '-S', program=REFERENCE_EMULATOR) as b:
        assert a.answer('query-migrate-capabilities') == b.answer('query-migrate-capabilities')
        for name, value in VALUES:
            said = [side.answer('migrate-set-parameters', **{name: value}) for side in (a, b)]
            assert said[0] == said[1], (name, value, said)
            told = [side.answer('query-migrate-parameters') for side in (a, b)]
            assert told[0] == told[1], (name, value, told)
        assert a.answer('query-migrate') == b.answer('query-migrate') == {}


@case
def parameters_of_what_is_absent_keep_their_values():
    with Mover('a', '-S') as a:
        for name, same, other in ('compress_level', 1, 2), ('block_incremental', False, True):
            assert a.answer('migrate-set-parameters', **{name: same}) == {}
            assert name.replace('_', '-') in a.answer('migrate-set-parameters', **{name: other})['desc']


@case
def pages_that_come_again_are_sent_as_what_has_changed():
    """To our own target, and to the reference, which reads what we encode."""
    for program in {}, {'program': REFERENCE_EMULATOR}:
        require(not program or REFERENCE_EMULATOR.exists(), 'no reference')
        pathlib.Path('m.sock').unlink(missing_ok=True)
        with source() as a, target('defer', **program) as b:
            for side in a, b:
                side.turn_on('xbzrle')
            # Several passes, before the guest is let go.
            a.tune(max_bandwidth=0, downtime_limit=0)
            a.await_rounds(1)
            assert a.answer('migrate', uri=b.listen('unix:m.sock')) == {}
            wait_for(lambda: a.answer('query-migrate').get('ram', {}).get('dirty-sync-count', 0) >= 4)
            a.tune(downtime_limit=20000)
            wait_for(lambda: a.status() == 'completed')
            told = a.answer('query-migrate')
            cache = told['xbzrle-cache']
            assert cache['pages'] > 0 and cache['cache-miss'] > 0 and cache['cache-size'] == 64 << 20, cache
            assert 0 < cache['bytes'] < cache['pages'] * 4096, cache
            check_moved(a, b)


@case
def a_guest_that_writes_too_fast_gets_less_time_until_it_can_go():
    with source() as a, target('unix:m.sock') as b:
        a.turn_on('auto-converge')
        a.tune(max_bandwidth=8 << 20, downtime_limit=0, cpu_throttle_initial=30, cpu_throttle_increment=20,
               throttle_trigger_threshold=5)
        a.await_rounds(1)
        assert a.answer('migrate', uri='unix:m.sock') == {}
        wait_for(lambda: a.answer('query-migrate').get('cpu-throttle-percentage') in (50, 70))
        a.tune(max_bandwidth=0, downtime_limit=20000)
        wait_for(lambda: a.status() == 'completed')
        assert 'cpu-throttle-percentage' not in a.answer('query-migrate')
        check_moved(a, b)


@case
def a_guest_with_another_uuid_is_refused_if_that_is_wanted():
    one, other = ('-uuid', '11111111-2222-3333-4444-555555555555'), ('-uuid', '66666666-2222-3333-4444-555555555555')
    for wanted, far, expect in (True, other, 'failed'), (False, other, 'completed'), (True, one, 'completed'):
        pathlib.Path('m.sock').unlink(missing_ok=True)
        with source(*one) as a, target('defer', *far) as b:
            for side in a, b:
                side.turn_on('return-path', *(['validate-uuid'] if wanted else []))
            a.await_rounds(1)
            a.migrate(b.listen('unix:m.sock'), expect)
            if expect == 'failed':
                assert b.process.wait(20) == 1 and b'UUID' in b.process.stderr.read()
                assert a.state() == 'running'
            else:
                check_moved(a, b)


@case
def events_and_states_come_in_the_references_order():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    seen = []
    for program in {}, {'program': REFERENCE_EMULATOR}:
        pathlib.Path('m.sock').unlink(missing_ok=True)
        with source(**program) as a, target('defer', **program) as b:
            for side in a, b:
                side.turn_on('events', 'pause-before-switchover')
            a.tune(max_bandwidth=0, downtime_limit=20000)
            assert a.answer('migrate', uri=b.listen('unix:m.sock')) == {}
            wait_for(lambda: a.status() == 'pre-switchover')
            assert a.answer('migrate-continue', state='pre-switchover') == {}
            wait_for(lambda: a.status() == 'completed' and b.state() == 'running')
            time.sleep(0.2)
            seen.append([[(e['event'], e.get('data', {}).get('status')) for e in side.events
                          if e['event'] in ('MIGRATION', 'STOP', 'RESUME')] for side in (a, b)])
    assert seen[0] == seen[1], seen


@case
def it_is_told_beforehand_whether_the_guest_will_go_and_afterwards_where_its_pause_went():
    with source() as a, target('unix:m.sock') as b:
        a.await_rounds(1)
        a.tune(max_bandwidth=8 << 20, downtime_limit=10)
        assert a.answer('migrate', uri='unix:m.sock') == {}

        def told():
            return a.answer('query-migrate').get('x-forecast', {})

        wait_for(lambda: told().get('dirty-rate', 0) > 0)
        # The guest writes 16 MiB over and over.
        wait_for(lambda: told()['converges'] is False)
        a.tune(downtime_limit=20000)
        wait_for(lambda: a.status() == 'completed' or told().get('converges'))
        a.tune(max_bandwidth=0)
        wait_for(lambda: a.status() == 'completed')
        check_moved(a, b)
        info, there = a.answer('query-migrate'), b.answer('query-migrate')
        for report in info['x-downtime'], there['x-downtime']:
            stages = report['stages']
            assert abs(sum(s['time'] for s in stages) - report['total']) <= len(stages), report
            assert {'timer', 'serial', 'globalstate'} < {s.get('device') for s in stages}, report
        total = info['x-downtime']['total'] / 1000
        assert abs(total - info['downtime']) <= 0.05 * info['downtime'] + 2, info
        assert [s['stage'] for s in info['x-downtime']['stages'] if s['stage'] != 'device'] == \
            ['stop', 'memory', 'images', 'send', 'end'], info


@case
def images_can_stay_the_sources_until_the_guest_runs():
    for name in 'one.qcow2', 'two.qcow2':
        run(IMG, 'create', '-q', '-f', 'qcow2', name, '1M')

    def disk(name):
        return ('-device', 'virtio-blk-device,drive=d', '-blockdev',
                f'qcow2,node-name=d,file.driver=file,file.filename={name}')

    for late in True, False:
        with source(*disk('one.qcow2')) as a, target('defer', '-S', *disk('two.qcow2')) as b:
            if late:
                b.turn_on('late-block-activate')
            a.await_rounds(1)
            a.migrate(b.listen('unix:m.sock'))
            wait_for(lambda: b.state() == 'paused')
            assert ('lock' in run(IMG, 'info', 'two.qcow2', code=0 if late else 1).stderr) != late
            assert b.answer('cont') == {}
            assert 'lock' in run(IMG, 'info', 'two.qcow2', code=1).stderr
            check_moved(a, b)
        pathlib.Path('m.sock').unlink(missing_ok=True)


main('migration-settings', 'system')
