#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor for people: what scripts read of it is as the reference's, and a terminal edits lines."""
import contextlib
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require
from emulator import Emulator
from guests import EMULATOR, REFERENCE_EMULATOR, build
from qmp import PATIENCE, wait_for

MACHINE = ('-M', 'microvm', '-display', 'none', '-nodefaults')


def masked(text):
    text = re.sub(r'thread_id=\d+', 'thread_id=0', text)
    text = re.sub(r'is 0x[0-9a-f]+', 'is 0x0', text)
    return re.sub(r'Try "help (print|p)"', 'Try "help p"', text)


SAME = [
    'info status', 'info uuid', 'info name', 'info cpus', 'info mem', 'info tlb',
    'info chardev', 'info numa', 'info memdev', 'info memory_size_summary', 'info block-jobs',
    'info irq', 'foo', 'info foo', 'stop', 'info status x', 'cpu 7', 'cpu', 'cpu 1', 'device_add x',
    'device_del x', 'chardev-add null,id=y', 'chardev-remove y', 'chardev-remove y',
    'object_del t', 'block_job_cancel x', 'nbd_server_stop', 'gpa2hva 0', 'gpa2hva 0xfff00000000',
    'gpa2hva 0xfee00000', 'gva2gpa 0x1000', 'xp /4xb 0x100000', 'xp /20dh 0x100000',
    'xp /20uw 0x100000', 'xp /5dg 0x100000', 'xp /20cb 0x100000', 'xp /10ob 0x100000',
    'xp /10og 0x100000', 'x /20cw 0x100000', 'x /9xw 0x100000', 'xp/2xb 0xf0000000', 'x /s 0', 'x', 'xp /x 0x100000',
    'p /x 1+2', 'p $eax', 'p $cs', 'p $cs.base', 'p $eflags', 'p /d 255', 'p /c 65', 'p 7/2', 'p /c 300',
    'p $nonsense', 'p 1 +', 'p /o 8', 'p -1', 'p /x -1', 'p 5%3', 'p 5/0', 'p 6&3', 'p ~1', 'p (1',
]


@case
def answers_are_those_of_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    options = ('-S', '-m', '64', '-smp', '2')
    with Emulator(*options) as ours, Emulator(*options, program=REFERENCE_EMULATOR) as theirs:
        for line in SAME:
            a, b = (masked(side.say(line)) for side in (ours, theirs))
            assert a == b, (line, a, b)


@case
def registers_are_shown_as_there():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    shapes = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        with Emulator('-m', '64', '-S', '-smp', '2', program=program) as e:
            text = e.say('info registers -a')
            # Values differ where firmware would set them; the lines and their columns may not.
            shapes.append(re.sub('[0-9a-f]{2,}', lambda m: 'h' * len(m[0]), re.sub('HLT=.', '', text)))
    assert shapes[0] == shapes[1], shapes


@case
def a_running_guest_is_looked_at():
    with Emulator('-kernel', build('end'), '-m', '64', '-append', 'halt', '-serial', 'file:out') as e:
        wait_for('out')
        deadline = time.monotonic() + PATIENCE
        while 'HLT=1' not in e.say('info registers'):
            assert time.monotonic() < deadline
        text = e.say('info registers')
        assert re.search('RAX=[0-9a-f]{16} RBX=.*RCX=.*RDX=[0-9a-f]{16}\r\n', text), text
        assert re.search(r'CS =0010 0{16} f{8} 00af9b00 DPL=0 CS64 \[-RA\]\r\n', text), text
        assert 'XMM14=' in text and 'GDT=     00000000' in text, text
        assert e.say('p /x $rip') == '0x' + re.search('RIP=0*([0-9a-f]+)', text)[1] + '\r\n'
        assert e.say('info mem') == '0000000000000000-0000000100000000 0000000100000000 -rw\r\n'
        pages = e.say('info tlb').splitlines()
        assert len(pages) == 2048 and pages[1].startswith('0000000000200000: 0000000000200000 --P'), pages[:3]
        code = e.say('x /2i $rip')
        assert len(code.splitlines()) == 2 and re.match('0x[0-9a-f]{8,16}:  ', code), code


