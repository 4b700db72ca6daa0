#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and network cards as a guest sees them, in our emulator and in the reference's tcg: wall and CPU times.

usage: devices.py [--rounds N] [--accel ACCEL] [WORK...]

The two run in turn, N times each (5); medians count. A work is a command line of tests/perf/guest/devices.c
without its count: 'read 32'.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import TOP
from guests import EMULATOR, EXIT, REFERENCE_EMULATOR

WORKS = {
    'read 1': 30000, 'read 8': 60000, 'read 32': 60000, 'write 1': 30000, 'write 8': 60000, 'write 32': 60000,
    'Read 8': 20000, 'Write 8': 20000, 'send 32': 200000, 'trips 1': 15000,
}
DISK_MIB = 64
FLAGS = ['-O2', f'-I{TOP}', '-ffreestanding', '-nostdlib', '-static', '-fno-pic', '-no-pie', '-mno-red-zone',
         '-mgeneral-regs-only', '-fno-stack-protector', '-fcf-protection=none',
         '-fno-asynchronous-unwind-tables']


def build(folder):
    source, elf = TOP / 'tests/perf/guest', folder / 'guest'
    subprocess.run(['gcc', *FLAGS, '-Wl,--build-id=none,--no-warn-rwx-segments,-e,boot,-Ttext=0x100000,-n,-z,noexecstack',
                    '-o', f'{elf}.64', source / 'boot.S', source / 'devices.c'], check=True)
    subprocess.run(['objcopy', '-O', 'elf32-i386', f'{elf}.64', elf], check=True)
    return elf


def devices(work, folder):
    if work[0] in 'rwRW':
        return ('-blockdev', f'file,node-name=f,filename={folder}/disk,cache.direct=off', '-blockdev',
                'raw,node-name=d,file=f', '-device', 'virtio-blk-device,drive=d')
    return ('-netdev', 'hubport,hubid=0,id=a', '-device', 'virtio-net-device,netdev=a',
            '-netdev', 'hubport,hubid=0,id=b', '-device', 'virtio-net-device,netdev=b')


def run(program, accel, work, folder):
    """Seconds between the guest's two lines, and CPU seconds of the whole run."""
    before = os.times()
    p = subprocess.Popen([program, '-M', 'microvm', '-accel', accel, '-m', '64', '-display', 'none', '-nodefaults',
                          '-no-reboot', '-global', 'virtio-mmio.force-legacy=off', '-kernel', folder / 'guest',
                          '-append', f'{work} {WORKS[work]}', '-serial', 'stdio', *EXIT, *devices(work, folder)],
                         stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    lines, times = [], []
    for line in p.stdout:
        lines.append(line.strip())
        times.append(time.monotonic())
    p.wait()
    after = os.times()
    if lines[-2:] != ['begin', 'end'] or 'bad' in ' '.join(lines):
        sys.exit(f'not ok {work}: {program} says {lines[-5:]}')
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return times[-1] - times[-2], cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--accel', default='tcg')
    parser.add_argument('works', nargs='*', default=list(WORKS))
    args = parser.parse_args()
    programs = [p for p in (EMULATOR, REFERENCE_EMULATOR) if p.exists()]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        (folder / 'disk').write_bytes(os.urandom(1 << 20) * DISK_MIB)
        print(f'{"work":10} {"per second":>12} {"reference":>12} {"wall":>6} {"CPU":>6}')
        for work in args.works:
            took = [[run(p, args.accel, work, folder) for p in programs] for _ in range(args.rounds)]
            wall, cpu = ([statistics.median(r[i][k] for r in took) for i in range(len(programs))] for k in (0, 1))
            rates = [f'{WORKS[work] / w:12.0f}' for w in wall]
            ratios = [f'{t[0] / t[1]:6.2f}' for t in (wall, cpu)] if len(programs) > 1 else []
            print(f'{work:10}', *rates, *ratios, flush=True)


main()
