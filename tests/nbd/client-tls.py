#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS of the client: whom it talks to, and that nothing in clear gets in between."""
import contextlib
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import nbd_server as nbd
from certificates import make_certificate
from nbd_server import Server

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
KEY = '0123456789abcdef' * 4


def resolves(name):
    """Without /etc/hosts there may be no localhost."""
    try:
        return bool(socket.getaddrinfo(name, 1))
    except OSError:
        return False


HOSTS = [host for host in ('localhost', '127.0.0.1') if resolves(host)]


class Keys:
    """All that the tests need of keys, made once."""

    def __init__(self, root):
        self.root = root
        for name in 'ca', 'other':
            make_certificate(root / name, 'ca', None)
        make_certificate(root / 'server', 'server', root / 'ca')
        make_certificate(root / 'named', 'named', root / 'ca')
        for name, key in ('psk', KEY), ('wrong-psk', KEY[::-1]):
            (root / name).mkdir()
            (root / name / 'keys.psk').write_text(f'me:{key}\n')

    def x509(self, ca='ca'):
        return f'tls-creds-x509,id=t,endpoint=client,dir={self.root / ca}'

    def psk(self, folder='psk', user='me'):
        return f'tls-creds-psk,id=t,endpoint=client,username={user},dir={self.root / folder}'


