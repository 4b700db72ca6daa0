#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img info, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table

t = Table('img-info')
t.setup('raw', '''
qemu-img create -q -f raw r 1536k
qemu-img create -q -f raw zero 0
printf xx > odd
truncate -s 5G sparse
''')
t.setup('qcow2', '''
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 10M
qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on,refcount_bits=1 small.qcow2 3M
qemu-img create -q -f qcow2 -o extended_l2=on,compression_type=zstd ext.qcow2 1G
qemu-img create -q -f qcow2 -o preallocation=metadata pre.qcow2 4M
''', 'raw')
t.setup('chain', '''
qemu-img create -q -f qcow2 base.qcow2 10M
qemu-io -c 'write -P 1 0 1M' base.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 12M
mkdir sub
qemu-img create -q -f qcow2 -b ../base.qcow2 -F qcow2 sub/over.qcow2
qemu-img create -q -u -f qcow2 -b nope -F raw sub/lost.qcow2 1M
qemu-img create -q -u -f qcow2 -b "$PWD/r" -F raw absolute.qcow2 1M
qemu-img create -q -u -f qcow2 -b 'json:{"driver":"raw","file":{"driver":"file","filename":"r"}}' \\
    -F raw json.qcow2 1M
''', 'raw')
t.setup('snapshots', '''
qemu-img create -q -f qcow2 s.qcow2 10M
qemu-img snapshot -c first s.qcow2
qemu-io -c 'write 0 64k' s.qcow2 >/dev/null
qemu-img snapshot -c 'a name much longer than the column it stands in' s.qcow2
qemu-img bitmap --add s.qcow2 b0
qemu-img bitmap --add -g 512 s.qcow2 b1
qemu-img bitmap --disable s.qcow2 b1
''')
t.setup('data-file', '''
qemu-img create -q -f qcow2 -o data_file=data.raw d.qcow2 1M
qemu-img create -q -f qcow2 -o data_file=data2.raw,data_file_raw=on d2.qcow2 1M
''')
t.setup('encrypted', '''
o=secret,id=s,data=abc
qemu-img create -q --object $o -f luks -o key-secret=s,iter-time=10 l.luks 1M
qemu-img create -q --object $o -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \\
    e.qcow2 1M
qemu-img create -q --object $o -f qcow2 -o encryption=on,encrypt.key-secret=s aes.qcow2 1M
''')
t.setup('damaged', '''
for i in dirty corrupt dataloss v9 incompat short; do qemu-img create -q -f qcow2 $i 1M; done
printf '\\1' | dd of=dirty bs=1 seek=79 conv=notrunc status=none
printf '\\2' | dd of=corrupt bs=1 seek=79 conv=notrunc status=none
printf '\\11' | dd of=v9 bs=1 seek=7 conv=notrunc status=none
printf '\\200' | dd of=incompat bs=1 seek=72 conv=notrunc status=none
truncate -s 50 short
''')

for name in ('r', 'zero', 'odd', 'sparse'):
    t.row(f'raw/{name}', f'qemu-img info {name}', 'raw')
    t.row(f'raw/{name}-given', f'qemu-img info -f raw {name}', 'raw')
    t.row(f'raw/{name}-json', f'qemu-img info --output=json {name}', 'raw')
for name in ('a', 'v2', 'small', 'ext', 'pre'):
    t.row(f'qcow2/{name}', f'qemu-img info {name}.qcow2', 'qcow2')
    t.row(f'qcow2/{name}-json', f'qemu-img info --output=json {name}.qcow2', 'qcow2')
    t.row(f'qcow2/{name}-as-raw', f'qemu-img info -f raw {name}.qcow2', 'qcow2')
for name in ('top', 'mid', 'sub/over', 'sub/lost', 'absolute', 'json'):
    for output in ('human', 'json'):
        for chain in ('', '--backing-chain'):
            t.row(f'chain/{name}-{output}{chain}',
                  f'qemu-img info --output={output} {chain} {name}.qcow2', 'chain')
