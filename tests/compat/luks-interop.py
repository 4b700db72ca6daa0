#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""LUKS images of ours opened by the reference and by cryptsetup, and the reverse: for each cipher,
mode, IV generator and hash the content must come out the same, and info must say the same.

Run as luks-interop-all.slow.py it tries every combination below, otherwise the first few."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from this_run import SLOWER

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
OURS, THEIRS = BUILD / 'qemu-img', REFERENCE / 'qemu-img'
CRYPTSETUP = shutil.which('cryptsetup', path=os.environ['PATH'] + ':/usr/sbin:/sbin')
PASSWORD = 'a pass, word'
SECRET = ['--object', 'secret,id=s,data=' + PASSWORD.replace(',', ',,')]
# The reference measures time too coarsely for short key derivations, and gives up now and then.
FLAKY, ATTEMPTS = b'accurate CPU usage', 60

QUICK = 2
# What cryptsetup opens without help of the kernel.
CRYPTSETUP_OPENS = ['defaults', 'aes-128', 'aes-256-cbc-essiv', 'aes-256-ctr-sha1']

SPECS = [
    {},
    {'cipher-alg': 'aes-256', 'cipher-mode': 'cbc', 'ivgen-alg': 'essiv'},
    {'cipher-alg': 'aes-192', 'hash-alg': 'sha512'},
    {'cipher-alg': 'serpent-256', 'cipher-mode': 'ctr', 'ivgen-alg': 'essiv'},
    {'cipher-alg': 'cast5-128', 'cipher-mode': 'cbc'},
    {'cipher-alg': 'aes-128'},
    {'cipher-alg': 'aes-128', 'cipher-mode': 'cbc', 'ivgen-alg': 'plain', 'hash-alg': 'md5'},
    {'cipher-alg': 'aes-128', 'cipher-mode': 'ecb', 'hash-alg': 'ripemd160'},
    {'cipher-alg': 'aes-256', 'cipher-mode': 'ctr', 'hash-alg': 'sha1'},
    {'cipher-alg': 'aes-256', 'cipher-mode': 'xts', 'ivgen-alg': 'essiv', 'ivgen-hash-alg': 'md5'},
    {'cipher-alg': 'aes-256', 'ivgen-alg': 'plain', 'ivgen-hash-alg': 'sha512'},
    {'cipher-alg': 'serpent-128', 'cipher-mode': 'cbc', 'ivgen-alg': 'essiv',
     'ivgen-hash-alg': 'md5', 'hash-alg': 'sha224'},
    {'cipher-alg': 'serpent-192', 'hash-alg': 'sha384'},
    {'cipher-alg': 'twofish-128', 'cipher-mode': 'ecb'},
    {'cipher-alg': 'twofish-192', 'ivgen-alg': 'essiv'},
    {'cipher-alg': 'twofish-256', 'cipher-mode': 'cbc'},
    {'cipher-alg': 'cast5-128', 'cipher-mode': 'ecb', 'ivgen-alg': 'plain'},
    {'cipher-alg': 'cast5-128', 'cipher-mode': 'ctr'},
]


class Failed(Exception):
    pass


def run(*command, stdin=None):
    """Standard output; Failed unless the exit code is 0."""
    for _ in range(ATTEMPTS):
        p = subprocess.run([str(c) for c in command], input=stdin, capture_output=True,
                           timeout=100 * SLOWER)
        if p.returncode == 0:
            return p.stdout
        if FLAKY not in p.stderr:
            break
    raise Failed(f'{command[0].name if isinstance(command[0], pathlib.Path) else command[0]} '
                 f'{command[1]}: exit code {p.returncode}: {p.stderr.decode().strip()}')


def image(name, secret='s'):
    return f'driver=luks,key-secret={secret},file.filename={name}'


def create(tool, name, spec):
    options = ''.join(f',{k}={v}' for k, v in spec.items())
    run(tool, 'create', '-q', '-f', 'luks', *SECRET, '-o', f'key-secret=s,iter-time=20{options}',
        name, '1M')


