# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference's storage daemon, asked over its monitor, and our test program "show"."""
import json
import os
import pathlib
import subprocess
import sys

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))


def require_reference(*names):
    """Skips the whole test unless the programs are there."""
    for name in names:
        if not (REFERENCE / name).exists():
            print(f'{REFERENCE / name} is not installed')
            sys.exit(77)


class Daemon:
    """One line of JSON in, one out. The reference's, or that in folder @programs."""
    COMMAND = ('qemu-storage-daemon', '--chardev', 'stdio,id=c', '--monitor', 'c')

    def __init__(self, programs=REFERENCE):
        require_reference(self.COMMAND[0])
        self.process = subprocess.Popen([programs / self.COMMAND[0], *self.COMMAND[1:]],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdout.readline()
        self.ask('qmp_capabilities')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def line(self, text):
        self.process.stdin.write(text + b'\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip(b'\r\n')

    def ask(self, command, **arguments):
        request = {'execute': command, **({'arguments': arguments} if arguments else {})}
        return json.loads(self.line(json.dumps(request).encode())).get('return')

    def echo(self, value):
        """What it prints for the JSON text @value; None if it refuses it."""
        got = self.line(b'{"execute":"qmp_capabilities","id":' + value + b'}')
        start, end = b'{"id": ', b', "error": '
        return got[len(start):got.rindex(end)] if got.startswith(start) else None


class Emulator(Daemon):
    """The same of the emulator."""
    COMMAND = ('qemu-system-x86_64', '-M', 'microvm', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S',
               '-qmp', 'stdio')


class Show:
    """Our own program that shows what the utilities make of each line."""

    def __init__(self, *args):
        self.process = subprocess.Popen([BUILD / 'tests/programs/show', *args],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def answer(self, text):
        self.process.stdin.write(text + b'\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip(b'\n')

    def line(self, text):
        """The answer; None if the line was refused."""
        got = self.answer(text)
        return None if got.startswith(b'error: ') else got


def judge(name, problems):
    """Prints the line of one test; @problems is a list of texts."""
    if problems:
        print(*problems[:20], sep='\n')
        print(f'not ok {name} {len(problems)} differences')
    else:
        print(f'ok {name}')
