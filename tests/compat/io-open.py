#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io's options, and the commands open, close and reopen, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import AIO_MODES, IO_MASKS, IoTable

t = IoTable('io-open')


def line(name, command, setup='raw', **more):
    t.row(name, f'qemu-io {command}', setup, mask=IO_MASKS, **more)


# ---- the command line --------------------------------------------------------------------------

line('options/format', '-f raw -c length a.img')
line('options/format-unknown', '-f foo -c length a.img')
line('options/format-wrong', '-f qcow2 -c length a.img')
line('options/probed-raw', '-c length a.img')
line('options/probed-qcow2', '-c length b.qcow2', 'qcow2')
line('options/probed-raw-guards-its-start', '-c "write -s base.qcow2 0 512" a.img', 'both')
t.setup('both', 'truncate -s 1M a.img', 'qcow2')
line('options/long-names', '--format raw --cmd length --read-only --cache=none --aio=threads '
     '--discard=ignore a.img')
line('options/long-flags', '--format=raw --nocache --misalign --native-aio --cmd=length a.img')
line('options/behind-the-file', 'a.img -f raw -c length')
line('options/no-file', '-c length')
line('options/no-file-no-command', '</dev/null')
line('options/missing-file', '-f raw -c length nope')
line('options/missing-file-probed', '-c length nope')
line('options/empty-name', '-f raw -c length ""')
line('options/folder', '-f raw -c length .')
for mode in ('none', 'off', 'writeback', 'writethrough', 'directsync', 'unsafe'):
    line(f'cache/{mode}', f'-t {mode} -f raw -c "write -P 1 0 4k" -c "read -P 1 0 4k" -c "write 5 7" '
         'a.img')
line('cache/unknown', '-t foo -f raw -c length a.img')
line('cache/nocache', '-n -f raw -c "write -P 1 100 4k" -c "read -P 1 100 4k" a.img')
line('cache/last-one-counts', '-n -t writeback -f raw -c length a.img')
for mode in ('ignore', 'off', 'unmap', 'on'):
    line(f'discard/{mode}', f'-d {mode} -f raw -c "discard 0 128k" a.img')
line('discard/unknown', '-d foo -f raw -c length a.img')
for mode in AIO_MODES:
    line(f'aio/{mode}', f'-n -i {mode} -f raw -c "write -P 1 0 4k" -c "read -P 1 0 4k" a.img')
    line(f'aio/{mode}-qcow2', f'-n -i {mode} -c "write -P 1 0 4k" -c "read -P 1 0 4k" b.qcow2',
         'qcow2')
line('aio/unknown', '-i foo -f raw -c length a.img')
line('aio/native-needs-direct', '-i native -f raw -c length a.img')
line('aio/k-needs-direct', '-k -f raw -c length a.img')
line('aio/k', '-nk -f raw -c length a.img')
line('misaligned/cached', '-m -f raw -c "write -P 1 0 512" -c "readv -P 1 0 512" a.img')
line('misaligned/direct', '-m -n -f raw -c "write -P 1 0 4k" -c "read -v 0 10" a.img')
line('misaligned/direct-odd', '-m -n -f raw -c "writev -P 1 100 512 5" -c "readv -v 95 10 20" a.img')
line('read-only/read', '-r -f raw -c "read 0 512" -c flush -c info a.img')
line('read-only/file', '-r -f raw -c "read 0 512" a.img', 'no-write')
t.setup('no-write', 'chmod 444 a.img', 'raw')
line('shared/read-only', '-r -U -f raw -c info a.img')
line('shared/needs-read-only', '-U -f raw -c info a.img')
line('shared/long-name', '-r --force-share -f raw -c length a.img')
line('copy-on-read/copies', '-C -c "read 0 64k" -c map b.qcow2', 'qcow2')
line('copy-on-read/long-name', '--copy-on-read -c "read 1 1" -c map b.qcow2', 'qcow2')
line('copy-on-read/not-read-only', '-rC -c length b.qcow2', 'qcow2')
line('snapshot/raw', '-s -f raw -c "write -P 7 0 1" -c "read -v 0 4" -c length a.img')
line('snapshot/qcow2', '--snapshot -c "write -P 7 1M 64k" -c "read -P 7 1M 64k" '
     '-c "read -P 0x22 512k 64k" -c map b.qcow2', 'qcow2')
