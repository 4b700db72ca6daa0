#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of qemu-system-x86_64: nothing is ignored, and what is wrong is told by name."""
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import TOP, case, main, require, run
from guests import EMULATOR, REFERENCE_EMULATOR, emulate

PAGE = TOP / 'docs/man/qemu-system-x86_64.1'


def refused(*options):
    """What it says when it does not start."""
    done = emulate(*options, code=1)
    lines = done.stderr.splitlines()
    assert not done.stdout and lines and lines[0].startswith('qemu-system-x86_64: '), done
    return done.stderr


def help_options():
    text = run(EMULATOR, '-help').stdout
    return set(re.findall(r'(?m)^  -([\w-]+)', text))


@case
def help_and_page_know_the_same_options():
    section = re.search(r'(?ms)^\.SH OPTIONS$(.*?)^\.SH ', PAGE.read_text())[1].replace('\\-', '-')
    page = set()
    for head in re.findall(r'(?m)^\.TP\n(\..*)$', section):
        page |= set(re.findall(r'(?<![\w-])-([a-zA-Z][\w-]*)', head.split(' "', 2)[0] if
                               head.startswith('.BI') else head))
    known = help_options()
    assert len(known) > 30, known
    assert page - {'h'} == known, (page ^ known)


def completions(*words):
    """What bash offers for the last of @words."""
    script = TOP / 'scripts/completion/qemu-system-x86_64'
    line = f"COMP_WORDS=('{EMULATOR}' {' '.join(repr(w) for w in words)}); COMP_CWORD={len(words)}"
    said = run('bash', '-c', f'compopt() {{ :; }}; . {script}; {line}; _qemu_system_x86_64; '
               'printf "%s\\n" "${COMPREPLY[@]}"')
    return set(said.stdout.split())


@case
def the_shell_completes_options_and_values():
    assert completions('-') == {'-' + n for n in help_options()}
    assert completions('-machine', '') == {'microvm', 'none'}
    assert completions('--accel', 't') == {'tcg'}
    assert 'Nehalem' in completions('-cpu', 'N') and 'virtio-rng-device' in completions('-device', 'virtio-r')
    assert 'secret' in completions('-object', 'sec') and completions('-gdb', 't') == {'tcp:'}
    assert completions('-smp', '') == set()


@case
def every_option_of_the_reference_works_or_is_refused_by_name():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    text = run(REFERENCE_EMULATOR, '-help').stdout
    names = {n for head in re.findall(r'(?m)^-[\w/-]+', text) for n in
             re.findall(r'-{1,2}([A-Za-z][\w-]*)', head.replace('/', ' '))}
    assert len(names) > 100, names
    known = help_options() | {'h'}
    for name in sorted(names - known):
        said = refused('-' + name, 'x')
        assert 'is not there' in said, (name, said)


@case
def nonsense_is_refused():
    assert 'invalid option' in refused('-nonsense')
    assert 'requires an argument' in refused('-m')
    assert 'unsupported machine type' in refused('-M', 'pc')
    assert 'not found' in refused('-M', 'microvm,nonsense=on')
    assert "'pcie=on' is not there" in refused('-M', 'microvm,pcie=on')
    assert "only 'split'" in refused('-accel', 'kvm,kernel-irqchip=on')
    assert "'kernel-irqchip' does not accept value 'x'" in refused('-M', 'microvm,kernel-irqchip=x')
    assert "'kvm-shadow-mem' is not there" in refused('-accel', 'kvm,kvm-shadow-mem=4096')
    assert "expects a power of two, not '1000'" in refused('-accel', 'kvm,dirty-ring-size=1000')
    assert "'kvm-accel.nonsense' not found" in refused('-accel', 'kvm,nonsense=1')
    assert "'tcg-accel.kernel-irqchip' not found" in refused('-accel', 'tcg,kernel-irqchip=split')
    assert 'requires KVM' in refused('-cpu', 'host')
    assert "'vmx' is not emulated" in refused('-cpu', 'qemu64,+vmx,enforce')
    assert "did you mean 'Haswell'" in refused('-cpu', 'Haswel')
    assert "did you mean 'sse4." in refused('-cpu', 'max,+sse4.3')
    assert 'expects a size' in refused('-m', '12x')
    assert '2 MiB' in refused('-m', '1')
    assert 'max CPUs supported' in refused('-smp', '300')
    assert 'not a valid device model name' in refused('-device', 'nonsense')
    assert 'not a valid device model name' in refused('-device', 'mc146818rtc')
    assert 'drive property not set' in refused('-device', 'virtio-blk-device')
    assert "can't find value 'x'" in refused('-device', 'virtio-blk-device,drive=x')
    assert "not found" in refused('-device', 'isa-debug-exit,nonsense=1')
    assert 'belong to another' in refused('-device', 'isa-debug-exit,iobase=0x20')
    assert 'Ports end' in refused('-device', 'isa-debug-exit,iobase=0xffffffff')
    assert 'UUID' in refused('-uuid', '1234')
    assert 'only' in refused('-display', 'gtk')
    assert 'is no character device' in refused('-monitor', 'nonsense')
    assert 'is no character device' in refused('-serial', 'nonsense')


