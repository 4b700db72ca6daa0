#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img and qemu-io on NBD exports of nbdkit and of the reference, beside the reference's tools."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import SPACE, Table, images

t = Table('nbd-client')
images(t)
t.setup('odd', 'truncate -s 1000 odd; printf abcd | dd of=odd bs=1 seek=996 conv=notrunc 2>/dev/null',
        'raw')

SOCKET = 'nbd+unix:///?socket=s'
# Each ends when the row's shell does.
SERVERS = {
    'nbdkit': 'nbdkit -U s -P pid {0}',
    'qemu': '"${{FERRY_REFERENCE:-/usr/bin}}"/qemu-nbd -t -e 8 -k "$PWD/s" --fork --pid-file=pid {0}',
}
PRELUDE = '''
trap 'kill $(cat pid) 2>/dev/null; while kill -0 $(cat pid) 2>/dev/null; do sleep 0.01; done;
      rm -f pid s' EXIT
'''


def row(name, server, arguments, command, setup='raw', **how):
    t.row(name, f'{PRELUDE}{SERVERS[server].format(arguments)}\n{command}', setup, **how)


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
    t.row(f'tcp-{name}', f'{PRELUDE}{TCP.format("file r")}\nqemu-img info "{text}" {HIDE}', 'raw')
for name, more in {
    'plain': '', 'ipv4': ',file.server.ipv4=on', 'no-ipv6': ',file.server.ipv6=off',
    'to': ',file.server.to=65001', 'numeric': ',file.server.numeric=on',
    'keep-alive': ',file.server.keep-alive=on', 'export': ',file.export=x',
}.items():
    t.row(f'tcp-option-{name}', f'{PRELUDE}{TCP.format("file r")}\nqemu-img info --image-opts '
          f'driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=127.0.0.1,'
          f'file.server.port=$port{more} {HIDE}', 'raw')

# ---- reading and writing -----------------------------------------------------------------------

STYLES = {
    'qemu': ('qemu', '-f raw r'),
    'nbdkit': ('nbdkit', 'file r'),
    'simple': ('nbdkit', '--no-sr file r'),
    'not-fixed': ('nbdkit', '--mask-handshake=0 file r'),
    'with-zeroes': ('nbdkit', '--mask-handshake=1 file r'),
    'no-zero': ('nbdkit', '--filter=nozero file r'),
    'zero-emulated': ('nbdkit', '--filter=nozero file r zeromode=emulate'),
    'no-fua': ('nbdkit', '--filter=fua file r fuamode=none'),
    'no-multi': ('nbdkit', '--filter=multi-conn file r multi-conn-mode=disable'),
    'sectors': ('nbdkit', '--filter=blocksize-policy file r blocksize-minimum=512 '
                          'blocksize-preferred=4k blocksize-maximum=64k blocksize-error-policy=error'),
    'pages': ('nbdkit', '--filter=blocksize-policy file r blocksize-minimum=4k '
                        'blocksize-preferred=64k blocksize-maximum=1M blocksize-error-policy=error'),
}
for name, (server, arguments) in STYLES.items():
    row(f'{name}-io', server, arguments, f'''qemu-io -f raw -c 'read -P 5 64k 128k' -c 'read -P 0 0 64k' \\
        -c 'write -P 9 1k 3' -c 'write -P 8 100k 200k' -c 'write -z 500000 70000' \\
        -c 'write -z -u 300k 64k' -c 'write -f -P 7 700k 4k' -c 'discard 800k 64k' -c flush \\
        -c 'aio_write -P 3 900k 8k' -c aio_flush -c 'aio_write -P 4 910k 8k' -c aio_flush \\
        -c 'readv -v 1022 4 2' -c 'writev -P 6 1M 1k 3k 513' "{SOCKET}" | grep -v ops''')
    row(f'{name}-convert-from', server, arguments, f'qemu-img convert -O qcow2 "{SOCKET}" out.qcow2')
    row(f'{name}-convert-to', server, arguments,
        f'qemu-img convert -f qcow2 -O raw small.qcow2 "{SOCKET}"', 'onto')
    row(f'{name}-compare', server, arguments, f'qemu-img compare -F raw copy "{SOCKET}"', 'onto')
t.setup('onto', '''
cp r copy
qemu-img create -q -f qcow2 small.qcow2 1536k
qemu-io -c 'write -P 3 3k 70k' -c 'write -P 4 1M 512k' small.qcow2 >/dev/null
''', 'raw')

ODD = {
    'info': f'qemu-img info "{SOCKET}"',
    'map': f'qemu-img map --output=json -f raw "{SOCKET}"',
    'read': f"qemu-io -f raw -c 'read -v 992 32' -c 'read 0 1024' '{SOCKET}' | grep -v ops",
    'write-inside': f"qemu-io -f raw -c 'write -P 7 992 8' '{SOCKET}' | grep -v ops",
    'write-across': f"qemu-io -f raw -c 'write -P 7 992 16' '{SOCKET}'",
    'zero-across': f"qemu-io -f raw -c 'write -z 512 512' '{SOCKET}'",
    'discard-across': f"qemu-io -f raw -c 'discard 512 512' '{SOCKET}'",
    'convert': f'qemu-img convert -f raw -O raw "{SOCKET}" out',
    'compare': f'qemu-img compare -f raw -F raw odd "{SOCKET}"',
    'create': f'qemu-img create -f raw "{SOCKET}" 1000',
}
for name, command in ODD.items():
    row(f'odd-{name}', 'nbdkit', 'file odd', command, 'odd')

# ---- everything else on top --------------------------------------------------------------------

