#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions with jobs, with our storage daemon and with the reference's beside it: the replies are the
same, and so are the events, each in their order. How replies and events mix is a matter of moments, and so
are the events of two jobs of a transaction, and how often a slow job rests while commands look at its nodes.

A step is a request "COMMAND {arguments}", or
    @WORD   wait until an event comes that has the word: a state, or the end of the name of an event
    !SHELL  with the reference's tools; its output counts
Marks in front of a request: "~" the text of an error is ours to word, its class is not; "#" numbers of
progress, and what it does just now, do not count (they never do in sessions called slow).
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from functions import BUILD, REFERENCE, judge, require_reference
from qmp import PATIENCE, Stdio, masked

SESSIONS = {}
# How long the file of an image is, is each side's own matter.
FILE_LENGTH = re.compile(r'"virtual-size": \d+(?=, "filename": "[^"]*\.qcow2", "format": "file")')
TOOLS = {'PATH': f'{REFERENCE}:/usr/bin:/bin'}


def session(name, *steps):
    assert name not in SESSIONS, name
    SESSIONS[name] = steps


def text_of(step):
    command, _, arguments = step.partition(' ')
    return '{"execute":"%s"%s}' % (command, f',"arguments":{arguments}' if arguments else '')


class Run:
    def __init__(self, program, folder, name):
        self.events, self.replies, self.is_slow = [], [], 'slow' in name
        steps = SESSIONS[name]
        with Stdio(program / 'qemu-storage-daemon', cwd=folder) as self.daemon:
            for step in steps:
                self.step(step, folder)
            self.replies.append(f'exit code {self.daemon.end()}')
        if name.startswith('transaction'):
            self.events.sort(key=job_of)
        if self.is_slow:
            self.events = without_rests(self.events)

    def take(self, line, mark=''):
        line = re.sub(r'"timestamp": \{[^}]*\}, ', '', FILE_LENGTH.sub('"virtual-size": 0', masked(line)))
        if mark == '~':
            line = re.sub(r'("desc": )".*"', r'\1""', line)
        if mark == '#' or self.is_slow:
            line = re.sub(r'("(len|offset|current-progress|total-progress)": )\d+', r'\g<1>0', line)
            line = re.sub(r'"(busy|paused)": \w+', r'"\1": false', line)
        to = self.events if line.startswith('{"event"') else self.replies
        # How many requests failed before the job stopped depends on how many were in flight.
        if not (to and to[-1] == line and 'BLOCK_JOB_ERROR' in line):
            to.append(line)
        return line

    def await_event(self, word):
        """Looks from where the last wait ended."""
        deadline = time.monotonic() + PATIENCE
        while True:
            while self.looked < len(self.events):
                self.looked += 1
                if is_event(self.events[self.looked - 1], word):
                    return
            line = self.daemon.reader.line(max(deadline - time.monotonic(), 0))
            if line is None:
                self.replies.append(f'no event {word}')
                return
            self.take(line)

    looked = 0

    def step(self, step, folder):
        if step[0] == '@':
            self.await_event(step[1:])
            return
        if step[0] == '!':
            done = subprocess.run(['bash', '-c', step[1:]], cwd=folder, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False, env=TOOLS)
            self.replies.append(f'{done.returncode} {done.stdout.decode()}')
            return
        mark = step[0] if step[0] in '~#' else ''
        for line in self.daemon.ask(text_of(step[len(mark):])):
            self.take(line, mark)


def job_of(line):
    data = json.loads(line).get('data', {})
    return data.get('id', data.get('device', ''))


def without_rests(events):
    """Each "paused" and "running" that only repeats the two events before it is left out."""
    kept = []
    for i, line in enumerate(events):
        if is_event(line, 'paused') and kept[-2:] == events[i:i + 2]:
            continue
        if is_event(line, 'running') and kept[-1:] == [line]:
            continue
        kept.append(line)
    return kept


def is_event(line, word):
    event = json.loads(line)
    return event['event'].endswith(word) or event.get('data', {}).get('status') == word


