#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on the host's processors, by KVM: to their end, with Linux, and from tcg to KVM and back.

Where this machine has no /dev/kvm, all of it runs on an emulated machine that has: there processors of
processors are emulated, and are slow.
"""
import hashlib
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import emulated_host
from cases import BUILD, case, main
from emulator import wait_for
from guests import build, run_guest
from linux_guest import boot, ramdisk
from migrating import Mover, check_moved, source, target

KVM = ('-accel', 'kvm')
TIMEOUT = 900
# What KVM's local APIC does otherwise than ours, and what depends on how fast the guest is.
OTHERWISE = 'apic: version and vectors', 'apic: a vector below 16 is an error', 'i8254: it counts down'


def move(a, uri):
    """However slow this machine is: what is written while memory goes may take a minute to send."""
    assert a.answer('migrate-set-parameters', downtime_limit=60000) == {}
    a.migrate(uri)


@case
def a_bare_guest_finds_its_devices():
    said = run_guest('devices', *KVM, '-cpu', 'max', '-m', '64')
    bad = [line for line in said.splitlines() if line.strip() and not line.startswith('ok ')]
    assert all(line.removeprefix('not ok ').startswith(OTHERWISE) for line in bad), bad
    assert said.count('\nok ') > 45, said


@case
def it_is_stopped_looked_at_and_reset():
    with source('-S', accel='kvm') as a:
        assert a.answer('query-kvm') == {'enabled': True, 'present': True}
        assert a.state() == 'prelaunch' and a.answer('cont') == {}
        a.await_rounds()
        info = a.answer('human-monitor-command', command_line='info kvm')
        assert info == 'kvm support: enabled\r\n', info
        assert a.answer('stop') == {} and a.state() == 'paused'
        registers = a.answer('human-monitor-command', command_line='info registers')
        rip = int(re.search('RIP=([0-9a-f]+)', registers).group(1), 16)
        assert 0x100000 <= rip < 0x200000, registers
        assert 'XMM15=0123456789abcdef 0123456789abcdef' in registers, registers
        seen = a.rounds()
        assert a.answer('cont') == {}
        a.await_rounds()
        assert a.rounds()[:len(seen)] == seen
        assert a.answer('system_reset') == {}
        wait_for(lambda: a.rounds().count(1) == 2)
        a.await_rounds()
        assert a.answer('query-cpu-model-expansion', type='full', model={'name': 'host'})['model']


@case
def a_guest_goes_from_tcg_to_kvm_and_back():
    """While it writes to all of its memory: what was written after it was sent is sent again."""
    model = '-cpu', 'qemu64'
    with source(*model) as a, target('unix:1.sock', *model, name='there', accel='kvm') as b, \
            target('unix:2.sock', *model, name='back') as c:
        a.await_rounds()
        move(a, 'unix:1.sock')
        check_moved(a, b)
        move(b, 'unix:2.sock')
        check_moved(a, b, c)


@case
def writes_are_told_by_rings_however_often_they_are_full():
    """The guest writes far more pages than the rings have room for, on two processors' rings."""
    with source('-smp', '2', accel='kvm,dirty-ring-size=1024') as a, \
            target('unix:m.sock', '-smp', '2', accel='kvm') as b:
        a.await_rounds()
        move(a, 'unix:m.sock')
        check_moved(a, b)


@case
def a_guest_whose_registers_cannot_be_read_does_not_move_but_goes_on():
    unreadable = pathlib.Path('unreadable')
    with source(accel='kvm', env={**os.environ, 'LD_PRELOAD': str(BUILD / 'preload/kvm-read.so')}) as a:
        a.await_rounds()
        for state in 'running', 'paused':
            unreadable.touch()
            if state == 'paused':
                assert a.answer('stop') == {}
            info = a.migrate('exec:cat >/dev/null', 'failed')
            assert info['error-desc'] == 'The state of processor 0 could not be read', info
            assert a.state() == state
            unreadable.unlink()
            assert a.answer('cont') == {}
            a.await_rounds()
        with target('unix:m.sock') as b:
            move(a, 'unix:m.sock')
            check_moved(a, b)


@case
def linux_boots_and_powers_off():
    kernel = ramdisk('echo "SUM $(/bin/busybox seq 2000 | /bin/busybox md5sum)"; echo "CLOCK '
                     '$(/bin/busybox cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"')
    said = boot(kernel, *KVM, '-cpu', 'qemu64')
    digest = hashlib.md5(''.join(f'{i}\n' for i in range(1, 2001)).encode()).hexdigest()
    assert 'UP 1' in said and f'SUM {digest}' in said and 'CLOCK kvm-clock' in said, said


def linux(name, kernel, *options):
    return Mover(name, '-m', '128', '-smp', '2', '-cpu', 'qemu64', '-kernel', kernel, '-initrd', 'initrd',
                    '-append', 'console=ttyS0 quiet panic=-1', *options, accel='kvm')


def ticks(*guests):
    return [int(n) for n in re.findall(r'tick (\d+)\n', ''.join(g.printed.read_text() for g in guests))]


@case
def linux_on_two_processors_goes_elsewhere():
    """Each prints in its turn."""
    kernel = ramdisk('i=0; while :; do i=$((i + 1)); /bin/busybox taskset $((1 + i % 2)) /bin/busybox echo '
                     '"tick $i"; /bin/busybox usleep 50000; done')
    with linux('here', kernel) as a, linux('there', kernel, '-incoming', 'unix:m.sock') as b:
        wait_for(lambda: len(ticks(a)) >= 4)
        assert 'UP 2' in a.printed.read_text()
        assert len(a.answer('query-cpus-fast')) == 2
        move(a, 'unix:m.sock')
        wait_for(lambda: len(ticks(b)) >= 4)
        seen = ticks(a, b)
        assert seen == list(range(1, len(seen) + 1)), seen


def in_emulated_host():
    if str(BUILD).startswith('/tmp/'):
        print('an emulated host has a /tmp of its own and does not see this build')
        sys.exit(77)
    words = sys.executable, '-B', pathlib.Path(__file__).resolve(), *sys.argv[1:]
    command = ' '.join(f"'{word}'" for word in words)
    folder = os.environ.get('FERRY_TEST_KERNEL', '')
    script = (f"FERRY_BUILD='{BUILD}' FERRY_TEST_KERNEL='{folder}' FERRY_GUESTS=$PWD FERRY_SLOWER=15 "
              f'exec {command}')
    files = {name: build(name) for name in ('devices', 'pages')}
    code, output = emulated_host.run(script, {'kvm_amd': ''}, TIMEOUT, files,
                                     ('-cpu', 'max,la57=off', '-m', '2G'))
    print(output, end='')
    sys.exit(code)


if os.access('/dev/kvm', os.R_OK | os.W_OK):
    main('kvm', 'system')
in_emulated_host()
