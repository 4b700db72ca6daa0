#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that run at the target before their memory is there, both ways with the reference."""
import contextlib
import json
import os
import pathlib
import resource
import select
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require
from guests import EMULATOR, REFERENCE_EMULATOR, build
from migrating import TOOL, Mover, User, check_devices, check_moved, source, target, wait_for
from qmp import PATIENCE


def begin(a, b, uri, *capabilities, max_bandwidth=4 << 20, **parameters):
    """@a sends so slowly that it is in its first pass when its guest moves to @b."""
    for side in a, b:
        side.turn_on('postcopy-ram', 'events', *capabilities)
    a.tune(max_bandwidth=max_bandwidth, **parameters)
    assert a.answer('migrate', uri=b.listen(uri)) == {}
    wait_for(lambda: a.status() == 'active' and a.answer('query-migrate')['ram']['normal'] > 100)
    assert a.answer('migrate-start-postcopy') == {}


PACKAGE = b'\x08\0\x07\0\x04'


def break_off(source, target):
    """A socket that is closed before all was read takes back what it has sent: the target shall get that."""
    source.shutdown(socket.SHUT_RDWR)
    target.shutdown(socket.SHUT_WR)
    target.settimeout(1)
    try:
        while target.recv(65536):
            pass
    except TimeoutError:
        pass


class Between(threading.Thread):
    """Carries what goes from proxy.sock to m.sock and back, up to the byte at hold(all so far), if that is not None.
    There .reached is set, and it waits for .go; with .cut it breaks the connection then."""

    def __init__(self, hold, cut=False):
        super().__init__(daemon=True)
        self.hold, self.cut = hold, cut
        self.reached, self.go = threading.Event(), threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind('proxy.sock')
        self.listener.listen(1)
        self.start()

    def carry(self, source, target):
        got = bytearray()
        while True:
            for end in select.select([source, target], [], [])[0]:
                data = end.recv(65536)
                if not data:
                    return
                if end is target:
                    source.sendall(data)
                    continue
                if self.reached.is_set():
                    target.sendall(data)
                    continue
                sent = len(got)
                got += data
                upto = self.hold(got)
                target.sendall(got[sent:upto])
                if upto is not None:
                    self.reached.set()
                    self.go.wait(PATIENCE)
                    if self.cut:
                        break_off(source, target)
                        return
                    target.sendall(got[max(sent, upto):])

    def run(self):
        with self.listener, self.listener.accept()[0] as source, socket.socket(socket.AF_UNIX) as target:
            target.connect('m.sock')
            with contextlib.suppress(ConnectionError): # an end that has died
                self.carry(source, target)
        pathlib.Path('proxy.sock').unlink()


def package_end(got):
    """Where the package of devices ends, if it is whole."""
    at = got.find(PACKAGE)
    if at < 0 or len(got) < at + 9:
        return None
    end = at + 9 + struct.unpack('>I', got[at + 5:at + 9])[0]
    return end if len(got) >= end else None


def begin_between(a, b, hold, cut=False, max_bandwidth=4 << 20):
    """The same with what comes before .hold held up."""
    between = Between(hold, cut)
    for side in a, b:
        side.turn_on('postcopy-ram', 'events')
    b.listen('unix:m.sock')
    a.tune(max_bandwidth=max_bandwidth)
    assert a.answer('migrate', uri='unix:proxy.sock') == {}
    wait_for(lambda: a.status() == 'active' and a.answer('query-migrate')['ram']['normal'] > 100)
    assert a.answer('migrate-start-postcopy') == {}
    assert between.reached.wait(PATIENCE)
    return between


def statuses(e):
    return [event['data']['status'] for event in e.events if event['event'] == 'MIGRATION']


def await_end(a, b):
    """What the source says of it."""
    for side in a, b:
        wait_for(lambda: side.status() in ('completed', 'failed'))
    info = a.answer('query-migrate')
    assert info['status'] == b.status() == 'completed', (info, b.status())
    return info


@case
def a_guest_that_writes_loses_nothing():
    for uri in 'unix:m.sock', 'tcp:127.0.0.1:0':
        with source() as a, target('defer') as b:
            a.await_rounds(1)
            begin(a, b, uri, max_postcopy_bandwidth=20 << 20)
            ram = await_end(a, b)['ram']
            assert ram['postcopy-requests'] > 0 and ram['postcopy-bytes'] > 4096 * ram['postcopy-requests'], ram
            check_moved(a, b)
            assert statuses(a)[-4:] == ['setup', 'active', 'postcopy-active', 'completed'], statuses(a)
            assert statuses(b)[-4:] == ['setup', 'active', 'postcopy-active', 'completed'], statuses(b)


