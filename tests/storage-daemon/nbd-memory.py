#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients of NBD where memory is limited, with images on several loops."""
import contextlib
import os
import pathlib
import selectors
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, main, require
from nbd_frames import READ, WRITE, Client, Gone
from qmp import PATIENCE, Stdio
from this_run import WATCHED

MIB = 1 << 20
# Memory that is freed is overwritten, so that who uses it after that does something else.
PERTURBED = {'MALLOC_PERTURB_': '165', 'GLIBC_TUNABLES': 'glibc.malloc.tcache_count=0'}


def data_limit(mib):
    """Lines of a shell script after which only so much memory can be had."""
    return f'ulimit -d {mib << 10}\n'


def group_limit(mib):
    """The same by a control group, where the program finds the limit. It is not a real one, which
    could be met too early by what else is there. Mounts of FUSE would live on here after their end."""
    return ('while read -r _ at type _; do case $type in fuse*) umount -l "$at";; esac; done '
            '</proc/self/mounts\n'
            f'G=/sys/fs/cgroup\nmount -t tmpfs none $G && mkdir $G/memory || exit\n'
            f'echo {mib << 20} | tee $G/memory.max >$G/memory/memory.limit_in_bytes\n')


ALONE = ['unshare', '-m']


@contextlib.contextmanager
def daemon(mib, *homes, latency_ms=0, limit=data_limit):
    """May have @mib MiB. Node and export n0 are on the loop that the first of @homes names, and so
    on; None: on the main one."""
    require(not WATCHED, 'a watcher takes memory of its own')
    limited = pathlib.Path('limited')
    limited.write_text(f'#!/bin/sh\n{limit(mib)}ulimit -c 0\n'
                       f'exec {BUILD}/qemu-storage-daemon "$@"\n')
    program = pathlib.Path('program')
    alone = ' '.join(ALONE) if limit == group_limit else ''
    program.write_text(f'#!/bin/sh\nexec {alone} sh ./limited "$@"\n')
    program.chmod(0o755)
    nodes = []
    for n, home in enumerate(homes):
        nodes += ['--blockdev', f'null-co,node-name=n{n},size=1G,read-zeroes=on,'
                                f'latency-ns={latency_ms * 10**6}',
                  '--export', f'nbd,id=e{n},node-name=n{n},writable=on' + (f',iothread={home}' if home else '')]
    with Stdio('./program', '--object', 'iothread,id=i', '--object', 'iothread,id=j',
               '--nbd-server', 'addr.type=unix,addr.path=s', *nodes, env=PERTURBED) as d:
        yield d
        assert d.end() == 0, d.errors


def client(name='n0'):
    s = socket.socket(socket.AF_UNIX)
    s.connect('s')
    return Client(s).start(name=name)


@case
def the_server_can_stop_just_after_a_client_has_waited_for_memory():
    with daemon(96, None) as d:
        for _ in range(5):
            crowd = [client() for _ in range(3)]
            for c in crowd[:2]:
                c.request(READ, 0, 10 * MIB)
            for c in crowd[:2]:
                c.reply()
            crowd[2].request(READ, 0, 10 * MIB)     # finds no memory left
            time.sleep(.03)
            for c in crowd:
                c.close()
            assert d.answer('nbd-server-stop') == {}
            time.sleep(.2)
            assert d.answer('nbd-server-start',
                            addr={'type': 'unix', 'data': {'path': 's'}}) == {}
            assert d.answer('block-export-add', type='nbd', id='e0', node_name='n0') == {}


def many_at_work(crowd):
    for c in crowd:
        c.send(b''.join(c.header(READ, n * 4096, 4096, cookie=n) for n in range(4)))
    for c in crowd:
        for _ in range(4):
            assert c.reply(4096)[1] == 0


@case
def images_can_move_with_many_clients_and_little_memory():
    with daemon(96, None, latency_ms=40) as d:
        crowd = [client() for _ in range(74)]
        for home in None, 'i', 'j', None, 'j', 'i':
            many_at_work(crowd)
            assert d.answer('x-blockdev-set-iothread', node_name='n0', iothread=home,
                            force=True) == {}
        many_at_work(crowd)
        assert d.answer('nbd-server-stop') == {}
        assert all(c.is_dropped() for c in crowd)


