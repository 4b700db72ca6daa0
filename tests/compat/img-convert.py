#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img convert, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-convert')

images(t)
t.setup('shapes', """
    qemu-img create -q -f raw mixed 4M
    qemu-io -f raw -c 'write -P 1 0 64k' -c 'write -P 2 100k 4k' -c 'write -P 0 256k 256k' \\
        -c 'write -P 3 1000k 700k' -c 'write -P 4 3M 512' mixed >/dev/null
    qemu-img convert -O qcow2 mixed mixed.qcow2
    qemu-img convert -c -O qcow2 mixed packed.qcow2
    qemu-img create -q -f qcow2 -o extended_l2=on ext.qcow2 2M
    qemu-io -c 'write -P 1 2k 2k' -c 'write -z 8k 2k' -c 'write -P 9 1M 100k' ext.qcow2 >/dev/null
    head -c 3000 /dev/urandom > odd
    head -c 100000 /dev/zero > target
    qemu-img create -q -f raw dirty 4M
    qemu-io -f raw -c 'write -P 0xff 0 4M' dirty >/dev/null
    qemu-img create -q -f qcow2 dirty.qcow2 4M
    qemu-io -c 'write -P 0xff 0 4M' dirty.qcow2 >/dev/null
""", 'chain')
images_here = ('r', 'zero', 'odd', 'mixed', 'mixed.qcow2', 'packed.qcow2', 'ext.qcow2', 'a.qcow2', 'base.qcow2',
               'mid.qcow2', 'top.qcow2', 'empty.qcow2')
t.setup('all', """
    qemu-img create -q -f qcow2 a.qcow2 10M
    qemu-io -c 'write -P 1 0 1M' -c 'write -z 1M 64k' a.qcow2 >/dev/null
    qemu-img create -q -f qcow2 empty.qcow2 1M
""", 'shapes')
for name in images_here:
    for target in ('raw', 'qcow2'):
        t.row(f'{target}/{name}', f'qemu-img convert -O {target} {name} out', 'all')
    t.row(f'packed/{name}', f'qemu-img convert -c -O qcow2 {name} out', 'all')
    t.row(f'zstd/{name}', f'qemu-img convert -c -O qcow2 -o compression_type=zstd {name} out', 'all')
    t.row(f'full/{name}', f'qemu-img convert -S 0 {name} out', 'all')
for name, args in (
        ('clusters', '-O qcow2 -o cluster_size=4k'), ('v2', '-O qcow2 -o compat=0.10'), ('lazy', '-O qcow2 -o lazy_refcounts=on'),
        ('largest-clusters', '-O qcow2 -o cluster_size=2M'), ('smallest-clusters', '-O qcow2 -o cluster_size=512'),
        ('packed-clusters', '-c -O qcow2 -o cluster_size=2M'), ('packed-small', '-c -O qcow2 -o cluster_size=4k'),
        ('metadata', '-O qcow2 -o preallocation=metadata'), ('falloc', '-O qcow2 -o preallocation=falloc'),
        ('raw-falloc', '-o preallocation=falloc'), ('raw-full', '-o preallocation=full'),
        ('extended', '-O qcow2 -o extended_l2=on'), ('data-file', '-O qcow2 -o data_file=d'),
        ('data-file-raw', '-O qcow2 -o data_file=d,data_file_raw=on'), ('any-order', '-W'), ('any-order-packed', '-W -c -O qcow2'),
        ('one', '-m 1'), ('sixteen', '-m 16 -O qcow2'), ('offload', '-C'), ('offload-qcow2', '-C -O qcow2'),
        ('sparse-512', '-S 512'), ('sparse-64k', '-S 64k -O qcow2'), ('sparse-1M', '-S 1M'), ('rate', '-r 100M'),
        ('salvage', '--salvage'), ('quiet', '-q'), ('shared', '-U'), ('cache', '-t none -T none'),
        ('writethrough', '-t writethrough -O qcow2'), ('directsync', '-t directsync'), ('given', '-f raw'),
        ('size-ignored', '-O qcow2 -o size=64k')):
    t.row(f'options/{name}', f'qemu-img convert {args} mixed out', 'all')
