#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img and qemu-io reading and writing NBD exports of nbdkit and of the reference, beside the reference's
tools."""
import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import nbd_rows
from compat import SPACE, Table, images
from nbd_rows import SOCKET

t = Table('nbd-io')
images(t)
row = functools.partial(nbd_rows.row, t)
t.setup('odd', 'truncate -s 1000 odd; printf abcd | dd of=odd bs=1 seek=996 conv=notrunc 2>/dev/null',
        'raw')

# ---- reading and writing -----------------------------------------------------------------------

STYLES = {
    'qemu': ('qemu', '-f raw r'),
    'nbdkit': ('nbdkit', 'file r'),
    'simple': ('nbdkit', '--no-sr file r'),
    'not-fixed': ('nbdkit', '--mask-handshake=0 file r'),
    'with-zeroes': ('nbdkit', '--mask-handshake=1 file r'),
    'no-zero': ('nbdkit', '--filter=nozero file r'),
    'zero-emulated': ('nbdkit', '--filter=nozero file r zeromode=emulate'),
    'fua-emulated': ('nbdkit', '--filter=fua file r fuamode=emulate'),
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
row('create-qcow2-preallocated', 'qemu', '-f raw r',
    f'qemu-img create -f qcow2 -o preallocation=full "{SOCKET}" 1M && qemu-img check "{SOCKET}"')
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

for error in 'EPERM', 'EIO', 'ENOMEM', 'EINVAL', 'ENOSPC', 'ESHUTDOWN':
    row(f'error-{error}', 'nbdkit', f'--filter=error file r error={error} error-rate=100%',
        f"qemu-io -f raw -c 'read 0 4k' -c 'write 0 4k' -c 'write -z 0 4k' -c 'discard 0 64k' "
        f"-c flush '{SOCKET}' | grep -v ops", files=False)
# Of several reads under way the reference tells each that fails, so how many lines is chance.
row('error-convert', 'nbdkit', '--filter=error file r error-pread-rate=100%',
    f'qemu-img convert -f raw -O raw "{SOCKET}" out', files=False, stderr='any')
row('error-map', 'nbdkit', '--filter=error file r error-extents-rate=100%',
    f'qemu-img map -f raw "{SOCKET}"')
row('delay', 'nbdkit', '--filter=delay file r delay-read=50ms delay-write=50ms',
    f'qemu-img convert -f raw -O raw "{SOCKET}" out && qemu-img compare -f raw -F raw r out')

# ---- TLS ---------------------------------------------------------------------------------------

t.setup('tls', '''
key=0123456789abcdef0123456789abcdef
mkdir keys other
echo "ferry:$key" > psk
cp psk keys/keys.psk
echo "ferry:${key}00" > other/keys.psk
''', 'raw')
PSK = 'tls-creds-psk,id=t,endpoint=client,username=ferry,dir'
for name, server in ('require', '--tls=require --tls-psk=psk file r'), ('none', 'file r'):
    for how, creds, options in (
            ('psk', f'--object {PSK}=keys', ',tls-creds=t'),
            ('wrong-key', f'--object {PSK}=other', ',tls-creds=t'),
            ('no-tls', '', ''),
            ('server-creds', f'--object {PSK}=keys,endpoint=server', ',tls-creds=t')):
        row(f'tls-{name}-{how}', 'nbdkit', server,
            f'qemu-img info {creds} --image-opts driver=nbd,path=s{options}', 'tls')
row('tls-io', 'nbdkit', '--tls=require --tls-psk=psk file r', f'''
qemu-io --object {PSK}=keys --image-opts -c 'read -P 5 64k 128k' -c 'write -P 7 1k 300k' \\
    -c 'write -z 500k 64k' -c 'read -P 7 1k 300k' driver=nbd,path=s,tls-creds=t | grep -v ops
qemu-img convert --object {PSK}=keys --image-opts driver=nbd,path=s,tls-creds=t -O raw out''', 'tls')

t.main()
