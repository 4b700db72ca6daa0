#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""--untrusted: nothing but the named files, a sandbox, bounded memory and time."""
import errno
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import nbd_frames as nbd
from cases import BUILD, IMG, case, img, io, main, require, run
from this_run import PRELOADABLE, SANDBOXED, WATCHED

MIB = 1 << 20
PLANT = dict(SANDBOXED, LD_PRELOAD=str(BUILD / 'preload/plant.so'))


def make_images():
    img('create', '-q', '-f', 'raw', 'a.raw', '4M')
    io('a.raw', 'write -P 1 512 1M', 'write -P 2 2M 300k')
    img('convert', '-O', 'qcow2', '-c', 'a.raw', 'a.qcow2')
    img('convert', '-O', 'qcow2', '-c', '-o', 'compression_type=zstd', 'a.raw', 'z.qcow2')


def commands(image='a.qcow2'):
    return [['info', image], ['check', image], ['map', '--output=json', image],
            ['measure', '-O', 'qcow2', image], ['compare', image, 'z.qcow2'],
            ['checksum', '--hash=tree', '-T', 'none', image],
            ['convert', '-O', 'raw', '--hash=sha256', image, 'out.raw'],
            ['convert', '-O', 'qcow2', '-c', image, 'out.qcow2']]


def limited(limit, *command):
    """Runs one that has to fail below a limit of ulimit(1)."""
    return run('bash', '-c', f'ulimit -S {limit}; exec "$@"', '-', IMG, *command, code=1, env=SANDBOXED)


def untrusted(command, how='--untrusted', **more):
    return img(command[0], how, *command[1:], env=dict(SANDBOXED, **more.pop('env', {})), **more)


@case
def gives_the_same_results():
    make_images()
    for command in commands():
        assert untrusted(command).stdout == img(*command).stdout, command
    img('compare', 'out.raw', 'a.raw')
    img('compare', 'out.qcow2', 'a.raw')


@case
def connections_that_are_open_stay_usable():
    """An NBD server is connected to before the sandbox."""
    make_images()
    img('create', '-q', '-f', 'raw', 'served', '4M')
    with nbd.serve('-f', 'raw', 'served', where=pathlib.Path.cwd()) as s:
        uri = s.uri()
        img('convert', '--untrusted', '-n', '-O', 'raw', 'a.qcow2', uri, env=SANDBOXED)
        img('compare', '--untrusted', '-F', 'raw', 'a.qcow2', uri, env=SANDBOXED)
    img('compare', 'served', 'a.raw')


@case
def planted_calls_fail():
    require(PRELOADABLE, 'the attacker is a preloaded library')
    make_images()
    denied = ' '.join(f'{what} {errno.EPERM}' for what in ('openat', 'connect', 'send', 'signal',
                                                          'owner', 'code', 'execve'))
    workers = 0
    for command in commands():
        told = img(*command, env=PLANT).stderr
        assert 'planted main openat 0' in told, told
        done = untrusted(command, '--untrusted=strict', env=PLANT)
        assert f'planted main {denied}' in done.stderr, done.stderr
        assert done.stderr.count('planted') == done.stderr.count(denied), done.stderr
        workers += done.stderr.count('planted worker')
    assert workers


@case
def what_the_kernel_lacks_is_told():
    require(PRELOADABLE, 'the old kernel is a preloaded library')
    make_images()
    plain = img('checksum', 'a.qcow2').stdout
    for lacking, words in (('landlock', 'Landlock'), ('seccomp', 'seccomp'),
                           ('landlock,seccomp', 'Landlock and seccomp')):
        env = dict(SANDBOXED, LD_PRELOAD=str(BUILD / 'preload/old-kernel.so'), OLD_KERNEL=lacking)
        done = img('checksum', '--untrusted', 'a.qcow2', env=env)
        assert done.stdout == plain and 'warning' in done.stderr and words in done.stderr, done.stderr
        done = img('checksum', '--untrusted=strict', 'a.qcow2', env=env, code=1)
        assert done.stdout == '' and words in done.stderr, done.stderr
        img('convert', '--untrusted=strict', 'a.qcow2', 'out.raw', env=env, code=1)
        assert not os.path.exists('out.raw')


