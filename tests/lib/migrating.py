# SPDX-License-Identifier: GPL-2.0-or-later
"""Emulators whose guest (tests/system/guests/pages.c) checks its memory all the time, counts, and moves."""
import json
import pathlib
import re
import subprocess
import time

from cases import BUILD
from guests import EMULATOR, build
from qmp import PATIENCE, Reader, Talker

TOOL = BUILD / 'qemu-migrate'
MACHINE = ('-M', 'microvm', '-display', 'none', '-nodefaults', '-qmp', 'stdio')


def wait_for(happened):
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, 'it does not happen'
        time.sleep(0.01)


def rounds(text):
    assert not re.search('^bad', text, re.M), text
    return [int(n, 16) for n in re.findall(r'round (?:0x)?([0-9a-f]+)\n', text)]


class Emulator(Talker):
    """An emulator with QMP on its standard streams, whose guest prints to a file."""

    def __init__(self, name, *options, program=EMULATOR, accel='tcg', **more):
        self.printed = pathlib.Path(name + '.txt')
        self.printed.write_text('')
        self.process = subprocess.Popen(
            [program, *MACHINE, '-accel', accel, '-m', '64', '-serial', f'file:{self.printed}',
             *map(str, options)],
            bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        self.reader = Reader(self.process.stdout.fileno())
        self.events = []
        self.greet()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def send(self, data):
        self.process.stdin.write(data)

    def ask(self, text, resync=False):
        lines = super().ask(text, resync)
        self.events += [e for e in map(json.loads, lines) if 'event' in e]
        return lines

    def rounds(self):
        return rounds(self.printed.read_text())

    def await_rounds(self, more=2):
        seen = len(self.rounds())
        wait_for(lambda: len(self.rounds()) >= seen + more)

    def state(self):
        return self.answer('query-status')['status']

    def status(self):
        return self.answer('query-migrate').get('status')

    def turn_on(self, *capabilities):
        on = [{'capability': c, 'state': True} for c in capabilities]
        assert self.answer('migrate-set-capabilities', capabilities=on) == {}

    def tune(self, **parameters):
        assert self.answer('migrate-set-parameters', **parameters) == {}

    def listen(self, uri):
        """Begins to wait, with -incoming defer; returns by what URI it is reached."""
        assert self.answer('migrate-incoming', uri=uri) == {}
        wait_for(lambda: 'socket-address' in self.answer('query-migrate'))
        address = self.answer('query-migrate')['socket-address'][0]
        return f'tcp:127.0.0.1:{address["port"]}' if address['type'] == 'inet' else uri

    def migrate(self, uri, expect='completed'):
        assert self.answer('migrate', uri=uri) == {}
        wait_for(lambda: self.status() in ('completed', 'failed', 'cancelled'))
        info = self.answer('query-migrate')
        assert info['status'] == expect, info
        return info


def source(*options, name='source', **more):
    return Emulator(name, '-kernel', build('pages'), *options, **more)


def target(uri, *options, name='target', **more):
    return Emulator(name, '-kernel', build('pages'), '-incoming', uri, *options, **more)


def check_moved(*way):
    """The guest has gone on at the end of the way as it began: not a letter is missing or twice there."""
    wait_for(lambda: way[-1].state() == 'running')
    way[-1].await_rounds()
    seen = rounds(''.join(e.printed.read_text() for e in way))
    assert seen == list(range(1, len(seen) + 1)), seen
    assert way[-2].state() == 'postmigrate'