t.row('chain/as-raw', 'qemu-img info --backing-chain -f raw top.qcow2', 'chain')
for name, setup in (('s.qcow2', 'snapshots'), ('d.qcow2', 'data-file'), ('d2.qcow2', 'data-file'),
                    ('l.luks', 'encrypted'), ('e.qcow2', 'encrypted'), ('aes.qcow2', 'encrypted')):
    t.row(f'{setup}/{name}', f'qemu-img info {name}', setup)
    t.row(f'{setup}/{name}-json', f'qemu-img info --output=json {name}', setup)
for name in ('dirty', 'corrupt', 'v9', 'incompat', 'short'):
    t.row(f'damaged/{name}', f'qemu-img info {name}', 'damaged')
    t.row(f'damaged/{name}-json', f'qemu-img info --output=json -f qcow2 {name}', 'damaged')

t.row('image-opts/full', 'qemu-img info --image-opts driver=qcow2,file.driver=file,file.filename=a.qcow2',
      'qcow2')
t.row('image-opts/probed', 'qemu-img info --image-opts file.filename=a.qcow2', 'qcow2')
t.row('image-opts/file-only', 'qemu-img info --image-opts driver=file,filename=a.qcow2', 'qcow2')
t.row('image-opts/with-format', 'qemu-img info -f raw --image-opts file.filename=r', 'raw')
t.row('image-opts/no-file', 'qemu-img info --image-opts driver=qcow2', 'raw')
t.row('image-opts/empty', 'qemu-img info --image-opts ""', 'raw')
t.row('image-opts/unknown-driver', 'qemu-img info --image-opts driver=foo,file.filename=r', 'raw')
t.row('image-opts/unknown-option', 'qemu-img info --image-opts driver=raw,foo=1,file.filename=r', 'raw')
t.row('image-opts/window', 'qemu-img info --image-opts driver=raw,offset=512,size=1024,file.filename=r',
      'raw')
t.row('json-name', '''qemu-img info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}' ''',
      'qcow2')
t.row('json-name-window', '''qemu-img info 'json:{"driver":"raw","size":512,"file.filename":"r"}' ''', 'raw')
t.row('json-name-broken', '''qemu-img info 'json:{"driver"' ''', 'raw')
t.row('protocol-name', 'qemu-img info file:r', 'raw')
t.row('null', 'qemu-img info null-co://')
t.row('null-json', 'qemu-img info --output=json null-co://')
t.row('null-driver', 'qemu-img info --image-opts driver=null-co,size=1M')
t.row('device', 'qemu-img info /dev/null')

t.row('usage/no-file', 'qemu-img info')
t.row('usage/two-files', 'qemu-img info a b')
t.row('usage/unknown-option', 'qemu-img info --bogus a')
t.row('usage/unknown-letter', 'qemu-img info -z a')
t.row('usage/missing-value', 'qemu-img info -f')
t.row('usage/missing-long-value', 'qemu-img info --output')
t.row('usage/output', 'qemu-img info --output=xml a')
t.row('usage/abbreviated', 'qemu-img info --outp=json --backing r', 'raw')
t.row('usage/quiet', 'qemu-img info -q r', 'raw')
t.row('usage/dashes', 'qemu-img info -- r', 'raw')
t.row('usage/after', 'qemu-img info r -f raw -U', 'raw')
t.row('fail/missing', 'qemu-img info nope')
t.row('fail/empty-name', 'qemu-img info ""')
t.row('fail/folder', 'qemu-img info .')
t.row('fail/unknown-format', 'qemu-img info -f foo r', 'raw')
t.row('fail/other-format', 'qemu-img info -f qcow2 r', 'raw')
t.row('fail/unknown-protocol', 'qemu-img info foo:bar')
t.row('object/unknown', 'qemu-img info --object foo,id=a r', 'raw')
t.row('object/no-id', 'qemu-img info --object secret r', 'raw')
t.row('object/no-data', 'qemu-img info --object secret,id=a r', 'raw')
t.row('object/bad-id', 'qemu-img info --object secret,id=9,data=a r', 'raw')
t.row('object/twice', 'qemu-img info --object secret,id=a,data=x --object secret,id=a,data=y r', 'raw')
t.row('object/good', 'qemu-img info --object secret,id=a,data=x r', 'raw')
t.row('object/json', '''qemu-img info --object '{"qom-type":"secret","id":"s","data":"a"}' r''', 'raw')
t.main()
