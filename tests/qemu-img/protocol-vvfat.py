#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders shown as FAT disks: beside the reference, and as mtools and fsck.fat see them."""
import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'compat'))
from cases import BUILD, IO, REFERENCE, case, img, main, require, run
from functions import Daemon
from this_run import SANDBOXED

CLUSTER = 8192          # of all disks but those with FAT32
VOLUME = 63 * 512       # where it begins on a hard disk
START = ',size=16M'   # has all that the reference puts on a hard disk here
TIME_ZONE = {'TZ': 'Europe/Berlin'}
NAMES = ('A.TXT', 'a.TXT2', 'UPPER.TXT', 'LowEr.tXt', 'lower.txt', '.hidden', '.hid.den', 'two.dots.txt',
         'a.b.c.d', 'trail.', 'noext...', 'sp ace.tx', ' lead', '..x', 'plus+x', 'a=b', 'x[1]', 'semi;c', 'star*',
         'back\\sl', 'col:on', 'é', 'über.txt', '日本語.txt', '😀smile.txt', 'thirteen_char', 'abcdefgh.txt',
         'abcdefghi.txt', 'abcdefgh.text', 'longname1', 'longname2', 'longname3.txt', 'LONGNA~1', 'a~1', '~tilde',
         'tab\tx', 'twenty-six-characters-name', 'x!@#$%^&()', "x'y", 'x`{y}', 'x' * 255)


def write(path, data=b''):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def settle(folder):
    """Sets times that reading does not change."""
    for i, p in enumerate(p for p in (pathlib.Path(folder), *sorted(pathlib.Path(folder).rglob('*'))) if p.exists()):
        os.utime(p, (time.time() + 3600, 946684801 + i * 86461 * 9))


def disk(name, **more):
    """The bytes of a small disk."""
    img('convert', '-O', 'raw', name, 'ours.raw', **more)
    assert os.path.getsize('ours.raw') < 64 << 20
    return pathlib.Path('ours.raw').read_bytes()


def options(window='', **given):
    """Options of --image-opts, of a disk or a @window of it."""
    return ','.join(['driver=raw' + window, 'file.driver=vvfat', *(f'file.{k}={v}' for k, v in given.items())])


def same_as_reference(*image, env=None):
    """Both tools make the same disk, and say the same of it."""
    reference = str(REFERENCE / 'qemu-img')
    require(os.path.exists(reference), f'{reference} is not installed')
    ours, theirs = img('info', *image, env=env), run(reference, 'info', *image, env=env)
    assert ours.stdout == theirs.stdout, ours.stdout
    img('convert', '-O', 'raw', *image, 'ours.raw', env=env)
    run(reference, 'convert', '-O', 'raw', *image, 'theirs.raw', env=env)
    differ = run('cmp', 'ours.raw', 'theirs.raw', code=None)
    assert differ.returncode == 0, f'{image}: {differ.stdout}'


def volume(**given):
    """Makes a file of the volume of a disk, and says its first sector."""
    start = '' if given.get('floppy') else f',offset={VOLUME}'
    img('convert', '-O', 'raw', '--image-opts', options(start, **given), 'volume')
    with open('volume', 'rb') as f:
        return f.read(512)


@case
def disks_are_those_of_the_reference():
    for i, name in enumerate(NAMES):
        write('d/' + name, bytes([i + 1]) * (i % 3 * CLUSTER))
    write('d/folder/below/deep/file.txt', b'deep' * CLUSTER)
    write('d/folder/below/empty')
    os.makedirs('d/no files')
    for i in range(130):
        write(f'd/folder/many/collision-{i}.txt')
    for i in range(12):
        write(f'd/folder/a file with a name {i}', b'%d' % (i % 10) * CLUSTER)
    os.symlink('folder/below/deep/file.txt', 'd/link to a file')
    os.symlink('below', 'd/folder/link to a folder')
    os.symlink('nowhere', 'd/dangling')
    os.symlink('itself', 'd/itself')
    os.mkfifo('d/fifo')
    settle('d')
    for words in '12:', 'floppy:', 'floppy:12:':
        same_as_reference(f'fat:{words}d', env=TIME_ZONE)
    same_as_reference('--image-opts', options(START, dir='d', **{'fat-type': 16}))
    same_as_reference('--image-opts', options(dir=os.path.abspath('d'), label='My disk', floppy='on'))
    same_as_reference('json:{"driver": "raw", "file": {"driver": "vvfat", "dir": "d/", "floppy": true}}')


