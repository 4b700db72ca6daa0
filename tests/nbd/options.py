#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The handshake of our server: every option, in every order, right and wrong."""
import pathlib
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from nbd_frames import *


def error_of(replies):
    assert len(replies) == 1 and replies[0][0] & ERR, replies
    return replies[0][0]


def infos(replies):
    assert replies[-1] == (REP_ACK, b''), replies
    return {struct.unpack('>H', d[:2])[0]: d[2:] for k, d in replies[:-1] if k == REP_INFO}


def test_greeting_is_fixed_newstyle_without_zeroes():
    with disk() as s:
        assert s.client().greet().server_flags == 3


def test_unknown_handshake_flags_end_it():
    with disk() as s:
        c = s.client()
        c.greet(flags=4)
        assert c.is_dropped()


def test_export_name_with_and_without_zeroes():
    with disk(1 << 20) as s:
        for flags, zeroes in ((1, 124), (3, 0), (0, 124)):
            c = s.client().greet(flags)
            c.send_option(OPT_EXPORT_NAME)
            answer = c.receive(10 + zeroes)
            assert struct.unpack('>Q', answer[:8])[0] == 1 << 20
            assert answer[10:] == bytes(zeroes)
            assert c.read(0, 512) == bytes(512)


def test_export_name_unknown_ends_it():
    with disk() as s:
        for name in ('nope', 'x' * 4096, b'\0', 'x' * 70000):
            c = s.client().greet()
            try:
                c.send_option(OPT_EXPORT_NAME, name if isinstance(name, bytes) else name.encode())
            except Gone:    # it does not wait for the rest of a name that is too long
                continue
            assert c.is_dropped()


def test_names_with_nul_are_other_names():
    with disk(1 << 20, '-x', 'abc') as s:
        c = s.client().greet()
        assert error_of(c.option(OPT_GO, go(b'abc\0'))) == ERR_UNKNOWN
        assert error_of(c.option(OPT_GO, go(b'abc\0def'))) == ERR_UNKNOWN
        c.go('abc')


def test_only_export_name_without_fixed_newstyle():
    with disk() as s:
        c = s.client().greet(flags=2)
        c.send_option(OPT_LIST)
        assert c.is_dropped()


def test_list_shows_names_and_descriptions():
    with disk(1 << 20, '-x', 'näme', '-D', 'a description') as s:
        c = s.client().greet()
        replies = c.option(OPT_LIST)
        assert replies == [(REP_SERVER, text('näme') + b'a description'), (REP_ACK, b'')], replies
        assert error_of(c.option(OPT_LIST, b'x')) == ERR_INVALID
        assert len(c.option(OPT_LIST)) == 2


def test_abort_is_answered():
    with disk() as s:
        c = s.client().greet()
        assert c.option(OPT_ABORT) == [(REP_ACK, b'')]
        assert c.is_dropped()


def test_info_then_go_and_twice():
    with disk(3 << 20, '-x', 'e', '-D', 'text') as s:
        c = s.client().greet()
        for _ in range(2):
            i = infos(c.option(OPT_INFO, go('e', INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE, 99)))
            assert i[INFO_NAME] == b'e' and i[INFO_DESCRIPTION] == b'text'
            assert struct.unpack('>LLL', i[INFO_BLOCK_SIZE]) == (1, 4096, 32 << 20)
            assert struct.unpack('>QH', i[INFO_EXPORT])[0] == 3 << 20
        i = infos(c.option(OPT_GO, go('e')))
        assert INFO_NAME not in i and INFO_DESCRIPTION not in i and INFO_EXPORT in i
        assert c.read(0, 1) == b'\0'


def test_info_and_go_refuse_wrong_lengths():
    with disk() as s:
        c = s.client().greet()
        for data in (b'', b'\0', b'\0\0\0\1', text(''), text('') + b'\0', text('') + b'\0\1',
                     go('') + b'x', struct.pack('>L', 0xffffffff) + b'abc',
                     struct.pack('>L', 0xffffffff), text('') + b'\xff\xff'):
            for option in (OPT_INFO, OPT_GO):
                assert error_of(c.option(option, data)) == ERR_INVALID, data
        c.go()


def test_names_up_to_4096_bytes():
    with disk(1 << 20, '-x', 'n' * 4096) as s:
        c = s.client().greet()
        assert error_of(c.option(OPT_INFO, go('n' * 4095))) == ERR_UNKNOWN
        assert error_of(c.option(OPT_INFO, go('n' * 4097))) == ERR_INVALID
        assert c.option(OPT_LIST)[0][1] == text('n' * 4096)
        assert infos(c.option(OPT_GO, go('n' * 4096, INFO_NAME)))[INFO_NAME] == b'n' * 4096


