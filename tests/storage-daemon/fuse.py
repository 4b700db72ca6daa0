#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports by FUSE: an image in the place of a file. Where it matters beside the reference's daemon."""
import ctypes
import errno
import json
import mmap
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, REFERENCE, case, img, io, main, require, run
from qmp import PATIENCE, Stdio, masked, request
from threads import await_thread_gone, busiest

MIB = 1 << 20
PUNCH, KEEP, ZERO = 2, 1, 16   # of fallocate(2)
LIBC = ctypes.CDLL(None, use_errno=True)
NODE = ('--blockdev', 'qcow2,node-name=a,file.driver=file,file.filename=a.qcow2')


def can_mount():
    """Whether this machine lets us mount by FUSE at all: /dev/fuse may be missing or shut."""
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        return False
    with tempfile.NamedTemporaryFile() as place, Stdio(REFERENCE / 'qemu-storage-daemon', '--blockdev',
                                                       'null-co,node-name=n') as d:
        return d.answer('block-export-add', type='fuse', id='e', node_name='n',
                        mountpoint=place.name) == {}


CAN_MOUNT = can_mount()


class Daemon(Stdio):
    """A daemon whose mounts do not outlive it, even where it is killed."""

    def __exit__(self, *_):
        try:
            super().__exit__()
        finally:
            here = os.getcwd()
            for line in pathlib.Path('/proc/self/mounts').read_text().splitlines():
                place = line.split()[1]
                if place.startswith(here):
                    subprocess.run(['umount', '-l', place], check=True)


def daemon(*options, program=BUILD):
    require(CAN_MOUNT, 'nothing can be mounted by FUSE here')
    return Daemon(program / 'qemu-storage-daemon', *options)


def done(answer):
    assert answer == {}, answer


def export(d, name='a', place='place', **more):
    pathlib.Path(place).touch()
    done(d.answer('block-export-add', type='fuse', id=f'e-{place}', node_name=name, mountpoint=place, **more))


def code(function, *args):
    """What @function returns, or the name of its error."""
    try:
        return function(*args)
    except OSError as e:
        return errno.errorcode[e.errno]


def allocate(fd, mode, off, length):
    if LIBC.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)):
        return errno.errorcode[ctypes.get_errno()]
    return 0


def in_both(actions, masks=()):
    """What @actions(daemon) yields, which is the same with the reference's daemon."""
    told = []
    for program in REFERENCE, BUILD:
        for stale in pathlib.Path().iterdir():
            stale.unlink()
        with daemon(program=program) as d:
            lines = [str(line) for line in actions(d)]
        told.append([re.sub(r'ferry|' + re.escape(str(program)), '', line) for line in lines])
    for r, o in zip(*told, strict=True):
        assert r == o, f'the reference: {r}\nours: {o}'
    return told[1]


def nodes(d):
    """Makes images and adds them as nodes q (qcow2), r (raw) and ro (read-only)."""
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '8M')
    img('create', '-q', '-f', 'qcow2', 'b.qcow2', '8M')
    run(IO, '-f', 'qcow2', '-c', 'write -q -P 5 1M 1M', 'a.qcow2')
    with open('r.raw', 'wb') as f:
        f.truncate(3 * MIB)
    for driver, name, file, more in ('qcow2', 'q', 'a.qcow2', {}), ('raw', 'r', 'r.raw', {}), \
            ('qcow2', 'ro', 'b.qcow2', {'read_only': True}):
        done(d.answer('blockdev-add', driver=driver, node_name=name,
                      file={'driver': 'file', 'filename': file}, **more))


