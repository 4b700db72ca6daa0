#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP over each kind of character device, and several sessions at once."""
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import termios
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, case, img, main, require, run
from certificates import make_certificate
from qmp import CAPABILITIES, Client, Reader, Stdio, Talker, request

DAEMON = BUILD / 'qemu-storage-daemon'


class Fd(Talker):
    """Somebody at descriptors, one to read from and one to write to."""

    def __init__(self, into, out):
        self.into, self.reader = into, Reader(out)

    def send(self, data):
        while data:
            data = data[os.write(self.into, data):]


def talk(client):
    """Greets and asks; what every session can do."""
    assert client.greet().startswith('{"QMP": {"version": ')
    assert client.answer('query-version')['qemu']['major'] == 7


def device(identifier, options):
    return '--chardev', f'{options},id={identifier}', '--monitor', identifier


@case
def unix_sockets_serve_one_client_after_the_other():
    with Stdio(DAEMON, *device('s', 'socket,path=q,server=on,wait=off')) as daemon:
        first = Client('q')
        second = Client('q', greet=False)
        assert second.reader.line(.3) is None
        assert first.answer('query-version')
        first.close()
        # A new client agrees anew.
        greeting = second.reader.line()
        assert greeting.startswith('{"QMP"'), greeting
        second.send(request('query-version').encode())
        assert 'Expecting capabilities negotiation' in second.reader.line()
        second.ask(CAPABILITIES)
        assert second.answer('query-version')
        names = {c['label']: c['filename'] for c in daemon.answer('query-chardev')}
        assert names == {'s': 'unix:q,server=on', 'c': 'stdio'}, names
    assert not os.path.exists('q')


@case
def tcp_sockets_tell_who_is_connected():
    with Stdio(DAEMON, *device('s', 'socket,host=127.0.0.1,port=0,server=on,wait=off')) as daemon:
        name = {c['label']: c['filename'] for c in daemon.answer('query-chardev')}['s']
        prefix, port = name.rsplit(':', 1)
        assert prefix == 'disconnected:tcp:127.0.0.1' and port.endswith(',server=on'), name
        port = int(port.split(',')[0])
        client = Client(('127.0.0.1', port))
        assert client.answer('query-version')
        name = {c['label']: c['filename'] for c in daemon.answer('query-chardev')}['s']
        here = client.socket.getsockname()
        assert name == f'tcp:127.0.0.1:{port},server=on <-> 127.0.0.1:{here[1]}', name


@case
def clients_of_a_socket_connect_again():
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind('q')
        listener.listen()
        listener.settimeout(20)
        with Stdio(DAEMON, *device('s', 'socket,path=q,reconnect=1')) as daemon:
            for _ in range(2):
                peer = listener.accept()[0]
                talk(Fd(peer.fileno(), peer.fileno()))
                peer.close()
            listener.close()
            os.unlink('q')
            time.sleep(1.5)
            assert daemon.answer('query-version')
            daemon.end()
            assert 'Unable to connect character device s' in daemon.errors, daemon.errors


@case
def connected_sockets_are_inherited():
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([DAEMON, *device('s', f'socket,fd={theirs.fileno()}')],
                               pass_fds=[theirs.fileno()])
    theirs.close()
    talk(Fd(ours.fileno(), ours.fileno()))
    ours.close()
    time.sleep(.1)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 0


@case
def pseudoterminals_come_and_go():
    process = subprocess.Popen([DAEMON, *device('p', 'pty')], stdout=subprocess.PIPE)
    try:
        line = process.stdout.readline().decode()
        assert line.startswith('char device redirected to /dev/pts/') and line.endswith('(label p)\n'), line
        name = line.split()[4]
        for _ in range(2):
            fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
            talk(Fd(fd, fd))
            os.close(fd)
            time.sleep(.3)
    finally:
        process.terminate()
    assert process.wait(10) == 0


@case
def pipes_are_two_fifos():
    for end in ('in', 'out'):
        os.mkfifo(f'p.{end}')
    process = subprocess.Popen([DAEMON, *device('p', 'pipe,path=p')])
    into, out = os.open('p.in', os.O_RDWR), os.open('p.out', os.O_RDWR)
    talk(Fd(into, out))
    process.terminate()
    assert process.wait(10) == 0


