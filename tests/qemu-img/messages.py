#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What people are told when something goes wrong."""
import fcntl
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import termios
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IMG, IO, case, img, io, main, require, run
from this_run import PRELOADABLE

NBD = str(BUILD / 'qemu-nbd')


def said(*command, code=1, **more):
    """Standard error of a command."""
    return run(*command, code=code, **more).stderr


def on_a_terminal(*command, answer='', code=1, **more):
    """What a command shows on a terminal, where advice appears and passwords are asked for."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **more)
    os.close(terminal)
    text = b''
    while True:
        try:
            data = os.read(screen, 4096)
        except OSError:
            break
        if not data:
            break
        text += data
        if answer and text.endswith(b': '):
            os.write(screen, answer.pop(0).encode() if isinstance(answer, list) else answer.encode())
    os.close(screen)
    process.wait()
    assert code is None or process.returncode == code, (command, process.returncode, text)
    return text.decode().replace('\r\n', '\n')


# ---- options that do not exist -----------------------------------------------------------------

@case
def an_option_that_is_no_ascii_letter_is_unknown():
    for name, code in (('qemu-img', 1), ('qemu-io', 1), ('qemu-nbd', 1), ('qemu-storage-daemon', 1),
                       ('qemu-migrate', 2)):
        for byte in range(0x80, 0x100, 3):
            text = said(BUILD / name, os.fsdecode(bytes([ord('-'), byte])), code=code)
            assert f"Unknown or ambiguous option '-\\x{byte:02x}'" in text, (name, byte, text)


@case
def a_bundled_letter_that_is_unknown_is_named_alone():
    assert "option '-5'\n" in said(IMG, 'resize', '--shrink', '-512K', '-f', 'raw', 'a')


# ---- names that others chose -------------------------------------------------------------------

EVIL = 'b\x1b[2J\x1b]0;t\x07\nqemu-img: all is well\r\u202e\u009b31m'
SHOWN = r'b\x1b[2J\x1b]0;t\a\nqemu-img: all is well\r\u202e\u009b31m'


def is_harmless(text, lines=None):
    assert not re.search('[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]', text), repr(text)
    assert lines is None or text.count('\n') == lines, text


@case
def names_inside_images_cannot_move_the_cursor_or_fake_lines():
    img('create', '-q', '-u', '-f', 'qcow2', '-b', EVIL, '-F', 'raw', 'e', '1M')
    img('create', '-q', '-f', 'qcow2', '-b', 'e', '-F', 'qcow2', '-u', 'o', '1M')
    for command in ((IMG, 'map', 'e'), (IMG, 'convert', '-O', 'raw', 'e', 'x'), (IMG, 'convert', '--untrusted', 'e', 'x'),
                    (IMG, 'map', 'o'), (IMG, 'commit', 'e'), (IO, '-c', 'length', 'e'), (NBD, '-t', '-k', os.path.abspath('s'), 'e')):
        text = said(*command)
        assert SHOWN in text, text
        is_harmless(text, 1)
    text = said(IMG, '-T', 'node_*', 'map', 'e')
    assert SHOWN in text, text
    is_harmless(text)


@case
def names_of_the_command_line_are_shown_harmless_too():
    name = './' + EVIL
    pathlib.Path(name).write_bytes(bytes(1 << 20))
    for command in ((IMG, 'info', EVIL + 'x'), (IMG, EVIL), (IMG, 'info', '-f', EVIL, 'x'), (IMG, 'check', '-r', EVIL, 'x'),
                    (IMG, 'create', '-f', 'qcow2', '-o', EVIL + '=1', 'x', '1M'), (IO, '-c', 'length', EVIL + 'x'),
                    (IMG, 'info', f'json:{{"driver":"{EVIL.encode("unicode_escape").decode()}"}}')):
        is_harmless(said(*command))
    # The lines of a warning, of which callers of the reference know the words.
    is_harmless(said(IO, '-c', 'length', name, code=0), 3)
    with subprocess.Popen([IO, '-f', 'raw', name], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.read(1)
        is_harmless(said(IMG, 'resize', '-f', 'raw', name, '2M', code=None))
        is_harmless(said(IMG, 'convert', '-f', 'raw', '-O', 'raw', name, 'x', code=None))
        holder.stdin.close()
        holder.stdout.read()


# ---- passwords ---------------------------------------------------------------------------------

@case
def a_terminal_is_asked_for_the_password():
    secret = ['--object', 'secret,id=s,data=pass word']
    img('create', '-q', *secret, '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 'l', '1M')
    img('create', '-q', *secret, '-f', 'qcow2', '-o', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10',
        'q', '1M')
    for name in ('l', 'q'):
        for command in ((IMG, 'convert', '-O', 'raw', name, 'out'), (IO, '-c', 'read 0 512', name), (IMG, 'map', '--output=json', name)):
            text = on_a_terminal(*command, answer='pass word\n', code=0)
            assert text.startswith(f"Password of '{name}': \n") and 'pass word' not in text, text
            assert 'opens no key slot' in on_a_terminal(*command, answer='wrong\n')
            assert 'key-secret' in on_a_terminal(*command, answer='\x04')
        # Nobody is asked where there is no terminal, or a secret was named.
        assert 'key-secret' in said(IMG, 'map', name)
        key = 'key-secret' if name == 'l' else 'encrypt.key-secret'
        assert 'Password' not in on_a_terminal(IMG, 'map', '--output=json', *secret, '--image-opts', f'file.filename={name},{key}=s', code=0)
    text = on_a_terminal(IMG, 'amend', '--object', 'secret,id=t,data=two', '-o', 'state=active,new-secret=t,iter-time=10',
                         'l', answer=['pass word\n', 'pass word\n'], code=0)
    img('map', '--output=json', '--object', 'secret,id=t,data=two', '--image-opts', 'driver=luks,file.filename=l,key-secret=t')


@case
def an_interrupt_at_the_password_leaves_the_terminal_as_it_was():
    secret = ['--object', 'secret,id=s,data=x']
    img('create', '-q', *secret, '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 'l', '1M')
    screen, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen([IMG, 'map', 'l'], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    while b': ' not in os.read(screen, 100):
        pass
    time.sleep(0.1)
    assert not termios.tcgetattr(terminal)[3] & termios.ECHO
    os.write(screen, b'\x03')
    process.wait()
    assert process.returncode == -signal.SIGINT, process.returncode
    assert termios.tcgetattr(terminal) == before
    os.close(screen)
    os.close(terminal)


@case
def a_newline_at_the_end_of_a_secret_is_pointed_out():
    pathlib.Path('pass').write_text('secret\n')
    img('create', '-q', '--object', 'secret,id=s,data=secret', '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 'l', '1M')
    text = on_a_terminal(IMG, 'map', '--object', 'secret,id=s,file=pass', '--image-opts',
                         'driver=luks,file.filename=l,key-secret=s')
    assert 'ends in a newline' in text, text


# ---- ends --------------------------------------------------------------------------------------

@case
def requests_past_the_end_say_where_it_is():
    img('create', '-q', '-f', 'raw', 'r', '1M')
    for command in ('read 2M 512', 'read 1023k 2k', 'write 1M 1', 'write -z 1M 4k', 'discard 1M 4k', 'readv 1M 512'):
        text = on_a_terminal(IO, '-f', 'raw', '-c', command, 'r')
        assert 'failed: Input/output error\nHint: the image ends at 1048576' in text, text
    assert 'Hint' not in on_a_terminal(IO, '-f', 'raw', '-c', 'read 0 1M', 'r', code=0)


# ---- names, once and enough ---------------------------------------------------------------------

@case
def a_message_names_each_file_once():
    img('create', '-q', '--object', 'secret,id=s,data=x', '-f', 'luks', '-o', 'key-secret=s,iter-time=10', 'l', '1M')
    os.mkdir('folder')
    wrong = ['--object', 'secret,id=w,data=wrong', '--image-opts', 'driver=luks,file.filename=l,key-secret=w']
    for command, name in ((('map', *wrong), 'l'), (('map', 'nope'), 'nope'), (('create', '-q', '-f', 'raw', 'no/x', '1M'), 'no/x'),
                          (('create', '-q', '-f', 'qcow2', 'folder', '1M'), 'folder'), (('convert', '-f', 'raw', 'l', 'no/x'), 'no/x'),
                          (('map', '-f', 'luks', '/dev/null'), '/dev/null'), (('create', '-q', '-f', 'luks', 'n', '1M'), 'n')):
        text = said(IMG, *command)
        assert len(re.findall(rf"(?<![\w/]){name}(?!\w)", text)) == 1, (command, text)


@case
def an_error_of_a_server_names_it_once():
    """Single reads and writes that a server answers with an error, by every command."""
    for name in 'd', 'e':
        pathlib.Path(name).write_bytes(b'x' * (1 << 20))
    for event, commands in (
            ('read_aio', (['convert', '-f', 'raw', '-O', 'raw', 'URI', 'out'], ['checksum', '-f', 'raw', 'URI'],
                          ['compare', '-f', 'raw', '-F', 'raw', 'URI', 'd'],
                          ['dd', '-f', 'raw', '-O', 'raw', 'if=URI', 'of=out'])),
            ('write_aio', (['convert', '-n', '-f', 'raw', '-O', 'raw', 'e', 'URI'],))):
        server = subprocess.Popen([NBD, '-t', '-k', os.path.abspath('s'), '-e', '0',
                                   '--image-opts', 'driver=raw,'
                                   f'file.driver=blkdebug,file.inject-error.0.event={event},'
                                   'file.image.filename=d'], stderr=subprocess.DEVNULL)
        try:
            while not os.path.exists('s'):
                assert server.poll() is None
                time.sleep(0.02)
            uri = f'nbd+unix:///?socket={os.path.abspath("s")}'
            for command in commands:
                told = said(IMG, *[word.replace('URI', uri) for word in command],
                            code=4 if command[0] == 'compare' else 1)
                first = told.splitlines()[0]
                assert first.count(uri) == 1 and 'Input/output error' in first, (command, told)
        finally:
            server.terminate()
            server.wait()


@case
def only_what_was_written_to_may_be_incomplete():
    os.mkdir('folder')
    for fmt in ('raw', 'qcow2'):
        for more in ([], ['-o', 'preallocation=falloc']):
            assert 'incomplete' not in said(IMG, 'create', '-q', '-f', fmt, *more, 'folder', '1M')
    assert 'incomplete' not in said(IMG, 'create', '-q', '-f', 'raw', '-o', 'preallocation=falloc', '/dev/full', '1M')
    assert 'incomplete' in said(IMG, 'create', '-q', '-f', 'raw', '/dev/full', '0')


@case
def a_backing_file_that_is_missing_is_told_with_its_image():
    for below, name in (('gone', 'a'), ('a', 'b'), ('b', 'c')):
        img('create', '-q', '-u', '-f', 'qcow2', '-b', below, '-F', 'qcow2', name, '1M')
    for command in (('map', 'c'), ('convert', '-O', 'raw', 'c', 'x'), ('create', '-q', '-f', 'qcow2', '-b', 'c', '-F', 'qcow2', 'd')):
        assert "Could not open backing file of 'a': Could not open 'gone': No such file" in said(IMG, *command)


@case
def a_backing_file_given_as_it_is_stored_changes_no_name():
    """By whatever path: names are compared as files."""
    img('create', '-q', '-f', 'raw', 'r', '1M')
    img('create', '-q', '-f', 'raw', 'r2', '1M')
    img('create', '-q', '-f', 'qcow2', '-b', 'r', '-F', 'raw', 'm')
    os.symlink('r', 'soft')
    for path in ('r', './r', os.path.abspath('r'), 'soft', 'r2'):
        text = said(IO, '--image-opts', '-c', 'reopen -o driver=raw', 'driver=qcow2,file.filename=m,backing.driver=raw,'
                    f'backing.file.driver=file,backing.file.filename={path}')
        assert ("Driver 'qcow2' of 'm' " in text) == (path != 'r2'), (path, text)


@case
def features_that_version_2_lacks_are_named():
    for option, words in (('data_file=d', 'an external data file'), ('extended_l2=on', 'extended L2 entries'),
                          ('compression_type=zstd', 'a choice of compression')):
        img('create', '-q', '-f', 'qcow2', '-o', option, 'q', '1M')
        assert words in said(IMG, 'amend', '-o', 'compat=0.10', 'q'), option


@case
def a_file_system_without_direct_access_is_named_as_the_reason():
    require(PRELOADABLE, 'sanitizers want to be preloaded alone')
    img('create', '-q', '-f', 'raw', 'r', '1M')
    env = {'LD_PRELOAD': str(BUILD / 'preload/fail.so'), 'FAIL_CALL': 'open_direct', 'FAIL_NTH': '1', 'FAIL_ERRNO': '22'}
    for command in ((IMG, 'convert', '-T', 'none', '-f', 'raw', 'r', 'x'), (IO, '-f', 'raw', '-n', '-c', 'length', 'r'),
                    (IO, '-f', 'raw', '-c', 'reopen -c none', 'r'), (NBD, '-f', 'raw', '-n', '-k', os.path.abspath('s'), 'r')):
        text = said(*command, env=env)
        assert 'does not know O_DIRECT' in text, text


@case
def a_program_with_another_name_names_itself():
    for name in ('qemu-img', 'qemu-io', 'qemu-nbd'):
        os.symlink(BUILD / name, f'other-{name}')
        for args in (['--help'], ['--nonsense'], ['info', '--help'], ['nonsense']):
            done = run(os.path.abspath(f'other-{name}'), *args, code=None)
            told = [line for line in (done.stdout + done.stderr).splitlines() if re.search(r'Usage: |^Try |: Try ', line)]
            assert all(f'other-{name}' in line for line in told), told


# ---- did you mean ------------------------------------------------------------------------------

@case
def near_names_are_suggested():
    img('create', '-q', '-f', 'qcow2', 'q', '1M')
    for command, name in (
            ((IMG, 'inof', 'q'), 'info'), ((IMG, 'snapshots', 'q'), 'snapshot'), ((IMG, 'convert', '--taget-is-zero', 'q', 'x'), '--target-is-zero'),
            ((IMG, 'info', '--back-chain', 'q'), '--backing-chain'), ((IMG, 'info', '-f', 'qcwo2', 'q'), 'qcow2'),
            ((IMG, 'create', '-f', 'qocw2', 'x', '1M'), 'qcow2'), ((IMG, 'convert', '-O', 'qcw2', 'q', 'x'), 'qcow2'),
            ((IMG, 'create', '-f', 'qcow2', '-o', 'clustersize=64k', 'x', '1M'), 'cluster_size'),
            ((IMG, 'create', '-f', 'qcow2', '-o', 'lazy-refcount=on', 'x', '1M'), 'lazy_refcounts'),
            ((IMG, 'amend', '-o', 'compta=1.1', 'q'), 'compat'), ((IMG, 'info', '--image-opts', 'driver=qcow2,file.driver=file,file.filname=q'), 'filename'),
            ((IMG, 'info', '--image-opts', 'driver=qcow2,file.filename=q,lazy_refcounts=on'), 'lazy-refcounts'),
            ((IMG, 'info', '--image-opts', 'driver=qcow22,file.filename=q'), 'qcow2'),
            ((IMG, 'info', '--object', 'secrets,id=s,data=x', 'q'), 'secret'), ((IMG, 'info', '--object', 'secret,id=s,fil=x', 'q'), 'file'),
            ((IO, '--imageopts', 'q'), '--image-opts'), ((NBD, '--read_only', 'q'), '--read-only'), ((NBD, '--exportname=x', 'q'), '--export-name')):
        text = said(*command)
        assert f"did you mean '{name}'?" in text, (command, text)
    for command in ((IMG, 'frobnicate', 'q'), (IMG, 'info', '--xyz', 'q'), (IMG, 'info', '-f', 'iso9660', 'q'), (IMG, 'info', '-Z', 'q')):
        assert 'did you mean' not in said(*command), command
    assert "did you mean 'length'?" in on_a_terminal(IO, '-c', 'lenght', 'q')
    # Where a word has few values they are all named.
    for command, values in (((IMG, 'resize', '--preallocation=fallok', 'q', '2M'), 'off metadata falloc full'),
                            ((IMG, 'convert', '-t', 'write-back', 'q', 'x'), 'none writeback writethrough directsync unsafe'),
                            ((IMG, 'check', '-r', 'al', 'q'), 'leaks all'), ((IMG, 'info', '--output=jason', 'q'), 'human json'),
                            ((IMG, 'bench', '-i', 'uring', 'q'), 'threads native io_uring'),
                            ((IO, '-d', 'umap', 'q'), 'ignore unmap'), ((NBD, '--detect-zeroes=yes', 'q'), 'off on unmap')):
        text = said(*command)
        assert all(value in text for value in values.split()), (command, text)


# ---- locks -------------------------------------------------------------------------------------

@case
def locks_name_the_program_that_holds_them():
    img('create', '-q', '-f', 'qcow2', 'q', '1M')
    with subprocess.Popen([IO, 'q'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.read(1)
        for command in ('resize q 2M', 'info q', 'convert -O raw q x', 'snapshot -c s q'):
            text = said(IMG, *command.split())
            assert f' lock on \'q\', which is in use by qemu-io (process {holder.pid})\n' in text, text
            assert text.endswith('\nIs another process using the image [q]?\n'), text
        assert '-U' in on_a_terminal(IMG, 'info', 'q')
        img('info', '-U', 'q')
        holder.stdin.close()
        holder.stdout.read()


@case
def nobody_asks_a_dead_mount_who_holds_a_lock():
    """Some process, here this one, has a file open whose server does not answer."""
    require(PRELOADABLE, 'sanitizers want to be preloaded alone')
    img('create', '-q', '-f', 'qcow2', 'q', '1M')
    with open('dead-mount', 'wb'), \
            subprocess.Popen([IO, 'q'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.read(1)
        text = img('resize', 'q', '2M', code=1, timeout=20,
                   env={'LD_PRELOAD': str(BUILD / 'preload/hang.so')}).stderr
        assert f'in use by qemu-io (process {holder.pid})\n' in text, text
        holder.stdin.close()
        holder.stdout.read()


main('messages')
