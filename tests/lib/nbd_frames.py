# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD client that sends and reads single frames, right or wrong, written from the protocol
document alone; servers under test; and the counting of tests.

    with serve('-f', 'raw', 'disk') as s:
        c = s.client()
        c.greet()
        assert c.option(OPT_GO, go('')) ...
"""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

from this_run import PRELOADABLE, SLOWER, WATCHED

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
OURS = BUILD / 'qemu-nbd'
PATIENCE = 20 * SLOWER  # seconds for anything that shall happen

# ---- numbers of the protocol document ------------------------------------------------------------

GREETING = b'NBDMAGIC' + b'IHAVEOPT'
OPTION_MAGIC = b'IHAVEOPT'
OPTION_REPLY_MAGIC = 0x3e889045565a9
REQUEST, EXTENDED_REQUEST = 0x25609513, 0x21e41c71
SIMPLE_REPLY, STRUCTURED_REPLY, EXTENDED_REPLY = 0x67446698, 0x668e33ef, 0x6e8a278c

(OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_PEEK, OPT_STARTTLS, OPT_INFO, OPT_GO,
 OPT_STRUCTURED_REPLY, OPT_LIST_META, OPT_SET_META, OPT_EXTENDED_HEADERS) = range(1, 12)
REP_ACK, REP_SERVER, REP_INFO, REP_META = range(1, 5)
ERR = 1 << 31
(ERR_UNSUP, ERR_POLICY, ERR_INVALID, ERR_PLATFORM, ERR_TLS_REQD, ERR_UNKNOWN, ERR_SHUTDOWN,
 ERR_BLOCK_SIZE, ERR_TOO_BIG, ERR_EXT_HEADER) = range(ERR + 1, ERR + 11)
INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = range(4)

F_HAS_FLAGS, F_READ_ONLY, F_FLUSH, F_FUA = 1, 2, 4, 8
F_TRIM, F_ZEROES, F_DF, F_MULTI_CONN = 32, 64, 128, 256
F_CACHE, F_FAST_ZERO, F_STATUS_PAYLOAD = 1 << 10, 1 << 11, 1 << 12

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = 1, 2, 4, 8, 16, 32
NONE, DATA, HOLE, BLOCK_STATUS, BLOCK_STATUS_EXT = 0, 1, 2, 5, 6
ERROR, ERROR_OFFSET = 0x8001, 0x8002
DONE = 1
EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108

# ---- data of options -----------------------------------------------------------------------------


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack('>L', len(s)) + s


def go(name, *infos):
    """Data of INFO and GO."""
    return text(name) + struct.pack('>H', len(infos)) + b''.join(struct.pack('>H', i) for i in infos)


def meta(name, *queries):
    """Data of LIST_META_CONTEXT and SET_META_CONTEXT."""
    return text(name) + struct.pack('>L', len(queries)) + b''.join(text(q) for q in queries)


# ---- the client ----------------------------------------------------------------------------------


class Skip(Exception):
    """Raised by a test that cannot be run here, with the reason."""


class Gone(Exception):
    """The server ended the connection."""


class Client:
    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.extended = False
        self.structured = False

    def close(self):
        self.sock.close()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Gone from e

    def receive(self, n):
        out = b''
        while len(out) < n:
            try:
                piece = self.sock.recv(n - len(out))
            except ConnectionResetError as e:
                raise Gone from e
            if not piece:
                raise Gone(f'{len(out)} of {n} bytes')
            out += piece
        return out

    def is_dropped(self):
        """True once the server has ended the connection, whatever it sent before."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except socket.timeout:
            return False
        return True

    # -- handshake --

    def greet(self, flags=3):
        hello = self.receive(18)
        assert hello[:16] == GREETING, hello
        self.server_flags = struct.unpack('>H', hello[16:])[0]
        self.send(struct.pack('>L', flags))
        return self

    def send_option(self, number, data=b'', length=None):
        self.send(OPTION_MAGIC + struct.pack('>LL', number, len(data) if length is None else length)
                  + data)

    def option_reply(self, number):
        magic, option, kind, length = struct.unpack('>QLLL', self.receive(20))
        assert magic == OPTION_REPLY_MAGIC and option == number, (hex(magic), option)
        assert length <= 4096 + 8, length
        return kind, self.receive(length)

    def option(self, number, data=b''):
        """Sends an option, returns all replies up to the last as [(kind, data)]."""
        self.send_option(number, data)
        replies = []
        while True:
            replies.append(self.option_reply(number))
            if replies[-1][0] == REP_ACK or replies[-1][0] & ERR:
                return replies

    def go(self, name=''):
        """Agrees on an export; sets size and flags."""
        replies = self.option(OPT_GO, go(name))
        assert replies[-1] == (REP_ACK, b''), replies
        for kind, data in replies:
            if kind == REP_INFO and data[:2] == b'\0\0':
                self.size, self.flags = struct.unpack('>QH', data[2:])
        return self

    def start(self, style='simple', contexts=(), name=''):
        """From the greeting to transmission."""
        self.greet()
        if style == 'structured':
            assert self.option(OPT_STRUCTURED_REPLY) == [(REP_ACK, b'')]
            self.structured = True
        elif style == 'extended':
            assert self.option(OPT_EXTENDED_HEADERS) == [(REP_ACK, b'')]
            self.extended = True
        self.ids = {}
        if contexts:
            replies = self.option(OPT_SET_META, meta(name, *contexts))
            assert replies[-1][0] == REP_ACK, replies
            self.ids = {d[4:].decode(): struct.unpack('>L', d[:4])[0] for _, d in replies[:-1]}
        return self.go(name)

    # -- transmission --

    def header(self, cmd, offset, length, flags=0, cookie=1):
        if self.extended:
            return struct.pack('>LHHQQQ', EXTENDED_REQUEST, flags, cmd, cookie, offset, length)
        return struct.pack('>LHHQQL', REQUEST, flags, cmd, cookie, offset, length)

    def request(self, cmd, offset=0, length=0, flags=0, cookie=1, data=b''):
        if cmd == WRITE and self.extended:
            flags |= PAYLOAD_LEN
        self.send(self.header(cmd, offset, length, flags, cookie) + data)

    def reply(self, length=0):
        """One reply: (cookie, error, chunks), chunks [(type, payload)]; a simple reply to a READ of
        @length has one chunk of data."""
        chunks = []
        while True:
            magic = struct.unpack('>L', self.receive(4))[0]
            if magic == SIMPLE_REPLY:
                assert not self.extended and not chunks
                error, cookie = struct.unpack('>LQ', self.receive(12))
                data = self.receive(length) if length and not error else b''
                return cookie, error, [(DATA, data)] if data else []
            if self.extended:
                assert magic == EXTENDED_REPLY, hex(magic)
                flags, kind, cookie, _, size = struct.unpack('>HHQQQ', self.receive(28))
            else:
                assert self.structured and magic == STRUCTURED_REPLY, hex(magic)
                flags, kind, cookie, size = struct.unpack('>HHQL', self.receive(16))
            assert size <= 33 << 20, size
            chunks.append((kind, self.receive(size)))
            if flags & DONE:
                break
        errors = [struct.unpack('>L', d[:4])[0] for k, d in chunks if k & 0x8000]
        return cookie, errors[0] if errors else 0, chunks

    def call(self, cmd, offset=0, length=0, flags=0, data=b''):
        """A request and its reply: the error, 0 for success."""
        self.request(cmd, offset, length, flags, 77, data)
        cookie, error, self.chunks = self.reply(length if cmd == READ else 0)
        assert cookie == 77
        return error

    def read(self, offset, length, flags=0):
        """The bytes of a read that must succeed, whatever its chunks are."""
        assert self.call(READ, offset, length, flags) == 0
        if not (self.structured or self.extended):
            return self.chunks[0][1]
        out, seen = bytearray(length), 0
        for kind, d in self.chunks:
            if kind == NONE:
                continue
            at = struct.unpack('>Q', d[:8])[0] - offset
            n = len(d) - 8 if kind == DATA else struct.unpack('>L', d[8:])[0]
            assert kind in (DATA, HOLE) and n and 0 <= at and at + n <= length, (kind, at, n)
            if kind == DATA:
                out[at:at + n] = d[8:]
            seen += n
        assert seen == length, (seen, length)
        return bytes(out)

    def status(self, offset, length, flags=0):
        """Extents by context id."""
        assert self.call(STATUS, offset, length, flags) == 0, self.chunks
        return self.extents()

    def extents(self):
        found = {}
        for kind, d in self.chunks:
            assert kind == (BLOCK_STATUS_EXT if self.extended else BLOCK_STATUS), kind
            number = struct.unpack('>L', d[:4])[0]
            if self.extended:
                count = struct.unpack('>L', d[4:8])[0]
                found[number] = list(struct.iter_unpack('>QQ', d[8:]))
                assert count == len(found[number])
            else:
                found[number] = list(struct.iter_unpack('>LL', d[4:]))
        return found


