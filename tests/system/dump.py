#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps of the guest's memory, its dirty rate, and what the monitor for people tells of migrations, all
compared with the reference running the same guest."""
import os
import pathlib
import re
import shutil
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require, run
from emulator import wait_for
from guests import EMULATOR, REFERENCE_EMULATOR
from migrating import Mover, source
from qmp import PATIENCE

DISK = ('-drive', 'if=none,id=a,file=a.qcow2,format=qcow2', '-device', 'virtio-blk-device,drive=a')


def say(e, line):
    return e.answer('human-monitor-command', command_line=line)


def dump(e, name, **more):
    assert e.answer('dump-guest-memory', paging=False, protocol=f'file:{name}', **more) == {}
    told = [v['data'] for v in e.events if v['event'] == 'DUMP_COMPLETED'][-1]
    assert told['result']['status'] == 'completed' and 'error' not in told, told
    assert told['result'] == e.answer('query-dump'), told
    return Core(name)


class Core:
    """An ELF core: its machine, notes, and memory by address."""

    def __init__(self, name):
        data = pathlib.Path(name).read_bytes()
        assert data[:7] == b'\x7fELF\x02\x01\x01', data[:16]
        kind, self.machine = struct.unpack_from('<HH', data, 16)
        assert kind == 4
        programs, = struct.unpack_from('<Q', data, 32)
        size, count = struct.unpack_from('<HH', data, 54)
        self.notes, self.memory = b'', {}
        for i in range(count):
            kind, _, off, _, at, length, mem, _ = struct.unpack_from('<IIQQQQQQ', data, programs + i * size)
            assert length == mem and off + length <= len(data)
            if kind == 4:
                self.notes = data[off:off + length]
            else:
                self.memory[at] = data[off:off + length]


def saved_guest(*options):
    """A snapshot of a guest in 64-bit mode, which all start from."""
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '8M')
    with source(*DISK, *options) as e:
        e.await_rounds()
        assert say(e, 'savevm x') == ''


@case
def a_dump_is_that_of_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    saved_guest('-smp', '2')
    cores = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        with source('-S', '-smp', '2', *DISK, '-loadvm', 'x', program=program) as e:
            cores.append([dump(e, 'core'), dump(e, 'part', begin=0x3ff0, length=0x20020)])
            os.remove('core')
            os.remove('part')
    for ours, theirs in zip(*cores):
        assert ours.machine == theirs.machine == 62
        assert ours.notes == theirs.notes, [i for i in range(len(theirs.notes)) if ours.notes[i:i + 1] != theirs.notes[i:i + 1]]
        assert [(at, len(b)) for at, b in ours.memory.items()] == [(at, len(b)) for at, b in theirs.memory.items()]
        # Firmware is each program's own.
        for at in ours.memory.keys() - {0xf0000, 0xffff0000}:
            assert ours.memory[at] == theirs.memory[at], at
    assert cores[0][1].memory[0x3ff0] == cores[0][0].memory[0][0x3ff0:0x3ff0 + 0x20020]


@case
def a_guest_in_real_mode_is_dumped_as_the_reference_does():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    bios = pathlib.Path('/usr/share/qemu/bios-microvm.bin')
    require(bios.exists(), 'no firmware')
    cores = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        with Mover('guest', '-S', '-bios', bios, program=program) as e:
            cores.append(dump(e, 'core'))
            os.remove('core')
    ours, theirs = cores
    assert ours.machine == theirs.machine == 3
    assert len(ours.notes) == len(theirs.notes)
    differ = [i for i, (a, b) in enumerate(zip(ours.notes, theirs.notes)) if a != b]
    # The type of CS after a reset: data by the processors' manuals, code there.
    assert differ in ([], [345]), differ


@case
def debuggers_read_a_dump():
    require(shutil.which('readelf'), 'no readelf')
    with source('-smp', '3') as e:
        e.await_rounds(1)
        assert say(e, 'stop') == ''
        rip = say(e, 'p /x $rip').strip()
        assert say(e, 'dump-guest-memory core') == '' and say(e, 'info dump') == 'Status: completed\r\n'
    told = run('readelf', '-ln', 'core').stdout
    assert told.count('NT_PRSTATUS') == 3 and 'CORE (Core file)' in told, told
    require(shutil.which('gdb'), 'no gdb')
    told = run('gdb', '-batch', '-ex', 'p /x $rip', '-ex', 'x /2xb 0x100000', '-c', 'core').stdout
    assert rip in told and re.search('0x100000:\t0x', told), told


@case
def errors_are_those_of_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    told = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        with source('-S', program=program) as e:
            told.append([e.answer('dump-guest-memory', **{'paging': False, **more}) for more in (
                {'protocol': 'foo'}, {'protocol': 'fd:no'}, {'protocol': 'file:c', 'begin': 0},
                {'protocol': 'file:c', 'length': 1}, {'protocol': 'file:c', 'begin': 1 << 40, 'length': 5},
                {'protocol': 'file:/nonexistent/x'}, {'protocol': 'file:/dev/full'},
                {'protocol': 'file:c', 'format': 'kdump-lzo'})])
            told[-1].append(e.answer('query-dump')['status'])
            told[-1] += [say(e, line) for line in ('dump-guest-memory -l c', 'calc_dirty_rate 0',
                                                   'calc_dirty_rate 61', 'calc_dirty_rate 1 5', 'info dirty_rate')]
            told[-1] += [e.answer('calc-dirty-rate', calc_time=n) for n in (0, 61, -1)]
            told[-1].append(e.answer('query-dirty-rate'))
    assert told[0] == told[1], [pair for pair in zip(*told) if pair[0] != pair[1]]
    with source('-S') as e:
        assert 'paging' in e.answer('dump-guest-memory', paging=True, protocol='file:c')['desc']
        assert e.answer('query-dump-guest-memory-capability') == {'formats': ['elf']}


@case
def the_guest_stands_still_while_it_is_dumped_and_goes_on():
    os.mkfifo('pipe')
    with source() as e:
        assert 'Could not open' in e.answer('dump-guest-memory', paging=False, protocol='file:pipe')['desc']
        reader = os.open('pipe', os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        e.await_rounds(1)
        assert e.answer('dump-guest-memory', paging=False, protocol='file:pipe', detach=True) == {}
        assert e.answer('query-dump')['status'] == 'active' and e.state() == 'save-vm'
        assert 'Status: active\r\nFinished: ' in say(e, 'info dump')
        for command, more in (('cont', {}), ('system_reset', {}), ('migrate', {'uri': 'exec:cat'}),
                              ('dump-guest-memory', {'paging': False, 'protocol': 'file:c'})):
            assert e.answer(command, **more)['class'] == 'GenericError', command
        with open('core', 'wb') as out:
            while (data := os.read(reader, 1 << 20)):
                out.write(data)
        os.close(reader)
        wait_for(lambda: e.answer('query-dump')['status'] == 'completed' and e.state() == 'running')
        e.await_rounds(1)
        assert sum(map(len, Core('core').memory.values())) == e.answer('query-dump')['total']
        assert 'No space' in e.answer('dump-guest-memory', paging=False, protocol='file:/dev/full')['desc']
        e.await_rounds(1)


def rate(e, mode):
    assert e.answer('calc-dirty-rate', calc_time=1, mode=mode) == {}
    wait_for(lambda: e.answer('query-dirty-rate')['status'] == 'measured')
    told = e.answer('query-dirty-rate')
    assert told['mode'] == mode and told['calc-time'] == 1, told
    return told['dirty-rate']


@case
def the_rate_of_written_memory_is_measured():
    with source() as e:
        e.await_rounds(1)
        for mode in 'page-sampling', 'dirty-bitmap':
            wait_for(lambda m=mode: rate(e, m) > 0)
        assert re.search(r'Dirty rate: \d+ \(MB/s\)\r\n', say(e, 'info dirty_rate'))
        for mode, more, words in ('dirty-ring', {}, 'dirty ring'), ('dirty-bitmap', {'sample_pages': 200}, 'sample-pages'):
            assert words in e.answer('calc-dirty-rate', calc_time=1, mode=mode, **more)['desc']
        assert say(e, 'stop') == ''
        assert rate(e, 'dirty-bitmap') == 0
        assert e.answer('calc-dirty-rate', calc_time=60, mode='dirty-bitmap') == {}
        assert e.answer('query-dirty-rate')['status'] == 'measuring'
        assert e.answer('calc-dirty-rate', calc_time=1)['desc'] == 'still measuring'
        assert 'being measured' in e.answer('migrate', uri='exec:cat >/dev/null')['desc']
        assert e.answer('quit') == {} and e.process.wait(PATIENCE) == 0


# Only shown where there is something to tell.
WHERE_ANY = 'dirty pages rate', 'precopy ram', 'downtime ram'


def labels(text):
    return [line.split(':')[0] for line in text.splitlines()]


@case
def the_monitor_tells_of_migrations_as_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    told = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        with source('-S', program=program) as e:
            told.append([say(e, line) for line in (
                'info migrate', 'info migrate_capabilities', 'info migrate_parameters',
                'migrate_set_capability foo on', 'migrate_set_capability xbzrle on', 'info migrate_capabilities',
                'migrate_continue x', 'migrate_continue pre-switchover', 'migrate_incoming unix:x', 'migrate_cancel',
                'migrate foo', 'migrate "exec:cat >/dev/null"')])
            wait_for(lambda: e.status() == 'completed')
            told[-1].append([n for n in labels(say(e, 'info migrate')) if n not in WHERE_ANY])
    assert told[0] == told[1], [pair for pair in zip(*told) if pair[0] != pair[1]]


main('dump', 'system')
