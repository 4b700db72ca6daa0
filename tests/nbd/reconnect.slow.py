#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ten thousand lost connections under load: every write arrives, none is made again once it was
answered."""
import collections
import os
import pathlib
import socket
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import nbd_server as nbd
from nbd_server import Cut, Server

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
CUTS, BLOCK, DEPTH = 10000, 512, 8
TIMEOUT = 1500


class Dropping(Server):
    """Hangs up instead of every third answer: before the write, after it, or amid the answer."""

    def __init__(self, size):
        super().__init__(size=size)
        self.lock, self.count, self.cuts = threading.Lock(), 0, 0
        self.received = []      # offsets of writes, in order

    def answer(self, q):
        with self.lock:
            self.count += 1
            how = self.count % 9
            self.cuts += how in (2, 5, 8)
            self.received += [q.offset] if q.kind == nbd.WRITE else []
        if how == 2:
            self.drop(q)
        frames = list(super().answer(q))
        if how == 5:
            self.drop(q)
        if how == 8:
            q.conn.send(frames[0][:7])
            self.drop(q)
        yield from frames

    @staticmethod
    def drop(q):
        q.conn.sock.shutdown(socket.SHUT_RDWR)
        raise Cut


def most_pending(received):
    """How many requests were under way at once at least: those received before and again later. One
    that is made again after it was reported done makes that more than the depth asked for."""
    first, last, pending, most = {}, {}, set(), 0
    for at, offset in enumerate(received):
        first.setdefault(offset, at)
        last[offset] = at
    for at, offset in enumerate(received):
        pending.add(offset)
        most = max(most, len(pending))
        if last[offset] == at:
            pending.remove(offset)
    return most


def write_all(connections):
    writes = CUTS * 3
    with Dropping(writes * BLOCK) as s:
        s.flags = nbd.ALL | nbd.MULTI
        s.requests = collections.deque(maxlen=0)
        done = subprocess.run(
            [BUILD / 'qemu-img', 'bench', '-w', '-c', str(writes), '-s', str(BLOCK), '-d', str(DEPTH),
             '--pattern=165', '--image-opts',
             f'driver=nbd,path={s.path},reconnect-delay=600,connections={connections}'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT)
        if done.returncode:
            return done.stdout.decode(errors='replace')
        if s.cuts < CUTS:
            return f'only {s.cuts} connections were lost'
        if s.data != b'\xa5' * len(s.data):
            return 'a write is lost'
        pending = most_pending(s.received)
        return f'{pending} of {DEPTH} requests were under way at once' if pending > DEPTH else None


def main():
    for connections in 1, 4:
        problem = write_all(connections)
        name = f'writes-through-lost-connections/{connections}'
        print(f'not ok {name} {problem}' if problem else f'ok {name}', flush=True)


if __name__ == '__main__':
    main()
