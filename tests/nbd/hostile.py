#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that mean harm, or break: our server stays up, bounded, and quick for everybody else."""
import os
import pathlib
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import memory_group
from nbd_frames import *
from this_run import SLOWER, WATCHED

MIB = 1 << 20
LINGER_NOT = struct.pack('ii', 1, 0)


def conversation(style):
    """All that a client sends from its first byte on, as one text."""
    c = Client(socket.socket())
    c.extended = style == 'extended'
    head = {'structured': OPT_STRUCTURED_REPLY, 'extended': OPT_EXTENDED_HEADERS}[style]

    def option(number, data=b''):
        return OPTION_MAGIC + struct.pack('>LL', number, len(data)) + data

    flags = PAYLOAD_LEN if c.extended else 0
    return (struct.pack('>L', 3) + option(OPT_LIST) + option(head) +
            option(OPT_SET_META, meta('', 'base:allocation')) +
            option(OPT_INFO, go('', INFO_NAME)) + option(OPT_GO, go('')) +
            c.header(READ, 0, 4096) + c.header(WRITE, 4096, 64, flags) + bytes(64) +
            c.header(STATUS, 0, MIB) + c.header(ZEROES, 8192, 4096) + c.header(DISC, 0, 0))


def still_serves(s):
    c = s.client().start('structured')
    assert c.read(0, 4096) == pattern(4096)
    c.request(DISC)
    c.close()


def test_disconnect_at_every_byte():
    with disk(MIB, content=pattern(4096)) as s:
        for style in ('structured', 'extended'):
            whole = conversation(style)
            for end in range(len(whole) + 1):
                for how in ('close', 'half', 'reset'):
                    sock = s.connect()
                    sock.sendall(whole[:end])
                    if how == 'half':
                        sock.shutdown(socket.SHUT_WR)
                        sock.settimeout(PATIENCE)
                        while sock.recv(65536):
                            pass
                    elif how == 'reset':
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
                    sock.close()
            still_serves(s)


def test_one_byte_at_a_time():
    with disk(MIB, content=pattern(4096)) as s:
        for style in ('structured', 'extended'):
            sock = s.connect()
            for byte in conversation(style):
                sock.sendall(bytes([byte]))
            sock.settimeout(PATIENCE)
            got = 0
            while piece := sock.recv(65536):
                got += len(piece)
            assert got > 4096
        still_serves(s)


def test_everything_in_one_write():
    with disk(MIB, content=pattern(4096)) as s:
        for style in ('structured', 'extended'):
            c = s.client()
            c.send(conversation(style))
            assert c.is_dropped()
        still_serves(s)


def test_clients_gone_while_the_server_sends():
    with disk(64 * MIB, content=pattern(4096)) as s:
        for _ in range(20):
            c = s.client().start()
            for i in range(16):
                c.request(READ, 0, 4 * MIB, cookie=i)
            c.receive(100)
            c.close()
        still_serves(s)


def test_wrong_request_magic_ends_it():
    with disk(MIB, content=pattern(4096)) as s:
        for style in ('simple', 'structured', 'extended'):
            c = s.client().start(style)
            c.send(bytes(32))
            assert c.is_dropped()
            c = s.client().start(style)
            c.extended = not c.extended
            c.send(c.header(READ, 0, 512) * 2)
            assert c.is_dropped()
        still_serves(s)


def test_noise():
    noise = random.Random(7)
    with disk(MIB, content=pattern(4096)) as s:
        for i in range(300):
            whole = conversation('structured')
            start = noise.randrange(len(whole))
            sock = s.connect()
            sock.sendall(whole[:start] + noise.randbytes(noise.randrange(400)))
            sock.close()
        still_serves(s)


def test_changed_bytes():
    noise = random.Random(11)
    with disk(MIB, content=pattern(4096)) as s:
        for style in ('structured', 'extended'):
            whole = conversation(style)
            for _ in range(400):
                bad = bytearray(whole)
                for _ in range(noise.randrange(1, 4)):
                    bad[noise.randrange(len(bad))] = noise.choice((0, 1, 127, 128, 255))
                sock = s.connect()
                try:
                    sock.sendall(bad)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                sock.close()
        c = s.client().start()
        assert len(c.read(0, 4096)) == 4096


