#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients of NBD are served on the iothread where their image lives, and follow it to others."""
import contextlib
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, main
from guest import Guest
from nbd_frames import FLUSH, READ, WRITE, Client
from qmp import PATIENCE, Stdio
from threads import await_thread_gone, busiest, threads

SIZE = 4 << 20
MIB = 1 << 20


@contextlib.contextmanager
def daemon(*more, exports=1, thread=',iothread=i'):
    """Image a0 is node n0 and export n0, and so on."""
    nodes = []
    for n in range(exports):
        img('create', '-q', '-f', 'qcow2', f'a{n}', str(SIZE))
        nodes += ['--blockdev', f'qcow2,node-name=n{n},file.driver=file,file.filename=a{n}',
                  '--export', f'nbd,id=e{n},node-name=n{n},writable=on{thread}']
    with Stdio(BUILD / 'qemu-storage-daemon', '--object', 'iothread,id=i', '--object', 'iothread,id=j',
               '--nbd-server', 'addr.type=unix,addr.path=s', *nodes, *more) as d:
        yield d


def move(d, thread, node='n0'):
    assert d.answer('x-blockdev-set-iothread', node_name=node, iothread=thread, force=True) == {}


def client(name='n0', style='simple'):
    s = socket.socket(socket.AF_UNIX)
    s.connect('s')
    return Client(s).start(style, name=name)


@case
def the_thread_of_the_image_does_the_work_of_its_connections():
    with daemon() as d:
        with contextlib.closing(client()) as c:
            def work():
                for _ in range(1000):
                    c.read(0, 4096)
            for thread in 'i', 'j', None, 'i':
                move(d, thread)
                c.read(0, 512)
                assert (busy := busiest(d, work)) == (thread or 'main'), f'{busy} is busy, not {thread}'


@case
def writes_go_on_while_images_and_their_connections_move():
    with daemon(exports=2) as d:
        guests = [Guest('s', f'n{n}', seed=n).start() for n in range(2)]
        for i in range(60):
            move(d, ('j', None, 'i')[i % 3], f'n{i // 3 % 2}')
            guests[i // 3 % 2].wait_for_writes(3)
            d.answer('query-named-block-nodes')
        for g in guests:
            g.stop()
            assert not g.problems(b''.join(g.client.read(at, MIB) for at in range(0, SIZE, MIB)))
            g.close()
    for n in range(2):
        img('check', '-q', f'a{n}')


@case
def half_of_a_request_is_completed_on_another_loop():
    with daemon() as d:
        with contextlib.closing(client()) as c:
            frame = c.header(WRITE, 65536, MIB) + b'5' * MIB
            for n, thread in (1, 'j'), (27, None), (28, 'i'), (29, 'j'), (MIB, None):
                c.send(frame[:n])
                time.sleep(.02)     # so that it has been received, mostly
                move(d, thread)
                c.send(frame[n:])
                assert c.reply()[1] == 0
                assert c.read(65536, MIB) == b'5' * MIB


@case
def a_thread_can_be_deleted_while_a_client_takes_no_answers():
    with daemon(thread='') as d:
        with contextlib.closing(client()) as c:
            move(d, 'i')
            c.call(WRITE, 0, MIB, data=b'7' * MIB)
            for n in range(20):
                c.request(READ, 0, MIB, cookie=n)
            move(d, None)
            assert d.answer('object-del', id='i') == {}
            assert 'i' in threads(d)
            for n in range(20):
                cookie, error, chunks = c.reply(MIB)
                assert error == 0 and chunks[0][1] == b'7' * MIB, (cookie, error)
            await_thread_gone(d, 'i')
            assert c.read(0, 4096) == b'7' * 4096


@case
def clients_come_and_go_while_images_move():
    with daemon() as d:
        for n in range(40):
            one, two = client(), client(style='structured')
            move(d, ('i', 'j', None)[n % 3])
            assert two.call(WRITE, n * 512, 512, data=b'x' * 512) == 0
            two.close()
            assert one.read(n * 512, 512) == b'x' * 512
            one.request(READ, 0, SIZE)
            one.close()


def ended_hard(remove):
    with daemon() as d:
        quiet, busy = client(), client()
        for n in range(20):
            busy.request(READ, 0, MIB, cookie=n)
        assert 'in use' in d.answer('block-export-del', id='e0')['desc']
        remove(d)
        assert quiet.is_dropped() and busy.is_dropped()
        assert d.answer('query-block-exports') == []
        assert d.answer('blockdev-del', node_name='n0') == {}
        assert d.answer('object-del', id='i') == {}
        await_thread_gone(d, 'i')


@case
def an_export_on_an_iothread_can_be_removed_under_its_clients():
    def remove(d):
        lines = d.ask('{"execute":"block-export-del","arguments":{"id":"e0","mode":"hard"}}')
        if not any('BLOCK_EXPORT_DELETED' in line for line in lines):
            d.event('BLOCK_EXPORT_DELETED')
    ended_hard(remove)


@case
def the_server_can_stop_under_clients_on_an_iothread():
    ended_hard(lambda d: d.answer('nbd-server-stop'))


@case
def quit_stores_what_clients_on_iothreads_have_flushed():
    with daemon(exports=2) as d:
        guests = [Guest('s', f'n{n}', seed=n).start() for n in range(2)]
        for g in guests:
            g.wait_for_writes(50)
        move(d, 'j', 'n1')
        d.answer('quit')
        assert d.process.wait(PATIENCE) == 0
        for g in guests:
            g.stop()
            g.close()
    for n, g in enumerate(guests):
        img('check', '-q', f'a{n}')
        img('convert', '-O', 'raw', f'a{n}', 'raw')
        assert not g.problems(pathlib.Path('raw').read_bytes())


@case
def bitmaps_are_shown_of_an_image_that_should_be_on_an_iothread():
    with daemon() as d:
        assert d.answer('block-dirty-bitmap-add', node='n0', name='b') == {}
        with contextlib.closing(client()) as other:
            assert d.answer('block-export-add', type='nbd', id='b', name='b', node_name='n0', writable=True,
                            bitmaps=['b'], iothread='j') == {}
            assert other.call(WRITE, MIB, 65536, data=b'x' * 65536) == 0
            s = socket.socket(socket.AF_UNIX)
            s.connect('s')
            with contextlib.closing(Client(s).start('structured', ['qemu:dirty-bitmap:b'], 'b')) as c:
                found = c.status(0, SIZE)[c.ids['qemu:dirty-bitmap:b']]
                assert found == [(MIB, 0), (65536, 1), (SIZE - MIB - 65536, 0)], found
            assert other.call(FLUSH) == 0


main('nbd-iothread', 'storage-daemon')
