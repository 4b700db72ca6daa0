#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP sessions beside the reference's storage daemon; tests/lib/qmp_sessions.py says how they are written."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from qmp_sessions import ADD_A, ADD_B, ADD_Z, CHAIN, FLAT, NODES, QCOW2, RAW, START, run_sessions, session

# ---- negotiation and what is asked of the monitor ----

for number, steps in enumerate([
        ['query-version', '=query-commands', '=qom-list-types', '=query-chardev-backends'],
        ['{"execute":"qmp_capabilities"}', 'query-version {"a":1}', 'query-version []'],
        ['query-block-exports', 'query-named-block-nodes', 'query-chardev', 'quit'],
        ['query-named-block-nodes {"flat":1}', 'query-named-block-nodes {"flat":null}',
         'query-named-block-nodes {"x":true}'],
        ['nope', 'Query-version', 'query_version', 'block-resize {"size":1}']]):
    session(f'monitor-{number}', *steps)

# ---- nodes ----

session('add-and-del', ADD_A, NODES, FLAT, 'blockdev-del {"node-name":"a"}', NODES, ADD_A, NODES,
        images=QCOW2)
session('add-by-reference', ADD_B, '~blockdev-add {"driver":"raw","node-name":"r","file":"b"}', NODES,
        'blockdev-del {"node-name":"b"}', 'blockdev-del {"node-name":"r"}',
        'blockdev-del {"node-name":"b"}', NODES, images=RAW)
session('add-chain', 'blockdev-add {"driver":"qcow2","node-name":"t","file":{"driver":"file",'
        '"filename":"t.qcow2"}}', NODES, FLAT, 'blockdev-del {"node-name":"t"}', FLAT, images=CHAIN)
session('del-refuses', ADD_A, 'blockdev-del {"node-name":"af"}', 'blockdev-del {"node-name":"x"}',
        'blockdev-del {}', 'blockdev-del {"node-name":5}', 'blockdev-del {"node-name":"a","x":1}',
        'blockdev-del {"node-name":""}', images=QCOW2)
session('del-backing', ADD_A, 'blockdev-add {"driver":"qcow2","node-name":"o","backing":"a","file":'
        '{"driver":"file","filename":"m.qcow2"}}', 'blockdev-del {"node-name":"a"}',
        'blockdev-del {"node-name":"o"}', 'blockdev-del {"node-name":"a"}', images=CHAIN)
session('node-names', 'blockdev-add {"driver":"null-co"}', 'blockdev-add {"driver":"null-co","node-name":""}',
        'blockdev-add {"driver":"null-co","node-name":"9"}',
        'blockdev-add {"driver":"null-co","node-name":"a b"}',
        'blockdev-add {"driver":"null-co","node-name":"#block1"}',
        'blockdev-add {"driver":"null-co","node-name":"%s"}' % ('n' * 31),
        'blockdev-add {"driver":"null-co","node-name":"%s"}' % ('m' * 32),
        'blockdev-add {"driver":"null-co","node-name":"a.b-c_d"}',
        'blockdev-add {"driver":"null-co","node-name":"a.b-c_d"}', FLAT)
session('cache-and-modes', 'blockdev-add {"driver":"null-co","node-name":"a","cache":{"direct":true}}',
        'blockdev-add {"driver":"null-co","node-name":"b","cache":{"no-flush":true},"detect-zeroes":"on"}',
        'blockdev-add {"driver":"null-co","node-name":"c","discard":"unmap","detect-zeroes":"unmap"}',
        '~blockdev-add {"driver":"null-co","node-name":"d","detect-zeroes":"unmap"}',
        'blockdev-add {"driver":"null-co","node-name":"e","read-only":true}',
        '~blockdev-add {"driver":"null-co","node-name":"f","force-share":true}',
        'blockdev-add {"driver":"null-co","node-name":"g","force-share":true,"read-only":true}', FLAT)
session('missing-file', '~blockdev-add {"driver":"file","node-name":"x","filename":"nope"}',
        '~blockdev-add {"driver":"qcow2","node-name":"x","file":{"driver":"file","filename":"nope"}}',
        '~blockdev-add {"driver":"qcow2","node-name":"x","file":"nope"}', FLAT)
session('wrong-format', ADD_B, '~blockdev-add {"driver":"qcow2","node-name":"q","file":"b"}', FLAT, images=RAW)
session('twice-for-writing', ADD_A, '~blockdev-add {"driver":"qcow2","node-name":"c","file":{"driver":"file",'
        '"filename":"a.qcow2"}}', '~blockdev-add {"driver":"qcow2","node-name":"d","read-only":true,"file":'
        '{"driver":"file","filename":"a.qcow2"}}', FLAT, images=QCOW2)