def test_pipelined_reads_nobody_collects_take_bounded_memory():
    with disk(64 * MIB, content=pattern(4096)) as s:
        before = s.resident()
        for style in ('simple', 'structured'):
            c = s.client().start(style)
            c.sock.settimeout(0.5)
            try:
                for i in range(100000):
                    c.request(READ, 1, 32 * MIB, flags=DF if style == 'structured' else 0, cookie=i)
            except socket.timeout:
                pass
            still_serves(s)
            assert s.resident() - before < 2 * 80 * 1024, (before, s.resident())


def test_half_sent_writes_take_bounded_memory_and_keep_nobody():
    with disk(64 * MIB, content=pattern(4096)) as s:
        before, lame = s.resident(), []
        for _ in range(50):
            c = s.client().start()
            c.request(WRITE, 0, 32 * MIB, data=bytes(100))
            lame.append(c)
        began = time.monotonic()
        for _ in range(20):
            still_serves(s)
        assert time.monotonic() - began < 5 * SLOWER
        assert s.resident() - before < 20 * 1024, (before, s.resident())


def greedy(s, kind):
    """A client that makes the server hold all it can get it to hold."""
    c = s.client()
    c.sock.settimeout(0.1)
    try:
        c.start('structured' if kind == 2 else 'simple', ['base:allocation'] if kind == 2 else ())
        if kind == 0:
            c.request(WRITE, 32 * MIB, 4 * MIB, data=bytes(3 * MIB))
        for i in range(100):
            if kind == 1:
                c.request(READ, 0, MIB, cookie=i)
            elif kind == 2:
                c.request(STATUS, 0, 64 * MIB, cookie=i)
            elif kind == 3:
                c.request(WRITE, 16 * MIB + i * 65536, 65536, cookie=i, data=bytes(65536))
    except (Gone, socket.timeout):
        pass
    return c


def crowd_of_greedy_clients(where, prefix):
    """With little memory it is they who lose something, not the server nor those who ask for little."""
    make_disk(where / 'disk', 64 * MIB, pattern(4096))
    limited = where / 'limited'
    limited.write_text(f'#!/bin/sh\n{prefix}\nexec {OURS} "$@"\n')
    limited.chmod(0o755)
    with serve('-f', 'raw', '-e', '0', '-v', 'disk', tool=limited, where=where) as s:
        crowd = []
        for i in range(120):
            crowd.append(greedy(s, i % 4))
            if i % 10 == 0:
                still_serves(s)
        still_serves(s)
        assert 'cut off' in s.log.read_text()
        for c in crowd:
            c.close()
        still_serves(s)


def test_greedy_clients_and_little_address_space():
    if WATCHED:
        raise Skip('a watcher takes address space of its own')
    with folder() as where:
        crowd_of_greedy_clients(where, f'ulimit -v {160 * 1024}')


def test_greedy_clients_in_a_small_control_group():
    if WATCHED:
        raise Skip('a watcher takes memory of its own')
    try:
        group = memory_group.make(64 * MIB)
    except OSError as why:
        raise Skip(f'no control group can be made: {why}') from why
    with group, folder() as where:
        crowd_of_greedy_clients(where, f'echo $$ > {group.path}/cgroup.procs')


def slowest_answer_beside_a_greedy_client():
    with disk(64 * MIB, content=pattern(64 * 1024)) as s:
        greedy = s.client().start()
        until = time.monotonic() + 3

        def take_all():
            for i in range(64):
                greedy.request(READ, 0, MIB, cookie=i)
            while time.monotonic() < until:
                greedy.reply(MIB)
                greedy.request(READ, 0, MIB)

        taker = threading.Thread(target=take_all)
        taker.start()
        modest = s.client().start()
        slowest = 0
        while time.monotonic() < until - 0.5:
            began = time.monotonic()
            assert modest.read(0, 4096) == pattern(4096)
            slowest = max(slowest, time.monotonic() - began)
        taker.join()
    return slowest


def test_a_greedy_client_does_not_starve_others():
    best_of_three(slowest_answer_beside_a_greedy_client, SLOWER)


def forked(work):
    """Runs @work in a process of its own, as fast as that can be."""
    child = os.fork()
    if not child:
        try:
            work()
        except OSError:
            pass
        os._exit(0)
    return child


