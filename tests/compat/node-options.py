#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each option of a node with values that are right, at the border, and wrong, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from compat import SPACE, Table, images  # noqa: E402

t = Table('node-options')
images(t)
t.setup('set', '''
    qemu-img create -q -f qcow2 a 1M
    qemu-img create -q -f raw r 1M
    qemu-img create -q -f qcow2 -b a -F qcow2 t
''')


def opts(text, more='', command='info'):
    t.row(f'{command}/{text}{more}'.replace(' ', '_'),
          f"qemu-img {command} {more} --image-opts '{text}'", 'set', mask=SPACE)


BAD_SIZES = ('-1', '1e3', '1.5M', 'x', '16E', '99999999999999999999', '18446744073709551615')
VALUES = {
    'node-name': ('x', '#x', '1x', 'x.y', '', 'x' * 31, 'x' * 32, 'x-y_z.1'),
    'read-only': ('on', 'true', 'y', 'maybe'),
    'auto-read-only': ('on', 'x'),
    'force-share': ('on', 'off'),
    'discard': ('on', 'unmap', 'off', 'x'),
    'detect-zeroes': ('on', 'unmap', 'unmap,discard=unmap', 'x'),
    'cache': ('none',), 'cache.direct': ('1', 'on', 'x'), 'cache.writeback': ('on',), 'cache.foo': ('on',),
    'lazy-refcounts': ('on', 'on,read-only=off', 'x'),
    'pass-discard-request': ('x',),
    'overlap-check': ('none', 'all', 'bogus', 'all,overlap-check.template=none'),
    'overlap-check.template': ('bogus', 'all,overlap-check.main-header=off'),
    'overlap-check.foo': ('on',),
    'cache-size': ('0', '1', '1k', '1G', '0x1000', *BAD_SIZES, '1M,l2-cache-size=2M',
                   '1M,refcount-cache-size=2M', '1M,l2-cache-size=512k,refcount-cache-size=512k',
                   '1M,l2-cache-size=512k,refcount-cache-size=256k'),
    'l2-cache-size': ('1P', '9223372036854775807', *BAD_SIZES),
    'refcount-cache-size': ('1E', '3', '16E'),
    'l2-cache-entry-size': ('3', '256', '512', '65536', '128k'),
    'cache-clean-interval': ('0', '-1', '4294967295', '4294967296', '99999999999', 'x'),
    'data-file': ('x',), 'data-file.filename': ('r',), 'data-file.driver': ('null-co',),
    'encrypt.format': ('aes', 'luks', 'luks,encrypt.key-secret=foo'),
    'backing': ('', 'null', 'nonode'), 'backing.driver': ('null-co',), 'backing.filename': ('r',),
    'file.locking': ('on', 'foo'), 'file.aio': ('native', 'native,file.cache.direct=on', 'foo'),
    'file.aio-max-batch': ('-1', '5', '99999999999999'), 'file.drop-cache': ('off', 'x'),
    'file.x-check-cache-dropped': ('on',), 'file.pr-manager': ('foo',), 'file.filename': ('b',),
    'file.driver': ('file', 'raw', 'host_device', 'bogus'), 'file': ('foo',),
    'driver': ('raw',), 'bogus': ('1',), 'size': ('1M',), '.driver': ('x',), 'a..b': ('c',), '0': ('1',),
    'file.node-name': ('a,node-name=a',), 'id': ('x',),
}
for option, values in VALUES.items():
    for value in values:
        opts(f'driver=qcow2,file.filename=a,{option}={value}')
for bare in ('read-only', 'noread-only', 'nocache.direct', 'file.locking,read-only', 'bogus'):
    opts(f'driver=qcow2,file.filename=a,{bare}')
for value in 'backing=', 'backing=nonode', 'backing=null':
    for command in 'info', 'map':
        opts(f'driver=qcow2,file.filename=t,{value}', '', command)
for path, command in (('a', 'map'), ('a', 'info')):
    opts(f'driver=qcow2,file.filename={path},backing=nonode,read-only=on', '', command)

WINDOW = ('offset=512', 'offset=513', 'offset=2M', 'size=2M', 'size=513', 'size=0', 'offset=1M',
          'offset=1M,size=0', 'offset=1M,size=512', 'offset=-1', 'size=16E', 'size=18446744073709551615',
          'offset=9223372036854775296,size=512')
for text in WINDOW:
    opts(f'driver=raw,file.filename=r,{text}')
# The largest node there is, and what is beyond it.
for size in (1, 1000, (1 << 63) - (1 << 30), (1 << 63) - (1 << 30) + 1, (1 << 63) - 1024, (1 << 63) - 1):
    opts(f'driver=null-co,size={size}')
