#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A server of NFS that says nothing any more: the timeout of a minute."""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, case, img, main, require
from nfs_server import NfsServer, own_network, wait_for

HAS_NETWORK = own_network()
URL = 'nfs://127.0.0.1/export/d'


@case
def a_server_that_stalls_ends_in_an_error():
    """When it is opened, and in the middle, for requests of one call and of several; later requests do not wait
    again."""
    require(HAS_NETWORK, 'no network of its own: not root')
    require((BUILD / 'modules/nfs.so').exists(), 'built without libnfs')
    pathlib.Path('d').write_bytes(bytes(1 << 20))
    silent = []
    with NfsServer(pathlib.Path.cwd(), twist=lambda called, answer: None if silent else answer) as s:
        p = subprocess.Popen([IO, '-f', 'raw', URL], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        wait_for(lambda: len(s.calls) >= 6)     # it is open
        silent.append(True)
        done = img('info', URL, code=1, timeout=300)
        assert 'does not answer' in done.stderr, done.stderr
        out, _ = p.communicate('read 0 512k\nread 0 4k\nwrite 0 512k\nquit\n', timeout=150)
        assert out.count('failed: Connection timed out') == 3, out


main('protocol-nfs')