session('snapshots-show', ADD_A, NODES, images=QCOW2 + 'qemu-img snapshot -c one a.qcow2')
session('bitmaps-show', ADD_A, NODES, images=QCOW2 + 'qemu-img bitmap --add a.qcow2 b0; qemu-img bitmap '
        '--add --disable -g 4k a.qcow2 b1')
session('read-only-nodes', 'blockdev-add {"driver":"qcow2","node-name":"a","read-only":true,"file":{"driver":'
        '"file","filename":"a.qcow2"}}', NODES, images=QCOW2)
for driver in ('raw', 'copy-on-read', 'compress', 'preallocate'):
    session(f'filter-{driver}', ADD_Z, '~blockdev-add {"driver":"%s","node-name":"f","file":"z"}' % driver,
            FLAT, 'blockdev-del {"node-name":"z"}', 'blockdev-del {"node-name":"f"}', FLAT)
session('blkdebug', ADD_Z, 'blockdev-add {"driver":"blkdebug","node-name":"d","image":"z","inject-error":'
        '[{"event":"none","once":true}]}', FLAT, 'blockdev-del {"node-name":"d"}')
session('quorum', ADD_Z, 'blockdev-add {"driver":"null-co","node-name":"y","size":1048576}',
        'blockdev-add {"driver":"quorum","node-name":"q","children":["z","y"],"vote-threshold":1}', FLAT,
        'blockdev-del {"node-name":"y"}', '~blockdev-add {"driver":"quorum","node-name":"p","children":["z"],'
        '"vote-threshold":2}')
session('throttle', 'object-add {"qom-type":"throttle-group","id":"t","limits":{"iops-total":100}}', ADD_Z,
        'blockdev-add {"driver":"throttle","node-name":"th","throttle-group":"t","file":"z"}', FLAT,
        'object-del {"id":"t"}', 'blockdev-del {"node-name":"th"}', 'object-del {"id":"t"}',
        '~blockdev-add {"driver":"throttle","node-name":"th","throttle-group":"t","file":"z"}')

# ---- changes of the graph ----

OVERLAY = 'qemu-img create -q -f qcow2 o.qcow2 10M; '
ADD_O = 'blockdev-add {"driver":"qcow2","node-name":"o","backing":null,"file":{"driver":"file",' \
        '"filename":"o.qcow2"}}'
SNAPSHOT = 'blockdev-snapshot {"node":"a","overlay":"o"}'
REOPEN_A = '{"driver":"qcow2","node-name":"a","file":{"driver":"file","filename":"a.qcow2","node-name":"af"}%s}'


def reopen(*nodes):
    return f'blockdev-reopen {{"options":[{",".join(nodes)}]}}'


session('snapshot', ADD_A, ADD_O, SNAPSHOT, FLAT, NODES, 'blockdev-del {"node-name":"a"}',
        'blockdev-del {"node-name":"o"}', 'blockdev-del {"node-name":"a"}', images=QCOW2 + OVERLAY)
session('snapshot-of-an-export', ADD_A, ADD_O, START, 'block-export-add {"type":"nbd","id":"e","node-name":"a",'
        '"writable":true}', SNAPSHOT, FLAT, 'query-block-exports', 'blockdev-del {"node-name":"o"}',
        '>block-export-del {"id":"e"}', 'blockdev-del {"node-name":"o"}', images=QCOW2 + OVERLAY)
session('snapshot-refuses', ADD_A, ADD_B, ADD_O, 'blockdev-snapshot {"node":"x","overlay":"o"}',
        'blockdev-snapshot {"node":"a","overlay":"x"}', 'blockdev-snapshot {"node":"a","overlay":"b"}',
        'blockdev-snapshot {"node":"a","overlay":"a"}', 'blockdev-snapshot {"node":"a"}', SNAPSHOT, SNAPSHOT,
        'blockdev-snapshot {"node":"o","overlay":"a"}', FLAT, images=QCOW2 + OVERLAY + RAW)
session('reopen-mode', ADD_A, reopen(REOPEN_A % ',"read-only":true'), FLAT, reopen(REOPEN_A % ''), FLAT,
        reopen(REOPEN_A % ',"cache":{"direct":true},"detect-zeroes":"on"'), FLAT,
        images=QCOW2)
session('reopen-backing', ADD_A, ADD_O, reopen('{"driver":"qcow2","node-name":"o","backing":"a","file":{"driver":'
        '"file","filename":"o.qcow2"}}'), FLAT, reopen('{"driver":"qcow2","node-name":"o","file":{"driver":'
        '"file","filename":"o.qcow2"}}'), reopen('{"driver":"qcow2","node-name":"o","backing":null,"file":'
        '{"driver":"file","filename":"o.qcow2"}}'), FLAT, images=QCOW2 + OVERLAY)
