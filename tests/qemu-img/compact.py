#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Compacting qcow2: the file becomes as short as what is in it, the disk stays as it is, all layouts; what
cannot be compacted is refused."""
import json
import os
import pathlib
import random
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IMG, IO, REFERENCE, case, img, io, main, run

MiB = 1 << 20
SIZE = 16 * MiB
SECRET = ('--object', 'secret,id=s,data=x')


def hollow(options='', compress=(), keep=.4, seed=1, extra=()):
    """i.qcow2, of which only a part has data; its content."""
    rng = random.Random(seed)
    with open('source', 'wb') as f:
        f.write(b''.join(rng.randbytes(24576) + bytes([i]) * 8192 for i in range(256)) * (SIZE // (8 * MiB)))
    img('convert', *extra, *compress, '-f', 'raw', '-O', 'qcow2', *(('-o', options) if options else ()), 'source',
        'i.qcow2')
    pieces = list(range(SIZE // (256 << 10)))
    rng.shuffle(pieces)
    given_back = pieces[int(len(pieces) * keep):]
    run(IO, *extra, '--image-opts', *[w for p in given_back for w in ('-c', f'discard {p * 256}k 256k')],
        opts(extra) + ',discard=unmap')
    return content(extra)


def opts(extra):
    return 'driver=qcow2,file.filename=i.qcow2' + (',encrypt.key-secret=s' if extra else '')


def content(extra=()):
    img('convert', *extra, '--image-opts', '-O', 'raw', opts(extra), 'raw')
    return pathlib.Path('raw').read_bytes()


def used():
    """Bytes of the clusters in use."""
    m = json.loads(img('map', '--output=json', '-f', 'qcow2', 'i.qcow2').stdout)
    return sum(e['length'] for e in m if e.get('data') and not e.get('compressed'))


def compacted(before, extra=(), most=None):
    """Compacts; the file has at most @most bytes then."""
    start = os.stat('i.qcow2').st_size
    img('compact', '-q', *extra, '--image-opts', opts(extra))
    for tool in (IMG, REFERENCE / 'qemu-img'):
        run(tool, 'check', *extra, '--image-opts', opts(extra))
    assert content(extra) == before
    end = os.stat('i.qcow2').st_size
    assert end < start, (start, end)
    assert most is None or end <= most, (end, most)
    return end


LAYOUTS = {
    'plain': ('', 65536), 'small_clusters': ('cluster_size=512', 512), 'medium_clusters': ('cluster_size=4k', 4096),
    'version_2': ('compat=0.10', 65536), 'subclusters': ('extended_l2=on', 65536),
    'narrow_refcounts': ('refcount_bits=1,cluster_size=4k', 4096),
    'wide_refcounts': ('refcount_bits=64,cluster_size=4k', 4096), 'lazy_refcounts': ('lazy_refcounts=on', 65536),
}


@case
def every_layout_ends_within_a_few_percent_of_its_data():
    for name, (options, cluster) in LAYOUTS.items():
        before = hollow(options)
        live = used()
        tables = 8 * cluster + SIZE // cluster * 16 + SIZE // cluster * 8
        end = compacted(before, most=live * 102 // 100 + tables)
        assert end >= live, name


@case
def compressed_clusters_move_together():
    for options in ('', 'compression_type=zstd', 'cluster_size=4k'):
        before = hollow(options, compress=('-c',))
        start = os.stat('i.qcow2').st_size
        compacted(before, most=start // 2)


@case
def an_encrypted_image_keeps_its_key_and_its_data():
    for kind in ('luks', 'aes'):
        options = f'encrypt.format={kind},encrypt.key-secret=s' + (',encrypt.iter-time=10' if kind == 'luks' else '')
        before = hollow(options, extra=SECRET)
        compacted(before, extra=SECRET, most=10 * MiB)


@case
def preallocated_space_that_no_one_wrote_moves_too():
    img('create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', 'i.qcow2', '16M')
    io('i.qcow2', 'write -q -P 7 12M 1M')
    run(IO, '--image-opts', '-c', 'discard 0 8M', opts(()) + ',discard=unmap')
    before = content()
    compacted(before, most=9 * MiB)
    assert os.stat('i.qcow2').st_blocks * 512 < 2 * MiB


@case
def bitmaps_stay_as_they_are():
    hollow()
    img('bitmap', '--add', '-f', 'qcow2', 'i.qcow2', 'b')
    io('i.qcow2', 'write -q -P 3 1M 192k', 'write -q -P 4 15M 64k')
    before = content()
    def told():
        return json.loads(run(REFERENCE / 'qemu-img', 'info', '--output=json', 'i.qcow2').stdout)[
            'format-specific']['data']['bitmaps']

    def dirty():
        out = run(REFERENCE / 'qemu-img', 'create', '-q', '-f', 'qcow2', 'other.qcow2', '16M')
        assert out.returncode == 0
        run(REFERENCE / 'qemu-img', 'bitmap', '--add', '--merge', 'b', '-b', 'i.qcow2', '-F', 'qcow2', 'other.qcow2', 'b')
        server = subprocess.run(['sh', '-c', f'"{REFERENCE}/qemu-nbd" -t -r -e 1 --fork --pid-file=pid -k "$PWD/s" -f '
                                 'qcow2 -B b other.qcow2 && nbdinfo --map=qemu:dirty-bitmap:b "nbd+unix:///?socket=$PWD/s"; '
                                 'kill $(cat pid)'], capture_output=True, text=True, check=False)
        return server.stdout
    bitmaps, bits = told(), dirty()
    compacted(before, most=8 * MiB)
    assert told() == bitmaps and dirty() == bits and bits


@case
def an_image_on_a_backing_file_stays_an_overlay():
    before = hollow()
    os.rename('i.qcow2', 'base.qcow2')
    img('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'i.qcow2')
    io('i.qcow2', 'write -q -P 9 0 8M')
    run(IO, '--image-opts', '-c', 'discard 0 7M', opts(()) + ',discard=unmap')
    before = content()
    compacted(before, most=2 * MiB)


@case
def what_is_dense_already_stays():
    hollow()
    img('compact', '-q', '-f', 'qcow2', 'i.qcow2')
    size = os.stat('i.qcow2').st_size
    before = pathlib.Path('i.qcow2').read_bytes()
    assert img('compact', '-f', 'qcow2', 'i.qcow2').stdout == 'Image compacted.\n'
    assert os.stat('i.qcow2').st_size == size and pathlib.Path('i.qcow2').read_bytes() == before


@case
def an_empty_image_becomes_a_few_clusters():
    hollow(keep=0)
    before = content()
    compacted(before, most=6 * 65536)


@case
def what_cannot_be_compacted_is_refused_and_left_alone():
    hollow()
    img('snapshot', '-c', 's', 'i.qcow2')
    before = pathlib.Path('i.qcow2').read_bytes()
    done = img('compact', '-f', 'qcow2', 'i.qcow2', code=1)
    assert 'snapshots' in done.stderr and pathlib.Path('i.qcow2').read_bytes() == before, done
    done = img('compact', '-f', 'raw', 'source', code=1)
    assert "'raw'" in done.stderr, done
    img('compact', code=1)
    img('compact', '-f', 'qcow2', 'absent', code=1)


if __name__ == '__main__':
    main('compact')
