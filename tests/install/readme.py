#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of the README run in the order they stand there, as somebody pastes them."""
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from cases import BUILD, TIMEOUT, TOP, case, main, require

README = (TOP / 'README.md').read_text()


def examples():
    """The commands of the indented blocks from the first section on that has examples."""
    text = README[README.index('## Convert disk images'):].replace('\\\n', ' ')
    return re.findall(r'^    (\S.*)$', text, re.M)


@case
def examples_run_in_order():
    commands = examples()
    assert len(commands) > 20 and any('qemu-nbd' in c for c in commands), commands
    # Its servers have the usual ports: in a network of its own nobody else has.
    alone = ['unshare', '-n'] if os.geteuid() == 0 else ['unshare', '-rn']
    require(subprocess.run([*alone, 'ip', 'link', 'set', 'lo', 'up'], stderr=subprocess.DEVNULL,
                           check=False).returncode == 0, 'there are no name spaces for networks')
    pathlib.Path('script').write_text('ip link set lo up\nset -e\nset -o pipefail\n' + '\n'.join(
        f"echo '+' {number}\n{command}" for number, command in enumerate(commands)))
    done = subprocess.run([*alone, 'bash', 'script'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False,
                          env=dict(os.environ, PATH=f'{BUILD}:{os.environ["PATH"]}:/usr/sbin:/sbin'))
    assert done.returncode == 0, f'{commands[int(re.findall("^. ([0-9]+)$", done.stdout, re.M)[-1])]}: {done.stdout}'
    for word in 'No errors were found', 'Images are identical.', '"present"', 'export: \'a\'':
        assert word in done.stdout, (word, done.stdout)


@case
def files_it_names_are_there():
    for name in re.findall(r'`((?:docs|scripts|tests)/[^` ]*|[A-Z]+(?:\.md)?)`', README):
        assert (TOP / name).exists(), name


@case
def changes_fit_the_package():
    # They become the packages' changelog, two columns further in; lintian allows it 80.
    for number, line in enumerate((TOP / 'CHANGELOG.md').read_text().splitlines(), 1):
        assert len(line) <= 76, (number, line)


main('readme', 'install')
