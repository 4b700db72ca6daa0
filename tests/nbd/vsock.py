#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD over vsock sockets within one machine: our server, which a service manager gave its socket, and
our client. Where the kernel has no vsock loopback, vsock.slow.py runs it all on one that has."""
import contextlib
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from certificates import make_certificate
from nbd_frames import *

MIB = 1 << 20
LOCAL_CID = 1       # VMADDR_CID_LOCAL
NOBODY = 5          # a port that is given to nobody
HERE = f'vsock:{LOCAL_CID}'
KEY = '0123456789abcdef' * 4


def bound(port=socket.VMADDR_PORT_ANY):
    listener = socket.socket(socket.AF_VSOCK)
    listener.bind((LOCAL_CID, port))
    return listener, listener.getsockname()[1]


@contextlib.contextmanager
def serve_vsock(where, *args, port=socket.VMADDR_PORT_ANY):
    """Our server of an image in @where; the port, and what it says in file log."""
    listener, port = bound(port)
    with inherit(where, listener, '-t', '-e', '0', '-f', 'raw', *args, 'disk') as process:
        yield port, process


def options(port, **more):
    text = f'driver=nbd,server.type=vsock,server.cid={LOCAL_CID},server.port={port}'
    return text + ''.join(f',{k.replace("_", "-")}={v}' for k, v in more.items())


def uri(port, scheme='nbd+vsock', tail=''):
    return f'{scheme}://{LOCAL_CID}:{port}/{tail}'


def tool(name, *args, code=0, cwd=None):
    """Standard output and error of one of our tools."""
    done = subprocess.run([OURS.parent / name, *map(str, args)], stdin=subprocess.DEVNULL, cwd=cwd,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=4 * PATIENCE)
    assert done.returncode == code, (args, done.returncode, done.stdout[-500:])
    return done.stdout


def psk(where):
    (where / 'keys.psk').write_text(f'me:{KEY}\n')
    return (['--object', f'tls-creds-psk,id=t,endpoint=server,dir={where}', '--tls-creds', 't'],
            ['--object', f'tls-creds-psk,id=t,username=me,dir={where}'])


def x509(where):
    make_certificate(where / 'ca', 'ca', None)
    make_certificate(where / 'named', 'named', where / 'ca')
    return (['--object', f'tls-creds-x509,id=t,endpoint=server,verify-peer=off,dir={where}/named',
             '--tls-creds', 't'],
            ['--object', f'tls-creds-x509,id=t,dir={where}/ca'])


# ---- in clear ------------------------------------------------------------------------------------


def test_read_by_uri_and_by_options():
    with folder() as where:
        make_disk(where / 'disk', 8 * MIB, pattern(3 * MIB))
        with serve_vsock(where, '-r') as (port, _):
            tool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'disk', uri(port), cwd=where)
            tool('qemu-img', 'compare', '--image-opts', 'driver=raw,file.filename=disk', options(port),
                 cwd=where)
            tool('qemu-img', 'convert', '-O', 'raw', uri(port), 'out', cwd=where)
            assert (where / 'out').read_bytes() == (where / 'disk').read_bytes()


def test_shown_name_opens_the_same():
    with folder() as where:
        make_disk(where / 'disk', MIB, pattern(MIB))
        with serve_vsock(where, '-r', '-x', 'a b') as (port, _):
            shown = tool('qemu-img', 'info', '--image-opts', options(port, export='a b'))
            name = re.search('^image: (.*)$', shown, re.M)[1]
            assert name == uri(port, tail='a b'), shown
            tool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'disk', name, cwd=where)


def test_write():
    with folder() as where:
        make_disk(where / 'disk', 8 * MIB)
        make_disk(where / 'source', 8 * MIB, pattern(3 * MIB))
        with serve_vsock(where) as (port, _):
            tool('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', 'source', uri(port), cwd=where)
            tool('qemu-io', '-f', 'raw', '-c', 'write -P 7 4M 1M', '-c', 'write -z 64k 64k',
                 '-c', 'flush', uri(port))
            wanted = bytearray((where / 'source').read_bytes())
            wanted[4 * MIB:5 * MIB] = b'\7' * MIB
            wanted[65536:131072] = bytes(65536)
            assert (where / 'disk').read_bytes() == wanted


def test_several_connections():
    with folder() as where:
        make_disk(where / 'disk', 16 * MIB, pattern(3 * MIB))
        with serve_vsock(where, '-r') as (port, _):
            tool('qemu-img', 'compare', '--image-opts', 'driver=raw,file.filename=disk',
                 options(port, connections=4), cwd=where)


def test_server_tells_who_its_client_is():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve_vsock(where) as (port, process), socket.socket(socket.AF_VSOCK) as sock:
            sock.settimeout(PATIENCE)
            sock.connect((LOCAL_CID, port))
            Client(sock).greet()
            process.send_signal(signal.SIGUSR1)
            wait_for(lambda: f'{HERE}:{sock.getsockname()[1]}' in (where / 'log').read_text())


@needs('nbdcopy')
def test_libnbd_reads_from_our_server():
    with folder() as where:
        make_disk(where / 'disk', 8 * MIB, pattern(3 * MIB))
        with serve_vsock(where, '-r', port=10809):      # it knows no ports past 31 bits
            subprocess.run(['nbdcopy', f'nbd+vsock://{LOCAL_CID}/', where / 'out'], check=True, timeout=4 * PATIENCE)
            assert (where / 'out').read_bytes() == (where / 'disk').read_bytes()


@needs('nbdkit')
def test_our_client_reads_and_writes_at_nbdkit():
    with folder() as where:
        make_disk(where / 'disk', 8 * MIB, pattern(3 * MIB))
        listener, port = bound()
        listener.close()
        with open(where / 'log', 'wb') as log:
            p = subprocess.Popen(['nbdkit', '-f', '--vsock', '-p', str(port), '-P', where / 'pid',
                                  'file', where / 'disk'], stdout=log, stderr=log)
        try:
            wait_for((where / 'pid').exists)
            tool('qemu-io', '-f', 'raw', '-c', 'write -P 7 4M 1M', '-c', 'flush', uri(port))
            tool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'disk', uri(port), cwd=where)
        finally:
            p.terminate()
            p.wait()


# ---- TLS -----------------------------------------------------------------------------------------


def test_tls_by_shared_key():
    with folder() as where:
        make_disk(where / 'disk', 4 * MIB, pattern(3 * MIB))
        server, client = psk(where)
        with serve_vsock(where, *server) as (port, _):
            name = uri(port, 'nbds+vsock', '?tls-creds=t')
            tool('qemu-img', 'compare', *client, '-f', 'raw', '-F', 'raw', 'disk', name, cwd=where)
            tool('qemu-io', *client, '-f', 'raw', '-c', 'write -P 7 3M 1M', '-c', 'flush', name)
            tool('qemu-img', 'compare', *client, '--image-opts', 'driver=raw,file.filename=disk',
                 options(port, tls_creds='t'), cwd=where)
            tool('qemu-img', 'info', uri(port), code=1)


def test_tls_by_certificate_is_for_a_name():
    with folder() as where:
        make_disk(where / 'disk', MIB, pattern(MIB))
        server, client = x509(where)
        with serve_vsock(where, '-r', *server) as (port, _):
            for name, code in ('&tls-hostname=disks.example', 0), ('&tls-hostname=localhost', 1), ('', 1):
                tool('qemu-img', 'info', *client, uri(port, 'nbds+vsock', f'?tls-creds=t{name}'), code=code)
            tool('qemu-img', 'compare', *client, '--image-opts', 'driver=raw,file.filename=disk',
                 options(port, tls_creds='t', tls_hostname='disks.example'), cwd=where)


# ---- servers that are not there ------------------------------------------------------------------


def test_nobody_listens():
    """Told as a failure to connect, by every kernel, in its own time (2 s where it cannot know)."""
    for args in [uri(NOBODY)], ['--image-opts', options(NOBODY)]:
        began = time.monotonic()
        said = tool('qemu-img', 'info', *args, code=1)
        assert f"Cannot connect to '{HERE}:{NOBODY}': " in said and said.count('\n') == 1, said
        assert time.monotonic() - began < PATIENCE / 2


def test_no_such_machine():
    said = tool('qemu-img', 'info', 'nbd+vsock://4242:10809/', code=1)
    assert 'vsock:4242:10809' in said and said.count('\n') == 1, said


def test_numbers_that_are_none():
    for name in 'nbd+vsock://x:1/', 'nbd+vsock://4294967296:1/', 'nbd+vsock://1:-1/':
        said = tool('qemu-img', 'info', name, code=1)
        assert 'number of 32 bits' in said and said.count('\n') == 1, said


def test_client_waits_for_a_server_to_come_back():
    with folder() as where:
        make_disk(where / 'disk', 4 * MIB, pattern(MIB))
        with serve_vsock(where) as (port, _):
            p = subprocess.Popen([OURS.parent / 'qemu-io', '--image-opts', options(port, reconnect_delay=60)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, bufsize=1)
            p.stdin.write('write -P 1 0 1M\nflush\n')
            wait_for(lambda: (where / 'disk').read_bytes()[:MIB] == b'\1' * MIB)
        p.stdin.write('write -P 2 1M 1M\n')
        time.sleep(1)
        with serve_vsock(where, port=port):
            said = p.communicate('read -P 1 0 1M\nread -P 2 1M 1M\nflush\n', timeout=4 * PATIENCE)[0]
        assert p.returncode == 0 and said.count('1 MiB, 1 ops') == 4 and 'failed' not in said, said
        assert (where / 'disk').read_bytes()[:2 * MIB] == b'\1' * MIB + b'\2' * MIB


def test_without_delay_requests_fail():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve_vsock(where) as (port, _):
            p = subprocess.Popen([OURS.parent / 'qemu-io', '-f', 'raw', uri(port)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
            p.stdin.write('write -P 1 0 1M\nflush\n')
            wait_for(lambda: (where / 'disk').read_bytes() == b'\1' * MIB)
        said = p.communicate('read 0 4k\n', timeout=PATIENCE)[0]
        assert p.returncode == 1 and 'read failed: Input/output error' in said, said


def main():
    try:
        bound()[0].close()
    except OSError as e:
        print(f'skip nbd/vsock/within-a-machine no vsock loopback: {e.strerror}')
        return run('vsock', {t.__name__: t for t in (test_nobody_listens, test_no_such_machine,
                                                     test_numbers_that_are_none)})
    return run('vsock', globals())


sys.exit(main())
