#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What -T turns on and off in each tool, and where its lines go."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, io, main, run

LINE = re.compile(r'\d+@(\d+\.\d{6}):(\w+) ')


def traced_run(*args, tool='qemu-img'):
    """(exit code, standard output, standard error) of @tool."""
    done = run(BUILD / tool, *args, code=None)
    return done.returncode, done.stdout, done.stderr


def make_image():
    img('create', '-q', '-f', 'qcow2', 'i', '1M')
    io('i', 'write 0 1M')


def traced(text):
    """The names of the points in @text, which has nothing but their lines."""
    lines = [LINE.match(line) for line in text.splitlines()]
    assert all(lines), text
    return {m[2] for m in lines}


@case
def list_is_whole_and_sorted():
    for tool in ('qemu-img', 'qemu-io', 'qemu-nbd'):
        code, out, _ = traced_run('-T', 'help', tool=tool)
        names = out.split()
        assert code == 0 and names == sorted(set(names)) and 'node_open' in names, (tool, out)
        assert traced_run('-T', 'enable=help', tool=tool) == (0, out, ''), tool


@case
def several_add_up():
    make_image()
    code, _, err = traced_run('-T', 'node_open', '-T', 'enable=node_c*', 'info', 'i')
    assert code == 0 and traced(err) == {'node_open', 'node_close'}, err


@case
def dash_turns_off():
    make_image()
    code, _, err = traced_run('-T', 'node_*', '-T', '-node_[!o]*', 'info', 'i')
    assert code == 0 and traced(err) == {'node_open'}, err


@case
def file_of_patterns():
    make_image()
    pathlib.Path('list').write_text('# comment\n\n  \nnode_*\n-node_c*\n -node_r*  \n')
    code, _, err = traced_run('-T', 'events=list', 'info', 'i')
    assert code == 0 and 'node_open' in traced(err) and not traced(err) & {'node_close', 'node_read'}, err


@case
def no_match_is_an_error():
    make_image()
    pathlib.Path('bad').write_text('node_open\nnosuch\n')
    for value, named in (('nosuch*', "'nosuch*'"), ('-nosuch', "'-nosuch'"), ('events=bad', 'bad:2: '),
                         ('', None), ('bogus=1', 'bogus=1'), ('events=absent', 'absent')):
        code, out, err = traced_run('-T', value, 'info', 'i')
        if named:
            assert (code, out, err.count('\n')) == (1, '', 1) and named in err, (value, err)
        else:
            assert code == 0 and not err, (value, err)


@case
def lines_go_to_the_file_in_order():
    make_image()
    code, _, err = traced_run('-T', '*,file=log', 'convert', '-O', 'qcow2', '-W', '-m', '8', 'i', 'o')
    log = pathlib.Path('log').read_text()
    times = [float(m[1]) for m in map(LINE.match, log.splitlines())]
    assert code == 0 and not err and 'copy_piece' in traced(log) and times == sorted(times), (err, log)


@case
def file_that_cannot_be_made():
    make_image()
    code, out, err = traced_run('-T', 'node_open,file=no/log', 'info', 'i')
    assert (code, out) == (1, '') and "'no/log'" in err and 'No such file' in err, err


@case
def full_disk_is_told_once():
    make_image()
    code, out, err = traced_run('-T', 'node_*,file=/dev/full', 'info', 'i')
    assert code == 0 and 'file format: qcow2' in out, out
    assert err.count('\n') == 1 and 'trace file' in err and 'No space left' in err, err


main('tracing')
