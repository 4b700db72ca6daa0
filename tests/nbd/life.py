#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-nbd as a program: its start, what it exports, its end; and the command lines it refuses."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from nbd_frames import *
from this_run import HAS_RINGS

MIB = 1 << 20
THEIRS = REFERENCE / 'qemu-nbd'


def tool(name, *args, cwd=None):
    return subprocess.run([REFERENCE / name, *map(str, args)], cwd=cwd, check=True,
                          stdout=subprocess.PIPE, text=True).stdout


def run_in(where, tool_path, *args, env=None):
    return subprocess.run([tool_path, *args], cwd=where, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
                          env=env)


def test_one_client_and_it_ends():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-f', 'raw', 'disk', where=where, persistent=False) as s:
            s.client().greet().close()
            time.sleep(0.2)
            assert s.process.poll() is None, 'a client without an export does not count'
            c = s.client().start()
            c.close()
            assert s.process.wait(PATIENCE) == 0
            assert not os.path.exists(s.socket)


def test_a_socket_replaces_nothing_but_a_socket():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        (where / 'file').write_text('precious')
        (where / 'link').symlink_to('file')
        (where / 'folder').mkdir()
        os.mkfifo(where / 'fifo')
        before = sorted(os.listdir(where))
        for name in ('file', 'link', 'folder', 'fifo'):
            done = run_in(where, OURS, '-f', 'raw', '-k', where / name, 'disk')
            assert done.returncode == 1 and 'no socket' in done.stderr, done
            assert name in done.stderr
        assert (where / 'file').read_text() == 'precious'
        assert (where / 'link').is_symlink()
        assert sorted(os.listdir(where)) == before
        # What an earlier server left behind is in nobody's way.
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(where / 'nbd.sock'))
        left.close()
        with serve('-r', '-f', 'raw', 'disk', where=where) as s:
            s.client().start().close()
        assert not (where / 'nbd.sock').exists()


def test_an_end_leaves_the_socket_of_a_successor():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-r', '-f', 'raw', '-x', 'one', 'disk', where=where) as first:
            old = os.stat(first.socket).st_ino
            with serve('-r', '-f', 'raw', '-x', 'two', 'disk', where=where) as second:
                wait_for(lambda: listens(second.socket) and os.stat(second.socket).st_ino != old)
                assert first.stop() == 0
                told = run_in(where, OURS, '-L', '-k', second.socket)
                assert "export: 'two'" in told.stdout, told
        assert not os.path.exists(second.socket)


@needs('qemu-nbd')
def test_lists_beside_options_that_say_how_images_are_opened():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-r', '-f', 'raw', '-x', 'one', 'disk', where=where) as s:
            for options in (['-r'], ['-s'], ['--image-opts'], ['--detect-zeroes=on'], ['-o', '0'], ['-n'],
                            ['--discard=unmap'], ['-f', 'raw'], ['--fork']):
                codes = [run_in(where, t, '-L', '-k', s.socket, *options).returncode for t in (OURS, THEIRS)]
                assert codes[0] == codes[1], (options, codes)


def test_ports_have_sixteen_bits():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        for port in ('65536', '70000', '99999999999999999999'):
            for command in ([OURS, '-b', '127.0.0.1', '-p', port, '-f', 'raw', 'disk'],
                            [OURS, '-L', '-b', '127.0.0.1', '-p', port],
                            [BUILD / 'qemu-img', 'info', f'nbd:127.0.0.1:{port}'],
                            [BUILD / 'qemu-img', 'info', f'nbd://127.0.0.1:{port}'],
                            [BUILD / 'qemu-img', 'info', '--image-opts',
                             f'driver=nbd,host=127.0.0.1,port={port}']):
                done = run_in(where, *command)
                assert done.returncode == 1 and port in done.stderr, done
                assert 'larger than 65535' in done.stderr or 'out of range' in done.stderr, done


def test_several_at_once_end_it_with_the_last():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-f', 'raw', '-e', '3', 'disk', where=where, persistent=False) as s:
            a, b = s.client().start(), s.client().start()
            a.close()
            time.sleep(0.2)
            assert b.read(0, 1) == b'\0'
            b.close()
            assert s.process.wait(PATIENCE) == 0


def test_signals_end_it():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with disk() as s:
            c = s.client().start()
            assert s.stop(sig) == 0
            assert not os.path.exists(s.socket)
            assert c.is_dropped()


