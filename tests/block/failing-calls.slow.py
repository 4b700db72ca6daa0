#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every system call and large allocation of every job fails once. See tests/lib/failing_calls.py."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from failing_calls import EIO, ENOMEM, ENOSPC, main  # noqa: E402
from this_run import SHARE  # noqa: E402

KINDS = [('any', EIO, 'epoll'), ('any', ENOSPC, 'uring'), ('memory', ENOMEM, 'epoll')]
sys.exit(main(KINDS, 150 // SHARE))
