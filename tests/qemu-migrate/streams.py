#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What qemu-migrate tells of streams, those of the reference and of ours, whole, cut and changed."""
import json
import pathlib
import random
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require, run
from guests import REFERENCE_EMULATOR
from migrating import TOOL, source

RAM = 64 << 20


def tool(*args, **more):
    return run(TOOL, *args, **more)


def saved(name='saved'):
    """Our own machine, stopped after some rounds, as a file."""
    with source() as a:
        a.await_rounds()
        a.answer('stop')
        a.migrate(f'file:{name}')
    return pathlib.Path(name)


def inspected(name, *options, code=0):
    return json.loads(tool('inspect', '--output=json', *options, name, code=code).stdout)


@case
def sections_and_memory_of_ours_are_listed():
    saved()
    o = inspected('saved', '--fields')
    assert o['machine'] == 'microvm' and o['whole'] and o['described']
    assert o['ram']['blocks'] == [{'name': 'microvm.ram', 'size': RAM}]
    assert o['ram']['pages'] + o['ram']['zero-pages'] == RAM // 4096, o['ram']
    names = [s['name'] for s in o['sections']]
    assert names[:3] == ['timer', 'fw_cfg', 'cpu_common'] and names[-1] == 'globalstate', names
    cpu = {f['name']: f['value'] for s in o['sections'] if s['name'] == 'cpu'
           for f in s['fields'] if 'name' in f}
    assert len(cpu['env.regs']) == 16 and cpu['env.cr[0]'] & 0x80000001 == 0x80000001
    assert 'env.cr[0]:' in tool('inspect', '--fields', 'saved').stdout
    # A field of each section, by the bytes themselves.
    data = pathlib.Path('saved').read_bytes()
    serial = next(s for s in o['sections'] if s['name'] == 'serial')
    assert struct.unpack_from('>H', data, serial['offset'])[0] == serial['fields'][0]['value'][0]['value']


@case
def memory_is_extracted_raw_and_as_a_core():
    saved()
    tool('extract', 'saved', 'ram')
    tool('extract', '--format=elf', 'saved', 'core')
    ram, core = pathlib.Path('ram').read_bytes(), pathlib.Path('core').read_bytes()
    assert len(ram) == RAM and core[4096:] == ram and core[:4] == b'\x7fELF'
    word = struct.unpack_from('<Q', ram, 0x1000000)[0]
    assert word, 'the first page that the guest wrote'
    assert pathlib.Path('ram').stat().st_blocks * 512 < RAM
    assert 'no memory' in tool('extract', '--block=x', 'saved', 'y', code=2).stderr


@case
def differences_are_named():
    data = bytearray(saved().read_bytes())
    assert tool('diff', 'saved', 'saved').stdout == ''
    o = inspected('saved')
    serial = next(s for s in o['sections'] if s['name'] == 'serial')
    data[serial['offset'] + 3] ^= 5
    pathlib.Path('other').write_bytes(data)
    said = tool('diff', 'saved', 'other', code=1).stdout
    assert said.startswith('serial/0 state ier: ') and said.count('\n') == 1, said


@case
def a_place_that_is_cut_or_changed_is_named():
    data = saved().read_bytes()
    o = inspected('saved')
    cpu = next(s for s in o['sections'] if s['name'] == 'cpu')
    pathlib.Path('cut').write_bytes(data[:1000000])
    said = tool('inspect', 'cut', code=2)
    assert "section 'ram': The stream ends here" in said.stderr, said.stderr
    changed = bytearray(data)
    changed[cpu['offset'] + cpu['size']] = 0x7f
    pathlib.Path('changed').write_bytes(changed)
    said = tool('inspect', 'changed', code=2).stderr
    assert f"Byte {cpu['offset'] + cpu['size'] + 1} of the stream, section 'cpu'" in said, said
    assert inspected('changed', code=2)['error'] in said


@case
def any_change_is_survived():
    data = saved().read_bytes()
    o = inspected('saved')
    start = o['sections'][0]['offset']
    r = random.Random(1)
    for i in range(60):
        changed = bytearray(data)
        for _ in range(r.randrange(1, 4)):
            at = r.randrange(start, len(data)) if i % 2 else r.choice((r.randrange(200), r.randrange(len(data))))
            changed[at] = r.randrange(256)
        pathlib.Path('changed').write_bytes(changed[:r.randrange(len(changed))] if i % 5 == 0 else changed)
        done = subprocess.run([TOOL, 'inspect', '--fields', 'changed'], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, timeout=20)
        assert done.returncode in (0, 2) and (done.returncode == 0) == (not done.stderr), (i, done)


@case
def streams_of_the_reference_are_read():
    require(REFERENCE_EMULATOR.exists(), 'no reference')
    with source(program=REFERENCE_EMULATOR) as a:
        a.answer('stop')
        a.migrate('exec:cat >saved')
    o = inspected('saved', '--fields')
    assert [b['name'] for b in o['ram']['blocks']][0] == 'microvm.ram' and len(o['ram']['blocks']) == 5
    assert len(o['sections']) == 15 and o['described'] and o['whole']


@case
def wrong_lines_are_refused():
    for args in ((), ('x',), ('inspect',), ('inspect', 'a', 'b'), ('diff', '--fields', 'a', 'b'),
                 ('inspect', '--output=xml', 'a'), ('inspect', '--nonsense', 'a'), ('inspect', 'nothing')):
        assert tool(*args, code=2).stderr.startswith('qemu-migrate: ')


main('streams', 'qemu-migrate')