@case
def disks_of_random_folders_are_those_of_the_reference():
    parts = [*'aAbBxX019.. ~_-+=[]é日!', 'longname', 'LONG', '.txt', '.TXT', '~1', '~2']
    for seed in range(5):
        chance = random.Random(seed)
        os.makedirs('d/sub/deeper')
        for _ in range(120):
            name = ''.join(chance.choices(parts, k=chance.randrange(1, chance.choice((4, 9, 20)))))
            path = pathlib.Path(chance.choice(('d', 'd/sub', 'd/sub/deeper'))) / name
            if name in ('.', '..') or path.exists():
                continue
            if chance.random() < .1:
                path.mkdir()
            else:
                write(path, bytes([chance.randrange(1, 256)]) * (CLUSTER * chance.choice((0, 0, 1, 2))))
        settle('d')
        same_as_reference('--image-opts', options(START, dir='d', **{'fat-type': chance.choice((0, 12))}))
        shutil.rmtree('d')


@case
def other_tools_read_the_files():
    require(shutil.which('mcopy') and shutil.which('fsck.fat'), 'mtools or dosfstools is not installed')
    for i, size in enumerate((0, 1, 511, 4096, 8191, 8193, 300000)):
        write(f'd/{i}.bin', random.Random(i).randbytes(size))
        write(f'd/Some Folder/below/A long name with a size {size} ü', random.Random(i + 9).randbytes(size))
    for i in range(300):
        write(f'd/Some Folder/many/{i} is the number')
    write('d/Some Folder/last', b'end')
    for bits, floppy, kind in ((0, '', b'FAT16'), (12, '', b'FAT12'), (32, '', b'FAT32'), (0, 'on', b'FAT12'),
                               (12, 'on', b'FAT12'), (16, 'on', b'FAT16')):
        boot = volume(dir='d', **{'fat-type': bits}, **({'floppy': 'on'} if floppy else {}))
        assert kind in boot[:90], boot[:90]
        run('fsck.fat', '-n', 'volume', env={'PATH': os.environ['PATH'] + ':/usr/sbin'})
        os.mkdir('copy')
        run('mcopy', '-s', '-n', '-i', 'volume', '::*', 'copy', env={'LC_ALL': 'C.UTF-8'})
        run('diff', '-r', 'd', 'copy')
        shutil.rmtree('copy')
    listing = run('mdir', '-i', 'volume', '::').stdout
    assert 'QEMU VVFAT' in listing, listing


@case
def nothing_but_the_files_is_shown():
    write('d/big', b'x' * 100000)
    write('d/short', b'y')
    data = disk('fat:12:d')
    assert data.count(b'x' * 100000) == 1 and data.count(b'x' * 100) == 1000
    assert b'y' + bytes(CLUSTER - 1) in data


@case
def times_that_fat_cannot_tell_are_the_nearest_ones():
    first, last = b'\0\0\x21\0', b'\x7d\xbf\x9f\xff'
    # Of the last two, not even the year can be told.
    times = {'OLD': (10 ** 8, first), 'NEW': (7 * 10 ** 9, last),
             'OLDEST': (-1 << 60, first), 'NEWEST': (1 << 60, last)}
    for name, (when, _) in times.items():
        write(f'd/{name}')
        os.utime(f'd/{name}', (when, when))
    data = disk('fat:floppy:d', env={'TZ': 'UTC'})
    for name, (when, shown) in times.items():
        if os.stat(f'd/{name}').st_mtime_ns == when * 10 ** 9:   # the file system can tell it
            at = data.index(name.encode().ljust(11))
            assert data[at + 22:at + 26] == shown, (name, data[at:at + 32])


