#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests compare with is named by absolute path, and is not our own program."""
import filecmp
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import TOOLS
from functions import BUILD, REFERENCE, judge, require_reference


def is_ours(program):
    return b'Ferry' in subprocess.run([program, '--version'], stdout=subprocess.PIPE, check=True).stdout


require_reference(*TOOLS)
judge('path-is-absolute', [] if REFERENCE.is_absolute() else [f'{REFERENCE} is relative'])
for tool in TOOLS:
    ours, theirs = BUILD / tool, REFERENCE / tool
    problems = []
    if filecmp.cmp(ours, theirs, shallow=False):
        problems.append(f'{theirs} is the same program as {ours}')
    if is_ours(theirs):
        problems.append(f'{theirs} says that it is Ferry')
    if not is_ours(ours):
        problems.append(f'{ours} does not say that it is Ferry')
    judge(f'{tool}-differs', problems)
