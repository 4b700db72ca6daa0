#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every moment of every change to every layout. See tests/lib."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from header_layouts import main  # noqa: E402
from this_run import SHARE  # noqa: E402

sys.exit(main(SHARE))
