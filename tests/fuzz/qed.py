# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeds of the fuzzer qed."""
IMAGES = [
    ('cluster_size=4k,table_size=2', '300k', []),
    ('cluster_size=4k,table_size=2', '5M', ['write -P 1 0 512', 'write -P 2 3M 4k', 'write -z 1M 8k']),
    ('cluster_size=4k,table_size=2,backing_fmt=raw,backing_file=x', '64k', []),
]
MAX_LEN = 64 << 10
