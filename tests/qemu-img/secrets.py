#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Passwords and keys are wiped from memory before it is given back, and before the program ends.

The watcher is preloaded/freed.c, which knows what to look for. It sees the heap only: neither the command
line, which stays readable for others anyway, nor stacks."""
import base64
import hashlib
import json
import pathlib
import re
import shutil
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IMG, IO, case, main, require, run
from this_run import WATCHED

PIECE = 16
MIB = 1 << 20
OLD = 'The first pass phrase, which nothing else in memory is like: 7Gq'
NEW = 'Another pass phrase, no less rare than what it has to replace: 9'
HEADER, SLOTS, SLOT = '>6sH32s32s32sII20s32sI40s', 8, '>II32sII'
ACTIVE = 0x00AC71F3
LUKS_POINTER = 0x0537BE77
CRYPTSETUP = shutil.which('cryptsetup') or shutil.which('cryptsetup', path='/usr/sbin:/sbin')


def pieces(*secrets):
    """All of each secret, as the watcher wants it."""
    return ''.join(s[i:i + PIECE].hex() for s in secrets for i in range(0, len(s) - PIECE + 1, PIECE))


def texts():
    """What the user wrote, in both forms."""
    plain = [OLD.encode(), NEW.encode()]
    return plain + [base64.b64encode(s) for s in plain]


def found(secrets, *command, code=0):
    """What the watcher finds of @secrets while @command runs: lines 'how piece'."""
    log = pathlib.Path('log')
    log.unlink(missing_ok=True)
    run(*command, code=code, env={'LD_PRELOAD': str(BUILD / 'preload/freed.so'),
                                  'FREED_PIECES': pieces(*secrets), 'FREED_LOG': str(log),
                                  'G_SLICE': 'always-malloc'})
    return log.read_text().splitlines()


def clean(secrets, *command, code=0):
    seen = found(secrets, *command, code=code)
    assert not seen, f'{command}: {seen}'


def objects():
    """Options that define secrets s (OLD) and n (NEW), in each way there is."""
    for name, text in ('old', OLD), ('new', NEW):
        pathlib.Path(name).write_text(text)
        pathlib.Path(name + '64').write_text(base64.b64encode(text.encode()).decode())
    coded = [base64.b64encode(s.encode()).decode() for s in (OLD, NEW)]
    data = [s.replace(',', ',,') for s in (OLD, NEW)]
    return {
        'data': [f'secret,id=s,data={data[0]}', f'secret,id=n,data={data[1]}'],
        'data-base64': [f'secret,id=s,format=base64,data={coded[0]}',
                        f'secret,id=n,format=base64,data={coded[1]}'],
        'json': [json.dumps({'qom-type': 'secret', 'id': name, 'data': text})
                 for name, text in (('s', OLD), ('n', NEW))],
        'json-single-quotes': [str({'qom-type': 'secret', 'id': name, 'data': text})
                               for name, text in (('s', OLD), ('n', NEW))],
        'file': ['secret,id=s,file=old', 'secret,id=n,file=new'],
        'file-base64': ['secret,id=s,file=old64,format=base64',
                        'secret,id=n,file=new64,format=base64'],
    }


def object_options(definitions):
    return [word for d in definitions for word in ('--object', d)]


def luks_header(image):
    """The LUKS header of @image with all its slots: at its start, or where that of qcow2 says."""
    data = pathlib.Path(image).read_bytes()
    if data.startswith(b'LUKS'):
        return data
    at, end = 104, data.find(struct.pack('>I', LUKS_POINTER))
    assert at <= end < 65536
    offset, length = struct.unpack_from('>QQ', data, end + 8)
    return data[offset:offset + length]


def keys(image):
    """The keys in @image that OLD leads to: each slot's, the master key, and a piece of the split one."""
    header = luks_header(image)
    fields = struct.unpack_from(HEADER, header)
    mode, digest, key_len = fields[3].rstrip(b'\0'), fields[4].rstrip(b'\0').decode(), fields[6]
    result = []
    for i in range(SLOTS):
        active, rounds, salt, start, _ = struct.unpack_from(SLOT, header, 208 + i * struct.calcsize(SLOT))
        if active != ACTIVE:
            continue
        for text in OLD, NEW:
            result.append(hashlib.pbkdf2_hmac(digest, text.encode(), salt, rounds, key_len))
            if mode == b'cbc-plain64':
                result.append(first_sector(result[-1], header[start * 512:start * 512 + 512]))
    return result + [master_key(header)]


