#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""blkdebug, beside the reference: rules, states, configuration files, limits, breakpoints."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import IoTable

t = IoTable('filter-blkdebug')
RAW = 'driver=raw,file.driver=blkdebug,file.image.filename=a.img'
ALL = ('read 0 512', 'write 0 512', 'read 0 512', 'flush', 'discard 0 4k', 'write -z 0 4k', 'map')


def rules(name, opts, *commands, more='', **kw):
    """Runs @commands with options @opts of the blkdebug below raw."""
    opts = ','.join(f'file.{o}' for o in opts.split(',')) if opts else ''
    t.io(name, *commands, opts=f'{more} --image-opts', image=f'{RAW},{opts}'.rstrip(','), **kw)


def error(name, members, *commands, others='', **kw):
    """The same with one inject-error rule of @members, and @others as they are."""
    # A flush that failed is reported at the end by us, and passed over by the reference.
    kw.setdefault('stderr', 'any')
    opts = ','.join(f'inject-error.0.{m}' for m in members.split(','))
    rules(f'error/{name}', f'{opts},{others}'.rstrip(','), *commands, **kw)


# ---- which requests fail -----------------------------------------------------------------------

error('stays-until-the-next', 'event=read_aio', *ALL)
error('of-one-iotype', 'event=read_aio,iotype=write', *ALL)
error('once', 'event=read_aio,once=on', 'read 0 512', 'read 0 512')
error('once-immediately', 'event=read_aio,once=on,immediately=on', 'read 0 512', 'read 0 512')
error('errno', 'event=read_aio,errno=28', 'read 0 512', 'read 0 512')
error('errno-zero', 'event=read_aio,errno=0', 'read 0 512')
error('errno-unknown', 'event=read_aio,errno=12345', 'read 0 512')
error('errno-negative', 'event=read_aio,errno=-5', 'read 0 512')
error('none', 'event=none', *ALL, 'length', 'truncate 2M')
error('none-once', 'event=none,once=on', *ALL)
for io in 'read', 'write', 'write-zeroes', 'discard', 'flush', 'block-status':
    error(f'none-{io}', f'event=none,iotype={io}', *ALL, more='-t writeback -d unmap')
    error(f'none-{io}-writethrough', f'event=none,iotype={io}', 'write 0 1', 'flush', 'read 0 1')
error('sector', 'event=read_aio,sector=2', 'read 0 512', 'read 512 1k', 'read 1024 1',
      'write 1024 1', 'read 1536 10', 'flush')
error('sector-is-its-first-byte', 'event=none,sector=1', 'write 1023 1', 'write 511 1',
      'write 1024 1', 'read 1000 100', 'read 512 1')
error('sector-widened', 'event=none,sector=1', 'write 1023 1', 'write 511 1', 'write 1024 1',
      'read 1000 100', others='align=512')
error('sector-anywhere', 'event=none,sector=-1', 'read 0 512')
error('sector-nowhere', 'event=none,sector=-2', 'read 0 512')
error('sector-of-flush', 'event=none,iotype=flush,sector=0', 'write 0 1', 'flush')
error('first-of-two', 'event=read_aio,errno=5', 'read 0 1',
      others='inject-error.1.event=read_aio,inject-error.1.errno=28')
error('second-once', 'event=read_aio,errno=5', 'read 0 1', 'read 0 1',
      others='inject-error.1.event=read_aio,inject-error.1.errno=28,inject-error.1.once=on')
error('replaced', 'event=read_aio', 'read 0 1', 'write 0 1', 'read 0 1',
      others='inject-error.1.event=write_aio,inject-error.1.iotype=read')
error('not-replaced-in-another-state', 'event=read_aio', 'read 0 1', 'write 0 1',
      others='inject-error.1.event=write_aio,inject-error.1.iotype=read,inject-error.1.state=4')
error('not-replaced-by-a-state', 'event=read_aio', 'read 0 1', 'write 0 1', 'read 0 1',
      others='set-state.0.event=write_aio,set-state.0.new_state=2')
