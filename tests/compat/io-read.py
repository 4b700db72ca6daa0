#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io read and readv, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import IoTable

t = IoTable('io-read')

t.each('read', {
    'plain': 'read 0 512',
    'whole-image': 'read 0 1M',
    'at-offset': 'read 64k 64k',
    'one-byte-at-odd-offset': 'read 12345 1',
    'nothing': ['read 0 0', 'read 1M 0'],
    'alias': 'r 0 512',
    'quiet': 'read -q 0 512',
    'figures-for-programs': 'read -C 0 512',
    'quiet-wins-over-figures': ['read -qC 0 512', 'read -Cq 0 512'],
    'options-after-words': 'read 0 512 -q',
    'compatible-p': 'read -p 0 512',
    'two-requests': ['read 0 1k', 'read 1k 2k'],
    'past-the-end': ['read 2M 512', 'read 1M 1', 'read 1048575 2'],
    'after-a-failure-goes-on': ['read 2M 1', 'read 0 1'],
    'no-vmstate-in-raw': 'read -b 0 512',
})
t.each('pattern', {
    'right': 'read -P 0xa1 0 64k',
    'wrong': 'read -P 0xa2 0 64k',
    'wrong-at-the-last-byte': 'read -P 0xa1 0 65537',
    'zeroes': 'read -P 0 64k 64k',
    'of-nothing': 'read -P 7 0 0',
    'last-one-counts': 'read -P 1 -P 0xa1 0 1',
    'decimal': 'read -P 161 0 1',
    'octal': 'read -P 0241 0 1',
    'quiet-still-fails': 'read -q -P 1 0 512',
    'with-dump': 'read -v -P 1 0 20',
    'part-by-start': 'read -P 0x42 -s 64k 64k 100k',
    'part-by-length': 'read -P 0xa1 -l 64k 0 100k',
    'part-by-both': ['read -P 0 -s 64k -l 64k 0 256k', 'read -P 1 -s 100 -l 10 0 512'],
    'part-empty': ['read -P 9 -s 512 0 512', 'read -P 9 -l 0 0 512'],
    'part-past-the-end': ['read -P 0 -s 600 0 512', 'read -P 0 -l 600 0 512',
                          'read -P 0 -s 500 -l 13 0 512', 'read -P 0 -l 10 -s 600 0 512'],
    'part-without-pattern': ['read -s 1 0 512', 'read -l 1 0 512'],
    'too-large': 'read -P 256 0 1',
    'negative': 'read -P -1 0 1',
    'not-a-number': ['read -P x 0 1', 'read -P 1x 0 1', 'read -Pq 0 1'],
})
t.each('dump', {
    'lines': 'read -v 65530 40',
    'less-than-a-line': 'read -v 0 5',
    'odd-offset': 'read -v 5 37',
    'one-line': 'read -v 0 16',
    'quiet': 'read -qv 0 16',
    'figures': 'read -Cv 0 16',
    'letters': 'read -v 131072 3',
    'twice-given': 'read -v -v 0 1',
})
t.row('dump/all-bytes', 'qemu-io -f raw -c "write -q -s all 0 256" -c "read -v 0 256" a.img', 'all',
      mask=['speed'])
t.setup('all', "python3 -c 'import sys; open(\"all\", \"wb\").write(bytes(range(256)))'", 'raw')

