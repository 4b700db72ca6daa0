#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The balloon: memory comes back to the host, holds that forbid it, statistics, and moving with it."""
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require
from emulator import wait_for
from guests import EXIT, REFERENCE_EMULATOR, all_ok, build, emulate
from migrating import Mover

MIB = 1 << 20
BALLOON = ('-device', 'virtio-balloon-device,id=b')
MODERN = ('-global', 'virtio-mmio.force-legacy=false')


class Follower(Mover):
    """A guest of 64 MiB that follows its balloon, of up to 32 MiB."""

    def __init__(self, name, *options, **more):
        super().__init__(name, '-kernel', build('balloon'), '-append', 'follow', *options, **more)

    def event_names(self):
        self.answer('query-name')
        return [e['event'] for e in self.events]

    def actual(self):
        return self.answer('query-balloon')['actual'] // MIB

    def inflate_to(self, mib):
        assert self.answer('balloon', value=mib * MIB) == {}
        wait_for(lambda: self.actual() == mib)

    def monitor(self, line):
        return self.answer('human-monitor-command', command_line=line).replace('\r\n', '\n')

    def get(self, name):
        return self.answer('qom-get', path='/machine/peripheral/b', property=name)

    def set(self, name, value):
        return self.answer('qom-set', path='/machine/peripheral/b', property=name, value=value)

    def await_ready(self):
        wait_for(lambda: 'ready' in self.printed.read_text())


def follower(name='source', *options, **more):
    guest = Follower(name, *BALLOON, *options, **more)
    return guest


@case
def a_guest_that_lies_is_ignored_and_told_of_seldom():
    done = emulate('-kernel', build('balloon'), '-serial', 'stdio', '-no-reboot', '-m', '64', *EXIT,
                   '-append', 'rules', '-device', 'virtio-balloon-device,free-page-reporting=on', code=1)
    all_ok(done.stdout, 20)
    warnings = done.stderr.count('warning: The guest has put into its balloon')
    assert 1 <= warnings <= 3, done.stderr


@case
def memory_comes_back_and_goes_again():
    with follower() as guest:
        guest.await_ready()
        before = guest.resident()
        assert guest.monitor('info balloon') == 'balloon: actual=64\n'
        guest.inflate_to(34)
        assert guest.resident() < before - 20, (before, guest.resident())
        assert guest.monitor('info balloon') == 'balloon: actual=34\n'
        assert guest.monitor('balloon 60') == ''
        wait_for(lambda: guest.actual() == 60)
        assert guest.resident() > before - 10, (before, guest.resident())
        assert guest.answer('balloon', value=1 << 40) == {}
        wait_for(lambda: guest.actual() == 64)
        for bad in 0, -1:
            assert guest.answer('balloon', value=bad)['desc'] == "Parameter 'target' expects a size"
        changes = [e['data']['actual'] for e in guest.events if e['event'] == 'BALLOON_CHANGE']
        # The first comes at once, others are told once a second and by the last of them.
        assert changes and changes[0] == 34 * MIB, changes
        wait_for(lambda: guest.event_names() and guest.events[-1].get('data') == {'actual': 64 * MIB})
        assert len([e for e in guest.event_names() if e == 'BALLOON_CHANGE']) <= 3, guest.events


@case
def a_machine_without_one_says_so():
    with Mover('none', '-S') as guest:
        for command in {'execute': 'query-balloon'}, {'execute': 'balloon', 'arguments': {'value': MIB}}:
            reply = guest.answer(command['execute'], **command.get('arguments', {}))
            assert reply == {'class': 'DeviceNotActive',
                             'desc': 'No balloon device has been activated'}, reply
    done = emulate('-device', 'virtio-balloon-device', '-device', 'virtio-balloon-device', code=1)
    assert 'Only one balloon device is supported' in done.stderr, done.stderr
    done = emulate('-device', 'virtio-balloon-device,free-page-hint=on', code=1)
    assert "'free-page-hint' requires 'iothread' to be set" in done.stderr, done.stderr
    done = emulate('-device', 'virtio-balloon-device,free-page-hint=on,iothread=x', code=1)
    assert "Device 'x' not found" in done.stderr, done.stderr