# A read before a write that fails only once is where the two part: the reference then writes
# zeroes around the data.
LOSES_DATA = 'pwritev_rmw_head', 'pwritev_rmw_tail', 'write_aio'
for event in ('flush_to_os', 'flush_to_disk', 'pwritev', 'pwritev_zero', 'pwritev_done',
              'pwritev_rmw_head', 'pwritev_rmw_after_head', 'pwritev_rmw_tail',
              'pwritev_rmw_after_tail', 'read_aio', 'write_aio', 'cor_write'):
    error(f'at-{event}', f'event={event}', 'write -P 1 0 1k', 'flush', 'read 0 1',
          'write -P 2 100 100', 'flush', 'write -P 3 700 2k', 'write -z 5000 5000', 'read 0 1',
          'write -z 64k 4k', 'flush', 'read 0 10', others='align=512')
    if event in LOSES_DATA:
        continue
    error(f'once-at-{event}', f'event={event},once=on', 'write -P 1 0 1k', 'flush', 'read 0 1',
          'write -P 2 100 100', 'write -P 3 700 2k', 'write -z 5000 5000', 'read 0 1',
          'write -z 64k 4k', 'flush', 'read 0 10', others='align=4096', more='-t writeback')

# ---- states ------------------------------------------------------------------------------------

error('state-zero', 'event=pwritev,state=0', 'read 0 512', 'write 0 512')
error('second-write', 'event=pwritev,state=2', 'write 0 512', 'write 0 512',
      others='set-state.0.event=pwritev,set-state.0.new_state=2')
error('second-write-only', 'event=pwritev,state=2', 'write 0 1', 'write 0 1', 'write 0 1',
      others='set-state.0.event=pwritev,set-state.0.new_state=2,'
             'set-state.1.event=pwritev,set-state.1.new_state=3,set-state.1.state=2')
rules('state/first-rule-wins', 'set-state.0.event=pwritev,set-state.0.new_state=3,'
      'set-state.1.event=pwritev,set-state.1.new_state=2,'
      'inject-error.0.event=read_aio,inject-error.0.state=2', 'write 0 1', 'read 0 1')
rules('state/first-by-number', 'set-state.1.event=pwritev,set-state.1.new_state=3,'
      'set-state.0.event=pwritev,set-state.0.new_state=2,'
      'inject-error.0.event=read_aio,inject-error.0.state=2', 'write 0 1', 'read 0 1')

# ---- configuration files -----------------------------------------------------------------------

CONFIGS = {
    'plain': '[inject-error]\nevent = "read_aio"\n',
    'indented': '[inject-error]\n event = "read_aio" \n',
    'no-last-newline': '[inject-error]\nevent = "read_aio"',
    'dos': '[inject-error]\r\nevent = "read_aio"\r\n',
    'named': '# comment\n\n[inject-error "x"]\nevent = "read_aio"\n[inject-error "y"]\n'
             'event = "write_aio"\nerrno = "28"\n',
    'same-name-twice': '[inject-error "x"]\nevent = "read_aio"\n[inject-error "x"]\n'
                       'event = "write_aio"\n',
    'all-options': '[inject-error]\nevent = "read_aio"\nonce = "on"\nimmediately = "off"\n'
                   'iotype = "read"\nsector = "0"\nerrno = "7"\nstate = "1"\n',
    'hexadecimal': '[inject-error]\nevent = "read_aio"\nerrno = "0x5"\n',
    'states': '[inject-error]\nevent = "write_aio"\nstate = "2"\n[set-state]\n'
              'event = "read_aio"\nnew_state = "2"\nstate = "1"\n',
    'value-twice': '[inject-error]\nevent = "read_aio"\nevent = "write_aio"\n',
    'empty': '',
    'only-comments': '# a\n\n#b\n',
    'no-event': '[inject-error]\nerrno = "5"\n',
    'no-new-state': '[set-state]\nevent = "read_aio"\n',
    'unknown-event': '[inject-error]\nevent = "nosuch"\n',
    'event-in-capitals': '[inject-error]\nevent = "READ_AIO"\n',
    'unknown-iotype': '[inject-error]\nevent = "read_aio"\niotype = "bogus"\n',
    'unknown-option': '[inject-error]\nevent = "read_aio"\nbogus = "1"\n',
    'option-of-the-other': '[set-state]\nevent = "read_aio"\nnew_state = "2"\nerrno = "1"\n',
    'unknown-section': '[bogus]\nevent = "read_aio"\n',
    'limits': '[options]\nalign = "512"\n',
    'spaced-section': '[ inject-error ]\nevent = "read_aio"\n',
    'open-section': '[inject-error\nevent = "read_aio"\n',
    'no-section': 'event = "read_aio"\n',
    'garbage': 'garbage\n',
    'bad-number': '[inject-error]\nevent = "read_aio"\nerrno = "5x"\n',
    'bad-switch': '[inject-error]\nevent = "read_aio"\nonce = "maybe"\n',
}
for name, text in CONFIGS.items():
    t.row(f'config/{name}', f"printf %b {text!r} > c\n"
          "qemu-io -f raw -c 'read 0 1' -c 'write 0 1' -c 'read 512 512' blkdebug:c:a.img", 'raw',
          mask='speed', stderr='any')
