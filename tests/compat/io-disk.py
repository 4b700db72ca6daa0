#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io flush, discard, truncate, length, alloc, map and info, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import IoTable

t = IoTable('io-disk')
t.setup('sizes', '''
truncate -s 0 zero
printf x > one
truncate -s 1000 thousand
truncate -s 1537 odd
truncate -s 1047552 almost
truncate -s 1073741312 large
truncate -s 3T huge
''')
t.setup('luks', '''
# The reference measures its CPU and now and then finds that it cannot, on a busy machine.
for try in 1 2 3 4 5 6 7 8; do
    qemu-img create -q -f luks --object secret,id=s,data=x -o key-secret=s,iter-time=50 l.luks 1M && break
done
qemu-io --object secret,id=s,data=x --image-opts -c 'write 0 4k' \\
    driver=luks,key-secret=s,file.filename=l.luks >/dev/null
''')

t.each('flush', {
    'plain': 'flush',
    'alias': 'f',
    'after-write': ['write 0 512', 'flush'],
    'takes-no-words': 'flush 1',
})
t.each('discard', {
    'plain': 'discard 0 64k',
    'alias': 'd 0 512',
    'unaligned': 'discard 1 1',
    'nothing': ['discard 0 0', 'discard 1M 0'],
    'quiet': 'discard -q 0 512',
    'figures': 'discard -C 0 512',
    'reads-as-zeroes': ['discard 0 1M', 'read -P 0 0 1M'],
    'past-the-end': ['discard 2M 512', 'discard 1048575 2'],
    'no-words': 'discard',
    'one-word': 'discard 0',
    'three-words': 'discard 0 1 2',
    'unknown-option': 'discard -v 0 1',
    'bad-numbers': ['discard x 1', 'discard 0 x', 'discard 9E 1'],
    'over-the-limit': ['discard 0 3G', 'discard 0 2147483137'],
})
t.io('discard/ignored', 'discard 0 1M', 'read -P 0xa1 0 64k', opts='-d ignore -f raw')
t.io('discard/mode-off', 'discard 0 1M', 'read -P 0xa1 0 64k', opts='-d off -f raw')
t.io('discard/mode-on', 'discard 0 1M', 'read -P 0 0 64k', opts='--discard=on -f raw')
t.io('discard/read-only', 'discard 0 512', opts='-r -f raw')
t.each('truncate', {
    'longer': ['truncate 2M', 'length', 'read -P 0 1M 1M'],
    'shorter': ['truncate 64k', 'length'],
    'alias': ['t 2M', 'l'],
    'to-nothing': ['truncate 0', 'length', 'map'],
    'odd-size': ['truncate 2000', 'length', 'write 1500 100'],
    'odd-size-then-write-to-its-end': ['truncate 2000', 'write 2000 48'],
    'fraction': ['truncate 1.5k', 'length'],
    'off': ['truncate -m off 2M', 'length'],
    'falloc': ['truncate -m falloc 2M', 'length'],
    'full': ['truncate -m full 2M', 'length'],
    'mode-behind-the-size': ['truncate 2M -m off', 'length'],
    'mode-attached': ['truncate -moff 3M', 'length'],
    'metadata-not-for-raw': ['truncate -m metadata 4M', 'length'],
    'no-preallocation-when-shorter': ['truncate -m falloc 64k', 'length'],
    'unknown-mode': ['truncate -m x 3M', 'length'],
    'no-words': 'truncate',
    'two-sizes': ['truncate 1 2', 'length'],
    'too-many-words': ['truncate 1 2 3 4', 'truncate -m off -- 1M'],
    'mode-without-value': 'truncate -m',
    'unknown-option': ['truncate -Z 1M', 'truncate -1'],
    'not-a-number': ['truncate x', 'truncate 1kb'],
    'too-large': ['truncate 16E', 'truncate 9E'],
    'too-large-for-a-file': ['truncate 7E', 'length'],
    'behind-dashes': ['truncate -- 512k', 'length'],
})
t.io('truncate/read-only', 'truncate 2M', 'truncate', 'length', opts='-r -f raw')
t.row('truncate/null', 'qemu-io --image-opts -c "truncate 1M" -c length driver=null-co,size=2M',
      mask='speed')
t.row('truncate/raw-window', 'qemu-io --image-opts -c "truncate 1M" -c length '
      'driver=raw,size=512k,file.filename=a.img', 'raw')
