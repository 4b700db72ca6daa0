# SPDX-License-Identifier: GPL-2.0-or-later
"""Emulators whose guest (tests/system/guests/pages.c) checks its memory all the time, counts, and moves."""
import pathlib
import re
import subprocess

from cases import BUILD
from emulator import Emulator, wait_for
from guests import build

TOOL = BUILD / 'qemu-migrate'


def rounds(text):
    assert not re.search('^bad', text, re.M), text
    return [int(n, 16) for n in re.findall(r'round (?:0x)?([0-9a-f]+)\n', text)]


class Mover(Emulator):
    """An emulator whose guest prints to the file @name.txt."""

    def __init__(self, name, *options, **more):
        self.printed = pathlib.Path(name + '.txt')
        self.printed.write_text('')
        super().__init__('-m', '64', '-serial', f'file:{self.printed}', *options, stderr=subprocess.PIPE, **more)

    def rounds(self):
        return rounds(self.printed.read_text())

    def await_rounds(self, more=2):
        seen = len(self.rounds())
        wait_for(lambda: len(self.rounds()) >= seen + more)

    def status(self):
        return self.answer('query-migrate').get('status')

    def turn_on(self, *capabilities, state=True):
        on = [{'capability': c, 'state': state} for c in capabilities]
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
    return Mover(name, '-kernel', build('pages'), *options, **more)


def target(uri, *options, name='target', **more):
    return Mover(name, '-kernel', build('pages'), '-incoming', uri, *options, **more)


def check_moved(*way):
    """The guest has gone on at the end of the way as it began: not a letter is missing or twice there."""
    wait_for(lambda: way[-1].state() == 'running')
    way[-1].await_rounds()
    seen = rounds(''.join(e.printed.read_text() for e in way))
    assert seen == list(range(1, len(seen) + 1)), seen
    assert way[-2].state() == 'postmigrate'