@case
def how_long_processors_waited_for_memory_is_measured():
    for smp in 1, 2:
        with source('-smp', str(smp)) as a, target('defer', '-smp', str(smp)) as b:
            a.await_rounds(1)
            b.turn_on('postcopy-blocktime')
            begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=20 << 20)
            await_end(a, b)
            info = b.answer('query-migrate')
            each, of_all = info['postcopy-vcpu-blocktime'], info['postcopy-blocktime']
            # The first processor reads all memory again and again; the others are never started.
            assert len(each) == smp and each[0] > 0 and not any(each[1:]), info
            assert of_all == (each[0] if smp == 1 else 0), info
            said = b.answer('human-monitor-command', **{'command-line': 'info migrate'})
            assert f'postcopy blocktime: {of_all}\r\npostcopy vcpu blocktime: ' in said, said
            assert 'postcopy-blocktime' not in a.answer('query-migrate')
        pathlib.Path('m.sock').unlink(missing_ok=True)


@case
def a_guest_goes_to_the_reference_and_back():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    with source() as a, target('defer', program=REFERENCE_EMULATOR) as b, target('defer', name='again') as c:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock')
        await_end(a, b)
        check_moved(a, b)
        # Its own tracking of written pages loses some; so it stands still until it is here.
        b.answer('stop')
        begin(b, c, 'unix:n.sock', max_postcopy_bandwidth=4 << 20)
        wait_for(lambda: c.state() == 'paused')
        assert c.status() == 'postcopy-active' and c.answer('cont') == {}
        assert await_end(b, c)['ram']['postcopy-requests'] > 0
        check_moved(a, b, c)


@case
def in_tls_with_little_bandwidth_nothing_is_lost():
    pathlib.Path('psk').mkdir()
    pathlib.Path('psk/keys.psk').write_text('qemu:00112233445566778899aabbccddeeff\n')
    creds = [f'tls-creds-psk,id=t,dir=psk,endpoint={end}' for end in ('client', 'server')]
    with source('-object', creds[0]) as a, target('defer', '-object', creds[1]) as b:
        for side in a, b:
            side.tune(tls_creds='t')
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', 'xbzrle', max_postcopy_bandwidth=20 << 20)
        await_end(a, b)
        check_moved(a, b)


@case
def damaged_commands_of_postcopy_are_refused_and_nothing_runs():
    """Each after a good start of a stream that plans postcopy."""
    def command(number, data=b''):
        return struct.pack('>BHH', 8, number, len(data)) + data

    def listed(*ranges, name=b'microvm.ram', version=0, end=0):
        return command(6, bytes([version, len(name)]) + name + bytes([end]) +
                       b''.join(struct.pack('>QQ', *r) for r in ranges))

    def package(data):
        return command(7, struct.pack('>I', len(data))) + data

    name = b'microvm.ram'
    head = struct.pack('>IIBI', 0x5145564d, 3, 7, 7) + b'microvm' + command(1)
    advice = command(3, struct.pack('>QQ', 4096, 4096))
    memory = struct.pack('>BIB3sIIQB', 1, 2, 3, b'ram', 0, 4, 64 << 20 | 4, len(name)) + name + \
        struct.pack('>QQBI', 64 << 20, 0x10, 0x7e, 2)
    good = head + advice + memory
    for data, words in (
            (head + command(3), 'has 0 bytes'), (head + command(3, struct.pack('>QQ', 8192, 4096)), '0x2000'),
            (head + memory + advice, 'too late'), (head + advice + advice, 'too late'),
            (head + memory + listed((0, 4096)), 'not planned'), (good + command(4), 'not belong'),
            (good + command(5), 'not belong'), (good + listed((0, 64 << 20), (4096, 64 << 20)), 'cannot be discarded'),
            (good + listed((1, 4096)), 'cannot be discarded'), (good + listed((0, 2**64 - 4096)), 'cannot be discarded'),
            (good + listed((0, 4096), name=b'other'), 'other'), (good + listed(version=1), 'version 1'),
            (good + listed(end=1), 'list of memory'), (good + command(6, b'\0\xff'), 'list of memory'),
            (good + command(7), 'package of 0'), (good + command(7, b'\xff' * 4), 'package of 4294967295'),
            (good + package(memory), 'begins with 0x01'), (head + advice + package(command(4) + command(5)), 'did not come'),
            (good + package(command(5)), 'too early'), (good + package(b'\0'), 'begins with 0x00'),
            (good + package(command(4)), 'does not start the guest'),
            (good + package(command(4) + command(4)), 'twice'), (good + package(package(b'x')), 'not belong'),
            (good + command(10, b'\x0b' + name), 'too early'), (good + command(9), 'Nothing was paused')):
        with target('defer') as b, socket.socket(socket.AF_UNIX) as client:
            b.turn_on('postcopy-ram')
            b.listen('unix:m.sock')
            client.connect('m.sock')
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert b.process.wait(PATIENCE) == 1, words
            said = b.process.stderr.read().decode()
            assert 'load of migration failed' in said and words in said, (words, said)
            assert not b.rounds()
        pathlib.Path('m.sock').unlink(missing_ok=True)


