#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports by vhost-user: a disk that another process uses through memory it shares."""
import contextlib
import json
import os
import pathlib
import random
import select
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import vhost_user as v
from cases import BUILD, case, img, io, main, run
from qmp import PATIENCE, Client, Stdio, request
from vhost_user import FrontEnd, Gone

DAEMON = BUILD / 'qemu-storage-daemon'
SIZE = 1 << 20


@contextlib.contextmanager
def serving(options='writable=on', program=DAEMON, fmt='qcow2'):
    if not os.path.exists('a'):
        img('create', '-q', '-f', fmt, 'a', str(SIZE))
    with Stdio(program, '--blockdev', f'{fmt},node-name=n,file.driver=file,file.filename=a',
               '--export', f'vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path=s,{options}') as d:
        yield d


@contextlib.contextmanager
def client(**how):
    f = FrontEnd('s')
    try:
        yield f.start(**how)
    finally:
        f.close()


def remove(d, **mode):
    """Removes the export, and waits for the event."""
    lines = [json.loads(line) for line in d.ask(request('block-export-del', id='e', **mode))]
    answer = next(line for line in lines if 'event' not in line)
    assert answer.get('return') == {}, answer
    told = [line['data'] for line in lines if 'event' in line] or [d.event('BLOCK_EXPORT_DELETED')]
    assert told == [{'id': 'e'}], told


def still_serves():
    """Another client is served as if nothing had been."""
    with client() as f:
        f.write(0, b'x' * 4096)
        assert f.read(0, 4096) == b'x' * 4096


@case
def what_a_client_writes_is_read_and_is_in_the_image():
    with serving(), client() as f:
        f.write(16, b'ab' * 4096)
        assert f.read(16, 8192) == b'ab' * 4096 and f.read(0, 8192) == bytes(8192)
        assert f.do(v.FLUSH, 0)[0] == v.OK
        assert f.do(v.GET_ID, 0, room=20) == (v.OK, b'vhost_user_blk'.ljust(20, b'\0'))
        f.write(1024, b'z' * 65536)
        zeroes = struct.pack('<QII', 1024, 64, 1)
        assert f.do(v.WRITE_ZEROES, 0, zeroes)[0] == v.OK
        assert f.do(v.DISCARD, 0, struct.pack('<QII', 1088, 64, 0))[0] == v.OK
        assert f.read(1024, 32768) == bytes(32768)
    io('a', 'read -P 0x61 8192 1', 'read -P 0x62 8193 1', 'read -P 0 512k 32k')
    img('check', '-q', 'a')


@case
def what_no_driver_should_ask_for_is_refused():
    with serving(), client() as f:
        end = SIZE // 512
        assert f.do(v.IN, end, room=512)[0] == v.IOERR
        assert f.do(v.IN, end - 1, room=1024)[0] == v.IOERR
        assert f.do(v.IN, 1 << 60, room=512)[0] == v.IOERR
        assert f.do(v.OUT, end, b'x' * 512)[0] == v.IOERR
        assert f.do(v.IN, 0, room=100)[0] == v.IOERR
        assert f.do(99, 0)[0] == v.UNSUPPORTED
        assert f.do(v.DISCARD, 0, struct.pack('<QII', 0, 8, 1))[0] == v.UNSUPPORTED
        assert f.do(v.DISCARD, 0, struct.pack('<QII', end, 8, 0))[0] == v.IOERR
        assert f.read(0, 512) == bytes(512)


@case
def a_client_sees_what_the_reference_shows():
    configs, answers = [], []
    img('create', '-q', '-f', 'raw', 'a', str(SIZE))
    for program in DAEMON, '/usr/bin/qemu-storage-daemon':
        with serving('writable=on,num-queues=3,logical-block-size=4096', program, 'raw') as d, \
                client() as f:
            assert f.ask_u64(v.GET_QUEUE_NUM) == 3
            assert f.ask_u64(v.GET_MAX_MEM_SLOTS) == 32
            c = f.config()
            # Capacity, segments, block size and number of queues; limits of ours are larger.
            configs.append((c[:24], c[34:36]))
            answers.append([f.do(v.IN, 8, room=4096)[0], f.do(v.IN, 1, room=4096)[0], f.do(v.GET_ID, 0, room=14),
                            f.do(77, 0)[0], f.do(v.WRITE_ZEROES, 0, struct.pack('<QII', 0, 8, 2))[0]])
            assert d.answer('query-block-exports') == [
                {'node-name': 'n', 'shutting-down': False, 'type': 'vhost-user-blk', 'id': 'e'}]
    assert configs[0] == configs[1], configs
    assert answers[0] == answers[1], answers


