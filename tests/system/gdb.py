#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The server of gdb's protocol, used by a real gdb on a small guest."""
import contextlib
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require, run
from guests import EMULATOR, build, emulate
from migrating import source
from qmp import PATIENCE, request, wait_for


@contextlib.contextmanager
def guest(*options, append='ticks', cpus=1):
    p = subprocess.Popen([EMULATOR, '-M', 'microvm', '-display', 'none', '-nodefaults', '-m', '64', '-smp',
                          str(cpus), '-kernel', build('end'), '-append', append, '-gdb', 'unix:gdb.sock',
                          '-serial', 'file:out', *options])
    try:
        wait_until(lambda: pathlib.Path('gdb.sock').exists())
        yield p
    finally:
        p.kill()
        p.wait()
        pathlib.Path('gdb.sock').unlink(missing_ok=True)
        pathlib.Path('out').unlink(missing_ok=True)


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(.02)


def gdb(*commands):
    require(shutil.which('gdb'), 'no gdb')
    elf = build('end').parent / 'elf'
    words = [w for c in ('set confirm off', 'set pagination off', 'target remote gdb.sock', *commands)
             for w in ('-ex', c)]
    done = run('gdb', '-q', '-nx', '-batch', elf, *words, code=None, timeout=PATIENCE)
    return done.stdout + done.stderr


def receive(c):
    text = b''
    while not re.search(rb'\$([^#]*)#..$', text):
        more = c.recv(4096)
        assert more, text
        text += more
    c.sendall(b'+')
    return re.search(rb'\$([^#]*)#..$', text)[1].decode()


def packet(c, text):
    """What the server answers to @text."""
    c.sendall(f'${text}#{sum(text.encode()) & 255:02x}'.encode())
    return receive(c)


@case
def breakpoints_steps_and_registers():
    with guest('-S'):
        said = gdb('break *&guest', 'continue', 'print $pc == (long)&guest', 'info breakpoints', 'x/i $pc',
                   'stepi', 'print $pc != (long)&guest', 'stepi', 'delete', 'hbreak *&guest',
                   'set var $rax = 0x123456789abcdef0', 'print/x $rax', 'print/x $eax',
                   'print $xmm3.uint128', 'set var $xmm3.uint128 = 77', 'print $xmm3.uint128',
                   'print $mxcsr', 'print/x $cs', 'info registers rip eflags')
    assert said.count('= 1\n') == 2, said
    assert 'hit 1 time' in said and '= 0x123456789abcdef0' in said and '= 0x9abcdef0' in said, said
    assert '= 77' in said and 'eflags' in said, said
    assert not re.search('(?i)error|warning: .*(regist|packet)', said), said


@case
def memory_is_read_and_written():
    with guest('-S'):
        said = gdb('print/x *(int *)0x300000', 'set var *(int *)0x300000 = 0x11223344',
                   'print/x *(int *)0x300000', 'x/4xb 0x300000', 'print *(int *)0xffffff0000000000')
    assert '= 0x11223344' in said and '0x44\t0x33\t0x22\t0x11' in said, said
    assert 'Cannot access memory at address 0xffffff0000000000' in said, said


@case
def a_watchpoint_stops_where_memory_changes():
    with guest('-S'):
        said = gdb('break *&guest', 'continue', 'delete', 'set var *(long *)($sp - 8) = 12345',
                   'watch *(long *)($sp - 8)', 'continue', 'delete', 'rwatch *(int *)0x7228', 'continue')
    assert 'Old value = 12345' in said and 'New value' in said, said
    assert 'Hardware read watchpoint' in said and 'Value = 131072' in said, said


@case
def a_running_guest_is_interrupted_and_goes_on():
    with guest() as p:
        wait_for('out')
        said = gdb('print $pc != 0', 'detach')
        assert '= 1\n' in said, said
        before = pathlib.Path('out').read_text().count('\n')
        wait_until(lambda: pathlib.Path('out').read_text().count('\n') > before + 1)
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(PATIENCE)
            c.connect('gdb.sock')
            assert packet(c, 'Hg0') == 'OK' and packet(c, '?').startswith('T05thread:01')
            c.sendall(b'$vCont;c#a8')
            before = pathlib.Path('out').read_text().count('\n')
            wait_until(lambda: pathlib.Path('out').read_text().count('\n') > before + 1)
            c.sendall(b'\x03')
            assert receive(c).startswith('T02thread:01')
            # What is damaged is sent again; what is not known is answered by nothing.
            c.sendall(b'$m0,4#00')
            assert c.recv(1) == b'-'
            assert packet(c, 'nonsense') == '' and packet(c, 'mzz') == 'E14' and packet(c, 'Z9,0,1') == ''
            assert packet(c, 'm0,ffffffff') == 'E14' and packet(c, 'P999=00') == 'E22'
            c.sendall(b'$k#6b')
        assert p.wait(PATIENCE) == 0


@case
def a_device_that_is_taken_already_ends_the_start():
    said = emulate('-S', '-chardev', 'null,id=c', '-serial', 'chardev:c', '-gdb', 'chardev:c', code=1)
    assert "-gdb: " in said.stderr, said
    said = emulate('-S', '-gdb', 'unix:/absent/x', code=1)
    assert '-gdb: ' in said.stderr and '/absent/x' in said.stderr, said


@case
def processors_are_threads_and_the_monitor_answers():
    with guest('-S', cpus=3):
        said = gdb('info threads', 'thread 2', 'print/x $pc', 'monitor info status', 'monitor info cpus')
    assert all(f'CPU#{i}' in said for i in range(3)), said
    assert '[Switching to thread 2' in said and 'VM status: paused (debug)' in said or \
        'VM status: paused (prelaunch)' in said, said


@case
def a_guest_that_is_being_saved_does_not_go_on():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '8M')
    with source('-gdb', 'unix:gdb.sock', '-object', 'throttle-group,id=slow,x-bps-write=1000000', '-blockdev',
                'throttle,node-name=t,throttle-group=slow,file.driver=file,file.filename=a.qcow2',
                '-blockdev', 'qcow2,node-name=a,file=t') as e, socket.socket(socket.AF_UNIX) as c:
        e.await_rounds()
        c.settimeout(PATIENCE)
        c.connect('gdb.sock')
        assert packet(c, '?').startswith('T05')
        c.sendall(b'$vCont;c#a8')
        e.await_rounds()
        seen = len(e.rounds())
        e.send(request('snapshot-save', job_id='j', tag='x', vmstate='a', devices=['a']).encode() + b'\n')
        assert receive(c).startswith('T02thread:01')
        assert packet(c, 'vCont;c') == 'E16' and packet(c, 'vCont;s') == 'E16'
        assert len(e.rounds()) <= seen + 2
        e.ask(request('query-name'))    # comes after the answer to the command before
        wait_until(lambda: e.answer('query-jobs')[0]['status'] == 'concluded')
        assert 'error' not in e.answer('query-jobs')[0]
        e.await_rounds()
        wanted = e.rounds()
        assert wanted == list(range(1, len(wanted) + 1)), wanted


main('gdb', 'system')
