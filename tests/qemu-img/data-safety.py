#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How programs of this kind lost data before: each way is a test."""
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from cases import BUILD, IMG, IO, REFERENCE, case, img, main, require, run
from this_run import MAY_ABORT, PRELOADABLE, TRACED

FAIL = str(BUILD / 'preload/fail.so')
SECRET = '--object', 'secret,id=s,data=abc'
OFFSET = 0xfffffffffffe00


def failing(call, errno, nth=1):
    require(PRELOADABLE, 'sanitizers want to be preloaded alone')
    return {'LD_PRELOAD': FAIL, 'FAIL_CALL': call, 'FAIL_NTH': str(nth), 'FAIL_ERRNO': str(errno)}


@case
def calls_that_fail_are_named_by_whole_words():
    """Else a name that is no call's would make any of them fail, and its test find something."""
    for call, counts in (('any', True), ('change', True), ('a', False), ('n', False), ('', False)):
        img('create', '-q', '-f', 'raw', 'x', '1M', env=dict(failing(call, 5, 0), FAIL_COUNT='count'))
        assert (int(pathlib.Path('count').read_text()) > 0) == counts, call


# ---- temporary files ---------------------------------------------------------------------------

@case
def a_temporary_snapshot_is_its_own_and_gone():
    """CVE-2012-2652: made exclusively, for the user alone, unlinked; errors are told."""
    require(shutil.which('strace') and PRELOADABLE, 'no strace here')
    img('create', '-q', '-f', 'raw', 'r', '1M')
    before = pathlib.Path('r').read_bytes()
    os.mkdir('tmp')
    done = run('strace', '-f', '-e', 'trace=openat', IO, '-s', '-f', 'raw', '-c', 'write -P 7 0 64k',
               '-c', 'read -P 7 0 64k', 'r', env={'TMPDIR': os.path.abspath('tmp'), **TRACED})
    made = [line for line in done.stderr.splitlines() if '/tmp/ferry-' in line and 'O_CREAT' in line]
    assert made and all(word in made[0] for word in ('O_EXCL', '0600')), done.stderr
    assert not os.listdir('tmp') and pathlib.Path('r').read_bytes() == before
    done = run(IO, '-s', '-f', 'raw', '-c', 'read 0 512', 'r', code=1, env={'TMPDIR': '/nonexistent'})
    assert '/nonexistent/ferry-' in done.stderr, done.stderr


# ---- files that were cut off -------------------------------------------------------------------

def cut(name, size):
    shutil.copy(name, 'y')
    os.truncate('y', size)


@case
def an_image_whose_end_was_cut_off_is_told_and_not_copied():
    """It would read as zeroes: so info warns, convert refuses; --salvage copies what is there."""
    img('create', '-q', '-f', 'qcow2', 'x', '8M')
    run(IO, '-c', 'write -q -P 1 0 2M', '-c', 'write -q -c -P 2 4M 64k', 'x')
    size, whole = os.path.getsize('x'), pathlib.Path('x').read_bytes()
    l1 = int.from_bytes(whole[40:48], 'big')
    assert not img('info', 'x').stderr
    for at in (1000, l1, l1 - 4096, l1 + 70000, 400000, 1000000, size - 65536):
        cut('x', at)
        assert f"'y' ends " in img('info', 'y').stderr, at
        assert ' early' in img('convert', '-O', 'raw', 'y', 'r', code=1).stderr, at
        assert not os.path.exists('r')
        img('convert', '--salvage', '-O', 'raw', 'y', 'r')
        assert os.path.getsize('r') == 8 << 20
        os.unlink('r')
        img('check', 'y', code=2)
        img('check', '-r', 'leaks', 'y', code=None)
        img('check', 'y', code=2)
    for options in ('refcount_bits=1', 'refcount_bits=4', 'refcount_bits=64', 'cluster_size=512',
                    'cluster_size=2M', 'lazy_refcounts=on'):
        img('create', '-q', '-f', 'qcow2', '-o', options, 'x', '64M')
        run(IO, '-c', 'write -q -P 1 0 20M', 'x')
        assert not img('info', 'x').stderr, options
        cut('x', os.path.getsize('x') - (3 << 20))
        assert "'y' ends " in img('info', 'y').stderr, options
    # What others may be writing grows, so its length tells nothing.
    img('convert', '-U', '-O', 'raw', 'y', 'r')
    os.unlink('r')
    # As backing file, and with a data file.
    img('create', '-q', '-f', 'qcow2', '-b', 'y', '-F', 'qcow2', 'top')
    assert "'y' ends" in img('convert', '-O', 'raw', 'top', 'r', code=1).stderr
    img('create', '-q', '-f', 'qcow2', '-o', 'data_file=d', 'z', '8M')
    run(IO, '-c', 'write -q -P 1 0 2M', 'z')
    os.truncate('d', 1 << 20)
    assert "'z' ends 1 MiB early" in img('convert', '-O', 'raw', 'z', 'r', code=1).stderr