def test_signals_ignored_or_blocked_by_the_parent_stay_so():
    """nohup qemu-nbd outlives its terminal."""
    for sig in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        for how in (lambda s=sig: signal.signal(s, signal.SIG_IGN),
                    lambda s=sig: signal.pthread_sigmask(signal.SIG_BLOCK, [s])):
            with folder() as where:
                make_disk(where / 'disk', MIB)
                process = subprocess.Popen([OURS, '-t', '-f', 'raw', '-k', str(where / 's'), 'disk'],
                                           cwd=where, preexec_fn=how)
                while not os.path.exists(where / 's'):
                    time.sleep(0.01)
                process.send_signal(sig)
                time.sleep(0.2)
                assert process.poll() is None, (sig, process.returncode)
                process.send_signal(signal.SIGTERM if sig != signal.SIGTERM else signal.SIGINT)
                assert process.wait(PATIENCE) == 0


def test_writes_are_there_at_the_end():
    with folder() as where:
        tool('qemu-img', 'create', '-q', '-f', 'qcow2', 'disk', '4M', cwd=where)
        with serve('-f', 'qcow2', '--cache=unsafe', 'disk', where=where) as s:
            assert s.client().start().call(WRITE, MIB, 4, data=b'data') == 0
        tool('qemu-img', 'check', 'disk', cwd=where)
        assert '00100000:  64 61 74 61' in tool('qemu-io', '-r', '-c', f'read -v {MIB} 4', 'disk',
                                                cwd=where)


def test_fork_returns_when_it_serves():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        done = run_in(where, OURS, '--fork', '--pid-file', 'pid', '-f', 'raw', '-k',
                      str(where / 's'), 'disk')
        assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
        pid = int((where / 'pid').read_text())
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(where / 's'))
            c = Client(sock).start()
            assert c.read(0, 3) == bytes(3)
            links = [os.readlink(f'/proc/{pid}/fd/{n}') for n in range(3)]
            assert links == ['/dev/null'] * 3, links
            assert os.getsid(pid) == pid
        finally:
            c.close()
            wait_for(lambda: not os.path.exists(f'/proc/{pid}'))


def test_fork_tells_what_went_wrong():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        for args in (['nosuch'], ['-b', '203.0.113.77', 'disk'], ['-k', '/nosuch/dir/s', 'disk']):
            done = run_in(where, OURS, '--fork', '-f', 'raw', *args)
            assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done


def test_sockets_of_the_service_manager():
    with folder() as where:
        make_disk(where / 'disk', MIB, b'activated')
        listeners = []
        for name in 'ab':
            s = socket.socket(socket.AF_UNIX)
            s.bind(str(where / name))
            s.listen(5)
            listeners.append(s)

        def child():
            for i, s in enumerate(listeners):
                os.dup2(s.fileno(), 20 + i)
            for i in range(2):
                os.dup2(20 + i, 3 + i, inheritable=True)
            os.environ['LISTEN_PID'] = str(os.getpid())

        env = dict(os.environ, LISTEN_FDS='2')
        # preexec_fn changes the environment after exec's copy was taken: a shell sets the pid.
        p = subprocess.Popen(['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', str(OURS), '-t', '-e', '0',
                              '-f', 'raw', 'disk'], cwd=where, env=env, preexec_fn=child,
                             close_fds=False)
        try:
            for name in 'ab':
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(str(where / name))
                assert Client(sock).start().read(0, 9) == b'activated'
        finally:
            p.terminate()
            assert p.wait(PATIENCE) == 0
        assert os.path.exists(where / 'a'), 'the sockets are not ours to remove'
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(where / 'a'))


def test_tcp():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with folder() as where:
        make_disk(where / 'disk', MIB, b'tcp')
        p = subprocess.Popen([OURS, '-t', '-b', '127.0.0.1', '-p', str(port), '-f', 'raw', 'disk'],
                             cwd=where)
        try:
            sock = socket.socket()
            wait_for(lambda: sock.connect_ex(('127.0.0.1', port)) == 0)
            c = Client(sock).start('structured')
            assert c.read(0, 3) == b'tcp'
            c.close()
        finally:
            p.terminate()
            assert p.wait(PATIENCE) == 0


def test_offset():
    with folder() as where:
        make_disk(where / 'disk', MIB, pattern(8192))
        for args in (('-o', '4096'), ('-o', '4k'), ('-s', '-o', '4096')):
            with serve('-f', 'raw', *args, 'disk', where=where) as s:
                c = s.client().start()
                assert c.size == MIB - 4096 and c.read(0, 4096) == pattern(8192)[4096:]
                assert c.call(WRITE, 0, 1, data=pattern(8192)[4096:4097]) == 0
        assert run_in(where, OURS, '-f', 'raw', '-o', str(MIB), 'disk').returncode == 1