def differences(what, ours, theirs):
    if ours == theirs:
        return []
    if len(ours) == len(theirs):
        for a, b in zip(ours, theirs, strict=True):
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            if a != b:
                start = max(at - 200, 0)
                return [f'{what}:', f'  ours:          {a[start:start + 600]}',
                        f'  the reference: {b[start:start + 600]}']
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
              min(len(ours), len(theirs)))
    return [f'{what} {at}:', f'  ours:          {str(ours[at:at + 3])[:1500]}',
            f'  the reference: {str(theirs[at:at + 3])[:1500]}']


def compare(name, images):
    got = []
    for program in (BUILD, REFERENCE):
        with tempfile.TemporaryDirectory() as folder:
            for path in pathlib.Path(images).iterdir():
                shutil.copy(path, folder)
            got.append(Run(program, folder, name))
    ours, theirs = got
    return (differences('reply', ours.replies, theirs.replies) +
            differences('event', ours.events, theirs.events))


# ---- images: t over m over a, x for a copy ----

IMAGES = '''
qemu-img create -q -f qcow2 a.qcow2 4M; qemu-io -c 'write -P 1 0 1M' a.qcow2
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 m.qcow2; qemu-io -c 'write -P 2 1M 1M' m.qcow2
qemu-img create -q -f qcow2 -b m.qcow2 -F qcow2 t.qcow2; qemu-io -c 'write -P 3 2M 1M' t.qcow2
qemu-img create -q -f raw x.raw 4M; qemu-img create -q -f raw s.raw 1M
qemu-img create -q -f qcow2 x.qcow2 4M
qemu-img create -q -f qcow2 single.qcow2 4M; qemu-io -c 'write -P 4 1M 2M' single.qcow2
'''
FILE = '{"driver":"file","filename":"%s","node-name":"%s"}'
LAYER = '{"driver":"qcow2","node-name":"%s","file":{"driver":"file","filename":"%s.qcow2","node-name":"%sf"}%s}'
A = LAYER % ('a', 'a', 'a', '')
M = LAYER % ('m', 'm', 'm', ',"backing":' + A)
T = LAYER % ('t', 't', 't', ',"backing":' + M)
CHAIN = 'blockdev-add ' + T
X = 'blockdev-add ' + FILE % ('x.raw', 'x')
XQ = 'blockdev-add ' + LAYER % ('x', 'x', 'x', '')
SMALL = 'blockdev-add ' + FILE % ('s.raw', 's')
NULL = 'blockdev-add {"driver":"null-co","node-name":"z","size":4194304,"read-zeroes":true}'
NODES = 'query-named-block-nodes {"flat":true}'
JOBS, BLOCK_JOBS = 'query-jobs', 'query-block-jobs'
CHAIN_INFO = "!qemu-img info -U --backing-chain t.qcow2 | grep -E '^(image|backing|file|virtual)'; qemu-img map -U t.qcow2 | awk '{print $1, $2, $4}'"
DEL = 'blockdev-del {"node-name":"t"}'
SAME = "!qemu-img compare -U -f qcow2 -F raw t.qcow2 x.raw"
MIRROR = 'blockdev-mirror {"job-id":"j","device":"t","target":"x","sync":"full"%s}'
STREAM = 'block-stream {"job-id":"j","device":"t"%s}'
COMMIT = 'block-commit {"job-id":"j","device":"t"%s}'
MANUAL = ',"auto-finalize":false,"auto-dismiss":false'
SLOW = ',"speed":1'

# ---- mirror ----

session('mirror', CHAIN, X, MIRROR % '', '@READY', JOBS, BLOCK_JOBS, 'job-complete {"id":"j"}', '@null', JOBS, SAME)
session('mirror-shown', CHAIN, X, MIRROR % ',"filter-node-name":"flt"', '@READY', NODES,
        'blockdev-del {"node-name":"flt"}', 'blockdev-del {"node-name":"t"}', 'block-job-complete {"device":"j"}',
        '@null', NODES, 'blockdev-del {"node-name":"t"}', 'blockdev-del {"node-name":"x"}')