@case
def commands_are_answered_as_by_the_reference():
    def actions(d):
        nodes(d)
        for name in 'place', 'other':
            pathlib.Path(name).touch()
        e = {'type': 'fuse', 'id': 'e', 'node_name': 'q'}
        for command, arguments in (
                ('block-export-add', {**e}),
                ('block-export-add', {**e, 'mountpoint': 'missing'}),
                ('block-export-add', {**e, 'mountpoint': ''}),
                ('block-export-add', {**e, 'mountpoint': '.'}),
                ('block-export-add', {**e, 'mountpoint': '/dev/null'}),
                ('block-export-add', {**e, 'mountpoint': 'place', 'allow_other': 'some'}),
                ('block-export-add', {**e, 'mountpoint': 'place', 'growable': 1}),
                ('block-export-add', {**e, 'mountpoint': 'place', 'color': 'red'}),
                ('block-export-add', {**e, 'mountpoint': 'place', 'iothread': 'none'}),
                ('block-export-add', {**e, 'node_name': 'none', 'mountpoint': 'place'}),
                ('block-export-add', {**e, 'node_name': 'ro', 'mountpoint': 'place', 'writable': True}),
                ('block-export-add', {**e, 'node_name': 'ro', 'mountpoint': 'place', 'growable': True}),
                ('block-export-add', {**e, 'mountpoint': 'other'}),
                ('block-export-add', {**e, 'id': 'f', 'mountpoint': 'place'}),
                ('block-export-add', {**e, 'id': 'f', 'mountpoint': 'other', 'writable': True}),
                ('query-block-exports', {}),
                ('blockdev-del', {'node_name': 'ro'}),
                ('block_resize', {'node_name': 'q', 'size': 16 * MIB}),
                ('block-export-del', {'id': 'e', 'mode': 'safe'}),
                ('block-export-del', {'id': 'e'}),
                ('query-block-exports', {}),
                ('quit', {})):
            yield command, arguments, [masked(line) for line in d.ask(request(command, **arguments))]
    in_both(actions)


@case
def the_daemons_own_file_is_not_opened_by_it():
    with daemon('--blockdev', 'null-co,node-name=n,size=1048576') as d:
        export(d, 'n', 'place', writable=True)
        os.symlink('place', 'link')
        for name in 'place', 'link', f'{os.getcwd()}/place':
            said = d.answer('blockdev-add', driver='file', node_name='f', filename=name)
            assert 'of this process itself' in said.get('desc', ''), said
            said = d.answer('blockdev-add', driver='raw', node_name='f', file={'driver': 'file', 'filename': name})
            assert 'of this process itself' in said.get('desc', ''), said
        said = d.answer('blockdev-snapshot-sync', node_name='n', snapshot_file='place', snapshot_node_name='o')
        assert 'of this process itself' in said.get('desc', ''), said
        pathlib.Path('other').write_bytes(bytes(512))
        done(d.answer('blockdev-add', driver='file', node_name='f', filename='other'))
        done(d.answer('block-export-del', id='e-place'))
        pathlib.Path('place').write_bytes(bytes(512))
        done(d.answer('blockdev-add', driver='file', node_name='g', filename='place'))


