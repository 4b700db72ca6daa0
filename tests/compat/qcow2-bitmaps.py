#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Persistent bitmaps: the same commands by us, by the reference, and by both in turn.

After each command the bitmaps in the file (names, flags, granularity, bits, read by a parser of our
own here) must be the same whoever did what, and the reference's check must find nothing.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

REFERENCE = os.environ.get('FERRY_REFERENCE', '/usr/bin')
OURS = os.environ.get('FERRY_BUILD', str(pathlib.Path(__file__).parents[2] / 'build'))
EXTENSION, OFFSET = 0x23852875, 0x00fffffffffffe00
IN_USE, AUTO = 1, 2


def run(folder, line, cwd):
    tool, *args = line
    p = subprocess.run([f'{folder}/{tool}', *args], cwd=cwd, capture_output=True, timeout=60,
                       stdin=subprocess.DEVNULL)
    return p.returncode


def bitmaps(path):
    """All bitmaps of an image: {name: (flags, granularity, bits as runs)}."""
    with open(path, 'rb') as f:
        def get(off, n):
            f.seek(off)
            return int.from_bytes(f.read(n).ljust(n, b'\0'), 'big')
        cluster, size = 1 << get(20, 4), get(24, 8)
        at = get(100, 4)
        while get(at, 4) not in (0, EXTENSION):
            at += 8 + (get(at + 4, 4) + 7) // 8 * 8
        found = {}
        if get(at, 4) == 0 or not get(88, 8) & 1:
            return found
        entry, end = get(at + 24, 8), get(at + 24, 8) + get(at + 16, 8)
        while entry < end:
            table, length, flags = get(entry, 8), get(entry + 8, 4), get(entry + 12, 4)
            granule, name_len = 1 << get(entry + 17, 1), get(entry + 18, 2)
            f.seek(entry + 24)
            name = f.read(name_len).decode()
            data = b''
            for i in range(length):
                desc = get(table + 8 * i, 8)
                f.seek(desc & OFFSET)
                data += f.read(cluster).ljust(cluster, b'\0') if desc & OFFSET else \
                    (b'\xff' if desc & 1 else b'\0') * cluster
            bits = -(-size // granule)
            number = int.from_bytes(data, 'little') & (1 << bits) - 1
            assert len(data) * 8 >= bits, 'table too short'
            found[name] = (flags, granule, hex(number) if not flags & IN_USE else None)
            entry += (24 + name_len + 7) // 8 * 8
        return found


def io(*commands):
    return ['qemu-io', '-f', 'qcow2'] + [x for c in commands for x in ('-c', c)] + ['a.qcow2']


def bitmap(*args):
    return ['qemu-img', 'bitmap', *args]


def story(options, size, granularity):
    g = ['-g', str(granularity)] if granularity else []
    return [
        ['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, 'a.qcow2', size],
        bitmap('--add', *g, 'a.qcow2', 'one'),
        io('write 0 64k', 'write 300k 1k', 'write -z 512k 64k'),
        bitmap('--add', *g, 'a.qcow2', 'two'),
        bitmap('--disable', 'a.qcow2', 'one'),
        io('write 700k 100k', 'write -z 900k 10k'),
        bitmap('--add', '--disable', '-g', '1M', 'a.qcow2', 'coarse'),
        bitmap('--merge', 'two', '--merge', 'one', 'a.qcow2', 'coarse'),
        bitmap('--enable', 'a.qcow2', 'one'),
        io('write 1000k 1k'),
        bitmap('--clear', 'a.qcow2', 'two'),
        ['qemu-img', 'resize', '-q', 'a.qcow2', '+3M'],
        io('write 2M 1M', 'write 1023k 2k'),
        bitmap('--remove', 'a.qcow2', 'one'),
        ['qemu-img', 'convert', '-f', 'qcow2', '-O', 'qcow2', '--bitmaps', 'a.qcow2', 'b.qcow2'],
        bitmap('--merge', 'two', '-b', 'b.qcow2', '-F', 'qcow2', 'a.qcow2', 'coarse'),
        ['qemu-img', 'resize', '-q', '--shrink', 'a.qcow2', '1M'],
        io('write 0 1M'),
        bitmap('--remove', 'a.qcow2', 'two'),
        bitmap('--remove', 'a.qcow2', 'coarse'),
        io('write 0 1k'),
    ]


STORIES = {
    'plain': ('cluster_size=64k', '1M', 0),
    'fine': ('cluster_size=64k', '5M', 512),
    'small-clusters': ('cluster_size=512', '8M', 512),
    'large-clusters': ('cluster_size=2M', '40M', 4096),
    'odd-size': ('cluster_size=4k', '1049088', 65536),
    'extended': ('extended_l2=on', '4M', 0),
    'lazy': ('lazy_refcounts=on', '4M', 0),
}


def tell(name, why):
    print(f'not ok {name} {why}' if why else f'ok {name}', flush=True)
    return why is not None


def try_story(options, size, granularity, folder):
    ways = {'reference': lambda i: REFERENCE, 'ours': lambda i: OURS,
            'in-turn': lambda i: (OURS, REFERENCE)[i % 2]}
    for way in ways:
        os.mkdir(os.path.join(folder, way))
    for i, line in enumerate(story(options, size, granularity)):
        seen = {}
        for way, pick in ways.items():
            cwd = os.path.join(folder, way)
            code = run(pick(i), line, cwd)
            names = [n for n in ('a.qcow2', 'b.qcow2') if os.path.exists(os.path.join(cwd, n))]
            seen[way] = (code, {n: bitmaps(os.path.join(cwd, n)) for n in names})
            for n in names:
                if run(REFERENCE, ['qemu-img', 'check', '-q', n], cwd):
                    return f'{way}: step {i}, {" ".join(line)}: {n} is damaged'
        for way in ways:
            if seen[way] != seen['reference']:
                return f'{way}: step {i}, {" ".join(line)}: {seen[way]}, not {seen["reference"]}'
    return None


def first_bitmap(path):
    """Offset of the flags of the first bitmap in the file."""
    with open(path, 'rb') as f:
        data = f.read(4096)
    at = int.from_bytes(data[100:104], 'big')
    while int.from_bytes(data[at:at + 4], 'big') != EXTENSION:
        at += 8 + (int.from_bytes(data[at + 4:at + 8], 'big') + 7) // 8 * 8
    return int.from_bytes(data[at + 24:at + 32], 'big') + 12


def patch(path, off, value, n):
    with open(path, 'r+b') as f:
        f.seek(off)
        f.write(value.to_bytes(n, 'big'))


def try_in_use(folder):
    """A bitmap found in use is inconsistent: kept as it is, refused, can be removed."""
    path = os.path.join(folder, 'a.qcow2')
    for line in story('cluster_size=64k', '1M', 0)[:4]:
        run(REFERENCE, line, folder)
    patch(path, first_bitmap(path), IN_USE | AUTO, 4)
    before = bitmaps(path)
    if run(OURS, io('write 64k 64k'), folder):
        return 'cannot be written'
    after = bitmaps(path)
    if after['one'] != before['one'] or after['two'][2] == before['two'][2]:
        return f'{after} after {before}'
    if not run(OURS, bitmap('--clear', 'a.qcow2', 'one'), folder):
        return 'an inconsistent bitmap was cleared'
    if run(OURS, bitmap('--remove', 'a.qcow2', 'one'), folder):
        return 'an inconsistent bitmap was not removed'
    if run(REFERENCE, ['qemu-img', 'check', '-q', 'a.qcow2'], folder) or \
            list(bitmaps(path)) != ['two']:
        return f'{bitmaps(path)} after removal'
    return None


def try_not_trusted(folder):
    """Without the autoclear bit there are no bitmaps; a writer leaves none."""
    path = os.path.join(folder, 'a.qcow2')
    for line in story('cluster_size=64k', '1M', 0)[:4]:
        run(REFERENCE, line, folder)
    patch(path, 88, 0, 8)
    p = subprocess.run([f'{OURS}/qemu-img', 'info', '--output=json', 'a.qcow2'], cwd=folder,
                       capture_output=True)
    if 'bitmaps' in json.loads(p.stdout)['format-specific']['data']:
        return 'info shows bitmaps that are not to be trusted'
    if run(OURS, io('write 64k 64k'), folder):
        return 'cannot be written'
    return None


def try_version_2(folder):
    run(REFERENCE, ['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', 'a.qcow2',
                    '1M'], folder)
    return None if run(OURS, bitmap('--add', 'a.qcow2', 'b'), folder) else 'a bitmap was added'


def main():
    if not os.access(f'{REFERENCE}/qemu-img', os.X_OK):
        print('no reference is installed')
        return 77
    bad = 0
    tests = {f'same-{n}': lambda d, s=s: try_story(*s, d) for n, s in STORIES.items()}
    tests.update({'in-use-is-inconsistent': try_in_use, 'autoclear-is-honoured': try_not_trusted,
                  'version-2-refused': try_version_2})
    for name, test in tests.items():
        if sys.argv[1:] and not any(a in name for a in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            bad += tell(name, test(folder))
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
