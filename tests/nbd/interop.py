#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Our server with the clients that others wrote: libnbd's tools, the reference, nbd-client."""
import contextlib
import json
import pathlib
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from nbd_frames import *

MIB = 1 << 20


def run_ok(*args, cwd=None):
    done = subprocess.run(list(map(str, args)), cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 0, (args, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


def reference(tool, *args, cwd=None):
    return run_ok(REFERENCE / tool, *args, cwd=cwd)


def images(where):
    make_disk(where / 'raw', 8 * MIB, pattern(3 * MIB))
    reference('qemu-img', 'create', '-q', '-f', 'qcow2', 'base', '6M', cwd=where)
    reference('qemu-io', '-c', 'write -P 1 0 1M', '-c', 'write -z 3M 1M', 'base', cwd=where)
    reference('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'top', '8M',
              cwd=where)
    reference('qemu-img', 'bitmap', '--add', 'top', 'b0', cwd=where)
    reference('qemu-io', '-c', 'write -P 2 512k 1M', '-c', 'write -c -P 3 5M 64k', 'top', cwd=where)


@needs('nbdinfo', 'qemu-nbd', 'qemu-img', 'qemu-io')
def test_nbdinfo_tells_the_same_as_of_the_reference():
    with folder() as where:
        images(where)
        for args in (['-f', 'raw', 'raw'], ['-r', '-f', 'raw', 'raw'], ['-f', 'qcow2', 'top'],
                     ['-f', 'qcow2', '-A', '-B', 'b0', '-D', 'text', '-x', 'name', 'top'],
                     ['-e', '4', '-f', 'qcow2', 'top'], ['-e', '4', '-r', '-f', 'raw', 'raw'],
                     ['--image-opts', 'driver=raw,offset=1M,size=2M,file.driver=file,'
                      'file.filename=raw']):
            name = 'name' if '-x' in args else ''
            found = []
            for tool in (OURS, REFERENCE / 'qemu-nbd'):
                with serve(*args, where=where, tool=tool) as s:
                    info = json.loads(run_ok('nbdinfo', '--json', s.uri(name)))
                    listed = json.loads(run_ok('nbdinfo', '--list', '--json', s.uri()))
                    mapped = json.loads(run_ok('nbdinfo', '--map', '--json', s.uri(name)))
                    found.append((info, listed, mapped))
            assert found[0] == found[1], (args, found)


@needs('nbdcopy', 'qemu-img', 'qemu-io')
def test_nbdcopy_in_and_out():
    with folder() as where:
        images(where)
        reference('qemu-img', 'convert', '-O', 'raw', 'top', 'expected', cwd=where)
        for args in ([], ['--synchronous'], ['--connections=1'], ['--no-extents'],
                     ['--request-size=33554432'], ['--requests=128', '--request-size=4096'],
                     ['--connections=4', '--threads=4']):
            with serve('-e', '0', '-f', 'qcow2', 'top', where=where) as s:
                run_ok('nbdcopy', *args, s.uri(), where / 'out')
                assert (where / 'out').read_bytes() == (where / 'expected').read_bytes(), args
            reference('qemu-img', 'create', '-q', '-f', 'qcow2', 'target', '8M', cwd=where)
            with serve('-e', '0', '-f', 'qcow2', '--discard=unmap', 'target', where=where) as s:
                run_ok('nbdcopy', '--flush', *args, where / 'expected', s.uri())
                run_ok('nbdcopy', '--destination-is-zero' if not args else '--flush', s.uri(),
                       'null:')
            reference('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', 'expected', 'target', cwd=where)
            reference('qemu-img', 'check', '-q', 'target', cwd=where)


@needs('qemu-img', 'qemu-io')
def test_the_reference_as_client():
    with folder() as where:
        images(where)
        with serve('-e', '0', '-f', 'qcow2', '-B', 'b0', 'top', where=where) as s:
            uri = s.uri()
            assert json.loads(reference('qemu-img', 'info', '--output=json', uri))['virtual-size'] == \
                8 * MIB
            reference('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', '-U', uri, where / 'top')
            dirty = json.loads(reference(
                'qemu-img', 'map', '--output=json', '--image-opts',
                f'driver=nbd,server.type=unix,server.path={s.socket},'
                'x-dirty-bitmap=qemu:dirty-bitmap:b0'))
            assert sum(e['length'] for e in dirty if not e['data']) == MIB + 65536, dirty
            reference('qemu-io', '-f', 'raw', '-c', 'write -P 7 100 5000', '-c', 'write -z -u 2M 1M',
                      '-c', 'write -f -P 8 7M 64k', '-c', 'discard 6M 64k', '-c', 'flush',
                      '-c', 'read -P 7 100 5000', '-c', 'read -P 0 2M 1M', '-c', 'read -P 8 7M 64k', uri)
            found = run_ok('nbdinfo', '--size', uri) if s else ''
            assert found.strip() == str(8 * MIB)
            reference('qemu-img', 'bench', '-f', 'raw', '-c', '2000', '-d', '32', '-s', '4096', '-w', uri)
        reference('qemu-img', 'check', '-q', 'top', cwd=where)


@needs('qemu-img')
def test_the_reference_converts_onto_it():
    with folder() as where:
        images(where)
        reference('qemu-img', 'create', '-q', '-f', 'qcow2', 'target', '8M', cwd=where)
        with serve('-f', 'qcow2', 'target', where=where) as s:
            reference('qemu-img', 'convert', '-n', '-O', 'raw', where / 'top', s.uri())
        reference('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', 'top', 'target', cwd=where)


@needs('nbd-client')
def test_nbd_client_lists():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with folder() as where:
        make_disk(where / 'disk', MIB)
        p = subprocess.Popen([OURS, '-t', '-e', '0', '-b', '127.0.0.1', '-p', str(port), '-f', 'raw', '-x',
                              'some-name', '-D', 'its text', 'disk'], cwd=where)
        try:
            until = time.monotonic() + PATIENCE
            while socket.socket().connect_ex(('127.0.0.1', port)):
                assert time.monotonic() < until
            done = subprocess.run(['nbd-client', '-l', '127.0.0.1', str(port)], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
            assert 'some-name' in done.stdout, done
        finally:
            p.terminate()
            assert p.wait(PATIENCE) == 0


@needs('cc', 'pkg-config')
def test_libnbd_from_c():
    """The same program with our server and with the reference's, which shows that it asks for what is right."""
    flags = subprocess.run(['pkg-config', '--cflags', '--libs', 'libnbd'], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if flags.returncode:
        raise Skip('libnbd cannot be linked with')
    with folder() as where:
        run_ok('cc', '-Wall', '-O1', '-o', where / 'client',
               pathlib.Path(__file__).resolve().parent / 'peers/libnbd-client.c', *flags.stdout.split())
        for tool in OURS, REFERENCE / 'qemu-nbd':
            if not tool.exists():
                continue
            make_disk(where / 'raw', 4 * MIB, b'\x11' * MIB)
            with serve('-e', '0', '--discard=unmap', '-f', 'raw', 'raw', where=where, tool=tool) as s:
                run_ok(where / 'client', s.uri())


# ---- the reference's storage daemon ---------------------------------------------------------------


@contextlib.contextmanager
def storage_daemon(where, *args):
    """One that serves at socket "qsd"; ends in order."""
    ready = where / 'qsd.pid'
    ready.unlink(missing_ok=True)
    p = subprocess.Popen([REFERENCE / 'qemu-storage-daemon', '--pidfile', ready, *args], cwd=where, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + PATIENCE
        while not ready.exists():
            assert p.poll() is None, p.stdout.read()
            assert time.monotonic() < until
            time.sleep(0.01)
        yield f'nbd+unix:///NAME?socket={where}/qsd'
    finally:
        p.terminate()
        assert p.wait(PATIENCE) == 0, p.stdout.read()
        p.stdout.close()


SERVES = ['--nbd-server', 'addr.type=unix,addr.path=qsd,max-connections=16']


def ours(tool, *args, cwd=None):
    return run_ok(OURS.parent / tool, *args, cwd=cwd)


@needs('qemu-storage-daemon', 'qemu-img', 'qemu-io')
def test_our_client_with_the_storage_daemon():
    with folder() as where:
        images(where)
        with storage_daemon(
                where, *SERVES, '--blockdev', 'driver=file,node-name=f,filename=top,read-only=on', '--blockdev',
                'driver=qcow2,node-name=q,file=f,read-only=on', '--blockdev', 'driver=file,node-name=r,filename=raw',
                '--export', 'type=nbd,id=a,node-name=q,name=a,allocation-depth=on,bitmaps.0=b0,'
                'description=text', '--export', 'type=nbd,id=b,node-name=r,name=b,writable=on') as uri:
            a, b = uri.replace('NAME', 'a'), uri.replace('NAME', 'b')
            listed = json.loads(ours('qemu-nbd', '-L', '-k', where / 'qsd', '--output=json'))
            assert [e['name'] for e in listed] == ['a', 'b'] and listed[0]['description'] == 'text'
            assert listed[0]['contexts'] == ['base:allocation', 'qemu:allocation-depth',
                                             'qemu:dirty-bitmap:b0']
            for context in 'qemu:dirty-bitmap:b0', 'qemu:allocation-depth':
                maps = [json.loads(run_ok(t, 'map', '--output=json', '--image-opts',
                                          f'driver=nbd,server.type=unix,server.path={where}/qsd,export=a,'
                                          f'x-dirty-bitmap={context}'))
                        for t in (OURS.parent / 'qemu-img', REFERENCE / 'qemu-img')]
                assert maps[0] == maps[1] and len(maps[0]) > 2, maps
            ours('qemu-img', 'convert', '-O', 'raw', a, 'copy', cwd=where)
            ours('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', 'copy', b, cwd=where)
            ours('qemu-io', '-c', 'write -P 7 100 5000', '-c', 'write -z -u 2M 1M', '-c', 'discard 6M 64k',
                 '-c', 'read -P 7 100 5000', '-c', 'read -P 0 2M 1M', '--image-opts',
                 f'driver=nbd,path={where}/qsd,export=b,connections=4')
            reference('qemu-io', '-f', 'raw', '-c', 'write -P 7 100 5000', '-c', 'write -z 2M 1M', 'copy',
                      cwd=where)
            ours('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'copy', b, cwd=where)


@needs('qemu-storage-daemon', 'qemu-img')
def test_the_storage_daemon_as_client_of_ours():
    """Ours serves to the daemon, which serves what it gets to our client."""
    with folder() as where:
        images(where)
        reference('qemu-img', 'convert', '-O', 'raw', 'top', 'expected', cwd=where)
        with serve('-e', '0', *psk(where), '-f', 'qcow2', '-x', 'deep', 'top', where=where) as s:
            with storage_daemon(
                    where, *SERVES, '--object', f'tls-creds-psk,id=c,endpoint=client,username=alice,dir={where}',
                    '--blockdev', f'driver=nbd,node-name=n,server.type=unix,server.path={s.socket},'
                    'export=deep,tls-creds=c,reconnect-delay=5', '--export',
                    'type=nbd,id=a,node-name=n,name=a,writable=on') as uri:
                a = uri.replace('NAME', 'a')
                ours('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', where / 'expected', a)
                ours('qemu-io', '-f', 'raw', '-c', 'write -P 9 1000 100000', '-c', 'write -z 3M 64k', '-c',
                     'discard 4M 64k', '-c', 'flush', '-c', 'read -P 9 1000 100000', a)
        ours('qemu-io', '-c', 'read -P 9 1000 100000', '-c', 'read -P 0 3M 64k', where / 'top')


@needs('qemu-storage-daemon', 'qemu-img')
def test_the_storage_daemon_by_tls_and_by_descriptor():
    with folder() as where:
        images(where)
        key = psk(where)[1]
        with storage_daemon(where, '--object', key, '--nbd-server',
                            'addr.type=unix,addr.path=qsd,tls-creds=tls0', '--blockdev',
                            'driver=file,node-name=r,filename=raw', '--export',
                            'type=nbd,id=b,node-name=r,name=b'):
            client = ['--object', f'tls-creds-psk,id=c,username=alice,dir={where}', '--image-opts']
            ours('qemu-img', 'compare', *client, 'driver=raw,file.filename=raw',
                 f'driver=nbd,path={where}/qsd,export=b,tls-creds=c', cwd=where)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(where / 'qsd'))
                subprocess.run([OURS.parent / 'qemu-img', 'compare', *client, 'driver=raw,file.filename=raw',
                                f'driver=nbd,server.type=fd,server.str={sock.fileno()},export=b,tls-creds=c'],
                               pass_fds=[sock.fileno()], check=True, cwd=where, stdout=subprocess.DEVNULL)


# ---- other ways ------------------------------------------------------------------------------------


@needs('qemu-img')
def test_descriptors():
    """A server that got its socket from a service manager, clients that got theirs from us."""
    with folder() as where:
        make_disk(where / 'raw', MIB, pattern(MIB))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(where / 'nbd.sock'))
        with inherit(where, listener, '-t', '-e', '0', '-r', '-f', 'raw', 'raw'):
            for tool in OURS.parent, REFERENCE:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(str(where / 'nbd.sock'))
                    subprocess.run([tool / 'qemu-img', 'compare', '--image-opts',
                                    'driver=raw,file.filename=raw',
                                    f'driver=nbd,server.type=fd,server.str={sock.fileno()}'], cwd=where,
                                   pass_fds=[sock.fileno()], check=True, stdout=subprocess.DEVNULL)


# ---- TLS -----------------------------------------------------------------------------------------


def psk(where):
    (where / 'keys.psk').write_text('alice:0123456789abcdef0123456789abcdef\n'
                                    'bob:00112233445566778899aabbccddeeff\n')
    return ['--object', f'tls-creds-psk,id=tls0,endpoint=server,dir={where}', '--tls-creds', 'tls0']


def tls_uri(s, where, user='alice'):
    return f'nbds+unix://{user}@/?socket={s.socket}&tls-psk-file={where}/keys.psk'


@needs('nbdinfo', 'nbdcopy')
def test_psk_with_libnbd():
    with folder() as where:
        make_disk(where / 'disk', 8 * MIB, pattern(2 * MIB))
        with serve('-e', '0', *psk(where), '-f', 'raw', 'disk', where=where) as s:
            assert 'with TLS' in run_ok('nbdinfo', tls_uri(s, where))
            run_ok('nbdcopy', tls_uri(s, where), where / 'out')
            assert (where / 'out').read_bytes() == (where / 'disk').read_bytes()
            run_ok('nbdcopy', where / 'out', tls_uri(s, where, 'bob'))
            plain = subprocess.run(['nbdinfo', s.uri()], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
            assert plain.returncode


@needs('nbdinfo')
def test_psk_users_are_admitted_by_authorisation():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-e', '0', *psk(where), '--object', 'authz-simple,id=a,identity=alice',
                   '--tls-authz', 'a', '-f', 'raw', 'disk', where=where) as s:
            run_ok('nbdinfo', tls_uri(s, where))
            refused = subprocess.run(['nbdinfo', tls_uri(s, where, 'bob')], stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT)
            assert refused.returncode
            run_ok('nbdinfo', tls_uri(s, where))


def test_required_tls_answers_nothing_in_clear():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-e', '0', *psk(where), '-f', 'raw', 'disk', where=where) as s:
            c = s.client().greet()
            for option, data in ((OPT_LIST, b''), (OPT_INFO, go('')), (OPT_GO, go('')), (99, b''),
                                 (OPT_STRUCTURED_REPLY, b''), (OPT_EXTENDED_HEADERS, b''),
                                 (OPT_LIST_META, meta(''))):
                assert [k for k, _ in c.option(option, data)] == [ERR_TLS_REQD], option
            c.send_option(OPT_EXPORT_NAME)
            assert c.is_dropped()
            c = s.client().greet()
            assert c.option(OPT_ABORT) == [(REP_ACK, b'')]


def test_bytes_in_clear_behind_starttls_are_not_taken_for_data():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-e', '0', *psk(where), '-f', 'raw', 'disk', where=where) as s:
            c = s.client().greet()
            c.send(OPTION_MAGIC + struct.pack('>LL', OPT_STARTTLS, 0) +
                   OPTION_MAGIC + struct.pack('>LL', OPT_LIST, 0))
            assert c.option_reply(OPT_STARTTLS) == (REP_ACK, b'')
            assert c.is_dropped()
            c = s.client().greet()
            assert c.option(OPT_STARTTLS) == [(REP_ACK, b'')]
            c.send(b'\x16\x03\x01\xff\xff' + bytes(100))
            c.close()
            assert s.client().greet().option(OPT_ABORT)


def test_tls_handshakes_have_the_same_limit():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-e', '0', '--handshake-limit=1', *psk(where), '-f', 'raw', 'disk',
                   where=where) as s:
            c = s.client().greet()
            assert c.option(OPT_STARTTLS) == [(REP_ACK, b'')]
            began = time.monotonic()
            assert c.is_dropped() and time.monotonic() - began < 10


def test_stop_with_clients_in_a_tls_handshake():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-e', '0', *psk(where), '-f', 'raw', 'disk', where=where) as s:
            silent, half = s.client().greet(), s.client().greet()
            for c in (silent, half):
                assert c.option(OPT_STARTTLS) == [(REP_ACK, b'')]
            half.send(b'\x16\x03\x01\x02\x00\x01')
            time.sleep(0.1)
            began = time.monotonic()
            assert s.stop() == 0 and time.monotonic() - began < 3


@needs('nbdcopy')
def test_tls_clients_cut_off_in_the_middle():
    with folder() as where:
        make_disk(where / 'disk', 64 * MIB, pattern(MIB))
        with serve('-e', '0', *psk(where), '-f', 'raw', 'disk', where=where) as s:
            for i in range(10):
                p = subprocess.Popen(['nbdcopy', tls_uri(s, where), 'null:'],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(0.01 * (i + 1))
                p.kill()
                p.wait()
            run_ok('nbdcopy', tls_uri(s, where), where / 'out')
            assert (where / 'out').read_bytes() == (where / 'disk').read_bytes()


def test_anonymous_credentials_are_refused():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        done = subprocess.run([OURS, '-k', where / 's', '--object',
                               'tls-creds-anon,id=t,endpoint=server', '--tls-creds', 't', '-f', 'raw',
                               'disk'], cwd=where, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        assert done.returncode == 1 and 'anonymous' in done.stderr


def test_anonymous_credentials_are_taken_when_told():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-e', '0', '--object', 'tls-creds-anon,id=t,endpoint=server', '--tls-creds', 't',
                   '--tls-anonymous', '-f', 'raw', 'disk', where=where) as s:
            ours = str(OURS.parent / 'qemu-img')
            run_ok(ours, 'info', '--object', 'tls-creds-anon,id=c', '--image-opts',
                   f'driver=nbd,server.type=unix,server.path={s.socket},tls-creds=c')
            assert subprocess.run([ours, 'info', s.uri()], stderr=subprocess.DEVNULL,
                                  timeout=PATIENCE).returncode == 1


@needs('nbdinfo')
def test_optional_tls_serves_both():
    with folder() as where:
        make_disk(where / 'disk', MIB)
        with serve('-e', '0', *psk(where), '--tls-optional', '-f', 'raw', 'disk', where=where) as s:
            run_ok('nbdinfo', tls_uri(s, where))
            run_ok('nbdinfo', s.uri())


sys.exit(run('interop', globals()))
