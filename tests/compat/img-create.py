#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img create, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-create')

images(t)
for name, opts in (
        ('plain', ''), ('clusters', '-o cluster_size=4k'), ('largest-clusters', '-o cluster_size=2M'),
        ('smallest-clusters', '-o cluster_size=512'), ('v2', '-o compat=0.10'), ('v2-name', '-o compat=v2'),
        ('v3-name', '-o compat=v3'), ('zstd', '-o compression_type=zstd'), ('lazy', '-o lazy_refcounts=on'),
        ('lazy-short', '-o lazy_refcounts'), ('refcount-1', '-o refcount_bits=1'),
        ('refcount-64', '-o refcount_bits=64'), ('extended', '-o extended_l2=on,cluster_size=128k'),
        ('metadata', '-o preallocation=metadata'), ('falloc', '-o preallocation=falloc'),
        ('full', '-o preallocation=full'), ('nocow', '-o nocow=on'), ('hint', '-o extent_size_hint=1M'),
        ('data-file', '-o data_file=d.raw'), ('data-file-raw', '-o data_file=d.raw,data_file_raw=on'),
        ('two-lists', '-o cluster_size=4k -o lazy_refcounts=on'), ('later-wins', '-o cluster_size=4k,cluster_size=8k'),
        ('everything', '-o cluster_size=8k,compat=1.1,compression_type=zlib,extended_l2=off,'
                       'lazy_refcounts=on,preallocation=off,refcount_bits=8,nocow=off'),
        ('bad-cluster', '-o cluster_size=3'), ('bad-cluster-text', '-o cluster_size=x'),
        ('too-large-cluster', '-o cluster_size=4M'), ('bad-compat', '-o compat=x'),
        ('bad-refcount', '-o refcount_bits=3'), ('bad-refcount-text', '-o refcount_bits=x'),
        ('bad-lazy', '-o lazy_refcounts=x'), ('bad-preallocation', '-o preallocation=x'),
        ('bad-compression', '-o compression_type=x'), ('v2-lazy', '-o compat=v2,lazy_refcounts=on'),
        ('v2-refcount', '-o compat=v2,refcount_bits=8'), ('v2-zstd', '-o compat=v2,compression_type=zstd'),
        ('v2-extended', '-o compat=v2,extended_l2=on'), ('extended-small', '-o extended_l2=on,cluster_size=4k'),
        ('raw-without-file', '-o data_file_raw=on'), ('unknown', '-o foo=1'), ('no-name', '-o =1'),
        ('comma', '-o ,'), ('empty-list', '-o ""'), ('ends-in-comma', '-o cluster_size=4k,'),
        ('quiet', '-q'), ('quiet-bad', '-q -o foo=1'), ('bad-encryption', '-o encrypt.format=foo'),
        ('luks-no-key', '-o encrypt.format=luks')):
    t.row(f'qcow2/{name}', f'qemu-img create -f qcow2 {opts} x 3M')
for name, opts in (('plain', ''), ('off', '-o preallocation=off'), ('falloc', '-o preallocation=falloc'),
                   ('full', '-o preallocation=full'),
                   ('bad', '-o preallocation=x'), ('nocow', '-o nocow=on'), ('hint', '-o extent_size_hint=0'),
                   ('cluster', '-o cluster_size=4k'), ('backing', '-b r -F raw')):
    t.row(f'raw/{name}', f'qemu-img create -f raw {opts} x 3M', 'raw')
t.row('raw/default-format', 'qemu-img create x 3M')
t.row('raw/over-existing', 'qemu-img create -f raw r 64k', 'raw')
t.row('qcow2/over-existing', 'qemu-img create -f qcow2 r 64k', 'raw')

for name, size in (('bytes', '1048576'), ('kilo', '10k'), ('upper', '10K'), ('mega', '1M'), ('giga', '1G'),
                   ('tera', '1T'), ('fraction', '1.5k'), ('fraction-bytes', '1.5'), ('hex', '0x1000'),
                   ('exponent', '1e3'), ('two-suffixes', '1kk'), ('unknown-suffix', '1Q'), ('b', '512b'),
                   ('empty', '""'), ('space', '" 1k"'), ('plus', '+1k'), ('minus', '-- -1'), ('word', 'foo'),
                   ('odd', '1000'), ('zero', '0'), ('eight-exa', '8E'), ('over-64-bit', '99999999999999999999'),
                   ('dot', '.5k')):
    t.row(f'size/raw-{name}', f'qemu-img create -f raw x {size}')
    if name != 'tera':
        t.row(f'size/qcow2-{name}', f'qemu-img create -f qcow2 x {size}')
t.row('size/too-large-qcow2', 'qemu-img create -f qcow2 x 7E')
t.row('size/option', 'qemu-img create -f qcow2 -o size=1M x')
t.row('size/option-twice', 'qemu-img create -f qcow2 -o size=1M -o size=2M x')
t.row('size/option-and-word', 'qemu-img create -f qcow2 -o size=1M x 2M')
t.row('size/option-bad', 'qemu-img create -f qcow2 -o size=x x')
t.row('size/missing', 'qemu-img create -f qcow2 x')
t.row('size/two', 'qemu-img create -f qcow2 x 1M 2M')