@case
def only_clusters_of_files_are_data():
    write('d/a', b'x' * (3 * CLUSTER))
    extents = json.loads(img('map', '--output=json', 'fat:12:d').stdout)
    assert sum(e['length'] for e in extents if e['data']) < 4 * CLUSTER
    assert all(e['zero'] != e['data'] and e['present'] for e in extents)
    raw = disk('fat:12:d')
    for e in extents:
        if e['zero']:
            assert not any(raw[e['start']:e['start'] + min(e['length'], 1 << 20)])
    img('compare', '-f', 'raw', '-F', 'raw', 'fat:12:d', 'ours.raw')
    img('convert', '-O', 'qcow2', 'fat:12:d', 'd.qcow2')
    img('compare', '-F', 'raw', 'd.qcow2', 'fat:12:d')
    # Bytes at any offset.
    end = len(raw) - 1
    for off, length in (1, 3), (511, 2), (VOLUME - 5, 600), (VOLUME + 700, 3), (40000, 70001), (end - 9, 10):
        shown = run(IO, '-r', '-f', 'raw', '-c', f'read -v {off} {length}', 'fat:12:d').stdout
        got = b''.join(bytes.fromhex(line.split('  ')[1]) for line in shown.splitlines() if line[8:9] == ':')
        assert got == raw[off:off + length], (off, length)


@case
def special_files_and_loops_of_links_stop_nothing():
    write('d/a', b'a')
    os.mkfifo('d/fifo')
    os.symlink('fifo', 'd/link')
    os.symlink('/dev/zero', 'd/zero')
    with socket.socket(socket.AF_UNIX) as s:
        s.bind('d/socket')
    os.symlink('one', 'd/two')
    os.symlink('two', 'd/one')
    data = disk('fat:floppy:d')
    for name in b'FIFO', b'LINK', b'ZERO', b'SOCKET':
        at = data.index(name.ljust(11))
        assert data[at + 28:at + 32] == bytes(4), name
    assert b'ONE        ' not in data


@case
def links_to_folders_that_they_lie_in_are_left_out():
    write('d/sub/deeper/file', b'found' * 100)
    for name, leads in ('.', 'd/here'), ('..', 'd/sub/up'), ('../..', 'd/sub/deeper/top'), ('.', 'd/sub/deeper/self'):
        os.symlink(name, leads)
    os.symlink('sub/deeper', 'd/other')
    said = img('info', 'fat:floppy:d').stderr
    assert said.count('\n') == 1 and "'d', 6 links to a folder that they lie in are left out" in said, said
    data = disk('fat:floppy:d')
    for name in b'HERE', b'UP', b'TOP', b'SELF':
        assert name.ljust(11) not in data, name
    assert data.count(b'DEEPER     ') == 1 and data.count(b'found' * 100) == 2


