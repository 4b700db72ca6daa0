# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeds of the fuzzer qcow."""
IMAGES = [
    ('', '300k', []),
    ('', '5M', ['write -P 1 0 512', 'write -P 2 3M 4k', 'write -c -P 3 64k 4k']),
    ('backing_fmt=raw,backing_file=x', '64k', []),
]
MAX_LEN = 64 << 10
