#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux in the reference's emulator reads and writes disks that our daemon exports by vhost-user."""
import hashlib
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, main, require
from guests import REFERENCE_EMULATOR
from linux_guest import ramdisk, running
from qmp import Stdio

SIZE = 8 << 20
SCRIPT = '''
echo "SIZE $(/bin/busybox cat /sys/block/vda/size)"
echo "READ $(/bin/busybox sha256sum /dev/vda)"
/bin/busybox dd if=/dev/vda of=/dev/vdb bs=64k 2>/dev/null
for i in 1 2 3 4; do
    (/bin/busybox dd if=/dev/urandom of=/dev/vdb bs=4k seek=$((i * 256)) count=64 conv=notrunc 2>/dev/null) &
done
wait
/bin/busybox sync
echo 3 >/proc/sys/vm/drop_caches
echo "WRITTEN $(/bin/busybox sha256sum /dev/vdb)"
/bin/busybox blkdiscard -o 6291456 -l 1048576 /dev/vdb && echo DISCARDED
'''


def reads_and_writes(machine, device, modules, *options):
    require(REFERENCE_EMULATOR.exists(), 'no reference emulator')
    content = os.urandom(SIZE)
    pathlib.Path('a.raw').write_bytes(content)
    img('create', '-q', '-f', 'qcow2', 'b.qcow2', str(SIZE))
    kernel = ramdisk(SCRIPT, modules)
    with Stdio(BUILD / 'qemu-storage-daemon', '--blockdev', 'file,node-name=a,filename=a.raw',
               '--blockdev', 'qcow2,node-name=b,discard=unmap,file.driver=file,file.filename=b.qcow2',
               '--export', 'vhost-user-blk,id=a,node-name=a,num-queues=2,addr.type=unix,addr.path=sa',
               '--export', 'vhost-user-blk,id=b,node-name=b,writable=on,num-queues=2,'
               'addr.type=unix,addr.path=sb'):
        with running(kernel, '-machine', f'{machine},memory-backend=m', '-smp', '2', '-object',
                     'memory-backend-memfd,id=m,size=512M,share=on',
                     '-chardev', 'socket,id=ca,path=sa', '-chardev', 'socket,id=cb,path=sb', *options,
                     '-device', f'{device},chardev=ca,num-queues=2', '-device', f'{device},chardev=cb,num-queues=2',
                     emulator=REFERENCE_EMULATOR) as guest:
            said = guest.rest()
    assert f'SIZE {SIZE // 512}' in said, said
    assert f'READ {hashlib.sha256(content).hexdigest()}' in said, said
    assert 'DISCARDED' in said, said
    written = next(line.split()[1] for line in said.splitlines() if line.startswith('WRITTEN'))
    img('check', '-q', 'b.qcow2')
    img('convert', '-O', 'raw', 'b.qcow2', 'b.raw')
    found = bytearray(pathlib.Path('b.raw').read_bytes())
    assert found[6 << 20:7 << 20] == bytes(1 << 20)
    found[6 << 20:7 << 20] = content[6 << 20:7 << 20]
    assert hashlib.sha256(found).hexdigest() == written, said
    assert found[:1 << 20] == content[:1 << 20] and found[1 << 20:5 << 20] != content[1 << 20:5 << 20]


@case
def a_guest_on_pci_reads_and_writes():
    reads_and_writes('q35', 'vhost-user-blk-pci', ['virtio_pci', 'virtio_blk'])


main('vhost-user-slow', 'storage-daemon')