session('mirror-soft', CHAIN, X, MIRROR % '', '@READY', 'block-job-cancel {"device":"j"}', '@null', NODES, SAME)
session('mirror-force', CHAIN, X, MIRROR % '', '@READY', 'block-job-cancel {"device":"j","force":true}', '@null', JOBS)
session('mirror-job-cancel', CHAIN, X, MIRROR % '', '@READY', 'job-cancel {"id":"j"}', '@null', JOBS)
session('mirror-manual', CHAIN, X, MIRROR % MANUAL, '@READY', 'job-dismiss {"id":"j"}', 'job-finalize {"id":"j"}',
        'job-complete {"id":"j"}', '@PENDING', '#' + BLOCK_JOBS, 'job-complete {"id":"j"}', 'job-pause {"id":"j"}',
        'block-job-set-speed {"device":"j","speed":5}', 'job-finalize {"id":"j"}', '@concluded', BLOCK_JOBS, JOBS,
        'job-cancel {"id":"j"}', 'job-finalize {"id":"j"}', 'block-job-dismiss {"id":"j"}', '@null', JOBS)
session('mirror-pending-cancel', CHAIN, X, MIRROR % MANUAL, '@READY', 'job-complete {"id":"j"}', '@PENDING',
        'job-cancel {"id":"j"}', '@concluded', BLOCK_JOBS, NODES, 'job-dismiss {"id":"j"}', '@null')
session('mirror-write-blocking', CHAIN, X, MIRROR % ',"copy-mode":"write-blocking"', '@READY',
        'job-complete {"id":"j"}', '@null', SAME)
session('mirror-top', CHAIN, X, MIRROR.replace('full', 'top') % '', '@READY', BLOCK_JOBS, 'job-cancel {"id":"j"}', '@null')
session('mirror-none', CHAIN, X, MIRROR.replace('full', 'none') % '', '@READY', BLOCK_JOBS, 'job-pause {"id":"j"}',
        '@standby', BLOCK_JOBS, 'block-job-cancel {"device":"j"}', 'job-resume {"id":"j"}', '@ready',
        'block-job-cancel {"device":"j"}', '@null')
session('mirror-sizes', CHAIN, SMALL, 'blockdev-mirror {"job-id":"j","device":"t","target":"s","sync":"full"}', '@null',
        JOBS, 'blockdev-mirror {"job-id":"j","device":"t","target":"s","sync":"full","auto-dismiss":false}', '@concluded',
        JOBS, BLOCK_JOBS, 'job-dismiss {"id":"j"}', '@null')
session('mirror-refuses', CHAIN, X, NULL, 'blockdev-mirror {"device":"t","target":"x","sync":"full"}',
        *('blockdev-mirror {"job-id":"%s","device":"%s","target":"%s","sync":"%s"%s}' % w for w in (
            ('', 't', 'x', 'full', ''), ('9', 't', 'x', 'full', ''), ('j', 'n', 'x', 'full', ''),
            ('j', 't', 'n', 'full', ''), ('j', 'm', 'x', 'full', ''), ('j', 't', 't', 'full', ''),
            ('j', 't', 'x', 'incremental', ''), ('j', 't', 'x', 'bitmap', ''), ('j', 't', 'x', 'nope', ''),
            ('j', 't', 'x', 'full', ',"granularity":3'), ('j', 't', 'x', 'full', ',"granularity":513'),
            ('j', 't', 'x', 'full', ',"granularity":134217728'), ('j', 't', 'x', 'full', ',"buf-size":-1'),
            ('j', 't', 'x', 'full', SLOW.replace('1', '-1')), ('j', 't', 'x', 'full', ',"replaces":"n"'),
            ('j', 't', 'x', 'full', ',"on-source-error":"nope"'))))
session('mirror-busy', CHAIN, X, NULL, MIRROR % '', '@READY', MIRROR % '',
        'blockdev-mirror {"job-id":"j","device":"z","target":"z","sync":"full"}',
        'blockdev-mirror {"job-id":"k","device":"z","target":"x","sync":"full"}',
        'blockdev-mirror {"job-id":"k","device":"z","target":"t","sync":"full"}',
        '~block_resize {"node-name":"t","size":8388608}', 'block-job-cancel {"device":"j"}', '@null')
session('mirror-resume-refused', CHAIN, X, MIRROR % '', '@READY', 'job-resume {"id":"j"}', 'job-pause {"id":"j"}',
        '@standby', 'job-pause {"id":"j"}', 'block-job-pause {"device":"j"}', 'job-resume {"id":"j"}', '@ready',
        'job-cancel {"id":"j"}', '@null')

