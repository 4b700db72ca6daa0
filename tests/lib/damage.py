# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged images: bytes of one that the reference made, changed."""
import pathlib
import struct

from cases import REFERENCE, IO, img, require, run


def made(fmt, size, *commands, options=''):
    """The bytes of an image of the reference after @commands of qemu-io."""
    require((REFERENCE / 'qemu-img').exists(), 'the reference is not installed')
    run(REFERENCE / 'qemu-img', 'create', '-q', '-f', fmt, *(['-o', options] if options else []), 'made', size)
    if commands:
        run(REFERENCE / 'qemu-io', '-f', fmt, *[w for c in commands for w in ('-c', c)], 'made')
    return pathlib.Path('made').read_bytes()


def changed(image, *edits, name='x'):
    """@edits: (offset, struct format, value), or an int: what is left of the file. Writes @name."""
    data = bytearray(image)
    for edit in edits:
        if isinstance(edit, int):
            del data[edit:]
        else:
            struct.pack_into(edit[1], data, edit[0], edit[2])
    pathlib.Path(name).write_bytes(data)
    return name


def refused(fmt, image, *edits, text=''):
    """No command opens it; nothing is written."""
    name = changed(image, *edits)
    before = pathlib.Path(name).read_bytes()
    for command in (('info',), ('check',), ('map',), ('convert', '-O', 'raw')):
        done = img(command[0], '-f', fmt, *command[1:], name, *(['out'] if command[0] == 'convert' else []), code=1)
        assert text in done.stderr and len(done.stderr.splitlines()) == 1, (edits, command, done.stderr)
    run(IO, '-f', fmt, '-c', 'write 0 512', name, code=1)
    assert pathlib.Path(name).read_bytes() == before and not pathlib.Path('out').exists(), edits


def unreadable(fmt, image, *edits, good='0 512', bad):
    """It opens; reads of @good succeed and of @bad fail."""
    name = changed(image, *edits)
    img('info', '-f', fmt, name)
    run(IO, '-r', '-f', fmt, '-c', f'read {good}', name)
    done = run(IO, '-r', '-f', fmt, '-c', f'read {bad}', name, code=1)
    assert 'Input/output error' in done.stdout + done.stderr, (edits, done)
