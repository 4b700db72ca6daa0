#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtio devices with the drivers of Debian's kernel."""
import hashlib
import http.server
import json
import os
import pathlib
import socket
import struct
import sys
import threading
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
import qmp
from cases import case, img, main
from linux_guest import PATIENCE, connect, ramdisk, running


# By which a guest is told to go on.
CONSOLE = ['-device', 'virtio-serial-device', '-chardev',
           'socket,id=c,path=console,server=on,wait=off', '-device', 'virtconsole,chardev=c']


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


# ---- networks ------------------------------------------------------------------------------------

# Gives the interface whose address ends with N the IPv4 address 10.0.N.2.
UP = '''b=/bin/busybox
for i in /sys/class/net/eth*; do
    n=$($b cut -d: -f6 $i/address); n=$((0x$n))
    $b ip addr add 10.0.$n.2/24 dev ${i##*/}; $b ip link set ${i##*/} up
done
'''


def mac(n):
    return bytes.fromhex('525400000000')[:5] + bytes([n])


def arp_request(n):
    """A frame that asks who has 10.0.N.2, from 10.0.N.9."""
    ours = b'\x02\0\0\0\0\x09'
    return (b'\xff' * 6 + ours + bytes.fromhex('0806000108000604' '0001') + ours +
            bytes([10, 0, n, 9]) + bytes(6) + bytes([10, 0, n, 2])).ljust(60, b'\0')


def is_arp_reply(frame, n):
    return frame[12:14] == b'\x08\x06' and frame[20:22] == b'\0\x02' and frame[22:32] == mac(
        n) + bytes([10, 0, n, 2])


class FrameStream:
    """Frames over a stream, each behind its length."""

    def __init__(self, stream):
        self.stream, self.rest = stream, b''

    def send(self, frame):
        self.stream.sendall(struct.pack('>I', len(frame)) + frame)

    def receive(self):
        while len(self.rest) < 4 or len(self.rest) < 4 + struct.unpack('>I', self.rest[:4])[0]:
            got = self.stream.recv(1 << 16)
            assert got, 'the stream has ended'
            self.rest += got
        size = struct.unpack('>I', self.rest[:4])[0]
        frame, self.rest = self.rest[4:4 + size], self.rest[4 + size:]
        return frame


class Frames:
    """Frames over datagrams to @peer."""

    def __init__(self, sock, peer):
        self.sock, self.peer = sock, peer

    def send(self, frame):
        self.sock.sendto(frame, self.peer)

    def receive(self):
        return self.sock.recv(1 << 17)


def await_frame(link, wanted, what, ask=None):
    for _ in range(200):
        if ask:
            link.send(ask)
        frame = link.receive()
        if wanted(frame):
            return frame
    raise AssertionError(f'no {what}')


