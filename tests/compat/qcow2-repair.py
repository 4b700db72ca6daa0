#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged qcow2 images: what check -r says and leaves is what the reference says and leaves."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'lib'))
from qcow2_damage import main

sys.exit(main(('leaks', 'all')))