@case
def many_lists_of_memory_to_discard_hold_nobody_up():
    """Each names all memory of a large guest 254 times."""
    name, size = b'microvm.ram', 4 << 30
    ranges = struct.pack('>QQ', 0, size) * 254
    lists = struct.pack('>BHH', 8, 6, 3 + len(name) + len(ranges)) + bytes([0, len(name)]) + name + b'\0' + ranges
    head = struct.pack('>IIBI', 0x5145564d, 3, 7, 7) + b'microvm' + struct.pack('>BHH', 8, 1, 0) + \
        struct.pack('>BHHQQ', 8, 3, 16, 4096, 4096)
    memory = struct.pack('>BIB3sIIQB', 1, 2, 3, b'ram', 0, 4, size | 4, len(name)) + name + \
        struct.pack('>QQBI', size, 0x10, 0x7e, 2)
    with target('defer', '-m', '4096') as b, socket.socket(socket.AF_UNIX) as client:
        b.turn_on('postcopy-ram')
        b.listen('unix:m.sock')
        client.connect('m.sock')
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        client.sendall(head + memory + lists * 40)
        client.shutdown(socket.SHUT_WR)
        assert b.process.wait(3 * PATIENCE) == 1
        spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        assert spent < 6, spent


def recover(a, b):
    """The connection breaks, or has broken; the rest of the memory comes over another one."""
    for side in a, b:
        wait_for(lambda: side.status() == 'postcopy-paused')
    assert b.state() == 'running' and a.state() == 'finish-migrate'
    assert a.answer('migrate', uri='unix:r.sock')['desc'] == "There's a migration process in progress"
    assert b.answer('migrate-recover', uri='unix:r.sock') == {}
    wait_for(lambda: pathlib.Path('r.sock').exists())
    assert a.answer('migrate', uri='unix:r.sock', resume=True) == {}
    await_end(a, b)
    pathlib.Path('r.sock').unlink(missing_ok=True)


def cut_and_recover(a, b, cut):
    """The connection breaks in the middle, by a command to @cut."""
    assert cut.answer('migrate-pause') == {}
    a.tune(max_postcopy_bandwidth=0)
    recover(a, b)


@case
def after_the_connection_has_broken_another_one_brings_the_rest():
    for cut_at in range(2):
        with source() as a, target('defer') as b:
            a.await_rounds(1)
            begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=64 << 10)
            wait_for(lambda: b.state() == 'running' and a.answer('query-migrate')['ram']['postcopy-bytes'] > 200000)
            cut_and_recover(a, b, (a, b)[cut_at])
            check_moved(a, b)
            assert statuses(a)[-5:] == ['postcopy-active', 'postcopy-paused', 'postcopy-recover', 'postcopy-active',
                                        'completed'], statuses(a)
            assert statuses(b)[-6:] == ['postcopy-active', 'postcopy-paused', 'setup', 'postcopy-recover',
                                        'postcopy-active', 'completed'], statuses(b)


@case
def so_it_is_with_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    with source() as a, target('defer', program=REFERENCE_EMULATOR) as b, target('defer', name='again') as c:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=64 << 10)
        wait_for(lambda: b.state() == 'running' and a.answer('query-migrate')['ram']['postcopy-bytes'] > 200000)
        cut_and_recover(a, b, a)
        check_moved(a, b)
        b.answer('stop')
        begin(b, c, 'unix:n.sock', max_postcopy_bandwidth=1 << 20)
        wait_for(lambda: c.state() == 'paused')
        assert c.answer('cont') == {}
        wait_for(lambda: c.state() == 'running' and b.answer('query-migrate')['ram']['postcopy-bytes'] > 200000)
        cut_and_recover(b, c, b)
        check_moved(a, b, c)