session('reopen-filter', ADD_Z, 'blockdev-add {"driver":"null-co","node-name":"y","size":1048576}',
        'object-add {"qom-type":"throttle-group","id":"t"}',
        'blockdev-add {"driver":"throttle","node-name":"f","throttle-group":"t","file":"z"}',
        reopen('{"driver":"throttle","node-name":"f","throttle-group":"t","file":"y"}'), 'blockdev-del {"node-name":"z"}',
        'blockdev-del {"node-name":"y"}', FLAT)
session('reopen-refuses', ADD_A, ADD_B, reopen('{"driver":"qcow2","file":"b"}'),
        reopen('{"driver":"raw","node-name":"x","file":"b"}'), '~' + reopen('{"driver":"file","node-name":"b","filename":"c.raw"}'),
        reopen('{"driver":"qcow2","node-name":"a"}'), 'blockdev-reopen {"options":5}', 'blockdev-reopen',
        images=QCOW2 + RAW)

# Each member of common options wrong in type.
for number, (members, mark) in enumerate([
        ('"driver":5', ''), ('"driver":"nope"', ''), ('"driver":"qcow2"', ''), ('"node-name":"n"', ''),
        ('"driver":"file","node-name":"n"', ''), ('"driver":"file","filename":5', ''),
        ('"driver":"file","filename":"b","x":1', ''), ('"driver":"qcow2","file":5', ''),
        ('"driver":"qcow2","file":null', ''), ('"driver":"qcow2","file":[]', ''),
        ('"driver":"qcow2","file":{}', ''), ('"driver":"qcow2","file":{"driver":"x"}', ''),
        ('"driver":"qcow2","file":{"driver":"file"}', ''),
        ('"driver":"qcow2","file":{"driver":"file","filename":[]}', ''),
        ('"driver":"qcow2","file":{"driver":"file","filename":"a","cache":{"direct":"on"}}', ''),
        ('"driver":"qcow2","file":{"driver":"file","filename":"a","cache":5}', ''),
        ('"driver":"raw","file":"z","size":-1', '~'), ('"driver":"raw","file":"z","size":"1k"', ''),
        ('"driver":"raw","file":"z","offset":1.5', ''), ('"driver":"raw","file":"z","read-only":"on"', ''),
        ('"driver":"raw","file":"z","discard":"on"', ''), ('"driver":"raw","file":"z","detect-zeroes":1', ''),
        ('"driver":"raw","file":"z","cache":{"x":1}', ''), ('"driver":"raw","file":"z","auto-read-only":1', ''),
        ('"driver":"quorum","children":{},"vote-threshold":1', ''),
        ('"driver":"quorum","children":["z",5],"vote-threshold":1', ''),
        ('"driver":"quorum","children":[{"driver":"null-co","size":"x"}],"vote-threshold":1', ''),
        ('"driver":"quorum","children":[{"driver":"null-co","size":1,"cache":{"direct":2}}],'
         '"vote-threshold":1', ''),
        ('"driver":"blkdebug","image":"z","inject-error":[{"event":"x"}]', ''),
        ('"driver":"blkdebug","image":"z","inject-error":[{"errno":5}]', ''),
        ('"driver":"blkdebug","image":"z","inject-error":[{"event":"none","once":1}]', ''),
        ('"driver":"file","filename":"b","locking":"x"', ''), ('"driver":"file","filename":"b","aio":1', ''),
        ('"driver":"qcow2","file":"z","overlap-check":"x"', ''),
        ('"driver":"qcow2","file":"z","overlap-check":5', ''),
        ('"driver":"qcow2","file":"z","lazy-refcounts":5', ''),
        ('"driver":"qcow2","file":"z","l2-cache-size":true', ''),
        ('"driver":"qcow2","file":"z","encrypt":{"format":"x"}', ''),
        ('"driver":"qcow2","file":"z","encrypt":{"format":"luks","key-secret":5}', ''),
        ('"driver":"nbd"', '~'), ('"driver":"nbd","server":5', ''), ('"driver":"nbd","server":{}', ''),
        ('"driver":"nbd","server":{"type":"x"}', ''), ('"driver":"nbd","server":{"type":"unix"}', ''),
        ('"driver":"nbd","server":{"type":"inet","host":"a"}', ''),
        ('"driver":"nbd","server":{"type":"inet","host":"a","port":5}', ''),
        ('"driver":"nbd","server":{"type":"unix","path":"p","x":1}', ''),
        ('"driver":"throttle","file":"z"', ''), ('"driver":"luks","file":"z","key-secret":1', '')]):
    session(f'wrong-option-{number:02}', f'{mark}blockdev-add {{{members}}}', FLAT)

# ---- resizing ----