def test_snapshot_takes_the_writes():
    with folder() as where:
        make_disk(where / 'disk', MIB, pattern(4096))
        with serve('-f', 'raw', '-s', 'disk', where=where) as s:
            c = s.client().start()
            assert c.call(WRITE, 0, 3, data=b'new') == 0
            assert c.read(0, 4096) == b'new' + pattern(4096)[3:]
        assert (where / 'disk').read_bytes()[:4096] == pattern(4096)


def test_internal_snapshots():
    with folder() as where:
        tool('qemu-img', 'create', '-q', '-f', 'qcow2', 'disk', '1M', cwd=where)
        tool('qemu-io', '-c', 'write -P 1 0 4k', 'disk', cwd=where)
        tool('qemu-img', 'snapshot', '-c', 'first', 'disk', cwd=where)
        tool('qemu-io', '-c', 'write -P 2 0 4k', 'disk', cwd=where)
        for which in ('first', '1', 'snapshot.name=first', 'snapshot.id=1,snapshot.name=first'):
            with serve('-f', 'qcow2', '-l', which, 'disk', where=where) as s:
                c = s.client().start()
                assert c.flags & F_READ_ONLY and c.read(0, 4096) == b'\1' * 4096
        assert run_in(where, OURS, '-f', 'qcow2', '-l', 'none', 'disk').returncode == 1


def test_image_opts_and_modes():
    with folder() as where:
        make_disk(where / 'disk', MIB, pattern(4096))
        for args in (('--image-opts', 'driver=raw,file.driver=file,file.filename=disk,offset=512'),):
            with serve(*args, where=where) as s:
                assert s.client().start().read(0, 512) == pattern(4096)[512:1024]
        for args in (['-n'], ['--cache=none'], ['--cache=directsync'], ['--cache=writethrough'],
                     ['--aio=threads'], ['-n', '--aio=native'], *[['--aio=io_uring']] * HAS_RINGS,
                     ['--discard=on', '--detect-zeroes=unmap'], ['--detect-zeroes=on']):
            with serve('-f', 'raw', *args, 'disk', where=where) as s:
                c = s.client().start()
                assert c.read(1, 4095) == pattern(4096)[1:], args
                assert c.call(WRITE, 100000, 8192, data=pattern(8192)) == 0, args
                assert c.call(WRITE, 70000, 30000, data=bytes(30000)) == 0, args
                assert c.call(FLUSH) == 0 and c.read(99999, 3) == b'\0' + pattern(2), args


def test_sigusr1_prints_a_line_for_each_client():
    with disk(MIB, '-x', 'the "name"') as s:
        a = s.client().start(name='the "name"')
        b = s.client().greet()
        assert a.call(WRITE, 0, 100, data=bytes(100)) == 0 and a.read(0, 40) == bytes(40)
        b.option(OPT_LIST)
        s.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: len(s.log.read_text().splitlines()) == 2)
        lines = sorted(s.log.read_text().splitlines())
        assert lines[0].startswith('client unix export "the \\"name\\"" requests 2 read 40 written 100 '
                                   'in-flight 0 seconds '), lines
        assert lines[1].startswith('client unix export - requests 0 '), lines


def test_verbose_tells_who_comes_and_goes():
    with disk(MIB, '-v') as s:
        s.client().start().close()
        c = s.client().start()
        c.send(bytes(40))
        assert c.is_dropped()
        wait_for(lambda: s.log.read_text().count(': left') == 2)
        assert 'magic' in s.log.read_text() and 'export' in s.log.read_text()


def test_size_in_whole_sectors():
    with folder() as where:
        (where / 'odd').write_bytes(pattern(1000))
        with serve('-f', 'raw', 'odd', where=where) as s:
            c = s.client().start()
            assert c.size == 1024 and c.read(0, 1024) == pattern(1000) + bytes(24)


REFUSED = [
    [], ['a', 'b'], ['-x'], ['-P', '1', 'disk'], ['--partition=1', 'disk'], ['-p', 'x', 'disk'],
    ['-e', '-1', 'disk'], ['-e', 'x', 'disk'], ['-k', 'relative', 'disk'], ['nosuch'],
    ['-o', '1k0', 'disk'], ['--discard=x', 'disk'], ['--cache=x', 'disk'],
    ['--aio=x', 'disk'], ['--detect-zeroes=x', 'disk'], ['--detect-zeroes=unmap', 'disk'],
    ['-f', 'raw', '-B', 'none', 'disk'], ['--tls-creds', 'none', 'disk'], ['--tls-authz', 'a', 'disk'],
    ['--tls-hostname=x', 'disk'], ['-n', '--cache=none', 'disk'], ['--cache=none', '-n', 'disk'],
    ['--image-opts', '-f', 'raw', 'driver=raw,file.filename=disk'], ['-f', 'nosuch', 'disk'],
    ['-L', 'disk'], ['-L', '-o', '1'], ['-L', '-x', 'n'], ['--nosuch', 'disk'], ['--object', 'x', 'disk'],
    ['-f', 'raw', '-l', 'x', 'disk'], ['-D', 'd' * 4097, '-f', 'raw', 'disk'],
    ['-x', 'd' * 4097, '-f', 'raw', 'disk'], ['-f', 'raw', '--selinux-label=x', 'disk'],
    ['--image-opts', 'driver=raw,read-only,file.filename=disk'], ['--image-opts', 'disk'],
    *[['-o', offset, '-f', 'raw', 'disk'] for offset in ('-1', '9223372036854775808', '', '1.5', '-x')],
]


