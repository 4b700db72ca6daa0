#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that change their size while clients of NBD use them: nobody loses what he was told of."""
import contextlib
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, main
from nbd_frames import ENOSPC, OPT_GO, OPT_INFO, READ, WRITE, Client, go
from qmp import PATIENCE, Stdio

MIB = 1 << 20


@contextlib.contextmanager
def daemon(form, thread=''):
    img('create', '-q', '-f', form, 'a', '4M')
    with Stdio(BUILD / 'qemu-storage-daemon', '--object', 'iothread,id=i', '--nbd-server',
               'addr.type=unix,addr.path=s', '--blockdev', f'{form},node-name=n,file.driver=file,file.filename=a,'
               'file.node-name=f', '--export', f'nbd,id=e,node-name=n,name=disk,writable=on{thread}') as d:
        yield d


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect('s')
    return Client(s)


def client():
    return contextlib.closing(connect().start(name='disk'))


def resize(d, size, node='n'):
    return d.answer('block_resize', node_name=node, size=size)


def refused(answer, least):
    assert "NBD export 'disk'" in answer.get('desc', '') and str(least) in answer['desc'], answer


def await_free(d, size):
    """Until the clients that kept the image larger than @size are gone."""
    end = time.monotonic() + PATIENCE
    while (answer := resize(d, size)) != {}:
        assert time.monotonic() < end, answer
        time.sleep(.02)


def sizes_kept(form, thread=''):
    with daemon(form, thread) as d:
        with client() as old:
            assert resize(d, 6 * MIB) == {}
            with client() as new:
                assert (old.size, new.size) == (4 * MIB, 6 * MIB)
                assert old.call(WRITE, 4 * MIB, 512, data=b'x' * 512) == ENOSPC
                assert new.call(WRITE, 5 * MIB, 512, data=b'x' * 512) == 0
                refused(resize(d, 5 * MIB), 6 * MIB)
                refused(resize(d, 6 * MIB - 512), 6 * MIB)
                assert new.read(5 * MIB, 512) == b'x' * 512
                assert resize(d, 7 * MIB) == {}
                assert resize(d, 6 * MIB) == {}
            await_free(d, 5 * MIB)
            refused(resize(d, 3 * MIB), 4 * MIB)
            assert old.call(WRITE, 4 * MIB - 512, 512, data=b'y' * 512) == 0
            assert resize(d, 4 * MIB) == {}
            assert old.read(4 * MIB - 512, 512) == b'y' * 512
        await_free(d, 1 * MIB)
        with client() as c:
            assert c.size == MIB and c.call(READ, MIB, 512) != 0
    assert f'"virtual-size": {MIB}' in img('info', '--output=json', '-f', form, 'a').stdout


@case
def clients_keep_the_size_that_they_were_told():
    sizes_kept('qcow2')


@case
def so_do_clients_on_an_iothread():
    sizes_kept('qcow2', ',iothread=i')


@case
def so_do_clients_of_a_raw_image_also_if_its_file_is_resized():
    sizes_kept('raw')
    with daemon('raw') as d:
        with client():
            refused(resize(d, 2 * MIB, 'f'), 4 * MIB)


@case
def who_only_asks_or_leaves_in_the_handshake_keeps_nothing():
    with daemon('qcow2') as d:
        with contextlib.closing(connect().greet()) as asks:
            asks.option(OPT_INFO, go('disk'))
            assert resize(d, 3 * MIB) == {}
        with contextlib.closing(connect().greet()) as leaves:
            leaves.send_option(OPT_GO, go('disk'))
        await_free(d, 2 * MIB)
        with client() as c:
            assert c.size == 2 * MIB
            assert d.answer('block-export-del', id='e', mode='hard') == {}
            await_free(d, 1 * MIB)


main('nbd-resize', 'storage-daemon')
