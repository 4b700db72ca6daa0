#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a migration will work is told before it begins: every reason against it by name, and none where it
works (qemu-migrate check, x-migrate-check)."""
import json
import os
import pathlib
import resource
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require, run
from guests import EMULATOR
from migrating import TOOL, Mover, check_moved, source, target, wait_for
from qmp import request

UUIDS = '11111111-2222-3333-4444-555555555555', '66666666-2222-3333-4444-555555555555'
RNG = '-device', 'virtio-rng-device'


def monitor(name):
    return '-qmp', f'unix:{name}.qmp,server=on,wait=off'


def check(*words, code):
    """What `qemu-migrate check` tells: reasons and warnings, each (subject, text)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(run(TOOL, 'check', '--output=json', *words, code=code).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert told['possible'] == (code == 0) == (not told['reasons']), told
    return [[(r['subject'], r['reason']) for r in told[kind]] for kind in ('reasons', 'warnings')]


def disk(name, driver='virtio-blk-device', more='', how='', file=None):
    return ('-drive', f'if=none,id={name},file={file or name},format=raw{how}',
            '-device', f'{driver},drive={name},id=d-{name}{more}')


def port(nr, name=None):
    return ('-chardev', f'null,id=c{nr}', '-device', f'virtserialport,chardev=c{nr},nr={nr},name=p{nr}')


def net(more='', backend='user'):
    return '-netdev', f'{backend},id=n', '-device', f'virtio-net-device,netdev=n,id=net{more}'


def multifd(**parameters):
    def turn(e):
        e.turn_on('multifd')
        e.tune(**parameters)
    return turn


def on(*capabilities):
    return lambda e: e.turn_on(*capabilities)


def mirror(e):
    assert e.answer('blockdev-mirror', job_id='j', device='a', target='b', sync='full', speed=1) == {}


SERIAL = '-device', 'virtio-serial-device,id=s'
SCSI = '-device', 'virtio-scsi-device,id=scsi'
NODES = ('-blockdev', 'raw,node-name=a,file.driver=file,file.filename=a', '-blockdev',
         'raw,node-name=b,file.driver=file,file.filename=b')
BACKEND = '-object', 'memory-backend-ram,id=mem0,size=64M', '-M', 'microvm,memory-backend=mem0'
FILE_MEMORY = '-object', 'memory-backend-file,id=mem0,size=64M,mem-path=ram,share=on', '-M', 'microvm,memory-backend=mem0'

# Options of the source and of the target, what is done at each, and the reasons: subject and words.
MISMATCHES = {
    'size of memory': (('-m', '64'), ('-m', '128'), None, None, [('memory', 'microvm.ram', '67108864', '134217728')]),
    'name of memory': (BACKEND, (), None, None, [('memory', 'mem0', 'microvm.ram')]),
    'processors': (('-smp', '2'), (), None, None, [('processors', '2', '1')]),
    'processor features': (('-cpu', 'max'), ('-cpu', 'qemu64'), None, None, [('processors', 'avx2', "'qemu64'")]),
    'one feature': (('-cpu', 'max'), ('-cpu', 'max,-popcnt'), None, None, [('processors', ': popcnt')]),
    'no PIT': ((), ('-M', 'microvm,pit=off'), None, None, [('machine', 'pit')]),
    'no PIC and RTC': (('-M', 'microvm,rtc=on'), ('-M', 'microvm,rtc=off,pic=off'), None, None, [('machine', 'pic, rtc')]),
    'no serial port': ((), ('-M', 'microvm,isa-serial=off'), None, None, [('machine', 'isa-serial')]),
    'device missing': (RNG, (), None, None, [('device', 'virtio-rng-device', 'no device')]),
    'other device': (RNG, net(), None, None, [('device', 'virtio-rng-device', 'virtio-net-device')]),
    'other place': (('-device', 'virtio-rng-device,id=r'), ('-device', 'virtio-rng-device,id=r,bus=virtio-mmio-bus.3'),
                    None, None, [('device', "'r'", 'feb02e00', 'feb00600')]),
    'two swapped disks': ((*disk('small', file='a'), *disk('large', file='b')),
                          (*disk('large', file='b'), *disk('small', file='a')),
                          None, None, [('device', "'d-small'", 'feb02e00', 'feb02c00'), ('device', "'d-large'")]),
    'number of queues': (disk('small', more=',num-queues=4'), disk('small', more=',num-queues=2'), None, None,
                         [('device', "'num-queues'", "'d-small'", '4', '2')]),
    'length of queues': (disk('small', more=',queue-size=128'), disk('small'), None, None, [('device', "'queue-size'")]),
    'serial number': (disk('small', more=',serial=x'), disk('small', more=',serial=y'), None, None,
                      [('device', "'serial'", '"x"', '"y"')]),
    'packed queues': (('-device', 'virtio-rng-device,packed=on'), RNG, None, None, [('device', "'packed'", 'true')]),
    'number of ports': (('-device', 'virtio-serial-device,id=s,max_ports=4'), SERIAL, None, None, [('device', "'max_ports'")]),
    'port missing': ((*SERIAL, *port(1), *port(2)), (*SERIAL, *port(1)), None, None, [('device', 'virtserialport')]),
    'other port': ((*SERIAL, *port(1)), (*SERIAL, *port(2)), None, None,
                   [('device', "'name'"), ('device', "'nr'", '1', '2')]),
    'SCSI disk missing': ((*SCSI, *disk('small', 'scsi-hd')), SCSI, None, None, [('device', 'scsi-hd')]),
    'other unit': ((*SCSI, *disk('small', 'scsi-hd', ',lun=1')), (*SCSI, *disk('small', 'scsi-hd', ',lun=2')), None, None,
                   [('device', "'d-small'", '0:0:1', '0:0:2')]),
    'size of a disk': (disk('d', file='small'), disk('d', file='large'), None, None, [('disk', "'d-d'", '1048576', '2097152')]),
    'read-only disk': (disk('small'), disk('small', how=',readonly=on'), None, None, [('disk', 'read-only', 'target')]),
    'no medium': ((*SCSI, *disk('small', 'scsi-cd', how=',readonly=on')),
                  (*SCSI, '-device', 'scsi-cd,id=d-small'), None, None, [('disk', 'medium', 'source')]),
    'balloon': (('-device', 'virtio-balloon-device,free-page-reporting=on'), ('-device', 'virtio-balloon-device'),
                None, None, [('device', "'free-page-reporting'")]),
    'network card': (net(',host_mtu=1400'), net(',ctrl_vq=off'), None, None, [('device', "'ctrl_vq'"), ('device', "'host_mtu'")]),
    'multifd': ((), (), multifd(), None, [('capability', "'multifd'", 'source')]),
    'postcopy': ((), (), on('postcopy-ram'), None, [('capability', "'postcopy-ram'", 'source')]),
    'channels': ((), (), multifd(multifd_channels=3), multifd(), [('parameter', "'multifd-channels'", '3', '2')]),
    'compression': ((), (), multifd(multifd_compression='zstd'), multifd(), [('parameter', "'multifd-compression'", 'zstd')]),
    "multifd's UUID": (('-uuid', UUIDS[0]), ('-uuid', UUIDS[1]), multifd(), multifd(), [('machine', 'UUID', *UUIDS)]),
    'UUID': (('-uuid', UUIDS[0]), ('-uuid', UUIDS[1]), on('validate-uuid'), on('validate-uuid'), [('machine', 'UUID')]),
    'TLS': ((), (), lambda e: e.tune(tls_creds='t'), None, [('parameter', 'TLS', 'source')]),
    'image that stays': (disk('stays'), disk('stays', file='small'), None, None, [('hold', 'vdi')]),
    'job': (NODES, NODES, mirror, None, [('job', "'j'", 'mirror')]),
    'everything at once': (('-m', '128', '-smp', '2', *RNG), ('-M', 'microvm,pit=off'), multifd(), None,
                           [('machine', 'pit'), ('processors', '2'), ('memory', '134217728'), ('device', 'rng'),
                            ('capability', 'multifd')]),
}


def options_of(name, options):
    """The disk "stays" is of a format that cannot follow."""
    return [o.replace('file=stays,format=raw', 'file=stays,format=vdi') for o in options]


def expect(found, wanted):
    """Each reason is one of those wanted, in any order."""
    rest = list(found)
    for kind, *words in wanted:
        fits = [r for r in rest if r[0] == kind and all(w in r[1] for w in words)]
        assert fits, (kind, words, found)
        rest.remove(fits[0])
    assert not rest, rest


@case
def each_mismatch_is_named_and_nothing_else():
    for name, size in ('small', '1M'), ('large', '2M'), ('a', '1M'), ('b', '1M'):
        img('create', '-q', '-f', 'raw', name, size)
    img('create', '-q', '-f', 'vdi', 'stays', '1M')
    for what, (ours, theirs, here, there, wanted) in MISMATCHES.items():
        with Mover('a', '-S', *monitor('a'), *options_of(what, ours)) as a, \
                Mover('b', '-incoming', 'defer', *monitor('b'), *options_of(what, theirs)) as b:
            try:
                for act, e in (here, a), (there, b):
                    if act:
                        act(e)
                found, _ = check('a.qmp', 'b.qmp', code=1)
                told = a.answer('x-migrate-check', target=b.answer('x-migrate-describe'))
                assert found == [(r['subject'], r['reason']) for r in told['reasons']]
                expect(found, wanted)
            except AssertionError as e:
                raise AssertionError(f'{what}: {e}') from None


@case
def ends_in_the_wrong_state_are_named():
    with source(*monitor('a')) as a, target('defer', *monitor('b')) as b, Mover('c', '-S', *monitor('c')):
        expect(check('a.qmp', 'c.qmp', code=1)[0], [('state', 'target', '-incoming')])
        expect(check('b.qmp', 'b.qmp', code=1)[0], [('state', 'source', 'waits')])
        assert check('a.qmp', 'b.qmp', code=0)[0] == []
        a.migrate(b.listen('unix:m.sock'))
        check_moved(a, b)
        expect(check('a.qmp', code=1)[0], [('state', 'left')])
        assert check('b.qmp', code=0)[0] == []


@case
def the_way_is_looked_at():
    with socket.socket() as taken, source('-S', *monitor('a')) as a, target('defer', *monitor('b')) as b:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port_taken = taken.getsockname()[1]
        pathlib.Path('plain').write_text('')

        def why(uri, *ends, code=1):
            return check(f'--uri={uri}', *(ends or ('a.qmp', 'b.qmp')), code=code)[0]

        expect(why(f'tcp:127.0.0.1:{port_taken}'), [('uri', 'listen', str(port_taken))])
        expect(why('unix:no.sock'), [('uri', 'no socket', 'no.sock')])
        expect(why('unix:plain', 'a.qmp'), [('uri', "'plain' is no socket")])
        expect(why('unix:no/folder.sock'), [('uri', 'no/folder.sock', 'created'), ('uri', 'no/folder.sock', 'no socket')])
        expect(why('carrier:pigeon', 'a.qmp'), [('uri', 'carrier:pigeon')])
        expect(why('file:no/folder', 'a.qmp'), [('uri', 'no/folder', 'written')])
        assert why('file:stream', 'a.qmp', code=0) == why('exec:cat >stream', 'a.qmp', code=0) == []
        assert not pathlib.Path('stream').exists()
        uri = b.listen('tcp:127.0.0.1:0')
        expect(why('unix:m.sock'), [('uri', 'no socket')])
        assert check(f'--uri={uri}', 'a.qmp', 'b.qmp', code=0) == [[], []]
        a.turn_on('return-path')
        expect(why('file:stream', 'a.qmp'), [('capability', 'return-path')])
        a.turn_on('postcopy-ram')
        expect(why('file:stream', 'a.qmp'), [('capability', 'return-path'), ('capability', 'postcopy-ram')])
        a.turn_on('postcopy-ram', state=False)
        a.turn_on('multifd')
        expect(why('exec:cat', 'a.qmp'), [('uri', 'multifd')])
        a.tune(tls_creds='no')
        expect(why(uri, 'a.qmp'), [('parameter', 'TLS', "'no'")])


def forward(listener, port):
    """The first connection of @listener leads to @port."""
    with listener.accept()[0] as near, socket.create_connection(('127.0.0.1', port)) as far:
        while got := near.recv(1 << 20):
            far.sendall(got)


@case
def a_tunnel_is_warned_of():
    with socket.socket(socket.AF_UNIX) as listener, source(*monitor('a')) as a, \
            target('defer', *monitor('b')) as b:
        listener.bind('tunnel.sock')
        listener.listen()
        port_there = b.listen('tcp:127.0.0.1:0').split(':')[2]
        for uri in 'tcp:127.0.0.1:1', 'unix:tunnel.sock':
            found, warnings = check(f'--uri={uri}', 'a.qmp', 'b.qmp', code=0)
            assert found == []
            expect(warnings, [('uri', uri, port_there)])
        threading.Thread(target=forward, args=(listener, int(port_there)), daemon=True).start()
        a.migrate('unix:tunnel.sock')
        check_moved(a, b)


def give(path, name, fd):
    """By the monitor at @path."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        lines = s.makefile()
        lines.readline()
        s.sendall(b'{"execute":"qmp_capabilities"}')
        lines.readline()
        socket.send_fds(s, [request('getfd', fdname=name).encode()], [fd])
        assert json.loads(lines.readline()) == {'return': {}}


@case
def a_descriptor_is_looked_up_and_stays():
    near, far = socket.socketpair()
    reading, writing = os.pipe()
    with near, far, open(reading), open(writing, 'w'), source(*monitor('a'), pass_fds=[writing]) as a, \
            target('defer', *monitor('b')) as b:

        def why(uri, *ends, code=1):
            return check(f'--uri={uri}', *ends, code=code)[0]

        for nothing in 'fd:name', 'fd:9999', 'fd:-1':
            expect(why(nothing, 'a.qmp', 'b.qmp'),
                   [('uri', end, 'descriptor', nothing[3:]) for end in ('source', 'target')])
        give('a.qmp', 'pipe', writing)
        for end, kept in ('a.qmp', near), ('b.qmp', far):
            give(end, 'name', kept.fileno())
        for there in 'fd:name', 'fd:pipe', f'fd:{writing}':
            assert why(there, 'a.qmp', code=0) == []
        a.turn_on('return-path')
        expect(why('fd:pipe', 'a.qmp'), [('capability', 'no socket', 'return-path')])
        assert why('fd:name', 'a.qmp', 'b.qmp', code=0) == []
        assert b.answer('migrate-incoming', uri='fd:name') == {}
        wait_for(lambda: 'status' in b.answer('query-migrate'))
        assert why('fd:name', 'a.qmp', 'b.qmp', code=0) == []
        a.migrate('fd:name')
        check_moved(a, b)


@case
def a_disk_without_space_is_named():
    """In a file system of 1 MiB, while the guest's memory takes more."""
    pathlib.Path('tiny').mkdir()
    inner, outer = pathlib.Path('inner').absolute(), pathlib.Path('outer').absolute()
    inner.write_text(f'#!/bin/sh\nmount -t tmpfs -o size=1m none tiny && exec {EMULATOR} "$@"\n')
    outer.write_text(f'#!/bin/sh\nexec unshare --user --map-root-user --mount {inner} "$@"\n')
    for script in inner, outer:
        script.chmod(0o755)
    can = run('unshare', '--user', '--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'none', 'tiny', code=None)
    require(can.returncode == 0, 'no mounts in a namespace')
    with source(*monitor('a'), program=outer) as a:
        a.await_rounds(1)
        expect(check('--uri=file:tiny/stream', 'a.qmp', code=1)[0], [('space', 'tiny/stream')])
        assert check('--uri=file:stream', 'a.qmp', code=0)[0] == []


def moves(name, ours=(), theirs=None, here=None, there=None, warned=()):
    """A configuration that is let through, and does migrate."""
    theirs = ours if theirs is None else theirs
    pathlib.Path('m.sock').unlink(missing_ok=True)
    with Mover('source', '-S', *monitor('a'), *ours) as a, \
            Mover('target', '-incoming', 'defer', *monitor('b'), *theirs) as b:
        for act, e in (here, a), (there, b):
            if act:
                act(e)
        uri = b.listen('unix:m.sock')
        found, warnings = check(f'--uri={uri}', 'a.qmp', 'b.qmp', code=0)
        assert found == [] and [w[0] for w in warnings] == list(warned), (name, warnings)
        a.migrate(uri)
        wait_for(lambda: b.state() in ('prelaunch', 'running', 'paused'))


@case
def memory_that_postcopy_cannot_fill_is_named():
    with source('-S', *monitor('a'), *BACKEND) as a, target('defer', *monitor('b'), *FILE_MEMORY) as b:
        a.turn_on('postcopy-ram')
        expect(check('a.qmp', 'b.qmp', code=1)[0], [('capability', 'source only')])
        b.turn_on('postcopy-ram')
        expect(check('a.qmp', 'b.qmp', code=1)[0], [('memory', "'mem0'", 'postcopy-ram')])
        a.turn_on('postcopy-ram', state=False)
        expect(check('a.qmp', 'b.qmp', code=1)[0], [('memory', "'mem0'", 'postcopy-ram')])
        assert 'mem0' in b.answer('migrate-incoming', uri='unix:m.sock')['desc']


def forbidding():
    """A program that is the emulator without the right to wait for memory (userfaultfd)."""
    may = pathlib.Path('/proc/sys/vm/unprivileged_userfaultfd')
    require(may.exists() and may.read_text() == '0\n', 'everybody may use userfaultfd')
    script = pathlib.Path('forbidding').absolute()
    script.write_text(f'#!/bin/sh\nexec unshare --user {EMULATOR} "$@"\n')
    script.chmod(0o755)
    require(run('unshare', '--user', 'true', code=None).returncode == 0, 'no user namespaces')
    return script


@case
def a_host_that_does_not_let_us_wait_for_memory_is_named():
    with source(*monitor('a')) as a, target('defer', *monitor('b'), program=forbidding()) as b:
        b.turn_on('postcopy-ram')
        assert check('a.qmp', 'b.qmp', code=0)[0] == []
        a.turn_on('postcopy-ram')
        expect(check('a.qmp', 'b.qmp', code=1)[0], [('capability', 'target', 'userfaultfd')])
        a.turn_on('postcopy-ram', state=False)
        a.migrate(b.listen('unix:m.sock'))
        check_moved(a, b)


@case
def what_migrates_is_let_through():
    for name in 'small', 'copy':
        img('create', '-q', '-f', 'raw', name, '1M')
    fast = multifd(multifd_channels=3, multifd_compression='zstd')
    moves('plain')
    moves('processors and board', ('-smp', '3', '-M', 'microvm,pit=off,rtc=off'))
    moves('backends', BACKEND, FILE_MEMORY)
    moves('shared disk', (*disk('small'), *SCSI))
    moves('copied disk', (*SCSI, *disk('d', 'scsi-hd', file='small')), (*SCSI, *disk('d', 'scsi-hd', file='copy')),
          warned=['disk'])
    moves('names of the host', (*disk('one', file='small', more=',serial=s'), *net(',mac=52:54:00:00:00:01')),
          ('-drive', 'if=none,id=two,file=small,format=raw', '-device',
           'virtio-blk-device,drive=two,id=d-one,serial=s,werror=report', *net(',mac=52:54:00:00:00:02', 'hubport,hubid=1')),
          warned=['device'])
    moves('ports in another order', (*SERIAL, *port(1), *port(2)), (*SERIAL, *port(2), *port(1)))
    moves('multifd', RNG, None, fast, fast)
    moves("the source's own matters", (), None, on('xbzrle', 'auto-converge', 'events'), on('late-block-activate', 'events'))
    moves('answers', (), None, on('return-path'))
    moves('postcopy', (), None, on('postcopy-ram'), on('postcopy-ram'))
    moves('postcopy that the target alone allows', (), None, None, on('postcopy-ram'))
    moves('UUID unchecked', ('-uuid', UUIDS[0]), ('-uuid', UUIDS[1]), on('validate-uuid'), warned=['machine'])
    moves('target with more', ('-cpu', 'max,-popcnt', '-M', 'microvm,pit=off'), ('-cpu', 'max', *RNG),
          warned=['machine', 'processors', 'device'])
    moves('all of virtio', (*SCSI, *SERIAL, *port(1), *net(), *RNG, *disk('small', more=',packed=on'),
                            '-device', 'virtio-balloon-device'))


@case
def descriptions_stand_for_ends():
    with Mover('a', '-S', *monitor('a'), *RNG), Mover('b', '-incoming', 'defer', *monitor('b')):
        for name in 'a', 'b':
            pathlib.Path(f'{name}.json').write_text(run(TOOL, 'describe', f'{name}.qmp').stdout)
        found = check('a.qmp', 'b.qmp', code=1)
    expect(found[0], [('device', 'virtio-rng-device')])
    assert check('a.json', 'b.json', code=1) == found
    told = run(TOOL, 'check', 'a.json', 'b.json', code=1).stdout
    assert told.startswith('The guest cannot be migrated:\n  device: '), told
    assert run(TOOL, 'check', 'b.json', 'b.json', code=1).stdout.count('\n') == 2
    end = json.loads(pathlib.Path('a.json').read_text())
    for change in {'machine': 5}, {'devices': [{'driver': 'x'}]}, {'sections': None}, {'more': 1}:
        pathlib.Path('bad.json').write_text(json.dumps({**end, **change}))
        assert 'no description' in run(TOOL, 'check', 'bad.json', 'b.json', code=2).stderr
    end['devices'][0].update(name='\x1b[2J', properties=5, place='\x1b')
    pathlib.Path('bad.json').write_text(json.dumps(end))
    assert '\x1b' not in run(TOOL, 'check', 'bad.json', 'b.json', code=1).stdout
    for bad in 'no.qmp', 'unix:no.qmp', 'tcp:127.0.0.1:1', 'tcp:x':
        assert bad.split(':', 1)[-1] in run(TOOL, 'check', bad, code=2).stderr
    assert 'SOURCE [TARGET]' in run(TOOL, 'check', code=2).stderr


main('migration-check', 'system')
