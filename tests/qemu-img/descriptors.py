#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A chain of 200 images opens with the usual limit of descriptors; with too few the error names what failed."""
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
DEEP = 200


def run(limit, tool, *args):
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    done = subprocess.run([BUILD / tool, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, text=True, preexec_fn=lower)
    return done.returncode, done.stdout, done.stderr


def make_chain():
    run(64, 'qemu-img', 'create', '-q', '-f', 'qcow2', 'c0', '1M')
    run(64, 'qemu-io', '-c', 'write -P 7 0 1M', 'c0')
    for i in range(1, DEEP):
        run(64, 'qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-b', f'c{i - 1}', '-F', 'qcow2', f'c{i}', '1M')


COMMANDS = {'read': ('qemu-io', '-c', 'read -P 7 0 1M', f'c{DEEP - 1}'),
            'convert': ('qemu-img', 'convert', '-O', 'raw', f'c{DEEP - 1}', 'out'),
            'map': ('qemu-img', 'map', f'c{DEEP - 1}')}


def main():
    os.chdir(tempfile.mkdtemp())
    make_chain()
    failed = 0
    for name, command in COMMANDS.items():
        code, _, err = run(1024, *command)
        good = code == 0 and not err
        print(f'ok {name}-whole-chain' if good else f'not ok {name}-whole-chain {code} {err!r}')
        failed |= not good
        code, _, err = run(64, *command)
        good = code == 1 and err.count('\n') == 1 and "Could not open 'c" in err and 'Too many open files' in err
        print(f'ok {name}-too-few' if good else f'not ok {name}-too-few {code} {err!r}')
        failed |= not good
    return failed


if __name__ == '__main__':
    sys.exit(main())