@case
def while_memory_comes_none_is_discarded_and_nothing_is_taken_back():
    with source() as a, target('defer', '-device', 'virtio-balloon-device') as b:
        for e in a, b:
            assert 'Enable postcopy' in e.answer('migrate-start-postcopy')['desc']
            assert 'postcopy-active' in e.answer('migrate-pause')['desc']
            assert 'when postcopy is paused' in e.answer('migrate-recover', uri='unix:r.sock')['desc']
            assert 'no paused migration' in e.answer('migrate', uri='unix:r.sock', resume=True)['desc']
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', 'pause-before-switchover', max_postcopy_bandwidth=1 << 20)
        wait_for(lambda: a.status() == 'pre-switchover')
        assert a.answer('migrate-continue', state='pre-switchover') == {}
        wait_for(lambda: b.state() == 'running')
        holds = b.answer('query-balloon')['x-holds']
        assert any('postcopy' in h['reason'] for h in holds), holds
        for command, more in ('pmemsave', {}), ('memsave', {'cpu-index': 0}):
            assert 'on its way' in b.answer(command, val=0, size=64 << 20, filename='seen', **more)['desc']
        for line in 'xp 0x100000', 'o 0x80 0', 'i 0x80':
            assert 'on its way' in b.answer('human-monitor-command', **{'command-line': line}), line
        assert 'on its way' in b.answer('system_reset')['desc']
        assert a.answer('migrate_cancel') == {} and a.status() == 'postcopy-active'
        assert 'desc' in a.answer('cont')
        a.tune(max_postcopy_bandwidth=0)
        await_end(a, b)
        check_moved(a, b)
        assert not b.answer('query-balloon').get('x-holds')
        assert b.answer('pmemsave', val=0, size=64 << 20, filename='seen') == {}


@case
def a_guest_that_resets_waits_for_all_of_its_memory():
    def side(name, *options):
        return Mover(name, '-kernel', build('end'), '-append', 'reset', '-initrd', 'carried', *options)

    def resets(e):
        return [event for event in e.events if event['event'] == 'RESET']

    pathlib.Path('carried').write_bytes(os.urandom(16 << 20))
    with side('source', '-S') as a, side('target', '-incoming', 'defer') as b:
        begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=SLOWLY)
        wait_for(lambda: b.state() == 'prelaunch')
        assert b.answer('cont') == {}
        # It does nothing else. If it has not got as far by the pause, it does not reset either.
        before = a.answer('query-migrate')['ram']['postcopy-bytes']
        wait_for(lambda: a.answer('query-migrate')['ram']['postcopy-bytes'] > before + SLOWLY)
        assert a.answer('migrate-pause') == {}
        for end in a, b:
            wait_for(lambda: end.status() == 'postcopy-paused')
        assert not resets(b) and b.state() == 'running'
        a.tune(max_postcopy_bandwidth=0)
        recover(a, b)
        wait_for(lambda: b.state() and resets(b))


@case
def a_target_that_ends_without_the_memory_runs_no_guest():
    with source() as a, target('defer') as b:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=64 << 10)
        wait_for(lambda: b.state() == 'running')
        assert a.answer('migrate-pause') == {}
        wait_for(lambda: b.status() == 'postcopy-paused')
        b.send(b'{"execute":"quit"}\n')
        assert b.process.wait(PATIENCE) == 1
        assert b'has not come' in b.process.stderr.read()
        b.rounds()


def check_kept(image):
    """It has the bitmap 'kept', which was stored whole."""
    data = json.loads(img('info', '--output=json', image).stdout)['format-specific']['data']
    assert [(m['name'], m['flags']) for m in data['bitmaps']] == [('kept', ['auto'])], data
    img('check', image)


