#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of guests that objects describe (-object memory-backend-*), and -mem-path."""
import contextlib
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require, run
from emulator import Emulator, wait_for
from guests import EMULATOR, REFERENCE_EMULATOR, all_ok, build, emulate, run_guest
from migrating import check_moved, source, target

OBJECTS = {
    'ram': 'memory-backend-ram,id=m,size=64M', 'shared': 'memory-backend-ram,id=m,size=64M,share=on',
    'file': 'memory-backend-file,id=m,size=64M,mem-path=memory,share=on',
    'copy': 'memory-backend-file,id=m,size=64M,mem-path=memory',
    'folder': 'memory-backend-file,id=m,size=64M,mem-path=.,prealloc=on,prealloc-threads=3',
    'memfd': 'memory-backend-memfd,id=m,size=64M,dump=off,merge=off',
    'lazy': 'memory-backend-ram,id=m,size=64M,reserve=off',
}


@case
def a_guest_runs_in_memory_of_each_kind():
    for name, text in OBJECTS.items():
        all_ok(run_guest('devices', '-cpu', 'max', '-object', text, '-machine', 'memory-backend=m'), 50)


@case
def objects_are_shown_as_the_reference_shows_them():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    for text in OBJECTS.values():
        seen = []
        for program in EMULATOR, REFERENCE_EMULATOR:
            with Emulator('-S', '-object', text, '-machine', 'memory-backend=m', program=program) as m:
                seen.append((m.answer('query-memdev'),
                             m.answer('query-memory-size-summary'),
                             m.answer('human-monitor-command', command_line='info memdev')))
        assert seen[0] == seen[1], (text, seen)


@case
def what_the_guest_writes_is_in_a_shared_file():
    kernel = build('devices').read_bytes()[0x700:0x900] # of its code
    for share in 'on', 'off':
        pathlib.Path('seen').unlink(missing_ok=True)
        run_guest('devices', '-cpu', 'max', '-machine', 'memory-backend=m', '-object',
                  f'memory-backend-file,id=m,size=64M,mem-path=seen,share={share}')
        data = pathlib.Path('seen').read_bytes()
        assert len(data) == 64 << 20 and (kernel in data) == (share == 'on'), share


@case
def discarded_data_is_gone_afterwards():
    run_guest('devices', '-cpu', 'max', '-machine', 'memory-backend=m', '-object',
              'memory-backend-file,id=m,size=64M,mem-path=gone,share=on,discard-data=on')
    assert not any(pathlib.Path('gone').read_bytes())


def resident(pid, what):
    rows = pathlib.Path(f'/proc/{pid}/status').read_text().splitlines()
    return sum(int(row.split()[1]) << 10 for row in rows if row.startswith(what))


@case
def preallocated_memory_is_there_at_once():
    for options in (('-object', 'memory-backend-ram,id=m,size=64M,prealloc=on', '-machine',
                     'memory-backend=m'), ('-m', '64', '-mem-prealloc'),
                    ('-m', '64', '-mem-prealloc', '-mem-path', '.')):
        with Emulator('-S', *options) as m:
            assert resident(m.process.pid, 'VmRSS') >= 64 << 20, options
            assert m.answer('query-memdev')[0]['prealloc'], options
    with Emulator('-S', '-m', '64') as m:
        assert resident(m.process.pid, 'VmRSS') < 60 << 20


@case
def used_memory_stays_and_other_memory_comes_and_goes():
    with Emulator('-S', '-object', OBJECTS['ram'], '-machine', 'memory-backend=m') as m:
        assert m.answer('query-memory-size-summary')['base-memory'] == 64 << 20
        assert 'in use' in m.answer('object-del', id='m')['desc']
        m.answer('object-add', qom_type='memory-backend-ram', id='other', size=1 << 20)
        assert {d['id'] for d in m.answer('query-memdev')} == {'m', 'other'}
        m.answer('object-del', id='other')
        assert len(m.answer('query-memdev')) == 1


HUGE = pathlib.Path('/sys/kernel/mm/hugepages/hugepages-2048kB')


@contextlib.contextmanager
def huge_pages(count):
    """So many huge pages of 2 MiB are free meanwhile."""
    number, free = HUGE / 'nr_hugepages', HUGE / 'free_hugepages'
    require(os.geteuid() == 0, 'only root can reserve huge pages')
    require(number.exists(), 'the host has no huge pages of 2 MiB')
    before = int(number.read_text())
    try:
        number.write_text(str(before + count))
    except OSError as e:
        require(False, f'huge pages cannot be reserved: {e.strerror}')
    try:
        require(int(free.read_text()) >= count, 'the host has no memory for huge pages')
        yield
    finally:
        number.write_text(str(before))


