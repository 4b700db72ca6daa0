#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images behind SSH: a real sshd with keys of its own."""
import base64
import hashlib
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
DATA = random.Random(5).randbytes(5 * MIB) + bytes(MIB) + b'end'.ljust(512, b'\0')


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


class Sshd:
    """A server for the user who runs this; an agent has the key."""

    def __init__(self):
        require(shutil.which('sshd') or os.path.exists('/usr/sbin/sshd'), 'no sshd')
        require(os.geteuid() == 0, 'not root: sshd lets in nobody without a session')
        os.makedirs('/run/sshd', exist_ok=True)
        here = pathlib.Path.cwd()
        for name in 'host', 'user':
            run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', here / name)
        os.chmod(here, 0o755)
        self.port = free_port()
        (here / 'config').write_text(
            f'Port {self.port}\nListenAddress 127.0.0.1\nHostKey {here}/host\n'
            f'AuthorizedKeysFile {here}/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n'
            'PasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n')
        self.server = subprocess.Popen(['/usr/sbin/sshd', '-D', '-f', here / 'config', '-E', here / 'log'],
                                       stdin=subprocess.DEVNULL)
        started = run('ssh-agent', '-s', '-a', here / 'agent').stdout
        self.agent = int(started.split('SSH_AGENT_PID=')[1].split(';')[0])
        self.env = {'SSH_AUTH_SOCK': str(here / 'agent')}
        run('ssh-add', '-q', here / 'user', env=self.env)
        for _ in range(500):
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
                break
            except OSError:
                time.sleep(0.02)

    def key(self):
        return base64.b64decode(pathlib.Path('host.pub').read_text().split()[1])

    def url(self, name, check='no'):
        query = f'?host_key_check={check}' if check else ''
        return f'ssh://root@127.0.0.1:{self.port}{pathlib.Path.cwd()}/{name}{query}'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(20)
        os.kill(self.agent, signal.SIGTERM)


@case
def images_are_read_and_written():
    pathlib.Path('a.raw').write_bytes(DATA)
    with Sshd() as s:
        img('convert', '-f', 'raw', '-O', 'raw', s.url('a.raw'), 'out', env=s.env)
        assert pathlib.Path('out').read_bytes() == DATA
        for fmt in 'qcow2', 'raw', 'vmdk', 'vdi':
            img('convert', '-f', 'raw', '-O', fmt, 'a.raw', s.url(f'made.{fmt}'), env=s.env)
            img('compare', '-f', 'raw', '-F', fmt, 'a.raw', f'made.{fmt}')
            img('compare', '-f', 'raw', '-F', fmt, 'a.raw', s.url(f'made.{fmt}'), env=s.env)
        img('convert', '-f', 'raw', '-c', '-O', 'qcow2', 'a.raw', s.url('c.qcow2'), env=s.env)
        img('check', s.url('c.qcow2'), env=s.env)
        img('convert', '--untrusted', '-O', 'raw', s.url('c.qcow2'), 'out', env=dict(SANDBOXED, **s.env))
        assert pathlib.Path('out').read_bytes() == DATA
        # Names inside of images count only where images are trusted.
        img('create', '-q', '-f', 'qcow2', '-u', '-b', s.url('a.raw'), '-F', 'raw', 'over', str(len(DATA)))
        img('compare', '-F', 'raw', 'over', 'a.raw', env=s.env)
        img('convert', '--untrusted', '-O', 'raw', 'over', 'out', code=1, env=dict(SANDBOXED, **s.env))


@case
def requests_of_all_kinds():
    with Sshd() as s:
        img('create', '-q', '-f', 'raw', s.url('d'), '1M', env=s.env)
        assert os.path.getsize('d') == MIB
        name = s.url('d')
        run(IO, '-f', 'raw', '-c', 'write -P 1 100 300k', '-c', 'truncate 3M', '-c',
            'write -P 2 2M 7', '-c', 'write -z 200k 10k', '-c', 'read -P 1 100 199k', '-c',
            'read -P 0 200k 10k', '-c', 'read -P 0 2097159 1048569', '-c', 'flush', name, env=s.env)
        want = bytearray(3 * MIB)
        want[100:100 + 300 * 1024] = b'\1' * (300 * 1024)
        want[200 * 1024:210 * 1024] = bytes(10 * 1024)
        want[2 * MIB:2 * MIB + 7] = b'\2' * 7
        assert pathlib.Path('d').read_bytes() == want
        img('resize', '-q', '--shrink', '-f', 'raw', name, '512k', env=s.env)
        assert os.path.getsize('d') == MIB // 2
        assert 'No such file' in img('info', s.url('none'), code=1, env=s.env).stderr
        assert img('info', s.url(''), code=1, env=s.env).stderr
        os.chmod('d', 0o600)
        assert img('create', '-f', 'raw', '-o', 'preallocation=full', name, '1M', code=1, env=s.env).stderr