@case
def what_images_keep_is_stored_even_if_the_memory_does_not_come():
    def disk(name):
        subprocess.run([TOOL.parent / 'qemu-img', 'create', '-q', '-f', 'qcow2', name, '1M'], check=True)
        return ('-blockdev', f'qcow2,node-name=d,file.driver=file,file.filename={name}', '-device',
                'virtio-blk-device,drive=d')

    for name in 'bad', 'base', 'left', 'right':
        disk(name)
    bad = {'driver': 'qcow2', 'node-name': 'bad', 'backing': 'base', 'file': {
        'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': 'bad'},
        'inject-error': [{'event': 'none', 'iotype': 'flush'}]}}
    with source(*disk('one')) as a, target('defer', *disk('two')) as b:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=64 << 10)
        wait_for(lambda: b.state() == 'running')
        assert a.answer('migrate-pause') == {}
        wait_for(lambda: b.status() == 'postcopy-paused')
        # A bitmap goes into the image when that is closed or given away.
        assert b.answer('block-dirty-bitmap-add', node='d', name='kept', persistent=True) == {}
        # Neither does a backing file in common keep images from that, nor the file one of its users that
        # cannot be stored, nor does a job that works on an image.
        assert b.answer('blockdev-add', driver='qcow2', **{'node-name': 'base'},
                        file={'driver': 'file', 'filename': 'base'}) == {}
        assert b.answer('block-dirty-bitmap-add', node='base', name='kept', persistent=True) == {}
        assert b.answer('blockdev-add', **bad) == {}
        assert b.answer('block-dirty-bitmap-add', node='bad', name='lost', persistent=True) == {}
        for top in 'left', 'right':
            assert b.answer('blockdev-add', driver='qcow2', **{'node-name': top}, backing='base',
                            file={'driver': 'file', 'filename': top}) == {}
            assert b.answer('block-dirty-bitmap-add', node=top, name='kept', persistent=True) == {}
        assert b.answer('blockdev-add', driver='null-co', **{'node-name': 'n'}, size=1 << 20) == {}
        assert b.answer('blockdev-mirror', **{'job-id': 'j'}, device='d', target='n', sync='full') == {}
        b.process.terminate()
        assert b.process.wait(PATIENCE) == 1
        said = b.process.stderr.read().decode()
        assert said.count('could not be written') == 1 and '"bad"' in said, said
    for name in 'two', 'base', 'left', 'right':
        check_kept(name)


@case
def while_postcopy_is_paused_nothing_waits_for_a_processor():
    """Processors are likely to wait for memory that does not come."""
    with source() as a, target('defer', '-gdb', 'unix:g.sock,server=on,wait=off', '-qtest',
                               'unix:q.sock,server=on,wait=off') as b, \
            socket.socket(socket.AF_UNIX) as qtest:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=64 << 10)
        wait_for(lambda: b.state() == 'running')
        assert a.answer('migrate-pause') == {}
        wait_for(lambda: b.status() == 'postcopy-paused')
        def check_no_stop():
            for command in 'stop', 'system_reset':
                assert 'migrate-recover' in b.answer(command)['desc']
            with socket.socket(socket.AF_UNIX) as gdb:
                gdb.settimeout(PATIENCE)
                gdb.connect('g.sock')
                assert gdb.recv(1) == b'', 'a debugger that cannot stop the guest is sent away'

        check_no_stop()
        for line in 'x 0', 'xp 0', 'sum 0 4096', 'gva2gpa 0', 'info tlb', 'info registers', 'log int', 'logfile log':
            assert 'on its way' in b.answer('human-monitor-command', **{'command-line': line}), line
        said = b.answer('dump-guest-memory', paging=False, protocol='file:dump')['desc']
        assert 'migration process in progress' in said, said
        assert 'on its way' in b.answer('calc-dirty-rate', **{'calc-time': 1})['desc']
        qtest.connect('q.sock')
        qtest.sendall(b'readb 0x100000\n')
        assert b'on its way' in qtest.recv(1000)
        assert b.answer('migrate-recover', uri='unix:s.sock') == {}
        wait_for(lambda: pathlib.Path('s.sock').exists())
        assert b.status() == 'setup'
        check_no_stop()
        assert b.answer('migrate-pause') == {}
        a.tune(max_postcopy_bandwidth=0)
        recover(a, b)
        check_moved(a, b)
        assert 'on its way' not in b.answer('human-monitor-command', **{'command-line': 'xp 0'})


@case
def whichever_side_dies_only_the_target_has_run_the_guest():
    for dies in 'source', 'target':
        with source() as a, target('defer') as b:
            a.await_rounds(1)
            begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=64 << 10)
            wait_for(lambda: b.state() == 'running' and a.answer('query-migrate')['ram']['postcopy-bytes'] > 200000)
            gone, stays = (a, b) if dies == 'source' else (b, a)
            gone.process.kill()
            gone.process.wait()
            wait_for(lambda: stays.status() == 'postcopy-paused')
            assert a is not stays or a.state() == 'finish-migrate'
            assert 'desc' in a.answer('cont') if a is stays else b.state() == 'running'
            if a is stays:
                a.send(b'{"execute":"quit"}\n')
                assert a.process.wait(PATIENCE) == 0
        pathlib.Path('m.sock').unlink(missing_ok=True)


