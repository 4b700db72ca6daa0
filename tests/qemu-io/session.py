#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a session of qemu-io does in time: terminal, waiting input, background, breakpoints, exit."""
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from this_run import SLOWER  # noqa: E402

TOOL = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve() / 'qemu-io'
PATIENCE = 20 * SLOWER
FAILED = []


def judge(name, problem):
    print(f'not ok qemu-io/session/{name} {problem}' if problem else f'ok qemu-io/session/{name}')
    if problem:
        FAILED.append(name)


def run(*args, folder, **more):
    if 'input' not in more:
        more = {'stdin': subprocess.DEVNULL, **more}
    return subprocess.run([TOOL, *args], cwd=folder, stderr=subprocess.PIPE, timeout=PATIENCE,
                          text=True, **{'stdout': subprocess.PIPE, **more})


def read_until(fd, pattern):
    """What comes out of @fd until it matches @pattern, or nothing comes any more."""
    text = ''
    end = time.monotonic() + PATIENCE
    while not re.search(pattern, text):
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            break
        try:
            piece = os.read(fd, 4096)
        except OSError:
            break
        if not piece:
            break
        text += piece.decode(errors='replace')
    return text


class Terminal:
    """qemu-io with a terminal of its own."""

    def __init__(self, folder, *args):
        pid, self.fd = pty.fork()
        if not pid:
            os.chdir(folder)
            os.environ['TERM'] = 'vt100'
            os.execv(TOOL, [TOOL, *args])
        self.pid = pid

    def type(self, text, pattern):
        os.write(self.fd, text.encode())
        return read_until(self.fd, pattern)

    def wait(self):
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


def terminal(folder):
    t = Terminal(folder, '-f', 'raw', 'a.img')
    got = read_until(t.fd, 'qemu-io> ')
    judge('terminal-prompts', '' if 'qemu-io> ' in got else repr(got))
    got = t.type('length\r', r'1 MiB\s+qemu-io> ')
    judge('terminal-runs-lines', '' if '1 MiB' in got else repr(got))
    got = t.type('\x1b[A\r', r'1 MiB\s+qemu-io> ')
    judge('terminal-recalls-lines', '' if '1 MiB' in got else repr(got))
    got = t.type('lengthx\x7f\r', r'1 MiB\s+qemu-io> ')
    judge('terminal-erases', '' if '1 MiB' in got else repr(got))
    t.type('\x04', '$^')
    code = t.wait()
    judge('terminal-ends-by-control-d', '' if code == 0 else f'exit code {code}')
    t = Terminal(folder, '-f', 'raw', 'a.img')
    read_until(t.fd, 'qemu-io> ')
    t.type('foo\r', r'not found\s+qemu-io> ')
    t.type('quit\r', '$^')
    code = t.wait()
    judge('terminal-exit-code', '' if code == 1 else f'exit code {code}')


