#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of a Ceph cluster, which this test starts, beside the reference."""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import ceph_cluster
from cases import BUILD, IO, REFERENCE, case, img, main, require, run
from ceph_cluster import CephCluster
from nfs_server import own_network, wait_for
from qmp import Stdio
from this_run import WATCHED

MIB = 1 << 20
DATA = random.Random(8).randbytes(5 * MIB) + bytes(3 * MIB) + b'end'.ljust(512, b'\0')
MODULE = pathlib.Path('/usr/lib/x86_64-linux-gnu/qemu/block-rbd.so')
SECRET = '--object', 'secret,id=s,data=pass'
cluster = None


def start():
    require(cluster, 'built without librbd, watched, or no cluster can be started here')


def theirs(program, *words, **more):
    """The reference's, with its driver; None without it."""
    if MODULE.exists() and (REFERENCE / program).exists():
        return run(REFERENCE / program, *words, **more)
    return None


def same(*words):
    ours, other = img(*words), theirs('qemu-img', *words)
    assert not other or ours.stdout == other.stdout, f'{words}: {ours.stdout}, not {other.stdout}'
    return ours.stdout


def io(name, *commands, **more):
    done = run(IO, '-f', 'raw', *[word for c in commands for word in ('-c', c)], name, **more)
    assert 'failed' not in done.stdout + done.stderr, (commands, done.stdout, done.stderr)
    return done.stdout


def content(name):
    """As the reference, or else rbd, reads it."""
    if not theirs('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', name, 'content'):
        pathlib.Path('content').unlink(missing_ok=True)
        cluster.rbd('export', '--no-progress', name.removeprefix('rbd:'), 'content')
    return pathlib.Path('content').read_bytes()


@case
def images_are_read_and_written():
    start()
    pathlib.Path('a.raw').write_bytes(DATA)
    img('convert', '-f', 'raw', '-O', 'raw', 'a.raw', 'rbd:pool/a')
    assert content('rbd:pool/a') == DATA
    theirs('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', 'a.raw', 'rbd:pool/b')
    img('compare', '-f', 'raw', '-F', 'raw', 'rbd:pool/a', 'a.raw')
    img('convert', '-f', 'raw', '-O', 'raw', 'rbd:pool/a', 'out')
    assert pathlib.Path('out').read_bytes() == DATA
    for fmt in 'qcow2', 'vmdk', 'vdi':
        img('convert', '-f', 'raw', '-O', fmt, 'rbd:pool/a', f'rbd:pool/a.{fmt}')
        img('compare', '-f', 'raw', '-F', fmt, 'a.raw', f'rbd:pool/a.{fmt}')
        theirs('qemu-img', 'compare', '-f', 'raw', '-F', fmt, 'a.raw', f'rbd:pool/a.{fmt}')
    # The file grows while many requests are under way.
    img('convert', '-f', 'raw', '-c', '-W', '-m', '16', '-O', 'qcow2', 'a.raw', 'rbd:pool/c.qcow2')
    img('check', 'rbd:pool/c.qcow2')
    img('compare', '-f', 'raw', 'a.raw', 'rbd:pool/c.qcow2')
    img('create', '-q', '-f', 'qcow2', '-b', 'rbd:pool/a', '-F', 'raw', 'over')
    img('compare', '-F', 'raw', 'over', 'a.raw')


