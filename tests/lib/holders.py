# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command of qemu-img does to images that another program has open, beside the reference."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from this_run import SLOWER

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
REFERENCE = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin'))
PROMPT = b'qemu-io> '
SECRET = ['--object', 'secret,id=s,data=x']

# r <- m <- t <- o are a chain; c stands alone; d has the data file df; e and l are encrypted.
HOLDERS = {
    'nobody': None, 'writer': ['t'], 'reader': ['-r', 't'], 'forced-reader': ['-U', '-r', 't'],
    'overlay': ['o'], 'bytes': ['-f', 'raw', 't'], 'bytes-reader': ['-r', '-f', 'raw', 't'],
    'middle': ['m'], 'base': ['-f', 'raw', 'r'], 'data': ['d'], 'data-reader': ['-r', 'd'],
    'encrypted': [*SECRET, '--image-opts', 'driver=qcow2,file.filename=e,encrypt.key-secret=s'],
    'luks': [*SECRET, '--image-opts', 'driver=luks,file.filename=l,key-secret=s'],
}
COMMANDS = '''
    info t; info -U t; info --backing-chain t; info -f raw t; info e; info d; info r; info l
    check t; check -U t; check -r all t; check e; check d
    map t; map -U t; map d; map -f raw r
    measure -O qcow2 t; measure -O qcow2 -U t; measure -O raw d; measure -O raw e
    compare t t; compare -U t t; compare t c
    convert t n; convert -U t n; convert -n -O qcow2 c t; convert -O qcow2 -B t -F qcow2 c n
    convert -f raw r n
    create -f qcow2 -b t -F qcow2 n; create -f qcow2 -u -b t -F qcow2 n 1M; create -f qcow2 t 1M
    create -f qcow2 -b o -F qcow2 n; create -f qcow2 -b e -F qcow2 n; create -f qcow2 -b l -F luks n
    create -f qcow2 -b d -F qcow2 n; create -f qcow2 -o data_file=d n 1M
    create -f qcow2 -o data_file=df n 1M; create -f qcow2 -b r -F raw n; create -f qcow2 -b t n
    resize t 2M; resize --shrink t 512k; resize -f raw r 2M
    snapshot -l t; snapshot -U -l t; snapshot -c x t; snapshot -a s t; snapshot -d s t; snapshot -l e
    bitmap --add t b; bitmap --merge b0 -b m -F qcow2 c b1; amend -o lazy_refcounts=on t
    rebase -u -b r -F raw t; rebase -b r -F raw t; rebase -b t -F qcow2 c; rebase -u -b t -F qcow2 c
    rebase -U -b t -F qcow2 c; commit t; commit o; commit -b m o; commit -d t
    dd if=t of=n; dd -U if=t of=n; bench -c 1 t; bench -U -c 1 t; bench -w -c 1 t
'''


def commands(words=('',)):
    """The commands above that start with one of @words."""
    every = [c.strip() for line in COMMANDS.splitlines() for c in line.split(';') if c.strip()]
    return [c for c in every if any(c.startswith(w) for w in words)]


def make_images():
    subprocess.run(['bash', '-ec', '''
        truncate -s 1M r
        qemu-img create -q -f qcow2 -b r -F raw m; qemu-img bitmap --add m b0
        qemu-img create -q -f qcow2 -b m -F qcow2 t; qemu-img snapshot -c s t
        qemu-img create -q -f qcow2 -b t -F qcow2 o
        qemu-img create -q -f qcow2 c 1M; qemu-img bitmap --add c b1
        qemu-img create -q -f qcow2 -o data_file=df d 1M
        S="--object secret,id=s,data=x"
        qemu-img create -q $S -f luks -o key-secret=s,iter-time=10 l 1M
        qemu-img create -q $S -f qcow2 \\
            -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e 1M
        '''], check=True, env=dict(os.environ, PATH=f'{BUILD}:{os.environ["PATH"]}'))


def hold(args):
    """The reference's qemu-io with an image open."""
    process = subprocess.Popen([REFERENCE / 'qemu-io', *args], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    output = b''
    while PROMPT not in output:
        data = os.read(process.stdout.fileno(), 4096)
        assert data, (args, output)
        output += data
    return process


def outcome(images, tool, holder, command):
    """The exit code of @command in a copy of folder @images, and what it says."""
    shutil.rmtree('run', ignore_errors=True)
    shutil.copytree(images, 'run')
    os.chdir('run')
    holding = hold(holder) if holder else None
    done = subprocess.run([tool / 'qemu-img', *command.split()], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * SLOWER)
    if holding:
        holding.stdin.close()
        holding.wait()
    os.chdir('..')
    return done.returncode, done.stderr


def main(holders, chosen):
    for tool in ('qemu-io', 'qemu-img'):
        if not (REFERENCE / tool).exists():
            print(f'{tool} of the reference is not there')
            sys.exit(77)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f'{folder}/images')
        os.chdir(f'{folder}/images')
        make_images()
        os.chdir(folder)
        for holder in holders:
            for command in chosen:
                theirs, ours = (outcome('images', tool, HOLDERS[holder], command)
                                for tool in (REFERENCE, BUILD))
                name = f'holders/{holder}/{command.replace(" ", "_")}'
                ok = theirs[0] == ours[0]
                print(f'ok {name}' if ok else f'not ok {name} {ours}, not {theirs}', flush=True)
                bad += not ok
        os.chdir('/')
    sys.exit(bad > 0)