t.each('arguments', {
    'none': 'read',
    'one': 'read 0',
    'three': 'read 0 1 2',
    'unknown-option': 'read -Z 0 1',
    'unknown-option-of-alias': 'r -Z 0 1',
    'option-without-value': 'read 0 1 -P',
    'negative-offset': 'read -1 1',
    'negative-offset-after-dashes': 'read -- -1 1',
    'negative-length': 'read 0 -1',
    'not-a-number': ['read x 1', 'read 0 x', 'read "0" 1', "read '0' 1", 'read 0,1 1'],
    'suffixes': ['read -q 0 1b', 'read -q 0 1k', 'read -q 0 1K', 'read -q 0 1m', 'read -q 0 0x200',
                 'read -q 0 1B'],
    'larger-suffixes-fail': ['read 1G 1', 'read 1T 1', 'read 1P 1', 'read 1E 1'],
    'unknown-suffix': ['read 0 1kb', 'read 0 1KiB', 'read 0 1z', 'read 1e3 1'],
    'fractions': ['read -q 0 0.5k', 'read 1.5k 512', 'read 0 1.0', 'read 0 1.k'],
    'fraction-of-a-byte': ['read 0 1.5', 'read 0 .5k'],
    'plus-sign': 'read 0 +1',
    'too-large': ['read 9E 1', 'read 16E 1', 'read 100E 2', 'read 0 9E'],
    'length-over-the-limit': ['read 0 2G', 'read 0 3G', 'read 0 2147483137', 'read 0 1T'],
    'start-not-a-number': 'read -P 0 -l x -s y 0 1',
    'first-mistake-is-told': ['read -l 1 x 1', 'read -P 0 -s 600 x 1', 'read -P 0 -s 600 0 3G',
                              'read -l 1 0', 'read -s 1 x x', 'read -P 300 -Z 0 1'],
    'spaces': [' read 0 1', 'read  0   1', 'read 0 1 '],
    'tab-is-no-space': 'read\t0 1',
})
t.each('vmstate', {
    'empty': 'read -b 0 512',
    'pattern-of-nothing-saved': 'read -b -P 0 0 512',
    'unaligned': ['read -b 1 512', 'read -b 0 1', 'read -b 1 1', 'read -b 1 3G'],
    'pattern-range-first': 'read -b -P 0 -s 5 -l 600 1 512',
    'written': ['write -b -P 5 0 512', 'read -b -P 5 0 512', 'read -b -v 0 512'],
}, opts='', image='b.qcow2', setup='qcow2')

t.each('readv', {
    'one-buffer': 'readv 0 512',
    'three-buffers': 'readv 0 1 2 3',
    'odd-offset': 'readv 4097 1k 1k',
    'alias-is-unknown': 'rv 0 1',
    'pattern': ['readv -P 0xa1 0 512 512', 'readv -P 5 0 512 512', 'readv -P 0 0 1 1'],
    'dump': 'readv -v 0 10 20',
    'dump-across-buffers': 'readv -v 65530 3 10 4',
    'quiet': ['readv -q 0 512', 'readv -qv 0 1 2'],
    'figures': 'readv -C 0 512',
    'nothing': ['readv 0 0', 'readv 0 0 0', 'readv 0 0 0 1'],
    'past-the-end': ['readv 2M 512', 'readv 1048000 512 512'],
    'no-words': 'readv',
    'one-word': 'readv 0',
    'unknown-option': ['readv -b 0 1', 'readv -s 1 0 1', 'readv 0 1 -1'],
    'bad-numbers': ['readv x 1', 'readv 0 x', 'readv 0 1 x', 'readv 9E 1'],
    'bad-pattern': ['readv -P 300 0 1', 'readv -P x -Z 0 1'],
    'too-long': ['readv 0 3G', 'readv 0 1 2147483137', 'readv 0 9E'],
    'too-long-together': ['readv 0 1G 1G', 'readv 0 2147483136 1'],
    'mistake-behind-the-limit': 'readv 0 2147483136 x',
})
t.each('qcow2', {
    'own-data': 'read -P 0x22 512k 64k',
    'data-below': 'read -P 0x11 0 512k',
    'zeroes-over-data': 'read -P 0 2M 64k',
    'across-layers': ['read -v 524280 16', 'readv -q 500k 10k 20k 100k'],
    'past-the-end': 'read 4M 1',
}, opts='', image='b.qcow2', setup='qcow2')

t.main()
