#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The worst images we know, under every job, within their CPU time and memory. See tests/lib."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from hostile_images import main  # noqa: E402

sys.exit(main())
