#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to our server: every command and flag in every style of reply, right and wrong."""
import os
import pathlib
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from nbd_frames import *

STYLES = ('simple', 'structured', 'extended')
MIB = 1 << 20


def tool(name, *args, cwd=None):
    return subprocess.run([REFERENCE / name, *map(str, args)], cwd=cwd, check=True,
                          stdout=subprocess.PIPE, text=True).stdout


def test_reads_and_writes_of_any_alignment():
    content = pattern(MIB)
    for style in STYLES:
        with disk(MIB, content=content) as s:
            c = s.client().start(style)
            for off, n in ((0, 1), (511, 2), (1, 4096), (100, 65537), (0, MIB), (MIB - 1, 1)):
                assert c.read(off, n) == content[off:off + n], (style, off, n)
            expected = bytearray(content)
            for off, n in ((0, 1), (513, 3), (4095, 8194), (70001, 300000), (MIB - 7, 7)):
                data = pattern(n, seed=off)
                assert c.call(WRITE, off, n, data=data) == 0
                expected[off:off + n] = data
            assert c.read(0, MIB) == bytes(expected)
            assert c.call(FLUSH) == 0
            assert s.disk.read_bytes() == bytes(expected)


def test_largest_requests_and_one_more():
    with disk(80 * MIB) as s:
        for style in STYLES:
            c = s.client().start(style)
            data = bytes([len(style)]) * (32 * MIB)
            assert c.call(WRITE, 5, 32 * MIB, data=data) == 0
            assert c.read(5, 32 * MIB) == data
            assert c.call(READ, 0, 32 * MIB + 1) == EINVAL
            assert c.call(WRITE, 0, 32 * MIB + 1, data=data + b'x') == EINVAL
            assert c.read(0, 8) == bytes(5) + data[:3], 'the connection goes on'


def test_payloads_too_large_to_skip_end_it():
    with disk() as s:
        for style in STYLES:
            c = s.client().start(style)
            c.request(WRITE, 0, 0xffffffff)
            assert c.is_dropped(), style


def test_past_the_end():
    with disk(MIB) as s:
        for style in STYLES:
            c = s.client().start(style, ['base:allocation'] if style != 'simple' else ())
            for off, n in ((MIB, 1), (MIB - 1, 2), (0, MIB + 1), (1 << 63, 4096),
                           ((1 << 64) - 1, 1), ((1 << 64) - 4096, 4096), (2 * MIB, 512)):
                assert c.call(READ, off, n) == EINVAL
                assert c.call(WRITE, off, n, data=bytes(n)) == ENOSPC
                assert c.call(ZEROES, off, n) == ENOSPC
                assert c.call(TRIM, off, n) == EINVAL
                assert c.call(CACHE, off, n) == EINVAL
                if style != 'simple':
                    assert c.call(STATUS, off, n) == EINVAL
            assert c.read(MIB - 1, 1) == b'\0'


def test_zero_length_requests():
    with disk(MIB) as s:
        for style in STYLES:
            c = s.client().start(style, ['base:allocation'] if style != 'simple' else ())
            for cmd in (READ, WRITE, TRIM, CACHE, ZEROES, FLUSH):
                assert c.call(cmd, 512, 0) == 0, (style, cmd)
            if style != 'simple':
                assert c.call(STATUS, 512, 0) == EINVAL


def test_unknown_commands_and_flags():
    with disk(MIB) as s:
        for style in STYLES:
            c = s.client().start(style, ['base:allocation'] if style != 'simple' else ())
            for cmd in (8, 9, 255, 0x7fff, 0xffff):
                assert c.call(cmd, 0, 512) == EINVAL
            allowed = {READ: FUA | (DF if style != 'simple' else 0), WRITE: FUA | PAYLOAD_LEN,
                       FLUSH: FUA, TRIM: FUA, CACHE: FUA, ZEROES: FUA | NO_HOLE | FAST_ZERO,
                       STATUS: FUA | REQ_ONE}
            for cmd, known in allowed.items():
                for bit in range(16):
                    flag = 1 << bit
                    if flag & known or (flag == PAYLOAD_LEN and style == 'extended'):
                        continue
                    data = bytes(512) if cmd == WRITE else b''
                    assert c.call(cmd, 0, 512, flag, data) == EINVAL, (style, cmd, bit)
            assert c.read(0, 1) == b'\0'


def test_flag_fua_is_accepted_everywhere():
    with disk(MIB) as s:
        c = s.client().start('structured', ['base:allocation'])
        for cmd in (READ, WRITE, FLUSH, TRIM, CACHE, ZEROES, STATUS):
            assert c.call(cmd, 0, 512, FUA, bytes(512) if cmd == WRITE else b'') == 0


