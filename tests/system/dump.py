#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps of the guest's memory, its dirty rate, and what the monitor for people tells of migrations, all
compared with the reference running the same guest."""
import ctypes
import os
import pathlib
import re
import shutil
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, main, require, run
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


def by_library(name, function):
    """Unpacks a page by a function of a C library: of source, its length, room, the room's length."""
    def unpack(data):
        room, length = ctypes.create_string_buffer(4096), ctypes.c_size_t(4096)
        done = getattr(ctypes.CDLL(name), function)(data, ctypes.c_size_t(len(data)), room, ctypes.byref(length), None)
        assert done == 0, done
        return room.raw[:length.value]
    return unpack


# By the flag of the format.
UNPACK = {1: zlib.decompress, 2: by_library('liblzo2.so.2', 'lzo1x_decompress_safe'),
          4: by_library('libsnappy.so.1', 'snappy_uncompress')}
FORMATS = {'kdump-zlib': 1, 'kdump-lzo': 2, 'kdump-snappy': 4}


class Kdump:
    """A kdump-compressed file in the flattened form: header, notes, and memory by number of page."""

    def __init__(self, name):
        data, at = pathlib.Path(name).read_bytes(), 4096
        assert data[:32] == b'makedumpfile\0\0\0\0' + struct.pack('>QQ', 1, 1)
        self.file = bytearray()
        while (piece := struct.unpack_from('>qq', data, at)) != (-1, -1):
            off, size = piece
            self.file[len(self.file):] = bytes(max(off + size - len(self.file), 0))
            self.file[off:off + size] = data[at + 16:at + 16 + size]
            at += 16 + size
        assert at + 16 == len(data)
        self.header, self.sub = bytes(self.file[:464]), bytes(self.file[4096:4200])
        block, sub, bitmaps = struct.unpack_from('<III', self.file, 428)
        notes, size = struct.unpack_from('<QQ', self.file, 4096 + 48)
        self.notes = bytes(self.file[notes:notes + size])
        start, half = (1 + sub) * block, bitmaps * block // 2
        first, second = self.file[start:start + half], self.file[start + half:start + 2 * half]
        assert first == second
        pages = [8 * i + bit for i, byte in enumerate(first) if byte for bit in range(8) if byte >> bit & 1]
        self.kinds, self.memory = set(), {}
        for i, page in enumerate(pages):
            off, size, flags, zero = struct.unpack_from('<QIIQ', self.file, start + 2 * half + 24 * i)
            raw = bytes(self.file[off:off + size])
            self.memory[page] = UNPACK[flags](raw) if flags else raw
            assert not zero and len(self.memory[page]) == 4096
            self.kinds.add((flags, size == 4096))


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


def kdump(e, name, kind='kdump-zlib'):
    assert e.answer('dump-guest-memory', paging=False, protocol=f'file:{name}', format=kind) == {}
    os.chmod(name, 0o600)
    return Kdump(name)


@case
def a_compressed_dump_is_that_of_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    saved_guest('-smp', '2')
    dumps, totals = [], []
    for program in EMULATOR, REFERENCE_EMULATOR:
        with source('-S', '-smp', '2', *DISK, '-loadvm', 'x', program=program) as e:
            dumps.append(kdump(e, f'k{len(dumps)}'))
            totals.append(e.answer('query-dump'))
    ours, theirs = dumps
    assert ours.header == theirs.header and ours.sub == theirs.sub and ours.notes == theirs.notes
    assert totals[0] == totals[1] and ours.memory.keys() == theirs.memory.keys()
    # Firmware is each program's own.
    differ = [p for p in ours.memory if ours.memory[p] != theirs.memory[p]]
    assert all(0xf0 <= p < 0x100 or p >= 0xffff0 for p in differ), differ
    require(shutil.which('makedumpfile'), 'no makedumpfile')
    with open('k0', 'rb') as flat:
        run('makedumpfile', '-R', 'whole', stdin=flat)
    assert pathlib.Path('whole').read_bytes() == bytes(ours.file)


def formats(e):
    return set(e.answer('query-dump-guest-memory-capability')['formats'])


@case
def formats_are_those_whose_libraries_this_build_has():
    with source('-S') as e:
        config = (BUILD / 'config.mk').read_text(encoding='utf-8')
        modules = re.search('^OPTIONAL_MODULES :=(.*)', config, re.M)[1].split()
        built = {kind for kind in FORMATS if kind[6:] in modules}
        assert formats(e) == {'elf', 'kdump-zlib'} | built
        for kind, flag in FORMATS.items():
            if kind in formats(e):
                assert struct.unpack_from('<I', kdump(e, kind, kind).header, 424) == (flag,)
            else:
                told = e.answer('dump-guest-memory', paging=False, protocol='file:no', format=kind)
                assert told['desc'] == f'{kind} is not available now' and not pathlib.Path('no').exists()


