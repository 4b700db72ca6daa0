#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a QMP client sends, ours answers line by line as the reference: values without blanks,
half values, garbage, and where it goes on after that; ids that come back; limits."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from functions import BUILD, REFERENCE, judge, require_reference
from qmp import Stdio, masked

QUERY = b'{"execute":"query-version"%s}'

TEXTS = [
    # No request.
    b'', b'5', b'[]', b'"x"', b"'x'", b'null', b'true false', b'{}', b'{"exec":5}', b'{"execute":5}',
    b'{"execute":"query-version","arguments":[]}', b'{"execute":"query-version","foo":1}',
    b'{"execute":"query-version","arguments":{"x":1}}', b'{"id":1}', b'{"arguments":{}}',
    b'{"exec-oob":"query-version"}', b'{"execute":"query-version","control":{}}',
    b'{"execute":""}', b'{"execute":"foo"}', b'{"execute":"qmp_capabilities"}',
    # Several in a line, one in several lines.
    QUERY % b'' * 3, b'{"execute"\n:\n"query-version"\n}', b'{"execute":"foo"}5{"execute":"bar"}',
    # Wrong between the brackets.
    b'{"a" 1}', b'{"a":}', b'{"a":1,}', b'{a:1}', b'[1 2]', b'[1,]', b'[,1]', b'{1:2}', b'{null:2}',
    b'{"a":1 "b":2}', b'{"execute":"a","execute":"b"}', b'{"a",1}', b'{"a":1:2}', b'[1:2]', b'{:}',
    b'{,}', b'{"a":tru}', b'{"a":1 foo}', b'{"execute" foo:1}', b'{"a":{"b":{"c" 1}}}',
    # Brackets that do not match.
    b'}', b']', b'{]', b'[}', b'{"a":1}}', b'{"a":{}', b'{"a":[}', b'[{]', b'[[[[', b'[[]', b'{"a":[{}]',
    # Words and numbers.
    b'foo', b'foo bar baz', b'tru', b'ABC', b'Foo', b'fOO', b'foo_1', b'foo-bar', b'n1', b'1true', b'01',
    b'00', b'0x10', b'-5', b'-', b'-x', b'--1', b'+1', b'0.5', b'5.5.5', b'1.', b'1.x', b'1.e5', b'1e',
    b'1e+', b'1ex', b'1e5', b'1E+2', b'inf', b'nan', b':', b',', b';', b'#', b'@', b'/*x*/', b'%s', b'%d',
    b'{"execute":%d}', b'$', b'\\', b'`',
    # Strings.
    b'"abc', b'"', b"'", b'"a\\qb"', b'"\\u00zz"', b'"\\u12"', b'"\\ud800"', b'"\\ud83dx"',
    b'"\\ud83d\\u0041"', b'"\\udfff"', b'"\\ufffe"', b'"\\ufdd0"', b'"\\u d83"', b'"\\u+123"',
    b'{"execute":"qu\\u0065ry-version"}', b"{'execute':'query-version'}", b"{'execute':'a\\'b'}",
    b'{"execute":"a\'b"}', b'{"execute":"a\\\'b"}', b'{"a":"\\u0000"}', b'{"execute":"\xc0\x80"}',
    b'"\x80"', b'"a\xc3"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"', b'"\xef\xbf\xbe"', b'{"\xc3":1}',
    b'{"execute":"x\ty"}', b'"\\\n"', b'"\\\x01"', b'"\xfe"', b'{"a":"\xff"}',
    # Bytes outside of strings, and where it goes on.
    *(bytes([b]) + QUERY % b'' for b in (0x00, 0x01, 0x1f, 0x7f, 0x80, 0xbf, 0xc0, 0xf5, 0xfd, 0xfe)),
    b'@ 5', b'@\t5', b'@\r5', b'@,5', b'@a5;"\'/: 6', b'@[]', b'@]', b'@\x80 5', b'@\x015', b'@\xfe5',
    b'@{"execute":"foo"}', b'"abc\n"\n5', b'{"execute":"foo"\x01}', b'[1,2\x01,3]', b'@\n@\n@',
    # Ids.
    *(QUERY % (b',"id":' + i) for i in (
        b'null', b'""', b'{}', b'[]', b'-0', b'0', b'1.50', b'1E+2', b'0.1', b'true', b'9223372036854775807',
        b'-9223372036854775808', b'18446744073709551616', b'-9223372036854775809', b'[1,[2,[3]]]',
        b'{"id":{"name":1,"execute":2}}', b'"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"', b'"\x7f"', b'"\\u0000"',
        b'"\\/\\b\\f\\n\\r\\t\\\\\\""')),
    b'{"id":5,"execute":"foo"}', b'{"id":5,"execute":5}', b'{"id":[1],"bar":1}',
    # Depth.
    b'[' * 1024 + b']' * 1024, b'[' * 1025, b'{"a":' * 1025, QUERY % (b',"id":' + b'[' * 1023 + b']' * 1023),
    QUERY % (b',"id":' + b'{"a":' * 1023 + b'1' + b'}' * 1023),
]


def answers(program, before=()):
    with Stdio(program) as daemon:
        for text in before:
            daemon.ask(text)
        return [[masked(line) for line in daemon.ask(text, resync=True)] for text in TEXTS]


def shown(text):
    return repr(text if len(text) < 60 else text[:50] + b'...')


def main():
    require_reference('qemu-storage-daemon')
    ours, theirs = (answers(folder / 'qemu-storage-daemon') for folder in (BUILD, REFERENCE))
    for i, text in enumerate(TEXTS):
        judge(f'/qmp-text/{i:03}', [] if ours[i] == theirs[i] else
              [f'{shown(text)}: ours {str(ours[i])[:600]}', f'the reference {str(theirs[i])[:600]}'])


if __name__ == '__main__':
    sys.exit(main())
