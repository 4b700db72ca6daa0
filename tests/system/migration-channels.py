#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move over several connections, and over connections in TLS, both ways with the reference; and
packets that are refused."""
import pathlib
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require
from certificates import make_certificate
from emulator import wait_for
from guests import REFERENCE_EMULATOR
from migrating import check_moved, source, target
from qmp import PATIENCE


def move(a, b, uri, capabilities=(), **parameters):
    """From @a to @b, which was started with -incoming defer."""
    for side in a, b:
        if capabilities:
            side.turn_on(*capabilities)
        side.tune(max_bandwidth=0, downtime_limit=20000, **parameters)
    return a.migrate(b.listen(uri))


# ---- multifd -------------------------------------------------------------------------------------

@case
def over_several_connections_nothing_is_lost():
    for uri, compression in ('unix:m.sock', 'none'), ('tcp:127.0.0.1:0', 'zlib'), ('unix:m.sock', 'zstd'):
        with source() as a, target('defer') as b:
            a.await_rounds(1)
            info = move(a, b, uri, ('multifd', 'return-path'), multifd_channels=3, multifd_compression=compression)
            ram = info['ram']
            assert ram['normal'] * 4096 < ram['multifd-bytes'] * (1 if compression == 'none' else 100), ram
            assert ram['transferred'] >= ram['multifd-bytes'] > 0, ram
            check_moved(a, b)


@case
def over_several_connections_to_the_reference_and_back():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    for uri, compression in ('unix:m.sock', 'none'), ('tcp:127.0.0.1:0', 'zlib'), ('unix:m.sock', 'zstd'):
        how = {'capabilities': ('multifd',), 'multifd_channels': 2, 'multifd_compression': compression}
        with source() as a, target('defer', program=REFERENCE_EMULATOR) as b, \
                target('defer', name='again') as c:
            a.await_rounds(1)
            move(a, b, uri, **how)
            check_moved(a, b)
            # Its own tracking of written pages loses some; so it stands still.
            b.answer('stop')
            move(b, c, uri.replace('m.', 'n.'), **how)
            wait_for(lambda: c.state() == 'paused')
            assert c.answer('cont') == {}
            check_moved(a, b, c)


@case
def several_connections_need_a_socket_and_two_that_agree():
    with source() as a, target('defer') as b:
        a.turn_on('multifd')
        assert 'multifd' in a.answer('migrate', uri='exec:cat >/dev/null')['desc']
        b.turn_on('multifd')
        b.tune(multifd_compression='zstd')
        a.migrate(b.listen('unix:m.sock'), 'failed')
        assert a.state() == 'running'
        b.process.wait(10)
        assert b"field 'flags'" in b.process.stderr.read()
        a.await_rounds(1)


HELLO = struct.pack('>II16sB39x', 0x11223344, 1, b'', 0)
RAM = 'microvm.ram'


def packet(flags=0, allocated=128, pages=0, size=0, name=RAM, offsets=(), magic=0x11223344, version=1, reserved=b''):
    return struct.pack('>6IQ32s256s', magic, version, flags, allocated, pages, size, 0, reserved, name.encode()) + \
        b''.join(struct.pack('>Q', o) for o in offsets).ljust(1024, b'\0')


def announcement():
    """The start of a main stream: up to the end of the list of memory."""
    name = b'microvm'
    return struct.pack('>IIBI', 0x5145564d, 3, 7, len(name)) + name + \
        struct.pack('>BIB3sII', 1, 2, 3, b'ram', 0, 4) + \
        struct.pack('>QB', 64 << 20 | 4, len(RAM)) + RAM.encode() + struct.pack('>QQBI', 64 << 20, 0x10, 0x7e, 2)


def refused(data, words, ends=True):
    """
    A source whose only channel sends @data after a good main stream. @ends: so late that the wait is over.
    """
    with target('defer') as b:
        b.turn_on('multifd')
        b.tune(multifd_channels=1)
        b.listen('unix:m.sock')
        with socket.socket(socket.AF_UNIX) as stream, socket.socket(socket.AF_UNIX) as channel:
            stream.connect('m.sock')
            stream.sendall(announcement())
            channel.connect('m.sock')
            channel.sendall(data)
            if ends:
                assert b.process.wait(20) == 1
            else:
                while stream.recv(100):
                    pass
                assert b.status() == 'setup'
                b.process.kill()
        said = b.process.stderr.read().decode()
        assert ('load of migration failed' in said) == ends and all(w in said for w in words), (words, said)
    pathlib.Path('m.sock').unlink(missing_ok=True)


@case
def hostile_packets_are_refused_with_field_and_value():
    for data, *words in (
            (b'x' * 64, 'magic', '0x78787878'),
            (struct.pack('>II16sB39x', 0x11223344, 7, b'', 0), 'version', '7'),
            (struct.pack('>II16sB39x', 0x11223344, 1, b'else', 0), 'uuid'),
            (struct.pack('>II16sB39x', 0x11223344, 1, b'', 9), "'id'", '9')):
        refused(data, words, ends=False)
    announced = HELLO + packet(flags=1)
    for data, *words in (
            (HELLO + packet(magic=5), 'magic', '0x00000005'),
            (HELLO + packet(version=2), 'version', '2'),
            (HELLO + packet(flags=16), 'flags', '0x10'),
            (HELLO + packet(flags=2), 'flags', 'Compression 1'),
            (HELLO + packet(pages=1, size=4096, offsets=[0]), 'normal_pages', 'before'),
            (HELLO + packet(reserved=b'\1'), 'reserved'),
            (announced + packet(pages=129), 'normal_pages', '129'),
            (announced + packet(pages=2, allocated=1), 'pages_alloc', '1'),
            (announced + packet(pages=1, size=4097), 'next_packet_size', '4097'),
            (announced + packet(pages=1, size=4096, name='other'), 'ramblock', 'other'),
            (announced + packet(pages=1, size=4096, offsets=[64 << 20]), 'offset', '0x4000000'),
            (announced + packet(pages=1, size=4096, offsets=[2**64 - 4096]), 'offset', '0xfffffffffffff000'),
            (announced + packet(pages=1, size=4096, offsets=[8]), 'offset', '0x8')):
        refused(data, words)


# ---- TLS -----------------------------------------------------------------------------------------

def creds(kind, endpoint, **options):
    text = ','.join(f'{k}={v}' for k, v in options.items())
    return '-object', f'tls-creds-{kind},id=t,endpoint={endpoint},{text}'


def certificates():
    for kind in 'ca', 'server', 'client', 'named':
        make_certificate(pathlib.Path(kind), kind, pathlib.Path('ca'))


def secret():
    pathlib.Path('psk').mkdir(exist_ok=True)
    pathlib.Path('psk/keys.psk').write_text('qemu:00112233445566778899aabbccddeeff\n')


@case
def in_tls_with_certificates_and_with_a_shared_secret():
    certificates()
    secret()
    for kind, near, far, uri, capabilities in (
            ('x509', {'dir': 'client'}, {'dir': 'server'}, 'tcp:127.0.0.1:0', ()),
            ('x509', {'dir': 'client'}, {'dir': 'server'}, 'tcp:127.0.0.1:0', ('multifd', 'return-path')),
            ('psk', {'dir': 'psk'}, {'dir': 'psk'}, 'unix:m.sock', ('multifd',))):
        with source(*creds(kind, 'client', **near)) as a, target('defer', *creds(kind, 'server', **far)) as b:
            a.await_rounds(1)
            move(a, b, uri, capabilities, tls_creds='t', tls_hostname='localhost' if kind == 'x509' else '')
            check_moved(a, b)


@case
def in_tls_to_the_reference_and_back():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    certificates()
    for capabilities in (), ('multifd',):
        near, far = creds('x509', 'client', dir='client'), creds('x509', 'server', dir='server')
        with source(*near) as a, \
                target('defer', *far, *(o.replace('id=t', 'id=u') for o in near), program=REFERENCE_EMULATOR) as b, \
                target('defer', *far, name='again') as c:
            a.await_rounds(1)
            move(a, b, 'tcp:127.0.0.1:0', capabilities, tls_creds='t')
            check_moved(a, b)
            b.answer('stop')
            b.tune(tls_creds='u')
            c.tune(tls_creds='t')
            for side in b, c:
                if capabilities:
                    side.turn_on(*capabilities)
            b.migrate(c.listen('tcp:127.0.0.1:0'))
            wait_for(lambda: c.state() == 'paused')
            assert c.answer('cont') == {}
            check_moved(a, b, c)


@case
def a_client_that_says_nothing_does_not_keep_the_source_out():
    secret()
    near, far = creds('psk', 'client', dir='psk'), creds('psk', 'server', dir='psk')
    with source() as a, target('unix:clear.sock') as b, source(*near, name='other') as c, \
            target('defer', *far, name='greeting') as d, \
            socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as ungreeted:
        for side in c, d:
            side.tune(tls_creds='t')
        d.listen('unix:tls.sock')
        silent.connect('clear.sock')
        ungreeted.connect('tls.sock')
        assert c.answer('migrate', uri='unix:tls.sock') == {}
        a.migrate('unix:clear.sock')
        check_moved(a, b)
        wait_for(lambda: c.status() == 'completed')
        check_moved(c, d)
        for client in silent, ungreeted: # the TLS client is told why
            client.settimeout(PATIENCE)
            while client.recv(100):
                pass


@case
def strangers_who_connect_do_not_end_the_wait_for_the_source():
    secret()
    far = creds('psk', 'server', dir='psk')
    for uri, capabilities, tls in (('unix:m.sock', (), False), ('tcp:127.0.0.1:0', (), False),
                                   ('unix:m.sock', ('multifd',), False), ('tcp:127.0.0.1:0', ('multifd',), True)):
        with source(*creds('psk', 'client', dir='psk')) as a, target('defer', *far) as b:
            for side in a, b:
                side.turn_on(*capabilities)
                side.tune(max_bandwidth=0, downtime_limit=20000, tls_creds='t' if tls else '')
            uri = b.listen(uri)
            for sent in b'', b'QEV', b'GET / HTTP/1.0\r\n\r\n':
                for _ in range(2):
                    if uri.startswith('unix:'):
                        client = socket.socket(socket.AF_UNIX)
                        client.connect(uri[5:])
                    else:
                        client = socket.create_connection(uri[4:].split(':'))
                    with client:
                        client.sendall(sent)
            a.await_rounds(1)
            a.migrate(uri)
            check_moved(a, b)
            b.process.kill()
            said = b.process.stderr.read()
            assert b'was disconnected' in said and b'load of migration failed' not in said, said


@case
def a_source_that_goes_after_it_has_begun_ends_the_wait():
    with target('unix:m.sock') as b, socket.socket(socket.AF_UNIX) as client:
        wait_for(lambda: pathlib.Path('m.sock').exists())
        client.connect('m.sock')
        client.sendall(announcement())
        client.close()
        assert b.process.wait(PATIENCE) == 1
        assert b'load of migration failed' in b.process.stderr.read()


@case
def whoever_is_not_who_it_should_be_is_refused():
    certificates()
    authz = ('-object', 'authz-simple,id=z,identity=nobody')
    for hostname, options, parameters, side in (
            ('disks.example', (), {}, 'source'),
            ('localhost', authz, {'tls_authz': 'z'}, 'target')):
        far = creds('x509', 'server', dir='server', **{'verify-peer': 'on'})
        with source(*creds('x509', 'client', dir='client')) as a, target('defer', *far, *options) as b:
            a.tune(tls_creds='t', tls_hostname=hostname)
            b.tune(tls_creds='t', **parameters)
            info = a.migrate(b.listen('tcp:127.0.0.1:0'), 'failed')
            assert side == 'target' or 'disks.example' in info['error-desc'] or 'TLS' in info['error-desc'], info
            assert b.status() == 'setup' and a.state() == 'running'
            b.process.kill()
            said = b.process.stderr.read()
            assert b'was disconnected' in said and b'load of migration failed' not in said, said
    with source() as a:
        a.tune(tls_creds='none')
        assert 'none' in a.migrate('unix:m.sock', 'failed')['error-desc']


main('migration-channels', 'system')
