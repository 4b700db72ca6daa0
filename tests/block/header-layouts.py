#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Some moments of changes to some layouts; header-layouts.slow.py has all. See tests/lib."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from header_layouts import main  # noqa: E402

LAYOUTS = ['reference-plain', 'reference-luks-backing', 'reference-data-file', 'reference-lazy',
           'ours-lazy-none', 'ours-long-name', 'others-8-names-first', 'others-other-long']
sys.exit(main(4, LAYOUTS, ['bitmap-add', 'rebase', 'write', 'snapshot-apply']))
