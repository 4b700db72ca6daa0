#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of requests on their way down, seen from outside."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, case, img, io, main, require, run
from this_run import PRELOADABLE, TRACED

MIB = 1 << 20


def map_of(image):
    return json.loads(img('map', '--output=json', image).stdout)


def data_bytes(image):
    return sum(e['length'] for e in map_of(image) if e['data'])


# ---- discards -----------------------------------------------------------------------------------

@case
def pieces_of_a_discard_lose_no_cluster_between_them():
    """A layer that takes less at once than is asked for, and no multiple of the clusters below."""
    for limit in ('64k', '96k', '100k', '192k', '1000k'):
        img('create', '-q', '-f', 'qcow2', 'a', '4M')
        io('a', 'write -q 0 4M')
        run(IO, '-c', 'open -o driver=blkdebug,image.driver=qcow2,image.file.filename=a,'
            f'discard=unmap,image.discard=unmap,max-discard={limit}', '-c', 'discard -q 4k 3900k')
        assert data_bytes('a') == 4 * MIB - 3840 * 1024, (limit, map_of('a'))


@case
def zeroes_in_pieces_leave_no_data_between_them():
    for limit in ('96k', '100k', '1000k'):
        img('create', '-q', '-f', 'qcow2', 'a', '4M')
        io('a', 'write -q 0 4M')
        run(IO, '-c', 'open -o driver=blkdebug,image.driver=qcow2,image.file.filename=a,'
            f'max-write-zero={limit}', '-c', 'write -q -z -u 0 4M')
        assert data_bytes('a') == 0, (limit, map_of('a'))


@case
def a_discard_of_a_byte_reaches_a_server_without_block_sizes():
    require(shutil.which('nbdkit'), 'no nbdkit here')
    path = os.path.abspath('s')
    server = subprocess.Popen(['nbdkit', '-f', '-U', path, '--filter=log', 'memory', '1M',
                               'logfile=log'], stdin=subprocess.DEVNULL)
    try:
        while not os.path.exists(path):
            time.sleep(0.01)
        run(IO, '-c', f'open -o driver=nbd,server.type=unix,server.path={path},discard=unmap',
            '-c', 'discard 0 1', '-c', 'discard 5 700')
    finally:
        server.terminate()
        server.wait()
    log = pathlib.Path('log').read_text()
    assert 'Trim id=1 offset=0x0 count=0x1 ' in log and 'offset=0x5 count=0x2bc ' in log, log


# ---- writes -------------------------------------------------------------------------------------

@case
def zeroes_over_an_empty_backing_file_need_no_data():
    for extended in ('off', 'on'):
        for command in ('0 4k', '4k 4k', '100k 100k', '64k 64k'):
            img('create', '-q', '-f', 'qcow2', 'b', '1M')
            img('create', '-q', '-f', 'qcow2', '-o', f'extended_l2={extended}', '-b', 'b', '-F',
                'qcow2', 'a')
            io('a', f'write -q -z {command}', 'read -q -P 0 0 1M')
            assert data_bytes('a') == 0, (extended, command, map_of('a'))
    # What the backing file has shows on: nothing around the zeroes is lost.
    io('b', 'write -q -P 7 0 2k')
    img('create', '-q', '-f', 'qcow2', '-b', 'b', '-F', 'qcow2', 'a')
    io('a', 'write -q -z 4k 4k', 'read -q -P 7 0 2k', 'read -q -P 0 2k 1022k')


def data_writes(image, command):
    """Lengths of the writes of @command that carry data of pattern 3."""
    require(shutil.which('strace') and PRELOADABLE, 'no strace here')
    done = run('strace', '-f', '-e', 'trace=pwrite64,pwritev,pwritev2', IO, '-c', command, image,
               env=TRACED)
    return [int(line.split('=')[-1]) for line in done.stderr.splitlines() if r'"\3\3\3' in line]


@case
def data_and_reserved_clusters_in_a_row_are_one_write():
    for zero, write, whole in (('64k 64k', '1k 190k', 190), ('0 64k', '0 192k', 192),
                               ('128k 64k', '0 192k', 192), ('64k 64k', '70k 100k', 100),
                               ('0 64k', '64k 100k', 100)):
        img('create', '-q', '-f', 'qcow2', 'a', '1M')
        io('a', 'write -q -P 5 0 192k', f'write -q -z {zero}')
        before = io('a', 'read -v 0 192k').stdout.splitlines()
        lengths = data_writes('a', f'write -P 3 {write}')
        assert len(lengths) == 1 and lengths[0] >= whole << 10, (zero, write, lengths)
        start, length = write.replace('k', '').split()
        io('a', f'read -q -P 3 {write}')
        after = io('a', 'read -v 0 192k').stdout.splitlines()
        first, last = int(start) * 64, (int(start) + int(length)) * 64
        assert after[:first] == before[:first] and after[last:-2] == before[last:-2], (zero, write)
        img('check', '-q', 'a')


