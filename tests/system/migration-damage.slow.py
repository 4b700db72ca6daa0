#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ten thousand changed streams: each is refused with a reason, or loaded; nothing crashes or hangs."""
import os
import pathlib
import random
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main
from emulator import MACHINE, wait_for
from guests import EMULATOR, build
from migrating import TOOL, Mover
from this_run import SHARE, SLOWER

CHANGES = int(os.environ.get('FERRY_CHANGES', 10000 // SHARE))
DEVICES = ('-m', '8', '-smp', '2', '-blockdev', 'null-co,node-name=d', '-device',
           'virtio-blk-device,drive=d', '-device', 'virtio-rng-device')
COMMANDS = b'{"execute":"qmp_capabilities"}\n{"execute":"query-status"}\n'


def changed(data, devices, r):
    """@data with bytes changed, doubled, left out or cut, mostly where devices are."""
    out = bytearray(data)
    for _ in range(r.randrange(1, 5)):
        at = r.randrange(devices, len(out)) if r.randrange(4) else r.randrange(len(out))
        kind = r.randrange(8)
        if kind < 4:
            out[at] = r.randrange(256)
        elif kind == 4:
            out[at] ^= 1 << r.randrange(8)
        elif kind == 5:
            out[at:at + 8] = r.choice((bytes(8), b'\xff' * 8, b'\x7f' + b'\xff' * 7))[:len(out) - at]
        elif kind == 6:
            length = r.randrange(1, 64)
            out[at:at] = out[at:at + length]
        else:
            del out[at:at + r.randrange(1, 64)]
    return out[:r.randrange(len(out))] if r.randrange(20) == 0 else out


@case
def every_change_is_refused_or_survived():
    options = ('-m', '8', '-smp', '2', *DEVICES[4:], '-kernel', build('end'), '-append', 'ticks')
    with Mover('source', *options) as a:
        wait_for(lambda: 'tick' in a.printed.read_text())
        a.answer('stop')
        a.migrate('file:saved')
    data = pathlib.Path('saved').read_bytes()
    listed = subprocess.run([TOOL, 'inspect', 'saved'], stdout=subprocess.PIPE, text=True, check=True)
    devices = int(re.search(r'timer/0 .* at (\d+)', listed.stdout)[1])
    end = data.index(b'\0\x06', len(data) - 60000)
    r = random.Random(7)
    refused = loaded = 0
    for i in range(CHANGES):
        pathlib.Path('changed').write_bytes(changed(data[:end + 1], devices, r))
        p = subprocess.Popen([EMULATOR, *MACHINE, *DEVICES, '-serial', 'null', '-incoming', 'file:changed', '-S'],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            said, why = p.communicate(COMMANDS + b'{"execute":"query-migrate"}\n{"execute":"quit"}\n',
                                      timeout=30 * SLOWER)
        except subprocess.TimeoutExpired:
            p.kill()
            raise AssertionError(f'change {i} hangs') from None
        assert p.returncode in (0, 1), (i, p.returncode, why)
        if p.returncode == 1:
            assert b'load of migration failed: ' in why, (i, why)
        refused += p.returncode
        loaded += b'"completed"' in said
    print(f'# {refused} refused, {loaded} loaded, of {CHANGES}')
    assert refused > CHANGES / 4 and loaded > CHANGES / 50, (refused, loaded)


main('migration-damage', 'system')