@case
def what_is_short_but_whole_is_copied():
    """No data at the end, counted space that nothing refers to, preallocated space, a dirty image."""
    for options in ('compat=1.1', 'preallocation=metadata', 'lazy_refcounts=on', 'data_file=d',
                    'compat=0.10', 'extended_l2=on,preallocation=falloc', 'cluster_size=512',
                    'refcount_bits=1', 'refcount_bits=64',
                    'cluster_size=2M'):
        img('create', '-q', '-f', 'qcow2', '-o', options, 'x', '8M')
        assert not img('info', 'x').stderr, options
        run(IO, '-c', 'write -q -P 1 0 200k', '-c', 'flush', '-c', 'abort', 'x', code=None,
            env=MAY_ABORT)
        assert not img('info', 'x').stderr, options
        assert not img('convert', '-O', 'raw', 'x', 'r').stderr, options
    img('create', '-q', '-f', 'qcow2', 'x', '8M')
    data = bytearray(pathlib.Path('x').read_bytes())
    block = int.from_bytes(data[65536:65544], 'big')
    data[block + 400:block + 402] = b'\0\1'
    pathlib.Path('x').write_bytes(data)
    assert not img('info', 'x').stderr and not img('convert', '-O', 'raw', 'x', 'r').stderr


@case
def info_of_an_image_in_use_reads_no_tables():
    """Its counts may be too low, but to look at all tables instead takes long for a large disk."""
    require(shutil.which('strace') and PRELOADABLE, 'no strace here')
    img('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on,cluster_size=4k,'
        'preallocation=metadata', 'x', '200M')
    reads = []
    for dirty in (0, 1):
        with open('x', 'r+b') as f:
            f.seek(79)
            f.write(bytes([dirty]))
        done = run('strace', '-f', '-e', 'trace=pread64,preadv,preadv2', IMG, 'info', 'x', env=TRACED)
        reads.append(len([line for line in done.stderr.splitlines() if 'pread' in line]))
    assert 1 < reads[0] == reads[1], reads
    # A copy takes the time, and finds a loss that the counts do not show: here they end at 104 MiB.
    with open('x', 'r+b') as f:
        f.seek(48)
        table = int.from_bytes(f.read(8), 'big')
        f.seek(table + 13 * 8)
        f.write(bytes(4096 - 13 * 8))
        f.truncate(104 << 20)
    assert not img('info', 'x').stderr
    assert ' early' in img('convert', '-O', 'raw', 'x', 'r', code=1).stderr


# ---- growing -----------------------------------------------------------------------------------

@case
def what_grows_over_a_longer_backing_file_reads_as_zeroes():
    """However its space is made, in every kind of image and from any size."""
    pathlib.Path('b').write_bytes(b'\xff' * (1 << 20))
    for options in ('extended_l2=on', 'extended_l2=on,cluster_size=16k', 'compat=0.10',
                    'cluster_size=4k', 'data_file=d'):
        for mode in ('off', 'metadata', 'falloc', 'full'):
            for old in (503, 512, 36):
                img('create', '-q', '-f', 'qcow2', '-o', options, '-b', 'b', '-F', 'raw', 'x',
                    f'{old}k')
                img('resize', '-q', f'--preallocation={mode}', 'x', '1013k')
                new = 1013 - old
                done = run(IO, '-c', f'read -q -P 255 0 {old}k', '-c', f'read -q -P 0 {old}k {new}k',
                           'x', code=None)
                assert not done.stdout, (options, mode, old, done.stdout)
                img('check', '-q', 'x')
                for name in ('x', 'd'):
                    pathlib.Path(name).unlink(missing_ok=True)


