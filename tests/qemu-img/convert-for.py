#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""convert --for: images as hypervisors and clouds take them."""
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import REFERENCE, case, img, io, main, run

MADE = {'azure': 'vpc', 'hyperv': 'vhdx', 'esxi': 'vmdk', 'vsphere': 'vmdk', 'aws': 'vmdk', 'virtualbox': 'vdi',
        'proxmox': 'qcow2', 'parallels': 'parallels', 'utm': 'qcow2'}


def disk(size='5M'):
    img('create', '-q', '-f', 'raw', 'disk', size)
    io('disk', 'write -P 3 1M 100k')


@case
def each_platform_gets_its_format():
    disk()
    for platform, fmt in MADE.items():
        img('convert', '-f', 'raw', f'--for={platform}', 'disk', f'made.{platform}')
        img('compare', '-f', 'raw', '-F', fmt, 'disk', f'made.{platform}')
        if (REFERENCE / 'qemu-img').exists():
            run(REFERENCE / 'qemu-img', 'compare', '-f', 'raw', '-F', fmt, 'disk', f'made.{platform}')
    assert os.path.getsize('made.azure') == (5 << 20) + 512
    kind = json.loads(img('info', '--output=json', 'made.vsphere').stdout)['format-specific']['data']['create-type']
    assert kind == 'streamOptimized'
    assert b'lsilogic' in pathlib.Path('made.esxi').read_bytes()


@case
def a_disk_that_breaks_a_rule_is_refused():
    disk('5000512')
    for platform in 'azure', 'esxi', 'vsphere', 'gce':
        done = img('convert', '-f', 'raw', f'--for={platform}', 'disk', 'disk.raw', code=1)
        assert platform in done.stderr and 'multiple' in done.stderr and not os.path.exists('disk.raw'), done.stderr
    img('create', '-q', '-f', 'raw', 'large', '3T')
    assert 'at most' in img('convert', '-f', 'raw', '--for=azure', 'large', 'x', code=1).stderr
    img('create', '-q', '-f', 'raw', 'whole', '1G')
    assert 'disk.raw' in img('convert', '-f', 'raw', '--for=gce', 'whole', 'x', code=1).stderr
    img('convert', '-f', 'raw', '--for=gce', 'whole', 'disk.raw')
    assert os.path.getsize('disk.raw') == 1 << 30


@case
def options_that_contradict_are_refused():
    disk()
    for options in (['-O', 'raw'], ['-o', 'subformat=dynamic'], ['-n'], ['-o', 'force_size=off']):
        assert 'for' in img('convert', '-f', 'raw', '--for=azure', *options, 'disk', 'x', code=1).stderr
        assert not os.path.exists('x')
    img('convert', '-f', 'raw', '--for=azure', '-O', 'vpc', '-o', 'subformat=fixed,force_size=on', 'disk', 'x')
    assert 'proxmox' in img('convert', '-f', 'raw', '--for=nowhere', 'disk', 'y', code=1).stderr


main('convert-for')
