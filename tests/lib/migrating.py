# SPDX-License-Identifier: GPL-2.0-or-later
"""Emulators whose guest (tests/system/guests/pages.c) checks its memory all the time, counts, and moves."""
import pathlib
import re
import socket
import subprocess
import time

from cases import BUILD
from emulator import Emulator, wait_for
from guests import build
from qmp import PATIENCE

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

    def resident(self):
        """MiB of the process."""
        text = pathlib.Path(f'/proc/{self.process.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+)', text).group(1)) // 1024

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


# ---- guests that use devices of virtio (tests/system/guests/moving.c)

VERSIONS = {word: ('-global', f'virtio-mmio.force-legacy={word}') for word in ('on', 'off')}
COUNTED = '.' * 24 + r'([0-9a-f]{8})\n'


class User(Mover):
    """An emulator @name whose guest uses devices; @packed and @legacy: 'on' or 'off', @form: the disk's format."""

    def __init__(self, name, *options, packed='off', legacy='off', disk='disk', form='raw',
                 port=None, **more):
        self.console, self.port = f'{name}.console', pathlib.Path(f'{name}.port')
        end = f',packed={packed}'
        super().__init__(
            name, '-kernel', build('moving'),
            '-netdev', 'hubport,hubid=0,id=n0', '-device', 'virtio-net-device,netdev=n0' + end,
            '-netdev', 'hubport,hubid=0,id=n1', '-device', 'virtio-net-device,netdev=n1' + end,
            '-device', 'virtio-serial-device' + end,
            '-chardev', f'socket,id=c0,path={self.console},server=on,wait=off',
            '-device', 'virtconsole,chardev=c0', '-chardev', port or f'file,path={self.port},id=c1',
            '-device', 'virtserialport,chardev=c1,name=count,nr=1',
            '-device', 'virtio-scsi-device' + end,
            '-drive', f'if=none,id=d,file={disk},format={form}', '-device', 'scsi-hd,drive=d', *VERSIONS[legacy],
            *options, **more)

    def check_console(self):
        """What is typed on the console is echoed."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(self.console)
            s.sendall(b'is anybody there?')
            back = b''
            while len(back) < 17:
                piece = s.recv(100)
                assert piece, back
                back += piece
        assert back == b'is anybody there?', back


def is_whole(text):
    lines = [int(n, 16) for n in re.findall(COUNTED, text)]
    return len(text) == 33 * len(lines) and lines == list(range(1, len(lines) + 1))


def check_devices(*way):
    """The guest has moved, and every line of its port came once, in order."""
    check_moved(*way)
    way[-1].check_console()
    way[-1].answer('stop')
    time.sleep(0.1)
    text = ''.join(e.port.read_text() for e in way)
    assert is_whole(text), text[-500:]
    way[-1].answer('cont')
