#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The log of processors (-d)."""
import pathlib
import re
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, run
from emulator import Emulator
from guests import EMULATOR, EXIT, emulate, run_guest
from migrating import source


def log(items, *options):
    """The log of a guest that counts and waits for timers; its output must be the same as without a log."""
    said = run_guest('count', '-m', '64', '-icount', 'shift=2,sleep=off', '-d', items, '-D', 'log', *options)
    assert said == run_guest('count', '-m', '64', '-icount', 'shift=2,sleep=off', *options), said
    return pathlib.Path('log').read_text()


@case
def translated_instructions_are_shown_once():
    text = log('in_asm')
    lines = re.findall(r'(?m)^0x([0-9a-f]{8}): ((?: [0-9a-f]{2})+) +(\S.*)$', text)
    assert any(what.startswith('rdtsc') for _, _, what in lines), text[:2000]
    assert any(what.startswith('hlt') for _, _, what in lines)
    assert text.startswith('----------------\nIN: \n') and 'Trace' not in text


@case
def generated_code_follows_what_it_was_made_of():
    text = log('in_asm,out_asm')
    parts = re.findall(r'(?m)^OUT: \[size=(\d+)\]\n  -- guest addr 0x([0-9a-f]{16})\n((?:0x.*\n)+)\n', text)
    assert len(parts) > 5
    assert [int(at, 16) for at in re.findall(r'(?m)^IN: \n0x([0-9a-f]+)', text)] == [int(p[1], 16) for p in parts]
    for size, _, lines in parts:
        shown = re.findall(r'(?m)^0x[0-9a-f]+: ((?: [0-9a-f]{2})+)', lines)
        assert sum(len(line.split()) for line in shown) == int(size), (size, lines)
        assert ' mov' in lines and lines.count('\n') > 3, lines


@case
def trace_points_are_items_too():
    run_guest('count', '-d', 'trace:loop_choice', '-trace', 'file=trace')
    assert 'loop_choice' in pathlib.Path('trace').read_text()
    assert 'nonsense' in emulate('-d', 'trace:nonsense', code=1).stderr
    assert "'trace:' needs a pattern" in emulate('-d', 'trace:', code=1).stderr
    assert 'option -trace' in emulate('-d', 'trace:file=other', code=1).stderr
    assert not pathlib.Path('other').exists()


@case
def a_bogus_item_leaves_trace_points_as_they_were():
    with Emulator('-S', '-trace', 'file=trace') as e:
        assert 'bogus' in e.say('log trace:qmp_command,bogus')
        assert e.answer('query-status') and pathlib.Path('trace').read_text() == ''
        assert e.say('log trace:qmp_command') == ''
        assert e.answer('query-status') and 'query-status' in pathlib.Path('trace').read_text()


@case
def nothing_is_missing_without_chains():
    # The loop of two instructions is entered a thousand times, each time it is called.
    every, some = (len(re.findall('(?m)^Trace 0: ', log(items, '-dfilter', '0x100000..0x100fff')))
                   for items in ('exec,nochain', 'exec'))
    assert every > 1000 * 1000 > 20 * some > 0, (every, some)


@case
def interrupts_are_shown_with_registers():
    text = log('int')
    assert text.count('Servicing hardware INT=0x50\n') >= 45, text[:2000]
    first = re.search(r'(?m)^ +0: v=50 e=0000 i=0 cpl=0 IP=\w{4}:\w{16} pc=\w{16} SP=\w{4}:\w{16} '
                      r'env->regs\[R_EAX\]=\w{16}\nRAX=\w{16}', text)
    assert first, text[:2000]


@case
def registers_are_shown_before_blocks_and_resets():
    text = log('cpu,nochain', '-dfilter', '0x100200+16')
    assert text.startswith('RAX=') and 'XMM00' not in text and 'Trace' not in text, text[:500]
    assert 'XMM00=' in log('cpu,fpu', '-dfilter', '0x100200+16')
    assert log('cpu_reset').startswith('CPU Reset (CPU 0)\nEAX=00000000')