# ---- stream ----

session('stream', CHAIN, STREAM % '', '@null', JOBS, NODES, DEL, CHAIN_INFO)
session('stream-base', CHAIN, STREAM % ',"base-node":"a"', '@null', NODES, DEL, CHAIN_INFO)
session('stream-bottom', CHAIN, STREAM % ',"bottom":"m"', '@null', DEL, CHAIN_INFO)
session('stream-base-file', CHAIN, STREAM % ',"base":"a.qcow2","backing-file":"./a.qcow2"', '@null', DEL, CHAIN_INFO)
session('stream-middle', CHAIN, STREAM.replace('"t"', '"m"') % '', '@null', NODES, DEL, CHAIN_INFO)
session('stream-nothing', CHAIN, STREAM.replace('"t"', '"a"') % '', '@null', STREAM % ',"base-node":"m"', '@null', JOBS)
session('stream-slow', CHAIN, STREAM % SLOW, '@running', BLOCK_JOBS, 'job-pause {"id":"j"}', '@paused', BLOCK_JOBS,
        'job-pause {"id":"j"}', 'job-resume {"id":"j"}', '@running', 'block-job-resume {"device":"j"}',
        'block-job-set-speed {"device":"j","speed":-1}', 'job-complete {"id":"j"}', 'block-job-complete {"device":"j"}',
        'blockdev-del {"node-name":"m"}', 'blockdev-del {"node-name":"a"}', 'blockdev-del {"node-name":"t"}',
        'block-commit {"device":"t"}', STREAM % '', 'block-stream {"job-id":"k","device":"a"}',
        'block-stream {"job-id":"k","device":"m"}', 'block-stream {"job-id":"9","device":"m"}',
        'block-commit {"job-id":"c","device":"t","base-node":"a","top-node":"m"}', 'job-cancel {"id":"j"}', '@null', DEL)
# The reference crashes when it is asked for its nodes while a stream waits to be dismissed.
session('stream-manual', CHAIN, STREAM % MANUAL, '@PENDING', BLOCK_JOBS, 'job-finalize {"id":"j"}', '@concluded',
        BLOCK_JOBS, 'job-dismiss {"id":"j"}', '@null', 'blockdev-del {"node-name":"t"}')
session('stream-pending-cancel', CHAIN, STREAM % MANUAL, '@PENDING', 'block-job-cancel {"device":"j"}', '@concluded', JOBS,
        'job-dismiss {"id":"j"}', '@null', DEL, CHAIN_INFO)
session('stream-refuses', CHAIN, X, 'block-stream {"device":"t"}', STREAM.replace('"t"', '"n"') % '',
        *(STREAM % w for w in (
            ',"base":"n"', ',"base-node":"n"', ',"base-node":"x"', ',"base-node":"t"', ',"bottom":"t","base-node":"a"',
            ',"bottom":"x"', ',"bottom":"n"', ',"base":"a.qcow2","base-node":"a"', ',"backing-file":"n"',
            ',"speed":-1', ',"on-error":"n"')))

# ---- commit ----

session('commit', CHAIN, COMMIT % ',"top-node":"m"', '@null', NODES, DEL, CHAIN_INFO)
session('commit-names', CHAIN, COMMIT % ',"top":"m.qcow2","base":"a.qcow2","backing-file":"./a.qcow2"', '@null', DEL, CHAIN_INFO)
session('commit-slow', CHAIN, COMMIT % ',"top-node":"m","speed":1', '@running', BLOCK_JOBS, NODES,
        '~blockdev-del {"node-name":"a"}', 'job-cancel {"id":"j"}', '@null', DEL, CHAIN_INFO)
session('commit-manual', CHAIN, COMMIT % (',"top-node":"m"' + MANUAL), '@PENDING', BLOCK_JOBS, NODES,
        'job-finalize {"id":"j"}', '@concluded', 'job-dismiss {"id":"j"}', '@null', NODES)
session('commit-active', CHAIN, COMMIT % '', '@READY', BLOCK_JOBS, NODES, 'job-complete {"id":"j"}', '@null', NODES, DEL, CHAIN_INFO)
session('commit-active-base', CHAIN, COMMIT % ',"base-node":"m"', '@READY', BLOCK_JOBS, 'block-job-cancel {"device":"j"}',
        '@null', NODES)
