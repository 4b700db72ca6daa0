#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
An error injected at every event of blkdebug while qcow2 images are written: whatever fails, the
image stays sound by the reference's check; and where nothing is said to have failed, all is there.
"""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
EVENTS = '''l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update
l2_update_compressed l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio read_compressed
write_aio write_compressed vmstate_load vmstate_save cow_read cow_write reftable_load reftable_grow
reftable_update refblock_load refblock_update refblock_update_part refblock_alloc
refblock_alloc_hookup refblock_alloc_write refblock_alloc_write_blocks refblock_alloc_write_table
refblock_alloc_switch_table cluster_alloc cluster_alloc_bytes cluster_free flush_to_os
flush_to_disk pwritev_rmw_head pwritev_rmw_after_head pwritev_rmw_tail pwritev_rmw_after_tail
pwritev pwritev_zero pwritev_done empty_image_prepare l1_shrink_write_table
l1_shrink_free_l2_clusters cor_write cluster_alloc_space none'''.split()

SETUP = '''
truncate -s 1M base; qemu-io -f raw -c 'write -P 5 0 1M' base
qemu-img create -q -f qcow2 new 64M
qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 small 4M
qemu-img create -q -f qcow2 -b base -F raw cow 1M
qemu-img create -q -f qcow2 -o extended_l2=on sub 4M
qemu-img create -q -f qcow2 snap 1M; qemu-io -c 'write -P 1 0 512k' snap; qemu-img snapshot -c one snap
qemu-img convert -c -O qcow2 base packed
'''
# Image, then what is done: (command, offset, length, pattern that must be there afterwards).
WORK = {
    'new': [('write -P 1', 0, 65536, 1), ('write -P 2', 70000, 1000, 2), ('flush',),
            ('write -P 3', 2 << 20, 65536, 3), ('write -P 4', 33 << 20, 65536, 4), ('flush',)],
    'small': [('write -P 1', 0, 1 << 20, 1), ('write -P 2', 3000000, 3000, 2), ('flush',),
              ('write -z -u', 4096, 65536, 0), ('write -P 3', 2 << 20, 1 << 20, 3), ('flush',)],
    'cow': [('write -P 7', 1000, 1000, 7), ('write -P 8', 100000, 200000, 8), ('flush',)],
    'sub': [('write -P 7', 1000, 1000, 7), ('write -z', 4096, 10000, 0), ('flush',),
            ('write -P 8', 100000, 200000, 8), ('write -z -u', 110000, 50000, 0), ('flush',)],
    'snap': [('write -P 9', 0, 65536, 9), ('write -P 8', 66000, 1000, 8), ('flush',),
             ('write -z -u', 262144, 65536, 0), ('write -P 7', 300000, 100, 7), ('flush',)],
    'packed': [('write -P 3', 1000, 1000, 3), ('flush',), ('write -P 4', 65536, 65536, 4),
               ('flush',)],
}


def run(tool, *args):
    return subprocess.run([tool, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, timeout=60, text=True)


def inject(folder, image, rule):
    """Does the work of @image with @rule; yields what is wrong afterwards."""
    path = f'{folder}/{image}'
    words = [w for c, *rest in WORK[image]
             for w in ('-c', c if not rest else f'{c} {rest[0]} {rest[1]}')]
    done = run(str(BUILD / 'qemu-io'), '-t', 'writeback', '-d', 'unmap', *words, '--image-opts',
               f'driver=qcow2,file.driver=blkdebug,file.image.driver=file,'
               f'file.image.filename={path},{rule}')
    if done.returncode not in (0, 1):
        yield f'exit code {done.returncode}: {done.stdout}'
    check = run(str(REFERENCE / 'qemu-img'), 'check', '-f', 'qcow2', path)
    if check.returncode not in (0, 3):
        yield f'check says {check.stdout}'
    if done.returncode or 'qemu-io: ' in done.stdout:
        return
    reads = [w for off, length, pattern in content(WORK[image])
             for w in ('-c', f'read -P {pattern} {off} {length}')]
    got = run(str(REFERENCE / 'qemu-io'), '-r', '-f', 'qcow2', *reads, path).stdout
    if 'Pattern' in got or 'failed' in got:
        yield f'all was said to be written, but {got}'


def content(work):
    """The runs of equal bytes that @work leaves: (offset, length, pattern)."""
    edges = sorted({e for _, *r in work if r for e in (r[0], r[0] + r[1])})
    for start, end in zip(edges, edges[1:]):
        for _, *r in reversed(work):
            if r and r[0] <= start and end <= r[0] + r[1]:
                yield start, end - start, r[2]
                break


def one(template, image, event, once):
    with tempfile.TemporaryDirectory() as tmp:
        folder = f'{tmp}/w'
        shutil.copytree(template, folder)
        rule = f'file.inject-error.0.event={event}' + (',file.inject-error.0.once=on' if once else '')
        cwd = os.path.relpath(folder)
        why = list(inject(cwd, image, rule))
    name = f'injected-errors/{image}-{event}{"-once" if once else ""}'
    return f'not ok {name} {why[0].splitlines()[0]}\n' + '\n'.join(why) if why else f'ok {name}'


def main():
    for tool in BUILD / 'qemu-io', REFERENCE / 'qemu-img', REFERENCE / 'qemu-io':
        if not tool.exists():
            print(f'{tool} is not there')
            return 77
    with tempfile.TemporaryDirectory() as template, \
         concurrent.futures.ThreadPoolExecutor(2) as pool:
        subprocess.run(['bash', '-ec', f'PATH={REFERENCE}:$PATH; {SETUP}'], check=True, cwd=template,
                       stdout=subprocess.DEVNULL)
        jobs = [(template, i, e, once) for i in WORK for e in EVENTS for once in (False, True)]
        bad = 0
        for line in pool.map(lambda j: one(*j), jobs):
            print(line, flush=True)
            bad += line.startswith('not ok')
    return bad > 0


sys.exit(main())
