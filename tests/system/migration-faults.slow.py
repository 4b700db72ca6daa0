#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Links that are cut and ends that are killed at many points of a migration, plain and over several
connections: one side can run the guest, never both, and the source goes on by itself wherever it may. And
migrations that fail or are cancelled again and again cost nothing."""
import os
import pathlib
import re
import select
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main
from emulator import wait_for
from migrating import check_moved, source, target

MODES = ('return-path',), ('return-path', 'multifd')


class Link:
    """What connects to near.sock reaches far.sock, until @limit bytes have passed; then all is cut."""

    def __init__(self, limit=None):
        self.limit, self.passed, self.pairs, self.ended = limit, 0, {}, False
        pathlib.Path('near.sock').unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind('near.sock')
        self.listener.listen(16)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def connect(self):
        near, far = self.listener.accept()[0], socket.socket(socket.AF_UNIX)
        far.connect('far.sock')
        self.pairs.update({near: far, far: near})

    def forward(self, end):
        data = end.recv(65536)
        if self.limit is not None:
            data = data[:max(self.limit - self.passed, 0)]
        self.passed += len(data)
        if data:
            self.pairs[end].sendall(data)
        # Cut now: if what was taken from @end is held back, both may wait and send nothing more.
        return bool(data) and not self.is_cut()

    def is_cut(self):
        return self.limit is not None and self.passed >= self.limit

    def run(self):
        try:
            while not self.ended:
                for end in select.select([self.listener, *self.pairs], [], [], 0.1)[0]:
                    if end is self.listener:
                        self.connect()
                    elif not self.forward(end):
                        if self.is_cut():
                            return
                        other = self.pairs.pop(end)
                        self.pairs.pop(other, None)
                        other.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        finally:
            for end in [*self.pairs, self.listener]:
                end.close()

    def close(self):
        self.ended = True
        self.thread.join()
        return self.passed


def start(a, b, mode):
    for side in a, b:
        side.turn_on(*mode)
    a.tune(max_bandwidth=0, downtime_limit=20000)
    pathlib.Path('far.sock').unlink(missing_ok=True)
    b.listen('unix:far.sock')
    a.await_rounds(1)


def has_ended_or_waits(b):
    """A target that has got nothing of the guest waits for another source."""
    if b.process.poll() is not None:
        return True
    try:
        return b.status() == 'setup'
    except (StopIteration, OSError): # it ends just now
        return False


def judge(a, b):
    """How it ended; the guest goes on at one side and cannot at the other. If the answer of a target that had
    all was lost, nobody can know that it does not run there, so it does not here."""
    wait_for(lambda: a.status() in ('completed', 'failed'))
    if a.status() == 'completed':
        check_moved(a, b)
        return 'completed'
    if a.state() == 'postmigrate':
        assert 'may be running at the target' in a.answer('query-migrate')['error-desc']
        return 'unknown'
    assert a.state() == 'running'
    a.await_rounds(1)
    wait_for(lambda: has_ended_or_waits(b))
    assert b.process.poll() in (None, 1) and not b.rounds(), b.rounds()
    return 'failed'


@case
def a_link_that_is_cut_anywhere_leaves_the_guest_at_one_side():
    for mode in MODES:
        with source() as a, target('defer') as b:
            start(a, b, mode)
            link = Link()
            a.migrate('unix:near.sock')
            check_moved(a, b)
            whole = link.close()
        ends = []
        for limit in [0, 1, 60, 3000, *(whole * i // 12 for i in range(1, 12)), whole - 9000]:
            with source() as a, target('defer') as b:
                start(a, b, mode)
                link = Link(limit)
                assert a.answer('migrate', uri='unix:near.sock') == {}
                ends.append(judge(a, b))
                link.close()
        assert ends.count('failed') >= 8, (mode, ends)


@case
def a_target_that_is_killed_leaves_the_guest_at_the_source():
    for mode in MODES:
        ends = []
        for i in range(8):
            with source() as a, target('defer') as b:
                start(a, b, mode)
                a.tune(max_bandwidth=64 << 20)
                assert a.answer('migrate', uri='unix:far.sock') == {}
                time.sleep(0.04 * i)
                b.process.kill()
                b.process.wait()
                wait_for(lambda: a.status() in ('completed', 'failed'))
                ends.append(a.status())
                gone = a.status() == 'completed' or 'may be running' in a.answer('query-migrate')['error-desc']
                assert a.state() == ('postmigrate' if gone else 'running')
        assert 'failed' in ends, ends


def resources(e):
    folder = pathlib.Path(f'/proc/{e.process.pid}')
    status = (folder / 'status').read_text()
    return int(re.search(r'VmRSS:\s+(\d+)', status)[1]), len(os.listdir(folder / 'fd')), \
        int(re.search(r'Threads:\s+(\d+)', status)[1])


@case
def migrations_that_fail_and_are_cancelled_over_and_over_cost_nothing():
    """Several connections to somebody who reads nothing, cancelled; and to nobody."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('deaf.sock')
    listener.listen(64)
    with source() as a:
        a.turn_on('multifd', 'xbzrle')
        a.tune(max_bandwidth=0, multifd_channels=3)
        a.await_rounds(1)
        for i in range(150):
            assert a.answer('migrate', uri='unix:deaf.sock') == {}
            if i % 3:
                wait_for(lambda: a.status() == 'active')
            assert a.answer('migrate_cancel') == {}
            wait_for(lambda: a.status() == 'cancelled')
            a.migrate('unix:nobody.sock', 'failed')
            listener.setblocking(False)
            try:
                while True:
                    listener.accept()[0].close()
            except BlockingIOError:
                pass
            if i == 20:
                before = resources(a)
        after = resources(a)
        assert after[0] < before[0] + 8192 and after[1:] == before[1:], (before, after)
        assert a.state() == 'running'
        a.await_rounds(1)


main('migration-faults', 'system')
