# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD servers side by side: ours, the reference's (as it is, and with aio=io_uring), nbdkit.

A row runs the same clients against each server in turn, several times, and takes the best of each
figure. "cpu" is the server's CPU time of the work, start and stop not counted, as ratios ours to each
other; "speed" is ours to the better of reference and nbdkit.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time

MiB = 1 << 20
SIZE = 256 * MiB
PATIENCE = 30


class Bench:
    """Where things are: programs and a folder for files."""

    def __init__(self, build, reference, folder):
        self.folder = folder
        self.socket = folder / 'nbd.sock'
        self.programs = {'ours': [build / 'qemu-nbd'], 'reference': [reference / 'qemu-nbd'],
                         'io_uring': [reference / 'qemu-nbd', '--aio=io_uring']}
        self.nbdkit = shutil.which('nbdkit')
        self.reference = reference

    def disk(self, fmt):
        """A filled disk of format @fmt, made once."""
        path = self.folder / f'disk.{fmt}'
        if path.exists():
            return path
        part = self.folder / 'part'
        if fmt == 'raw':
            with open(part, 'wb') as f:
                for _ in range(SIZE // MiB):
                    f.write(os.urandom(MiB))
        else:
            subprocess.run([self.reference / 'qemu-img', 'convert', '-f', 'raw', '-O', fmt,
                            self.disk('raw'), part], check=True)
        part.rename(path)
        return path

    def keys(self):
        (self.folder / 'keys.psk').write_text('alice:0123456789abcdef0123456789abcdef\n')
        return self.folder / 'keys.psk'

    def names(self, fmt):
        return [*self.programs, *(['nbdkit'] if self.nbdkit and fmt == 'raw' else [])]

    def command(self, name, path, fmt, tls):
        if name == 'nbdkit':
            extra = ['--tls=require', f'--tls-psk={self.keys()}'] if tls else []
            return [self.nbdkit, '-f', '-U', self.socket, *extra, 'file', path]
        extra = ['--object', f'tls-creds-psk,id=t,endpoint=server,dir={self.keys().parent}',
                 '--tls-creds', 't'] if tls else []
        return [*self.programs[name], *extra, '-t', '-e', '0', '-k', self.socket, '-f', fmt, path]

    def uri(self, tls):
        if tls:
            return f'nbds+unix://alice@/?socket={self.socket}&tls-psk-file={self.keys()}'
        return f'nbd+unix:///?socket={self.socket}'

    def serve(self, name, path, fmt, tls, work):
        """Runs @work(pid) while server @name serves: its result and the server's CPU seconds."""
        self.socket.unlink(missing_ok=True)
        server = subprocess.Popen(list(map(str, self.command(name, path, fmt, tls))),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE
        while not self.socket.exists():
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f'{name} does not serve')
            time.sleep(0.005)
        time.sleep(0.05)
        try:
            result = work(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            _, status, usage = os.wait4(server.pid, 0)
            server.returncode = status
        return result, usage.ru_utime + usage.ru_stime


# ---- work ----------------------------------------------------------------------------------------

def fio(bench, rw, depth, clients, count):
    """Random requests of 4 KiB: requests per second."""
    done = subprocess.run(
        ['fio', '--output-format=json', '--name=x', '--ioengine=nbd', f'--uri={bench.uri(False)}',
         f'--rw={rw}', '--bs=4k', f'--size={SIZE}', f'--iodepth={depth}', f'--numjobs={clients}',
         '--group_reporting=1', '--thread=1', f'--io_size={count * 4096 // clients}'],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True, cwd=bench.folder)
    job = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
    return job['read' if rw == 'randread' else 'write']['iops']


def nbdcopy(bench, tls, inward, connections):
    """All of the disk, in or out: bytes per second."""
    ends = [bench.uri(tls), 'null:']
    if inward:
        ends = [bench.disk('raw'), bench.uri(tls)]
    began = time.monotonic()
    subprocess.run(['nbdcopy', f'--connections={connections}', *map(str, ends)], check=True)
    return SIZE / (time.monotonic() - began)


def resident(pid):
    for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('VmRSS'):
            return int(line.split()[1])


def receive(sock, n):
    out = b''
    while len(out) < n:
        piece = sock.recv(n - len(out))
        if not piece:
            raise RuntimeError('the server hung up')
        out += piece
    return out


def connect_idle(bench):
    """A client that has agreed on the export and wants nothing."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(bench.socket))
    receive(sock, 18)
    sock.sendall(struct.pack('>L', 3) + b'IHAVEOPT' + struct.pack('>LL', 1, 0))
    receive(sock, 10)
    return sock


def idle_clients(bench, pid, count):
    """KiB of memory that each of @count clients costs, as a speed: fewer are better."""
    first = connect_idle(bench)
    before = resident(pid)
    crowd = [connect_idle(bench) for _ in range(count)]
    cost = (resident(pid) - before) / count
    for sock in [first, *crowd]:
        sock.close()
    return 1 / max(cost, 0.01)


# ---- rows ----------------------------------------------------------------------------------------

def rows():
    """(name, format, TLS, tools needed, work(bench, pid), cpu goals, speed goal)"""
    deep, flat = {'reference': 0.3, 'io_uring': 0.6}, {'reference': 0.6}

    # Not under TLS: fio gives libnbd no way to find a key.
    def fio_row(rw, depth, clients, count, fmt='raw'):
        name = f'nbd {rw[4:]} 4k depth {depth} clients {clients} {fmt}'
        return (name, fmt, False, ['fio'], lambda b, pid: fio(b, rw, depth, clients, count),
                deep if depth > 1 else flat, 1.3)

    for rw in ('randread', 'randwrite'):
        yield fio_row(rw, 1, 1, 20000)
        for clients in (1, 4, 16):
            yield fio_row(rw, 32, clients, 100000)
        yield fio_row(rw, 32, 1, 60000, fmt='qcow2')
    for inward in (False, True):
        for connections in (1, 4):
            for tls in (False, True):
                name = f'nbd copy {"in" if inward else "out"} {connections} connections' + \
                    (' tls' if tls else '')
                yield (name, 'raw', tls, ['nbdcopy'],
                       lambda b, pid, t=tls, i=inward, c=connections: nbdcopy(b, t, i, c),
                       {'reference': 0.7} if tls else flat, 1.3)
    yield ('nbd start and stop', 'raw', False, [], lambda b, pid: 1, {'reference': 0.5}, 0)
    yield ('nbd memory of 1000 idle clients', 'raw', False, [],
           lambda b, pid: idle_clients(b, pid, 1000), {}, 1.0)


def best_of(bench, row, name, rounds, base):
    _, fmt, tls, _, work, _, _ = row
    figures = []
    for _ in range(rounds):
        # Writes change the disk: all of them write to the same copy.
        scratch = bench.folder / f'scratch.{fmt}'
        shutil.copyfile(bench.disk(fmt), scratch)
        figures.append(bench.serve(name, scratch, fmt, tls, lambda pid: work(bench, pid)))
    return max(f[0] for f in figures), max(min(f[1] for f in figures) - base, 1e-6)


def run_row(bench, row, rounds):
    """Ratios {server: cpu}, speed, and what goal was missed."""
    name, fmt, tls, _, _, goals, speed_goal = row
    found = {}
    for server in bench.names(fmt):
        idle = 0
        if name != 'nbd start and stop':
            idle = min(bench.serve(server, bench.disk(fmt), fmt, tls, lambda pid: 0)[1]
                       for _ in range(2))
        found[server] = best_of(bench, row, server, rounds, idle)
    speed, cpu = found.pop('ours')
    ratios = {other: cpu / figures[1] for other, figures in found.items()}
    faster = speed / max(figures[0] for figures in found.values())
    missed = [f'cpu/{k}' for k, v in goals.items() if ratios[k] > v]
    missed += ['speed'] if faster < speed_goal else []
    return ratios, faster, missed


def run(build, reference, folder, patterns, rounds):
    """Prints the rows that @patterns choose; returns them, and how many failed."""
    bench = Bench(build, reference, folder)
    wanted = [r for r in rows() if not patterns or any(p in r[0] for p in patterns)]
    done, failed = [], 0
    if wanted:
        print(f'{"NBD server":44} {"cpu/reference":>13} {"cpu/io_uring":>13} {"cpu/nbdkit":>11} '
              f'{"speed":>6}')
    for row in wanted:
        lacking = [t for t in row[3] if not shutil.which(t)]
        if lacking:
            print(f'{row[0]:44} skipped: {lacking[0]} is not installed')
            continue
        try:
            ratios, faster, missed = run_row(bench, row, rounds)
        except (RuntimeError, subprocess.CalledProcessError) as fault:
            print(f'{row[0]:44} FAILED {fault}', flush=True)
            failed += 1
            continue
        cells = [f'{ratios[k]:.2f}' if k in ratios else '-' for k in ('reference', 'io_uring', 'nbdkit')]
        verdict = 'missed: ' + ' '.join(missed) if missed else 'ok'
        print(f'{row[0]:44} {cells[0]:>13} {cells[1]:>13} {cells[2]:>11} {faster:6.2f}  ({verdict})',
              flush=True)
        done.append({'case': row[0], 'cpu': ratios, 'speed': faster, 'verdict': verdict})
    return done, failed