@case
def every_queue_serves():
    with serving('writable=on,num-queues=8'), client(queues=8) as f:
        for i, ring in f.rings.items():
            f.write(8 * i, bytes([i + 1]) * 4096, ring)
        for i, ring in f.rings.items():
            assert f.read(8 * (7 - i), 4096, ring) == bytes([8 - i]) * 4096


@case
def requests_are_under_way_at_the_same_time():
    with serving(), client() as f:
        for slot in range(4):
            f.submit(v.OUT, 8 * slot, bytes([slot + 1]) * 4096, slot=slot, kick=slot == 3)
        assert all(f.result()[0] == v.OK for _ in range(4))
        for slot in range(4):
            assert f.read(8 * slot, 4096) == bytes([slot + 1]) * 4096


@case
def indirect_descriptors_and_event_indexes_work():
    features = v.F_VERSION_1 | v.F_PROTOCOL | v.F_INDIRECT | v.F_EVENT_INDEX
    with serving(), client(features=features) as f:
        ring = f.rings[0]
        for i in range(40):
            f.write(8 * i, bytes([i]) * 4096)
            # What it asks to be told of: the next one.
            struct.pack_into('<H', f.memory, ring.avail + 4 + 2 * ring.entries, ring.seen)
        table = v.DATA + 0x80000
        struct.pack_into('<IIQ', f.memory, table + 0x1000, v.IN, 0, 8 * 17)
        for i, (at, n, flags) in enumerate(((0x1000, 16, v.NEXT), (0x2000, 4096, v.NEXT | v.WRITE),
                                            (0x1010, 1, v.WRITE))):
            ring.describe(i, v.GUEST + table + at, n, flags, i + 1, table)
        ring.describe(0, v.GUEST + table, 48, v.INDIRECT)
        ring.publish(0)
        ring.wait()
        assert f.memory[table + 0x2000:table + 0x3000] == bytes([17]) * 4096


@case
def a_queue_stops_and_goes_on():
    with serving(), client() as f:
        for i in range(21):
            f.write(i, b'1' * 512)
        assert f.stop_ring() == 21
        ring = f.rings[0]
        f.submit(v.OUT, 0, b'2' * 512)
        f.start_ring(base=21)
        assert f.result()[0] == v.OK and ring.used_index() == 22
        assert f.read(0, 512) == b'2' * 512
        # One that is disabled waits.
        assert f.order(v.SET_VRING_ENABLE, struct.pack('=II', 0, 0)) == 0
        f.submit(v.OUT, 0, b'3' * 512)
        assert f.config(8) and ring.used_index() == 23
        assert f.order(v.SET_VRING_ENABLE, struct.pack('=II', 0, 1)) == 0
        assert f.result()[0] == v.OK


@case
def clients_come_one_after_the_other():
    with serving():
        may_be = {0}
        for i in range(1, 21):
            with client() as f:
                found = f.read(0, 512)
                assert found in {bytes([j]) * 512 for j in may_be}, (found[:4], may_be)
                f.submit(v.OUT, 0, bytes([i]) * 512)
                # Some leave while their request is under way.
                if i % 2:
                    f.result()
                may_be = {i} if i % 2 else {found[0], i}


@case
def memory_comes_and_goes_by_slots():
    with serving():
        f = FrontEnd('s')
        f.negotiate(protocol=v.P_MQ | v.P_REPLY_ACK | v.P_CONFIG | v.P_MEM_SLOTS)
        slot = struct.pack('=QQQQQ', 0, v.GUEST, f.size, v.USER, 0)
        assert f.order(v.REM_MEM_REG, slot) != 0
        assert f.order(v.ADD_MEM_REG, slot, [f.fd]) == 0
        f.start_ring()
        f.write(0, b's' * 4096)
        f.stop_ring()
        assert f.order(v.REM_MEM_REG, slot) == 0
        assert f.order(v.SET_VRING_ADDR, struct.pack('=IIQQQQ', 0, 0, v.USER, v.USER, v.USER, 0)) != 0
        f.close()
    io('a', 'read -P 0x73 0 4k')


