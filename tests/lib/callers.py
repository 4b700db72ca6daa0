# SPDX-License-Identifier: GPL-2.0-or-later
"""Other people's programs that start qemu-img, qemu-io or qemu-nbd, unchanged, with our tools first in
their PATH. Each start is logged, so that a test can tell that the caller really used ours.

    tools = Tools()
    tools.run('virt-make-fs', ...)
    assert tools.started('qemu-img create')
"""
import os
import pathlib
import shutil

from cases import BUILD, require, run

PROGRAMS = 'qemu-img', 'qemu-io', 'qemu-nbd'
ADMIN = '/usr/sbin:/sbin'


def require_programs(*names):
    for name in names:
        require(shutil.which(name, path=f'{os.environ["PATH"]}:{ADMIN}'), f'{name} is not installed')


class Tools:
    """Our tools in a folder below the current one."""

    def __init__(self):
        self.folder = pathlib.Path.cwd() / 'tools'
        self.log = self.folder / 'log'
        self.folder.mkdir()
        for name in PROGRAMS:
            self.add(name, f'echo "{name} $*" >>{self.log}\nexec {BUILD}/{name} "$@"')
        self.env = {'PATH': f'{self.folder}:{os.environ["PATH"]}:{ADMIN}'}

    def add(self, name, script):
        """Another program for the callers, a shell script."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\n{script}\n')
        path.chmod(0o755)

    def run(self, *command, env=None, **more):
        return run(*command, env={**self.env, **(env or {})}, **more)

    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def started(self, *words):
        """Whether one of our tools was started with all of @words in its command line."""
        return any(all(word in call for word in words) for call in self.calls())
