#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The same as fuzz.py, ten million times."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cases
from fuzz import fuzz
from this_run import SHARE

cases.CASES.clear()


@cases.case
def registers_take_anything_for_long():
    for seed in range(100, 100 + 20 // SHARE):
        fuzz(seed, 500_000, timeout=600)


cases.main('fuzz-slow', 'system')