session('resize', ADD_A, 'block_resize {"node-name":"a","size":20971520}', NODES,
        'block_resize {"node-name":"a","size":1048576}', NODES, '~block_resize {"node-name":"a","size":5}',
        'block_resize {"node-name":"a","size":-1}', 'block_resize {"node-name":"a","size":-512}',
        'block_resize {"node-name":"a","size":20971520}', '!qemu-img info a.qcow2 -U', images=QCOW2)
session('resize-raw', ADD_B, 'block_resize {"node-name":"b","size":2097152}', NODES,
        'block_resize {"node-name":"b","size":512}', NODES, 'block_resize {"node-name":"b","size":0}', NODES,
        '!test $(stat -c %s b.raw) = 0', images=RAW)
session('resize-refuses', 'block_resize {}', 'block_resize {"size":1}', 'block_resize {"size":"1"}',
        'block_resize {"device":"d","size":1}', 'block_resize {"node-name":"n","size":1}',
        'block_resize {"device":"d","node-name":"n","size":1}', 'block_resize {"node-name":5,"size":1}',
        'block_resize {"node-name":"n","size":1.5}', 'block_resize {"node-name":"n","size":9223372036854775808}',
        'blockdev-add {"driver":"qcow2","node-name":"a","read-only":true,"file":{"driver":"file","filename":'
        '"a.qcow2"}}', '~block_resize {"node-name":"a","size":1048576}', NODES, images=QCOW2)

# ---- bitmaps ----

session('bitmaps', ADD_A, 'block-dirty-bitmap-add {"node":"a","name":"b"}', NODES,
        'block-dirty-bitmap-add {"node":"a","name":"c","granularity":512,"disabled":true}', NODES,
        'block-dirty-bitmap-add {"node":"a","name":"d","persistent":true}', NODES,
        'block-dirty-bitmap-disable {"node":"a","name":"b"}', 'block-dirty-bitmap-enable {"node":"a","name":"c"}',
        NODES, 'block-dirty-bitmap-disable {"node":"a","name":"b"}',
        'block-dirty-bitmap-clear {"node":"a","name":"b"}', 'block-dirty-bitmap-remove {"node":"a","name":"b"}',
        'block-dirty-bitmap-remove {"node":"a","name":"b"}', NODES, 'blockdev-del {"node-name":"a"}',
        '!qemu-img info a.qcow2 | grep -A9 bitmaps', '!qemu-img check a.qcow2', images=QCOW2)
session('bitmaps-refuse', ADD_A, ADD_B, 'block-dirty-bitmap-add {}', 'block-dirty-bitmap-add {"node":"a"}',
        'block-dirty-bitmap-add {"node":"x","name":"b"}', 'block-dirty-bitmap-add {"node":"a","name":""}',
        'block-dirty-bitmap-add {"node":"a","name":"g","granularity":100}',
        'block-dirty-bitmap-add {"node":"a","name":"g","granularity":256}',
        'block-dirty-bitmap-add {"node":"a","name":"g","granularity":0}',
        'block-dirty-bitmap-add {"node":"a","name":"g","granularity":-1}',
        'block-dirty-bitmap-add {"node":"a","name":"g","granularity":4294967296}',
        'block-dirty-bitmap-add {"node":"a","name":"g","granularity":4294967295}',
        'block-dirty-bitmap-add {"node":"a","name":"%s"}' % ('x' * 1024),
        'block-dirty-bitmap-add {"node":"a","name":"g","persistent":1}',
        '~block-dirty-bitmap-add {"node":"b","name":"g","persistent":true}',
        *(f'block-dirty-bitmap-{verb} {{"node":"{node}","name":"nope"}}'
          for verb in ('remove', 'clear', 'enable', 'disable') for node in ('a', 'x')), NODES,
        images=RAW + QCOW2)
session('bitmaps-in-use', ADD_A, START, 'block-dirty-bitmap-add {"node":"a","name":"b","disabled":true}',
        'block-export-add {"type":"nbd","id":"e","node-name":"a","bitmaps":["b"]}', NODES,
        *(f'block-dirty-bitmap-{verb} {{"node":"a","name":"b"}}'
          for verb in ('remove', 'clear', 'enable', 'disable')),
        'block-export-del {"id":"e"}', 'block-dirty-bitmap-remove {"node":"a","name":"b"}', NODES,
        images=QCOW2)
session('bitmaps-read-only', 'blockdev-add {"driver":"qcow2","node-name":"a","read-only":true,"file":{"driver":'
        '"file","filename":"a.qcow2"}}', *(f'~block-dirty-bitmap-{verb} {{"node":"a","name":"p"}}'
                                          for verb in ('clear', 'enable', 'disable')), NODES,
        images=QCOW2 + 'qemu-img bitmap --add a.qcow2 p')
