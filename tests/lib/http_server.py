# SPDX-License-Identifier: GPL-2.0-or-later
"""A server of HTTP whose answers a test makes: right ones, and those of servers that misbehave."""
import re
import socket
import threading


class Request:
    """One that has come: its lines, and the range it asks for."""

    def __init__(self, sock, head):
        lines = head.decode('latin1').split('\r\n')
        self.sock, self.path = sock, lines[0].split(' ')[1]
        self.method = lines[0].split(' ')[0]
        self.headers = dict((k.lower(), v) for k, _, v in (line.partition(': ') for line in lines[1:]))
        asked = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('range', ''))
        self.first, self.last = (int(n) for n in asked.groups()) if asked else (None, None)

    def send(self, status, headers=(), body=b''):
        head = '\r\n'.join([f'HTTP/1.1 {status}', *headers, '', ''])
        self.sock.sendall(head.encode('latin1') + body)

    def part(self, content, *headers, status='206 Partial Content'):
        """The right answer."""
        if self.first is None:
            return self.send('200 OK', [f'Content-Length: {len(content)}', *headers],
                             b'' if self.method == 'HEAD' else content)
        if self.first >= len(content):
            return self.send('416 Range Not Satisfiable',
                             [f'Content-Range: bytes */{len(content)}', 'Content-Length: 0'])
        body = content[self.first:self.last + 1]
        return self.send(status, [
            f'Content-Range: bytes {self.first}-{self.first + len(body) - 1}/{len(content)}',
            f'Content-Length: {len(body)}', *headers], body)


class Server:
    """Calls @answer(request) for each request, in a thread for each connection; what it returns, if it
    is true, ends the connection. `requests` has all that came."""

    def __init__(self, answer):
        self.answer, self.requests = answer, []
        self.stopped = threading.Event()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f'http://127.0.0.1:{self.listener.getsockname()[1]}'

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        pending = b''
        try:
            while True:
                while b'\r\n\r\n' not in pending:
                    more = sock.recv(65536)
                    if not more:
                        return
                    pending += more
                head, _, pending = pending.partition(b'\r\n\r\n')
                request = Request(sock, head)
                self.requests.append(request)
                if self.answer(request):
                    return
        except OSError:
            pass
        finally:
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.listener.close()
        for sock in self.connections:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