def slowest_answer_beside(flood, prepare=lambda c: None):
    """Seconds that a client waits while another sends @flood again and again over TCP, whose buffers are
    large, and takes all answers as fast as they come."""
    with folder() as where, socket.socket() as listener:
        make_disk(where / 'disk', 64 * MIB, pattern(4096))
        listener.bind(('127.0.0.1', 0))
        address = listener.getsockname()
        with inherit(where, listener, '-t', '-e', '0', '-f', 'raw', 'disk'):
            modest, greedy = (Client(socket.create_connection(address)) for _ in range(2))
            modest.start('structured')
            prepare(greedy.greet())
            greedy.sock.settimeout(None)
            room = bytearray(MIB)

            def take():
                while greedy.sock.recv_into(room):
                    pass

            def give():
                while True:
                    greedy.sock.sendall(flood)

            children = [forked(take), forked(give)]
            until, slowest = time.monotonic() + 3, 0
            try:
                while time.monotonic() < until:
                    began = time.monotonic()
                    assert modest.read(0, 4096) == pattern(4096)
                    slowest = max(slowest, time.monotonic() - began)
                    time.sleep(0.01)
            finally:
                for child in children:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                greedy.close()
                modest.close()
    return slowest


def test_options_without_end_starve_nobody():
    option = OPTION_MAGIC + struct.pack('>LL', 77, 0)
    best_of_three(lambda: slowest_answer_beside(4096 * option), 0.3 * SLOWER)


def test_reads_of_what_is_in_memory_starve_nobody():
    for length in (64 << 10, MIB):
        flood = 2340 * Client(socket.socket()).header(READ, 0, length)
        best_of_three(lambda flood=flood: slowest_answer_beside(flood, Client.go), 0.3 * SLOWER)


def test_effects_of_exabytes_keep_nobody_and_end_with_their_client():
    """null-co never waits: whatever is as long as this has to give way by itself."""
    size = 1 << 62
    with folder() as where:
        with serve('-e', '2', '--image-opts', f'driver=null-co,size={size},read-zeroes=on',
                   where=where) as s:
            for command in (CACHE, TRIM, ZEROES):
                for _ in range(2):  # would take all places if it did not end
                    endless = s.client().start('extended')
                    for i in range(100):
                        endless.request(command, 0, size, cookie=i)
                    other = s.client().start()
                    before = s.cpu_seconds()
                    for _ in range(10):
                        assert other.read(0, 4096) == bytes(4096)
                    assert s.cpu_seconds() - before < 2 * SLOWER, command
                    endless.close()
                    other.close()
            endless = s.client().start('extended')
            endless.request(TRIM, 0, size)
            other = s.client().start('simple')
            other.read(0, 4096)
            before = s.cpu_seconds()
            others = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            assert time_to_stop(s) < 5 * SLOWER
            used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - others - before
            assert used < 2 * SLOWER, used