session('bitmaps-record', ADD_A, START, 'block-dirty-bitmap-add {"node":"a","name":"b"}',
        'block-export-add {"type":"nbd","id":"e","node-name":"a","writable":true}',
        "!qemu-io -f raw -c 'write 0 64k' -c 'write 1M 4k' nbd+unix:///a?socket=n.sock", NODES,
        'block-dirty-bitmap-clear {"node":"a","name":"b"}', NODES, images=QCOW2)

session('bitmap-digests', ADD_A, START, 'block-dirty-bitmap-add {"node":"a","name":"b"}',
        'x-debug-block-dirty-bitmap-sha256 {"node":"a","name":"b"}',
        'block-export-add {"type":"nbd","id":"e","node-name":"a","writable":true}',
        "!qemu-io -f raw -c 'write 0 64k' -c 'write 1M 4k' -c 'write 9M 1M' nbd+unix:///a?socket=n.sock",
        'x-debug-block-dirty-bitmap-sha256 {"node":"a","name":"b"}',
        'x-debug-block-dirty-bitmap-sha256 {"node":"a","name":"c"}',
        'x-debug-block-dirty-bitmap-sha256 {"node":"x","name":"b"}',
        'x-debug-block-dirty-bitmap-sha256 {"node":"a"}', 'x-debug-query-block-graph {"a":1}', images=QCOW2)

# ---- thresholds ----

session('write-thresholds', ADD_A, START, 'block-export-add {"type":"nbd","id":"e","node-name":"a","writable":true}',
        'block-set-write-threshold {"node-name":"a","write-threshold":65536}', NODES,
        "!qemu-io -f raw -c 'write 0 64k' nbd+unix:///a?socket=n.sock", NODES,
        "!qemu-io -f raw -c 'write 64k 512' -c 'write 1M 1M' nbd+unix:///a?socket=n.sock", NODES,
        'block-set-write-threshold {"node-name":"a","write-threshold":65536}',
        "!qemu-io -f raw -c 'write -z 64k 64k' nbd+unix:///a?socket=n.sock", NODES,
        'block-set-write-threshold {"node-name":"a","write-threshold":1048576}',
        'block-set-write-threshold {"node-name":"a","write-threshold":0}', NODES,
        "!qemu-io -f raw -c 'write 4M 1M' nbd+unix:///a?socket=n.sock", NODES,
        'block-set-write-threshold {"node-name":"x","write-threshold":5}',
        'block-set-write-threshold {"node-name":"a"}', 'block-set-write-threshold {"write-threshold":1}',
        'block-set-write-threshold {"node-name":"a","write-threshold":"1"}', images=QCOW2)

# ---- exports ----

session('exports', ADD_A, ADD_B, START, 'block-export-add {"type":"nbd","id":"e","node-name":"a"}',
        'block-export-add {"type":"nbd","id":"f","node-name":"b","name":"n","description":"d","writable":true,'
        '"writethrough":true,"allocation-depth":true}', 'query-block-exports',
        '!qemu-img compare -f raw -F raw nbd+unix:///a?socket=n.sock nbd+unix:///a?socket=n.sock',
        "!qemu-io -f raw -c 'write -P 7 4k 4k' nbd+unix:///n?socket=n.sock",
        "!qemu-io -f raw -U -r -c 'read -P 7 4k 4k' b.raw | grep -q 'read 4096'",
        'blockdev-del {"node-name":"a"}',
        'block-export-del {"id":"e"}', 'query-block-exports', 'blockdev-del {"node-name":"a"}',
        'block-export-del {"id":"f","mode":"hard"}', 'query-block-exports', 'nbd-server-stop', images=RAW + QCOW2)
session('exports-refuse', ADD_A, 'block-export-add {"type":"nbd","id":"e","node-name":"a"}', START,
        'block-export-add {"type":"nbd","id":"e","node-name":"x"}',
        'block-export-add {"type":"nbd","id":"9","node-name":"a"}',
        'block-export-add {"type":"nbd","node-name":"a"}', 'block-export-add {"id":"e","node-name":"a"}',
        'block-export-add {"type":"nbd","id":"e"}', 'block-export-add {"type":"x","id":"e","node-name":"a"}',
        'block-export-add {"type":"nbd","id":"e","node-name":"a","x":1}',
        'block-export-add {"type":"nbd","id":"e","node-name":"a","iothread":"x"}',
        '~block-export-add {"type":"nbd","id":"e","node-name":"a","bitmaps":["x"]}',
        '~block-export-add {"type":"nbd","id":"e","node-name":"a","bitmaps":[{"node":"x","name":"x"}]}',
        'block-export-add {"type":"nbd","id":"e","node-name":"a","bitmaps":[5]}',
        'block-export-add {"type":"nbd","id":"e","node-name":"a","bitmaps":"x"}',
        '~block-export-add {"type":"nbd","id":"e","node-name":"a","name":"%s"}' % ('x' * 4097),
        'block-export-add {"type":"nbd","id":"e","node-name":"a"}',
        'block-export-add {"type":"nbd","id":"e","node-name":"a"}',
        'block-export-add {"type":"nbd","id":"f","node-name":"a"}', 'block-export-del {"id":"x"}',
        'block-export-del {}', 'block-export-del {"id":"e","mode":"soft"}', 'query-block-exports',
        images=QCOW2)
