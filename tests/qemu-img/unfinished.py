#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Full disks, failing ones, and signals: an exit code, a source as before, a target that is usable
or named as incomplete."""
import contextlib
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IMG, case, img, io, main, require, require_root, run
from this_run import PRELOADABLE, SIGNALS_SEEN

MIB = 1 << 20
INCOMPLETE = re.compile(r"qemu-img: '([^']*)' is incomplete: ")


@contextlib.contextmanager
def small_disk(size='4m'):
    """A folder "full" with little space."""
    require_root()
    os.mkdir('full')
    done = run('mount', '-t', 'tmpfs', '-o', f'size={size}', 'none', 'full', code=None)
    require(done.returncode == 0, 'tmpfs cannot be mounted here')
    try:
        yield
    finally:
        run('umount', 'full')


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def content(image):
    """The digest of what the chain shows."""
    return img('checksum', '--hash=tree', image).stdout.split()[0]


def make_source(path='a.raw', size=8 * MIB, seed=1):
    pathlib.Path(path).write_bytes(random.Random(seed).randbytes(size))


def make_chain(where='.', size='8M'):
    """base.qcow2 and other.qcow2 below; top.qcow2, on base.qcow2, in the folder @where."""
    make_source('a.raw')
    img('convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'base.qcow2')
    make_source('b.raw', seed=2)
    img('convert', '-f', 'raw', '-O', 'qcow2', 'b.raw', 'other.qcow2')
    img('create', '-q', '-f', 'qcow2', '-b', os.path.abspath('base.qcow2'), '-F', 'qcow2',
        f'{where}/top.qcow2', size)
    io(f'{where}/top.qcow2', 'write -P 4 1M 512k')


def is_sound(image):
    """Readable by the check, with leaks at most."""
    return img('check', image, code=None).returncode in (0, 3)


def fails(*command):
    done = img(*command, code=1)
    assert done.stderr.startswith('qemu-img: '), done.stderr
    return done.stderr


def names_incomplete(text, name):
    found = INCOMPLETE.search(text)
    assert found and found[1] == name, text


# ---- full disks --------------------------------------------------------------------------------

@case
def copies_onto_a_full_disk():
    make_source()
    before = digest('a.raw')
    with small_disk():
        for command in (['convert', '-f', 'raw', '-O', 'raw'], ['convert', '-f', 'raw', '-O', 'qcow2'],
                        ['convert', '-c', '-f', 'raw', '-O', 'qcow2'],
                        ['convert', '-W', '-m', '16', '--hash=tree', '-f', 'raw', '-O', 'qcow2']):
            names_incomplete(fails(*command, 'a.raw', 'full/t'), 'full/t')
            os.unlink('full/t')
        names_incomplete(fails('dd', 'bs=1M', '-f', 'raw', '-O', 'qcow2', 'if=a.raw', 'of=full/t'),
                         'full/t')
        os.unlink('full/t')
        for mode in ('falloc', 'full'):
            for fmt in ('raw', 'qcow2'):
                fails('convert', '-f', 'raw', '-O', fmt, '-o', f'preallocation={mode}', 'a.raw',
                      'full/t')
                assert not os.path.exists('full/t'), (mode, fmt)
    assert digest('a.raw') == before


@case
def create_on_a_full_disk_leaves_nothing():
    with small_disk():
        for fmt in ('raw', 'qcow2', 'luks'):
            for mode in ('falloc', 'full'):
                fails('create', '-q', '--object', 'secret,id=s,data=x', '-f', fmt, '-o',
                      f'preallocation={mode}'
                      + (',key-secret=s,iter-time=10' if fmt == 'luks' else ''), 'full/t', '8M')
                assert not os.path.exists('full/t'), (fmt, mode)
        fails('create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata,cluster_size=512',
              'full/t', '2G')
        assert not os.path.exists('full/t')


@case
def resize_on_a_full_disk_changes_nothing():
    with small_disk():
        for fmt in ('raw', 'qcow2'):
            for mode in ('falloc', 'full'):
                img('create', '-q', '-f', fmt, 'full/t', '1M')
                io('full/t', 'write -P 1 0 1M')
                before = content('full/t')
                fails('resize', '-f', fmt, f'--preallocation={mode}', 'full/t', '8M')
                assert content('full/t') == before, (fmt, mode)
                assert fmt == 'raw' or is_sound('full/t')
                os.unlink('full/t')
        img('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', 'full/t', '1M')
        fails('resize', 'full/t', '60G')
        assert is_sound('full/t') and 'virtual size: 1 MiB' in img('info', 'full/t').stdout


@case
def rebase_on_a_full_disk_keeps_the_old_backing_file():
    with small_disk():
        make_chain('full')
        before = content('full/top.qcow2')
        text = fails('rebase', '-b', os.path.abspath('other.qcow2'), '-F', 'qcow2', 'full/top.qcow2')
        assert 'full/top.qcow2' in text and 'keeps its old backing file' in text, text
        assert content('full/top.qcow2') == before and is_sound('full/top.qcow2')
        assert 'base.qcow2' in img('info', 'full/top.qcow2').stdout


@case
def commit_on_a_full_disk_loses_nothing():
    with small_disk():
        img('create', '-q', '-f', 'qcow2', 'full/base.qcow2', '8M')
        img('create', '-q', '-f', 'qcow2', '-b', os.path.abspath('full/base.qcow2'), '-F', 'qcow2',
            'top.qcow2')
        io('top.qcow2', 'write -P 5 0 8M')
        before, top = content('top.qcow2'), digest('top.qcow2')
        names_incomplete(fails('commit', 'top.qcow2'), os.path.abspath('full/base.qcow2'))
        assert digest('top.qcow2') == top and content('top.qcow2') == before
        assert is_sound('full/base.qcow2')


# ---- failing disks -----------------------------------------------------------------------------

def rules(kind, sector):
    pathlib.Path('rules').write_text(f'[inject-error]\nevent="none"\niotype="{kind}"\nerrno="5"\n'
                                     f'sector="{sector}"\nonce="off"\n')


@case
def unreadable_sources_are_told_by_place():
    make_source()
    before = digest('a.raw')
    rules('read', 9000)
    for command in (['convert', '-O', 'raw', 'blkdebug:rules:a.raw', 't'],
                    ['dd', 'bs=1M', 'if=blkdebug:rules:a.raw', 'of=t']):
        text = fails(*command)
        names_incomplete(text, 't')
        assert re.search(r"'blkdebug:rules:a.raw' could not be read at offset \d+: Input/output",
                         text), text
    assert digest('a.raw') == before


@case
def unwritable_targets_are_told_by_place():
    make_source()
    before = digest('a.raw')
    img('create', '-q', '-f', 'raw', 't', '8M')
    rules('write', 9000)
    text = fails('convert', '-n', '-f', 'raw', '-O', 'raw', 'a.raw', 'blkdebug:rules:t')
    names_incomplete(text, 'blkdebug:rules:t')
    assert re.search(r'written at offset \d+', text), text
    assert digest('a.raw') == before


@case
def a_flush_that_fails_is_a_failure():
    require(PRELOADABLE, 'calls are made to fail by a preloaded library')
    make_chain()
    img('create', '-q', '-f', 'raw', 't', '8M')
    env = {'LD_PRELOAD': str(BUILD / 'preload/fail.so'), 'FAIL_CALL': 'fdatasync', 'FAIL_NTH': '1',
           'FERRY_LOOP': 'epoll'}
    for command in (['convert', '-n', '-t', 'writeback', '-f', 'raw', '-O', 'raw', 'a.raw', 't'],
                    ['dd', 'bs=1M', '-f', 'raw', 'if=a.raw', 'of=d'],
                    ['commit', 'top.qcow2'],
                    ['rebase', '-b', 'other.qcow2', '-F', 'qcow2', 'top.qcow2']):
        before = content('top.qcow2')
        done = img(*command, env=env, code=1)
        assert done.stderr.startswith('qemu-img: '), done.stderr
        assert content('top.qcow2') == before, command


# ---- signals -----------------------------------------------------------------------------------

GROUP = ['--object', '{"qom-type":"throttle-group","id":"slow","limits":{"bps-total":2097152}}']


def slow_rebase():
    return ['rebase', *GROUP, '-F', 'qcow2', '-b', os.path.abspath('other.qcow2'), '--image-opts',
            'driver=qcow2,file.filename=top.qcow2,backing.driver=throttle,'
            'backing.throttle-group=slow,backing.file.driver=qcow2,'
            'backing.file.file.filename=base.qcow2']


def is_prepared(process):
    """True if it has ended, or has a handler for SIGTERM: then the long work is near."""
    if process.poll() is not None:
        return True
    caught = re.search(r'SigCgt:\s*(\w+)', pathlib.Path(f'/proc/{process.pid}/status').read_text())
    return int(caught[1], 16) & 1 << (signal.SIGTERM - 1)


# Who runs the tests may have told all programs to ignore them.
for ignored in signal.SIGHUP, signal.SIGINT:
    signal.signal(ignored, signal.SIG_DFL)


def stopped(sig, *command, after=0.5, **more):
    """Runs something slow, sends it @sig: its exit code and standard error."""
    require(SIGNALS_SEEN, 'it cannot be seen when the program is ready for signals')
    process = subprocess.Popen([IMG, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, **more)
    while not is_prepared(process):
        time.sleep(0.01)
    time.sleep(after)
    assert process.poll() is None, (command, process.communicate())
    process.send_signal(sig)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@case
def a_stopped_copy_names_its_target():
    make_source()
    before = digest('a.raw')
    slow = 'driver=throttle,throttle-group=slow,file.driver=raw,file.file.filename=a.raw'
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for command in (['convert', '-r', '1M', '-f', 'raw', '-O', 'raw', 'a.raw', 't'],
                        ['convert', '-r', '1M', '-f', 'raw', '-O', 'qcow2', 'a.raw', 't'],
                        ['dd', *GROUP, '--image-opts', 'bs=1M', f'if={slow}', 'of=t']):
            code, err = stopped(sig, *command)
            assert code == -sig, (code, err)
            names_incomplete(err, 't')
            os.unlink('t')
    assert digest('a.raw') == before


@case
def a_stopped_rebase_keeps_the_old_backing_file():
    for sig in (signal.SIGTERM, signal.SIGKILL):
        make_chain()
        before = content('top.qcow2')
        code, err = stopped(sig, *slow_rebase())
        assert code == -sig, (code, err)
        assert sig == signal.SIGKILL or 'has its old backing file' in err, err
        assert content('top.qcow2') == before and is_sound('top.qcow2')
        assert 'base.qcow2' in img('info', 'top.qcow2').stdout
        os.unlink('top.qcow2')


@case
def a_stopped_commit_loses_nothing():
    for sig in (signal.SIGTERM, signal.SIGKILL):
        make_chain()
        io('top.qcow2', 'write -P 4 0 7M')
        before, top = content('top.qcow2'), digest('top.qcow2')
        code, err = stopped(sig, 'commit', '-r', '1M', 'top.qcow2')
        assert code == -sig, (code, err)
        if sig == signal.SIGTERM:
            names_incomplete(err, os.path.abspath('base.qcow2'))
        assert digest('top.qcow2') == top and content('top.qcow2') == before
        assert is_sound('base.qcow2')
        # Once more, to the end.
        img('commit', '-q', 'top.qcow2')
        assert content('base.qcow2') == before
        os.unlink('top.qcow2')


@case
def an_old_file_is_called_incomplete_only_if_it_was_touched():
    make_source()
    img('create', '-q', '-f', 'qcow2', 'old', '1M')
    before = digest('a.raw'), digest('old')
    for command in (('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'compression_type=lz4', 'a.raw', 'old'),
                    ('convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'a.raw'),
                    ('create', '-f', 'qcow2', '-o', 'cluster_size=3', 'old', '1M')):
        assert 'incomplete' not in fails(*command), command
    assert (digest('a.raw'), digest('old')) == before
    with small_disk():
        img('create', '-q', '-f', 'qcow2', 'full/old', '1M')
        text = fails('create', '-f', 'qcow2', '-o', 'preallocation=full', 'full/old', '1G')
        assert "'full/old' was there before and may be incomplete now" in text, text


@case
def a_killed_copy_leaves_its_source():
    make_chain()
    before = [digest(p) for p in ('a.raw', 'base.qcow2', 'top.qcow2')]
    for source in ('a.raw', 'top.qcow2'):
        # A target each: the kernel may give up the locks of a killed process a little later.
        code, _ = stopped(signal.SIGKILL, 'convert', '-r', '1M', '-O', 'qcow2', source, f'to-{source}')
        assert code == -signal.SIGKILL
    assert [digest(p) for p in ('a.raw', 'base.qcow2', 'top.qcow2')] == before


def a_copy_whose_call_fails(call, loop, more):
    # If nothing had to be waited for, which happens on a busy machine, there was no such call.
    for _ in range(20):
        done = img('convert', '-t', 'none', '-T', 'none', '-W', '-f', 'raw', *more, 'a.raw', 't', code=None,
                   env={'LD_PRELOAD': str(BUILD / 'preload/fail.so'), 'FERRY_LOOP': loop,
                        'FAIL_CALL': call, 'FAIL_NTH': '1', 'FAIL_ERRNO': '24', 'FAIL_TELL': '1'})
        if f'{call} fails' in done.stderr:
            break
    assert done.returncode == 1, done
    done.stderr = done.stderr.replace(f'{call} fails\n', '')
    return done


@case
def a_copy_that_must_end_on_the_spot_names_its_target():
    """The loop gets no ring, or no descriptor to wait on, and cannot go on."""
    require(PRELOADABLE, 'sanitizers want to be preloaded alone')
    make_source()
    before = digest('a.raw')
    for call, loop in (('io_uring_queue_init_params', 'uring'), ('eventfd', 'epoll')):
        for more in (['-O', 'qcow2'], ['-n', '-O', 'raw']):
            img('create', '-q', '-f', 'raw', 't', '8M')
            done = a_copy_whose_call_fails(call, loop, more)
            names_incomplete(done.stderr, 't')
            os.unlink('t')
    assert digest('a.raw') == before


def needs_space():
    require(shutil.disk_usage('.').free > 9 << 30, 'not enough space here for slow preallocation')


@case
def a_stopped_create_names_its_file():
    needs_space()
    for fmt in ('raw', 'qcow2'):
        code, err = stopped(signal.SIGTERM, 'create', '-q', '-f', fmt, '-o', 'preallocation=full', 't',
                            '8G', after=0.3)
        assert code == -signal.SIGTERM, code
        names_incomplete(err, 't')
        os.unlink('t')


@case
def a_stopped_resize_leaves_a_usable_image():
    needs_space()
    for fmt in ('raw', 'qcow2'):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            img('create', '-q', '-f', fmt, 't', '1M')
            io('t', 'write -P 1 0 1M')
            code, err = stopped(sig, 'resize', '-f', fmt, '--preallocation=full', 't', '8G', after=0.3)
            assert code == -sig, (code, err)
            assert sig == signal.SIGKILL or re.match("qemu-img: Interrupted: 't' has", err), err
            io('t', 'read -P 1 0 1M')
            assert fmt == 'raw' or is_sound('t')
            os.unlink('t')


@case
def a_stopped_amend_says_what_the_image_has():
    secrets = ['--object', 'secret,id=s,data=x', '--object', 'secret,id=t,data=y']
    img('create', '-q', *secrets, '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 't', '1M')
    code, err = stopped(signal.SIGTERM, 'amend', *secrets, '--image-opts', '-o',
                        'state=active,new-secret=t,iter-time=20000', 'driver=luks,key-secret=s,file.filename=t')
    assert code == -signal.SIGTERM, code
    assert re.match("qemu-img: Interrupted: '.*' has its old options", err), err
    img('convert', *secrets, '--image-opts', '-O', 'raw', 'driver=luks,key-secret=s,file.filename=t', 'r')


@case
def a_loop_of_a_shell_ends_with_its_program():
    """bash goes on after an interrupt unless the program died of it."""
    make_source()
    loop = subprocess.Popen(['bash', '-c', f'for i in 1 2 3; do echo $i; {IMG} convert -r 1M -f raw '
                             '-O raw a.raw t; done'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not os.path.exists('t') or not os.path.getsize('t'):
        time.sleep(0.01)
    time.sleep(0.5)
    os.killpg(loop.pid, signal.SIGINT)
    out, err = loop.communicate(timeout=60)
    assert out == '1\n', out
    names_incomplete(err, 't')


def ignored(sig):
    return lambda: signal.signal(sig, signal.SIG_IGN)


def blocked(sig):
    return lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [sig])


@case
def signals_that_the_parent_ignores_or_blocks_stay_so():
    make_source()
    for sig in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        for how in (ignored, blocked):
            process = subprocess.Popen([IMG, 'convert', '-r', '8M', '-f', 'raw', '-O', 'raw', 'a.raw', 't'],
                                       stderr=subprocess.PIPE, text=True, preexec_fn=how(sig))
            while not os.path.exists('t'):
                time.sleep(0.01)
            time.sleep(0.2)
            process.send_signal(sig)
            err = process.communicate(timeout=60)[1]
            assert process.returncode == 0 and err == '', (sig, how, process.returncode, err)
            assert digest('t') == digest('a.raw')
            os.unlink('t')


main('unfinished')
