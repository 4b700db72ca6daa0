#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What starts a machine besides bzImages: ELF kernels by PVH and multiboot, firmware, and nothing."""
import pathlib
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require, run
from guests import EMULATOR, EXIT, GUESTS, emulate


def build(entry, *, multiboot=True, name='kernel'):
    require(shutil.which('gcc') and shutil.which('ld'), 'no compiler for guests')
    run('gcc', '-c', '-m32', '-o', 'boot32.o', GUESTS / 'boot32.S')
    run('ld', '-m', 'elf_i386', '-e', entry, '-Ttext=0x200000',
        '--section-start=.note.Xen=0x203000', '--build-id=none', '-z', 'noexecstack', '-o', name,
        'boot32.o')
    if not multiboot:
        data = pathlib.Path(name).read_bytes()
        pathlib.Path(name).write_bytes(data.replace(struct.pack('<I', 0x1badb002), bytes(4)))
    return name


def said(*options, code=1):
    done = emulate('-m', '64', '-serial', 'stdio', *EXIT, '-no-reboot', *options, code=code)
    assert not done.stderr, done.stderr
    return done.stdout


@case
def a_multiboot_kernel_starts():
    pathlib.Path('module').write_bytes(b'of a module\0')
    out = said('-kernel', build('start'), '-append', 'some words', '-initrd', 'module')
    assert out == 'ok multiboot some words\nof a module\n', out


@case
def a_kernel_with_an_entry_for_pvh_starts():
    pathlib.Path('module').write_bytes(b'of a module\0')
    out = said('-kernel', build('start', multiboot=False), '-append', 'some words', '-initrd', 'module')
    assert out == 'ok pvh some words\nof a module\n', out
    assert said('-kernel', 'kernel') == 'ok pvh \n'


@case
def damaged_elf_kernels_are_refused():
    data = pathlib.Path(build('start', multiboot=False)).read_bytes()
    for at, value, words in ((28, 0xfffffff0, 'not a Linux'), (42, 1, 'not a Linux'), (44, 0xffff, 'not a Linux')):
        bad = bytearray(data)
        struct.pack_into('<H' if at > 40 else '<I', bad, at, value)
        pathlib.Path('bad').write_bytes(bad)
        told = emulate('-m', '64', '-kernel', 'bad', code=1).stderr
        assert words in told, (at, told)
    table, = struct.unpack_from('<I', data, 28)
    for at, value, words in ((4, 0x7fffffff, 'cut off'), (12, 0xf0000000, 'wants memory'),
                             (16, 0x7fffffff, 'cut off'), (20, 0x7fffffff, 'wants memory')):
        bad = bytearray(data)
        struct.pack_into('<I', bad, table + at, value)
        pathlib.Path('bad').write_bytes(bad)
        told = emulate('-m', '64', '-kernel', 'bad', code=1).stderr
        assert words in told, (at, told)
    pathlib.Path('bad').write_bytes(data.replace(b'Xen\0', b'Yen\0'))
    assert 'without an entry for PVH' in emulate('-kernel', 'bad', code=1).stderr


@case
def firmware_starts_at_the_last_bytes():
    image = bytearray(0x10000)
    # At FFFFFFF0h: a jump to E000h; there "ok" by the serial port, then the end.
    image[0xfff0:0xfff3] = b'\xe9' + struct.pack('<h', 0xe000 - 0xfff3)
    code = b''.join(b'\xba\xf8\x03\xb0' + bytes([c]) + b'\xee' for c in b'ok\n') + b'\x31\xc0\x66\xe7\xf4\xf4'
    image[0xe000:0xe000 + len(code)] = code
    pathlib.Path('fw').write_bytes(image)
    for model in 'max', 'qemu64':
        assert said('-cpu', model, '-bios', 'fw') == 'ok\n'
    assert said('-accel', 'tcg,backend=interp', '-bios', './fw') == 'ok\n'
    pathlib.Path('odd').write_bytes(bytes(1000))
    assert 'multiple of 64 KiB' in emulate('-bios', './odd', code=1).stderr
    assert 'Could not find' in emulate('-bios', 'no-such-image', code=1).stderr


@case
def the_distributions_firmware_starts_a_kernel():
    require(any(pathlib.Path(d, 'bios-microvm.bin').exists() for d in ('/usr/share/qemu', '/usr/share/seabios')),
            'no bios-microvm.bin')
    # A boot sector's worth of kernel: its 16-bit code prints and ends.
    kernel = bytearray(2048)
    kernel[0x1f1] = 1
    struct.pack_into('<H', kernel, 0x1fe, 0xaa55)
    kernel[0x202:0x206] = b'HdrS'
    struct.pack_into('<H', kernel, 0x206, 0x20f)
    kernel[0x211] = 1
    struct.pack_into('<I', kernel, 0x214, 0x100000)
    struct.pack_into('<I', kernel, 0x22c, 0x7fffffff)
    struct.pack_into('<I', kernel, 0x238, 2047)
    code = b''.join(b'\xba\xf8\x03\xb0' + bytes([c]) + b'\xee' for c in b'ok\n') + b'\x31\xc0\x66\xe7\xf4\xf4'
    kernel[0x200:0x202] = b'\xeb\x66'               # jmp to 268h
    kernel[0x268:0x268 + len(code)] = code
    pathlib.Path('tiny').write_bytes(kernel)
    assert said('-bios', 'bios-microvm.bin', '-kernel', 'tiny') == 'ok\n'


@case
def a_machine_of_nothing_answers():
    done = subprocess.run([EMULATOR, '-M', 'none', '-display', 'none', '-nodefaults', '-qmp', 'stdio'],
                          input='{"execute":"qmp_capabilities"}{"execute":"query-cpus-fast"}'
                                '{"execute":"human-monitor-command","arguments":{"command-line":"info registers"}}'
                                '{"execute":"human-monitor-command","arguments":{"command-line":"x 0"}}'
                                '{"execute":"human-monitor-command","arguments":{"command-line":"info pic"}}'
                                '{"execute":"query-status"}{"execute":"system_reset"}{"execute":"quit"}',
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and '"return": []' in done.stdout and 'error' not in done.stdout, done


main('firmware', 'system')