@case
def memory_that_is_read_before_the_guest_comes_is_not_lost():
    with source() as a, target('defer') as b:
        a.await_rounds(1)
        between = begin_between(a, b, lambda got: got.find(PACKAGE) if PACKAGE in got else None)
        # What was discarded reads as zeroes, which must not pass for the guest's memory later.
        assert b.answer('pmemsave', val=0, size=64 << 20, filename='seen') == {}
        between.go.set()
        await_end(a, b)
        check_moved(a, b)


@case
def a_cut_behind_the_devices_pauses_and_the_memory_still_comes():
    with source() as a, target('defer') as b:
        a.await_rounds(1)
        begin_between(a, b, package_end, cut=True).go.set()
        recover(a, b)
        check_moved(a, b)


@case
def a_cut_just_before_the_end_of_memory_can_be_mended():
    """All that is lacking is the end of the section of memory: footer, mark of the end."""
    def hold(got):
        end = package_end(got)
        at = -1 if end is None else got.find(struct.pack('>BIQ', 3, 2, 0x10), max(end, len(got) - 100000))
        return at + 5 if at >= 0 else None

    with source() as a, target('defer') as b:
        a.await_rounds(1)
        begin_between(a, b, hold, cut=True).go.set()
        recover(a, b)
        check_moved(a, b)


@case
def a_target_that_fails_before_it_runs_the_guest_leaves_it_to_the_source():
    with source('-device', 'virtio-balloon-device') as a, target('defer') as b:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock')
        assert b.process.wait(PATIENCE) == 1
        assert not b.rounds()
        wait_for(lambda: a.status() in ('failed', 'postcopy-paused'))
        info = a.answer('query-migrate')
        assert 'may be running' not in info['error-desc'], info
        assert a.state() == 'running'
        a.await_rounds()


@case
def a_target_that_fails_while_devices_lack_memory_ends():
    """The last device of the source is not there, when the queues of the others are missing."""
    for cut in False, True:
        a, b = users(source_options=('-device', 'virtio-rng-device'))
        with a, b:
            a.await_rounds(1)
            begin_between(a, b, package_end, cut=cut, max_bandwidth=SLOWLY).go.set()
            assert b.process.wait(PATIENCE) == 1, cut
            assert 'no such device' in b.process.stderr.read().decode()
            assert not b.rounds()
        pathlib.Path('m.sock').unlink(missing_ok=True)


@case
def when_the_target_is_gone_only_the_user_makes_the_source_go_on():
    with source() as a, target('defer') as b:
        a.await_rounds(1)
        begin_between(a, b, lambda got: got.find(PACKAGE) + 9 if PACKAGE in got else None, cut=True).go.set()
        assert b.process.wait(PATIENCE) == 1 and not b.rounds()
        wait_for(lambda: a.status() in ('postcopy-paused', 'failed'))
        if a.status() == 'postcopy-paused':
            assert 'cancel' in a.answer('cont')['desc']
            assert a.answer('migrate_cancel') == {}
            wait_for(lambda: a.status() == 'failed')
        assert 'may be running at the target' in a.answer('query-migrate')['error-desc']
        assert a.state() == 'postmigrate'
        assert a.answer('cont') == {}
        a.await_rounds()


@case
def a_recovery_to_a_silent_peer_can_be_given_up():
    with source() as a, target('defer') as b, socket.socket(socket.AF_UNIX) as silent, \
            socket.socket(socket.AF_UNIX) as stranger:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=64 << 10)
        wait_for(lambda: b.state() == 'running')
        assert a.answer('migrate-pause') == {}
        for side in a, b:
            wait_for(lambda: side.status() == 'postcopy-paused')
        silent.bind('silent.sock')
        silent.listen(1)
        assert a.answer('migrate', uri='unix:silent.sock', resume=True) == {}
        wait_for(lambda: a.status() == 'postcopy-recover')
        assert b.answer('migrate-recover', uri='unix:s.sock') == {}
        wait_for(lambda: pathlib.Path('s.sock').exists())
        assert b.status() == 'setup' and b.answer('migrate-pause') == {}
        wait_for(lambda: b.status() == 'postcopy-paused')
        assert b.answer('migrate-recover', uri='unix:t.sock') == {}
        wait_for(lambda: pathlib.Path('t.sock').exists())
        stranger.connect('t.sock')
        stranger.sendall(b'\x08')
        wait_for(lambda: b.status() == 'postcopy-recover')
        for side in a, b:
            assert side.answer('migrate-pause') == {}
        a.tune(max_postcopy_bandwidth=0)
        recover(a, b)
        check_moved(a, b)