@contextlib.contextmanager
def nbdkit(where, *args):
    """A server of 1 MiB at @where (a socket's path, or a port of localhost)."""
    place = ['-i', '127.0.0.1', '-p', str(where)] if isinstance(where, int) else ['-U', where]
    p = subprocess.Popen(['nbdkit', '-f', *place, *map(str, args), 'memory', '1M'],
                         stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield
    finally:
        p.kill()
        p.wait()


def info(*args):
    done = subprocess.run([BUILD / 'qemu-img', 'info', *map(str, args)], timeout=60,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode in (0, 1), done.stdout
    return done.returncode == 0, done.stdout.decode(errors='replace')


def expect(wanted, *args):
    ok, text = info(*args)
    assert ok == wanted, text
    return text


def test_certificates(keys, tmp):
    """The host's name must be in a certificate that a trusted authority has signed."""
    port = 20000 + os.getpid() % 20000
    with nbdkit(port, '--tls=require', f'--tls-certificates={keys.root / "server"}'):
        for host in HOSTS:
            expect(True, '--object', keys.x509(), f'nbds://{host}:{port}/?tls-creds=t')
        expect(False, '--object', keys.x509('other'), f'nbds://127.0.0.1:{port}/?tls-creds=t')
        expect(False, '--object', keys.x509(),
               f'nbds://127.0.0.1:{port}/?tls-creds=t&tls-hostname=disks.example')
        expect(False, f'nbds://127.0.0.1:{port}')
        expect(False, f'nbd://127.0.0.1:{port}')
        text = expect(True, '--object', keys.x509(), '--image-opts',
                      f'driver=nbd,host=127.0.0.1,port={port},tls-creds=t')
        assert f'nbd://127.0.0.1:{port}' in text
    with nbdkit(port + 1, '--tls=require', f'--tls-certificates={keys.root / "named"}'):
        expect(False, '--object', keys.x509(), f'nbds://127.0.0.1:{port + 1}/?tls-creds=t')
        expect(True, '--object', keys.x509(),
               f'nbds://127.0.0.1:{port + 1}/?tls-creds=t&tls-hostname=disks.example')


def test_certificates_over_a_unix_socket(keys, tmp):
    """There is no host: without a name nothing is verified, so nothing is done."""
    path = tmp / 'x509'
    with nbdkit(path, '--tls=require', f'--tls-certificates={keys.root / "server"}'):
        uri = f'nbds+unix:///?socket={path}&tls-creds=t'
        expect(False, '--object', keys.x509(), uri)
        expect(True, '--object', keys.x509(), f'{uri}&tls-hostname=localhost')
        expect(False, '--object', keys.x509(), f'{uri}&tls-hostname=disks.example')


def test_shared_keys(keys, tmp):
    path = tmp / 'psk'
    with nbdkit(path, '--tls=require', f'--tls-psk={keys.root / "psk/keys.psk"}'):
        uri = f'nbds+unix:///?socket={path}&tls-creds=t'
        text = expect(True, '--object', keys.psk(), uri)
        assert f'image: {uri.replace("///?", "//?")}' in text, text
        expect(False, '--object', keys.psk('wrong-psk'), uri)
        expect(False, '--object', keys.psk(user='nobody'), uri)
        expect(False, uri)


def refusal(keys, tmp, server, client, *more, folder=BUILD, options=()):
    """What both sides say: a server with object @server, and our client with object @client."""
    path, log = tmp / 'refuses', tmp / 'log'
    objects = ['--object', server, '--tls-creds', 't', *options] if server else []
    with open(log, 'w') as f, open(tmp / 'disk', 'w') as d:
        d.truncate(1 << 20)
        p = subprocess.Popen([folder / 'qemu-nbd', '-v', '-t', '-k', path, '-f', 'raw', *objects,
                              tmp / 'disk'], stderr=f)
    try:
        until = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        options = f'driver=nbd,path={path},tls-creds=t,tls-hostname=localhost' + ''.join(more)
        told = expect(False, '--object', client, '--image-opts', options)
    finally:
        p.terminate()
        p.wait()
    assert f"Server 'unix:{path}'" in told, told
    return told, log.read_text()


def test_refusals_name_cause_and_cure(keys, tmp):
    root = keys.root
    make_certificate(root / 'client', 'client', root / 'ca')
    psk = f'tls-creds-psk,id=t,endpoint=server,dir={root}/psk'
    x509 = f'tls-creds-x509,id=t,endpoint=server,dir={root}/'
    anybody = ',verify-peer=off'
    for server, client, here, there in (
            (psk, keys.psk('wrong-psk'), 'the key is wrong', 'the key is wrong'),
            (psk, keys.x509(), 'another kind', 'another kind'),
            (f'{x509}server{anybody}', keys.psk(), 'another kind', 'another kind'),
            (f'{x509}server{anybody}', keys.x509('other'), 'no authority in ca-cert.pem',
             'does not accept server-cert.pem'),
            (f'{x509}named{anybody}', keys.x509(), "for 'disks.example', not for 'localhost'",
             'does not accept server-cert.pem'),
            (f'{x509}server', keys.x509(), 'demands a certificate', 'shows no certificate'),
            (None, keys.x509(), 'TLS', '')):
        told, logged = refusal(keys, tmp, server, client)
        assert here in told, (here, told)
        assert there in logged, (there, logged)


def test_a_client_that_is_not_authorised_is_told(keys, tmp):
    """The reference just leaves, which says little; no server says it for long."""
    make_certificate(keys.root / 'client', 'client', keys.root / 'ca')
    server = f'tls-creds-x509,id=t,endpoint=server,dir={keys.root}/server'
    options = '--object', 'authz-simple,id=a,identity=CN=somebody', '--tls-authz', 'a'
    for folder, said in ((BUILD, 'This client is not authorised here'),
                         (REFERENCE, 'left as soon as TLS was in use: it may not authorise')):
        if (folder / 'qemu-nbd').exists():
            told, logged = refusal(keys, tmp, server, keys.x509('client'), folder=folder, options=options)
            assert said in told, (folder, told)
            assert folder == REFERENCE or "is not let in by 'a'" in logged, logged


def test_credentials_demand_tls(keys, tmp):
    """A server that has none, or is too old for it, is refused, whoever stands in between."""
    for members in {}, {'oldstyle': True}, {'fixed': False}:
        with Server() as s:
            vars(s).update(members)
            expect(True, s.uri())
            s.requests.clear()
            text = expect(False, '--object', keys.psk(), '--image-opts',
                          f'driver=nbd,path={s.path},tls-creds=t')
            assert not s.requests, text
    with Server() as s:
        expect(False, '--object', keys.psk(), '--image-opts',
               f'driver=nbd,path={s.path},tls=off,tls-creds=t')


def test_nothing_in_clear_after_starttls(keys, tmp):
    """What a server, or somebody in between, sends in clear behind its answer is not believed."""
    class Injects(Server):
        def option(self, c, option, data):
            if option != nbd.STARTTLS:
                return super().option(c, option, data)
            go = struct.pack('>HQH', 0, 1 << 20, nbd.ALL)
            replies = (nbd.STARTTLS, nbd.ACK, b''), (nbd.EXTENDED, nbd.ERR_UNSUP, b''), \
                (nbd.STRUCTURED, nbd.ERR_UNSUP, b''), (nbd.GO, nbd.REP_INFO, go), (nbd.GO, nbd.ACK, b'')
            c.send(b''.join(struct.pack('>QIII', nbd.OPTION_REPLY, o, k, len(d)) + d
                            for o, k, d in replies))
            c.receive(1 << 20)

    with Injects() as s:
        expect(False, '--object', keys.psk(), '--image-opts', f'driver=nbd,path={s.path},tls-creds=t,'
               'open-timeout=2')


def test_handshake_that_stops(keys, tmp):
    """A server that agrees to TLS and then says nothing: the time limit holds."""
    class Silent(Server):
        def option(self, c, option, data):
            self.reply(c, option, nbd.ACK)
            c.receive(1 << 20)

    with Silent() as s:
        began = time.monotonic()
        expect(False, '--object', keys.psk(), '--image-opts', f'driver=nbd,path={s.path},tls-creds=t,'
               'open-timeout=1')
        assert time.monotonic() - began < 15


def main():
    for program in 'certtool', 'nbdkit':
        if not shutil.which(program):
            print(f'{program} is not installed')
            sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        tmp = pathlib.Path(folder)
        (tmp / 'keys').mkdir()
        keys = Keys(tmp / 'keys')
        for name, fn in list(globals().items()):
            if name.startswith('test_'):
                try:
                    fn(keys, tmp)
                    print(f'ok {name[5:]}', flush=True)
                except (AssertionError, subprocess.SubprocessError) as e:
                    print(f'not ok {name[5:]} {str(e)[:300]!r}', flush=True)


if __name__ == '__main__':
    main()