class Shell:
    """qemu-io with a disk that stays open."""
    def __init__(self, name):
        self.process = subprocess.Popen([IO, '-r', '-f', 'raw', name], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def ask(self, command, end):
        self.process.stdin.write(command + '\n')
        self.process.stdin.flush()
        said = ''
        while end not in said:
            line = self.process.stdout.readline()
            assert line, f'{command} is not answered: {said}'
            said += line
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@case
def files_that_change_while_they_are_read():
    write('d/file', b'1' * 40000)
    at = disk('fat:floppy:d').index(b'1' * 40000)
    with Shell('fat:floppy:d') as shell:
        assert 'failed' not in shell.ask(f'read -P 49 {at} 40000', 'ops/sec')
        # What it has lost is zero, and what it has gained is not there.
        write('d/file', b'2' * 10000)
        shell.ask(f'read -P 50 {at} 10000', 'ops/sec')
        assert 'failed' not in shell.ask(f'read -P 0 {at + 10000} 30000', 'ops/sec')
        write('d/file', b'3' * 60000)
        assert 'failed' not in shell.ask(f'read -P 51 {at} 40000', 'ops/sec')
        assert 'failed' not in shell.ask(f'read -P 0 {at + 40000} 512', 'ops/sec')
        os.unlink('d/file')
        assert 'No such file' in shell.ask(f'read {at} 512', 'failed')
        os.mkfifo('d/file')
        writer = subprocess.Popen(['sh', '-c', 'exec >d/file'])
        try:
            for _ in range(20):
                assert 'Input/output' in shell.ask(f'read {at} 512', 'failed')
            assert writer.poll() is None, 'the FIFO was opened'
        finally:
            writer.kill()
            writer.wait()
        assert 'failed' not in shell.ask('read 0 512', 'ops/sec')


@case
def folders_that_come_and_go_stop_nothing():
    for i in range(30):
        write(f'd/{i}/file', b'here')
    churn = subprocess.Popen([sys.executable, '-c', """
import os
while True:
    for i in range(30, 60):
        os.mkdir(f'd/{i}')
    for i in range(30, 60):
        os.rmdir(f'd/{i}')
"""])
    try:
        for _ in range(40):
            img('info', 'fat:floppy:d')
        assert churn.poll() is None
    finally:
        churn.kill()
        churn.wait()


@case
def a_file_with_a_lease_is_waited_for():
    write('d/file', b'1' * 40000)
    at = disk('fat:floppy:d').index(b'1' * 40000)
    given_up = threading.Event()
    fd = os.open('d/file', os.O_RDWR)

    def give_up(*_):
        given_up.set()
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    signal.signal(signal.SIGIO, give_up)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as e:
        require(False, f'no leases here: {e}')
    run(IO, '-r', '-f', 'raw', '-c', f'read -P 49 {at} 40000', 'fat:floppy:d')
    assert given_up.is_set()
    os.close(fd)


@case
def what_does_not_fit_is_refused():
    write('many/x')
    for i in range(300):
        write(f'many/{i}')
    assert 'more than 512 entries' in img('info', 'fat:many', code=1).stderr
    img('info', 'fat:32:many')
    for i in range(3200):
        write(f'names/{i:0255}')
    assert 'more than 65536 entries' in img('info', 'fat:32:names', code=1).stderr
    # A path of 4095 bytes below the folder can be read; one byte more cannot.
    os.mkdir('deep')
    fd = os.open('deep', os.O_RDONLY)
    for _ in range(40):
        os.mkdir('x' * 100, dir_fd=fd)
        fd, above = os.open('x' * 100, os.O_RDONLY, dir_fd=fd), fd
        os.close(above)
    with open(os.open('y' * 55, os.O_CREAT | os.O_WRONLY, dir_fd=fd), 'w') as f:
        f.write('deep down')
    os.close(fd)
    assert b'deep down' in disk('fat:floppy:deep')
    fd = os.open('deep/' + '/'.join(['x' * 100] * 20), os.O_RDONLY)
    below = os.open('/'.join(['x' * 100] * 20), os.O_RDONLY, dir_fd=fd)
    os.rename('y' * 55, 'y' * 56, src_dir_fd=below, dst_dir_fd=below)
    os.close(below)
    os.close(fd)
    assert 'too deep' in img('info', 'fat:deep', code=1).stderr
    # A file of exactly what is left fits.
    os.mkdir('large')
    for words, room in ('12:', 4024 * CLUSTER), ('', 64474 * CLUSTER), ('32:', 128759 * 4096):
        with open('large/file', 'wb') as f:
            f.truncate(room)
        img('info', f'fat:{words}large')
        with open('large/file', 'wb') as f:
            f.truncate(room + 1)
        assert 'do not fit' in img('info', f'fat:{words}large', code=1).stderr
    with open('large/file', 'wb') as f:
        f.truncate(1 << 40)
    assert 'do not fit' in img('info', 'fat:large', code=1).stderr


@case
def what_is_not_supported_is_refused_by_name():
    write('d/a', b'a')
    for words in 'rw:', 'floppy:rw:', 'rw:12:':
        assert "'rw'" in img('info', f'fat:{words}d', code=1).stderr
        assert "'rw'" in run(IO, '-f', 'raw', '-c', 'write 0 512', f'fat:{words}d', code=1).stderr
    assert 'only be read' in run(IO, '-f', 'raw', '-c', 'write 0 512', 'fat:d', code=1).stderr
    assert 'FAT32' in img('info', 'fat:floppy:32:d', code=1).stderr
    assert 'two types' in img('info', 'fat:12:16:d', code=1).stderr
    assert "'8:d'" in img('info', 'fat:8:d', code=1).stderr
    assert "'none'" in img('info', 'fat:none', code=1).stderr
    assert "'d/a'" in img('info', 'fat:d/a', code=1).stderr
    for option, why in ('fat-type=13', 'is 13'), ('label=ABCDEFGHIJKL', 'longer'), ('rw=on', "'rw'"):
        assert why in img('info', '--image-opts', f'driver=vvfat,dir=d,{option}', code=1).stderr
    assert "'dir'" in img('info', '--image-opts', 'driver=vvfat', code=1).stderr
    # A colon in a folder's name is nothing special.
    write('a:b/rw:c', b'a')
    img('info', 'fat:a:b')
    assert 'only be read' in img('resize', '-f', 'raw', 'fat:d', '1M', code=1).stderr
    assert img('create', '-f', 'raw', 'fat:d', '1M', code=1).stderr


@case
def files_that_are_read_are_not_overwritten():
    content = random.Random(1).randbytes(20000)
    write('d/out.raw', content)
    img('create', '-f', 'qcow2', 'd/x.qcow2', '64M')
    os.link('d/out.raw', 'same')
    for target in 'd/out.raw', 'same':
        for words, why in (('-O', 'raw'), 'is read here'), (('-O', 'qcow2'), 'is read here'), (
                ('-n', '-O', 'raw'), 'read and written at once'):
            said = img('convert', *words, 'fat:floppy:d', target, code=1).stderr
            assert why in said, said
            assert pathlib.Path(target).read_bytes() == content, words
        assert 'is read here' in img('dd', 'if=fat:floppy:d', f'of={target}', code=1).stderr
        assert pathlib.Path(target).read_bytes() == content
    before = pathlib.Path('d/x.qcow2').read_bytes()
    said = img('convert', '-n', '-O', 'qcow2', 'fat:floppy:d', 'd/x.qcow2', code=1).stderr
    assert 'read and written at once' in said, said
    assert pathlib.Path('d/x.qcow2').read_bytes() == before
    # What the disk does not show may be written.
    img('convert', '-O', 'raw', 'fat:floppy:d', 'd/new.raw')
    assert os.path.getsize('d/new.raw') == 80 * 2 * 36 * 512
    write('d/empty')
    os.unlink('d/new.raw')
    img('convert', '-O', 'raw', 'fat:floppy:d', 'd/empty')


@case
def untrusted_images_cannot_name_folders():
    write('d/a', b'a')
    assert 'sandbox' in img('info', '--untrusted', 'fat:d', code=1, env=SANDBOXED).stderr
    img('create', '-q', '-u', '-f', 'qcow2', '-b', 'fat:floppy:d', '-F', 'raw', 'over.qcow2', '2949120')
    img('compare', '-F', 'raw', 'over.qcow2', 'fat:floppy:d')
    nested = json.dumps({'driver': 'raw', 'file': {'driver': 'vvfat', 'dir': 'd'}})
    for name, why in ('fat:d', 'sandbox'), (f'json:{nested}', 'sandbox'), ('over.qcow2', 'which was not named'):
        said = img('convert', '--untrusted', '-O', 'raw', name, 'out', code=1, env=SANDBOXED).stderr
        assert why in said, said


@case
def nodes_are_read_only():
    write('d/a', b'a')
    vvfat = {'driver': 'vvfat', 'dir': 'd'}
    with Daemon(BUILD) as daemon:
        def ask(command, **arguments):
            return daemon.line(json.dumps({'execute': command, 'arguments': arguments}).encode()).decode()

        def reopen(name, **more):
            return ask('blockdev-reopen', options=[{**vvfat, 'node-name': name, **more}])

        assert 'only be read' in ask('blockdev-add', **vvfat, **{'node-name': 'n0'})
        assert "'rw'" in ask('blockdev-add', **vvfat, rw=True, **{'node-name': 'n0'})
        for name, how in ('n1', {'read-only': True}), ('n2', {'auto-read-only': True}):
            assert 'error' not in ask('blockdev-add', **vvfat, **how, **{'node-name': name})
            assert 'only be read' in reopen(name, **{'read-only': False})
            assert "'label'" in reopen(name, **{'read-only': True, 'label': 'x'})
            assert 'error' not in reopen(name, **{'read-only': True})


main('protocol-vvfat')