@case
def threads_of_key_derivation_are_gone_before():
    require(PRELOADABLE, 'the attacker is a preloaded library')
    secret = ['--object', 'secret,id=s,data=abc']
    img('create', '-q', *secret, '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 'l.luks', '1M')
    done = img('checksum', '--untrusted=strict', *secret, '--image-opts',
               'driver=luks,key-secret=s,file.filename=l.luks', env=PLANT)
    assert f'planted main openat {errno.EPERM}' in done.stderr, done.stderr
    img('create', '-q', '-f', 'raw', 'a.raw', '1M')
    done = img('info', '--untrusted', '--object', 'iothread,id=t', 'a.raw', code=1, env=SANDBOXED)
    assert 'iothread' in done.stderr, done.stderr


def refused(*command, names):
    done = img(*command, code=None, env=SANDBOXED)
    assert done.returncode in (1, 2), done.returncode
    assert names in done.stderr, done.stderr
    assert done.stdout == '', done.stdout


def refused_everywhere(image, names):
    for command in commands(image):
        if command[0] != 'info':
            refused(command[0], '--untrusted', *command[1:], names=names)


@case
def backing_files_are_refused_by_name():
    make_images()
    img('create', '-q', '-f', 'qcow2', '-b', 'a.raw', '-F', 'raw', 'top.qcow2')
    refused_everywhere('top.qcow2', 'a.raw')
    told = img('info', '--untrusted', 'top.qcow2', env=SANDBOXED)
    assert 'backing file: a.raw' in told.stdout
    refused('info', '--backing-chain', '--untrusted', 'top.qcow2', names='a.raw')
    # One that the user names is opened.
    opts = 'driver=qcow2,file.filename=top.qcow2,backing.driver=raw,backing.file.filename=a.raw'
    assert img('checksum', '--untrusted', '--image-opts', opts, env=SANDBOXED).stdout.split()[0] == \
        img('checksum', 'a.qcow2').stdout.split()[0]


@case
def options_of_a_backing_file_do_not_name_it():
    """The name is the image's own as long as the user's words name no place."""
    pathlib.Path('secret.txt').write_text('secret')
    stored = f'{os.getcwd()}/secret.txt'
    img('create', '-q', '-f', 'qcow2', '-b', stored, '-F', 'raw', 'evil.qcow2', '1M')
    img('create', '-q', '-f', 'qcow2', '-u', '-b', f'nbd:unix:{os.getcwd()}/s', '-F', 'raw',
        'evil-nbd.qcow2', '1M')
    for image, name in (('evil.qcow2', stored), ('evil-nbd.qcow2', 'nbd:unix:')):
        start = f'driver=qcow2,file.filename={image},'
        described = [start + 'backing.' + more.replace(',', ',backing.') for more in (
            'driver=raw', 'read-only=on', 'node-name=x', 'driver=file', 'file.driver=file',
            'file.read-only=on', 'driver=raw,file.locking=off', 'driver=raw,size=512',
            'backing.driver=raw', 'driver=throttle', 'driver=copy-on-read,file.driver=raw',
            'driver=blkdebug,image.driver=raw', 'cache.direct=on', 'driver=nbd,export=x')]
        for how in ('--untrusted', '--untrusted=strict'):
            for options in described:
                refused('checksum', how, '--image-opts', options, names=name)
            filtered = f'driver=copy-on-read,file.driver=qcow2,file.file.filename={image},' \
                       'file.backing.driver=raw'
            refused('checksum', how, '--image-opts', filtered, names=name)
            for words in ('{}', '{"driver":"raw"}', '{"file":{}}', '{"file":null}'):
                text = '{"driver":"qcow2","file":{"driver":"file","filename":"%s"},"backing":%s}'
                refused('checksum', how, 'json:' + text % (image, words), names=name)
                refused('convert', how, '-O', 'raw', 'json:' + text % (image, words), 'out',
                        names=name)
                assert not os.path.exists('out')
    # Below a backing file that the user names, the same holds.
    img('create', '-q', '-f', 'qcow2', '-b', 'evil.qcow2', '-F', 'qcow2', 'top.qcow2')
    deep = 'driver=qcow2,file.filename=top.qcow2,backing.driver=qcow2,' \
           'backing.file.filename=evil.qcow2'
    for more in ('', ',backing.backing.driver=raw'):
        refused('checksum', '--untrusted', '--image-opts', deep + more, names=stored)


@case
def options_of_a_data_file_do_not_name_it():
    make_images()
    img('create', '-q', '-f', 'qcow2', '-o', 'data_file=d.raw', 'd.qcow2', '1M')
    for more in ('driver=raw', 'read-only=on', 'node-name=x', 'driver=file', 'file.driver=file'):
        done = img('checksum', '--untrusted', '--image-opts',
                   f'driver=qcow2,file.filename=d.qcow2,data-file.{more}', code=1, env=SANDBOXED)
        assert done.stdout == '', done.stdout


@case
def data_files_are_refused_by_name():
    make_images()
    img('create', '-q', '-f', 'qcow2', '-o', 'data_file=d.raw', 'd.qcow2', '1M')
    refused_everywhere('d.qcow2', 'd.raw')
    assert 'data file: d.raw' in img('info', '--untrusted', 'd.qcow2', env=SANDBOXED).stdout


@case
def described_backing_files_are_refused_by_name():
    make_images()
    evil = 'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'
    img('create', '-q', '-f', 'qcow2', '-u', '-b', evil, '-F', 'raw', 'top.qcow2', '1M')
    refused_everywhere('top.qcow2', '/etc/passwd')
    refused('info', '--backing-chain', '--untrusted', 'top.qcow2', names='/etc/passwd')


@case
def targets_have_no_other_files_either():
    make_images()
    img('create', '-q', '-f', 'qcow2', '-b', 'a.raw', '-F', 'raw', 'top.qcow2')
    before = pathlib.Path('top.qcow2').read_bytes()
    refused('convert', '--untrusted', '-n', '-O', 'qcow2', 'a.qcow2', 'top.qcow2', names='a.raw')
    assert pathlib.Path('top.qcow2').read_bytes() == before
    refused('convert', '--untrusted', '-B', 'a.raw', '-F', 'raw', '-O', 'qcow2', 'a.qcow2', 'n',
            names='a.raw')
    assert not os.path.exists('n')


@case
def repairs_inside_the_sandbox():
    require(WATCHED != 'valgrind', 'valgrind knows no sandbox')
    make_images()
    img('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', 'l.qcow2', '4M')
    io('l.qcow2', 'write -P 3 0 1M', 'abort', code=None)
    untrusted(['check', '-r', 'all', 'l.qcow2'], '--untrusted=strict')
    assert img('check', 'l.qcow2').stdout.startswith('No errors')


@case
def other_words_are_refused():
    make_images()
    for command in commands():
        assert 'lenient' in untrusted(command, '--untrusted=lenient', code=None).stderr, command


@case
def rings_are_refused_inside():
    make_images()
    opts = 'driver=raw,file.driver=file,file.filename=a.raw,file.aio=io_uring'
    done = img('checksum', '--untrusted', '--image-opts', opts, code=1, env=SANDBOXED)
    assert 'aio=io_uring' in done.stderr, done.stderr


@case
def dates_are_those_of_the_local_time_zone():
    make_images()
    img('snapshot', '-c', 's', 'a.qcow2')
    zone = {'TZ': 'Asia/Kolkata'}
    assert untrusted(['info', 'a.qcow2'], env=zone).stdout == img('info', 'a.qcow2', env=zone).stdout


@case
def time_is_bounded():
    # Nothing on disk, and days of work.
    img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', 'a.qcow2', '60T')
    done = limited('-t 1', 'checksum', '--untrusted', 'a.qcow2')
    assert 'CPU time' in done.stderr and done.stdout == '', done.stderr


@case
def time_is_bounded_while_images_are_opened():
    """A key slot of a billion rounds, as many as there may be."""
    secret = ['--object', 'secret,id=s,data=abc']
    img('create', '-q', *secret, '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 'l.luks', '1M')
    with open('l.luks', 'r+b') as f:
        f.seek(208 + 4)
        f.write(struct.pack('>I', 1 << 30))
    opening = ['checksum', '--untrusted', *secret, '--image-opts',
               'driver=luks,key-secret=s,file.filename=l.luks']
    done = limited('-t 1', *opening)
    assert 'CPU time' in done.stderr and done.stdout == '', done.stderr
    with subprocess.Popen([IMG, *opening], env=dict(os.environ, **SANDBOXED)) as p:
        while '60' not in re.search(r'Max cpu time +(\S+)',
                                    pathlib.Path(f'/proc/{p.pid}/limits').read_text())[1]:
            assert p.poll() is None
            time.sleep(0.01)
        p.kill()


@case
def bitmaps_are_copied_inside_the_sandbox():
    make_images()
    img('bitmap', '--add', 'a.qcow2', 'b0')
    io('a.qcow2', 'write -P 5 64k 64k')
    img('convert', '--untrusted', '--bitmaps', '-O', 'qcow2', 'a.qcow2', 'out.qcow2', env=SANDBOXED)
    bitmaps = json.loads(img('info', '--output=json', 'out.qcow2').stdout)['format-specific']
    assert [b['name'] for b in bitmaps['data']['bitmaps']] == ['b0'], bitmaps
    img('compare', 'a.qcow2', 'out.qcow2')


@case
def without_proc_what_is_stored_at_the_end_is_stored():
    hidden = ['unshare', '-rm', 'sh', '-c', 'mount -t tmpfs none /proc && exec "$@"', '-']
    require(not WATCHED, 'watchers need /proc')
    require(run(*hidden, 'true', code=None).returncode == 0, 'mounts cannot be hidden here')
    make_images()
    run(*hidden, IMG, 'bitmap', '--add', 'a.qcow2', 'b0')
    run(*hidden, IMG, 'convert', '--bitmaps', '-O', 'qcow2', 'a.qcow2', 'out.qcow2')
    assert 'b0' in img('info', 'out.qcow2').stdout
    run(*hidden, IMG, 'checksum', '--untrusted', 'a.qcow2')
    # A base that has to become writable.
    img('create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', 'top.qcow2')
    io('top.qcow2', 'write -P 9 0 64k')
    run(*hidden, IMG, 'commit', 'top.qcow2')
    assert io('a.qcow2', 'read -P 9 0 64k').stdout
    # Libraries come from nowhere but the program's own folder and where they are installed.
    os.mkdir('modules')
    pathlib.Path('modules/sandbox.so').write_text('hostile')
    run(*hidden, IMG, 'checksum', '--untrusted', 'a.qcow2')


@case
def memory_is_bounded():
    require(not WATCHED, 'a sanitizer takes memory of its own')
    img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=64k,preallocation=metadata', 'a.qcow2',
        '256G')
    done = limited('-d 6000', 'check', '--untrusted', 'a.qcow2')
    assert 'memory' in done.stderr.lower(), done.stderr


main('untrusted')
