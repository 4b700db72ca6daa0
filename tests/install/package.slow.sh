# SPDX-License-Identifier: GPL-2.0-or-later
# "make deb" makes a package that says what it needs and whose programs run when it is unpacked.
set -eu
command -v dpkg-deb >/dev/null || { echo 'dpkg-deb is not installed'; exit 77; }
deb=$(env -u MAKEFLAGS -u MAKELEVEL make -s -C "$(dirname "$FERRY_BUILD")" deb)
[ -f "$deb" ]
dpkg-deb -f "$deb" Depends | grep -q libglib2.0-0
dpkg-deb -x "$deb" "$TMPDIR/root"
[ "$(stat -c %a "$TMPDIR/root")" = 755 ]
"$TMPDIR/root/usr/bin/ferry-qemu-img" create -q -f luks --object secret,id=s,data=x \
    -o key-secret=s,iter-time=10 "$TMPDIR/l" 1M
"$TMPDIR/root/usr/bin/ferry-qemu-io" -f raw -c 'read 0 512' "$TMPDIR/l"