SLOWLY = 1 << 20


def users(form='raw', source_options=(), **more):
    """Both ends of a guest that uses devices, with memory to carry for which SLOWLY needs 16 s."""
    img('create', '-q', '-f', form, 'disk', '1M')
    pathlib.Path('carried').write_bytes(os.urandom(16 << 20))
    return (User('source', '-initrd', 'carried', *source_options, form=form, **more),
            User('target', '-initrd', 'carried', '-incoming', 'defer', form=form, **more))


def begin_and_cut(a, b):
    """The guest runs at @b, where all is missing that its devices have used last."""
    a.await_rounds(1)
    begin_between(a, b, package_end, cut=True, max_bandwidth=SLOWLY).go.set()
    for side in a, b:
        wait_for(lambda: side.status() == 'postcopy-paused')


@case
def devices_that_lack_memory_keep_no_monitor_waiting():
    for packed in 'off', 'on':
        source, target = users(packed=packed)
        with source as a, target as b:
            begin_and_cut(a, b)
            with socket.socket(socket.AF_UNIX) as console:
                console.settimeout(PATIENCE)
                console.connect(b.console)
                console.sendall(b'hello')
                # What is typed, and the requests of before, wait for memory; nobody else does.
                for _ in range(20):
                    assert b.state() == 'running'
                    assert 'isa-serial' in b.say('info qtree')
                assert not select.select([console], [], [], 0)[0], 'nothing can be echoed yet'
                recover(a, b)
                back = b''
                while len(back) < 5:
                    back += console.recv(5 - len(back))
                assert back == b'hello', back
            check_devices(a, b)
        pathlib.Path('m.sock').unlink(missing_ok=True)


@case
def devices_are_used_while_the_connection_breaks():
    source, target = users()
    with source as a, target as b:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', max_bandwidth=SLOWLY, max_postcopy_bandwidth=SLOWLY)
        wait_for(lambda: b.state() == 'running')
        cut_and_recover(a, b, a)
        check_devices(a, b)


@case
def images_are_stored_although_requests_wait_for_memory():
    source, target = users('qcow2')
    with source as a, target as b:
        begin_and_cut(a, b)
        node = b.answer('query-block')[0]['inserted']['node-name']
        assert b.answer('block-dirty-bitmap-add', node=node, name='kept', persistent=True) == {}
        b.process.terminate()
        assert b.process.wait(PATIENCE) == 1
        said = b.process.stderr.read().decode()
        assert 'could not be written' not in said and 'has not come' in said, said
    check_kept('disk')


@case
def what_postcopy_cannot_do_is_refused():
    with source() as a, target('defer', '-machine', 'memory-backend=f', '-object',
                               'memory-backend-file,id=f,size=64M,mem-path=memory,share=on') as b:
        a.turn_on('postcopy-ram')
        assert 'multifd' in a.answer('migrate-set-capabilities', capabilities=[
            {'capability': 'multifd', 'state': True}])['desc']
        assert 'socket' in a.migrate('exec:cat >/dev/null', 'failed')['error-desc']
        b.turn_on('postcopy-ram')
        assert 'anonymous' in b.answer('migrate-incoming', uri='unix:m.sock')['desc']
        a.await_rounds(1)


@case
def free_memory_that_is_missing_is_not_asked_for():
    options = ('-device', 'virtio-balloon-device,free-page-reporting=on')
    with Mover('a', '-kernel', build('balloon'), '-append', 'report', *options) as a, \
            Mover('b', '-incoming', 'defer', *options) as b:
        wait_for(lambda: 'ready' in a.printed.read_text())
        assert a.answer('balloon', value=60 << 20) == {}
        wait_for(lambda: 'asked' in a.printed.read_text())
        begin(a, b, 'unix:m.sock', max_postcopy_bandwidth=64 << 10)
        wait_for(lambda: b.state() == 'running')
        assert b.answer('balloon', value=64 << 20) == {}
        wait_for(lambda: 'reported' in b.printed.read_text())
        ram = a.answer('query-migrate')['ram']
        assert a.status() == 'postcopy-active' and ram['postcopy-requests'] < 1024, ram
        a.tune(max_postcopy_bandwidth=0)
        wait_for(lambda: a.status() == 'completed' and b.status() == 'completed')
        assert b.answer('balloon', value=60 << 20) == {}
        wait_for(lambda: 'kept' in b.printed.read_text())
        assert 'bad' not in b.printed.read_text()