def first_sector(key, data):
    """The start of the split key, 64 bytes of it."""
    pathlib.Path('sector').write_bytes(data)
    run('openssl', 'enc', '-d', '-aes-256-cbc', '-nopad', '-K', key.hex(), '-iv', '00' * PIECE,
        '-in', 'sector', '-out', 'split')
    return pathlib.Path('split').read_bytes()[:64]


def master_key(header):
    pathlib.Path('header').write_bytes(header.ljust(4 * MIB, b'\0'))
    told = run(CRYPTSETUP, '-q', 'luksDump', '--dump-master-key', '--key-file', 'old', 'header').stdout
    key = bytes.fromhex(re.search(r'MK dump:([\s0-9a-f]*)', told)[1])
    assert len(key) in (32, 64)
    return key


def formats():
    """(what to create, how to open it)"""
    yield (['luks', '-o', 'key-secret=s,iter-time=10,cipher-mode=cbc,ivgen-alg=plain64'],
           'driver=luks,key-secret=s,file.filename=image')
    yield (['qcow2', '-o', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10'],
           'driver=qcow2,encrypt.key-secret=s,file.filename=image')


def commands(how, opened, thorough):
    """What reads @opened, with the objects of @how; the last ones change its keys."""
    part = 'encrypt.' if 'qcow2' in opened else ''
    yield [IMG, 'compare', *how, '--image-opts', opened, opened]
    if not thorough:
        return
    yield [IMG, 'info', *how, '--image-opts', opened]
    yield [IO, *how, '--image-opts', '-c', 'write -P 1 64k 64k', '-c', 'read -P 1 64k 64k', opened]
    yield [IMG, 'convert', *how, '--image-opts', '-O', 'raw', opened, 'out.raw']
    yield [IMG, 'convert', *how, '--image-opts', '-O', 'qcow2', '-o',
           'encrypt.format=luks,encrypt.key-secret=n,encrypt.iter-time=10', opened, 'out.qcow2']
    yield [IMG, 'amend', *how, '--image-opts', '-o',
           f'{part}state=active,{part}new-secret=n,{part}iter-time=10', opened]
    yield [IMG, 'amend', *how, '--image-opts', '-o', f'{part}state=inactive,{part}old-secret=n', opened]


def require_watcher():
    require(not WATCHED, 'the watcher is a preloaded library with a free() of its own')


@case
def the_watcher_sees_what_is_not_wiped():
    require_watcher()
    run(IMG, 'create', '-q', '-f', 'raw', OLD[:32], '64k')
    assert any('free' in line for line in found(texts(), IMG, 'info', OLD[:32]))


@case
def secrets_and_keys_are_wiped():
    require_watcher()
    require(CRYPTSETUP, 'cryptsetup is not installed, which tells the master key')
    require(shutil.which('openssl'), 'openssl is not installed, which tells the split key')
    for way, definitions in objects().items():
        how = object_options(definitions)
        for created, opened in formats():
            clean(texts(), IMG, 'create', '-q', *how, '-f', *created, 'image', '1M')
            known = texts() + keys('image')
            for command in commands(how, opened, thorough=way in ('data', 'file-base64')):
                clean(known, *command)
                if 'amend' in command:
                    known = texts() + keys('image')


@case
def a_refused_secret_is_wiped_too():
    require_watcher()
    data = objects()['data']
    run(IMG, 'create', '-q', *object_options(data), '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 'image',
        '1M')
    wrong = 'driver=luks,key-secret=n,file.filename=image'
    clean(texts() + keys('image')[:1], IMG, 'map', *object_options(data), '--image-opts', wrong, code=1)
    for bad in data[0] + ',format=rot13', data[0] + ',odd=1', data[0] + ',alone', data[0] + ',a.b=1,a=2':
        clean(texts(), IMG, 'info', '--object', bad, 'image', code=1)
    clean(texts(), IMG, 'info', '--object', data[0] + ',data=x', 'image')


main('secrets')