@case
def the_file_behaves_as_the_references():
    def actions(d):
        nodes(d)
        export(d, 'q', 'place', writable=True)
        export(d, 'r', 'other', writable=True, growable=True)
        for place in 'place', 'other':
            fd = os.open(place, os.O_RDWR)
            st = os.fstat(fd)
            yield oct(st.st_mode), st.st_uid, st.st_gid, st.st_size, st.st_nlink
            yield [code(os.lseek, fd, off, how) for how in (os.SEEK_DATA, os.SEEK_HOLE)
                   for off in (0, MIB, 2 * MIB, st.st_size - 1)]
            yield code(os.pwrite, fd, b'abc', 5), os.pread(fd, 9, 1), os.pread(fd, 9, st.st_size)
            yield code(os.pwrite, fd, bytes(100), st.st_size - 50), os.fstat(fd).st_size
            yield code(os.pwrite, fd, b'x' * 512, (st.st_size + 511) // 512 * 512), os.fstat(fd).st_size
            for mode in 0, KEEP, KEEP | PUNCH, 8, 32, 64, 2:
                yield mode, allocate(fd, mode, 0, 65536)
            for size in 9 * MIB, 4 * MIB, 8 * MIB:
                yield size, code(os.ftruncate, fd, size), os.fstat(fd).st_size
            yield [allocate(fd, ZERO, off, MIB) for off in (0, 8 * MIB)], os.fstat(fd).st_size
            yield code(os.fsync, fd), code(os.fdatasync, fd)
            with mmap.mmap(fd, 4096, mmap.MAP_SHARED) as m:
                yield m[:10]
            os.close(fd)
        yield code(os.ftruncate, os.open('place', os.O_RDWR), 1000)
        for mode in 0o644, 0o4777, 0o600:
            yield code(os.chmod, 'place', mode), oct(os.stat('place').st_mode)
        if os.getuid() == 0:
            yield code(os.chown, 'place', 1, 2), os.stat('place').st_uid, os.stat('place').st_gid
        for refused in (os.utime, 'place', (1, 2)), (os.unlink, 'place'), (os.rename, 'place', 'z'), \
                (os.link, 'place', 'z'), (os.setxattr, 'place', 'user.a', b'1'), (os.listxattr, 'place'):
            yield code(*refused)
        export(d, 'ro', 'third')
        yield oct(os.stat('third').st_mode), code(os.truncate, 'third', 5), code(os.chmod, 'third', 0o666), \
            code(os.chmod, 'third', 0o444), oct(os.stat('third').st_mode)
        opened = os.open('third', os.O_RDONLY)
        done(d.answer('block-export-del', id='e-third'))
        yield code(os.pread, opened, 1, 0), os.stat('third').st_size
    in_both(actions)


@case
def a_read_only_file_does_not_open_for_writing():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE) as d:
        export(d)
        assert code(os.open, 'place', os.O_RDWR) == code(os.open, 'place', os.O_WRONLY) == 'EACCES'


@case
def an_image_takes_the_place_of_its_own_file():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    data = random.randbytes(MIB)
    with daemon(*NODE) as d:
        export(d, place='a.qcow2', writable=True)
        with open('a.qcow2', 'r+b') as f:
            f.write(data)
            f.seek(0)
            assert f.read() == data + bytes(3 * MIB)
        done(d.answer('block-export-del', id='e-a.qcow2'))
        assert open('a.qcow2', 'rb').read(4) == b'QFI\xfb'
    img('check', '-q', 'a.qcow2')
    pathlib.Path('data').write_bytes(data + bytes(3 * MIB))
    img('compare', '-q', '-f', 'qcow2', '-F', 'raw', 'a.qcow2', 'data')


@case
def the_same_place_by_another_name_is_refused_and_does_not_hang():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE) as d:
        export(d)
        os.symlink('place', 'link')
        for name in './place', os.path.abspath('place'), 'link':
            answer = d.answer('block-export-add', type='fuse', id='f', node_name='a', mountpoint=name)
            assert answer['desc'] == f"There already is a FUSE export on '{name}'", answer
        done(d.answer('block-export-del', id='e-place'))
        export(d)


@case
def who_unmounts_the_file_ends_the_export():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE) as d:
        export(d)
        run('umount', 'place')
        assert d.event('BLOCK_EXPORT_DELETED') == {'id': 'e-place'}
        assert d.answer('query-block-exports') == []
        done(d.answer('blockdev-del', node_name='a'))


@case
def the_size_follows_the_image():
    img('create', '-q', '-f', 'raw', 'a.raw', '4M')
    with daemon('--blockdev', 'raw,node-name=a,file.driver=file,file.filename=a.raw') as d:
        export(d, writable=True, growable=True)
        with open('place', 'ab', buffering=0) as f:
            f.write(b'hello')
        sizes = os.stat('place').st_size, os.stat('a.raw').st_size
        # Sizes of nodes are whole sectors.
        assert sizes == (4 * MIB + 512, 4 * MIB + 5), sizes
        # Where the format has no such size the next sector ends it.
        img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
        done(d.answer('blockdev-add', driver='qcow2', node_name='q',
                      file={'driver': 'file', 'filename': 'a.qcow2'}))
        export(d, 'q', 'other', writable=True, growable=True)
        with open('other', 'r+b', buffering=0) as f:
            f.seek(5 * MIB)
            f.write(b'hello')
            assert os.fstat(f.fileno()).st_size == 5 * MIB + 512
            f.seek(5 * MIB)
            assert f.read() == b'hello' + bytes(507)
        # A range of zeroes that keeps the size stays inside of it.
        fd = os.open('other', os.O_RDWR)
        assert allocate(fd, ZERO | KEEP, 5 * MIB, MIB) == 0 and os.fstat(fd).st_size == 5 * MIB + 512
        assert os.pread(fd, 4096, 5 * MIB) == bytes(512)
        os.close(fd)


