#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Time by executed instructions (-icount)."""
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main
from guests import all_ok, emulate, run_guest


def count(icount, *options):
    """The lines that the guest prints, by their first words, and the whole output."""
    said = run_guest('count', '-m', '64', '-icount', icount, *options)
    return {line.split()[0]: int(line.split()[1], 16) for line in said.splitlines()[:2]}, said


def changes(said):
    return int(re.search('(0x[0-9a-f]+) changes', said)[1], 16)


@case
def the_same_guest_does_the_same_in_each_run():
    for options in ('-smp', '1'), ('-smp', '3'):
        first = count('shift=2,sleep=off', *options)[1]
        assert len(first.splitlines()) == 43, first
        for _ in range(2):
            assert count('shift=2,sleep=off', *options)[1] == first
        assert count('shift=2', *options)[1] == first
        assert count('shift=2,sleep=off', '-accel', 'tcg,backend=interp', *options)[1] == first


@case
def every_instruction_takes_as_long_as_the_shift_says():
    for shift in 0, 3, 10:
        # One loop of 1000 times two instructions more, and what calls it.
        ns = count(f'shift={shift},sleep=off')[0]['loop']
        assert 1990 << shift <= ns <= 2010 << shift, (shift, ns)


@case
def a_second_processor_has_its_turn():
    # With align=on each turn is followed by a wait for the host, by which nobody loses his next one.
    for icount in 'shift=2,sleep=off', 'shift=8,align=on':
        said = count(icount, '-smp', '2')[1]
        counts = [int(n, 16) for n in re.findall('(0x[0-9a-f]+) beside', said)]
        assert len(set(counts)) > 10, (icount, said)
        assert changes(said) > 5, (icount, said)
    alone = count('shift=2,sleep=off')[1]
    assert set(re.findall('(0x[0-9a-f]+) beside', alone)) == {'0x0'} and changes(alone) == 0, alone


@case
def without_sleep_a_wait_takes_no_time():
    for sleep in 'on', 'off':
        start = time.monotonic()
        said, _ = count(f'shift=0,sleep={sleep}')
        assert 15 <= said['waited'] < 25, said
        if sleep == 'on':
            assert time.monotonic() - start > 20 * 0.003 # of 25 waits of 3 ms


@case
def the_shift_may_follow_the_host():
    for options in 'auto', 'shift=auto,align=on', 'shift=1,align=on':
        said, _ = count(options)
        assert said['waited'] >= 15, said


@case
def processors_start_in_their_turn():
    all_ok(run_guest('start', '-smp', '2', '-m', '64', '-icount', 'shift=2,sleep=off'))


@case
def time_goes_on_when_a_processor_that_had_its_turn_may_not_run():
    for sleep in 'on', 'off':
        all_ok(run_guest('alone', '-smp', '2', '-m', '64', '-cpu', 'max', '-icount', f'shift=2,sleep={sleep}'))


@case
def values_that_cannot_be_are_refused():
    for text, what in (('shift=11', 'Invalid shift value'), ('shift=x', 'Invalid shift value'),
                       ('shift=', 'Invalid shift value'), ('shift=-1', 'Invalid shift value'),
                       ('shift=2,sleep=off,align=on', 'align=on and sleep=off are incompatible'),
                       ('align=on', 'shift=NUMBER'), ('sleep=off', 'shift=NUMBER'),
                       ('shift=3,rr=record,rrfile=x', "'rr' is not there"),
                       ('shift=3,nonsense=1', "Invalid parameter 'nonsense'"),
                       ('shift=3,sleep=maybe', "Parameter 'sleep' expects 'on' or 'off'")):
        said = emulate('-icount', text, code=1).stderr
        assert what in said, (text, said)
    said = emulate('-icount', 'shift=1', '-accel', 'tcg,thread=multi', code=1).stderr
    assert 'No MTTCG when icount is enabled' in said, said
    said = emulate('-icount', 'shift=1', '-only-migratable', code=1).stderr
    assert 'Instructions are counted' in said, said


main('icount', 'system')
