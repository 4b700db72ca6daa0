# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulator, ours or the reference's, with QMP on its standard streams."""
import json
import subprocess
import time

from guests import EMULATOR
from qmp import PATIENCE, Reader, Talker, request

MACHINE = ('-M', 'microvm', '-display', 'none', '-nodefaults', '-qmp', 'stdio')


def wait_for(happened, what='what is waited for'):
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f'{what} does not happen'
        time.sleep(0.01)


class Emulator(Talker):
    def __init__(self, *options, program=EMULATOR, accel='tcg', **more):
        self.process = subprocess.Popen([program, *MACHINE, '-accel', accel, *map(str, options)], bufsize=0,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
        self.reader = Reader(self.process.stdout.fileno())
        self.events = []    # that came with answers
        self.greeting = self.greet()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def send(self, data):
        self.process.stdin.write(data)

    def ask(self, text, resync=False):
        lines = super().ask(text, resync)
        # The reference puts lines of other kinds between its answers.
        self.events += [e for e in (json.loads(line) for line in lines if line.startswith('{')) if 'event' in e]
        return lines

    def say(self, line):
        """What the monitor for people answers to @line."""
        answer = self.answer('human-monitor-command', command_line=line)
        return answer if isinstance(answer, str) else f"Error: {answer['desc']}"

    def state(self):
        return self.answer('query-status')['status']

    def go(self):
        """Lets the guest run."""
        self.send(request('cont').encode() + b'\n')

    def until(self, name):
        """The data of the next event @name; answers and other events are passed over."""
        while True:
            line = self.reader.line()
            assert line is not None, f'no event {name}'
            message = json.loads(line)
            if message.get('event') == name:
                return message.get('data')

    def code(self):
        return self.process.wait(PATIENCE)
