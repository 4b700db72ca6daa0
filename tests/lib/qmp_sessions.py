# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripted QMP sessions with our storage daemon and with the reference's, each in a folder of its own
with the same images: replies and events are the same, byte for byte after masks, in the same order.

A step is a request "COMMAND {arguments}", or raw JSON. Marks in front of it:
    ~   the text of an error is ours to word, its class is not
    =   order of the list that is returned does not count, nor does what ours does not have
    ?   the same unless it is the schema that refuses, whose words count
    >   an event comes of it, perhaps some time later: wait for one if none has come
    !   a shell command with the reference's tools
"""
import json
import re
import subprocess
import sys
import tempfile

from functions import BUILD, REFERENCE, judge, require_reference
from qmp import Stdio, masked

SESSIONS = {}
# $ONCE in the commands that make images: a folder for those that are made once and copied.
ONCE = tempfile.TemporaryDirectory()


def session(name, *steps, options=(), images=''):
    assert name not in SESSIONS, name
    SESSIONS[name] = (steps, options, images)


# ---- running ----

def text_of(step):
    if step.startswith('{'):
        return step
    command, _, arguments = step.partition(' ')
    return '{"execute":"%s"%s}' % (command, f',"arguments":{arguments}' if arguments else '')


def without_words(line):
    return re.sub(r'("desc": )".*"', r'\1""', line)


# Debian builds the reference without the first, its emulator alone has the next ones, and the last came
# later.
OURS_ALONE = ('authz-pam', 'getfd', 'closefd', 'add-fd', 'remove-fd', 'query-fdsets',
              'blockdev-set-active', 'x-compact')


def as_set(line):
    """The returned list without order."""
    return sorted(json.dumps(i, sort_keys=True) for i in json.loads(line)['return']
                  if i.get('name') not in OURS_ALONE)


# What each side has for itself: how long the file of an image is, what is drawn for
# its header, how high its tables are written, how long a qed image that was written to wants a check.
OF_THE_FILE = re.compile(r'"virtual-size": \d+(?=, "filename": "(?:[^"]*\.qcow2|i)", "format": "file")'
                         r'|"(?:master-key-)?iters": \d+|"uuid": "[^"]*"|"cid": \d+|"parent-cid": \d+'
                         r'|(?<="format": "qed", "actual-size": 0, )"dirty-flag": \w+'
                         r'|"wr_highest_offset": \d+(?=[^{}]*\}, "node-name": "(?:nf|#block)")')


def shared(line):
    """What of @line both sides have to say alike."""
    line = OWN_BITMAPS.sub('', OF_THE_FILE.sub('""', masked(line)))
    return line.replace('"dirty-bitmaps": [], ', '')


def run(program, folder, steps, options, images):
    subprocess.run(['bash', '-ec', images], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                   env={'PATH': f'{REFERENCE}:/usr/bin:/bin', 'ONCE': ONCE.name})
    results = []
    with Stdio(program / 'qemu-storage-daemon', *options, cwd=folder) as daemon:
        for step in steps:
            mark = step[0] if step[0] in '~=>!?' else ''
            rest = step[len(mark):].strip()
            if mark == '!':
                done = subprocess.run(['bash', '-c', rest], cwd=folder, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, check=False,
                                      env={'PATH': f'{REFERENCE}:/usr/bin:/bin'})
                results.append([str(done.returncode)])
                continue
            try:
                lines = [shared(line) for line in daemon.ask(text_of(rest))]
            except BrokenPipeError:
                lines = ['it has ended']
            if mark == '>' and not any('"event"' in line for line in lines):
                lines.append(masked(daemon.reader.line() or 'no event'))
            results.append([without_words(line) for line in lines] if mark == '~' else lines)
        code = daemon.end()
    return [*results, [f'exit code {code}']]


# Bitmaps without a name are those that the reference's filters keep for themselves.
OWN_BITMAPS = re.compile(r'(?:, )?\{"recording": \w+, "persistent": \w+, "busy": \w+, "granularity": \d+, '
                         r'"count": \d+\}')
SCHEMA_REFUSES = re.compile(r"\"desc\": \"(Parameter '|Invalid parameter|QMP input)")


def compare(name):
    steps, options, images = SESSIONS[name]
    got = []
    for program in (BUILD, REFERENCE):
        with tempfile.TemporaryDirectory() as folder:
            got.append(run(program, folder, steps, options, images))
    problems = []
    for step, ours, theirs in zip((*steps, 'the end'), *got, strict=True):
        if step[0] == '=':
            ours, theirs = as_set(ours[0]), as_set(theirs[0])
            theirs = [i for i in theirs if i in ours]
        if step[0] == '?' and not any(SCHEMA_REFUSES.search(line) for line in theirs):
            ours, theirs = ([without_words(line) for line in side] for side in (ours, theirs))
        if ours != theirs:
            problems += [f'{step[:300]}', f'  ours:          {str(ours)[:20000]}',
                         f'  the reference: {str(theirs)[:20000]}']
    return problems


def run_sessions(test):
    """Those whose names have one of the words of the command line; all without."""
    require_reference('qemu-storage-daemon', 'qemu-img', 'qemu-io')
    for name in SESSIONS:
        if not sys.argv[1:] or any(word in name for word in sys.argv[1:]):
            judge(f'/{test}/{name}', compare(name))


# ---- images ----

RAW = 'qemu-img create -q -f raw b.raw 1M; '
QCOW2 = 'qemu-img create -q -f qcow2 a.qcow2 10M; '
CHAIN = QCOW2 + 'qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 m.qcow2; ' \
        'qemu-img create -q -f qcow2 -b m.qcow2 -F qcow2 t.qcow2; '
ADD_A = 'blockdev-add {"driver":"qcow2","node-name":"a","file":{"driver":"file","filename":"a.qcow2",' \
        '"node-name":"af"}}'
ADD_B = 'blockdev-add {"driver":"file","node-name":"b","filename":"b.raw"}'
ADD_Z = 'blockdev-add {"driver":"null-co","node-name":"z","size":1048576}'
NODES = 'query-named-block-nodes'
FLAT = 'query-named-block-nodes {"flat":true}'
START = 'nbd-server-start {"addr":{"type":"unix","data":{"path":"n.sock"}}}'
