#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Our server across STARTTLS: what was agreed in clear is forgotten, and who may come in by certificate."""
import os
import pathlib
import ssl
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from certificates import make_certificate
from nbd_frames import *

MIB = 1 << 20


def certificates(where):
    make_certificate(where / 'ca', 'ca', None)
    make_certificate(where / 'server', 'server', where / 'ca')
    make_certificate(where / 'client', 'client', where / 'ca')


def server_options(where, *more):
    return ['-e', '0', '--object', f'tls-creds-x509,id=t,endpoint=server,dir={where / "server"}{"".join(more)}',
            '--tls-creds', 't']


def start_tls(c, where, certificate=False):
    """@c goes on in TLS."""
    assert c.option(OPT_STARTTLS) == [(REP_ACK, b'')]
    context = ssl.create_default_context(cafile=where / 'ca/ca-cert.pem')
    if certificate:
        context.load_cert_chain(where / 'client/client-cert.pem', where / 'client/client-key.pem')
    c.sock = context.wrap_socket(c.sock, server_hostname='localhost')


@needs('certtool')
def test_what_was_agreed_in_clear_is_forgotten():
    with folder() as where:
        certificates(where)
        make_disk(where / 'disk', MIB, pattern(MIB))
        with serve(*server_options(where, ',verify-peer=off'), '--tls-optional', '-f', 'raw', 'disk',
                   where=where) as s:
            for style in OPT_STRUCTURED_REPLY, OPT_EXTENDED_HEADERS:
                c = s.client().greet()
                assert c.option(style) == [(REP_ACK, b'')]
                assert c.option(OPT_SET_META, meta('', 'base:allocation'))[-1] == (REP_ACK, b'')
                start_tls(c, where)
                # Contexts would need structured replies, and those are asked for anew.
                assert c.option(OPT_SET_META, meta('', 'base:allocation'))[-1][0] == ERR_INVALID
                c.go()
                assert not c.flags & (F_DF | F_STATUS_PAYLOAD)
                assert c.read(0, 4096) == pattern(4096)
                assert c.call(STATUS, 0, 4096) == EINVAL
                c = s.client().greet()
                assert c.option(style) == [(REP_ACK, b'')]
                assert c.option(OPT_SET_META, meta('', 'base:allocation'))[-1] == (REP_ACK, b'')
                start_tls(c, where)
                assert c.option(OPT_STRUCTURED_REPLY) == [(REP_ACK, b'')]
                c.structured = True
                c.go()
                assert c.call(STATUS, 0, 4096) == EINVAL, 'the context was chosen in clear'


@needs('certtool')
def test_starttls_only_once():
    with folder() as where:
        certificates(where)
        make_disk(where / 'disk', MIB)
        with serve(*server_options(where, ',verify-peer=off'), '-f', 'raw', 'disk', where=where) as s:
            c = s.client().greet()
            start_tls(c, where)
            assert c.option(OPT_STARTTLS)[0][0] == ERR_INVALID
            c.go()


def loses_one(where, nth):
    """Whether a client is lost whose record number @nth cannot be made; another one must not be."""
    os.environ.update(LD_PRELOAD=str(BUILD / 'preload/tls-record.so'), FAIL_RECORD=str(nth))
    try:
        with serve(*server_options(where, ',verify-peer=off'), '-f', 'raw', 'disk', where=where) as s:
            first, second = s.client().greet(), s.client().greet()
            start_tls(second, where)
            start_tls(first, where)
            try:
                assert first.go().read(0, 20000) == pattern(20000)
                return False
            except (Gone, OSError):
                assert second.go().read(0, 4096) == pattern(4096), nth
                return True
    finally:
        del os.environ['LD_PRELOAD'], os.environ['FAIL_RECORD']


@preloads
@needs('certtool')
def test_a_record_that_cannot_be_made_harms_nobody_else():
    with folder() as where:
        certificates(where)
        make_disk(where / 'disk', MIB, pattern(MIB))
        nth = 1
        while loses_one(where, nth):
            nth += 1
        assert nth > 5, 'an answer to GO and two records of data'


def info(tool, where, creds, s):
    """Exit code of qemu-img info with the certificates in folder @creds."""
    return subprocess.run(
        [tool / 'qemu-img', 'info', '--object', f'tls-creds-x509,id=c,dir={where / creds}', '--image-opts',
         f'driver=nbd,server.type=unix,server.path={s.socket},tls-creds=c,tls-hostname=localhost'],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=PATIENCE).returncode


@needs('certtool', 'qemu-img')
def test_clients_are_known_by_their_certificates():
    """By the whole name: neither a part of it nor a certificate of nobody will do."""
    rows = (('identity=C=GB,,O=Example,,CN=Joe', 0), ('identity=CN=Joe', 1), ('identity=C=GB,,O=Example', 1))
    with folder() as where:
        certificates(where)
        make_disk(where / 'disk', MIB)
        (where / 'nobody').mkdir()
        (where / 'nobody/ca-cert.pem').write_bytes((where / 'ca/ca-cert.pem').read_bytes())
        for identity, code in rows:
            with serve(*server_options(where), '--object', f'authz-simple,id=a,{identity}', '--tls-authz', 'a',
                       '-f', 'raw', 'disk', where=where) as s:
                for tool in OURS.parent, REFERENCE:
                    assert info(tool, where, 'client', s) == code, (tool, identity)
                    assert info(tool, where, 'nobody', s) == 1, (tool, identity)


sys.exit(run('starttls', globals()))
