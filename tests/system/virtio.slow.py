#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtio devices with the drivers of Debian's kernel."""
import hashlib
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main
from linux_guest import connect, ramdisk, running


@case
def consoles_and_ports_lead_to_character_devices():
    kernel = ramdisk('echo hello by hvc0 >/dev/hvc0\n'
                     'for p in /sys/class/virtio-ports/*; do '
                     'echo "PORT $(/bin/busybox basename $p) $(/bin/busybox cat $p/name)"; done\n'
                     'exec 3<>/dev/vport0p1\n'
                     'while read -r line <&3; do [ "$line" = end ] && break; echo "got $line" >&3; done\n'
                     '/bin/busybox seq 30000 >&3\n'
                     'echo "SUM $(/bin/busybox sha256sum </dev/vport0p3)"',
                     ['virtio_mmio', 'virtio_console'])
    content = os.urandom(300_000)
    with running(kernel, '-device', 'virtio-serial-device,id=vs',
                 '-chardev', 'file,id=con,path=con', '-device', 'virtconsole,chardev=con,bus=vs.0',
                 '-chardev', 'socket,id=agent,path=agent,server=on,wait=off',
                 '-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0,id=agent',
                 '-chardev', 'null,id=none', '-device', 'virtserialport,nr=7,chardev=none',
                 '-chardev', 'socket,id=file,path=file,server=on,wait=off',
                 '-device', 'virtserialport,chardev=file,nr=3') as guest:
        agent, file = connect('agent'), connect('file')
        guest.expect('PORT vport0p7')
        lines = agent.makefile('r')
        agent.sendall(b'one\ntwo words\n')
        assert lines.readline() == 'got one\n' and lines.readline() == 'got two words\n'
        agent.sendall(b'end\n')
        numbers = [lines.readline() for _ in range(30000)]
        assert numbers == [f'{i}\n' for i in range(1, 30001)], numbers[:3]
        file.sendall(content)
        file.close()
        said = guest.rest()
    assert f'SUM {hashlib.sha256(content).hexdigest()}' in said, said
    assert 'vport0p1 org.qemu.guest_agent.0' in said, said
    assert 'hello by hvc0' in pathlib.Path('con').read_text()


main('virtio', 'system')