session('commit-active-force', CHAIN, COMMIT % '', '@READY', 'block-job-cancel {"device":"j","force":true}', '@null', DEL, CHAIN_INFO)
session('commit-refuses', CHAIN, X, 'block-commit {"device":"t"}', *(
    COMMIT.replace('"t"', '"%s"' % device) % rest for device, rest in (
        ('n', ''), ('x', ''), ('a', ''), ('m', ''), ('t', ',"base-node":"t"'), ('t', ',"base-node":"n"'),
        ('t', ',"top-node":"n"'), ('t', ',"top-node":"x"'), ('t', ',"base-node":"x"'),
        ('t', ',"base-node":"m","top-node":"a"'), ('t', ',"base-node":"m","top-node":"m"'), ('t', ',"base":"n"'),
        ('t', ',"top":"n"'), ('t', ',"top":"m.qcow2","top-node":"m"'), ('t', ',"base":"a.qcow2","base-node":"a"'),
        ('t', ',"backing-file":"n"'), ('t', ',"speed":-5'), ('t', ',"speed":-5,"top-node":"m"'))))

# ---- backup ----

BACKUP = 'blockdev-backup {"job-id":"j","device":"t","target":"x","sync":"%s"%s}'
BITMAP = 'block-dirty-bitmap-add {"node":"t","name":"b"}'
session('backup', CHAIN, X, BACKUP % ('full', ''), '@null', JOBS, SAME)
session('backup-slow', CHAIN, X, BACKUP % ('full', ',"filter-node-name":"flt"' + SLOW), '@running', BLOCK_JOBS,
        'blockdev-del {"node-name":"flt"}', '~blockdev-del {"node-name":"t"}', 'blockdev-del {"node-name":"x"}',
        'job-pause {"id":"j"}', '@paused', 'job-resume {"id":"j"}', '@running', 'job-cancel {"id":"j"}', '@null',
        'blockdev-del {"node-name":"x"}')
session('backup-manual', CHAIN, X, BACKUP % ('full', MANUAL), '@PENDING', '#' + BLOCK_JOBS, 'job-finalize {"id":"j"}',
        '@concluded', BLOCK_JOBS, 'job-complete {"id":"j"}', 'job-dismiss {"id":"j"}', '@null', DEL, SAME)
session('backup-pending-cancel', CHAIN, X, BACKUP % ('full', MANUAL), '@PENDING', 'job-cancel {"id":"j"}', '@concluded',
        JOBS, 'job-dismiss {"id":"j"}', '@null')
session('backup-none', CHAIN, X, BACKUP % ('none', ''), '@running', BLOCK_JOBS, 'job-complete {"id":"j"}',
        'job-cancel {"id":"j"}', '@null')
session('backup-top', CHAIN, X, BACKUP % ('top', ''), '@null', JOBS)
session('backup-of-layer', CHAIN, X, BACKUP.replace('"t"', '"m"') % ('full', ''), '@null')
session('backup-incremental', CHAIN, X, BITMAP, BACKUP % ('incremental', ',"bitmap":"b"'), '@null',
        BACKUP % ('bitmap', ',"bitmap":"b","bitmap-mode":"on-success"'), '@null',
        BACKUP % ('full', ',"bitmap":"b","bitmap-mode":"always"'), '@null')
session('backup-refuses', CHAIN, X, SMALL, 'blockdev-backup {"device":"t","target":"x","sync":"full"}',
        *('blockdev-backup {"job-id":"j","device":"%s","target":"%s","sync":"%s"%s}' % w for w in (
            ('t', 't', 'full', ''), ('t', 's', 'full', ''), ('n', 'x', 'full', ''), ('t', 'n', 'full', ''),
            ('t', 'x', 'incremental', ''), ('t', 'x', 'bitmap', ''), ('t', 'x', 'bitmap', ',"bitmap":"b"'),
            ('t', 'x', 'full', ',"bitmap":"b"'), ('t', 'x', 'full', ',"bitmap-mode":"always"'),
            ('t', 'x', 'full', ',"compress":true'), ('t', 'x', 'full', ',"x-perf":{"max-workers":0}'),
            ('t', 'x', 'full', ',"x-perf":{"max-chunk":-1}'), ('t', 'x', 'full', ',"x-perf":{"max-chunk":1}'),
            ('t', 'x', 'full', ',"speed":-1'))),
        BITMAP, *(BACKUP % w for w in (
            ('full', ',"bitmap":"b"'), ('none', ',"bitmap":"b","bitmap-mode":"always"'),
            ('full', ',"bitmap":"b","bitmap-mode":"never"'), ('incremental', ',"bitmap":"b","bitmap-mode":"always"'))))