t.row('config/with-options', "printf '[inject-error]\\nevent = \"read_aio\"\\n' > c\nqemu-io -c "
      f"'read 0 1' -c 'write 0 1' --image-opts {RAW},file.config=c,"
      "file.inject-error.0.event=write_aio,file.inject-error.0.errno=28", 'raw', mask='speed', stderr='any')
for name, file in {'none': 'blkdebug::a.img', 'missing': 'blkdebug:nosuch:a.img',
                   'one-colon': 'blkdebug:a.img', 'no-image': 'blkdebug::',
                   'missing-image': 'blkdebug::nosuch', 'of-blkdebug': 'blkdebug::blkdebug::a.img',
                   'folder': 'blkdebug:.:a.img', 'null': 'blkdebug:/dev/null:a.img',
                   'unknown-protocol': 'blkdebug::x:a.img'}.items():
    t.io(f'name/{name}', 'length', image=file)

# ---- limits ------------------------------------------------------------------------------------

for name, opts in {
        'align-0': 'align=0', 'align-1': 'align=1', 'align-3': 'align=3',         'align-1g': 'align=1G', 'align-2g': 'align=2G', 'align-text': 'align=x',
        'align-negative': 'align=-1', 'transfer-below-align': 'align=64k,max-transfer=1k',
        'transfer-odd': 'align=512,max-transfer=1000', 'transfer': 'max-transfer=1000',
        'transfer-large': 'max-transfer=2G', 'zero': 'opt-write-zero=1000',
        'zero-odd': 'opt-write-zero=3000,align=1', 'zero-below': 'align=4096,opt-write-zero=1024',
        'zero-large': 'opt-write-zero=4G', 'max-zero': 'max-write-zero=1000',
        'max-zero-odd': 'max-write-zero=1000,align=512',
        'max-zero-below': 'opt-write-zero=4096,max-write-zero=1024',
        'max-zero-above': 'opt-write-zero=4096,max-write-zero=8192', 'discard': 'opt-discard=1000',
        'discard-odd': 'opt-discard=1000,align=512',
        'max-discard-odd': 'max-discard=1000,opt-discard=512', 'max-discard': 'max-discard=4G',
        'take-unknown': 'take-child-perms.0=bogus'}.items():
    t.io(f'limit/{name}', 'write 1000 3000', 'write -z 4096 12k', 'discard 4096 12k',
         'write -z 100 10', 'write -P 5 10 70k', 'read -P 5 10 70k', opts='--image-opts -d unmap',
         image=f'driver=blkdebug,image.filename=a.img,{opts}')
