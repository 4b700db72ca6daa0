#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The qtest protocol: devices driven by lines of text, beside the reference where it has the same."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require
from guests import EMULATOR, REFERENCE_EMULATOR, emulate
from qtest_talk import talk

SAME = '''endianness
inb 0x70
outb 0x70 0xb
inb 0x71
inw 0x60
inl 0xcf8
writeb 0x2000 0x12
readb 0x2000
writew 0x2000 0x1234
readw 0x2000
writel 0x2000 0x12345678
readl 0x2000
writeq 0x2000 0x123456789abcdef0
readq 0x2000
read 0x2000 0x10
write 0x2000 3 0xaabbcc
read 0x2000 4
write 0x2000 4 0xaa
read 0x2000 4
b64write 0x2000 3 QUJD
b64read 0x2000 4
b64read 0x2000 0
memset 0x2000 8 0x5a
b64read 0x2000 9
memset 0x2000 0 1
readl 0xfec00000
irq_intercept_in nonsense
nonsense a b
clock_step'''.split('\n')


@case
def answers_equal_the_references():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    theirs = talk(SAME, '-S', program=REFERENCE_EMULATOR, accel='tcg')
    ours = talk(SAME, '-S', accel='tcg')
    assert len(ours) == len(SAME) and ours == theirs, list(zip(SAME, ours, theirs))


@case
def a_test_steps_the_clock_and_hears_of_interrupts():
    # The legacy timer, counter 0, mode 2, every 1193 ticks: a thousandth of a second.
    said = talk(['irq_intercept_in ioapic', 'outb 0x43 0x34', 'outb 0x40 0xa9', 'outb 0x40 0x04',
                 'clock_step 990000', 'clock_step 20000', 'clock_step', 'clock_set 5000000'])
    # Its output is high from the moment the mode is set.
    assert said[:6] == ['OK', 'IRQ raise 2', 'OK', 'OK', 'OK', 'OK 990000'], said
    assert said[6:9] == ['IRQ lower 2', 'IRQ raise 2', 'OK 1010000'], said
    at = [int(line[3:]) for line in said if line.startswith('OK ')]
    assert at == sorted(at) and 1990000 < at[2] <= 2010000 and at[3:] == [5000000], said
    assert said.count('IRQ raise 2') == 5, said


@case
def time_stands_still_between_steps():
    said = talk(['outb 0x43 0x34', 'outb 0x40 0', 'outb 0x40 0', 'clock_step 1000000',
                 *['outb 0x43 0', 'inb 0x40', 'inb 0x40'] * 3])
    latches = [said[4 + 3 * i:][1:3] for i in range(3)]
    assert latches[0] == latches[1] == latches[2] and latches[0] != ['OK 0x0000'] * 2, said


@case
def a_line_of_the_io_apic_can_be_driven():
    # Entry 5 of the table: edge, vector 0x45. Its level bit and the interrupt's way are not read back, the
    # redirection entry is.
    said = talk(['writel 0xfec00000 0x1a', 'writel 0xfec00010 0x8045', 'readl 0xfec00010',
                 'set_irq_in ioapic unnamed 5 1', 'readl 0xfec00010', 'set_irq_in ioapic unnamed 24 1',
                 'set_irq_in nonsense unnamed 0 1'])
    assert said[2] == 'OK 0x0000000000008045' and said[3] == 'OK', said
    assert said[5].startswith('FAIL') and said[6] == 'FAIL Unknown device', said


@case
def what_makes_no_sense_is_answered_and_the_next_line_works():
    bad = ['', 'inb', 'inb zz', 'inb 0x10000', 'inb -1', 'outb 1', 'readb 0x99999999999999999',
           'readq 0xffffffffffffffff', 'read 0x1000', 'read 0x1000 0x10000000', 'write 0x1000 2 0xzz',
           'write 0x1000 2 0xabc', 'memset 0x1000 4', 'clock_step x', 'irq_intercept_in',
           'irq_intercept_out ioapic', 'set_irq_in', 'x' * 100000]
    said = talk([line for word in bad for line in (word, 'endianness')])
    assert all(a.startswith('FAIL ') for a in said[::2]), said
    assert set(said[1::2]) == {'OK little'}, said
    assert talk(['irq_intercept_in ioapic', 'inb 0x70', 'read 0 4'], '-M', 'none') == \
        ['FAIL Unknown device', 'OK 0x00ff', 'OK 0xffffffff']


@case
def what_was_said_is_in_the_log():
    talk(['endianness', 'nonsense'], log='said')
    lines = pathlib.Path('said').read_text().splitlines()
    assert [line[:2] for line in lines[:5]] == ['[I', '[R', '[S', '[R', '[S'], lines
    assert lines[1].endswith('] endianness') and lines[2].endswith('] OK little'), lines
    assert '/absent/said' in emulate('-qtest', 'stdio', '-qtest-log', '/absent/said', code=1).stderr


main('qtest', 'system')