line('snapshot/info', '-s -c info b.qcow2', 'qcow2')
line('snapshot/read-only', '-rs -f raw -c "write 0 1" -c "read 0 1" a.img')
line('image-opts/raw', '--image-opts -c length driver=raw,file.filename=a.img')
line('image-opts/no-driver', '--image-opts -c length file.filename=b.qcow2', 'qcow2')
line('image-opts/with-format', '--image-opts -f raw -c length driver=raw,file.filename=a.img')
line('image-opts/format-behind', '-f raw --image-opts -c length file.filename=a.img')
line('image-opts/nothing-to-open', '--image-opts -c length foo=bar')
line('image-opts/unknown-option', '--image-opts -c length driver=raw,file.filename=a.img,foo=bar')
line('image-opts/driver-unknown', '--image-opts -c length driver=foo')
line('image-opts/writes', '--image-opts -c "write -P 3 0 512" driver=raw,file.filename=a.img')
line('image-opts/read-only', '--image-opts -r -c "write 0 512" driver=raw,file.filename=a.img')
line('image-opts/read-only-option', '--image-opts -c length '
     'driver=raw,read-only=on,file.filename=a.img')
line('names/json', "-c length 'json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\","
     "\"filename\":\"a.img\"}}'")
line('names/file-prefix', '-f raw -c length file:a.img')
line('object/secret', '--object secret,id=s,data=x -f raw -c length a.img')
line('object/unknown', '--object foo,id=s -f raw -c length a.img')
line('object/without-data', '--object secret,id=s -f raw -c length a.img')
line('object/without-id', '--object secret,data=x -f raw -c length a.img')
line('object/twice', '--object secret,id=s,data=x --object secret,id=s,data=y -c quit')
line('object/json', "--object '{\"qom-type\":\"secret\",\"id\":\"s\",\"data\":\"x\"}' -c quit")
line('commands/unknown-goes-on', '-f raw -c foo -c length a.img')
line('commands/quit-ends', '-f raw -c length -c quit -c length a.img')
line('commands/q-ends', '-c q -c length')
line('commands/quit-after-failure', '-c foo -c quit')
line('commands/empty', "-f raw -c '' -c ' ' -c length a.img")
line('version/first-words', '--version | cut -d" " -f1-3 | head -1', '')
line('version/letter', '-V | cut -d" " -f1-3 | head -1', '')
line('version/wins-over-mistakes-behind', '-V --foo >/dev/null', '')
line('help/exits-well', '--help >/dev/null', '')
line('help/in-the-middle', '-c length -h | grep -c "^Usage: qemu-io"', '')
line('usage/unknown-letter', '-Z >/dev/null', '')
line('usage/unknown-word', '--foo >/dev/null', '')
line('usage/no-value', '-c >/dev/null', '')
line('usage/shows-help', '-Z | grep -c "^Usage: qemu-io"', '')
line('usage/two-files', '-f raw -c length a.img a.img | grep -c "^Usage: qemu-io"')

# ---- open --------------------------------------------------------------------------------------

