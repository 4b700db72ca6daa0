#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP sessions made from tables, beside the reference's storage daemon: each kind of node is taken
through the same work, and each command gets its arguments missing, wrong in type and unknown."""
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from functions import BUILD
from qmp_sessions import CHAIN, FLAT, NODES, QCOW2, RAW, START, run_sessions, session

# ---- every kind of node ----

SECRET = 'object-add {"qom-type":"secret","id":"s","data":"letmein"}'
Z = 'blockdev-add {"driver":"null-co","node-name":"z","size":1048576,"read-zeroes":true}'
Y = 'blockdev-add {"driver":"null-co","node-name":"y","size":1048576,"read-zeroes":true}'
GROUP = 'object-add {"qom-type":"throttle-group","id":"g"}'


def of_format(name, size='1M', options=''):
    """A kind of node on an image that the reference's qemu-img makes."""
    return ({'driver': name, 'file': {'driver': 'file', 'filename': 'i', 'node-name': 'nf'}}, (),
            f'qemu-img create -q -f {name} {options} i {size}; ')


def encrypted(name, options):
    """To derive keys takes the reference's qemu-img seconds: once is enough. On a busy host it cannot
    always measure its speed, and fails."""
    create = f'qemu-img create -q -f {name} --object secret,id=s,data=letmein -o {options} i 1M'
    return (f'for try in {{1..20}}; do test -e $ONCE/{name} || ! {create} || mv i $ONCE/{name}; done; '
            f'cp $ONCE/{name} i; ')