session('exports-of-read-only', 'blockdev-add {"driver":"file","node-name":"b","filename":"b.raw","read-only":true}',
        START, 'block-export-add {"type":"nbd","id":"e","node-name":"b","writable":true}',
        'nbd-server-add {"device":"b","writable":true}', 'query-block-exports',
        "!qemu-io -f raw -c 'write 0 4k' nbd+unix:///b?socket=n.sock", images=RAW)
session('server', 'nbd-server-stop', START, START, 'nbd-server-stop', 'nbd-server-stop', START, 'quit')
session('server-refuses', 'nbd-server-start {}', 'nbd-server-start {"addr":{}}',
        'nbd-server-start {"addr":{"type":"x"}}', 'nbd-server-start {"addr":{"type":"unix"}}',
        'nbd-server-start {"addr":{"type":"unix","data":{}}}',
        'nbd-server-start {"addr":{"type":"unix","data":{"path":5}}}',
        'nbd-server-start {"addr":{"type":"unix","data":{"path":"n.sock"}},"max-connections":-1}',
        '~nbd-server-start {"addr":{"type":"unix","data":{"path":"/nope/n.sock"}}}',
        '~nbd-server-start {"addr":{"type":"unix","data":{"path":"n.sock"}},"tls-creds":"x"}',
        '~nbd-server-start {"addr":{"type":"fd","data":{"str":"99"}}}', 'nbd-server-stop')
session('server-older', ADD_A, ADD_B, 'nbd-server-add {"device":"a"}', START, 'nbd-server-add {"device":"x"}',
        'nbd-server-add {"device":"a"}', 'nbd-server-add {"device":"a"}',
        'nbd-server-add {"device":"b","name":"n","writable":true,"description":"d"}', 'query-block-exports',
        '~nbd-server-add {"device":"b","name":"m","bitmap":"x"}', 'nbd-server-remove {"name":"x"}',
        'nbd-server-remove {"name":"n"}', 'nbd-server-remove {"name":"a","mode":"hard"}', 'query-block-exports',
        'nbd-server-stop', images=RAW + QCOW2)
session('server-stop-with-exports', ADD_A, ADD_B, START, 'block-export-add {"type":"nbd","id":"e","node-name":"a"}',
        'block-export-add {"type":"nbd","id":"f","node-name":"b"}', 'nbd-server-stop', 'query-block-exports',
        'blockdev-del {"node-name":"a"}', images=RAW + QCOW2)
session('quit-with-exports', ADD_B, START, 'block-export-add {"type":"nbd","id":"e","node-name":"b"}',
        '{"execute":"query-block-exports","id":1}', images=RAW)

# ---- iothreads ----

SET = 'x-blockdev-set-iothread {"node-name":"%s","iothread":%s}'
FORCE = 'x-blockdev-set-iothread {"node-name":"%s","iothread":%s,"force":true}'
EXPORT = 'block-export-add {"type":"nbd","id":"%s","name":"%s","node-name":"a","iothread":"%s","fixed-iothread":%s}'
# The reference ends when a node that was moved to and fro is read through an export: no client here.
session('iothreads', 'object-add {"qom-type":"iothread","id":"i"}', ADD_A, START, SET % ('x', '"i"'), SET % ('a', '"x"'),
        SET % ('a', '5'), SET % ('a', '"i"'), SET % ('a', 'null'), EXPORT % ('k', 'k', 'x', 'true'),
        'block-export-add {"type":"nbd","id":"e","node-name":"a"}', SET % ('a', '"x"'), SET % ('a', 'null'),
        SET % ('a', '"i"'), FORCE % ('a', '"x"'), 'query-block-exports', images=QCOW2)

# ---- objects ----

session('objects', 'object-add {"qom-type":"iothread","id":"i"}', 'object-add {"qom-type":"iothread","id":"i"}',
        'object-add {"qom-type":"secret","id":"s","data":"x"}', '=qom-list {"path":"/objects"}',
        'object-del {"id":"i"}', '=qom-list {"path":"/objects"}', 'object-del {"id":"i"}',
        'object-del {"id":"s"}', 'qom-list {"path":"/objects"}')
