#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A few calls of some jobs fail; failing-calls.slow.py does it with all. See tests/lib."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from failing_calls import EIO, ENOMEM, main  # noqa: E402

JOBS = ['convert', 'convert-packed', 'commit', 'rebase', 'snapshot-apply', 'shrink', 'repair']
sys.exit(main([('any', EIO, 'epoll'), ('memory', ENOMEM, 'epoll')], 8, JOBS))