@case
def the_guest_tells_of_its_memory_when_asked():
    with follower() as guest:
        guest.await_ready()
        stats = guest.get('guest-stats')
        assert stats['last-update'] > 0 and stats['stats']['stat-free-memory'] == 12345678, stats
        assert stats['stats']['stat-total-memory'] == 2 ** 64 - 1, stats
        assert guest.get('guest-stats-polling-interval') == 0
        for bad, words in (-1, 'must be greater than zero'), (1 << 40, 'too big'), ('x', 'expected: integer'):
            assert words in guest.set('guest-stats-polling-interval', bad)['desc']
        assert 'not writable' in guest.set('guest-stats', 1)['desc']
        assert guest.set('guest-stats-polling-interval', 1) == {}
        wait_for(lambda: guest.get('guest-stats')['stats']['stat-swap-in'] >= 2)
        assert guest.set('guest-stats-polling-interval', 0) == {}
        assert 'virtio-balloon-device.nope' in guest.get('nope')['desc']
        names = [p['name'] for p in guest.answer('qom-list', path='/machine/peripheral/b')]
        assert {'type', 'guest-stats', 'deflate-on-oom', 'free-page-reporting'} <= set(names), names


@case
def while_memory_is_held_none_is_discarded():
    with follower() as guest:
        guest.await_ready()
        guest.inflate_to(60)
        assert guest.answer('x-memory-hold', id='dev0', reason='it has memory pinned') == {}
        assert guest.answer('x-memory-hold', id='dev1', reason='so has it') == {}
        assert 'already' in guest.answer('x-memory-hold', id='dev1', reason='again')['desc']
        assert guest.answer('balloon', value=40 * MIB) == {}
        time.sleep(0.3)
        info = guest.answer('query-balloon')
        assert info['actual'] == 60 * MIB and info['x-pending-target'] == 40 * MIB, info
        assert [(h['owner'], h['reason']) for h in info['x-holds']] == [
            ('dev0', 'it has memory pinned'), ('dev1', 'so has it')], info
        assert abs(info['x-holds'][0]['since'] - time.time()) < 600, info
        assert 'held by dev1: so has it' in guest.monitor('info balloon')
        # What the guest gets back it gets at once.
        guest.inflate_to(62)
        assert guest.answer('balloon', value=40 * MIB) == {}
        assert guest.answer('x-memory-release', id='dev0') == {}
        time.sleep(0.3)
        assert guest.actual() == 62
        assert guest.answer('x-memory-release', id='dev1') == {}
        wait_for(lambda: guest.actual() == 40)
        assert 'x-holds' not in guest.answer('query-balloon')
        assert 'no hold' in guest.answer('x-memory-release', id='dev1')['desc']
        held = [e for e in guest.event_names() if e.startswith('X_MEMORY')]
        assert held == ['X_MEMORY_HELD', 'X_MEMORY_RELEASED'], held


@case
def it_moves_to_the_reference_and_back():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    with follower() as a:
        a.await_ready()
        a.inflate_to(40)
        a.migrate('exec:cat >there')
        with follower('there', '-incoming', 'exec:cat there', *MODERN, program=REFERENCE_EMULATOR) as b:
            wait_for(lambda: b.state() == 'running')
            assert b.actual() == 40
            b.inflate_to(50)
            # The request for statistics has moved, too.
            assert b.set('guest-stats-polling-interval', 1) == {}
            wait_for(lambda: b.get('guest-stats')['stats']['stat-free-memory'] == 12345678)
            b.answer('stop')
            b.migrate('exec:cat >back')
            with follower('again', '-incoming', 'exec:cat back') as c:
                wait_for(lambda: c.state() == 'paused')
                assert c.answer('cont') == {}
                assert c.actual() == 50
                c.inflate_to(36)
                c.inflate_to(64)
                assert c.set('guest-stats-polling-interval', 1) == {}
                wait_for(lambda: c.get('guest-stats')['stats']['stat-free-memory'] == 12345678)


@case
def what_is_offered_makes_the_configuration_as_long_as_that_of_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    for offered in 'page-poison=off', 'page-poison=off,free-page-hint=on,iothread=io', 'page-poison=on':
        device = ('-S', '-object', 'iothread,id=io', '-device', f'virtio-balloon-device,{offered}')
        with Mover('a', *device) as a:
            a.migrate('exec:cat >there')
        with Mover('b', *device, *MODERN, '-incoming', 'exec:cat there', program=REFERENCE_EMULATOR) as b:
            wait_for(lambda: b.status() == 'completed')
            b.migrate('exec:cat >back')
        with Mover('c', *device, '-incoming', 'exec:cat back') as c:
            wait_for(lambda: c.status() == 'completed')


