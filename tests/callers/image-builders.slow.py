#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that build images of systems: vmdb2, cloud-localds, genimage, diskimage-builder."""
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from callers import Tools, require_programs
from cases import REFERENCE, case, img, main, require, require_root, run


def first_bytes(image, length):
    img('convert', '-O', 'raw', image, 'look.raw')
    with open('look.raw', 'rb') as f:
        return f.read(length)


@case
def vmdb2():
    require_programs('vmdb2', 'parted')
    t = Tools()
    pathlib.Path('spec').write_text('''
steps:
  - mkimg: "{{ output }}"
    size: 64M
  - mklabel: msdos
    device: "{{ output }}"
  - mkpart: primary
    device: "{{ output }}"
    start: 1MiB
    end: 100%
    tag: root
''')
    t.run('vmdb2', 'spec', '--output', 'out.img')
    assert t.started('qemu-img create -f raw'), t.calls()
    assert pathlib.Path('out.img').stat().st_size == 64 << 20
    assert first_bytes('out.img', 512)[510:] == b'\x55\xaa'


@case
def cloud_localds():
    require_programs('cloud-localds', 'genisoimage')
    pathlib.Path('user-data').write_text('#cloud-config\npassword: x\n')
    t = Tools()
    for number, more in enumerate(([], ['-f', 'vfat'])):
        name = f'seed{number}.qcow2'
        t.run('cloud-localds', '-d', 'qcow2', *more, name, 'user-data')
        assert t.started('qemu-img convert', '-O qcow2', name), t.calls()
        img('check', name)
        assert 'file format: qcow2' in img('info', name).stdout
        assert b'#cloud-config' in first_bytes(name, 1 << 20), name


@case
def genimage():
    require_programs('genimage', 'mkdosfs', 'mcopy')
    t = Tools()
    for folder in 'root', 'in':
        pathlib.Path(folder).mkdir()
    pathlib.Path('in/hello').write_text('hello\n')
    pathlib.Path('config').write_text('''
image files.vfat { vfat { files = { "hello" } }
    size = 16M }
image disk.hd { hdimage { }
    partition p { image = "files.vfat"
        partition-type = 0xc } }
image out.qcow2 { qemu { format = "qcow2"
        extraargs = "-c" }
    partition p { image = "disk.hd" } }
''')
    t.run('genimage', '--config', 'config', '--rootpath', 'root', '--tmppath', 'tmp', '--inputpath', 'in',
          '--outputpath', 'out')
    assert t.started('qemu-img convert -c -O qcow2'), t.calls()
    img('check', 'out/out.qcow2')
    img('compare', '-f', 'raw', 'out/disk.hd', 'out/out.qcow2')


@case
def disk_image_create():
    require_programs('disk-image-create', 'busybox')
    require_root()
    t = Tools()
    # It calls sudo even for root, which a machine for tests need not have.
    t.add('sudo', 'while case $1 in -*) true ;; *) false ;; esac; do shift; done\nexec env "$@"')
    element = pathlib.Path('elements/tiny')
    (element / 'root.d').mkdir(parents=True)
    (element / 'element-provides').write_text('operating-system\n')
    script = element / 'root.d/10-tiny'
    script.write_text('#!/bin/bash\nset -eu\n'
                      'mkdir -p $TARGET_ROOT/{bin,dev,etc,proc,root,sys,tmp,usr/bin,usr/local/bin,var/cache,var/log}\n'
                      f'cp "$(command -v busybox)" $TARGET_ROOT/bin/\nln -s busybox $TARGET_ROOT/bin/sh\n')
    script.chmod(0o755)
    # What it mounts and does not unmount goes with the name space.
    done = t.run('unshare', '-m', 'disk-image-create', '-n', '-a', 'amd64', '--no-tmpfs', '--image-size', '1',
                 '-t', 'qcow2', '-o', 'tiny', 'tiny', code=None,
                 env={'ELEMENTS_PATH': str(element.parent.resolve()), 'TMP_DIR': str(pathlib.Path.cwd())})
    for line in subprocess.run(['losetup', '-a'], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        if str(pathlib.Path.cwd()) in line:
            run('losetup', '-d', line.split(':')[0])
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    assert t.started('qemu-img convert -c -f raw -O qcow2'), t.calls()
    img('check', 'tiny.qcow2')
    assert first_bytes('tiny.qcow2', 2048)[1080:1082] == b'\x53\xef', 'no ext4 file system'
    assert os.stat('tiny.qcow2').st_size < 64 << 20


@case
def what_openstack_reads():
    """oslo.utils, by which nova, glance and cinder read what info says."""
    python = '/usr/bin/python3'
    require(run(python, '-c', 'import oslo_utils', code=None).returncode == 0, 'oslo.utils is not installed')
    require((REFERENCE / 'qemu-img').exists(), 'the reference is not installed')
    t = Tools()
    img('create', '-q', '-f', 'qcow2', 'base.qcow2', '1G')
    img('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2')
    img('snapshot', '-c', 'first', 'top.qcow2')
    script = '''
import subprocess
from oslo_utils import imageutils
def of(*more):
    return subprocess.run(['qemu-img', 'info', *more, 'top.qcow2'], stdout=subprocess.PIPE, check=True, text=True).stdout
for i in imageutils.QemuImgInfo(of('--output=json'), format='json'), imageutils.QemuImgInfo(of()):
    print(i.file_format, i.virtual_size, i.disk_size, i.backing_file, i.cluster_size, i.encrypted, i.snapshots)
'''
    ours = t.run(python, '-W', 'ignore', '-c', script).stdout
    assert t.started('qemu-img info') and 'qcow2 1073741824' in ours
    theirs = run(python, '-W', 'ignore', '-c', script, env={'PATH': f'{REFERENCE}:{os.environ["PATH"]}'}).stdout
    assert ours == theirs, (ours, theirs)


main('image-builders', 'callers')
