#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move while they run: to another of our emulators, to the reference and back; and streams
that are refused."""
import pathlib
import re
import select
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require, run
from emulator import MACHINE, wait_for
from guests import EMULATOR, REFERENCE_EMULATOR
from migrating import check_moved, source, target
from qmp import PATIENCE


@case
def a_running_guest_moves_over_a_socket_and_loses_nothing():
    with source() as a, target('unix:m.sock') as b:
        a.await_rounds()
        assert b.state() == 'inmigrate' and b.status() == 'setup'
        assert b.answer('query-migrate')['socket-address'] == [{'type': 'unix', 'path': 'm.sock'}]
        info = a.migrate('unix:m.sock')
        assert info['ram']['dirty-sync-count'] >= 2 and info['downtime'] < info['total-time'], info
        check_moved(a, b)


@case
def a_guest_goes_to_the_reference_and_back():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    with source() as a:
        a.await_rounds()
        a.migrate('exec:cat >there')
        with target('exec:cat there', program=REFERENCE_EMULATOR) as b:
            check_moved(a, b)
            # Its own tracking of written pages loses some; so it stands still.
            b.answer('stop')
            b.migrate('exec:cat >back')
            with target('exec:cat back', name='again') as c:
                wait_for(lambda: c.state() == 'paused')
                assert c.answer('cont') == {}
                check_moved(a, b, c)


@case
def streams_that_do_not_fit_are_refused_and_nothing_runs():
    with source() as a:
        a.await_rounds()
        a.migrate('file:saved')
    whole = pathlib.Path('saved').read_bytes()
    cut = whole[:len(whole) // 2]
    other = whole.replace(b'\x07\0\0\0\x07microvm', b'\x07\0\0\0\x07macrovm')
    version = whole.replace(b'\x06serial\0\0\0\0\0\0\0\x03', b'\x06serial\0\0\0\0\0\0\0\x09')
    for data, options, words in (
            (cut, (), 'ends here'), (other, (), "machine 'macrovm'"), (b'QQQQ' + whole[4:], (), 'no migration'),
            (version, (), "section 'serial'"), (whole, ('-m', '32'), "Memory 'microvm.ram'"),
            (whole, ('-serial', 'none'), 'no such device')):
        pathlib.Path('broken').write_bytes(data)
        serial = () if '-serial' in options else ('-serial', 'null')
        done = run(EMULATOR, *MACHINE, '-m', '64', *serial, *options, '-incoming', 'file:broken',
                   code=1)
        assert 'load of migration failed' in done.stderr and words in done.stderr, done.stderr


@case
def both_ends_have_the_same_images_open():
    """Whoever waits neither locks nor writes them until the guest has come."""
    disk = ('-blockdev', 'file,node-name=f,filename=shared', '-blockdev', 'qcow2,node-name=d,file=f',
            '-device', 'virtio-blk-device,drive=d', '-global', 'virtio-mmio.force-legacy=off', '-S')
    shared = pathlib.Path('shared')
    for program in [EMULATOR] + [REFERENCE_EMULATOR] * REFERENCE_EMULATOR.exists():
        shared.unlink(missing_ok=True)
        img('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', 'shared', '8M')
        img('bitmap', '--add', 'shared', 'kept')
        with source(*disk, program=program) as a:
            before = shared.read_bytes()
            with target('unix:m.sock', *disk) as b:
                assert shared.read_bytes() == before
                # The target does not know what has changed since it opened the image.
                assert a.answer('blockdev-snapshot-internal-sync', device='d', name='there') == {}
                late = b.answer('blockdev-snapshot-internal-sync', device='d', name='too early')
                assert 'inactive' in late['desc'], late
                a.migrate('unix:m.sock')
                wait_for(lambda: b.state() != 'inmigrate')
                assert b.answer('blockdev-snapshot-internal-sync', device='d', name='here') == {}
                b.answer('quit')
                assert b.process.wait(PATIENCE) == 0
        assert re.findall('there|too early|here', img('snapshot', '-l', 'shared').stdout) == ['there', 'here']
        img('check', 'shared')
        assert '"in-use"' not in img('info', '--output=json', 'shared').stdout


FORMATS_THAT_STAY = {'vmdk': 'vmdk', 'vdi': 'vdi', 'vhdx': 'vhdx', 'vpc': 'vpc', 'qcow': 'qcow',
                     'parallels': 'Parallels'}


def node(fmt):
    return f'{fmt},node-name={fmt},file.driver=file,file.filename=d.{fmt}'


def reason(fmt):
    return f"The {FORMATS_THAT_STAY[fmt]} format used by node '{fmt}' does not support live migration"


@case
def images_that_cannot_follow_hold_their_guest():
    for fmt in (*FORMATS_THAT_STAY, 'qcow2', 'qed'):
        img('create', '-q', '-f', fmt, f'd.{fmt}', '8M')
    with source() as a:
        for fmt in (*FORMATS_THAT_STAY, 'qcow2', 'qed'):
            options = {'driver': fmt, 'node-name': fmt, 'file': {'driver': 'file', 'filename': f'd.{fmt}'}}
            assert a.answer('blockdev-add', **{k.replace('-', '_'): v for k, v in options.items()}) == {}
        info = a.answer('query-migrate')
        assert info['blocked-reasons'] == [reason(f) for f in FORMATS_THAT_STAY], info
        assert [h['owner'] for h in info['x-holds']] == list(FORMATS_THAT_STAY), info
        told = a.answer('migrate', uri='exec:cat >/dev/null')['desc']
        assert all(reason(f) in told for f in FORMATS_THAT_STAY), told
        for fmt in (*FORMATS_THAT_STAY, 'qcow2', 'qed'):
            assert a.answer('blockdev-del', node_name=fmt) == {}
        assert a.answer('query-migrate') == {}
        # While a migration is under way none can come.
        assert a.answer('migrate-set-parameters', max_bandwidth=100000) == {}
        assert a.answer('migrate', uri='exec:cat >/dev/null') == {}
        late = a.answer('blockdev-add', driver='vdi', node_name='late',
                        file={'driver': 'file', 'filename': 'd.vdi'})
        assert 'migration is under way' in late['desc'], late
        assert a.answer('migrate_cancel') == {}
        wait_for(lambda: a.status() == 'cancelled')
        assert a.answer('blockdev-add', driver='vdi', node_name='late',
                        file={'driver': 'file', 'filename': 'd.vdi'}) == {}


@case
def a_guest_does_not_leave_while_jobs_run():
    img('create', '-q', '-f', 'raw', 'd.raw', '8M')
    with source('-blockdev', 'raw,node-name=n,file.driver=file,file.filename=d.raw') as a:
        a.await_rounds(1)
        assert a.answer('blockdev-add', driver='null-co', node_name='t', size=8 << 20) == {}
        assert a.answer('blockdev-mirror', device='n', target='t', sync='full', job_id='j', speed=1) == {}
        info = a.migrate('exec:cat >/dev/null', 'failed')
        assert info['error-desc'] == "The guest cannot leave while jobs run: 'j' (mirror)", info
        assert a.state() == 'running'
        assert a.answer('block-job-cancel', device='j', force=True) == {}
        wait_for(lambda: not a.answer('query-jobs'))
        a.migrate('exec:cat >/dev/null')


@case
def only_migratable_refuses_images_as_the_reference_does():
    programs = [EMULATOR] + [REFERENCE_EMULATOR] * REFERENCE_EMULATOR.exists()
    for fmt in FORMATS_THAT_STAY:
        img('create', '-q', '-f', fmt, f'd.{fmt}', '8M')
        for program in programs if fmt != 'vhdx' else [EMULATOR]: # the reference crashes
            done = run(program, *MACHINE[:-2], '-S', '-only-migratable', '-blockdev', node(fmt), code=1)
            assert f'disallowing migration blocker (--only-migratable) for: {reason(fmt)}' in done.stderr, (
                done.stderr)
    with source('-only-migratable') as a:
        late = a.answer('blockdev-add', driver='vdi', node_name='late',
                        file={'driver': 'file', 'filename': 'd.vdi'})
        assert 'only-migratable' in late['desc'], late


def frames(wire, least):
    """The Ethernet frames that come to the socket @wire: at least so many, and all that do without a pause."""
    wire.settimeout(PATIENCE)
    got = [wire.recv(2000) for _ in range(least)]
    wire.settimeout(0.5)
    try:
        while True:
            got.append(wire.recv(2000))
    except TimeoutError:
        return got


@case
def network_devices_tell_where_the_guest_is():
    """The switch learns it by frames of RARP: after a migration, and when it is asked for."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        options = []
        for name, wire in ('one', first), ('two', second):
            wire.bind(name)
            options += ['-netdev', f'dgram,id={name},remote.type=unix,remote.path={name},local.type=unix,'
                        f'local.path={{}}-{name}']
        def cards(side):
            return [o.format(side) for o in options] + [
                '-device', 'virtio-net-device,netdev=one,mac=52:54:00:00:00:01',
                '-device', 'virtio-net-device,netdev=two,mac=52:54:00:00:00:02,id=named']

        def rarp(number):
            mac = bytes([0x52, 0x54, 0, 0, 0, number])
            return b'\xff' * 6 + mac + bytes.fromhex('80350001080006040003') + mac + bytes(4) + mac + bytes(22)

        with source(*cards('a')) as a, target('unix:m.sock', *cards('b')) as b:
            b.tune(announce_initial=10, announce_max=30, announce_step=10, announce_rounds=3)
            a.await_rounds()
            a.migrate('unix:m.sock')
            check_moved(a, b)
            for number, wire in (1, first), (2, second):
                assert frames(wire, 3) == [rarp(number)] * 3
            assert b.answer('human-monitor-command', **{'command-line': 'announce_self'}) == ''
            for number, wire in (1, first), (2, second):
                assert frames(wire, 3) == [rarp(number)] * 3
            # The second one ends the first of the same id, but not that of another.
            few = {'initial': 100000, 'max': 100000, 'rounds': 2, 'step': 0, 'interfaces': ['named']}
            assert b.answer('announce-self', **few) == {}
            assert b.answer('announce-self', **few | {'id': 'other', 'initial': 50, 'rounds': 3}) == {}
            assert b.answer('human-monitor-command', **{'command-line': 'announce_self named'}) == ''
            assert frames(second, 7) == [rarp(2)] * 7
            assert not frames(first, 0)


