#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdkit and libnbd's tools as people use them with qemu-img and qemu-nbd."""
import os
import pathlib
import shutil
import sys
import tarfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from callers import Tools, require_programs
from cases import IO, case, img, main, require, run


def tools():
    require_programs('nbdkit', 'nbdcopy', 'nbdinfo')
    return Tools()


def content(name='content', size=4 << 20):
    pathlib.Path(name).write_bytes(os.urandom(size // 2) + bytes(size // 2))
    return name


@case
def nbdkit_runs_our_programs():
    t = tools()
    content()
    t.run('nbdkit', '-U', '-', '--filter=cow', 'file', 'content', '--run',
          'qemu-io -f raw -c "write -P 1 0 64k" -c "read -P 1 0 64k" "$uri" && qemu-img convert -n -f raw -O raw '
          'content "$uri" && qemu-img compare -f raw -F raw content "$uri" && qemu-img map --output=json "$uri"')
    assert t.started('qemu-img convert') and t.started('qemu-io')
    done = t.run('nbdkit', '-U', '-', 'memory', '64M', '--run', 'qemu-img info --output=json $nbd')
    assert '"virtual-size": 67108864' in done.stdout, done.stdout


@case
def nbdkit_filters_read_what_we_write():
    t = tools()
    content()
    pathlib.Path('password').write_text('sesame')
    img('convert', '-f', 'raw', '-O', 'luks', '--object', 'secret,id=s,file=password', '-o',
        'key-secret=s,iter-time=10', 'content', 'disk.luks')
    t.run('nbdkit', '-U', '-', '--filter=luks', 'file', 'disk.luks', 'passphrase=+password', '--run',
          'qemu-img compare -f raw -F raw content "$uri"')
    img('convert', '-f', 'raw', '-O', 'qcow2', '-c', 'content', 'disk.qcow2')
    with tarfile.open('disk.ova', 'w') as tar:
        tar.add('disk.qcow2')
    t.run('nbdkit', '-U', '-', '--filter=tar', 'file', 'disk.ova', 'tar-entry=disk.qcow2', '--run',
          'qemu-img compare -f raw -F qcow2 content "$uri"')
    require(shutil.which('xz'), 'xz is not installed')
    run('xz', '-k', '--block-size=1MiB', 'content')
    t.run('nbdkit', '-U', '-', '--filter=xz', 'file', 'content.xz', '--run',
          'qemu-img convert -f raw -O qcow2 "$uri" fetched.qcow2')
    img('compare', '-f', 'raw', 'content', 'fetched.qcow2')


@case
def nbdkit_as_a_client_of_our_server():
    t = tools()
    content()
    img('convert', '-f', 'raw', '-O', 'qcow2', 'content', 'disk.qcow2')
    t.run('sh', '-c', '''set -e
        qemu-nbd --fork -t -e 8 --pid-file pid -f qcow2 -x disk -k "$PWD/s" disk.qcow2
        server=$(cat pid)
        trap 'kill $server; tail --pid=$server -f /dev/null' EXIT     # until it has let go of the image
        nbdkit -U - --filter=cache nbd "uri=nbd+unix:///disk?socket=$PWD/s" --run 'nbdcopy "$uri" copy'
        cmp content copy
        nbdkit -U - nbd "uri=nbd+unix:///disk?socket=$PWD/s" --run 'qemu-io -f raw -c "write -P 7 1M 64k" "$uri"' ''')
    run(IO, '-c', 'read -P 7 1M 64k', 'disk.qcow2')
    img('check', 'disk.qcow2')


@case
def libnbd_starts_our_server():
    t = tools()
    content()
    img('convert', '-f', 'raw', '-O', 'qcow2', 'content', 'disk.qcow2')
    t.run('nbdcopy', '--', '[', 'qemu-nbd', '-r', '-f', 'qcow2', 'disk.qcow2', ']', 'copy')
    assert t.started('qemu-nbd -r'), t.calls()
    assert pathlib.Path('copy').read_bytes() == pathlib.Path('content').read_bytes()
    done = t.run('nbdinfo', '--size', '--', '[', 'qemu-nbd', '-r', '-f', 'qcow2', 'disk.qcow2', ']')
    assert int(done.stdout) == 4 << 20
    mapped = t.run('nbdinfo', '--map', '--totals', '--', '[', 'qemu-nbd', '-r', '-f', 'qcow2', 'disk.qcow2', ']').stdout
    assert '50.0%' in mapped and 'hole,zero' in mapped, mapped


@case
def libnbd_from_python():
    t = tools()
    require(run('/usr/bin/python3', '-c', 'import nbd', code=None).returncode == 0, 'python3-libnbd is not installed')
    img('create', '-q', '-f', 'qcow2', 'disk.qcow2', '16M')
    img('bitmap', '--add', 'disk.qcow2', 'b0')
    run(IO, '-c', 'write 1M 64k', 'disk.qcow2')
    t.run('/usr/bin/python3', '-c', '''
import nbd
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.add_meta_context("qemu:dirty-bitmap:b0")
h.connect_systemd_socket_activation(["qemu-nbd", "-e", "4", "-f", "qcow2", "-B", "b0", "disk.qcow2"])
h.pwrite(b"x" * 512, 0, nbd.CMD_FLAG_FUA)
h.zero(65536, 65536)
assert h.pread(512, 0) == b"x" * 512 and h.can_multi_conn()
seen = {}
h.block_status(16 << 20, 0, lambda context, at, entries, err: seen.setdefault(context, entries) and 0)
assert seen["qemu:dirty-bitmap:b0"] == [131072, 1, (1 << 20) - 131072, 0, 65536, 1, (15 << 20) - 65536, 0], seen
assert nbd.CONTEXT_BASE_ALLOCATION in seen
h.shutdown()
''')
    assert t.started('qemu-nbd'), t.calls()
    img('check', 'disk.qcow2')


main('nbdkit', 'callers')
