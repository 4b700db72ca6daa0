# SPDX-License-Identifier: GPL-2.0-or-later
"""A front-end of vhost-user-blk: its memory, its queues, and requests of virtio-blk in them."""
import mmap
import os
import select
import socket
import struct
import time

from qmp import PATIENCE

GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE = 1, 2, 3, 4, 5
SET_LOG_BASE = 6
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = 15, 16, 17, 18
GET_CONFIG, SET_CONFIG, RESET_DEVICE = 24, 25, 34
GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG = 36, 37, 38

VERSION, REPLY, NEED_REPLY = 1, 4, 8
F_INDIRECT, F_EVENT_INDEX, F_PROTOCOL, F_VERSION_1 = 1 << 28, 1 << 29, 1 << 30, 1 << 32
P_MQ, P_REPLY_ACK, P_CONFIG, P_MEM_SLOTS = 1 << 0, 1 << 3, 1 << 9, 1 << 15

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPPORTED = 0, 1, 2
NEXT, WRITE, INDIRECT = 1, 2, 4

GUEST, USER = 0x10000000, 0x7f0000000000   # where its memory lies, seen by the guest and by itself
DATA = 0x100000                            # what requests may use, behind the rings


class Gone(Exception):
    """The back-end has closed the connection."""


class Ring:
    """A split queue of @entries at @at of the memory."""
    def __init__(self, memory, at, entries):
        self.memory, self.entries = memory, entries
        self.desc, self.avail, self.used = at, at + 0x4000, at + 0x8000
        self.next = self.seen = 0
        self.kick, self.call = os.eventfd(0), os.eventfd(0)

    def close(self):
        os.close(self.kick)
        os.close(self.call)

    def describe(self, i, address, length, flags, following=0, table=None):
        struct.pack_into('<QIHH', self.memory, (self.desc if table is None else table) + 16 * i,
                         address, length, flags, following)

    def publish(self, head, kick=True):
        struct.pack_into('<H', self.memory, self.avail + 4 + 2 * (self.next % self.entries), head)
        self.next = (self.next + 1) % 0x10000
        struct.pack_into('<H', self.memory, self.avail + 2, self.next)
        if kick:
            os.eventfd_write(self.kick, 1)

    def used_index(self):
        return struct.unpack_from('<H', self.memory, self.used + 2)[0]

    def wait(self):
        """The head and the length of the next chain given back."""
        deadline = time.monotonic() + PATIENCE
        while self.used_index() == self.seen:
            select.select([self.call], [], [], .05)
            assert time.monotonic() < deadline, 'no answer'
        at = self.used + 4 + 8 * (self.seen % self.entries)
        self.seen = (self.seen + 1) % 0x10000
        return struct.unpack_from('<II', self.memory, at)


