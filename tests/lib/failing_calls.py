# SPDX-License-Identifier: GPL-2.0-or-later
"""The Nth system call or allocation of a job fails: no crash, no lie, no harm to what it read.

A job is a command line over the images that SETUP makes. It runs once for every call of a kind that
it makes, or for a spread of them, each time in a fresh copy of the folder and with another call
failing (tests/preload/fail.c). Afterwards

  - it ended by itself, with 0 or 1 (check: any of its codes), and when not with 0 it said why;
  - files it only reads have the bytes they had;
  - an image it changes in place is sound once leaks are repaired, and reads as before or as after the job;
  - what it makes anew reads as the source if it ended with 0, and otherwise is gone, or sound, or
    named in the complaint.
"""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from this_run import PRELOADABLE

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
IMG, IO = str(BUILD / 'qemu-img'), str(BUILD / 'qemu-io')
PRELOAD = BUILD / 'preload/fail.so'
EIO, ENOSPC, ENOMEM = 5, 28, 12

SETUP = '''
qemu-img create -q -f raw base 2M
qemu-io -f raw -c 'write -P 5 0 1M' -c 'write -P 6 1500k 100k' base
qemu-img create -q -f raw other 2M
qemu-io -f raw -c 'write -P 5 0 512k' -c 'write -P 7 700k 300k' other
qemu-img create -q -f qcow2 -o cluster_size=4k a 2M
qemu-io -c 'write -P 1 0 300k' -c 'write -P 2 1M 200k' a
qemu-img snapshot -c one a
qemu-io -c 'write -P 3 100k 300k' a
qemu-img bitmap --add a b
qemu-img create -q -f qcow2 -b base -F raw cow
qemu-io -c 'write -P 4 10k 100k' -c 'write -z 1M 64k' cow
qemu-img create -q -f qcow2 -o cluster_size=4k middle 2M
qemu-io -c 'write -P 8 0 1M' middle
qemu-img create -q -f qcow2 -b middle -F qcow2 top
qemu-io -c 'write -P 9 512k 700k' top
qemu-img create -q -f qcow2 -o cluster_size=4k leaky 2M
qemu-io -c 'write -P 1 0 300k' leaky
'''


class Job:
    def __init__(self, name, command, keeps=(), changes=(), makes=None, same_as=None, codes=(0, 1),
                 damaged=False):
        """@keeps: files only read. @changes: (image, name of the result's reading), see reading.
        @makes: the file made, that reads as @same_as. @damaged: what it changes is no sound image
        before."""
        self.name, self.command, self.keeps, self.changes = name, command, keeps, changes
        self.makes, self.same_as, self.codes, self.damaged = makes, same_as, codes, damaged


