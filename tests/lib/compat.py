# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs command lines with our tools and with the reference's, and compares what comes out.

A test file makes a Table, adds rows and ends in table.main(). Each row is one counted test:

    t = Table('info')
    t.setup('small', 'qemu-img create -q -f qcow2 a.qcow2 1M')
    t.row('plain', 'qemu-img info a.qcow2', 'small')

Setups are shell scripts run once with the reference's tools; a row gets two exact copies of the
folder a setup left, one for each side. A row's command is a shell command too, in which qemu-img
and qemu-io are ours or the reference's. Compared are

  - the exit code,
  - standard output, byte for byte, after masks,
  - standard error: lines behind the name of the tool are ours to word, so only their number and
    place count; all other lines byte for byte, after masks,
  - the files left: the same names; equal bytes, or images that the reference finds to have equal
    content, of which ours checks as well as the reference's and takes no more space.
"""
import concurrent.futures
import fcntl
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading

from this_run import SLOWER

TIMEOUT = 60 * SLOWER
# The reference's key derivation gives up on a busy machine.
TRIES, FLAKY = 20, b'accurate CPU usage'
PIECE = 1 << 20
SLACK = 64 << 10        # bytes an image of ours may take beyond the reference's
FS_IOC_FIEMAP = 0xc020660b
FIEMAP_EXTENT_UNWRITTEN = 0x800
TOOLS = ('qemu-img', 'qemu-io')

MASKS = {
    'disk': (r'(disk size: ).*', r'\1#'),
    'actual': (r'("actual-size": )\d+', r'\1#'),
    'end': (r'(Image end offset: |"image-end-offset": )\d+', r'\1#'),
    'date': (r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', '#'),
    'nsec': (r'("date-n?sec": )\d+', r'\1#'),
    'progress': (r'(    \(\d+\.\d\d/100%\)\r)+', '    (#/100%)\r'),
    'time': (r'\d+\.\d+ seconds', '# seconds'),
    'help': (r'(=<.*> *- ).*', r'\1#'),
    'uuid': (r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '#'),
    'cid': (r'(cid"?: )\d+', r'\1#'),
    'iters': (r'(iters"?: )\d+', r'\1#'),
}
SPACE = ['disk', 'actual']


def images(table):
    """Setups that many tables use."""
    table.setup('raw', '''
        qemu-img create -q -f raw r 1536k
        qemu-io -f raw -c 'write -P 5 64k 128k' -c 'write -P 6 1M 4k' r >/dev/null
        qemu-img create -q -f raw zero 1M
        printf xx > odd
    ''')
    table.setup('qcow2', '''
        qemu-img create -q -f qcow2 a.qcow2 10M
        qemu-io -c 'write -P 1 0 1M' -c 'write -z 1M 64k' -c 'write -P 3 5M 300k' a.qcow2 >/dev/null
        qemu-img create -q -f qcow2 empty.qcow2 1M
    ''', 'raw')
    table.setup('chain', '''
        qemu-img create -q -f qcow2 base.qcow2 10M
        qemu-io -c 'write -P 1 0 1M' -c 'write -z 1M 64k' -c 'write -P 3 5M 300k' base.qcow2 >/dev/null
        qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
        qemu-io -c 'write -P 2 512k 256k' -c 'write -z 5M 64k' mid.qcow2 >/dev/null
        qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 12M
        qemu-io -c 'write -P 4 11M 4k' -c 'write -P 4 640k 64k' top.qcow2 >/dev/null
    ''', 'raw')
    table.setup('snapshots', '''
        qemu-img create -q -f qcow2 s.qcow2 10M
        qemu-io -c 'write -P 1 0 1M' s.qcow2 >/dev/null
        qemu-img snapshot -c first s.qcow2
        qemu-io -c 'write -P 2 512k 1M' s.qcow2 >/dev/null
        qemu-img snapshot -c 'a name much longer than the column it stands in' s.qcow2
        qemu-io -c 'write -P 3 2M 64k' s.qcow2 >/dev/null
    ''', 'raw')
    table.setup('bitmaps', '''
        qemu-img create -q -f qcow2 b.qcow2 10M
        qemu-img bitmap --add b.qcow2 b0
        qemu-img bitmap --add -g 4k b.qcow2 b1
        qemu-io -c 'write -P 1 1M 64k' -c 'write -P 1 7M 300k' b.qcow2 >/dev/null
        qemu-img bitmap --disable b.qcow2 b1
        cp b.qcow2 c.qcow2
    ''', 'raw')
    table.setup('data-file', '''
        qemu-img create -q -f qcow2 -o data_file=data.raw d.qcow2 1M
        qemu-img create -q -f qcow2 -o data_file=data2.raw,data_file_raw=on d2.qcow2 1M
        qemu-io -c 'write -P 7 128k 128k' d.qcow2 >/dev/null
        qemu-io -c 'write -P 7 128k 128k' d2.qcow2 >/dev/null
    ''')
    table.setup('encrypted', '''
        o=secret,id=s,data=abc
        qemu-img create -q --object $o -f luks -o key-secret=s,iter-time=10 l.luks 1M
        qemu-img create -q --object $o -f qcow2 \\
            -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e.qcow2 1M
        qemu-img create -q --object $o -f qcow2 -o encryption=on,encrypt.key-secret=s aes.qcow2 1M
        qemu-img create -q -f raw r 1536k
    ''')


def tool_path(folder, tool):
    return str(pathlib.Path(folder).resolve() / tool)


def data_pieces(fd):
    """Yields (offset, length) of what is no hole, in pieces."""
    size, end = os.fstat(fd).st_size, 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        for at in range(start, end, PIECE):
            yield at, min(end - at, PIECE)


def unwritten_pieces(fd):
    """Yields (offset, length) of what has space on disk but reads as zeroes, if that can be told."""
    extents = 256
    answer = bytearray(struct.pack('=QQLLLL', 0, 1 << 63, 0, 0, extents, 0) + bytes(56 * extents))
    try:
        fcntl.ioctl(fd, FS_IOC_FIEMAP, answer)
    except OSError:
        return
    for i in range(struct.unpack_from('=L', answer, 20)[0]):
        at, _, length, _, _, flags = struct.unpack_from('=QQQQQL', answer, 32 + 56 * i)
        if flags & FIEMAP_EXTENT_UNWRITTEN:
            yield at, length


def copy_exact(src, dst):
    """Copies a file with its holes and its preallocated space."""
    with open(src, 'rb', buffering=0) as a, open(dst, 'wb', buffering=0) as b:
        size = os.fstat(a.fileno()).st_size
        for at, length in unwritten_pieces(a.fileno()):
            os.posix_fallocate(b.fileno(), at, length)
        b.truncate(size)
        for at, length in data_pieces(a.fileno()):
            os.pwrite(b.fileno(), os.pread(a.fileno(), length, at), at)
    shutil.copystat(src, dst)


def same_bytes(one, other):
    with open(one, 'rb', buffering=0) as a, open(other, 'rb', buffering=0) as b:
        if os.fstat(a.fileno()).st_size != os.fstat(b.fileno()).st_size:
            return False
        return all(os.pread(a.fileno(), length, at) == os.pread(b.fileno(), length, at)
                   for f in (a, b) for at, length in data_pieces(f.fileno()))


def copy_folder(src, dst):
    for root, folders, files in os.walk(src):
        into = os.path.join(dst, os.path.relpath(root, src))
        os.makedirs(into, exist_ok=True)
        for name in files:
            path = os.path.join(root, name)
            if os.path.islink(path):
                os.symlink(os.readlink(path), os.path.join(into, name))
            elif os.path.isfile(path):
                copy_exact(path, os.path.join(into, name))


def shown(value):
    text = repr(value)
    return text if len(text) < 2000 else f'{text[:2000]}...'


class Outcome:
    """What one side did."""

    def __init__(self, code, out, err, folder):
        self.code, self.out, self.err, self.folder = code, out, err, folder

    def files(self):
        found = {}
        for root, _, names in os.walk(self.folder):
            for name in names:
                path = pathlib.Path(root) / name
                found[str(path.relative_to(self.folder))] = path
        return found


class Row:
    def __init__(self, name, command, setup, mask, stderr, files):
        self.name, self.command, self.setup = name, command, setup
        self.mask, self.stderr, self.files = mask, stderr, files


class Table:
    def __init__(self, prefix):
        self.prefix = prefix
        self.build = os.environ.get('FERRY_BUILD', 'build')
        self.reference = os.environ.get('FERRY_REFERENCE', '/usr/bin')
        self.setups = {'': ''}
        self.rows = []
        self.templates = {}
        self.lock = threading.Lock()
        self.tmp = None

    def setup(self, name, script, on=''):
        """Defines setup @name: what setup @on does, then @script."""
        self.setups[name] = f'{self.setups[on]}\n{script}'

    def row(self, name, command, setup='', mask=(), stderr='shape', files=True):
        """@mask: names of MASKS; @stderr: 'shape' or 'any'; @files: compare those left."""
        mask = [mask] if isinstance(mask, str) else list(mask)
        if any(r.name == name for r in self.rows):
            sys.exit(f'{self.prefix}: two rows are named {name}')
        self.rows.append(Row(name, command, setup, mask, stderr, files))

    def shell(self, script, folder, tools):
        env = dict(os.environ, PATH=f'{pathlib.Path(tools).resolve()}:{os.environ["PATH"]}',
                   LC_ALL='C.UTF-8', TZ='UTC')
        return subprocess.run(['bash', '-c', script], cwd=folder, env=env, timeout=TIMEOUT,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)

    def template(self, setup):
        """The folder that setup @setup leaves; made once."""
        with self.lock:
            for _ in range(TRIES):
                if setup in self.templates:
                    break
                folder = tempfile.mkdtemp(dir=self.tmp, prefix='setup-')
                done = self.shell(f'set -e\n{self.setups[setup]}', folder, self.reference)
                if not done.returncode:
                    self.templates[setup] = folder
            else:
                raise RuntimeError(f'setup {setup} failed: {done.stderr.decode()}')
            return self.templates[setup]

    def run_side(self, row, tools, work):
        for _ in range(TRIES):
            shutil.rmtree(work, ignore_errors=True)
            copy_folder(self.template(row.setup), work)
            done = self.shell(row.command, work, tools)
            if FLAKY not in done.stderr:
                break
        return Outcome(done.returncode, done.stdout, done.stderr, work)

    # ---- comparing -----------------------------------------------------------------------------

    def masked(self, row, data):
        text = data.decode(errors='surrogateescape')
        for name in row.mask:
            pattern, to = MASKS[name]
            text = re.sub(pattern, to, text)
        return text

    def error_shape(self, row, data):
        shape = []
        for line in self.masked(row, data).splitlines():
            tool = next((t for t in TOOLS if line.startswith((f'{t}: ', f'{t}:'))), None)
            shape.append(f'<{tool}>' if tool else line)
        return shape

    def reference_run(self, folder, *args):
        return subprocess.run([tool_path(self.reference, 'qemu-img'), *args], timeout=TIMEOUT,
                              cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)

    def reference_info(self, path, *args):
        # With the folder: a colon in the name is no protocol's then.
        done = self.reference_run(path.parent, 'info', *args, '--output=json', f'./{path.name}')
        text = done.stdout.decode(errors='replace')
        for mask in ('actual', 'uuid', 'iters'):
            text = re.sub(*MASKS[mask], text)
        return text

    def format_of(self, path):
        """The format that the reference takes it for; None if it cannot tell."""
        found = re.search(r'"format": "(\w+)"', self.reference_info(path, '-U'))
        return found and found[1]

    def compare_file(self, name, ours, theirs):
        a, b = ours.stat(), theirs.stat()
        if a.st_blocks * 512 > b.st_blocks * 512 + SLACK:
            yield f'{name} takes {a.st_blocks * 512} bytes, not {b.st_blocks * 512}'
        if same_bytes(ours, theirs):
            return
        fmt = self.format_of(theirs)
        if fmt in (None, 'raw') or self.format_of(ours) != fmt:
            yield f'{name} differs'
            return
        done = self.reference_run(theirs.parent, 'compare', '-f', fmt, '-F', fmt, f'./{theirs.name}',
                                  str(ours))
        if done.returncode == 2:
            # It cannot be opened on its own, for want of a backing file or a key.
            if self.reference_info(ours, '-f', fmt) != self.reference_info(theirs, '-f', fmt):
                yield f'{name} looks different to info'
        elif done.returncode:
            yield f'{name} has other content: {done.stdout.decode(errors="replace")}'
        codes = [self.reference_run(p.parent, 'check', '-f', fmt, f'./{p.name}').returncode
                 for p in (ours, theirs)]
        if codes[0] != codes[1]:
            yield f'{name}: check of ours exits {codes[0]}, of the reference\'s {codes[1]}'

    def compare_files(self, ours, theirs):
        a, b = ours.files(), theirs.files()
        for name in sorted(a.keys() ^ b.keys()):
            yield f'{name} was left by {"us" if name in a else "the reference"} only'
        for name in sorted(a.keys() & b.keys()):
            if a[name].is_file() and not a[name].is_symlink():
                yield from self.compare_file(name, a[name], b[name])

    def differences(self, row, ours, theirs):
        if ours.code != theirs.code:
            yield f'exit code {ours.code}, not {theirs.code}'
        a, b = self.masked(row, ours.out), self.masked(row, theirs.out)
        if a != b:
            yield f'standard output is\n{shown(a)}\nnot\n{shown(b)}'
        if row.stderr == 'shape':
            a, b = self.error_shape(row, ours.err), self.error_shape(row, theirs.err)
            if a != b:
                yield f'standard error is shaped\n{shown(a)}\nnot\n{shown(b)}'
        if row.files:
            yield from self.compare_files(ours, theirs)

    # ---- running -------------------------------------------------------------------------------

    def judge(self, row):
        """The line that counts the row, and what explains it."""
        name = f'{self.prefix}/{row.name}'
        for tool in TOOLS:
            if re.search(rf'\b{tool}\b', row.command) and \
               not os.path.exists(tool_path(self.build, tool)):
                return f'skip {name} {tool} is not built', ''
        work = tempfile.mkdtemp(dir=self.tmp, prefix='row-')
        try:
            ours = self.run_side(row, self.build, os.path.join(work, 'ours'))
            theirs = self.run_side(row, self.reference, os.path.join(work, 'theirs'))
            why = list(self.differences(row, ours, theirs))
        except (RuntimeError, subprocess.TimeoutExpired, OSError) as e:
            return f'not ok {name} {str(e).splitlines()[0]}', str(e)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if not why:
            return f'ok {name}', ''
        more = '\n'.join(why + [f'our errors: {ours.err.decode(errors="replace")}',
                                f'its errors: {theirs.err.decode(errors="replace")}'])
        return f'not ok {name} {why[0].splitlines()[0]}', f'$ {row.command}\n{more}'

    def main(self):
        wanted = [r for r in self.rows if not sys.argv[1:] or any(p in r.name for p in sys.argv[1:])]
        for tool in TOOLS:
            if not os.path.exists(tool_path(self.reference, tool)):
                print(f'the reference {tool} is not installed in {self.reference}')
                sys.exit(77)
        with tempfile.TemporaryDirectory(prefix='compat-') as self.tmp, \
             concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            bad = 0
            for line, more in pool.map(self.judge, wanted):
                print(line, flush=True)
                if more:
                    print(re.sub('^', '    ', more.rstrip(), flags=re.M), flush=True)
                bad += line.startswith('not ok')
        sys.exit(1 if bad else 0)