def datagram_socket(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind(address)
    s.settimeout(PATIENCE)
    return s


class Site(http.server.SimpleHTTPRequestHandler):
    posted = []

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.posted.append(self.rfile.read(int(self.headers['Content-Length'])))
        self.send_response(200)
        self.end_headers()


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


@case
def user_mode_leads_to_the_host_and_back():
    content = os.urandom(3_000_000)
    pathlib.Path('data').write_bytes(content)
    pathlib.Path('tftp').mkdir()
    pathlib.Path('tftp/small').write_text('came by tftp')
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    inward, port = free_port(), server.server_port
    kernel = ramdisk(UP.replace('10.0.$n.2', '10.0.2.15') + f'''
$b ip link set lo up; $b ip route add default via 10.0.2.2
$b wget -q -O /data http://10.0.2.2:{port}/data; echo "SUM $($b sha256sum /data)"
(printf 'POST / HTTP/1.0\\r\\nContent-Length: {len(content)}\\r\\n\\r\\n'; $b cat /data; $b sleep 1) |
    $b nc 10.0.2.2 {port} >/dev/null
$b tftp -g -r small 10.0.2.2; echo "TFTP $($b cat small)"
echo '#!/bin/busybox sh' >/lease; echo 'echo "LEASE $1 $ip $router $dns $hostname $search"' >>/lease
$b chmod 755 /lease; $b udhcpc -i eth0 -n -q -f -s /lease -O search
mkdir /site; echo served by the guest >/site/index.html; $b httpd -p 80 -h /site; echo SERVING
$b head -n1 /dev/hvc0 >/dev/null; ''', ['virtio_mmio', 'virtio_net', 'virtio_console'])
    with running(kernel, '-netdev',
                 f'user,id=n,hostfwd=tcp:127.0.0.1:{inward}-:80,tftp=tftp,hostname=there,'
                 'dnssearch=one.example,dnssearch=two.example,dns=10.0.2.77',
                 '-device', 'virtio-net-device,netdev=n,mac=52:54:00:00:00:02', *CONSOLE) as guest:
        guest.expect('SERVING')
        with urllib.request.urlopen(f'http://127.0.0.1:{inward}/', timeout=PATIENCE) as page:
            assert page.read() == b'served by the guest\n'
        connect('console').sendall(b'go on\n')
        said = guest.rest()
    server.shutdown()
    assert f'SUM {hashlib.sha256(content).hexdigest()}' in said, said
    assert Site.posted == [content], [len(p) for p in Site.posted]
    assert 'TFTP came by tftp' in said, said
    assert 'LEASE bound 10.0.2.15 10.0.2.2 10.0.2.77 there one.example two.example' in said, said


@case
def a_restricted_guest_reaches_nobody():
    server = socket.create_server(('127.0.0.1', 0))
    kernel = ramdisk(UP.replace('10.0.$n.2', '10.0.2.15') + '$b ip route add default via 10.0.2.2\n'
                     f'$b nc -w 3 10.0.2.2 {server.getsockname()[1]} </dev/null && echo CAME\n'
                     'echo "$($b nc -w 5 10.0.2.100 7 </dev/null)"',
                     ['virtio_mmio', 'virtio_net'])
    with running(kernel, '-nic', 'user,model=virtio-net-device,restrict=on,mac=52:54:00:00:00:02,'
                 'guestfwd=tcp:10.0.2.100:7-cmd:echo forwarded') as guest:
        said = guest.rest()
    assert 'CAME' not in said and 'forwarded' in said, said


@case
def frames_go_over_streams_datagrams_and_hubs():
    kernel = ramdisk(UP + 'echo READY; $b head -n1 /dev/hvc0 >/dev/null; '
                     'for i in /sys/class/net/eth*; do '
                     'echo "CARRIER $($b cat $i/address) $($b cat $i/carrier)"; done',
                     ['virtio_mmio', 'virtio_net', 'virtio_console'])
    udp = datagram_socket(socket.AF_INET, ('127.0.0.1', 0))
    ours, local = udp.getsockname()[1], free_port()
    unix = datagram_socket(socket.AF_UNIX, 'peer')
    old = socket.create_server(('127.0.0.1', 0))
    options = [
        f'stream,id=n1,server=on,addr.type=unix,addr.path=stream',
        f'dgram,id=n2,local.type=inet,local.host=127.0.0.1,local.port={local},'
        f'remote.type=inet,remote.host=127.0.0.1,remote.port={ours}',
        'dgram,id=n3,local.type=unix,local.path=here,remote.type=unix,remote.path=peer',
        f'socket,id=n4,connect=127.0.0.1:{old.getsockname()[1]}',
        'stream,id=s5,server=on,addr.type=unix,addr.path=hub',
        'hubport,id=p5,hubid=0,netdev=s5', 'hubport,id=n5,hubid=0', 'hubport,id=n6,hubid=0',
    ]
    devices = [f'virtio-net-device,id=d{n},netdev=n{n},mac=52:54:00:00:00:0{n}' for n in range(1, 7)]
    with running(kernel, '-qmp', 'unix:qmp,server=on,wait=off', *CONSOLE,
                 *[word for o in options for word in ('-netdev', o)],
                 *[word for d in devices for word in ('-device', d)]) as guest:
        accepted = old.accept()[0]
        accepted.settimeout(PATIENCE)
        hub = FrameStream(connect('hub'))
        links = {1: FrameStream(connect('stream')), 2: Frames(udp, ('127.0.0.1', local)),
                 3: Frames(unix, 'here'), 4: FrameStream(accepted), 5: hub, 6: hub}
        guest.expect('READY')
        for n, link in links.items():
            await_frame(link, lambda frame: is_arp_reply(frame, n), f'answer over link {n}',
                        arp_request(n))
        check_commands(qmp.Client('qmp'), links)
        connect('console').sendall(b'go on\n')
        said = guest.rest()
    assert 'CARRIER 52:54:00:00:00:01 0' in said and 'CARRIER 52:54:00:00:00:04 0' in said, said
    assert 'CARRIER 52:54:00:00:00:02 1' in said, said


def check_commands(monitor, links):
    reply = monitor.answer('query-rx-filter', name='d2')[0]
    assert reply['main-mac'] == '52:54:00:00:00:02' and not reply['promiscuous'], reply
    assert len(monitor.answer('query-rx-filter')) == 6
    assert 'desc' in monitor.answer('query-rx-filter', name='nobody')
    assert 'desc' in monitor.answer('netdev_del', id='n2')
    assert monitor.answer('netdev_add', type='hubport', id='n7', hubid=3) == {}
    assert 'desc' in monitor.answer('netdev_add', type='hubport', id='n7', hubid=3)
    assert monitor.answer('netdev_del', id='n7') == {}
    assert monitor.answer('announce-self', initial=50, max=50, rounds=2, step=0) == {}
    for n in 1, 2, 3, 4:
        rarp = await_frame(links[n], lambda frame: frame[12:14] == b'\x80\x35', 'announcement')
        assert rarp[:14] == b'\xff' * 6 + mac(n) + b'\x80\x35' and rarp[22:28] == mac(n), rarp
    assert monitor.answer('set_link', name='n1', up=False) == {}
    assert monitor.answer('set_link', name='d4', up=False) == {}
    assert monitor.answer('set_link', name='nobody', up=False)['class'] == 'DeviceNotFound'


# ---- disks -----------------------------------------------------------------------------------------

@case
def a_disk_has_queues_discard_and_what_its_properties_say():
    img('create', '-q', '-f', 'qcow2', 'd.qcow2', '16M')
    kernel = ramdisk('b=/bin/busybox; q=/sys/block/vda/queue; '
                     'echo "QUEUES $(ls /sys/block/vda/mq | $b wc -l)"; '
                     'for f in logical_block_size physical_block_size minimum_io_size optimal_io_size '
                     'discard_granularity; do echo "$f $($b cat $q/$f)"; done\n'
                     '$b dd if=/dev/urandom of=/dev/vda bs=1M 2>/dev/null; $b sync; '
                     '$b blkdiscard -o 4194304 -l 8388608 /dev/vda && echo DISCARDED\n'
                     '$b dd if=/dev/vda bs=1M skip=4 count=8 2>/dev/null | $b tr -d "\\000" | $b wc -c; '
                     'for i in 0 1 2 3; do $b dd if=/dev/vda of=/dev/null bs=64k skip=$((64*i)) count=64 '
                     '2>/dev/null & done; wait; echo READ',
                     ['virtio_mmio', 'virtio_blk'])
    with running(kernel, '-smp', '2', '-blockdev',
                 'qcow2,node-name=d,discard=unmap,file.driver=file,file.filename=d.qcow2,file.discard=unmap',
                 '-device', 'virtio-blk-device,drive=d,num-queues=2,queue-size=64,logical_block_size=4096,'
                 'physical_block_size=8192,min_io_size=16384,opt_io_size=65536,'
                 'discard_granularity=65536') as guest:
        said = guest.rest()
    for line in ('QUEUES 2', 'logical_block_size 4096', 'physical_block_size 8192',
                 'minimum_io_size 16384', 'optimal_io_size 65536', 'discard_granularity 65536',
                 'DISCARDED', 'READ'):
        assert line in said, (line, said)
    assert '\n0\n' in said, said
    img('check', '-q', 'd.qcow2')
    mapped = json.loads(img('map', '--output=json', 'd.qcow2').stdout)
    assert sum(m['length'] for m in mapped if m['data']) == 8 << 20, mapped


@case
def a_full_disk_stops_the_guest_until_there_is_room():
    content = os.urandom(1 << 20)
    img('create', '-q', 'd.raw', '4M')
    pathlib.Path('blkdebug.conf').write_text('[inject-error]\nevent = "none"\niotype = "write"\n'
                                             'errno = "28"\nonce = "on"\nsector = "1024"\n')
    pathlib.Path('other.conf').write_text('[inject-error]\nevent = "none"\niotype = "read"\n'
                                          'errno = "5"\nsector = "2048"\n')
    kernel = ramdisk('b=/bin/busybox; $b head -c 1048576 /dev/vport0p1 >/data; '
                     '$b dd if=/data of=/dev/vda bs=64k 2>&1 && $b sync && echo WRITTEN; '
                     '$b dd if=/dev/vdb of=/dev/null bs=4k skip=256 count=1 2>/dev/null || echo REPORTED',
                     ['virtio_mmio', 'virtio_blk', 'virtio_console'])
    with running(kernel, '-qmp', 'unix:qmp,server=on,wait=off', '-blockdev',
                 'blkdebug,node-name=d,config=blkdebug.conf,image.driver=file,image.filename=d.raw',
                 '-blockdev', 'blkdebug,node-name=e,config=other.conf,image.driver=null-co',
                 '-device', 'virtio-blk-device,drive=e,id=other', # the last is vda
                 '-device', 'virtio-blk-device,drive=d,id=disk', '-device', 'virtio-serial-device',
                 '-chardev', 'socket,id=c,path=port,server=on,wait=off', '-device',
                 'virtserialport,chardev=c') as guest:
        monitor = qmp.Client('qmp')
        connect('port').sendall(content)
        error = monitor.event('BLOCK_IO_ERROR', PATIENCE)
        assert error == {'device': 'disk', 'node-name': 'd', 'operation': 'write', 'action': 'stop',
                         'nospace': True, 'reason': 'No space left on device'}, error
        monitor.event('STOP')
        assert monitor.answer('query-status')['status'] == 'io-error'
        assert monitor.answer('cont') == {}
        said = guest.rest()
    assert 'WRITTEN' in said and 'REPORTED' in said, said
    assert pathlib.Path('d.raw').read_bytes()[:1 << 20] == content


# ---- SCSI ------------------------------------------------------------------------------------------

@case
def scsi_disks_and_discs_work():
    img('create', '-q', '-f', 'qcow2', 'd.qcow2', '16M')
    disc = os.urandom(2_000_000 // 2048 * 2048)
    pathlib.Path('disc.iso').write_bytes(disc)
    pathlib.Path('small.raw').write_bytes(bytes(1 << 20))
    kernel = ramdisk('b=/bin/busybox; $b sleep 1; for d in /sys/class/scsi_device/*; do '
                     'echo "UNIT ${d##*/} $(echo $($b cat $d/device/vendor $d/device/model))"; done\n'
                     'hd=$(ls /sys/class/scsi_device/0:0:0:0/device/block); '
                     'ro=$(ls /sys/class/scsi_device/0:0:5:3/device/block); q=/sys/block/$hd/queue\n'
                     'for f in logical_block_size physical_block_size write_cache; do '
                     'echo "$f $($b cat $q/$f)"; done\n'
                     'echo "SERIAL $($b tail -c +5 /sys/block/$hd/device/vpd_pg80)"\n'
                     '$b dd if=/dev/urandom of=/dev/$hd bs=1M 2>/dev/null; $b sync\n'
                     '$b blkdiscard -o 4194304 -l 8388608 /dev/$hd && echo DISCARDED\n'
                     'echo "LEFT $($b dd if=/dev/$hd bs=1M skip=4 count=8 2>/dev/null | '
                     '$b tr -d "\\000" | $b wc -c)"\n'
                     'echo "DISC $($b sha256sum /dev/sr0)"; echo "RO $($b cat /sys/block/$ro/ro)"',
                     ['virtio_mmio', 'virtio_scsi', 'sd_mod', 'sr_mod'])
    with running(kernel, '-blockdev',
                 'qcow2,node-name=d,discard=unmap,file.driver=file,file.filename=d.qcow2,file.discard=unmap',
                 '-blockdev', 'file,node-name=cd,filename=disc.iso,read-only=on',
                 '-blockdev', 'file,node-name=ro,filename=small.raw,read-only=on',
                 '-device', 'virtio-scsi-device,id=scsi,num_queues=2',
                 '-device', 'scsi-hd,drive=d,bus=scsi.0,serial=Ferry17,physical_block_size=4096',
                 '-device', 'scsi-hd,drive=ro,scsi-id=5,lun=3,product=Other',
                 '-device', 'scsi-cd,drive=cd,id=cd0') as guest:
        said = guest.rest()
    digest = hashlib.sha256(disc).hexdigest()
    for line in ('UNIT 0:0:0:0 QEMU QEMU HARDDISK', 'UNIT 0:0:5:3 QEMU Other',
                 'UNIT 0:0:1:0 QEMU QEMU CD-ROM', 'logical_block_size 512', 'physical_block_size 4096',
                 'write_cache write back', 'SERIAL Ferry17', 'DISCARDED', 'LEFT 0', f'DISC {digest}',
                 'RO 1'):
        assert line in said, (line, said)
    img('check', '-q', 'd.qcow2')
    mapped = json.loads(img('map', '--output=json', 'd.qcow2').stdout)
    assert sum(m['length'] for m in mapped if m['data']) == 8 << 20, mapped


@case
def disks_and_ports_come_and_go_while_the_guest_runs():
    img('create', '-q', 'd.raw', '1M')
    pathlib.Path('d.raw').write_bytes(content := os.urandom(1 << 20))
    kernel = ramdisk('b=/bin/busybox; await() { while [ -z "$(ls $1 2>/dev/null)" ]; do $b sleep 0.1; done; }\n'
                     'gone() { while [ -e $1 ]; do $b sleep 0.1; done; }\n'
                     'echo READY; await /dev/sda; echo "DISK $($b sha256sum /dev/sda)"; echo KNOWN; '
                     'gone /dev/sda; echo LOST; await /dev/vport0p3; $b head -n1 /dev/vport0p3 >/line; '
                     'echo "LINE $($b cat /line)"; gone /dev/vport0p3; echo END',
                     ['virtio_mmio', 'virtio_scsi', 'sd_mod', 'virtio_console'])
    with running(kernel, '-qmp', 'unix:qmp,server=on,wait=off', '-blockdev', 'file,node-name=d,filename=d.raw',
                 '-device', 'virtio-scsi-device,id=s', '-device', 'virtio-serial-device,id=v', '-chardev',
                 'socket,id=c,path=port,server=on,wait=off') as guest:
        monitor = qmp.Client('qmp')
        guest.expect('READY')
        assert monitor.answer('device_add', driver='scsi-hd', id='hd', drive='d', bus='s.0') == {}
        for wrong in {'id': 'hd'}, {'id': 'x', 'lun': 0, 'scsi-id': 0}, {'id': 'y', 'bus': 'nowhere.0'}:
            assert 'desc' in monitor.answer('device_add', driver='scsi-cd', **wrong), wrong
        guest.expect('KNOWN')
        lines = [json.loads(line) for line in monitor.ask(qmp.request('device_del', id='hd'))]
        assert [m.get('event') for m in lines] == ['DEVICE_DELETED', None], lines
        assert lines[0]['data'] == {'device': 'hd', 'path': '/machine/peripheral/hd'}, lines
        guest.expect('LOST')
        assert monitor.answer('device_add', driver='virtserialport', id='p', chardev='c', nr=3) == {}
        port = connect('port')
        port.sendall(b'over a new port\n')
        monitor.event('VSERPORT_CHANGE', PATIENCE)
        guest.expect('LINE over a new port')
        assert monitor.answer('device_del', id='p') == {}
        guest.expect('END')
        said = guest.rest()
    assert f'DISK {hashlib.sha256(content).hexdigest()}' in said, said


@case
def guests_see_the_new_size_of_their_disks():
    sizes = '$b cat /sys/block/vda/size /sys/block/vdb/size /sys/block/sda/size'
    kernel = ramdisk(f'b=/bin/busybox; last=\nwhile [ ! -e /end ]; do now=$(echo $({sizes}))\n'
                     '[ "$now" = "$last" ] || echo "SIZES $now"; last=$now\n'
                     '[ "$now" = "16384 4096 16384" ] && : >/end; $b sleep 0.1; done\n'
                     '$b dd if=/dev/vda of=/dev/sda bs=1M skip=7 seek=7 count=1 2>/dev/null && echo COPIED',
                     ['virtio_mmio', 'virtio_blk', 'virtio_scsi', 'sd_mod'])
    for name in 'a', 'b', 'c':
        img('create', '-q', '-f', 'qcow2', f'{name}.qcow2', '1M')
    with running(kernel, '-qmp', 'unix:qmp,server=on,wait=off',
                 '-blockdev', 'qcow2,node-name=a,file.driver=file,file.filename=a.qcow2',
                 '-drive', 'if=none,id=b,file=b.qcow2,format=qcow2',
                 '-blockdev', 'qcow2,node-name=c,file.driver=file,file.filename=c.qcow2',
                 '-device', 'virtio-scsi-device', '-device', 'scsi-hd,drive=c',
                 # The kernel finds devices in the order of their slots, the last one first.
                 '-device', 'virtio-blk-device,drive=b,serial=b',
                 '-device', 'virtio-blk-device,drive=a,serial=a') as guest:
        monitor = qmp.Client('qmp')
        guest.expect('SIZES 2048 2048 2048')
        assert monitor.answer('block_resize', node_name='a', size=8 << 20) == {}
        guest.expect('SIZES 16384 2048 2048')
        assert monitor.answer('block_resize', device='b', size=2 << 20) == {}
        guest.expect('SIZES 16384 4096 2048')
        assert monitor.answer('block_resize', node_name='c', size=8 << 20) == {}
        assert 'COPIED' in guest.rest()
    for name in 'a', 'b', 'c':
        img('check', '-q', '-f', 'qcow2', f'{name}.qcow2')


@case
def packed_queues_work():
    content = os.urandom(3_000_000 // 512 * 512)
    pathlib.Path('a.raw').write_bytes(content)
    img('create', '-q', 'b.raw', '4M')
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kernel = ramdisk(UP.replace('10.0.$n.2', '10.0.2.15') + f'''
for d in /sys/bus/virtio/devices/*; do echo "PACKED $($b cut -c35 $d/features)"; done
$b dd if=/dev/vda of=/dev/vdb bs=64k 2>/dev/null; $b sync
$b wget -q -O /data http://10.0.2.2:{server.server_port}/a.raw; echo "SUM $($b sha256sum /data)"
exec 3<>/dev/vport0p1       # open all the time: closing it drops what has come
$b cat /data >&3; $b head -c {len(content)} <&3 | $b sha256sum''',
                     ['virtio_mmio', 'virtio_net', 'virtio_blk', 'virtio_console'])
    with running(kernel, '-blockdev', 'file,filename=a.raw,node-name=a',
                 '-blockdev', 'file,filename=b.raw,node-name=b',
                 '-device', 'virtio-blk-device,drive=b,packed=on',
                 '-device', 'virtio-blk-device,drive=a,packed=on',
                 '-netdev', 'user,id=n',
                 '-device', 'virtio-net-device,netdev=n,packed=on,mac=52:54:00:00:00:02',
                 '-device', 'virtio-serial-device,packed=on', '-chardev',
                 'socket,id=c,path=port,server=on,wait=off', '-device', 'virtserialport,chardev=c') as guest:
        port, got = connect('port'), b''
        while len(got) < len(content):
            got += port.recv(1 << 16)
        port.sendall(content)
        said = guest.rest()
    server.shutdown()
    digest = hashlib.sha256(content).hexdigest()
    assert said.count('PACKED 1') == 4 or said.count('PACKED') == 4, said
    assert got == content and said.count(digest) == 2, said
    assert pathlib.Path('b.raw').read_bytes()[:len(content)] == content


main('virtio', 'system')
