#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the client asks of a server, over several connections, and when connections are lost and come
back: nothing lost, nothing told that did not happen, nothing waited for longer than was said."""
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import nbd_server as nbd
from nbd_server import Cut, Server

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
TIMEOUT = 120
MIB = 1 << 20


def run(*args):
    done = subprocess.run([BUILD / args[0], *map(str, args[1:])], stdin=subprocess.DEVNULL,
                          timeout=TIMEOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode(errors='replace')


def options(server, **more):
    text = f'driver=nbd,server.type=unix,server.path={server.path}'
    return text + ''.join(f',{k.replace("_", "-")}={v}' for k, v in more.items())


def io(server, *commands, **more):
    args = [a for c in commands for a in ('-c', c)]
    return run('qemu-io', '--image-opts', *args, options(server, **more))


def good_io(server, *commands, **more):
    code, text = io(server, *commands, **more)
    assert code == 0 and 'failed' not in text, text
    return text


def kinds(server, *wanted):
    return [q for q in server.requests if q.kind in wanted]


# ---- what is asked -----------------------------------------------------------------------------

def test_flags_follow_what_the_server_can():
    with Server() as s:
        good_io(s, 'write -z 0 4k', 'write -z -u 4k 4k', 'write -f 8k 4k', 'discard 0 64k', 'flush',
                discard='unmap')
        zeroes = kinds(s, nbd.ZEROES)
        assert [q.flags & ~nbd.FUA for q in zeroes] == [nbd.NO_HOLE, 0]
        assert [q.flags for q in kinds(s, nbd.WRITE)] == [nbd.FUA]
        assert len(kinds(s, nbd.TRIM)) == 1 and kinds(s, nbd.FLUSH)


def test_server_that_can_do_nothing():
    """No flush, no FUA, no zeroes, no trim: zeroes go as data, the rest not at all."""
    with Server() as s:
        s.flags = nbd.HAS_FLAGS
        good_io(s, 'write -z 0 4k', 'write -f 8k 4k', 'discard 0 64k', 'flush', discard='unmap')
        assert {q.kind for q in s.requests} == {nbd.WRITE}


def test_fua_is_a_flush_where_there_is_none():
    with Server() as s:
        s.flags = nbd.ALL & ~nbd.CAN_FUA
        good_io(s, 'write -f 8k 4k')
        assert [q.kind for q in s.requests][:2] == [nbd.WRITE, nbd.FLUSH]
        assert s.requests[0].flags == 0


def test_unsafe_cache_is_flushed_by_the_server():
    """cache=unsafe, the default of convert, spares the disks of this host: what a server holds is to be
    durable when we are done, and a failure of that is told."""
    class Fails(Server):
        def answer(self, q):
            yield self.simple(q, nbd.EIO if q.kind == nbd.FLUSH else 0)

    with Server(size=16 * MIB) as s, s_file() as source:
        code, text = run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', '-S', 0, source, s.uri())
        assert code == 0, text
        assert [q.kind for q in s.requests].index(nbd.FLUSH) == len(s.requests) - 1
    with Server() as s:
        assert run('qemu-io', '-t', 'unsafe', '-f', 'raw', '-c', 'write 0 4k', s.uri())[0] == 0
        assert [q.kind for q in s.requests] == [nbd.WRITE, nbd.FLUSH]
    with Fails(size=16 * MIB) as s, s_file() as source:
        code, text = run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', '-S', 0, source, s.uri())
        assert code == 1 and 'Input/output error' in text, text


def test_block_sizes_are_kept():
    """Every request is a multiple of the smallest block and not longer than the largest."""
    for minimum, maximum in (1, 65536), (512, 65536), (4096, 8192), (65536, 1 << 20):
        with Server(data=os.urandom(4 * MIB)) as s:
            s.blocks = minimum, max(minimum, 4096), maximum
            good_io(s, 'read 1 100', 'write -P 3 1000 300k', 'write -z 2000003 70000', 'read 0 4M',
                    'write -P 4 4194300 4')
            for q in kinds(s, nbd.READ, nbd.WRITE, nbd.ZEROES):
                assert q.offset % minimum == 0 and q.length % minimum == 0, (minimum, q.offset)
            assert all(q.length <= maximum for q in kinds(s, nbd.READ, nbd.WRITE))
            assert s.data[1000:1000 + (300 << 10)] == b'\3' * (300 << 10)
            assert s.data[4194300:] == b'\4' * 4


def test_bytes_are_for_servers_that_tell_the_status_of_blocks():
    """Without block sizes: such a server takes any request, others take sectors. As the reference."""
    work = 'discard 0 1', 'discard 511 2', 'read 0 1', 'write 3 5', 'write -z 7 9'
    asked = {}
    for members in ({}, {'can_go': False}, {'can_structured': False}, {'can_context': False},
                    {'oldstyle': True}):
        for tool in BUILD / 'qemu-io', REFERENCE / 'qemu-io':
            if not tool.exists():
                continue
            with Server() as s:
                s.blocks = None
                vars(s).update(members)
                done = subprocess.run([tool, '-d', 'unmap', '-f', 'raw',
                                       *[w for c in work for w in ('-c', c)], s.uri()],
                                      stdout=subprocess.DEVNULL, timeout=TIMEOUT)
                assert done.returncode == 0, (tool, members)
                asked[tool] = [(q.kind, q.offset, q.length) for q in s.requests if q.kind != nbd.TRIM]
                trims = [(q.offset, q.length) for q in kinds(s, nbd.TRIM)]
                if members in ({}, {'can_go': False}):
                    assert trims == [(0, 1), (511, 2)], (tool, trims)
                    assert (nbd.READ, 0, 1) in asked[tool], (tool, asked)
                else:
                    assert (nbd.READ, 0, 512) in asked[tool], (tool, asked)
        assert len({str(a) for a in asked.values()}) == 1, (members, asked)


def test_extended_headers():
    with Server(data=b'\xa5' * MIB) as s:
        s.can_extended = True
        good_io(s, 'read -P 0xa5 0 1M', 'write -P 1 4k 4k', 'write -z 64k 64k', 'read -P 1 4k 4k')
        write, = kinds(s, nbd.WRITE)
        assert write.flags & nbd.PAYLOAD_LEN and write.payload == b'\1' * 4096
        assert not any(q.flags & nbd.PAYLOAD_LEN for q in kinds(s, nbd.READ, nbd.ZEROES))


def test_oldstyle():
    with Server(data=b'\xa5' * MIB) as s:
        s.oldstyle = True
        good_io(s, 'read -P 0xa5 0 1M', 'write -P 1 4k 4k', 'read -P 1 4k 4k', 'map')
        assert s.data[4096:8192] == b'\1' * 4096
        code, text = run('qemu-img', 'info', s.uri('name'))
        assert code == 1, 'took an export by name'


def test_servers_of_old():
    """Without options beyond EXPORT_NAME, without GO, with zeroes."""
    for members in ({'fixed': False, 'no_zeroes': False}, {'fixed': False}, {'can_go': False},
                    {'can_go': False, 'no_zeroes': False, 'can_structured': False}):
        with Server(data=b'\xa5' * MIB) as s:
            s.name = 'e'
            vars(s).update(members)
            good_io(s, 'read -P 0xa5 0 1M', 'write -P 1 4k 4k', export='e')


K64 = 64 << 10


class Fragmented(Server):
    """Says of every other 64 KiB that it is no data, until something is there, and tells all at once."""

    def runs(self, q):
        ends = range((q.offset // K64 + 1) * K64, q.offset + q.length + K64, K64)
        every = [(end - max(q.offset, end - K64), not any(self.data[end - K64:end])) for end in ends]
        return every[:1] if q.flags & nbd.REQ_ONE else every


def test_extents_of_one_answer_are_remembered():
    """As many requests as there are answers, not as there are extents."""
    data = (b'x' * K64 + bytes(K64)) * 256
    for tool, *args in (['convert', '-O', 'qcow2', '-f', 'raw'], ['map', '--output=json', '-f', 'raw'],
                        ['measure', '-O', 'qcow2', '-f', 'raw']):
        for extended in False, True:
            with Fragmented(data=data) as s:
                s.can_extended = extended
                out = [os.path.join(s.folder.name, 'out')] if tool == 'convert' else []
                code, text = run('qemu-img', tool, *args, s.uri(), *out)
                asked = len(kinds(s, nbd.STATUS))
                assert code == 0 and asked <= 3, (tool, asked, text)
                if tool == 'map':
                    assert text.count('"start"') == 512, text[:300]
                if tool == 'convert':
                    assert run('qemu-img', 'compare', *out, s.uri())[0] == 0


def test_remembered_extents_end_with_a_change_and_with_time():
    with Fragmented(data=(b'x' * K64 + bytes(K64)) * 8) as s:
        first = ['alloc 0 64k', 'alloc 64k 64k']
        none, all_ = '0/65536 bytes allocated', '65536/65536 bytes allocated'

        text = good_io(s, *first, 'alloc 128k 64k', 'alloc 192k 64k')
        assert [line.split(' at ')[0] for line in text.splitlines()[:4]] == [all_, none] * 2, text
        asked = len(kinds(s, nbd.STATUS))
        assert asked == 2
        for between in ['write 768k 512', 'write -z 768k 512', 'discard 768k 64k', 'sleep 1500']:
            s.requests.clear()
            good_io(s, *first, between, 'alloc 128k 64k', discard='unmap')
            assert len(kinds(s, nbd.STATUS)) > asked, between
        text = good_io(s, *first, 'write 192k 64k', 'alloc 128k 64k', 'alloc 192k 64k')
        assert none in text.splitlines()[1] and all_ in text.splitlines()[-1], text


class TwoExports(Server):
    """Lists two, and knows only the first."""

    def list(self, c):
        for name in b'', b'other':
            self.reply(c, nbd.LIST, nbd.REP_SERVER, struct.pack('>I', len(name)) + name)
        self.reply(c, nbd.LIST, nbd.ACK)


def test_a_missing_export_is_told_with_those_there_are():
    class Many(Server):
        names = [b'there']

        def list(self, c):
            for name in self.names:
                self.reply(c, nbd.LIST, nbd.REP_SERVER, struct.pack('>I', len(name)) + name)
            self.reply(c, nbd.LIST, nbd.ACK)

    with Many() as s:
        s.name = 'there'
        code, text = run('qemu-img', 'info', s.uri('nope'))
        assert code == 1 and f"Server 'unix:{s.path}'" in text, text
        assert "Export 'nope': the server has no such export, only 'there'\n" in text, text
        s.names = [b'a\n\x1b[1m', *(b'%d' % i for i in range(9))]
        code, text = run('qemu-img', 'info', s.uri('nope'))
        assert "only 'a\\n\\033[1m', '0', '1', '2', '3' and 5 more\n" in text, text
        s.names = []
        code, text = run('qemu-img', 'info', s.uri('nope'))
        assert 'no such export\n' in text, text


def test_a_list_is_whole_or_fails():
    with TwoExports() as s:
        code, text = run('qemu-nbd', '-L', '-k', s.path)
        assert code == 1 and "Export 'other'" in text and 'exports available' not in text, text
        s.can_go = False    # it can describe none: that is no failure
        code, text = run('qemu-nbd', '-L', '-k', s.path)
        assert (code, text) == (0, "exports available: 2\n export: ''\n export: 'other'\n"), text


def test_extents_in_bytes_where_no_block_sizes_are_told():
    """A server that told none may count in bytes. So may one that comes back with smaller blocks."""
    lengths = 1000, 777, 5000, 333

    def ends():
        at = i = 0
        while at < K64:
            at += lengths[i % 4]
            i += 1
            yield min(at, K64), (i % 2) * 3

    class Bytes(Server):
        def runs(self, q):
            if self.blocks == (4096, 4096, MIB) and q.conn.number == 0:
                self.blocks = 1, 4096, MIB
                raise Cut
            at = q.offset
            for end, flags in ends():
                if end > at:
                    yield end - at, flags
                    at = end
                    if q.flags & nbd.REQ_ONE:
                        return

    def made(blocks):
        s, at = Bytes(size=K64), 0
        for end, flags in ends():
            s.data[at:end] = (b'\0' if flags else b'\1') * (end - at)
            at = end
        s.blocks = blocks
        return s

    for blocks in None, (4096, 4096, MIB):
        with made(blocks) as s:
            code, text = run('qemu-img', 'map', '--output=json', '--image-opts',
                             options(s, reconnect_delay=20))
            assert code == 0, text
            assert [(e['start'] + e['length'], 0 if e['data'] else 3) for e in json.loads(text)] == \
                list(ends()), text
        with made(blocks) as s, s_file() as out:
            os.truncate(out, K64)
            code, text = run('qemu-img', 'convert', '-n', '--image-opts', '-O', 'raw',
                             options(s, reconnect_delay=20), out)
            assert code == 0, text
            assert pathlib.Path(out).read_bytes() == s.data


def test_context_is_refused():
    """Without block status everything is data; with one that is always an error, copying fails."""
    with Server(data=b'\xa5' * MIB) as s:
        s.can_context = False
        code, text = run('qemu-img', 'map', '--output=json', s.uri())
        assert code == 0 and '"length": 1048576' in text and not kinds(s, nbd.STATUS), text


# ---- several connections -----------------------------------------------------------------------

def test_connections_only_if_they_agree():
    def connections(flags, requests):
        with Server(size=8 * MIB) as s:
            s.flags = flags
            code, text = run('qemu-img', 'bench', '-c', requests, '-d', 32, '--image-opts',
                             options(s, connections=4))
            assert code == 0, text
            return s.connections

    assert connections(nbd.ALL, 400) == 1
    # The others are made beside the work, which may be over first.
    assert 4 in (connections(nbd.ALL | nbd.MULTI, n) for n in (400, 4000, 40000))


def test_connections_agree_after_a_loss_too():
    """Of a server that comes back without saying so nothing is taken: a flush by one connection would
    leave out what others wrote. One connection needs no such word."""
    class Forgets(Server):
        def handshake(self, c):
            self.flags = nbd.ALL | (nbd.MULTI if c.number < 2 else 0)
            return super().handshake(c)

        def answer(self, q):
            if q.conn.number < 2 and q.kind == nbd.WRITE:
                raise Cut
            return super().answer(q)

    commands = ['sleep 300', *(f'aio_write {n * 4096} 4096' for n in range(20)), 'aio_flush', 'flush']
    with Forgets() as s:
        code, text = io(s, *commands, connections=2, reconnect_delay=3)
        assert code == 1 and 'aio_write failed: Input/output error' in text, text
        assert s.connections > 2 and not [q for q in s.requests if q.conn.number >= 2]
    with Forgets() as s:
        good_io(s, *commands, reconnect_delay=30)


def test_a_descriptor_is_one_connection():
    with Server(data=b'\xa5' * MIB) as s:
        s.flags = nbd.ALL | nbd.MULTI
        ours, theirs = socket.socketpair()
        s.open.append(theirs)
        threading.Thread(target=s.run, args=(nbd.Conn(theirs, 0, None),), daemon=True).start()
        commands = ['aio_read -P 0xa5 0 4k', 'aio_read -P 0xa5 0 64k', 'aio_flush'] * 20
        done = subprocess.run([BUILD / 'qemu-io', '--image-opts', *(a for c in commands for a in ('-c', c)),
                               f'driver=nbd,server.type=fd,server.str={ours.fileno()},connections=4'],
                              pass_fds=[ours.fileno()], stdin=subprocess.DEVNULL, timeout=TIMEOUT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0 and 'failed' not in done.stdout, done.stdout
        ours.close()


def test_connections_share_the_work():
    with Server(data=os.urandom(16 * MIB)) as s:
        s.flags = nbd.ALL | nbd.MULTI
        with s_file() as out:
            code, text = run('qemu-img', 'convert', '-n', '--image-opts', '-O', 'raw', '-m', 16,
                             options(s, connections=4), out)
            assert code == 0, text
            assert pathlib.Path(out).read_bytes() == s.data
        assert len({q.conn.number for q in kinds(s, nbd.READ)}) > 1


def test_other_connections_carry_on():
    """One of four is lost while it reads: its request is made on another one, without any delay."""
    class Loses(Server):
        def answer(self, q):
            if q.conn.number == 2:
                raise Cut
            return super().answer(q)

    with Loses(data=b'\xa5' * (8 * MIB)) as s:
        s.flags = nbd.ALL | nbd.MULTI
        commands = [f'aio_read -P 0xa5 {n * 4096} 4096' for n in range(64)]
        good_io(s, 'sleep 300', *commands, 'aio_flush', *commands, 'aio_flush', connections=4)


# ---- losing and finding connections ------------------------------------------------------------

class Flaky(Server):
    """Hangs up after a number of answers, in the middle of one now and then."""

    def __init__(self, every, **how):
        super().__init__(**how)
        self.every, self.count, self.cuts = every, 0, 0
        self.count_lock = threading.Lock()

    def answer(self, q):
        with self.count_lock:
            self.count += 1
            cut = self.count % self.every == 0
            self.cuts += cut
        for frame in super().answer(q):
            if cut:
                if self.count % 2:
                    q.conn.send(frame[:len(frame) // 2])
                q.conn.sock.shutdown(socket.SHUT_RDWR)
                raise Cut
            yield frame


def s_file():
    import contextlib
    import tempfile

    @contextlib.contextmanager
    def made():
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'out')
            pathlib.Path(path).write_bytes(b'')
            os.truncate(path, 16 * MIB)
            yield path
    return made()


def test_convert_through_lost_connections():
    """Reading and writing a whole image while connections are lost all the time."""
    content = os.urandom(8 * MIB)
    for members in {}, {'can_extended': True}, {'can_structured': False}:
        with Flaky(7, data=content) as s, s_file() as out:
            vars(s).update(members)
            os.truncate(out, 8 * MIB)
            code, text = run('qemu-img', 'convert', '-n', '--image-opts', '-O', 'raw',
                             options(s, reconnect_delay=60), out)
            assert code == 0, text
            assert pathlib.Path(out).read_bytes() == content and s.cuts
        with Flaky(7, size=8 * MIB) as s, s_file() as source:
            vars(s).update(members)
            pathlib.Path(source).write_bytes(content)
            code, text = run('qemu-img', 'convert', '-n', '-f', 'raw', '--target-image-opts', source,
                             options(s, reconnect_delay=60))
            assert code == 0, text
            assert s.data == content and s.cuts


def test_no_delay_means_failure_at_once():
    with Server(data=b'\xa5' * MIB) as s:
        s.limits = {0: 400}
        began = time.monotonic()
        code, text = io(s, 'read 0 4k', 'read 0 4k')
        assert text.count('read failed: Input/output error') == 2, text
        assert time.monotonic() - began < 10


def test_without_delay_it_comes_back():
    """The first request after a loss fails; once there is a connection again, they work."""
    with Server(data=b'\xa5' * MIB) as s:
        s.limits = {0: 400}
        code, text = io(s, 'read 0 4k', 'sleep 1500', 'read -P 0xa5 0 4k')
        assert text.count('read failed') == 1 and 'read 4096/4096' in text, text


def test_delay_is_the_limit():
    """A server that never comes back: requests fail after the delay, later ones at once."""
    with Server(data=b'\xa5' * MIB) as s:
        s.limits = {n: 400 if n == 0 else 0 for n in range(100)}
        began = time.monotonic()
        code, text = io(s, 'read 0 4k', 'read 4k 4k', reconnect_delay=2)
        took = time.monotonic() - began
        assert text.count('read failed: Input/output error') == 2, text
        assert 1.9 < took < 12, took


def test_server_that_loses_every_request():
    """It accepts again and again and answers nothing: no request is repeated past the delay."""
    class Never(Server):
        def answer(self, q):
            raise Cut

    with Never(data=b'\xa5' * MIB) as s:
        began = time.monotonic()
        code, text = io(s, 'read 0 4k', reconnect_delay=2)
        took = time.monotonic() - began
        assert 'read failed: Input/output error' in text, text
        assert took < 20, took


def test_a_failed_flush_outlives_a_connection():
    """A restarted server lacks what the old one could not flush, and does not know that it is missing."""
    class Full(Server):
        failures, cuts = 1, 1

        def answer(self, q):
            if q.kind == nbd.READ and self.cuts:
                self.cuts -= 1
                raise Cut
            if q.kind == nbd.FLUSH and self.failures:
                self.failures -= 1
                yield self.simple(q, nbd.EIO)
                return
            yield from super().answer(q)

    for failures, cuts, failed in (1, 1, 2), (1, 0, 1), (0, 1, 0):
        with Full() as s:
            s.failures, s.cuts = failures, cuts
            text = io(s, 'write 0 4k', 'flush', 'read 0 4k', 'flush', reconnect_delay=60)[1]
            assert text.count('made durable') == failed and 'read failed' not in text, (failures, cuts, text)
            assert not s.cuts and not s.failures


def test_a_failed_flush_outlives_a_server_that_dies_with_its_next_answer():
    """The flush that is made again over a new connection succeeds there, but says nothing of what the first
    one had failed to flush."""
    class Dying(Server):
        flushes = 0

        def answer(self, q):
            self.flushes += q.kind == nbd.FLUSH
            if q.kind == nbd.FLUSH and self.flushes == 1:
                yield self.simple(q, nbd.EIO)
                return
            if q.kind == nbd.FLUSH and self.flushes == 2:
                raise Cut
            yield from super().answer(q)

    with Dying() as s:
        text = io(s, 'write 0 4k', 'flush', 'flush', 'write 0 4k', 'flush', reconnect_delay=60)[1]
        assert text.count('made durable') == 3, text
        assert s.flushes >= 3, s.flushes


def test_open_timeout_waits_for_a_server():
    with Server(data=b'\xa5' * MIB) as s:
        hidden = s.path + '.away'
        os.rename(s.path, hidden)
        threading.Timer(1.0, os.rename, (hidden, s.path)).start()
        good_io(s, 'read -P 0xa5 0 4k', open_timeout=30)


def test_open_timeout_is_the_limit():
    with Server() as s:
        path = s.path
    began = time.monotonic()
    code, text = run('qemu-img', 'info', '--image-opts',
                     f'driver=nbd,server.type=unix,server.path={path},open-timeout=1')
    assert code == 1 and 0.9 < time.monotonic() - began < 15, text


def test_a_server_that_comes_back_late_is_found():
    """It is there again five seconds before the time is over, which is tried no less often than each
    second, and not exceeded."""
    class Late(Server):
        back = 7.5

        def handshake(self, c):
            if c.number >= self.first and time.monotonic() - self.began < self.back:
                raise Cut
            return super().handshake(c)

        def answer(self, q):
            if q.conn.number < self.first:
                raise Cut
            return super().answer(q)

    for first, limit in (0, 'open_timeout'), (1, 'reconnect_delay'):
        with Late(data=b'\xa5' * MIB) as s:
            s.first, s.began = first, time.monotonic()
            good_io(s, 'read -P 0xa5 0 4k', **{limit: 12})
            assert time.monotonic() - s.began < 11.5
        with Late(data=b'\xa5' * MIB) as s:
            s.first, s.began, s.back = first, time.monotonic(), 1000
            code, text = io(s, 'read 0 4k', **{limit: 6})
            took = time.monotonic() - s.began
            assert code == 1 and 5.9 < took < 10, (limit, took, text)


def test_other_export_is_not_taken_for_the_same():
    """The server comes back with an export of another size, or read-only: it is not used."""
    for change in {'size': 2 * MIB}, {'flags': nbd.ALL | nbd.READ_ONLY}, {'flags': nbd.HAS_FLAGS}:
        class Changes(Server):
            def handshake(self, c):
                if c.number > 0:
                    vars(self).update(change)
                return super().handshake(c)

        with Changes(data=b'\xa5' * MIB) as s:
            s.limits = {0: 400}
            code, text = io(s, 'read 0 4k', reconnect_delay=2)
            assert 'read failed: Input/output error' in text, (change, text)
            assert s.connections > 1


def test_bitmap_that_is_gone_is_not_taken_for_clean():
    """The server comes back without the bitmap: what is dirty cannot be told any more."""
    class Forgets(Server):
        def meta(self, c, option, data):
            c.context = True
            if c.number == 0:
                self.reply(c, option, nbd.REP_META,
                           struct.pack('>I', nbd.CONTEXT_ID) + b'qemu:dirty-bitmap:b')
            self.reply(c, option, nbd.ACK)

        def status(self, q):
            if q.conn.number == 0 and q.offset:
                raise Cut
            yield self.runs_chunk(q, [(K64, q.offset // K64 % 2)])

    with Forgets(size=MIB) as s:
        code, text = run('qemu-img', 'map', '--output=json', '--image-opts',
                         options(s, x_dirty_bitmap='qemu:dirty-bitmap:b', reconnect_delay=2))
        assert code == 1 and 'Input/output error' in text and s.connections > 1, text


def test_full_backlog_is_waited_for():
    """A server on a Unix socket that is busy accepts later, as it does on others."""
    with Server(data=b'\xa5' * MIB) as s, socket.socket(socket.AF_UNIX) as listener:
        path = s.path + '.busy'
        listener.bind(path)
        listener.listen(0)
        filler = socket.socket(socket.AF_UNIX)
        filler.connect(path)

        def accept():
            listener.accept()[0].close()
            sock = listener.accept()[0]
            s.open.append(sock)
            s.run(nbd.Conn(sock, 0, None))

        timer = threading.Timer(1.0, accept)
        timer.daemon = True
        timer.start()
        code, text = run('qemu-io', '-f', 'raw', '-c', 'read -P 0xa5 0 4k', f'nbd+unix:///?socket={path}')
        assert code == 0 and 'read 4096/4096' in text, text
        timer.join()
        filler.close()
        began = time.monotonic()
        fillers = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(path)
        code, text = run('qemu-img', 'info', '--image-opts',
                         f'driver=nbd,server.type=unix,server.path={path},open-timeout=1')
        assert code == 1 and 0.9 < time.monotonic() - began < 15, text
        for filler in fillers:
            filler.close()


def test_closing_does_not_wait_for_connections():
    """Further connections that never come about, and a handshake that stops, do not hold up the end."""
    class Stops(Server):
        def handshake(self, c):
            if c.number > 0:
                c.receive(1 << 20)
            return super().handshake(c)

    with Stops(size=MIB) as s:
        s.flags = nbd.ALL | nbd.MULTI
        began = time.monotonic()
        good_io(s, 'read 0 4k', connections=4)
        assert time.monotonic() - began < 10


def test_closing_does_not_wait_for_a_host_that_is_gone():
    """Connecting again to an address that swallows everything goes on until the end, not longer."""
    with Server(size=MIB) as s, socket.create_server(('127.0.0.1', 0), backlog=0) as listener:
        s.limits = {0: 400}
        fillers = [socket.socket() for _ in range(8)]

        def relay():
            one, other = listener.accept()[0], socket.socket(socket.AF_UNIX)
            for filler in fillers:  # the backlog is full from now on: nobody gets through
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            other.connect(s.path)
            threading.Thread(target=pump, args=(one, other), daemon=True).start()
            pump(other, one)

        threading.Thread(target=relay, daemon=True).start()
        began = time.monotonic()
        code, text = run('qemu-io', '--image-opts', '-c', 'read 0 4k', '-c', 'sleep 500', '-c',
                         'read 0 4k', 'driver=nbd,server.type=inet,server.host=127.0.0.1,server.port='
                         f'{listener.getsockname()[1]}')
        assert code == 1 and text.count('read failed') == 2, text
        assert time.monotonic() - began < 10
        for filler in fillers:
            filler.close()


def pump(source, sink):
    """Copies until one of the two ends."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for sock in source, sink:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def test_early_refusal_of_a_large_write():
    """The server answers before it has read the data: the connection goes on all the same."""
    class Early(Server):
        pause = 0

        def receive(self, c):
            head = c.receive(28)
            magic, flags, kind, cookie, offset, length = struct.unpack('>IHHQQI', head)
            q = nbd.Request(kind, flags, cookie, offset, length)
            q.conn = c
            if kind == nbd.WRITE:
                c.send(self.simple(q, nbd.ENOSPC))
                time.sleep(self.pause)
                q.payload = c.receive(length)
            return q

        def answer(self, q):
            return iter(()) if q.kind == nbd.WRITE else super().answer(q)

    with Early(size=4 * MIB) as s:
        code, text = io(s, 'write 0 4M', 'read -P 0 0 4M')
        assert 'write failed: No space left on device' in text and 'read 4194304/4194304' in text, text
    # Several at once: whoever receives while all are answered has nothing more to wait for.
    with Early(size=8 * MIB) as s:
        code, text = io(s, 'aio_write 0 4M', 'aio_write 4M 4M', 'aio_flush', 'aio_read 0 4k',
                        'aio_write 0 4M', 'aio_flush', 'read -P 0 0 4M')
        assert text.count('aio_write failed: No space left on device') == 3, text
        assert 'read 4194304/4194304' in text, text
    # A request made while the data leaves: whoever makes it receives, and has to send it as well.
    with Early(size=8 * MIB) as s:
        s.pause = 0.5
        code, text = io(s, 'aio_write 0 4M', 'sleep 100', 'aio_read 0 4k', 'aio_flush')
        assert 'aio_write failed: No space left' in text and 'read 4096/4096' in text, text


def main():
    for name, fn in list(globals().items()):
        if name.startswith('test_'):
            try:
                fn()
                print(f'ok {name[5:]}', flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as e:
                print(f'not ok {name[5:]} {str(e)[:300]!r}', flush=True)


if __name__ == '__main__':
    main()