for name, args in (
        ('plain', '-b a.qcow2 -F qcow2 x'), ('own-size', '-b a.qcow2 -F qcow2 x 20M'),
        ('smaller', '-b a.qcow2 -F qcow2 x 1M'), ('raw', '-b r -F raw x'), ('no-format', '-b a.qcow2 x'),
        ('no-format-raw', '-b r x'), ('missing', '-b nope -F raw x'), ('missing-with-size', '-b nope -F raw x 1M'),
        ('missing-no-format', '-b nope x 1M'), ('unsafe', '-u -b nope -F raw x 1M'),
        ('unsafe-no-size', '-u -b a.qcow2 -F qcow2 x'), ('unsafe-no-format', '-u -b nope x 1M'),
        ('bad-format', '-b a.qcow2 -F foo x'), ('other-format', '-b r -F qcow2 x'),
        ('unsafe-bad-format', '-u -b r -F foo x 1M'), ('itself', '-b x -F qcow2 x 1M'),
        ('format-only', '-F raw x 1M'), ('empty', '-b "" -F raw x 1M'),
        ('option', '-o backing_file=a.qcow2,backing_fmt=qcow2 x'),
        ('option-no-format', '-o backing_file=r x'), ('option-overruled', '-o backing_file=r -b a.qcow2 -F qcow2 x'),
        ('comma', '-u -b a,b -F raw x 1M'), ('comma-option', '-u -o backing_file=a,,b -F raw x 1M'),
        ('json', """-b 'json:{"driver":"raw","file":{"driver":"file","filename":"r"}}' -F raw x"""),
        ('odd-name', """-u -b "a b'\\"c" -F raw x 1M"""), ('chain', '-b x0 -F qcow2 x'),
        ('protocol', '-u -b nbd://localhost -F raw x 1M')):
    t.row(f'backing/{name}', f'qemu-img create -f qcow2 -b a.qcow2 -F qcow2 -q x0 && qemu-img create -f qcow2 {args}',
          'qcow2')
t.row('backing/in-folder', 'mkdir d && qemu-img create -f qcow2 -b ../a.qcow2 -F qcow2 d/x', 'qcow2')
t.row('backing/in-folder-missing', 'mkdir d && qemu-img create -f qcow2 -b a.qcow2 -F qcow2 d/x', 'qcow2')

# A colon after "file:" is part of the path.
for name, args in (('name', '-b a.qcow2 -F qcow2 file:x:y'), ('folder', '-b ../a.qcow2 -F qcow2 file:d/x:y'),
                   ('backing', '-b file:a:b -F qcow2 y')):
    t.row(f'colon/{name}', f'mkdir d; cp a.qcow2 a:b; qemu-img create -f qcow2 {args}', 'qcow2')
t.row('colon/convert', 'qemu-img convert -O qcow2 -B a.qcow2 -F qcow2 a.qcow2 file:x:y && qemu-img info file:x:y', 'qcow2',
      mask=['disk'])

# Unlike that of a backing file, the name of a data file is relative to the current folder.
DATA = 'mkdir d; qemu-img create -f qcow2 -o data_file=d/data d/x 1M && '
t.row('data-file/in-folder', DATA + "qemu-io -c 'write -P 3 0 64k' d/x | head -1; qemu-img map d/x")
t.row('data-file/from-folder', DATA + "cd d; mkdir d; truncate -s 1M d/data; qemu-img map --output=json x")
t.row('data-file/from-folder-missing', DATA + 'cd d; qemu-img map --output=json x')

for name, args in (('qcow2', '-f qcow2 -o help'), ('raw', '-f raw -o help'), ('file', '-f file -o help'),
                   ('host_device', '-f host_device -o help'), ('luks', '-f luks -o help'),
                   ('question', '-f qcow2 -o "?"'), ('with-file', '-f qcow2 -o help x'),
                   ('raw-with-file', '-o help x'), ('beside-others', '-f qcow2 -o help,cluster_size=4k x 1M'),
                   ('second-list', '-f qcow2 -o cluster_size=4k -o help x 1M'), ('bad-format', '-f foo -o help'),
                   ('cannot', '-f null-co -o help'), ('bad-protocol', '-f qcow2 -o help foo:x')):
    t.row(f'help/{name}', f'qemu-img create {args}', mask='help')

s = '--object secret,id=s,data=abc'
fast = 'encrypt.iter-time=10'
t.row('encrypted/luks', f'qemu-img create {s} -f luks -o key-secret=s,iter-time=10 x 1M', files=False)
t.row('encrypted/luks-all', f'qemu-img create {s} -f luks -o key-secret=s,iter-time=10,cipher-alg=aes-128,'
      'cipher-mode=xts,hash-alg=sha1,ivgen-alg=plain x 1M', files=False)