@case
def huge_pages_are_a_guests_memory():
    use = '-machine', 'memory-backend=m', '-object'
    huge = 'memory-backend-memfd,id=m,size=64M,hugetlb=on,hugetlbsize=2M'
    with huge_pages(72):
        all_ok(run_guest('devices', '-cpu', 'max', *use, huge), 50)
        with source(*use, huge) as a, target('unix:m.sock', *use, OBJECTS['ram']) as b:
            wait_for(lambda: 'Private_Hugetlb' in pathlib.Path(f'/proc/{a.process.pid}/smaps_rollup').read_text())
            a.await_rounds()
            a.migrate('unix:m.sock')
            check_moved(a, b)
        said = emulate('-object', huge.replace('64M', '65M'), code=1).stderr
        assert 'multiple of 0x200000' in said, said
        said = emulate('-object', huge.replace('64M', '8192M'), '-S', code=1).stderr
        assert "'m'" in said and 'Cannot allocate memory' in said, said


@case
def huge_pages_are_mounted_files():
    with huge_pages(40):
        pathlib.Path('huge').mkdir()
        run('mount', '-t', 'hugetlbfs', '-o', 'pagesize=2M', 'none', 'huge')
        try:
            all_ok(run_guest('devices', '-cpu', 'max', '-m', '64', '-mem-path', 'huge', '-mem-prealloc'), 50)
        finally:
            run('umount', 'huge')


@case
def guests_move_between_kinds_of_memory():
    for there, here in ('memfd', 'ram'), ('file', 'shared'), ('ram', 'copy'):
        pathlib.Path('memory').unlink(missing_ok=True)
        use = '-machine', 'memory-backend=m', '-object'
        with source(*use, OBJECTS[there]) as a, target('unix:m.sock', *use, OBJECTS[here]) as b:
            a.await_rounds()
            a.migrate('unix:m.sock')
            check_moved(a, b)


@case
def a_guest_in_named_memory_goes_to_the_reference():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    for path in 'on', 'off':
        use = ('-machine', 'memory-backend=m', '-object',
               f'memory-backend-memfd,id=m,size=64M,x-use-canonical-path-for-ramblock-id={path}')
        with source(*use) as a:
            a.await_rounds()
            with target('unix:m.sock', *use, program=REFERENCE_EMULATOR) as b:
                a.migrate('unix:m.sock')
                check_moved(a, b)


@case
def what_cannot_be_is_refused():
    pathlib.Path('short').write_bytes(bytes(1 << 20))
    ram = 'memory-backend-ram,id=m,size=64M'
    for text, what in (
            ('memory-backend-ram,id=m', "'size'"), ('memory-backend-ram,id=m,size=0', "take value '0'"),
            ('memory-backend-ram,id=m,size=4097', 'multiple'),
            (f'{ram},policy=bind', 'host-nodes must be set for policy bind'),
            (f'{ram},prealloc=on,reserve=off', "'prealloc=on' and 'reserve=off' are incompatible"),
            (f'{ram},prealloc=on,prealloc-threads=0', 'prealloc-threads'),
            (f'{ram},prealloc-context=x', 'prealloc-context'), (f'{ram},nonsense=1', 'nonsense'),
            ('memory-backend-file,id=m,size=64M', "'mem-path'"),
            ('memory-backend-file,id=m,size=64M,mem-path=/absent/x', "can't open backing store /absent/x"),
            ('memory-backend-file,id=m,size=64M,mem-path=short',
             "backing store size 0x100000 does not match 'size' option 0x4000000"),
            ('memory-backend-file,id=m,size=64M,mem-path=new,pmem=on', "'pmem=on' is not there"),
            ('memory-backend-file,id=m,size=64M,mem-path=new,readonly=on', "'readonly=on' is not there"),
            ('memory-backend-file,id=m,size=64M,mem-path=new,align=1G', "'align'"),
            ('memory-backend-memfd,id=m,size=64M,hugetlb=on,hugetlbsize=3', 'power of two')):
        said = emulate('-object', text, code=1).stderr
        assert what in said, (text, said)
    said = emulate('-object', '{"qom-type":"memory-backend-ram","id":"m","size":4096,"host-nodes":[0]}',
                   code=1).stderr
    assert 'host-nodes must be empty for policy default' in said, said
    for options, what in (
            (('-machine', 'memory-backend=x'), "Memory backend 'x' not found"),
            (('-m', '65', '-object', ram, '-machine', 'memory-backend=m'), 'does not match the size'),
            (('-mem-path', '.', '-object', ram, '-machine', 'memory-backend=m'), "can't be used together"),
            (('-mem-path', '/absent/x'), "can't open backing store /absent/x"),
            (('-object', 'memory-backend-ram,id=m,size=1M', '-machine', 'memory-backend=m'), '2 MiB')):
        said = emulate(*options, code=1).stderr
        assert what in said, (options, said)


main('memory-backends', 'system')
