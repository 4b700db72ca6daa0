# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of one tool as functions: each runs in an empty folder of its own and asserts.

    from cases import case, img, main

    @case
    def a_hole_stays_a_hole():
        ...

    main('convert')
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

from this_run import MAY_ABORT, SLOWER

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', TOP / 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
IMG, IO = str(BUILD / 'qemu-img'), str(BUILD / 'qemu-io')
TIMEOUT = 200 * SLOWER
CASES = []


class Skip(Exception):
    """What a case needs is not here."""


def case(function):
    CASES.append(function)
    return function


def run(*command, code=0, env=None, **more):
    """Runs a command to its end; it has to exit with @code (None: any)."""
    more.setdefault('stdin', subprocess.DEVNULL)
    more.setdefault('timeout', TIMEOUT)
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, **(env or {})), **more)
    assert code is None or done.returncode == code, \
        f'{command} exits {done.returncode}, not {code}: {done.stdout}{done.stderr}'
    return done


def img(*args, **more):
    return run(IMG, *args, **more)


def io(image, *commands, **more):
    env = MAY_ABORT if 'abort' in commands else None
    return run(IO, *[word for c in commands for word in ('-c', c)], image, env=env, **more)


def require(condition, why):
    if not condition:
        raise Skip(why)


def require_root():
    require(os.geteuid() == 0, 'only root can mount')


def main(prefix, folder='qemu-img'):
    if not os.path.exists(IMG):
        print('qemu-img is not built')
        sys.exit(77)
    bad = 0
    for function in CASES:
        name = f'{folder}/{prefix}/{function.__name__.replace("_", "-")}'
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        work = tempfile.mkdtemp()
        os.chdir(work)
        try:
            function()
            print(f'ok {name}')
        except Skip as why:
            print(f'skip {name} {why}')
        except Exception as why:
            bad += 1
            traceback.print_exc(file=sys.stdout)
            print(f'not ok {name} {(str(why).splitlines() or [repr(why)])[0]}')
        sys.stdout.flush()
        os.chdir('/')
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if bad else 0)
