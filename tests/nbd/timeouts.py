#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that fall silent: at whatever point, open-timeout and reconnect-delay hold, and neither the end
of a client nor that of a server waits for one who does not answer."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import nbd_frames
import nbd_server as nbd
from nbd_frames import needs, preloads
from nbd_server import Server

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
SLACK = 10  # seconds that a loaded machine may take beyond a limit
HANGING = dict(os.environ, LD_PRELOAD=BUILD / 'preload/hang.so')


class Silent(Server):
    """From connection @since on says nothing any more at @point."""

    def __init__(self, point, since=0, **members):
        super().__init__()
        self.point, self.since = point, since
        for name, value in members.items():
            setattr(self, name, value)

    def is_silent(self, c, point):
        return c.number >= self.since and self.point == point

    def hold(self, c):
        c.receive(1 << 30)

    def handshake(self, c):
        if self.is_silent(c, 'greeting'):
            self.hold(c)
        return super().handshake(c)

    def option(self, c, option, data):
        if self.is_silent(c, option):
            self.hold(c)
        if option == nbd.STARTTLS:  # granted, and then nothing of TLS
            self.reply(c, option, nbd.ACK)
            self.hold(c)
        return super().option(c, option, data)

    def go(self, c, option, data):
        if self.is_silent(c, 'infos'):
            self.reply(c, option, nbd.REP_INFO, next(self.infos(c, option)))
            self.hold(c)
        return super().go(c, option, data)


POINTS = ['greeting', nbd.EXTENDED, nbd.STRUCTURED, nbd.SET_META, nbd.GO, 'infos']


def io(*args, commands=('read 0 4k',), env=None):
    """Exit code, output and seconds of qemu-io."""
    began = time.monotonic()
    done = subprocess.run([BUILD / 'qemu-io', *map(str, args[:-1]), '--image-opts',
                           *(a for c in commands for a in ('-c', c)), args[-1]], env=env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=120, text=True)
    return done.returncode, done.stdout, time.monotonic() - began


def options(s, **more):
    return ','.join([f'driver=nbd,server.type=unix,server.path={s.path}'] +
                    [f'{k.replace("_", "-")}={v}' for k, v in more.items()])


def check_open_ends(seconds, *args, env=None):
    code, text, took = io(*args, env=env)
    assert code == 1 and text.startswith('qemu-io: '), text
    assert seconds * 0.9 <= took < seconds + SLACK, took


# ---- opening -----------------------------------------------------------------------------------

def test_open_timeout_at_every_point_of_the_handshake():
    for point in POINTS:
        with Silent(point) as s:
            check_open_ends(1, options(s, open_timeout=1))


def psk_client(where):
    (where / 'keys.psk').write_text('me:0123456789abcdef0123456789abcdef\n')
    return ['--object', f'tls-creds-psk,id=t,endpoint=client,username=me,dir={where}']


def test_open_timeout_in_starttls_and_in_tls():
    with nbd_frames.folder() as where:
        for point in nbd.STARTTLS, 'tls':
            with Silent(point) as s:
                check_open_ends(1, *psk_client(where), options(s, open_timeout=1, tls_creds='t'))


def test_open_timeout_of_old_servers():
    with Silent('greeting', oldstyle=True) as s:
        check_open_ends(1, options(s, open_timeout=1))
    with Silent(nbd.EXPORT_NAME, fixed=False) as s:
        check_open_ends(1, options(s, open_timeout=1))


@preloads
def test_open_timeout_of_a_name_that_nobody_looks_up():
    check_open_ends(1, 'driver=nbd,server.type=inet,server.host=never.test,server.port=1,open-timeout=1',
                    env=HANGING)