for name, args in (
        ('format', '-O foo'), ('source-format', '-f foo'), ('cannot', '-O null-co'), ('option', '-O qcow2 -o foo=1'),
        ('list', '-O qcow2 -o ,'), ('raw-packed', '-c'),
        ('packed-preallocated', '-c -O qcow2 -o preallocation=full'), ('packed-metadata', '-c -O qcow2 -o preallocation=metadata'),
        ('packed-off', '-c -O qcow2 -o preallocation=off'), ('sparse', '-S 1'), ('sparse-odd', '-S 511'), ('sparse-word', '-S x'),
        ('sparse-large', '-S 3G'), ('coroutines-0', '-m 0'), ('coroutines-17', '-m 17'), ('coroutines-word', '-m x'),
        ('rate', '-r x'), ('offload-sparse', '-C -S 4k'), ('offload-packed', '-C -c -O qcow2'),
        ('offload-salvage', '-C --salvage'), ('snapshot', '-l nope'), ('zero-needs-n', '--target-is-zero'),
        ('broken-needs-bitmaps', '--skip-broken-bitmaps'), ('bitmaps', '--bitmaps'), ('cache', '-t foo'),
        ('source-cache', '-T foo'), ('raw-backing', '-B base.qcow2 -F qcow2'), ('no-backing-format', '-B base.qcow2 -O qcow2'),
        ('missing-backing', '-B nope -F qcow2 -O qcow2'), ('only-backing-format', '-F qcow2 -O qcow2'),
        ('target-opts', '--target-image-opts'), ('object', '--object foo,id=x')):
    t.row(f'bad/{name}', f'qemu-img convert {args} mixed out', 'all', files=name not in ('cache', 'missing-backing'))
for name, args in (('help', '-O qcow2 -o help'), ('help-source', '-O qcow2 -o help mixed'), ('help-both', '-O raw -o help mixed out'),
                   ('nothing', ''), ('one', 'mixed'), ('missing', 'nope out'), ('second-missing', 'mixed nope out'),
                   ('no-folder', 'mixed nope/out'), ('folder', 'mixed .'), ('device', 'mixed /dev/full'),
                   ('device-qcow2', '-O qcow2 mixed /dev/full'), ('onto-itself', 'mixed mixed')):
    t.row(f'words/{name}', f'qemu-img convert {args}', 'all', mask='help' if 'help' in name else ())
t.row('many/three', 'qemu-img convert r mixed r out', 'all')
t.row('many/odd', 'qemu-img convert odd r out', 'all')
t.row('many/odd-qcow2', 'qemu-img convert -O qcow2 odd a.qcow2 out', 'all')
t.row('many/packed', 'qemu-img convert -c -O qcow2 odd mixed out', 'all')
t.row('many/backing', 'qemu-img convert -O qcow2 -B r -F raw r r out', 'all')
t.row('many/snapshot', 'qemu-img convert -l x r r out', 'all')
t.row('backing/direct', 'qemu-img convert -O qcow2 -B mid.qcow2 -F qcow2 top.qcow2 out', 'all')
t.row('backing/option', 'qemu-img convert -O qcow2 -o backing_file=mid.qcow2,backing_fmt=qcow2 top.qcow2 out', 'all')
t.row('backing/packed', 'qemu-img convert -c -O qcow2 -B mid.qcow2 -F qcow2 top.qcow2 out', 'all')
t.row('backing/base', 'qemu-img convert -O qcow2 -B base.qcow2 -F qcow2 mid.qcow2 out', 'all')
t.row('backing/small-clusters', 'qemu-img convert -O qcow2 -o cluster_size=4k -B mid.qcow2 -F qcow2 top.qcow2 out', 'all')
t.row('backing/copy-of-base', 'cp mid.qcow2 copy && qemu-img convert -O qcow2 -B copy -F qcow2 top.qcow2 out', 'all')
t.row('existing/raw', 'qemu-img convert -n mixed dirty', 'all')
t.row('existing/qcow2', 'qemu-img convert -n -O qcow2 mixed dirty.qcow2', 'all')
t.row('existing/larger', 'qemu-img convert -n r dirty', 'all')
t.row('existing/smaller', 'qemu-img convert -n mixed target', 'all')
t.row('existing/missing', 'qemu-img convert -n mixed nope', 'all')
t.row('existing/other-format', 'qemu-img convert -n -O qcow2 mixed dirty', 'all')
t.row('existing/options', 'qemu-img convert -n -o preallocation=off mixed dirty', 'all')
t.row('existing/packed-raw', 'qemu-img convert -n -c mixed dirty', 'all')
t.row('existing/is-zero', 'qemu-img create -q fresh 4M; qemu-img convert -n --target-is-zero mixed fresh', 'all')
t.row('existing/target-opts', 'qemu-img convert -n --target-image-opts mixed driver=raw,file.filename=dirty', 'all')
t.row('existing/target-opts-format', 'qemu-img convert -n --target-image-opts -O raw mixed driver=raw,file.filename=dirty', 'all')
t.row('existing/packed', 'qemu-img create -q -f qcow2 new 4M; qemu-img convert -n -c -O qcow2 mixed new', 'all')
t.row('existing/full', 'qemu-img convert -n -S 0 mixed dirty', 'all')
t.row('existing/overlay', 'qemu-img convert -n -O qcow2 a.qcow2 top.qcow2', 'all')
t.row('source/image-opts', 'qemu-img convert --image-opts driver=raw,offset=64k,size=1M,file.filename=mixed out', 'all')
t.row('source/image-opts-format', 'qemu-img convert --image-opts -f raw file.filename=mixed out', 'all')
t.row('source/lost-backing', 'rm mid.qcow2; qemu-img convert top.qcow2 out', 'all')
for name, param in (('name', 'first'), ('id', '2'), ('full-id', 'snapshot.id=1'), ('full-name', 'snapshot.name=first'),
                    ('both', 'snapshot.id=1,snapshot.name=first'), ('clash', 'snapshot.id=2,snapshot.name=first'),
                    ('missing', 'nope')):
    t.row(f'snapshot/{name}', f'qemu-img convert -O qcow2 -l {param} s.qcow2 out', 'snapshots')