def background(folder):
    """A request ends, and is told, while the prompt waits for input."""
    p = subprocess.Popen([TOOL, '--image-opts', 'driver=null-co,latency-ns=200000000'], cwd=folder,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    p.stdin.write(b'aio_read 0 512\n')
    p.stdin.flush()
    got = read_until(p.stdout.fileno(), r'qemu-io> qemu-io> ')
    judge('prompt-does-not-wait-for-requests', '' if 'read' not in got else repr(got))
    p.stdin.write(b'sleep 1000\n')
    p.stdin.flush()
    got = read_until(p.stdout.fileno(), r'qemu-io> ')
    judge('requests-go-on-while-asleep', '' if 'read 512/512' in got else repr(got))
    p.stdin.close()
    p.wait()
    p.stdout.close()
    started = time.monotonic()
    run('--image-opts', 'driver=null-co,latency-ns=300000000', *['-c', 'aio_read -q 0 512'] * 20,
        folder=folder)
    took = time.monotonic() - started
    judge('requests-run-side-by-side', '' if took < 3 else f'{took:.1f} s for twenty of 0.3 s')


def breakpoints(folder):
    done = run('-f', 'raw', '-c', 'wait_break A', 'blkdebug::a.img', folder=folder)
    judge('wait-break-without-requests', '' if done.returncode == 1 else f'{done}')
    done = run('-f', 'raw', '-c', 'wait_break A', 'a.img', folder=folder)
    judge('wait-break-without-blkdebug', '' if done.returncode == 1 else f'{done}')
    done = run('-f', 'raw', '-c', 'break write_aio A', '-c', 'aio_write -P 9 0 512', '-c',
               'wait_break A', 'blkdebug::a.img', folder=folder)
    judge('stopped-requests-end-with-the-image',
          '' if 'wrote 512/512' in done.stdout and done.returncode == 0 else f'{done}')


def cleanliness(folder):
    tmp = pathlib.Path(folder, 'tmp')
    tmp.mkdir()
    before = pathlib.Path(folder, 'a.img').read_bytes()
    done = run('-s', '-f', 'raw', '-c', 'write -P 3 0 1M', '-c', 'read -P 3 0 1M', 'a.img',
               folder=folder, env=dict(os.environ, TMPDIR=str(tmp)))
    judge('snapshot-works', '' if done.returncode == 0 else f'{done}')
    judge('snapshot-leaves-no-file', ' '.join(p.name for p in tmp.iterdir()))
    judge('snapshot-leaves-the-image',
          '' if pathlib.Path(folder, 'a.img').read_bytes() == before else 'it changed')
    done = subprocess.run(['sh', '-c', 'exec "$0" -f raw a.img <&-', TOOL], cwd=folder, timeout=PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    judge('closed-input-is-not-the-image',
          '' if (done.returncode, done.stdout) == (0, b'qemu-io> ') else f'{done}')
    with open('/dev/full', 'w') as full:
        done = run('-f', 'raw', '-c', 'length', 'a.img', folder=folder, stdout=full)
    judge('lost-output-is-a-failure', '' if done.returncode == 1 else f'{done}')
    done = run('-f', 'raw', 'a.img', folder=folder,
               input='readv -q 0' + ' 1' * 50000 + '\nlength\n')
    judge('long-lines', '' if done.returncode == 0 and '1 MiB' in done.stdout else f'{done}')


def caches(folder):
    """Loading an L2 table fails the second time: it was dropped in between, or it was not."""
    subprocess.run([TOOL.with_name('qemu-img'), 'create', '-q', '-f', 'qcow2', 'l2.qcow2', '1M'],
                   cwd=folder, check=True)
    run('-c', 'write 0 64k', 'l2.qcow2', folder=folder)
    for name, interval, code in ('given-back', 1, 1), ('kept', 0, 0):
        done = run('-c', 'read 0 4k', '-c', 'sleep 3500', '-c', 'read 0 4k', '--image-opts',
                   f'driver=qcow2,cache-clean-interval={interval},file.driver=blkdebug,'
                   'file.image.filename=l2.qcow2,file.set-state.0.event=l2_load,'
                   'file.set-state.0.new_state=2,file.inject-error.0.event=l2_load,'
                   'file.inject-error.0.state=2', folder=folder)
        judge(f'idle-tables-are-{name}', '' if done.returncode == code else f'{done}')


def traces(folder):
    """Each trace point that a short session passes tells of it; points not asked for are silent."""
    file = pathlib.Path(folder, 'trace')
    run('-T', '*,file=trace', '-c', 'write 128k 4k', '-c', 'write -z 64k 64k', '-c', 'discard 0 4k',
        '-c', 'truncate 2M', '-c', 'map', '-c', 'reopen -r', '-c', 'aio_read 0 4k', '-c', 'aio_flush',
        'l2.qcow2', folder=folder)
    names = set(re.findall(r'(?m)^\d+@\d+\.\d{6}:(\w+) .', file.read_text()))
    known = set(run('-T', 'help', folder=folder).stdout.split())
    missing = known - names - {'throttle_wait', 'copy_on_read', 'qcow2_alloc_table', 'qcow2_free', 'copy_failed',
                               'loop_choice', 'home_move'}
    missing = {name for name in missing if not name.startswith('nbd_')}
    judge('trace-points', ' '.join(missing | names - known))
    run('-T', 'node_write,file=trace', '-c', 'write 0 4k', 'l2.qcow2', folder=folder)
    names = set(re.findall(r':(\w+) ', file.read_text()))
    judge('trace-pattern', '' if names == {'node_write'} else f'{names}')


def main():
    if not TOOL.exists():
        print('qemu-io is not built')
        return 77
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, 'a.img'), 'wb') as f:
            f.truncate(1 << 20)
        terminal(folder)
        background(folder)
        breakpoints(folder)
        cleanliness(folder)
        caches(folder)
        traces(folder)
    return 1 if FAILED else 0


sys.exit(main())