def test_read_only_exports_stay_as_they_are():
    content = pattern(8192)
    with disk(MIB, '-r', content=content) as s:
        for style in STYLES:
            c = s.client().start(style)
            assert c.call(WRITE, 0, 512, data=bytes(512)) == EPERM
            assert c.call(ZEROES, 0, 512) == EPERM
            assert c.call(TRIM, 0, 512) == EPERM
            assert c.call(FLUSH) == 0 and c.call(CACHE, 0, 512) == 0
            assert c.read(0, 8192) == content
        assert s.disk.read_bytes()[:8192] == content


def test_sparse_reads_send_holes_as_holes():
    with disk(4 * MIB, content=pattern(MIB)) as s:
        with open(s.disk, 'r+b') as f:
            f.seek(3 * MIB)
            f.write(pattern(MIB))
        for style in ('structured', 'extended'):
            c = s.client().start(style)
            assert c.read(0, 4 * MIB) == pattern(MIB) + bytes(2 * MIB) + pattern(MIB)
            assert [k for k, _ in c.chunks] == [DATA, HOLE, DATA]
            assert c.read(MIB, 2 * MIB) == bytes(2 * MIB)
            assert [k for k, _ in c.chunks] == [HOLE]
            assert c.read(2 * MIB, 4096) == bytes(4096)
            assert [k for k, _ in c.chunks] == [HOLE]


def test_flag_df_sends_one_chunk():
    with disk(4 * MIB, content=pattern(MIB)) as s:
        for style in ('structured', 'extended'):
            c = s.client().start(style)
            assert c.read(0, 4 * MIB, DF) == pattern(MIB) + bytes(3 * MIB)
            assert [k for k, _ in c.chunks if k != NONE] == [DATA]
            assert c.read(2 * MIB, 65536, DF) == bytes(65536)
            assert [k for k, _ in c.chunks if k != NONE] == [DATA]


def test_many_holes_are_cut_into_few_chunks():
    size = 8 * MIB
    with disk(size) as s:
        with open(s.disk, 'r+b') as f:
            for at in range(0, size, 16384):
                f.seek(at)
                f.write(b'\xaa' * 4096)
        c = s.client().start('structured')
        assert c.read(0, size) == (b'\xaa' * 4096 + bytes(12288)) * (size // 16384)
        assert 2 <= len(c.chunks) <= 200


def test_zeroes_and_trim():
    for args in ((), ('--discard=unmap',)):
        with disk(4 * MIB, *args, content=b'\x55' * 4 * MIB) as s:
            c = s.client().start('structured')
            assert c.call(ZEROES, 0, MIB) == 0
            assert c.call(ZEROES, MIB, MIB, NO_HOLE | FUA) == 0
            assert c.call(ZEROES, 2 * MIB + 100, 1000) == 0
            assert c.call(TRIM, 3 * MIB, MIB, FUA) == 0
            assert c.read(0, 2 * MIB) == bytes(2 * MIB)
            assert c.read(2 * MIB, MIB) == b'\x55' * 100 + bytes(1000) + b'\x55' * (MIB - 1100)
            trimmed = c.read(3 * MIB, MIB)
            assert trimmed == (bytes(MIB) if args else b'\x55' * MIB)
            if args:
                assert os.stat(s.disk).st_blocks * 512 <= 3 * MIB


def test_fast_zero_fails_where_it_would_be_slow():
    with folder() as where:
        make_disk(where / 'disk', MIB, b'\x55' * MIB)
        with serve('--image-opts', 'driver=raw,file.driver=blkdebug,file.image.driver=file,'
                   'file.image.filename=disk,file.opt-write-zero=65536,file.align=4096,'
                   'file.max-write-zero=65536', where=where) as s:
            c = s.client().start()
            assert c.call(ZEROES, 0, 65536, FAST_ZERO) in (0, ENOTSUP)
        with serve('--image-opts', 'driver=null-co,size=1M', where=where) as s:
            assert s.client().start().call(ZEROES, 0, 65536, FAST_ZERO) in (0, ENOTSUP)


def test_status_of_allocation():
    with disk(4 * MIB, content=pattern(MIB)) as s:
        for style in ('structured', 'extended'):
            c = s.client().start(style, ['base:allocation'])
            n = c.ids['base:allocation']
            assert c.status(0, 4 * MIB) == {n: [(MIB, 0), (3 * MIB, 3)]}
            assert c.status(0, 4 * MIB, REQ_ONE) == {n: [(MIB, 0)]}
            assert c.status(MIB - 512, 1024) == {n: [(512, 0), (512, 3)]}
            assert c.status(2 * MIB + 1, 3) == {n: [(3, 3)]}
            assert c.call(READ, 0, 4096) == 0


def test_status_without_contexts():
    with disk() as s:
        for style in STYLES:
            assert s.client().start(style).call(STATUS, 0, 4096) == EINVAL


def chain(where):
    tool('qemu-img', 'create', '-q', '-f', 'qcow2', 'base', '4M', cwd=where)
    tool('qemu-io', '-c', 'write -P 1 0 1M', 'base', cwd=where)
    tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'top', '5M', cwd=where)
    tool('qemu-io', '-c', 'write -P 2 512k 1M', 'top', cwd=where)
    tool('qemu-img', 'bitmap', '--add', '-g', '64k', 'top', 'b', cwd=where)
    tool('qemu-io', '-c', 'write -P 3 2M 64k', '-c', 'write -P 3 3M 128k', 'top', cwd=where)
    tool('qemu-img', 'bitmap', '--disable', 'top', 'b', cwd=where)