session('objects-refuse', 'object-add {}', 'object-add {"qom-type":"iothread"}', 'object-add {"id":"i"}',
        'object-add {"qom-type":"nope","id":"i"}', 'object-add {"qom-type":"iothread","id":"0"}',
        'object-add {"qom-type":"iothread","id":""}', 'object-add {"qom-type":"iothread","id":"i","x":1}',
        'object-add {"qom-type":"secret","id":"s","data":5}', '~object-add {"qom-type":"secret","id":"s"}',
        '~object-add {"qom-type":"secret","id":"s","data":"x","file":"y"}',
        '~object-add {"qom-type":"secret","id":"s","data":"x","keyid":"nope","iv":"x"}',
        'object-add {"qom-type":"secret","id":"s","data":"x","format":"hex"}',
        'object-add {"qom-type":"authz-list","id":"l","rules":[{"match":"x"}]}',
        'object-add {"qom-type":"authz-list","id":"l","rules":[{"match":"x","policy":"maybe"}]}',
        '~object-add {"qom-type":"throttle-group","id":"t","limits":{"iops-total":-1}}',
        '~object-add {"qom-type":"throttle-group","id":"t","limits":{"iops-total":1,"iops-read":1}}',
        '~object-add {"qom-type":"tls-creds-x509","id":"x","dir":"/nope","endpoint":"server"}',
        'object-del {}', 'object-del {"id":"nope"}')
session('paths', 'object-add {"qom-type":"authz-list","id":"l"}', 'object-add {"qom-type":"throttle-group","id":"c"}',
        'qom-list {"path":"/"}', 'qom-list {"path":"/chardevs"}', 'qom-list {"path":"/chardevs/c"}',
        'qom-list {"path":""}', 'qom-list {"path":"nope"}', 'qom-list {"path":"/nope"}', 'qom-list {"path":"c"}',
        'qom-list {"path":"/objects/nope"}', 'qom-list {"path":"/objects/l/x"}', 'qom-list {"path":"//chardevs"}',
        'qom-list {"path":"/chardevs/"}', 'qom-list {"path":"chardevs"}', 'qom-list {"path":"/l"}', 'qom-list {}',
        'qom-get {"path":"/","property":"type"}', 'qom-get {"path":"/objects","property":"type"}',
        'qom-get {"path":"/objects/l","property":"type"}', 'qom-get {"path":"l","property":"type"}',
        'qom-get {"path":"/chardevs/c","property":"type"}', 'qom-get {"path":"/","property":"objects"}',
        'qom-get {"path":"/objects","property":"l"}', 'qom-get {"path":"/objects","property":"nope"}',
        'qom-get {"path":"/","property":"nope"}', 'qom-get {"path":"","property":"type"}',
        'qom-get {"path":"/nope","property":"type"}', 'qom-get {"path":"/"}', 'qom-get {"path":"c","property":"type"}')
session('types', *(f'=qom-list-types {arguments}' for arguments in (
    '{}', '{"implements":"authz"}', '{"implements":"tls-creds"}', '{"implements":"secret_common"}',
    '{"implements":"chardev"}', '{"implements":"chardev-fd"}', '{"implements":"object"}',
    '{"implements":"iothread"}', '{"implements":"nope"}', '{"implements":"tls-creds","abstract":true}',
    '{"implements":"chardev","abstract":true}', '{"abstract":false}')))

# ---- character devices ----


def chardev(identifier, kind, data='{}', verb='add'):
    return f'chardev-{verb} {{"id":"{identifier}","backend":{{"type":"{kind}","data":{data}}}}}'


UNIX = '"addr":{"type":"unix","data":{"path":"%s"}}'
session('chardevs', chardev('n', 'null'), chardev('n', 'null'), chardev('9', 'null'), chardev('', 'null'),
        chardev('f', 'file', '{"out":"f"}'), '~' + chardev('g', 'file', '{"out":"/nope/f"}'),
        '~' + chardev('g', 'file', '{"out":"f","in":"nope"}'), '~' + chardev('p', 'pipe', '{"device":"nope"}'),
        chardev('y', 'pty'), chardev('s', 'socket', '{%s,"server":true,"wait":false}' % (UNIX % 's')),
        chardev('t', 'socket', '{"addr":{"type":"inet","data":{"host":"127.0.0.1","port":"0"}},"server":true}'),
        '=query-chardev', 'chardev-remove {"id":"n"}', 'chardev-remove {"id":"n"}', 'chardev-remove {"id":"c"}',
        'chardev-remove {"id":"s"}', 'chardev-remove {"id":"t"}', 'chardev-remove {"id":"y"}', '=query-chardev',
        'chardev-remove {}')