for size in ('zero', 'one', 'thousand', 'odd', 'almost', 'large', 'huge'):
    t.io(f'length/{size}', 'length', 'l', image=size, setup='sizes')
    t.io(f'map/{size}', 'map', image=size, setup='sizes')
t.io('length/takes-no-words', 'length 1', 'length --')
t.io('length/file-without-format', 'length', opts='--image-opts', setup='sizes',
     image='driver=file,filename=thousand')
t.io('length/raw-window', 'length', 'read 0 1k', 'read 1k 1', opts='--image-opts',
     image='driver=raw,offset=512,size=1024,file.filename=a.img')
for name, size in {'odd': '1023', 'kib': '1536', 'tib': '1234567890123', 'pib': '9000000000000000',
                   'default': ''}.items():
    opt = f',size={size}' if size else ''
    t.row(f'length/null-{name}', f'qemu-io --image-opts -c length driver=null-co{opt}')
t.io('odd-size/reads-zeroes-behind', 'read -v 496 20', 'read -P 0 1 511', image='one',
     setup='sizes')
t.io('odd-size/writes-behind', 'write -P 7 600 424', 'length', image='thousand', setup='sizes')
t.each('alloc', {
    'default-length': ['alloc 0', 'alloc 1'],
    'all': 'alloc 0 1M',
    'alias': 'a 0 512',
    'part': 'alloc 512 1',
    'nothing': ['alloc 0 0', 'alloc 1M 0'],
    'cut-at-the-end': ['alloc 0 2M', 'alloc 0 3G', 'alloc 0 7E', 'alloc 1048575 2'],
    'past-the-end': ['alloc 1M', 'alloc 2M', 'alloc 7E'],
    'no-words': 'alloc',
    'too-many-words': 'alloc 0 1 2',
    'bad-numbers': ['alloc x', 'alloc 0 x', 'alloc -1', 'alloc 0 -1', 'alloc -- 1', 'alloc 9E'],
})
t.each('alloc-qcow2', {
    'own': 'alloc 512k 64k',
    'below': 'alloc 0 512k',
    'mixed': ['alloc 0 4M', 'alloc 500k 100k', 'alloc 3M 1M'],
    'zeroes-count': 'alloc 2M 64k',
    'odd': ['alloc 100 1', 'alloc 4194000 1000'],
    'after-write': ['write 1M 64k', 'alloc 1M 128k'],
}, opts='', image='b.qcow2', setup='qcow2')
t.each('map', {'raw': 'map', 'alias-is-unknown': 'm', 'takes-no-words': 'map 1'})
t.each('map-qcow2', {
    'plain': 'map',
    'after-write': ['write 0 64k', 'write 1M 128k', 'write -z 64k 64k', 'map'],
    'compressed-is-allocated': ['write -c 128k 64k', 'map'],
    'after-discard': ['write 0 64k', 'discard 0 64k', 'map'],
    'after-truncate': ['truncate 1M', 'map', 'truncate 8M', 'map'],
}, opts='', image='b.qcow2', setup='qcow2')
t.io('map-qcow2/empty', 'map', opts='', image='e.qcow2', setup='empty')
t.setup('empty', 'qemu-img create -q -f qcow2 e.qcow2 4M')
t.io('map/file-without-format', 'map', 'alloc 0 1M', opts='--image-opts',
     image='driver=file,filename=a.img')
for name, more in {'unknown': '', 'zeroes': ',read-zeroes=on'}.items():
    for over, opts in {'null': 'driver=null-co,size=1M',
                       'raw-over-null': 'driver=raw,file.driver=null-co,file.size=1M'}.items():
        where = 'file.' if over != 'null' and more else ''
        t.row(f'map/{over}-{name}', 'qemu-io --image-opts -c map -c "alloc 0 1M" '
              f'{opts}{more.replace("read", where + "read")}')
t.io('info/raw', 'info', 'i')
t.io('info/takes-no-words', 'info 1')
t.io('info/probed', 'info', opts='')
t.io('info/file', 'info', opts='--image-opts', image='driver=file,filename=a.img')
t.io('info/raw-window', 'info', opts='--image-opts',
     image='driver=raw,offset=512,size=1024,file.filename=a.img')
for driver in ('null-co', 'null-aio'):
    t.row(f'info/{driver}', f'qemu-io --image-opts -c info driver={driver}')
    t.row(f'info/raw-over-{driver}', f'qemu-io -f raw -c info {driver}://')