@needs('qemu-img')
def test_status_of_many_extents_keeps_nobody():
    """Compressed clusters of 512 bytes: each is an extent, all are alike and become one."""
    size, asked = 64 * MIB, 100
    with folder() as where:
        (where / 'raw').write_bytes(b'abcdefgh' * (size // 8))
        subprocess.run([OURS.parent / 'qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o',
                        'cluster_size=512', 'raw', 'disk'], cwd=where, check=True)
        with serve('-e', '0', '-r', '-f', 'qcow2', 'disk', where=where) as s:
            asks = s.client().start('extended', ['base:allocation'])
            other = s.client().start()
            assert len(asks.status(0, size)[0]) == 1
            asks.send(asks.header(STATUS, 0, size) * asked)
            other.read(0, 512)
            ready = len(asks.sock.recv(1 << 20, socket.MSG_PEEK | socket.MSG_DONTWAIT)) if \
                select.select([asks.sock], [], [], 0)[0] else 0
            for _ in range(asked):
                assert asks.reply()[1] == 0
            assert ready < asked * (32 + 8 + 16), 'all were answered before the other one'


def test_handshakes_have_a_limit():
    with disk(MIB, '--handshake-limit=1', content=pattern(4096)) as s:
        idle, slow, talker = s.client(), s.client(), s.client().greet()
        slow.send(b'\0\0')
        done = s.client().start()
        began = time.monotonic()
        while time.monotonic() - began < 0.8:
            talker.option(OPT_LIST)
            time.sleep(0.05)
        for c in (idle, slow, talker):
            c.sock.settimeout(5)
            assert c.is_dropped()
        assert 0.5 < time.monotonic() - began < 5
        assert done.read(0, 10) == pattern(10), 'no limit once an export is agreed'


def test_handshakes_without_a_limit():
    with disk(MIB, '--handshake-limit=0', content=pattern(4096)) as s:
        c = s.client()
        time.sleep(1.2)
        c.start()


def test_idle_clients_are_cut_off_when_asked_for():
    with disk(MIB, '--idle-limit=1', content=pattern(4096)) as s:
        idle, half, busy = (s.client().start() for _ in range(3))
        half.send(half.header(READ, 0, 512)[:10])
        began = time.monotonic()
        while time.monotonic() - began < 2:
            assert busy.read(0, 4096) == pattern(4096)
            time.sleep(0.1)
        assert idle.is_dropped() and half.is_dropped()
        assert busy.read(0, 10) == pattern(10)
    with folder() as where:
        with serve('--idle-limit=1', '--image-opts',
                   'driver=null-co,size=1M,latency-ns=2500000000,read-zeroes=on', where=where) as s:
            waits = s.client().start()
            assert waits.read(0, 512) == bytes(512), 'who waits for an answer is not idle'
            began = time.monotonic()
            assert waits.is_dropped() and time.monotonic() - began < 10


def test_clients_beyond_the_limit_wait_in_the_backlog():
    with disk(MIB, '-e', '2', content=pattern(4096)) as s:
        first, second = s.client().start(), s.client().start()
        third = s.client()
        third.sock.settimeout(0.3)
        try:
            third.receive(1)
            assert False, 'nobody is to be served beyond the limit'
        except socket.timeout:
            pass
        third.sock.settimeout(PATIENCE)
        first.close()
        third.start()
        assert second.read(0, 4) == third.read(0, 4) == pattern(4)


def time_to_stop(s):
    began = time.monotonic()
    assert s.stop() == 0
    return time.monotonic() - began


def stop_with_clients_in_every_state():
    with disk(64 * MIB, content=pattern(4096)) as s:
        silent, greeted = s.client(), s.client().greet()
        half = s.client().greet()
        half.send(OPTION_MAGIC + b'\0')
        idle = s.client().start()
        writing = s.client().start()
        writing.request(WRITE, 0, MIB, data=bytes(1000))
        took = time_to_stop(s)
        assert all(c.is_dropped() for c in (silent, greeted, half, idle, writing))
    return took


def test_stop_with_clients_in_every_state():
    best_of_three(stop_with_clients_in_every_state, 2)


def stop_with_clients_that_take_no_answers(seconds):
    with disk(64 * MIB, content=pattern(4096)) as s:
        stuck = s.client().start()
        for i in range(64):
            stuck.request(READ, 0, 16 * MIB, cookie=i)
        time.sleep(seconds)
        return time_to_stop(s)


def test_stop_with_clients_that_take_no_answers():
    best_of_three(lambda: stop_with_clients_that_take_no_answers(0.3), 5)


def test_stop_waits_for_nobody_who_takes_no_answers():
    best_of_three(lambda: stop_with_clients_that_take_no_answers(2.5), 2)


def test_stop_answers_what_runs():
    with folder() as where:
        with serve('--image-opts', 'driver=null-co,size=1M,latency-ns=1000000000,read-zeroes=on',
                   where=where) as s:
            c = s.client().start()
            c.request(READ, 0, 4096, cookie=5)
            time.sleep(0.3)
            s.process.send_signal(signal.SIGTERM)
            assert c.reply(4096) == (5, 0, [(DATA, bytes(4096))])
            assert c.is_dropped()


def test_signals_are_safe_at_any_time():
    with disk(MIB, content=pattern(4096)) as s:
        c = s.client().start()
        for i in range(200):
            s.process.send_signal(signal.SIGUSR1)
            assert c.read(0, 4096) == pattern(4096)


def test_out_of_descriptors_is_survived():
    with disk(MIB, content=pattern(4096)) as s:
        import resource
        limit = len(os.listdir(f'/proc/{s.process.pid}/fd')) + 5
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        crowd = [s.connect() for _ in range(20)]
        time.sleep(0.3)
        for sock in crowd:
            sock.close()
        still_serves(s)


sys.exit(run('hostile', globals()))
