# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of compatibility tables whose command finds an NBD server at the socket "s"."""
SOCKET = 'nbd+unix:///?socket=s'
# What starts each; the reference's server has the paths of our build in front of it.
SERVERS = {
    'nbdkit': 'nbdkit -U s -P pid {0} || exit 99; while [ ! -s pid ]; do sleep 0.01; done',
    'qemu': '"${{FERRY_REFERENCE:-/usr/bin}}"/qemu-nbd -t -e 8 -k "$PWD/s" --fork --pid-file=pid {0}',
}
# The server ends with the row's shell; nbdkit has nothing to write back.
ENDS = {
    'nbdkit': 'kill -9 $(cat pid) 2>/dev/null',
    'qemu': 'kill $(cat pid) 2>/dev/null; while kill -0 $(cat pid) 2>/dev/null; do sleep 0.01; done',
}


def ending(server):
    return f"trap '{ENDS[server]}; rm -f pid s' EXIT\n"


def row(table, name, server, arguments, command, setup='raw', **how):
    """Adds a row to @table: @command with @server running on @arguments."""
    table.row(name, f'{ending(server)}{SERVERS[server].format(arguments)}\n{command}', setup, **how)