# ---- errors ----

FAILING = 'blockdev-add {"driver":"blkdebug","node-name":"%s","image":%s,"inject-error":[{"event":"none","iotype":"%s","errno":%d,"once":%s}]}'
NULL_IMAGE = '{"driver":"null-co","size":4194304,"read-zeroes":true}'
SINGLE = 'blockdev-add {"driver":"qcow2","node-name":"z","file":{"driver":"file","filename":"single.qcow2"}}'
FAIL_WRITE = FAILING % ('e', NULL_IMAGE, 'write', 5, 'false')
FAIL_ONCE = FAILING % ('e', NULL_IMAGE, 'write', 5, 'true')
FULL_ONCE = FAILING % ('e', NULL_IMAGE, 'write', 28, 'true')
BACKUP_E = 'blockdev-backup {"job-id":"j","device":"z","target":"e","sync":"full"%s}'
MIRROR_E = 'blockdev-mirror {"job-id":"j","device":"z","target":"e","sync":"full"%s}'
for kind, start, ready, end in (('backup', BACKUP_E, (), ()),
                                ('mirror', MIRROR_E, ('@READY',), ('job-complete {"id":"j"}',))):
    # How much was copied when the first failure came depends on the length of requests.
    session(f'error-{kind}-report-slow', SINGLE, FAIL_WRITE, start % ',"auto-dismiss":false', '@concluded', '#' + BLOCK_JOBS, JOBS,
            'job-dismiss {"id":"j"}', '@null')
    session(f'error-{kind}-stop', SINGLE, FAIL_ONCE, start % ',"on-target-error":"stop"', '@ERROR', '@paused', '#' + BLOCK_JOBS,
            'block-job-cancel {"device":"j"}', 'job-resume {"id":"j"}', *ready, *end, '@null')
    session(f'error-{kind}-stop-cancel-slow', SINGLE, FAIL_ONCE, start % ',"on-target-error":"stop"', '@ERROR', '@paused',
            'block-job-cancel {"device":"j","force":true}', '@null')
    session(f'error-{kind}-ignore', SINGLE, FAIL_ONCE, start % ',"on-target-error":"ignore"', '@ERROR', *ready, *end, '@null')
    session(f'error-{kind}-enospc', SINGLE, FULL_ONCE, start % ',"on-target-error":"enospc"', '@ERROR', '@paused',
            '#' + BLOCK_JOBS, 'job-resume {"id":"j"}', *ready, *end, '@null')

# ---- transactions ----

def transaction(*actions, grouped=False):
    listed = ','.join('{"type":"%s","data":%s}' % a for a in actions)
    return 'transaction {"actions":[%s]%s}' % (listed, ',"properties":{"completion-mode":"grouped"}' if grouped else '')


ABORT = ('abort', '{}')
B_ADD = ('block-dirty-bitmap-add', '{"node":"t","name":"b"}')
B_CLEAR = ('block-dirty-bitmap-clear', '{"node":"t","name":"b"}')
B_REMOVE = ('block-dirty-bitmap-remove', '{"node":"t","name":"b"}')
B_DISABLE = ('block-dirty-bitmap-disable', '{"node":"t","name":"b"}')
B_MERGE = ('block-dirty-bitmap-merge', '{"node":"t","target":"b","bitmaps":["c"]}')
C_ADD = ('block-dirty-bitmap-add', '{"node":"t","name":"c"}')
TO_X = ('blockdev-backup', '{"job-id":"j","device":"t","target":"x","sync":"full"}')
TO_X1 = ('blockdev-backup', '{"job-id":"j1","device":"t","target":"x","sync":"full"}')
TO_X1_SLOW = ('blockdev-backup', '{"job-id":"j1","device":"t","target":"x","sync":"full","speed":1}')
TO_Z = ('blockdev-backup', '{"job-id":"j2","device":"z","target":"z1","sync":"full"}')
TO_E = ('blockdev-backup', '{"job-id":"j2","device":"z","target":"e","sync":"full"}')
NULL1 = 'blockdev-add {"driver":"null-co","node-name":"z1","size":4194304}'
EXPORT = ('nbd-server-start {"addr":{"type":"unix","data":{"path":"n.sock"}}}',
          'block-export-add {"type":"nbd","id":"e","node-name":"t","writable":true}')
