# SPDX-License-Identifier: GPL-2.0-or-later
# What "make demo" runs, on a small image: it ends well, leaves no server behind, not even when it is
# stopped, and what it prints behind a $ can be pasted.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$TMPDIR/build
mkdir -p "$build/demo"
for name in qemu-img qemu-io qemu-nbd qemu-storage-daemon modules; do ln -s "$FERRY_BUILD/$name" "$build/$name"; done
head -c 4M /dev/urandom >"$build/demo/debian.raw"
truncate -s 16M "$build/demo/debian.raw"
export FERRY_BUILD="$build"
# Under valgrind nobody waits for races.
[ "${FERRY_WATCHED:-}" != valgrind ] || export FERRY_REFERENCE="$TMPDIR/none"
bad=0
result()
{
    if [ "$2" = 0 ]; then echo "ok demo/$1"; else echo "not ok demo/$1"; cat "$TMPDIR/said"; bad=1; fi
}
# Servers whose command line has the folder of this test.
servers() { pgrep -f -- "-k $build/demo/nbd.sock|qemu-storage-daemon --pidfile server.pid" || true; }

code=0
bash "$source/scripts/demo" >"$TMPDIR/said" 2>&1 || code=1
[ "$(grep -c '^Images are identical' "$TMPDIR/said")" = 3 ] || code=1
[ -z "$(servers)" ] && [ ! -e "$build/demo/server.pid" ] || code=1
[ ! -x "$FERRY_REFERENCE/qemu-img" ] || grep -q 'compressed qcow2 to raw *[0-9.]* s *[0-9.]* s *[0-9.]*$' "$TMPDIR/said" || code=1
result ends-well $code

sed -n 's/^\$ //p' "$TMPDIR/said" >"$TMPDIR/pasted"
rm -r "$build"/demo/*.qcow2 "$build"/demo/keys
code=0
grep -q '^cd ' "$TMPDIR/pasted" && bash -e "$TMPDIR/pasted" >"$TMPDIR/said" 2>&1 || code=1
result can-be-pasted $code

code=0
rm -f "$build/demo/server.pid"
setsid bash "$source/scripts/demo" >"$TMPDIR/said" 2>&1 &
demo=$!
for _ in $(seq 600); do [ -s "$build/demo/server.pid" ] && break; sleep 0.05; done
[ -n "$(servers)" ] || code=1
kill -TERM $demo
wait $demo && code=1
[ -z "$(servers)" ] || code=1
result stops-its-server-when-stopped $code
exit $bad