@case
def other_users_are_let_in_as_the_option_says():
    require(os.getuid() == 0, 'needs root, to be somebody else')
    img('create', '-q', '-f', 'raw', 'a.raw', '1M')
    for folder in '.', '..':
        os.chmod(folder, 0o755)
    with daemon('--blockdev', 'file,node-name=a,filename=a.raw') as d:
        for word, seen in ('on', True), ('auto', True), ('off', False):
            export(d, allow_other=word)
            looked = run('su', 'nobody', '-s', '/bin/sh', '-c', f'stat {os.path.abspath("place")}', code=None)
            assert (looked.returncode == 0) == seen, (word, looked)
            done(d.answer('block-export-del', id='e-place'))


def scribble(model, fd, seed):
    """A thousand random reads and writes, each checked."""
    rng = random.Random(seed)
    for _ in range(1000):
        off = rng.randrange(len(model))
        n = min(rng.choice((1, 512, 4096, 70000, 300000)), len(model) - off)
        what = rng.random()
        if what < .4:
            data = bytes([rng.randrange(256)]) * n
            assert os.pwrite(fd, data, off) == n
            model[off:off + n] = data
        elif what < .6:
            assert allocate(fd, rng.choice((KEEP | PUNCH, ZERO)), off, n) == 0
            model[off:off + n] = bytes(n)
        else:
            assert os.pread(fd, n, off) == model[off:off + n], f'read {off} {n}'


@case
def many_clients_at_once_read_what_they_wrote():
    img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=64k', 'a.qcow2', '16M')
    with daemon(*NODE) as d:
        failures = []

        def client(i):
            try:
                # Each has a file, and so a cache of the kernel's, and a part of the image of its own.
                fd = os.open(f'place{i}', os.O_RDWR)
                scribble(parts[i], fd, i)
                os.fsync(fd)
                os.close(fd)
            except BaseException as e:   # pylint: disable=broad-exception-caught
                failures.append(e)

        parts = [bytearray(4 * MIB) for _ in range(4)]
        for i in range(4):
            done(d.answer('blockdev-add', driver='raw', node_name=f'p{i}', offset=i * 4 * MIB,
                          size=4 * MIB, file='a'))
            export(d, f'p{i}', f'place{i}', writable=True)
        threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failures, failures
    img('check', '-q', 'a.qcow2')
    pathlib.Path('model').write_bytes(b''.join(parts))
    img('compare', '-q', '-f', 'qcow2', '-F', 'raw', 'a.qcow2', 'model')


@case
def what_was_synced_survives_kill():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE) as d:
        export(d, writable=True)
        fd = os.open('place', os.O_RDWR)
        os.pwrite(fd, b'k' * MIB, 0)
        os.fsync(fd)
        d.process.kill()
        d.process.wait()
        assert code(os.pwrite, fd, b'x', 0) in ('ENOTCONN', 'ECONNABORTED', 'EIO')
        code(os.close, fd)
        # The place is told to be a dead mount by whoever tries again.
        with daemon(*NODE) as again:
            answer = again.answer('block-export-add', type='fuse', id='e', node_name='a', mountpoint='place')
            assert answer['desc'] == "Failed to stat 'place': Transport endpoint is not connected", answer
    io('a.qcow2', f'read -P {ord("k")} 0 1M', 'read -P 0 1M 3M')


