#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP clients that mean no good: the daemon answers or refuses, its memory stays bounded, and it serves
everybody else meanwhile and afterwards."""
import json
import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, case, img, main
from qmp import CAPABILITIES, Client, Stdio, request
from qmp_generator import Generator, is_tame
from this_run import SLOWER, WATCHED

DAEMON = BUILD / 'qemu-storage-daemon'
MIB = 1 << 20


class Victim(Stdio):
    """A daemon with a session for us and one, at ./q, for others."""

    def __init__(self, *options):
        super().__init__(DAEMON, '--chardev', 'socket,id=s,path=q,server=on,wait=off', '--monitor', 's',
                         *options)

    def memory(self):
        """MiB resident."""
        for line in open(f'/proc/{self.process.pid}/status'):
            if line.startswith('VmRSS'):
                return int(line.split()[1]) >> 10
        raise AssertionError('no memory')

    def is_well(self):
        start = time.monotonic()
        assert self.answer('query-version')['qemu']['major'] == 7
        assert time.monotonic() - start < 2 * SLOWER

    def stays_below(self, mib):
        """Sanitizers keep what is freed."""
        assert WATCHED or self.memory() < mib, f'{self.memory()} MiB'


def flood(client, data, total):
    """Sends @data again and again until @total bytes have gone, or nobody takes more for a second."""
    client.socket.settimeout(1)
    sent = 0
    try:
        while sent < total:
            sent += client.socket.send(data)
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        pass
    return sent


@case
def endless_strings_and_lists_are_bounded():
    for start, piece in ((b'"', b'x' * MIB), (b'{"execute":"', b'x' * MIB), (b'[', b'1,' * MIB),
                         (b'[', b'[],' * MIB), (b'', b' ' * MIB), (b'{"a":', b'"b",' * MIB)):
        with Victim() as daemon:
            client = Client('q')
            client.send(start)
            flood(client, piece, (20 if WATCHED else 70) * MIB)
            daemon.is_well()
            client.close()
            daemon.is_well()
            daemon.stays_below(300)
            assert daemon.end() == 0


@case
def errors_nobody_reads_are_bounded():
    for piece in (b', ' * MIB, b'@\n' * MIB, b'foo ' * MIB, b'{} ' * MIB, b'[' * MIB, b'\x01' * MIB):
        with Victim() as daemon:
            client = Client('q')
            flood(client, piece, (2 if WATCHED else 8) * MIB)
            daemon.is_well()
            daemon.stays_below(64)
            client.close()
            daemon.is_well()


@case
def answers_nobody_reads_are_bounded():
    for oob in (False, True):
        with Victim() as daemon:
            client = Client('q', greet=False)
            client.reader.line()
            client.send((CAPABILITIES if not oob else request('qmp_capabilities', enable=['oob'])).encode())
            flood(client, request('query-qmp-schema').encode() * 100, 30 * MIB)
            daemon.is_well()
            daemon.stays_below(64)
            client.close()
            daemon.is_well()


@case
def events_nobody_reads_end_the_connection():
    with Victim('--blockdev', 'null-co,node-name=z', '--nbd-server', 'addr.type=unix,addr.path=n') as daemon:
        client = Client('q')
        names = ['e' + 'x' * 4000 + str(i) for i in range(100 if WATCHED else 1000)]
        for name in names:
            daemon.send(request('block-export-add', type='nbd', id=name[:200] + name[4000:], node_name='z',
                                name=name[3900:]).encode())
            daemon.send(request('block-export-del', id=name[:200] + name[4000:]).encode())
            for _ in range(3):
                assert daemon.reader.line() is not None
        daemon.stays_below(64)
        daemon.is_well()
        client.close()


@case
def deep_values_come_back_or_are_refused():
    with Victim() as daemon:
        for depth in (100, 250, 255, 1000, 1022):
            for left, right in (('[', ']'), ('{"a":', '}')):
                nest = left * depth + ('1' if left != '[' else '') + right * depth
                line, = daemon.ask('{"execute":"query-version","id":%s}' % nest)
                assert line.count('[' if left == '[' else '"a"') == depth, line[:200]
                line, = daemon.ask('{"execute":"blockdev-add","arguments":{"driver":"raw","node-name":"n",'
                                   '"file":%s}}' % nest)
                assert '"error"' in line
        deep = '{"driver":"raw","file":' * 1000 + '"x"' + '}' * 1000
        line, = daemon.ask('{"execute":"blockdev-add","arguments":%s}' % deep)
        assert 'nested deeper' in line or 'node-name' in line, line
        daemon.is_well()


@case
def connections_by_the_hundred_come_and_go():
    with Victim() as daemon:
        before = len(os.listdir(f'/proc/{daemon.process.pid}/fd'))
        for i in range(30 if WATCHED else 300):
            client = Client('q', greet=False)
            if i % 3:
                client.send((CAPABILITIES, request('query-qmp-schema'), '{"execute":[[')[i % 3].encode())
            if i % 5 == 0:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
            client.close()
        last = Client('q')
        assert last.answer('query-version')
        last.close()
        daemon.is_well()
        assert len(os.listdir(f'/proc/{daemon.process.pid}/fd')) <= before + 1


@case
def clients_that_leave_while_a_command_runs_are_forgotten():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '1M')
    with Victim() as daemon:
        for i in range(20):
            client = Client('q')
            client.send(request('blockdev-add', driver='qcow2', node_name=f'n{i}', file={
                'driver': 'file', 'filename': 'a.qcow2'}, read_only=True, force_share=True).encode())
            client.close()
        daemon.is_well()
        Client('q').close()
        names = [n['node-name'] for n in daemon.answer('query-named-block-nodes', flat=True)]
        assert {f'n{i}' for i in range(20)} <= set(names), names


@case
def descriptors_nobody_asked_for_are_closed():
    with Victim() as daemon:
        client = Client('q')
        before = len(os.listdir(f'/proc/{daemon.process.pid}/fd'))
        for _ in range(20):
            socket.send_fds(client.socket, [b' '], [0] * 50)
        client.ask(request('query-version'))
        assert len(os.listdir(f'/proc/{daemon.process.pid}/fd')) <= before + 64
        client.close()
        Client('q').close()
        daemon.is_well()
        assert len(os.listdir(f'/proc/{daemon.process.pid}/fd')) <= before + 1


@case
def filter_names_that_are_taken_are_refused_by_every_job():
    img('create', '-q', '-f', 'qcow2', 'a.qcow2', '1M')
    img('create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', 'm.qcow2')
    img('create', '-q', '-f', 'qcow2', '-b', 'm.qcow2', '-F', 'qcow2', 't.qcow2')
    with Victim('--blockdev', 'null-co,node-name=x,size=1M', '--blockdev', 'qcow2,node-name=t,file.driver=file,'
                'file.filename=t.qcow2,backing.driver=qcow2,backing.node-name=m,backing.file.driver=file,'
                'backing.file.filename=m.qcow2') as daemon:
        for command, more in (('blockdev-mirror', {'target': 'x', 'sync': 'full'}), ('block-stream', {}),
                              ('block-commit', {}), ('block-commit', {'top_node': 'm'}),
                              ('blockdev-backup', {'target': 'x', 'sync': 'full'})):
            answer = daemon.answer(command, job_id='j', device='t', filter_node_name='x', **more)
            assert "'x'" in answer['desc'], (command, more, answer)
            assert daemon.answer('query-jobs') == []
        daemon.is_well()


@case
def creating_with_a_wrong_size_and_a_wrong_option_is_one_error():
    with Victim() as daemon:
        assert daemon.answer('blockdev-create', job_id='j', options={
            'driver': 'vdi', 'file': 'nope', 'size': 5, 'preallocation': 'off'}) == {}
        while daemon.answer('query-jobs')[0]['status'] != 'concluded':
            time.sleep(.01)
        assert daemon.answer('query-jobs')[0]['error']
        daemon.is_well()


@case
def a_secret_of_one_digit_of_base64_is_empty():
    with Victim() as daemon:
        for i, data in enumerate(('a', '=', '\n', '')):
            assert daemon.answer('object-add', qom_type='secret', id=f's{i}', format='base64', data=data) == {}
        daemon.is_well()


# ---- every command with anything; commands.slow.py has many more ----


@case
def generated_commands_are_answered():
    """Whatever the arguments: one answer each, an error that has words, and a daemon that goes on."""
    count = 300 if WATCHED else 3000
    img('create', '-q', '-f', 'qcow2', 'image.qcow2', '1M')
    for seed in range(2):
        with Victim('--blockdev', 'null-co,node-name=z,size=1048576', '--blockdev',
                    'qcow2,node-name=a,file.driver=file,file.filename=image.qcow2') as daemon:
            generator = Generator(daemon.answer('query-qmp-schema'), seed)
            done = 0
            while done < count:
                text = generator.request(done)
                if not is_tame(text):
                    continue
                lines = [json.loads(line) for line in daemon.ask(text)]
                answers = [a for a in lines if 'event' not in a]
                assert len(answers) == 1 and answers[0]['id'] == done, (text, lines)
                error = answers[0].get('error')
                assert not error or error['desc'], (text, lines)
                done += 1
            daemon.is_well()
            assert daemon.end() in (0, 1)
            assert 'BUG' not in daemon.errors and 'ERROR' not in daemon.errors, daemon.errors


main('storage-daemon/hostile')
