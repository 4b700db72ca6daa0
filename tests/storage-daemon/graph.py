#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of the graph while clients write: snapshots, reopening, and images that are given away and
taken back."""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, case, img, io, main, run
from qmp import Stdio

NODE = ('--blockdev', 'qcow2,node-name=a,file.driver=file,file.filename=a.qcow2')
OVERLAY = ('--blockdev', 'qcow2,node-name=o,backing=,file.driver=file,file.filename=o.qcow2')
EXPORT = ('--nbd-server', 'addr.type=unix,addr.path=nbd', '--export', 'nbd,id=e,node-name=a,writable=on')
URI = 'nbd+unix:///a?socket=nbd'


def daemon(*options):
    return Stdio(BUILD / 'qemu-storage-daemon', *options)


def done(answer):
    assert answer == {}, answer


def add_overlay(d, name='o'):
    img('create', '-q', '-f', 'qcow2', f'{name}.qcow2', '4M')
    done(d.answer('blockdev-add', driver='qcow2', node_name=name, backing=None,
                  file={'driver': 'file', 'filename': f'{name}.qcow2'}))


@case
def a_snapshot_freezes_what_was_there_and_the_client_writes_on():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE, *EXPORT) as d:
        client = subprocess.Popen([IO, '-f', 'raw', URI], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True, bufsize=1)
        client.stdin.write('write -q -P 1 0 1M\nwrite -P 1 3M 64k\n')
        assert 'wrote 65536' in client.stdout.readline()
        add_overlay(d)
        done(d.answer('blockdev-snapshot', node='a', overlay='o'))
        client.stdin.write('read -P 1 0 1M\nwrite -P 2 512k 1M\nread -P 2 512k 1M\nflush\n')
        told = client.communicate(timeout=60)[0]
        assert client.returncode == 0 and 'failed' not in told and 'wrote 1048576' in told, told
    io('a.qcow2', 'read -P 1 0 1M', 'read -P 0 1M 2M')
    run(IO, '-c', 'read -P 1 0 512k', '-c', 'read -P 2 512k 1M', '-c', 'read -P 1 3M 64k', '--image-opts',
        'driver=qcow2,file.filename=o.qcow2,backing.driver=qcow2,backing.file.filename=a.qcow2')


@case
def many_snapshots_under_a_busy_client_lose_nothing():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE, *EXPORT) as d:
        work = [w for i in range(400) for w in ('-c', f'write -q -P {i % 250 + 1} {i * 8}k 8k')]
        client = subprocess.Popen([IO, '-f', 'raw', *work, URI], stdout=subprocess.PIPE, text=True)
        below = 'a'
        for i in range(12):
            add_overlay(d, f'o{i}')
            done(d.answer('blockdev-snapshot', node=below, overlay=f'o{i}'))
            below = f'o{i}'
        told = client.communicate(timeout=60)[0]
        assert client.returncode == 0 and not told, told
        checks = [w for i in range(400) for w in ('-c', f'read -q -P {i % 250 + 1} {i * 8}k 8k')]
        assert not run(IO, '-f', 'raw', *checks, URI).stdout


@case
def reopening_read_only_beside_a_writable_export_is_refused():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE, *EXPORT) as d:
        answer = d.answer('blockdev-reopen', options=[
            {'driver': 'qcow2', 'node-name': 'a', 'read-only': True,
             'file': {'driver': 'file', 'filename': 'a.qcow2'}}])
        assert answer['class'] == 'GenericError', answer
        run(IO, '-f', 'raw', '-c', 'write -P 1 0 64k', URI)


def mode(d, node):
    return next(n['ro'] for n in d.answer('query-named-block-nodes', flat=True) if n['node-name'] == node)


@case
def reopening_several_nodes_happens_to_all_or_none():
    for name in 'ab':
        img('create', '-q', '-f', 'raw', f'{name}.raw', '1M')

    def node(name, **more):
        return {'driver': 'file', 'node-name': name, 'filename': f'{name}.raw', **more}
    with daemon() as d:
        for name in 'ab':
            done(d.answer('blockdev-add', **node(name)))
        reader = {'read-only': True}
        answer = d.answer('blockdev-reopen', options=[node('a', **reader), {**node('b'), 'filename': 'c.raw'}])
        assert "'filename'" in answer['desc'], answer
        assert not mode(d, 'a')
        answer = d.answer('blockdev-reopen', options=[node('a', **reader), node('a')])
        assert 'twice' in answer['desc'] and not mode(d, 'a'), answer
        done(d.answer('blockdev-reopen', options=[node('a', **reader), node('b', **reader)]))
        assert mode(d, 'a') and mode(d, 'b')
        done(d.answer('blockdev-reopen', options=[]))


@case
def a_child_that_is_missing_or_described_beside_a_named_one_is_refused():
    img('create', '-q', '-f', 'raw', 'a.raw', '1M')
    with daemon() as d:
        done(d.answer('blockdev-add', driver='file', node_name='f', filename='a.raw'))
        done(d.answer('blockdev-add', driver='raw', node_name='r', file='f'))
        for file in 'x', {'driver': 'file', 'filename': 'a.raw'}:
            answer = d.answer('blockdev-reopen', options=[{'driver': 'raw', 'node-name': 'r', 'file': file}])
            assert 'class' in answer, answer
        done(d.answer('blockdev-reopen', options=[{'driver': 'raw', 'node-name': 'r', 'file': 'f'}]))


@case
def an_inactive_image_is_anothers_until_it_is_taken_back():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE, *EXPORT) as d:
        run(IO, '-f', 'raw', '-c', 'write -P 1 0 64k', URI)
        img('bitmap', '--add', 'a.qcow2', 'b', code=1)
        done(d.answer('blockdev-set-active', node_name='a', active=False))
        assert 'Operation not permitted' in run(IO, '-f', 'raw', '-c', 'read 0 64k', URI, code=1).stdout
        io('a.qcow2', 'read -P 1 0 64k', 'write -P 2 1M 64k')
        done(d.answer('blockdev-set-active', active=True))
        run(IO, '-f', 'raw', '-c', 'read -P 1 0 64k', '-c', 'read -P 2 1M 64k', '-c', 'write -P 3 2M 64k', URI)
    io('a.qcow2', 'read -P 3 2M 64k')
    img('check', 'a.qcow2')


@case
def images_with_a_common_backing_node_become_inactive_together():
    for name in 'base', 'left', 'right':
        img('create', '-q', '-f', 'qcow2', name, '4M')
    with daemon() as d:
        for name in 'base', 'left', 'right':
            backing = {} if name == 'base' else {'backing': 'base'}
            done(d.answer('blockdev-add', driver='qcow2', node_name=name, file={'driver': 'file', 'filename': name},
                          **backing))
        answer = d.answer('blockdev-set-active', node_name='left', active=False)
        assert 'uses it' in answer['desc'], answer
        done(d.answer('blockdev-set-active', active=False))
        for name in 'base', 'left', 'right':
            io(name, 'write -P 1 0 64k')
        done(d.answer('blockdev-set-active', active=True))
        img('bitmap', '--add', 'base', 'b', code=1)


@case
def an_image_that_another_writes_is_not_taken_back():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    with daemon(*NODE) as d:
        done(d.answer('blockdev-set-active', active=False))
        with subprocess.Popen([IO, 'a.qcow2'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              bufsize=1) as other:
            other.stdin.write('length\n')
            assert other.stdout.readline()
            answer = d.answer('blockdev-set-active', active=True)
            assert 'lock' in answer['desc'], answer
            other.stdin.close()
        done(d.answer('blockdev-set-active', active=True))


if __name__ == '__main__':
    main('storage-daemon/graph')
