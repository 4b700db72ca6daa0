# SPDX-License-Identifier: GPL-2.0-or-later
"""How this run of the tests differs from a plain one: who watches the programs, and which loop."""
import os

# Who watches them: address, thread or valgrind (see tests/run). Everything takes longer then.
WATCHED = os.environ.get('FERRY_WATCHED', '')
SLOWER = int(os.environ.get('FERRY_SLOWER', 10 if WATCHED else 1))
# Slow tests do an N-th of what they repeat with other random numbers.
SHARE = int(os.environ.get('FERRY_SHARE', 1))
# Other watchers have to come before all libraries.
PRELOADABLE = WATCHED in ('', 'address')
# io_uring: the loop may have been told to do without, and valgrind cannot follow it.
HAS_RINGS = os.environ.get('FERRY_LOOP') != 'epoll' and WATCHED != 'valgrind'
# Whether a program catches a signal: valgrind catches every one in its place.
SIGNALS_SEEN = WATCHED != 'valgrind'


def asan(options):
    """An environment in which the address sanitizer has these @options too."""
    return {'ASAN_OPTIONS': f'{os.environ.get("ASAN_OPTIONS", "")}:{options}'}


# A report in a file of its own is opened late, which no sandbox lets it.
SANDBOXED = asan('log_path=stderr')
# The leak checker cannot work while somebody traces the program.
TRACED = asan('detect_leaks=0')
# For a program that is told to abort: that is no finding.
MAY_ABORT = asan('handle_abort=0')
