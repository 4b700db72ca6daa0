# SPDX-License-Identifier: GPL-2.0-or-later
"""A storage daemon, ours or the reference's, and what it answers.

Stdio is a daemon with a monitor on its standard input and output; ask() sends one text and returns the
lines that come of it. Every text is followed by a request that fails in a known way, so that it is
known when all has been answered. Client is a client of a Unix or TCP socket.
"""
import json
import os
import pathlib
import re
import select
import socket
import subprocess
import time

from this_run import SLOWER

PATIENCE = 20 * SLOWER
CAPABILITIES = '{"execute":"qmp_capabilities"}'

MASKS = [
    (r'"seconds": \d+, "microseconds": \d+', '"seconds": 0, "microseconds": 0'),
    (r'#block\d+', '#block'),
    (r'"package": "[^"]*"', '"package": ""'),
    (r'/dev/pts/\d+', '/dev/pts/0'),
    (r'"actual-size": \d+', '"actual-size": 0'),
    (r'"date-(n?)sec": \d+', r'"date-\1sec": 0'),
    (r'127\.0\.0\.1:\d+', '127.0.0.1:0'),
]


def request(command, **arguments):
    """The text of a request; names of arguments may have _ for -, except of those that have one."""
    kept = {'allow_oob'}
    named = {k if k in kept else k.replace('_', '-'): v for k, v in arguments.items()}
    return json.dumps({'execute': command, **({'arguments': named} if named else {})})


def masked(line):
    for pattern, text in MASKS:
        line = re.sub(pattern, text, line)
    return line


class Reader:
    """Lines of a descriptor, with patience."""

    def __init__(self, fd):
        self.fd, self.rest, self.ended = fd, b'', False

    def line(self, patience=PATIENCE):
        """The next line without its end; None at the end or when patience is at an end."""
        deadline = time.monotonic() + patience
        while b'\n' not in self.rest:
            left = deadline - time.monotonic()
            if self.ended or left <= 0 or not select.select([self.fd], [], [], left)[0]:
                return None
            try:
                got = os.read(self.fd, 1 << 20)
            except OSError:
                got = b''
            self.ended = not got
            self.rest += got
        line, self.rest = self.rest.split(b'\n', 1)
        return line.rstrip(b'\r').decode('utf-8', 'replace')


class Talker:
    """One side of a connection; send() and reader are the others' to provide."""

    count = 0

    def ask(self, text, resync=False):
        """The lines that @text leads to, up to the end if that comes; with @resync it may be half of
        something."""
        self.count += 1
        end = f'end-{self.count}'
        if isinstance(text, str):
            text = text.encode()
        self.send(text + (b'\n\xff\n' if resync else b'\n') +
                  json.dumps({'execute': 'qmp_capabilities', 'id': end}).encode() + b'\n')
        lines = []
        while True:
            line = self.reader.line()
            if line is None and self.reader.ended:
                return lines
            assert line is not None, f'no answer to {text[:200]!r}, only {lines}'
            if f'"id": "{end}"' in line:
                return lines
            lines.append(line)

    def answer(self, command, **arguments):
        """What a command returns, or its error object."""
        lines = [json.loads(line) for line in self.ask(request(command, **arguments))]
        reply = next(r for r in lines if 'event' not in r)
        return reply.get('return', reply.get('error'))

    def greet(self):
        line = self.reader.line()
        self.ask(CAPABILITIES)
        return line

    def event(self, name, patience=PATIENCE):
        """The next event, which has to be @name."""
        line = self.reader.line(patience)
        assert line is not None, f'no event {name}'
        message = json.loads(line)
        assert message.get('event') == name, f'{line}, not {name}'
        return message.get('data')


class Stdio(Talker):
    def __init__(self, program, *options, cwd=None, greet=True, monitor='c', env=None):
        self.process = subprocess.Popen(
            [program, '--chardev', 'stdio,id=c', '--monitor', monitor, *map(str, options)], cwd=cwd,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            env=dict(os.environ, **(env or {})))
        self.reader = Reader(self.process.stdout.fileno())
        self.greeting = self.greet() if greet else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def send(self, data):
        self.process.stdin.write(data)

    def end(self):
        """Ends it by a signal if it is still there; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.errors = self.process.communicate(timeout=PATIENCE)[1].decode()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode


class Client(Talker):
    def __init__(self, address, greet=True):
        kind = socket.AF_UNIX if isinstance(address, (str, pathlib.Path)) else socket.AF_INET
        self.socket = socket.socket(kind)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.socket.connect(str(address) if kind == socket.AF_UNIX else address)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline, f'nobody listens on {address}'
                time.sleep(.01)
        self.reader = Reader(self.socket.fileno())
        self.greeting = self.greet() if greet else None

    def send(self, data):
        self.socket.sendall(data)

    def close(self):
        self.socket.close()


def wait_for(path):
    """Until file @path is there and has content."""
    deadline = time.monotonic() + PATIENCE
    while not (os.path.exists(path) and os.path.getsize(path)):
        assert time.monotonic() < deadline, f'{path} does not appear'
        time.sleep(.01)