def test_open_timeout_of_a_host_that_swallows_everything():
    with socket.create_server(('127.0.0.1', 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(8):  # nobody gets through from now on
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        check_open_ends(1, 'driver=nbd,server.type=inet,server.host=127.0.0.1,'
                           f'server.port={port},open-timeout=1')


# ---- afterwards --------------------------------------------------------------------------------

LOST = 500  # bytes: the handshake passes, the first answer does not


def test_reconnect_delay_at_every_point_of_the_handshake():
    """The second connection falls silent. Waiting calls fail in time, and the end waits for nobody."""
    for point in POINTS:
        for delay in 0, 1:
            with Silent(point, since=1) as s:
                s.limits = {0: LOST}
                code, text, took = io(options(s, reconnect_delay=delay))
                assert code == 1 and 'read failed: Input/output error' in text, (point, text)
                assert delay * 0.9 <= took < delay + SLACK, (point, took)


@preloads
def test_reconnect_delay_with_a_name_that_nobody_looks_up():
    with Server() as s, socket.create_server(('127.0.0.1', 0)) as listener:
        s.limits = {0: LOST}
        relay = subprocess.Popen([sys.executable, '-c', RELAY, str(listener.fileno()), s.path],
                                 pass_fds=[listener.fileno()])
        for delay in 0, 1:
            s.limits = {s.connections: LOST}
            code, text, took = io('driver=nbd,server.type=inet,server.host=once.test,'
                                  f'server.port={listener.getsockname()[1]},reconnect-delay={delay}',
                                  env=HANGING)
            assert code == 1 and 'read failed: Input/output error' in text, text
            assert delay * 0.9 <= took < delay + SLACK, took
        relay.kill()
        relay.wait()


# Passes one connection after the other on to a Unix socket.
RELAY = '''
import os, select, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    one, other = listener.accept()[0], socket.socket(socket.AF_UNIX)
    other.connect(sys.argv[2])
    ends = {one: other, other: one}
    while True:
        data = [(s, s.recv(65536)) for s in select.select(list(ends), [], [])[0]]
        for s, d in data:
            ends[s].sendall(d)
        if not all(d for _, d in data):
            break
    one.close()
    other.close()
'''


def test_draining_waits_no_longer_than_the_delay():
    """Reopening waits for requests under way, which wait for a server that does not come back."""
    for point in 'greeting', nbd.GO:
        with Silent(point, since=1) as s:
            s.limits = {0: LOST}
            code, text, took = io(options(s, reconnect_delay=2),
                                  commands=('aio_read 0 4k', 'reopen', 'aio_flush', 'read 0 4k'))
            assert code == 1 and 'Input/output error' in text, text
            assert took < 4 + SLACK, took


def test_a_stopped_program_does_not_wait_for_an_answer():
    """One SIGTERM is enough, though a copy that is stopped ends in order where it can."""
    class Mute(Server):
        def answer(self, q):
            if q.kind in (nbd.READ, nbd.WRITE):
                self.hold(q.conn)
            return super().answer(q)

        def hold(self, c):
            c.receive(1 << 30)

    with tempfile.TemporaryDirectory() as folder, Mute() as s:
        other = os.path.join(folder, 'other')
        pathlib.Path(other).write_bytes(b'x' * s.size)
        for source, target, *how in (s.uri(), other), (other, s.uri()), (other, s.uri(), '--untrusted'):
            seen = len(s.requests)
            process = subprocess.Popen([BUILD / 'qemu-img', 'convert', *how, '-n', '-S', '0', '-f', 'raw', '-O',
                                        'raw', source, target], stderr=subprocess.PIPE, text=True)
            while len(s.requests) == seen:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=10 + SLACK)
            assert process.returncode == -signal.SIGTERM, (process.returncode, err)
            assert 'is incomplete' in err, err


def test_an_answer_may_take_as_long_as_it_takes():
    """A connected server that is slow is no server that is lost: the delay does not end its requests."""
    class Slow(Server):
        def read(self, q):
            time.sleep(3)
            return super().read(q)

    with Slow() as s:
        code, text, _ = io(options(s, reconnect_delay=1, open_timeout=1))
        assert code == 0 and 'read 4096/4096' in text, text


# ---- servers -----------------------------------------------------------------------------------

@contextlib.contextmanager
def serves_by_pam(where, *args):
    """A server whose authorisation never answers."""
    (where / 'keys.psk').write_text('me:0123456789abcdef0123456789abcdef\n')
    nbd_frames.make_disk(where / 'disk', 1 << 20)
    os.environ['LD_PRELOAD'] = str(HANGING['LD_PRELOAD'])
    try:
        s = nbd_frames.Server(where, ['-t', '-e', '0', '--object',
                                      f'tls-creds-psk,id=t,endpoint=server,dir={where}', '--tls-creds', 't',
                                      '--object', 'authz-pam,id=a,service=other', '--tls-authz', 'a',
                                      *args, '-f', 'raw', 'disk'], nbd_frames.OURS)
    finally:
        del os.environ['LD_PRELOAD']
    try:
        yield s.wait_until_ready()
    finally:
        s.stop(signal.SIGKILL)


@preloads
@needs('nbdinfo')
def test_authorisation_that_never_answers():
    """It has the time of a handshake, keeps nobody else, and does not hold up the end."""
    with nbd_frames.folder() as where:
        with serves_by_pam(where, '--handshake-limit=1') as s:
            uri = f'nbds+unix://me@/?socket={s.socket}&tls-psk-file={where}/keys.psk'
            began = time.monotonic()
            waiting = [subprocess.Popen(['nbdinfo', uri], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL) for _ in range(3)]
            assert all(p.wait(SLACK) for p in waiting)
            assert 0.9 < time.monotonic() - began
        (where / 'nbd.sock').unlink()
        with serves_by_pam(where, '--handshake-limit=0') as s:
            waiting = [subprocess.Popen(['nbdinfo', uri], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL) for _ in range(3)]
            time.sleep(0.5)
            began = time.monotonic()
            assert s.stop() == 0 and time.monotonic() - began < 5
            assert all(p.wait(SLACK) for p in waiting)


sys.exit(nbd_frames.run('timeouts', globals()))
