#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of the machine as the monitor tells of them, beside the reference's."""
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require
from emulator import Emulator
from guests import EMULATOR, REFERENCE_EMULATOR

PARTS = ('-S', '-m', '64', '-smp', '2', '-object', 'iothread,id=t0,poll-max-ns=7',
         '-object', 'iothread,id=t1,poll-max-ns=0',
         '-blockdev', 'null-co,node-name=n0', '-device', 'virtio-blk-device,drive=n0,id=d0',
         '-device', 'virtio-rng-device')


def masked(value):
    return re.sub(r"('thread-id', |thread_id=)\d+", r'\1N', str(value))


def say_the_same(options, commands, lines):
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    with Emulator(*options) as ours, Emulator(*options, program=REFERENCE_EMULATOR) as theirs:
        for command in commands:
            a, b = (side.answer(command) for side in (ours, theirs))
            if isinstance(a, list) and isinstance(b, list):
                a, b = ([sorted(x.items()) for x in side] for side in (a, b))
            assert masked(a) == masked(b), (command, a, b)
        for line in lines:
            a, b = (masked(side.say(line)) for side in (ours, theirs))
            assert a == b, (line, a, b)


COMMANDS = ['query-iothreads', 'query-hotpluggable-cpus', 'query-memory-devices', 'query-pci', 'query-mice',
            'query-acpi-ospm-status', 'x-query-virtio', 'x-query-numa']
LINES = ['info iothreads', 'info iothreads x', 'info hotpluggable-cpus', 'info memory-devices', 'info pci', 'info mice',
         'info virtio']


@case
def a_machine_with_parts_tells_what_the_references_tells():
    say_the_same(PARTS, COMMANDS, LINES)


@case
def so_does_one_without():
    say_the_same(('-S', '-m', '64'), COMMANDS, LINES)


@case
def counts_of_interrupts_are_shown_by_both_monitors():
    with Emulator('-S', '-m', '64') as e:
        text = e.answer('x-query-irq')['human-readable-text']
        # In the reference the order of the controllers is not fixed.
        assert sorted(text.splitlines()) == ['IRQ statistics for ioapic:'] * 2 + ['IRQ statistics for isa-i8259:'], text
        assert e.say('info irq') == text.replace('\n', '\r\n')


@case
def iothreads_have_the_ids_of_their_threads():
    with Emulator(*PARTS) as e:
        threads = {t['id']: t['thread-id'] for t in e.answer('query-iothreads')}
        assert set(threads) == {'t0', 't1'} and len(set(threads.values())) == 2, threads
        running = {int(t) for t in os.listdir(f'/proc/{e.process.pid}/task')}
        assert set(threads.values()) <= running - {e.process.pid}, (threads, running)
        assert e.answer('qom-set', path='/objects/t0', property='poll-max-ns', value=99) == {}
        assert '\r\n  poll-max-ns=99\r\n' in e.say('info iothreads')
        assert e.answer('object-del', id='t1') == {}
        assert [t['id'] for t in e.answer('query-iothreads')] == ['t0']


main('parts', 'system')
