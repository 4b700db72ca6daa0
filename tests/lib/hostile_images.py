# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of up to 32 MiB that claim as much work as they can, and jobs with bounds on them.

Each image is written field by field; refcounts are right only where a case is about them. A job must
end within its CPU time and memory whatever it says, and end by itself.
"""
import concurrent.futures
import os
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile
import zlib

from this_run import WATCHED

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
MiB = 1 << 20
FILE_MAX = 32 * MiB
COPIED, COMPRESSED = 1 << 63, 1 << 62

# What is done to each image: (name, command, seconds of CPU, MiB). A processor that is shared with others takes
# twice the seconds.
JOBS = [
    ('info', ['qemu-img', 'info', '-f', 'qcow2'], 0.9, 64),
    ('info-json', ['qemu-img', 'info', '--output=json', '-f', 'qcow2'], 0.9, 64),
    ('check', ['qemu-img', 'check', '-f', 'qcow2'], 10, 256),
    ('map', ['qemu-img', 'map', '--output=json', '-f', 'qcow2'], 10, 256),
    ('measure', ['qemu-img', 'measure', '-O', 'qcow2', '-f', 'qcow2'], 10, 256),
    ('compare', ['qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', 'IMAGE'], 10, 256),
    ('read', ['qemu-io', '-r', '-f', 'qcow2', '-c', 'read 0 64M', '-c', 'read 7 1', '-c', 'map'],
     10, 256),
    ('write', ['qemu-io', '-f', 'qcow2', '-c', 'write 0 64k', '-c', 'write -z 1M 1M',
               '-c', 'discard 0 4M'], 10, 256),
    ('repair', ['qemu-img', 'check', '-r', 'all', '-f', 'qcow2'], 10, 256),
]

# What is refused as soon as it is opened; all others have to open, or the jobs would show nothing.
REFUSED = {'snapshots-of-zeroes-behind-the-end', 'bitmaps-65535-with-one-table',
           'bitmap-of-all-ones-for-a-huge-disk', 'bitmaps-sharing-a-huge-table'}

TOO_MUCH = 'too much'

CASES = {}


def case(fn):
    CASES[fn.__name__.replace('_', '-')] = fn
    return fn


class Writer:
    """An image being made: a header, and space handed out cluster by cluster."""

    def __init__(self, bits=16, order=4, version=3, size=1 << 30, incompatible=0):
        self.cluster = 1 << bits
        self.bits, self.order, self.version, self.size = bits, order, version, size
        self.incompatible = incompatible
        self.fields = {'l1': (0, 0), 'reftable': (0, 0), 'snapshots': (0, 0)}
        self.extensions = b''
        self.data = bytearray(self.cluster)

    def put(self, data):
        """@data in clusters of its own; returns its offset."""
        at = len(self.data)
        self.data += data
        self.data += bytes(-len(self.data) % self.cluster)
        assert len(self.data) <= FILE_MAX, len(self.data)
        return at

    def words(self, values):
        return self.put(struct.pack(f'>{len(values)}Q', *values))

    @property
    def room(self):
        return FILE_MAX - len(self.data)

    def refcounts(self, value=1):
        """Counts of @value for all of 32 MiB."""
        n = FILE_MAX // self.cluster
        per_byte = 8 >> self.order
        size = n // per_byte if per_byte else n * ((1 << self.order) // 8)
        unit = (value.to_bytes((1 << self.order) // 8, 'big') if not per_byte
                else b'\xff' if value else b'\0')
        block = self.put(unit * (size // len(unit)))
        blocks = -(-size // self.cluster)
        table = self.words([block + i * self.cluster for i in range(blocks)])
        self.fields['reftable'] = (table, -(-blocks * 8 // self.cluster))

    def l1(self, entries):
        """The active L1 table; the disk gets no longer than it can map."""
        self.size = min(self.size, len(entries) << (2 * self.bits - 3))
        self.fields['l1'] = (self.words(entries), len(entries))

    def write(self, path):
        h = struct.pack('>4sIQIIQIIQQIIQ', b'QFI\xfb', self.version, 0, 0, self.bits, self.size, 0,
                        self.fields['l1'][1], self.fields['l1'][0], *self.fields['reftable'],
                        self.fields['snapshots'][1], self.fields['snapshots'][0])
        if self.version > 2:
            h += struct.pack('>QQQII', self.incompatible, 0, 1 if self.extensions else 0, self.order,
                             104)
        h += self.extensions + bytes(8)
        self.data[:len(h)] = h
        pathlib.Path(path).write_bytes(self.data)


# ---- L1 and L2

@case
def l1_of_32_mib_sharing_one_l2():
    q = Writer(size=(1 << 62))
    q.refcounts()
    l2 = q.words([COPIED | 1 << 16] * 8192)
    n = q.room // 8 // 8192 * 8192
    q.size = n << 29
    q.l1([COPIED | l2] * n)
    return q


@case
def l1_of_32_mib_sharing_one_striped_l2():
    q = Writer()
    q.refcounts()
    l2 = q.words([COPIED | 1 << 16, 0] * 4096)
    n = q.room // 8 // 8192 * 8192
    q.size = n << 29
    q.l1([COPIED | l2] * n)
    return q


@case
def l1_of_small_clusters_sharing_one_striped_l2():
    q = Writer(bits=9)
    q.refcounts()
    l2 = q.words([COPIED | 1 << 9, 1] * 32)
    n = (q.room - 4096) // 8 // 64 * 64
    q.size = n << 15
    q.l1([COPIED | l2] * n)
    return q


@case
def l2_tables_all_over_sharing_data():
    """Every cluster is an L2 table that maps every cluster."""
    q = Writer()
    q.refcounts()
    n = q.room // q.cluster - 4
    first = len(q.data)
    table = struct.pack('>8192Q', *[COPIED | (first + i % n * q.cluster) for i in range(8192)])
    for _ in range(n):
        q.put(table)
    q.size = n << 29
    q.l1([COPIED | (first + i * q.cluster) for i in range(n)])
    return q


@case
def l1_empty_of_32_mib():
    q = Writer()
    q.refcounts()
    n = q.room // 8 // 8192 * 8192
    q.size = n << 29
    q.l1([0] * n)
    return q


@case
def l1_empty_of_a_disk_of_1_eib():
    q = Writer(bits=21, order=6)
    q.refcounts()
    q.l1([0] * (2 * MiB))
    q.size = 1 << 60
    return q


@case
def l1_of_garbage():
    q = Writer(bits=9)
    q.refcounts()
    n = (q.room - 4096) // 8 // 64 * 64
    q.size = n << 15
    q.l1([(i * 0x9e3779b97f4a7c15) & (1 << 64) - 1 for i in range(n)])
    return q


@case
def l1_of_unaligned_tables():
    q = Writer(bits=16)
    q.refcounts()
    n = q.room // 8 // 8192 * 8192
    q.size = n << 29
    q.l1([COPIED | 512 * (i % 60000 + 1) for i in range(n)])
    return q


# ---- refcounts

@case
def refcounts_of_1_bit_all_wrong():
    q = Writer(bits=9, order=0, size=1 << 30)
    q.refcounts(1)
    q.l1([0] * 32768)
    q.put(bytes(q.room - 512))
    return q


@case
def refcounts_of_1_bit_all_shared():
    q = Writer(bits=9, order=0)
    q.refcounts(0)
    n = (q.room - 8192) // 1024
    first = len(q.data)
    for i in range(n):
        q.words([COPIED | first + ((i * 64 + k) % (2 * n)) * 512 for k in range(64)])
    q.size = n << 15
    q.l1([COPIED | first + i * 512 for i in range(n)])
    return q


@case
def reftable_of_8_mib_sharing_one_block():
    q = Writer(bits=9)
    block = q.put(b'\0\7' * 256)
    table = q.words([block] * MiB)
    q.fields['reftable'] = (table, 8 * MiB // 512)
    q.l1([0] * 64)
    q.size = 64 << 15
    q.put(bytes(q.room - 512))
    return q


@case
def reftable_of_8_mib_of_garbage():
    q = Writer(bits=9)
    table = q.words([(i * 0x9e3779b97f4a7c15) & (1 << 64) - 1 for i in range(MiB)])
    q.fields['reftable'] = (table, 8 * MiB // 512)
    q.l1([0] * 64)
    q.size = 64 << 15
    q.put(bytes(q.room - 512))
    return q


# ---- snapshots

def snapshot(l1_off, l1_len, i, name=b'', size=1 << 30, extra=b''):
    ident = b'%d' % i
    entry = struct.pack('>QIHHIIQII', l1_off, l1_len, len(ident), len(name), 0, 0, 0, 0,
                        16 + len(extra))
    entry += struct.pack('>QQ', 0, size) + extra + ident + name
    return entry + bytes(-len(entry) % 8)


@case
def snapshots_65536_with_names():
    q = Writer(bits=16)
    q.refcounts()
    q.l1([0, 0])
    l1 = q.words([0, 0])
    q.fields['snapshots'] = (q.put(b''.join(snapshot(l1, 2, i, b'n' * 300) for i in range(65536))),
                             65536)
    return q


@case
def snapshots_65536_empty():
    q = Writer(bits=9)
    q.refcounts()
    q.l1([0] * 64)
    l1 = q.words([0] * 64)
    q.fields['snapshots'] = (q.put(b''.join(snapshot(l1, 64, i) for i in range(65536))), 65536)
    return q


def with_a_large_l1_to_share():
    """(image, place of an L1 table of 16 MiB whose entries name one L2 table, number of entries)."""
    q = Writer(bits=9)
    q.refcounts()
    l2 = q.words([COPIED | 1 << 9] * 64)
    q.l1([COPIED | l2] * 64)
    n = 2 * MiB
    return q, q.words([l2] * n), n


@case
def snapshots_sharing_a_large_l1():
    """65536 snapshots whose L1 tables overlap, all entries naming one table."""
    q, l1, n = with_a_large_l1_to_share()
    q.fields['snapshots'] = (q.put(b''.join(snapshot(l1 + 512 * (i % 16000), n - i, i)
                                            for i in range(65536))), 65536)
    return q


@case
def snapshots_with_one_l1():
    q, l1, n = with_a_large_l1_to_share()
    q.fields['snapshots'] = (q.put(b''.join(snapshot(l1, n, i) for i in range(65536))), 65536)
    return q


@case
def snapshots_claiming_32_gib_tables():
    q = Writer(bits=9)
    q.refcounts()
    q.l1([0] * 64)
    q.fields['snapshots'] = (q.put(b''.join(snapshot(512 * (i + 1), 0xffffffff, i, size=1 << 62)
                                            for i in range(65536))), 65536)
    return q


@case
def snapshots_of_zeroes_behind_the_end():
    q = Writer(bits=16)
    q.refcounts()
    q.l1([0, 0])
    q.fields['snapshots'] = (1 << 40, 65536)
    return q


# ---- bitmaps

def bitmap(table, entries, granularity, name, flags=2):
    entry = struct.pack('>QIIBBHI', table, entries, flags, 1, granularity, len(name), 0) + name
    return entry + bytes(-len(entry) % 8)


def put_bitmaps(q, entries):
    directory = b''.join(entries)
    at = q.put(directory)
    q.extensions = struct.pack('>IIIIQQ', 0x23852875, 24, len(entries), 0, len(directory), at)


@case
def bitmaps_65535_with_one_table():
    q = Writer(bits=16, size=1 << 30)
    q.refcounts()
    q.l1([0, 0])
    table = q.words([1] * 4)
    put_bitmaps(q, [bitmap(table, 4, 9, b'bitmap%06d' % i) for i in range(65535)])
    return q


@case
def bitmap_of_all_ones_for_a_huge_disk():
    q = Writer(bits=16)
    q.refcounts()
    n = q.room // 8 // 8192 * 8192 // 2
    q.size = n << 28
    q.l1([0] * (q.size >> 29))
    table = q.words([1] * (q.room // 8 - 32768))
    put_bitmaps(q, [bitmap(table, q.size >> (9 + 19), 9, b'ones')])
    return q


@case
def bitmaps_sharing_a_huge_table():
    q = Writer(bits=9, size=64 << 15)
    q.refcounts()
    q.l1([0] * 64)
    table = q.words([512] * (2 * MiB))
    put_bitmaps(q, [bitmap(table + 512 * i, 2 * MiB, 9, b'%05d' % i) for i in range(20000)])
    return q


# ---- compressed clusters

def bomb(size):
    c = zlib.compressobj(9, zlib.DEFLATED, -12)
    return c.compress(bytes(size)) + c.flush()


def compressed_entry(bits, at, length):
    sectors = (at + length - 1) // 512 - at // 512
    return COMPRESSED | sectors << (62 - (bits - 8)) | at


@case
def compressed_bombs_everywhere():
    """Every cluster of 2 MiB is the same few hundred bytes."""
    q = Writer(bits=21, order=6)
    q.refcounts()
    packed = bomb(2 * MiB)
    at = q.put(packed)
    l2 = q.words([compressed_entry(21, at, len(packed))] * (2 * MiB // 8))
    q.l1([COPIED | l2] * (2 * MiB // 8))
    q.size = (2 * MiB // 8) << 39
    return q


@case
def compressed_bombs_in_tables_of_their_own():
    """The same, but the L1 table alone looks sound."""
    q = Writer(bits=21, order=6)
    q.refcounts()
    packed = bomb(2 * MiB)
    at = q.put(packed)
    table = struct.pack('>Q', compressed_entry(21, at, len(packed))) * (2 * MiB // 8)
    tables = [q.put(table) for _ in range(q.room // q.cluster - 1)]
    q.l1([COPIED | t for t in tables])
    q.size = len(tables) << 39
    return q


@case
def compressed_overlapping_garbage():
    q = Writer(bits=16)
    q.refcounts()
    junk = bytes((i * 197 + (i >> 8) * 31) & 255 for i in range(4 * MiB))
    at = q.put(junk)
    tables = [q.words([compressed_entry(16, at + (i * 8192 + k) * 37 % (4 * MiB - 70000), 65536)
                       for k in range(8192)]) for i in range(100)]
    q.l1([COPIED | t for t in tables])
    q.size = len(tables) << 29
    return q


@case
def compressed_with_small_clusters_overlapping():
    q = Writer(bits=9)
    q.refcounts(2)
    n = (q.room - 512 * 600) // (512 + 8) // 64 * 64
    first = len(q.data)
    for i in range(n):
        q.words([compressed_entry(9, first + ((i * 64 + k) * 512) % (n * 512), 1000)
                 for k in range(64)])
    q.l1([COPIED | (first + i * 512) for i in range(n)])
    q.size = n << 15
    return q


# ---- running

def run(command, cwd, cpu, memory, code=None):
    """(what is wrong or None, seconds, MiB) of one job, which should exit with @code (None: any)."""
    if WATCHED:
        cpu, memory = 30 * cpu, float('inf')    # watchers have memory of their own

    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu * 2) + 2, int(cpu * 2) + 3))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    with open(os.devnull, 'wb') as nowhere, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=nowhere,
                                   stderr=errors, preexec_fn=limit,
                                   env=dict(os.environ, LC_ALL='C'))
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        why = errors.read(100000).decode(errors='replace')
    seconds, mib = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    wrong = None
    if process.returncode < 0:
        wrong = f'signal {-process.returncode}: {why[-200:]}'
    elif seconds > cpu or mib > memory:
        wrong = TOO_MUCH
    elif code not in (None, process.returncode):
        wrong = f'exit code {process.returncode}: {why[-200:]}'
    return wrong, seconds, mib


def run_case(name, jobs, folder):
    """Lines of the result of one image."""
    path = os.path.join(folder, name)
    # In a process of its own: a child's peak of memory begins with what its parent has.
    subprocess.run([sys.executable, '-B', __file__, name, path], check=True)
    lines = []
    for job, command, cpu, memory in JOBS:
        if jobs and job not in jobs:
            continue
        words = [str(BUILD / command[0]), *command[1:]]
        words = [path if w == 'IMAGE' else w for w in words] + [path]
        code = int(name in REFUSED) if job.startswith('info') else None
        wrong, seconds, mib = run(words, folder, cpu, memory, code)
        # On a busy machine even CPU time varies. Jobs with so little of it change nothing.
        for _ in range(2):
            if wrong != TOO_MUCH or cpu >= 1:
                break
            wrong, seconds, mib = run(words, folder, cpu, memory, code)
        lines.append(f'{"not ok" if wrong else "ok"} hostile-images/{name}-{job} '
                     f'{wrong or ""} ({seconds:.2f} s of {cpu}, {mib:.0f} MiB of {memory})')
    os.unlink(path)
    return lines


def main(cases=None, jobs=None):
    """Those of @cases (all) under those of @jobs (all)."""
    wanted = sys.argv[1:] or cases
    names = [n for n in CASES if not wanted or n in wanted]
    bad = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for lines in pool.map(lambda n: run_case(n, jobs, folder), names):
            for line in lines:
                print(line, flush=True)
                bad += line.startswith('not ok')
    return bad > 0


if __name__ == '__main__':
    CASES[sys.argv[1]]().write(sys.argv[2])