@case
def requests_of_all_kinds():
    start()
    name = 'rbd:pool/r'
    img('create', '-q', '-f', 'raw', '-o', 'cluster_size=64k', name, '8M')
    io(name, 'write -P 1 100 300k', 'truncate 10M', 'write -P 2 9M 7', 'write -z 200k 10k', 'writev -P 9 1M 512 1024 512',
       'write -P 3 2M 1M', 'write -z -u 2M 512k', 'discard 2560k 512k', 'aio_write -P 4 4M 1M', 'aio_write -P 5 5M 1M',
       'aio_write -P 6 6M 1M', 'aio_flush', 'flush', 'read -P 1 100 199k', 'read -P 0 200k 10k', 'read -P 4 4M 1M',
       'read -P 0 2M 512k')
    want = bytearray(10 * MIB)
    want[100:100 + 300 * 1024] = b'\1' * (300 * 1024)
    want[200 * 1024:210 * 1024] = bytes(10 * 1024)
    want[MIB:MIB + 2048] = b'\x09' * 2048
    want[9 * MIB:9 * MIB + 7] = b'\2' * 7
    for i in 4, 5, 6:
        want[i * MIB:(i + 1) * MIB] = bytes([i]) * MIB
    assert content(name) == want    # whole objects were discarded: they are gone
    extents = json.loads(same('map', '-f', 'raw', '--output=json', name))
    for hole in 2 * MIB, 7 * MIB:
        assert any(not e['data'] and e['start'] <= hole < e['start'] + e['length'] for e in extents), extents
    # Without the cache nothing waits; each write is there when it has been answered.
    io(name, 'write -P 7 0 1M', 'read -P 7 0 1M', env={'FERRY_LOOP': 'epoll'})
    run(IO, '-f', 'raw', '-t', 'none', '-c', 'write -P 8 0 1M', '-c', 'read -P 8 0 1M', name)
    img('resize', '-q', '--shrink', '-f', 'raw', name, '3M')
    assert cluster.rbd_info('r')['size'] == 3 * MIB
    assert 'preallocat' in img('resize', '-f', 'raw', '--preallocation=full', name, '4M', code=1).stderr
    # An image that ends in the middle of a sector: it is shown up to the end of that.
    cluster.rbd('create', '--size', '1000001B', 'pool/odd')
    io('rbd:pool/odd', 'read -P 0 999936 512', 'write -P 5 999936 512', 'read -P 5 999936 512')
    assert len(content('rbd:pool/odd')) == 1000448


@case
def what_is_told_is_what_the_reference_tells():
    start()
    cluster.rbd('namespace', 'create', 'pool/ns')
    cluster.rbd('create', '--size', '10M', '--image-feature', 'layering', 'pool/plain')
    cluster.rbd('create', '--size', '16M', '--stripe-unit', '65536', '--stripe-count', '4', 'pool/striped')
    for name, size in ('t', '12M'), ('ns/t', '1000000'), (r'odd\@na\:me\\', '1M'):
        img('create', '-q', '-f', 'raw', f'rbd:pool/{name}', size)
    for name in 't', 'plain', 'striped':
        io(f'rbd:pool/{name}', 'write -P 1 5M 1000', 'write -P 1 9M 4k')
        same('map', '-f', 'raw', '--output=json', f'rbd:pool/{name}')
    for name in ('t', 'ns/t', r'odd\@na\:me\\', 't@', 't:id=bob:client_mount_timeout=100', f't:conf={cluster.conf}'):
        same('info', '--output=json', f'rbd:pool/{name}')
    img('create', '-q', '-f', 'qcow2', 'rbd:pool/q', '1M')
    for more in ['user=bob', 'auth-client-required.0=none'], [f'conf={cluster.conf}', 'namespace=', 'snapshot=']:
        for output in 'json', 'human':
            same('info', f'--output={output}', '--image-opts', ','.join(['driver=rbd', 'pool=pool', 'image=t', *more]))
            same('info', f'--output={output}', '--image-opts', ',file.'.join(
                ['driver=qcow2', 'driver=rbd', 'pool=pool', 'image=q', *more]))
    for bad in 'pool/none', 'pool/t@none', 'none/t':
        assert 'No such file' in img('info', f'rbd:{bad}', code=1).stderr, bad
    assert "'none' does not exist" in img('info', 'rbd:pool/none/t', code=1).stderr


