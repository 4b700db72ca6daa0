#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What programs that run ours depend on: exit codes, help they search, wordings they match."""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IMG, IO, REFERENCE, case, img, io, main, require, require_root, run
from this_run import PRELOADABLE, TRACED

NBD = str(BUILD / 'qemu-nbd')
RESULTS = (['info', 'r'], ['info', '--output=json', 'r'], ['map', '-f', 'raw', 'r'], ['check', 'q'],
           ['snapshot', '-l', 'q'], ['measure', '-O', 'qcow2', 'r'], ['compare', '-f', 'raw', 'r', 'r'],
           ['checksum', '-f', 'raw', 'r'], ['--help'], ['info', '--help'], ['-V'],
           ['create', '-f', 'qcow2', 'n', '1M'])


def make_images():
    img('create', '-q', '-f', 'raw', 'r', '1M')
    img('create', '-q', '-f', 'qcow2', 'q', '1M')
    img('snapshot', '-c', 'one', 'q')


def into(file, *command):
    """Runs a command whose standard output is @file: its exit code and standard error."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


# ---- standard output ---------------------------------------------------------------------------

@case
def results_nobody_reads_any_more_are_no_failure():
    """qemu-img info r | head -1"""
    make_images()
    commands = [(IMG, *c) for c in RESULTS]
    commands += [(IO, '-f', 'raw', '-c', 'read -v 0 4k', 'r'), (NBD, '--help'), (NBD, '-V')]
    for command in commands:
        reader, writer = os.pipe()
        os.close(reader)
        assert into(writer, *command) == (0, ''), command
        os.close(writer)


@case
def a_copy_goes_on_when_nobody_reads_its_progress():
    make_images()
    io('r', 'write -P 7 0 1M')
    reader, writer = os.pipe()
    process = subprocess.Popen([IMG, 'convert', '-p', '-r', '1M', '-f', 'raw', '-O', 'raw', 'r', 'copy'],
                               stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    os.read(reader, 8)
    os.close(reader)
    assert process.communicate(timeout=60)[1] == '' and process.returncode == 0, process.returncode
    assert pathlib.Path('copy').read_bytes() == pathlib.Path('r').read_bytes()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([IMG, 'convert', f'--progress=json:{writer}', '-f', 'raw', '-O', 'raw', 'r', 'again'],
                          pass_fds=[writer], stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b'')


@case
def results_that_a_full_disk_lost_are_a_failure():
    """And no answer: 1 means that the images of compare differ."""
    make_images()
    io('q', 'write -P 7 0 1M')
    for command in (*RESULTS, ['compare', 'r', 'q']):
        code, err = into(open('/dev/full', 'w'), IMG, *command)
        assert err.endswith('Standard output could not be written\n'), (command, err)
        assert code >= 2 if command[0] == 'compare' else code == 1, (command, code)


# ---- help and versions ------------------------------------------------------------------------

def lines_of(*command):
    return run(*command).stdout.splitlines()


def reference(name):
    path = REFERENCE / name
    require(path.exists(), f'{name} of the reference is not there')
    return str(path)


def synopses(lines):
    return {line.split()[0]: line for line in lines if re.match(r'  [a-z]+ .*[\[=]', line)}


@case
def each_command_has_a_line_with_all_its_options():
    """libguestfs, avocado-vt, vdsm and nbdkit search the help for what this version can do."""
    wanted = {}
    for name, line in synopses(lines_of(reference('qemu-img'), '--help')).items():
        wanted[name] = set(re.findall(r'(?<![\w-])--?[A-Za-z][\w-]*', line)), line.rsplit('] ', 1)[-1]
    assert len(wanted) == 15, sorted(wanted)
    ours = synopses(lines_of(IMG, '--help'))
    for name, (options, words) in wanted.items():
        found = set(re.findall(r'(?<![\w-])--?[A-Za-z][\w-]*', ours[name]))
        assert options <= found, (name, options - found, ours[name])
        assert ours[name].endswith(words.split()[-1]), (ours[name], words)
        for how in ('-h', '--help'):
            assert ours[name] in lines_of(IMG, name, how), (name, how)
    # vdsm, lib/vdsm/storage/qemuimg.py
    assert re.search(r'^\s+bitmap (.+) filename bitmap', img('--help').stdout, re.MULTILINE)
    assert img('-h').stdout == img('--help').stdout


@case
def the_first_line_of_a_version_has_the_number_where_callers_take_it():
    for name in ('qemu-img', 'qemu-io', 'qemu-nbd'):
        theirs, ours = (lines_of(path, '--version')[0] for path in (reference(name), BUILD / name))
        assert re.sub(r' \(.*', '', ours) == re.sub(r'^\S*/| \(.*', '', theirs), (ours, theirs)
    assert re.match(r'qemu-img version ([0-9\.]*)', img('--help').stdout)[1]           # cinder
    version = lines_of(NBD, '--version')[0].split(None, 2)[1]                           # ovirt-imageio
    assert tuple(int(n) for n in version.split('.')) >= (7, 2, 0)


@case
def options_that_callers_look_for_in_the_help_of_the_server():
    """nbdkit, libnbd"""
    text = run(NBD, '--help').stdout
    for word in ('--list', '-B', 'pid-file', '-A', '--export-name', '--socket', '-t', '--fork'):
        assert word in text, word


# ---- wordings ----------------------------------------------------------------------------------

@case
def messages_of_the_system_are_in_english_under_any_locale():
    """Whoever looks for 'No such file or directory' sets no locale."""
    env = {'LC_ALL': 'C.UTF-8', 'LANGUAGE': 'de:fr'}
    for command in ((IMG, 'info', 'nope'), (IO, '-f', 'raw', 'nope'), (NBD, '-f', 'raw', 'nope')):
        done = run(*command, code=1, env=env)
        assert 'No such file or directory' in done.stderr, done.stderr
        if shutil.which('strace') and PRELOADABLE:
            done = run('strace', '-f', '-e', 'trace=openat', *command, code=1, env=dict(env, **TRACED))
            assert 'libc.mo' not in done.stderr, done.stderr


@contextlib.contextmanager
def device(size='1M'):
    """A loop device."""
    require_root()
    run('truncate', '-s', size, 'backing')
    done = run('losetup', '-f', '--show', 'backing', code=None)
    require(done.returncode == 0, 'no loop devices here')
    try:
        yield done.stdout.strip()
    finally:
        run('losetup', '-d', done.stdout.strip())


@case
def a_device_that_cannot_be_preallocated_says_so_in_known_words():
    """containerized-data-importer then tries the next mode."""
    make_images()
    words = "Unsupported preallocation mode 'falloc'"
    option = ['-o', 'preallocation=falloc']
    with device() as where:
        for command in (['convert', '-f', 'raw', '-O', 'raw', *option, 'r', where],
                        ['create', '-f', 'raw', *option, where, '1M']):
            assert words in img(*command, code=1).stderr, command
    assert words.replace('falloc', 'metadata') in img('create', '-f', 'raw', '-o', 'preallocation=metadata',
                                                      'new', '1M', code=1).stderr


@case
def formats_without_a_check_say_so_in_known_words():
    """avocado-vt"""
    make_images()
    done = img('check', '-f', 'raw', 'r', code=63)
    assert 'This image format does not support checks' in done.stderr, done.stderr


@case
def locks_and_full_disks_are_told_in_known_words():
    make_images()
    with subprocess.Popen([IO, 'q'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.read(1)
        for command, words in ((['resize', 'q', '2M'], 'Failed to get "write" lock'),
                               (['info', 'q'], 'Failed to get shared "write" lock')):
            done = img(*command, code=1)
            assert words in done.stderr, done.stderr
            assert done.stderr.endswith('Is another process using the image [q]?\n'), done.stderr
        holder.stdin.close()
        holder.stdout.read()
    require_root()
    os.mkdir('full')
    run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'none', 'full')
    try:
        io('r', 'write -P 7 0 1M')
        assert 'No space left on device' in img('convert', '-f', 'raw', '-O', 'raw', 'r', 'full/t', code=1).stderr
    finally:
        run('umount', 'full')


main('callers')