# ---- other versions ----------------------------------------------------------------------------

@case
def zero_clusters_of_snapshots_become_version_2():
    """Over a backing file, in tables that disk and snapshots share or not; and back, larger."""
    pathlib.Path('b').write_bytes(b'\5' * 204800)
    img('create', '-q', '-f', 'qcow2', '-b', 'b', '-F', 'raw', 'a', '2M')
    run(IO, '-c', 'write -q -P 1 0 64k', '-c', 'write -q -P 4 256k 64k', '-c', 'write -q -z 64k 64k',
        '-c', 'write -q -z 1M 512k', 'a')
    img('snapshot', '-c', 's', 'a')
    run(IO, '-c', 'write -q -z 0 64k', '-c', 'write -q -z -u 128k 64k', '-c', 'write -q -z 256k 64k',
        'a')
    img('snapshot', '-c', 't', 'a')
    views = ([], ['-l', 's'], ['-l', 't'])

    def contents():
        for i, view in enumerate(views):
            img('convert', *view, '-O', 'raw', 'a', f'o{i}')
        return [pathlib.Path(f'o{i}').read_bytes()[:2 << 20] for i in range(len(views))]
    before = contents()
    img('amend', '-o', 'compat=0.10', 'a')
    assert contents() == before and 'compat: 0.10' in img('info', 'a').stdout
    img('check', '-q', 'a')
    # What lies behind the backing file needs no space for its zeroes.
    assert os.path.getsize('a') < 1 << 20
    img('amend', '-o', 'compat=1.1,size=4M', 'a')
    assert contents() == before and 'compat: 1.1' in img('info', 'a').stdout
    assert '4 MiB' in img('info', 'a').stdout
    img('check', '-q', 'a')


# ---- the ends of files -------------------------------------------------------------------------

@case
def a_snapshot_of_clusters_that_are_counted_free_is_refused():
    """Its new tables could be put over them; a repair comes first, and nothing is changed before."""
    img('create', '-q', '-f', 'qcow2', 'x', '1M')
    run(IO, '-c', 'write -q -P 5 0 192k', 'x')
    img('snapshot', '-c', 'one', 'x')
    data = bytearray(pathlib.Path('x').read_bytes())
    l2 = struct.unpack_from('>Q', data, struct.unpack_from('>Q', data, 40)[0])[0] & OFFSET
    block = struct.unpack_from('>Q', data, struct.unpack_from('>Q', data, 48)[0])[0]
    struct.pack_into('>H', data, block + 2 * ((struct.unpack_from('>Q', data, l2)[0] & OFFSET) >> 16), 0)
    pathlib.Path('x').write_bytes(data)
    for what in ('-c', 'two'), ('-a', 'one'), ('-d', 'one'):
        done = img('snapshot', *what, 'x', code=1)
        assert 'used more often than counted' in done.stderr, (what, done.stderr)
        assert pathlib.Path('x').read_bytes() == data, what
    img('check', '-q', '-r', 'all', 'x')
    for what in ('-c', 'two'), ('-a', 'one'), ('-d', 'one'), ('-d', 'two'):
        img('snapshot', *what, 'x')
    img('check', '-q', 'x')
    run(IO, '-c', 'read -P 5 0 192k', 'x')


@case
def reads_past_the_end_of_a_file_give_zeroes():
    """Whatever does the reading; many at once, over an end that no sector or page has."""
    data = bytes([5]) * 100001
    for aio, cache in (('threads', 'off'), ('threads', 'on'), ('io_uring', 'off'), ('io_uring', 'on'),
                       ('native', 'on')):
        pathlib.Path('r').write_bytes(data)
        reads = [word for i in range(16) for word in ('-c', f'aio_read -P 5 {i * 4096} 8192')]
        done = run(IO, '--image-opts', '-r', *reads, '-c', 'aio_flush', '-c', 'read -P 5 65536 34304',
                   '-c', 'read -P 0 100001 351', '-c', 'aio_read -P 0 100001 351', '-c', 'aio_flush',
                   f'driver=raw,file.filename=r,file.aio={aio},file.cache.direct={cache}', code=None)
        require(done.returncode == 0 or 'io_uring' not in aio, 'no io_uring here')
        assert done.returncode == 0 and 'Pattern' not in done.stdout, (aio, cache, done.stdout, done.stderr)
        img('convert', '-T', 'none' if cache == 'on' else 'writeback', '-f', 'raw', '-O', 'raw', 'r', 'copy')
        copy = pathlib.Path('copy').read_bytes()
        assert copy[:len(data)] == data and not any(copy[len(data):]), (aio, cache)