t.io('info/qcow2', 'info', opts='', image='b.qcow2', setup='qcow2')
t.io('info/qcow2-lazy', 'info', opts='', image='lazy.qcow2', setup='kinds')
t.io('info/qcow2-old', 'info', opts='', image='old.qcow2', setup='kinds')
t.io('info/qcow2-extended', 'info', opts='', image='ext.qcow2', setup='kinds')
t.io('info/qcow2-data-file', 'info', opts='', image='data.qcow2', setup='kinds')
t.setup('kinds', '''
qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4k,refcount_bits=64 lazy.qcow2 1M
qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 1M
qemu-img create -q -f qcow2 -o extended_l2=on,compression_type=zstd ext.qcow2 1M
qemu-img create -q -f qcow2 -o data_file=data.raw data.qcow2 1M
''')
t.row('info/luks', 'qemu-io --object secret,id=s,data=x --image-opts -c info -c "read 0 512" '
      'driver=luks,key-secret=s,file.filename=l.luks', 'luks', mask=['speed', 'uuid', 'iters'])
t.each('truncate-qcow2', {
    'longer': ['truncate 8M', 'length', 'read -P 0 4M 4M'],
    'shorter': ['truncate 1M', 'length'],
    'metadata': ['truncate -m metadata 8M', 'length'],
    'falloc': ['truncate -m falloc 5M', 'length'],
    'full': ['truncate -m full 5M', 'length'],
    'odd': ['truncate 3000001', 'length'],
}, opts='', image='e.qcow2', setup='empty')

# ---- filters and encryption --------------------------------------------------------------------

QCOW2 = 'file.driver=qcow2,file.file.filename=b.qcow2'
t.setup('log', 'cp --sparse=always a.img copy.img; truncate -s 4M log.img', 'raw')
for name, setup, objects, options in [
        ('blkdebug', 'raw', '', 'driver=blkdebug,image.driver=file,image.filename=a.img'),
        ('blkverify', 'log', '', 'driver=blkverify,raw.driver=file,raw.filename=copy.img,'
         'test.driver=raw,test.file.filename=a.img'),
        ('throttle', 'qcow2', '--object throttle-group,id=g', 'driver=throttle,throttle-group=g,'
         + QCOW2),
        ('copy-on-read', 'qcow2', '', 'driver=copy-on-read,' + QCOW2),
        ('compress', 'qcow2', '', 'driver=compress,' + QCOW2),
        ('preallocate', 'raw', '', 'driver=preallocate,file.driver=file,file.filename=a.img'),
        ('quorum', 'qcow2', '', 'driver=quorum,vote-threshold=1,children.0.driver=qcow2,'
         'children.0.file.filename=b.qcow2'),
        ('blklogwrites', 'log', '', 'driver=blklogwrites,file.driver=file,file.filename=a.img,'
         'log.driver=file,log.filename=log.img')]:
    line = f'qemu-io {objects} --image-opts %s {options}'
    t.row(f'filter/{name}-info', line % '-r -c info', setup, mask='speed')
    t.row(f'filter/{name}-map', line % '-r -c map -c "alloc 0 1M" -c length', setup)
    t.row(f'filter/{name}-read', line % '-r -c "read -v 524280 16" -c "read -q 0 1M"', setup,
          mask='speed')
    t.row(f'filter/{name}-write', line % '-c "write -P 9 64k 64k" -c "read -P 9 64k 64k" -c flush',
          setup, mask='speed', files=name not in ('blklogwrites', 'preallocate'))

LUKS = '--object secret,id=s,data=x --image-opts %s driver=luks,key-secret=s,file.filename=l.luks'
t.row('luks/read', 'qemu-io ' + LUKS % '-r -c "read -P 0xcd 0 4k" -c length -c map', 'luks',
      mask='speed')
t.row('luks/write', 'qemu-io ' + LUKS % '-c "write -P 7 100 5000" -c "read -P 7 100 5000"', 'luks',
      mask='speed')
t.row('luks/wrong-password', 'qemu-io --object secret,id=s,data=y --image-opts -c length '
      'driver=luks,key-secret=s,file.filename=l.luks', 'luks')
t.row('luks/no-password', 'qemu-io -c length l.luks', 'luks')
t.row('luks/unknown-secret', 'qemu-io --image-opts -c length '
      'driver=luks,key-secret=q,file.filename=l.luks', 'luks')

t.main()
