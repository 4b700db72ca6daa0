#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every long command tells how far it is: a bar on a terminal, JSON lines, answers to a signal."""
import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IMG, case, img, io, main, require
from this_run import SIGNALS_SEEN, WATCHED

BAR = re.compile(r'(\w+) \[(#*)(\.*)\] +([\d.]+)%(  [\d.]+ \w+/s)?(  [\d:]+ left)?')
KEYS = ['phase', 'done', 'total', 'rate', 'eta']
MIB = 1 << 20


def make_images():
    img('create', '-q', '-f', 'raw', 'a.raw', '3M')
    io('a.raw', 'write -P 1 0 1M', 'write -P 2 1M 1M', 'write -P 3 2M 1M')
    img('convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'base.qcow2')
    img('create', '-q', '-f', 'qcow2', 'empty.qcow2', '3M')
    img('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2')
    io('top.qcow2', 'write -P 4 512k 2M')
    img('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'thin.qcow2')
    img('create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', 'large.qcow2', '48G')


def slowed(name, driver='raw'):
    """Options of an image that gives 2 MiB a second."""
    return f'driver=throttle,throttle-group=slow,file.driver={driver},file.file.filename={name}'


GROUP = ['--object', '{"qom-type":"throttle-group","id":"slow","limits":{"bps-total":2097152}}']

# Each takes more than a second.
SLOW = {
    'convert': ['convert', '-f', 'raw', '-O', 'qcow2', '-r', '2M', 'a.raw', 'out.qcow2'],
    'dd': ['dd', *GROUP, '--image-opts', 'bs=64k', f'if={slowed("a.raw")}', 'of=out.raw'],
    'compare': ['compare', *GROUP, '--image-opts', slowed('a.raw'),
                'driver=qcow2,file.filename=base.qcow2'],
    'checksum': ['checksum', *GROUP, '--image-opts', slowed('a.raw')],
    'commit': ['commit', '-r', '1M', 'top.qcow2'],
    'rebase': ['rebase', *GROUP, '-F', 'qcow2', '-b', 'empty.qcow2', '--image-opts',
               'driver=qcow2,file.filename=thin.qcow2,backing.driver=throttle,'
               'backing.throttle-group=slow,backing.file.driver=qcow2,'
               'backing.file.file.filename=base.qcow2'],
    'check': ['check', *GROUP, '--image-opts', 'driver=qcow2,file.driver=throttle,'
              'file.throttle-group=slow,file.file.driver=file,file.file.filename=large.qcow2'],
}


def with_option(command, *options):
    return [command[0], *options, *command[1:]]


def on_terminal(command, columns=80, code=0):
    """What the command writes to the terminal that is its standard error, and its output."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
    process = subprocess.Popen([IMG, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=follower)
    os.close(follower)
    seen = b''
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(leader)
    out = process.stdout.read()
    assert process.wait() == code, seen
    return seen.decode(), out.decode()


def bars(text):
    return [BAR.search(part) for part in text.split('\r') if BAR.search(part)]


@case
def a_bar_on_a_terminal():
    for name, command in SLOW.items():
        make_images()
        seen, out = on_terminal(command)
        drawn = bars(seen)
        assert len(drawn) >= 2, (name, seen)
        assert all(b[1] == name and len(b[2] + b[3]) == 30 for b in drawn), (name, seen)
        parts = [float(b[4]) for b in drawn]
        assert parts == sorted(parts) and parts[-1] > parts[0], (name, parts)
        assert drawn[-1][5] and drawn[-1][6], (name, seen)
        # It is gone in the end, and nothing went to standard output.
        assert seen.endswith('\r\033[K'), (name, seen)
        assert '[#' not in out and '/100%' not in out, (name, out)


@case
def no_bar_if_told_so():
    for name, command in SLOW.items():
        for option in ('-p', '-q', '--progress=json:1') if name == 'convert' else ('--progress=json:1',):
            make_images()
            seen, _ = on_terminal(with_option(command, option))
            assert not bars(seen) and '\033' not in seen, (name, option, seen)


@case
def no_bar_without_a_terminal():
    make_images()
    done = img(*SLOW['convert'])
    assert done.stdout == done.stderr == ''


@case
def quick_work_shows_no_bar():
    require(not WATCHED, 'no work is quick under a watcher')
    make_images()
    seen, out = on_terminal(['convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'out.qcow2'])
    assert seen == out == ''


@case
def fits_a_narrow_terminal():
    for columns, shown in ((60, r' \[.*left'), (40, 'left'), (20, 'convert'), (9, '%')):
        make_images()
        seen, _ = on_terminal(SLOW['convert'], columns=columns)
        drawn = re.findall('\r([^\r\033]+)\033', seen)
        assert drawn and all(len(line) < columns for line in drawn), (columns, seen)
        assert all('%' in line for line in drawn) and re.search(shown, drawn[-1]), (columns, seen)


@case
def follows_a_terminal_that_changes():
    make_images()
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    process = subprocess.Popen([IMG, *SLOW['convert']], stdin=subprocess.DEVNULL, stderr=follower)
    while b'%' not in os.read(leader, 4096):
        pass
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 30, 0, 0))
    time.sleep(0.1)
    os.set_blocking(leader, False)
    with contextlib.suppress(BlockingIOError):
        while os.read(leader, 4096):
            pass
    process.wait()
    drawn = re.findall('\r([^\r\033]+)\033', os.read(leader, 4096).decode())
    os.close(leader)
    os.close(follower)
    assert drawn and all(len(line) < 30 for line in drawn), drawn


@case
def a_complaint_takes_the_place_of_the_bar():
    make_images()
    pathlib.Path('rules').write_text('[inject-error]\nevent="none"\niotype="read"\nerrno="5"\n'
                                     'sector="6100"\nonce="off"\n')
    seen, _ = on_terminal(['convert', '-r', '1M', '-O', 'raw', 'blkdebug:rules:a.raw', 'out.raw'],
                          code=1)
    assert bars(seen), seen
    assert re.search(r'\r\033\[Kqemu-img: ', seen), seen
    assert not re.search(r'leftqemu-img', seen), seen


@case
def json_lines():
    for name, command in SLOW.items():
        make_images()
        done = img(*with_option(command, '--progress=json'))
        ticks = [json.loads(line) for line in done.stderr.splitlines()]
        assert len(ticks) >= 3, (name, done.stderr)
        for tick in ticks:
            assert list(tick) == KEYS and tick['phase'] == name, tick
            assert 0 <= tick['done'] <= tick['total'] and tick['total'] % 512 == 0, tick
        assert ticks[-1]['done'] == ticks[-1]['total'] >= MIB, ticks[-1]
        assert [t['done'] for t in ticks] == sorted(t['done'] for t in ticks), ticks
        middle = ticks[len(ticks) // 2]
        assert middle['rate'] > 0 and middle['eta'] >= 0, middle


@case
def space_of_new_images_is_told_of():
    size = 256 * MIB
    for name, command in (('create', ['create', '-q', '-f', 'raw', '-o', 'preallocation=full', 't',
                                      str(size)]),
                          ('resize', ['resize', '-f', 'raw', '--preallocation=full', 't', f'+{size}'])):
        done = img(*with_option(command, '--progress=json'))
        ticks = [json.loads(line) for line in done.stderr.splitlines()]
        assert len(ticks) >= 2 and all(t['total'] == size for t in ticks), (name, ticks)
        assert 0 < ticks[0]['done'] < ticks[-1]['done'] == size, (name, ticks)
        assert ticks[0]['phase'] == name
    assert os.stat('t').st_blocks * 512 >= 2 * size


@case
def preallocation_is_a_phase_of_its_own():
    img('create', '-q', '-f', 'raw', 'a.raw', str(256 * MIB))
    io('a.raw', 'write -P 1 0 1M')
    command = ['convert', '-f', 'raw', '-O', 'raw', '-o', 'preallocation=full', 'a.raw', 't']
    done = img(*with_option(command, '--progress=json'))
    ticks = [json.loads(line) for line in done.stderr.splitlines()]
    phases = [t['phase'] for t in ticks]
    assert set(phases) == {'preallocate', 'convert'} and phases == sorted(phases, reverse=True), ticks
    assert ticks[0]['total'] == 256 * MIB and ticks[-1]['done'] == ticks[-1]['total'], ticks
    # The plain text knows one only.
    shown = img(*with_option(command, '-p')).stdout
    assert shown.count('(0.00/100%)') == 1, shown


@case
def findings_take_the_place_of_the_bar():
    make_images()
    # The header says where the refcount table is; its first block loses some counts.
    with open('large.qcow2', 'r+b') as f:
        f.seek(48)
        f.seek(int.from_bytes(f.read(8), 'big'))
        f.seek(int.from_bytes(f.read(8), 'big') + 40000)
        f.write(bytes(200))
    seen, _ = on_terminal(SLOW['check'], code=2)
    assert bars(seen) and 'ERROR cluster' in seen, seen[:2000]
    assert not re.search(r'(left|\d%|/s)(ERROR|\d)', seen), seen[:2000]


@case
def json_lines_on_a_descriptor():
    make_images()
    reader, writer = os.pipe()
    command = with_option(SLOW['convert'], f'--progress=json:{writer}')
    done = subprocess.run([IMG, *command], pass_fds=[writer], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=True)
    os.close(writer)
    with open(reader) as f:
        ticks = [json.loads(line) for line in f]
    assert len(ticks) >= 3 and done.stdout == done.stderr == b''
    for bad in ('json:77', 'json:x', 'xml', 'json:'):
        assert img(*with_option(SLOW['convert'], f'--progress={bad}'), code=1).stderr, bad


def signalled(command):
    """Runs it with a few SIGUSR1 in between: its standard error."""
    require(SIGNALS_SEEN, 'it cannot be seen when the program is ready for signals')
    process = subprocess.Popen([IMG, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)

    def poke():
        # The program takes some time to be ready for it.
        handled = 1 << (signal.SIGUSR1 - 1)
        while process.poll() is None:
            status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
            caught = re.search(r'SigCgt:\s*(\w+)', status)
            if caught and int(caught[1], 16) & handled:
                process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)

    thread = threading.Thread(target=poke)
    thread.start()
    out, err = process.communicate(timeout=100)
    thread.join()
    assert process.returncode == 0, err
    return out.decode(), err.decode()


@case
def a_signal_is_answered():
    for name, command in SLOW.items():
        make_images()
        _, err = signalled(command)
        told = [float(n) for n in re.findall(r'^    \(([\d.]+)/100%\)$', err, re.M)]
        assert told and told == sorted(told), (name, err)
        assert len(told) == len(err.splitlines()), (name, err)


@case
def a_signal_makes_no_difference_to_the_plain_text():
    make_images()
    out, err = signalled(with_option(SLOW['convert'], '-p'))
    assert err == '' and out.startswith('    (0.00/100%)\r') and out.endswith('(100.00/100%)\r\n'), \
        (out, err)


main('progress')
