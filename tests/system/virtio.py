#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtio devices with a driver that does what it should, and everything that it should not."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, img, main
from guests import all_ok, run_guest

DISK = ('-device', 'virtio-blk-device,drive=d,serial=Ferry')


@case
def a_driver_does_no_harm_whatever_it_says():
    img('create', '-q', '-f', 'qcow2', 'd.qcow2', '1M')
    all_ok(run_guest('virtio', '-m', '64', '-drive', 'if=none,id=d,file=d.qcow2,format=qcow2', *DISK), 50)
    img('check', '-q', 'd.qcow2')


@case
def a_node_of_the_block_layer_is_a_disk():
    img('create', '-q', 'd.raw', '1M')
    all_ok(run_guest('virtio', '-m', '64', '-blockdev', 'file,filename=d.raw,node-name=d', *DISK), 50)


main('virtio', 'system')
