#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What -T turns on and off in each tool, and where its lines go."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
LINE = re.compile(r'\d+@(\d+\.\d{6}):(\w+) ')


def run(*args, tool='qemu-img'):
    done = subprocess.run([BUILD / tool, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, text=True)
    return done.returncode, done.stdout, done.stderr


def traced(text):
    """The names of the points in @text, which has nothing but their lines."""
    lines = [LINE.match(line) for line in text.splitlines()]
    assert all(lines), text
    return {m[2] for m in lines}


def list_is_whole_and_sorted():
    for tool in ('qemu-img', 'qemu-io', 'qemu-nbd'):
        code, out, _ = run('-T', 'help', tool=tool)
        names = out.split()
        assert code == 0 and names == sorted(set(names)) and 'node_open' in names, (tool, out)
        assert run('-T', 'enable=help', tool=tool) == (0, out, ''), tool


def several_add_up():
    code, _, err = run('-T', 'node_open', '-T', 'enable=node_c*', 'info', 'i')
    assert code == 0 and traced(err) == {'node_open', 'node_close'}, err


def dash_turns_off():
    code, _, err = run('-T', 'node_*', '-T', '-node_[!o]*', 'info', 'i')
    assert code == 0 and traced(err) == {'node_open'}, err


def file_of_patterns():
    pathlib.Path('list').write_text('# comment\n\n  \nnode_*\n-node_c*\n -node_r*  \n')
    code, _, err = run('-T', 'events=list', 'info', 'i')
    assert code == 0 and 'node_open' in traced(err) and not traced(err) & {'node_close', 'node_read'}, err


def no_match_is_an_error():
    pathlib.Path('bad').write_text('node_open\nnosuch\n')
    for value, named in (('nosuch*', "'nosuch*'"), ('-nosuch', "'-nosuch'"), ('events=bad', 'bad:2: '),
                         ('', None), ('bogus=1', 'bogus=1'), ('events=absent', 'absent')):
        code, out, err = run('-T', value, 'info', 'i')
        if named:
            assert (code, out, err.count('\n')) == (1, '', 1) and named in err, (value, err)
        else:
            assert code == 0 and not err, (value, err)


def lines_go_to_the_file_in_order():
    code, _, err = run('-T', '*,file=log', 'convert', '-O', 'qcow2', '-W', '-m', '8', 'i', 'o')
    log = pathlib.Path('log').read_text()
    times = [float(m[1]) for m in map(LINE.match, log.splitlines())]
    assert code == 0 and not err and 'copy_piece' in traced(log) and times == sorted(times), (err, log)


def file_that_cannot_be_made():
    code, out, err = run('-T', 'node_open,file=no/log', 'info', 'i')
    assert (code, out) == (1, '') and "'no/log'" in err and 'No such file' in err, err


def full_disk_is_told_once():
    code, out, err = run('-T', 'node_*,file=/dev/full', 'info', 'i')
    assert code == 0 and 'file format: qcow2' in out, out
    assert err.count('\n') == 1 and 'trace file' in err and 'No space left' in err, err


def main():
    os.chdir(tempfile.mkdtemp())
    run('create', '-q', '-f', 'qcow2', 'i', '1M')
    run('-c', 'write 0 1M', 'i', tool='qemu-io')
    failed = 0
    for test in (list_is_whole_and_sorted, several_add_up, dash_turns_off, file_of_patterns,
                 no_match_is_an_error, lines_go_to_the_file_in_order, file_that_cannot_be_made,
                 full_disk_is_told_once):
        try:
            test()
            print(f'ok {test.__name__}')
        except AssertionError as why:
            print(f'not ok {test.__name__} {why!r}')
            failed = 1
    return failed


if __name__ == '__main__':
    sys.exit(main())
