# SPDX-License-Identifier: GPL-2.0-or-later
"""A control group whose memory is limited, of cgroup v2 or v1, to run programs in."""
import contextlib
import os
import pathlib
import time

CGROUPS = pathlib.Path('/sys/fs/cgroup')


def parents():
    """Folders of groups in which new ones may be made, with the names that matter there."""
    for line in pathlib.Path('/proc/self/cgroup').read_text().splitlines():
        _, controllers, path = line.split(':', 2)
        if 'memory' in controllers.split(','):
            for group in CGROUPS / 'memory' / path[1:], CGROUPS / 'memory':
                yield group, 'memory.limit_in_bytes', 'total_dirty'
        elif not controllers:
            yield CGROUPS / path[1:], 'memory.max', 'file_dirty'
            yield CGROUPS, 'memory.max', 'file_dirty'


class Group:
    def __init__(self, path, limit_file, dirty_name, limit):
        self.path, self.dirty_name = path, dirty_name
        path.mkdir()
        try:
            (path / limit_file).write_text(str(limit))
        except OSError:
            path.rmdir()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _ in range(100):
            with contextlib.suppress(OSError):
                self.path.rmdir()
                break
            time.sleep(0.05)

    def join(self):
        """The calling process and all that it starts from now on are in it."""
        (self.path / 'cgroup.procs').write_text('0')

    def dirty(self):
        stat = dict(line.split() for line in (self.path / 'memory.stat').read_text().splitlines())
        return int(stat[self.dirty_name])


def make(limit):
    """A group that may have @limit bytes. OSError: there can be none here."""
    why = OSError('there is no memory controller')
    for parent, limit_file, dirty_name in parents():
        try:
            return Group(parent / f'ferry-test-{os.getpid()}', limit_file, dirty_name, limit)
        except OSError as e:
            why = e
    raise why
