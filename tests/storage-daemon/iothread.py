#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images and exports on iothreads: what clients and commands see while an image lives elsewhere."""
import contextlib
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import vhost_user as v
from cases import BUILD, case, img, io, main
from qmp import PATIENCE, Stdio
from vhost_user import FrontEnd

DAEMON = BUILD / 'qemu-storage-daemon'
SIZE = 4 << 20
BUSY = 'is associated with a BlockBackend'


@contextlib.contextmanager
def daemon(export='vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path=s,writable=on,iothread=i'):
    img('create', '-q', '-f', 'qcow2', 'a', str(SIZE))
    with Stdio(DAEMON, '--object', 'iothread,id=i', '--object', 'iothread,id=j', '--blockdev',
               'qcow2,node-name=n,file.driver=file,file.filename=a,file.node-name=f',
               *(['--export', export] if export else [])) as d:
        yield d


@contextlib.contextmanager
def client():
    f = FrontEnd('s')
    try:
        yield f.start()
    finally:
        f.close()


def refused(d, command, words, **arguments):
    answer = d.answer(command, **arguments)
    assert words in answer.get('desc', ''), answer


def await_jobs(d, has_come):
    end = time.monotonic() + PATIENCE
    while not has_come(jobs := d.answer('query-block-jobs')):
        assert time.monotonic() < end, f'jobs stay {jobs}'
        time.sleep(0.02)