@case
def a_guest_that_stands_still_or_has_left_is_not_announced():
    """As with the reference, which takes the same arguments."""
    for program in [EMULATOR] + [REFERENCE_EMULATOR] * REFERENCE_EMULATOR.exists():
        for name in 'wire', 'a', 'b', 'm.sock':
            pathlib.Path(name).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
            wire.bind('wire')

            def card(side):
                return ['-netdev', f'dgram,id=n,remote.type=unix,remote.path=wire,local.type=unix,local.path={side}',
                        '-device', 'virtio-net-device,netdev=n']

            def silent():
                """What has come so far may come from before."""
                wire.settimeout(0)
                try:
                    while True:
                        wire.recv(2000)
                except BlockingIOError:
                    pass
                return not select.select([wire], [], [], 0.5)[0]

            with source(*card('a'), program=program) as a, \
                    target('unix:m.sock', '-S', *card('b'), program=program) as b:
                b.tune(announce_initial=10, announce_max=10, announce_step=1, announce_rounds=4)
                often = {'initial': 20, 'max': 20, 'step': 0, 'rounds': 2000}
                for odd in {'rounds': 1, 'initial': -1}, {'rounds': 1, 'step': 20000}:
                    assert a.answer('announce-self', **often | odd) == {}, odd
                    assert len(frames(wire, 1)) == 1, odd
                assert a.answer('announce-self', **often) == {}
                wire.recv(2000)
                assert a.answer('announce-self', **often | {'rounds': 0}) == {}
                assert silent(), 'no rounds end a series'
                assert a.answer('announce-self', **often) == {} and a.answer('stop') == {}
                assert silent(), 'stopped'
                assert a.answer('cont') == {}
                wire.settimeout(PATIENCE)
                for _ in range(3):
                    wire.recv(2000)
                if program == REFERENCE_EMULATOR:
                    continue  # its migration may not get on beside a guest that never waits
                a.migrate('unix:m.sock')
                wait_for(lambda: b.state() == 'paused')
                assert silent(), 'it has left, and stands still at the target'
                assert b.answer('cont') == {}
                assert len(frames(wire, 4)) == 4


main('migration', 'system')
