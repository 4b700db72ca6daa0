# SPDX-License-Identifier: GPL-2.0-or-later
"""A server of NFS version 3 (RFC 1813) for tests, with its portmapper and mountd, that can misbehave.

Clients ask the portmapper for ports, which has one port of its own, so the server lives in a network
of this process and its children.
"""
import ctypes
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time

PORTMAP, NFS, MOUNT = 100000, 100003, 100005
GETATTR, SETATTR, LOOKUP, ACCESS, READ, WRITE, CREATE, FSINFO, COMMIT = 1, 2, 3, 4, 6, 7, 8, 19, 21
OK, NOENT, IO, ACCES, INVAL, NOSPC, STALE, JUKEBOX = 0, 2, 5, 13, 22, 28, 70, 10008
CLONE_NEWNET = 0x40000000
HANG_UP = b'the connection ends'


def own_network():
    """Puts this process and what it starts into a network of its own. False: that is not allowed."""
    if os.geteuid() or ctypes.CDLL(None).unshare(CLONE_NEWNET):
        return False
    return subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=False).returncode == 0


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, fmt='>I'):
        value, = struct.unpack_from(fmt, self.data, self.at)
        self.at += struct.calcsize(fmt)
        return value

    def long(self):
        return self.number('>Q')

    def opaque(self):
        size = self.number()
        value = self.data[self.at:self.at + size]
        self.at += (size + 3) // 4 * 4
        return value


def numbers(*values):
    return struct.pack(f'>{len(values)}I', *values)


def opaque(data):
    return numbers(len(data)) + data + bytes(-len(data) % 4)


class NfsServer:
    """Serves the folder @root, which is exported by the name /export.

    @twist: called for each call of NFS with the procedure and its answer; returns what is sent instead
    (None: nothing; or HANG_UP). @piece: bytes that a call carries at most. @unstable: what
    is written is said to need a commit.
    """

    def __init__(self, root, twist=None, piece=65536, unstable=True):
        self.root, self.twist, self.piece, self.unstable = pathlib.Path(root), twist, piece, unstable
        self.verifier, self.lock, self.calls = 1, threading.Lock(), []
        self.handles, self.cut = [], []
        self.listeners = [socket.create_server(('127.0.0.1', port)) for port in (111, 0)]
        self.port = self.listeners[1].getsockname()[1]
        for listener in self.listeners:
            threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.hang_up()

    def hang_up(self):
        """All connections end."""
        for connection in self.cut:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.cut.clear()

    def restart(self):
        """As if the server had begun anew."""
        with self.lock:
            self.verifier += 1
        self.hang_up()

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.cut.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            with connection, connection.makefile('rb') as stream:
                while self.call(connection, stream):
                    pass
        except OSError:
            pass

    def call(self, connection, stream):
        record, last = b'', False
        while not last:
            head = stream.read(4)
            if len(head) < 4:
                return False
            size = struct.unpack('>I', head)[0]
            last = size >> 31
            record += stream.read(size & 0x7fffffff)
        args = Reader(record)
        xid, _, _, program, _, procedure = (args.number() for _ in range(6))
        for _ in range(2):      # credentials, verifier
            args.number()
            args.opaque()
        with self.lock:
            answer = self.answer(program, procedure, args)
            if program == NFS:
                self.calls.append(procedure)
        if self.twist and program == NFS:
            answer = self.twist(procedure, answer)
            if answer is None or answer == HANG_UP:
                return answer is None
        answer = numbers(xid, 1, 0, 0, 0, 0) + answer
        connection.sendall(struct.pack('>I', 1 << 31 | len(answer)) + answer)
        return True

    def answer(self, program, procedure, args):
        if procedure == 0:
            return b''
        if program == PORTMAP:
            return numbers(self.port if args.number() in (NFS, MOUNT) else 0)
        if program == MOUNT:
            return self.mount(procedure, args)
        try:
            return self.nfs(procedure, args)
        except FileNotFoundError:
            return numbers(NOENT, 0, 0)

    def mount(self, procedure, args):
        if procedure != 1:
            return numbers(0)
        name = args.opaque().decode()
        folder = self.root / name.removeprefix('/export').lstrip('/')
        if not name.startswith('/export') or not folder.is_dir():
            return numbers(NOENT)
        return numbers(OK) + opaque(self.handle(folder)) + numbers(1, 1)

    def handle(self, path):
        if path not in self.handles:
            self.handles.append(path)
        return struct.pack('>Q', self.handles.index(path))

    def path(self, args):
        return self.handles[struct.unpack('>Q', args.opaque())[0]]

    def attributes(self, path):
        s = path.stat()
        return numbers(2 if path.is_dir() else 1, s.st_mode & 0o7777, 1, s.st_uid, s.st_gid) + \
            struct.pack('>QQQQQ', s.st_size, s.st_blocks * 512, 0, 1, s.st_ino) + bytes(24)

    def after(self, path):
        """wcc_data: nothing of before."""
        return numbers(0, 1) + self.attributes(path)

    def nfs(self, procedure, args):
        path = self.path(args)
        if procedure == GETATTR:
            return numbers(OK) + self.attributes(path)
        if procedure == ACCESS:
            return numbers(OK, 1) + self.attributes(path) + numbers(args.number())
        if procedure == LOOKUP:
            found = path / args.opaque().decode()
            return numbers(OK) + opaque(self.handle(found)) + numbers(1) + self.attributes(found) + numbers(0)
        if procedure == FSINFO:
            most = max(self.piece, 8192)        # libnfs wants no less
            return numbers(OK, 0, *[most, most, 1] * 2, most) + \
                struct.pack('>Q', 1 << 62) + numbers(0, 1, 0x1b)
        if procedure == SETATTR:
            return self.setattr(path, args)
        if procedure == CREATE:
            made = path / args.opaque().decode()
            made.touch()
            return numbers(OK, 1) + opaque(self.handle(made)) + numbers(1) + self.attributes(made) + numbers(0, 0)
        if procedure == READ:
            off, size = args.long(), args.number()
            with path.open('rb') as f:
                data = os.pread(f.fileno(), min(size, self.piece), off)
            end = off + len(data) >= path.stat().st_size
            return numbers(OK, 1) + self.attributes(path) + numbers(len(data), end) + opaque(data)
        if procedure == WRITE:
            return self.write(path, args)
        if procedure == COMMIT:
            return numbers(OK) + self.after(path) + struct.pack('>Q', self.verifier)
        return numbers(10004)

    def setattr(self, path, args):
        for _ in range(3):      # mode, user, group
            if args.number():
                args.number()
        if args.number():
            os.truncate(path, args.long())
        return numbers(OK) + self.after(path)

    def write(self, path, args):
        off, _, _ = args.long(), args.number(), args.number()
        data = args.opaque()[:self.piece]
        with path.open('r+b') as f:
            os.pwrite(f.fileno(), data, off)
        return numbers(OK) + self.after(path) + numbers(len(data), 0 if self.unstable else 2) + \
            struct.pack('>Q', self.verifier)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'what was waited for did not come'
        time.sleep(0.01)