session('transaction-empty', CHAIN, transaction(), transaction(ABORT), 'transaction {}',
        'transaction {"actions":[{"type":"nope","data":{}}]}', 'transaction {"actions":[{"type":"abort"}]}')
session('transaction-bitmaps', CHAIN, transaction(B_ADD, C_ADD), transaction(B_ADD), transaction(B_DISABLE, B_MERGE, B_CLEAR),
        NODES, transaction(B_REMOVE, ABORT), transaction(B_REMOVE, B_REMOVE), transaction(B_CLEAR, grouped=True), NODES,
        transaction(B_REMOVE), NODES)
session('transaction-backup', CHAIN, X, BITMAP, transaction(TO_X, B_CLEAR), '@null', transaction(TO_X, ABORT), JOBS,
        '@null', transaction(TO_X, C_ADD), '@null')
session('transaction-grouped', CHAIN, X, SINGLE, NULL1, transaction(TO_X1, TO_Z, grouped=True), '@null', '@null', JOBS)
session('transaction-grouped-fails-slow', CHAIN, X, SINGLE, FAIL_WRITE, transaction(TO_X1_SLOW, TO_E, grouped=True), '@null',
        '@null', JOBS)
session('transaction-single-fails-slow', CHAIN, X, SINGLE, FAIL_WRITE, transaction(TO_X1_SLOW, TO_E), '@null',
        'job-cancel {"id":"j1"}', '@null', JOBS)
session('merge', CHAIN, BITMAP, BITMAP.replace('"b"', '"c"'), 'block-dirty-bitmap-add {"node":"m","name":"d","granularity":4096}',
        'blockdev-add {"driver":"null-co","node-name":"z8","size":8388608}', 'block-dirty-bitmap-add {"node":"z8","name":"e"}',
        *('block-dirty-bitmap-merge {"node":"%s","target":"%s","bitmaps":[%s]}' % w for w in (
            ('t', 'b', '"c"'), ('t', 'b', '"c",{"node":"m","name":"d"}'), ('t', 'b', '"x"'), ('t', 'x', '"c"'), ('n', 'b', '"c"'),
            ('t', 'b', '{"node":"q","name":"d"}'), ('t', 'b', '{"node":"m","name":"q"}'), ('t', 'b', '{"node":"z8","name":"e"}'))))

# ---- snapshots ----

session('snapshot-internal', CHAIN, *EXPORT, *(f'blockdev-snapshot-internal-sync {{"device":"{d}","name":"{n}"}}' for d, n in (
            ('t', 's1'), ('t', 's1'), ('t', ''), ('t', 's2'), ('tf', 's3'), ('n', 's3'))),
        *('blockdev-snapshot-delete-internal-sync {"device":"%s"%s}' % w for w in (
            ('t', ',"name":"zz"'), ('t', ''), ('t', ',"name":"s2","id":"77"'), ('t', ',"name":"s2","id":"1"'), ('n', ',"id":"1"'))),
        transaction(('blockdev-snapshot-internal-sync', '{"device":"t","name":"s9"}'), ABORT), 'block-export-del {"id":"e"}', DEL,
        "!qemu-img snapshot -l t.qcow2 | awk '{print $1, $2}'")
