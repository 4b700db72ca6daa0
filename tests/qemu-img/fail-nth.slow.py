#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever system call fails, and whenever: a non-zero exit or a right result, never a crash, the
source untouched, an image that is being changed no worse than leaking.

Runs on the loop without io_uring, whose operations no preloaded library sees.
"""
import errno
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ['FERRY_BUILD'])
REFERENCE = pathlib.Path(os.environ['FERRY_REFERENCE'])
PRELOAD = BUILD / 'preload/fail.so'
AT_MOST = 5

CALLS = {
    'preadv64': errno.EIO, 'preadv64v2': errno.EIO, 'pwritev64': errno.EIO,
    'pwritev64v2': errno.ENOSPC, 'fdatasync': errno.EIO, 'ftruncate64': errno.ENOSPC,
    'fallocate64': errno.ENOSPC, 'posix_memalign': errno.ENOMEM,
}

# name: (command, image that is changed in place or None, pair to compare after success or None)
SCENARIOS = {
    'convert-to-qcow2': (['convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'out'], None,
                         ('raw', 'a.raw', 'qcow2', 'out')),
    'convert-to-raw': (['convert', '-f', 'qcow2', '-O', 'raw', 'a.qcow2', 'out'], None,
                       ('qcow2', 'a.qcow2', 'raw', 'out')),
    'convert-compressed': (['convert', '-c', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'out'], None,
                           ('raw', 'a.raw', 'qcow2', 'out')),
    'compare': (['compare', '-f', 'raw', '-F', 'qcow2', 'a.raw', 'a.qcow2'], None, None),
    'commit': (['commit', '-f', 'qcow2', 'top.qcow2'], 'base.qcow2', None),
    'rebase': (['rebase', '-f', 'qcow2', '-b', '', 'top.qcow2'], 'top.qcow2', None),
    'resize': (['resize', '-f', 'qcow2', 'work.qcow2', '64M'], 'work.qcow2', None),
    'snapshot': (['snapshot', '-c', 's', 'work.qcow2'], 'work.qcow2', None),
    'repair': (['check', '-r', 'all', '-f', 'qcow2', 'work.qcow2'], 'work.qcow2', None),
}


def reference(*args, ok=(0,)):
    done = subprocess.run([REFERENCE / args[0], *args[1:]], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode not in ok:
        raise RuntimeError(f'{args} -> {done.returncode}: {done.stdout}')


def prepare():
    reference('qemu-img', 'create', '-q', '-f', 'raw', 'a.raw', '4M')
    reference('qemu-io', '-f', 'raw', '-c', 'write -P 1 0 1M', '-c', 'write -P 2 3M 64k', 'a.raw')
    reference('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'a.qcow2')
    for name in ('base.qcow2', 'work.qcow2'):
        shutil.copy('a.qcow2', name)
    reference('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2',
              'top.qcow2')
    reference('qemu-io', '-f', 'qcow2', '-c', 'write -P 5 512k 1M', 'top.qcow2')


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def run(command, call, nth):
    env = dict(os.environ, FERRY_LOOP='epoll', LD_PRELOAD=str(PRELOAD), FAIL_CALL=call,
               FAIL_NTH=str(nth), FAIL_ERRNO=str(CALLS[call]), FAIL_COUNT='count')
    return subprocess.run([BUILD / 'qemu-img', *command], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False)


def judge(scenario, done, before):
    """What is wrong with how a run ended; None if nothing is."""
    _, changed, same = SCENARIOS[scenario]
    if done.returncode < 0 or done.returncode >= 128:
        return f'killed: {done.returncode}'
    if done.returncode and not done.stderr.strip():
        return f'exit code {done.returncode} without a message'
    if digest('a.raw') != before:
        return 'the source changed'
    if same and done.returncode == 0:
        reference('qemu-img', 'compare', '-f', same[0], '-F', same[2], same[1], same[3])
    if changed:
        # What an operation given up leaves, a repair of leaks alone must clean up.
        reference('qemu-img', 'check', '-r', 'leaks', '-f', 'qcow2', changed, ok=(0, 2, 3))
        reference('qemu-img', 'check', '-f', 'qcow2', changed)
    return None


def main():
    bad = 0
    for scenario, (command, _, _) in SCENARIOS.items():
        for call in CALLS:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                prepare()
                run(command, call, 0)
                count = int(pathlib.Path('count').read_text())
            problem = None
            step = max(1, count // AT_MOST)
            for nth in range(1, count + 1, step):
                with tempfile.TemporaryDirectory() as folder:
                    os.chdir(folder)
                    prepare()
                    before = digest('a.raw')
                    done = run(command, call, nth)
                    try:
                        problem = judge(scenario, done, before)
                    except RuntimeError as e:
                        problem = str(e)
                if problem:
                    break
            if count and problem:
                print(f'not ok /fail-nth/{scenario}/{call} call {nth} of {count}: {problem}')
                print(done.stderr)
                bad += 1
            elif count:
                print(f'ok /fail-nth/{scenario}/{call} ({count} calls)')
            os.chdir('/')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
