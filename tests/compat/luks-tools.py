#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""LUKS images in the tools' hands, beside the reference. It measures short times coarsely and then
gives up, so what derives keys is tried until it works, where it must."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table

S = "--object secret,id=s,data=one --object secret,id=t,data=two --object secret,id=u,data=three"
OPEN = '--image-opts driver=luks,key-secret=s,file.filename=a.luks'
SLOTS = "qemu-img info a.luks | grep -A1 '\\[' | tr -d ' \\n'"

t = Table('luks-tools')
t.setup('luks', f'''
until qemu-img create -q -f luks {S} -o key-secret=s,iter-time=40 a.luks 3M; do :; done
qemu-io {S} -c 'write -P 7 1M 64k' {OPEN} >/dev/null
''')


def amend(name, *options, force='', until=False):
    """A row that amends once for each of @options; @until: tries again until it works."""
    steps = []
    for o in options:
        step = f'qemu-img amend {force} {S} {OPEN} -o {o}'
        steps.append(f'for i in {{1..40}}; do {step} 2>/dev/null && break; done' if until
                     else f'{step}; echo $?')
    t.row(f'amend-{name}', f'{"; ".join(steps)}; {SLOTS}', 'luks', files=False)


FILL = 'state=active,iter-time=40,new-secret='

for tool_help in 'create -f luks -o help', 'amend -f luks -o help', 'create --object secret,help', \
                 'create --object secret_keyring,help', 'create --object secret,id=x,data=y,help':
    t.row('help-' + tool_help.replace(' ', '-').replace('--', '').replace(',', '-'),
          f'qemu-img {tool_help}')

t.row('info', 'qemu-img info a.luks', 'luks', mask='disk')
t.row('info-json', 'qemu-img info --output=json a.luks', 'luks', mask='actual')
t.row('info-unlocked', f'qemu-img info {S} {OPEN}', 'luks', mask='disk')
t.row('info-wrong-format', 'qemu-img info -f qcow2 a.luks', 'luks')
t.row('info-as-raw', 'qemu-img info -f raw a.luks', 'luks', mask='disk')
t.row('map', f'qemu-img map {S} --output=json {OPEN}', 'luks')
t.row('map-human', f'qemu-img map {S} {OPEN}', 'luks')
t.row('open-without-secret', 'qemu-img map a.luks', 'luks')
t.row('open-wrong-password', f'qemu-img map {S} --image-opts '
      'driver=luks,key-secret=t,file.filename=a.luks', 'luks')
t.row('open-unknown-secret', f'qemu-img map {S} --image-opts '
      'driver=luks,key-secret=none,file.filename=a.luks', 'luks')
t.row('check', f'qemu-img check {S} {OPEN}', 'luks')
t.row('read', f"qemu-io {S} -c 'read -P 7 1M 64k' -c 'read -P 7 1000k 8k' {OPEN} | grep -v ops",
      'luks', files=False)
t.row('convert-to-raw', f'qemu-img convert {S} {OPEN} -O raw out', 'luks')
t.row('resize', f'qemu-img resize {S} {OPEN} 5M; qemu-img resize {S} {OPEN} +512k; '
      f'qemu-img info a.luks; ls -l a.luks', 'luks', mask='disk')
t.row('shrink', f'qemu-img resize {S} {OPEN} 2M; qemu-img resize --shrink {S} {OPEN} 2M; '
      'qemu-img info a.luks', 'luks', mask='disk')
t.row('resize-full', f'qemu-img resize --preallocation=full {S} {OPEN} 4M', 'luks', files=False)
t.row('resize-metadata', f'qemu-img resize --preallocation=metadata {S} {OPEN} 4M', 'luks')
t.row('measure', f'for i in {{1..40}}; do qemu-img measure --output=json -O luks {S} '
      '-o key-secret=s,iter-time=20,cipher-alg=aes-128 --size 12345 2>/dev/null && break; done')
t.row('measure-without-secret', 'qemu-img measure -O luks --size 1G')

for wrong in 'key-secret=none', 'cipher-alg=aes-256', 'key-secret=s,cipher-alg=rot13', \
             'key-secret=s,cipher-mode=gcm', 'key-secret=s,hash-alg=crc', \
             'key-secret=s,ivgen-alg=none', 'key-secret=s,ivgen-hash-alg=sha3', \
             'key-secret=s,cipher-alg=cast5-128', 'key-secret=s,nonsense=1', \
             'key-secret=s,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha1':
    t.row('create-' + wrong.replace('=', '-').replace(',', '-'),
          f'qemu-img create -f luks {S} -o {wrong} b.luks 1M', files=False)
t.row('create-no-size', f'qemu-img create -f luks {S} -o key-secret=s b.luks')
t.row('create-backing', f'qemu-img create -f luks {S} -o key-secret=s -b a.luks -F luks b.luks 1M',
      'luks')

amend('fill', FILL + 't', FILL + 'u,keyslot=6', until=True)
amend('fill-force', FILL + 't,keyslot=0', force='--force', until=True)
amend('fill-active', FILL + 't,keyslot=0')
amend('fill-nothing', 'state=active')
amend('fill-with-old', FILL + 't,old-secret=s')
amend('fill-no-such-slot', FILL + 't,keyslot=8')
amend('fill-no-such-secret', FILL + 'none')
amend('empty-last', 'state=inactive,keyslot=0', 'state=inactive,old-secret=s')
amend('empty-last-force', 'state=inactive,keyslot=0', force='--force')
amend('empty-empty', 'state=inactive,keyslot=3')
amend('empty-empty-force', 'state=inactive,keyslot=3', force='--force')
amend('empty-what', 'state=inactive')
amend('empty-with-new', 'state=inactive,keyslot=0,new-secret=t')
amend('empty-with-time', 'state=inactive,keyslot=0,iter-time=40')
amend('empty-wrong-password', 'state=inactive,old-secret=t', 'state=inactive,keyslot=0,old-secret=t')
amend('no-state', 'keyslot=0')
amend('wrong-state', 'state=gone')
amend('unknown-option', 'state=inactive,colour=red')
amend('create-option', 'cipher-alg=aes-128')
t.row('amend-fill-and-empty',
      f'for i in {{1..40}}; do qemu-img amend {S} {OPEN} -o {FILL}t 2>/dev/null && break; done; '
      f'qemu-img amend {S} {OPEN} -o state=inactive,old-secret=t; {SLOTS}', 'luks', files=False)

# A password must be text where one is chosen.
for name, text in (('no-utf8', r'\377\376'), ('nul', r'a\0b')):
    for what, command in (('luks', 'create -q -f luks -o key-secret=x,iter-time=10 n 1M'),
                          ('qcow2', 'create -q -f qcow2 -o encrypt.format=luks,encrypt.key-secret=x n 1M'),
                          ('amend', f'amend {S} {OPEN} -o {FILL}x')):
        t.row(f'{name}-{what}', f"printf '{text}' >pass; qemu-img {command} --object secret,id=x,file=pass", 'luks', files=False)

t.main()
