# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeds of the fuzzer parallels."""
IMAGES = [
    ('cluster_size=4k', '300k', []),
    ('cluster_size=4k', '5M', ['write -P 1 0 512', 'write -P 2 3M 4k']),
    ('cluster_size=512', '64k', ['write -P 1 0 1k', 'write -P 2 10k 1k']),
]
MAX_LEN = 32 << 10
