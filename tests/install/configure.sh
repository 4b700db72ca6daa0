# SPDX-License-Identifier: GPL-2.0-or-later
# A build folder remembers how it was configured when make has to configure it anew.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
mkdir "$TMPDIR/build" && cd "$TMPDIR/build"
CC=clang CFLAGS='-DFIRST=1 -DSECOND' LDFLAGS=-Wl,-O1 "$source/configure" --disable-werror --enable-debug >/dev/null
cp build/config.mk remembered
touch -d '2001-01-01' build/config.mk
env -u MAKEFLAGS -u MAKELEVEL -u CC -u CFLAGS -u LDFLAGS make -s build/config.mk >/dev/null
if [ build/config.mk -nt remembered ] && cmp remembered build/config.mk; then
    echo 'ok configure/remembered'
else
    echo 'not ok configure/remembered'
    exit 1
fi
