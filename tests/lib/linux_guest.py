# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel as a guest of the emulator, with a first process that is a script."""
import contextlib
import gzip
import pathlib
import shutil
import socket
import subprocess
import threading
import time

import emulated_host
from cases import require, run
from guests import EMULATOR

PATIENCE = 300
INIT = '''#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for m in {modules}; do /bin/busybox insmod /m/$m.ko; done
echo "UP $(/bin/busybox grep -c ^processor /proc/cpuinfo)"
{script}
/bin/busybox {end} -f
'''


def ramdisk(script, modules=(), end='poweroff'):
    """A file system to boot from whose first process runs @script."""
    kernel, tree = emulated_host.find_kernel()
    require(kernel and kernel.exists() and tree, 'no kernel for emulated machines (FERRY_TEST_KERNEL)')
    require(shutil.which('busybox') and shutil.which('cpio'), 'no busybox or cpio')
    root = pathlib.Path('root')
    shutil.rmtree(root, ignore_errors=True)
    for name in 'bin', 'proc', 'sys', 'dev', 'm':
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which('busybox'), root / 'bin/busybox')
    files = emulated_host.with_dependencies(tree, modules)
    names = [emulated_host.module_name(f) for f in files]
    for name, path in zip(names, files):
        (root / 'm' / f'{name}.ko').write_bytes(emulated_host.unpack(path))
    (root / 'init').write_text(INIT.format(modules=' '.join(names), script=script, end=end))
    (root / 'init').chmod(0o755)
    found = subprocess.run(['find', '.'], cwd=root, check=True, stdout=subprocess.PIPE).stdout
    packed = subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet'], cwd=root, input=found, check=True,
                            stdout=subprocess.PIPE).stdout
    pathlib.Path('initrd').write_bytes(gzip.compress(packed, 1))
    return kernel


def boot(kernel, *options, append='', code=0):
    """What the guest prints until its end."""
    done = run(EMULATOR, '-M', 'microvm', '-m', '512', '-nographic', '-no-reboot', '-kernel', kernel,
               '-initrd', 'initrd', '-append', f'console=ttyS0 quiet panic=-1 {append}', *options,
               code=code, timeout=PATIENCE)
    return done.stdout


class Running:
    """A guest that runs; what it prints is gathered in .said."""

    def __init__(self, kernel, *options, emulator=EMULATOR, append=''):
        self.said = ''
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [emulator, '-M', 'microvm', '-m', '512', '-nographic', '-no-reboot', '-kernel', kernel,
             '-initrd', 'initrd', '-append', f'console=ttyS0 quiet panic=-1 {append}',
             *map(str, options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors='replace')
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.said += line
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def expect(self, text):
        """Waits until @text has been printed."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while text not in self.said:
                assert time.monotonic() < deadline and self.process.poll() is None, self.said
                self.changed.wait(1)

    def rest(self):
        """All that it has printed when it has powered off."""
        code = self.process.wait(PATIENCE)
        self.reader.join()
        assert code == 0, (code, self.said)
        return self.said

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()


@contextlib.contextmanager
def running(kernel, *options, **more):
    guest = Running(kernel, *options, **more)
    try:
        yield guest
    finally:
        guest.end()


def connect(path):
    """The stream of a Unix socket, once somebody listens there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
        except OSError:
            s.close()
            assert time.monotonic() < deadline, f'nobody listens at {path}'
            time.sleep(0.1)
            continue
        s.settimeout(PATIENCE)
        return s