@case
def a_signal_ends_the_daemon_while_clients_write():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '64M')
    with daemon(*NODE) as d:
        export(d, writable=True)
        writer = subprocess.Popen(['dd', 'if=/dev/zero', 'of=place', 'bs=64k', 'conv=notrunc', 'oflag=direct'],
                                  stderr=subprocess.DEVNULL)
        while os.stat('a.qcow2').st_size < MIB:
            pass
        d.process.send_signal(signal.SIGTERM)
        assert d.end() == 0, d.errors
        writer.wait(timeout=20)
        assert os.stat('place').st_size == 0
    img('check', '-q', 'a.qcow2')


@case
def errors_of_the_image_reach_the_client():
    img('create', '-q', '-f', 'raw', 'a.raw', '4M')
    with daemon('--blockdev', json.dumps({
            'driver': 'blkdebug', 'node-name': 'a', 'image': {'driver': 'file', 'filename': 'a.raw'},
            'inject-error': [{'event': 'none', 'iotype': 'read', 'errno': errno.ENOMEDIUM, 'sector': 8},
                             {'event': 'none', 'iotype': 'write', 'errno': errno.ENOSPC, 'sector': 8},
                             {'event': 'none', 'iotype': 'flush', 'errno': errno.EIO}]})) as d:
        export(d, writable=True)
        fd = os.open('place', os.O_RDWR | os.O_DIRECT)
        page = mmap.mmap(-1, 4096)
        assert code(os.preadv, fd, [page], 4096) == 'ENOMEDIUM'
        assert code(os.pwritev, fd, [page], 4096) == 'ENOSPC'
        assert code(os.fsync, fd) == 'EIO'
        assert code(os.preadv, fd, [page], 0) == 4096
        os.close(fd)


# ---- on iothreads --------------------------------------------------------------------------------

RAW = ('--blockdev', 'raw,node-name=a,file.driver=file,file.filename=a.raw')
THREADS = ('--object', 'iothread,id=i', '--object', 'iothread,id=j')


def move(d, thread):
    done(d.answer('x-blockdev-set-iothread', node_name='a', iothread=thread, force=True))


def direct_reads(place, n):
    fd, page = os.open(place, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 4096)
    for _ in range(n):
        assert os.preadv(fd, [page], 0) == 4096
    os.close(fd)


def assert_served_by(d, thread):
    direct_reads('place', 10)
    busy = busiest(d, lambda: direct_reads('place', 2000))
    assert busy == thread, f'{busy} is busy, not {thread}'


@case
def exports_on_iothreads_are_told_of_as_by_the_reference():
    def actions(d):
        nodes(d)
        pathlib.Path('place').touch()
        e = {'type': 'fuse', 'id': 'e', 'node_name': 'q', 'mountpoint': 'place', 'writable': True}
        for command, arguments in (
                ('object-add', {'qom_type': 'iothread', 'id': 'i'}),
                ('object-add', {'qom_type': 'iothread', 'id': 'j'}),
                ('block-export-add', {**e, 'iothread': 'none'}),
                ('block-export-add', {**e, 'iothread': 'i', 'fixed_iothread': True}),
                ('query-block-exports', {}),
                ('block-export-del', {'id': 'e'}),
                ('block-export-add', {**e, 'iothread': 'j'}),
                ('query-block-exports', {}),
                ('block-export-del', {'id': 'e', 'mode': 'hard'}),
                ('blockdev-del', {'node_name': 'q'}),
                ('object-del', {'id': 'j'}),
                ('quit', {})):
            yield command, arguments, [masked(line) for line in d.ask(request(command, **arguments))]
    in_both(actions)


@case
def the_thread_of_the_image_serves_the_file():
    img('create', '-q', '-f', 'raw', 'a.raw', '4M')
    with daemon(*THREADS, *RAW) as d:
        export(d, iothread='i')
        for thread in 'i', 'j', None, 'i':
            move(d, thread)
            assert_served_by(d, thread or 'main')


@case
def the_thread_serves_the_file_of_an_option():
    img('create', '-q', '-f', 'raw', 'a.raw', '4M')
    pathlib.Path('place').touch()
    with daemon(*THREADS, *RAW, '--export', 'fuse,id=e,node-name=a,mountpoint=place,iothread=i') as d:
        assert_served_by(d, 'i')