def compare(tool, name):
    run(tool, 'compare', '-q', *SECRET, '--image-opts', image(name),
        'driver=raw,file.filename=content')


def info_is_same(name):
    for output in 'human', 'json':
        ours, theirs = (run(t, 'info', f'--output={output}', name) for t in (OURS, THEIRS))
        if ours != theirs:
            raise Failed(f'info differs:\n{ours.decode()}\n{theirs.decode()}')


def check_spec(spec):
    for tool in OURS, THEIRS:
        create(tool, 'a.luks', spec)
        info_is_same('a.luks')
        run(THEIRS, 'convert', '-n', *SECRET, '-f', 'raw', '--target-image-opts', 'content',
            image('a.luks'))
        compare(THEIRS, 'a.luks')
        compare(OURS, 'a.luks')
        if CRYPTSETUP and spec_name(spec) in CRYPTSETUP_OPENS:
            run(CRYPTSETUP, 'open', '--test-passphrase', '--key-file', '-', 'a.luks',
                stdin=PASSWORD.encode())
        os.unlink('a.luks')


def check_cryptsetup_image():
    """One made by cryptsetup: other positions of the keys, two slots, data at 2 MiB."""
    with open('c.luks', 'wb') as f:
        f.truncate(3 << 20)
    for args in ['luksFormat', '--type', 'luks1', '--pbkdf-force-iterations', '2000'], ['luksAddKey']:
        keys = [] if args[0] == 'luksFormat' else ['second']
        with open('second', 'w') as f:
            f.write('another')
        run(CRYPTSETUP, '-q', *args, '--key-file', '-', 'c.luks', *keys, stdin=PASSWORD.encode())
    info_is_same('c.luks')
    run(THEIRS, 'convert', '-n', *SECRET, '-f', 'raw', '--target-image-opts', 'content',
        image('c.luks'))
    compare(OURS, 'c.luks')
    run(OURS, 'compare', '-q', '--object', 'secret,id=t,data=another', '--image-opts',
        image('c.luks', 't'), 'driver=raw,file.filename=content')


def check_encrypted_secret():
    """A password kept under a master key means the same to both."""
    key, iv = os.urandom(32), os.urandom(16)
    coded = run('openssl', 'enc', '-aes-256-cbc', '-a', '-A', '-K', key.hex(), '-iv', iv.hex(),
                stdin=PASSWORD.encode()).decode()

    def base64(data):
        return run('openssl', 'base64', '-A', stdin=data).decode()

    objects = ['--object', f'secret,id=k,format=base64,data={base64(key)}', '--object',
               f'secret,id=s,format=base64,keyid=k,iv={base64(iv)},data={coded}']
    for tool, other in (OURS, THEIRS), (THEIRS, OURS):
        run(tool, 'create', '-q', '-f', 'luks', *objects, '-o', 'key-secret=s,iter-time=20',
            'e.luks', '1M')
        run(other, 'compare', '-q', *SECRET, '--image-opts', image('e.luks'), image('e.luks'))
        os.unlink('e.luks')


def spec_name(spec):
    return '-'.join(spec.values()) or 'defaults'


def attempt(name, check, *args):
    try:
        check(*args)
    except Failed as e:
        print(f'not ok /luks-interop/{name} {e}')
        return False
    print(f'ok /luks-interop/{name}')
    return True


def main():
    if not THEIRS.exists():
        print(f'{THEIRS} is not installed')
        return 77
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open('content', 'wb') as f:
            f.write(os.urandom(1 << 20))
        specs = SPECS if '-all' in os.path.basename(sys.argv[0]) else SPECS[:QUICK]
        good = [attempt(spec_name(s), check_spec, s) for s in specs]
        good.append(attempt('encrypted-secret', check_encrypted_secret))
        if CRYPTSETUP:
            good.append(attempt('made-by-cryptsetup', check_cryptsetup_image))
        else:
            print('skip /luks-interop/made-by-cryptsetup cryptsetup is not installed')
        os.chdir('/')
    return 0 if all(good) else 1


if __name__ == '__main__':
    sys.exit(main())
