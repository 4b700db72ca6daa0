#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of qemu-storage-daemon: its command line, process id, background, and its end in time with all
stored, whatever clients do."""
import atexit
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, case, img, io, main, run
from qmp import PATIENCE, Client, Stdio, request, wait_for
from this_run import SLOWER

DAEMON = BUILD / 'qemu-storage-daemon'
END = 5 * SLOWER                 # seconds that it may take to end
MONITOR = ('--chardev', 'socket,id=m,path=qmp,server=on,wait=off', '--monitor', 'm')
NODE = ('--blockdev', 'qcow2,node-name=a,file.driver=file,file.filename=a.qcow2')
SERVER = ('--nbd-server', 'addr.type=unix,addr.path=nbd')
EXPORT = ('--export', 'nbd,id=e,node-name=a,writable=on')
URI = 'nbd+unix:///a?socket=nbd'


def start(*options, **more):
    """A daemon that does not outlive the test."""
    process = subprocess.Popen([DAEMON, *options], stdin=subprocess.DEVNULL, **more)
    atexit.register(process.kill)
    return process


class Daemon:
    """A daemon with a monitor at ./qmp, which has set all up."""

    def __init__(self, *options):
        self.process = start(*MONITOR, *options, '--pidfile', 'pid', stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        wait_for('pid')

    def end(self, sig=signal.SIGTERM, code=0):
        """Ends it by a signal, in time; what it said on standard error."""
        start = time.monotonic()
        self.process.send_signal(sig)
        _, errors = self.process.communicate(timeout=2 * END)
        assert time.monotonic() - start < END + .5, f'it took {time.monotonic() - start} s'
        assert self.process.returncode == code, (self.process.returncode, errors)
        assert not os.path.exists('pid')
        return errors


def refused(*options):
    """The line that the daemon ends with."""
    done = run(DAEMON, *options, code=1)
    lines = done.stderr.splitlines()
    assert not done.stdout and len(lines) == 1 and lines[0].startswith('qemu-storage-daemon: '), done
    return lines[0]


# ---- the command line ----

@case
def help_and_version_are_printed():
    assert run(DAEMON, '--help').stdout.startswith('Usage: qemu-storage-daemon ')
    assert run(DAEMON, '-h').stdout == run(DAEMON, '--help').stdout
    assert run(DAEMON, '-V').stdout.startswith('qemu-storage-daemon version 7.2.22 (Ferry ')
    assert '  socket\n' in run(DAEMON, '--chardev', 'help').stdout
    assert 'secret\n' in run(DAEMON, '--object', 'help').stdout
    assert 'data=<string>' in run(DAEMON, '--object', 'secret,help').stdout
    assert 'qmp_command\n' in run(DAEMON, '-T', 'help').stdout


@case
def what_cannot_be_is_refused_in_one_line():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '1M')
    for options, word in (
            (('--nope',), '--nope'), (('extra',), 'extra'), (('--blockdev',), 'needs a value'),
            (('--blockdev', 'foo'), 'foo'), (('--blockdev', 'filename=a,node-name=n'), 'driver'),
            (('--blockdev', 'file,filename=a.qcow2'), 'node-name'),
            (('--blockdev', '{"driver":"file","node-name":"n","filename":"a","read-only":"on"}'), 'read-only'),
            (('--blockdev', '{"driver":'), 'JSON'),
            (('--blockdev', 'file,node-name=n,filename=a.qcow2,x=1'), 'x'),
            (('--blockdev', 'file,node-name=n,filename=a.qcow2,read-only'), 'read-only'),
            (('--blockdev', 'file,node-name=n,filename=nope'), 'nope'),
            (NODE + NODE, 'Duplicate'),
            (('--monitor', 'c'), 'not found'), (('--monitor', 'help'), 'not found'),
            (('--chardev', 'null'), 'no id'), (('--chardev', 'null,id=9'), 'identifier'),
            (('--chardev', 'nope,id=n'), 'not a valid char driver name'),
            (('--chardev', 'null,id=n', '--chardev', 'null,id=n'), 'already exists'),
            (('--chardev', 'null,id=n,x=1'), "'x'"), (('--chardev', 'null,id=n,mux=on'), 'mux'),
            (('--chardev', 'socket,id=n'), 'path='), (('--chardev', 'socket,id=n,host=x'), 'no port'),
            (('--chardev', 'socket,id=n,path=x,fd=5'), 'one of'),
            (('--chardev', 'socket,id=n,path=x,to=5'), 'to'),
            (('--chardev', 'socket,id=n,path=x'), 'connect'),
            (('--chardev', 'socket,id=n,path=x,server=on,wait=off,telnet=on'), 'telnet'),
            (('--chardev', 'socket,id=n,path=x,server=on,wait=off,tls-creds=t'), 't'),
            (('--chardev', 'stdio,id=n,signal=maybe'), 'signal'), (('--chardev', 'file,id=n'), 'out'),
            (('--chardev', 'pipe,id=n'), 'device'), (('--chardev', 'ringbuf,id=n,size=100'), 'power of two'),
            (('--chardev', 'null,id=n', '--monitor', 'n,mode=readline'), 'QMP'),
            (('--chardev', 'null,id=n', '--monitor', 'n', '--monitor', 'n'), 'in use'),
            (('--chardev', 'null,id=n', '--monitor', 'n,x=1'), 'x'),
            (SERVER + SERVER, 'already running'), (('--nbd-server', 'addr.type=unix'), 'path'),
            (('--nbd-server', 'addr.type=unix,addr.path=/nope/x'), '/nope/x'),
            (NODE + ('--export', 'nbd,id=e,node-name=a'), 'not running'),
            (NODE + SERVER + ('--export', 'nbd,id=e,node-name=b'), 'b'),
            (NODE + SERVER + ('--export', 'nbd,id=e,node-name=a,bitmap=b'), 'bitmap'),
            (NODE + ('--export', 'fuse,id=e,node-name=a,mountpoint=x'), 'No such file'),
            (NODE + ('--export', 'vhost-user-blk,id=e,node-name=a,addr.type=inet,addr.host=h,addr.port=1'),
             'addr.type'),
            (NODE + ('--export', 'vduse-blk,id=e,node-name=a,name=x'), 'vduse-blk'),
            (('--object', 'nope,id=o'), 'nope'), (('--object', 'secret,id=o'), 'data'),
            (('--pidfile', '/nope/x'), '/nope/x'), (('-T', 'nope'), 'nope'),
            (('--daemonize', '--chardev', 'stdio,id=c', '--monitor', 'c'), 'stdio')):
        line = refused(*options)
        assert word in line, (options, line)


@case
def short_booleans_are_taken_with_the_lines_of_the_reference():
    daemon = start('--chardev', 'socket,id=m,path=qmp,server,nowait', '--monitor', 'm',
                   stderr=subprocess.PIPE, text=True)
    Client('qmp').close()
    daemon.terminate()
    lines = daemon.communicate()[1].splitlines()
    assert [line for line in lines if not line.startswith('qemu-storage-daemon: ')] == \
        ['Please use server=on instead', 'Please use wait=off instead'], lines


@case
def all_is_set_up_in_the_order_of_the_line():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '1M')
    daemon = Daemon('--object', 'throttle-group,id=t', '--blockdev', '{"driver":"null-co","node-name":"z"}',
                    '--blockdev', 'throttle,node-name=th,throttle-group=t,file=z', *NODE, *SERVER, *EXPORT,
                    '--export', '{"type":"nbd","id":"f","node-name":"z","name":"other"}',
                    '--chardev', 'ringbuf,id=r,size=4k', '--chardev', 'null,id=n,logfile=log')
    client = Client('qmp')
    names = [n['node-name'] for n in client.answer('query-named-block-nodes', flat=True)]
    assert names[0] == 'a' and names[2:] == ['th', 'z'], names
    assert [e['id'] for e in client.answer('query-block-exports')] == ['f', 'e']
    assert {c['label'] for c in client.answer('query-chardev')} == {'m', 'r', 'n'}
    io(URI, 'write -P 5 0 64k')
    daemon.end()
    io('a.qcow2', 'read -P 5 0 64k')


@case
def nobody_is_greeted_before_all_is_set_up():
    done = run(DAEMON, '--chardev', 'stdio,id=c', '--monitor', 'c', '--blockdev', 'file,node-name=n,filename=no',
               code=1)
    assert not done.stdout, done.stdout


@case
def pretty_monitors_print_many_lines():
    with Stdio(DAEMON, greet=False, monitor='c,pretty=on') as daemon:
        lines = [daemon.reader.line() for _ in range(15)]
        assert lines[0] == '{' and lines[1] == '    "QMP": {' and lines[-1] == '}', lines


# ---- the process ----

@case
def the_pid_file_is_ours_alone():
    daemon = Daemon()
    assert open('pid').read() == f'{daemon.process.pid}\n'
    assert 'still there' in refused('--pidfile', 'pid')
    assert open('pid').read() == f'{daemon.process.pid}\n'
    daemon.end()
    open('pid', 'w').write('4711 and more than that')
    daemon = Daemon()
    client = Client('qmp')
    assert open('pid').read() == f'{daemon.process.pid}\n'
    client.close()
    daemon.end()


@case
def in_the_background_it_is_there_when_its_parent_returns():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '1M')
    run(DAEMON, '--daemonize', *MONITOR, *NODE, *SERVER, *EXPORT, '--pidfile', 'pid')
    pid = int(open('pid').read())
    try:
        assert os.readlink(f'/proc/{pid}/cwd') == '/'
        io(URI, 'write -P 5 0 64k')
        client = Client('qmp')
        client.ask(request('quit'))
    except Exception:
        os.kill(pid, signal.SIGKILL)
        raise
    io('a.qcow2', 'read -P 5 0 64k')
    done = run(DAEMON, '--daemonize', '--blockdev', 'file,node-name=n,filename=nope', code=1)
    assert 'nope' in done.stderr


@case
def listening_sockets_are_inherited():
    with socket.socket(socket.AF_UNIX) as qmp, socket.socket(socket.AF_UNIX) as nbd:
        for s, path in ((qmp, 'q'), (nbd, 'n')):
            s.bind(path)
            s.listen()
        daemon = start('--chardev', f'socket,fd={qmp.fileno()},server=on,wait=off,id=c', '--monitor', 'c',
                       '--blockdev', 'null-co,node-name=z,size=65536,read-zeroes=on', '--nbd-server',
                       f'addr.type=fd,addr.str={nbd.fileno()}', '--export', 'nbd,id=e,node-name=z',
                       pass_fds=[qmp.fileno(), nbd.fileno()])
    client = Client('q')
    run(IO, '-r', '-f', 'raw', '-c', 'read -P 0 0 64k', 'nbd+unix:///z?socket=n')
    assert client.ask(request('quit'))[-1] == '{"return": {}}'
    assert daemon.wait(END) == 0


# ---- the end ----

@case
def each_signal_ends_it_with_all_stored():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        img('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', 'a.qcow2', '4M')
        img('bitmap', '--add', 'a.qcow2', 'b')
        daemon = Daemon(*NODE, *SERVER, *EXPORT)
        client = Client('qmp')
        assert client.answer('block-dirty-bitmap-add', node='a', name='c', persistent=True) == {}
        io(URI, 'write -P 5 1M 64k')
        assert daemon.end(sig) == ''
        img('check', 'a.qcow2')
        io('a.qcow2', 'read -P 5 1M 64k')
        bitmaps = json.loads(img('info', '--output=json', 'a.qcow2').stdout)
        flags = {b['name']: b['flags'] for b in bitmaps['format-specific']['data']['bitmaps']}
        assert flags == {'b': ['auto'], 'c': ['auto']}, flags


@case
def quit_answers_when_all_exports_are_gone():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '1M')
    daemon = Daemon(*NODE, *SERVER, *EXPORT)
    client = Client('qmp')
    lines = client.ask(request('quit'))
    assert json.loads(lines[0])['event'] == 'BLOCK_EXPORT_DELETED' and lines[1:] == ['{"return": {}}'], lines
    assert daemon.process.wait(END) == 0


@case
def quit_ends_jobs_in_any_state():
    jobs = {
        'copying': ('blockdev-mirror', {'sync': 'full', 'speed': 65536}, 'running'),
        'ready': ('blockdev-mirror', {'sync': 'none'}, 'ready'),
        'listening': ('blockdev-backup', {'sync': 'none'}, 'running'),
        'pending': ('blockdev-backup', {'sync': 'full', 'auto-finalize': False}, 'pending'),
    }
    images = []
    for i in range(2 * len(jobs)):
        img('create', '-q', '-f', 'qcow2', f'{i}.qcow2', '4M')
        images += ['--blockdev', f'qcow2,node-name=n{i},file.driver=file,file.filename={i}.qcow2']
    io('0.qcow2', 'write -q -P 3 0 4M')
    daemon = Daemon('--object', 'iothread,id=i', *images)
    client = Client('qmp')
    for i, (name, (command, how, _)) in enumerate(jobs.items()):
        if i % 2:
            client.ask(request('x-blockdev-set-iothread', **{'node-name': f'n{2 * i}', 'iothread': 'i'}))
        assert client.answer(command, **{'job-id': name, 'device': f'n{2 * i}', 'target': f'n{2 * i + 1}', **how}) == {}
    deadline = time.monotonic() + PATIENCE
    while (found := {j['id']: j['status'] for j in client.answer('query-jobs')}) != {
            name: state for name, (_, _, state) in jobs.items()}:
        assert time.monotonic() < deadline, found
        time.sleep(.01)
    assert client.ask(request('quit'))[-1] == '{"return": {}}'
    assert daemon.process.wait(END) == 0
    for i in range(2 * len(jobs)):
        img('check', '-q', f'{i}.qcow2')


@case
def clients_of_any_kind_do_not_keep_it():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    options = [*NODE, *SERVER, *EXPORT]
    for i in range(4):
        options += ['--chardev', f'socket,id=c{i},path=q{i},server=on,wait=off', '--monitor', f'c{i}']
    daemon = Daemon(*options)
    clients = [Client(f'q{i}') for i in range(4)]
    clients[0].send(b'{"execute": [[[ "half')
    for _ in range(2000):
        try:
            clients[1].socket.setblocking(False)
            clients[1].socket.send(request('query-qmp-schema').encode())
        except BlockingIOError:
            break
    clients[2].socket.shutdown(socket.SHUT_WR)
    # An NBD client in the handshake, one that has left half a request.
    nbd = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for s in nbd:
        s.connect('nbd')
    nbd[1].send(b'\0\0\0\1IHAVEOPT\0\0')
    idle = subprocess.Popen([BUILD / 'qemu-io', URI], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    time.sleep(.2)
    daemon.end()
    idle.stdin.close()
    idle.wait()
    img('check', 'a.qcow2')


@case
def a_command_that_waits_does_not_keep_it():
    """One waits for a client, one for a server that never says a word; what is open is stored."""
    for waits in (request('chardev-add', id='w', backend={'type': 'socket', 'data': {
                      'addr': {'type': 'unix', 'data': {'path': 'w'}}, 'server': True, 'wait': True}}),
                  request('blockdev-add', driver='nbd', node_name='n', server={'type': 'unix', 'path': 'mute'})):
        img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
        with socket.socket(socket.AF_UNIX) as mute:
            if os.path.exists('mute'):
                os.unlink('mute')
            mute.bind('mute')
            mute.listen()
            daemon = Daemon(*NODE, *SERVER, *EXPORT)
            client = Client('qmp')
            io(URI, 'write -P 5 1M 64k')
            client.send(waits.encode())
            time.sleep(.3)
            hangs = 'mute' in waits
            errors = daemon.end(code=1 if hangs else 0)
            assert ('did not come to an end' in errors) == hangs, errors
            io('a.qcow2', 'read -P 5 1M 64k')
            img('check', 'a.qcow2')


@case
def a_signal_while_it_waits_for_a_first_client_ends_it():
    daemon = start('--chardev', 'socket,id=m,path=qmp,server=on', '--monitor', 'm',
                   stderr=subprocess.PIPE, text=True)
    assert 'waiting for connection on: disconnected:unix:qmp,server=on' in daemon.stderr.readline()
    daemon.terminate()
    daemon.communicate(timeout=END)
    assert daemon.returncode == 1


@case
def what_cannot_be_written_at_the_end_is_told():
    img('create', '-q', '-f', 'raw', 'a.raw', '1M')
    daemon = Daemon('--blockdev', json.dumps({
        'driver': 'blkdebug', 'node-name': 'a', 'image': {'driver': 'file', 'filename': 'a.raw'},
        'inject-error': [{'event': 'none', 'iotype': 'flush', 'errno': 5}]}), *SERVER, *EXPORT)
    io(URI, 'write 0 4k', code=None)
    assert 'could not be written' in daemon.end(code=1)


@case
def tracing_tells_of_commands():
    with Stdio(DAEMON, '-T', 'qmp_command') as daemon:
        daemon.answer('query-version')
        daemon.end()
        assert "query-version on 'c'" in daemon.errors, daemon.errors


main('storage-daemon')
