#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Drivers that have more than their image, on iothreads: throttle, blkdebug and clients of NBD."""
import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, io, main
from guest import Guest
from nbd_frames import EIO, READ, Client
from qmp import PATIENCE, Stdio
from threads import busiest

SIZE = 4 << 20
MIB = 1 << 20
PLACES = 'j', None, 'i'


@contextlib.contextmanager
def daemon(*nodes, objects=()):
    """Each of @nodes is n0, n1, ... and an export of that name, the first on iothread i, the next on j."""
    words = [w for n, node in enumerate(nodes) for w in (
        '--blockdev', json.dumps({**node, 'node-name': f'n{n}'}),
        '--export', f'nbd,id=e{n},node-name=n{n},writable=on,iothread={"ij"[n % 2]}')]
    with Stdio(BUILD / 'qemu-storage-daemon', '--object', 'iothread,id=i', '--object', 'iothread,id=j',
               *(w for o in objects for w in ('--object', o)), '--nbd-server', 'addr.type=unix,addr.path=s',
               *words) as d:
        yield d


def image(name):
    img('create', '-q', '-f', 'qcow2', name, str(SIZE))
    return {'driver': 'qcow2', 'file': {'driver': 'file', 'filename': name}}


def throttled(node):
    return {'driver': 'throttle', 'throttle-group': 'g', 'file': node}


def client(name='n0'):
    s = socket.socket(socket.AF_UNIX)
    s.connect('s')
    return Client(s).start(name=name)


def move(d, thread, node='n0'):
    assert d.answer('x-blockdev-set-iothread', node_name=node, iothread=thread, force=True) == {}


def moved_under_writes(d, names, moves, between=lambda i: None):
    """Guests write while their images move; then the disks are what was written."""
    guests = [Guest('s', name, seed=n).start() for n, name in enumerate(names)]
    for i in range(moves):
        n = i // 3 % len(names)
        between(i)
        move(d, PLACES[i % 3], names[n])
        guests[n].wait_for_writes(3)
        d.answer('query-named-block-nodes')
    for g in guests:
        g.stop()
        assert not g.problems(b''.join(g.client.read(at, MIB) for at in range(0, SIZE, MIB)))
        g.close()


@case
def a_limit_is_shared_by_images_on_two_threads():
    rate = 100
    with daemon(*[throttled({'driver': 'null-co', 'size': SIZE})] * 2,
                objects=[f'throttle-group,id=g,limits.iops-total={rate}']) as d:
        counts = [0, 0]
        clients = [client(f'n{n}') for n in range(2)]
        begun = time.monotonic()

        def read(n):
            with contextlib.closing(clients[n]) as c:
                while time.monotonic() < begun + 1.5:
                    c.read(0, 512)
                    counts[n] += 1
        readers = [threading.Thread(target=read, args=(n,)) for n in range(2)]
        for t in readers:
            t.start()
        for t in readers:
            t.join()
        most = rate * (time.monotonic() - begun) + rate / 10 + len(readers)
        assert min(counts) > 5 and sum(counts) <= most, (counts, most)
        assert d.answer('query-block-exports')


@case
def a_limit_that_is_raised_lets_those_go_that_wait():
    with daemon(*[throttled({'driver': 'null-co', 'size': SIZE})] * 2,
                objects=['throttle-group,id=g,limits.bps-total=1024']) as d:
        with contextlib.closing(client('n0')) as a, contextlib.closing(client('n1')) as b:
            done = []

            def read(c):
                for _ in range(3):
                    c.read(0, MIB)
                done.append(c)
            readers = [threading.Thread(target=read, args=(c,)) for c in (a, b)]
            for t in readers:
                t.start()
            time.sleep(.2)
            assert not done
            assert d.answer('qom-set', path='/objects/g', property='limits', value={'bps-total': 0}) == {}
            for t in readers:
                t.join(PATIENCE)
            assert len(done) == 2