def without_kvm(*options, program=EMULATOR):
    """What is said where no /dev/kvm is."""
    require(not os.path.exists('/dev/kvm'), 'there is KVM')
    done = run(program, '-M', 'microvm', '-display', 'none', '-nodefaults', *options, code=1)
    assert not done.stdout
    return done.stderr.split('\n')


@case
def an_accelerator_that_is_not_there_gives_way_to_the_next():
    for options in ('-accel', 'kvm', '-accel', 'tcg'), ('-accel', 'kvm:tcg'), ('-M', 'microvm,accel=kvm:tcg'), \
            ('-enable-kvm', '-accel', 'tcg'):
        said = without_kvm(*options, '-kernel', 'absent')
        assert said[0] == 'Could not access KVM kernel module: No such file or directory', said
        assert said[1].endswith("warning: the accelerator 'kvm' cannot be had: falling back to 'tcg'"), said
        assert 'could not open' in said[2], said
    said = refused('-accel', 'tcg', '-accel', 'kvm', '-kernel', 'absent')
    assert 'KVM' not in said and 'could not open' in said, said
    assert "'xen' is not there" in refused('-accel', 'xen:tcg')


@case
def where_there_is_no_kvm_its_absence_is_told_as_the_reference_tells_it():
    for options in ('-accel', 'kvm'), ('-enable-kvm',), ('-M', 'microvm,accel=kvm'), \
            ('-accel', 'kvm,kernel-irqchip=split'):
        said = without_kvm(*options)
        assert len(said) == 3 and said[1].startswith('qemu-system-x86_64: ') and not said[2], said
        if REFERENCE_EMULATOR.exists():
            assert without_kvm(*options, program=REFERENCE_EMULATOR)[0] == said[0]
    assert run(EMULATOR, '-accel', 'help').stdout == 'Accelerators supported in QEMU binary:\ntcg\nkvm\n'


@case
def kernels_that_are_none_are_refused():
    pathlib.Path('empty').touch()
    pathlib.Path('zeroes').write_bytes(bytes(1 << 16))
    assert 'could not open' in refused('-kernel', 'absent')
    assert 'not a Linux kernel' in refused('-kernel', 'empty')
    assert 'not a Linux kernel' in refused('-kernel', 'zeroes')


@case
def models_are_listed_with_their_flags():
    text = run(EMULATOR, '-cpu', 'help').stdout
    for word in ('max', 'qemu64', 'qemu32', 'Nehalem', 'Haswell', 'EPYC', 'Recognized CPUID flags:'):
        assert word in text, text
    said = subprocess.run([EMULATOR, '-M', 'microvm', '-cpu', 'Haswell', '-kernel', 'absent'],
                          capture_output=True, text=True).stderr
    assert "warning: the CPU flag 'rtm'" in said, said
    assert "'aes'" not in said, said


main('options', 'system')