# ---- hints

HINTS = ('-object', 'iothread,id=io', '-device', 'virtio-balloon-device,free-page-hint=on,iothread=io')


ROUND = r'command (?:0x)?0*[2-9a-f][0-9a-f]*\n'
DONE = r'command (?:0x)?0*1\n'


class Hinter(Mover):
    """A guest that hints at 16 MiB of which it takes back 4, and has 4 that only lies name."""

    def __init__(self, name, *options, what='hint', **more):
        super().__init__(name, '-kernel', build('balloon'), '-append', what, *HINTS, *options, **more)

    def text(self):
        text = self.printed.read_text()
        assert 'bad' not in text, text
        return text

    def await_text(self, pattern):
        wait_for(lambda: re.search(pattern, self.text()))

    def lost(self):
        """Pages whose content is gone."""
        told = re.findall(r'lost (?:0x)?([0-9a-f]+)\n', self.text())
        return int(told[-1], 16) if told else 0

    def leave(self, uri):
        """Sends little until hints have come, then the rest."""
        self.tune(max_bandwidth=64 << 10)
        assert self.answer('migrate', uri=uri) == {}
        self.await_text(ROUND)
        self.tune(max_bandwidth=0)
        wait_for(lambda: self.status() in ('completed', 'failed'))
        assert self.status() == 'completed', self.answer('query-migrate')
        return self.answer('query-migrate')['ram']['normal']


@case
def pages_that_the_guest_hints_at_are_not_sent():
    with Hinter('source') as a:
        a.await_text('ready')
        # The guest writes to pages again that it has hinted at, so what is sent depends on its speed.
        a.leave('exec:cat >there')
        with Hinter('there', '-incoming', 'exec:cat there') as b:
            wait_for(lambda: b.state() == 'running')
            b.await_text(DONE)
            wait_for(lambda: b.lost() > 2600)
            assert a.lost() == 0
            # The rounds go on counting, and all that the guest needs goes with it.
            b.leave('exec:cat >back')
            with Hinter('back', '-incoming', 'exec:cat back') as c:
                wait_for(lambda: c.state() == 'running')
                c.await_text(DONE)


@case
def hints_move_to_the_reference_and_back():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    # The reference loses pages of a guest that does not keep to the rules, or takes pages back, now and then.
    with Hinter('source', what='honest') as a:
        a.await_text('ready')
        assert a.leave('exec:cat >there') < 2600
        with Hinter('there', '-incoming', 'exec:cat there', *MODERN, program=REFERENCE_EMULATOR) as b:
            wait_for(lambda: b.state() == 'running')
            b.await_text(DONE)
            wait_for(lambda: b.lost() > 2600)
            b.leave('exec:cat >back')
            with Hinter('back', '-incoming', 'exec:cat back') as c:
                wait_for(lambda: c.state() == 'running')
                c.await_text(DONE)
                c.leave('exec:cat >again')


@case
def hints_do_not_count_where_they_must_not():
    for denied in 'held', 'postcopy':
        with Hinter(denied) as a:
            a.await_text('ready')
            if denied == 'held':
                assert a.answer('x-memory-hold', id='dev0', reason='it has memory pinned') == {}
                sent = a.leave('exec:cat >held')
            else:
                a.turn_on('postcopy-ram')
                with Hinter('target', '-incoming', 'defer') as b:
                    b.turn_on('postcopy-ram')
                    sent = a.migrate(b.listen('unix:there'))['ram']['normal']
                assert 'command' not in a.text(), a.text()
            assert sent >= 5120, sent


@case
def a_guest_whose_migration_ends_in_vain_uses_hinted_memory_again():
    with Hinter('source') as a:
        a.await_text('ready')
        a.tune(max_bandwidth=64 << 10)
        assert a.answer('migrate', uri='exec:cat >there') == {}
        a.await_text(ROUND)
        assert a.answer('migrate_cancel') == {}
        wait_for(lambda: a.status() == 'cancelled')
        a.await_text(DONE)
        assert a.lost() == 0


main('balloon', 'system')