class Reader:
    """A client in a thread with always @n reads of @length bytes under way, until it is stopped."""

    def __init__(self, export, n, length):
        self.client, self.n, self.length = client(export), n, length
        self.answered, self.stopping, self.problem = 0, False, None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            for _ in range(self.n):
                self.client.request(READ, 0, self.length)
            asked = self.n
            while self.answered < asked:
                assert self.client.reply(self.length)[1] == 0
                self.answered += 1
                if not self.stopping:
                    self.client.request(READ, 0, self.length)
                    asked += 1
        except (OSError, AssertionError, Gone) as e:
            self.problem = e


@contextlib.contextmanager
def reading(*readers):
    for r in readers:
        r.thread.start()
    try:
        yield
    finally:
        for r in readers:
            r.stopping = True
        for r in readers:
            r.thread.join()
            r.client.close()
    assert not any(r.problem for r in readers), [r.problem for r in readers]


# A request counts for 320 KiB besides its data, so that some 70 may be under way.


@case
def loops_have_their_turns_where_memory_is_short():
    with daemon(96, 'i', 'j', latency_ms=100) as d:
        crowds = [[Reader(f'n{n}', 25, 4096) for _ in range(4)] for n in range(2)]
        counts, end = [0, 0], time.monotonic() + PATIENCE
        with reading(*sum(crowds, [])):
            while sum(counts) < 1500:
                assert time.monotonic() < end, f'only {counts} answers'
                time.sleep(.05)
                counts = [sum(r.answered for r in crowd) for crowd in crowds]
        assert min(counts) * 4 > max(counts), counts
        assert len(d.answer('query-block-exports')) == 2


@case
def nobody_is_cut_off_whose_image_is_slow():
    with daemon(96, None, 'i', latency_ms=2000):
        readers, start = [Reader(f'n{n % 2}', 12, 4096) for n in range(10)], time.monotonic()
        with reading(*readers):
            time.sleep(.5)
        assert time.monotonic() - start > 3.5, 'nobody had to wait'


def one_of_two_who_take_no_answers_is_cut_off_for(other):
    greedy = [client('n0') for _ in range(2)]
    for c in greedy:
        c.request(READ, 0, 11 * MIB)
    for c in greedy:
        c.receive(4)            # the server has begun to answer
        c.sock.settimeout(1)
    assert len(other.read(0, 2 * MIB)) == 2 * MIB
    assert sum(c.is_dropped() for c in greedy) == 1     # that is enough
    for c in greedy:
        c.close()


@case
def who_takes_no_answers_is_cut_off_when_others_on_another_loop_need_memory():
    with daemon(96, 'i', 'j'):
        with contextlib.closing(client('n1')) as c:
            one_of_two_who_take_no_answers_is_cut_off_for(c)


@case
def nobody_is_cut_off_for_what_was_slow_while_nobody_waited():
    with daemon(96, 'i', 'j'):
        with contextlib.closing(client('n0')) as slow, contextlib.closing(client('n1')) as c:
            one_of_two_who_take_no_answers_is_cut_off_for(c)
            slow.send(slow.header(WRITE, 0, MIB))
            time.sleep(1.5)
            one_of_two_who_take_no_answers_is_cut_off_for(c)
            slow.send(bytes(MIB))
            assert slow.reply()[1] == 0


class Flood:
    """@n clients that send READs of 512 bytes as fast as they can, and take the answers."""

    def __init__(self, n):
        self.selector, self.stopping = selectors.DefaultSelector(), False
        for _ in range(n):
            c = client()
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
            c.sock.setblocking(False)
            c.sock.send(c.header(READ, 0, 512) * 9000)
            self.selector.register(c.sock, selectors.EVENT_READ)
            self.drain(.01)     # meanwhile the server reads much, before the next one comes
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stopping:
            self.drain(.1)

    def drain(self, patience):
        for key, _ in self.selector.select(patience):
            key.fileobj.recv(1 << 18)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


@case
def requests_that_wait_keep_nobody_from_memory():
    require(os.geteuid() == 0, 'needs root, to mount in a name space')
    require(subprocess.run([*ALONE, 'true'], stderr=subprocess.DEVNULL, check=False).returncode == 0,
            'there are no name spaces for mounts')
    with daemon(16, None, latency_ms=100, limit=group_limit):
        with contextlib.closing(client()) as c, Flood(150):
            assert len(c.read(0, 2 * MIB)) == 2 * MIB


main('nbd-memory', 'storage-daemon')
