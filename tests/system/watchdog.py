#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Watchdogs: they expire in time, what is to happen happens as in the reference, and they move."""
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require
from emulator import Emulator, wait_for
from guests import EMULATOR, REFERENCE_EMULATOR, emulate
from qmp import PATIENCE
from qtest_talk import talk

START, STOP = 0x443, 0x441
NOW = f'outb {START} 0xf'
SECOND = 10 ** 9
PROGRAMS = [EMULATOR] + [REFERENCE_EMULATOR] * REFERENCE_EMULATOR.exists()


class Watched(Emulator):
    """An emulator with a watchdog, whose ports a socket of the qtest protocol reaches."""

    def __init__(self, *options, **more):
        super().__init__('-device', 'ib700,id=w', '-m', '64', '-qtest', 'unix:ports,server=on,wait=off',
                         '-qtest-log', 'none', *options, **more)
        self.ports = socket.socket(socket.AF_UNIX)
        self.ports.settimeout(PATIENCE)
        self.ports.connect('ports')
        self.words = self.ports.makefile('rw')

    def __exit__(self, *rest):
        self.words.close()
        self.ports.close()
        super().__exit__(*rest)
        pathlib.Path('ports').unlink(missing_ok=True)

    def port(self, line):
        print(line, file=self.words, flush=True)
        answer = self.words.readline()
        assert answer.startswith('OK'), (line, answer)
        return answer.strip()


def happens(program, action, options):
    """The events, and then the state or the exit code, when a watchdog has expired."""
    with Watched(*options, program=program, stderr=-3) as e:
        print(NOW, file=e.words, flush=True)
        seen = [('WATCHDOG', e.until('WATCHDOG'))]
        if action == 'poweroff':
            return seen, e.code()
        for name in {'reset': ['RESET'], 'shutdown': ['POWERDOWN'], 'pause': ['STOP']}.get(action, []):
            seen.append((name, e.until(name)))
        return seen, e.state(), e.say('info status')


@case
def what_is_to_happen_happens():
    for action in 'reset', 'shutdown', 'poweroff', 'pause', 'debug', 'none', 'inject-nmi':
        said = [happens(program, action, ('-action', f'watchdog={action}')) for program in PROGRAMS]
        assert said[0][0][0] == ('WATCHDOG', {'action': action}), said
        assert said[0] == said[-1], said
    assert happens(EMULATOR, 'none', ('-watchdog-action', 'none'))[0] == [('WATCHDOG', {'action': 'none'})]


@case
def it_can_be_told_otherwise_while_the_guest_runs():
    for program in PROGRAMS:
        with Watched(program=program) as e:
            assert e.answer('watchdog-set-action', action='none') == {}
            e.port(NOW)
            assert e.until('WATCHDOG') == {'action': 'none'}
            assert 'nonsense' in e.answer('watchdog-set-action', action='nonsense')['desc']
            assert [e.say(f'watchdog_action{more}') for more in (' foo', ' pause')] == [
                'Error: invalid parameter value: foo\r\n', '']
            e.port(NOW)
            assert e.until('WATCHDOG') == {'action': 'pause'}
            wait_for(lambda: e.state() == 'watchdog', 'the pause')
            assert e.answer('cont') == {} and e.state() == 'running'
            assert e.answer('set-action', watchdog='debug') == {}
    for options in ('-action', 'watchdog=foo'), ('-watchdog-action', 'foo'):
        assert "'foo'" in emulate(*options, code=1).stderr


@case
def a_reset_ends_the_program_if_reboots_do():
    with Watched('-no-reboot') as e:
        print(NOW, file=e.words, flush=True)
        assert e.until('WATCHDOG') == {'action': 'reset'}
        assert e.until('SHUTDOWN') == {'guest': True, 'reason': 'guest-reset'}
        assert e.code() == 0


def events_after(*lines):
    """How many watchdogs have expired after each of @lines, in the time that the test steps."""
    with Watched('-action', 'watchdog=none', accel='qtest') as e:
        for line in lines:
            e.port(line)
        assert e.answer('query-status')
        return len([x for x in e.events if x['event'] == 'WATCHDOG'])


@case
def it_expires_in_time_and_not_when_it_is_fed():
    for n in 0, 7, 14:
        start, due = f'outb {START} {n + 0xf0:#x}', (30 - 2 * n) * SECOND
        assert events_after(start, f'clock_step {due - 1}') == 0, n
        assert events_after(start, f'clock_step {due}') == 1, n
    start, half = f'outb {START} 0xe', f'clock_step {SECOND + SECOND // 2}'
    assert events_after(start, half, start, half, start, half) == 0
    assert events_after(start, half, f'outb {STOP} 0', half, half) == 0
    assert events_after(start, half, half, half) == 1
    said = talk([f'inb {START}', f'inb {STOP}', f'outw {START} 0', f'inw {START}'], '-device', 'ib700')
    assert [int(line.split()[1], 16) for line in said if ' ' in line] == [0xff, 0xff, 0xffff], said


def moves(here, there, command, late):
    with Watched('-S', '-action', 'watchdog=pause', program=here) as a:
        if command:
            a.port(command)
        assert a.answer('migrate', uri='exec:cat >stream') == {}
        wait_for(lambda: a.answer('query-migrate').get('status') == 'completed', 'the end of the migration')
    with Watched('-action', 'watchdog=pause', '-S', '-incoming', 'exec:cat stream', program=there) as b:
        wait_for(lambda: b.state() != 'inmigrate', 'the guest')
        assert b.answer('cont') == {}
        if late:
            wait_for(lambda: b.state() == 'watchdog', 'the watchdog')
        else:
            assert b.state() == 'running'


@case
def it_moves_both_ways():
    for here, there in [(EMULATOR, EMULATOR)] + [(EMULATOR, REFERENCE_EMULATOR), (REFERENCE_EMULATOR, EMULATOR)] * (
            len(PROGRAMS) - 1):
        moves(here, there, f'outb {START} 0xe', True)
        moves(here, there, None, False)


@case
def many_are_told_as_one():
    for program in PROGRAMS:
        with Watched('-action', 'watchdog=none', program=program) as e:
            started = time.monotonic()
            for _ in range(100):
                e.port(NOW)
                # The clock has to see that it is over before the next one.
                time.sleep(0.002)
            e.answer('query-status')
            seconds = time.monotonic() - started
            told = len([x for x in e.events if x['event'] == 'WATCHDOG'])
            assert 1 <= told <= seconds + 2, (told, seconds)


@case
def there_is_one():
    assert 'belong to another' in emulate('-device', 'ib700', '-device', 'ib700', code=1).stderr


main('watchdog', 'system')