# ---- servers -------------------------------------------------------------------------------------


class Server:
    def __init__(self, folder, args, tool):
        self.socket = str(folder / 'nbd.sock')
        self.log = folder / 'log'
        command = [str(tool), *([] if '-p' in args else ['-k', self.socket]), *map(str, args)]
        self.log_file = open(self.log, 'wb')
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL,
                                        stdout=self.log_file, stderr=subprocess.STDOUT)

    def wait_until_ready(self):
        until = time.monotonic() + PATIENCE
        while not listens(self.socket):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until
            time.sleep(0.01)
        return self

    def connect(self):
        until = time.monotonic() + PATIENCE
        while True:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(self.socket)
                return s
            except ConnectionRefusedError:
                s.close()
                assert time.monotonic() < until
                time.sleep(0.01)

    def client(self):
        return Client(self.connect())

    def uri(self, name=''):
        return f'nbd+unix:///{name}?socket={self.socket}'

    def cpu_seconds(self):
        words = pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().rsplit(')', 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf('SC_CLK_TCK')

    def resident(self):
        """KiB of memory in use."""
        if WATCHED:
            raise Skip('a watcher has memory of its own')
        for line in open(f'/proc/{self.process.pid}/status'):
            if line.startswith('VmRSS'):
                return int(line.split()[1])

    def stop(self, sig=signal.SIGTERM):
        """Ends it and returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.log_file.close()


@contextlib.contextmanager
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix='nbd-'))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def serve(*args, tool=OURS, where=None, persistent=True, code=0):
    """A server on a socket in folder @where, whose end must be orderly."""
    with contextlib.ExitStack() as stack:
        where = where or stack.enter_context(folder())
        s = Server(where, (['-t'] if persistent else []) + list(args), tool)
        try:
            yield s.wait_until_ready()
        except BaseException:
            s.stop(signal.SIGKILL)
            sys.stdout.write(s.log.read_text(errors='replace')[-3000:])
            raise
        assert s.stop() == code, (s.process.returncode, s.log.read_text(errors='replace')[-3000:])


@contextlib.contextmanager
def inherit(where, listener, *args):
    """Our server in folder @where on socket @listener, as a service manager starts it; it writes to
    file log."""
    listener.listen()
    with open(where / 'log', 'wb') as log:
        p = subprocess.Popen(['sh', '-c', f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"',
                              OURS, *args], cwd=where, pass_fds=[listener.fileno()],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    listener.close()
    try:
        yield p
    finally:
        p.terminate()
        assert p.wait(PATIENCE) == 0, (where / 'log').read_text()


@contextlib.contextmanager
def disk(size=1 << 20, *args, content=b''):
    """A server of a raw image of @size bytes that starts with @content."""
    with folder() as where:
        make_disk(where / 'disk', size, content)
        with serve('-f', 'raw', '-e', '0', *args, 'disk', where=where) as s:
            s.disk = where / 'disk'
            yield s


def listens(path):
    """Can clients connect to Unix socket @path? Found out without being one. (It is bound before. The
    sockets of a server that was killed are in the list for a while.)"""
    with open('/proc/net/unix', encoding='utf-8', errors='replace') as sockets:
        flags = [f[3] for f in map(str.split, sockets)
                 if len(f) == 8 and f[7] == str(path) and f[5] == '01']
    return os.path.exists(path) and flags != [] and all(int(f, 16) & 0x10000 for f in flags)


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def best_of_three(measure, limit):
    """What @measure returns is below @limit in one of three attempts: a busy machine delays everybody at
    times."""
    found = []
    while len(found) < 3 and min(found, default=limit) >= limit:
        found.append(measure())
    assert min(found) < limit, found


def make_disk(path, size, content=b''):
    with open(path, 'wb') as f:
        f.write(content)
        f.truncate(size)


def pattern(n, seed=1):
    return bytes((i * 7 + i // 251 + seed) % 255 + 1 for i in range(n))


# ---- counting ------------------------------------------------------------------------------------


def run(name, tests, need=()):
    """Runs functions test_* of @tests (globals()), prints a line each. The exit code."""
    failed = 0
    if not OURS.exists():
        print('qemu-nbd is not built')
        return 77
    for key, test in sorted(tests.items()):
        if not key.startswith('test_') or not callable(test):
            continue
        label = f'nbd/{name}/{key[5:].replace("_", "-")}'
        missing = [t for t in getattr(test, 'need', need) if not shutil.which(t)]
        if missing:
            print(f'skip {label} {missing[0]} is not installed', flush=True)
            continue
        if getattr(test, 'preloads', False) and not PRELOADABLE:
            print(f'skip {label} a library cannot be preloaded in front of a sanitizer', flush=True)
            continue
        try:
            test()
            print(f'ok {label}', flush=True)
        except Skip as e:
            print(f'skip {label} {e}', flush=True)
        except Exception as e:
            traceback.print_exc(file=sys.stdout)
            print(f'not ok {label} {type(e).__name__}: {str(e)[:200]}'.replace('\n', ' '), flush=True)
            failed += 1
    return 1 if failed else 0


def needs(*tools):
    def mark(f):
        f.need = tools
        return f
    return mark


def preloads(f):
    """Marks a test that puts a library in front of a program."""
    f.preloads = True
    return f