@case
def new_images():
    start()
    for size, order in ('4k', 12), ('1M', 20), ('32M', 25):
        img('create', '-q', '-f', 'raw', '-o', f'cluster_size={size}', f'rbd:pool/new{order}', '2M')
        assert cluster.rbd_info(f'new{order}')['order'] == order
    # What is there stays.
    io('rbd:pool/new20', 'write -P 1 0 1M')
    assert 'File exists' in img('create', '-f', 'raw', 'rbd:pool/new20', '1M', code=1).stderr
    assert content('rbd:pool/new20') == b'\1' * MIB + bytes(MIB)
    assert img('create', '-f', 'raw', '-o', 'cluster_size=64M', 'rbd:pool/large', '1M', code=1).stderr
    with Stdio(BUILD / 'qemu-storage-daemon') as d:
        assert d.answer('object-add', qom_type='secret', id='s', data='pass') == {}
        created = {}
        for name, options in ('job', {'cluster-size': MIB}), ('crypt', {'encrypt': {
                'format': 'luks2', 'key-secret': 's', 'cipher-alg': 'aes-128'}}), ('job', {}):
            d.answer('blockdev-create', job_id='j', options={
                'driver': 'rbd', 'location': {'pool': 'pool', 'image': name}, 'size': 2 * MIB, **options})
            wait_for(lambda: d.answer('query-jobs')[0]['status'] == 'concluded', 150)
            created[name] = d.answer('query-jobs')[0].get('error')
            assert d.answer('job-dismiss', id='j') == {}
    assert created['crypt'] is None and 'File exists' in created['job'], created
    assert cluster.rbd_info('job')['order'] == 20
    assert json.loads(img('info', '--output=json', '--image-opts', 'driver=rbd,pool=pool,image=crypt').stdout)[
        'format-specific']['data'] == {'encryption-format': 'luks2'}


@case
def snapshots():
    start()
    name = 'rbd:pool/s'
    img('create', '-q', '-f', 'raw', name, '8M')
    io(name, 'write -P 1 0 8M')
    img('snapshot', '-f', 'raw', '-c', 'one', name)
    io(name, 'write -P 2 0 8M', 'truncate 12M')
    theirs('qemu-img', 'snapshot', '-c', 'two', name) or cluster.rbd('snap', 'create', 'pool/s@two')
    for listing in ('snapshot', '-l', name), ('info', name), ('info', '--output=json', f'{name}@one'), \
            ('info', '--image-opts', 'driver=rbd,pool=pool,image=s'):
        assert 'one' in same(*listing)
    assert content(f'{name}@one') == b'\1' * 8 * MIB
    run(IO, '-r', '-f', 'raw', '-c', 'read -P 1 0 8M', f'{name}@one')
    assert run(IO, '-f', 'raw', '-c', 'write 0 4k', f'{name}@one', code=1).stderr
    assert img('snapshot', '-f', 'raw', '-c', 'one', name, code=1).stderr
    img('snapshot', '-f', 'raw', '-a', 'one', name)
    assert content(name) == b'\1' * 8 * MIB
    img('snapshot', '-f', 'raw', '-a', 'two', name)
    assert content(name) == b'\2' * 8 * MIB + bytes(4 * MIB)
    img('snapshot', '-f', 'raw', '-d', 'one', name)
    assert [s['name'] for s in json.loads(cluster.rbd('snap', 'ls', '--format=json', 'pool/s'))] == ['two']
    for action in '-a', '-d':
        assert img('snapshot', '-f', 'raw', action, 'one', name, code=1).stderr


