# SPDX-License-Identifier: GPL-2.0-or-later
"""Small guests for the emulator: C programs without a system, made into kernel images of our own.

A guest is tests/system/guests/NAME.c. It prints on the serial port and ends by the port of
isa-debug-exit; guest.h has what all need.
"""
import functools
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

from cases import BUILD, TOP, require, run
from this_run import SLOWER

EMULATOR = BUILD / 'qemu-system-x86_64'
REFERENCE_EMULATOR = pathlib.Path(os.environ.get('FERRY_REFERENCE', '/usr/bin')) / 'qemu-system-x86_64'
GUESTS = TOP / 'tests/system/guests'
LOAD = 0x100000
EXIT = ('-device', 'isa-debug-exit,iobase=0xf4,iosize=4')


def image(code):
    """A kernel image by the boot protocol whose 64-bit entry is @code."""
    setup = bytearray(1024)
    setup[0x1f1] = 1
    struct.pack_into('<H', setup, 0x1fe, 0xaa55)
    setup[0x200:0x202] = b'\xeb\x66'
    setup[0x202:0x206] = b'HdrS'
    struct.pack_into('<H', setup, 0x206, 0x20f)
    setup[0x211] = 1
    struct.pack_into('<I', setup, 0x22c, 0x7fffffff)
    struct.pack_into('<I', setup, 0x230, 0x1000)
    struct.pack_into('<H', setup, 0x236, 1)
    struct.pack_into('<I', setup, 0x238, 2047)
    struct.pack_into('<Q', setup, 0x258, LOAD)
    struct.pack_into('<I', setup, 0x260, 0x200 + len(code))
    return bytes(setup) + bytes(0x200) + code


@functools.lru_cache(None)
def build(name):
    """The path of the image of guest @name, made when first asked for, or of one that FERRY_GUESTS has."""
    if 'FERRY_GUESTS' in os.environ:
        return pathlib.Path(os.environ['FERRY_GUESTS'], name)
    require(shutil.which('gcc') and shutil.which('objcopy'), 'no compiler for guests')
    folder = pathlib.Path(tempfile.mkdtemp())
    subprocess.run(['gcc', '-O1', '-Wall', '-Werror', '-ffreestanding', '-nostdlib', '-static',
                    '-fno-pic', '-no-pie', '-mno-red-zone', '-mgeneral-regs-only',
                    '-fno-stack-protector', '-fcf-protection=none', '-fno-asynchronous-unwind-tables',
                    f'-Wl,--build-id=none,--no-warn-rwx-segments,-T,{GUESTS}/guest.ld', '-o', folder / 'elf', GUESTS / f'{name}.c'],
                   check=True)
    subprocess.run(['objcopy', '-O', 'binary', folder / 'elf', folder / 'code'], check=True)
    path = folder / 'image'
    path.write_bytes(image((folder / 'code').read_bytes()))
    return path


def emulate(*options, code=0, **more):
    """Runs the emulator to its end."""
    more.setdefault('timeout', 30 * SLOWER)
    return run(EMULATOR, '-M', 'microvm', '-display', 'none', '-nodefaults', *options, code=code,
               **more)


def run_guest(name, *options, code=1, append=None, **more):
    """What guest @name prints; it has to end by writing 0 to the exit port, or as @code says."""
    line = ('-append', append) if append else ()
    done = emulate('-kernel', build(name), '-serial', 'stdio', '-no-reboot', *EXIT, *line, *options,
                   code=code, **more)
    return done.stdout


def all_ok(output, at_least=1):
    """Every line of a guest's output says that something is right."""
    lines = output.split('\n')
    bad = [line for line in lines if line.strip() and not line.startswith('ok ')]
    assert not bad and len(lines) > at_least, output
