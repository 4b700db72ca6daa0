#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is shown of NBD exports, and how they are named, beside the reference's
tools."""
import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import nbd_rows
from compat import SPACE, Table, images
from nbd_rows import SOCKET

t = Table('nbd-names')
images(t)
row = functools.partial(nbd_rows.row, t)

# ---- what is shown -----------------------------------------------------------------------------

for server, arguments in (('nbdkit', 'file r'), ('qemu', '-f raw r')):
    row(f'{server}-info', server, arguments, f'qemu-img info "{SOCKET}"')
    row(f'{server}-info-json', server, arguments, f'qemu-img info --output=json "{SOCKET}"')
    row(f'{server}-map', server, arguments, f'qemu-img map "{SOCKET}"')
    row(f'{server}-map-json', server, arguments, f'qemu-img map --output=json "{SOCKET}"')
    row(f'{server}-map-part', server, arguments,
        f'qemu-img map --output=json -s 70k -l 300k "{SOCKET}"')
    row(f'{server}-io-info', server, arguments,
        f'qemu-io -f raw -c map -c info -c length -c "alloc 0 1M" "{SOCKET}"')
row('nbdkit-map-without-extents', 'nbdkit', '--filter=noextents file r',
    f'qemu-img map --output=json "{SOCKET}"')
row('nbdkit-map-without-chunks', 'nbdkit', '--no-sr file r', f'qemu-img map --output=json "{SOCKET}"')
row('qcow2-info', 'qemu', '-f raw a.qcow2', f'qemu-img info "{SOCKET}"', 'qcow2', mask=SPACE)
row('qcow2-info-json', 'qemu', '-f raw a.qcow2', f'qemu-img info --output=json "{SOCKET}"', 'qcow2',
    mask=SPACE)
row('qcow2-inside', 'qemu', '-f qcow2 a.qcow2', f'qemu-img map --output=json "{SOCKET}"', 'qcow2')
row('qcow2-check', 'qemu', '-f raw a.qcow2', f'qemu-img check "{SOCKET}"', 'qcow2')
row('qcow2-map', 'qemu', '-f raw a.qcow2', f'qemu-img map --output=json "{SOCKET}"', 'qcow2')
row('depth', 'qemu', '-A -f qcow2 top.qcow2', '''
qemu-img map --output=json --image-opts \\
    driver=nbd,server.type=unix,server.path=s,x-dirty-bitmap=qemu:allocation-depth''', 'chain')
row('bitmap', 'qemu', '-r -B b0 -f qcow2 b.qcow2', '''
qemu-img map --output=json --image-opts \\
    driver=nbd,server.type=unix,server.path=s,x-dirty-bitmap=qemu:dirty-bitmap:b0''', 'bitmaps')
row('bitmap-that-is-not', 'qemu', '-r -f qcow2 b.qcow2', '''
qemu-img map --output=json --image-opts \\
    driver=nbd,server.type=unix,server.path=s,x-dirty-bitmap=qemu:dirty-bitmap:b0''', 'bitmaps')

# ---- names -------------------------------------------------------------------------------------

NAMES = {
    'no-slash': 'nbd+unix://?socket=s',
    'export': 'nbd+unix:///some/export?socket=s',
    'export-double-slash': 'nbd+unix:////x?socket=s',
    'export-space': 'nbd+unix:///a%20b?socket=s',
    'socket-escaped': 'nbd+unix:///x?socket=%73',
    'fragment': 'nbd+unix:///x?socket=s#part',
    'old-unix': 'nbd:unix:s',
    'old-unix-export': 'nbd:unix:s:exportname=a/b:c',
    'old-unix-empty-export': 'nbd:unix:s:exportname=',
    'old-only-export': 'nbd:exportname=s:x',
    'host-with-unix': 'nbd+unix://host/x?socket=s',
    'no-socket': 'nbd+unix:///x',
    'socket-twice': 'nbd+unix:///x?socket=s&socket=s',
    'unknown-parameter': 'nbd+unix:///x?socket=s&a=b',
    'one-slash': 'nbd+unix:/x?socket=s',
    'no-host': 'nbd://',
    'no-host-port': 'nbd://:10999',
    'query-with-tcp': 'nbd://localhost/?socket=s',
    'bad-escape': 'nbd+unix:///%zz?socket=s',
    'bad-port': 'nbd://localhost:99999',
    'udp': 'nbd+udp://localhost',
    'old-nothing': 'nbd:',
    'old-no-port': 'nbd:localhost',
    'old-unix-nothing': 'nbd:unix:',
    'missing-socket': 'nbd+unix:///x?socket=nowhere',
    'json': 'json:{"driver":"nbd","server":{"type":"unix","path":"s"}}',
    'json-export': 'json:{"driver":"nbd","server.type":"unix","server.path":"s","export":"e"}',
    'json-empty-export': 'json:{"driver":"nbd","path":"s","export":""}',
    'json-raw': 'json:{"driver":"raw","file":{"driver":"nbd","path":"s","reconnect-delay":3}}',
    'json-nothing': 'json:{"driver":"nbd"}',
}
for name, text in NAMES.items():
    row(f'name-{name}', 'nbdkit', 'file r', f"qemu-img info '{text}'")

OPTIONS = {
    'path': 'driver=nbd,path=s',
    'path-and-host': 'driver=nbd,path=s,host=localhost',
    'path-and-server': 'driver=nbd,path=s,server.type=unix',
    'path-and-port': 'driver=nbd,path=s,port=1',
    'port-alone': 'driver=nbd,port=1',
    'no-type': 'driver=nbd,server.path=s',
    'no-path': 'driver=nbd,server.type=unix',
    'bad-type': 'driver=nbd,server.type=carrier-pigeon',
    'fd-closed': 'driver=nbd,server.type=fd,server.str=99',
    'fd-no-number': 'driver=nbd,server.type=fd,server.str=x',
    'unknown': 'driver=nbd,path=s,colour=red',
    'timeouts': 'driver=nbd,path=s,reconnect-delay=2,open-timeout=2',
    'bad-timeout': 'driver=nbd,path=s,reconnect-delay=soon',
    'hostname-without-tls': 'driver=nbd,path=s,tls-hostname=x',
    'tls-unknown': 'driver=nbd,path=s,tls-creds=x',
    'raw-window': 'driver=raw,offset=512,file.driver=nbd,file.path=s',
    'raw-window-export':
        'driver=raw,offset=512,file.driver=nbd,file.server.type=unix,file.server.path=s,file.export=e',
    'raw-window-hostname':
        'driver=raw,offset=512,file.driver=nbd,file.path=s,file.tls-hostname=x',
    'abstract-off':
        'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=s,file.server.abstract=off',
    'abstract-on': 'driver=nbd,server.type=unix,server.path=s,server.abstract=on',
    'both-names': 'driver=raw,file.filename=nbd:unix:s,file.export=bar',
}
for name, text in OPTIONS.items():
    row(f'option-{name}', 'nbdkit', 'file r', f"qemu-img info --image-opts '{text}'")

TCP = '''
for port in $(seq $((20000 + RANDOM % 20000)) 65000); do
    nbdkit -i 127.0.0.1 -p $port -P pid {0} 2>/dev/null && break
done
while [ ! -s pid ]; do sleep 0.01; done
'''
HIDE = '| sed "s/$port/PORT/g"'
for name, text in {
    'uri': 'nbd://127.0.0.1:$port', 'uri-export': 'nbd+tcp://127.0.0.1:$port/x/y',
    'localhost': 'nbd://localhost:$port', 'old': 'nbd:127.0.0.1:$port',
    'old-export': 'nbd:127.0.0.1:$port:exportname=x', 'old-comma': 'nbd:127.0.0.1:$port,to=5',
    'user': 'nbd://user@127.0.0.1:$port', 'old-service': 'nbd:127.0.0.1:nosuchservice',
}.items():
    t.row(f'tcp-{name}', f'{nbd_rows.ending("nbdkit")}{TCP.format("file r")}\nqemu-img info "{text}" {HIDE}', 'raw')
for name, more in {
    'plain': '', 'ipv4': ',file.server.ipv4=on', 'no-ipv6': ',file.server.ipv6=off',
    'to': ',file.server.to=65001', 'numeric': ',file.server.numeric=on',
    'keep-alive': ',file.server.keep-alive=on', 'export': ',file.export=x',
}.items():
    t.row(f'tcp-option-{name}', f'{nbd_rows.ending("nbdkit")}{TCP.format("file r")}\nqemu-img info --image-opts '
          f'driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=127.0.0.1,'
          f'file.server.port=$port{more} {HIDE}', 'raw')

t.main()
