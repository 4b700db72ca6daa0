#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads of processors (-accel tcg,thread=)."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main
from emulator import Emulator, wait_for
from guests import EMULATOR, REFERENCE_EMULATOR, all_ok, run_guest
from migrating import check_moved, source, target

SINGLE = 'tcg,thread=single'


def threads(e):
    wait_for(lambda: all(cpu['thread-id'] for cpu in e.answer('query-cpus-fast')), 'a thread')
    return {cpu['thread-id'] for cpu in e.answer('query-cpus-fast')}


@case
def processors_share_a_thread_if_told_to():
    for program in EMULATOR, REFERENCE_EMULATOR:
        for accel, count in (SINGLE, 1), ('tcg,thread=multi', 3), ('tcg', 3):
            if program.exists():
                with Emulator('-S', '-m', '64', '-smp', '3', accel=accel, program=program) as e:
                    assert len(threads(e)) == count, (program, accel)
    with Emulator('-S', '-m', '64', '-smp', '3', '-icount', 'shift=3') as e:
        assert len(threads(e)) == 1


@case
def they_have_their_turns():
    for backend in '', ',backend=interp':
        accel = '-accel', SINGLE + backend
        all_ok(run_guest('start', '-smp', '2', '-m', '64', *accel))
        all_ok(run_guest('devices', '-cpu', 'max', '-m', '64', *accel), 50)
        said = run_guest('count', '-smp', '3', '-m', '64', *accel)
        assert re.search('0x[1-9a-f][0-9a-f]* beside', said), said


@case
def they_stop_and_move():
    with source('-smp', '2', accel=SINGLE) as a, target('unix:m.sock', '-smp', '2', accel=SINGLE) as b:
        a.await_rounds()
        assert a.answer('stop') == {} and a.state() == 'paused' and a.answer('cont') == {}
        a.await_rounds()
        a.migrate('unix:m.sock')
        check_moved(a, b)


main('processors', 'system')
