#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON is printed as the reference prints it: order of keys, escapes, numbers, bad UTF-8."""
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile

from functions import BUILD, REFERENCE, Daemon, Show, judge, require_reference

TABLE = pathlib.Path(__file__).resolve().parents[2] / 'util/json-order.c'
RANDOM = random.Random(20)


def table_keys():
    return re.findall(r'{ "([^"]+)", \d+ }', TABLE.read_text())


def schema_keys(schema):
    return {m['name'] for e in schema for m in e.get('members', []) if 'name' in m}


def random_objects(keys):
    yield keys
    yield keys[::-1]
    for _ in range(60):
        yield RANDOM.sample(keys, RANDOM.randint(2, 200))


def check_order(daemon, show):
    keys = table_keys()
    problems = []
    for some in random_objects(keys):
        text = json.dumps({k: {k: i} for i, k in enumerate(some)}).encode()
        if daemon.echo(text) != show.line(text):
            problems.append(f'order of {len(some)} keys differs')
    judge('order-of-keys', problems)
    missing = schema_keys(daemon.ask('query-qmp-schema')) - set(keys)
    judge('every-key-of-the-schema-is-known', [f'rank of {k} is not known' for k in missing])


def random_string():
    ranges = [(1, 0x1f), (0x20, 0x7f), (0x80, 0x7ff), (0x800, 0xd7ff), (0xe000, 0xfdcf),
              (0x10000, 0x1fffd), (0x100000, 0x10fffd)]
    return ''.join(chr(RANDOM.randint(*RANDOM.choice(ranges))) for _ in range(RANDOM.randint(0, 30)))


def check_strings(daemon, show):
    problems = []
    for i in range(300):
        text = json.dumps(random_string(), ensure_ascii=i % 2 == 0).encode()
        if daemon.echo(text) != show.line(text):
            problems.append(f'{text} differs')
    judge('strings', problems)


def random_number():
    kind = RANDOM.randrange(4)
    if kind == 0:
        return str(RANDOM.randint(-2**63, 2**63 - 1))
    if kind == 1:
        return str(RANDOM.randint(-999, 999))
    if kind == 2:
        return repr(RANDOM.uniform(-1, 1) * 10 ** RANDOM.randint(-30, 30))
    return f'{RANDOM.randint(0, 99)}.{RANDOM.randint(0, 99)}e{RANDOM.randint(-9, 9)}'


def check_numbers(daemon, show):
    problems = []
    for text in [random_number().encode() for _ in range(300)]:
        if daemon.echo(text) != show.line(text):
            problems.append(f'{text}: {daemon.echo(text)} != {show.line(text)}')
    judge('numbers', problems)


def check_forms(daemon, show):
    texts = [b'[]', b'{}', b'[{},[],{"file":[]}]', b'[true,false,null]', b"'sq\"x\\'y'",
             b"{'driver':'a'}", b'"a\\/b"', b"\"it\\'s\""]
    judge('forms', [f'{t}: {daemon.echo(t)} != {show.line(t)}'
                    for t in texts if daemon.echo(t) != show.line(t)])


def random_bytes():
    pool = [b'\xff', b'\x80', b'\xc0\x80', b'\xc1\x81', b'\xed\xa0\x80', b'\xef\xbf\xbe', b'\xe2\x82',
            b'\xf0\x9f\x98\x80', b'\xf4\x90\x80\x80', b'\xf8\x88\x80\x80\x80', b'\xfc', b'\xc3\xa9',
            b'\xe0\x80\x80', b'\xef\xb7\x90', b'a', b'z', b'\xc3']
    return b''.join(RANDOM.choice(pool) for _ in range(RANDOM.randint(1, 12)))


def shown_name(tool, path):
    run = subprocess.run([tool, 'info', '--output=json', path], capture_output=True, check=False)
    return re.search(rb'"filename": .*', run.stdout)


def check_bad_utf8():
    """File names may be any bytes; both tools show them alike."""
    problems = []
    require_reference('qemu-img')
    for _ in range(25):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder.encode(), random_bytes())
            with open(path, 'wb') as f:
                f.truncate(512)
            ours, theirs = (shown_name(t, path) for t in (BUILD / 'qemu-img', REFERENCE / 'qemu-img'))
            if not ours or ours[0] != theirs[0]:
                problems.append(f'{path}: {ours and ours[0]} != {theirs[0]}')
    judge('bytes-that-are-not-utf8', problems)


with Daemon() as their, Show('json') as our:
    check_order(their, our)
    check_strings(their, our)
    check_numbers(their, our)
    check_forms(their, our)
check_bad_utf8()
