#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move while they use devices of virtio (tests/system/guests/moving.c), to another of our
emulators, to the reference and back."""
import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require
from emulator import wait_for
from guests import EMULATOR, REFERENCE_EMULATOR
from migrating import User, check_devices, check_moved, is_whole, source, target
from qmp import PATIENCE, request


def start(packed, **more):
    img('create', '-q', '-f', 'raw', 'disk', '1M')
    guest = User('source', packed=packed, **more)
    return guest


def move_to_ours(packed, legacy='off'):
    with start(packed, legacy=legacy) as a, \
            User('target', '-incoming', 'unix:m.sock', packed=packed, legacy=legacy) as b:
        a.await_rounds()
        a.check_console()
        a.migrate('unix:m.sock')
        check_devices(a, b)


def move_to_the_reference_and_back(packed, legacy='off'):
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    with start(packed, legacy=legacy) as a:
        a.await_rounds()
        a.migrate('exec:cat >there')
        with User('there', '-incoming', 'exec:cat there', packed=packed, legacy=legacy,
                  program=REFERENCE_EMULATOR) as b:
            check_devices(a, b)
            b.answer('stop')
            b.migrate('exec:cat >back')
            with User('again', '-incoming', 'exec:cat back', packed=packed, legacy=legacy) as c:
                wait_for(lambda: c.state() == 'paused')
                assert c.answer('cont') == {}
                check_devices(a, b, c)


@case
def cards_consoles_and_disks_are_used_while_the_guest_moves():
    move_to_ours('off')


@case
def a_card_without_a_driver_moves():
    card = ('-netdev', 'hubport,hubid=0,id=n', '-device', 'virtio-net-device,netdev=n')
    with source(*card) as a, target('unix:m.sock', *card) as b:
        a.await_rounds()
        a.migrate('unix:m.sock')
        check_moved(a, b)


@case
def they_are_used_by_legacy_drivers():
    move_to_ours('off', 'on')
    with start('off', legacy='on') as a:
        a.await_rounds()
        a.migrate('exec:cat >there')
    with User('target', '-incoming', 'exec:cat there') as b:
        assert b.process.wait(PATIENCE) == 1
        assert 'force-legacy=on' in b.process.stderr.read().decode()


@case
def they_go_to_the_reference_and_back_by_legacy_drivers():
    move_to_the_reference_and_back('off', 'on')


@case
def they_are_used_by_packed_queues():
    move_to_ours('on')


@case
def they_go_to_the_reference_and_back():
    move_to_the_reference_and_back('off')


@case
def they_go_to_the_reference_and_back_by_packed_queues():
    move_to_the_reference_and_back('on')


class Reader:
    """Waits at @path for the emulator, and reads only when asked to."""

    def __init__(self, path):
        self.text = ''
        self.listener = socket.socket(socket.AF_UNIX)
        pathlib.Path(path).unlink(missing_ok=True)
        self.listener.bind(path)
        self.listener.listen()

    def accept(self):
        self.socket, _ = self.listener.accept()
        self.socket.setblocking(False)

    def read(self):
        try:
            while piece := self.socket.recv(1 << 16):
                self.text += piece.decode()
        except BlockingIOError:
            pass
        return self.text


def a_line_is_cut_by_moving(packed, *programs):
    """Nobody reads for a while, so that the guest moves while the host has taken only a part of a line."""
    img('create', '-q', '-f', 'raw', 'disk', '1M')
    way, readers = [], []
    try:
        for i, program in enumerate(programs):
            name, incoming, fds = f'e{i}', ('-S',), ()
            if i:
                # From a file: the reference goes wrong if it has to wait for the rest of a port's section.
                saved = open(f'moved{i}', 'rb')
                incoming, fds = ('-incoming', f'fd:{saved.fileno()}'), (saved.fileno(),)
            readers.append(Reader(f'{name}.port')) # there before the guest: what it sends to nobody is lost
            way.append(User(name, *incoming, packed=packed, program=program, pass_fds=fds,
                            port=f'socket,id=c1,path={name}.port'))
            readers[-1].accept()
            if i:
                wait_for(lambda: way[-1].state() in ('running', 'paused'))
                wait_for(lambda: sum(len(r.read()) for r in readers[:-1]) > 5000)
            assert way[-1].answer('cont') == {}
            way[-1].await_rounds(2 if i else 40)
            if i + 1 < len(programs):
                way[-1].answer('stop')
                way[-1].migrate(f'exec:cat >moved{i + 1}')
                if program == REFERENCE_EMULATOR: # it would go on sending what it has handed over
                    way[-1].process.kill()

        wait_for(lambda: len(readers[-1].read()) > 50000)

        def are_whole():
            text = ''.join(r.read() for r in readers)
            return len(text) >= 33 * (len(readers[0].text) // 33 + 1) and is_whole(text[:33 * (len(text) // 33)])

        wait_for(are_whole) # the last of the source is still on its way
        assert any(len(r.text) % 33 for r in readers[:-1]), 'no line was cut'
    finally:
        for e in way:
            e.process.kill()
            e.process.communicate()


@case
def a_line_of_which_the_host_has_taken_a_part_goes_on():
    for packed in 'off', 'on':
        a_line_is_cut_by_moving(packed, EMULATOR, EMULATOR)


@case
def such_a_line_goes_on_at_the_reference_and_back():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    for packed in 'off', 'on':
        a_line_is_cut_by_moving(packed, EMULATOR, REFERENCE_EMULATOR, EMULATOR)


@case
def devices_that_make_no_sense_are_refused():
    """The guest does not start, and the message says where."""
    with start('on') as a:
        a.await_rounds()
        a.answer('stop')
        a.migrate('exec:cat >saved')
    whole = pathlib.Path('saved').read_bytes()
    macs = bytes.fromhex('00000002020000000007')
    ports = bytes.fromhex('0000001f0000000300000002')
    disk = b'/0:0:0/scsi-disk' + bytes.fromhex('0000000000000001')
    packed = b'virtio/packed_virtqueues' + bytes.fromhex('00000001')
    for part, offset, new, words in (
            (macs, 0, b'\0\0\0\x41', "field 'mac_table.macs': There are 65 of them, and at most 64"),
            (macs, 0, b'\xff\xff\xff\xff', "field 'mac_table.macs': There are 4294967295 of them"),
            (ports, 7, b'\x07', 'It has 31 ports, 0x7 of them in use; here it has 31 and 0x3'),
            (ports, 11, b'\xff', "field 'port': There are 255 of them"),
            (disk, len(disk) + 104, b'\1', "field 'waiting requests': There are 1 of them"),
            (packed, len(packed), b'\x7f\xff', 'Queue 0 of 32 entries is not in memory, or too long'),
            (packed, len(packed) + 2, b'\2', "field 'last_avail_wrap_counter': The value 2")):
        at = whole.index(part) + offset
        broken = whole[:at] + new + whole[at + len(new):]
        pathlib.Path('broken').write_bytes(broken)
        with User('target', '-incoming', 'defer', packed='on') as b:
            b.send(request('migrate-incoming', uri='exec:cat broken').encode())
            assert b.process.wait(PATIENCE) == 1
            told = b.process.stderr.read().decode()
        assert words in told, (words, told)


main('migration-devices', 'system')