JOBS = [
    Job('convert', 'qemu-img convert -O qcow2 a out', ['a'], makes='out', same_as='a'),
    Job('convert-raw', 'qemu-img convert -O raw cow out', ['cow', 'base'], makes='out',
        same_as='cow'),
    Job('convert-packed', 'qemu-img convert -c -O qcow2 -o cluster_size=4k base out', ['base'],
        makes='out', same_as='base'),
    Job('convert-packed-zstd', 'qemu-img convert -c -O qcow2 -o compression_type=zstd cow out',
        ['base', 'cow'], makes='out', same_as='cow'),
    Job('convert-direct', 'qemu-img convert -t none -T none -W -O qcow2 a out', ['a'], makes='out',
        same_as='a'),
    Job('convert-full', 'qemu-img convert -O qcow2 -o preallocation=full base out', ['base'],
        makes='out', same_as='base'),
    Job('dd', 'qemu-img dd -O qcow2 bs=64k if=a of=out', ['a'], makes='out', same_as='a'),
    Job('create', 'qemu-img create -q -f qcow2 -o preallocation=metadata out 2M', makes='out'),
    Job('create-falloc', 'qemu-img create -q -f qcow2 -o preallocation=falloc out 2M', makes='out'),
    Job('create-raw', 'qemu-img create -q -f raw -o preallocation=full out 2M', makes='out'),
    Job('check', 'qemu-img check a', ['a'], codes=(0, 1, 2, 3)),
    Job('repair', 'qemu-img check -r all leaky', changes=['leaky'], codes=(0, 1, 2, 3),
        damaged=True),
    Job('commit', 'qemu-img commit top', changes=['top']),
    Job('rebase', 'qemu-img rebase -b other -F raw cow', ['base', 'other'], changes=['cow']),
    Job('flatten', "qemu-img rebase -b '' cow", ['base'], changes=['cow']),
    Job('snapshot-create', 'qemu-img snapshot -c two a', changes=['a']),
    Job('snapshot-apply', 'qemu-img snapshot -a one a', changes=['a']),
    Job('snapshot-delete', 'qemu-img snapshot -d one a', changes=['a']),
    Job('amend-counts', 'qemu-img amend -o refcount_bits=64 a', changes=['a']),
    Job('amend-v2', 'qemu-img amend -o compat=0.10 middle', changes=['middle']),
    Job('grow', 'qemu-img resize middle 64M', changes=['middle']),
    Job('grow-metadata', 'qemu-img resize --preallocation=metadata middle 4M', changes=['middle']),
    Job('shrink', 'qemu-img resize --shrink middle 600k', changes=['middle']),
    Job('bitmap-add', 'qemu-img bitmap --add a c', changes=['a']),
    Job('bitmap-remove', 'qemu-img bitmap --remove a b', changes=['a']),
    Job('bitmap-clear', 'qemu-img bitmap --clear a b', changes=['a']),
    Job('compare', 'qemu-img compare a cow', ['a', 'cow', 'base'], codes=(0, 1, 2, 3, 4)),
    Job('map', 'qemu-img map --output=json cow', ['cow', 'base']),
    Job('measure', 'qemu-img measure -O qcow2 cow', ['cow', 'base']),
    Job('info', 'qemu-img info --backing-chain cow', ['cow', 'base']),
    Job('io-write', "qemu-io -c 'write -P 3 100k 300k' -c 'flush' middle", changes=['middle']),
]


def shell(command, cwd, **env):
    """(exit code, standard error) of @command with our tools."""
    tools = f'qemu-img() {{ {IMG} "$@"; }}; qemu-io() {{ {IO} "$@"; }}; '
    done = subprocess.run(['bash', '-c', tools + command], cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120,
                          env=dict(os.environ, LC_ALL='C', **env))
    return done.returncode, done.stderr.decode(errors='replace')


def run_failing(command, cwd, call, nth, errno, loop):
    # The programs replace the shell, so that the shell's own calls are not counted.
    command = f'exec {command}'.replace('qemu-img', IMG, 1).replace('qemu-io', IO, 1)
    # qemu-io tells of failures on standard output.
    done = subprocess.run(['bash', '-c', f'LD_PRELOAD={PRELOAD} {command}'], cwd=cwd,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120,
                          stdout=subprocess.PIPE if IO in command else subprocess.DEVNULL,
                          env=dict(os.environ, LC_ALL='C', FAIL_CALL=call, FAIL_NTH=str(nth),
                                   FAIL_ERRNO=str(errno), FAIL_COUNT='.count', FERRY_LOOP=loop,
                                   G_SLICE='always-malloc'))
    return done.returncode, (done.stderr + (done.stdout or b'')).decode(errors='replace')


def content(path, cwd):
    """What image @path reads as; None if it cannot be opened."""
    out = os.path.join(cwd, '.content')
    code, _ = shell(f'qemu-img convert -U -O raw {path} .content', cwd)
    return pathlib.Path(out).read_bytes() if code == 0 else None


