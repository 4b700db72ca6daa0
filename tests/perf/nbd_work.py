# SPDX-License-Identifier: GPL-2.0-or-later
"""What clients do to NBD servers in the benchmarks."""
import contextlib
import json
import os
import pathlib
import resource
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import time

MiB = 1 << 20
SIZE = 256 * MiB
HERE = pathlib.Path(__file__).resolve().parent


# ---- others' clients -----------------------------------------------------------------------------

def fio(bench, tls, rw, depth, clients, count):
    """Random requests of 4 KiB: requests per second."""
    done = subprocess.run(
        ['fio', '--output-format=json', '--name=x', '--ioengine=nbd', f'--uri={bench.uri(tls)}',
         f'--rw={rw}', '--bs=4k', f'--size={SIZE}', f'--iodepth={depth}', f'--numjobs={clients}',
         '--group_reporting=1', '--thread=1', f'--io_size={count * 4096 // clients}'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, text=True, cwd=bench.folder,
        env=bench.client_environment())
    job = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
    return job['read' if rw == 'randread' else 'write']['iops']


def nbdcopy(bench, tls, inward, connections):
    """All of the disk, in or out: bytes per second."""
    ends = [bench.uri(tls), 'null:']
    if inward:
        ends = [bench.disk('raw'), bench.uri(tls)]
    began = time.monotonic()
    subprocess.run(['nbdcopy', f'--connections={connections}', *map(str, ends)], check=True,
                   env=bench.client_environment())
    return SIZE / (time.monotonic() - began)


# ---- a client of frames --------------------------------------------------------------------------

def receive(sock, n):
    out = b''
    while len(out) < n:
        piece = sock.recv(n - len(out))
        if not piece:
            raise RuntimeError('the server hung up')
        out += piece
    return out


def connect_idle(bench, tls=None):
    """A client that has agreed on the export and wants nothing."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(bench.socket))
    receive(sock, 18)
    sock.sendall(struct.pack('>L', 3))
    if tls:
        sock.sendall(b'IHAVEOPT' + struct.pack('>LL', 5, 0))
        receive(sock, 20)
        sock = tls.wrap_socket(sock, server_hostname='localhost')
    sock.sendall(b'IHAVEOPT' + struct.pack('>LL', 1, 0))
    receive(sock, 10)
    return sock


def resident(pid):
    for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('VmRSS'):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def crowd(bench, count, tls=None):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * count)), hard))
    clients = [connect_idle(bench, tls) for _ in range(count)]
    try:
        yield
    finally:
        for sock in clients:
            sock.close()


def idle_memory(bench, pid, count, with_tls):
    """KiB that each of @count idle clients costs."""
    tls = ssl.create_default_context(cafile=bench.certificates() / 'ca-cert.pem') if with_tls else None
    with crowd(bench, 1, tls):
        before = resident(pid)
        with crowd(bench, count, tls):
            return (resident(pid) - before) / count


def start_beside(bench, pid, count):
    """Seconds that @count idle clients add to the start of another one."""
    def start():
        began = time.monotonic()
        connect_idle(bench).close()
        return time.monotonic() - began

    alone = statistics.median(start() for _ in range(20))
    with crowd(bench, count):
        return max(statistics.median(start() for _ in range(20)) - alone, 0)


def handshakes(bench, count):
    for _ in range(count):
        connect_idle(bench).close()
    return 1


# ---- our client ----------------------------------------------------------------------------------

def far_away(bench, connections, milliseconds=50, window=512 << 10):
    """Reads all of the disk over a long way: bytes per second."""
    door = bench.socket.with_name('far.sock')
    door.unlink(missing_ok=True)
    relay = subprocess.Popen([sys.executable, HERE / 'delay.py', door, bench.socket, str(milliseconds),
                              str(window)])
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(str(door)):
                time.sleep(0.01)
        began = time.monotonic()
        subprocess.run([bench.build / 'qemu-img', 'bench', '-c', str(SIZE // (256 << 10)), '-s', '256k',
                        '-d', '64', '--image-opts', f'driver=nbd,server.type=unix,server.path={door},'
                        f'connections={connections}'], check=True, stdout=subprocess.DEVNULL)
        return SIZE / (time.monotonic() - began)
    finally:
        relay.kill()
        relay.wait()


def environment(home):
    """That of libnbd's clients: certificates are found below @home."""
    return dict(os.environ, HOME=str(home))
