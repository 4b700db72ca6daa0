#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What people are told when something goes wrong."""
import fcntl
import os
import pathlib
import pty
import re
import subprocess
import sys
import termios

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IMG, IO, case, img, io, main, require, run

NBD = str(BUILD / 'qemu-nbd')


def said(*command, code=1, **more):
    """Standard error of a command."""
    return run(*command, code=code, **more).stderr


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


# ---- did you mean ------------------------------------------------------------------------------

@case
def near_names_are_suggested():
    img('create', '-q', '-f', 'qcow2', 'q', '1M')
    for command, name in (
            ((IMG, 'inof', 'q'), 'info'), ((IMG, 'snapshots', 'q'), 'snapshot'), ((IMG, 'convert', '--taget-is-zero', 'q', 'x'), '--target-is-zero'),
            ((IMG, 'info', '--back-chain', 'q'), '--backing-chain'), ((IMG, 'info', '-f', 'qcwo2', 'q'), 'qcow2'),
            ((IMG, 'create', '-f', 'qocw2', 'x', '1M'), 'qcow2'), ((IMG, 'convert', '-O', 'qcow', 'q', 'x'), 'qcow2'),
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


main('messages')
