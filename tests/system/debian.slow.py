#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian system on the emulated machine, from its boot to a login, on an overlay of its disk: the file
system is clean after power-off, and whole after a reset and after the emulator was killed."""
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import emulated_host
from cases import BUILD, TOP, case, img, main, require, require_root, run
from guests import EMULATOR
from qmp import Reader, Talker, request

PATIENCE = 900


def disk():
    """The demo's disk; made here if there was no demo."""
    require_root()
    path = BUILD / 'demo/debian.raw'
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        run(TOP / 'scripts/make-debian-image', path, timeout=PATIENCE)
    # Tests put a small file of noise there.
    require(path.stat().st_size >= 1 << 30, f'{path} is no system')
    return path


class Machine(Talker):
    def __init__(self, image):
        kernel, modules = emulated_host.find_kernel()
        require(kernel and kernel.exists() and modules, 'no kernel for emulated machines (FERRY_TEST_KERNEL)')
        if not pathlib.Path('ramdisk').exists():
            run(TOP / 'scripts/make-boot-ramdisk', kernel.parent, 'ramdisk')
        self.console, self.keys = b'', None
        for name in 'console.in', 'console.out':
            if not os.path.exists(name):
                os.mkfifo(name)
        self.out = os.open('console.out', os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self.out, True)
        self.keys = os.open('console.in', os.O_RDWR)
        self.process = subprocess.Popen(
            [EMULATOR, '-M', 'microvm', '-cpu', 'max', '-m', '512', '-display', 'none', '-kernel', kernel,
             '-initrd', 'ramdisk', '-append', 'console=ttyS0 quiet', '-chardev', 'pipe,id=c,path=console',
             '-serial', 'chardev:c', '-blockdev',
             f'qcow2,node-name=d,file.driver=file,file.filename={image}', '-device',
             'virtio-blk-device,drive=d', '-qmp', 'stdio'], bufsize=0, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        threading.Thread(target=self.listen, daemon=True).start()
        self.reader = Reader(self.process.stdout.fileno())
        self.greet()

    def listen(self):
        while self.process.poll() is None:
            data = os.read(self.out, 65536)
            self.console += data
            if not data:
                time.sleep(.05)

    def send(self, data):
        self.process.stdin.write(data)

    def until(self, text):
        """Waits for @text on the console, and forgets what came before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.console:
            assert time.monotonic() < deadline and self.process.poll() is None, self.console[-2000:]
            time.sleep(.1)
        self.console = self.console.split(text, 1)[1]

    def log_in(self):
        self.until(b'debian login:')
        os.write(self.keys, b'root\n')
        self.until(b'root@debian:~#')

    def type(self, command):
        os.write(self.keys, f'{command}; echo "ended $?."\n'.encode())
        self.until(b'ended 0.')

    def end(self):
        self.process.kill()
        self.process.wait()
        os.close(self.keys)


def power_off(m):
    m.send(request('system_powerdown').encode() + b'\n')
    assert m.process.wait(PATIENCE) == 0


def checked(image, *options, code=0):
    """The content of @image as a file, after e2fsck."""
    img('check', '-q', image)
    img('convert', '-f', 'qcow2', '-O', 'raw', image, 'checked.raw')
    run('/sbin/e2fsck', '-f', *options, 'checked.raw', code=code)


def content(name):
    return run('/sbin/debugfs', '-R', f'cat {name}', 'checked.raw').stdout


@case
def a_disk_is_clean_after_power_off_and_reset():
    img('create', '-q', '-f', 'qcow2', '-b', disk(), '-F', 'raw', 'a.qcow2')
    m = Machine('a.qcow2')
    try:
        m.log_in()
        m.type('echo before >/root/before; sync; dd if=/dev/zero of=/root/unwritten bs=1M count=8 2>/dev/null')
        assert m.answer('system_reset') == {}
        m.log_in()
        m.type('grep before /root/before && rm -f /root/unwritten && echo after >/root/after')
        power_off(m)
    finally:
        m.end()
    checked('a.qcow2', '-n')
    assert content('/root/before') == 'before\n' and content('/root/after') == 'after\n'


@case
def a_disk_is_whole_after_the_emulator_was_killed():
    img('create', '-q', '-f', 'qcow2', '-b', disk(), '-F', 'raw', 'k.qcow2')
    m = Machine('k.qcow2')
    try:
        m.log_in()
        m.type('echo kept >/root/kept; sync')
        m.type('for i in $(seq 50); do echo $i >/root/n$i; done')
    finally:
        m.end()
    # Clusters that nobody uses yet may be left over; the journal is played back, and nothing else is wrong.
    img('check', '-q', '-r', 'leaks', 'k.qcow2')
    checked('k.qcow2', '-p', code=None)
    run('/sbin/e2fsck', '-fn', 'checked.raw')
    assert content('/root/kept') == 'kept\n'


main('debian', 'system')
