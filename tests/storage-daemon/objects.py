#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties of objects: what they are, what they can be changed to; beside the reference's daemon."""
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, IO, REFERENCE, case, img, main
from qmp import Stdio, request

OBJECTS = [
    {'qom_type': 'secret', 'id': 's', 'data': 'letmein', 'format': 'raw'},
    {'qom_type': 'throttle-group', 'id': 'g', 'limits': {'iops-total': 5, 'iops-total-max': 50}},
    {'qom_type': 'iothread', 'id': 'i', 'poll-max-ns': 5},
    {'qom_type': 'tls-creds-anon', 'id': 't', 'endpoint': 'server'},
    {'qom_type': 'authz-simple', 'id': 'a', 'identity': 'x'},
    {'qom_type': 'authz-list', 'id': 'l', 'rules': [{'match': 'fred', 'policy': 'allow', 'format': 'exact'}]},
    {'qom_type': 'authz-list', 'id': 'e'},
]


def in_order(value):
    """@value with its lists and members in one order: that of the reference is by chance."""
    if isinstance(value, list):
        return sorted((in_order(v) for v in value), key=str)
    if isinstance(value, dict):
        return sorted((k, in_order(v)) for k, v in value.items())
    return value


def daemons():
    """The reference's and ours, with the same objects."""
    pair = [Stdio(program / 'qemu-storage-daemon') for program in (REFERENCE, BUILD)]
    for d in pair:
        for o in OBJECTS:
            assert d.answer('object-add', **o) == {}
    return pair


def same(pair, command, **arguments):
    reference, ours = [in_order(d.answer(command, **arguments)) for d in pair]
    assert reference == ours, f'{command} {arguments}\nthe reference: {reference}\nours: {ours}'


@case
def properties_have_the_references_names_types_and_values():
    pair = daemons()
    for o in OBJECTS:
        path = f'/objects/{o["id"]}'
        same(pair, 'qom-list', path=path)
        for p in pair[0].answer('qom-list', path=path):
            if p['name'] != 'data':
                same(pair, 'qom-get', path=path, property=p['name'])
    for d in pair:
        d.end()


@case
def types_have_the_references_properties():
    pair = daemons()
    for name in ('secret', 'secret_keyring', 'tls-creds-anon', 'tls-creds-psk', 'tls-creds-x509', 'authz-simple',
                 'authz-list', 'authz-list-file', 'iothread', 'throttle-group', 'container', 'object', 'authz',
                 'chardev', 'chardev-file', 'nothing', ''):
        same(pair, 'qom-list-properties', typename=name)
    for d in pair:
        d.end()


@case
def changes_are_made_and_refused_as_by_the_reference():
    pair = daemons()
    for name, prop, value in (
            ('g', 'limits', {'bps-total': 7}), ('g', 'limits', {}), ('g', 'limits', {'iops-total-max': 60}),
            ('g', 'limits', {'iops-total': 0, 'iops-total-max': 0}), ('g', 'limits', 1),
            ('g', 'limits', {'bps': 1}), ('g', 'limits', {'bps-total': '1'}),
            ('i', 'poll-max-ns', 7), ('i', 'poll-max-ns', -1), ('i', 'poll-max-ns', 'x'), ('i', 'poll-max-ns', 0),
            ('a', 'identity', 'y'), ('a', 'identity', 3),
            ('l', 'policy', 'allow'), ('l', 'policy', 'maybe'), ('l', 'rules', []), ('l', 'rules', [{'match': 'a'}]),
            ('l', 'rules', {}),
            ('s', 'loaded', True), ('t', 'loaded', False), ('s', 'type', 'x'), ('s', 'none', 1), ('none', 'x', 1)):
        path = f'/objects/{name}'
        same(pair, 'qom-set', path=path, property=prop, value=value)
        same(pair, 'qom-get', path=path, property=prop)
    for d in pair:
        assert d.answer('qom-set', path='/objects/g', property='limits')['desc'] == "Parameter 'value' is missing"
        d.end()


@case
def limits_that_contradict_each_other_change_nothing():
    with Stdio(BUILD / 'qemu-storage-daemon') as d:
        d.answer('object-add', qom_type='throttle-group', id='g', limits={'iops-total': 5})
        before = d.answer('qom-get', path='/objects/g', property='limits')
        for limits, word in ({'iops-read': 1}, 'exclude'), ({'iops-total': -7}, 'between'), \
                ({'bps-read-max': 9}, 'without'), ({'iops-total-max': 1}, 'less'):
            assert word in d.answer('qom-set', path='/objects/g', property='limits', value=limits)['desc']
            assert d.answer('qom-get', path='/objects/g', property='limits') == before


@case
def rules_are_replaced():
    with Stdio(BUILD / 'qemu-storage-daemon') as d:
        d.answer('object-add', qom_type='authz-list', id='l', rules=[{'match': 'fred', 'policy': 'allow'}])
        rules = [{'match': 'a', 'policy': 'deny', 'format': 'glob'}]
        assert d.answer('qom-set', path='/objects/l', property='rules', value=rules) == {}
        assert d.answer('qom-get', path='/objects/l', property='rules') == rules


@case
def a_secret_is_not_read_back():
    with Stdio(BUILD / 'qemu-storage-daemon') as d:
        d.answer('object-add', qom_type='secret', id='s', data='letmein')
        lines = d.ask(request('qom-get', path='/objects/s', property='data'))
        assert len(lines) == 1 and 'letmein' not in lines[0], lines
        assert json.loads(lines[0])['error']['desc'] == "Property 'secret.data' is not readable"


@case
def a_higher_limit_frees_those_who_wait():
    img('create', '-q', '-f', 'raw', 'a.raw', '1M')
    with Stdio(BUILD / 'qemu-storage-daemon', '--object', 'throttle-group,id=g,limits.iops-total=1', '--blockdev',
               'throttle,node-name=t,throttle-group=g,file.driver=file,file.filename=a.raw', '--nbd-server',
               'addr.type=unix,addr.path=nbd', '--export', 'nbd,id=e,node-name=t') as d:
        client = subprocess.Popen([IO, '-r', '-f', 'raw', *['-c', 'read -q 0 512'] * 100, 'nbd+unix:///t?socket=nbd'])
        time.sleep(.3)
        assert client.poll() is None
        assert d.answer('qom-set', path='/objects/g', property='limits', value={'iops-total': 0}) == {}
        assert client.wait(timeout=20) == 0


@case
def what_cannot_be_kept_is_refused():
    with Stdio(BUILD / 'qemu-storage-daemon') as d:
        for more, word in ({'thread-pool-max': 8}, 'Workers'), ({'poll-grow': 2}, 'poll-grow'), \
                ({'thread-pool-max': 3, 'thread-pool-min': 4}, 'bad'), ({'aio-max-batch': -1}, 'range'):
            answer = d.answer('object-add', qom_type='iothread', id='i', **more)
            assert word in answer['desc'], answer
            assert len(d.answer('qom-list', path='/objects')) == 1
        assert d.answer('object-add', qom_type='iothread', id='i', **{'thread-pool-max': 64, 'aio-max-batch': 8}) == {}


main('objects', 'storage-daemon')
