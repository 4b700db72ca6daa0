# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations of a guest of 1 GiB, filled at random, between two of our emulators beside two of the reference's.

The guest is filled once by ours and kept as a stream that both load. It stands still, so each row is one pass.
With postcopy nearly all memory follows the guest (the downtime that the reference tells means nothing then). A row
gives ratios of wall time from command to completion, of CPU time of the source and of the target, and of the
downtime. Rounds alternate between the programs and the best of each figure counts.
"""
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from guests import build
from jobs import TICKS, Daemon, Fault

MACHINE = ('-M', 'microvm', '-accel', 'tcg', '-display', 'none', '-nodefaults', '-m', '1G')
PATIENCE = 600
ROWS = (
    ('migration/unix', 'unix', ()),
    ('migration/tcp', 'tcp', ()),
    ('migration/unix-multifd-2', 'unix', ('none', 2)),
    ('migration/unix-multifd-4', 'unix', ('none', 4)),
    ('migration/unix-multifd-2-zstd', 'unix', ('zstd', 2)),
    ('migration/unix-postcopy', 'unix', 'postcopy'),
)


class Emulator(Daemon):
    def __init__(self, program, *options):
        self.process = subprocess.Popen([program, *MACHINE, '-qmp', 'stdio', *map(str, options)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.rest = b''
        self.line()
        self.ask('qmp_capabilities')

    def await_status(self, wanted):
        end = time.monotonic() + PATIENCE
        while True:
            info = self.ask('query-migrate')
            if info.get('status') == wanted:
                return info
            if info.get('status') == 'failed' or time.monotonic() > end:
                raise Fault(info)
            time.sleep(0.005)

    def turn_on(self, capability):
        self.ask('migrate-set-capabilities', capabilities=[{'capability': capability, 'state': True}])

    def tune(self, multifd):
        self.ask('migrate-set-parameters', **{'max-bandwidth': 1 << 20 if multifd == 'postcopy' else 1 << 40})
        if multifd == 'postcopy':
            self.turn_on('postcopy-ram')
        elif multifd:
            self.turn_on('multifd')
            self.ask('migrate-set-parameters',
                     **{'multifd-compression': multifd[0], 'multifd-channels': multifd[1]})


def saved_guest(build_folder, folder):
    """A stream with the filled guest, which stands still."""
    path = folder / 'random-guest'
    if path.exists():
        return path
    printed = folder / 'random-guest.txt'
    e = Emulator(build_folder / 'qemu-system-x86_64', '-serial', f'file:{printed}', '-kernel', build('random'))
    end = time.monotonic() + PATIENCE
    while 'filled' not in printed.read_text(encoding='ascii'):
        if time.monotonic() > end:
            raise Fault('the guest is not filled')
        time.sleep(0.1)
    e.ask('stop')
    e.ask('migrate-set-parameters', **{'max-bandwidth': 1 << 40})
    e.ask('migrate', uri=f'exec:cat >{folder}/part')
    e.await_status('completed')
    e.end()
    (folder / 'part').rename(path)
    return path


def measure(program, stream, folder, transport, multifd):
    a = Emulator(program, '-serial', 'null', '-incoming', f'exec:cat {stream}')
    b = Emulator(program, '-serial', 'null', '-incoming', 'defer')
    try:
        a.await_status('completed')
        for side in a, b:
            side.tune(multifd)
        socket = folder / 'bench.sock'
        socket.unlink(missing_ok=True)
        b.ask('migrate-incoming', uri=f'unix:{socket}' if transport == 'unix' else 'tcp:127.0.0.1:0')
        while 'socket-address' not in (told := b.ask('query-migrate')):
            time.sleep(0.01)
        uri = f'unix:{socket}' if transport == 'unix' else f'tcp:127.0.0.1:{told["socket-address"][0]["port"]}'
        before, cpu = time.monotonic(), (a.cpu(), b.cpu())
        a.ask('migrate', uri=uri)
        if multifd == 'postcopy':
            a.await_status('active')
            a.ask('migrate-start-postcopy')
        info = a.await_status('completed')
        wall = time.monotonic() - before
        b.await_status('completed')
        return wall, a.cpu() - cpu[0], b.cpu() - cpu[1], info['downtime'] / 1e3
    finally:
        a.end()
        b.end()


def run(build_folder, reference, folder, patterns, rounds):
    """All rows that match: what was found, and how many failed."""
    found, failed = [], 0
    programs = {'ours': build_folder / 'qemu-system-x86_64', 'reference': reference / 'qemu-system-x86_64'}
    for name, transport, multifd in ROWS:
        if patterns and not any(p in name for p in patterns):
            continue
        best = {}
        try:
            stream = saved_guest(build_folder, folder)
            for _ in range(rounds):
                for who, program in programs.items():
                    figures = measure(program, stream, folder, transport, multifd)
                    best[who] = [min(x) for x in zip(best.get(who, figures), figures)]
        except (Fault, OSError) as fault:
            print(f'{name:44} FAILED {fault}', flush=True)
            failed += 1
            continue
        ratios = [a / max(b, 1 / TICKS) for a, b in zip(best['ours'], best['reference'])]
        ours = best['ours']
        print(f'{name:44} ' + ' '.join(f'{r:6.2f}' for r in ratios) +
              f'  wall, CPU of source and target, downtime (ours {ours[0]:.2f} s, {ours[1]:.2f} and {ours[2]:.2f} s, '
              f'{ours[3] * 1e3:.0f} ms)', flush=True)
        found.append({'case': name, 'ratios': ratios, 'ours': ours, 'reference': best['reference']})
    if (folder / 'random-guest').exists():
        os.unlink(folder / 'random-guest')
    return found, failed
