#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A chain of 200 images opens with the usual limit of descriptors; with too few the error names what failed."""
import pathlib
import resource
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IMG, IO, case, img, io, main, run

DEEP = 200
LAST = f'c{DEEP - 1}'
COMMANDS = ((IO, '-c', 'read -P 7 0 1M', LAST), (IMG, 'convert', '-O', 'raw', LAST, 'out'), (IMG, 'map', LAST))


def make_chain():
    img('create', '-q', '-f', 'qcow2', 'c0', '1M')
    io('c0', 'write -P 7 0 1M')
    for i in range(1, DEEP):
        img('create', '-q', '-f', 'qcow2', '-u', '-b', f'c{i - 1}', '-F', 'qcow2', f'c{i}', '1M')


def run_with(limit, *command, code):
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return run(*command, code=code, preexec_fn=lower)


@case
def a_deep_chain_opens_with_the_usual_limit():
    make_chain()
    for command in COMMANDS:
        assert not run_with(1024, *command, code=0).stderr, command


@case
def with_too_few_the_error_names_what_failed():
    make_chain()
    for command in COMMANDS:
        err = run_with(64, *command, code=1).stderr
        assert err.count('\n') == 1 and "Could not open 'c" in err and 'Too many open files' in err, err


main('descriptors')
