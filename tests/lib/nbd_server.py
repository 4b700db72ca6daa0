# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD server made of frames, to be taken apart by tests.

Written from the NBD protocol document alone. It behaves unless told otherwise: a test changes
members of a Server or overrides one of its methods. Every connection is a thread; what clients asked
for is in Server.requests.

    class Gap(Server):
        def read(self, q):
            yield self.chunk(q, DATA, q.offset, self.data[...], done=True)
"""
import os
import socket
import struct
import tempfile
import threading

NBDMAGIC, IHAVEOPT, OLDSTYLE = 0x4e42444d41474943, 0x49484156454f5054, 0x00420281861253
OPTION_REPLY = 0x3e889045565a9
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED, LIST_META, SET_META, EXTENDED = (
    1, 2, 3, 5, 6, 7, 8, 9, 10, 11)
ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
ERR_UNSUP, ERR_POLICY, ERR_TLS_REQD, ERR_UNKNOWN = (1 << 31 | n for n in (1, 2, 5, 6))
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << n for n in range(6))
NONE, DATA, HOLE, RUNS, RUNS64, ERROR, ERROR_OFFSET = 0, 1, 2, 5, 6, 1 << 15 | 1, 1 << 15 | 2
HAS_FLAGS, READ_ONLY, CAN_FLUSH, CAN_FUA = 1, 2, 4, 8
CAN_TRIM, CAN_ZERO, CAN_DF, MULTI, CAN_CACHE, CAN_FAST_ZERO = (1 << n for n in (5, 6, 7, 8, 10, 11))
ALL = HAS_FLAGS | CAN_FLUSH | CAN_FUA | CAN_TRIM | CAN_ZERO | CAN_DF | CAN_CACHE | CAN_FAST_ZERO
EIO, EINVAL, ENOSPC = 5, 22, 28
CONTEXT_ID = 7


class Cut(Exception):
    """The connection is to end here."""


class Request:
    def __init__(self, kind, flags, cookie, offset, length, payload=b''):
        self.kind, self.flags, self.cookie = kind, flags, cookie
        self.offset, self.length, self.payload = offset, length, payload


class Conn:
    """One client. Sends no more than @limit bytes in all, then hangs up."""

    def __init__(self, sock, number, limit):
        self.sock, self.number, self.limit = sock, number, limit
        self.sent = 0
        self.structured = self.extended = self.context = False

    def send(self, data):
        if self.limit is not None and self.sent + len(data) > self.limit:
            self.sock.sendall(data[:self.limit - self.sent])
            self.sent = self.limit
            raise Cut
        self.sock.sendall(data)
        self.sent += len(data)

    def receive(self, length):
        data = b''
        while len(data) < length:
            more = self.sock.recv(length - len(data))
            if not more:
                raise Cut
            data += more
        return data


class Server:
    def __init__(self, size=1 << 20, data=None):
        self.data = bytearray(data if data is not None else size)
        self.size = len(self.data)          # what is said, at least
        self.flags = ALL
        self.name = ''
        self.oldstyle = False
        self.fixed, self.no_zeroes, self.can_go = True, True, True
        self.can_structured, self.can_extended, self.can_context = True, False, True
        self.blocks = (1, 4096, 32 << 20)   # None: not told
        self.limits = {}                    # connection number -> bytes sent at most
        self.limit = None                   # of those not named
        self.requests = []
        self.sent = []                      # bytes sent on each connection that has ended
        self.connections = 0
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, 's')
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.open = []
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join()
        self.listener.close()
        self.hang_up()
        self.folder.cleanup()

    def hang_up(self):
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def uri(self, export=''):
        return f'nbd+unix:///{export}?socket={self.path}'

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            conn = Conn(sock, number, self.limits.get(number, self.limit))
            self.open.append(sock)
            threading.Thread(target=self.run, args=(conn,), daemon=True).start()

    def run(self, conn):
        try:
            if self.handshake(conn):
                self.transmission(conn)
        except (Cut, OSError):
            pass
        self.sent.append(conn.sent)
        self.open.remove(conn.sock)
        conn.sock.close()

    # ---- handshake -----------------------------------------------------------------------------

    def handshake(self, c):
        """True if transmission begins."""
        if self.oldstyle:
            c.send(struct.pack('>QQQI', NBDMAGIC, OLDSTYLE, self.size, self.flags) + bytes(124))
            return True
        c.send(struct.pack('>QQH', NBDMAGIC, IHAVEOPT, self.fixed | self.no_zeroes << 1))
        c.receive(4)
        while True:
            magic, option, length = struct.unpack('>QII', c.receive(16))
            assert magic == IHAVEOPT
            begins = self.option(c, option, c.receive(length))
            if begins is not None:
                return begins

    def reply(self, c, option, kind, data=b''):
        c.send(struct.pack('>QIII', OPTION_REPLY, option, kind, len(data)) + data)

    def option(self, c, option, data):
        """Answers; True: transmission begins, False: the end, None: more options."""
        if option == EXPORT_NAME:
            self.export_name(c, data)
            return True
        if option in (GO, INFO) and self.can_go:
            return self.go(c, option, data)
        if option == STRUCTURED and self.can_structured:
            c.structured = True
            self.reply(c, option, ACK)
        elif option == EXTENDED and self.can_extended:
            c.structured = c.extended = True
            self.reply(c, option, ACK)
        elif option in (SET_META, LIST_META) and self.can_context:
            self.meta(c, option, data)
        elif option == LIST:
            self.list(c)
        elif option == ABORT:
            self.reply(c, option, ACK)
            return False
        else:
            self.reply(c, option, ERR_UNSUP)
        return None

    def export_name(self, c, name):
        if name.decode() != self.name:
            raise Cut
        c.send(struct.pack('>QH', self.size, self.flags) + (b'' if self.no_zeroes else bytes(124)))

    def infos(self, c, option):
        """Answers before the ACK of GO or INFO."""
        yield struct.pack('>HQH', 0, self.size, self.flags)
        if self.blocks:
            yield struct.pack('>HIII', 3, *self.blocks)

    def go(self, c, option, data):
        length = struct.unpack('>I', data[:4])[0]
        if data[4:4 + length].decode() != self.name:
            self.reply(c, option, ERR_UNKNOWN, b'no such export')
            return None
        for info in self.infos(c, option):
            self.reply(c, option, REP_INFO, info)
        self.reply(c, option, ACK)
        return True if option == GO else None

    def meta(self, c, option, data):
        c.context = option == SET_META
        self.reply(c, option, REP_META, struct.pack('>I', CONTEXT_ID) + b'base:allocation')
        self.reply(c, option, ACK)

    def list(self, c):
        name = self.name.encode()
        self.reply(c, LIST, REP_SERVER, struct.pack('>I', len(name)) + name)
        self.reply(c, LIST, ACK)

    # ---- transmission --------------------------------------------------------------------------

    def receive(self, c):
        if c.extended:
            magic, flags, kind, cookie, offset, length = struct.unpack('>IHHQQQ', c.receive(32))
            assert magic == 0x21e41c71
            has_payload = flags & PAYLOAD_LEN
        else:
            magic, flags, kind, cookie, offset, length = struct.unpack('>IHHQQI', c.receive(28))
            assert magic == 0x25609513
            has_payload = kind == WRITE
        q = Request(kind, flags, cookie, offset, length, c.receive(length) if has_payload else b'')
        q.conn = c
        return q

    def transmission(self, c):
        while True:
            q = self.receive(c)
            if q.kind == DISC:
                return
            self.requests.append(q)
            for frame in self.answer(q):
                c.send(frame)

    def answer(self, q):
        """Yields the frames of the answer to @q."""
        if q.kind == WRITE:
            self.data[q.offset:q.offset + q.length] = q.payload
        elif q.kind == ZEROES:
            self.data[q.offset:q.offset + q.length] = bytes(q.length)
        if q.kind == READ:
            yield from self.read(q)
        elif q.kind == STATUS:
            yield from self.status(q)
        else:
            yield self.done(q)

    def content(self, q):
        return bytes(self.data[q.offset:q.offset + q.length])

    def read(self, q):
        if not q.conn.structured:
            yield self.simple(q) + self.content(q)
        else:
            yield self.data_chunk(q, q.offset, self.content(q), done=True)

    def runs(self, q):
        """(length, flags) of the block status of @q."""
        return [(q.length, 0)]

    def status(self, q):
        yield self.runs_chunk(q, self.runs(q))

    def done(self, q):
        return self.chunk(q, NONE, b'', done=True) if q.conn.extended else self.simple(q)

    # ---- frames --------------------------------------------------------------------------------

    @staticmethod
    def simple(q, error=0):
        return struct.pack('>IIQ', 0x67446698, error, q.cookie)

    @staticmethod
    def chunk(q, kind, payload, done=False, length=None):
        """One chunk; @length: what its header says of the payload."""
        length = len(payload) if length is None else length
        if q.conn.extended:
            return struct.pack('>IHHQQQ', 0x6e8a278c, done, kind, q.cookie, q.offset, length) + payload
        return struct.pack('>IHHQI', 0x668e33ef, done, kind, q.cookie, length) + payload

    def data_chunk(self, q, offset, data, done=False):
        return self.chunk(q, DATA, struct.pack('>Q', offset & (1 << 64) - 1) + data, done)

    def hole_chunk(self, q, offset, length, done=False):
        return self.chunk(q, HOLE, struct.pack('>QI', offset & (1 << 64) - 1, length), done)

    def runs_chunk(self, q, runs, done=True, context=CONTEXT_ID):
        if q.conn.extended:
            head, body = struct.pack('>II', context, len(runs)), '>QQ'
        else:
            head, body = struct.pack('>I', context), '>II'
        return self.chunk(q, RUNS64 if q.conn.extended else RUNS,
                          head + b''.join(struct.pack(body, *r) for r in runs), done)

    def error_chunk(self, q, error, text=b'', offset=None, done=True):
        kind, tail = (ERROR, b'') if offset is None else (ERROR_OFFSET, struct.pack('>Q', offset))
        return self.chunk(q, kind, struct.pack('>IH', error, len(text)) + text + tail, done)
