# SPDX-License-Identifier: GPL-2.0-or-later
"""A command that changes a qcow2 image is killed, or a call of it fails, at any moment.

Images have every layout of the header that we, the reference and other programs write. Afterwards each
opens, is sound once leaks are repaired, and has content, size, names, snapshots and bitmaps either all
as before or all as after the command; if it ended with 0, as after.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from this_run import PRELOADABLE

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
PRELOAD = BUILD / 'preload/fail.so'
FAULTS = {'kill': 'kill', 'EIO': '5', 'ENOSPC': '28'}
EXT_BACKING, EXT_NAMES, EXT_BITMAPS, EXT_DATA = 0xe2792aca, 0x6803f857, 0x23852875, 0x44415441
EXT_CRYPT, EXT_OTHER = 0x0537be77, 0x12345678
SECRET = ['--object', 'secret,id=s,data=x']
LUKS = 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10'


def run(folder, tool, *args, cwd, env=None):
    return subprocess.run([f'{folder}/{tool}', *args], cwd=cwd, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=100, env=dict(os.environ, **(env or {})))


# ---- layouts ------------------------------------------------------------------------------------

class Layout:
    """@options: of create; @rewrite: changes the header as another program would have it."""

    def __init__(self, name, options='', backing='', bitmap=True, rewrite=None):
        self.name, self.options, self.backing, self.rewrite = name, options, backing, rewrite
        self.bitmap = bitmap and 'compat=0.10' not in options
        self.luks = 'luks' in options

    def image_options(self):
        return f'driver=qcow2,file.filename=a{",encrypt.key-secret=s" if self.luks else ""}'

    def make(self, tools, cwd):
        def must(tool, *args):
            done = run(tools, tool, *args, cwd=cwd)
            while b'CPU usage' in done.stderr:    # the reference cannot always measure its speed
                done = run(tools, tool, *args, cwd=cwd)
            assert done.returncode == 0, f'{self.name}: {args}: {done.stderr.decode()}'
        for base in filter(None, (self.backing, self.backing and 'other')):
            must('qemu-img', 'create', '-q', '-f', 'raw', base, '256k')
            must('qemu-io', '-f', 'raw', '-c', 'write -q -P 7 0 256k', base)
        secret = SECRET if self.luks else []
        options = ['-o', self.options] if self.options else []
        backing = ['-b', self.backing, '-F', 'raw'] if self.backing else []
        must('qemu-img', 'create', '-q', *secret, '-f', 'qcow2', *options, *backing, 'a', '256k')
        must('qemu-io', *secret, '-c', 'write -q -P 1 0 20k', '--image-opts', self.image_options())
        must('qemu-img', 'snapshot', '-c', 'one', 'a') if 'data_file' not in self.options and \
            not self.luks else None
        if self.bitmap:
            must('qemu-img', 'bitmap', *secret, '--add', '--image-opts', self.image_options(), 'b0')
        if self.rewrite:
            rewrite(os.path.join(cwd, 'a'), *self.rewrite)


def ext(kind, data):
    return kind.to_bytes(4, 'big') + len(data).to_bytes(4, 'big') + data + bytes(-len(data) % 8)


def names(n):
    return ext(EXT_NAMES, b''.join(bytes([0, i]) + f'feature {i}'.encode().ljust(46, b'\0')
                                   for i in range(n)))


def rewrite(path, length, before, after, gap):
    """Puts the fields to @length bytes, extensions @before and @after those that must not be missed,
    and the name of the backing file @gap bytes behind them."""
    data = bytearray(pathlib.Path(path).read_bytes())

    def get(off, n):
        return int.from_bytes(data[off:off + n], 'big')
    at, kept = (get(100, 4) if get(4, 4) == 3 else 72), b''
    name = bytes(data[get(8, 8):get(8, 8) + get(16, 4)]) if get(8, 8) else b''
    while get(at, 4):
        end = at + 8 + (get(at + 4, 4) + 7) // 8 * 8
        kept += bytes(data[at:end]) if get(at, 4) != EXT_NAMES else b''
        at = end
    exts = before + kept + after + bytes(8)
    if name:
        data[8:16] = (length + len(exts) + gap).to_bytes(8, 'big')
    data[100:104] = length.to_bytes(4, 'big')
    head = bytes(data[:104]) + bytes(length - 104) + exts + bytes(gap) + name
    assert len(head) <= 1 << get(20, 4), path
    data[:len(head)] = head
    pathlib.Path(path).write_bytes(data)


LONG = '/'.join(['x' * 99] * 5)
MADE = [
    Layout('plain'),
    Layout('v2', 'compat=0.10'),
    Layout('v2-backing', 'compat=0.10', 'base'),
    Layout('backing', '', 'base'),
    Layout('backing-none', '', 'base', bitmap=False),
    Layout('4k-backing', 'cluster_size=4k', 'base'),
    Layout('1k-backing', 'cluster_size=1k', 'base'),
    Layout('512', 'cluster_size=512'),
    Layout('lazy', 'lazy_refcounts=on,cluster_size=4k'),
    Layout('lazy-none', 'lazy_refcounts=on,cluster_size=4k', bitmap=False),
    Layout('zstd', 'compression_type=zstd'),
    Layout('extended', 'extended_l2=on,cluster_size=16k', 'base'),
    Layout('data-file', 'data_file=data'),
    Layout('data-file-raw', 'data_file=data,data_file_raw=on,cluster_size=4k'),
    Layout('luks', LUKS),
    Layout('luks-backing', LUKS + ',cluster_size=4k', 'base'),
    Layout('long-name', '', LONG),
    Layout('long-name-4k', 'cluster_size=4k', LONG, bitmap=False),
]
REWRITTEN = [
    # An early writer of version 3: no names, or five, and the backing file's name within the sector.
    Layout('bare', '', 'base', rewrite=(104, b'', b'', 0)),
    Layout('five-names', '', 'base', rewrite=(104, b'', names(5), 0)),
    Layout('five-names-first', '', 'base', rewrite=(104, names(5), b'', 4)),
    # What must not be missed lies across the end of the first sector, or behind it.
    *[Layout(f'{n}-names-first', '', 'base', rewrite=(112, names(n), b'', 0)) for n in (7, 8, 9)],
    Layout('8-names-first-no-backing', 'cluster_size=4k', rewrite=(112, names(8), b'', 0)),
    Layout('20-names-first', 'cluster_size=4k', 'base', rewrite=(112, names(20), b'', 24)),
    Layout('other-first', '', 'base', rewrite=(112, ext(EXT_OTHER, b'o' * 340), b'', 0)),
    Layout('other-long', '', 'base', rewrite=(112, ext(EXT_OTHER, b'o' * 700), names(8), 0)),
    Layout('other-last', 'cluster_size=4k', rewrite=(112, names(8), ext(EXT_OTHER, b'o' * 500), 0)),
    Layout('more-fields', '', 'base', rewrite=(400, names(8), b'', 0)),
    Layout('more-fields-full', '', 'base', rewrite=(496, names(1), b'', 0)),
]


def templates(folder, wanted):
    """Folders with an image each: (name, layout, path)."""
    makers = [('ours', BUILD, MADE), ('others', BUILD, REWRITTEN)]
    if (REFERENCE / 'qemu-img').exists():
        makers.append(('reference', REFERENCE, MADE))
    for who, tools, layouts in makers:
        for layout in layouts:
            name = f'{who}-{layout.name}'
            if wanted and name not in wanted:
                continue
            path = os.path.join(folder, name)
            os.makedirs(os.path.join(path, os.path.dirname(layout.backing)))
            layout.make(tools, path)
            yield name, layout, path


# ---- operations ---------------------------------------------------------------------------------

def operations(layout):
    """Commands on the image: (name, tool, arguments)."""
    image = ['--image-opts', layout.image_options()]
    secret = SECRET if layout.luks else []
    if 'compat=0.10' not in layout.options:
        yield 'bitmap-add', 'qemu-img', ['bitmap', *secret, '--add', *image, 'b1']
        yield 'amend-lazy', 'qemu-img', ['amend', '-o', 'lazy_refcounts=on', *secret, *image]
    if layout.bitmap:
        yield 'bitmap-remove', 'qemu-img', ['bitmap', *secret, '--remove', *image, 'b0']
    # In one cluster: one that fails may have changed those before it.
    yield 'write', 'qemu-io', [*secret, '-c', 'write -P 2 30k 512', *image]
    if layout.backing:
        yield 'rebase', 'qemu-img', ['rebase', '-u', *secret, '-b', 'other', '-F', 'raw', *image]
        yield 'unbase', 'qemu-img', ['rebase', '-u', *secret, '-b', '', *image]
    if 'compat=0.10' not in layout.options:
        yield 'resize', 'qemu-img', ['resize', *secret, *image, '512k']
    if 'data_file' not in layout.options:
        yield 'snapshot', 'qemu-img', ['snapshot', *secret, '-c', 'two', *image]
        if not layout.bitmap and not layout.luks:    # bitmaps cannot record what it changes
            yield 'snapshot-apply', 'qemu-img', ['snapshot', '-a', 'one', *image]
        if not layout.luks:
            yield 'snapshot-delete', 'qemu-img', ['snapshot', '-d', 'one', *image]
    if not layout.luks and not layout.bitmap and layout.options in ('', 'cluster_size=4k'):
        yield 'amend-v2', 'qemu-img', ['amend', '-o', 'compat=0.10', *image]
    if 'compat=0.10' in layout.options:
        yield 'amend-v3', 'qemu-img', ['amend', '-o', 'compat=1.1', *image]


# ---- verdict ------------------------------------------------------------------------------------

class Wrong(Exception):
    pass


def look(layout, cwd, closed):
    """What is in image 'a' of folder @cwd: (content, what info says)."""
    secret = SECRET if layout.luks else []
    done = run(BUILD, 'qemu-img', 'info', '-U', '--output=json', 'a', cwd=cwd)
    if done.returncode:
        raise Wrong(f'info: {done.stderr.decode()}')
    info = json.loads(done.stdout)
    if closed and info['dirty-flag']:
        raise Wrong('the image is left dirty')
    for word in ('actual-size', 'dirty-flag'):
        info.pop(word, None)
    data = info['format-specific']['data']
    for bitmap in data.get('bitmaps', []):
        if not closed:               # a write that is cut off leaves bitmaps in use, by intent
            bitmap['flags'] = [f for f in bitmap['flags'] if f == 'auto'] or ['auto']
        elif 'in-use' in bitmap['flags']:
            raise Wrong(f'bitmap {bitmap["name"]} is left in use')
    for snapshot in info.get('snapshots', []):
        for word in list(snapshot):
            if word not in ('id', 'name'):
                del snapshot[word]
    data.get('encrypt', {}).clear()
    raw = os.path.join(cwd, '.raw')
    done = run(BUILD, 'qemu-img', 'convert', '-U', *secret, '--image-opts', '-O', 'raw',
               layout.image_options(), raw, cwd=cwd)
    if done.returncode:
        raise Wrong(f'convert: {done.stderr.decode()}')
    return pathlib.Path(raw).read_bytes(), json.dumps(info, sort_keys=True)


def repair(layout, cwd):
    secret = SECRET if layout.luks else []
    info = run(BUILD, 'qemu-img', 'info', '--output=json', 'a', cwd=cwd)
    # An image with the dirty bit says that its refcounts have yet to be made right.
    what = 'all' if json.loads(info.stdout)['dirty-flag'] else 'leaks'
    if what == 'leaks' and not layout.luks and (REFERENCE / 'qemu-img').exists():
        done = run(REFERENCE, 'qemu-img', 'check', '-f', 'qcow2', 'a', cwd=cwd)
        if done.returncode not in (0, 3):
            raise Wrong(f'the reference: check ends with {done.returncode}: {done.stdout.decode()}')
    for fix in (['-r', what], []):
        done = run(BUILD, 'qemu-img', 'check', *secret, *fix, '--image-opts',
                   layout.image_options(), cwd=cwd)
    if done.returncode:
        raise Wrong(f'check ends with {done.returncode}: {(done.stdout + done.stderr).decode()}')


class Cases:
    def __init__(self, layout, template, tool, args):
        self.layout, self.template, self.tool, self.args = layout, template, tool, args
        cwd = self.fresh()
        self.before = look(layout, cwd, False)
        self.count = os.path.join(cwd, '.count')
        done = self.start(cwd, {'FAIL_NTH': '0', 'FAIL_COUNT': self.count})
        assert done.returncode == 0, f'{args}: {done.stderr.decode()}'
        self.calls = int(pathlib.Path(self.count).read_text())
        self.after = look(layout, cwd, True)
        self.after_cut = look(layout, cwd, False)
        shutil.rmtree(cwd)

    def fresh(self):
        cwd = tempfile.mkdtemp()
        shutil.copytree(self.template, cwd, dirs_exist_ok=True)
        return cwd

    def start(self, cwd, env):
        return run(BUILD, self.tool, *self.args, cwd=cwd,
                   env=dict(env, LD_PRELOAD=str(PRELOAD), FAIL_CALL='change', FERRY_LOOP='epoll'))

    def one(self, nth, fault):
        """None, or what is wrong."""
        cwd = self.fresh()
        try:
            done = self.start(cwd, {'FAIL_NTH': str(nth), 'FAIL_ERRNO': FAULTS[fault]})
            if fault != 'kill' and done.returncode not in (0, 1):
                raise Wrong(f'exit code {done.returncode}')
            if done.returncode == 0:
                if look(self.layout, cwd, True) != self.after:
                    raise Wrong('exit code 0, but not the new state')
                return None
            seen = look(self.layout, cwd, False)
            if seen not in (self.before, self.after_cut):
                raise Wrong(f'neither the old nor the new state: {seen[1]}')
            repair(self.layout, cwd)
            if look(self.layout, cwd, False) != seen:
                raise Wrong('the repair changed what it has')
            return None
        except Wrong as why:
            return f'{fault} at {nth} of {self.calls}: {why}'
        finally:
            shutil.rmtree(cwd)


def run_layout(name, layout, template, spread, only):
    """Lines for all operations."""
    lines, points = [], 0
    for operation, tool, args in operations(layout):
        if only and operation not in only:
            continue
        cases, wrong = Cases(layout, template, tool, args), []
        for nth in range(1, cases.calls + 1):
            for i, fault in enumerate(FAULTS):
                if (nth + i) % spread == 0:
                    wrong.append(cases.one(nth, fault))
        points += len(wrong)
        wrong = [w for w in wrong if w]
        full = f'header-layouts/{name}-{operation}'
        lines.append(f'not ok {full} {len(wrong)} wrong, {wrong[0]}' if wrong else f'ok {full}')
    return lines, points


def main(spread, wanted=None, only=None):
    """Every @spread-th moment of the layouts @wanted and operations @only (None: all)."""
    if not PRELOADABLE:
        print('other watchers have to be preloaded alone')
        return 77
    wanted, bad, total = sys.argv[1:] or wanted, 0, 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        made = list(templates(folder, wanted))
        for lines, points in pool.map(lambda t: run_layout(*t, spread, only), made):
            total += points
            for line in lines:
                print(line, flush=True)
                bad += line.startswith('not ok')
    print(f'# {total} moments')
    return bad > 0