session('chardevs-refuse', 'chardev-add {}', 'chardev-add {"id":"x"}', 'chardev-add {"id":"x","backend":{}}',
        'chardev-add {"id":"x","backend":{"type":"null"}}', 'chardev-add {"id":"x","backend":{"type":"nope"}}',
        chardev('x', 'file'), chardev('x', 'socket'), chardev('x', 'socket', '{"addr":{"type":"unix"}}'),
        chardev('x', 'stdio'), chardev('x', 'ringbuf', '{"size":100}'),
        chardev('x', 'ringbuf', '{"size":"1k"}'),
        '~' + chardev('x', 'socket', '{%s,"server":false}' % (UNIX % 'nope')),
        chardev('x', 'socket', '{%s,"reconnect":1}' % (UNIX % 's')),
        chardev('x', 'socket', '{%s,"server":false,"wait":true}' % (UNIX % 's')),
        chardev('x', 'socket', '{%s,"tls-authz":"a"}' % (UNIX % 's')),
        '~' + chardev('x', 'socket', '{%s,"tls-creds":"a"}' % (UNIX % 's')), '=query-chardev')
session('chardevs-change', chardev('n', 'null'), chardev('n', 'ringbuf', verb='change'),
        'ringbuf-write {"device":"n","data":"abc"}', chardev('x', 'null', verb='change'),
        chardev('c', 'null', verb='change'), 'ringbuf-read {"device":"n","size":10}', chardev('n', 'pty', verb='change'), '=query-chardev',
        'chardev-send-break {"id":"n"}', 'chardev-send-break {"id":"x"}', 'chardev-send-break {}')
session('chardevs-change-fails', chardev('n', 'null'),
        '~' + chardev('n', 'file', '{"out":"/nope/x"}', verb='change'))
session('ringbuf', chardev('r', 'ringbuf', '{"size":8}'), chardev('m', 'memory'), chardev('n', 'null'),
        'ringbuf-write {"device":"r","data":"hello world"}', 'ringbuf-read {"device":"r","size":100}',
        'ringbuf-read {"device":"r","size":100}', 'ringbuf-write {"device":"r","data":"aGVsbG8=","format":"base64"}',
        'ringbuf-read {"device":"r","size":3,"format":"base64"}', 'ringbuf-read {"device":"r","size":100}',
        'ringbuf-read {"device":"r","size":0}', 'ringbuf-read {"device":"r","size":-1}',
        'ringbuf-write {"device":"r","data":"!!","format":"base64"}', 'ringbuf-write {"device":"r","data":""}',
        'ringbuf-write {"device":"r","data":"","format":"base64"}', 'ringbuf-read {"device":"r","size":1,"format":"base64"}',
        'ringbuf-write {"device":"r","data":"x","format":"hex"}', 'ringbuf-write {"device":"n","data":"x"}',
        'ringbuf-write {"device":"x","data":"x"}', 'ringbuf-read {"device":"n","size":1}',
        'ringbuf-read {"device":"x","size":1}', 'ringbuf-read {"device":"r"}', 'ringbuf-read {"size":1}',
        'ringbuf-write {"device":"m","data":"\\u00e9\\u20ac"}', 'ringbuf-read {"device":"m","size":100}')

# ---- events ----

QUORUM = ['blockdev-add {"driver":"blkdebug","node-name":"b%d","image":{"driver":"file","filename":"q%d"},'
          '"inject-error":[{"event":"none","iotype":"write","errno":5,"sector":%d}]}' % (i, i, sector)
          for i, sector in ((0, 9999), (1, 512), (2, 512))] + [
    'blockdev-add {"driver":"quorum","node-name":"q","children":["b0","b1","b2"],"vote-threshold":2}', START,
    'block-export-add {"type":"nbd","id":"e","node-name":"q","writable":true}']
QUORUM_IMAGES = 'for i in 0 1 2; do qemu-img create -q -f raw q$i 1M; done; ' \
                "qemu-io -f raw -c 'write -P 3 64k 64k' q2; "
session('quorum-outvoted', *QUORUM, "!qemu-io -f raw -r -c 'read 64k 4k' nbd+unix:///q?socket=n.sock",
        '{"execute":"query-block-exports"}', images=QUORUM_IMAGES)
session('quorum-fails', *QUORUM, "!qemu-io -f raw -c 'write 256k 4k' nbd+unix:///q?socket=n.sock",
        '{"execute":"query-block-exports"}', images=QUORUM_IMAGES)
session('quorum-is-limited', *QUORUM,
        "!qemu-io -f raw -r -c 'read 64k 4k' -c 'read 68k 4k' -c 'read 72k 4k' nbd+unix:///q?socket=n.sock",
        '{"execute":"query-block-exports"}', '>{"execute":"query-block-exports"}', images=QUORUM_IMAGES)

if __name__ == '__main__':
    run_sessions('qmp-sessions')