@case
def files_take_what_is_said():
    pathlib.Path('commands').write_text(CAPABILITIES + request('query-version') + request('nope'))
    with Stdio(DAEMON) as daemon:
        backend = {'type': 'file', 'data': {'in': 'commands', 'out': 'answers', 'logfile': 'log'}}
        assert daemon.answer('chardev-add', id='f', backend=backend) == {}
    process = subprocess.Popen([DAEMON, '--chardev', 'file,id=f,path=answers,input-path=commands,logfile=log',
                                '--monitor', 'f'])
    deadline = time.monotonic() + 10
    while pathlib.Path('answers').read_text().count('\n') < 4 and time.monotonic() < deadline:
        time.sleep(.02)
    process.terminate()
    assert process.wait(10) == 0
    lines = pathlib.Path('answers').read_text().splitlines()
    assert [list(json.loads(line))[0] for line in lines] == ['QMP', 'return', 'return', 'error'], lines
    assert pathlib.Path('log').read_text() == pathlib.Path('answers').read_text()


@case
def a_terminal_is_as_before_in_the_end():
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen([DAEMON, *device('c', 'stdio')], stdin=slave, stdout=slave)
    client = Fd(master, master)
    talk(client)
    during = termios.tcgetattr(slave)
    assert not during[3] & (termios.ICANON | termios.ECHO) and during[3] & termios.ISIG
    process.terminate()
    assert process.wait(10) == 0
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@case
def descriptors_shared_with_others_block_as_before():
    read_end, write_end = os.pipe()
    process = subprocess.Popen([DAEMON, *device('c', 'stdio')], stdin=read_end, stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith(b'{"QMP"')
    process.terminate()
    assert process.wait(10) == 0
    assert os.get_blocking(read_end)
    os.close(write_end)


@case
def events_reach_every_session_that_has_agreed():
    with Stdio(DAEMON, *device('s', 'socket,path=q,server=on,wait=off'), '--blockdev', 'null-co,node-name=z',
               '--nbd-server', 'addr.type=unix,addr.path=n', '--export', 'nbd,id=e,node-name=z') as daemon:
        client = Client('q')
        daemon.send(request('block-export-del', id='e').encode())
        assert client.event('BLOCK_EXPORT_DELETED') == {'id': 'e'}
        assert daemon.event('BLOCK_EXPORT_DELETED') == {'id': 'e'}
        assert daemon.reader.line() == '{"return": {}}'


# ---- descriptors ----

def ask_with(client, fds, command, **arguments):
    """As client.answer(), with descriptors beside the request."""
    socket.send_fds(client.socket, [request(command, **arguments).encode()], fds)
    reply = json.loads(client.reader.line())
    return reply.get('return', reply.get('error', {}).get('desc'))


@case
def descriptors_have_names():
    with Stdio(DAEMON, *device('s', 'socket,path=q,server=on,wait=off'), '--blockdev',
               'null-co,node-name=z,size=65536,read-zeroes=on') as daemon:
        client = Client('q')
        missing = 'No file descriptor supplied via SCM_RIGHTS'
        assert ask_with(client, [], 'getfd', fdname='n') == missing
        assert daemon.answer('getfd', fdname='n')['desc'] == missing
        assert 'starting with a digit' in ask_with(client, [0], 'getfd', fdname='9')
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind('n')
            listener.listen()
            for _ in range(2):
                assert ask_with(client, [listener.fileno()], 'getfd', fdname='n') == {}
        address = {'type': 'fd', 'data': {'str': 'n'}}
        assert client.answer('nbd-server-start', addr=address) == {}
        # It has been used.
        assert "'n' not found" in client.answer('closefd', fdname='n')['desc']
        assert client.answer('block-export-add', type='nbd', id='e', node_name='z') == {}
        run(IO, '-r', '-f', 'raw', '-c', 'read -P 0 0 64k', 'nbd+unix:///z?socket=n')
        assert daemon.answer('nbd-server-stop') == {}
        client.event('BLOCK_EXPORT_DELETED')
        assert ask_with(client, [0], 'getfd', fdname='file') == {}
        assert 'not an open stream socket' in client.answer('nbd-server-start', addr={
            'type': 'fd', 'data': {'str': 'file'}})['desc']
        assert ask_with(client, [0], 'getfd', fdname='x') == {}
        assert client.answer('closefd', fdname='x') == {}
        fds = os.listdir(f'/proc/{daemon.process.pid}/fd')
        for _ in range(10):
            ask_with(client, [0], 'getfd', fdname='x')
        assert len(os.listdir(f'/proc/{daemon.process.pid}/fd')) == len(fds) + 1


@case
def descriptors_in_sets_are_files():
    img('create', '-q', '-f', 'raw', 'f', '1M')
    reading, writing = os.open('f', os.O_RDONLY), os.open('f', os.O_RDWR)
    with Stdio(DAEMON, *device('s', 'socket,path=q,server=on,wait=off')) as daemon:
        client = Client('q')
        first = ask_with(client, [reading], 'add-fd', opaque='o')
        assert first['fdset-id'] == 0, first
        assert ask_with(client, [reading], 'add-fd')['fdset-id'] == 1
        assert ask_with(client, [reading], 'add-fd', **{'fdset-id': 7})['fdset-id'] == 7
        second = ask_with(client, [writing], 'add-fd', **{'fdset-id': 7})
        assert 'non-negative' in ask_with(client, [reading], 'add-fd', **{'fdset-id': -1})
        sets = client.answer('query-fdsets')
        assert [(s['fdset-id'], len(s['fds'])) for s in sets] == [(7, 2), (1, 1), (0, 1)], sets
        assert sets[2]['fds'] == [{'fd': first['fd'], 'opaque': 'o'}], sets
        os.rename('f', 'elsewhere')

        def add(name, number, **more):
            return client.answer('blockdev-add', driver='file', node_name=name,
                                 filename=f'/dev/fdset/{number}', **more)

        assert add('r', 0, read_only=True) == {}
        assert 'Permission denied' in add('w', 0)['desc']
        assert 'No such file' in add('w', 2)['desc'] and 'No such file' in add('w', 'x')['desc']
        assert add('w', 7) == {}
        assert client.answer('block_resize', node_name='w', size=2 << 20) == {}
        assert os.path.getsize('elsewhere') == 2 << 20
        gone = "File descriptor named 'fdset-id:9' not found"
        assert client.answer('remove-fd', fdset_id=9)['desc'] == gone
        assert client.answer('remove-fd', fdset_id=7, fd=second['fd']) == {}
        assert client.answer('remove-fd', fdset_id=7, fd=second['fd'])['desc'] == \
            f"File descriptor named 'fdset-id:7, fd:{second['fd']}' not found"
        assert client.answer('remove-fd', fdset_id=7) == {}
        assert [s['fdset-id'] for s in client.answer('query-fdsets')] == [1, 0]
        # What is open stays so.
        assert client.answer('block_resize', node_name='w', size=1 << 20) == {}
        assert daemon.end() == 0


# ---- TLS ----

def keys():
    require(shutil.which('certtool'), 'certtool is not installed')
    folders = {kind: pathlib.Path(kind) for kind in ('ca', 'server', 'client')}
    for kind in ('ca', 'server', 'client'):
        make_certificate(folders[kind], kind, folders['ca'])
    context = ssl.create_default_context(cafile='ca/ca-cert.pem')
    context.load_cert_chain('client/client-cert.pem', 'client/client-key.pem')
    return context


class Tls(Talker):
    def __init__(self, context, port):
        plain = socket.create_connection(('127.0.0.1', port), timeout=20)
        self.socket = context.wrap_socket(plain, server_hostname='localhost')
        self.reader = self
        self.rest = b''

    def send(self, data):
        self.socket.sendall(data)

    def line(self, patience=20):
        while b'\n' not in self.rest:
            got = self.socket.recv(65536)
            if not got:
                self.ended = True
                return None
            self.rest += got
        line, self.rest = self.rest.split(b'\n', 1)
        return line.decode().rstrip('\r')


def tls_daemon(*more):
    daemon = Stdio(DAEMON, '--object', 'tls-creds-x509,id=t,endpoint=server,dir=server', *more,
                   '--chardev', 'socket,id=s,host=127.0.0.1,port=0,server=on,wait=off,tls-creds=t' +
                   (',tls-authz=a' if more else ''), '--monitor', 's')
    name = {c['label']: c['filename'] for c in daemon.answer('query-chardev')}['s']
    return daemon, int(name.rsplit(':', 1)[1].split(',')[0])


@case
def tls_clients_are_served_and_others_not():
    context = keys()
    daemon, port = tls_daemon()
    with daemon:
        plain = socket.create_connection(('127.0.0.1', port))
        plain.sendall(b'{"execute":"qmp_capabilities"}\n' * 10)
        assert not plain.recv(100).startswith(b'{')
        plain.close()
        talk(Tls(context, port))
        assert daemon.answer('query-version')


@case
def tls_clients_have_to_be_welcome():
    context = keys()
    for identity, welcome in (('C=GB,O=Example,CN=Joe', True), ('CN=Jane', False)):
        daemon, port = tls_daemon('--object', json.dumps(
            {'qom-type': 'authz-simple', 'id': 'a', 'identity': identity}))
        with daemon:
            client = Tls(context, port)
            try:
                line = client.line()
            except OSError:
                line = None
            assert (line is not None) == welcome, line


main('storage-daemon/devices')