class Model:
    """Random writes by a client, and what it must read."""

    def __init__(self, f):
        self.f, self.rand, self.content = f, random.Random(3), bytearray(SIZE)

    def step(self):
        sector = self.rand.randrange(0, SIZE // 512 - 128)
        data = bytes([self.rand.randrange(256)]) * (512 * self.rand.randrange(1, 128))
        self.f.write(sector, data)
        self.content[sector * 512:sector * 512 + len(data)] = data
        at = self.rand.randrange(0, SIZE // 512 - 128)
        assert self.f.read(at, 65536) == self.content[at * 512:at * 512 + 65536]

    def end(self):
        pathlib.Path('content').write_bytes(self.content)


@case
def a_client_goes_on_while_commands_look_and_change():
    with daemon() as d:
        with client() as f:
            m = Model(f)
            for i in range(12):
                m.step()
                assert len(d.answer('query-named-block-nodes')) >= 2
                m.step()
                d.answer('blockdev-add', driver='qcow2', node_name=f'o{i}', backing=None,
                         file={'driver': 'file', 'filename': overlay(i)})
                assert d.answer('blockdev-snapshot', node=f'o{i - 1}' if i else 'n', overlay=f'o{i}') == {}
                m.step()
                thread = ('j', 'i', None)[i % 3]
                assert d.answer('x-blockdev-set-iothread', node_name=f'o{i}', iothread=thread, force=True) == {}
                m.step()
            m.end()
        assert d.answer('block-export-del', id='e', mode='hard') == {}
    for i in range(12):
        img('rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', f'overlay{i - 1}' if i else 'a', f'overlay{i}')
    img('compare', '-f', 'qcow2', '-F', 'raw', 'overlay11', 'content')


def overlay(i):
    img('create', '-q', '-f', 'qcow2', f'overlay{i}', str(SIZE))
    return f'overlay{i}'


def add_target(d, name='t'):
    img('create', '-q', '-f', 'qcow2', f'{name}.qcow2', str(SIZE))
    assert d.answer('blockdev-add', driver='qcow2', node_name=name,
                    file={'driver': 'file', 'filename': f'{name}.qcow2'}) == {}


def mirror_copies(**how):
    with daemon() as d:
        with client() as f:
            m = Model(f)
            m.step()
            add_target(d)
            assert d.answer('blockdev-mirror', job_id='m', device='n', target='t', sync='full', **how) == {}
            await_jobs(d, lambda jobs: jobs[0]['ready'])
            for _ in range(50):
                m.step()
            assert d.answer('block-job-complete', device='m') == {}
            await_jobs(d, lambda jobs: not jobs)
            for _ in range(50):
                m.step()
            m.end()
        assert d.answer('block-export-del', id='e', mode='hard') == {}
    img('compare', '-f', 'qcow2', '-F', 'raw', 't.qcow2', 'content')
    img('check', '-q', 't.qcow2')


@case
def a_mirror_copies_what_a_client_on_an_iothread_writes():
    mirror_copies()


@case
def a_mirror_that_blocks_writes_does_so_on_an_iothread():
    mirror_copies(copy_mode='write-blocking')


@case
def a_backup_of_an_image_on_an_iothread_shows_one_moment():
    with daemon() as d:
        with client() as f:
            m = Model(f)
            for _ in range(20):
                m.step()
            then = bytes(m.content)
            add_target(d)
            assert d.answer('blockdev-backup', job_id='b', device='n', target='t', sync='full', speed=1 << 20) == {}
            for _ in range(30):
                m.step()
            assert d.answer('block-job-set-speed', device='b', speed=0) == {}
            await_jobs(d, lambda jobs: not jobs)
            m.end()
        assert d.answer('block-export-del', id='e', mode='hard') == {}
    pathlib.Path('then').write_bytes(then)
    img('compare', '-f', 'qcow2', '-F', 'raw', 't.qcow2', 'then')
    img('compare', '-f', 'qcow2', '-F', 'raw', 'a', 'content')


@case
def a_snapshot_can_be_read_beside_writes_on_an_iothread():
    with daemon() as d:
        with client() as f:
            m = Model(f)
            for _ in range(20):
                m.step()
            pathlib.Path('then').write_bytes(m.content)
            add_target(d)
            assert d.answer('blockdev-backup', job_id='b', device='n', target='t', sync='none',
                            filter_node_name='cbw') == {}
            assert d.answer('blockdev-add', driver='snapshot-access', node_name='s', file='cbw') == {}
            d.answer('nbd-server-start', addr={'type': 'unix', 'data': {'path': 'nbd'}})
            assert d.answer('block-export-add', type='nbd', id='x', node_name='s', iothread='i') == {}
            for _ in range(5):
                for _ in range(10):
                    m.step()
                img('compare', '-f', 'raw', '-F', 'raw', 'nbd+unix:///s?socket=nbd', 'then')
            assert d.answer('block-export-del', id='x', mode='hard') == {}
            assert d.answer('blockdev-del', node_name='s') == {}
            assert d.answer('block-job-cancel', device='b') == {}
            await_jobs(d, lambda jobs: not jobs)
            m.end()
        assert d.answer('block-export-del', id='e', mode='hard') == {}
    img('compare', '-f', 'qcow2', '-F', 'raw', 'a', 'content')


@case
def clients_of_nbd_are_served_from_an_image_on_an_iothread():
    with daemon(None) as d:
        assert d.answer('nbd-server-start', addr={'type': 'unix', 'data': {'path': 'n'}}) == {}
        assert d.answer('block-export-add', type='nbd', id='e', node_name='n', writable=True, iothread='i',
                        fixed_iothread=True) == {}
        io('nbd+unix:///n?socket=n', 'write -P 5 64k 1M', 'read -P 5 64k 1M', 'read -P 0 0 64k')
        refused(d, 'x-blockdev-set-iothread', 'Cannot change iothread', node_name='n', iothread='j', force=True)
        assert d.answer('block-export-del', id='e') == {}
        assert d.answer('x-blockdev-set-iothread', node_name='n', iothread='j') == {}


@case
def threads_in_use_and_images_that_cannot_move_are_named():
    with daemon() as d:
        refused(d, 'object-del', 'in use', id='i')
        refused(d, 'x-blockdev-set-iothread', BUSY, node_name='n', iothread='j')
        assert d.answer('x-blockdev-set-iothread', node_name='n', iothread='j', force=True) == {}
        assert d.answer('x-blockdev-set-iothread', node_name='n', iothread=None, force=True) == {}
        assert d.answer('object-del', id='j') == {}
        assert d.answer('blockdev-add', driver='quorum', node_name='many', vote_threshold=1,
                        children=[{'driver': 'null-co'}]) == {}
        refused(d, 'x-blockdev-set-iothread', "'many'", node_name='many', iothread='i')
        d.answer('nbd-server-start', addr={'type': 'unix', 'data': {'path': 'n'}})
        refused(d, 'block-export-add', "'many'", type='nbd', id='x', node_name='many', iothread='i',
                fixed_iothread=True)
        assert d.answer('block-export-add', type='nbd', id='x', node_name='many', iothread='i') == {}


main('iothread', 'storage-daemon')
