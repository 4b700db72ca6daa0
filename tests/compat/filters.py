#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters other than blkdebug, and quorum, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import IO_MASKS, IoTable

t = IoTable('filters')
t.setup('two', '''
for i in 1 2 3; do truncate -s 1M $i; qemu-io -f raw -c 'write -P 1 0 4k' $i >/dev/null; done
printf x | dd of=2 bs=1 seek=5000 conv=notrunc status=none
printf y | dd of=3 bs=1 seek=5000 conv=notrunc status=none
cp 1 same; cp 2 same2; truncate -s 512k small
qemu-img create -q -f qcow2 -b 1 -F raw q.qcow2
''')


def opts(name, image, *commands, more='', **kw):
    kw.setdefault('setup', 'two')
    t.io(name, *commands, opts=f'{more} --image-opts', image=image, **kw)


def child(key, driver, file):
    return f'{key}.driver={driver},{key}.file.driver=file,{key}.file.filename={file}'


def debug(key, file, rule):
    return (f'{key}.driver=blkdebug,{key}.image.driver=file,{key}.image.filename={file},'
            f'{key}.inject-error.0.event=none{rule}')


# ---- blkverify ---------------------------------------------------------------------------------

def verify(name, raw, test, *commands, **kw):
    opts(f'blkverify/{name}', f'driver=blkverify,{raw},{test}', *commands, **kw)


R1, T2, SAME = child('raw', 'raw', '1'), child('test', 'raw', '2'), child('test', 'raw', 'same')
verify('same', R1, SAME, 'read 0 1M', 'write -P 5 100 5000', 'read -P 5 100 5000', 'flush',
       'discard 0 64k', 'read 0 1M', 'map', 'length', 'alloc 0 1M')
verify('differs', R1, T2, 'read 0 4k', 'read 5001 4k', 'read 0 64k', 'read 0 1')
verify('differs-unaligned', R1, T2, 'read 4990 20')
verify('differs-vectors', R1, T2, 'readv -v 4090 1k 20')
verify('qcow2', R1, child('test', 'qcow2', 'q.qcow2'), 'read 0 1M', 'write -P 5 70k 5000',
       'read 0 1M', 'map')
verify('probed', R1, 'test.file.filename=q.qcow2', 'read 0 1M')
verify('raw-fails', debug('raw', '1', ''), SAME, 'read 0 4k')
verify('test-fails', R1, debug('test', '1', ',test.inject-error.0.errno=28'), 'read 0 4k')
verify('test-fails-to-write', R1, debug('test', '1', ',test.inject-error.0.iotype=write'),
       'write 0 4k')
verify('test-fails-to-flush', R1, debug('test', 'same', ',test.inject-error.0.iotype=flush'),
       'write 0 4k', 'flush', stderr='any')
verify('detects-zeroes-below', R1 + ',raw.detect-zeroes=unmap', SAME, 'read 0 4k', 'length')
verify('small', R1, child('test', 'raw', 'small'), 'length', 'read 0 512k')
verify('nothing-to-test', R1, 'test.filename=1', 'length')
for name, file in {'names': 'blkverify:1:same', 'qcow2': 'blkverify:1:q.qcow2',
                   'one': 'blkverify:1', 'empty': 'blkverify:', 'two-empty': 'blkverify::',
                   'missing': 'blkverify:nosuch:1', 'missing-test': 'blkverify:1:nosuch',
                   'protocol': 'blkverify:1:x:y'}.items():
    t.io(f'blkverify/name/{name}', 'read 0 64k', 'length', image=file, setup='two', stderr='any')

# ---- quorum ------------------------------------------------------------------------------------

C = [child('children.0', 'raw', '1'), child('children.1', 'raw', '2'),
     child('children.2', 'raw', '3')]
SAMES = [child('children.0', 'raw', '1'), child('children.1', 'raw', 'same'),
         child('children.2', 'raw', 'same2')]


def quorum(name, options, children, *commands, **kw):
    kw.setdefault('stderr', 'any')
    opts(f'quorum/{name}', ','.join([f'driver=quorum,{options}', *children]), *commands, **kw)


ALL = ('read -v 4996 8', 'read -P 1 0 4k', 'write -P 9 0 512', 'read -P 9 0 512', 'write -z 512 1k',
       'flush', 'discard 0 4k', 'map', 'length', 'alloc 0 1M')
for n in 1, 2, 3:
    for threshold in range(n + 2):
        quorum(f'{n}-of-threshold-{threshold}', f'vote-threshold={threshold}', C[:n], *ALL)