WITHOUT = {'opts': '', 'image': ''}
t.each('open', {
    'plain': ['open -o driver=raw a.img', 'length'],
    'alias': ['o -o driver=raw a.img', 'l', 'c'],
    'probed': ['open a.img', 'length'],
    'missing': 'open nope',
    'missing-goes-on': ['open nope', 'length'],
    'no-words': 'open',
    'two-files': 'open a b',
    'read-only': ['open -r -o driver=raw a.img', 'write 0 1'],
    'unknown-option': ['open -Z a.img', 'open -r -w a.img', 'open -f raw a.img'],
    'option-without-value': 'open a.img -o',
    'nothing-but-options': ['open -r', 'length'],
    'driver-unknown': 'open -o driver=foo a.img',
    'driver-wrong': 'open -o driver=qcow2 a.img',
    'options-only': ['open -o driver=raw,file.filename=a.img', 'length'],
    'options-only-null': ['open -o driver=null-co,size=1M', 'length'],
    'options-for-file': ['open -o driver=raw,file.driver=file,file.filename=a.img', 'length'],
    'options-and-name-clash': ['open -o driver=raw,file.driver=file,file.filename=a.img x', 'length'],
    'options-twice-merge': ['open -o driver=raw -o size=512 a.img', 'length'],
    'options-twice-last-counts': 'open -o driver=raw -o driver=qcow2 a.img',
    'options-without-file': ['open -o driver=raw', 'length'],
    'option-unknown': 'open -o driver=raw,foo=bar a.img',
    'option-not-a-value': 'open -o driver=raw,read-only=maybe a.img',
    'option-read-only-clashes': 'open -o driver=raw -o read-only=on a.img',
    'option-read-only-agrees': ['open -r -o driver=raw,read-only=on a.img', 'info'],
    'cache': ['open -t none -o driver=raw a.img', 'write 1 2'],
    'cache-unknown': 'open -t foo a.img',
    'nocache': ['open -n -o driver=raw a.img', 'write 1 2'],
    'discard': ['open -d unmap -o driver=raw a.img', 'discard 0 64k'],
    'discard-ignored': ['open -d ignore -o driver=raw a.img', 'discard 0 64k'],
    'discard-unknown': 'open -d foo a.img',
    'aio': ['open -i threads -o driver=raw a.img', 'read 0 1'],
    'aio-unknown': 'open -i foo a.img',
    'aio-native': ['open -i native -n -o driver=raw a.img', 'read 0 1'],
    'aio-native-needs-direct': 'open -k -o driver=raw a.img',
    'snapshot': ['open -s -o driver=raw a.img', 'write -P 1 0 1', 'read -v 0 2'],
    'snapshot-read-only': ['open -rs -o driver=raw a.img', 'write 0 1'],
    'copy-on-read-not-read-only': 'open -rC -o driver=raw a.img',
    'shared': ['open -rU -o driver=raw a.img', 'length'],
    'shared-needs-read-only': 'open -U -o driver=raw a.img',
    'json-name': ['open json:{"driver":"raw","file":{"driver":"file","filename":"a.img"}}',
                  'length'],
    'close-and-open': ['open -o driver=raw a.img', 'close', 'open -o driver=raw a.img', 'length'],
    'close-without': 'close',
    'close-takes-no-words': ['open -o driver=raw a.img', 'close 1', 'length'],
    'after-close-nothing-is-open': ['open -o driver=raw a.img', 'close', 'length'],
}, **WITHOUT)
t.each('open-twice', {
    'refused': ['open -o driver=raw a.img', 'length'],
    'other-mistake-first': ['open -Z a.img', 'open a b'],
    'after-close': ['close', 'open -o driver=raw a.img', 'read 0 1'],
})
t.each('open-qcow2', {
    'plain': ['open b.qcow2', 'read -P 0x22 512k 64k'],
    'driver-option': ['open -o lazy-refcounts=on b.qcow2', 'write 0 64k'],
    'backing-off': ['open -o backing= b.qcow2', 'length'],
    'copy-on-read': ['open -C b.qcow2', 'read 0 64k', 'map'],
}, setup='qcow2', **WITHOUT)

# ---- reopen ------------------------------------------------------------------------------------