class Cases:
    """All runs of one job."""

    def __init__(self, job, template):
        self.job, self.template = job, template
        self.folder = tempfile.mkdtemp()
        self.kept = {p: (pathlib.Path(template) / p).read_bytes() for p in job.keeps}
        fresh = self.fresh()
        self.before = {p: content(p, fresh) for p in [*job.changes, job.same_as] if p}
        code, why = shell(job.command, fresh)
        assert code in job.codes, f'{job.name}: {why}'
        self.after = {p: content(p, fresh) for p in job.changes}

    def fresh(self):
        path = tempfile.mkdtemp(dir=self.folder)
        shutil.copytree(self.template, path, dirs_exist_ok=True)
        return path

    def count(self, call, loop):
        fresh = self.fresh()
        code, why = run_failing(self.job.command, fresh, call, 0, 0, loop)
        assert code in self.job.codes, f'{self.job.name}: {why}'
        return int((pathlib.Path(fresh) / '.count').read_text())

    def judge_changed(self, path, cwd, code):
        shell(f'qemu-img check -q -r leaks {path}', cwd)
        check, why = shell(f'qemu-img check -q {path}', cwd)
        if check and not (code and self.job.damaged and check == 2):
            return f'{path}: check ends with {check}: {why}'
        got = content(path, cwd)
        if got != self.after[path] and (code == 0 or got != self.before[path]):
            return f'{path} reads neither as before nor as it should'
        return None

    def judge_made(self, cwd, code, why):
        path = self.job.makes
        if not os.path.exists(os.path.join(cwd, path)):
            return None if code else f'there is no {path}'
        got = content(path, cwd)
        want = self.before[self.job.same_as] if self.job.same_as else got
        if code == 0 and (got is None or got != want):
            return f'{path} does not read as {self.job.same_as}'
        if code and got != want and path not in why:
            return f'{path} is incomplete and not named: {why}'
        return None

    def judge(self, cwd, code, why):
        """What is wrong after a run; None: nothing."""
        if code not in self.job.codes:
            return f'exit code {code}: {why[-300:]}'
        if code and code == self.job.codes[-1] and not why:
            return f'exit code {code} without a word'
        for path, was in self.kept.items():
            if (pathlib.Path(cwd) / path).read_bytes() != was:
                return f'{path} was changed'
        wrong = [self.judge_changed(p, cwd, code) for p in self.job.changes]
        if self.job.makes:
            wrong.append(self.judge_made(cwd, code, why))
        return next((w for w in wrong if w), None)

    def one(self, call, nth, errno, loop):
        cwd = self.fresh()
        try:
            code, why = run_failing(self.job.command, cwd, call, nth, errno, loop)
            return self.judge(cwd, code, why)
        except subprocess.TimeoutExpired:
            return 'no end'
        finally:
            shutil.rmtree(cwd, ignore_errors=True)


def spread(n, limit):
    """Up to @limit numbers from 1 to @n, both ends among them."""
    if n <= limit:
        return range(1, n + 1)
    return sorted({1 + round(i * (n - 1) / (limit - 1)) for i in range(limit)})


def run_job(job, template, kinds, limit):
    """Yields a line for each kind of call that fails."""
    cases = Cases(job, template)
    try:
        for call, errno, loop in kinds:
            name = f'failing-calls/{job.name}-{call}-{errno}-{loop}'
            wrong = []
            for nth in spread(cases.count(call, loop), limit):
                why = cases.one(call, nth, errno, loop)
                if why:
                    wrong.append(f'call {nth}: {why}')
            yield f'not ok {name} {wrong[0]}\n' + '\n'.join(wrong[1:]) if wrong else f'ok {name}'
    finally:
        shutil.rmtree(cases.folder, ignore_errors=True)


def main(kinds, limit, wanted=None):
    """@kinds: (call, errno, loop); at most @limit calls of each kind fail in turn."""
    if not PRELOADABLE:
        print('other watchers have to be preloaded alone')
        return 77
    wanted = sys.argv[1:] or wanted
    jobs = [j for j in JOBS if not wanted or j.name in wanted]
    bad = 0
    with tempfile.TemporaryDirectory() as template, \
         concurrent.futures.ThreadPoolExecutor(2) as pool:
        code, why = shell('set -e; ' + SETUP, template)
        if code:
            print(why)
            return 1
        damage(os.path.join(template, 'leaky'))
        for lines in pool.map(lambda j: list(run_job(j, template, kinds, limit)), jobs):
            for line in lines:
                print(line, flush=True)
                bad += line.startswith('not ok')
    return bad > 0


def damage(path):
    """Some refcounts too high, one zero."""
    with open(path, 'r+b') as f:
        f.seek(48)
        table = int.from_bytes(f.read(8), 'big')
        f.seek(table)
        block = int.from_bytes(f.read(8), 'big')
        for cluster, count in ((7, 5), (9, 3), (12, 0)):
            f.seek(block + 2 * cluster)
            f.write(count.to_bytes(2, 'big'))