quorum('majority', 'vote-threshold=2', [C[0], *SAMES[1:]], *ALL)
quorum('rewrite', 'vote-threshold=2,rewrite-corrupted=on', [C[0], SAMES[1], C[1]], *ALL)
quorum('rewrite-nobody-wins', 'vote-threshold=2,rewrite-corrupted=on', C, *ALL)
quorum('rewrite-single-votes', 'vote-threshold=1,rewrite-corrupted=on', C, 'read -v 4996 8')
quorum('rewrite-read-only', 'vote-threshold=2,rewrite-corrupted=on', C, *ALL, more='-r')
quorum('fifo', 'vote-threshold=1,read-pattern=fifo', C, *ALL)
quorum('fifo-rewrite', 'vote-threshold=2,read-pattern=fifo,rewrite-corrupted=on', C, *ALL)
quorum('blkverify', 'vote-threshold=2,blkverify=on', C[:2], 'read 0 4k', 'read 5001 10',
       'read 0 64k')
quorum('blkverify-three', 'vote-threshold=2,blkverify=on', C, 'length')
quorum('blkverify-threshold', 'vote-threshold=1,blkverify=on', C[:2], 'length')
quorum('blkverify-rewrite', 'vote-threshold=2,blkverify=on,rewrite-corrupted=on', C[:2], 'length')
quorum('no-children', 'vote-threshold=1', [], 'length')
quorum('no-threshold', 'read-pattern=fifo', C, 'length')
quorum('unknown-pattern', 'vote-threshold=1,read-pattern=x', C, 'length')
quorum('gap', 'vote-threshold=1', [C[1]], 'length')
quorum('sizes-differ', 'vote-threshold=1', [C[0], child('children.1', 'raw', 'small')], 'length')
quorum('same-child-twice', 'vote-threshold=2', [C[0], child('children.1', 'raw', '1')], *ALL)
quorum('by-name', 'vote-threshold=1', ['children.0=nosuch'], 'length')
quorum('no-resize', 'vote-threshold=1', C, 'truncate 2M', 'length')
quorum('probed', 'vote-threshold=2', ['children.0.file.filename=q.qcow2',
                                      'children.1.file.filename=1'], *ALL)
for io in 'read', 'write', 'write-zeroes', 'flush', 'block-status':
    one = debug('children.2', 'same2', f',children.2.inject-error.0.iotype={io}')
    two = debug('children.1', 'same', f',children.1.inject-error.0.iotype={io},'
                                      'children.1.inject-error.0.errno=28')
    quorum(f'one-fails-{io}', 'vote-threshold=2', [SAMES[0], SAMES[1], one], *ALL)
    quorum(f'two-fail-{io}', 'vote-threshold=2', [SAMES[0], two, one], *ALL)
    quorum(f'two-fail-{io}-of-three', 'vote-threshold=3', [SAMES[0], two, one], *ALL)
    quorum(f'one-suffices-{io}', 'vote-threshold=1', [SAMES[0], two, one], *ALL)
    quorum(f'fifo-{io}', 'vote-threshold=1,read-pattern=fifo', [one.replace('ren.2', 'ren.0'),
                                                                SAMES[1]], *ALL)
t.row('quorum/below-raw', 'qemu-io -c "write -P 3 0 2M" -c "read -P 3 0 1M" -c "write -P 3 0 1M" '
      '--image-opts driver=raw,file.driver=quorum,file.vote-threshold=2,'
      'file.children.0.driver=file,file.children.0.filename=1,'
      'file.children.1.driver=file,file.children.1.filename=same', 'two', mask=IO_MASKS)

# ---- throttle ----------------------------------------------------------------------------------

THROTTLE = 'driver=throttle,throttle-group=t,file.driver=raw,file.file.driver=file,file.file.filename=1'
for name, group in {
        'free': '', 'limited': ',x-iops-total=1000,x-bps-total=100000000',
        'limits': ',limits.bps-read=10000000,limits.iops-write=1000',
        'burst': ',x-iops-total=100,x-iops-total-max=2000,x-iops-total-max-length=60',
        'max-below': ',x-bps-total=4096,x-bps-total-max=2048', 'max-alone': ',x-bps-total-max=4096',
        'total-and-read': ',x-bps-total=4096,x-bps-read=2048',
        'total-and-write-max': ',x-iops-total=4096,x-iops-write=2048',
        'length-alone': ',x-bps-total=4096,x-bps-total-max-length=3',
        'length-0': ',x-bps-total=4096,x-bps-total-max-length=0',
        'length-large': ',x-bps-total=1,x-bps-total-max=9,x-bps-total-max-length=10000000000',
        'large': ',x-bps-total=10000000000000000', 'negative': ',x-bps-total=-1',
        'size-alone': ',x-iops-size=4096', 'size': ',x-iops-size=4096,x-iops-total=1000',
        'text': ',x-iops-total=many', 'suffix': ',x-bps-total=1M', 'unknown': ',bps=1',
        'unknown-limit': ',limits.bps=1'}.items():
    opts(f'throttle/{name}', THROTTLE, *ALL[1:], 'truncate 2M', 'length',
         more=f'--object throttle-group,id=t{group}')
