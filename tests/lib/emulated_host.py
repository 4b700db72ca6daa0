# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a script as root on an emulated machine with a Linux kernel of its own, for tests that need
modules this machine does not have.

The kernel is a folder with vmlinuz and lib/modules/VERSION: FERRY_TEST_KERNEL, or what this machine
boots from. The emulated machine's root is this machine's, shared for reading, below a layer in
memory: the script finds every program and file at its usual place, and what it writes is gone at the
end, but for the folder that is shared for writing.
"""
import gzip
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

EMULATOR = 'qemu-system-x86_64'
# What is built in is not found, and not missed.
BOOT_MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay']
INIT = '''#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
for m in {modules}; do /bin/busybox insmod /m/$m.ko $(/bin/busybox cat /m/$m.options 2>/dev/null); done
cd / && /bin/busybox mkdir low up new
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro root low
/bin/busybox mount -t tmpfs up up && /bin/busybox mkdir up/u up/w
/bin/busybox mount -t overlay -o lowerdir=low,upperdir=up/u,workdir=up/w over new
cd new && /bin/busybox mkdir -p proc sys dev tmp
/bin/busybox mount -t proc proc proc; /bin/busybox mount -t sysfs sys sys
/bin/busybox mount -t devtmpfs dev dev; /bin/busybox mount -t tmpfs tmp tmp
/bin/busybox mkdir -p .{shared} && /bin/busybox mount -t 9p \\
    -o trans=virtio,version=9p2000.L,msize=262144,cache=none share .{shared}
/bin/busybox chroot . /bin/sh -c 'export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root; cd {shared}
    sh ./script >output 2>&1; echo $? >status; sync'
/bin/busybox poweroff -f
'''


def skip(reason):
    print(reason)
    sys.exit(77)


def find_kernel():
    folder = os.environ.get('FERRY_TEST_KERNEL')
    if folder:
        modules = sorted(pathlib.Path(folder, 'lib/modules').glob('*'))
        return pathlib.Path(folder, 'vmlinuz'), modules[-1] if modules else None
    for image in sorted(pathlib.Path('/boot').glob('vmlinuz-*'), reverse=True):
        modules = pathlib.Path('/lib/modules', image.name[len('vmlinuz-'):])
        if modules.is_dir():
            return image, modules
    return None, None


def unpack(path):
    data = path.read_bytes()
    if path.suffix == '.xz':
        return lzma.decompress(data)
    return gzip.decompress(data) if path.suffix == '.gz' else data


def module_name(path):
    return pathlib.Path(path).name.split('.')[0].replace('-', '_')


def with_dependencies(modules, wanted):
    """Files of the modules in @wanted and of those they need, in the order of loading."""
    found = {}
    for line in (modules / 'modules.dep').read_text().splitlines():
        path, needs = line.split(':')
        found[module_name(path)] = [*reversed(needs.split()), path]
    files = [path for name in wanted for path in found.get(name, [])]
    return [modules / path for path in dict.fromkeys(files)]


def make_ramdisk(folder, modules, extra, shared):
    """A file system to boot from: busybox, modules, and INIT."""
    root = folder / 'initrd'
    (root / 'm').mkdir(parents=True)
    for name in 'bin', 'proc':
        (root / name).mkdir()
    shutil.copy(shutil.which('busybox'), root / 'bin/busybox')
    files = with_dependencies(modules, [*BOOT_MODULES, *extra])
    names = [module_name(f) for f in files]
    for name, options in extra.items():
        if name not in names:
            skip(f'the kernel for emulated machines has no module {name}')
        (root / 'm' / f'{name}.options').write_text(options)
    for name, path in zip(names, files):
        (root / 'm' / f'{name}.ko').write_bytes(unpack(path))
    (root / 'init').write_text(INIT.format(modules=' '.join(names), shared=shared))
    (root / 'init').chmod(0o755)
    image = folder / 'initrd.cpio'
    with open(image, 'wb') as out:
        names = subprocess.run(['find', '.'], cwd=root, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet'], cwd=root, input=names, check=True,
                       stdout=out)
    return image


def run(script, modules, timeout, files=None, options=()):
    """Exit code and output of shell @script, with @modules (name -> options) loaded and @files (name ->
    path) in its folder; @options are more for the emulator."""
    kernel, tree = find_kernel()
    if not kernel or not kernel.exists() or not tree:
        skip('FERRY_TEST_KERNEL names no kernel for emulated machines')
    for program in EMULATOR, 'busybox', 'cpio':
        if not shutil.which(program, path=f'{os.environ["PATH"]}:/usr/sbin:/sbin'):
            skip(f'{program} is not installed')
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shared = folder / 'shared'
        shared.mkdir()
        (shared / 'script').write_text(script)
        for name, path in (files or {}).items():
            shutil.copy(path, shared / name)
        image = make_ramdisk(folder, tree, modules, shared)
        with open(folder / 'console', 'wb') as console:
            try:
                subprocess.run(
                    [EMULATOR, '-accel', 'tcg', '-m', '1G', '-smp', '2', '-display', 'none', '-no-reboot',
                     '-serial', 'stdio', '-monitor', 'none', '-kernel', kernel, '-initrd', image,
                     '-append', 'console=ttyS0 quiet panic=-1',
                     '-virtfs', 'local,path=/,mount_tag=root,security_model=none,readonly=on,'
                     'multidevs=remap',
                     '-virtfs', f'local,path={shared},mount_tag=share,security_model=none', *options],
                    stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                    timeout=timeout, check=False)
            except subprocess.TimeoutExpired:
                return 124, (folder / 'console').read_text(errors='replace')[-3000:]
        if not (shared / 'status').exists():
            return 125, (folder / 'console').read_text(errors='replace')[-3000:]
        return int((shared / 'status').read_text()), (shared / 'output').read_text(errors='replace')
