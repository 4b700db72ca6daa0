# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged qcow2 images, for qcow2-check.py and qcow2-repair.py in tests/compat.

Each case damages a fresh image by writing to fields of its metadata. Compared are exit code, standard
output as text and as JSON, and all lines of standard error that do not begin with the tool's name;
after a repair of ours the reference must find the image no worse than after its own.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

REFERENCE = os.environ.get('FERRY_REFERENCE', '/usr/bin')
OURS = os.environ.get('FERRY_BUILD', str(pathlib.Path(__file__).parents[2] / 'build'))
COPIED, COMPRESSED = 1 << 63, 1 << 62
OFFSET = 0xfffffffffffe00
CASES = []


def run(folder, tool, *args, cwd=None):
    env = dict(os.environ, LC_ALL='C')
    p = subprocess.run([f'{folder}/{tool}', *args], capture_output=True, env=env, timeout=100,
                       stdin=subprocess.DEVNULL, cwd=cwd)
    return p.returncode, p.stdout.decode(errors='replace'), p.stderr.decode(errors='replace')


class Image:
    """An open image file whose fields can be read and written."""

    def __init__(self, path):
        self.f = open(path, 'r+b')
        self.bits = self.get(20, 4)
        self.cluster = 1 << self.bits
        self.l1 = self.get(40)
        self.reftable = self.get(48)
        self.snapshots = self.get(64)
        self.width = 1 << self.get(96, 4) if self.get(4, 4) == 3 else 16
        self.entry = 16 if self.get(4, 4) == 3 and self.get(72) & 16 else 8

    def get(self, off, n=8):
        self.f.seek(off)
        return int.from_bytes(self.f.read(n), 'big')

    def put(self, off, value, n=8):
        self.f.seek(off)
        self.f.write(value.to_bytes(n, 'big'))

    def change(self, off, xor, n=8):
        self.put(off, self.get(off, n) ^ xor, n)

    def l2(self, i, l1=0):
        return (self.get(self.l1 + 8 * l1) & OFFSET) + self.entry * i

    def count(self, cluster, value):
        per = self.cluster * 8 // self.width
        block = self.get(self.reftable + 8 * (cluster // per)) & ~511
        n = self.width // 8
        self.put(block + cluster % per * n, value, n)

    @property
    def end(self):
        return self.f.seek(0, 2)

    def extension(self, kind):
        at = self.get(100, 4) if self.get(4, 4) == 3 else 72
        while self.get(at, 4) not in (0, kind):
            at += 8 + (self.get(at + 4, 4) + 7) // 8 * 8
        return at + 8


def case(name, base='plain', modes=('', 'leaks', 'all'), better=False):
    """Adds a case. @better: our repair is allowed to differ from the reference's and must be clean."""
    def add(fn):
        CASES.append((name, base, modes, better, fn))
        return fn
    return add


def simple(name, fn, **how):
    case(name, **how)(fn)


# ---- the images to damage

def base_plain(path, options='', size='1M', commands=('write 0 192k', 'write 512k 64k')):
    opts = ['-o', options] if options else []
    run(REFERENCE, 'qemu-img', 'create', '-q', '-f', 'qcow2', *opts, path, size,
        cwd=os.path.dirname(path))
    for c in commands:
        code, out, err = run(REFERENCE, 'qemu-io', '-f', 'qcow2', '-c', c, path,
                             cwd=os.path.dirname(path))
        assert code == 0, (path, out, err)


def base_snapshot(path, count=1, **how):
    base_plain(path, **how)
    for i in range(count):
        run(REFERENCE, 'qemu-img', 'snapshot', '-c', f's{i}', path)
    run(REFERENCE, 'qemu-io', '-f', 'qcow2', '-c', 'write 64k 64k', path)


def base_bitmap(path, count=1, **how):
    base_plain(path, **how)
    for i in range(count):
        run(REFERENCE, 'qemu-img', 'bitmap', '--add', path, f'b{i}')
    run(REFERENCE, 'qemu-io', '-f', 'qcow2', '-c', 'write 64k 64k', path)


BASES = {
    'plain': base_plain,
    'v2': lambda p: base_plain(p, 'compat=0.10'),
    'wide': lambda p: base_plain(p, size='2G', commands=('write 0 64k', 'write 512M 64k',
                                                         'write 600M 64k', 'write 1G 64k')),
    'small-clusters': lambda p: base_plain(p, 'cluster_size=512', commands=('write 0 64k',
                                                                            'write 300k 20k')),
    'compressed': lambda p: base_plain(p, commands=('write -c 0 192k', 'write 512k 64k')),
    '1-bit': lambda p: base_plain(p, 'refcount_bits=1'),
    'extended': lambda p: base_plain(p, 'extended_l2=on'),
    'extended-compressed': lambda p: base_plain(p, 'extended_l2=on', commands=('write -c 0 64k',)),
    'snapshot': base_snapshot,
    'two-snapshots': lambda p: base_snapshot(p, 2),
    'v2-snapshot': lambda p: base_snapshot(p, options='compat=0.10'),
    'bitmap': base_bitmap,
    'two-bitmaps': lambda p: base_bitmap(p, 2),
    'empty': lambda p: base_plain(p, commands=()),
    'many': lambda p: base_plain(p, 'cluster_size=4k,refcount_bits=64', '64M',
                                 ('write 0 8M', 'write 20M 3M', 'write 12M 1M')),
}
for bits in (1, 2, 4, 8, 32, 64):
    BASES[f'refcount-{bits}'] = lambda p, b=bits: base_plain(p, f'refcount_bits={b}')
for kind in ('', ',data_file_raw=on'):
    BASES['data-file' + ('-raw' if kind else '')] = \
        lambda p, k=kind: base_plain(p, f'data_file=data{k}')

for name in BASES:
    simple(f'intact-{name}', lambda q: None, base=name)

# ---- refcounts

simple('count-0-data', lambda q: q.count(7, 0))
simple('count-0-header', lambda q: q.count(0, 0))
simple('count-0-tables', lambda q: [q.count(i, 0) for i in (0, 1, 2, 3, 4)])
simple('count-0-l1', lambda q: q.count(3, 0))
simple('count-5-data', lambda q: q.count(7, 5))
simple('count-2-l2', lambda q: q.count(4, 2))
simple('count-2-reftable', lambda q: q.count(1, 2))
simple('count-behind-end', lambda q: q.count(100, 1))
simple('count-just-behind-end', lambda q: q.count(9, 1))
simple('count-5-refcount-8', lambda q: q.count(7, 5), base='refcount-8')
simple('count-5-refcount-32', lambda q: q.count(7, 5), base='refcount-32')
simple('count-huge-refcount-64', lambda q: q.count(7, 1 << 63), base='refcount-64')
simple('count-lost-refcount-1', lambda q: q.put(2 * q.cluster, 0x7f, 1), base='refcount-1')
simple('count-lost-refcount-2', lambda q: q.put(2 * q.cluster + 1, 0x15, 1), base='refcount-2')
simple('count-lost-refcount-4', lambda q: q.put(2 * q.cluster + 3, 0x01, 1), base='refcount-4')
simple('count-overflow-refcount-1', lambda q: q.put(q.l2(1), q.get(q.l2(0))), base='refcount-1')
simple('many-counts-0', lambda q: [q.count(i, 0) for i in range(100, 900, 7)], base='many')
simple('many-counts-9', lambda q: [q.count(i, 9) for i in range(100, 900, 7)], base='many')
simple('many-mixed', lambda q: [q.count(i, i % 3) for i in range(100, 900, 5)], base='many')

# ---- the refcount table

simple('block-0', lambda q: q.put(q.reftable, 0))
simple('block-reserved-bit', lambda q: q.change(q.reftable, 2), better=True)
simple('block-unaligned', lambda q: q.change(q.reftable, 512), modes=('', 'all'), better=True)
simple('block-behind-end', lambda q: q.put(q.reftable, 1 << 40), better=True)
simple('second-block-behind-end', lambda q: q.put(q.reftable + 8, 1 << 40), better=True)
simple('block-twice', lambda q: q.put(q.reftable + 8, q.get(q.reftable)))
simple('block-is-data', lambda q: q.put(q.reftable + 8, 7 * q.cluster))
simple('reftable-behind-end', lambda q: q.put(48, 1 << 24))
simple('reftable-clusters-0', lambda q: q.put(56, 0, 4))
simple('reftable-is-header', lambda q: q.put(48, 0), better=True)
simple('reftable-too-long', lambda q: q.put(56, 5, 4), better=True)

# ---- L1

simple('l1-no-copied', lambda q: q.change(q.l1, COPIED))
simple('l1-reserved-bit', lambda q: q.change(q.l1, 2))
simple('l1-reserved-high-bit', lambda q: q.change(q.l1, 1 << 60))
simple('l1-entry-0', lambda q: q.put(q.l1, 0))
simple('l1-l2-behind-end', lambda q: q.put(q.l1, COPIED | 1 << 40))
simple('l1-l2-unaligned', lambda q: q.change(q.l1, 512))
simple('l1-l2-is-header', lambda q: q.put(q.l1, COPIED | 0x10000), modes=('',))
simple('l1-l2-shared', lambda q: q.put(q.l1 + 8, q.get(q.l1)), base='wide')
simple('l1-behind-end', lambda q: q.put(40, 1 << 24))
simple('l1-is-header', lambda q: q.put(40, 0), modes=('',))

# ---- L2

simple('l2-no-copied', lambda q: q.change(q.l2(1), COPIED))
simple('l2-no-copied-all', lambda q: [q.change(q.l2(i), COPIED) for i in (0, 1, 2, 8)])
simple('l2-no-copied-leaf-2', lambda q: q.change(q.l2(0, 1), COPIED), base='wide')
simple('l2-shared-data', lambda q: q.put(q.l2(1), q.get(q.l2(0))))
simple('l2-shared-data-wide', lambda q: q.put(q.l2(0, 2), q.get(q.l2(0))), base='wide')
simple('l2-unaligned', lambda q: q.change(q.l2(1), 512))
simple('l2-unaligned-zero', lambda q: q.change(q.l2(1), 513))
simple('l2-reserved-bit', lambda q: q.change(q.l2(1), 2))
simple('l2-reserved-bit-unallocated', lambda q: q.put(q.l2(4), 2))
simple('l2-reserved-bit-zero', lambda q: q.put(q.l2(4), 3))
simple('l2-reserved-high-bit', lambda q: q.change(q.l2(1), 1 << 59))
simple('l2-copied-unallocated', lambda q: q.put(q.l2(4), COPIED))
simple('l2-zero', lambda q: q.put(q.l2(1), 1))
simple('l2-zero-allocated', lambda q: q.change(q.l2(1), 1))
simple('l2-zero-in-v2', lambda q: q.change(q.l2(1), 1), base='v2')
simple('l2-behind-end', lambda q: q.put(q.l2(1), COPIED | 1 << 40))
simple('l2-at-end', lambda q: q.put(q.l2(3), COPIED | q.end))
simple('l2-over-reftable', lambda q: q.put(q.l2(1), COPIED | q.cluster))
simple('l2-over-l1', lambda q: q.put(q.l2(1), COPIED | q.l1))
simple('l2-over-itself', lambda q: q.put(q.l2(1), COPIED | q.l2(0)))
simple('l2-over-itself-not-copied', lambda q: q.put(q.l2(1), q.l2(0)))
simple('l2-over-itself-free', lambda q: q.put(q.l2(5), COPIED | q.l2(0)))
simple('l2-over-itself-1-bit', lambda q: q.put(q.l2(1), COPIED | q.l2(0)), base='1-bit')
simple('l2-copied-over-refblock', lambda q: q.put(q.l2(1), 2 * q.cluster))


@case('l2-over-itself-and-unaligned-zero')
def _(q):
    q.put(q.l2(1), COPIED | q.l2(0))
    q.change(q.l2(2), 513)


@case('l2-over-l1-not-copied')
def _(q):
    q.put(q.l2(1), q.l1)
    q.change(q.l1, COPIED)


@case('l2-partial-last-cluster')
def _(q):
    q.f.truncate(q.end + 100)
    q.put(q.l2(1), COPIED | 9 * q.cluster)


# ---- length of the file

simple('file-cut-in-last-cluster', lambda q: q.f.truncate(q.end - 100))
simple('file-cut-by-a-cluster', lambda q: q.f.truncate(q.end - q.cluster))
simple('file-cut-to-l2', lambda q: q.f.truncate(5 * q.cluster))
# The reference puts new refcounts where the lost L1 table was, and gives up when it notices.
simple('file-cut-to-refcounts', lambda q: q.f.truncate(q.cluster * 3 // 2), better=True)
simple('file-longer', lambda q: q.f.truncate(q.end + 3 * q.cluster))

# ---- compressed clusters

LOW = (1 << 54) - 1
simple('compressed-copied', lambda q: q.change(q.l2(0), COPIED), base='compressed')
simple('compressed-count-1', lambda q: q.count(5, 1), base='compressed')
simple('compressed-count-9', lambda q: q.count(5, 9), base='compressed')
simple('compressed-at-end', lambda q: q.put(q.l2(0), q.get(q.l2(0)) & ~LOW | q.end),
       base='compressed')
simple('compressed-in-last-sector', lambda q: q.put(q.l2(0), q.get(q.l2(0)) & ~LOW | q.end - 512),
       base='compressed')
simple('compressed-at-0', lambda q: q.put(q.l2(0), q.get(q.l2(0)) & ~LOW), base='compressed')
simple('compressed-long', lambda q: q.put(q.l2(0), q.get(q.l2(0)) | 0xff << 54), base='compressed')
simple('compressed-far', lambda q: q.put(q.l2(0), COMPRESSED | (1 << 62) - 1), base='compressed')

# ---- extended L2 entries

simple('extended-zero-flag', lambda q: q.change(q.l2(0), 1), base='extended')
simple('extended-both-bits', lambda q: q.put(q.l2(0) + 8, 0x100000001), base='extended')
simple('extended-allocated-nowhere', lambda q: q.put(q.l2(4) + 8, 1), base='extended')
simple('extended-zero-nowhere', lambda q: q.put(q.l2(4) + 8, 1 << 33), base='extended')
simple('extended-no-copied', lambda q: q.change(q.l2(0), COPIED), base='extended')
simple('extended-unaligned', lambda q: q.change(q.l2(1), 512), base='extended')
simple('extended-compressed-bits', lambda q: q.put(q.l2(0) + 8, 1), base='extended-compressed')


@case('extended-unaligned-zero', base='extended')
def _(q):
    q.change(q.l2(1), 512)
    q.put(q.l2(1) + 8, 0xffffffff << 32)


# ---- external data file

simple('data-file-no-copied', lambda q: q.change(q.l2(0), COPIED), base='data-file')
simple('data-file-far', lambda q: q.put(q.l2(1), COPIED | 1 << 40), base='data-file')
simple('data-file-unaligned', lambda q: q.put(q.l2(1), COPIED | 512), base='data-file')
simple('data-file-compressed', lambda q: q.put(q.l2(1), COMPRESSED | 512), base='data-file')
simple('data-file-raw-elsewhere', lambda q: q.put(q.l2(1), COPIED | 0x20000), base='data-file-raw')

# ---- feature bits

simple('dirty', lambda q: q.put(72, 1))
simple('corrupt', lambda q: q.put(72, 2))


@case('dirty-and-leak')
def _(q):
    q.put(72, 1)
    q.count(8, 2)


@case('dirty-and-error')
def _(q):
    q.put(72, 1)
    q.count(8, 0)


@case('corrupt-and-leak')
def _(q):
    q.put(72, 2)
    q.count(8, 2)


# ---- snapshots

simple('snapshot-l1-unaligned', lambda q: q.change(q.snapshots, 512), base='snapshot')
simple('snapshot-l1-behind-end', lambda q: q.put(q.snapshots, 1 << 40), base='snapshot')
simple('snapshot-l1-huge', lambda q: q.put(q.snapshots + 8, 0xffffffff, 4), base='snapshot',
       modes=('', 'leaks'))
simple('snapshot-l1-copied', lambda q: q.change(q.get(q.snapshots), COPIED), base='snapshot')
simple('snapshot-l2-unaligned', lambda q: q.change(q.get(q.snapshots), 512), base='snapshot')
simple('snapshot-l2-data-at-end',
       lambda q: q.put((q.get(q.get(q.snapshots)) & OFFSET) + 24, COPIED | q.end), base='snapshot')
simple('snapshot-extra-small', lambda q: q.put(q.snapshots + 36, 8, 4), base='snapshot')
simple('snapshot-extra-large', lambda q: q.put(q.snapshots + 36, 2000, 4), base='snapshot')
simple('snapshot-extra-0-v2', lambda q: q.put(q.snapshots + 36, 0, 4), base='v2-snapshot')
simple('snapshot-id-long', lambda q: q.put(q.snapshots + 12, 60000, 2), base='snapshot')
simple('snapshot-count-too-large', lambda q: q.put(60, 5, 4), base='two-snapshots')
simple('snapshot-count-too-small', lambda q: q.put(60, 1, 4), base='two-snapshots')
simple('snapshot-count-0', lambda q: q.put(60, 0, 4), base='snapshot')
simple('snapshot-count-huge', lambda q: q.put(60, 100000, 4), base='snapshot',
       modes=('', 'leaks'))
simple('snapshot-table-unaligned', lambda q: q.put(64, q.snapshots + 512), base='snapshot')
simple('snapshot-table-behind-end', lambda q: q.put(64, 1 << 40), base='snapshot', better=True)
simple('snapshot-table-at-0', lambda q: q.put(64, 0), base='snapshot')
simple('snapshot-table-count-0', lambda q: q.count(q.snapshots // q.cluster, 0), base='snapshot')

# ---- bitmaps

BITMAPS = 0x23852875


def directory(q):
    return q.get(q.extension(BITMAPS) + 16)


def table(q):
    return q.get(directory(q))


simple('bitmap-data-behind-end', lambda q: q.put(table(q), 1 << 40), base='bitmap',
       modes=('',))
simple('bitmap-data-all-ones', lambda q: q.put(table(q), 1), base='bitmap')
simple('bitmap-table-behind-end', lambda q: q.put(directory(q), 1 << 40), base='bitmap',
       modes=('',))
simple('bitmap-in-use', lambda q: q.put(directory(q) + 12, 1, 4), base='bitmap')
simple('bitmap-not-trusted', lambda q: q.put(88, 0), base='bitmap')
simple('bitmap-table-count-3', lambda q: q.count(table(q) // q.cluster, 3), base='bitmap')
for what, fn in {
        'data-unaligned': lambda q: q.change(table(q), 512),
        'data-reserved-bit': lambda q: q.change(table(q), 2),
        'table-unaligned': lambda q: q.put(directory(q), table(q) + 512),
        'table-huge': lambda q: q.put(directory(q) + 8, 1 << 27, 4),
        'table-2-entries': lambda q: q.put(directory(q) + 8, 2, 4),
        'flag-unknown': lambda q: q.put(directory(q) + 12, 16, 4),
        'type-2': lambda q: q.put(directory(q) + 16, 2, 1),
        'granularity-3': lambda q: q.put(directory(q) + 17, 3, 1),
        'granularity-40': lambda q: q.put(directory(q) + 17, 40, 1),
        'name-0': lambda q: q.put(directory(q) + 18, 0, 2),
        'name-2000': lambda q: q.put(directory(q) + 18, 2000, 2),
        'extra-8': lambda q: q.put(directory(q) + 20, 8, 4),
        'count-0': lambda q: q.put(q.extension(BITMAPS), 0, 4),
        'directory-behind-end': lambda q: q.put(q.extension(BITMAPS) + 16, 1 << 40),
        'directory-unaligned': lambda q: q.put(q.extension(BITMAPS) + 16, directory(q) + 512),
        'directory-huge': lambda q: q.put(q.extension(BITMAPS) + 8, 1 << 30),
        'extension-short': lambda q: q.put(q.extension(BITMAPS) - 4, 16, 4),
        'reserved-field': lambda q: q.put(q.extension(BITMAPS) + 4, 1, 4)}.items():
    simple(f'bitmap-{what}', fn, base='bitmap')
simple('bitmap-count-3', lambda q: q.put(q.extension(BITMAPS), 3, 4), base='two-bitmaps')
simple('bitmap-count-1', lambda q: q.put(q.extension(BITMAPS), 1, 4), base='two-bitmaps')


# ---- comparing

def visible(result):
    """What is contract of (exit code, output, errors)."""
    code, out, err = result
    # The reference ends one warning without a newline.
    err = re.sub(r"Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix\.",
                 '', err)
    lines = [x for x in err.splitlines() if x and not x.startswith(('qemu-img:', 'qemu-io:'))]
    return code, out, lines


def without_end(result):
    code, out, lines = result
    return code, re.sub(r'(Image end offset: |"image-end-offset": )\d+', r'\1#', out), lines


def difference(a, b):
    for what, x, y in zip(('exit code', 'output', 'errors'), a, b):
        if x != y:
            return f'{what}: ours {x!r}, reference {y!r}'
    return None


def try_case(name, base, modes, better, fn, masters, folder):
    master = os.path.join(folder, f'{name}.master')
    shutil.copytree(masters[base], master)
    q = Image(os.path.join(master, 'img'))
    fn(q)
    q.f.close()
    for mode in modes:
        fix = ['-r', mode] if mode else []
        for output in ('human',) if mode else ('human', 'json'):
            results, after = [], []
            for who, tools in (('ours', OURS), ('reference', REFERENCE)):
                path = os.path.join(folder, f'{name}.{who}')
                shutil.copytree(master, path)
                r = visible(run(tools, 'qemu-img', 'check', '-f', 'qcow2', f'--output={output}',
                                *fix, 'img', cwd=path))
                results.append(r if not mode else without_end(r))
                after.append(run(REFERENCE, 'qemu-img', 'check', '-f', 'qcow2', 'img', cwd=path)[0]
                             if mode else r[0])
                shutil.rmtree(path)
            if better and mode == 'all':
                if results[0][0] or after[0]:
                    return f'-r {mode}: ours ends with {results[0]}, then the reference {after[0]}'
                continue
            if better and mode:
                continue
            why = difference(*results)
            if why:
                return f'check {mode} {output}: {why}'
            if after[0] != after[1]:
                return f'-r {mode}: the reference ends with {after[0]}, after its own {after[1]}'
    shutil.rmtree(master)
    return None


def main(modes):
    """Runs the cases in those of @modes that they are for."""
    if not os.access(f'{REFERENCE}/qemu-img', os.X_OK):
        print('no reference is installed')
        sys.exit(77)
    wanted = sys.argv[1:]
    folder = tempfile.mkdtemp()
    bad = 0
    try:
        masters = {}
        for name, make in BASES.items():
            masters[name] = os.path.join(folder, f'base-{name}')
            os.mkdir(masters[name])
            make(os.path.join(masters[name], 'img'))
        cases = [(n, base, [m for m in own if m in modes], better, fn)
                 for n, base, own, better, fn in CASES
                 if not wanted or any(w in n for w in wanted)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            jobs = [(c[0], pool.submit(try_case, *c, masters, folder)) for c in cases]
            for name, job in jobs:
                try:
                    why = job.result()
                except subprocess.TimeoutExpired:
                    why = 'no end'
                bad += why is not None
                print(f'not ok {name} {why}' if why else f'ok {name}', flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0

