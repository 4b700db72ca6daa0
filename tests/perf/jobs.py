# SPDX-License-Identifier: GPL-2.0-or-later
"""Block jobs, our storage daemon beside the reference's.

A row starts a daemon, runs one job to its end and measures that alone: wall time from the command to the
event, CPU time of the daemon meanwhile, and its peak of memory. Rounds alternate between the programs and
the best of each figure counts. Files are in the page cache, and flushes are left out, so that the disk does
not decide. The result of the last round is compared with the source.
"""
import json
import os
import random
import select
import shutil
import subprocess
import time

MiB = 1 << 20
GiB = 1 << 30
SIZE = GiB
PATIENCE = 300
TICKS = os.sysconf('SC_CLK_TCK')


class Fault(Exception):
    """A job that failed, or a wrong result."""


class Daemon:
    """A storage daemon that is told things over its standard input."""

    def __init__(self, program, *options):
        self.process = subprocess.Popen(
            [program, '--chardev', 'stdio,id=c', '--monitor', 'c', *map(str, options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.rest = b''
        self.ask('qmp_capabilities')

    def line(self):
        end = time.monotonic() + PATIENCE
        while b'\n' not in self.rest:
            ready = select.select([self.process.stdout], [], [], max(end - time.monotonic(), 0))[0]
            got = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b''
            if not got:
                raise Fault('the daemon does not answer')
            self.rest += got
        line, self.rest = self.rest.split(b'\n', 1)
        return json.loads(line)

    def ask(self, command, **arguments):
        text = json.dumps({'execute': command, 'arguments': arguments})
        self.process.stdin.write(text.encode() + b'\n')
        while True:
            answer = self.line()
            if 'error' in answer:
                raise Fault(f'{command}: {answer["error"]["desc"]}')
            if 'return' in answer:
                return answer['return']
            self.note(answer)

    seen = ()

    def note(self, message):
        self.seen = (*self.seen, message)

    def wait(self, *names):
        """Until the job has ended, or is ready."""
        while True:
            for m in self.seen:
                if m.get('event') in names:
                    if m['data'].get('error'):
                        raise Fault(m['data']['error'])
                    return
            self.note(self.line())

    def cpu(self):
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as f:
            words = f.read().rsplit(')', 1)[1].split()
        return (int(words[11]) + int(words[12])) / TICKS

    def peak(self):
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmHWM'))

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.process.stdin.close()


class Place:
    """Programs, and a folder for files."""

    def __init__(self, build, reference, folder):
        self.programs = {'reference': reference / 'qemu-storage-daemon',
                         'ours': build / 'qemu-storage-daemon'}
        self.img, self.folder = reference / 'qemu-img', folder

    def run(self, *args):
        done = subprocess.run([self.img, *map(str, args)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Fault(f'qemu-img {args[0]}: {done.stdout}{done.stderr}'.strip())

    def half(self, fmt):
        """A disk of which every second 4 MiB are data."""
        path = self.folder / f'half.{fmt}'
        if path.exists():
            return path
        part = self.folder / 'part'
        if fmt == 'raw':
            rng = random.Random(5)
            with open(part, 'wb') as f:
                f.truncate(SIZE)
                for at in range(0, SIZE, 8 * MiB):
                    f.seek(at)
                    f.write(rng.randbytes(4 * MiB))
        else:
            self.run('convert', '-f', 'raw', '-O', fmt, self.half('raw'), part)
        part.rename(path)
        return path

    def sparse(self, fmt):
        """64 GiB with 64 KiB of data in each."""
        path = self.folder / f'jobs-sparse.{fmt}'
        if path.exists():
            return path
        part = self.folder / 'part'
        part.unlink(missing_ok=True)
        if fmt == 'raw':
            with open(part, 'wb') as f:
                f.truncate(64 * GiB)
                for at in range(0, 64 * GiB, GiB):
                    f.seek(at)
                    f.write(b'd' * 65536)
        else:
            self.run('convert', '-f', 'raw', '-O', fmt, self.sparse('raw'), part)
        part.rename(path)
        return path

    def zeroes(self, fmt):
        """Data that is all zeroes."""
        path = self.folder / f'jobs-zeroes.{fmt}'
        if not path.exists():
            part = self.folder / 'part'
            with open(part, 'wb') as f:
                for _ in range(SIZE // MiB):
                    f.write(bytes(MiB))
            part.rename(path)
        return path


def node(name, path, fmt, **more):
    options = {'driver': fmt, 'node-name': name,
               'file': {'driver': 'file', 'filename': str(path), 'cache': {'no-flush': True}},
               'cache': {'no-flush': True}, **more}
    return ['--blockdev', json.dumps(options)]


class Row:
    def __init__(self, kind, source, fmt_in, fmt_out, goal):
        self.kind, self.source, self.fmt_in, self.fmt_out, self.goal = kind, source, fmt_in, fmt_out, goal
        self.name = f'{kind} {source}, {fmt_in} -> {fmt_out}'

    def prepare(self, place):
        """Files of a fresh run: options of the daemon, what starts the job, what has the result."""
        disk = getattr(place, self.source)(self.fmt_in)
        size = disk.stat().st_size if self.fmt_in == 'raw' else SIZE if self.source == 'half' else 64 * GiB
        out = place.folder / 'job-out'
        out.unlink(missing_ok=True)
        with open(disk, 'rb') as f:    # into the page cache
            if disk.stat().st_blocks * 512 >= SIZE // 2:
                while f.read(MiB):
                    pass
        if self.kind in ('mirror', 'backup'):
            place.run('create', '-q', '-f', self.fmt_out, out, size)
            options = [*node('s', disk, self.fmt_in), *node('t', out, self.fmt_out)]
            return options, (f'blockdev-{self.kind}', {'device': 's', 'target': 't', 'sync': 'full'}), out, disk
        if self.kind == 'stream':
            place.run('create', '-q', '-f', self.fmt_out, '-b', disk, '-F', self.fmt_in, out)
            options = [*node('s', disk, self.fmt_in), *node('t', out, self.fmt_out, backing='s')]
            return options, ('block-stream', {'device': 't'}), out, disk
        # A layer with the data of @disk between an empty base and an empty top.
        layer, top = place.folder / 'job-layer', place.folder / 'job-top'
        place.run('create', '-q', '-f', self.fmt_out, out, size)
        shutil.copyfile(place.half('qcow2'), layer)
        place.run('rebase', '-u', '-f', 'qcow2', '-F', self.fmt_out, '-b', out, layer)
        place.run('create', '-q', '-f', 'qcow2', '-b', layer, '-F', 'qcow2', top)
        options = [*node('b', out, self.fmt_out), *node('l', layer, 'qcow2', backing='b'),
                   *node('t', top, 'qcow2', backing='l')]
        return options, ('block-commit', {'device': 't', 'top-node': 'l', 'base-node': 'b'}), out, disk

    def run_once(self, place, who, judge):
        options, (command, arguments), out, disk = self.prepare(place)
        daemon = Daemon(place.programs[who], *options)
        try:
            cpu, start = daemon.cpu(), time.monotonic()
            daemon.ask(command, **{'job-id': 'j', **arguments})
            daemon.wait('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_READY')
            figures = time.monotonic() - start, daemon.cpu() - cpu, daemon.peak()
        finally:
            daemon.end()
        if judge:
            place.run('compare', '-f', self.fmt_in, '-F', self.fmt_out, disk, out)
        return figures

    def run(self, place, rounds):
        best = {}
        for i in range(rounds):
            # What one run leaves to be written back must not always slow down the same side.
            for who in sorted(place.programs, reverse=i % 2):
                figures = self.run_once(place, who, who == 'ours' and i == rounds - 1)
                best[who] = tuple(map(min, best.get(who, figures), figures))
        return best


ROWS = [Row(kind, 'half', fmt_in, fmt_out, 'wall 0.6 cpu 0.6')
        for kind in ('mirror', 'backup', 'stream', 'commit')
        for fmt_in, fmt_out in (('raw', 'qcow2'), ('qcow2', 'qcow2'))
        if not (kind == 'commit' and fmt_in == 'raw')]
ROWS += [Row('commit', 'half', 'qcow2', 'raw', 'wall 0.6 cpu 0.6')]
ROWS += [Row(kind, 'sparse', fmt, 'qcow2', 'wall 0.3 cpu 0.3')
         for kind in ('mirror', 'backup', 'stream') for fmt in ('raw', 'qcow2')]
ROWS += [Row(kind, 'zeroes', 'raw', 'qcow2', 'wall 0.3 cpu 0.3')
         for kind in ('mirror', 'backup', 'stream')]


def run(build, reference, folder, patterns, rounds, judge):
    """All rows that match: what was found, and how many failed. @judge(goal, ratios) gives the verdict."""
    place = Place(build, reference, folder)
    found, failed = [], 0
    for row in ROWS:
        if patterns and not any(p in row.name for p in patterns):
            continue
        try:
            best = row.run(place, rounds)
        except (Fault, subprocess.CalledProcessError) as fault:
            print(f'{row.name:44} FAILED {fault}', flush=True)
            failed += 1
            continue
        # The clock of CPU time ticks a hundred times a second.
        ratios = [a / max(b, 1 / TICKS) for a, b in zip(best['ours'], best['reference'])]
        verdict = judge(row.goal, ratios)
        print(f'{row.name:44} ' + ' '.join(f'{r:6.2f}' for r in ratios) +
              f'  {row.goal} ({verdict}; ours {best["ours"][0]:.3f} s wall, {best["ours"][1]:.2f} s CPU)',
              flush=True)
        found.append({'case': row.name, 'ratios': ratios, 'goal': row.goal, 'verdict': verdict})
    for name in ('job-out', 'job-layer', 'job-top'):
        (folder / name).unlink(missing_ok=True)
    return found, failed
