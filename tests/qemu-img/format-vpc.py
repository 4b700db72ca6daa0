#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VHD images that are damaged, cut off, or of a kind that is not read."""
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, case, img, io, main, run
from damage import changed, made, refused, unreadable

MIB = 1 << 20
HEADER_OFF, CREATOR, SIZE, GEOMETRY, KIND, CHECKSUM = 0x10, 0x1c, 0x30, 0x38, 0x3c, 0x40
COOKIE, TABLE_OFF, ENTRIES, BLOCK, TABLE = 0x200, 0x210, 0x21c, 0x220, 0x600


def image(options='force_size=on'):
    return made('vpc', '10M', 'write -P 1 2M 4k', 'write -P 2 5000 100', options=options)


def footers(image, *edits, at=(0, -512)):
    """@image with @edits in its footers, whose checksums are right again."""
    data = bytearray(image)
    for start in at:
        footer = bytearray(data[start:][:512])
        for edit in edits:
            struct.pack_into(edit[1], footer, *edit[::2])
        footer[CHECKSUM:CHECKSUM + 4] = bytes(4)
        struct.pack_into('>I', footer, CHECKSUM, ~sum(footer) & 0xffffffff)
        start %= len(data)
        data[start:start + 512] = footer
    return bytes(data)


@case
def footers_out_of_range():
    good = image()
    for edits in ([(HEADER_OFF, '>Q', 1024)], [(HEADER_OFF, '>Q', 1 << 60)], [(HEADER_OFF, '>Q', (1 << 64) - 1)],
                  [(SIZE, '>Q', 1 << 63)], [(SIZE, '>Q', (1 << 64) - 1)], [(SIZE, '>Q', 12 * MIB)],
                  [(KIND, '>I', 0)], [(KIND, '>I', 9)], [(KIND, '>I', 2), (SIZE, '>Q', 1 << 40)]):
        refused('vpc', footers(good, *edits))


@case
def headers_out_of_range():
    good = image()
    for edits in ([(COOKIE, '>I', 0)], [(TABLE_OFF, '>Q', 1 << 63)], [(TABLE_OFF, '>Q', (1 << 64) - 4)],
                  [(TABLE_OFF, '>Q', 0)], [(ENTRIES, '>I', 4)], [(ENTRIES, '>I', 0)], [(ENTRIES, '>I', 0xffffffff)],
                  [(BLOCK, '>I', 0)], [(BLOCK, '>I', 256)], [(BLOCK, '>I', 3 << 19)], [(BLOCK, '>I', MIB)]):
        refused('vpc', good, *edits)
    for length in (0x300, 511, 100):
        refused('vpc', good, length)


@case
def a_table_larger_than_the_file_takes_no_memory():
    refused('vpc', footers(image(), (SIZE, '>Q', 1 << 40)), (ENTRIES, '>I', 0x10000000), text='not inside')


@case
def blocks_in_the_metadata_cannot_be_read():
    for bad in (0, 1, 3):
        unreadable('vpc', image(), (TABLE, '>I', bad), good='2M 512', bad='0 512')
        run(IO, '-f', 'vpc', '-c', 'write 0 512', 'x', code=1)
        img('info', 'x')


@case
def blocks_past_the_end_cannot_be_read():
    unreadable('vpc', image(), (TABLE, '>I', 0xfffffffe), good='2M 512', bad='0 512')
    run(IO, '-f', 'vpc', '-c', 'write 6M 512', 'x', code=1)


@case
def a_file_that_was_cut_off():
    changed(image(), 2 * MIB + 4096)
    done = img('convert', '-O', 'raw', 'x', 'out', code=1)
    assert 'ends' in done.stderr or 'lacks' in done.stderr, done.stderr
    run(IO, '-f', 'vpc', '-c', 'write 6M 512', 'x', code=1)


@case
def either_footer_will_do():
    good = image()
    for edit in ((0, '>Q', 0), (CHECKSUM, '>I', 0), (len(good) - 512, '>Q', 0)):
        changed(good, edit)
        run(IO, '-f', 'vpc', '-c', 'read -P 1 2M 4k', '-c', 'write -P 3 6M 64k', 'x')
        run(IO, '-f', 'vpc', '-c', 'read -P 3 6M 64k', '-c', 'read -P 2 5000 100', 'x')
    refused('vpc', good, (0, '>Q', 0), (len(good) - 512, '>Q', 0))


@case
def a_bitmap_that_denies_its_sectors_is_filled_by_writing():
    good = image()
    bitmap = struct.unpack_from('>I', good, TABLE + 4)[0] * 512
    changed(good, (bitmap, '512s', bytes(512)))
    run(IO, '-f', 'vpc', '-c', 'write -P 5 2M 512', 'x')
    assert pathlib.Path('x').read_bytes()[bitmap:bitmap + 512] == b'\xff' * 512


@case
def a_fixed_image_without_a_disk():
    """The reference makes it and cannot open it."""
    img('create', '-f', 'vpc', '-o', 'subformat=fixed', 'x', '0')
    assert '"virtual-size": 0,' in img('info', '--output=json', 'x').stdout


@case
def fixed_images_grow_no_disk():
    good = image('subformat=fixed,force_size=on')
    refused('vpc', footers(good, (SIZE, '>Q', 10 * MIB + 512), at=(-512,)))
    refused('vpc', good + b'x')
    refused('vpc', good, 10 * MIB)


@case
def many_writers_of_new_blocks():
    """While one waits for its bitmap to be written, others look where its block is."""
    img('create', '-q', '-f', 'raw', 'r', '16M')
    io('r', 'write -P 7 0 16M')
    img('create', '-q', '-f', 'vpc', '-o', 'force_size=on', 'x', '16M')
    img('convert', '-n', '-W', '-m', '16', '-f', 'raw', 'r', '--target-image-opts',
        'driver=vpc,file.driver=blkdebug,file.image.driver=file,file.image.filename=x,file.inject-error.0.event=none,'
        'file.inject-error.0.iotype=write,file.inject-error.0.errno=0,file.inject-error.0.delay-ns=10000000')
    img('compare', 'r', 'x')


main('format-vpc')
