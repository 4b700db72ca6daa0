#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of drives: they are told as by the reference, requests wait, and nobody else has to wait for them."""
import json
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main, require
from emulator import Emulator, wait_for
from guests import EMULATOR, REFERENCE_EMULATOR, build, emulate

NONE = dict(bps=0, bps_rd=0, bps_wr=0, iops=0, iops_rd=0, iops_wr=0)
READS = 12      # of the guest


def limits(**those):
    return 'block_set_io_throttle', NONE | those


def hmp(line):
    return 'human-monitor-command', {'command-line': line}


def told(e, command, arguments):
    """What @e answers; names of arguments are as they are."""
    line, = (line for line in e.ask(json.dumps({'execute': command, 'arguments': arguments}))
             if line.startswith('{') and '"event"' not in line)
    return json.loads(re.sub(r'"actual-size": \d+', '"actual-size": 0', re.sub(r'#block\d+', '#block', line)))


def limit(e, **those):
    assert told(e, *limits(**those)) == {'return': {}}


LOOK = ('query-block', {})
TALK = [
    LOOK, hmp('info block'), limits(device='d0', bps=1000000), LOOK, hmp('info block'),
    limits(device='d0', bps=10, bps_max=20), LOOK,
    limits(id='v0', bps=7, iops_rd=5, iops_rd_max=50, iops_rd_max_length=3, iops_size=512, group='foo'), LOOK,
    hmp('info block'),
    # A group is all of its members'; who leaves it takes no limits along.
    limits(device='d1', bps=3, group='foo'), LOOK, limits(device='d1', bps=9, group='other'), LOOK,
    limits(id='v0'), LOOK, limits(device='d1', iops=4, group='object'), LOOK,
    ('qom-get', {'path': '/objects/object', 'property': 'limits'}),
    limits(device='d1', iops=5), ('qom-get', {'path': '/objects/object', 'property': 'limits'}),
    limits(id='v1', iops=5), LOOK, limits(id='v1', iops_wr=5, group=''), LOOK, limits(id='v1'), LOOK,
    hmp('block_set_io_throttle d0 1 0 0 4 0 0'), hmp('block_set_io_throttle v1 0 2 3 0 5 6'),
    hmp('block_set_io_throttle nix 1 0 0 4 0 0'), hmp('info block'), LOOK,
]
# Errors, whose words are our own.
REFUSED = [
    limits(device='d0', bps=1, bps_rd=1), limits(device='d0', iops=1, iops_wr=1), limits(device='d0', bps=10, bps_max=5),
    limits(device='d0', bps_max=5), limits(device='d0', bps=10, bps_max_length=5), limits(device='d0', iops_size=5),
    limits(device='d0', bps=10, bps_max=20, bps_max_length=0), limits(device='d0', bps=-1),
    limits(device='d0', bps=2 ** 60), limits(bps=5), limits(device='d0', id='v0', bps=5), limits(device='nix'),
    limits(id='nix', bps=5), limits(id='n0', bps=5), limits(device='n0', bps=5), limits(device='v0', bps=4),
    ('block_set_io_throttle', {'device': 'd0', 'bps': 5}),
    ('object-add', {'qom-type': 'throttle-group', 'id': 'd1'}), ('object-del', {'id': 'object'}),
]
DRIVES = ('-S', '-m', '64', '-object', 'throttle-group,id=object,x-bps-total=77',
          '-drive', 'if=none,id=d0,file=a.raw,format=raw,throttling.bps-total=500,throttling.group=first',
          '-drive', 'if=none,id=d1,file=b.raw,format=raw,bps_rd=7,bps_rd_max=9,iops_wr=1,iops_size=4096',
          '-blockdev', 'file,filename=c.raw,node-name=n0', '-device', 'virtio-blk-device,drive=d0,id=v0',
          '-device', 'virtio-blk-device,drive=d1', '-device', 'virtio-blk-device,drive=n0,id=v1')


def images():
    for name in 'a.raw', 'b.raw', 'c.raw':
        img('create', '-q', '-f', 'raw', name, '1M')


@case
def limits_are_told_as_by_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    images()
    answers = []
    for program in EMULATOR, REFERENCE_EMULATOR:
        with Emulator(*DRIVES, program=program) as e:
            answers.append([told(e, *command) for command in TALK])
    for command, ours, theirs in zip(TALK, *answers):
        assert ours == theirs, (command, ours, theirs)


@case
def what_the_reference_refuses_changes_nothing():
    images()
    classes = []
    for program in [EMULATOR] + [REFERENCE_EMULATOR] * REFERENCE_EMULATOR.exists():
        with Emulator(*DRIVES, program=program) as e:
            limit(e, device='d1', iops=4, group='d1')
            limit(e, device='d0', iops=4, group='object')
            before = told(e, *LOOK)
            classes.append([told(e, *command)['error']['class'] for command in REFUSED])
            assert told(e, *LOOK) == before
    assert classes[0] == classes[-1] and len(classes[0]) == len(REFUSED), classes


@case
def drives_with_limits_that_cannot_be_are_refused():
    images()
    for options, what in (('bps=1,bps_rd=1', 'exclude each other'), ('bps=1k', 'bps-total'), ('iops_max=4', 'iops-total'),
                          ('bps=1,throttling.bps-total=2', "alias 'bps'"), ('throttling.bps=1', "'bps'"),
                          ('throttling=1', "'throttling'"), ('group=a,throttling.group=b', "alias 'group'")):
        done = emulate('-drive', f'if=none,id=d,file=a.raw,format=raw,{options}', code=1)
        assert what in done.stderr, (options, done.stderr)


def reader(limit):
    return Emulator('-S', '-m', '64', '-kernel', build('reads'), '-drive',
                    f'if=none,id=d,file=a.raw,format=raw,{limit}', '-device', 'virtio-blk-device,drive=d,id=v',
                    '-serial', 'file:serial')


def is_done():
    return 'all were read' in pathlib.Path('serial').read_text()


def reads(e):
    return e.answer('query-blockstats')[0]['stats']['rd_operations']


@case
def requests_wait():
    images()
    with reader('iops=20') as e:
        start = time.monotonic()
        assert e.answer('cont') == {}
        wait_for(is_done, 'the end of all reads')
        # A tenth of a second's worth, and one more, need not wait.
        assert time.monotonic() - start >= (READS - 3) / 20
        assert reads(e) == READS


@case
def nobody_waits_for_what_limits_hold_up():
    images()
    # The second read would wait for minutes.
    with reader('bps=1') as e:
        assert e.answer('cont') == {}
        wait_for(lambda: reads(e), 'the first read')
        assert e.answer('blockdev-snapshot-sync', device='d', snapshot_file='o.qcow2') == {}
        # What was owed to the old limits no longer is: the second read may go.
        limit(e, device='d', bps=2)
        assert not is_done() and reads(e) <= 2
        assert e.answer('stop') == {}
        assert e.answer('cont') == {}
        assert not is_done() and reads(e) < READS
        limit(e, id='v')
        wait_for(is_done, 'the end of all reads')
        assert reads(e) == READS
    with reader('bps=1') as e:
        assert e.answer('cont') == {}
        wait_for(lambda: reads(e), 'the first read')
        assert e.answer('system_reset') == {}
        assert e.answer('quit') == {}
        assert e.code() == 0


main('io-throttle', 'system')
