#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io write and writev, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import IoTable

t = IoTable('io-write')
t.setup('sources', "printf 'abc\\ndefg' > pat; : > empty; mkdir folder", 'raw')

t.each('write', {
    'plain': 'write 0 512',
    'default-pattern': ['write 0 4k', 'read -P 0xcd 0 4k'],
    'alias': 'w 0 512',
    'whole-image': 'write 0 1M',
    'unaligned': ['write 1 100', 'write 0 513', 'write 4095 2'],
    'last-byte': 'write 1048575 1',
    'nothing': ['write 0 0', 'write 1M 0'],
    'pattern': ['write -P 0xab 4k 4k', 'read -P 0xab 4k 4k'],
    'durable': 'write -f 0 512',
    'quiet': 'write -q 0 1',
    'figures': 'write -C 0 1',
    'quiet-wins-over-figures': 'write -q -C 0 1',
    'compatible-p': ['write -p 0 512', 'write -p 1 1', 'write -pz 0 512'],
    'past-the-end': ['write 2M 1', 'write 1M 1', 'write 1048575 2'],
    'zero-past-the-end': ['write -z 2M 1', 'write -z 1048575 2'],
    'compressed-not-in-raw': 'write -c 0 64k',
    'no-vmstate-in-raw': 'write -b 0 512',
})
t.each('zero', {
    'plain': 'write -z 0 64k',
    'unaligned': ['write -z 1 100', 'read -v 0 20'],
    'may-unmap': 'write -z -u 0 64k',
    'unmap-all': 'write -zu 0 1M',
    'durable': 'write -fz 0 512',
    'no-fallback': 'write -zn 0 64k',
    'all-of-them': 'write -nzfu 0 64k',
    'with-compressed': 'write -cz 0 512',
    'nothing': 'write -z 0 0',
    'quiet': 'write -zq 0 64k',
})
t.each('source', {
    'repeats': ['write -s pat 0 20', 'read -v 0 24'],
    'longer-than-the-write': ['write -s pat 10 3', 'read -v 8 8'],
    'missing': 'write -s nonexist 0 1',
    'empty': 'write -s empty 0 20',
    'folder': 'write -s folder 0 20',
    'numbers-are-read-first': ['write -s nonexist x 1', 'write -s nonexist 0 3G'],
    'nothing-to-write': ['write -s pat 0 0', 'write -s nonexist 0 0'],
    'with-option-only': 'write 0 1 -s',
}, setup='sources')
t.each('clash', {
    'vmstate-and-zero': ['write -bz 0 512', 'write -bzu 0 1', 'write -fbz 0 512', 'write -bcz 0 1',
                         'write -bzP 1 0 1'],
    'durable-and-others': ['write -fc 0 512', 'write -fb 0 512', 'write -fcu 0 1'],
    'no-fallback-alone': ['write -n 0 1', 'write -bn 0 1', 'write -nu 0 1'],
    'unmap-alone': ['write -u 0 1', 'write -bu 0 512', 'write -cu 0 1', 'write -u x 1'],
    'zero-and-pattern': ['write -zP 1 0 1', 'write -P 1 -z 0 1'],
    'zero-and-source': ['write -zs x 0 1', 'write -z -s nonexist 0 1'],
    'pattern-and-source': ['write -P 1 -s x 0 1', 'write -P 1 -s y x 1'],
    'is-told-before-numbers': 'write -zuP 1 x 1',
    'vmstate-and-compressed': 'write -bc 0 512',
})
t.each('arguments', {
    'none': 'write',
    'one': 'write 0',
    'three': 'write 0 1 2',
    'unknown-option': ['write -v 0 1', 'write -Z 0 1'],
    'not-a-number': ['write x 1', 'write 0 x'],
    'negative': ['write -1 1', 'write -- -1 1', 'write -- 0 -1'],
    'too-large': ['write 9E 1', 'write 0 9E'],
    'over-the-limit': ['write 0 3G', 'write -z 0 3G', 'write -z 0 2147483137', 'write -b 1 3G'],
    'bad-pattern': ['write -P 300 0 1', 'write -P x -s y 0 1'],
    'unaligned-compressed': ['write -c 1 512', 'write -c 0 513', 'write -c 1 1'],
    'unaligned-vmstate': ['write -b 1 512', 'write -b 0 1', 'write -b 1 1', 'write -b x 1'],
})
t.each('read-only', {
    'write': 'write 0 1',
    'writev': 'writev 0 1',
    'zero': 'write -z 0 1',
    'count-comes-first': 'write 0',
    'numbers-come-later': 'write x 1',
    'goes-on': ['write 0 1', 'read 0 1'],
}, opts='-r -f raw')
t.each('writev', {
    'one-buffer': 'writev 0 512',
    'three-buffers': ['writev -P 7 0 1 2 3', 'read -v 0 8'],
    'durable': 'writev -f 0 512 512',
    'quiet': 'writev -q 0 512',
    'figures': 'writev -C 0 512',
    'nothing': ['writev 0 0', 'writev 0 0 0 1'],
    'past-the-end': 'writev 2M 512',
    'no-words': 'writev',
    'one-word': 'writev 0',
    'unknown-option': ['writev -z 0 1', 'writev -c 0 1', 'writev 0 -1'],
    'bad-numbers': ['writev x 1', 'writev 0 x', 'writev 0 1 x', 'writev -- 0 -1'],
    'bad-pattern': 'writev -P 300 0 1',
    'too-long': ['writev 0 3G', 'writev 0 1G 1G', 'writev 9E 1', 'writev 0 9E'],
})
t.each('null', {
    'largest-zero': ['write -z 0 2147483136', 'write -z -u 0 2147483136'],
    'zero-over-the-limit': ['write -z 0 2G', 'writev 0 2147483136 1'],
    'beyond-the-node': ['write -zn 0 5G', 'write 4G 1'],
}, opts='--image-opts', image='driver=null-co,size=4G', setup='')
t.each('qcow2', {
    'new-cluster': 'write -P 1 1M 64k',
    'part-of-a-cluster': ['write -P 1 70000 100', 'read -v 69990 20'],
    'across-clusters': 'write -P 1 500k 200k',
    'zero-cluster': 'write -z 512k 64k',
    'zero-part': 'write -z 520k 1000',
    'zero-unmap': 'write -zu 512k 64k',
    'zero-no-fallback': ['write -zn 512k 64k', 'write -zn 0 64k'],
    'zero-no-fallback-unaligned': 'write -zn 1 100',
    'compressed': ['write -c -P 3 0 64k', 'read -P 3 0 64k'],
    'compressed-many': ['write -c -P 3 1M 256k', 'read -P 3 1M 256k'],
    'compressed-part-of-a-cluster': 'write -c 0 1k',
    'compressed-over-data': 'write -c -P 9 512k 64k',
    'writev': 'writev -P 4 3M 100 64k 5',
    'durable': 'write -f 0 64k',
    'vmstate': ['write -b -P 5 0 512', 'read -b -P 5 0 512', 'write -b 512 1k', 'read -b -q 0 1M'],
    'past-the-end': ['write 4M 1', 'write -z 4M 1'],
    'last-cluster': 'write -P 6 4128768 64k',
}, opts='', image='b.qcow2', setup='qcow2')

t.main()