@case
def encryption():
    """The header takes space in front of the content. Each opening takes seconds: that is the key's derivation."""
    start()

    def options(name, fmt='luks'):
        return *SECRET, '--image-opts', f'driver=rbd,pool=pool,image={name},encrypt.format={fmt},encrypt.key-secret=s'

    make = 'create', '-q', '-f', 'raw', *SECRET, '-o', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-128'
    img(*make, 'rbd:pool/mine', '8M')
    if theirs('qemu-img', *make, 'rbd:pool/other', '8M'):
        mine, other = (cluster.rbd_info(name)['size'] for name in ('mine', 'other'))
        assert mine == other, f'it takes {mine} bytes, not {other}'
    told = json.loads(same('info', '--output=json', '--image-opts', 'driver=rbd,pool=pool,image=mine'))
    assert told['format-specific']['data'] == {'encryption-format': 'luks'}
    done = run(IO, *options('mine'), '-c', 'read -P 0 0 8M', '-c', 'write -P 7 1M 1M', '-c', 'write -z 1100k 100k', '-c',
               'write -z -u 4M 4M', '-c', 'read -P 0 1100k 100k', '-c', 'read -P 0 2M 6M', '-c', 'truncate 12M', '-c',
               'write -P 9 11M 1M', '-c', 'truncate 10M', '-c', 'read -P 7 1M 76k', '-c', 'write -z 8M 2M')
    assert 'failed' not in done.stdout + done.stderr, (done.stdout, done.stderr)
    read = theirs('qemu-io', *options('mine'), '-c', 'read -P 7 1M 76k', '-c', 'read -P 0 1100k 100k', '-c', 'read -P 0 2M 8M')
    assert not read or 'failed' not in read.stdout, read.stdout
    img('convert', '-O', 'raw', *options('mine'), 'plain')
    got = pathlib.Path('plain').read_bytes()
    assert len(got) == 10 * MIB and got[MIB:MIB + 4096] == b'\7' * 4096 and not any(got[2 * MIB:]), len(got)
    assert img('info', '--object', 'secret,id=s,data=bad', *options('mine')[2:], code=1).stderr
    assert img('info', *options('mine', 'luks2'), code=1).stderr


@case
def an_export_of_an_image():
    start()
    pathlib.Path('a.raw').write_bytes(DATA)
    img('convert', '-f', 'raw', '-O', 'raw', 'a.raw', 'rbd:pool/x')
    address = f'nbd+unix:///?socket={os.getcwd()}/s'
    server = subprocess.Popen([BUILD / 'qemu-nbd', '-k', f'{os.getcwd()}/s', '-t', '-f', 'raw', 'rbd:pool/x'])
    try:
        wait_for(lambda: os.path.exists('s'), 150)
        img('compare', '-f', 'raw', '-F', 'raw', 'a.raw', address)
        io(address, 'write -P 5 1M 1M', 'flush')
    finally:
        server.terminate()
        server.wait(timeout=100)
    io('rbd:pool/x', 'read -P 5 1M 1M')


@case
def an_osd_that_stands_still():
    """Opening ends; requests wait, unless they are told not to."""
    start()
    img('create', '-q', '-f', 'raw', 'rbd:pool/still', '8M')
    waiting, bounded = (subprocess.Popen([IO, '-f', 'raw', '-t', 'none', name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True)
                        for name in ('rbd:pool/still', 'rbd:pool/still:rados_osd_op_timeout=3'))
    try:
        for p in waiting, bounded:      # until it is open and has answered
            p.stdin.write('read 0 4k\n')
            p.stdin.flush()
            assert 'read' in p.stdout.readline()
            p.stdout.readline()
        cluster.signal('ceph-osd', signal.SIGSTOP)
        done = img('info', '-f', 'raw', 'rbd:pool/still:client_mount_timeout=4', code=1)
        assert 'timed out' in done.stderr, done.stderr
        out, _ = bounded.communicate('read 4k 4k\nquit\n', timeout=150)
        assert 'timed out' in out, out
        waiting.stdin.write('write -P 9 1M 4k\nread -P 9 1M 4k\n')
        waiting.stdin.flush()
        cluster.signal('ceph-osd', signal.SIGCONT)
        out, _ = waiting.communicate('quit\n', timeout=150)
        assert 'failed' not in out and 'wrote 4096/4096' in out, out
    finally:
        cluster.signal('ceph-osd', signal.SIGCONT)
        for p in waiting, bounded:
            p.kill()
            p.wait()
    io('rbd:pool/still', 'read -P 9 1M 4k')


# The sanitizers cannot follow exceptions of C++ in libraries that are loaded late.
if ceph_cluster.is_installed() and (BUILD / 'modules/rbd.so').exists() and not WATCHED:
    own_network()
    with CephCluster() as cluster:
        os.environ['CEPH_CONF'] = str(cluster.conf)
        main('protocol-rbd')
else:
    main('protocol-rbd')
