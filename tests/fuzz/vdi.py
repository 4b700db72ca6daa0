# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeds of the fuzzer vdi."""
IMAGES = [
    ('', '300k', []),
    ('', '5M', ['write -P 1 0 512', 'write -P 2 3M 4k']),
    ('static=on', '64k', ['write -P 1 0 1k']),
]
MAX_LEN = 8 << 10
