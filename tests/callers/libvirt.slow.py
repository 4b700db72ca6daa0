#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Storage volumes of libvirt, made by a libvirtd of this test's own."""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from callers import Tools, require_programs
from cases import case, img, main, require

SECRET = '0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'
# For root libvirtd serves the system; as another user, if only in name, it keeps to the user's folders.
AS_USER = ['unshare', '-U', '--map-user=1000', '--map-group=1000'] if os.geteuid() == 0 else []
VOLUME = '''<volume><name>{name}</name><capacity unit='M'>10</capacity><target>{target}</target></volume>'''
ENCRYPTED = "<encryption format='luks'><secret type='passphrase' uuid='%s'/></encryption>" % SECRET


class Libvirt:
    """A running libvirtd with a pool p of the folder pool."""

    def __init__(self):
        self.tools = Tools()
        here = pathlib.Path.cwd()
        for name in 'run', 'home', 'pool':
            (here / name).mkdir(mode=0o700)
        self.tools.env.update(HOME=str(here / 'home'), XDG_RUNTIME_DIR=str(here / 'run'), LC_ALL='C.UTF-8')
        for name in 'XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'XDG_DATA_HOME':
            os.environ.pop(name, None)
        with open('libvirtd.log', 'wb') as log:
            self.daemon = subprocess.Popen([*AS_USER, 'libvirtd', '-t', '60'], stdout=log, stderr=log,
                                           env=dict(os.environ, **self.tools.env))

    def virsh(self, *words, code=0):
        kind = 'secret' if words[0].startswith('secret') else 'storage'
        # The user is the daemon's: a socket of another is not trusted.
        return self.tools.run(*self.inside(), 'virsh', '-q', '-c', f'{kind}:///session', *words, code=code)

    def inside(self):
        return ['nsenter', '-U', '--preserve-credentials', '-t', self.daemon.pid] if AS_USER else []

    def volume(self, name, target, source=None):
        """A volume from XML; a copy of volume @source if there is one."""
        pathlib.Path('volume.xml').write_text(VOLUME.format(name=name, target=target))
        if source:
            self.virsh('vol-create-from', 'p', 'volume.xml', source, '--inputpool', 'p')
        else:
            self.virsh('vol-create', 'p', 'volume.xml')

    def wait(self):
        for _ in range(200):
            if self.daemon.poll() is None and self.virsh('pool-list', code=None).returncode == 0:
                return
            time.sleep(0.1)
        require(False, f'libvirtd does not serve: {pathlib.Path("libvirtd.log").read_text()[-300:]!r}')


@contextlib.contextmanager
def libvirt():
    require_programs('libvirtd', 'virsh')
    if AS_USER:
        require(subprocess.run([*AS_USER, 'true'], stderr=subprocess.DEVNULL, check=False).returncode == 0,
                'there are no user namespaces')
    v = Libvirt()
    try:
        v.wait()
        v.virsh('pool-create-as', 'p', 'dir', '--target', pathlib.Path.cwd() / 'pool')
        yield v
    finally:
        v.daemon.terminate()
        v.daemon.wait()


def info(name):
    return img('info', f'pool/{name}').stdout


@case
def volumes_are_made_and_changed():
    with libvirt() as v:
        v.virsh('vol-create-as', 'p', 'a.qcow2', '100M', '--format', 'qcow2')
        v.virsh('vol-create-as', 'p', 'o.qcow2', '100M', '--format', 'qcow2', '--backing-vol', 'a.qcow2',
                '--backing-vol-format', 'qcow2')
        v.virsh('vol-create-as', 'p', 'r.raw', '10M', '--allocation', '0', '--format', 'raw')
        v.virsh('vol-create-as', 'p', 'full.qcow2', '10M', '--allocation', '10M', '--format', 'qcow2')
        v.virsh('vol-clone', 'a.qcow2', 'c.qcow2', '--pool', 'p')
        v.virsh('vol-resize', 'o.qcow2', '200M', '--pool', 'p')
        assert v.tools.started('qemu-img create', 'a.qcow2') and v.tools.started('qemu-img resize')
        assert v.tools.started('qemu-img convert', 'c.qcow2'), v.tools.calls()
        assert 'virtual size: 200 MiB' in info('o.qcow2') and 'backing file format: qcow2' in info('o.qcow2')
        listed = v.virsh('vol-list', 'p', '--details').stdout
        assert re.search(r'o\.qcow2 .* 200\.00 MiB', listed) and re.search(r'c\.qcow2 .* 100\.00 MiB', listed), listed
        for name in ('a.qcow2', 'o.qcow2', 'c.qcow2', 'full.qcow2'):
            img('check', f'pool/{name}')
        v.virsh('vol-delete', 'c.qcow2', '--pool', 'p')


@case
def volumes_with_features():
    with libvirt() as v:
        v.volume('f.qcow2', "<format type='qcow2'/><compat>1.1</compat><clusterSize unit='k'>128</clusterSize><nocow/>"
                 '<features><lazy_refcounts/><extended_l2/></features>')
        said = info('f.qcow2')
        assert 'cluster_size: 131072' in said and 'lazy refcounts: true' in said and 'extended l2: true' in said, said


@case
def encrypted_volumes():
    with libvirt() as v:
        pathlib.Path('secret.xml').write_text(
            f"<secret ephemeral='no' private='yes'><uuid>{SECRET}</uuid><usage type='volume'><volume>x</volume></usage>"
            '</secret>')
        pathlib.Path('password').write_text('sesame')
        v.virsh('secret-define', 'secret.xml')
        v.virsh('secret-set-value', SECRET, '--plain', '--file', 'password')
        v.volume('l.luks', f"<format type='raw'/>{ENCRYPTED}")
        v.volume('e.qcow2', f"<format type='qcow2'/>{ENCRYPTED}")
        v.virsh('vol-create-as', 'p', 'plain.raw', '10M', '--format', 'raw')
        pathlib.Path('content').write_bytes(os.urandom(10 << 20))
        v.virsh('vol-upload', 'plain.raw', 'content', '--pool', 'p')
        v.volume('copy.luks', f"<format type='raw'/>{ENCRYPTED}", 'plain.raw')
        assert v.tools.started('qemu-img convert', 'copy.luks'), v.tools.calls()
        secret = '--object', 'secret,id=s,file=password'
        assert 'encrypted: yes' in info('l.luks') and 'format: luks' in info('e.qcow2')
        img('compare', *secret, '--image-opts', 'driver=luks,key-secret=s,file.filename=pool/copy.luks',
            'driver=raw,file.filename=content')


main('libvirt', 'callers')