row('create', 'qemu', '-f raw r', f'qemu-img create -f raw "{SOCKET}" 1536k')
row('create-smaller', 'qemu', '-f raw r', f'qemu-img create -f raw "{SOCKET}" 1M')
row('create-larger', 'qemu', '-f raw r', f'qemu-img create -f raw "{SOCKET}" 2M')
row('create-qcow2', 'qemu', '-f raw r', f'qemu-img create -f qcow2 "{SOCKET}" 1M && '
    f'qemu-io -c "write -P 3 64k 128k" "{SOCKET}" | grep -v ops; qemu-img check "{SOCKET}"')
row('create-nbd', 'qemu', '-f raw r', 'qemu-img create -f nbd nbd:unix:s 1M')
row('create-preallocated', 'qemu', '-f raw r',
    f'qemu-img create -f raw -o preallocation=full "{SOCKET}" 1M')
row('resize-same', 'qemu', '-f raw r', f'qemu-img resize -f raw "{SOCKET}" 1536k')
row('resize-larger', 'qemu', '-f raw r', f'qemu-img resize -f raw "{SOCKET}" 2M')
row('resize-smaller', 'qemu', '-f raw r', f'qemu-img resize --shrink -f raw "{SOCKET}" 1M')
row('read-only', 'qemu', '-r -f raw r', f"qemu-io -f raw -c 'write 0 512' '{SOCKET}'")
row('read-only-info', 'qemu', '-r -f raw r', f"qemu-img info '{SOCKET}'")
row('read-only-reopen', 'qemu', '-r -f raw r',
    f"qemu-io -r -f raw -c 'reopen -w' -c 'read 0 512' '{SOCKET}' | grep -v ops")
row('reopen', 'qemu', '-f raw r',
    f"qemu-io -r -f raw -c 'reopen -w' -c 'write 0 512' '{SOCKET}' | grep -v ops")
row('convert-onto-read-only', 'qemu', '-r -f raw r', f'qemu-img convert -f raw -O raw copy "{SOCKET}"',
    'onto')
row('convert-onto-smaller', 'qemu', '-f raw zero', f'qemu-img convert -f raw -O raw r "{SOCKET}"')
row('convert-n', 'qemu', '-f raw r', f'qemu-img convert -n -f qcow2 -O raw small.qcow2 "{SOCKET}"',
    'onto')
row('convert-target-is-zero', 'qemu', '-f raw zero',
    f'qemu-img convert -n --target-is-zero -f raw -O raw zero2 "{SOCKET}"', 'zeroes')
t.setup('zeroes', 'cp zero zero2', 'raw')
row('dd', 'qemu', '-f raw r', f'qemu-img dd -f raw -O raw bs=64k skip=1 count=3 if="{SOCKET}" of=out')
row('measure', 'qemu', '-f raw r', f'qemu-img measure -O qcow2 -f raw "{SOCKET}"')
row('compare-differs', 'qemu', '-f raw r', f'qemu-img compare -f raw -F raw zero "{SOCKET}"')
row('snapshot', 'qemu', '-f raw b.qcow2', f'qemu-img snapshot -l "{SOCKET}"', 'bitmaps')
row('backing', 'qemu', '-r -f raw r', f'''
qemu-img create -q -f qcow2 -b "{SOCKET}" -F raw over.qcow2
qemu-img info --backing-chain over.qcow2
qemu-io -c 'read -P 5 64k 128k' -c 'write -P 1 0 64k' over.qcow2 | grep -v ops
qemu-img map over.qcow2 | cut -d" " -f1,2''', mask=SPACE)
row('commit', 'qemu', '-f raw r', f'''
qemu-img create -q -f qcow2 -b "{SOCKET}" -F raw over.qcow2
qemu-io -c 'write -P 1 0 64k' over.qcow2 >/dev/null
qemu-img commit over.qcow2''')
row('rebase', 'qemu', '-r -f raw r', f'''
qemu-img create -q -f qcow2 -b "{SOCKET}" -F raw over.qcow2
qemu-img rebase -b "" over.qcow2''')
# A name longer than PATH_MAX is shown as json:{}.
row('longest-export', 'qemu', f'-x {"x" * 4096} -f raw r',
    f'qemu-img info "nbd+unix:///{"x" * 4096}?socket=s" | cut -c1-90')
row('unknown-export', 'qemu', '-x a -f raw r', 'qemu-img info "nbd+unix:///b?socket=s"')
row('long-export', 'qemu', f'-f raw r', f'qemu-img info "nbd+unix:///{"x" * 5000}?socket=s"')

# ---- errors of the server ----------------------------------------------------------------------

for error in 'EPERM', 'EIO', 'ENOMEM', 'EINVAL', 'ENOSPC', 'ENOTSUP', 'ESHUTDOWN', 'EOVERFLOW':
    row(f'error-{error}', 'nbdkit', f'--filter=error file r error={error} error-rate=100%',
        f"qemu-io -f raw -c 'read 0 4k' -c 'write 0 4k' -c 'write -z 0 4k' -c 'discard 0 64k' "
        f"-c flush '{SOCKET}' | grep -v ops", files=False)
row('error-convert', 'nbdkit', '--filter=error file r error-pread-rate=100%',
    f'qemu-img convert -f raw -O raw "{SOCKET}" out', files=False)
row('error-map', 'nbdkit', '--filter=error file r error-extents-rate=100%',
    f'qemu-img map -f raw "{SOCKET}"')
row('delay', 'nbdkit', '--filter=delay file r delay-read=50ms delay-write=50ms',
    f'qemu-img convert -f raw -O raw "{SOCKET}" out && qemu-img compare -f raw -F raw r out')

t.main()
