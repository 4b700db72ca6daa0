# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulator whose devices are driven by lines of text (the qtest protocol)."""
import subprocess

from guests import EMULATOR
from this_run import SLOWER


def talk(lines, *options, program=EMULATOR, log='none', accel='qtest'):
    """The answers to @lines."""
    with subprocess.Popen([program, '-M', 'microvm', '-accel', accel, '-display', 'none', '-nodefaults',
                           '-qtest', 'stdio', '-qtest-log', log, *options], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as p:
        try:
            answers = []
            for line in lines:
                print(line, file=p.stdin, flush=True)
                answers.append(p.stdout.readline().rstrip('\n'))
                while answers[-1].startswith('IRQ '):
                    answers.append(p.stdout.readline().rstrip('\n'))
            return answers
        finally:
            p.terminate()
            p.wait(30 * SLOWER)