for s in 0, 1, 2, 8, 10, 16:
    for io, limit in (('write-zeroes', 'opt-write-zero=4096'), ('write', 'opt-write-zero=4096'),
                      ('write-zeroes', 'max-write-zero=4096'), ('discard', 'opt-discard=4096'),
                      ('write', 'max-transfer=512')):
        error(f'limited/{io}-{limit}-{s}', f'event=none,iotype={io},sector={s}', 'write -z 512 8k',
              'discard 512 8k', 'write 512 2k', 'write -z 4k 3k', others=limit, more='-d unmap')
t.io('limit/odd-end', 'write 1000 24', 'read 900 124', opts='--image-opts', setup='odd',
     image='driver=blkdebug,image.filename=odd,align=4096')
t.io('limit/odd-end-read', 'read 900 124', opts='-r --image-opts', setup='odd',
     image='driver=blkdebug,image.filename=odd,align=4096')
t.setup('odd', 'truncate -s 1000 odd')

# ---- breakpoints -------------------------------------------------------------------------------

BREAKS = {
    'one': ['break pwritev A', 'aio_write 0 1', 'wait_break A', 'aio_write 0 512', 'resume A',
            'aio_flush'],
    'two-at-once': ['break pwritev A', 'break pwritev B', 'aio_write 0 1', 'wait_break A',
                    'resume B', 'resume A', 'resume B', 'aio_flush'],
    'unknown-event': ['break nosuch A'],
    'unknown-tag': ['resume A', 'remove_break A'],
    'removed': ['break pwritev A', 'remove_break A', 'write 0 1'],
    'removed-while-held': ['break pwritev A', 'aio_write 0 1', 'wait_break A', 'remove_break A',
                           'aio_flush'],
    'holds-one': ['break pwritev A', 'aio_write 0 1', 'wait_break A', 'aio_write 1024 1',
                  'sleep 100', 'resume A', 'aio_flush'],
    'none': ['break none A', 'read 0 1'],
    'done': ['break pwritev_done A', 'aio_write 0 1', 'wait_break A', 'resume A', 'aio_flush'],
    'rmw': ['break pwritev_rmw_head A', 'break pwritev_rmw_after_head B',
            'break pwritev_rmw_tail C', 'break pwritev_rmw_after_tail D', 'aio_write 1 1k',
            'wait_break A', 'resume A', 'wait_break B', 'resume B', 'wait_break C', 'resume C',
            'wait_break D', 'resume D', 'aio_flush'],
    'zero': ['break pwritev_zero A', 'aio_write -z 1 1k', 'wait_break A', 'resume A', 'aio_flush'],
}
for name, commands in BREAKS.items():
    rules(f'break/{name}', 'align=512', *commands)
t.io('break/nobody-to-break', 'break pwritev A', 'resume A', 'remove_break A')
t.io('break/below-a-filter', 'break pwritev A', 'aio_write 0 1', 'wait_break A', 'resume A',
     'aio_flush', opts='--object throttle-group,id=t --image-opts',
     image='driver=throttle,throttle-group=t,file.driver=blkdebug,file.image.filename=a.img')

# ---- events of qcow2 ---------------------------------------------------------------------------

t.setup('empty', 'qemu-img create -q -f qcow2 e.qcow2 4M')
for event in 'cluster_alloc', 'cluster_alloc_space', 'pwritev_zero':
    for name, command in (('whole', 'write 0 64k'), ('part', 'write 10 100'),
                          ('zero', 'write -z 0 64k'), ('part-zero', 'write -z 100 1000')):
        t.io(f'qcow2/{event}/{name}', command, 'write 1M 512', 'flush', opts='--image-opts', setup='empty',
             image='driver=qcow2,file.driver=blkdebug,file.image.filename=e.qcow2,'
                   f'file.inject-error.0.event={event},file.inject-error.0.once=on')

# ---- memory of caches --------------------------------------------------------------------------

t.setup('l2', 'qemu-img create -q -f qcow2 l2.qcow2 1M; qemu-io -c "write 0 64k" l2.qcow2 >/dev/null')
t.io('cache-clean-interval/too-long', 'read 0 4k', opts='--image-opts', setup='l2',
     image='driver=qcow2,cache-clean-interval=4294967296,file.filename=l2.qcow2')

t.main()
