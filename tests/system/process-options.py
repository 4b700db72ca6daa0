#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Options about the process and about options: what it gives up, what it says, what files of options do."""
import os
import pathlib
import re
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, case, main, require, run
from emulator import Emulator, wait_for
from guests import REFERENCE_EMULATOR, emulate
from qtest_talk import talk
from this_run import WATCHED

THEIRS = [REFERENCE_EMULATOR] if REFERENCE_EMULATOR.exists() else []


def refused(*options):
    done = emulate(*options, code=1)
    assert not done.stdout and done.stderr.count('\n') == 1, done
    return done.stderr


def status(emulator, key):
    text = pathlib.Path(f'/proc/{emulator.process.pid}/status').read_text()
    return re.search(rf'(?m)^{key}:\s*(.*)$', text)[1].split()


# ---- messages ----------------------------------------------------------------------------------------


@case
def messages_begin_with_the_time_and_the_guest():
    for options, begin in (
            (('-msg', 'timestamp=on'), r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z qemu-system'),
            (('-msg', 'timestamp=on,guest-name=on', '-name', 'web'), r'\d.{18}\.\d{6}Z web qemu-system'),
            (('-name', 'web', '-msg', 'guest-name=on'), 'web qemu-system'),
            (('-msg', 'guest-name=on'), 'qemu-system'), (('-msg', 'timestamp=off'), 'qemu-system')):
        assert re.match(begin, refused(*options, '-device', 'nonsense')), options
        for program in THEIRS:
            done = subprocess.run([program, '-M', 'microvm', '-display', 'none', *options, '-device', 'nonsense'],
                                  capture_output=True, text=True, check=False)
            assert re.match(begin, done.stderr), done
    assert 'Invalid parameter' in refused('-msg', 'x=on')
    assert "expects 'on' or 'off'" in refused('-msg', 'timestamp=perhaps')


# ---- privileges --------------------------------------------------------------------------------------


@case
def another_user_runs_the_guest():
    require(os.geteuid() == 0, 'only root can become another user')
    for who in 'nobody', '65534:65534':
        with Emulator('-S', '-runas', who) as e:
            assert e.state() == 'prelaunch'
            assert status(e, 'Uid') == ['65534'] * 4 and status(e, 'Gid') == ['65534'] * 4
            assert status(e, 'CapEff') == ['0' * 16]
    assert "doesn't exist" in refused('-runas', 'no-such-user') and 'root' in refused('-runas', '0:0')
    assert "doesn't exist" in refused('-runas', '1:') and "doesn't exist" in refused('-runas', '-1:1')


@case
def a_folder_becomes_the_root():
    require(os.geteuid() == 0, 'only root can change its root')
    os.mkdir('jail')
    pathlib.Path('disk').write_bytes(bytes(4096))
    with Emulator('-S', '-chroot', 'jail', '-blockdev', 'file,filename=disk,node-name=d') as e:
        assert e.state() == 'prelaunch'
        assert os.readlink(f'/proc/{e.process.pid}/root') == str(pathlib.Path('jail').resolve())
        assert 'No such file' in str(e.answer('blockdev-add', driver='file', filename='/etc/passwd',
                                              node_name='x'))
    assert "'nowhere'" in refused('-chroot', 'nowhere')


@case
def what_the_sandbox_forbids_fails_and_the_rest_works():
    with Emulator('-S', '-sandbox', 'on,spawn=deny,resourcecontrol=deny,elevateprivileges=deny') as e:
        assert e.state() == 'prelaunch' and status(e, 'Seccomp') == ['2']
        tasks = pathlib.Path(f'/proc/{e.process.pid}/task')
        for task in tasks.iterdir():
            assert 'Seccomp:\t2' in (task / 'status').read_text(), task
        answer = e.answer('migrate', uri='exec:cat >stream')
        wait_for(lambda: 'desc' in answer or e.answer('query-migrate')['status'] == 'failed', 'the refusal')
        assert not pathlib.Path('stream').exists()
    with Emulator('-S', '-sandbox', 'on') as e:
        assert status(e, 'Seccomp') == ['2'] and e.answer('migrate', uri='exec:cat >stream') == {}
        wait_for(lambda: e.answer('query-migrate').get('status') in ('completed', 'failed'), 'the end')
        assert e.answer('query-migrate')['status'] == 'completed'
    with Emulator('-S', '-sandbox', 'off,spawn=deny') as e:
        assert status(e, 'Seccomp') == ['0']
    assert 'invalid argument for spawn' in refused('-sandbox', 'on,spawn=perhaps')
    assert 'Invalid parameter' in refused('-sandbox', 'on,nonsense=deny')


@case
def memory_is_locked_when_that_is_asked_for():
    require(WATCHED not in ('address', 'thread'), 'a sanitizer locks no memory')
    with Emulator('-S', '-m', '16', '-overcommit', 'mem-lock=on') as e:
        require(e.process.poll() is None, 'memory cannot be locked here')
        assert e.state() == 'prelaunch' and int(status(e, 'VmLck')[0]) >= 16 << 10
    with Emulator('-S', '-m', '16', '-overcommit', 'mem-lock=off') as e:
        assert e.state() == 'prelaunch' and status(e, 'VmLck')[0] == '0'
    assert 'cpu-pm=on is not there' in refused('-overcommit', 'cpu-pm=on')


# ---- descriptors, images -----------------------------------------------------------------------------


@case
def descriptors_of_the_parent_are_opened_by_their_set():
    pathlib.Path('disk').write_bytes(b'x' * 4096)
    fd = os.open('disk', os.O_RDWR)
    os.set_inheritable(fd, True)
    for program in [None, *THEIRS]:
        more = {'program': program} if program else {}
        with Emulator('-S', '-add-fd', f'fd={fd},set=7,opaque=of mine', '-blockdev',
                      'file,filename=/dev/fdset/7,node-name=d', close_fds=False, **more) as e:
            nodes = e.answer('query-named-block-nodes', flat=True)
            assert [n['image']['virtual-size'] for n in nodes] == [4096], nodes
            sets = e.answer('query-fdsets')
            assert [(s['fdset-id'], len(s['fds'])) for s in sets] == [(7, 1)], sets
    assert 'not valid' in refused('-add-fd', 'fd=1000,set=1')
    assert 'standard I/O' in refused('-add-fd', 'fd=1,set=1')
    assert 'set option is required' in emulate('-add-fd', f'fd={fd}', code=1, close_fds=False).stderr
    os.close(fd)


def write_through_nbd(*options):
    with Emulator('-S', *options) as e:
        assert e.answer('nbd-server-start', addr={'type': 'unix', 'data': {'path': 'nbd'}}) == {}
        node = e.answer('query-block')[0]['inserted']['node-name']
        assert e.answer('block-export-add', type='nbd', id='x', node_name=node, name='x', writable=True) == {}
        run(IO, '-f', 'raw', '-c', 'write -P 7 0 4k', '-c', 'flush', 'nbd+unix:///x?socket=nbd')
        run(IO, '-f', 'raw', '-c', 'read -P 7 0 4k', 'nbd+unix:///x?socket=nbd')
        assert e.answer('quit') == {}
        e.process.wait()
        assert not e.process.returncode


@case
def snapshot_leaves_images_as_they_were():
    drive = 'if=none,id=d,file=disk,format=raw'
    for options, changes in ((('-snapshot', '-drive', drive), False), (('-drive', drive, '-snapshot'), False),
                             (('-drive', f'{drive},snapshot=on'), False), (('-drive', drive), True),
                             (('-snapshot', '-drive', f'{drive},snapshot=off'), True)):
        before = b'\1' * (1 << 20)
        pathlib.Path('disk').write_bytes(before)
        write_through_nbd(*options, '-device', 'virtio-blk-device,drive=d')
        assert (pathlib.Path('disk').read_bytes() != before) == changes, options
    assert "expects 'on' or 'off'" in refused('-drive', f'{drive},snapshot=perhaps')


# ---- files of options, changes -----------------------------------------------------------------------

CONFIG = '''
# What a machine may look like.
[machine]
  type = "microvm"

[memory]
  size = "64"

[name]
guest = "web, 1"

[drive "d"]
  if = "none"
  file = "a,b.img"
  format = "raw"

[device "one"]
  driver = "virtio-blk-device"
  drive = "d"

[device]
  driver = "virtio-rng-device"
  id = "two"
'''


def machine_of(e):
    return (e.answer('query-memory-size-summary')['base-memory'], e.answer('query-name'),
            [(b['qdev'], b['inserted']['file']) for b in e.answer('query-block') if 'inserted' in b],
            'two' in [p['name'] for p in e.answer('qom-list', path='/machine/peripheral')])


@case
def a_file_of_options_makes_the_same_machine_as_the_reference():
    pathlib.Path('a,b.img').write_bytes(bytes(4096))
    pathlib.Path('config').write_text(CONFIG)
    want = (64 << 20, {'name': 'web, 1'}, [('one', 'a,b.img')], True)
    for program in [None, *THEIRS]:
        with Emulator('-S', '-readconfig', 'config', **({'program': program} if program else {})) as e:
            assert machine_of(e) == want, (program, machine_of(e))


@case
def faults_of_a_file_of_options_are_told_with_their_line():
    for text, where, what in (('[device]\ndriver = nonsense\n', 2, 'KEY = "VALUE"'),
                              ('size = "1"\n', 1, 'no section'), ('\n[nonsense]\n', 2, "option group 'nonsense'"),
                              ('[memory\n', 1, '[GROUP]'), ('[device "x]\n', 1, '[GROUP]')):
        pathlib.Path('config').write_text(text)
        said = refused('-readconfig', 'config')
        assert f'config:{where}: ' in said and what in said, said
    pathlib.Path('config').write_text('\n[memory]\nsize = "much"\n')
    assert 'config:2: ' in emulate('-readconfig', 'config', code=1).stderr
    assert 'nowhere' in refused('-readconfig', 'nowhere')


@case
def an_item_is_changed_by_its_id():
    pathlib.Path('a.img').write_bytes(bytes(4096))
    options = ('-drive', 'if=none,id=d,file=nowhere,format=raw', '-device', 'virtio-blk-device,drive=d,id=v',
               '-set', 'drive.d.file=a.img', '-set', 'device.v.serial=a,b')
    for program in [None, *THEIRS]:
        with Emulator('-S', *options, **({'program': program} if program else {})) as e:
            assert e.answer('query-block')[0]['inserted']['file'] == 'a.img'
            assert e.answer('qom-get', path='/machine/peripheral/v', property='serial') == 'a,b'
    for text, what in (('x', "can't parse"), ('drive.x=y', "can't parse"), ('nonsense.x.y=z', 'no option group'),
                       ('device.v.y=z', 'there is no device "v"'), ('drive.x.file=y', 'there is no drive "x"')):
        assert what in refused('-set', text).replace('There is no', 'no'), text


# ---- firmware ----------------------------------------------------------------------------------------


def told(*options, **more):
    """What fw_cfg has: {name: content} of files whose names this test gives, and the menu's item."""
    def read(key, length):
        lines = [f'outw 0x510 {key}'] + ['inb 0x511'] * length
        return bytes(int(a.split()[1], 16) for a in talk(lines, *options, **more)[1:])

    count = struct.unpack('>I', read(0x19, 4))[0]
    files, directory = {}, read(0x19, 4 + 64 * count)[4:]
    for size, key, _, name in struct.iter_unpack('>IHH56s', directory):
        name = name.rstrip(b'\0').decode()
        if name.startswith('opt/') or name.startswith('etc/boot-'):
            files[name] = read(key, size)
    return files, read(0x0e, 2)


@case
def firmware_is_told_what_the_line_says():
    pathlib.Path('item').write_bytes(bytes(range(200)))
    options = ('-boot', 'menu=on,splash-time=300,reboot-timeout=1000,strict=on', '-fw_cfg',
               'name=opt/a,string=x,,y', '-fw_cfg', 'opt/b,file=item')
    ours = told(*options)
    assert ours == ({'etc/boot-menu-wait': b'\x2c\1', 'etc/boot-fail-wait': b'\xe8\3\0\0', 'opt/a': b'x,y',
                     'opt/b': bytes(range(200))}, b'\1\0'), ours
    for program in THEIRS:
        assert told(*options, '-S', program=program, accel='tcg') == ours
    assert told() == ({}, b'\0\0')
    for option, what in ((('-boot', 'd'), 'no boot order'), (('-boot', 'once=c'), 'no boot order'),
                         (('-boot', 'x=y'), 'unexpected'), (('-boot', 'reboot-timeout=70000'), '65535'),
                         (('-fw_cfg', 'opt/a'), 'exactly one'), (('-fw_cfg', 'opt/' + 'a' * 60 + ',string=b'), 'too long'),
                         (('-fw_cfg', 'opt/a,file=nowhere'), 'nowhere'), (('-fw_cfg', 'opt/a,x=y'), 'Invalid parameter'),
                         (('-fw_cfg', 'opt/a,string=b', '-fw_cfg', 'opt/a,string=c'), 'taken'),
                         (('-M', 'none', '-fw_cfg', 'opt/a,string=b'), 'not available')):
        assert what in refused(*option), option


@case
def firmware_is_looked_for_in_folders_of_the_user():
    os.mkdir('firmware')
    pathlib.Path('firmware/small.bin').write_bytes(b'\xf4' * 65536)
    assert 'small.bin' in refused('-bios', 'small.bin')
    with Emulator('-S', '-L', 'nowhere', '-L', 'firmware', '-bios', 'small.bin') as e:
        assert e.state() == 'prelaunch'
    assert '/usr/share/qemu\n' in emulate('-L', 'help').stdout


main('process-options', 'system')
