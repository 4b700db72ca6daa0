#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images on servers of HTTP and FTP: real servers, and ones that lie, stall and cut off."""
import base64
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IO, REFERENCE, case, img, main, require, run
from http_server import Server
from this_run import SANDBOXED

MIB = 1 << 20
NO_PROXY = {'no_proxy': '*'}
os.environ.update(NO_PROXY)


def disk(size=3 * MIB):
    content = bytearray(random.Random(1).randbytes(size))
    content[MIB:MIB + 65536] = bytes(65536)
    return bytes(content)


def reads(url, content, at=0, length=None, **options):
    """The bytes that are read are those of @content."""
    length = len(content) - at if length is None else length
    pathlib.Path('want').write_bytes(content[at:at + length])
    opts = ','.join(f'{k.replace("_", "-")}={v}' for k, v in options.items())
    img('dd', '-U', '--image-opts', '-O', 'raw', 'bs=512', f'skip={at // 512}', f'count={length // 512}',
        f'if=driver=raw,file.driver=http,file.url={url}' + (f',file.{opts}' if opts else ''), 'of=got')
    assert pathlib.Path('got').read_bytes() == pathlib.Path('want').read_bytes()


def look(url, *commands):
    run(IO, '-r', *[word for c in commands for word in ('-c', c)], url)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


def wait_for(port, process):
    for _ in range(500):
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            assert process.poll() is None, 'the server does not start'
            time.sleep(0.02)
    raise AssertionError('the server does not listen')


