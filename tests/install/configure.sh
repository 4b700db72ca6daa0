# SPDX-License-Identifier: GPL-2.0-or-later
# configure: what a build folder remembers, and what is installed for which goal. The apt of these tests
# is a script that writes down what it is asked for.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
mkdir "$TMPDIR/build" "$TMPDIR/bin" && cd "$TMPDIR/build"
export PATH="$TMPDIR/bin:$PATH"
bad=0
result()
{
    if [ "$2" = 0 ]; then echo "ok configure/$1"; else echo "not ok configure/$1"; bad=1; fi
}
fake()
{
    printf '#!/bin/sh\n%s\n' "$2" >"$TMPDIR/bin/$1"
    chmod 755 "$TMPDIR/bin/$1"
}
make_quietly()
{
    env -u MAKEFLAGS -u MAKELEVEL -u CC -u CFLAGS -u LDFLAGS make -s "$@" >/dev/null
}

# A build folder remembers how it was configured when make has to configure it anew.
fake other-cc 'exec gcc "$@"'
CC=other-cc CFLAGS='-DFIRST=1 -DSECOND' LDFLAGS=-Wl,-O1 "$source/configure" --enable-werror --enable-debug >/dev/null
cp build/config.mk remembered
touch -d '2001-01-01' build/config.mk
make_quietly build/config.mk
[ build/config.mk -nt remembered ] && cmp remembered build/config.mk && grep -q -- -Werror remembered
result remembered $?

# Warnings of a compiler that is not ours stop nobody who only wants to build.
rm -r build
"$source/configure" >/dev/null
! grep -q -- -Werror build/config.mk
result warnings-do-not-stop-the-build $?

# Nothing but fio, nbdkit, debootstrap and lintian is missing, and lintian is not to be had.
fake dpkg-query 'for last; do :; done
case $last in debootstrap | fio | nbdkit | lintian) exit 1 ;; *) echo install ok installed ;; esac'
fake apt-cache 'case $2 in lintian) ;; *) echo "  Candidate: 1.0" ;; esac'
fake sudo '[ "$1" = -n ] && shift; exec "$@"'
asked_for()
{
    rm -f build/has-*.mk asked
    : >asked
    make_quietly -n "$1" 2>said || return 1
    asked=$(sed -n 's/.*--no-install-recommends //p' asked)
    [ "$asked" = "$2" ] || { echo "asked for: $asked"; return 1; }
}
fake apt-get "echo \"\$*\" >>$TMPDIR/build/asked"
for row in 'all:' 'demo:debootstrap' 'check:debootstrap nbdkit' 'check-slow:debootstrap nbdkit fio' \
    'bench:debootstrap nbdkit fio'; do
    code=0
    asked_for "${row%%:*}" "${row#*:}" || code=1
    result "installs-for/${row%%:*}" $code
done
grep -q 'no package lintian' said
result unknown-packages-are-named $?

# Once is enough.
: >asked
make_quietly -n check-slow && make_quietly -n demo && [ ! -s asked ]
result installs-once $?

# Without the network the tests run as far as they can.
fake apt-get "echo \"\$*\" >>$TMPDIR/build/asked; exit 100"
code=0
asked_for check 'debootstrap nbdkit' && grep -q 'going on without debootstrap nbdkit' said || code=1
result goes-on-without $code

# The way of the installation is shown, a line for a package.
fake apt-get 'echo "Need to get 1 MB of archives."; echo "Get:1 http://x nbdkit"; echo "Setting up nbdkit (1.0) ..."'
code=0
asked_for check '' && grep -q '^  Need to get 1 MB' said && grep -q '^  nbdkit$' said && ! grep -q http said || code=1
result shows-what-it-installs $code
exit $bad
