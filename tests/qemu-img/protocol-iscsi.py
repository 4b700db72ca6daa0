#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks of iSCSI targets: a real one, tgt, and what only listens."""
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, REFERENCE, case, img, main, require, run
from this_run import SANDBOXED

MIB = 1 << 20
DATA = random.Random(6).randbytes(3 * MIB) + bytes(2 * MIB) + random.Random(7).randbytes(3 * MIB)
PASSWORD = 'twelve-chars'


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


class Target:
    """Target "d" with the file disk as unit 1; target "chap" with the same for user me."""

    def __init__(self):
        require(shutil.which('tgtd') and os.geteuid() == 0, 'no tgt, or not root')
        self.port, self.control = free_port(), random.randrange(1000, 30000)
        os.makedirs('/var/run/tgtd', exist_ok=True)
        pathlib.Path('disk').write_bytes(DATA)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ['tgtd', '-f', '-C', str(self.control), '--iscsi', f'portal=127.0.0.1:{self.port}'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            if self.admin('sys', 'show', code=None).returncode == 0:
                break
            time.sleep(0.05)
        self.admin('account', 'new', '--user', 'me', '--password', PASSWORD)
        for tid, name in (1, 'd'), (2, 'chap'):
            self.admin('target', 'new', '--tid', tid, '-T', f'iqn.2026-11.test:{name}')
            self.admin('logicalunit', 'new', '--tid', tid, '--lun', 1, '-b', pathlib.Path('disk').resolve())
            self.admin('logicalunit', 'update', '--tid', tid, '--lun', 1, '--params', 'thin_provisioning=1')
            self.admin('target', 'bind', '--tid', tid, '-I', 'ALL')
        self.admin('account', 'bind', '--tid', 2, '--user', 'me')

    def admin(self, mode, op, *more, code=0):
        return run('tgtadm', '-C', self.control, '--lld', 'iscsi', '--mode', mode, '--op', op, *more, code=code)

    def name(self, target='d', lun=1, user=''):
        return f'iscsi://{user}127.0.0.1:{self.port}/iqn.2026-11.test:{target}/{lun}'

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def disk():
    return pathlib.Path('disk').read_bytes()


@case
def disks_are_read_and_written():
    with Target() as t:
        pathlib.Path('a.raw').write_bytes(DATA)
        img('convert', '-f', 'raw', '-O', 'raw', t.name(), 'out')
        assert pathlib.Path('out').read_bytes() == DATA
        img('convert', '--untrusted', '-f', 'raw', '-O', 'raw', t.name(), 'out', env=SANDBOXED)
        assert pathlib.Path('out').read_bytes() == DATA
        img('convert', '-n', '-f', 'raw', '-O', 'raw', 'a.raw', t.name())
        assert disk() == DATA
        img('convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', t.name())
        img('compare', '-f', 'raw', '-F', 'qcow2', 'a.raw', t.name())
        img('create', '-q', '-f', 'qcow2', '-u', '-b', t.name(), '-F', 'qcow2', 'over', str(len(DATA)))
        img('compare', '-F', 'raw', 'over', 'a.raw')
        img('convert', '--untrusted', '-O', 'raw', 'over', 'out', code=1, env=SANDBOXED)
        assert img('create', '-f', 'raw', t.name(), '1G', code=1).stderr
        assert img('resize', '-f', 'raw', t.name(), '1G', code=1).stderr


@case
def requests_of_all_kinds():
    with Target() as t:
        run(IO, '-f', 'raw', '-c', 'write -P 5 1000 3001', '-c', 'write -z -u 1M 1M', '-c', 'write -z 3M 1537',
            '-c', 'discard 6M 1M', '-c', 'writev -P 9 7M 512 1024 4096 512', '-c', 'write -f -P 1 7000k 64k',
            '-c', 'read -P 5 1000 3001', '-c', 'read -P 0 1M 1M', '-c', 'flush', t.name())
        want = bytearray(DATA)
        want[1000:4001] = b'\5' * 3001
        want[MIB:2 * MIB] = bytes(MIB)
        want[3 * MIB:3 * MIB + 1537] = bytes(1537)
        want[7 * MIB:7 * MIB + 6144] = b'\x09' * 6144
        want[7000 * 1024:7064 * 1024] = b'\1' * 65536
        got = bytearray(disk())
        got[6 * MIB:7 * MIB] = want[6 * MIB:7 * MIB] = bytes(MIB)
        assert got == want


@case
def names_and_maps_are_the_references():
    require((REFERENCE / 'qemu-img').exists(), 'no reference')
    with Target() as t:
        run(IO, '-f', 'raw', '-c', 'discard 5M 1M', t.name())
        for command in ('info',), ('map', '--output=json'), ('map',):
            assert img(*command, '-f', 'raw', t.name()).stdout == \
                run(REFERENCE / 'qemu-img', *command, '-f', 'raw', t.name(), timeout=60).stdout, command


@case
def only_those_with_the_password_get_in():
    with Target() as t:
        img('info', '-f', 'raw', t.name('chap', user=f'me%{PASSWORD}@'))
        opts = f'driver=iscsi,transport=tcp,portal=127.0.0.1:{t.port},target=iqn.2026-11.test:chap,lun=1,user=me'
        told = img('info', '--object', f'secret,id=p,data={PASSWORD}', '--image-opts', f'{opts},password-secret=p')
        assert PASSWORD not in told.stdout
        for name in t.name('chap'), t.name('chap', user='me%wrong-password@'), t.name('chap', user=f'you%{PASSWORD}@'):
            done = img('info', '-f', 'raw', name, code=1, timeout=60).stderr
            assert 'Authentication' in done and PASSWORD not in done, done
        assert 'password' in img('info', '--image-opts', opts, code=1).stderr
        for bad in t.name(lun=7), t.name('none'), t.name(lun=99999):
            assert len(img('info', bad, code=1, timeout=60).stderr.splitlines()) == 1
        for digest in 'none', 'crc32c', 'crc32c-none', 'none-crc32c':
            img('info', '--image-opts', opts.replace(':chap', ':d').replace(',user=me', f',header-digest={digest}'))


@case
def a_target_that_comes_back_is_connected_to_again():
    with Target() as t:
        p = subprocess.Popen([IO, '-f', 'raw', t.name()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        p.stdin.write('write -P 1 0 4k\n')
        p.stdin.flush()
        time.sleep(1)
        t.stop()
        t.start()
        out, _ = p.communicate('write -P 2 4k 4k\nread -P 1 0 4k\nquit\n', timeout=90)
        assert 'failed' not in out and out.count('4096/4096') == 3, out
        assert disk()[:8192] == b'\1' * 4096 + b'\2' * 4096


@case
def what_is_no_target_is_an_error():
    def serve(listener, text):
        while True:
            try:
                c, _ = listener.accept()
                c.sendall(text)
                c.close()
            except OSError:
                return
    for text in b'', b'\xff' * 1000, bytes(480), b'\x23' + bytes(47), b'\x23\x80' + b'\xff' * 46:
        listener = socket.create_server(('127.0.0.1', 0))
        threading.Thread(target=serve, args=(listener, text), daemon=True).start()
        done = img('info', f'iscsi://127.0.0.1:{listener.getsockname()[1]}/iqn.x:y/1', code=1, timeout=100)
        assert 'iqn.x:y' in done.stderr, done.stderr
        listener.close()
    for bad in 'iscsi:x', 'iscsi://', 'iscsi://h', 'iscsi://h/t', 'iscsi://h/t/x', 'iscsi://127.0.0.1:1/t/0':
        done = img('info', bad, code=1, timeout=60).stderr
        assert done and '\\n' not in done, done


main('protocol-iscsi')