@case
def a_limit_holds_while_commands_look():
    rate, depth = 20, 8
    with daemon(throttled({'driver': 'null-co', 'size': SIZE}),
                objects=[f'throttle-group,id=g,limits.iops-total={rate}']) as d:
        counts = [0] * depth
        clients = [client() for _ in range(depth)]
        begun = time.monotonic()

        def read(n):
            with contextlib.closing(clients[n]) as c:
                while time.monotonic() < begun + 2:
                    c.read(0, 512)
                    counts[n] += 1
        readers = [threading.Thread(target=read, args=(n,)) for n in range(depth)]
        for t in readers:
            t.start()
        while any(t.is_alive() for t in readers):
            assert d.answer('query-block-exports')
            time.sleep(.02)
        # Those that wait when the image comes to the main loop go, but it stays there.
        most = rate * (time.monotonic() - begun) + rate / 10 + 4 * depth
        assert depth < sum(counts) <= most, (counts, most)


@case
def a_throttled_image_that_nobody_waits_for_is_on_its_thread():
    with daemon(throttled({'driver': 'null-co', 'size': SIZE}),
                objects=['throttle-group,id=g,limits.iops-total=100000000']) as d:
        with contextlib.closing(client()) as c:
            for thread in 'i', 'j':
                move(d, thread)
                assert busiest(d, lambda: [c.read(0, 512) for _ in range(500)]) == thread


@case
def commands_do_not_wait_for_a_job_whose_target_has_a_limit():
    img('create', '-q', '-f', 'raw', 't', str(SIZE))
    source = image('a')
    io('a', f'write -q -P 1 0 {SIZE}')
    with daemon(source, objects=['throttle-group,id=g,limits.bps-total=1024']) as d:
        target = throttled({'driver': 'raw', 'file': {'driver': 'file', 'filename': 't'}})
        assert d.answer('blockdev-add', node_name='t', **target) == {}
        assert d.answer('blockdev-mirror', job_id='j', device='n0', target='t', sync='full') == {}
        for _ in range(5):
            assert isinstance(d.answer('query-block-jobs'), list)
            time.sleep(.1)
        assert d.answer('qom-set', path='/objects/g', property='limits', value={'bps-total': 0}) == {}
        assert d.answer('block-job-cancel', device='j', force=True) == {}
        end = time.monotonic() + PATIENCE
        while d.answer('query-block-jobs'):
            assert time.monotonic() < end, 'the job stays'
            time.sleep(.05)


@case
def throttled_images_move_while_they_wait():
    with daemon(throttled(image('a')), throttled(image('b')),
                objects=['throttle-group,id=g,limits.iops-total=300,limits.bps-write=8388608']) as d:
        moved_under_writes(d, ['n0', 'n1'], 40)
    for name in 'a', 'b':
        img('check', '-q', name)


@case
def blkdebug_delays_and_fails_requests_on_a_thread():
    slow = {'event': 'none', 'iotype': 'write', 'errno': 0, 'delay-ns': 1000000}
    with daemon({'driver': 'blkdebug', 'image': image('a'), 'inject-error': [slow]},
                {'driver': 'blkdebug', 'image': {'driver': 'null-co', 'size': SIZE},
                 'inject-error': [{'event': 'none', 'iotype': 'read', 'sector': 8, 'once': True}]}) as d:
        moved_under_writes(d, ['n0'], 30)
        with contextlib.closing(client('n1')) as c:
            for thread in 'i', 'j':
                move(d, thread, 'n1')
                assert busiest(d, lambda: [c.read(0, 512) for _ in range(500)]) == thread
            assert c.call(READ, 4096, 512) == EIO
            assert c.call(READ, 4096, 512) == 0
    img('check', '-q', 'a')


def listens(path):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        return s.connect_ex(path) == 0


@contextlib.contextmanager
def server(name, *options):
    """qemu-nbd of raw file @name at the socket far, which is made anew."""
    pathlib.Path('far').unlink(missing_ok=True)
    with subprocess.Popen([BUILD / 'qemu-nbd', '-k', pathlib.Path('far').absolute(), '-f', 'raw', '-t', '-e', '8',
                           *options, name]) as p:
        end = time.monotonic() + PATIENCE
        while not listens('far'):
            assert time.monotonic() < end, 'there is no server'
            time.sleep(.01)
        try:
            yield p
        finally:
            p.kill()


