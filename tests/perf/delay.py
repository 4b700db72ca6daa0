#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A long way: relays connections to a Unix socket, and what is sent arrives later.

usage: delay.py LISTEN TARGET MILLISECONDS WINDOW

MILLISECONDS is there and back again. As with TCP, at most WINDOW bytes of each direction of a connection
are on their way or not yet known to have arrived.
"""
import asyncio
import sys


async def pump(reader, writer, one_way, window):
    """Copies one direction until it ends."""
    loop = asyncio.get_running_loop()
    room, changed = window, asyncio.Event()

    def acknowledge(n):
        nonlocal room
        room += n
        changed.set()

    while True:
        while not room:
            changed.clear()
            await changed.wait()
        data = await reader.read(min(room, 65536))
        if not data:
            break
        room -= len(data)
        loop.call_later(one_way, writer.write, data)
        loop.call_later(2 * one_way, acknowledge, len(data))
    loop.call_later(one_way, writer.close)


async def main():
    listen, target, milliseconds, window = sys.argv[1:]
    one_way = float(milliseconds) / 2000

    async def relay(reader, writer):
        far_reader, far_writer = await asyncio.open_unix_connection(target)
        await asyncio.gather(pump(reader, far_writer, one_way, int(window)),
                             pump(far_reader, writer, one_way, int(window)))

    async with await asyncio.start_unix_server(relay, listen) as server:
        await server.serve_forever()


asyncio.run(main())