@case
def pages_that_are_written_are_logged():
    with serving(), client(features=v.F_VERSION_1 | v.F_PROTOCOL | 1 << 26) as f:
        log = os.memfd_create('log')
        os.ftruncate(log, 0x10000)
        answer = f.ask(v.SET_LOG_BASE, struct.pack('=QQ', 0x10000, 0), [log])
        assert answer == bytes(8)
        f.read(0, 4096)
        bits = os.pread(log, 0x10000, 0)
        pages = [i * 8 + b for i, byte in enumerate(bits) for b in range(8) if byte >> b & 1]
        at = v.GUEST + v.DATA
        used = v.GUEST + f.rings[0].used
        assert set(pages) == {at >> 12, at + 4096 >> 12, used >> 12}, pages
        os.close(log)


@case
def an_export_in_use_goes_only_by_force():
    with serving() as d:
        f = FrontEnd('s').start()
        assert 'still in use' in d.answer('block-export-del', id='e')['desc']
        f.write(0, b'k' * 512)
        remove(d, mode='hard')
        try:
            f.config(8)
            raise AssertionError('it is still there')
        except Gone:
            f.close()
        assert d.answer('query-block-exports') == [] and not os.path.exists('s')
        assert d.answer('block-export-add', type='vhost-user-blk', id='e', node_name='n',
                        addr={'type': 'unix', 'path': 's'}) == {}
        with client() as f:
            assert f.read(0, 512) == b'k' * 512
        # It may take a moment until it is seen that the client has left.
        deadline = time.monotonic() + PATIENCE
        while d.answer('query-block-exports') and 'desc' in d.answer('block-export-del', id='e'):
            assert time.monotonic() < deadline


@case
def the_emulator_exports_its_disks_too():
    img('create', '-q', '-f', 'qcow2', 'a', str(SIZE))
    emulator = subprocess.Popen([BUILD / 'qemu-system-x86_64', '-M', 'none', '-display', 'none',
                                 '-nodefaults', '-qmp', 'unix:q,server=on,wait=off', '-blockdev',
                                 'qcow2,node-name=n,file.driver=file,file.filename=a'])
    d = Client('q')
    assert d.answer('block-export-add', type='vhost-user-blk', id='e', node_name='n', writable=True,
                    addr={'type': 'unix', 'path': 's'}) == {}
    still_serves()
    d.answer('quit')
    d.close()
    assert emulator.wait(PATIENCE) == 0 and not os.path.exists('s')


@case
def a_descriptor_can_be_listened_on():
    img('create', '-q', '-f', 'qcow2', 'a', str(SIZE))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind('s')
        s.listen(1)
        d = subprocess.Popen([DAEMON, '--blockdev', 'qcow2,node-name=n,file.driver=file,file.filename=a',
                              '--export', 'vhost-user-blk,id=e,node-name=n,writable=on,addr.type=fd,'
                              f'addr.str={s.fileno()}'], pass_fds=[s.fileno()])
    still_serves()
    d.terminate()
    assert d.wait(PATIENCE) == 0 and os.path.exists('s')


@case
def a_read_only_export_is_not_written():
    with serving('writable=off'), client() as f:
        assert f.features & 1 << 5 and not f.features & 1 << 13
        assert f.do(v.OUT, 0, b'x' * 512)[0] == v.IOERR
        assert f.do(v.DISCARD, 0, struct.pack('<QII', 0, 8, 0))[0] == v.IOERR
        assert f.read(0, 512) == bytes(512)


@case
def a_driver_chooses_whether_writes_are_cached():
    for options, first in ('writable=on', 1), ('writable=on,writethrough=on', 0):
        with serving(options), client() as f:
            assert f.config()[32] == first
            change = struct.pack('=IIIB', 32, 1, 0, 1 - first)
            assert f.order(v.SET_CONFIG, change) == 0
            assert f.config()[32] == 1 - first
            assert f.order(v.SET_CONFIG, struct.pack('=IIIB', 0, 1, 0, 9)) != 0
            f.write(0, b'x' * 512)