def far(**more):
    return {'driver': 'nbd', 'server': {'type': 'unix', 'path': 'far'}, **more}


def disk(name):
    with open(name, 'wb') as f:
        f.truncate(SIZE)


@case
def an_image_on_a_server_moves_with_its_connections():
    disk('a')
    with server('a'):
        with daemon(far(connections=4)) as d:
            moved_under_writes(d, ['n0'], 40)
            with contextlib.closing(client()) as c:
                for thread in 'i', 'j', None:
                    move(d, thread)
                    busy = busiest(d, lambda: [c.read(0, 4096) for _ in range(1000)])
                    assert busy == (thread or 'main'), f'{busy} is busy, not {thread}'


@case
def an_image_on_a_server_with_tls_moves():
    disk('a')
    pathlib.Path('keys.psk').write_text(f'ferry:{"5c" * 16}\n')
    keys = 'tls-creds-psk,id=t,dir=.,endpoint='
    with server('a', '--object', keys + 'server', '--tls-creds', 't'):
        with daemon(far(**{'tls-creds': 't'}), objects=[keys + 'client,username=ferry']) as d:
            moved_under_writes(d, ['n0'], 24)


@case
def a_connection_is_made_again_on_whatever_thread_it_is_needed():
    disk('a')
    servers = contextlib.ExitStack()
    with servers:
        at = [servers.enter_context(server('a'))]

        def restart(i):
            if i % 6 == 5:
                at[0].kill()
                at[0].wait()
                at[0] = servers.enter_context(server('a'))
        with daemon(far(**{'reconnect-delay': 600})) as d:
            moved_under_writes(d, ['n0'], 36, restart)


@case
def a_lost_server_is_found_again_after_moves():
    disk('a')
    # Without a delay requests fail meanwhile, and connectors move with the image.
    with contextlib.ExitStack() as servers:
        p = servers.enter_context(server('a'))
        with daemon(far(connections=2)) as d:
            with contextlib.closing(client()) as c:
                p.kill()
                p.wait()
                assert c.call(READ, 0, 512) == EIO
                for thread in PLACES * 3:
                    move(d, thread)
                servers.enter_context(server('a'))
                end = time.monotonic() + PATIENCE
                while c.call(READ, 0, 512) != 0:
                    assert time.monotonic() < end, 'the server is not found'
                    time.sleep(.05)


class Slow:
    """Passes connections to the socket slow on to far, each after a delay."""

    def __init__(self):
        self.delay, self.ends = 0, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind('slow')
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=self.listener.accept()[:1], daemon=True).start()

    def serve(self, near):
        time.sleep(self.delay)
        there = socket.socket(socket.AF_UNIX)
        with near, there, contextlib.suppress(OSError):
            there.connect('far')
            self.ends += [near, there]
            threading.Thread(target=self.pass_on, args=(near, there), daemon=True).start()
            self.pass_on(there, near)

    def pass_on(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        self.cut(one, other)

    @staticmethod
    def cut(*ends):
        for s in ends:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.cut(self.listener, *self.ends)
        self.listener.close()


@case
def a_slow_server_is_found_again_while_commands_look():
    disk('a')
    with server('a'), contextlib.closing(Slow()) as slow:
        with daemon({'driver': 'nbd', 'server': {'type': 'unix', 'path': 'slow'}}) as d:
            with contextlib.closing(client()) as c:
                c.read(0, 512)
                slow.delay = .6
                slow.cut(*slow.ends)
                end = time.monotonic() + PATIENCE
                assert c.call(READ, 0, 512) == EIO
                while c.call(READ, 0, 512) != 0:
                    assert time.monotonic() < end, 'the server is not found'
                    assert d.answer('query-block-exports')
                    time.sleep(.05)


main('iothread-drivers', 'storage-daemon')
