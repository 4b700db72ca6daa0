# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD servers side by side: ours, the reference's (as it is, and with aio=io_uring), nbdkit.

A row runs the same clients against each server in turn, several times, and takes the best of each
figure. The columns: microseconds of our CPU for a request (MiB, where data is copied), start and stop not
counted; "cpu/...", ours to each other; "wall", ours to the reference's; "speed", ours to the better of
reference and nbdkit. Rows about something else tell each server's figure. Every row ends with its goal.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from nbd_work import (SIZE, MiB, environment, far_away, fio, handshakes, idle_memory, nbdcopy,
                      start_beside)

PATIENCE = 30
CLIENTS = 1000
TEMPLATES = {
    'ca': 'cn = "bench"\nca\ncert_signing_key\nexpiration_days = 3650\n',
    'server': 'cn = "localhost"\ndns_name = "localhost"\ntls_www_server\nsigning_key\n'
              'expiration_days = 3650\n',
}


class Bench:
    """Where things are: programs and a folder for files."""

    def __init__(self, build, reference, folder):
        self.folder, self.build, self.reference = folder, build, reference
        self.sockets = tempfile.TemporaryDirectory()  # not those of a run that was killed
        self.socket = pathlib.Path(self.sockets.name) / 'nbd.sock'
        self.programs = {'ours': [build / 'qemu-nbd'], 'reference': [reference / 'qemu-nbd'],
                         'io_uring': [reference / 'qemu-nbd', '--aio=io_uring']}
        self.nbdkit = shutil.which('nbdkit')
        self.idle = {}  # CPU of starting and stopping

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

    def certificates(self):
        """A folder with those of a server, made once; libnbd finds the authority from home()."""
        done = self.folder / 'tls'
        if done.exists():
            return done
        part = self.folder / 'tls-part'
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name, template in TEMPLATES.items():
            (part / f'{name}.template').write_text(template)
            self.certtool('--generate-privkey', '--key-type=ecdsa', '--outfile', part / f'{name}-key.pem')
            how = ['--generate-self-signed'] if name == 'ca' else [
                '--generate-certificate', '--load-ca-certificate', part / 'ca-cert.pem',
                '--load-ca-privkey', part / 'ca-key.pem']
            self.certtool(*how, '--load-privkey', part / f'{name}-key.pem', '--template',
                          part / f'{name}.template', '--outfile', part / f'{name}-cert.pem')
        (part / '.pki/libnbd').mkdir(parents=True)
        shutil.copy(part / 'ca-cert.pem', part / '.pki/libnbd')
        part.rename(done)
        return done

    @staticmethod
    def certtool(*args):
        subprocess.run(['certtool', *map(str, args)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def client_environment(self):
        return environment(self.folder / 'tls')

    def names(self, fmt):
        return [*self.programs, *(['nbdkit'] if self.nbdkit and fmt == 'raw' else [])]

    def command(self, name, path, fmt, tls):
        if name == 'nbdkit':
            extra = ['--tls=require', f'--tls-certificates={self.certificates()}'] if tls else []
            return [self.nbdkit, '-f', '-U', self.socket, *extra, 'file', path]
        extra = ['--object', f'tls-creds-x509,id=t,endpoint=server,dir={self.certificates()},'
                 'verify-peer=off', '--tls-creds', 't'] if tls else []
        return [*self.programs[name], *extra, '-t', '-e', '0', '-k', self.socket, '-f', fmt, path]

    def uri(self, tls):
        return f'nbds+unix://localhost/?socket={self.socket}' if tls else \
            f'nbd+unix:///?socket={self.socket}'

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

    def idle_cpu(self, name, fmt, tls):
        key = name, fmt, tls
        if key not in self.idle:
            self.idle[key] = min(self.serve(name, self.disk(fmt), fmt, tls, lambda pid: 0)[1]
                                 for _ in range(3))
        return self.idle[key]

    def measure(self, name, fmt, tls, work, rounds, writes, with_start=False):
        """The best speed and the least CPU seconds of @work."""
        path = self.disk(fmt)
        if writes:  # all of them to the same copy
            path = self.folder / f'scratch.{fmt}'
        figures = []
        for _ in range(rounds):
            if writes:
                shutil.copyfile(self.disk(fmt), path)
            path.read_bytes()  # into the page cache, for all servers alike
            figures.append(self.serve(name, path, fmt, tls, lambda pid: work(self)))
        base = 0 if with_start else self.idle_cpu(name, fmt, tls)
        return max(f[0] for f in figures), max(min(f[1] for f in figures) - base, 1e-6)


# ---- rows ----------------------------------------------------------------------------------------

class Row:
    """Clients doing @work(bench), @count requests in all. @goals by column: at most, or for "speed" at
    least, so much."""

    def __init__(self, name, work, goals, count, *, fmt='raw', tls=False, tools=(), writes=False,
                 with_start=False):
        self.name, self.work, self.goals, self.count = name, work, goals, count
        self.fmt, self.tls, self.writes, self.with_start = fmt, tls, writes, with_start
        self.tools = [*tools, *(['certtool'] if tls else [])]

    def figures(self, bench, rounds):
        """Columns of the row."""
        found = {name: bench.measure(name, self.fmt, self.tls, self.work, rounds, self.writes,
                                     self.with_start) for name in bench.names(self.fmt)}
        speed, cpu = found.pop('ours')
        columns = {f'cpu/{other}': cpu / c for other, (_, c) in found.items()}
        columns['us'] = cpu / self.count * 1e6
        if not self.with_start:
            columns['wall'] = found['reference'][0] / speed
            columns['speed'] = speed / max(s for s, _ in found.values())
        return columns

    def run(self, bench, rounds):
        """The text of the row, what is remembered of it, and the goals it missed."""
        columns = self.figures(bench, rounds)
        missed = [k for k, v in self.goals.items()
                  if (columns[k] < v if k == 'speed' else columns[k] > v)]
        text = ' '.join(f'{columns[c]:{w}.2f}' if c in columns else '-'.rjust(w)
                        for c, w in COLUMNS.items())
        return text, columns, missed

    def goal_text(self):
        return ' '.join(f'{k} {">" if k == "speed" else "<"} {v}' for k, v in self.goals.items())


class Told:
    """One figure of each server, by @figure(bench, pid); @judge(figures) is true if the goal is met."""

    def __init__(self, name, figure, unit, goal, judge, *, tls=False, only_ours=False):
        self.name, self.figure, self.unit, self.goal, self.judge = name, figure, unit, goal, judge
        self.tls, self.only_ours, self.tools = tls, only_ours, ['certtool'] if tls else []

    def run(self, bench, rounds):
        names = ['ours'] if self.only_ours else [n for n in bench.names('raw') if n != 'io_uring']
        found = {n: bench.serve(n, bench.disk('raw'), 'raw', self.tls,
                                lambda pid: self.figure(bench, pid))[0] for n in names}
        text = ', '.join(f'{n} {v:.4g}' for n, v in found.items()) + f' {self.unit}'
        return text, found, [] if self.judge(found) else ['goal']

    def goal_text(self):
        return self.goal


COLUMNS = {'us': 8, 'cpu/reference': 13, 'cpu/io_uring': 12, 'cpu/nbdkit': 10, 'wall': 5, 'speed': 5}


def fio_row(rw, depth, clients, count, fmt='raw', tls=False):
    if tls:
        goals = {'cpu/reference': 0.7}
    elif depth > 1:
        goals = {'cpu/reference': 0.3, 'cpu/io_uring': 0.6}
    else:
        goals = {}
    name = f'nbd {rw[4:]} 4k depth {depth} clients {clients} {fmt}' + (' tls' if tls else '')
    return Row(name, lambda b: fio(b, tls, rw, depth, clients, count), goals | {'speed': 1.3}, count,
               fmt=fmt, tls=tls, tools=['fio'], writes=rw == 'randwrite')


def fio_rows():
    for rw in 'randread', 'randwrite':
        for fmt in 'raw', 'qcow2':
            for clients in 1, 4, 16:
                yield fio_row(rw, 1, clients, 20000 if clients == 1 else 40000, fmt)
            for clients in (1, 4, 16, 64) if fmt == 'raw' else (1, 4, 16):
                yield fio_row(rw, 32, clients, 100000, fmt)
        for depth in 1, 32:
            for clients in 1, 16:
                yield fio_row(rw, depth, clients, 20000 if depth == 1 else 60000, tls=True)


def copy_rows():
    for inward in False, True:
        for connections in 1, 4:
            for tls in False, True:
                name = f'nbd copy {"in" if inward else "out"} {connections} connections'
                goals = {'cpu/reference': 0.7} if tls else {'cpu/reference': 0.6, 'wall': 0.6}
                yield Row(name + (' tls' if tls else ''),
                          lambda b, t=tls, i=inward, c=connections: nbdcopy(b, t, i, c),
                          goals | {'speed': 1.3}, SIZE // MiB, tls=tls, tools=['nbdcopy'], writes=inward)


def rows():
    yield from fio_rows()
    yield from copy_rows()
    yield Row('nbd start and stop', lambda b: 1, {'cpu/reference': 0.5}, 1, with_start=True)
    yield Row('nbd start, 100 handshakes, stop', lambda b: handshakes(b, 100), {'cpu/reference': 0.5}, 100,
              with_start=True)
    yield Told(f'nbd memory, {CLIENTS} idle clients', lambda b, pid: idle_memory(b, pid, CLIENTS, False),
               'KiB each', 'ours < 16', lambda f: f['ours'] < 16)
    yield Told(f'nbd memory, {CLIENTS} idle clients tls', lambda b, pid: idle_memory(b, pid, CLIENTS, True),
               'KiB each', 'ours < reference', lambda f: f['ours'] < f['reference'], tls=True)
    yield Told(f'nbd start beside {CLIENTS} idle clients', lambda b, pid: start_beside(b, pid, CLIENTS),
               's added', 'ours < 0.1', lambda f: f['ours'] < 0.1)
    yield Told('nbd client over 50 ms, 8 connections',
               lambda b, pid: far_away(b, 8) / far_away(b, 1), 'times one connection', 'ours > 6',
               lambda f: f['ours'] > 6, only_ours=True)


def run(build, reference, folder, patterns, rounds):
    """Prints the rows that @patterns choose; returns them, and how many failed."""
    bench = Bench(build, reference, folder)
    wanted = [r for r in rows() if not patterns or any(p in r.name for p in patterns)]
    done, failed = [], 0
    if wanted:
        print('{:44} {}  goal'.format('NBD', ' '.join(f'{c:>{w}}' for c, w in COLUMNS.items())))
    for row in wanted:
        lacking = [t for t in row.tools if not shutil.which(t)]
        if lacking:
            print(f'{row.name:44} skipped: {lacking[0]} is not installed')
            continue
        try:
            text, columns, missed = row.run(bench, rounds)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as fault:
            told = getattr(fault, 'stderr', None) or ''
            print(f'{row.name:44} FAILED {fault} {told.strip()}', flush=True)
            failed += 1
            continue
        verdict = 'missed: ' + ' '.join(missed) if missed else 'ok'
        print(f'{row.name:44} {text}  {row.goal_text()} ({verdict})', flush=True)
        done.append({'case': row.name, 'figures': columns, 'goal': row.goal_text(), 'verdict': verdict})
    return done, failed
