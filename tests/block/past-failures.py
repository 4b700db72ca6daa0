#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What has gone wrong in programs of this kind before, image by image: each is a named test."""
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from hostile_images import BUILD, COMPRESSED, COPIED, Writer, compressed_entry, snapshot  # noqa: E402
from this_run import PRELOADABLE, SLOWER

IMG, IO = BUILD / 'qemu-img', BUILD / 'qemu-io'
TESTS = []


class Skipped(Exception):
    """The test cannot run here; says why."""


def test(fn):
    TESTS.append(fn)
    return fn


def run(*words, preload=None, **env):
    """(exit code, standard output, standard error); what waits longer than 10 s fails the test."""
    if preload:
        env['LD_PRELOAD'] = str(BUILD / f'preload/{preload}.so')
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=10 * SLOWER, env=dict(os.environ, LC_ALL='C', **env), check=False)
    return done.returncode, done.stdout.decode(errors='replace'), done.stderr.decode(errors='replace')


def img(*words, **kw):
    return run(IMG, *words, **kw)


def io(*commands, image, options=()):
    words = [w for c in commands for w in ('-c', c)]
    return run(IO, *options, *words, image)


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
    """An L2 entry names the L1 table, a refcount block, the header."""
    for target in ('l1', 'reftable', 'header'):
        q = small()
        where = 0 if target == 'header' else q.fields[target][0]
        small(l2=[COPIED | where if where else COPIED | 1])
        if not where:
            continue
        before = pathlib.Path('x').read_bytes()
        code, out, err = io('write -P 9 0 4k', image='x')
        after = pathlib.Path('x').read_bytes()
        assert code == 1 and 'Preventing invalid write' in err, (target, code, out, err)
        assert int.from_bytes(after[72:80], 'big') & 2, 'the corrupt bit is not set'
        assert before[where:where + 4096] == after[where:where + 4096]
        assert io('write 0 512', image='x')[0] == 1


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
    for what, head in (('qcow2', data), ('raw', b'QFI\xfb\0\0\0\1' + data[8:]), ('raw', b'\0' + data),
                       ('luks', b'LUKS\xba\xbe\0\1' + data[8:])):
        pathlib.Path('p').write_bytes(head)
        seen = set()
        for _ in range(2):
            code, out, _ = img('info', '--output=json', 'p')
            seen.add('"format": "%s"' % what in out.rsplit('"children"')[0] if code == 0 else 'error')
        assert len(seen) == 1 and (seen == {True} or what == 'luks'), (what, seen, out)


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
