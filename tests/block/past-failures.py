#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What has gone wrong in programs of this kind before, image by image: each is a named test."""
import os
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from hostile_images import BUILD, COMPRESSED, COPIED, Writer, compressed_entry, snapshot  # noqa: E402
from this_run import PRELOADABLE, SLOWER, WATCHED

IMG, IO = BUILD / 'qemu-img', BUILD / 'qemu-io'
TESTS = []


class Skipped(Exception):
    """The test cannot run here; says why."""


def test(fn):
    TESTS.append(fn)
    return fn


def run(*words, preload=None, file_limit=None, **env):
    """(exit code, standard output, standard error); what waits longer than 10 s fails the test."""
    limit = file_limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit)))
    if preload:
        env['LD_PRELOAD'] = str(BUILD / f'preload/{preload}.so')
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=10 * SLOWER, preexec_fn=limit, env=dict(os.environ, LC_ALL='C', **env), check=False)
    return done.returncode, done.stdout.decode(errors='replace'), done.stderr.decode(errors='replace')


def img(*words, **kw):
    return run(IMG, *words, **kw)


def io(*commands, image, options=()):
    words = [w for c in commands for w in ('-c', c)]
    return run(IO, *options, *words, image)


def peak(*words):
    """Seconds of CPU and MiB that @words take at most."""
    if WATCHED:
        raise Skipped('sanitizers take time and memory of their own')
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, words
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def must(*words):
    code, _, err = img(*words)
    assert code == 0, err


