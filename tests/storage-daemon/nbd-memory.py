#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients of NBD where memory is limited, with images on several loops."""
import contextlib
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, main, require
from nbd_frames import READ, Client
from qmp import Stdio
from this_run import WATCHED

MIB = 1 << 20
# Memory that is freed is overwritten, so that who uses it after that does something else.
PERTURBED = {'MALLOC_PERTURB_': '165', 'GLIBC_TUNABLES': 'glibc.malloc.tcache_count=0'}


@contextlib.contextmanager
def daemon(mib, *homes, latency_ms=0):
    """May have @mib MiB. Node and export n0 are on the loop that the first of @homes names, and so
    on; None: on the main one."""
    require(not WATCHED, 'a watcher takes memory of its own')
    limited = pathlib.Path('limited')
    limited.write_text(f'#!/bin/sh\nulimit -d {mib << 10}\nulimit -c 0\n'
                       f'exec {BUILD}/qemu-storage-daemon "$@"\n')
    limited.chmod(0o755)
    nodes = []
    for n, home in enumerate(homes):
        nodes += ['--blockdev', f'null-co,node-name=n{n},size=1G,read-zeroes=on,'
                                f'latency-ns={latency_ms * 10**6}',
                  '--export', f'nbd,id=e{n},node-name=n{n}' + (f',iothread={home}' if home else '')]
    with Stdio('./limited', '--object', 'iothread,id=i', '--object', 'iothread,id=j',
               '--nbd-server', 'addr.type=unix,addr.path=s', *nodes, env=PERTURBED) as d:
        yield d
        assert d.end() == 0, d.errors


def client(name='n0'):
    s = socket.socket(socket.AF_UNIX)
    s.connect('s')
    return Client(s).start(name=name)


@case
def the_server_can_stop_just_after_a_client_has_waited_for_memory():
    with daemon(96, None) as d:
        for _ in range(5):
            crowd = [client() for _ in range(3)]
            for c in crowd[:2]:
                c.request(READ, 0, 10 * MIB)
            for c in crowd[:2]:
                c.reply()
            crowd[2].request(READ, 0, 10 * MIB)     # finds no memory left
            time.sleep(.03)
            for c in crowd:
                c.close()
            assert d.answer('nbd-server-stop') == {}
            time.sleep(.2)
            assert d.answer('nbd-server-start',
                            addr={'type': 'unix', 'data': {'path': 's'}}) == {}
            assert d.answer('block-export-add', type='nbd', id='e0', node_name='n0') == {}


main('nbd-memory', 'storage-daemon')
