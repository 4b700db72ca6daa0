# SPDX-License-Identifier: GPL-2.0-or-later
"""What an image that a running program writes has stored of a bitmap."""
import shutil
import time

from cases import BUILD
from qmp import PATIENCE, Stdio


def bitmap_counts(image):
    """Bytes that each consistent bitmap marks, in a copy of the image as it is now."""
    shutil.copy(image, 'now.qcow2')
    with Stdio(BUILD / 'qemu-storage-daemon') as d:
        d.answer('blockdev-add', **{'driver': 'qcow2', 'node-name': 'n', 'read-only': True, 'backing': None,
                                    'file': {'driver': 'file', 'filename': 'now.qcow2'}})
        return [b['count'] for n in d.answer('query-named-block-nodes') for b in n.get('dirty-bitmaps', [])
                if not b.get('inconsistent')]


def await_nothing_left(image):
    """Until its only bitmap, of a mirror with x-resume, says that nothing is left to be copied."""
    deadline = time.monotonic() + PATIENCE
    while (counts := bitmap_counts(image)) != [0]:
        assert time.monotonic() < deadline, f'still to be copied: {counts}'
        time.sleep(.2)
