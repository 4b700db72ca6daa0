#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Generated commands, 200,000 of them, to a daemon whose nodes are busy with jobs in every state, exports
and bitmaps in use: each is answered once, a refused one changes nothing, the daemon goes on, and the
images are right in the end."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, main
from qmp import Stdio, request
from qmp_generator import Generator, is_tame
from this_run import SHARE, WATCHED

COUNT = 8_000 if WATCHED else 200_000 // SHARE
PER_DAEMON = 2_000
BATCH = 50
DAEMON = BUILD / 'qemu-storage-daemon'

# Names that mean something; most requests then concern what is there.
NAMES = ['a', 'af', 'top', 'z', 'y', 'b', 't1', 't2', 't3', 't4', 'q', 'bm', 'used', 'e1', 'e2', 'g', 'obj', 'ring',
         'ready', 'paused', 'running', 'pending', 'concluded', 'children.0', 'file', 'backing', 'o']


def node(name, driver, **more):
    return request('blockdev-add', driver=driver, node_name=name, **more)


def null(name):
    return node(name, 'null-co', size=1 << 20, read_zeroes=True)


def in_file(name, path):
    return node(name, 'qcow2', file={'driver': 'file', 'filename': path})


def mirror(job, device, target, **more):
    return request('blockdev-mirror', job_id=job, device=device, target=target, sync='full', **more)


BEGIN = [
    node('a', 'qcow2', file={'driver': 'file', 'filename': 'a.qcow2', 'node-name': 'af'}),
    node('top', 'qcow2', backing='a', file={'driver': 'file', 'filename': 'top.qcow2'}),
    node('b', 'file', filename='b.raw'), in_file('o', 'o.qcow2'),
    *(null(name) for name in ('z', 'y', 't1', 't2', 't3', 't4', 's1', 's2', 's3', 's4')),
    node('q', 'quorum', children=['z', 'y'], vote_threshold=1),
    request('block-dirty-bitmap-add', node='a', name='bm'),
    request('block-dirty-bitmap-add', node='a', name='used', disabled=True),
    request('object-add', qom_type='throttle-group', id='g'),
    request('object-add', qom_type='secret', id='obj', data='x'),
    request('chardev-add', id='ring', backend={'type': 'ringbuf', 'data': {}}),
    request('nbd-server-start', addr={'type': 'unix', 'data': {'path': 'nbd'}}),
    request('block-export-add', type='nbd', id='e1', node_name='q', writable=True),
    request('block-export-add', type='nbd', id='e2', node_name='a', bitmaps=['used']),
    mirror('ready', 's1', 't1'),
    mirror('running', 's2', 't2', speed=1),
    mirror('paused', 's3', 't3', speed=1),
    request('block-job-pause', device='paused'),
    request('blockdev-backup', job_id='pending', device='s4', target='t4', sync='full', auto_finalize=False,
            auto_dismiss=False),
    request('blockdev-create', job_id='concluded', options={'driver': 'file', 'filename': 'made', 'size': 512}),
]

# What a refused command must not change, and no job changes by itself.
LOOK = [request('x-debug-query-block-graph'), request('query-block-exports'), request('query-chardev'),
        request('qom-list', path='/objects'), request('query-jobs')]
MOVING = ('current-progress', 'total-progress', 'status', 'error', 'frontend-open')


def settled(value):
    if isinstance(value, list):
        return [settled(v) for v in value]
    if isinstance(value, dict):
        return {k: settled(v) for k, v in value.items() if k not in MOVING}
    return value


class Busy(Stdio):
    """A daemon with all of that."""

    def __init__(self):
        for name in ('a', 'top', 'o'):
            img('create', '-q', '-f', 'qcow2', f'{name}.qcow2', '1M')
        img('create', '-q', '-f', 'raw', 'b.raw', '1M')
        for name in ('made', 'nbd'):
            pathlib.Path(name).unlink(missing_ok=True)
        super().__init__(DAEMON)
        for text in BEGIN:
            replies = [json.loads(line) for line in self.ask(text)]
            assert not any('error' in r for r in replies), (text, replies)

    def state(self):
        """What is there, and whether something has happened meanwhile."""
        lines = [json.loads(line) for text in LOOK for line in self.ask(text)]
        return [settled(a['return']) for a in lines if 'return' in a], any('event' in a for a in lines)

    def answers(self, texts):
        """The replies to @texts, sent at once."""
        lines = [json.loads(line) for line in self.ask('\n'.join(texts))]
        return [a for a in lines if 'event' not in a], any('event' in a for a in lines)


def cuts_a_file(text):
    """While an image is inactive its file may be made active, and shorter, by itself. That is not a fault."""
    return '"block_resize"' in text and '"af"' in text


def requests(generator, first, count):
    made = []
    while len(made) < count:
        text = generator.request(first + len(made))
        if is_tame(text) and not cuts_a_file(text):
            made.append(text)
    return made


def check_replies(texts, replies, first):
    assert [r.get('id') for r in replies] == list(range(first, first + len(texts))), (texts, replies)
    for text, r in zip(texts, replies):
        assert 'return' in r or r['error']['desc'], (text, r)


def check_refusal(daemon, text):
    """If @text alone is refused, and nothing happens at that moment, all is as it was."""
    before, moved = daemon.state()
    replies, moved_too = daemon.answers([text])
    after, moved_last = daemon.state()
    if 'error' in replies[0] and not (moved or moved_too or moved_last):
        assert before == after, (text, replies, [(b, a) for b, a in zip(before, after) if b != a])


def torment(seed):
    daemon = Busy()
    generator = Generator(daemon.answer('query-qmp-schema'), seed, NAMES)
    for first in range(0, PER_DAEMON, BATCH):
        check_refusal(daemon, requests(generator, 0, 1)[0])
        texts = requests(generator, first, BATCH)
        check_replies(texts, daemon.answers(texts)[0], first)
    assert daemon.answer('query-version')['qemu']['major'] == 7
    assert daemon.end() in (0, 1), daemon.errors
    assert 'BUG' not in daemon.errors and 'ERROR' not in daemon.errors, daemon.errors
    for name in ('a', 'top', 'o'):
        # Commands may have stored any name of a backing file.
        img('check', '-q', '-U', '--image-opts', f'driver=qcow2,backing=,file.driver=file,file.filename={name}.qcow2')


@case
def generated_commands_find_nothing_that_breaks():
    for seed in range(COUNT // PER_DAEMON):
        try:
            torment(seed)
        except Exception as error:
            raise AssertionError(f'seed {seed}') from error


main('storage-daemon/commands')
