# SPDX-License-Identifier: GPL-2.0-or-later
# The Debian packages: lintian finds nothing in them, the same source gives the same bytes wherever it
# lies and without git, and ferry-qemu-utils takes the place of qemu-utils and gives it back.
set -eu
for tool in dpkg-deb dpkg-shlibdeps; do
    command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }
done
source=$(cd "$(dirname "$0")/../.." && pwd)
version=$(cat "$source/VERSION")
arch=$(dpkg --print-architecture)
bad=0
result()
{
    if [ "$2" = 0 ]; then echo "ok package/$1"; else echo "not ok package/$1"; bad=1; fi
}
make_in()
{
    env -u MAKEFLAGS -u MAKELEVEL make -s -C "$@"
}
cd "$TMPDIR"

# What lies here, committed or not, as a release: out of a tarball and without git.
mkdir tree
tar -C "$source" --exclude='./build*' --exclude=./.git -cf - . | tar -xf - -C tree
make_in tree dist >/dev/null
tar -xf "tree/build/ferry-$version.tar.gz"
code=0
make_in "ferry-$version" dist >/dev/null || code=1
cmp "tree/build/ferry-$version.tar.gz" "ferry-$version/build/ferry-$version.tar.gz" || code=1
result release-without-git $code

debs=$(make_in "ferry-$version" deb)
mkdir moved
tar -xf "tree/build/ferry-$version.tar.gz" -C moved
code=0
for deb in $(make_in "moved/ferry-$version" deb); do
    cmp "$deb" "ferry-$version/build/$(basename "$deb")" || code=1
done
result reproducible $code

if command -v lintian >/dev/null; then
    # shellcheck disable=SC2086
    lintian --allow-root --fail-on error,warning $debs && code=0 || code=1
    result lintian $code
else
    echo 'skip package/lintian lintian is not installed'
fi

ferry=ferry-$version/build/ferry_${version}_$arch.deb
dpkg-deb -f "$ferry" Depends | grep -q 'libglib2.0-0[^,]* (>= .*libc6 (>=\|libc6 (>= .*libglib2.0-0[^,]* (>=' && code=0 || code=1
dpkg-deb -f "$ferry" Recommends | grep -q libedit2 || code=1
result depends-on-versions $code

dpkg-deb -x "$ferry" unpacked
code=0
[ "$(stat -c %a unpacked)" = 755 ] || code=1
unpacked/usr/bin/ferry-qemu-img create -q -f luks --object secret,id=s,data=x -o key-secret=s,iter-time=10 l 1M || code=1
unpacked/usr/bin/ferry-qemu-io -f raw -c 'read 0 512' l >/dev/null || code=1
MANPATH=unpacked/usr/share/man man -w ferry-qemu-img >/dev/null || code=1
result runs-where-it-is-unpacked $code

# ---- in place of qemu-utils --------------------------------------------------------------------

if [ "$(id -u)" != 0 ]; then
    echo 'skip package/in-place-of-qemu-utils only root can install'
    exit $bad
fi
# fake PACKAGE FIELD: a package with one program, qemu-img.
fake()
{
    mkdir -p "$1/DEBIAN"
    [ "$1" != qemu-utils ] || { mkdir -p "$1/usr/bin"; echo theirs >"$1/usr/bin/qemu-img"; }
    printf 'Package: %s\nVersion: 1:7.0\nArchitecture: all\nMaintainer: x <x@y.invalid>\nDescription: x\n%s' "$1" "$2" \
        >"$1/DEBIAN/control"
    dpkg-deb -b "$1" "$1.deb" >/dev/null
}
fake qemu-utils ''
fake wants-qemu-utils 'Depends: qemu-utils (>= 1:2.0)
'
mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates
touch root/var/lib/dpkg/status root/var/lib/dpkg/available
into_root()
{
    dpkg --root="$TMPDIR/root" --log=/dev/null --force-script-chrootless "$@" >>dpkg.log 2>&1
}
code=0
img=root/usr/bin/qemu-img
into_root --force-depends -i "$ferry"
into_root -i qemu-utils.deb
for order in beside alone; do
    into_root -i "ferry-$version/build/ferry-qemu-utils_${version}_all.deb" || code=1
    [ "$(readlink $img)" = ferry-qemu-img ] || code=1
    $img --version | grep -q '(Ferry ' || code=1
    if [ $order = beside ]; then
        grep -q theirs $img.distrib || code=1
        into_root -r ferry-qemu-utils || code=1
        grep -q theirs $img && [ ! -e $img.distrib ] || code=1
        into_root -r qemu-utils || code=1
    fi
done
into_root -i wants-qemu-utils.deb || code=1
# It may come back while ours is there, and be upgraded.
into_root -i qemu-utils.deb && [ "$(readlink $img)" = ferry-qemu-img ] && grep -q theirs $img.distrib || code=1
[ $code = 0 ] || cat dpkg.log
result in-place-of-qemu-utils $code
exit $bad