@case
def a_request_does_not_wait_for_one_that_waits():
    """B waits for A; C overlaps B only and goes on."""
    pathlib.Path('f').write_bytes(bytes(65536))
    done = run(IO, '-c', 'open -o driver=blkdebug,align=4096,image.driver=raw,image.file.filename=f',
               '-c', 'break pwritev_rmw_after_tail A', '-c', 'aio_write -P 1 3k 2k',
               '-c', 'wait_break A', '-c', 'aio_write -P 2 6k 4k',
               '-c', 'break pwritev_rmw_after_head B', '-c', 'aio_write -P 3 9k 1k',
               '-c', 'wait_break B', '-c', 'resume A', '-c', 'resume B', '-c', 'aio_flush')
    assert done.stdout.count('wrote ') == 3, done.stdout
    data = pathlib.Path('f').read_bytes()
    assert data[3072:5120] == b'\1' * 2048 and data[6144:9216] == b'\2' * 3072, data[:12288]


# ---- zeroes that are there ----------------------------------------------------------------------

@contextlib.contextmanager
def served(path):
    """The NBD URL of raw file @path."""
    sock = os.path.abspath('sock')
    server = subprocess.Popen([str(BUILD / 'qemu-nbd'), '-f', 'raw', '-k', sock, '-t', path],
                              stdin=subprocess.DEVNULL)
    try:
        while not os.path.exists(sock):
            time.sleep(0.01)
        yield f'nbd+unix:///?socket={sock}'
    finally:
        server.terminate()
        server.wait()


@case
def a_new_image_on_a_server_gets_no_tables_for_what_is_zero():
    for size in ('256G', '8T'):
        for name, length in (('r', size), ('t', '1G')):
            pathlib.Path(name).unlink(missing_ok=True)
            pathlib.Path(name).touch()
            os.truncate(name, int(length[:-1]) << (30 if length[-1] == 'G' else 40))
        with served('t') as url:
            img('convert', '-f', 'raw', '-O', 'qcow2', 'r', url)
            first = json.loads(img('map', '--output=json', '-f', 'qcow2', url).stdout)[0]
        assert not first['present'] and os.stat('t').st_blocks <= 1024, (size, first)


@case
def a_target_that_reads_as_zeroes_stays_as_it_is():
    pathlib.Path('r').touch()
    os.truncate('r', 64 << 30)
    for written in ('0 0', '10M 10M'):
        img('create', '-q', '-f', 'qcow2', 'a', '64G')
        io('a', f'write -q {written}')
        size = os.path.getsize('a')
        img('convert', '-n', '-f', 'raw', '-O', 'qcow2', 'r', 'a')
        assert os.path.getsize('a') == size and not data_bytes('a'), (written, map_of('a'))


# ---- committing and salvaging -------------------------------------------------------------------

def overlay(options='compat=1.1', size='8M', written='0 6M'):
    img('create', '-q', '-f', 'qcow2', 'b', size)
    img('create', '-q', '-f', 'qcow2', '-b', 'b', '-F', 'qcow2', '-o', options, 'a')
    io('a', f'write -q -P 5 {written}')


def has_own_data(image):
    return any(e['data'] and not e['depth'] for e in map_of(image))


@case
def an_emptied_overlay_is_cut_to_its_tables():
    for options in ('compat=1.1', 'compat=0.10', 'cluster_size=512', 'cluster_size=4k',
                    'extended_l2=on', 'lazy_refcounts=on', 'refcount_bits=1'):
        overlay(options)
        full = os.path.getsize('a')
        img('commit', '-q', 'a')
        assert os.path.getsize('a') < full // 8, (options, os.path.getsize('a'))
        assert not has_own_data('a'), (options, map_of('a'))
        for image in ('a', 'b'):
            img('check', '-q', image)
        io('a', 'read -q -P 5 0 6M', 'write -q -P 6 1M 5M', 'read -q -P 6 1M 5M')
        img('check', '-q', 'a')
    # With more in its file it is emptied all the same.
    overlay()
    img('snapshot', '-c', 's', 'a')
    img('commit', '-q', 'a')
    assert img('snapshot', '-l', 'a').stdout and not has_own_data('a')
    img('check', '-q', 'a')


@case
def faults_while_an_overlay_is_emptied_reach_the_caller():
    for event in ('empty_image_prepare', 'l1_update', 'reftable_update', 'refblock_alloc',
                  'refblock_update_part'):
        overlay(written='0 512k')
        pathlib.Path('rules').write_text(f'[inject-error]\nevent = "{event}"\nonce = "off"\n')
        img('commit', '-q', '--image-opts', 'driver=qcow2,file.driver=blkdebug,file.config=rules,'
            'file.image.filename=a', code=1)
        img('check', '-q', '-r', 'leaks', 'a')
        img('check', '-q', 'a')
        for image in ('a', 'b'):
            io(image, 'read -q -P 5 0 512k', 'read -q -P 0 512k 512k')


@case
def salvage_asks_again_for_less():
    """One sector's status cannot be read: what is before and after is known all the same."""
    pathlib.Path('f').write_bytes(b'\1' * 4096 + bytes(MIB - 8192) + b'\2' * 4096)
    done = img('convert', '--salvage', '-O', 'raw', '--image-opts',
               'driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=f,'
               'file.inject-error.0.event=none,file.inject-error.0.iotype=block-status,'
               'file.inject-error.0.sector=1000', 'out')
    assert pathlib.Path('out').read_bytes() == pathlib.Path('f').read_bytes()
    lines = [line for line in done.stderr.splitlines() if 'allocation' in line]
    assert len(lines) == 1 and 'offset 512000' in lines[0], done.stderr


main('requests')
