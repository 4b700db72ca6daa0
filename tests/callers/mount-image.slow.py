#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""mount-image-callback of cloud-image-utils, which mounts images by qemu-nbd -c, in an emulated machine."""
import os
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import emulated_host

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
TIMEOUT = 900
MODULES = {'nbd': 'max_part=8', 'crc32c_generic': '', 'ext4': ''}      # ext4 asks for crc32c
SCRIPT = r'''
PATH=BUILD:$PATH
cd /tmp
mkdir root && echo before >root/hello
mke2fs -q -t ext4 -d root fs.raw 32M
qemu-img convert -f raw -O qcow2 fs.raw disk.qcow2
mount-image-callback disk.qcow2 -- sh -c 'cat "$MOUNTPOINT/hello"; echo after >"$MOUNTPOINT/hello"'; echo write $?
mount-image-callback --read-only disk.qcow2 -- sh -c 'cat "$MOUNTPOINT/hello"'; echo read $?
for i in $(seq 100); do pgrep -x qemu-nbd >/dev/null || break; sleep 0.1; done
pgrep -x qemu-nbd >/dev/null; echo left $?
qemu-img check -q disk.qcow2; echo check $?
'''
WANTED = ['before', 'write 0', 'after', 'read 0', 'left 1', 'check 0']


def main():
    if not shutil.which('mount-image-callback'):
        emulated_host.skip('mount-image-callback is not installed')
    code, output = emulated_host.run(SCRIPT.replace('BUILD', str(BUILD)), MODULES, TIMEOUT)
    seen = re.findall(r'^(?:before|after|(?:write|read|left|check) \d+)$', output, re.M)
    if seen == WANTED:
        print('ok callers/mount-image-callback')
    else:
        print(f'not ok callers/mount-image-callback {seen}, exit code {code}\n{output}')


main()
