#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""drive-mirror and drive-backup beside the reference's: answers, events and their order, what the targets hold and
lie on; a target that the command opened is whole and free when the job has ended."""
import json
import os
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, io, main, require, run
from emulator import Emulator
from guests import EMULATOR, REFERENCE_EMULATOR
from qmp import PATIENCE, masked, request
from stored import await_nothing_left

DISK = ('-drive', 'if=none,id=d,file=d.qcow2,format=qcow2', '-device', 'virtio-blk-device,drive=d')
ENDS = 'BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED'


class Worker(Emulator):
    def __init__(self, program):
        super().__init__('-S', '-m', '64', *DISK, program=program)
        self.told = []
        self.begun = 0    # where what the present job tells begins

    def take(self, line):
        line = re.sub(r'"timestamp": \{[^}]*\}, ', '', masked(line))
        line = re.sub(r'("(len|offset)": )\d+', r'\g<1>0', line)
        self.told.append(re.sub(r'("desc": )".*"', r'\1""', line))
        return line

    def do(self, command, **arguments):
        for line in self.ask(request(command, **arguments)):
            if not line.startswith('Formatting '):    # which the reference puts between its answers
                self.take(line)

    def wait(self, *words):
        """Until an event of one of these names, or the job is in one of these states."""
        while not any(f'"{w}"' in t for t in self.told[self.begun:] for w in words):
            line = self.reader.line(PATIENCE)
            assert line is not None, (words, self.told)
            self.take(line)

    def end(self):
        self.do('quit')
        self.process.communicate(timeout=PATIENCE)
        # Answers and events may cross each other.
        return ([t for t in self.told if '"event"' not in t], [t for t in self.told if '"event"' in t])


def images(folder):
    os.mkdir(folder)
    os.chdir(folder)
    img('create', '-q', '-f', 'qcow2', 'b.qcow2', '8M')
    io('b.qcow2', 'write -q -P 1 0 3M')
    img('create', '-q', '-f', 'qcow2', '-b', 'b.qcow2', '-F', 'qcow2', 'd.qcow2')
    io('d.qcow2', 'write -q -P 2 2M 2M')
    os.chdir('..')


def both(session, targets):
    """Runs @session(emulator) with ours and the reference's; what is in @targets and what they lie on is alike."""
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    told, held = [], []
    for name, program in (('ours', EMULATOR), ('theirs', REFERENCE_EMULATOR)):
        images(name)
        os.chdir(name)
        e = Worker(program)
        try:
            session(e)
            told.append(e.end())
        finally:
            e.process.kill()
            e.process.communicate()
        held.append([])
        for target in targets:
            info = json.loads(img('info', '--output=json', target).stdout)
            held[-1].append((info['format'], info.get('backing-filename'), info.get('backing-filename-format')))
            if info['format'] == 'qcow2':
                img('check', '-q', target)
            img('compare', '-q', 'd.qcow2', target)
        os.chdir('..')
    assert told[0][0] == told[1][0], (told[0][0], told[1][0])
    assert told[0][1] == told[1][1], (told[0][1], told[1][1])
    assert held[0] == held[1], held


def backup(**how):
    def session(e):
        e.begun = len(e.told)
        e.do('drive-backup', **{'device': 'd', 'job_id': 'j', 'sync': 'full', 'target': 'x', **how})
        e.wait(*ENDS)
        e.wait('null')
    return session


def mirror(**how):
    def session(e):
        e.begun = len(e.told)
        e.do('drive-mirror', **{'device': 'd', 'job_id': 'j', 'sync': 'full', 'target': 'x', **how})
        e.wait('BLOCK_JOB_READY')
        e.do('block-job-complete', device='j')
        e.wait(*ENDS)
        e.wait('null')
    return session