for text in ('prealloc-align=1', 'prealloc-align=0', 'prealloc-align=511', 'prealloc-align=768',
             'prealloc-size=0', 'prealloc-size=-1'):
    opts(f'driver=preallocate,file.filename=r,{text}')
for text in ('align=511', 'align=0', 'align=1', 'align=513', 'align=1G', 'align=2G', 'align=4G',
             'max-transfer=511', 'align=4k,max-transfer=512', 'align=4k,max-transfer=6k', 'max-transfer=8G',
             'opt-write-zero=511', 'max-write-zero=3', 'opt-write-zero=4k,max-write-zero=6k',
             'opt-discard=4k,max-discard=6k', 'opt-discard=5', 'max-discard=7', 'config=nope',
             'inject-error.0.event=bogus', 'inject-error.0.errno=5', 'inject-error.1.event=none',
             'inject-error.0.event=none,inject-error.0.sector=-2',
             'inject-error.0.event=none,inject-error.0.iotype=bogus',
             'inject-error.0.event=none,inject-error.0.once=maybe', 'set-state.0.event=none',
             'set-state.0.event=none,set-state.0.new_state=-2', 'take-child-perms.0=bogus',
             'take-child-perms.0=write,unshare-child-perms.0=resize'):
    opts(f'driver=blkdebug,image.filename=r,{text}')
TWO = 'children.0.driver=raw,children.0.file.filename=r,children.1.driver=qcow2,children.1.file.filename=a'
for text in ('vote-threshold=1', f'vote-threshold=0,{TWO}', f'vote-threshold=3,{TWO}', f'vote-threshold=-1,{TWO}',
             f'vote-threshold=2,{TWO},blkverify=on', f'vote-threshold=1,{TWO},blkverify=on',
             f'vote-threshold=2,{TWO},blkverify=on,rewrite-corrupted=on',
             f'vote-threshold=2,{TWO},read-pattern=fifo', f'vote-threshold=1,{TWO},read-pattern=fifo',
             f'vote-threshold=1,{TWO},read-pattern=bogus', 'vote-threshold=1,children.0=none',
             'vote-threshold=1,children.1.driver=raw,children.1.file.filename=r'):
    opts(f'driver=quorum,{text}')
LOGGED = 'driver=blklogwrites,file.driver=raw,file.file.filename=r,log.driver'
for text in ('file,log.filename=odd,log-sector-size=511', 'null-co,log-sector-size=512,log-append=on',
             'null-co,log-super-update-interval=0'):
    opts(f'{LOGGED}={text}')
for text in ('driver=raw', 'driver=file', 'driver=file,filename=', 'driver=file,filename=.',
             'driver=file,filename=/dev/null', 'driver=host_device,filename=r', 'driver=luks,file.filename=r',
             'driver=,file.filename=r', 'driver=foo', 'driver=throttle,file.filename=r,throttle-group=none',
             'driver=copy-on-read,file.driver=qcow2,file.file.filename=t,bottom=x',
             'driver=blkverify,test.filename=r,raw.filename=r', 'filename=r,driver=file'):
    opts(text)
# Options of a backing file that name no place apply to the one that is stored.
for text in ('driver=raw', 'driver=file', 'file.driver=file', 'driver=raw,file.driver=file',
             'file.locking=off', 'read-only=on', 'driver=raw,file.filename=r'):
    opts('driver=qcow2,file.filename=t,backing.' + text.replace(',', ',backing.'))
# A backing file of a node below is opened if options describe it, and told as overridden only then.
GROUP = '--object throttle-group,id=g'
for text in ('file.file.filename=a,file.backing=', 'file.file.filename=t,file.backing=',
             'file.file.filename=a,file.backing.driver=raw,file.backing.file.filename=r'):
    opts(f'driver=throttle,throttle-group=g,file.driver=qcow2,{text}', GROUP)
# A first word is the value of 'file'.
for text in ('r', 'r,driver=raw', 'noread-only', 'driver,read-only'):
    opts(text)

IO = "qemu-io -c '{}' --image-opts '{}'"
for name, command, text in (
        ('short-form', 'map', 'driver=raw,file.filename=r,read-only'),
        ('short-form-reopen', 'reopen -o noread-only', 'driver=qcow2,file.filename=a'),
        ('free-in-spite-of-discard-ignore', 'write -z -u 0 64k', 'driver=raw,file.filename=full,discard=ignore'),
        ('free-of-file-that-ignores', 'write -z -u 0 64k', 'driver=raw,file.filename=full,file.discard=ignore'),
        ('free-of-protocol', 'write -z -u 0 64k', 'driver=file,filename=full,discard=ignore')):
    t.row(f'io/{name}', 'head -c 1M /dev/zero | tr "\\0" x > full\n' + IO.format(command, text) +
          ' | grep -v ops\nstat -c %b full', 'set', mask='time')
t.main()
