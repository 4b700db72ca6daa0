#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images in compressed files and archives: gzip, xz, zstd, bzip2, tar, unpack."""
import bz2
import gzip
import io as memory
import json
import lzma
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from bzip2_stream import stream_that_holds
from cases import IMG, IO, case, img, io, main, require, run
from this_run import WATCHED

MIB = 1 << 20


def some_data(size, seed=1):
    """Compressible, with runs of zeroes."""
    r = random.Random(seed)
    words = [r.randbytes(r.randint(3, 300)) for _ in range(1000)]
    out = bytearray()
    while len(out) < size:
        out += b''.join(r.choices(words, k=500)) + r.randbytes(40000)
        if r.random() < 0.2:
            out += bytes(r.randint(1, 600000))
    return bytes(out[:size])


DATA = some_data(18 * MIB + 5 * 512)


def zstd(data, *options):
    require(shutil.which('zstd'), 'no zstd')
    return subprocess.run(['zstd', '-q', '-c', *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def zstd_of_file(data):
    pathlib.Path('plain').write_bytes(data)
    require(shutil.which('zstd'), 'no zstd')
    return run('zstd', '-q', '-f', 'plain', '-o', 'packed') and pathlib.Path('packed').read_bytes()


def written(name, content):
    pathlib.Path(name).write_bytes(content)
    return name


def reads(name, wanted, offsets, length=700, between=()):
    """What one process reads, in the order of @offsets, with commands between."""
    words = [w for o in offsets for c in (f'read -v {o} {length}', *between) for w in ('-c', c)]
    done = run(IO, '-r', '-f', 'raw', *words, name)
    lines = re.findall(r'^[0-9a-f]{8,}: ((?: [0-9a-f]{2})+)', done.stdout, re.M)
    assert bytes.fromhex(''.join(lines)) == b''.join(wanted[o:o + length] for o in offsets), name


def same(name, data=DATA, scattered=True):
    """@name reads as @data: in order, in any order, and where the map says that there are zeroes."""
    img('convert', '-O', 'raw', name, 'out')
    assert pathlib.Path('out').read_bytes() == data, name
    for e in json.loads(img('map', '--output=json', '-f', 'raw', name).stdout):
        assert not e['zero'] or not any(data[e['start']:e['start'] + e['length']]), (name, e)
    if scattered:
        r = random.Random(2)
        reads(name, data, [r.randrange(len(data) - 700) for _ in range(8)])


@case
def gzip_is_read_at_any_offset():
    same('gzip:' + written('x.gz', gzip.compress(DATA, 1)))
    third = len(DATA) // 3
    same('gzip:' + written('y.gz', gzip.compress(DATA[:third], 1) + gzip.compress(b'') +
                           gzip.compress(DATA[third:], 6) + bytes(1000)), scattered=False)
    require(shutil.which('gzip'), 'no gzip')
    with open('z.gz', 'wb') as f:
        subprocess.run(['gzip', '-c'], input=DATA[:MIB], stdout=f, check=True)
    same('gzip:z.gz', DATA[:MIB])


@case
def bzip2_is_read_at_any_offset():
    # Blocks begin at any bit; small ones make many of them. What lies before the last 8 MiB is decoded again.
    data = DATA[:13 * MIB]
    same('bzip2:' + written('x.bz2', bz2.compress(data, 1)), data)
    parts = b''.join(bz2.compress(DATA[i:i + 3 * MIB // 2], 1) for i in range(0, 12 * MIB, 3 * MIB // 2))
    name = 'bzip2:' + written('y.bz2', parts + bz2.compress(b'') + bytes(5))
    reads(name, DATA, [o * MIB + 5 for o in (1, 11, 3, 2)])


@case
def xz_is_read_by_its_index():
    parts = b''.join(lzma.compress(DATA[i:i + 2 * MIB], preset=0) for i in range(0, len(DATA), 2 * MIB))
    same('xz:' + written('x.xz', parts + bytes(8)))
    require(shutil.which('xz'), 'no xz')
    written('d', DATA)
    for options in ('-T2', '--block-size=1MiB', '-0'), ('-T1', '-0', '-C', 'sha256'):
        with open('y.xz', 'wb') as f:
            subprocess.run(['xz', '-c', *options, 'd'], stdout=f, check=True)
        same('xz:y.xz')


@case
def zstd_is_read_by_its_frames():
    same('zstd:' + written('x.zst', zstd_of_file(DATA)))
    skipped = b'\x5a\x2a\x4d\x18' + (9).to_bytes(4, 'little') + b'some text'
    parts = b''.join(zstd_of_file(DATA[i:i + MIB]) for i in range(0, len(DATA), MIB))
    same('zstd:' + written('y.zst', skipped + parts + skipped))
    # From a pipe frames do not tell how long they are.
    same('zstd:' + written('z.zst', zstd(DATA) + zstd(b'') + zstd(DATA[:MIB])), DATA + DATA[:MIB])


@case
def sizes_of_zero_and_of_no_whole_sector():
    for data in b'', b'x', b'y' * 513:
        for driver, packed in (('gzip', gzip.compress(data)), ('bzip2', bz2.compress(data)),
                               ('xz', lzma.compress(data))):
            img('convert', '-O', 'raw', f'{driver}:' + written('x', packed), 'out')
            assert pathlib.Path('out').read_bytes() == data.ljust(-(-len(data) // 512) * 512, b'\0'), driver


@case
def a_size_that_is_given_spares_decoding_twice():
    packed = written('x.gz', gzip.compress(DATA, 1))
    right = f'driver=raw,file.driver=gzip,file.file.filename={packed},file.size='
    img('convert', '--image-opts', '-O', 'raw', right + str(len(DATA)), 'out')
    assert pathlib.Path('out').read_bytes() == DATA
    for wrong in len(DATA) - 512, len(DATA) + 512, 1 << 40:
        img('convert', '--image-opts', '-O', 'raw', right + str(wrong), 'out', code=1)


@case
def a_format_in_a_container_is_found():
    written('d', DATA[:4 * MIB])
    img('convert', '-O', 'qcow2', 'd', 'd.qcow2')
    with open('d.qcow2', 'rb') as f:
        packed = gzip.compress(f.read())
    written('d.qcow2.gz', packed)
    info = json.loads(img('info', '--output=json', 'gzip:d.qcow2.gz').stdout)
    assert (info['format'], info['filename']) == ('qcow2', 'gzip:d.qcow2.gz'), info
    img('compare', 'gzip:d.qcow2.gz', 'd')
    img('check', 'gzip:d.qcow2.gz')
    img('compare', '--image-opts', 'driver=qcow2,file.driver=gzip,file.file.filename=d.qcow2.gz',
        'driver=raw,file.filename=d')
    # By the name alone nothing is unpacked: a guest could write such a beginning.
    assert json.loads(img('info', '--output=json', 'd.qcow2.gz').stdout)['format'] == 'raw'


@case
def nothing_is_written():
    written('x.gz', gzip.compress(b'a' * 4096))
    before = pathlib.Path('x.gz').read_bytes()
    for command in (IO, '-f', 'raw', '-c', 'write 0 512', 'gzip:x.gz'), (IMG, 'resize', '-f', 'raw', 'gzip:x.gz', '1M'):
        assert 'can only be read' in run(*command, code=1).stderr
    written('d', b'd' * 4096)
    for name in 'gzip:x.gz', 'tar:x.tar!d', 'unpack:x.gz':
        img('convert', '-O', 'raw', 'd', name, code=1)
    assert pathlib.Path('x.gz').read_bytes() == before


@case
def zeroes_take_no_memory():
    packer = gzip.GzipFile('x.gz', 'wb', 9)
    for _ in range(512):
        packer.write(bytes(MIB))
    packer.close()
    extents = json.loads(img('map', '--output=json', '-f', 'raw', 'gzip:x.gz').stdout)
    assert [(e['start'], e['length'], e['zero']) for e in extents] == [(0, 512 * MIB, True)], extents
    most = 0
    with subprocess.Popen([IMG, 'convert', '-O', 'raw', 'gzip:x.gz', 'out']) as p:
        while p.poll() is None:
            status = pathlib.Path(f'/proc/{p.pid}/status').read_text()
            if 'qemu-img' in status.splitlines()[0]:
                most = max([most, *map(int, re.findall(r'VmHWM:\s*(\d+)', status))])
            time.sleep(0.005)
    assert p.returncode == 0 and os.stat('out').st_blocks < 100
    assert WATCHED or 0 < most < 64 << 10, most


# ---- decoded once, by several threads ---------------------------------------------------------

def packed_in_pieces(data):
    """(driver, file, what checks it) of files with many blocks, frames or streams."""
    half = len(data) // 2
    yield 'bzip2', bz2.compress(data[:half], 1) + bz2.compress(b'') + bz2.compress(data[half:], 1), 'bzip2'
    parts = [data[i:i + (600 << 10)] for i in range(0, len(data), 600 << 10)]
    yield 'xz', b''.join(lzma.compress(p, preset=0) for p in parts), 'xz'
    if shutil.which('zstd'):
        whole = [data[i:i + 5 * MIB] for i in range(0, len(data), 5 * MIB)]
        yield 'zstd', b''.join(map(zstd_of_file, whole)), 'zstd'
        yield 'zstd', zstd(data), 'zstd'
    yield 'gzip', gzip.compress(data, 1), 'gzip'


def bytes_read_of(name, *args):
    """How much @args of qemu-img read of the file @name, of which it is the lowest node."""
    text = img('-T', 'node_read', *args).stderr
    reads_of = {}
    for node, length in re.findall(r'node_read (\S+) off=\d+ len=(\d+)', text):
        reads_of[node] = reads_of.get(node, 0) + int(length)
    return reads_of[min(reads_of, key=lambda node: abs(reads_of[node] - os.path.getsize(name)))]


@case
def a_size_that_nothing_tells_is_learned_while_copying():
    packed = written('x.gz', gzip.compress(DATA, 1))
    for fmt, options in (('raw', []), ('qcow2', []), ('qcow2', ['-c', '-o', 'cluster_size=2M']), ('raw', ['-S', '0'])):
        img('convert', '-O', fmt, *options, 'gzip:' + packed, 'out')
        img('convert', '-f', fmt, '-O', 'raw', 'out', 'out.raw')
        assert pathlib.Path('out.raw').read_bytes() == DATA, (fmt, options)
        if fmt == 'qcow2':
            img('check', 'out')
    size = os.path.getsize(packed)
    assert bytes_read_of(packed, 'convert', '-O', 'raw', 'gzip:' + packed, 'out') < size * 1.2
    img('convert', '--untrusted', '-O', 'qcow2', 'unpack:' + packed, 'out')
    written('plain', DATA)
    img('compare', 'out', 'plain')
    shown = img('convert', '-p', '-O', 'raw', 'gzip:' + packed, 'out').stdout
    steps = [float(x) for x in re.findall(r'\((\d+\.\d+)/100%\)', shown)]
    assert steps == sorted(steps) and steps[-1] == 100 and min(steps) < 60, shown


@case
def ends_at_any_size():
    data = DATA[:5 * MIB]
    for size in 0, 1, 511, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 512, 4 * MIB - 1, 4 * MIB, 5 * MIB:
        for content in (data[:size],) if size % MIB else (data[:size], bytes(size)):
            name = written('x.gz', gzip.compress(content, 1))
            whole = content.ljust(-(-size // 512) * 512, b'\0')
            img('convert', '-O', 'raw', 'gzip:' + name, 'out')
            assert pathlib.Path('out').read_bytes() == whole, size
            img('convert', '-O', 'qcow2', 'gzip:' + name, 'out')
            assert json.loads(img('info', '--output=json', 'out').stdout)['virtual-size'] == len(whole), size


@case
def pieces_decoded_ahead_are_put_together():
    for driver, packed, _ in packed_in_pieces(DATA[:8 * MIB]):
        img('convert', '-O', 'raw', f'{driver}:' + written('x', packed), 'out')
        assert pathlib.Path('out').read_bytes() == DATA[:8 * MIB], driver
        # Backwards and forwards, in one process.
        reads(f'{driver}:x', DATA, [MIB * i + 99 for i in (0, 1, 2, 3, 6, 7, 2, 3, 4)])
        # Reopened while decoders run ahead.
        reads(f'{driver}:x', DATA, [MIB * i + 99 for i in (0, 1, 2, 3, 6, 7, 2, 3, 4)], between=['reopen -r -c none'])


@case
def what_only_looks_like_a_block_of_bzip2_is_passed_over():
    def block(seed):
        return bz2.compress(random.Random(seed).randbytes(60))[4:]
    # Whole blocks inside of a block, and ones that break off.
    false = next(b for b in map(block, range(5000)) if 255 not in b)
    lures = [stream_that_holds(p) for p in (false * 300, false[:-40] * 300, false[:20] * 1000)]
    between = [bz2.compress(DATA[i * 700000:(i + 1) * 700000], 4) for i in range(12)]
    packed = b''.join(between[i] + lures[i % 3] * (1 + i % 2) for i in range(12))
    content = bz2.decompress(packed)
    img('convert', '-O', 'raw', 'bzip2:' + written('x', packed), 'out')
    assert pathlib.Path('out').read_bytes() == content.ljust(-(-len(content) // 512) * 512, b'\0')
    reads('bzip2:x', content, [MIB * i + 99 for i in (0, 1, 2, 3, 6, 7, 2, 3, 4)])


@case
def damage_is_found_as_the_own_tools_find_it():
    data = some_data(3 * MIB, 9)
    r = random.Random(11)
    for driver, packed, tool in packed_in_pieces(data):
        require(shutil.which(tool), 'no ' + tool)
        kinds = [packed[:len(packed) * 2 // 3], packed[:-5]]
        for _ in range(4):
            at = r.randrange(12, len(packed))
            kinds.append(packed[:at] + bytes([packed[at] ^ 1 << r.randrange(8)]) + packed[at + 1:])
        if driver == 'bzip2':
            # The check of a whole stream: its last 4 bytes, but for the bits that fill it up.
            kinds.append(packed[:-3] + bytes([packed[-3] ^ 4]) + packed[-2:])
        for bad in kinds:
            good = subprocess.run([tool, '-dc'], input=bad, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            done = img('convert', '-O', 'raw', f'{driver}:' + written('x', bad), 'out', code=None, timeout=120)
            assert (done.returncode, good.returncode) in ((0, 0), (1, 1), (1, 2)), (driver, done, good.returncode)
            if done.returncode:
                # Either nothing was made, or what was is called incomplete.
                assert len(done.stderr.splitlines()) == 1, done.stderr
                assert not os.path.exists('out') or "'out' is incomplete" in done.stderr, done.stderr
                if os.path.exists('out'):
                    os.remove('out')
            else:
                assert pathlib.Path('out').read_bytes() == good.stdout, driver


# ---- archives ---------------------------------------------------------------------------------

def tar(members, **options):
    """Members: (name, content)."""
    out = memory.BytesIO()
    with tarfile.open(fileobj=out, mode='w', **options) as t:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            t.addfile(entry, memory.BytesIO(content))
    return out.getvalue()


@case
def members_of_archives():
    small, long = DATA[:MIB], 'deep/' * 60 + 'name.img'
    members = [('readme', b'text'), ('./a.img', small), (long, DATA[MIB:2 * MIB]), ('old', b'1'), ('old', b'2' * 512)]
    for fmt in tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT:
        written('x.tar', tar(members[:2] + members[2 + (fmt == tarfile.USTAR_FORMAT):], format=fmt))
        same('tar:x.tar!a.img', small)
        same('tar:x.tar!./a.img', small, False)
        same('tar:x.tar!old', b'2' * 512, False)
        if fmt != tarfile.USTAR_FORMAT:
            same(f'tar:x.tar!{long}', DATA[MIB:2 * MIB], False)
    done = img('info', 'tar:x.tar!none', code=1)
    assert "'none'" in done.stderr and "'readme'" in done.stderr, done.stderr
    assert 'a.img' in img('info', 'tar:x.tar', code=1).stderr
    img('info', '--image-opts', 'driver=tar,member=old,file.filename=x.tar')


@case
def sparse_members_of_gnu_tar():
    require(shutil.which('tar') and 'GNU' in run('tar', '--version').stdout, 'no GNU tar')
    data = bytearray(30 * MIB)
    for i in range(40):
        data[i * 700000:i * 700000 + 5000] = DATA[i * 5000:i * 5000 + 5000]
    written('d.img', data)
    run('cp', '--sparse=always', 'd.img', 's.img')
    for fmt in 'gnu', 'posix':
        run('tar', '-S', f'--format={fmt}', '-cf', 'x.tar', 's.img')
        assert os.path.getsize('x.tar') < MIB, 'tar did not see holes'
        same('tar:x.tar', bytes(data))
    run('tar', '-S', '--format=posix', '--sparse-version=0.1', '-cf', 'x.tar', 's.img')
    assert 'sparse' in img('info', 'tar:x.tar', code=1).stderr


@case
def the_disk_of_an_ova():
    written('d', DATA[:4 * MIB])
    img('convert', '-O', 'vmdk', '-o', 'subformat=streamOptimized', 'd', 'd.vmdk')
    disk = pathlib.Path('d.vmdk').read_bytes()
    text = [('app.ovf', b'<Envelope/>' * 99), ('app.mf', b'SHA256')]
    written('app.ova', tar(text[:1] + [('app-disk1.vmdk', disk)] + text[1:], format=tarfile.USTAR_FORMAT))
    for name in 'tar:app.ova', 'tar:app.ova!app-disk1.vmdk', 'unpack:app.ova':
        info = json.loads(img('info', '--output=json', name).stdout)
        assert info['format'] == 'vmdk', info
        img('compare', name, 'd')
    assert info['filename'] == 'tar:app.ova!app-disk1.vmdk', info
    written('two.ova', tar([('1.vmdk', disk), ('2.vmdk', disk)]))
    done = img('info', 'tar:two.ova', code=1)
    assert "'1.vmdk', '2.vmdk'" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@case
def containers_in_containers():
    inner = tar([('x/disk.img', DATA[:3 * MIB])])
    written('a.tar.xz', lzma.compress(inner, preset=0))
    written('b.tar', tar([('d.gz', gzip.compress(DATA[:3 * MIB]))]))
    for name in ('tar:xz:a.tar.xz', 'unpack:a.tar.xz', 'unpack:a.tar.xz!x/disk.img', 'tar:xz:a.tar.xz!x/disk.img',
                 'gzip:tar:b.tar!d.gz', 'unpack:b.tar'):
        same(name, DATA[:3 * MIB], False)
    written('plain', DATA[:3 * MIB])
    same('unpack:plain', DATA[:3 * MIB], False)
    img('info', 'unpack:plain!x', code=1)
    img('convert', '--untrusted', '-O', 'raw', 'unpack:a.tar.xz', 'out')
    assert pathlib.Path('out').read_bytes() == DATA[:3 * MIB]
    packed = DATA[:512]
    for _ in range(9):
        packed = gzip.compress(packed)
    assert 'more than 8 times' in img('info', 'unpack:' + written('deep', packed), code=1).stderr


# ---- damage -----------------------------------------------------------------------------------

@case
def damage_is_an_error_and_never_other_data():
    data = some_data(300 << 10, 7)
    r = random.Random(3)
    for driver, packed in (('gzip', gzip.compress(data)), ('bzip2', bz2.compress(data, 1)),
                           ('xz', lzma.compress(data))):
        kinds = [packed[:len(packed) // 2], packed[:-9], packed[:20], b'', bytes(600), packed + b'rubbish ' * 99]
        for _ in range(12):
            at = r.randrange(12, len(packed))
            kinds.append(packed[:at] + bytes([packed[at] ^ 1 << r.randrange(8)]) + packed[at + 1:])
        for bad in kinds:
            done = img('convert', '-O', 'raw', f'{driver}:' + written('x', bad), 'out', code=None, timeout=60)
            assert done.returncode == 1 or pathlib.Path('out').read_bytes() == data, driver
            assert len(done.stderr.splitlines()) <= 1, done.stderr


@case
def damaged_archives():
    good = bytearray(tar([('a.img', DATA[:4096])], format=tarfile.GNU_FORMAT))

    def refused(*edits):
        bad = bytearray(good)
        for at, content in edits:
            bad[at:at + len(content)] = content
        if edits:
            total = sum(bad[:148]) + 8 * 32 + sum(bad[156:512])
            bad[148:156] = b'%06o\0 ' % total
        done = img('info', 'tar:' + written('x', bad), code=1, timeout=20)
        assert len(done.stderr.splitlines()) == 1, done.stderr

    refused((124, b'77777777777\0'))
    refused((124, b'\x80' + b'\xff' * 11))
    refused((124, b'\xff' * 12))
    refused((124, b'rubbish'))
    refused((124, b'00000100000\0'))
    # Maps of sparse files that leave the file, or the archive.
    for off, length, real in ((0, 8192, 8192), (8192, 512, 8192), (0, 512, 0), (1 << 33, 1, 4096)):
        refused((156, b'S'), (386, b'%011o\0%011o\0' % (off, length)), (483, b'%011o\0' % real))
    whole, good = good, good[:512]
    refused((156, b'S'), (482, b'\1'), (483, b'00000010000\0'), (124, b'00000000000\0'))
    good = whole
    for attributes in b'99 size=1\n', b'size', b'12 path', b'-1 a=b\n', b'7 size\n':
        header = bytearray(good[:512])
        header[156:157], header[124:136] = b'x', b'%011o\0' % 512
        header[148:156] = b'%06o\0 ' % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
        written('x', bytes(header) + attributes.ljust(512, b'\0') + good)
        img('info', 'tar:x', code=1, timeout=20)
    good[0] ^= 1
    refused()


@case
def an_image_that_names_itself_through_unpack_is_refused():
    own = {'driver': 'unpack', 'file': {'driver': 'qcow2', 'file': {'driver': 'file', 'filename': 'a.qcow2'}}}
    img('create', '-q', '-f', 'qcow2', '-u', '-b', 'json:' + json.dumps(own), '-F', 'unpack', 'a.qcow2', '1M')
    done = img('convert', '-O', 'raw', 'a.qcow2', 'out', code=1, timeout=20)
    assert len(done.stderr.splitlines()) == 1, done.stderr


@case
def relative_backing_names_start_at_the_outermost_file():
    """Names in an image that is inside an archive or a compressed file mean files beside the archive."""
    os.mkdir('d')
    img('create', '-q', '-f', 'qcow2', 'd/base', '1M')
    io('d/base', 'write -P 5 0 64k')
    img('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'd/top')
    run('gzip', '-k', 'd/top')
    run('tar', '-C', 'd', '-cf', 'd/a.tar', 'top')
    for name in 'gzip:d/top.gz', 'tar:d/a.tar!top', 'unpack:d/top.gz':
        assert 'actual path: d/base' in img('info', name).stdout
        run(IO, '-r', '-c', 'read -P 5 0 64k', name)
        assert 'was not named' in img('convert', '--untrusted', '-O', 'raw', name, 'out', code=1).stderr
    os.remove('d/base')
    for name in 'gzip:d/top.gz', 'tar:d/a.tar!top':
        assert "'d/base'" in run(IO, '-r', '-c', 'read 0 512', name, code=1).stderr


@case
def names_have_so_many_prefixes_at_most():
    pathlib.Path('a.img').write_bytes(bytes(4096))
    for prefix in 'tar:', 'gzip:', 'unpack:', 'blkdebug::', 'blkverify:a:':
        done = img('info', prefix * 10000 + 'a.img', code=1, timeout=20)
        assert 'more than 32 prefixes' in done.stderr, done.stderr[-300:]


main('containers')