t.row('encrypted/luks-no-key', 'qemu-img create -f luks x 1M')
t.row('encrypted/luks-bad-key', 'qemu-img create -f luks -o key-secret=nope x 1M')
t.row('encrypted/luks-bad-cipher', f'qemu-img create {s} -f luks -o key-secret=s,cipher-alg=foo x 1M')
t.row('encrypted/qcow2-luks', f'qemu-img create {s} -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,{fast} x 1M',
      files=False)
t.row('encrypted/qcow2-aes', f'qemu-img create {s} -f qcow2 -o encryption=on,encrypt.key-secret=s x 1M')
t.row('encrypted/qcow2-aes-name', f'qemu-img create {s} -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s x 1M')
t.row('encrypted/no-key', 'qemu-img create -f qcow2 -o encrypt.format=luks x 1M')
# Whoever gives a key must not get an image in clear.
for name, option in (('key', 'encrypt.key-secret=s'), ('cipher', 'encrypt.cipher-alg=aes-256')):
    t.row(f'encrypted/{name}-without-format', f'qemu-img create {s} -f qcow2 -o {option} x 1M')

t.row('fail/no-folder', 'qemu-img create -f qcow2 nope/x 1M')
t.row('fail/folder', 'qemu-img create -f qcow2 . 1M')
t.row('fail/raw-folder', 'qemu-img create -f raw . 1M')
t.row('fail/unknown-format', 'qemu-img create -f foo x 1M')
t.row('fail/cannot', 'qemu-img create -f null-co x 1M')
t.row('fail/unknown-protocol', 'qemu-img create -f raw foo:x 1M')
t.row('fail/device', 'qemu-img create -f raw /dev/full 1M')
t.row('file-format', 'qemu-img create -f file x 1M')
t.row('name/comma', 'qemu-img create -f qcow2 a,b 1M')
t.row('name/quotes', """qemu-img create -f qcow2 "a'b\\"c" 1M""")
t.row('name/protocol', 'qemu-img create -f raw file:x 1M')
for name, command in (('qcow2', 'create -f qcow2 file:y 1M; qemu-img create -f qcow2 -b file:y -F qcow2 q'),
                      ('file', 'create -f file file:z 1M'), ('no-folder', 'create -f raw file:/nope/x 1M'),
                      ('empty', 'create -f raw file: 1M'), ('device', 'create -f raw host_device:x 1M'),
                      ('null', 'create -f raw null-co:// 1M'), ('debug', 'create -f raw blkdebug::b 1M'),
                      ('help', 'create -f qcow2 -o help null-co://'), ('no-device', 'create -f host_device nope 1M'),
                      ('convert', 'create -q -f raw x 1M; qemu-img convert -O qcow2 file:x file:v')):
    t.row(f'name/protocol-{name}', f'qemu-img {command}')
for name in 'file', 'raw', 'qcow2':
    t.row(f'order/{name}', f'qemu-img create -f {name} -o extent_size_hint=0,nocow=on,preallocation=full x 64k')

# Block devices, which only root can make.
t.setup('device', 'head -c 8M /dev/zero | tr "\\0" x > disk')
for name, command in (('qcow2', 'create -f qcow2 dev 100M; qemu-img info dev | grep size'), ('raw', 'create -f raw dev 1M'),
                      ('itself', 'create -f host_device dev 1M'), ('too-large', 'create -f raw dev 9M'),
                      ('preallocated', 'create -f host_device -o preallocation=full dev 1M'),
                      ('raw-preallocated', 'create -f raw -o preallocation=full dev 1M'),
                      ('file-option', 'create -f raw -o nocow=on dev 1M'),
                      ('convert', 'create -q -f raw r 3M; qemu-io -f raw -c "write -qP 3 0 1M" r; qemu-img convert -O raw r dev'),
                      ('convert-qcow2', 'create -q -f raw r 3M; qemu-img convert -O qcow2 r dev; qemu-img compare r dev'),
                      ('dd', 'create -q -f raw r 3M; qemu-img dd if=r of=dev bs=1M'),
                      ('smaller', 'resize -f raw --shrink dev 5M'), ('smaller-refused', 'resize -f raw dev 5M'),
                      ('same', 'resize -f raw dev 8M'), ('larger', 'resize -f raw dev 9M'),
                      ('map', 'map -f raw --output=json dev'), ('measure', 'measure dev')):
    t.row(f'device/{name}', 'ln -s $(losetup -f --show disk) dev || exit; trap "losetup -d $(readlink dev); rm dev" EXIT; '
          f'qemu-img {command}', 'device', stderr='shape')

t.row('usage/no-value', 'qemu-img create -f')
t.row('usage/three-names', 'qemu-img create a b c')
t.row('usage/three-words', 'qemu-img create a 1M c')
t.row('usage/after', 'qemu-img create x 1M -f qcow2')
t.row('object/bad', 'qemu-img create --object foo,id=x x 1M')

t.main()
