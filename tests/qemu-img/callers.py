#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What programs that run ours depend on: exit codes, help they search, wordings they match."""
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IMG, IO, case, img, io, main, require, run

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


main('callers')
