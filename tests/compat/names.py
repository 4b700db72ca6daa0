#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of images, plain or json:{}, as info shows them, beside the reference."""
import pathlib
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table

t = Table('names')
t.setup('images', '''
truncate -s 1M r p log df2
qemu-img create -q -f qcow2 -b r -F raw m
qemu-img create -q -f qcow2 -b m -F qcow2 t
qemu-img create -q -f qcow2 a 1M
qemu-img create -q -f qcow2 -o data_file=df d 1M
mkdir sub
qemu-img create -q -f qcow2 -b ../m -F qcow2 sub/t
qemu-img create -q -f luks --object secret,id=s,data=x -o key-secret=s,iter-time=10 l 1M
qemu-img create -q -f qcow2 --object secret,id=s,data=x \\
    -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e 1M
printf '' > conf
j='"driver":"qcow2","file":{"driver":"file","filename":"m"}'
qemu-img create -q -f qcow2 -b "json:{$j}" -F qcow2 j
qemu-img create -q -u -f qcow2 -b 'json:{"driver":"qcow2","file.filename":"m"}' -F qcow2 jd 1M
qemu-img create -q -f qcow2 -b blkdebug::m -F qcow2 bd
j='"driver":"raw","offset":512,"file":{"driver":"file","filename":"r"}'
qemu-img create -q -f qcow2 -b "json:{$j}" -F raw jr
qemu-img create -q -f qcow2 -b file:m -F qcow2 fm
qemu-img create -q -f qcow2 -b "$PWD/m" -F qcow2 abs
qemu-img create -q -f qcow2 -b sub/t -F qcow2 insub
cp m a:b; ln -s t link; ln -s sub/t sublink
''')
SHOWN = '^(image|file format|virtual size|backing|    data)'
CHAIN = '^        "(filename|format|backing-filename|full-backing-filename|backing-filename-format)"'


NAMES = []


def name(what, *args):
    """Plain info, and the chain as JSON."""
    words = ' '.join(shlex.quote(a) for a in args)
    NAMES.append(f'echo {shlex.quote("-- " + what)}\n'
                 f'qemu-img info {words} | grep -E {SHOWN!r}\n'
                 f'qemu-img info --backing-chain --output=json {words} | grep -E {CHAIN!r}\n')


def opts(text, *more):
    name(text, *more, '--image-opts', text)


KEY = '--object', 'secret,id=s,data=x'
GROUP = '--object', 'throttle-group,id=g'
FILE = '"file":{"driver":"file","filename":'

for plain in ('t', './t', 'file:t', 'json:{"driver":"qcow2",%s"t"}}' % FILE, 'json:{%s"t"}}' % FILE,
              'json:{"driver":"qcow2","file.filename":"t"}', 'json:{"filename":"t"}',
              'json:{"driver":"file","filename":"t"}', 'json:{"driver":"qcow2",%s"t"},"backing":null}'
              % FILE, 'json:{"driver":"raw","size":512,%s"r"}}' % FILE,
              'json:{"driver":"raw","size":"512",%s"r"}}' % FILE,
              'json:{"driver":"null-co","size":1048576}', 'json:[]', 'json:', 'json:{"driver":"x"}',
              'j', 'jd', 'bd', 'jr', 'fm', 'insub', 'sub/t', 'link', 'sublink', 'd', './a:b', 'file:a:b',
              'null-co://', 'null-aio://', 'blkdebug::t', 'blkdebug:conf:t', 'blkdebug::r',
              'blkdebug::blkdebug::t', 'blkdebug::json:{"driver":"file","filename":"t"}',
              'blkdebug::null-co://', 'blkverify:r:a', 'blkverify:p:t', 'blkverify::t',
              'json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file",'
              '"filename":"t"},"inject-error":[{"event":"cow_read","errno":5,"once":true}]}}',
              'json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file",'
              '"filename":"t"},"inject-error.0.event":"cow_read"}}',
              'json:{"driver":"quorum","vote-threshold":1,"children":[{"driver":"raw",%s"r"}},'
              '{"driver":"qcow2",%s"t"}}]}' % (FILE, FILE)):
    name(plain, plain)
name('key-in-json', *KEY, 'json:{"driver":"qcow2","encrypt":{"format":"luks","key-secret":"s"},'
     '%s"e"}}' % FILE)
for what in ('-U t', '-f qcow2 t', '-f raw t', '-f file t', '-f blkdebug t', '-f blkverify t',
             '-f raw blkdebug::t', '-f quorum t', '-f null-co t', '-f throttle t', '-f preallocate r',
             '-f qcow2 json:{%s"t"}}' % FILE, '-f qcow2 json:{"driver":"file","filename":"t"}'):
    name(what, *what.split())