class FrontEnd:
    def __init__(self, where, size=4 << 20, retry=True):
        deadline = time.monotonic() + PATIENCE
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(str(where))
                break
            except OSError:
                self.socket.close()
                if not retry or time.monotonic() > deadline:
                    raise
                time.sleep(.01)
        self.socket.settimeout(PATIENCE)
        self.fd = os.memfd_create('guest')
        os.ftruncate(self.fd, size)
        self.size = size
        self.memory = mmap.mmap(self.fd, size)
        self.rings = {}

    def close(self):
        self.socket.close()
        os.close(self.fd)
        for ring in self.rings.values():
            ring.close()

    # ---- messages ------------------------------------------------------------------------------

    def send(self, request, payload=b'', fds=(), flags=VERSION, size=None):
        message = struct.pack('=III', request, flags, len(payload) if size is None else size) + payload
        try:
            socket.send_fds(self.socket, [message], fds)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Gone from e

    def receive(self, n):
        data = b''
        while len(data) < n:
            try:
                more = self.socket.recv(n - len(data))
            except ConnectionResetError as e:
                raise Gone from e
            if not more:
                raise Gone
            data += more
        return data

    def reply(self, request):
        number, flags, size = struct.unpack('=III', self.receive(12))
        assert number == request and flags == VERSION | REPLY, (number, flags)
        return self.receive(size)

    def ask(self, request, payload=b'', fds=()):
        self.send(request, payload, fds)
        return self.reply(request)

    def ask_u64(self, request):
        return struct.unpack('=Q', self.ask(request))[0]

    def order(self, request, payload=b'', fds=()):
        """Sends, and is told whether that was all right: 0."""
        self.send(request, payload, fds, VERSION | NEED_REPLY)
        return struct.unpack('=Q', self.reply(request))[0]

    def config(self, size=60):
        answer = self.ask(GET_CONFIG, struct.pack('=III', 0, size, 0) + bytes(size))
        return answer[12:]

    # ---- setting up ----------------------------------------------------------------------------

    def negotiate(self, features=None, protocol=P_MQ | P_REPLY_ACK | P_CONFIG):
        self.features = self.ask_u64(GET_FEATURES)
        self.protocol = self.ask_u64(GET_PROTOCOL_FEATURES)
        self.send(SET_PROTOCOL_FEATURES, struct.pack('=Q', self.protocol & protocol))
        self.send(SET_OWNER)
        wanted = self.features & ~F_EVENT_INDEX if features is None else features
        assert self.order(SET_FEATURES, struct.pack('=Q', wanted)) == 0

    def share_memory(self):
        table = struct.pack('=II', 1, 0) + struct.pack('=QQQQ', GUEST, self.size, USER, 0)
        assert self.order(SET_MEM_TABLE, table, [self.fd]) == 0

    def start_ring(self, index=0, entries=16, base=0):
        ring = self.rings.get(index)
        if not ring:
            ring = self.rings[index] = Ring(self.memory, 0x10000 * index, entries)
        state = struct.Struct('=II')
        results = [
            self.order(SET_VRING_NUM, state.pack(index, entries)),
            self.order(SET_VRING_BASE, state.pack(index, base)),
            self.order(SET_VRING_ADDR, struct.pack('=IIQQQQ', index, 0, USER + ring.desc,
                                                   USER + ring.used, USER + ring.avail, 0)),
            self.order(SET_VRING_CALL, struct.pack('=Q', index), [ring.call]),
            self.order(SET_VRING_KICK, struct.pack('=Q', index), [ring.kick]),
            self.order(SET_VRING_ENABLE, state.pack(index, 1)),
        ]
        assert not any(results), results
        return ring

    def stop_ring(self, index=0):
        answer = self.ask(GET_VRING_BASE, struct.pack('=II', index, 0))
        number, base = struct.unpack('=II', answer)
        assert number == index
        return base

    def start(self, queues=1, **how):
        self.negotiate(**how)
        self.share_memory()
        for i in range(queues):
            self.start_ring(i)
        return self

    # ---- requests ------------------------------------------------------------------------------

    def submit(self, kind, sector, data=b'', room=0, ring=None, slot=0, kick=True):
        """A request with three descriptors from 4 * @slot on."""
        ring = ring or self.rings[0]
        at, head = DATA + 0x20000 * slot, 4 * slot
        struct.pack_into('<IIQ', self.memory, at, kind, 0, sector)
        self.memory[at + 4096:at + 4096 + len(data)] = data
        self.memory[at + 16] = 0xff
        n = len(data) or room
        ring.describe(head, GUEST + at, 16, NEXT, head + 1)
        if n:
            ring.describe(head + 1, GUEST + at + 4096, n, NEXT | (WRITE if room else 0), head + 2)
        ring.describe(head + (2 if n else 1), GUEST + at + 16, 1, WRITE)
        ring.publish(head, kick)

    def result(self, room=0, ring=None):
        """The status of the next request that is answered, and what it has read."""
        head, length = (ring or self.rings[0]).wait()
        at = DATA + 0x20000 * (head // 4)
        return self.memory[at + 16], self.memory[at + 4096:at + 4096 + room]

    def do(self, kind, sector, data=b'', room=0, ring=None):
        self.submit(kind, sector, data, room, ring)
        return self.result(room, ring)

    def read(self, sector, n, ring=None):
        status, data = self.do(IN, sector, room=n, ring=ring)
        assert status == OK, status
        return data

    def write(self, sector, data, ring=None):
        status, _ = self.do(OUT, sector, data, ring=ring)
        assert status == OK, status