t.each('reopen', {
    'nothing': ['reopen', 'write 0 1'],
    'read-only': ['reopen -r', 'write 0 1', 'read 0 1'],
    'read-only-and-back': ['reopen -r', 'reopen -w', 'write 0 1'],
    'twice': ['reopen -r', 'reopen -r', 'reopen -w', 'reopen -w', 'write 0 1'],
    'both': ['reopen -r -w', 'reopen -w -r', 'reopen -r -r'],
    'cache': ['reopen -c none', 'write 0 1', 'reopen -c writeback', 'write 1 1',
              'reopen -c writethrough', 'write 2 1', 'reopen -c unsafe', 'write 3 1'],
    'cache-twice': ['reopen -c writethrough -c none', 'read 0 1'],
    'cache-unknown': 'reopen -c foo',
    'words': ['reopen foo', 'reopen -c none extra'],
    'unknown-option': 'reopen -Z',
    'option-without-value': 'reopen -o',
    'driver-option-unknown': ['reopen -o x=y', 'read 0 1'],
    'driver-cannot-change': 'reopen -o driver=qcow2',
    'locking-cannot-change': 'reopen -o file.locking=off',
    'file-driver-cannot-change': 'reopen -o file.driver=null-co',
    'option-read-only-off': ['reopen -o read-only=off', 'write 0 1'],
    'option-read-only-on-while-writable': ['reopen -o read-only=on', 'write 0 1'],
    'option-read-only-off-after-r': ['reopen -r', 'reopen -o read-only=off', 'write 0 1'],
    'option-read-only-and-letter': ['reopen -r -o read-only=on', 'reopen -w -o read-only=off'],
    'option-read-only-not-a-value': 'reopen -o read-only=foo',
    'option-cache': ['reopen -o cache.direct=on', 'write 5 5'],
    'option-cache-and-letter': ['reopen -c none -o cache.direct=on',
                                'reopen -c none -o cache.no-flush=on'],
    'option-discard': ['reopen -o discard=ignore', 'discard 0 64k', 'read -P 0xa1 0 64k'],
    'option-detect-zeroes': ['reopen -o detect-zeroes=on', 'write -P 0 0 64k', 'map'],
    'raw-window': ['reopen -o size=512', 'length', 'read 0 513'],
    'raw-window-moves': ['reopen -o offset=128k,size=1024', 'length', 'read -P 0x42 0 1k'],
    'after-aio': ['aio_write -q 0 512', 'aio_flush', 'reopen -r', 'read 0 1'],
})
t.io('reopen/without-image', 'reopen', opts='', image='')
t.io('reopen/read-only-becomes-writable', 'reopen -w', 'write 0 1', opts='-r -f raw')
t.io('reopen/read-only-keeps', 'reopen', 'write 0 1', opts='-r -f raw')
t.io('reopen/copy-on-read-stays-writable', 'reopen -r', opts='-C', image='b.qcow2', setup='qcow2')
t.io('reopen/native-loses-direct', 'reopen -c writeback', 'read 0 1', opts='-f raw -n -k')
t.each('reopen-qcow2', {
    'lazy-refcounts': ['reopen -o lazy-refcounts=on', 'write 0 64k'],
    'overlap-check': ['reopen -o overlap-check=all', 'write 0 64k'],
    'caches': ['reopen -o l2-cache-size=64k -o cache-clean-interval=5', 'write 0 64k'],
    'unknown': ['reopen -o foo=bar', 'reopen -o cluster_size=1'],
    'not-a-value': 'reopen -o lazy-refcounts=foo',
    'backing-unknown': 'reopen -o backing=x',
    'read-only': ['reopen -r', 'flush', 'reopen -o lazy-refcounts=off', 'reopen -w', 'write 0 1'],
    'last-one-counts': 'reopen -o lazy-refcounts=off,lazy-refcounts=on',
    'cache-sizes': ['reopen -o l2-cache-size=1M', 'reopen -o cache-size=64k', 'reopen -o refcount-cache-size=128k',
                    'reopen -o l2-cache-size=1M', 'reopen -o cache-size=2M', 'write 0 1'],
    'cache-sizes-at-once': ['reopen -o l2-cache-size=1M,cache-size=64k', 'write 0 1'],
}, opts='', image='b.qcow2', setup='qcow2')

