#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of images of Ceph clusters, and clusters that are not there."""
import os
import sys
import pathlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import BUILD, REFERENCE, case, img, main, require, run
from this_run import WATCHED

# Nobody answers there; the second is for a cluster that could be meant by this machine's settings.
NOWHERE = r'conf=/dev/null:mon_host=127.0.0.1\:1:client_mount_timeout=1'


def require_librbd():
    require((BUILD / 'modules/rbd.so').exists(), 'built without librbd')
    require(not WATCHED, 'the sanitizers cannot follow exceptions of C++ in libraries that are loaded late')


def fails(*words, says):
    """Ours fails with one line that has @says in it; the reference fails, too."""
    done = img(*words, code=1)
    assert len(done.stderr.splitlines()) == 1 and says in done.stderr, (words, done.stderr)
    if (REFERENCE / 'qemu-img').exists():
        theirs = run(REFERENCE / 'qemu-img', *words, code=None)
        assert theirs.returncode == 1, (words, theirs.stdout, theirs.stderr)


@case
def names_that_are_none_are_refused():
    for name in 'rbd:', 'rbd:a', 'rbd:@s', 'rbd:a\\', r'rbd:a\/b', 'rbd::id=x':
        fails('info', name, says='names no pool')
    for name in 'rbd:a/b:', 'rbd:a/b@s:', 'rbd:a/b:x=y:':
        fails('info', name, says='without a setting')
    for name in 'rbd:a/b:x', 'rbd:a/b:id', 'rbd:a/b:x=1:y', 'rbd:a/b:mon_host=127.0.0.1:9':
        fails('info', name, says='has no value')


@case
def parts_of_a_name():
    """As the error tells them: the file of settings is what is missing first."""
    require_librbd()
    for name, shown in (('a//b', 'a/b'), ('a/n/b/c', 'a/n/b/c'),
                        ('a/n/b@s/t@u', 'a/n/b@s/t@u'), (r'a\/b/c\@d\:e\\f\=', r'a/b/c@d:e\f='), ('a/b@', 'a/b')):
        fails('info', f'rbd:{name}:conf=/not/there', says=f"'rbd:{shown}': the file of settings '/not/there'")
    # The last one counts; ':' and '=' belong to names and values where they end neither.
    fails('info', r'rbd:a/b:conf=/x:id=a=b:conf=/no\:t\=here', says="'/no:t=here'")
    for setting, told in ('=1', ''), ('client_mount_timeout=x', 'client_mount_timeout'), ('id:x=1', 'id:x'):
        fails('info', f'rbd:a/b:conf=/dev/null:{setting}', says=f"invalid setting '{told}'")


@case
def a_cluster_that_does_not_answer_ends_in_an_error():
    require_librbd()
    fails('info', f'rbd:a/b:{NOWHERE}', says='Connection timed out')
    fails('create', '-q', '-f', 'raw', f'rbd:a/b:{NOWHERE}', '1M', says='Connection timed out')


@case
def options_are_checked():
    require_librbd()
    for options in 'driver=rbd,pool=a', 'driver=rbd,image=a', 'driver=rbd,pool=a,image=b,encrypt.format=aes', \
            'driver=rbd,pool=a,image=b,encrypt.format=luks', 'driver=rbd,pool=a,image=b,key-secret=none', \
            'driver=rbd,pool=a,image=b,auth-client-required.0=some', 'driver=rbd,pool=a,image=b,server.0.host=x':
        fails('info', '--image-opts', options, says='')
    for options in 'cluster_size=100k', 'cluster_size=2k', 'encrypt.format=foo', 'encrypt.key-secret=s', \
            'encrypt.format=luks', 'password-secret=none', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=des':
        fails('create', '-q', '-f', 'raw', '--object', 'secret,id=s,data=x', '-o', options, f'rbd:a/b:{NOWHERE}', '1M', says='')
    done = img('create', '-q', '-f', 'raw', f'rbd:a/b@s:{NOWHERE}', '1M', code=1)
    assert 'snapshot' in done.stderr, done.stderr
    done = img('convert', '--untrusted', '-O', 'raw', f'rbd:a/b:{NOWHERE}', 'out', code=1)
    assert '--untrusted' in done.stderr and not os.path.exists('out'), done.stderr


main('protocol-rbd')