def test_texts_that_quote_long_names_are_cut():
    with disk() as s:
        c = s.client().greet()
        kind, message = c.option(OPT_GO, go('q' * 4096))[0]
        assert kind == ERR_UNKNOWN and len(message) <= 4096
        kind, message = c.option(OPT_GO, go('q' + 'ä' * 200))[0]
        assert kind == ERR_UNKNOWN and 'ä' * 120 in message.decode(), 'whole characters'
        kind, message = c.option(OPT_GO, go(b'\xff' * 4096))[0]
        assert kind == ERR_UNKNOWN and message.decode()


def test_structured_then_extended():
    with disk() as s:
        c = s.client().greet()
        assert error_of(c.option(OPT_STRUCTURED_REPLY, b'x')) == ERR_INVALID
        assert c.option(OPT_STRUCTURED_REPLY) == [(REP_ACK, b'')]
        assert error_of(c.option(OPT_STRUCTURED_REPLY)) == ERR_INVALID
        assert error_of(c.option(OPT_EXTENDED_HEADERS, b'x')) == ERR_INVALID
        assert c.option(OPT_EXTENDED_HEADERS) == [(REP_ACK, b'')]
        assert error_of(c.option(OPT_EXTENDED_HEADERS)) == ERR_INVALID
        assert error_of(c.option(OPT_STRUCTURED_REPLY)) == ERR_EXT_HEADER
        c.extended = True
        assert c.go().read(0, 100) == bytes(100)


def test_flags_follow_what_was_agreed():
    always = F_HAS_FLAGS | F_FLUSH | F_FUA | F_CACHE
    writes = F_TRIM | F_ZEROES | F_FAST_ZERO
    with disk() as s:
        assert s.client().start().flags == always | writes | F_MULTI_CONN
        assert s.client().start('structured').flags == always | writes | F_MULTI_CONN | F_DF
        assert s.client().start('extended').flags == \
            always | writes | F_MULTI_CONN | F_DF | F_STATUS_PAYLOAD
    with disk(1 << 20, '-r') as s:
        assert s.client().start().flags == always | F_READ_ONLY | F_MULTI_CONN
    with disk(1 << 20, '-e', '1') as s:
        assert s.client().start().flags == always | writes


def test_contexts_need_structured_replies():
    with disk() as s:
        c = s.client().greet()
        for option in (OPT_LIST_META, OPT_SET_META):
            assert error_of(c.option(option, meta(''))) == ERR_INVALID


def names_of(replies):
    assert replies[-1][0] == REP_ACK, replies
    return {d[4:].decode() for k, d in replies[:-1] if k == REP_META}


@needs('qemu-img')
def test_contexts_listed_and_chosen():
    with folder() as where:
        subprocess.run(f'{REFERENCE}/qemu-img create -q -f qcow2 a 1M && '
                       f'for b in b0 b1; do {REFERENCE}/qemu-img bitmap --add a $b; done',
                       shell=True, cwd=where, check=True)
        with serve('-f', 'qcow2', '-A', '-B', 'b0', '-B', 'b1', 'a', where=where) as s:
            c = s.client().greet()
            assert c.option(OPT_STRUCTURED_REPLY) == [(REP_ACK, b'')]
            bitmaps = {'qemu:dirty-bitmap:b0', 'qemu:dirty-bitmap:b1'}
            qemu = bitmaps | {'qemu:allocation-depth'}
            for queries, names in (
                    ([], qemu | {'base:allocation'}), (['base:'], {'base:allocation'}),
                    (['qemu:'], qemu), (['qemu:dirty-bitmap:'], bitmaps),
                    (['base:allocation', 'base:allocation'], {'base:allocation'}),
                    (['qemu:dirty-bitmap:b1'], {'qemu:dirty-bitmap:b1'}),
                    (['qemu:dirty-bitmap:b2', 'x:y', '', 'base:alloc', 'qemu:allocation-depth2',
                      'n' * 4096], set())):
                assert names_of(c.option(OPT_LIST_META, meta('', *queries))) == names, queries
            for queries, names in (([], set()), (['base:', 'qemu:', 'qemu:dirty-bitmap:'], set()),
                                   (['qemu:allocation-depth'], {'qemu:allocation-depth'}),
                                   (['qemu:dirty-bitmap:b1', 'base:allocation'],
                                    {'qemu:dirty-bitmap:b1', 'base:allocation'})):
                replies = c.option(OPT_SET_META, meta('', *queries))
                assert names_of(replies) == names, queries
                ids = [d[:4] for k, d in replies[:-1]]
                assert len(set(ids)) == len(names)
            c.structured = True
            c.go()
            assert len(c.status(0, 1 << 20)) == 2


def test_contexts_not_offered_stay_hidden():
    with disk() as s:
        c = s.client().greet()
        c.option(OPT_STRUCTURED_REPLY)
        assert names_of(c.option(OPT_LIST_META, meta(''))) == {'base:allocation'}
        assert names_of(c.option(OPT_SET_META, meta('', 'qemu:allocation-depth'))) == set()


