# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of a storage daemon: writes blocks over NBD in a thread and knows what may be on its disk.

Each block of 4 KiB has a number written all over it. What was written before the last flush that was
answered is there for sure; of a block written since, any of the values since then may be there.
"""
import random
import socket
import struct
import threading
import time

from nbd_frames import FLUSH, READ, WRITE, Client, Gone
from qmp import PATIENCE

BLOCK = 4096


def block_of(value):
    return struct.pack('<Q', value) * (BLOCK // 8)


class Guest:
    def __init__(self, path, name, seed=0, most=16, blocks=None, disk=None):
        s = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                s.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline
                time.sleep(.01)
        self.client = Client(s).start(name=name)
        self.random = random.Random(seed)
        self.most = most
        self.blocks = blocks or self.client.size // BLOCK
        self.disk = disk or self.read_all()
        self.may_be = {}          # block -> values since the last flush, the flushed one first
        self.count = 0
        self.error = None
        self.writes = 0
        self.lock = threading.Lock()
        self.stopping = False
        self.thread = threading.Thread(target=self.run)

    def read_all(self):
        values = []
        for at in range(0, self.client.size, 1 << 20):
            data = self.client.read(at, min(1 << 20, self.client.size - at))
            values += [struct.unpack_from('<Q', data, i)[0] for i in range(0, len(data), BLOCK)]
        return values

    def write(self):
        first = self.random.randrange(self.blocks)
        n = min(self.random.randrange(self.most) + 1, self.blocks - first)
        is_zero = self.random.random() < .1
        values = []
        for i in range(first, first + n):
            self.count += 1
            value = 0 if is_zero else (self.count << 20) | i
            self.may_be.setdefault(i, [self.disk[i]]).append(value)
            values.append(value)
        error = self.client.call(WRITE, first * BLOCK, n * BLOCK, data=b''.join(map(block_of, values)))
        assert error == 0, f'a write of {n} blocks at {first} failed: {error}'
        for i, value in zip(range(first, first + n), values, strict=True):
            self.disk[i] = value
        self.writes += 1

    def flush(self):
        assert self.client.call(FLUSH) == 0
        self.may_be = {}

    def run(self):
        try:
            while not self.stopping:
                with self.lock:
                    if self.random.random() < .05:
                        self.flush()
                    else:
                        self.write()
        except Gone:
            pass
        except OSError as e:
            self.error = e
        except AssertionError as e:
            self.error = e

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        """Writes no more."""
        self.stopping = True
        self.thread.join()
        if self.error:
            raise AssertionError(str(self.error))

    def close(self):
        self.client.close()

    def wait_for_writes(self, more):
        end, deadline = self.writes + more, time.monotonic() + PATIENCE
        while self.writes < end and not self.error and self.thread.is_alive():
            assert time.monotonic() < deadline, 'writes hang'
            time.sleep(.001)

    def problems(self, data, disk=None, may_be=None):
        """What of @data, a whole image, cannot be."""
        disk = self.disk if disk is None else disk
        may_be = self.may_be if may_be is None else may_be
        bad = []
        for i in range(len(disk)):
            at = data[i * BLOCK:(i + 1) * BLOCK]
            if at not in {block_of(v) for v in [disk[i], *may_be.get(i, [])]}:
                bad.append(f'block {i}: {at[:8].hex()}, not {disk[i]:x}')
        return bad[:5]


__all__ = ['Guest', 'BLOCK', 'READ', 'block_of']
