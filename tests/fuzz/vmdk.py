# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeds of the fuzzer vmdk."""
WRITES = ['write -P 1 0 512', 'write -P 2 3M 4k']
IMAGES = [
    ('', '5M', WRITES),
    ('zeroed_grain=on', '5M', [*WRITES, 'write -z 1M 64k']),
    ('subformat=streamOptimized', '5M', ['write -P 3 64k 64k', 'write -P 4 192k 128k']),
    ('subformat=monolithicFlat', '1M', []),
    ('subformat=twoGbMaxExtentSparse', '1M', []),
]
MAX_LEN = 256 << 10
