#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Overlays of images in use and of encrypted ones, and what else differed once. All: holders.slow.py."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from holders import commands, main

main(['nobody', 'writer', 'forced-reader', 'encrypted', 'base'],
     commands(['create', 'commit -b', 'dd if', 'rebase -u']))