def await_release(a, b, before):
    """Memory goes back before the end. The guest rests meanwhile: no limit holds up pages it asks for."""
    wait_for(lambda: b.state() == 'running')
    assert b.answer('stop') == {}
    wait_for(lambda: a.resident() < before - 4)
    assert a.status() == 'postcopy-active', a.answer('query-migrate')
    assert b.answer('cont') == {}


@case
def the_source_gives_memory_back_that_has_arrived():
    for program in [EMULATOR] + [REFERENCE_EMULATOR] * REFERENCE_EMULATOR.exists():
        with source() as a, target('defer', program=program) as b:
            a.await_rounds(1)
            before = a.resident()
            begin(a, b, 'unix:m.sock', 'release-ram', max_postcopy_bandwidth=1 << 20)
            await_release(a, b, before)
            a.tune(max_postcopy_bandwidth=0)
            await_end(a, b)
            check_moved(a, b)
            # The guest has written to 16 MiB.
            assert a.resident() < before - 12, (before, a.resident())
            assert 'given back' in a.answer('cont')['desc']
            assert 'given back' in a.answer('dump-guest-memory', paging=False, protocol='file:dump')['desc']
        pathlib.Path('m.sock').unlink(missing_ok=True)


@case
def a_debugger_does_not_wake_a_guest_that_has_left():
    with source('-gdb', 'unix:gdb.sock,server=on,wait=off') as a, target('defer') as b:
        a.await_rounds(1)
        begin(a, b, 'unix:m.sock', 'release-ram')
        await_end(a, b)
        with socket.socket(socket.AF_UNIX) as gdb:
            gdb.connect('gdb.sock')
            gdb.settimeout(PATIENCE)
            gdb.sendall(b'$?#3f')
            assert gdb.recv(1) == b'+'
            assert a.state() == 'postmigrate'
            assert 'given back' in a.answer('cont')['desc']
            gdb.sendall(b'+$D#44')
            told = b''
            while b'$OK#9a' not in told:
                told += gdb.recv(4096)
            gdb.sendall(b'+')
        assert a.state() == 'postmigrate'
        # What is here after a reset is whole.
        assert a.answer('system_reset') == {} and a.answer('cont') == {}
        assert a.state() == 'running'


@case
def memory_that_was_given_back_is_not_missed_after_the_connection_has_broken():
    with source() as a, target('defer') as b:
        a.await_rounds(1)
        before = a.resident()
        begin(a, b, 'unix:m.sock', 'release-ram', max_postcopy_bandwidth=1 << 20)
        await_release(a, b, before)
        cut_and_recover(a, b, a)
        check_moved(a, b)


@case
def a_guest_that_does_not_leave_keeps_its_memory():
    with source() as a, target('defer') as b:
        a.await_rounds(1)
        for side in a, b:
            side.turn_on('postcopy-ram', 'release-ram')
        a.tune(max_bandwidth=4 << 20)
        assert a.answer('migrate', uri=b.listen('unix:m.sock')) == {}
        wait_for(lambda: a.status() == 'active' and a.answer('query-migrate')['ram']['normal'] > 100)
        assert a.answer('migrate_cancel') == {}
        wait_for(lambda: a.status() == 'cancelled')
        a.await_rounds()


@case
def a_guest_that_cannot_start_at_the_target_keeps_its_memory():
    for name in 'one', 'two':
        img('create', '-q', '-f', 'qcow2', name, '1M')
    disk = ('-device', 'virtio-blk-device,drive=d', '-drive', 'if=none,id=d,format=qcow2,file=')
    with source(*disk[:-1], disk[-1] + 'one') as a, target('defer', *disk[:-1], disk[-1] + 'two') as b:
        a.await_rounds(1)
        with open('two', 'r+b') as image:
            image.write(b'XXXX')
        begin(a, b, 'unix:m.sock', 'release-ram')
        wait_for(lambda: a.status() in ('failed', 'postcopy-paused'))
        if a.status() == 'postcopy-paused':
            assert a.answer('migrate_cancel') == {}
        wait_for(lambda: a.status() == 'failed')
        assert b.process.wait(PATIENCE) == 1
        assert a.state() == 'running' or a.answer('cont') == {}
        a.await_rounds()


main('postcopy', 'system')