@case
def a_compressed_dump_has_all_memory():
    """Of a guest whose memory is of zeroes, of what compresses, and of what does not."""
    pathlib.Path('noise').write_bytes(os.urandom(3 << 20))
    with source('-initrd', 'noise') as e:
        e.await_rounds()
        assert e.answer('stop') == {}
        whole, packed = dump(e, 'core'), kdump(e, 'k')
        others = [kdump(e, kind, kind) for kind in sorted(formats(e) - {'elf', 'kdump-zlib'})]
        for kind, letter in ('kdump-lzo', 'l'), ('kdump-snappy', 's'):
            if kind in formats(e):
                assert say(e, f'dump-guest-memory -{letter} monitors') == ''
                assert pathlib.Path('monitors').read_bytes() == pathlib.Path(kind).read_bytes()
                os.remove('monitors')
        os.mkfifo('pipe')
        reader = os.open('pipe', os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        assert e.answer('dump-guest-memory', paging=False, protocol='file:pipe', format='kdump-zlib', detach=True) == {}
        with open('piped', 'wb') as out:
            while (data := os.read(reader, 1 << 20)):
                out.write(data)
        os.close(reader)
        told = e.answer('dump-guest-memory', paging=False, protocol='file:/dev/full', format='kdump-zlib')
        assert 'No space' in told['desc'], told
        assert say(e, 'dump-guest-memory -z z') == ''
    assert pathlib.Path('piped').read_bytes() == pathlib.Path('k').read_bytes() == pathlib.Path('z').read_bytes()
    assert packed.kinds == {(0, True), (1, False)}
    for other in others:
        flag, = struct.unpack_from('<I', other.header, 424)
        assert other.kinds == {(0, True), (flag, False)} and other.memory == packed.memory, other.kinds
        assert other.sub == packed.sub and other.notes == packed.notes
    seen = 0
    for start, content in whole.memory.items():
        for at in range(0, len(content), 4096):
            assert packed.memory[(start + at) // 4096] == content[at:at + 4096]
            seen += 1
    assert seen == len(packed.memory)


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
                {'protocol': 'file:c', 'format': 'kdump-zlib', 'begin': 0, 'length': 4096},
                {'protocol': 'file:c', 'format': 'kdump-zlib', 'paging': True})])
            told[-1].append(e.answer('query-dump')['status'])
            told[-1] += [say(e, line) for line in ('calc_dirty_rate 0', 'calc_dirty_rate 61',
                                                   'calc_dirty_rate 1 5', 'info dirty_rate')]
            told[-1] += [e.answer('calc-dirty-rate', calc_time=n) for n in (0, 61, -1)]
            told[-1].append(e.answer('query-dirty-rate'))
    assert told[0] == told[1], [pair for pair in zip(*told) if pair[0] != pair[1]]
    with source('-S') as e:
        assert 'paging' in e.answer('dump-guest-memory', paging=True, protocol='file:c')['desc']


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


SET = ['max-bandwidth 5', 'max-bandwidth 5k', 'max-bandwidth x', 'max-bandwidth -1', 'max-bandwidth 1.5',
       'downtime-limit 7', 'downtime-limit 3000000', 'multifd-channels 3', 'multifd-channels 0',
       'multifd-channels 0x4', 'multifd-compression zstd', 'xbzrle-cache-size 128', 'xbzrle-cache-size 1M',
       'xbzrle-cache-size 5000', 'foo 1', 'tls-creds a', 'cpu-throttle-tailslow on', 'cpu-throttle-initial 50']


@case
def parameters_are_set_in_the_monitor_as_in_the_references():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    told = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        with Mover('guest', '-S', program=program) as e:
            told.append([(line, say(e, 'migrate_set_parameter ' + line), e.answer('query-migrate-parameters'))
                         for line in SET])
    assert told[0] == told[1], [pair for pair in zip(*told) if pair[0] != pair[1]]
    with Mover('guest', '-S') as e:
        for line in 'multifd-compression q', 'cpu-throttle-tailslow x', 'multifd-channels 300', 'downtime-limit 1.5':
            assert say(e, 'migrate_set_parameter ' + line).startswith('Error: '), line


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