@needs('qemu-nbd')
def test_exit_codes_equal_the_reference():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        for args in REFUSED:
            args = ['-k', str(where / 's')] + args if '-p' not in args and '-k' not in args else args
            ours, theirs = (run_in(where, t, *args) for t in (OURS, THEIRS))
            assert ours.returncode == theirs.returncode != 0, (args, ours, theirs)
            assert ours.stdout == theirs.stdout == '', args
            lines = [['' if line.startswith(('qemu-nbd: ', f'{t}: ')) else
                      re.sub('`[^ ]*/qemu-nbd', '`qemu-nbd', line) for line in r.stderr.splitlines()]
                     for r, t in ((ours, OURS), (theirs, THEIRS))]
            assert lines[0] == lines[1], (args, ours.stderr, theirs.stderr)


def test_a_socket_beside_an_address_is_told():
    with folder() as where:
        make_disk(where / 'disk', MIB, b'x')
        done = run_in(where, OURS, '-k', where / 'nosuch/sock', '-p', '1', '-f', 'raw', 'disk')
        assert 'warning: -k says where to listen; -b and -p have no effect' in done.stderr, done.stderr


@needs('qemu-nbd')
def test_what_the_reference_takes_is_taken():
    for args in (['--port=1', '-b', 'nosuch.invalid'], ['-e', '0x2'], ['-e', ' +02']):
        for program in OURS, THEIRS:
            with folder() as where:
                make_disk(where / 'disk', MIB, b'x')
                with serve(*args, '-f', 'raw', 'disk', where=where, tool=program) as s:
                    clients = [s.client().start() for _ in range(2 if '-e' in args else 1)]
                    assert [c.read(0, 1) for c in clients] == [b'x'] * len(clients), (program, args)
                    for c in clients:
                        c.close()


def test_exports_that_are_refused():
    good = 'node.driver=null-co'
    for text_ in ('name=a', good, f'name=a,{good},nosuch=1', f'name=a,readonly=maybe,{good}',
                  '{"name": 1, "node": {"driver": "null-co"}}', '{"name": "a"', 'name=a,node=b',
                  f'name=a,bitmap=none,{good}', 'name=a,node.driver=nosuch',
                  '{"name": "a", "bitmap": 1, "node": {"driver": "null-co"}}',
                  f'name={"n" * 4097},{good}'):
        with folder() as where:
            done = run_in(where, OURS, '-k', str(where / 's'), '--export', text_)
            assert done.returncode == 1 and done.stderr.startswith('qemu-nbd: '), (text_, done)
    with folder() as where:
        twice = ['--export', f'name=a,{good}'] * 2
        assert run_in(where, OURS, '-k', str(where / 's'), *twice).returncode == 1
        assert run_in(where, OURS, '--export', f'name=a,{good}', 'disk').returncode == 1
        assert run_in(where, OURS, '--export', f'name=a,{good}', '-x', 'b').returncode == 1


def test_trace_shows_options_requests_and_replies():
    with disk(MIB, '-T', 'nbd_*') as s:
        c = s.client().start()
        assert c.call(WRITE, 512, 1024, data=bytes(1024)) == 0
        text = s.log.read_text()
        assert ':nbd_option unix option=7 len=6' in text, text
        assert ':nbd_request unix type=1 flags=0x0 cookie=0x4d off=512 len=1024' in text, text
        assert ':nbd_reply unix cookie=0x4d result=0' in text, text


def test_help_and_version():
    with folder() as where:
        for args in (['-h'], ['--help'], ['-V'], ['--version'], ['-T', 'help']):
            done = run_in(where, OURS, *args)
            assert done.returncode == 0 and done.stderr == '', done
        assert run_in(where, OURS, '-V').stdout.startswith('qemu-nbd 7.2.')
        hint = run_in(where, OURS, '-P', '1', 'x').stderr
        assert '-o' in hint and 'artition' in hint


sys.exit(run('life', globals()))