opts('throttle/no-group', THROTTLE, 'length')
opts('throttle/no-group-option', 'driver=throttle,file.driver=null-co', 'length')
opts('throttle/group-of-another-kind', THROTTLE, 'length', more='--object secret,id=t,data=x')
t.row('throttle/json', "qemu-io --object '{\"qom-type\":\"throttle-group\",\"id\":\"t\",\"limits\":"
      "{\"iops-total\":1000}}' -c length --image-opts " + THROTTLE, 'two')
t.row('throttle/help', 'qemu-io --object throttle-group,help')

# ---- copy-on-read ------------------------------------------------------------------------------

t.setup('chain', '''
truncate -s 1M base; qemu-io -f raw -c 'write -P 1 0 1M' base >/dev/null
qemu-img create -q -f qcow2 -b base -F raw mid
qemu-io -c 'write -P 2 256k 256k' mid >/dev/null
qemu-img create -q -f qcow2 -b mid -F qcow2 top
qemu-io -c 'write -P 3 512k 64k' top >/dev/null
''')
TOP = 'driver=qcow2,file.driver=file,file.filename=top'
COR = f'driver=copy-on-read,file.driver=qcow2,file.file.driver=file,file.file.filename=top'
NAMED = (f'{COR},file.backing.driver=qcow2,file.backing.node-name=mid,'
         'file.backing.file.driver=file,file.backing.file.filename=mid')
READS = ('read -P 1 0 1', 'read -P 1 100k 10k', 'read -P 2 300k 100k', 'read -P 3 512k 64k', 'map',
         'write -P 4 0 100', 'read -P 4 0 100', 'alloc 0 1M')
for name, image in {'filter': COR, 'bottom': f'{NAMED},bottom=mid',
                    'bottom-unknown': f'{COR},bottom=nosuch',
                    'bottom-itself': f'{COR},file.node-name=top,bottom=top'}.items():
    # With the image itself as the bottom the reference copies everything, we nothing.
    if name != 'bottom-itself':
        opts(f'copy-on-read/{name}', image, *READS, setup='chain')
    opts(f'copy-on-read/{name}-read-only', image, *READS, setup='chain', more='-r')
opts('copy-on-read/between-an-image-and-its-backing-file',
     'driver=qcow2,file.filename=q.qcow2,backing.driver=copy-on-read,backing.read-only=on,'
     'backing.file.driver=raw,backing.file.file.filename=1', 'read -P 1 0 4k', more='-r')
t.io('copy-on-read/switch', *READS, opts='-C', image='top', setup='chain')
t.io('copy-on-read/switch-read-only', *READS, opts='-C -r', image='top', setup='chain')
t.row('copy-on-read/left', f'qemu-io -c "read 0 512k" --image-opts {COR}; qemu-io -c map top', 'chain',
      mask=IO_MASKS)
t.row('copy-on-read/left-bottom', f'qemu-io -c "read 0 512k" --image-opts {NAMED},bottom=mid; '
      'qemu-io -c map top', 'chain', mask=IO_MASKS)

# ---- compress ----------------------------------------------------------------------------------

t.setup('compress', '''
qemu-img create -q -f qcow2 q 1M
qemu-img create -q -f qcow2 odd 1000k
qemu-img create -q -f qcow2 -o cluster_size=4k,compression_type=zstd small 1M
truncate -s 1M raw
''')
for image in 'q', 'odd', 'small':
    for name, commands in {'one': ['write -P 5 0 64k'], 'part': ['write -P 5 1 100'],
                           'all': ['write -P 5 0 1000k', 'write -P 6 900k 100k'],
                           'zero': ['write -P 5 0 128k', 'write -z 1000 70k', 'read -P 0 1000 70k'],
                           'again': ['write -P 5 0 64k', 'write -P 6 100 100', 'read -P 6 100 100',
                                     'read -P 5 200 10k', 'discard 0 64k', 'flush']}.items():
        t.row(f'compress/{image}-{name}', 'qemu-io ' + ' '.join(f'-c "{c}"' for c in commands) +
              f' --image-opts driver=compress,file.driver=qcow2,file.file.driver=file,'
              f'file.file.filename={image}; qemu-img check {image}; qemu-img map --output=json {image}',
              'compress', mask=[*IO_MASKS, 'end', 'offset'])
opts('compress/raw', 'driver=compress,file.driver=raw,file.file.driver=file,file.file.filename=raw',
     'length', setup='compress')
