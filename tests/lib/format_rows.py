# SPDX-License-Identifier: GPL-2.0-or-later
"""What every image format has to answer as the reference does, as rows of a compat Table."""
import random
import sys

from compat import images

# Sizes and offsets of the disk that images are made with.
DISK = 5 << 20
SPACE = ['disk', 'actual', 'end', 'cid']


def writes(seed, count=12, disk=DISK):
    """Options of qemu-io: aligned and odd writes that may overlap."""
    draw = random.Random(seed)
    commands = []
    for i in range(count):
        unit = draw.choice((1, 512, 4096, 65536))
        at = draw.randrange(0, disk - 700000) // unit * unit
        commands.append(f"-c 'write -P {i + 1} {at} {draw.randrange(1, 640000 // unit + 2) * unit}'")
    return ' '.join(commands)


def add(t, fmt, creates=('',), bad_creates=(), sizes=('0', '1', '1000', '3m', '1G', '8E'), quick=False,
        is_probed=lambda options: True, compressed=True):
    """
    @creates, @bad_creates: values of -o. @quick: the first of each and less of all. @is_probed: are images made
    with these options recognised? Others are compared by their content only. @compressed: is "convert -c" as there?
    """
    for i, options in enumerate(creates[:1] if quick else creates):
        o = f'-o {options}' if options else ''
        setup = f'{fmt}{i}'
        t.setup(setup, f'''
            qemu-img create -q -f {fmt} {o} a.{fmt} {DISK}
            qemu-io -f {fmt} {writes(i)} a.{fmt} >/dev/null
            qemu-img create -q -f {fmt} {o} empty.{fmt} {DISK}
        ''', 'raw')
        for size in sizes[:2] if quick else sizes:
            t.row(f'{fmt}-create-{options}-{size}', f'qemu-img create -f {fmt} {o} x.{fmt} {size} && '
                  f'qemu-img info x.{fmt}', mask=SPACE, files=is_probed(options))
        t.row(f'{fmt}-write-{options}', f'qemu-io -f {fmt} {writes(i + 100)} a.{fmt} | grep -v ops', setup)
        t.row(f'{fmt}-write-empty-{options}', f'qemu-io -f {fmt} {writes(i + 200)} empty.{fmt} | grep -v ops', setup)
        t.row(f'{fmt}-convert-to-{options}', f'qemu-img convert -O {fmt} {o} r x.{fmt} && qemu-img info x.{fmt} && '
              f'qemu-img compare -f raw -F {fmt} r x.{fmt}', setup, mask=SPACE, files=is_probed(options))
        commands = [f'info --output=json a.{fmt}', f'check a.{fmt}', f'map --output=json a.{fmt}',
                    f'convert -O raw a.{fmt} out']
        if not quick:
            commands += [f'info a.{fmt}', f'info -f {fmt} a.{fmt}', f'check --output=json a.{fmt}',
                         f'check -q a.{fmt}', f'check empty.{fmt}', f'map a.{fmt}', f'map --output=json empty.{fmt}',
                         f'compare a.{fmt} empty.{fmt}',
                         f'dd -f {fmt} -O {fmt} bs=64k count=3 if=a.{fmt} of=out', f'snapshot -l a.{fmt}']
        for command in commands:
            t.row(f'{fmt}-{command}-{options}', f'qemu-img {command}', setup, mask=SPACE)
        if not quick:
            # Where what is copied lies in the file depends on which request comes first.
            t.row(f'{fmt}-convert-into-{options}', f'qemu-img convert -n -O {fmt} a.{fmt} empty.{fmt} && '
                  f'qemu-img compare a.{fmt} empty.{fmt}', setup, files=False)
    for options in bad_creates[:1] if quick else bad_creates:
        t.row(f'{fmt}-create-{options}', f'qemu-img create -f {fmt} -o {options} x.{fmt} 3m', files=False)
    t.setup(f'{fmt}-many', 'python3 -c "import random; open(\'many\', \'wb\').write(random.Random(1).randbytes(24 << 20))"')
    t.row(f'{fmt}-convert-by-many', f'qemu-img convert -f raw -m 16 -W -O {fmt} many out && '
          f'qemu-img compare -f raw -F {fmt} many out', f'{fmt}-many', files=False)
    t.row(f'{fmt}-create-help', f'qemu-img create -f {fmt} -o help', mask='help')
    for command in (f'resize a.{fmt} 10M', f'snapshot -c s a.{fmt}', f'measure -O {fmt} r'):
        t.row(f'{fmt}-{command}', f'qemu-img {command}', f'{fmt}0', mask=SPACE)
    if quick:
        return
    for command in (f'resize --shrink a.{fmt} 1M', f'resize --preallocation=full a.{fmt} 10M',
                    f'snapshot -a s a.{fmt}', f'snapshot -d s a.{fmt}', f'amend -f {fmt} -o size=20M a.{fmt}',
                    f'measure -O {fmt} --size 10M', f'commit a.{fmt}', f'bitmap --add a.{fmt} b',
                    *([f'convert -c -O {fmt} r out'] if compressed else []),
                    f'convert -O {fmt} -o preallocation=full r out',
                    f'rebase -u -b "" a.{fmt}', f'create -f {fmt} -b a.{fmt} -F {fmt} out',
                    f'create -f {fmt} -o nosuch=1 out 1M', f'bench -c 20 -f {fmt} a.{fmt} | grep -v Run'):
        t.row(f'{fmt}-{command}', f'qemu-img {command}', f'{fmt}0', mask=SPACE)


def main(t, *args, **settings):
    """The whole of a test of one format, all of it in a file named *.slow.py."""
    if 'raw' not in t.setups:
        images(t)
    add(t, *args, quick='.slow.' not in sys.argv[0], **settings)
    t.main()