@case
def controllers_and_maps_are_shown():
    with Emulator('-S', '-m', '64', '-device', 'virtio-rng-device,id=r') as e:
        assert e.say('info pic').count('pin ') == 48
        assert 'LVTT' in e.say('info lapic') and 'SPIV' in e.say('info lapic')
        tree = e.say('info mtree')
        assert '00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\r\n' in tree, tree
        assert '0000000000000070-0000000000000071 (prio 0, i/o): rtc\r\n' in tree, tree
        assert 'dev: virtio-rng-device, id "r"' in e.say('info qtree')
        assert 'virtio-rng-device' in e.say('info qdm')
        assert re.match('portb.0x0071. = 0x[0-9a-f]{2}\r\n', e.say('i /b 0x71'))
        assert 'info status  -- ' in e.say('help info')
        assert 'memsave' in e.say('help')


@case
def memory_is_saved():
    with Emulator('-kernel', build('end'), '-m', '64', '-append', 'halt', '-S') as e:
        assert e.answer('pmemsave', val=0x100000, size=65536, filename='p') == {}
        assert any(pathlib.Path('p').read_bytes())
        assert e.answer('memsave', val=0x100000, size=65536, filename='v') == {}
        assert pathlib.Path('v').read_bytes() == pathlib.Path('p').read_bytes()
        assert 'cpu-index' in e.answer('memsave', val=0, size=1, filename='v', cpu_index=3)['desc']
        assert 'Could not open' in e.answer('pmemsave', val=0, size=1, filename='/nonexistent/x')['desc']
        assert e.say('pmemsave 0x100000 512 "q"') == ''
        assert pathlib.Path('q').read_bytes() == pathlib.Path('p').read_bytes()[:512]


class Terminal:
    """The monitor on a pseudoterminal."""

    def __init__(self, *options):
        self.fd, inner = os.openpty()
        self.process = subprocess.Popen([EMULATOR, *MACHINE, '-S', '-m', '64', '-monitor', 'stdio',
                                         *options], stdin=inner, stdout=inner)
        os.close(inner)
        self.text = ''

    def until(self, text):
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], (text, self.text)
            # A read may end between the two.
            self.text = (self.text + os.read(self.fd, 4096).decode()).replace('\r\r\n', '\r\n')
        seen, self.text = self.text.split(text, 1)
        return seen

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


@case
def a_terminal_edits_completes_and_remembers():
    with contextlib.closing(Terminal()) as t:
        t.until("type 'help' for more information\r\n(qemu) ")
        t.type('info stXX\x7f\x7fatus\r')
        t.until('VM status: paused (prelaunch)\r\n(qemu) ')
        t.type('info nam\t\r')
        t.until('(qemu) ')
        t.type('info uu\t\r')
        t.until('00000000-0000-0000-0000-000000000000\r\n(qemu) ')
        t.type('system_\t\t')
        seen = t.until('(qemu) system_')
        for name in 'system_powerdown', 'system_reset', 'system_wakeup':
            assert name in seen, seen
        t.type('\x15p 5\x01\x1b[C\x1b[C4\x1b[D\x1b[D\x1b[H\r')
        t.until('0x2d\r\n(qemu) ')
        t.type('\x1b[A\x1b[A\x1b[B\r')
        t.until('0x2d\r\n(qemu) ')
        t.type('info history\r')
        seen = t.until('(qemu) ')
        assert "0: 'info status'" in seen and "p 45" in seen, seen
        t.type('q\r')
        assert t.process.wait(PATIENCE) == 0


@case
def a_socket_serves_one_person_after_the_other():
    with Emulator('-S', '-m', '64', '-monitor', 'unix:mon,server=on,wait=off') as e:
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(PATIENCE)
                s.connect('mon')
                got = b''
                s.sendall(b'info status\n')
                while b'VM status: paused (prelaunch)\r\n(qemu) ' not in got:
                    more = s.recv(4096)
                    assert more, got
                    got += more


@case
def the_guest_goes_on_after_it_was_looked_at():
    with Emulator('-kernel', build('end'), '-m', '64', '-append', 'ticks', '-serial', 'file:ticks') as e:
        wait_for('ticks')
        for _ in range(20):
            assert 'RIP=' in e.say('info registers')
        before = pathlib.Path('ticks').read_text().count('\n')
        deadline = time.monotonic() + PATIENCE
        while pathlib.Path('ticks').read_text().count('\n') < before + 2:
            assert time.monotonic() < deadline, 'it does not go on'
            time.sleep(.02)


main('hmp', 'system')