opts('compress/file', 'driver=compress,file.driver=file,file.filename=raw', 'length',
     setup='compress')

# ---- preallocate -------------------------------------------------------------------------------

t.setup('grow', 'truncate -s 64k r; qemu-img create -q -f qcow2 q 16M')
PRE = 'driver=preallocate,file.driver=file,file.filename=r'
for name, more in {'default': '', 'small': ',prealloc-size=1M,prealloc-align=64k',
                   'align-0': ',prealloc-align=0', 'align-odd': ',prealloc-align=1000',
                   'align-sector': ',prealloc-align=3584', 'size-0': ',prealloc-size=0',
                   'size-odd': ',prealloc-size=1000', 'size-negative': ',prealloc-size=-1',
                   'align-above': ',prealloc-size=1M,prealloc-align=2M'}.items():
    opts(f'preallocate/{name}', PRE + more, 'length', 'write -P 5 60k 4k', 'truncate 128k',
         'write -P 6 64k 4k', 'length', 'truncate 32k', 'length', 'read 0 32k', setup='grow')
    for image in 'raw', 'qcow2':
        image = (f'driver={image},file.driver=preallocate,file.file.driver=file,'
                 f'file.file.filename={"q" if image == "qcow2" else "r"},file.')
        image += more.replace(',', ',file.')[1:] if more else 'node-name=n'
        opts(f'preallocate/{name}-below-{image[7:10]}', image.replace('file.file.prealloc',
             'file.prealloc'), 'write -P 5 0 10k', 'truncate 16M', 'write -P 6 8M 1M',
             'write -z 10M 1M', 'read -P 0 10M 1M', 'flush', 'length', setup='grow',
             more='-t writeback', stderr='any')

# ---- blklogwrites ------------------------------------------------------------------------------

t.setup('log', 'truncate -s 1M f; truncate -s 0 log; truncate -s 64k zeroes\n'
        'qemu-io -c "write -P 1 0 1k" -c flush --image-opts driver=blklogwrites,file.driver=file,'
        'file.filename=f,log.driver=file,log.filename=log >/dev/null\ntruncate -s 0 empty')
WRITES = ('write -P 1 0 512', 'write -P 2 1k 1k', 'flush', 'write -f -P 3 4k 512', 'discard 8k 4k',
          'write -z 16k 4k', 'write -z -u 32k 4k', 'write -P 4 1 3', 'read -P 2 1k 1k', 'flush',
          'write -P 7 100k 100k', 'map', 'length')
for name, (more, log) in {
        'default': ('', 'empty'), 'over-an-old-one': ('', 'log'),
        'interval-1': (',log-super-update-interval=1', 'empty'),
        'interval-2': (',log-super-update-interval=2', 'empty'),
        'interval-0': (',log-super-update-interval=0', 'empty'),
        'sector-4096': (',log-sector-size=4096', 'empty'),
        'sector-256': (',log-sector-size=256', 'empty'),
        'sector-odd': (',log-sector-size=1000', 'empty'),
        'sector-0': (',log-sector-size=0', 'empty'),
        'sector-large': (',log-sector-size=16777216', 'empty'),
        'sector-of-8m': (',log-sector-size=8388608', 'empty'),
        'append': (',log-append=on', 'log'), 'append-to-nothing': (',log-append=on', 'empty'),
        'append-to-zeroes': (',log-append=on', 'zeroes'),
        'append-sector': (',log-append=on,log-sector-size=512', 'log'),
        'missing': ('', 'nosuch')}.items():
    for mode in 'writeback', 'writethrough':
        opts(f'blklogwrites/{name}-{mode}', 'driver=blklogwrites,file.driver=file,file.filename=f,'
             f'log.driver=file,log.filename={log}{more}', *WRITES, more=f'-t {mode} -d unmap',
             setup='log')
opts('blklogwrites/no-log', 'driver=blklogwrites,file.driver=file,file.filename=f', 'length',
     setup='log')

# ---- what is allocated, as filters tell it -------------------------------------------------------

for name, above in {'blkdebug': 'driver=blkdebug,image', 'copy-on-read': 'driver=copy-on-read,file',
                    'raw': 'driver=raw,file', 'two': 'driver=copy-on-read,file.driver=blkdebug,file.image'}.items():
    image = above.rsplit(',', 1)
    below = f'{image[0]},{child(image[1], "qcow2", "q.qcow2")}'
    opts(f'allocated/{name}', below, 'alloc 0 1M', 'write -P 3 512k 64k', 'alloc 512k 64k', 'map')
    opts(f'allocated/{name}-without-backing', f'{below},{image[1]}.backing=', 'alloc 0 1M', 'map')

t.main()