@case
def direct_requests_of_any_alignment_are_right():
    """O_DIRECT demands whole blocks; what is asked for need not be."""
    rng = random.Random(1)
    for size in (1 << 20, (1 << 20) + 512, 300000):
        for fmt in 'raw', 'qcow2':
            img('create', '-q', '-f', fmt, 'd', size)
            model = bytearray(-(-size // 512) * 512)
            commands = []
            for i in range(60):
                off = rng.randrange(size - 1)
                length = min(rng.choice([1, 511, 512, 513, 4095, 4096, 70000]), size - off)
                value = rng.randrange(1, 256)
                model[off:off + length] = bytes([value]) * length
                commands += ['-c', f'{rng.choice(["write", "aio_write"])} -P {value} {off} {length}',
                             '-c', 'aio_flush', '-c', f'read -P {value} {off} {length}']
            done = run(IO, '-t', 'none', '-f', fmt, *commands, 'd')
            assert 'Pattern' not in done.stdout, (size, fmt)
            run(REFERENCE / 'qemu-img', 'convert', '-f', fmt, '-O', 'raw', 'd', 'out')
            assert pathlib.Path('out').read_bytes()[:size] == model[:size], (size, fmt)


# ---- the file system ---------------------------------------------------------------------------

@case
def an_error_of_punching_holes_reaches_the_user():
    for fmt in 'raw', 'qcow2':
        img('create', '-q', '-f', fmt, 'p', '1M')
        run(IO, '-f', fmt, '-c', 'write -P 3 0 1M', 'p')
        # In qcow2 the zeroes are in the tables, and that space was not given back is no loss.
        done = run(IO, '-d', 'unmap', '-f', fmt, '-c', 'write -z -u 0 512k', 'p', code=int(fmt == 'raw'),
                   env=failing('fallocate64', 5))
        assert fmt != 'raw' or 'Input/output error' in done.stdout, done.stdout
        # A file system that cannot at all: zeroes are written.
        done = run(IO, '-d', 'unmap', '-f', fmt, '-c', 'write -P 4 0 1M', '-c', 'write -z -u 0 512k',
                   '-c', 'read -P 0 0 512k', 'p', env=failing('fallocate64', 95))
        assert 'Pattern' not in done.stdout, done.stdout


@case
def seek_data_that_answers_with_what_lies_before_is_no_answer():
    """Some file systems do; no loop, no assertion, and all data is copied."""
    require(PRELOADABLE, 'sanitizers want to be preloaded alone')
    img('create', '-q', '-f', 'raw', 'r', '4M')
    run(IO, '-f', 'raw', '-c', 'write -P 3 1M 64k', '-c', 'write -P 4 3M 64k', 'r')
    for job in (['convert', '-f', 'raw', '-O', 'raw', 'r', 'out'], ['map', '--output=json', '-f', 'raw', 'r'],
                ['compare', '-f', 'raw', '-F', 'raw', 'r', 'r']):
        img(*job, env={'LD_PRELOAD': str(BUILD / 'preload/seek.so')})
    assert pathlib.Path('out').read_bytes() == pathlib.Path('r').read_bytes()


# ---- encryption --------------------------------------------------------------------------------

@case
def sectors_are_encrypted_by_their_place():
    """Parallel writes at every alignment, read by the reference (4.1 used the wrong vectors)."""
    rng = random.Random(2)
    size = 2 << 20
    for fmt, create, opts in (
            ('luks', 'key-secret=s,iter-time=10', 'driver=luks,key-secret=s,file.filename=e'),
            ('qcow2', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,cluster_size=4k',
             'driver=qcow2,encrypt.key-secret=s,file.filename=e'),
            ('qcow2', 'encrypt.format=aes,encrypt.key-secret=s,cluster_size=4k',
             'driver=qcow2,encrypt.key-secret=s,file.filename=e')):
        img('create', '-q', *SECRET, '-f', fmt, '-o', create, 'e', size)
        model, commands, at = bytearray(size), [], 0
        while at < size - 100000:
            length = rng.choice([1, 511, 512, 513, 1024, 4096, 5000, 65536, 70001])
            value = rng.randrange(1, 256)
            model[at:at + length] = bytes([value]) * length
            commands += ['-c', f'aio_write -P {value} {at} {length}']
            at += length + rng.choice([0, 0, 1, 512, 3000])
        run(IO, *SECRET, '--image-opts', *commands, '-c', 'aio_flush', opts)
        run(REFERENCE / 'qemu-img', 'convert', *SECRET, '--image-opts', '-O', 'raw', opts, 'out')
        out = pathlib.Path('out').read_bytes()
        # What no write touched is random in a LUKS image, zero in the others.
        wrong = [i for i in range(size) if out[i] != model[i] and (model[i] or fmt != 'luks')]
        assert not wrong, (create, wrong[0])


# ---- write logs --------------------------------------------------------------------------------

def replayed(log, size):
    """The disk after all writes of @log (docs/spec/blklogwrites.md)."""
    data = pathlib.Path(log).read_bytes()
    magic, _, entries, sector = struct.unpack_from('<QQQI', data)
    disk, at = bytearray(size), sector
    assert magic == 0x6a736677736872
    for _ in range(entries):
        where, count, flags, _ = struct.unpack_from('<QQQQ', data, at)
        at += sector
        if flags & 4:                       # a discard has no data
            continue
        disk[where * sector:(where + count) * sector] = data[at:at + count * sector]
        at += count * sector
    return disk


@case
def a_log_of_writes_replays_to_the_same_disk():
    """7.2.9 logged write-zeroes at the wrong offset."""
    rng = random.Random(3)
    for sector in (512, 4096):
        img('create', '-q', '-f', 'raw', 'f', '1M')
        pathlib.Path('log').write_bytes(b'')
        commands = []
        for _ in range(80):
            off, length = rng.randrange(256) * 4096, rng.choice([4096, 8192, 65536])
            length = min(length, (1 << 20) - off)
            commands += ['-c', rng.choice([f'write -P {rng.randrange(1, 256)} {off} {length}',
                                           f'write -z {off} {length}', 'flush'])]
        run(IO, '--image-opts', *commands, 'driver=blklogwrites,file.driver=raw,file.file.filename=f,'
            f'log.driver=file,log.filename=log,log-sector-size={sector}')
        assert replayed('log', 1 << 20) == pathlib.Path('f').read_bytes(), sector


# ---- targets that are sources ------------------------------------------------------------------

def make_family():
    """base.raw <- mid <- top; d with data file df; a hard and a symbolic link to each."""
    pathlib.Path('base.raw').write_bytes(random.Random(4).randbytes(1 << 20))
    for below, fmt, name in (('base.raw', 'raw', 'mid'), ('mid', 'qcow2', 'top')):
        img('create', '-q', '-f', 'qcow2', '-b', below, '-F', fmt, name)
        run(IO, '-c', 'write -P 1 64k 64k', name)
    img('create', '-q', '-f', 'qcow2', '-o', 'data_file=df', 'd', '1M')
    run(IO, '-c', 'write -P 2 0 1M', 'd')
    for name in ('base.raw', 'mid', 'top', 'd', 'df'):
        os.link(name, f'{name}.hard')
        os.symlink(name, f'{name}.soft')


def contents():
    return {name: pathlib.Path(name).read_bytes() for name in sorted(os.listdir('.'))}


@case
def a_target_that_is_read_is_refused():
    """As a source, below one, as the backing file of the new image or below that; by any name."""
    make_family()
    before = contents()
    unlocked = 'driver=qcow2,file.filename=top,file.locking=off'
    for link in ('', '.hard', '.soft'):
        for name in ('base.raw', 'mid', 'top'):
            for fmt in ('raw', 'qcow2'):
                img('convert', '-U', '-O', fmt, 'top', name + link, code=1)
                img('dd', '-U', '-O', fmt, 'if=top', f'of={name}{link}', code=1)
            img('create', '-f', 'qcow2', '-b', 'top', '-F', 'qcow2', name + link, code=1)
            img('convert', '-O', 'qcow2', '-B', 'top', '-F', 'qcow2', 'd', name + link, code=1)
            img('convert', '-U', '-O', 'qcow2', '-o', f'data_file={name}{link}', 'top', 'new', code=1)
            img('create', '-f', 'qcow2', '-b', 'top', '-F', 'qcow2', '-o', f'data_file={name}{link}',
                'new', code=1)
        img('convert', '-U', '-n', '-O', 'qcow2', 'top', 'top' + link, code=1)
        img('convert', '-n', '-O', 'qcow2', '--image-opts', unlocked, 'mid' + link, code=1)
        img('convert', '-U', '-n', '-O', 'raw', 'top', 'base.raw' + link, code=1)
        img('convert', '-U', '-n', '-O', 'raw', 'd', 'df' + link, code=1)
        img('convert', '-U', '-O', 'raw', 'd', 'df' + link, code=1)
        img('create', '-u', '-f', 'qcow2', '-b', './top', '-F', 'qcow2', 'top' + link, '1M', code=1)
        img('create', '-u', '-f', 'qcow2', '-b', 'top', '-F', 'qcow2', '-o', f'data_file=top{link}',
            'new', '1M', code=1)
        img('create', '-f', 'qcow2', '-o', f'data_file=top{link}', 'top', '1M', code=1)
        for unsafe in ([], ['-u'], ['-U']):
            img('rebase', *unsafe, '-b', 'top' + link, '-F', 'qcow2', 'top', code=1)
        img('rebase', '-U', '-b', 'mid', '-F', 'qcow2', 'base.raw' + link, code=1)
    assert contents() == before, [n for n in before if contents().get(n) != before[n]]
    # A copy into an overlay of the source destroys nothing.
    img('convert', '-n', '-O', 'qcow2', 'mid', 'top')


@case
def a_file_that_is_written_to_is_not_created_anew():
    """The reference empties it, and where it refuses does so afterwards."""
    pathlib.Path('r').write_bytes(b'x' * 65536)
    for fmt in ('raw', 'qcow2'):
        with subprocess.Popen([IO, '-f', 'raw', 'r'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as holder:
            holder.stdout.read(1)
            img('create', '-f', fmt, 'r', '1M', code=1)
            holder.stdin.close()
            holder.stdout.read()
    assert pathlib.Path('r').read_bytes() == b'x' * 65536


@case
def an_export_is_not_copied_onto_itself():
    pathlib.Path('r').write_bytes(b'x' * 65536)
    run(BUILD / 'qemu-nbd', '--fork', '-t', '-e', '5', '-f', 'raw', '-k', os.path.abspath('s'),
        '--pid-file', 'pid', 'r')
    uri = f'nbd+unix:///?socket={os.path.abspath("s")}'
    try:
        for more in ([], ['-n']):
            img('convert', *more, '-f', 'raw', '-O', 'raw', uri, uri, code=1)
            img('convert', *more, '-f', 'raw', '-O', 'raw', uri, f'nbd:unix:{os.path.abspath("s")}', code=1)
    finally:
        os.kill(int(pathlib.Path('pid').read_text()), 15)
    assert pathlib.Path('r').read_bytes() == b'x' * 65536


# ---- reopening ---------------------------------------------------------------------------------

@case
def a_reopen_waits_for_what_is_in_flight():
    img('create', '-q', '-f', 'qcow2', 'q', '8M')
    commands = []
    for i in range(64):
        commands += ['-c', f'aio_write -P {i + 1} {i * 65536} 65536']
        if i % 8 == 7:
            commands += ['-c', 'reopen -c ' + ('none' if i % 16 == 7 else 'writeback')]
    reads = [word for i in range(64) for word in ('-c', f'read -P {i + 1} {i * 65536} 65536')]
    done = run(IO, *commands, '-c', 'aio_flush', *reads, 'q')
    assert 'Pattern' not in done.stdout and 'failed' not in done.stdout, done.stdout
    subprocess.run([REFERENCE / 'qemu-img', 'check', '-q', 'q'], check=True)


main('data-safety')
