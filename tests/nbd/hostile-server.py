#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that lie, stop, overflow or never end: the client tells of an error, in time, and takes
nothing for data that is none."""
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import nbd_server as nbd
from nbd_server import Cut, Server
from this_run import SLOWER

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
TIMEOUT = 20 * SLOWER
GOOD = b'\xa5'
K64, MIB = 64 << 10, 1 << 20


def run(*args):
    """Exit code and output of one of our tools; a crash or no end in time is an error."""
    done = subprocess.run([BUILD / args[0], *args[1:]], stdin=subprocess.DEVNULL, timeout=TIMEOUT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors='replace')
    if done.returncode not in (0, 1) or 'Sanitizer' in text:
        raise AssertionError(f'{args[0]} ended with {done.returncode}: {text}')
    return done.returncode, text


def io(server, *commands, options=''):
    args = [a for c in commands for a in ('-c', c)]
    return run('qemu-io', '--image-opts', *args,
               f'driver=nbd,server.type=unix,server.path={server.path}{options}')


def judge(name, problem):
    print(f'not ok {name} {problem}' if problem else f'ok {name}', flush=True)


def case(name, fn, *args):
    try:
        judge(name, fn(*args))
    except (AssertionError, subprocess.TimeoutExpired) as e:
        judge(name, str(e).splitlines()[0][:300])


# ---- answers to reads --------------------------------------------------------------------------

class Reads(Server):
    """Answers a read of 64 KiB by @frames(self, request); the rest is fine."""

    def __init__(self, frames, **members):
        super().__init__(data=GOOD * (1 << 20))
        self.frames = frames
        for name, value in members.items():
            setattr(self, name, value)

    def read(self, q):
        return self.frames(self, q) if q.length == K64 else super().read(q)


def cut_after(frames):
    def cut(s, q):
        yield from frames(s, q)
        raise Cut
    return cut


def endless(frame):
    def forever(s, q):
        while True:
            yield frame(s, q)
    return forever


def one(frame):
    """An answer of a single frame."""
    return lambda s, q: iter([frame(s, q)])


def chunks(*frames):
    return lambda s, q: (f(s, q) for f in frames)


def data(start, length, done=False):
    return lambda s, q: s.data_chunk(q, q.offset + start, GOOD * length, done)


def hole(start, length, done=False):
    return lambda s, q: s.hole_chunk(q, q.offset + start, length, done)


def none(done=True, payload=b''):
    return lambda s, q: s.chunk(q, nbd.NONE, payload, done)


def wrong_cookie(s, q):
    q.cookie ^= 1 << 40
    return s.data_chunk(q, q.offset, GOOD * K64, True)


def raw(frame):
    return lambda s, q: frame


def error(offset=None, code=nbd.EIO, text=b'', done=True):
    return lambda s, q: s.error_chunk(q, code, text, offset, done)


def headed(kind, payload, length):
    """A chunk whose header tells another length."""
    return lambda s, q: s.chunk(q, kind, payload, True, length)


BAD_READS = {
    'no-chunk-at-all': chunks(none()),
    'chunk-missing-at-start': chunks(data(4096, K64 - 4096, True)),
    'chunk-missing-in-middle': chunks(data(0, 4096), data(8192, K64 - 8192, True)),
    'chunk-missing-at-end': chunks(data(0, K64 - 1), none()),
    'chunk-twice': chunks(data(0, 4096), data(0, 4096), data(4096, K64 - 4096, True)),
    'chunks-overlap-by-a-byte': chunks(data(0, 4097), data(4096, K64 - 4096, True)),
    'hole-over-data': chunks(data(0, K64), hole(0, 4096, True)),
    'data-over-hole': chunks(hole(0, K64), data(100, 1, True)),
    'chunk-before-request': chunks(data(-1, 1), data(0, K64, True)),
    'chunk-past-request': chunks(data(0, K64), data(K64, 1, True)),
    'chunk-across-end': chunks(data(1, K64), data(0, 1, True)),
    'offset-near-2^64': one(lambda s, q: s.data_chunk(q, (1 << 64) - 4096, GOOD * 8192, True)),
    'offset-negative': one(lambda s, q: s.data_chunk(q, -8, GOOD * 16, True)),
    'chunk-empty': chunks(data(0, 0), data(0, K64, True)),
    'chunk-without-offset': one(headed(nbd.DATA, b'1234567', 7)),
    'chunk-longer-than-request': chunks(data(0, K64 + 1, True)),
    'payload-of-4-gib': one(headed(nbd.DATA, struct.pack('>Q', 0), (1 << 32) - 1)),
    'hole-empty': chunks(hole(0, 0), data(0, K64, True)),
    'hole-of-4-gib': chunks(hole(0, (1 << 32) - 1, True)),
    'hole-with-more-payload': one(headed(nbd.HOLE, struct.pack('>QIB', 0, K64, 0), 13)),
    'hole-too-short': one(headed(nbd.HOLE, struct.pack('>QB', 0, 0), 9)),
    'none-not-last': chunks(none(False), data(0, K64, True)),
    'none-with-payload': chunks(none(True, b'x')),
    'none-endless': endless(none(False)),
    'empty-chunks-endless': endless(data(0, 0)),
    'holes-endless': endless(hole(0, 512)),
    'errors-endless': endless(error(done=False)),
    'unknown-chunk': one(headed(100, b'x' * 8, 8)),
    'status-for-read': one(lambda s, q: s.runs_chunk(q, [(K64, 0)])),
    'simple-reply-in-place-of-chunks': one(lambda s, q: s.simple(q) + GOOD * K64),
    'simple-reply-after-chunk': chunks(data(0, 4096), lambda s, q: s.simple(q, nbd.EIO)),
    'extended-reply-not-agreed': one(lambda s, q: struct.pack(
        '>IHHQQQ', 0x6e8a278c, 1, nbd.NONE, q.cookie, q.offset, 0)),
    'wrong-cookie': one(wrong_cookie),
    'wrong-magic': one(raw(b'\x12\x34\x56\x78' * 16)),
    'error-code-zero': chunks(error(code=0)),
    'error-text-past-payload': one(headed(nbd.ERROR, struct.pack('>IH', 5, 100), 6)),
    'error-text-of-64-kib': one(headed(nbd.ERROR, struct.pack('>IH', 5, 65535), 6 + 65535)),
    'error-payload-of-4-gib': one(headed(nbd.ERROR, struct.pack('>IH', 5, 0), (1 << 32) - 1)),
    'error-too-short': one(headed(nbd.ERROR, b'\0\0\0\5', 4)),
    'error-offset-outside': chunks(error(offset=1 << 19)),
    'error': chunks(error(code=nbd.EIO, text=b'broken')),
    'error-after-all-data': chunks(data(0, K64), error()),
    'error-offset-after-half': chunks(data(0, 4096), error(offset=4096)),
    'unknown-error-chunk': one(lambda s, q: s.chunk(q, 1 << 15 | 99, struct.pack('>IH', 5, 0), True)),
    'silence-after-half': cut_after(chunks(data(0, 4096))),
    'cut-inside-data': cut_after(one(lambda s, q: s.data_chunk(q, 0, GOOD * K64, True)[:1000])),
}

GOOD_READS = {
    'one-chunk': chunks(data(0, K64, True)),
    'chunks-backwards': lambda s, q: iter(
        [s.data_chunk(q, at, GOOD * 4096) for at in range(K64 - 4096, -1, -4096)] +
        [s.chunk(q, nbd.NONE, b'', True)]),
    'chunks-interleaved': lambda s, q: iter(
        [s.data_chunk(q, at, GOOD * 512) for at in [*range(0, K64, 1024), *range(512, K64, 1024)]] +
        [s.chunk(q, nbd.NONE, b'', True)]),
    'chunks-of-a-byte-then-all': lambda s, q: iter(
        [s.data_chunk(q, at, GOOD) for at in range(300)] +
        [s.data_chunk(q, 300, GOOD * (K64 - 300), True)]),
}


def bad_read(frames, members):
    with Reads(frames, **members) as s:
        code, text = io(s, 'read -P 0xa5 0 64k', 'read -P 0xa5 512k 4k')
        if 'read 65536/65536' in text or 'Pattern verification' in text:
            return f'took it: {text!r}'
        if 'read failed: ' not in text or code != 1:
            return f'exit code {code}, {text!r}'
        return None


def good_read(frames, members):
    with Reads(frames, **members) as s:
        code, text = io(s, 'read -P 0xa5 0 64k')
        return None if code == 0 and 'read 65536/65536' in text else text


def holes_read_as_zeroes(members):
    """A hole inside of data, in memory that held something else."""
    def frames(s, q):
        yield s.hole_chunk(q, 4096, K64 - 8192)
        yield s.data_chunk(q, K64 - 4096, GOOD * 4096)
        yield s.data_chunk(q, 0, GOOD * 4096, True)
    with Reads(frames, **members) as s:
        code, text = io(s, 'read -P 0xa5 0 64k', 'read -P 0 -s 4096 -l 57344 0 64k',
                        'read -P 0xa5 -s 0 -l 4096 0 64k')
        return None if text.count('Pattern verification failed') == 1 else text


# ---- simple replies ----------------------------------------------------------------------------

def test_simple():
    members = {'can_structured': False}
    cases = {
        'chunk-not-agreed': chunks(data(0, K64, True)),
        'cut-inside-data': cut_after(one(lambda s, q: s.simple(q) + GOOD * 100)),
        'error': one(lambda s, q: s.simple(q, nbd.EIO)),
        'wrong-cookie': one(lambda s, q: s.simple(nbd.Request(0, 0, 1 << 50, 0, 0)) + GOOD * K64),
    }
    for name, frames in cases.items():
        case(f'simple/{name}', bad_read, frames, members)
    more = one(lambda s, q: s.simple(q) + GOOD * (K64 + 100))
    case('simple/data-too-long', followed_by_nonsense, more, members)


def followed_by_nonsense(frames, members):
    """The answer itself is whole: what follows it ends the connection."""
    with Reads(frames, **members) as s:
        code, text = io(s, 'read -P 0xa5 0 64k', 'read -P 0xa5 0 64k')
        return None if code == 1 and text.count('read failed') == 1 else text


# ---- block status ------------------------------------------------------------------------------

class Status(Server):
    def __init__(self, frames, extended=False):
        super().__init__()
        self.can_extended = extended
        self.blocks = (512, 4096, 32 << 20)
        self.frames = frames

    def status(self, q):
        return self.frames(self, q)


def runs(*runs, **how):
    return lambda s, q: s.runs_chunk(q, runs, **how)


BAD_STATUS = {
    'run-of-no-bytes': one(runs((0, 0))),
    'second-run-of-no-bytes': one(runs((512, 0), (0, 3))),
    'run-not-aligned': one(runs((1000, 0))),
    'no-runs': one(runs()),
    'unknown-context': one(runs((512, 0), context=99)),
    'no-answer-chunk': chunks(none()),
    'twice': chunks(runs((512, 0), done=False), runs((512, 0))),
    'two-for-one': one(runs((512, 0), (512, 3))),
    '200000-for-one': one(runs(*[(512, 3)] * 200000)),
    'half-a-run': one(headed(nbd.RUNS, struct.pack('>III', 7, 512, 0)[:-1], 11)),
    'payload-of-4-gib': one(headed(nbd.RUNS, struct.pack('>III', 7, 512, 0), (1 << 32) - 4)),
    'data-for-status': one(lambda s, q: s.data_chunk(q, q.offset, b'x', True)),
    'simple-reply': one(lambda s, q: s.simple(q)),
    'error': chunks(error(code=nbd.EIO)),
    'cut': cut_after(one(lambda s, q: s.runs_chunk(q, [(512, 0)])[:20])),
}


def bad_status(frames, extended):
    with Status(frames, extended) as s:
        code, text = run('qemu-img', 'map', '--output=json', '-f', 'raw', s.uri())
        return None if code == 1 else f'exit code {code}, {text!r}'


def past_the_request(s, q):
    """The first question, for one run, is answered well."""
    first = (min(65536, q.length), 0)
    yield s.runs_chunk(q, [first] if q.flags & nbd.REQ_ONE else [(q.length, 0), (512, 3)])


CRUMBS = bytes(3) + b'xyz'


class Crumbs(Server):
    """Tells the truth in pieces of three bytes, one at a time or many."""

    def __init__(self, many, blocks):
        super().__init__(data=CRUMBS * (MIB // 6) + b'end.')
        self.many, self.blocks = many, blocks

    def runs(self, q):
        count = q.length // 3 if self.many and not q.flags & nbd.REQ_ONE else 1
        start, found = q.offset, []
        for _ in range(max(count, 1)):
            found.append((3 - start % 3, 0 if start // 3 % 2 or start >= self.size - 4 else 3))
            start += found[-1][0]
        return found


def crumbs(many, blocks):
    """Bounded work, and nothing wrong: what is coarse is data."""
    with Crumbs(many, blocks) as s, tempfile.TemporaryDirectory() as where:
        copy = f'{where}/copy'
        for command in (['map', '--output=json', '-f', 'raw', s.uri()],
                        ['convert', '-f', 'raw', '-O', 'raw', s.uri(), copy]):
            s.requests.clear()
            code, text = run('qemu-img', *command)
            asked = sum(q.kind == nbd.STATUS for q in s.requests)
            if code or asked > 1000:
                return f'{command[0]} ends with {code} after {asked} questions: {text[-200:]!r}'
        with open(copy, 'rb') as f:
            return None if f.read() == s.data else 'the copy differs'


def test_status():
    for name, frames in BAD_STATUS.items():
        case(f'status/{name}', bad_status, frames, False)
    case('status/run-past-the-request', bad_status, past_the_request, False)
    for many in False, True:
        for name, blocks in ('bytes', (1, 4096, 32 << 20)), ('sizes-not-told', None):
            case(f'status/crumbs-{"many" if many else "single"}-{name}', crumbs, many, blocks)
    wide = {
        'run-of-no-bytes': one(runs((0, 0))),
        'narrow-runs': one(lambda s, q: s.chunk(q, nbd.RUNS, struct.pack('>III', 7, 512, 0), True)),
        'count-lies': one(lambda s, q: s.chunk(
            q, nbd.RUNS64, struct.pack('>IIQQ', 7, 2, 512, 0), True)),
        'payload-of-2^63': one(headed(nbd.RUNS64, struct.pack('>IIQQ', 7, 1, 512, 0), 1 << 63)),
        'no-runs': one(runs()),
    }
    for name, frames in wide.items():
        case(f'status/extended-{name}', bad_status, frames, True)
    case('status/runs-of-64-bits', long_runs)
    case('status/longer-than-asked', longer_run)


def long_runs():
    """A run longer than 32 bits can tell, even than the export."""
    with Status(one(runs(((1 << 64) - 512, 3))), True) as s:
        s.size = 1 << 40
        code, text = run('qemu-img', 'map', '--output=json', '-f', 'raw', s.uri())
        ok = code == 0 and text.count('"start"') == 1 and f'"length": {1 << 40}' in text
        return None if ok else text


def longer_run():
    with Status(one(runs((1 << 31, 3)))) as s:
        code, text = run('qemu-img', 'map', '--output=json', '-f', 'raw', s.uri())
        return None if code == 0 and f'"length": {s.size},' in text else text


# ---- handshake ---------------------------------------------------------------------------------

class Shaken(Server):
    """Overrides the answer to one option: @answer(self, conn, data)."""

    def __init__(self, wanted, answer, **members):
        super().__init__()
        self.wanted, self.answer_option = wanted, answer
        for name, value in members.items():
            setattr(self, name, value)

    def option(self, c, option, data):
        if option == self.wanted:
            return self.answer_option(self, c, data)
        return super().option(c, option, data)


def says(option, kind, payload=b'', length=None, magic=nbd.OPTION_REPLY, begins=None):
    def answer(s, c, _):
        c.send(struct.pack('>QIII', magic, option, kind,
                           len(payload) if length is None else length) + payload)
        return begins
    return answer


def forever(option, kind, payload):
    def answer(s, c, _):
        while True:
            s.reply(c, option, kind, payload)
    return answer


def go_with(*infos):
    def answer(s, c, _):
        for info in infos:
            s.reply(c, nbd.GO, nbd.REP_INFO, info)
        s.reply(c, nbd.GO, nbd.ACK)
        return True
    return answer


def export_info(size=1 << 20, flags=nbd.ALL):
    return struct.pack('>HQH', 0, size, flags)


def block_info(*blocks):
    return struct.pack('>HIII', 3, *blocks)


BAD_OPTIONS = {
    'wrong-reply-magic': (nbd.GO, says(nbd.GO, nbd.ACK, magic=1)),
    'answer-to-other-option': (nbd.GO, says(nbd.INFO, nbd.ACK)),
    'reply-of-4-gib': (nbd.GO, says(nbd.GO, nbd.REP_INFO, b'x' * 100, (1 << 32) - 1)),
    'error-text-of-4-gib': (nbd.GO, says(nbd.GO, nbd.ERR_POLICY, b'x' * 100, (1 << 32) - 1)),
    'error-text-too-long': (nbd.GO, says(nbd.GO, nbd.ERR_POLICY, b'x' * 20000)),
    'error-text-binary': (nbd.GO, says(nbd.GO, nbd.ERR_POLICY, bytes(range(256)))),
    'unknown-error': (nbd.GO, says(nbd.GO, 1 << 31 | 77)),
    'unknown-reply': (nbd.GO, says(nbd.GO, 55)),
    'go-without-export': (nbd.GO, go_with()),
    'go-ack-with-data': (nbd.GO, says(nbd.GO, nbd.ACK, b'x')),
    'info-empty': (nbd.GO, go_with(b'')),
    'info-of-one-byte': (nbd.GO, go_with(b'\0')),
    'info-export-short': (nbd.GO, go_with(export_info()[:-1])),
    'info-export-long': (nbd.GO, go_with(export_info() + b'x')),
    'info-blocks-short': (nbd.GO, go_with(export_info(), block_info(1, 4096, 65536)[:-1])),
    'infos-endless': (nbd.GO, forever(nbd.GO, nbd.REP_INFO, export_info())),
    'size-2^63': (nbd.GO, go_with(export_info(1 << 63))),
    'size-2^64-1': (nbd.GO, go_with(export_info((1 << 64) - 1))),
    'block-min-0': (nbd.GO, go_with(export_info(), block_info(0, 4096, 65536))),
    'block-min-no-power': (nbd.GO, go_with(export_info(), block_info(1000, 4096, 65536))),
    'block-min-huge': (nbd.GO, go_with(export_info(), block_info(1 << 31, 1 << 31, 1 << 31))),
    'block-preferred-no-power': (nbd.GO, go_with(export_info(), block_info(512, 5000, 65536))),
    'block-preferred-less': (nbd.GO, go_with(export_info(), block_info(4096, 512, 65536))),
    'block-max-less': (nbd.GO, go_with(export_info(), block_info(4096, 4096, 1024))),
    'block-max-0': (nbd.GO, go_with(export_info(), block_info(512, 4096, 0))),
    'block-max-no-multiple': (nbd.GO, go_with(export_info(), block_info(4096, 4096, 5000))),
    'structured-nonsense': (nbd.STRUCTURED, says(nbd.STRUCTURED, nbd.REP_SERVER)),
    'structured-ack-with-data': (nbd.STRUCTURED, says(nbd.STRUCTURED, nbd.ACK, b'x')),
    'context-other': (nbd.SET_META, says(nbd.SET_META, nbd.REP_META, b'\0\0\0\7qemu:x')),
    'context-without-a-name': (nbd.SET_META, says(nbd.SET_META, nbd.REP_META, b'\0\0\0\7')),
    'context-short': (nbd.SET_META, says(nbd.SET_META, nbd.REP_META, b'\0\0')),
    'contexts-endless': (nbd.SET_META, forever(nbd.SET_META, nbd.REP_META,
                                               b'\0\0\0\7base:allocation')),
    'context-nonsense': (nbd.SET_META, says(nbd.SET_META, nbd.REP_INFO)),
    'export-refused': (nbd.GO, says(nbd.GO, nbd.ERR_UNKNOWN, b'none such')),
}


def bad_option(option, answer):
    with Shaken(option, answer) as s:
        code, text = run('qemu-img', 'info', s.uri())
        if code == 0:
            return f'took it: {text!r}'
        if any(ord(ch) < 32 and ch != '\n' for ch in text):
            return f'prints control characters: {text!r}'
        return None


def bad_listed_context(name):
    """Names of contexts have a namespace, a colon and more."""
    def answer(s, c, _):
        for context in (b'base:allocation', name):
            s.reply(c, nbd.LIST_META, nbd.REP_META, bytes(4) + context)
        s.reply(c, nbd.LIST_META, nbd.ACK)

    with Shaken(nbd.LIST_META, answer) as s:
        code, text = run('qemu-nbd', '-L', '-k', s.path)
        return None if code == 1 and 'metadata context' in text else f'exit code {code}, {text!r}'


class Greets(Server):
    def __init__(self, greeting):
        super().__init__()
        self.greeting = greeting

    def handshake(self, c):
        c.send(self.greeting)
        c.receive(1 << 30)


def bad_greeting(greeting):
    with Greets(greeting) as s:
        code, text = run('qemu-img', 'info', s.uri())
        return None if code == 1 else f'exit code {code}, {text!r}'


def test_handshake():
    greetings = {
        'not-nbd': b'HTTP/1.1 400 Bad Request\r\n\r\n',
        'zeroes': bytes(200),
        'unknown-style': struct.pack('>QQH', nbd.NBDMAGIC, 0x1234, 3),
        'oldstyle-size-2^63': struct.pack('>QQQI', nbd.NBDMAGIC, nbd.OLDSTYLE, 1 << 63, 1) + bytes(124),
    }
    for name, greeting in greetings.items():
        case(f'handshake/{name}', bad_greeting, greeting)
    for name, (option, answer) in BAD_OPTIONS.items():
        case(f'handshake/{name}', bad_option, option, answer)
    for name in b'', b'allocation', b':allocation', b'base:\0':
        case(f'handshake/listed-context-{name.hex() or "empty"}', bad_listed_context, name)
    case('handshake/open-timeout-ends-a-silent-server', silent_server)


def silent_server():
    """The time limit holds for a server that says nothing at all, and for one that stops midway."""
    for greeting in b'', struct.pack('>QQH', nbd.NBDMAGIC, nbd.IHAVEOPT, 3):
        with Greets(greeting) as s:
            code, text = run('qemu-img', 'info', '--image-opts',
                             f'driver=nbd,server.type=unix,server.path={s.path},open-timeout=1')
            if code != 1:
                return text
    return None


# ---- the end at every byte ---------------------------------------------------------------------

SESSION = ('read -P 0xa5 0 96', 'write -P 0x11 4k 512', 'map', 'flush', 'read -P 0x11 4k 64')


def session(server, options=''):
    return io(server, *SESSION, options=options)


def whole_session(members):
    """How many bytes a good server sends in the session."""
    with Reads(None, **members) as s:
        code, text = session(s)
        assert code == 0, text
    return max(s.sent)


def cut_everywhere(members):
    """A connection that ends after any byte: an error, never a hang or a crash."""
    total = whole_session(members)
    for limit in range(total):
        with Reads(None, **members) as s:
            s.limit = limit
            code, text = session(s)
            if code != 1:
                return f'exit code {code} with the connection cut after {limit} bytes: {text!r}'
            if 'Pattern verification' in text:
                return f'stale data after {limit} bytes: {text!r}'
    return None


def cut_everywhere_and_back(members):
    """The same, but the next connection is good: nothing is lost, every request is carried out."""
    total = whole_session(members)
    for limit in range(0, total, 3):
        with Reads(None, **members) as s:
            s.limits = {0: limit}
            code, text = session(s, ',open-timeout=20,reconnect-delay=20')
            if code != 0 or 'failed' in text:
                return f'exit code {code} after {limit} bytes: {text!r}'
            if s.data[4096:4608] != b'\x11' * 512:
                return f'the write is lost after {limit} bytes'
    return None


STYLES = {
    'simple': {'can_structured': False},
    'structured': {},
    'extended': {'can_extended': True},
}


def main():
    for style in 'structured', 'extended':
        for name, frames in BAD_READS.items():
            if style == 'structured' or not name.startswith(('extended', 'payload-of-4')):
                case(f'{style}/read/{name}', bad_read, frames, STYLES[style])
        for name, frames in GOOD_READS.items():
            case(f'{style}/read/good-{name}', good_read, frames, STYLES[style])
        case(f'{style}/read/answer-twice', followed_by_nonsense,
             chunks(data(0, K64, True), data(0, K64, True)), STYLES[style])
        case(f'{style}/read/holes-read-as-zeroes', holes_read_as_zeroes, STYLES[style])
    test_simple()
    test_status()
    test_handshake()
    for style, members in STYLES.items():
        case(f'cut-at-every-byte/{style}', cut_everywhere, members)
        case(f'cut-and-connected-again/{style}', cut_everywhere_and_back, members)


if __name__ == '__main__':
    main()