@case
def options_that_cannot_be_are_refused():
    img('create', '-q', '-f', 'qcow2', 'a', str(SIZE))
    for options, what in (('addr.type=unix,addr.path=s,num-queues=0', 'num-queues'),
                          ('addr.type=unix,addr.path=s,num-queues=999', 'num-queues'),
                          ('addr.type=unix,addr.path=s,logical-block-size=1000', 'power'),
                          ('addr.type=unix,addr.path=s,logical-block-size=256', '512'),
                          ('addr.type=unix,addr.path=s,logical-block-size=0', '512'),
                          ('addr.type=inet,addr.host=::1,addr.port=0', "'unix'"),
                          ('num-queues=1', 'addr'),
                          ('addr.type=unix,addr.path=none/s', 'none/s')):
        done = run(DAEMON, '--blockdev', 'qcow2,node-name=n,file.driver=file,file.filename=a', '--export',
                   f'vhost-user-blk,id=e,node-name=n,{options}', code=1)
        assert what in done.stderr, (options, done.stderr)


# ---- clients that mean harm ----------------------------------------------------------------------

def refused(f, request, payload=b'', fds=()):
    assert f.order(request, payload, fds) != 0, request


@case
def messages_that_cannot_be_are_refused():
    with serving():
        f = FrontEnd('s')
        f.negotiate()
        short = os.memfd_create('short')
        os.ftruncate(short, 4096)
        folder = os.open('.', os.O_RDONLY)
        region = struct.pack('=QQQQ', v.GUEST, f.size, v.USER, 0)
        refused(f, v.SET_FEATURES, struct.pack('=Q', 1 << 63))
        refused(f, v.SET_PROTOCOL_FEATURES, struct.pack('=Q', 1 << 5))
        for count, regions, fds in ((1, region, []), (2, region, [f.fd]), (9, region * 8, [f.fd] * 9),
                                    (1, region, [f.fd, f.fd]), (1, region, [short]), (1, region, [folder]),
                                    (1, struct.pack('=QQQQ', 0, 0, 0, 0), [f.fd]),
                                    (1, struct.pack('=QQQQ', 0, 4096, 0, 1 << 63), [f.fd]),
                                    (1, struct.pack('=QQQQ', (1 << 64) - 1, 4096, 0, 0), [f.fd]),
                                    (1, struct.pack('=QQQQ', 0, 4096, (1 << 64) - 1, 0), [f.fd]),
                                    (0xffffffff, region, [f.fd])):
            refused(f, v.SET_MEM_TABLE, struct.pack('=II', count, 0) + regions, fds)
        f.share_memory()
        for index, num in (0, 3), (0, 0), (0, 65536), (0, 512), (1, 16), (0xffffffff, 16):
            refused(f, v.SET_VRING_NUM, struct.pack('=II', index, num))
        refused(f, v.SET_VRING_BASE, struct.pack('=II', 0, 65536))
        for at in 0, v.GUEST, v.USER - 1, v.USER + f.size, (1 << 64) - 1:
            refused(f, v.SET_VRING_ADDR, struct.pack('=IIQQQQ', 0, 0, at, v.USER, v.USER, 0))
        assert f.order(v.SET_VRING_NUM, struct.pack('=II', 0, 16)) == 0
        # A ring that ends behind the memory; one at an odd address.
        for at in v.USER + f.size - 16, v.USER + 1:
            assert f.order(v.SET_VRING_ADDR, struct.pack('=IIQQQQ', 0, 0, at, v.USER, v.USER, 0)) == 0
            refused(f, v.SET_VRING_KICK, struct.pack('=Q', 0), [os.eventfd(0)])
        for fd in folder, short:
            refused(f, v.SET_VRING_KICK, struct.pack('=Q', 0), [fd])
            refused(f, v.SET_VRING_CALL, struct.pack('=Q', 0), [fd])
        refused(f, v.SET_VRING_KICK, struct.pack('=Q', 256))
        refused(f, v.SET_VRING_CALL, struct.pack('=Q', 7), [os.eventfd(0)])
        refused(f, 19, bytes(8))
        refused(f, v.SET_VRING_NUM, bytes(4))
        f.close()
        for header in struct.pack('=III', 1, 2, 0), struct.pack('=III', 5, 1, 0xffffffff), b'\xff' * 12:
            f = FrontEnd('s')
            f.socket.sendall(header)
            try:
                f.receive(1)
                raise AssertionError('it answers')
            except Gone:
                f.close()
        still_serves()