def test_contexts_with_wrong_lengths_skip_exactly_the_option():
    # CVE-class: the length of the option exceeds its queries, and an option header follows.
    with disk() as s:
        c = s.client().greet()
        c.option(OPT_STRUCTURED_REPLY)
        good = meta('', 'base:allocation')
        for data in (b'', text(''), text('') + b'\0\0\0', good[:-1], good + b'x', good + bytes(24),
                     meta('')[:4] + b'\xff\xff\xff\xff', text('') + struct.pack('>LL', 1, 0xffffffff),
                     text('') + struct.pack('>L', 2) + text('base:allocation'),
                     struct.pack('>L', 0xffffffff), text('') + struct.pack('>L', 1) + text('x' * 4097),
                     text('x' * 4097) + struct.pack('>L', 0)):
            for option in (OPT_LIST_META, OPT_SET_META):
                assert error_of(c.option(option, data)) == ERR_INVALID, data[:40]
        assert error_of(c.option(OPT_SET_META, meta('no such export', 'base:allocation'))) == \
            ERR_UNKNOWN
        assert names_of(c.option(OPT_SET_META, good)) == {'base:allocation'}


def test_contexts_of_another_export_do_not_count():
    with folder() as where:
        for n in 'ab':
            make_disk(where / n, 1 << 20)
        with serve('--export', 'name=a,node.driver=raw,node.file.driver=file,node.file.filename=a',
                   '--export', 'name=b,node.driver=raw,node.file.driver=file,node.file.filename=b',
                   where=where) as s:
            c = s.client().greet()
            c.option(OPT_STRUCTURED_REPLY)
            c.structured = True
            assert names_of(c.option(OPT_SET_META, meta('a', 'base:allocation')))
            c.go('b')
            assert c.call(STATUS, 0, 4096) == EINVAL


def test_failed_choice_forgets_the_one_before():
    with disk() as s:
        c = s.client().greet()
        c.option(OPT_STRUCTURED_REPLY)
        c.structured = True
        assert names_of(c.option(OPT_SET_META, meta('', 'base:allocation')))
        assert error_of(c.option(OPT_SET_META, b'')) == ERR_INVALID
        c.go()
        assert c.call(STATUS, 0, 4096) == EINVAL


def test_unknown_options_are_refused_and_skipped():
    with disk() as s:
        c = s.client().greet()
        for option in (OPT_PEEK, 0, 12, 0x7fffffff, 0xffffffff):
            for data in (b'', b'x', bytes(60000)):
                assert error_of(c.option(option, data)) == ERR_UNSUP
        c.go()


def test_starttls_without_credentials_is_against_policy():
    with disk() as s:
        c = s.client().greet()
        assert error_of(c.option(OPT_STARTTLS)) == ERR_POLICY
        assert error_of(c.option(OPT_STARTTLS, b'x')) == ERR_INVALID
        c.go()


def test_too_long_options_are_refused_and_skipped():
    with disk() as s:
        c = s.client().greet()
        for option in (OPT_LIST, OPT_GO, OPT_SET_META, 99):
            assert error_of(c.option(option, bytes(1 << 20))) == ERR_TOO_BIG
        c.go()


def test_absurdly_long_options_end_it():
    with disk() as s:
        for option in (OPT_LIST, OPT_GO, OPT_SET_META, 99, OPT_EXPORT_NAME):
            c = s.client().greet()
            c.send_option(option, bytes(16), length=0xffffffff)
            assert c.is_dropped()


def test_wrong_option_magic_ends_it():
    with disk() as s:
        c = s.client().greet()
        c.send(b'IHAVEOPX' + bytes(8))
        assert c.is_dropped()


def test_several_exports():
    with folder() as where:
        make_disk(where / 'a', 1 << 20, b'A' * 512)
        make_disk(where / 'b', 2 << 20, b'B' * 512)
        with serve('-e', '0', '--export', 'name=one,description=first,node.driver=raw,'
                   'node.file.driver=file,node.file.filename=a', '--export',
                   '{"name": "two,2", "readonly": true, "node": {"driver": "raw", "file": '
                   '{"driver": "file", "filename": "b"}}}', where=where) as s:
            c = s.client().greet()
            assert [d for k, d in c.option(OPT_LIST)[:-1]] == [text('one') + b'first',
                                                              text('two,2')]
            assert error_of(c.option(OPT_GO, go(''))) == ERR_UNKNOWN
            c.go('one')
            assert c.size == 1 << 20 and c.read(0, 512) == b'A' * 512
            assert c.call(WRITE, 0, 4, data=b'CCCC') == 0
            c = s.client().start(name='two,2')
            assert c.size == 2 << 20 and c.read(0, 512) == b'B' * 512
            assert c.flags & F_READ_ONLY and c.call(WRITE, 0, 4, data=b'CCCC') == EPERM


sys.exit(run('options', globals()))
