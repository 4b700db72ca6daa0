#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where memory is limited, by a control group or for the process, copies take less and still end."""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import memory_group
from cases import BUILD, IMG, TIMEOUT, case, img, main, require, run
from this_run import PRELOADABLE, WATCHED

MIB = 1 << 20


@contextlib.contextmanager
def group(limit):
    require(not WATCHED, 'watchers take memory of their own')
    try:
        made = memory_group.make(limit)
    except OSError as why:
        require(False, f'no control group can be made: {why}')
    with made:
        yield made


def run_inside(made, *command):
    """The most dirty bytes seen while @command ran inside the group, which it has to survive."""
    most = 0
    with subprocess.Popen(command, preexec_fn=made.join, stderr=subprocess.PIPE) as p:
        until = time.monotonic() + TIMEOUT
        while p.poll() is None:
            most = max(most, made.dirty())
            time.sleep(0.002)
            if time.monotonic() > until:
                p.kill()
        assert p.returncode != -signal.SIGKILL, 'killed for want of memory'
        assert p.returncode == 0, p.stderr.read()
    return most


@case
def copies_in_a_small_group_wait_for_the_disk():
    """Otherwise what has yet to be written fills the group, and the kernel kills who fills it."""
    with open('a.raw', 'wb') as f:
        for i in range(160):
            f.write(os.urandom(1024) * 1024)
        os.fsync(f.fileno())
    limit = 32 * MIB
    for target in ('raw', 'qcow2'):
        with group(limit) as made:
            most = run_inside(made, IMG, 'convert', '-O', target, 'a.raw', 'out')
            assert most < limit // 2, f'{most >> 20} MiB were dirty'
        img('compare', '-F', target, 'a.raw', 'out')
        os.unlink('out')
    with group(limit) as made:
        run_inside(made, IMG, 'convert', '--untrusted', '-O', 'raw', 'a.raw', 'out')


@case
def little_address_space_and_many_processors():
    require(PRELOADABLE and not WATCHED, 'a watcher takes address space of its own')
    with open('a.raw', 'wb') as f:
        for i in range(48):
            f.write(os.urandom(MIB))
    secret = ['--object', 'secret,id=s,data=abc']
    for mib in 1024, 96, 64:
        for command in (['convert', '-c', '-O', 'qcow2'], ['convert', '-W', '-m', '16', '-O', 'qcow2'],
                        ['convert', '-c', '-O', 'qcow2', '-o', 'compression_type=zstd,cluster_size=2M'],
                        ['convert', '--hash=tree', '-O', 'raw'],
                        ['convert', '-O', 'qcow2', *secret, '-o', 'encrypt.format=luks,'
                         'encrypt.key-secret=s,encrypt.iter-time=10']):
            run('bash', '-c', f'ulimit -v {mib * 1024}; exec "$@"', '-', IMG, *command, 'a.raw', 'out',
                env={'LD_PRELOAD': str(BUILD / 'preload/cpus.so')})


main('memory')