# What was found by going through the options one by one.
t.setup('options', 'truncate -s 1M r; qemu-img create -q -f qcow2 a 1M')
for name, args in {
        'raw-odd-window': '-r -c length --image-opts driver=raw,file.filename=r,size=1000',
        'raw-odd-window-reopened': '-c "reopen -o size=1000" -c length --image-opts driver=raw,file.filename=r,size=1024',
        'node-name-set': '-c "reopen -o node-name=x" a', 'node-name-none': '-c "reopen -o node-name=" a',
        'node-name-changed': '-c "reopen -o node-name=x" --image-opts driver=qcow2,file.filename=a,node-name=y',
        'node-name-kept': '-c "reopen -o node-name=y" --image-opts driver=qcow2,file.filename=a,node-name=y',
        'node-name-of-file': '-c "reopen -o file.node-name=y" a',
        'not-encrypted': '-c "reopen -o encrypt.format=luks" a',
        'not-encrypted-reopened-with-key': '-c "reopen -o encrypt.key-secret=s" -c "write -q 0 1" a',
        'not-encrypted-key': '-c "write -q 0 1" --image-opts driver=qcow2,file.filename=a,encrypt.key-secret=s',
        'not-encrypted-format': '-c "write -q 0 1" --image-opts driver=qcow2,file.filename=a,encrypt.format=aes',
        'cache-sizes-reopened': '-c "reopen -o cache-size=512k" -c "write -q 0 1" --image-opts '
                                'driver=qcow2,file.filename=a,l2-cache-size=1M,refcount-cache-size=1M',
        'no-data-file': '-c length --image-opts driver=qcow2,file.filename=a,data-file.filename=r',
}.items():
    t.row(f'options/{name}', f'qemu-io {args}', 'options')
t.row('options/no-data-file-info', 'qemu-img info --image-opts driver=qcow2,file.filename=a,data-file.filename=r', 'options',
      mask='disk')
for name, key in (('key', 'encrypt.key-secret=s'), ('format', 'encrypt.format=luks')):
    t.row(f'options/not-encrypted-{name}-info', f'qemu-img info --image-opts driver=qcow2,file.filename=a,{key}', 'options',
          mask='disk')
t.row('options/probe-length', 'qemu-io -c length blkverify:r:a', 'options')

# ---- words of open -----------------------------------------------------------------------------

for name, words in (('copy-on-read', '-o driver=copy-on-read,file.driver=qcow2'), ('raw', '-o driver=raw,file.driver=qcow2'),
                    ('below-qcow2', '-o driver=qcow2,file.driver=raw'), ('blkdebug', '-o driver=blkdebug,image.driver=qcow2'),
                    ('three', '-o driver=raw,file.driver=raw,file.file.driver=qcow2'),
                    ('no-driver', '-o file.driver=qcow2'), ('named-twice', '-o driver=raw,file.driver=qcow2,file.file.filename=b.qcow2')):
    line(f'open/name-goes-to-the-innermost-file-{name}', f'-c "open {words} b.qcow2" -c length -c "read 0 64k"', 'qcow2')
for name, words in (('options', 'driver=qcow2,file.filename=b.qcow2'), ('read-only', '-r driver=qcow2,file.filename=b.qcow2'),
                    ('short-form', 'b.qcow2'), ('with-o', '-o driver=qcow2 b.qcow2'),
                    ('with-o-twice', '-o driver=qcow2 -o file.filename=b.qcow2'), ('no-driver', 'file.filename=b.qcow2'),
                    ('bad', 'driver=qcow2,foo'), ('two-words', 'driver=qcow2 file.filename=b.qcow2')):
    line(f'open/after-image-opts-{name}', f'--image-opts -c "open {words}" -c length', 'qcow2')
line('open/after-image-opts-closed', '--image-opts -c close -c "open driver=qcow2,file.filename=b.qcow2" -c length '
     'driver=raw,file.filename=b.qcow2', 'qcow2')

t.main()
