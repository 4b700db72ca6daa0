#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vsock.py on an emulated machine, whose kernel has vsock loopback."""
import os
import pathlib
import shlex
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'lib'))
import emulated_host

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
TIMEOUT = 900

SCRIPT = f'''
export FERRY_BUILD={shlex.quote(str(BUILD))} LC_ALL=C.UTF-8
cd {shlex.quote(str(HERE))} && python3 -B vsock.py
'''


def main():
    code, output = emulated_host.run(SCRIPT, {'vsock_loopback': ''}, TIMEOUT)
    print(output)
    return code


sys.exit(main())