def contexts_of(server):
    c = server.client().start('structured', ['base:allocation', 'qemu:allocation-depth',
                                            'qemu:dirty-bitmap:b'])
    found = {}
    for name, number in c.ids.items():
        at, extents = 0, []
        while at < c.size:
            for n, flags in c.status(at, c.size - at)[number]:
                if extents and extents[-1][1] == flags:
                    extents[-1][0] += n
                else:
                    extents.append([n, flags])
                at += n
        found[name] = extents
    return found


@needs('qemu-nbd', 'qemu-img', 'qemu-io')
def test_contexts_say_what_the_reference_says():
    with folder() as where:
        chain(where)
        args = ('-r', '-A', '-B', 'b', '-f', 'qcow2', 'top')
        with serve(*args, where=where) as s:
            ours = contexts_of(s)
        with serve(*args, where=where, tool=REFERENCE / 'qemu-nbd') as s:
            theirs = contexts_of(s)
        assert len(theirs) == 3 and ours == theirs, (ours, theirs)


@needs('qemu-nbd', 'qemu-img', 'qemu-io')
def test_bitmaps_record_what_clients_write():
    with folder() as where:
        chain(where)
        tool('qemu-img', 'bitmap', '--enable', 'top', 'b', cwd=where)
        with serve('-B', 'b', '-f', 'qcow2', 'top', where=where) as s:
            c = s.client().start('structured', ['qemu:dirty-bitmap:b'])
            assert c.call(WRITE, 4 * MIB, 3, data=b'new') == 0
            assert (65536, 1) in c.status(4 * MIB, MIB)[c.ids['qemu:dirty-bitmap:b']]
        with serve('-r', '-A', '-B', 'b', '-f', 'qcow2', 'top', where=where,
                   tool=REFERENCE / 'qemu-nbd') as s:
            dirty = contexts_of(s)['qemu:dirty-bitmap:b']
        assert dirty[-2:] == [[65536, 1], [MIB - 65536, 0]], dirty


def test_status_with_chosen_contexts_in_the_payload():
    with folder() as where:
        chain(where)
        with serve('-A', '-B', 'b', '-f', 'qcow2', 'top', where=where) as s:
            c = s.client().start('extended', ['base:allocation', 'qemu:allocation-depth',
                                              'qemu:dirty-bitmap:b'])

            def ask(length, *ids):
                data = struct.pack('>Q', length) + b''.join(struct.pack('>L', i) for i in ids)
                return c.call(STATUS, 0, len(data), PAYLOAD_LEN, data)

            numbers = sorted(c.ids.values())
            assert len(numbers) == 3
            for wanted in ([numbers[0]], numbers[1:], numbers, []):
                assert ask(c.size, *wanted) == 0
                if wanted:
                    assert sorted(c.extents()) == wanted
                else:
                    assert c.chunks == [(NONE, b'')]
            assert ask(c.size, 77) == EINVAL and ask(c.size, 1 << 31) == EINVAL
            assert ask(c.size + 1, numbers[0]) == EINVAL
            assert ask(0, numbers[0]) == EINVAL
            assert ask(1 << 63, numbers[0]) == EINVAL
            for data in (b'', bytes(7), bytes(9), bytes(4096)):
                assert c.call(STATUS, 0, len(data), PAYLOAD_LEN, data) == EINVAL
            assert len(c.status(0, c.size)) == 3


def test_64_bit_effects():
    size = 16 << 30
    with disk(size, '--discard=unmap', content=b'x' * 4096) as s:
        c = s.client().start('extended', ['base:allocation'])
        assert c.status(0, size) == {c.ids['base:allocation']: [(4096, 0), (size - 4096, 3)]}
        assert c.call(ZEROES, 0, size) == 0
        assert c.read(0, 4096) == bytes(4096)
        assert c.call(TRIM, 0, size) == 0
        assert c.call(WRITE, size - 3, 3, data=b'end') == 0 and c.read(size - 3, 3) == b'end'
        assert c.call(READ, 0, size) == EINVAL
        assert c.call(ZEROES, 1, size) == ENOSPC