@case
def backups_make_their_targets():
    both(backup(), ['x'])
    for i, how in enumerate(({'format': 'raw'}, {'sync': 'top'}, {'format': 'qcow2', 'compress': True})):
        shutil.rmtree('ours')
        shutil.rmtree('theirs')
        both(backup(**how), ['x'])


@case
def mirrors_make_their_targets_and_the_device_goes_on_with_them():
    both(mirror(), ['x'])
    for how in ({'format': 'raw'}, {'sync': 'top'}, {'node_name': 'new', 'copy_mode': 'write-blocking'}):
        shutil.rmtree('ours')
        shutil.rmtree('theirs')
        both(mirror(**how), ['x'])


@case
def targets_that_are_there_are_only_opened():
    def session(e):
        run('cp', 'b.qcow2', 'x')
        backup(mode='existing', format='qcow2')(e)
        run('cp', 'b.qcow2', 'y')
        mirror(mode='existing', target='y', format='qcow2')(e)
    both(session, ['x', 'y'])


@case
def what_cannot_be_done_is_refused_with_the_same_class():
    def session(e):
        for command in ('drive-backup', 'drive-mirror'):
            e.do(command, device='none', sync='full', target='x')
            e.do(command, device='d', sync='full', target='x', format='nonsense')
            e.do(command, device='d', sync='full', target='absent', mode='existing')
            e.do(command, device='d', sync='nonsense', target='x')
            e.do(command, device='d', sync='full', target='x', job_id='%')
            e.do(command, device='d', sync='full')
        e.do('drive-mirror', device='d', sync='full', target='x', replaces='d')
        e.do('query-jobs')
    both(session, [])


@case
def the_target_is_closed_when_the_job_has_ended():
    images('i')
    os.chdir('i')
    e = Worker(EMULATOR)
    try:
        backup()(e)
        run(str(pathlib.Path(EMULATOR).parent / 'qemu-io'), '-f', 'qcow2', '-c', 'write 0 64k', 'x')
        backup(target='y')(e)
        e.begun = len(e.told)
        e.do('drive-mirror', device='d', job_id='j', sync='full', target='z')
        e.wait('BLOCK_JOB_READY')
        e.do('block-job-cancel', device='j')
        e.wait(*ENDS)
        e.wait('null')
        run(str(pathlib.Path(EMULATOR).parent / 'qemu-io'), '-f', 'qcow2', '-c', 'write 0 64k', 'z')
        img('compare', '-q', '-U', 'd.qcow2', 'y')
        e.end()
    finally:
        e.process.kill()
        e.process.communicate()


def await_event(e, name):
    """The data of event @name, which may have come with an answer."""
    return next((v['data'] for v in e.events if v['event'] == name), None) or e.until(name)


@case
def a_mirror_of_a_killed_emulator_goes_on_where_it_was():
    img('create', '-q', '-f', 'qcow2', 'd.qcow2', '16M')
    io('d.qcow2', 'write -q -P 5 0 16M')
    img('create', '-q', '-f', 'qcow2', 'x', '16M')
    how = {'device': 'd', 'job_id': 'j', 'sync': 'full', 'target': 'x', 'format': 'qcow2', 'x_resume': 'r'}
    copied = []
    for attempt in 'killed', 'completed':
        with Worker(EMULATOR) as e:
            assert 'existing' in e.answer('drive-mirror', **how)['desc']
            assert e.answer('drive-mirror', mode='existing', **how) == {}
            copied.append(await_event(e, 'BLOCK_JOB_READY')['offset'])
            if attempt == 'killed':
                await_nothing_left('d.qcow2')
            else:
                assert e.answer('block-job-complete', device='j') == {}
                await_event(e, 'BLOCK_JOB_COMPLETED')
                e.answer('quit')
                assert e.process.wait(PATIENCE) == 0
    assert copied[0] == 16 << 20 and copied[1] < 4 << 20, copied
    img('compare', '-q', 'd.qcow2', 'x')


if __name__ == '__main__':
    main('drive-jobs', 'system')