def small(bits=16, l2=(), name='x', **kw):
    """An image with one L2 table whose entries are @l2, and counts of 1 for all of 32 MiB."""
    q = Writer(bits=bits, size=1 << 20, **kw)
    q.refcounts()
    table = q.words(list(l2) + [0] * (q.cluster // 8 - len(l2)))
    q.l1([COPIED | table])
    q.write(name)
    return q


def patch(name, off, value, size):
    with open(name, 'r+b') as f:
        f.seek(off)
        f.write(value.to_bytes(size, 'big'))


# ---- memory safety and use of resources

@test
def header_fields_out_of_range_are_refused_by_name_of_image():
    """CVE-2014-0143, -0144, -0222, -0223: no field is used unchecked."""
    fields = {'cluster-bits-0': (20, 0, 4), 'cluster-bits-8': (20, 8, 4), 'cluster-bits-63': (20, 63, 4),
              'l1-huge': (36, 0xffffffff, 4), 'l1-unaligned': (40, 513, 8),
              'l1-at-the-end-of-all': (40, (1 << 64) - (1 << 16), 8), 'size-huge': (24, (1 << 64) - 1, 8),
              'reftable-huge': (56, 0xffffffff, 4), 'reftable-unaligned': (48, 3, 8),
              'refcount-order-7': (96, 7, 4), 'header-length-50': (100, 50, 4),
              'header-length-huge': (100, 0xffffffff, 4), 'crypt-9': (32, 9, 4),
              'backing-name-huge': (16, 0xffffffff, 4), 'incompatible-unknown': (72, 1 << 40, 8),
              'version-9': (4, 9, 4)}
    for what, (off, value, size) in fields.items():
        small()
        patch('x', off, value, size)
        if what == 'backing-name-huge':
            patch('x', 8, 1024, 8)
        code, _, err = img('convert', '-f', 'qcow2', '-O', 'raw', 'x', 'out')
        assert code == 1 and "'x'" in err and len(err.splitlines()) == 1, (what, code, err)


@test
def refcount_table_that_reaches_behind_the_file_is_rebuilt_without_leaks():
    """What the old table would take there is nobody's once there is a new one."""
    for cluster, clusters in ((512, 1024), (65536, 64)):
        must('create', '-q', '-f', 'qcow2', '-o', f'cluster_size={cluster}', 'x', '64k')
        patch('x', 56, clusters, 4)
        must('check', '-r', 'all', 'x')
        code, out, err = img('check', 'x')
        assert code == 0, (cluster, out, err)


@test
def snapshot_with_a_larger_l1_than_the_disk_is_applied_or_refused():
    """CVE-2014-0145, -0146: buffers are sized by the largest checked value."""
    for length, size in ((1, 1 << 20), (8192, 1 << 42), (1 << 22, 1 << 20), (4, 1 << 62), (0, 1 << 62),
                         (0xffffffff, 1 << 20)):
        q = small()
        at = q.put(snapshot(q.words([0] * 8), length, 1, b's', size=size))
        q.fields['snapshots'] = (at, 1)
        q.write('x')
        code, _, err = img('snapshot', '-a', 's', 'x')
        assert code in (0, 1) and bool(code) == bool(err), (length, size, code, err)


@test
def snapshot_table_beyond_its_limits_is_refused():
    for count, at in ((65537, 1 << 16), (1, 12345), (65536, (1 << 63) - (1 << 16))):
        q = small()
        q.fields['snapshots'] = (at, count)
        q.write('x')
        code, _, err = img('snapshot', '-l', 'x')
        assert code == 1 and "'x'" in err, (count, at, code, err)


@test
def requests_beyond_the_end_are_refused():
    """CVE-2008-0928."""
    small()
    for command in ('read 1M 512', 'read 1048575 2', 'read 8E 1', 'write 1M 1', 'write -z 1023k 2k'):
        code, out, err = io(command, image='x')
        assert code == 1, (command, code, out, err)


@test
def write_over_metadata_marks_the_image_corrupt():
    """An L2 entry names the L1 table or the refcount table."""
    for target in ('l1', 'reftable'):
        q = small()
        where = q.fields[target][0]
        small(l2=[COPIED | where])
        before = pathlib.Path('x').read_bytes()
        code, out, err = io('write -P 9 0 4k', image='x')
        after = pathlib.Path('x').read_bytes()
        assert code == 1 and 'Preventing invalid write' in err, (target, code, out, err)
        assert int.from_bytes(after[72:80], 'big') & 2, 'the corrupt bit is not set'
        assert before[where:where + 4096] == after[where:where + 4096]
        assert io('write 0 512', image='x')[0] == 1


@test
def metadata_that_counts_as_free_is_not_handed_out():
    """Refcounts of 0 for the header and the tables: a new cluster must not lie there."""
    q = small()
    tables = {'header': 0, 'reftable': q.fields['reftable'][0], 'l1': q.fields['l1'][0],
              'refblock': struct.unpack_from('>Q', q.data, q.fields['reftable'][0])[0],
              'l2': struct.unpack_from('>Q', q.data, q.fields['l1'][0])[0] & ~COPIED}
    for what, where in tables.items():
        small()
        patch('x', tables['refblock'] + 2 * (where >> 16), 0, 2)
        before = pathlib.Path('x').read_bytes()
        code, out, err = io('write -P 9 0 64k', image='x')
        after = pathlib.Path('x').read_bytes()
        changed = {i for i in range(0, len(before), 512) if before[i:i + 512] != after[i:i + 512]}
        assert code == 1 and 'Preventing invalid' in err, (what, code, out, err)
        assert int.from_bytes(after[72:80], 'big') & 2, (what, 'the corrupt bit is not set')
        # The corrupt bit, and at most the count of the cluster in question.
        assert changed <= {0, tables['refblock']}, (what, changed)


@test
def refcounts_never_pass_their_limit():
    """CVE-2014-0147: as many snapshots as the width of a count allows, and not one more."""
    for bits, limit in ((1, 0), (2, 2), (4, 14)):
        must('create', '-q', '-f', 'qcow2', '-o', f'refcount_bits={bits}', 'x', '1M')
        io('write -P 7 0 128k', image='x')
        for i in range(limit):
            must('snapshot', '-c', f's{i}', 'x')
        code, out, err = img('snapshot', '-c', 'more', 'x')
        assert code == 1 and "'x'" in err, (bits, code, out, err)
        must('check', '-q', 'x')
        assert io('read -P 7 0 128k', image='x')[0] == 0
        for i in range(limit):
            must('snapshot', '-d', f's{i}', 'x')
        must('check', '-q', 'x')


def word_at(name, off, size=8):
    with open(name, 'rb') as f:
        f.seek(off)
        return int.from_bytes(f.read(size), 'big')


def refcount(name, cluster):
    """As the file has it, 16 or 32 bits wide."""
    size = (1 << word_at(name, 96, 4)) // 8
    index, at = divmod(cluster, (1 << word_at(name, 20, 4)) // size)
    block = word_at(name, word_at(name, 48) + 8 * index)
    return word_at(name, block + at * size, size) if block else 0


@test
def repair_never_cuts_off_the_high_bits_of_a_refcount():
    """A cluster with 2 ** 32 references would become a free one."""
    for counted in (1, 0):
        q = Writer(order=5, size=1 << 48)
        q.refcounts(counted)
        data = q.put(bytes(q.cluster))
        table = q.words([data] * 8192)
        q.l1([table] * (1 << 19))
        q.write('x')
        code, out, err = img('check', '-r', 'all', 'x')
        assert code == 2 and 'overflow' in err + out, (counted, code, out, err)
        assert refcount('x', data >> 16) == 0xffffffff, counted
        assert refcount('x', table >> 16) == 1 << 19, counted


def repairs_short_of_memory(make):
    """For each large allocation: `check -r all` of the image x that @make makes, while that one fails;
    yields its exit code. The last one has all it asks for."""
    if not PRELOADABLE:
        raise Skipped('allocations fail by a preloaded library')
    nth = count = 1
    while nth <= count + 1:
        make()
        code, _, err = img('check', '-r', 'all', 'x', preload='fail', FAIL_CALL='memory', FAIL_NTH=str(nth),
                           FAIL_ERRNO='12', FAIL_COUNT='count', G_SLICE='always-malloc')
        assert code in (0, 1, 2, 3), (nth, code, err)
        count = max(count, int(pathlib.Path('count').read_text()))
        yield code
        nth += 1


@test
def repair_short_of_memory_sets_no_copied_flag_of_a_shared_cluster():
    """A write to it would change what others have there."""
    def make():
        q = Writer(size=1 << 29)
        q.refcounts()
        places['data'] = q.put(bytes(q.cluster))
        places['table'] = q.words([places['data']] * 300 + [0] * 7892)
        q.l1([COPIED | places['table']])
        q.write('x')
        os.truncate('x', 65600 << 16)       # so that counts of clusters are a large allocation

    places, codes = {}, []
    for code in repairs_short_of_memory(make):
        codes.append(code)
        count = refcount('x', places['data'] >> 16)
        assert count == 300 or (count == 1 and code), (codes, count)
        for i in range(300):
            assert not word_at('x', places['table'] + 8 * i) & COPIED, (codes, i)
    assert codes[0] == 1 and codes[-1] == 0, codes


@test
def repair_short_of_memory_puts_no_refcounts_where_an_entry_refers_to():
    """It refers to what is behind the end of the file; a write there would hit the refcounts."""
    end = 480000            # clusters: so that counts of those behind it are a large allocation

    def make():
        q = Writer(bits=9, size=1 << 20)
        q.refcounts(0)
        q.l1([q.words([(end + 10) * 512] + [0] * 63)])
        q.write('x')
        os.truncate('x', end * 512)

    codes = []
    for code in repairs_short_of_memory(make):
        codes.append(code)
        table, clusters = word_at('x', 48), word_at('x', 56, 4)
        taken = set(range(table // 512, table // 512 + clusters))
        taken |= {word_at('x', table + i) // 512 for i in range(0, clusters * 512, 8)}
        assert end + 10 not in taken, codes
    assert codes[0] == 1 and table >= end * 512, codes


@test
def what_refers_to_the_cluster_just_behind_the_end_counts():
    """Repair makes the file longer, and the cluster is there then: nobody else may get it."""
    for first in 0, 1:
        q = Writer(bits=9, size=1 << 20)
        q.refcounts(0)
        table = q.words([0] * 64)
        q.l1([table])
        q.write('x')
        end = os.path.getsize('x') // 512
        with open('x', 'r+b') as f:
            f.seek(table)
            f.write(b''.join(((end + first + i) * 512).to_bytes(8, 'big') for i in range(64)))
        assert img('check', '-r', 'all', 'x')[0] in (0, 2, 3)
        assert img('check', 'x')[0] == 0, img('check', 'x')
        for i in range(64):
            at = (word_at('x', table + 8 * i) & ~COPIED) // 512
            assert not at or refcount('x', at) == 1, (first, i, at)


@test
def snapshot_entries_that_lie_about_their_lengths_are_refused():
    for extra in (1025, 0x7fffffff, 0xfffffff0, 0xffffffff):
        q = small()
        entry = bytearray(snapshot(0, 0, 1, b's'))
        entry[36:40] = extra.to_bytes(4, 'big')
        at = q.put(entry)
        q.fields['snapshots'] = (at, 1)
        q.write('x')
        for job in (['snapshot', '-l'], ['info'], ['convert', '-O', 'raw', '-l', 's']):
            code, out, err = img(*job, 'x', *(['out'] if job[0] == 'convert' else []))
            assert code == 1 and "'x'" in err and str(extra) in err, (extra, job, code, out, err)
    # Names and ids that reach behind the table's end.
    q = small()
    entry = bytearray(snapshot(0, 0, 1, b's'))
    entry[12:16] = b'\xff' * 4
    q.fields['snapshots'] = (q.put(entry), 1)
    q.write('x')
    code, out, err = img('snapshot', '-l', 'x')
    assert code in (0, 1) and bool(code) == bool(err), (code, out, err)


@test
def backing_name_lies_in_the_first_cluster_behind_the_header():
    """GHSA of 2026: outside of it, over the header, a length without a place."""
    for what, off, length, good in (('sound', 1024, 4, True), ('none', 0, 0, True), ('over-the-header', 40, 4, False),
                                    ('length-without-place', 0, 4, False), ('behind-it', 1 << 16, 4, False),
                                    ('across-its-end', (1 << 16) - 2, 4, False), ('too-long', 1024, 1024, False),
                                    ('far-away', (1 << 64) - 8, 4, False)):
        small()
        patch('x', 1024, int.from_bytes(b'base', 'big'), 4)
        patch('x', 8, off, 8)
        patch('x', 16, length, 4)
        code, out, err = img('info', 'x')
        if what == 'length-without-place':      # the offset alone says that there is none
            assert 'backing file' not in out, (code, out, err)
            continue
        assert code == (0 if good else 1), (what, code, out, err)
        assert good or "'x'" in err, (what, err)


@test
def info_takes_no_more_for_a_huge_disk_or_a_long_chain():
    """CVE-2015-5162: time and memory grow with what is there, not with what is claimed."""
    must('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', 'huge', '1E')
    must('create', '-q', '-f', 'qcow2', '-b', 'huge', '-F', 'qcow2', '-u', '-o', 'cluster_size=2M', 'top', '1E')
    must('create', '-q', '-f', 'qcow2', 'small', '1M')
    for words in ((IMG, 'info', 'huge'), (IMG, 'info', 'top'), (IMG, 'map', 'huge'), (IMG, 'check', 'huge'),
                  (IMG, 'measure', '-O', 'qcow2', '-o', 'cluster_size=2M', 'huge'),
                  (IO, '-c', 'read 1000P 1M', '-c', 'write 900P 4k', 'huge')):
        base, mine = peak(IMG, 'info', 'small'), peak(*words)
        # check counts the clusters of the file, the rest has caches of fixed size.
        assert mine[1] < base[1] + 40 and mine[0] < 5, (words, base, mine)


@test
def conversion_stops_at_a_limit_of_the_size_of_files():
    """CVE-2013-4463: a small image of a huge disk; limits bound it, and the error is told."""
    must('create', '-q', '-f', 'raw', 'r', '8M')
    assert io('write -P 1 0 8M', image='r', options=['-f', 'raw'])[0] == 0
    must('convert', '-c', '-f', 'raw', '-O', 'qcow2', 'r', 'packed')
    assert os.path.getsize('packed') < 1 << 20 and '8 MiB' in img('info', 'packed')[1]
    for words in (['convert', '-O', 'raw', 'packed', 'out'], ['convert', '-O', 'qcow2', 'packed', 'out'],
                  ['create', '-f', 'raw', 'out', '1G'], ['resize', '-f', 'raw', 'r', '1G'],
                  ['create', '-f', 'qcow2', '-o', 'preallocation=full', 'out', '1G']):
        code, out, err = img(*words, file_limit=2 << 20)
        assert code == 1 and 'File too large' in err, (words, code, out, err)


@test
def key_derivation_can_be_interrupted():
    """A LUKS header that asks for rounds without end."""
    secret = ['--object', 'secret,id=s,data=x']
    must('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s,iter-time=10', 'l', '1M')
    patch('l', 208 + 4, 0xffffffff, 4)      # of the first key slot
    started = subprocess.Popen([IO, *secret, '-c', 'read 0 512', '--image-opts',
                                'driver=luks,key-secret=s,file.filename=l'], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        started.communicate(timeout=1)
    except subprocess.TimeoutExpired:
        started.terminate()
    started.communicate(timeout=5)
    assert started.returncode, 'it ended well'


@test
def compressed_cluster_that_is_too_short_too_long_or_no_stream_is_an_error():
    def deflate(n):
        c = zlib.compressobj(9, zlib.DEFLATED, -12)
        return c.compress(b'\5' * n) + c.flush()

    for what, packed, good in (('exact', deflate(65536), True), ('short', deflate(65000), False),
                               ('empty', deflate(0), False), ('noise', bytes(range(256)) * 4, False)):
        q = Writer(size=1 << 20)
        q.refcounts()
        at = q.put(packed)
        q.l1([COPIED | q.words([compressed_entry(16, at, len(packed))] + [0] * 8191)])
        q.write('x')
        code, out, err = io('read -P 5 0 64k', image='x', options=['-r'])
        assert (code == 0) == good, (what, code, out, err)
    # More than a cluster: what follows is not looked at, and nothing is written behind the buffer.
    q.data[at:at + len(deflate(1 << 20))] = deflate(1 << 20)
    q.write('x')
    assert io('read -P 5 0 64k', image='x', options=['-r'])[0] in (0, 1)


def planted(source_cluster):
    """A zstd image of clusters of 64 KiB whose only one holds the frame of another size."""
    places = []
    for name, cluster in (('frame', source_cluster), ('x', 65536)):
        must('create', '-q', '-f', 'qcow2', '-o', f'compression_type=zstd,cluster_size={cluster}', name, '2M')
        assert io(f'write -c -P 5 0 {cluster}', image=name)[0] == 0
        data = pathlib.Path(name).read_bytes()
        l2 = int.from_bytes(data[int.from_bytes(data[40:48], 'big'):][:8], 'big') & ~COPIED
        entry = int.from_bytes(data[l2:l2 + 8], 'big')
        places.append((data, entry & (1 << 62 - (cluster.bit_length() - 9)) - 1))
    frame = places[0][0][places[0][1]:][:200]
    with open('x', 'r+b') as f:
        f.seek(places[1][1])
        f.write(frame)


@test
def zstd_cluster_that_is_too_short_or_too_long_is_an_error():
    for cluster, good in ((65536, True), (32768, False), (131072, False), (2 << 20, False)):
        planted(cluster)
        code, out, err = io('read -P 5 0 64k', image='x', options=['-r'])
        assert (code == 0) == good, (cluster, code, out, err)


@test
def compressed_cluster_behind_the_end_is_an_error():
    small(l2=[COMPRESSED | 1 << 40])
    assert io('read 0 64k', image='x', options=['-r'])[0] == 1


# ---- images that point at other files

def opened(*words):
    """Names of regular files that @words open, without libraries and the like."""
    if not PRELOADABLE:
        raise Skipped('other watchers have to be preloaded alone')
    run(*words, preload='opens', OPENS_LOG='log')
    names = pathlib.Path('log').read_text().splitlines()
    os.unlink('log')
    return {n for n in names if not n.startswith(('/dev/', '/proc/', '/usr/', '/lib', '/etc/', '/sys/'))
            and not n.endswith('.so') and 'locale' not in n}


@test
def info_opens_nothing_but_the_named_file():
    """CVE-2015-5163, CVE-2024-4467, CVE-2024-32498."""
    for name in ('secret', 'json:{"driver":"file","filename":"secret"}', 'fifo', 'nbd://localhost/x'):
        pathlib.Path('secret').write_bytes(b'top secret' * 1000)
        must('create', '-q', '-f', 'qcow2', '-u', '-b', name, '-F', 'raw', 'back', '1M')
        must('create', '-q', '-f', 'qcow2', '-o', 'data_file=data', 'd', '1M')
        os.unlink('data')
        q = pathlib.Path('d').read_bytes().replace(b'\0\0\0\4data\0\0\0\0', b'\0\0\0\6secret\0\0')
        pathlib.Path('e').write_bytes(q)
        for image in ('back', 'd', 'e'):
            assert opened(IMG, 'info', image) == {image}, (name, image)
        code, out, _ = img('info', '--output=json', 'back')
        assert code == 0 and '"backing-filename"' in out, 'the name is not told'


@test
def data_file_name_is_a_plain_name():
    """CVE-2024-4467: neither a description nor a protocol, whatever it looks like."""
    pathlib.Path('secret').write_bytes(b'S' * 65536)
    for name in ('json:{"driver":"file","filename":"secret"}', 'file:secret', 'nbd:x', 'null-co://'):
        q = Writer(size=1 << 20, incompatible=4)
        q.refcounts()
        q.l1([COPIED | q.words([COPIED | 0] * 8192)])
        stored = name.encode()
        q.extensions = struct.pack('>II', 0x44415441, len(stored)) + stored + bytes(-len(stored) % 8)
        q.write('x')
        patch('x', 88, 0, 8)
        code, out, err = img('convert', '-O', 'raw', 'x', 'out')
        assert code == 1 and 'No such file' in err, (name, code, out, err)


@test
def references_in_a_circle_are_refused():
    must('create', '-q', '-f', 'qcow2', '-u', '-b', 'self', '-F', 'qcow2', 'other', '1M')
    os.rename('other', 'self')
    must('create', '-q', '-f', 'qcow2', '-u', '-b', 'two', '-F', 'qcow2', 'one', '1M')
    must('create', '-q', '-f', 'qcow2', '-u', '-b', 'one', '-F', 'qcow2', 'two', '1M')
    described = 'json:{"driver":"qcow2","file":{"driver":"file","filename":"j"}}'
    must('create', '-q', '-f', 'qcow2', '-u', '-b', described, '-F', 'qcow2', 'other', '1M')
    os.rename('other', 'j')
    must('create', '-q', '-f', 'qcow2', '-o', 'data_file=y', 'x', '1M')
    os.unlink('y')
    os.link('x', 'y')
    for image in ('self', 'one', 'j', 'x'):
        for job in (['check'], ['map'], ['measure', '-O', 'raw'], ['compare', image],
                    ['convert', '-O', 'raw']):
            words = [*job, image] + (['out'] if job[0] == 'convert' else [])
            if image == 'x' and job[0] == 'check':
                continue
            code, out, err = img(*words)
            assert code, (image, words, out, err)


@test
def a_fifo_socket_or_device_inside_an_image_never_makes_a_tool_wait():
    import socket
    os.mkfifo('fifo')
    s = socket.socket(socket.AF_UNIX)
    s.bind('socket')
    for name in ('fifo', 'socket', '/dev/zero', '/dev/tty', '.'):
        must('create', '-q', '-f', 'qcow2', '-u', '-b', name, '-F', 'raw', 'b', '1M')
        for job in (['info'], ['info', '--backing-chain'], ['check'], ['map'], ['measure', '-O', 'raw'],
                    ['compare', 'b'], ['convert', '-O', 'raw'], ['snapshot', '-l'], ['resize'],
                    ['rebase', '-b', '', '-f', 'qcow2']):
            words = [*job, 'b'] + {'convert': ['out'], 'resize': ['2M']}.get(job[0], [])
            img(*words)          # a wait ends it
        io('read 0 512', image='b')
    s.close()


@test
def raw_disk_is_not_reopened_as_what_the_guest_wrote():
    """CVE-2008-2004 and its children."""
    must('create', '-q', '-f', 'raw', 'r', '1M')
    must('create', '-q', '-f', 'qcow2', 'q', '1M')
    header = pathlib.Path('q').read_bytes()[:512]
    pathlib.Path('h').write_bytes(header)
    code, out, err = io('write -s h 0 512', image='r')
    assert code == 1 and pathlib.Path('r').read_bytes()[:4] == bytes(4), (code, out, err)
    code, out, err = io('write -s h 0 512', image='r', options=['-f', 'raw'])
    assert code == 0, err


@test
def every_tool_sees_the_same_format():
    """CVE-2024-40767: one probe, the same answer every time."""
    small(name='p')
    data = pathlib.Path('p').read_bytes()
    # There is no driver for the first version of qcow yet, so it is refused.
    for what, head in (('qcow2', data), ('qcow', b'QFI\xfb\0\0\0\1' + data[8:]), ('raw', b'\0' + data),
                       ('luks', b'LUKS\xba\xbe\0\1' + data[8:])):
        pathlib.Path('p').write_bytes(head)
        seen = set()
        for _ in range(2):
            code, out, _ = img('info', '--output=json', 'p')
            seen.add('"format": "%s"' % what in out.rsplit('"children"')[0] if code == 0 else 'error')
        refused = {'luks': seen, 'qcow': {'error'}}
        assert len(seen) == 1 and seen == refused.get(what, {True}), (what, seen, out)


# ---- loss of data

@test
def an_error_in_the_middle_is_reported():
    """CVE-2022-0485: a read that fails, a full disk."""
    must('create', '-q', '-f', 'raw', 'r', '4M')
    code, out, err = io('write -P 1 0 4M', image='r', options=['-f', 'raw'])
    assert code == 0, err
    pathlib.Path('cfg').write_text('[inject-error]\nevent = "read_aio"\nsector = "4096"\n')
    for source in ('json:{"driver":"raw","file":{"driver":"blkdebug","image":{"driver":"file",'
                   '"filename":"r"},"inject-error":[{"event":"none","sector":4096}]}}',):
        code, out, err = img('convert', '-O', 'qcow2', source, 'out')
        assert code == 1 and err, (code, out, err)
        code, out, err = img('compare', source, 'r')
        assert code > 1, (code, out, err)


@test
def zeroes_over_a_backing_file_stay_zero():
    must('create', '-q', '-f', 'raw', 'base', '1M')
    io('write -P 7 0 1M', image='base', options=['-f', 'raw'])
    for options in ('compat=1.1', 'compat=0.10', 'extended_l2=on', 'cluster_size=512'):
        must('create', '-q', '-f', 'qcow2', '-o', options, '-b', 'base', '-F', 'raw', 'top')
        code, out, err = io('write -P 1 0 256k', 'write -z -u 64k 64k', 'discard 128k 64k',
                            'write -z 200001 1000', 'read -P 0 64k 64k', 'read -P 0 200001 1000',
                            'read -P 1 0 64k', 'read -P 7 256k 64k', image='top',
                            options=['-d', 'unmap'])
        assert code == 0 and 'Pattern' not in out, (options, out, err)
        os.unlink('top')


@test
def what_a_longer_backing_file_has_does_not_appear_after_growing():
    must('create', '-q', '-f', 'raw', 'base', '2M')
    io('write -P 7 0 2M', image='base', options=['-f', 'raw'])
    for options in ('compat=1.1', 'compat=0.10', 'cluster_size=512', 'extended_l2=on'):
        must('create', '-q', '-f', 'qcow2', '-o', options, '-b', 'base', '-F', 'raw', 'top', '1000000')
        must('resize', 'top', '2M')
        code, out, err = io('read -P 7 0 1000448', 'read -P 0 1000448 1000000', image='top')
        assert code == 0 and 'Pattern' not in out, (options, out, err)
        os.unlink('top')


@test
def freshly_written_holes_are_not_lost():
    """Data that is only in the page cache is no hole."""
    with open('r', 'wb') as f:
        f.truncate(8 << 20)
        for i in range(64):
            f.seek(i * 131072)
            f.write(b'\1' * 4096)
        f.flush()
        must('convert', '-f', 'raw', '-O', 'qcow2', 'r', 'q')
        code, out, err = img('compare', 'r', 'q')
    assert code == 0, out + err


# ---- secrets

@test
def secrets_are_not_shown():
    must('create', '-q', '-f', 'luks', '--object', 'secret,id=s,data=hunter2secret', '-o',
         'key-secret=s,iter-time=10', 'l', '1M')
    name = 'driver=luks,key-secret=s,file.filename=l'
    for words in (['info', '--object', 'secret,id=s,data=hunter2secret', '--image-opts', name],
                  ['info', '--object', 'secret,id=s,data=hunter2secretX', '--image-opts', name],
                  ['map', '--object', 'secret,id=s,data=hunter2secretX', '--image-opts', name],
                  ['map', '--object', 'secret,id=s,data=hunter2secret,format=base64', '--image-opts',
                   name]):
        _, out, err = img(*words)
        assert 'hunter2' not in out + err, out + err


def main():
    wanted, bad = sys.argv[1:], 0
    here = os.getcwd()
    for fn in TESTS:
        name = 'past-failures/' + fn.__name__.replace('_', '-')
        if wanted and not any(w in name for w in wanted):
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                fn()
                print(f'ok {name}', flush=True)
            except Skipped as e:
                print(f'skip {name} {e}', flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as e:
                print(f'not ok {name} {e}'.replace('\n', ' '), flush=True)
                bad += 1
            os.chdir(here)
    return bad > 0


sys.exit(main())