def test_status_of_4_gib_and_more_in_32_bits():
    size = 8 << 30
    with disk(size) as s:
        c = s.client().start('structured', ['base:allocation'])
        extents = c.status(0, 0xffffffff)[c.ids['base:allocation']]
        assert 0 < sum(n for n, _ in extents) <= 0xffffffff and extents[0][1] == 3


def test_extended_writes_need_their_flag():
    with disk(MIB) as s:
        c = s.client().start('extended')
        c.send(c.header(WRITE, 0, 512, 0, 9))
        assert c.reply()[:2] == (9, EINVAL)
        assert c.call(WRITE, 0, 3, data=b'abc') == 0 and c.read(0, 4) == b'abc\0'


def test_payloads_where_none_belong_are_skipped():
    with disk(MIB) as s:
        c = s.client().start('extended')
        for cmd in (READ, FLUSH, TRIM, CACHE, ZEROES, 99):
            assert c.call(cmd, 0, 5000, PAYLOAD_LEN, bytes(5000)) == EINVAL, cmd
        assert c.read(0, 4) == bytes(4)


def test_errors_of_the_image_are_told():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-e', '0', '--image-opts', 'driver=raw,file.driver=blkdebug,file.image.driver=file,'
                   'file.image.filename=disk,file.inject-error.0.event=read_aio,'
                   'file.inject-error.0.errno=5,file.inject-error.0.iotype=read,file.inject-error.1.event=write_aio,'
                   'file.inject-error.1.errno=28,file.inject-error.1.iotype=write', where=where) as s:
            for style in STYLES:
                c = s.client().start(style)
                assert c.call(READ, 0, 4096) == EIO
                assert c.call(WRITE, 0, 4096, data=bytes(4096)) == ENOSPC
                if style != 'simple':
                    c.call(READ, 0, 4096)
                    kind, d = c.chunks[-1]
                    assert kind == ERROR and struct.unpack('>H', d[4:6])[0] == len(d) - 6 > 0
                assert c.call(FLUSH) == 0, 'the connection goes on'


def test_replies_come_out_of_order():
    with folder() as where:
        tool('qemu-img', 'create', '-q', '-f', 'qcow2', 'disk', '4M', cwd=where)
        tool('qemu-io', '-c', 'write -P 9 0 1M', 'disk', cwd=where)
        with serve('--image-opts', 'driver=qcow2,file.driver=file,file.filename=disk,'
                   'backing.driver=null-co,backing.size=4M,backing.latency-ns=700000000,'
                   'backing.read-zeroes=on', where=where) as s:
            c = s.client().start()
            began = time.monotonic()
            for i in range(8):
                c.request(READ, 2 * MIB + i * 4096, 4096, cookie=100 + i)
            c.request(READ, 0, 4096, cookie=1)
            assert c.reply(4096)[0] == 1
            assert sorted(c.reply(4096)[0] for _ in range(8)) == list(range(100, 108))
            assert time.monotonic() - began < 5, 'they ran in parallel'


def test_depth_of_hundreds():
    content = pattern(MIB)
    with disk(MIB, content=content) as s:
        c = s.client().start('structured')
        n = 1000
        c.send(b''.join(c.header(READ, i * 1000, 1000, cookie=i) for i in range(n)))
        seen = {}
        for _ in range(n):
            cookie, error, chunks = c.reply()
            assert not error and chunks[0][0] == DATA
            seen[cookie] = chunks[0][1][8:]
        assert all(seen[i] == content[i * 1000:(i + 1) * 1000] for i in range(n))
        c.send(b''.join(c.header(WRITE, i * 1000, 1000, cookie=i) + content[i:i + 1000]
                        for i in range(n)))
        assert {c.reply()[0] for _ in range(n)} == set(range(n))
        assert all(c.read(i * 1000, 1000) == content[i:i + 1000] for i in range(0, n, 37))


def test_disconnect_answers_what_was_asked():
    with disk(MIB, content=pattern(MIB)) as s:
        c = s.client().start()
        for i in range(20):
            c.request(READ, i * 4096, 4096, cookie=i)
        c.request(DISC)
        c.request(READ, 0, 4096, cookie=99)
        assert {c.reply(4096)[0] for _ in range(20)} == set(range(20))
        assert c.is_dropped()


def test_two_clients_see_the_same():
    with disk(MIB) as s:
        a, b = s.client().start(), s.client().start()
        assert a.flags & F_MULTI_CONN
        assert a.call(WRITE, 100, 3, data=b'new') == 0 and b.read(100, 3) == b'new'
        assert b.call(FLUSH) == 0


sys.exit(run('commands', globals()))
