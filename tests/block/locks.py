#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Image locks: the bytes of a file that are locked while an image is open, and which two programs may
have an image open at once. Beside the reference, in both orders.
"""
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import FLAKY, TRIES

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
OURS, THEIRS = str(BUILD / 'qemu-io'), str(REFERENCE / 'qemu-io')
PROMPT = b'qemu-io> '
KEY = ['--object', 'secret,id=s,data=x']


class Session:
    """A qemu-io that waits for commands, having carried out @commands."""

    def __init__(self, tool, args, commands=()):
        self.process = subprocess.Popen([tool, *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        bufsize=0)
        self.output = b''
        self.is_open = self.wait(1)
        for i, command in enumerate(commands):
            self.process.stdin.write(command.encode() + b'\n')
            self.wait(i + 2)

    def wait(self, prompts):
        while self.output.count(PROMPT) < prompts:
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                return False
            self.output += data
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()


def locked(path):
    """The bits locked on @path, as letters: needed/unshared."""
    inode, bits = f':{os.stat(path).st_ino}', [set(), set()]
    with open('/proc/locks', encoding='ascii') as f:
        for line in f:
            field = line.split()
            if field[1] != 'OFDLCK' or not field[5].endswith(inode):
                continue
            for byte in range(int(field[6]), int(field[7]) + 1):
                if 100 <= byte <= 103 or 200 <= byte <= 203:
                    bits[byte >= 200].add('rwuz'[byte % 100])
    return '/'.join(''.join(c for c in 'rwuz' if c in b) or '-' for b in bits)


def locks_of(tool, args, files, commands):
    with Session(tool, args, commands) as s:
        return {f: locked(f) for f in files} if s.is_open else 'refused'


def opts(text, *more):
    return [*more, '--image-opts', text]


T = ['t', 'm', 'r']
BYTES = {
    'raw': (['-f', 'raw', 'r'], ['r']),
    'raw-read-only': (['-r', '-f', 'raw', 'r'], ['r']),
    'raw-force-share': (['-U', '-r', '-f', 'raw', 'r'], ['r']),
    'raw-window': (opts('driver=raw,offset=512,file.filename=r'), ['r']),
    'raw-size': (opts('driver=raw,size=512,file.filename=r'), ['r']),
    'raw-truncated': (['-f', 'raw', 'r'], ['r'], ['truncate 2M']),
    'file': (opts('driver=file,filename=r'), ['r']),
    'file-no-locking': (opts('driver=file,filename=r,locking=off'), ['r']),
    'chain': (['t'], T),
    'chain-read-only': (['-r', 't'], T),
    'chain-force-share': (['-U', '-r', 't'], T),
    'chain-copy-on-read': (['-C', 't'], T),
    'chain-snapshot': (['-s', 't'], T),
    'chain-direct': (['-n', 't'], T),
    'chain-reopened': (['-r', 't'], T, ['reopen -w']),
    'chain-written': (['t'], T, ['write 0 1', 'flush']),
    'chain-backing-writable': (opts('driver=qcow2,file.filename=t,backing.driver=qcow2,'
                                    'backing.file.filename=m,backing.read-only=off'), T),
    'chain-node-force-share': (opts('driver=qcow2,file.filename=t,force-share=on', '-r'), T),
    'chain-file-force-share': (opts('driver=qcow2,file.filename=t,file.force-share=on', '-r'), T),
    'chain-backing-force-share': (opts('driver=qcow2,file.filename=t,backing.force-share=on',
                                       '-r'), T),
    'chain-no-backing': (opts('driver=qcow2,file.filename=t,backing='), T),
    'data-file': (['d'], ['d', 'df']),
    'data-file-read-only': (['-r', 'd'], ['d', 'df']),
    'luks': (opts('driver=luks,key-secret=s,file.filename=l', *KEY), ['l']),
    'luks-read-only': (opts('driver=luks,key-secret=s,file.filename=l', '-r', *KEY), ['l']),
    'blkdebug': (opts('driver=blkdebug,image.filename=r'), ['r']),
    'blkdebug-read-only': (opts('driver=blkdebug,image.filename=r', '-r'), ['r']),
    'blkdebug-takes': (opts('driver=blkdebug,image.filename=r,take-child-perms.0=write,'
                            'unshare-child-perms.0=consistent-read'), ['r']),
    'blkdebug-below': (opts('driver=qcow2,file.driver=blkdebug,file.image.filename=t'), T),
    'copy-on-read': (opts('driver=copy-on-read,file.driver=qcow2,file.file.filename=t'), T),
    'compress': (opts('driver=compress,file.driver=qcow2,file.file.filename=t'), T),
    'preallocate': (opts('driver=preallocate,file.filename=r'), ['r']),
    'preallocate-read-only': (opts('driver=preallocate,file.filename=r', '-r'), ['r']),
    'preallocate-below': (opts('driver=qcow2,file.driver=preallocate,file.file.filename=t'), T),
    'preallocate-truncated': (opts('driver=preallocate,file.filename=r'), ['r'], ['truncate 2M']),
    'throttle': (opts('driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=t',
                      '--object', 'throttle-group,id=g'), T),
    'blkverify': (opts('driver=blkverify,raw.filename=p,test.driver=qcow2,test.file.filename=t'),
                  ['p', *T]),
    'quorum': (opts('driver=quorum,vote-threshold=1,children.0.driver=raw,'
                    'children.0.file.filename=p,children.1.driver=qcow2,'
                    'children.1.file.filename=t'), ['p', *T]),
    'quorum-rewrite': (opts('driver=quorum,vote-threshold=1,rewrite-corrupted=on,'
                            'children.0.driver=raw,children.0.file.filename=p,'
                            'children.1.driver=qcow2,children.1.file.filename=t'), ['p', *T]),
    'quorum-read-only': (opts('driver=quorum,vote-threshold=1,children.0.driver=raw,'
                              'children.0.file.filename=p,children.1.driver=qcow2,'
                              'children.1.file.filename=t', '-r'), ['p', *T]),
    'blklogwrites': (opts('driver=blklogwrites,file.filename=r,log.filename=p'), ['r', 'p']),
    'blklogwrites-read-only': (opts('driver=blklogwrites,file.filename=r,log.filename=p', '-r'),
                               ['r', 'p']),
}

# Ways to open t or what is below it; every pair is tried.
USERS = {
    'qcow2': ['t'], 'qcow2-read-only': ['-r', 't'], 'qcow2-force-share': ['-U', '-r', 't'],
    'bytes': ['-f', 'raw', 't'], 'bytes-read-only': ['-r', '-f', 'raw', 't'],
    'backing': ['m'], 'base': ['-f', 'raw', 'r'], 'no-locking': opts('driver=file,filename=t,'
                                                                   'locking=off'),
}


def check_bytes(name, args, files, commands=()):
    theirs, ours = locks_of(THEIRS, args, files, commands), locks_of(OURS, args, files, commands)
    yield f'bytes/{name}', ours == theirs, f'{ours}, not {theirs}'


def check_pair(first, second):
    """Does @second get in while @first has it open? For each mix of ours and theirs."""
    got = {}
    for a, b in itertools.product((THEIRS, OURS), repeat=2):
        with Session(a, USERS[first]) as holder:
            assert holder.is_open, holder.output
            with Session(b, USERS[second]) as other:
                got[a, b] = other.is_open
                asks = b'Is another process using the image [' in other.output
                if other.is_open == asks:
                    got[a, b] = f'said {other.output}'
    expected = got[THEIRS, THEIRS]
    yield (f'{first}-then-{second}', all(v == expected for v in got.values()),
           ' '.join(str(v) for v in got.values()))


def make_images():
    subprocess.run(['bash', '-ec', '''
        truncate -s 1M r p
        qemu-img create -q -f qcow2 -b r -F raw m
        qemu-img create -q -f qcow2 -b m -F qcow2 t
        qemu-img create -q -f qcow2 -o data_file=df d 1M
        '''], check=True, env=dict(os.environ, PATH=f'{REFERENCE}:{os.environ["PATH"]}'))
    for _ in range(TRIES):
        done = subprocess.run([REFERENCE / 'qemu-img', 'create', '-q', '-f', 'luks', *KEY,
                               '-o', 'key-secret=s,iter-time=10', 'l', '1M'],
                              stderr=subprocess.PIPE, check=False)
        if FLAKY not in done.stderr:
            break
    done.check_returncode()


def main():
    for tool in THEIRS, OURS, str(REFERENCE / 'qemu-img'):
        if not os.path.exists(tool):
            print(f'{tool} is not there')
            return 77
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_images()
        checks = itertools.chain(*(check_bytes(n, *a) for n, a in BYTES.items()),
                                 *(check_pair(*p) for p in itertools.product(USERS, repeat=2)))
        for name, ok, why in checks:
            print(f'ok locks/{name}' if ok else f'not ok locks/{name} {why}', flush=True)
            bad += not ok
    return bad > 0


sys.exit(main())
