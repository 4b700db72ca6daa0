# SPDX-License-Identifier: GPL-2.0-or-later
"""A Ceph cluster of one monitor and one OSD, which keeps all in memory, for tests. It needs no root, and
ends with this process."""
import ctypes
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid

from this_run import SLOWER

PATIENCE = 150 * SLOWER     # seconds for what takes a few on a quiet machine
POOL = 'pool'
PR_SET_PDEATHSIG = 1

CONF = '''[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{port}]
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_addr = 127.0.0.1
ms_bind_msgr1 = false
ms_bind_port_max = 65000
log_file = {folder}/$name.log
pid_file = {folder}/$name.pid
admin_socket = {folder}/$name.$pid.asok
run_dir = {folder}
crash_dir = {folder}
keyring = {folder}/keyring
mon_data = {folder}/mon
mon_data_avail_crit = 0
mon_allow_pool_size_one = true
osd_data = {folder}/osd
osd_objectstore = memstore
osd_class_load_list = *
osd_class_default_list = *
memstore_device_bytes = 2147483648
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
# Nothing is down because this machine is busy.
osd_heartbeat_grace = 3600
mon_osd_report_timeout = 3600
[client]
log_to_stderr = false
err_to_stderr = false
admin_socket =
'''


def is_installed():
    return all(shutil.which(name) for name in ('ceph', 'ceph-mon', 'ceph-osd', 'monmaptool', 'rbd'))


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class CephCluster:
    """With a pool named POOL. Its file of settings is .conf."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.conf = self.folder / 'ceph.conf'
        self.daemons = {}

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for daemon in self.daemons.values():
            daemon.kill()
        for daemon in self.daemons.values():
            daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def begin(self):
        fsid, osd, port, monmap = str(uuid.uuid4()), str(uuid.uuid4()), free_port(), self.folder / 'monmap'
        self.conf.write_text(CONF.format(fsid=fsid, port=port, folder=self.folder))
        (self.folder / 'keyring').touch()
        (self.folder / 'osd').mkdir()
        self.run('monmaptool', '--create', '--fsid', fsid, '--addv', 'a', f'[v2:127.0.0.1:{port}]', monmap)
        self.run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', monmap)
        self.start('ceph-mon', 'a')
        self.ceph('osd', 'new', osd)
        self.run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', osd)
        self.start('ceph-osd', '0')
        self.ceph('osd', 'pool', 'create', POOL, '8')
        self.ceph('osd', 'pool', 'application', 'enable', POOL, 'rbd')

    def start(self, program, name):
        with open(self.folder / f'{program}.out', 'ab') as out:
            self.daemons[program] = subprocess.Popen([program, '-c', self.conf, '-i', name, '-f'], stdin=subprocess.DEVNULL,
                                                     stdout=out, stderr=out, preexec_fn=die_with_parent)

    def signal(self, program, number):
        self.daemons[program].send_signal(number)

    def run(self, program, *words):
        conf = [] if program == 'monmaptool' else ['-c', self.conf]
        done = subprocess.run([program, *conf, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, f'{program} {words} exits {done.returncode}: {done.stdout}{done.stderr}'
        return done.stdout

    def ceph(self, *words):
        """A command to the monitor."""
        return self.run('ceph', f'--connect-timeout={PATIENCE}', *words)

    def rbd(self, *words):
        return self.run('rbd', *words)

    def rbd_info(self, image):
        return json.loads(self.run('rbd', 'info', '--format=json', f'{POOL}/{image}'))