@case
def rings_that_cannot_be_harm_nobody():
    def next_outside(f, ring):
        ring.describe(0, v.GUEST + v.DATA, 16, v.NEXT, 500)
        ring.publish(0)

    def endless(f, ring):
        ring.describe(0, v.GUEST + v.DATA, 16, v.NEXT, 0)
        ring.publish(0)

    def head_outside(f, ring):
        ring.publish(9999)

    def too_many(f, ring):
        struct.pack_into('<H', f.memory, ring.avail + 2, 5000)
        os.eventfd_write(ring.kick, 1)

    def outside(f, ring):
        ring.describe(0, v.GUEST + f.size - 8, 16, v.NEXT, 1)
        ring.publish(0)

    def no_status(f, ring):
        ring.describe(0, v.GUEST + v.DATA, 16, 0)
        ring.publish(0)

    def no_header(f, ring):
        ring.describe(0, v.GUEST + v.DATA, 8, v.NEXT, 1)
        ring.describe(1, v.GUEST + v.DATA, 1, v.WRITE)
        ring.publish(0)

    for spoil in next_outside, endless, head_outside, too_many, outside, no_status, no_header:
        with serving() as d:
            with client() as f:
                failed = os.eventfd(0)
                assert f.order(v.SET_VRING_ERR, struct.pack('=Q', 0), [failed]) == 0
                spoil(f, f.rings[0])
                assert select.select([failed], [], [], PATIENCE)[0]
                os.close(failed)
                f.stop_ring()
            still_serves()
        assert 'its vhost-user client sent' in d.errors, d.errors


@case
def a_client_cannot_make_the_daemon_wait_for_its_eventfds():
    with serving() as d:
        with client() as f:
            ring = f.rings[0]
            os.set_blocking(ring.call, True)
            os.set_blocking(ring.kick, True)
            os.eventfd_write(ring.call, 2**64 - 2)
            f.submit(v.GET_ID, 0, room=20)
            assert d.answer('query-block-exports')
        still_serves()


@case
def regions_are_aligned_as_for_the_guest():
    with serving():
        with client() as f:
            table = struct.pack('=II', 1, 0) + struct.pack('=QQQQ', v.GUEST, f.size - 1, v.USER, 1)
            try:
                assert f.order(v.SET_MEM_TABLE, table, [f.fd]) != 0
            except Gone:
                pass
        still_serves()


@case
def memory_that_is_cut_off_ends_its_client_alone():
    for size in 0, 0x9000, v.DATA + 4096:
        with serving(), FrontEndClosing() as f:
            f.write(0, b'x' * 4096)
            os.ftruncate(f.fd, size)
            os.eventfd_write(f.rings[0].kick, 1)
            # With its rings it is gone at once, with its data when these are used.
            try:
                for _ in range(1000):
                    f.config(8)
            except Gone:
                pass
            f.close()
            still_serves()


class FrontEndClosing:
    def __enter__(self):
        return FrontEnd('s').start()

    def __exit__(self, *_):
        pass


@case
def whatever_clients_say_harms_nobody():
    r = random.Random(5)
    interesting = (0, 1, 7, 16, 255, 256, 65535, 1 << 31, v.GUEST, v.USER, v.USER + 0x4000, 1 << 63)

    def payload():
        n = r.choice((0, 4, 8, 8, 8, 12, 16, 40, 40, 72, 268, 300))
        words = b''.join(struct.pack('=Q', r.choice(interesting) + r.choice((0, 0, 0, 1)))
                         for _ in range(n // 8 + 1))
        return words[:n]

    spare = os.eventfd(0)
    with serving('writable=on,num-queues=2'):
        for _ in range(60):
            f = FrontEnd('s')
            try:
                if r.random() < .7:
                    f.start(queues=2)
                for _ in range(30):
                    request = r.choice((*range(1, 19), 24, 25, 36, 37, 38, r.randrange(1 << 32)))
                    fds = r.choice(((), (), (f.fd,), (f.fd, f.fd), (0,), (spare,)))
                    f.send(request, payload(), fds, r.choice((1, 1, 9, 9, 9, 5, r.randrange(16))))
                    for ring in f.rings.values():
                        if r.random() < .3:
                            ring.describe(r.randrange(16), r.choice(interesting), r.choice((1, 16, 4096, 1 << 31)),
                                          r.randrange(8), r.randrange(17))
                            ring.publish(r.randrange(17))
            except (Gone, AssertionError, BlockingIOError):
                pass
            f.close()
        still_serves()


main('vhost-user', 'storage-daemon')
