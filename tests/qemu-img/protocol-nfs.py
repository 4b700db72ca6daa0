#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Files on servers of NFS, which is one of the tests' own: it can misbehave, and needs no package."""
import json
import os
import pathlib
import random
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import nfs_server
from cases import BUILD, IO, REFERENCE, case, img, main, require, run
from nfs_server import COMMIT, HANG_UP, JUKEBOX, NOSPC, READ, WRITE, NfsServer, numbers, own_network
from this_run import SANDBOXED

MIB = 1 << 20
DATA = random.Random(8).randbytes(5 * MIB) + bytes(MIB) + b'end'.ljust(512, b'\0')
HAS_NETWORK = own_network()


def server(**options):
    """Of the folder of this case."""
    require(HAS_NETWORK, 'no network of its own: not root')
    require((BUILD / 'modules/nfs.so').exists(), 'built without libnfs')
    return NfsServer(pathlib.Path.cwd(), **options)


def url(name, query=''):
    return f'nfs://127.0.0.1/export/{name}{query}'


@case
def images_are_read_and_written():
    pathlib.Path('a.raw').write_bytes(DATA)
    with server():
        img('convert', '-f', 'raw', '-O', 'raw', url('a.raw'), 'out')
        assert pathlib.Path('out').read_bytes() == DATA
        for fmt in 'qcow2', 'raw', 'vmdk', 'vdi', 'vpc':
            img('convert', '-f', 'raw', '-O', fmt, 'a.raw', url(f'made.{fmt}'))
            img('compare', '-f', 'raw', '-F', fmt, 'a.raw', f'made.{fmt}')
            img('compare', '-f', 'raw', '-F', fmt, 'a.raw', url(f'made.{fmt}'))
        img('convert', '-f', 'raw', '-c', '-O', 'qcow2', 'a.raw', url('c.qcow2'))
        img('check', url('c.qcow2'))
        img('convert', '--untrusted', '-O', 'raw', url('c.qcow2'), 'out', env=SANDBOXED)
        assert pathlib.Path('out').read_bytes() == DATA
        # Names inside of images count only where images are trusted.
        img('create', '-q', '-f', 'qcow2', '-u', '-b', url('a.raw'), '-F', 'raw', 'over', str(len(DATA)))
        img('compare', '-F', 'raw', 'over', 'a.raw')
        img('convert', '--untrusted', '-O', 'raw', 'over', 'out', code=1, env=SANDBOXED)


@case
def requests_of_all_kinds():
    # Calls carry no more than the server says, and may do less than they are asked for.
    for piece in 65536, 4096, 1000:
        with server(piece=piece) as s:
            os.makedirs('deep/er', exist_ok=True)
            name = url('deep/er/d e')
            img('create', '-q', '-f', 'raw', name, '1M')
            assert os.path.getsize('deep/er/d e') == MIB
            run(IO, '-f', 'raw', '-c', 'write -P 1 100 300k', '-c', 'truncate 3M', '-c', 'write -P 2 2M 7',
                '-c', 'write -z 200k 10k', '-c', 'writev -P 9 1M 512 1024 512', '-c', 'read -P 1 100 199k',
                '-c', 'read -P 0 200k 10k', '-c', 'read -P 0 2097159 1048569', '-c', 'flush', name)
            want = bytearray(3 * MIB)
            want[100:100 + 300 * 1024] = b'\1' * (300 * 1024)
            want[200 * 1024:210 * 1024] = bytes(10 * 1024)
            want[MIB:MIB + 2048] = b'\x09' * 2048
            want[2 * MIB:2 * MIB + 7] = b'\2' * 7
            assert pathlib.Path('deep/er/d e').read_bytes() == want
            assert s.calls.count(COMMIT), 'a flush that made nothing durable'
            img('resize', '-q', '--shrink', '-f', 'raw', name, '512k')
            assert os.path.getsize('deep/er/d e') == MIB // 2
            # What is there is replaced.
            img('create', '-q', '-f', 'raw', name, '64k')
            assert pathlib.Path('deep/er/d e').read_bytes() == bytes(65536)
    with server():
        assert 'NOENT' in img('info', url('none'), code=1).stderr
        assert 'regular' in img('info', url('deep/er'), code=1).stderr
        assert img('info', 'nfs://127.0.0.1/elsewhere/d', code=1).stderr
        assert img('create', '-f', 'raw', '-o', 'preallocation=full', url('x'), '1M', code=1).stderr


