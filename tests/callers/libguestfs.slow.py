#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""libguestfs and its tools with our programs. Their appliance runs in an emulated machine, whose kernel
is FERRY_TEST_KERNEL or this machine's own."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import emulated_host
from callers import Tools, require_programs
from cases import BUILD, REFERENCE, case, img, main, require, run

LAUNCH = 600            # seconds; an emulated machine on a busy one
MARK = 'FERRY_LIBGUESTFS_CACHE'


def tools():
    made = Tools()
    kernel, modules = emulated_host.find_kernel()
    made.env.update({
        'SUPERMIN_KERNEL': str(kernel), 'SUPERMIN_MODULES': str(modules),
        'SUPERMIN_KERNEL_VERSION': modules.name, 'LIBGUESTFS_BACKEND': 'direct',
        'LIBGUESTFS_BACKEND_SETTINGS': 'force_tcg', 'LIBGUESTFS_CACHEDIR': os.environ[MARK],
    })
    return made


def make_disk(name='disk.qcow2'):
    """An ext4 file system of what is in the folder root, and of a file hello."""
    root = pathlib.Path('root')
    root.mkdir(exist_ok=True)
    (root / 'hello').write_text('hello\n')
    run('mke2fs', '-q', '-t', 'ext4', '-d', root, 'fs.raw', '64M', env=ADMIN_PATH)
    img('convert', '-f', 'raw', '-O', 'qcow2', 'fs.raw', name)


def cat(image, path):
    """A file of an image that is one ext4 file system."""
    img('convert', '-O', 'raw', image, 'look.raw')
    return run('debugfs', '-R', f'cat {path}', 'look.raw', env=ADMIN_PATH).stdout


ADMIN_PATH = {'PATH': f'{os.environ["PATH"]}:/usr/sbin:/sbin'}


@case
def virt_make_fs():
    t = tools()
    pathlib.Path('root/sub').mkdir(parents=True)
    pathlib.Path('root/sub/hello').write_text('hello\n')
    t.run('virt-make-fs', '--format=qcow2', '--type=ext4', '--size=64M', 'root', 'made.qcow2', timeout=LAUNCH)
    assert t.started('qemu-img create -f qcow2'), t.calls()
    img('check', 'made.qcow2')
    assert cat('made.qcow2', '/sub/hello') == 'hello\n'


@case
def guestfish_looks_at_running_disks():
    """One is a machine's that is stopped, the other is served for writing by us."""
    t = tools()
    make_disk('running.qcow2')
    img('convert', '-O', 'qcow2', '-c', 'running.qcow2', 'served.qcow2')
    emulator = subprocess.Popen([REFERENCE / emulated_host.EMULATOR, '-S', '-display', 'none', '-monitor', 'none',
                                 '-serial', 'none', '-nodefaults', '-drive', 'if=virtio,format=qcow2,file=running.qcow2'])
    pid = pathlib.Path('pid')
    try:
        run(BUILD / 'qemu-nbd', '--fork', '-t', '-f', 'qcow2', '-k', pathlib.Path.cwd() / 's', '--pid-file', pid,
            'served.qcow2')
        done = t.run('guestfish', '--ro', '-a', 'running.qcow2', '-a', 'served.qcow2', 'run', ':', 'mount-ro', '/dev/sda',
                     '/', ':', 'cat', '/hello', ':', 'umount', '/', ':', 'mount-ro', '/dev/sdb', '/', ':', 'cat', '/hello',
                     timeout=LAUNCH)
        assert done.stdout.split() == ['hello', 'hello'], done
        assert t.started('qemu-img create', 'running.qcow2') and t.started('qemu-img create', 'served.qcow2'), t.calls()
        assert emulator.poll() is None
    finally:
        emulator.kill()
        emulator.wait()
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)
    for disk in 'running.qcow2', 'served.qcow2':
        img('check', '-U', disk)


def disk_with_garbage():
    """A disk most of whose used clusters belong to a file that was deleted."""
    root = pathlib.Path('root')
    root.mkdir()
    (root / 'big').write_bytes(os.urandom(24 << 20))
    make_disk()
    run('debugfs', '-w', '-R', 'rm /big', 'fs.raw', env=ADMIN_PATH)
    img('convert', '-f', 'raw', '-O', 'qcow2', 'fs.raw', 'disk.qcow2')
    assert pathlib.Path('disk.qcow2').stat().st_size > 24 << 20