t.row('bitmaps/copied', 'qemu-img convert -O qcow2 --bitmaps b.qcow2 out && qemu-img info out', 'bitmaps', mask='disk')
t.row('bitmaps/left', 'qemu-img convert -O qcow2 b.qcow2 out && qemu-img info out', 'bitmaps', mask='disk')
t.row('bitmaps/to-v2', 'qemu-img convert -O qcow2 --bitmaps -o compat=0.10 b.qcow2 out', 'bitmaps', files=False)
t.row('bitmaps/two-sources', 'qemu-img convert -O qcow2 --bitmaps b.qcow2 b.qcow2 out', 'bitmaps')
t.row('bitmaps/to-raw', 'qemu-img convert --bitmaps b.qcow2 out', 'bitmaps', files=False)
t.row('progress/raw', 'qemu-img convert -p mixed out', 'all', mask='progress')
t.row('progress/qcow2', 'qemu-img convert -p -O qcow2 mixed out', 'all', mask='progress')
t.row('progress/quiet', 'qemu-img convert -p -q mixed out', 'all')
t.row('progress/missing', 'qemu-img convert -p nope out', 'all')
t.row('progress/nothing', 'qemu-img convert -p zero out', 'all', mask='progress')
bad = 'driver=raw,file.driver=blkdebug,file.image.filename=mixed,file.inject-error.0.event=none,' \
      'file.inject-error.0.once=off,file.inject-error.0.sector=2050,file.inject-error.0.iotype'
t.row('error/read', f'qemu-img convert --image-opts {bad}=read out', 'all', files=False)
t.row('error/status', f'qemu-img convert --image-opts {bad}=block-status out', 'all', files=False)
t.row('error/write', f'qemu-img convert -n --target-image-opts mixed {bad.replace("mixed", "dirty")}=write', 'all', files=False)
t.row('error/salvaged', f'qemu-img convert --salvage --image-opts {bad}=read out', 'all')
t.row('error/salvaged-quiet', f'qemu-img convert -q --salvage --image-opts {bad}=read out', 'all')
s = '--object secret,id=s,data=abc'
src = '--image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2'
t.row('encrypted/from', f'qemu-img convert {s} {src} out', 'encrypted')
t.row('encrypted/from-luks', f'qemu-img convert {s} --image-opts driver=luks,key-secret=s,file.filename=l.luks out', 'encrypted')
t.row('encrypted/no-key', 'qemu-img convert e.qcow2 out', 'encrypted')
t.row('encrypted/wrong-key', f'qemu-img convert --object secret,id=s,data=no {src} out', 'encrypted')
t.row('encrypted/to-aes', f'qemu-img convert {s} -O qcow2 -o encryption=on,encrypt.key-secret=s r out', 'encrypted')
t.row('encrypted/to-luks', f'qemu-img convert {s} -O luks -o key-secret=s,iter-time=10 r out && qemu-img compare {s} '
      '--image-opts driver=raw,file.filename=r driver=luks,key-secret=s,file.filename=out', 'encrypted', files=False)

t.main()