class Process:
    """A server program, ended with the block."""

    def __init__(self, port, *command):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(port, self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def nginx(requests=20):
    require(shutil.which('nginx'), 'no nginx')
    port, here = free_port(), pathlib.Path.cwd()
    os.makedirs('www', exist_ok=True)
    os.chmod(here, 0o755)
    temporary = ' '.join(f'{k}_temp_path {here}/tmp-{k};' for k in ('client_body', 'proxy', 'fastcgi',
                                                                   'uwsgi', 'scgi'))
    user = 'user root;' if os.geteuid() == 0 else ''
    (here / 'nginx.conf').write_text(
        f'daemon off; {user} pid {here}/pid; error_log {here}/errors; worker_processes 1;'
        'events { worker_connections 128; }'
        f'http {{ access_log off; {temporary} keepalive_requests {requests}; gzip on; gzip_types *;'
        f'server {{ listen 127.0.0.1:{port}; root {here}/www; autoindex on;'
        ' location /moved/ { rewrite ^/moved/(.*)$ /$1 redirect; } } }')
    return f'http://127.0.0.1:{port}', Process(port, 'nginx', '-e', here / 'errors', '-c', here / 'nginx.conf')


# ---- servers that do as they should --------------------------------------------------------------

@case
def nginx_serves_images():
    url, server = nginx()
    content = disk(20 * MIB)
    pathlib.Path('www/a.raw').write_bytes(content)
    img('convert', '-O', 'qcow2', 'www/a.raw', 'www/a.qcow2')
    img('convert', '-c', '-O', 'qcow2', 'www/a.raw', 'www/c.qcow2')
    with server:
        for name in 'a.raw', 'a.qcow2', 'c.qcow2', 'moved/a.qcow2':
            img('convert', '-O', 'raw', f'{url}/{name}', 'out')
            assert pathlib.Path('out').read_bytes() == content, name
        # More requests than one connection takes.
        look(f'{url}/a.raw', *[f'read {i * 777 * 512} 512' for i in range(40)], 'read 0 20M')
        img('compare', '-F', 'raw', f'{url}/c.qcow2', 'www/a.raw')
        if (REFERENCE / 'qemu-img').exists():
            for command in ('info',), ('map', '--output=json'), ('info', '--output=json'):
                for name in 'a.raw', 'a.qcow2':
                    theirs = run(REFERENCE / 'qemu-img', *command, f'{url}/{name}', timeout=60)
                    assert img(*command, f'{url}/{name}').stdout == theirs.stdout, (command, name)
        missing = img('info', f'{url}/none', code=1).stderr
        assert '404' in missing and len(missing.splitlines()) == 1, missing


@case
def nginx_and_the_sandbox():
    url, server = nginx(requests=1000)
    content = disk(5 * MIB)
    pathlib.Path('www/a.raw').write_bytes(content)
    img('convert', '-c', '-O', 'qcow2', 'www/a.raw', 'www/c.qcow2')
    with server:
        img('convert', '--untrusted', '-O', 'raw', f'{url}/c.qcow2', 'out', env=SANDBOXED)
        assert pathlib.Path('out').read_bytes() == content
        # A name inside of an image is not followed.
        img('create', '-q', '-f', 'qcow2', '-u', '-b', f'{url}/a.raw', '-F', 'raw', 'over.qcow2', '5M')
        img('compare', '-F', 'raw', 'over.qcow2', 'www/a.raw')
        done = img('convert', '--untrusted', '-O', 'raw', 'over.qcow2', 'out', code=1, env=SANDBOXED)
        assert 'over.qcow2' in done.stderr or url in done.stderr, done.stderr


@case
def ftp_serves_images():
    require(shutil.which('vsftpd') and os.geteuid() == 0, 'no vsftpd, or not root')
    port, here = free_port(), pathlib.Path.cwd()
    os.makedirs('ftp')
    os.makedirs('empty')
    content = disk()
    pathlib.Path('ftp/a.raw').write_bytes(content)
    os.chmod(here, 0o755)
    pathlib.Path('conf').write_text(
        f'listen=YES\nlisten_port={port}\nlisten_address=127.0.0.1\nanonymous_enable=YES\n'
        f'anon_root={here}/ftp\nsecure_chroot_dir={here}/empty\nbackground=NO\nrun_as_launching_user=NO\n'
        'seccomp_sandbox=NO\nno_anon_password=YES\n')
    os.chmod('conf', 0o600)
    with Process(port, 'vsftpd', here / 'conf'):
        url = f'ftp://127.0.0.1:{port}/a.raw'
        img('convert', '-O', 'raw', url, 'out')
        assert pathlib.Path('out').read_bytes() == content
        assert img('info', url + 'x', code=1).stderr
        # libcurl forgot some transfers whose answers were there at once: they timed out.
        os.truncate('ftp/a.raw', 300 * MIB)
        for _ in range(10):
            look(url, 'read 1M 64k', 'read 100k 1k', 'read -P 0 200M 64k', 'read -P 0 250M 4M')


@case
def small_reads_in_order_are_fetched_ahead():
    content = disk()
    with Server(lambda r: r.part(content)) as s:
        reads(f'{s.url}/x', content)
        look(f'{s.url}/x', *[f'read {i * 4096} 4096' for i in range(3 * MIB // 4096)])
        assert len(s.requests) <= 2 * (3 * MIB // (256 << 10) + 1), len(s.requests)


@case
def the_end_inside_of_a_sector_reads_as_zeroes():
    content = disk()[:100_001]
    with Server(lambda r: r.part(content)) as s:
        img('convert', '-f', 'raw', '-O', 'raw', f'{s.url}/x', 'out')
        got = pathlib.Path('out').read_bytes()
        assert got == content.ljust(100_352, b'\0')


@case
def a_file_of_no_bytes():
    with Server(lambda r: r.part(b'')) as s:
        assert '"virtual-size": 0' in img('info', '-f', 'raw', '--output=json', f'{s.url}/x').stdout


@case
def passwords_and_cookies_go_along():
    content = disk()
    want = 'Basic ' + base64.b64encode(b'me:s3cret').decode()

    def answer(r):
        if r.headers.get('authorization') != want or r.headers.get('cookie') != 'a=b; c=d':
            return r.send('401 Unauthorized', ['Content-Length: 0'])
        return r.part(content)

    pathlib.Path('cookie').write_text('a=b; c=d')
    objects = ['--object', 'secret,id=p,data=s3cret', '--object', 'secret,id=c,file=cookie']
    with Server(answer) as s:
        img('convert', *objects, '--image-opts', '-O', 'raw', 'driver=raw,file.driver=http,file.username=me,'
            f'file.password-secret=p,file.cookie-secret=c,file.url={s.url}/x', 'out')
        assert pathlib.Path('out').read_bytes() == content
        assert '401' in img('info', f'{s.url}/x', code=1).stderr
        told = img('info', *objects, '--image-opts', 'driver=http,username=me,password-secret=p,'
                   f'cookie-secret=c,url={s.url}/x').stdout
        assert 's3cret' not in told and 'a=b' not in told, told


@case
def secrets_do_not_follow_redirects_to_other_servers():
    content = disk()
    with Server(lambda r: r.part(content)) as other:
        def answer(r):
            return r.send('302 Found', [f'Location: {other.url.replace("127.0.0.1", "localhost")}/y',
                                        'Content-Length: 0'])
        with Server(answer) as s:
            img('convert', '--object', 'secret,id=p,data=s3cret', '--image-opts', '-O', 'raw',
                'driver=raw,file.driver=http,file.username=me,file.password-secret=p,file.cookie=a=b,'
                f'file.url={s.url}/x', 'out')
        assert pathlib.Path('out').read_bytes() == content
        for r in other.requests:
            assert 'authorization' not in r.headers and 'cookie' not in r.headers, r.headers


@case
def a_redirect_is_followed_once_until_its_end_expires():
    content = disk()
    used = []

    def answer(r):
        if r.path == '/x':
            return r.send('302 Found', [f'Location: /signed{len(used) // 3}', 'Content-Length: 0'])
        used.append(r)
        if r.path != f'/signed{(len(used) - 1) // 3}':
            return r.send('403 Forbidden', ['Content-Length: 0'])
        return r.part(content)

    with Server(answer) as s:
        look(f'{s.url}/x', *[f'read {i * 300}k 300k' for i in range(5)])
        redirected = sum(r.path == '/x' for r in s.requests)
        assert 1 < redirected < len(used), (redirected, len(used))


@case
def what_is_wrong_with_options_is_said():
    for opts in ('readahead=777', 'timeout=-1', 'cookie=a,cookie-secret=b', 'password-secret=none'):
        done = img('info', '--image-opts', f'driver=http,url=http://127.0.0.1:1/x,{opts}', code=1).stderr
        assert opts.split('=')[0] in done or 'none' in done, done
    assert 'https://' in img('info', '--image-opts', 'driver=https,url=http://127.0.0.1:1/x', code=1).stderr
    assert 'onnect' in img('info', 'http://127.0.0.1:1/x', code=1).stderr


# ---- servers that do not -------------------------------------------------------------------------

CONTENT = disk()


def header(r, total=len(CONTENT), first=None, last=None, length=None):
    first = r.first if first is None else first
    last = min(r.last, len(CONTENT) - 1) if last is None else last
    return [f'Content-Range: bytes {first}-{last}/{total}',
            f'Content-Length: {last - first + 1 if length is None else length}']


def body(r):
    return CONTENT[r.first:r.last + 1]


def bad(answer, opens=False, patience=12):
    """Reading from a server with @answer fails within the timeout; with @opens, after it was opened."""
    def first_is_right(r):
        return r.part(CONTENT, 'ETag: "1"') if opens and r.first == 0 else answer(r)

    with Server(first_is_right) as s:
        begin = time.monotonic()
        name = f'driver=raw,file.driver=http,file.timeout=1,file.url={s.url}/x'
        out = f'out{s.listener.getsockname()[1]}'
        done = img('convert', '--image-opts', '-O', 'raw', name, out, code=1, timeout=60)
        took = time.monotonic() - begin
        assert took < patience, f'{took} s: {done.stderr}'
        assert done.stderr and 'terminated' not in done.stderr, done.stderr


def both(*answers):
    """Each of them from the start, and only after it was opened."""
    work = [(answer, opens) for answer in answers for opens in (False, True)]
    with ThreadPoolExecutor(len(work)) as pool:
        list(pool.map(lambda w: bad(w[0], w[1]), work))


def stall(r):
    time.sleep(30)


def stall_inside(r):
    r.send('206 Partial Content', header(r), body(r)[:1000])
    time.sleep(30)


def drip(r):
    r.send('206 Partial Content', header(r))
    for byte in body(r):
        r.sock.sendall(bytes([byte]))
        time.sleep(0.05)


@case
def servers_that_stall():
    both(stall, stall_inside, drip)


@case
def servers_that_cut_off():
    both(lambda r: True)
    both(lambda r: r.send('206 Partial Content', header(r), body(r)[:-1]) or True)
    both(lambda r: r.sock.sendall(b'HTTP/1.1 206 Par') or True)


@case
def a_connection_that_breaks_is_made_again():
    count = []

    def answer(r):
        count.append(r)
        if len(count) % 3 == 2:
            return r.send('206 Partial Content', header(r), body(r)[:len(body(r)) // 2]) or True
        return r.part(CONTENT)

    with Server(answer) as s:
        img('convert', '-f', 'raw', '-O', 'raw', f'{s.url}/x', 'out')
    assert pathlib.Path('out').read_bytes() == CONTENT


@case
def servers_that_redirect_in_circles():
    both(lambda r: r.send('302 Found', ['Location: /x', 'Content-Length: 0']))
    count = []

    def further(r):
        count.append(r)
        return r.send('307 Temporary Redirect', [f'Location: /{len(count)}', 'Content-Length: 0'])
    both(further)
    bad(lambda r: r.send('302 Found', ['Location: file:///etc/passwd', 'Content-Length: 0']))
    bad(lambda r: r.send('302 Found', ['Location: scp://127.0.0.1/etc/passwd', 'Content-Length: 0']))


@case
def servers_that_lie_about_what_they_send():
    part = '206 Partial Content'
    both(lambda r: r.send('200 OK', [f'Content-Length: {len(CONTENT)}'], CONTENT))
    both(lambda r: r.send(part, header(r, first=512, last=512 + r.last - r.first), body(r)))
    both(lambda r: r.send(part, header(r, last=r.last + 1, length=len(body(r)) + 1), body(r) + b'x'))
    both(lambda r: r.send(part, ['Content-Length: 4'], b'abcd'))
    both(lambda r: r.send(part, header(r, total='*'), body(r)))
    both(lambda r: r.send(part, header(r, total=2**64), body(r)))
    both(lambda r: r.send(part, header(r, total=-1), body(r)))
    both(lambda r: r.send(part, [*header(r), 'Content-Encoding: gzip'], body(r)))
    both(lambda r: r.send(part, [f'Content-Range: bytes {r.first}-{r.last}', 'Content-Length: 1'], b'x'))
    both(lambda r: r.send('204 No Content'))
    both(lambda r: r.sock.sendall(b'\0' * 100) or True)
    bad(lambda r: r.send(part, header(r, total=2**63 - 1), body(r)))
    bad(lambda r: r.send('416 Range Not Satisfiable', ['Content-Length: 0']))


@case
def servers_that_send_too_much():
    """More than was announced is never taken for content."""
    part = '206 Partial Content'
    both(lambda r: r.send(part, [header(r)[0], 'Transfer-Encoding: chunked'],
                          b''.join(b'%x\r\n%s\r\n' % (len(body(r)), body(r)) for _ in range(2)) + b'0\r\n\r\n'))
    both(lambda r: r.send(part, [header(r)[0], 'Connection: close'], body(r) + b'more') or True)

    def more(r):
        r.send(part, header(r), body(r) + b'HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc')
    with Server(more) as s:
        done = img('convert', '-f', 'raw', '-O', 'raw', f'{s.url}/x', 'out', code=None)
    assert done.returncode == 1 or done.returncode == 0 and pathlib.Path('out').read_bytes() == CONTENT
    both(lambda r: r.sock.sendall(b'HTTP/1.1 206 OK\r\n' + b'X: ' + b'y' * 70_000 + b'\r\n') or stall(r))


@case
def a_file_that_changes_is_an_error():
    changed = bytes(len(CONTENT))
    state = []

    def answer(r):
        state.append(r)
        if len(state) == 1:
            return r.part(CONTENT, 'ETag: "1"')
        assert r.headers.get('if-range') == '"1"', r.headers
        return r.send('200 OK', [f'Content-Length: {len(changed)}', 'ETag: "2"'], changed)
    with Server(answer) as s:
        assert img('convert', '-f', 'raw', '-O', 'raw', f'{s.url}/x', 'out', code=1).stderr
    bad(lambda r: r.send('206 Partial Content', header(r, total=len(CONTENT) + 1), body(r)), opens=True)


@case
def a_range_can_be_forced():
    def answer(r):
        assert not (r.first is None) or r.method == 'HEAD'
        return r.part(CONTENT)
    with Server(answer) as s:
        reads(f'{s.url}/x', CONTENT, force_range='on')
        assert s.requests[0].method == 'HEAD'


@case
def reopening_for_writing_is_refused():
    with Server(lambda r: r.part(CONTENT)) as s:
        done = run(IO, '-r', '-f', 'raw', '-c', 'reopen -w', '-c', 'read 0 512', f'{s.url}/x', code=1)
    assert 'can only be read' in done.stderr and 'read 512/512' in done.stdout, done


main('protocol-http')
