#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Some of the worst images, within CPU time and memory; hostile-images.slow.py has all."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from hostile_images import main  # noqa: E402

sys.exit(main(['l1-of-32-mib-sharing-one-l2', 'l1-empty-of-a-disk-of-1-eib',
               'l2-tables-all-over-sharing-data', 'snapshots-claiming-32-gib-tables', 'bitmaps-65535-with-one-table',
               'refcounts-of-1-bit-all-wrong'], ['info', 'check', 'map', 'compare', 'write']))
