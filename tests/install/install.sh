# SPDX-License-Identifier: GPL-2.0-or-later
# What "make install" puts below DESTDIR works from there, under another name and without the build
# folder; "make uninstall" takes all of it away again.
set -eu
root=$TMPDIR/root
run_make()
{
    env -u MAKEFLAGS -u MAKELEVEL make -s -C "$(dirname "$FERRY_BUILD")" "$@" DESTDIR="$root" PREFIX=/opt/ferry \
        PROGRAM_PREFIX=my-
}
fail()
{
    echo "not ok $1"
    exit 1
}

run_make install
bin=$root/opt/ferry/bin share=$root/opt/ferry/share
for program in qemu-img qemu-io qemu-nbd qemu-storage-daemon; do
    # As the reference programs print it: qemu-nbd leaves out the word "version".
    "$bin/my-$program" --version | grep -Eq "^$program (version )?7\.2\.22 \(Ferry " || fail "$program"
    MANPATH=$share/man man -w "my-$program" >/dev/null || fail "manual/$program"
done
"$bin/my-qemu-system-x86_64" -version | grep -Eq '^QEMU emulator version 7\.2\.22 \(Ferry ' || fail emulator
MANPATH=$share/man man -w my-qemu-system-x86_64 >/dev/null || fail manual/emulator
echo 'ok install/programs'

# Ciphers come from a module, which is found beside the installed program.
luks_works()
{
    "$bin/my-qemu-img" create -q -f luks --object secret,id=s,data=x -o key-secret=s,iter-time=10 "$TMPDIR/l" 1M
}
cp -r "$root" "$TMPDIR/moved"
bin=$TMPDIR/moved/opt/ferry/bin luks_works || fail install/modules
echo 'ok install/modules'

bash -c "COMP_WORDS=(); . '$share/bash-completion/completions/my-qemu-img'; complete -p my-qemu-img" >/dev/null ||
    fail install/completion
echo 'ok install/completion'

run_make uninstall
left=$(find "$root" -type f)
[ -z "$left" ] || fail "install/uninstall $left"
echo 'ok install/uninstall'
