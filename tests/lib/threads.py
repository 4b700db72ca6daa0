# SPDX-License-Identifier: GPL-2.0-or-later
"""The threads of a daemon."""
import contextlib
import pathlib
import time

from qmp import PATIENCE


def threads(d):
    """Nanoseconds that each thread has run, by name; the main one is 'main'."""
    run = {}
    for task in pathlib.Path(f'/proc/{d.process.pid}/task').iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            name = 'main' if task.name == str(d.process.pid) else (task / 'comm').read_text().strip()
            run[name] = int((task / 'schedstat').read_text().split()[0])
    return run


def await_thread_gone(d, name):
    end = time.monotonic() + PATIENCE
    while name in threads(d):
        assert time.monotonic() < end, f'thread {name} stays'
        time.sleep(.02)


def busiest(d, work):
    """The thread that runs most during @work()."""
    before = threads(d)
    work()
    return max((ns - before.get(name, 0), name) for name, ns in threads(d).items())[1]