@case
def far_jumps_and_registers_of_paging_are_shown():
    # At FFFFFFF0h a jump to E000h; there CR0 is written, a far jump follows, and the end.
    image = bytearray(0x10000)
    image[0xfff0:0xfff3] = b'\xe9' + struct.pack('<h', 0xe000 - 0xfff3)
    code = bytes.fromhex('0f20c0 0f22c0 ea0be000f0 31c0 66e7f4 f4')
    image[0xe000:0xe000 + len(code)] = code
    pathlib.Path('bios').write_bytes(image)
    emulate('-bios', 'bios', '-m', '64', *EXIT, '-d', 'mmu,pcall', '-D', 'log', code=1)
    text = pathlib.Path('log').read_text()
    assert re.search('(?m)^CPU 0: CR0=[0-9a-f]{8} CR3=0{16} CR4=0{8} EFER=0{16} pc=0*(ffff|f)e003$', text), text
    assert re.search('(?m)^CPU 0: ljmp to f000:0{12}e00b cpl=0\nEAX=', text), text


@case
def what_guests_do_wrong_is_shown():
    options = ('-m', '64', '-blockdev', 'null-co,node-name=d,size=1M,read-zeroes=on', '-device',
               'virtio-blk-device,drive=d,serial=Ferry', '-D', 'log')
    run_guest('virtio', *options, '-d', 'guest_errors')
    text = pathlib.Path('log').read_text()
    for what in 'it is not there: queue 5', 'there is no queue 7 to notify', 'the device needs a reset':
        assert re.search(f'(?m)^virtio-mmio@00000000feb02e00: .*{what}$', text), (what, text)
    assert run_guest('virtio', *options, '-d', 'int') and 'no queue' not in pathlib.Path('log').read_text()


@case
def an_accelerator_that_does_not_tell_is_named():
    with Emulator('-S', '-d', 'int,cpu_reset,guest_errors', '-D', 'log', accel='qtest',
                  stderr=subprocess.PIPE) as e:
        assert "'int': accelerator 'qtest'" in e.say('log int')
        assert e.say('log cpu_reset') == ''
        e.process.kill()
        said = e.process.stderr.read().decode()
    assert "warning: -d: nothing will be seen of 'int'" in said, said
    assert 'warning' not in emulate('-M', 'none', '-d', 'nonsense', code=1).stderr


@case
def a_filter_shows_only_what_is_there():
    def shown(ranges):
        return {int(at, 16) for at in re.findall(r'(?m)^IN: \n0x([0-9a-f]+):', log('in_asm', '-dfilter', ranges))}
    everything = shown('0..0xffffffffffffffff')
    assert len(everything) > 20
    some = sorted(everything)[5]
    for ranges in f'{some}+1', f'{some:#x}..{some:#x}', f'{some}-1', f'0+1,{some}+1':
        assert shown(ranges) == {some}, (ranges, some)


@case
def the_monitor_turns_it_on_and_off():
    with source() as m:
        def say(line):
            return m.answer('human-monitor-command', command_line=line)
        assert 'in_asm' in say('log help')
        assert say('logfile log') == '' and say('log in_asm') == ''
        m.await_rounds()
        assert say('log none') == ''
        size = pathlib.Path('log').stat().st_size
        assert size > 1000
        m.await_rounds()
        assert pathlib.Path('log').stat().st_size == size
        assert 'nonsense' in say('log nonsense') and '/absent/x' in say('logfile /absent/x')


@case
def what_is_not_there_is_refused_by_name():
    for items, what in (('op', "'op' is not there"), ('int,page', "'page' is not there"), ('x', "no log item 'x'")):
        assert what in emulate('-d', items, code=1).stderr
    for ranges in '', 'x', '1', '5..3', '1+', '1+x', '0x10..-1':
        assert 'is no range' in emulate('-dfilter', ranges, code=1).stderr, ranges
    assert '/absent/x' in emulate('-D', '/absent/x', code=1).stderr
    text = run(EMULATOR, '-d', 'help').stdout
    assert text.startswith('Log items (comma separated):\n') and '\nnochain ' in text


main('log', 'system')
