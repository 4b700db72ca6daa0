#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that somebody else cuts, extends and fills while they are read: the size is that of the opening,
what is no longer there reads as zeroes, nothing is made up, and nobody hangs or crashes."""
import contextlib
import os
import pathlib
import random
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, TIMEOUT, case, img, main, run
from this_run import WATCHED

LOOPS = {}, {'FERRY_LOOP': 'epoll'}
CACHES = 'writeback', 'none'
PROMPT = b'qemu-io> '
SECTOR = 512
RUNS = 2 if WATCHED else 10


def has_direct_io(path):
    return run(IO, '-r', '-t', 'none', '-f', 'raw', '-c', 'length', path, code=None).returncode == 0


def ways(path):
    """(environment, cache mode) for each loop, with and without the page cache where that can be."""
    caches = [c for c in CACHES if c != 'none' or has_direct_io(path)]
    return [(loop, cache) for loop in LOOPS for cache in caches]


class Reader:
    """A qemu-io that has @path open and does one command after the other."""

    def __init__(self, path, env, cache):
        self.program = subprocess.Popen([IO, '-r', '-t', cache, '-f', 'raw', path], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env=dict(os.environ, **env))
        self.watchdog = threading.Timer(TIMEOUT, self.program.kill)
        self.watchdog.start()
        self.answer()

    def answer(self):
        text = b''
        while not text.endswith(PROMPT):
            more = os.read(self.program.stdout.fileno(), 65536)
            assert more, f'qemu-io ended: {text}'
            text += more
        return text[:-len(PROMPT)].decode()

    def ask(self, command):
        self.program.stdin.write(command.encode() + b'\n')
        self.program.stdin.flush()
        return self.answer()

    def expect(self, pattern, start, length):
        said = self.ask(f'read -P {pattern} {start} {length}')
        assert f'read {length}/{length} bytes' in said and 'fail' not in said, said

    def expect_refused(self, start, length):
        said = self.ask(f'read {start} {length}')
        assert said == 'read failed: Input/output error\n', said

    def end(self):
        """The exit code."""
        self.program.communicate()
        self.watchdog.cancel()
        return self.program.returncode


def write(path, *parts):
    pathlib.Path(path).write_bytes(b''.join(bytes([value]) * length for value, length in parts))


@case
def what_was_cut_off_reads_as_zeroes():
    size, left = 1000003, 100001
    write('f', (0x55, size))
    for env, cache in ways('f'):
        write('f', (0x55, size))
        reader = Reader('f', env, cache)
        reader.expect(0x55, 0, size)
        reader.expect(0, size, -size % SECTOR)
        os.truncate('f', left)
        reader.expect(0x55, 0, left)
        reader.expect(0, left, 4096)
        reader.expect(0, left, size - left)
        said = reader.ask(f'read -v {left - 3} 5')
        assert '55 55 55 00 00' in said, said
        os.truncate('f', 0)
        reader.expect(0, 0, size)
        assert reader.end() == 0


@case
def what_was_added_stays_outside():
    size, more = 1000003, 1 << 20
    write('f', (0x55, size))
    for env, cache in ways('f'):
        write('f', (0x55, size))
        reader = Reader('f', env, cache)
        length = reader.ask('length')
        with open('f', 'ab') as f:
            f.write(b'\x66' * more)
        assert reader.ask('length') == length
        reader.expect(0x55, 0, size)
        reader.expect(0x66, size, -size % SECTOR)     # the sector that was not whole
        reader.expect_refused(size + more // 2, 4096)
        reader.expect_refused(size - 4096, 8192)
        assert reader.end() == 1


@case
def cut_and_filled_again_reads_as_it_stands():
    write('f', (0x55, 1 << 20))
    for env, cache in ways('f'):
        write('f', (0x55, 1 << 20))
        reader = Reader('f', env, cache)
        reader.expect(0x55, 0, 1 << 20)
        os.truncate('f', 0)
        reader.expect(0, 0, 1 << 20)
        write('f', (0x55, 300000), (0x77, 300000))
        reader.expect(0x55, 0, 300000)
        reader.expect(0x77, 300000, 300000)
        reader.expect(0, 600000, (1 << 20) - 600000)
        assert reader.end() == 0


# ---- a race ------------------------------------------------------------------------------------------

@contextlib.contextmanager
def unrest(path):
    """Meanwhile @path is cut and extended anywhere, and filled with pieces of what it held at first."""
    content, over, dice = pathlib.Path(path).read_bytes(), threading.Event(), random.Random(1)

    def work():
        with open(path, 'r+b', buffering=0) as f:
            while not over.is_set():
                if dice.random() < 0.5:
                    f.truncate(dice.choice((0, dice.randrange(2 * len(content)))))
                start = dice.randrange(len(content))
                os.pwrite(f.fileno(), content[start:start + dice.randrange(len(content))], start)
                if dice.random() < 0.2:
                    os.pwrite(f.fileno(), content, 0)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()
        pathlib.Path(path).write_bytes(content)


def is_made_up(copy, original):
    """Whether a byte is neither as it was nor zero."""
    longer = len(copy) - len(original)
    if copy[:len(original)] == original and not any(copy[len(original):]):
        return False
    return any(a and a != b for a, b in zip(copy, original + bytes(max(longer, 0))))


def commands(fmt, cache):
    for more in [], ['-C'], ['-W', '-m', '4']:
        yield ['convert', '-T', cache, *more, '-f', fmt, '-O', 'raw', 'image', 'copy']
    yield ['convert', '-T', cache, '-f', fmt, '-O', 'qcow2', '-c', 'image', 'copy']
    yield ['compare', '-T', cache, '-f', fmt, '-F', 'raw', 'image', 'original']
    yield ['checksum', '-T', cache, '-f', fmt, 'image']


def attempt(command, env, original):
    """True if it succeeds, else it has told why."""
    pathlib.Path('copy').unlink(missing_ok=True)
    done = img(*command, env=env, code=None)
    differs = command[0] == 'compare' and done.returncode == 1
    assert done.returncode in ((0, 1, 2, 3, 4) if command[0] == 'compare' else (0, 1)), (command, done)
    assert done.returncode == 0 or differs or done.stderr.startswith('qemu-img: '), (command, done)
    if done.returncode == 0 and command[0] == 'convert':
        if '-c' in command:
            img('convert', '-f', 'qcow2', '-O', 'raw', 'copy', 'plain')
            os.replace('plain', 'copy')
        assert not is_made_up(pathlib.Path('copy').read_bytes(), original), command
    return done.returncode == 0 or differs


def race(fmt):
    dice = random.Random(2)
    original = bytes(dice.randrange(1, 256) for _ in range(300 * 1024))
    pathlib.Path('original').write_bytes(original)
    img('convert', '-f', 'raw', '-O', fmt, 'original', 'image')
    succeeded = 0
    for env, cache in ways('original'):
        with unrest('image'):
            for command in commands(fmt, cache):
                succeeded += sum(attempt(command, env, original) for _ in range(RUNS))
    assert succeeded


@case
def a_raw_file_in_motion_is_copied_compared_and_summed():
    race('raw')


@case
def a_qcow2_file_in_motion_is_copied_compared_and_summed():
    race('qcow2')


main('moving-end')