session('snapshot-sync', CHAIN, *EXPORT, *('~blockdev-snapshot-sync {%s}' % w for w in (
            '"node-name":"t","snapshot-file":"n1.qcow2"', '"node-name":"n","snapshot-file":"n1.qcow2"',
            '"device":"n","snapshot-file":"n1.qcow2"', '"snapshot-file":"n1.qcow2"',
            '"node-name":"m","snapshot-file":"n1.qcow2","snapshot-node-name":"n1"',
            '"node-name":"t","snapshot-file":"n1.raw","snapshot-node-name":"n1","format":"raw"',
            '"node-name":"t","snapshot-file":"n1.raw","snapshot-node-name":"n1","format":"nope"',
            '"node-name":"t","snapshot-file":"n1.qcow2","snapshot-node-name":"m"',
            '"node-name":"t","snapshot-file":"nope.qcow2","snapshot-node-name":"n1","mode":"existing"')))
session('change-backing-file', CHAIN, *('~change-backing-file {"device":"%s","image-node-name":"%s","backing-file":"%s"}' % w for w in (
            ('t', 't', 'hello'), ('t', 'n', 'hello'), ('n', 't', 'hello'), ('t', 'a', 'hello'), ('t', 'm', './a.qcow2'))), DEL,
        "!qemu-img info t.qcow2 2>&1 | grep backing; qemu-img info m.qcow2 | grep backing")

# ---- creating and amending ----

CREATE = 'blockdev-create {"job-id":"j","options":{%s}}'
DISMISS = 'job-dismiss {"id":"j"}'
session('create-file', CREATE % '"driver":"file","filename":"new.img","size":1048576', '@concluded', JOBS, BLOCK_JOBS,
        'job-cancel {"id":"j"}', DISMISS, '@null', '!stat -c %s new.img')
session('create-qcow2', 'blockdev-add {"driver":"file","filename":"s.raw","node-name":"new"}',
        CREATE % '"driver":"qcow2","file":"new","size":1048576', '@concluded', JOBS, DISMISS, '@null',
        CREATE % '"driver":"qcow2","file":"new","size":1048576,"version":"v2","cluster-size":131072,"backing-file":"foo","backing-fmt":"raw"',
        '@concluded', JOBS, DISMISS, '@null', 'blockdev-del {"node-name":"new"}',
        "!qemu-img info s.raw | grep -v '^disk size'")
session('create-refuses', 'blockdev-add {"driver":"file","filename":"s.raw","node-name":"new"}',
        CREATE % '"driver":"qcow2","file":"nope","size":1048576', '@concluded', JOBS, DISMISS, '@null',
        CREATE % '"driver":"qcow2","file":"new","size":1048577', '@concluded', JOBS, DISMISS, '@null',
        CREATE % '"driver":"quorum"', CREATE % '"driver":"qcow2","file":"new"',
        'blockdev-create {"job-id":"9","options":{"driver":"qcow2","file":"new","size":1048576}}')
session('amend', CHAIN, *('x-blockdev-amend {"job-id":"j","node-name":"%s","options":{%s}}' % w for w in (
            ('t', '"driver":"qcow2"'),)), '@concluded', JOBS, DISMISS, '@null',
        *('x-blockdev-amend {"job-id":"j","node-name":"%s","options":{%s}}' % w for w in (
            ('n', '"driver":"qcow2"'), ('tf', '"driver":"file"'), ('t', '"driver":"luks"'),
            ('t', '"driver":"luks","state":"active","new-secret":"s"'))))

# ---- any job ----

session('no-job', *(f'{c} {{"{key}":"n"}}' for key, commands in (
    ('id', ('job-pause', 'job-resume', 'job-cancel', 'job-complete', 'job-finalize', 'job-dismiss', 'block-job-finalize',
            'block-job-dismiss')),
    ('device', ('block-job-pause', 'block-job-resume', 'block-job-cancel', 'block-job-complete'))) for c in commands),
    'block-job-set-speed {"device":"n","speed":0}', JOBS, BLOCK_JOBS, 'job-pause {}', 'block-job-cancel {"device":1}')


def main():
    require_reference('qemu-storage-daemon', 'qemu-img', 'qemu-io')
    with tempfile.TemporaryDirectory() as images:
        subprocess.run(['bash', '-ec', IMAGES], cwd=images, check=True, stdout=subprocess.DEVNULL, env=TOOLS)
        for name in SESSIONS:
            if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
                continue
            judge(f'/qmp-jobs/{name}', compare(name, images))


if __name__ == '__main__':
    sys.exit(main())
