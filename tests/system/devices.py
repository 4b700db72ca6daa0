#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of the emulated machine as a small guest sees them."""
import datetime
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main
from guests import all_ok, emulate, run_guest


@case
def registers_are_as_the_manuals_say():
    all_ok(run_guest('devices', '-cpu', 'max', '-m', '64'), 50)


@case
def interpreted_they_are_the_same():
    all_ok(run_guest('devices', '-cpu', 'max', '-m', '64', '-accel', 'tcg,backend=interp'), 50)


@case
def a_processor_starts_whenever_it_is_told_to():
    for backend in 'tcg', 'tcg,backend=interp':
        all_ok(run_guest('start', '-smp', '2', '-m', '64', '-accel', backend))


@case
def an_interrupt_that_becomes_urgent_is_not_forgotten():
    for backend in 'tcg', 'tcg,backend=interp':
        all_ok(run_guest('urgent', '-m', '64', '-accel', backend))


def clock(*options, append=None):
    """What the guest's clock shows at first, and when the guest has waited for a second."""
    return [datetime.datetime.strptime(line, '%Y-%m-%d %H:%M:%S')
            for line in run_guest('rtc', '-m', '64', *options, append=append).splitlines()]


@case
def the_clock_begins_where_it_is_told_to():
    for by in 'host', 'rt', 'vm':
        first, later = clock('-rtc', f'base=2006-06-17T16:01:21,clock={by}')
        late = (first - datetime.datetime(2006, 6, 17, 16, 1, 21)).total_seconds()
        assert 0 <= late <= 60 and 1 <= (later - first).total_seconds() <= 60, (by, first, later)
    assert clock('-rtc', 'base=1999-12-31,clock=vm')[0].date() == datetime.date(1999, 12, 31)
    os.environ['TZ'] = 'XYZ-5:30'
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    for base, ahead in ('utc', 0), ('localtime', 5.5):
        late = (clock('-rtc', f'base={base}')[0] - now).total_seconds() - 3600 * ahead
        assert -1 <= late <= 120, (base, late)


@case
def a_clock_that_cannot_be_is_refused():
    for options, what in (('base=2006-13-01', 'utc, localtime'), ('base=today', 'utc, localtime'),
                          ('base=2006-06-17T', 'utc, localtime'), ('clock=sun', 'host, rt or vm'),
                          ('driftfix=slew', 'driftfix is none'), ('drift=none', "'drift'")):
        done = emulate('-rtc', options, code=1)
        assert what in done.stderr, done.stderr


main('devices', 'system')