# Options of the node "n", steps before it is added, images. Where the file of an image is as long as
# its driver likes, what goes on in it is each side's own matter: see STATS.
KINDS = {
    'file': ({'driver': 'file', 'filename': 'b.raw'}, (), RAW),
    'raw': ({'driver': 'raw', 'file': {'driver': 'file', 'filename': 'b.raw', 'node-name': 'nf'}}, (), RAW),
    'raw-window': ({'driver': 'raw', 'offset': 65536, 'size': 131072,
                    'file': {'driver': 'file', 'filename': 'b.raw', 'node-name': 'nf'}}, (), RAW),
    'qcow2': of_format('qcow2'),
    'qcow2-old': of_format('qcow2', options='-o compat=0.10'),
    'qcow2-subclusters': of_format('qcow2', options='-o extended_l2=on'),
    'qcow2-chain': ({'driver': 'qcow2', 'file': {'driver': 'file', 'filename': 't.qcow2'}}, (), CHAIN),
    'qcow2-data-file': ({'driver': 'qcow2', 'data-file': {'driver': 'file', 'filename': 'd', 'node-name': 'nd'},
                         'file': {'driver': 'file', 'filename': 'i', 'node-name': 'nf'}}, (),
                        'qemu-img create -q -f qcow2 -o data_file=d i 1M; '),
    'qcow2-luks': ({'driver': 'qcow2', 'encrypt': {'format': 'luks', 'key-secret': 's'},
                    'file': {'driver': 'file', 'filename': 'i'}}, (SECRET,),
                   encrypted('qcow2', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10')),
    'luks': ({'driver': 'luks', 'key-secret': 's', 'file': {'driver': 'file', 'filename': 'i'}}, (SECRET,),
             encrypted('luks', 'key-secret=s,iter-time=10')),
    'qed': of_format('qed'),
    'vdi': of_format('vdi'),
    'vhdx': of_format('vhdx'),
    'vmdk': of_format('vmdk'),
    'vmdk-flat': of_format('vmdk', options='-o subformat=monolithicFlat'),
    'vpc': of_format('vpc', options='-o force_size=on'),
    'parallels': of_format('parallels'),
    'vvfat': ({'driver': 'vvfat', 'dir': 'd', 'floppy': True, 'read-only': True}, (),
              'mkdir d; echo a > d/a; touch -d 2001-02-03 d/a; '),
    'null-co': ({'driver': 'null-co', 'size': 1048576, 'read-zeroes': True}, (), ''),
    'null-aio': ({'driver': 'null-aio', 'size': 1048576, 'read-zeroes': True}, (), ''),
    'blkdebug': ({'driver': 'blkdebug', 'image': 'z'}, (Z,), ''),
    'blkverify': ({'driver': 'blkverify', 'test': 'z', 'raw': 'y'}, (Z, Y), ''),
    'blklogwrites': ({'driver': 'blklogwrites', 'file': 'z', 'log': {'driver': 'file', 'filename': 'b.raw'}},
                     (Z,), RAW),
    'compress': ({'driver': 'compress', 'file': {'driver': 'qcow2', 'node-name': 'q', 'file': {
        'driver': 'file', 'filename': 'a.qcow2'}}}, (), QCOW2),
    'copy-on-read': ({'driver': 'copy-on-read', 'file': 'z'}, (Z,), ''),
    'copy-before-write': ({'driver': 'copy-before-write', 'file': 'z', 'target': 'y'}, (Z, Y), ''),
    'preallocate': ({'driver': 'preallocate', 'file': {'driver': 'file', 'filename': 'b.raw', 'node-name': 'nf'}},
                    (), RAW),
    'quorum': ({'driver': 'quorum', 'children': ['z', 'y'], 'vote-threshold': 1}, (Z, Y), ''),
    'throttle': ({'driver': 'throttle', 'throttle-group': 'g', 'file': 'z'}, (GROUP, Z), ''),
}


def add(options, **more):
    return 'blockdev-add ' + json.dumps({'node-name': 'n', **options, **more})


def reopened(options, **more):
    return 'blockdev-reopen ' + json.dumps({'options': [{'node-name': 'n', **options, **more}]})


URI = 'nbd+unix:///n?socket=n.sock'
EXPORT = 'block-export-add {"type":"nbd","id":"e","node-name":"n","writable":true}'
STATS = 'query-blockstats {"query-nodes":true}'
WORK = f"!qemu-io -f raw -c 'write -P 5 0 64k' -c 'read -P 5 0 64k' -c 'write -z 64k 4k' -c 'discard 0 64k' {URI}"
OVERLAY = 'qemu-img create -q -f qcow2 o.qcow2 1M; '


def life(options):
    return [add(options), '~' + add(options), NODES, FLAT, STATS, 'query-block', 'query-blockstats',
            'blockdev-del {"node-name":"n"}', 'blockdev-del {"node-name":"n"}', FLAT, add(options), FLAT]


def export(options):
    return [add(options), START, EXPORT, EXPORT, 'query-block-exports', WORK, STATS, 'blockdev-del {"node-name":"n"}',
            '>block-export-del {"id":"e"}',     # while it is there ours can be resized: storage-daemon/nbd-resize
            'blockdev-del {"node-name":"n"}', 'query-block-exports', 'nbd-server-stop']


def bitmaps(options):
    def on(verb, name='b', more=''):
        return f'block-dirty-bitmap-{verb} {{"node":"n","name":"{name}"{more}}}'

    return [add(options), on('add'), on('add'), on('add', 'c', ',"granularity":4096'), NODES, on('disable'),
            START, EXPORT, WORK, NODES, '>block-export-del {"id":"e"}',
            'block-dirty-bitmap-merge {"node":"n","target":"b","bitmaps":["c"]}', NODES,
            'x-debug-block-dirty-bitmap-sha256 {"node":"n","name":"b"}', on('clear'), on('enable'), on('remove', 'c'),
            NODES, '~' + on('add', 'p', ',"persistent":true'), 'blockdev-del {"node-name":"n"}']


def resizing(options):
    return [add(options), *(f'~block_resize {{"node-name":"n","size":{size}}}' for size in
                            (2097152, 1048576, 0, 513, 4194304, -1)),
            'block_resize {"device":"n","size":1048576}', 'blockdev-del {"node-name":"n"}']


def reopening(options):
    return [add(options), '~' + reopened(options), '~' + reopened(options, **{'read-only': True}), NODES,
            '~' + reopened(options), '~' + reopened(options, **{'detect-zeroes': 'on'}), NODES,
            '~' + reopened(options, nonsense=1), '~' + reopened({**options, 'driver': 'nope'}),
            'blockdev-del {"node-name":"n"}']


def snapshots(options):
    return [add(options), 'blockdev-add {"driver":"qcow2","node-name":"o","backing":null,"file":{"driver":"file",'
            '"filename":"o.qcow2"}}', 'blockdev-snapshot {"node":"n","overlay":"o"}',
            'blockdev-del {"node-name":"n"}', 'blockdev-snapshot {"node":"n","overlay":"o"}',
            '~blockdev-snapshot-internal-sync {"device":"n","name":"s"}', 'blockdev-del {"node-name":"o"}',
            'blockdev-snapshot-sync {"node-name":"n","snapshot-file":"/nope/x"}',
            '~blockdev-snapshot-internal-sync {"device":"n","name":""}', 'blockdev-del {"node-name":"n"}']


def modes(options):
    steps = []
    for more in ({'read-only': True}, {'auto-read-only': True}, {'cache': {'direct': False, 'no-flush': True}},
                 {'discard': 'unmap', 'detect-zeroes': 'unmap'}, {'read-only': True, 'force-share': True},
                 {'detect-zeroes': 'maybe'}, {'discard': 5}, {'cache': {'nope': True}}, {'nonsense': None}):
        steps += ['~' + add(options, **more), NODES, 'blockdev-del {"node-name":"n"}']
    return steps


def changes(options):
    return [add(options), 'blockdev-add {"driver":"null-co","node-name":"c","size":1048576,"read-zeroes":true}',
            'x-blockdev-change {"parent":"n","node":"c"}', 'x-blockdev-change {"parent":"n","node":"nope"}',
            'x-blockdev-change {"parent":"n","child":"nope"}', 'x-blockdev-change {"parent":"n","child":"file"}',
            'x-blockdev-change {"parent":"n"}', 'x-blockdev-change {"parent":"n","child":"file","node":"c"}', FLAT,
            'blockdev-del {"node-name":"n"}', 'blockdev-del {"node-name":"c"}']


# What the reference cannot do with them, and ours does: reopening; a zero write does not end the daemon.
BETTER = {*(('reopening', kind) for kind in (
    'vmdk-flat', 'parallels', 'blkverify', 'blklogwrites', 'compress', 'copy-on-read', 'copy-before-write',
    'quorum', 'vvfat')), ('export', 'blkverify'), ('bitmaps', 'blkverify')}
# Ours copies no zeroes to where there are zeroes, which shows in how far the target was written.
BETTER.add(('export', 'copy-before-write'))

for kind, (node, before, images) in KINDS.items():
    for work in (life, export, bitmaps, resizing, reopening, snapshots, modes, changes):
        if (work.__name__, kind) not in BETTER:
            session(f'{work.__name__}-{kind}', *before, *work(node), images=images + OVERLAY)

# ---- every command ----

VALUES = {'string': 'x', 'int': 1, 'number': 1, 'boolean': True, 'null': None}
# Members that the reference does not know.
OURS = {'x-resume'}
WRONG = ['x', 1, 1.5, True, None, [], {}, [5]]


def schema():
    """Types and commands by name, as our daemon tells them."""
    asked = '{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema"}{"execute":"quit"}'
    told = subprocess.run([BUILD / 'qemu-storage-daemon', '--chardev', 'stdio,id=c', '--monitor', 'c'], text=True,
                          input=asked, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    entries = next(a['return'] for a in map(json.loads, told) if isinstance(a.get('return'), list))
    return {e['name']: e for e in entries}


def valid(types, name):
    """Something of type @name; names that it may have are those of nothing."""
    t = types[name]
    match t['meta-type']:
        case 'builtin':
            return VALUES.get(t['json-type'])
        case 'enum':
            return t['members'][0]['name']
        case 'array':
            return [valid(types, t['element-type'])]
        case 'alternate':
            kinds = [m['type'] for m in t['members']]
            return 'x' if 'str' in kinds else valid(types, kinds[0])
    made = {m['name']: valid(types, m['type']) for m in t['members'] if 'default' not in m}
    tag = made.get(t.get('tag'))
    for variant in t.get('variants', []):
        if variant['case'] == tag:
            made |= valid(types, variant['type'])
    return made


def probes(types, command):
    """Requests of @command that the schema refuses, or whose names mean nothing."""
    members = types[command['arg-type']]['members']
    whole = valid(types, command['arg-type'])
    yield None
    yield {}
    yield {**whole, 'nonsense': 1}
    for m in members:
        if m['name'] in OURS:
            continue
        if m['name'] in whole:
            yield {k: v for k, v in whole.items() if k != m['name']}
        for value in WRONG:
            yield {**whole, m['name']: value}


# What is not there in the reference, ends the session (blockdev-reopen of nothing the reference's daemon),
# or lists what there is, which other tests compare as sets.
LEFT_OUT = {'quit', 'qmp_capabilities', 'blockdev-reopen', 'query-commands', 'query-qmp-schema', 'qom-list-types',
            'query-chardev-backends', 'getfd', 'closefd', 'add-fd', 'remove-fd', 'query-fdsets',
            'blockdev-set-active', 'x-compact', 'query-jobs'}
TYPES = schema()
for name, entry in TYPES.items():
    if entry['meta-type'] == 'command' and name not in LEFT_OUT:
        session(f'arguments-{name}', *(
            '?' + name if a is None else f'?{name} {json.dumps(a)}' for a in probes(TYPES, entry)))

if __name__ == '__main__':
    run_sessions('qmp-generated.slow')