@case
def virt_sparsify_copies():
    t = tools()
    disk_with_garbage()
    t.run('virt-sparsify', '--compress', '--convert', 'qcow2', 'disk.qcow2', 'thin.qcow2', timeout=LAUNCH)
    assert t.started('qemu-img convert'), t.calls()
    assert pathlib.Path('thin.qcow2').stat().st_size < 8 << 20
    img('check', 'thin.qcow2')
    assert cat('thin.qcow2', '/hello') == 'hello\n'


@case
def virt_sparsify_in_place():
    t = tools()
    disk_with_garbage()
    t.run('virt-sparsify', '--in-place', 'disk.qcow2', timeout=LAUNCH)
    assert pathlib.Path('disk.qcow2').stat().st_blocks * 512 < 8 << 20
    img('check', 'disk.qcow2')
    assert cat('disk.qcow2', '/hello') == 'hello\n'


def tiny_debian():
    """What makes libguestfs take a tree for Debian, with one program in it that is every command."""
    root = pathlib.Path('root')
    for folder in ('bin', 'etc/apt', 'usr/bin', 'usr/sbin', 'var/lib/dpkg', 'root', 'tmp', 'proc', 'sys', 'dev',
                   'home', 'boot', 'sbin', 'lib'):
        (root / folder).mkdir(parents=True)
    shutil.copy(shutil.which('busybox'), root / 'bin/busybox')
    (root / 'bin/sh').symlink_to('busybox')
    for name, text in {'debian_version': '12.0\n', 'hostname': 'before\n', 'fstab': '/dev/sda / ext4 defaults 0 1\n',
                       'passwd': 'root:x:0:0:root:/root:/bin/sh\n', 'shadow': 'root:*:19000:0:99999:7:::\n',
                       'os-release': 'ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n'}.items():
        (root / 'etc' / name).write_text(text)


@case
def virt_customize():
    t = tools()
    require_programs('busybox')
    tiny_debian()
    make_disk('base.qcow2')
    img('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'guest.qcow2')
    t.run('virt-customize', '-a', 'guest.qcow2', '--hostname', 'after', '--write', '/root/written:text',
          '--run-command', '/bin/busybox echo ran >/root/ran', timeout=LAUNCH)
    img('check', 'guest.qcow2')
    assert cat('guest.qcow2', '/root/written') == 'text' and cat('guest.qcow2', '/root/ran') == 'ran\n'
    assert cat('guest.qcow2', '/etc/hostname').strip() == 'after'
    assert cat('base.qcow2', '/etc/hostname') == 'before\n'


@case
def mmdebstrap_to_virt_make_fs():
    t = tools()
    require_programs('mmdebstrap')
    done = run('mmdebstrap', '--variant=essential', 'bookworm', 'root.tar', code=None, timeout=LAUNCH)
    require(done.returncode == 0, f'mmdebstrap: {(done.stderr.splitlines() or ["?"])[-1]}')
    t.run('virt-make-fs', '--format=qcow2', '--type=ext4', '--size=+64M', 'root.tar', 'made.qcow2', timeout=LAUNCH)
    img('check', 'made.qcow2')
    assert 'ID=debian' in cat('made.qcow2', '/usr/lib/os-release')


def with_modules_folder():
    """
    Starts this script once more where /lib/modules exists: supermin wants the folder, though it takes the
    modules from elsewhere. A mount that only this script sees makes it.
    """
    script = ('for i in up work; do mkdir -p $0/$i; done; mkdir -p $0/up/modules; [ -d /lib/modules ] || '
              'mount -t overlay -o lowerdir=/usr/lib,upperdir=$0/up,workdir=$0/work overlay /usr/lib || exit 77; '
              'exec "$@"')
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f'{folder}/cache')
        done = subprocess.run(['unshare', '-m', 'sh', '-c', script, folder, sys.executable, '-B', *sys.argv],
                              env=dict(os.environ, **{MARK: f'{folder}/cache'}), check=False)
    sys.exit(done.returncode)


def check_needs():
    kernel, modules = emulated_host.find_kernel()
    if not kernel or not kernel.exists() or not modules:
        emulated_host.skip('FERRY_TEST_KERNEL names no kernel for emulated machines')
    for program in 'guestfish', 'virt-make-fs', 'supermin', emulated_host.EMULATOR, 'debugfs', 'unshare':
        if not shutil.which(program, path=ADMIN_PATH['PATH']):
            emulated_host.skip(f'{program} is not installed')
    if os.geteuid():
        emulated_host.skip('only root can mount')


if MARK not in os.environ:
    check_needs()
    with_modules_folder()
main('libguestfs', 'callers')