for text in (
        'filename=t', 'driver=qcow2,file=t', 'file.filename=t', 'driver=file,filename=t',
        'driver=raw,file.filename=t', 'driver=raw,file.driver=file,file.filename=t',
        'driver=qcow2,file.filename=t,backing=',
        'driver=qcow2,file.filename=t,backing.driver=raw,backing.file.filename=r',
        'driver=raw,offset=0,file.filename=r', 'driver=raw,offset=512,file.filename=r',
        'driver=raw,size=512,file.filename=r', 'driver=raw,size=1k,offset=1k,file.filename=r',
        'driver=qcow2,file.driver=raw,file.file.filename=t',
        'driver=qcow2,file.driver=raw,file.size=196608,file.file.filename=t',
        'driver=qcow2,file.filename=d', 'driver=qcow2,file.filename=d,data-file.filename=df2',
        'driver=qcow2,file.filename=d,data-file.driver=raw,data-file.file.filename=df',
        'driver=null-co', 'driver=null-co,size=1M', 'driver=null-co,read-zeroes=on',
        'driver=null-co,latency-ns=5', 'driver=raw,file.driver=null-co,file.latency-ns=1',
        'driver=raw,file.driver=null-co,file.size=1M', 'driver=null-aio,size=1M,latency-ns=7',
        'driver=blkdebug,image.filename=t', 'driver=blkdebug,image.filename=t,config=conf',
        'driver=blkdebug,image.filename=t,align=512',
        'driver=qcow2,file.driver=blkdebug,file.image.filename=t',
        'driver=qcow2,file.driver=blkdebug,file.image.filename=t,file.align=4k',
        'driver=qcow2,file.driver=blkdebug,file.image.filename=t,file.inject-error.0.event=cow_read,'
        'file.inject-error.0.errno=5',
        'driver=qcow2,file.driver=blkdebug,file.image.driver=raw,file.image.file.filename=t',
        'driver=qcow2,file.driver=blkdebug,file.image.driver=raw,file.image.size=196608,'
        'file.image.file.filename=t', 'driver=blkdebug,image.driver=qcow2,image.file.filename=t',
        'driver=blkdebug,image.filename=r,unshare-child-perms.0=write',
        'driver=blkdebug,image.filename=r,max-transfer=4k,opt-write-zero=4k,max-write-zero=8k,'
        'opt-discard=4k,max-discard=8k',
        'driver=blkverify,raw.filename=r,test.driver=qcow2,test.file.filename=a',
        'driver=blkverify,raw.driver=raw,raw.size=1M,raw.file.filename=r,test.driver=raw,'
        'test.file.filename=p',
        'driver=raw,file.driver=blkverify,file.raw.filename=p,file.test.driver=qcow2,'
        'file.test.file.filename=t',
        'driver=quorum,vote-threshold=1,children.0.driver=raw,children.0.file.filename=r',
        'driver=quorum,vote-threshold=1,blkverify=off,rewrite-corrupted=off,read-pattern=quorum,'
        'children.0.driver=raw,children.0.file.filename=r',
        'driver=raw,file.driver=quorum,file.vote-threshold=1,file.children.0.driver=raw,'
        'file.children.0.file.filename=r',
        'driver=quorum,vote-threshold=1,children.0.driver=raw,children.0.size=512,'
        'children.0.file.filename=r', 'driver=preallocate,file.filename=r',
        'driver=preallocate,file.filename=r,prealloc-size=1M,prealloc-align=1M',
        'driver=qcow2,file.driver=preallocate,file.file.filename=t',
        'driver=compress,file.driver=qcow2,file.file.filename=t',
        'driver=blklogwrites,file.filename=r,log.filename=log',
        'driver=blklogwrites,file.filename=r,log.filename=log,log-sector-size=512,'
        'log-super-update-interval=3',
        'driver=blklogwrites,file.filename=r,log.filename=log,log-append=off',
        'driver=host_device,filename=/dev/null', 'driver=copy-on-read,file.filename=t'):
    opts(text)
for option in ('lazy-refcounts=on', 'pass-discard-request=off', 'overlap-check=all',
               'overlap-check.template=none', 'cache-size=1M', 'l2-cache-entry-size=4k',
               'refcount-cache-size=1M', 'cache-clean-interval=5', 'node-name=x', 'read-only=on',
               'auto-read-only=on', 'discard=unmap', 'detect-zeroes=on', 'cache.direct=on',
               'cache.no-flush=on', 'force-share=on', 'file.locking=off', 'file.aio=threads',
               'file.node-name=x', 'file.cache.direct=on', 'file.drop-cache=off',
               'file.aio-max-batch=4', 'file.read-only=on', 'file.pr-manager=x'):
    opts(f'driver=qcow2,file.filename=t,{option}')
opts('driver=luks,key-secret=s,file.filename=l', *KEY)
opts('driver=qcow2,encrypt.key-secret=s,file.filename=e', *KEY)
opts('driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=e', *KEY)
for below in 'file.filename=r', 'file.driver=qcow2,file.file.filename=t':
    opts(f'driver=throttle,throttle-group=g,{below}', *GROUP)
opts('driver=qcow2,file.driver=throttle,file.throttle-group=g,file.file.filename=t', *GROUP)

# Several to a row: each row copies all images for both sides.
for i in range(0, len(NAMES), 8):
    t.row(f'{i}-to-{min(i + 8, len(NAMES)) - 1}', ''.join(NAMES[i:i + 8]), 'images', stderr='any')
t.main()
