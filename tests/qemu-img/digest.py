#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Digests of convert --hash and checksum are those of the content, whatever holds it."""
import hashlib
import json
import os
import pathlib
import random
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, TOP, case, img, io, main, require, run
from http_server import Server
from this_run import PRELOADABLE

MIB = 1 << 20
os.environ['no_proxy'] = '*'


def leaf(block):
    return hashlib.sha256(b'\0' + block).digest()


def root(leaves):
    """RFC 6962 section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b'\1' + root(leaves[:k]) + root(leaves[k:])).digest()


def tree(content):
    return root([leaf(content[i:i + MIB]) for i in range(0, len(content), MIB)]).hex()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


DIGESTS = {'sha256': sha256, 'tree': tree}


def make_image(path, size, seed, islands=40):
    """A raw file with data in some places, and its content."""
    dice = random.Random(seed)
    with open(path, 'wb') as f:
        f.truncate(size)
        for _ in range(islands):
            length = dice.choice([512, 4096, 70144, 1500160])
            at = dice.randrange(max(1, size - length)) // 512 * 512
            f.seek(at)
            f.write(dice.randbytes(min(length, size - at)))
    return pathlib.Path(path).read_bytes()


def checksum(image, kind, *options):
    digest, name = img('checksum', f'--hash={kind}', *options, image).stdout.split()
    assert name == image
    return digest


def convert(kind, *words):
    digest, name = img('convert', f'--hash={kind}', *words).stdout.split()
    assert name == words[-1]
    return digest


def check_both(content, image, *options):
    for kind, of in DIGESTS.items():
        assert checksum(image, kind, *options) == of(content), kind


@case
def equals_sha256sum_of_the_raw_content():
    make_image('a.raw', 9 * MIB + 2560, 1)
    img('convert', '-O', 'qcow2', 'a.raw', 'a.qcow2')
    expected = run('sha256sum', 'a.raw').stdout.split()[0]
    assert checksum('a.raw', 'sha256', '-f', 'raw') == expected
    assert img('checksum', 'a.qcow2').stdout == f'{expected}  a.qcow2\n'


@case
def is_the_same_for_every_format_and_way_to_store():
    content = make_image('a.raw', 21 * MIB + 512, 2)
    for options in (['-O', 'raw'], ['-O', 'raw', '-S', '0'], ['-O', 'qcow2', '-W', '-m', '16'],
                    ['-O', 'qcow2', '-c'], ['-O', 'qcow2', '-m', '1', '-o', 'cluster_size=512'],
                    ['-O', 'qcow2', '-o', 'cluster_size=2M,extended_l2=on'],
                    ['-O', 'qcow2', '-c', '-o', 'compression_type=zstd,cluster_size=2M'],
                    ['-O', 'raw', '-o', 'preallocation=full'], ['-O', 'raw', '-t', 'none']):
        for kind, of in DIGESTS.items():
            assert convert(kind, '-f', 'raw', *options, 'a.raw', 'b') == of(content), options
        check_both(content, 'b', '-f', options[1])


@case
def sizes_around_a_block():
    for size in (0, 512, MIB - 512, MIB, MIB + 512, 2 * MIB, 3 * MIB, 5 * MIB + 512):
        content = make_image('a.raw', size, size, islands=2 if size else 0)
        check_both(content, 'a.raw', '-f', 'raw')
        assert convert('tree', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'b.qcow2') == tree(content)


@case
def odd_sizes_are_filled_up_to_a_sector():
    pathlib.Path('a.raw').write_bytes(b'x' * 1000)
    check_both(b'x' * 1000 + bytes(24), 'a.raw', '-f', 'raw')


@case
def a_tree_of_zeroes_is_known_without_reading():
    img('create', '-q', '-f', 'raw', 'a.raw', f'{5 * MIB}')
    expected = tree(bytes(5 * MIB))
    assert checksum('a.raw', 'tree', '-f', 'raw') == expected
    # Data that is zero is no different.
    img('create', '-q', '-f', 'raw', '-o', 'preallocation=full', 'b.raw', f'{5 * MIB}')
    assert checksum('b.raw', 'tree', '-f', 'raw') == expected
    known = leaf(bytes(MIB))
    level = known
    for _ in range(20):
        level = hashlib.sha256(b'\1' + level * 2).digest()
    img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', 'd.qcow2', '1T')
    assert checksum('d.qcow2', 'tree') == level.hex()
    assert known.hex() in (TOP / 'docs/spec/hash.md').read_text()


@case
def backing_files_and_several_sources_are_part_of_the_content():
    base = make_image('base.raw', 4 * MIB, 3)
    img('create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', 'top.qcow2', f'{6 * MIB}')
    io('top.qcow2', 'write -P 7 1M 100k', 'write -P 8 5M 4k', 'write -z 2M 64k')
    img('convert', '-O', 'raw', 'top.qcow2', 'flat.raw')
    content = pathlib.Path('flat.raw').read_bytes()
    check_both(content, 'top.qcow2')
    for kind, of in DIGESTS.items():
        # What the target has from its backing file counts too.
        got = convert(kind, '-O', 'qcow2', '-B', 'base.raw', '-F', 'raw', 'top.qcow2', 'b.qcow2')
        assert got == of(content)
        check_both(content, 'b.qcow2')
        got = convert(kind, '-f', 'raw', '-O', 'qcow2', 'base.raw', 'flat.raw', 'both.qcow2')
        assert got == of(base + content)


@case
def snapshots_can_be_looked_at():
    before = make_image('a.raw', 3 * MIB, 4)
    img('convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'a.qcow2')
    img('snapshot', '-c', 'then', 'a.qcow2')
    io('a.qcow2', 'write -P 1 0 1M')
    check_both(before, 'a.qcow2', '-l', 'then')
    assert checksum('a.qcow2', 'tree') != tree(before)


@case
def what_was_salvaged_counts_as_it_was_copied():
    content = make_image('a.raw', 2 * MIB, 5, islands=30)
    pathlib.Path('rules').write_text('[inject-error]\nevent="none"\niotype="read"\nerrno="5"\n'
                                     'sector="512"\nonce="off"\n')
    source = 'blkdebug:rules:a.raw'
    lost = content[:512 * 512] + bytes(512) + content[513 * 512:]
    img('convert', '--hash=sha256', '-O', 'raw', source, 'b.raw', code=1)
    got = img('convert', '--salvage', '--hash=sha256', '-O', 'raw', source, 'b.raw')
    assert got.stdout.split()[0] == sha256(lost)
    assert pathlib.Path('b.raw').read_bytes() == lost


@case
def json_says_what_was_hashed():
    content = make_image('a.raw', 2 * MIB, 6)
    told = json.loads(img('checksum', '-f', 'raw', '--hash=tree', '--output=json', 'a.raw').stdout)
    assert told == {'filename': 'a.raw', 'format': 'raw', 'virtual-size': 2 * MIB, 'hash': 'tree',
                    'digest': tree(content)}


@case
def expect_fails_on_another_digest():
    content = make_image('a.raw', 2 * MIB, 7)
    right, wrong = sha256(content), sha256(b'')
    img('checksum', '-f', 'raw', '--expect', right.upper(), 'a.raw')
    convert('sha256', '--expect', right, '-f', 'raw', 'a.raw', 'b.raw')
    for command in (['checksum', '-f', 'raw', '--expect', wrong, 'a.raw'],
                    ['convert', '-f', 'raw', '--hash=sha256', '--expect', wrong, 'a.raw', 'b.raw']):
        done = img(*command, code=1)
        assert right in done.stderr and wrong in done.stderr, done.stderr
        assert done.stdout.startswith(right)
    done = img('checksum', '-q', '-f', 'raw', '--expect', right, 'a.raw')
    assert done.stdout == done.stderr == ''


@case
def options_that_cannot_be_are_refused():
    make_image('a.raw', MIB, 8)
    for options, word in ((['--hash=md5'], 'md5'), (['--expect', 'f' * 64], '--hash'),
                          (['--hash=tree', '--expect', 'abc'], 'abc'),
                          (['--hash=tree', '-C'], '-C')):
        done = img('convert', *options, 'a.raw', 'b.raw', code=1)
        assert word in done.stderr, done.stderr
        assert not os.path.exists('b.raw')
    assert 'md5' in img('checksum', '--hash=md5', 'a.raw', code=1).stderr


@case
def a_server_that_answers_late_is_waited_for():
    """Meanwhile all of the many workers that a far source gets hold a block."""
    content = random.Random(11).randbytes(48 * MIB)
    late = []

    def answer(r):
        if r.first == 4 * MIB and not late:
            late.append(r)
            server.stopped.wait(1.5)
        return r.part(content)

    with Server(answer) as server:
        for kind, of in DIGESTS.items():
            late.clear()
            assert convert(kind, '-f', 'raw', '-O', 'raw', f'{server.url}/x', 'out') == of(content)
            assert late, 'no range was held back'
    assert pathlib.Path('out').read_bytes() == content


@case
def an_unreadable_image_has_no_digest():
    make_image('a.raw', 2 * MIB, 9)
    pathlib.Path('rules').write_text('[inject-error]\nevent="none"\niotype="read"\nerrno="5"\n'
                                     'sector="2100"\nonce="off"\n')
    for kind in DIGESTS:
        done = img('checksum', f'--hash={kind}', 'blkdebug:rules:a.raw', code=1)
        assert done.stdout == '' and re.search(r'at offset \d+', done.stderr), done.stderr


def reads_of_convert(*options):
    """How many times a file is read from by convert with @options."""
    count = 0
    for call in ('preadv', 'preadv64', 'preadv2', 'preadv64v2'):
        img('convert', *options, '-f', 'raw', 'a.raw', 'b.raw',
            env={'LD_PRELOAD': str(BUILD / 'preload/fail.so'), 'FAIL_CALL': call,
                 'FAIL_COUNT': 'count', 'FERRY_LOOP': 'epoll'})
        count += int(pathlib.Path('count').read_text())
    return count


@case
def a_copy_is_read_once():
    require(PRELOADABLE, 'calls are counted by a preloaded library')
    make_image('a.raw', 8 * MIB, 10)
    plain = reads_of_convert()
    assert plain > 10
    assert plain <= reads_of_convert('--hash=sha256') <= plain + 2
    assert reads_of_convert('--hash=tree') <= plain + 2


main('digest')