@case
def clients_read_what_they_wrote_while_the_image_moves():
    img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=64k', 'a.qcow2', '4M')
    with daemon(*THREADS, *NODE) as d:
        export(d, writable=True, growable=True, iothread='i')
        model, failures, moves = bytearray(4 * MIB), [], []

        def client():
            try:
                fd = os.open('place', os.O_RDWR)
                while len(model) < 7 * MIB or len(moves) < 12:
                    scribble(model, fd, len(model))
                    # Growing it changes the graph, which is done on the main loop.
                    os.ftruncate(fd, len(model) + MIB)
                    model.extend(bytes(MIB))
                    assert os.fstat(fd).st_size == len(model)
                os.fsync(fd)
                os.close(fd)
            except BaseException as e:   # pylint: disable=broad-exception-caught
                failures.append(e)

        t = threading.Thread(target=client)
        t.start()
        while t.is_alive():
            move(d, ('j', None, 'i')[len(moves) % 3])
            d.answer('query-named-block-nodes')
            moves.append(os.stat('place').st_size)
        t.join()
        assert not failures, failures
    img('check', '-q', 'a.qcow2')
    pathlib.Path('model').write_bytes(model)
    img('compare', '-q', '-f', 'qcow2', '-F', 'raw', 'a.qcow2', 'model')


def ended_on_an_iothread(end):
    """A file ends by @end(daemon, writer) while it is written, some time after a move."""
    for n in range(6):
        img('create', '-q', '-f', 'qcow2', 'a.qcow2', '16G')
        with daemon(*THREADS, *NODE) as d:
            export(d, writable=True, iothread='i')
            writer = subprocess.Popen(['dd', 'if=/dev/zero', 'of=place', 'bs=64k', 'conv=notrunc', 'oflag=direct'],
                                      stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + PATIENCE
            while os.stat('a.qcow2').st_size < MIB:
                assert time.monotonic() < deadline, 'nothing is written'
                time.sleep(.005)
            move(d, ('i', 'j', None)[n % 3])
            assert writer.poll() is None, 'nobody writes any more'
            end(d, writer)
            writer.wait(timeout=PATIENCE)
            assert os.stat('place').st_size == 0
            if d.process.poll() is None:
                assert d.answer('query-block-exports') == []
                for thread in 'i', 'j':
                    done(d.answer('blockdev-del', node_name='a') if thread == 'i' else {})
                    done(d.answer('object-del', id=thread))
                    await_thread_gone(d, thread)
        img('check', '-q', 'a.qcow2')


@case
def a_file_on_an_iothread_can_be_removed_in_use():
    def remove(d, _):
        done(d.answer('block-export-del', id='e-place'))
    ended_on_an_iothread(remove)


@case
def a_file_on_an_iothread_can_be_unmounted_by_others():
    def unmount(d, writer):
        run('umount', '-l', 'place')
        writer.kill()       # who has it open could go on
        assert d.event('BLOCK_EXPORT_DELETED') == {'id': 'e-place'}
    ended_on_an_iothread(unmount)


@case
def the_kernel_can_end_a_file_on_an_iothread():
    def abort(d, _):
        pathlib.Path('connections').mkdir(exist_ok=True)    # unmounted with the daemon's mounts
        require(subprocess.run(['mount', '-t', 'fusectl', 'none', 'connections'], stderr=subprocess.DEVNULL,
                               check=False).returncode == 0, 'connections of FUSE cannot be shown here')
        pathlib.Path(f'connections/{os.minor(os.stat("place").st_dev)}/abort').write_text('1')
        assert d.event('BLOCK_EXPORT_DELETED') == {'id': 'e-place'}
        run('umount', 'place')      # libfuse leaves what was aborted
    ended_on_an_iothread(abort)


@case
def a_signal_ends_the_daemon_that_serves_a_file_on_an_iothread():
    def stop(d, _):
        d.process.send_signal(signal.SIGTERM)
        assert d.end() == 0, d.errors
    ended_on_an_iothread(stop)


main('fuse', 'storage-daemon')