@case
def the_servers_key_is_checked():
    pathlib.Path('d').write_bytes(DATA)
    os.makedirs('home/.ssh')
    with Sshd() as s:
        digest = {n: getattr(hashlib, n)(s.key()).hexdigest() for n in ('md5', 'sha1', 'sha256')}
        for name, text in digest.items():
            img('info', s.url('d', f'{name}:{text}'), env=s.env)
            img('info', s.url('d', f'{name}:{":".join(text[i:i + 2] for i in range(0, len(text), 2))}'),
                env=s.env)
            for wrong in text[:-1], text + '00', 'f' + text[1:] if text[0] != 'f' else '0' + text[1:], '', 'x':
                assert 'fingerprint' in img('info', s.url('d', f'{name}:{wrong}'), code=1, env=s.env).stderr
        assert 'known_hosts' in img('info', s.url('d', None), code=1, env=s.env).stderr
        assert 'known_hosts' in img('info', s.url('d', 'yes'), code=1, env=s.env).stderr
        assert 'maybe' in img('info', s.url('d', 'maybe'), code=1, env=s.env).stderr
        opts = f'driver=ssh,server.host=127.0.0.1,server.port={s.port},path={os.getcwd()}/d,'
        img('info', '--image-opts', opts + 'host-key-check.mode=none', env=s.env)
        img('info', '--image-opts', opts + 'host-key-check.mode=hash,host-key-check.type=sha256,'
            f'host-key-check.hash={digest["sha256"]}', env=s.env)
        img('info', '--image-opts', opts + 'host-key-check.mode=known_hosts', code=1, env=s.env)


@case
def only_keys_let_in():
    pathlib.Path('d').write_bytes(DATA)
    with Sshd() as s:
        done = img('info', s.url('d'), code=1, env={'SSH_AUTH_SOCK': '', 'HOME': '/nonexistent'})
        assert 'root' in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@case
def names_are_the_references():
    require((REFERENCE / 'qemu-img').exists(), 'no reference')
    pathlib.Path('d').write_bytes(DATA)
    with Sshd() as s:
        for command in ('info',), ('info', '--output=json'), ('map', '--output=json', '-f', 'raw'):
            for name in s.url('d'), s.url('d', 'sha256:' + hashlib.sha256(s.key()).hexdigest()):
                theirs = run(REFERENCE / 'qemu-img', *command, name, env=s.env, timeout=60).stdout
                assert img(*command, name, env=s.env).stdout == theirs, (command, theirs)


@case
def servers_that_are_none():
    """What says nothing that SSH is, or ends, is an error."""
    def serve(listener, text):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            c.sendall(text)
            c.close()
    for text in b'', b'SSH-2.0-x\r\n', b'SSH-2.0-x\r\n' + bytes(1000), b'HTTP/1.1 200 OK\r\n\r\n', b'\xff' * 70_000:
        listener = socket.create_server(('127.0.0.1', 0))
        threading.Thread(target=serve, args=(listener, text), daemon=True).start()
        url = f'ssh://a@127.0.0.1:{listener.getsockname()[1]}/x?host_key_check=no'
        done = img('info', url, code=1, timeout=100)
        assert 'Cannot open' in done.stderr, done.stderr
        listener.close()
    for bad in 'ssh:x', 'ssh://', 'ssh://h', 'ssh://127.0.0.1:1/x?y=z', 'ssh://127.0.0.1:99999/x':
        assert img('info', bad, code=1).stderr
    assert 'onnect' in img('info', 'ssh://127.0.0.1:1/x', code=1).stderr


@case
def a_server_that_is_killed_is_an_error():
    pathlib.Path('d').write_bytes(DATA)
    with Sshd() as s:
        p = subprocess.Popen([IO, '-f', 'raw', s.url('d')], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=dict(os.environ, **s.env))
        p.stdin.write('read 0 4k\n')
        p.stdin.flush()
        time.sleep(1)
        children = subprocess.run(['pgrep', '-P', str(s.server.pid)], capture_output=True, text=True)
        for pid in children.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.5)
        out, _ = p.communicate('read 4M 4k\nwrite 0 4k\nread 0 4k\nquit\n', timeout=60)
        assert out.count('failed') == 3, out


main('protocol-ssh')