@case
def names_and_their_parameters():
    pathlib.Path('d').write_bytes(DATA)
    with server():
        for query in '', '?uid=7&gid=8', '?uid=0', '?tcp-syncnt=3&debug=0', '?readahead=0&pagecache=0':
            ours = img('info', '-f', 'raw', url('d', query))
            if (REFERENCE / 'qemu-img').exists():
                theirs = run(REFERENCE / 'qemu-img', 'info', '-f', 'raw', url('d', query), timeout=60, code=None)
                assert ours.stdout == theirs.stdout, f'{ours.stdout}, not {theirs.stdout}{theirs.stderr}'
        opts = 'driver=nfs,server.type=inet,server.host=127.0.0.1,path=/export/d'
        img('compare', '--image-opts', f'driver=raw,file.driver=nfs,file.{",file.".join(opts.split(",")[1:])},file.user=5',
            'driver=raw,file.filename=d')
        told = json.loads(img('info', '--output=json', '--image-opts', f'{opts},user=5,group=6,debug=0').stdout)
        assert told['filename'] == url('d', '?uid=5&gid=6'), told
    for bad in ('nfs:x', 'nfs://', 'nfs://h', 'nfs://h/', 'nfs://h/a/', url('d', '?x=1'), url('d', '?uid'),
                url('d', '?uid=-1'), url('d', '?uid=x'), url('d', '?uid=99999999999'), url('d', '?debug=3'),
                url('d', '?readahead=4096'), url('d', '?pagecache=1'), 'nfs://127.0.0.1:2049/export/d'):
        assert len(img('info', bad, code=1).stderr.splitlines()) == 1, bad


@case
def errors_of_the_server_are_told():
    pathlib.Path('d').write_bytes(DATA)

    def failing(procedure, status, times):
        left = [times]

        def twist(called, answer):
            if called != procedure or not left[0]:
                return answer
            left[0] -= 1
            return numbers(status, 0, 0)
        return twist

    for procedure, status, command, text in (
            (WRITE, NOSPC, 'write 0 64k', 'No space left'), (READ, nfs_server.IO, 'read 0 64k', 'Input/output'),
            (READ, nfs_server.STALE, 'read 0 64k', 'Stale'), (COMMIT, nfs_server.IO, 'flush', 'Input/output'),
            (nfs_server.SETATTR, nfs_server.ACCES, 'truncate 1M', 'Permission denied')):
        with server(twist=failing(procedure, status, 100)):
            done = run(IO, '-f', 'raw', '-c', 'write -q 1M 64k' if command == 'flush' else 'read -q 0 1', '-c', command,
                       url('d'), code=None)
            assert text in done.stdout + done.stderr, (command, done.stdout, done.stderr)
    # A server that wants time gets it.
    pathlib.Path('d').write_bytes(DATA)
    for procedure in READ, WRITE, COMMIT:
        with server(twist=failing(procedure, JUKEBOX, 3)):
            done = run(IO, '-f', 'raw', '-c', 'write -P 7 1M 64k', '-c', 'flush', '-c', 'read -P 7 1M 64k', url('d'))
            assert 'rror' not in done.stdout + done.stderr and 'failed' not in done.stdout, done.stdout


@case
def a_server_that_lies_is_an_error():
    pathlib.Path('d').write_bytes(DATA)
    attributes = bytes(84)
    lies = {
        READ: (numbers(0, 0, 65536, 1, 65536) + bytes(65536),                   # more than was asked for
               numbers(0, 0, 0, 1, 0), numbers(0, 0, 0, 0, 0),                  # nothing, again and again
               numbers(0, 1) + attributes + numbers(4096, 1, 4096), HANG_UP, numbers(7777)),
        WRITE: (numbers(0, 0, 0, 8192, 0) + bytes(8), numbers(0, 0, 0, 0, 0) + bytes(8), HANG_UP, numbers(7777)),
    }
    for procedure, answers in lies.items():
        for answer in answers:
            left = [1 if answer == HANG_UP else 100]

            def twist(called, truth, procedure=procedure, answer=answer, left=left):
                if called != procedure or not left[0]:
                    return truth
                left[0] -= 1
                return answer

            with server(twist=twist):
                done = run(IO, '-f', 'raw', '-c', 'read 0 4k' if procedure == READ else 'write 0 4k', url('d'), code=None,
                           timeout=100)
                said = done.stdout + done.stderr
                assert ('rror' in said or 'failed' in said) == (answer != HANG_UP), (procedure, answer[:20], said)


@case
def a_server_that_forgot_what_was_written_is_noticed():
    """Its verifier tells. What was flushed before is durable."""
    pathlib.Path('d').write_bytes(DATA)
    for unstable in True, False:
        with server(unstable=unstable) as s:
            p = subprocess.Popen([IO, '-t', 'writeback', '-f', 'raw', url('d')], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)

            def say(command, calls, what):
                before = s.calls.count(what)
                p.stdin.write(command + '\n')
                p.stdin.flush()
                nfs_server.wait_for(lambda: s.calls.count(what) >= before + calls)

            say('write -P 1 0 4k', 1, WRITE)
            say('flush', 1, COMMIT)
            s.restart()
            say('read -P 1 0 4k', 1, READ)      # connected anew; nothing is lost
            say('write -P 2 0 4k', 1, WRITE)
            s.restart()
            say('flush', 1, COMMIT)
            out, _ = p.communicate('read -P 2 0 4k\nquit\n', timeout=100)
            assert ('Input/output error' in out) == unstable, out
            assert 'Pattern verification failed' not in out, out


main('protocol-nfs')
