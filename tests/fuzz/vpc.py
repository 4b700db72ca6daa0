# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeds of the fuzzer vpc."""
IMAGES = [
    ('', '300k', []),
    ('force_size=on', '5M', ['write -P 1 0 512', 'write -P 2 3M 4k']),
    ('subformat=fixed,force_size=on', '4k', ['write -P 1 0 1k']),
]
MAX_LEN = 8 << 10
