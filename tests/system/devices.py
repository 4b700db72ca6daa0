#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of the emulated machine as a small guest sees them."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main
from guests import all_ok, run_guest


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


main('devices', 'system')
