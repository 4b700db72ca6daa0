#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of at most 32 MiB that claim what they like: check, check -r and info end
within 10 s of processor time and 256 MiB, with an exit code and not by a signal."""
import concurrent.futures
import os
import pathlib
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

OURS = os.environ.get('FERRY_BUILD', str(pathlib.Path(__file__).parents[2] / 'build'))
MiB = 1 << 20
CPU_S, MEMORY = 10, 256 * MiB
COPIED = 1 << 63
CASES = {}


def case(fn):
    CASES[fn.__name__.replace('_', '-')] = fn
    return fn


def header(bits=16, size=1 << 30, l1=0, l1_len=0, table=0, table_clusters=1, snapshots=(0, 0),
           incompatible=0, autoclear=0, order=4, exts=b''):
    return struct.pack('>IIQIIQIIQQIIQQQQII', 0x514649fb, 3, 0, 0, bits, size, 0, l1_len, l1, table,
                       table_clusters, snapshots[0], snapshots[1], incompatible, 0, autoclear, order,
                       104) + exts


def words(values):
    return struct.pack(f'>{len(values)}Q', *values)


def image(length, parts):
    """A file of @length bytes with (offset, bytes) written to it."""
    data = bytearray(length)
    for off, content in parts:
        data[off:off + len(content)] = content
    return bytes(data)


@case
def one_l2_for_all_of_a_long_l1():
    n = 1 << 21
    c = 1 << 21
    return image(32 * MiB, [(0, header(21, n * (1 << 18) * c >> 10, c, n, 13 * c)),
                            (c, words([COPIED | 12 * c] * n)),
                            (12 * c, words([COPIED | 14 * c] * (1 << 18)))])


@case
def overlapping_unaligned_l2():
    c, n = 1 << 21, 4096
    return image(32 * MiB, [(0, header(21, 1 << 50, c, n, 4 * c)),
                            (c, words([COPIED | (6 * c + 512 * i) for i in range(n)])),
                            (6 * c, words([COPIED | 12 * c] * (1 << 18)))])


@case
def all_entries_behind_the_end():
    c, n = 1 << 16, 400
    return image(32 * MiB, [(0, header(16, n << 29, c, n, 2 * c))] +
                 [(c, words([COPIED | (3 + i) * c for i in range(n)]))] +
                 [((3 + i) * c, words([COPIED | 1 << 50] * 8192)) for i in range(n)])


@case
def all_entries_compressed_and_long():
    c, n = 1 << 21, 10
    return image(32 * MiB, [(0, header(21, n << 39, c, n, 2 * c))] +
                 [(c, words([(3 + i) * c for i in range(n)]))] +
                 [((3 + i) * c, words([(1 << 62) | 0x1fff << 49 | 512 * k for k in range(1 << 18)]))
                  for i in range(n)])


@case
def same_l1_for_many_snapshots():
    c, n = 1 << 16, 65535
    entry = struct.pack('>QIHHIIQII', c, 4096, 0, 0, 0, 0, 0, 0, 16) + bytes(16)
    return image(32 * MiB, [(0, header(16, 1 << 40, c, 4096, 2 * c, 1, (n, 256 * c))),
                            (c, words([COPIED | 3 * c] * 4096)),
                            (3 * c, words([COPIED | 4 * c] * 8192)), (256 * c, entry * n)])


@case
def overlapping_l1_of_snapshots():
    c, n = 512, 60000
    entries = b''.join(struct.pack('>QIHHIIQII', c * (2 + i), 1 << 22, 0, 0, 0, 0, 0, 0, 16) +
                       bytes(16) for i in range(n))
    return image(32 * MiB, [(0, header(9, 1 << 20, c, 64, 1024, 1, (n, 20 * MiB))),
                            (20 * MiB, entries)])


@case
def snapshots_with_long_names():
    n = 60000
    entry = struct.pack('>QIHHIIQII', 1 << 16, 1, 65535, 65535, 0, 0, 0, 0, 1024)
    return image(32 * MiB, [(0, header(16, 1 << 30, 1 << 16, 2, 1 << 17, 1, (n, 1 << 18))),
                            (1 << 18, entry * 100000)])


@case
def refcount_blocks_all_the_same():
    c = 1 << 16
    return image(32 * MiB, [(0, header(16, 1 << 30, c, 2, 2 * c, 128)),
                            (2 * c, words([200 * c] * (128 * 8192))),
                            (200 * c, b'\xff' * c)])


@case
def refcount_table_of_noise():
    c = 1 << 16
    return image(32 * MiB, [(0, header(16, 1 << 30, c, 2, 2 * c, 128)),
                            (2 * c, random.Random(1).randbytes(128 * c))])


@case
def wide_refcounts_of_noise():
    return image(32 * MiB, [(0, header(9, 1 << 30, 1 << 20, 1 << 15, 512, 1000, order=6)),
                            (512, words([(1 << 21) + 512 * i for i in range(64000)])),
                            (1 << 21, random.Random(2).randbytes(16 * MiB))])


@case
def bitmaps_that_share_a_table():
    c, n = 1 << 16, 65535
    entries = b''.join(struct.pack('>QIIBBHI', 8 * c, 8192, 2, 1, 9, 6, 0) + b'%06d' % i +
                       bytes(2) for i in range(n))
    ext = struct.pack('>IIIIQQ', 0x23852875, 24, n, 0, len(entries), 16 * c) + bytes(8)
    return image(32 * MiB, [(0, header(16, 1 << 41, c, 4096, 2 * c, autoclear=1, exts=ext)),
                            (8 * c, words([1] * 8192)), (16 * c, entries)])


@case
def bitmap_of_one_cluster_again_and_again():
    c = 1 << 16
    entry = struct.pack('>QIIBBHI', 8 * c, 8192, 2, 1, 9, 1, 0) + b'b' + bytes(7)
    ext = struct.pack('>IIIIQQ', 0x23852875, 24, 1, 0, 32, 16 * c) + bytes(8)
    return image(32 * MiB, [(0, header(16, 1 << 41, c, 4096, 2 * c, autoclear=1, exts=ext)),
                            (8 * c, words([20 * c] * 8192)), (16 * c, entry),
                            (20 * c, b'\x55' * c)])


@case
def noise_behind_a_header():
    return image(32 * MiB, [(0, header(12, 1 << 40, 4096, 1 << 19, 6 * MiB, 100)),
                            (4096, random.Random(3).randbytes(32 * MiB - 4096))])


@case
def huge_disk_with_nothing():
    return image(32 * MiB, [(0, header(21, 1 << 61, 1 << 21, 1 << 22, 1 << 20 << 5))])


def limits():
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def attempt(name, command, folder):
    """Runs one command; the reason if it broke a bound."""
    path = os.path.join(folder, name)
    work = f'{path}.{command[0]}{len(command)}'
    shutil.copy(path, work)
    args = [f'{OURS}/qemu-img', *command, work]
    with open(os.devnull, 'r+b') as null:
        p = subprocess.Popen(args, stdin=null, stdout=null, stderr=null, preexec_fn=limits)
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    os.unlink(work)
    if os.WIFSIGNALED(status):
        return f'{" ".join(command)}: signal {os.WTERMSIG(status)}'
    if usage.ru_maxrss * 1024 > MEMORY:
        return f'{" ".join(command)}: {usage.ru_maxrss >> 10} MiB'
    return None


COMMANDS = [['check', '-f', 'qcow2'], ['check', '-f', 'qcow2', '-r', 'leaks'],
            ['check', '-f', 'qcow2', '-r', 'all', '-q'], ['info', '-f', 'qcow2']]


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, make in CASES.items():
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            with open(os.path.join(folder, name), 'wb') as f:
                f.write(make())
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                why = [w for w in pool.map(lambda c: attempt(name, c, folder), COMMANDS) if w]
            os.unlink(os.path.join(folder, name))
            bad += bool(why)
            print(f'not ok {name} {"; ".join(why)}' if why else f'ok {name}', flush=True)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
