"""A proxy between client and server on which connections are cut, slow, or answered 500."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[[str, str, int], str | None]
"""Given method, path and how often this very request was seen before, returns what happens:
None, "cut" (nothing arrives), "lost" (it arrives, the answer does not), "500", "slow", "hang"."""


class Way:
    """Forwards to `upstream` (host, port); `arrived` holds the requests that got through."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.fault: Fault = lambda method, path, seen: None
        self.arrived: list[tuple[str, str]] = []
        self.seen: dict[tuple[str, str], int] = {}
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"way": self})
        )
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def clear(self) -> None:
        self.arrived.clear()
        self.seen.clear()
        self.fault = lambda method, path, seen: None

    def parts(self) -> list[str]:
        """Return the paths of the parts that arrived, without what differs from run to run."""
        return [
            path for method, path in self.arrived if method == "PUT" and "partnumber" in
            path.lower()
        ]  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    way: Way
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        known = (self.command, self.path)
        with self.way.lock:
            seen = self.way.seen.get(known, 0)
            self.way.seen[known] = seen + 1
        what = self.way.fault(self.command, self.path, seen)
        length = int(self.headers.get("Content-Length") or 0)
        if what == "cut":
            self.rfile.read(length // 2)
            return self.drop()
        if self.headers.get("Expect", "").lower() == "100-continue":
            pass  # answered by the base class
        body = self.rfile.read(length)
        if what == "hang":
            time.sleep(60)
            return self.drop()
        if what == "500":
            return self.answer(500, {}, b"")
        if what == "slow":
            time.sleep(0.3)
        connection = http.client.HTTPConnection(*self.way.upstream, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect", "transfer-encoding"):
                connection.putheader(name, value)
        connection.endheaders(body)
        got = connection.getresponse()
        content = got.read()
        with self.way.lock:
            self.way.arrived.append(known)
        connection.close()
        if what == "lost":
            return self.drop()
        headers = {
            name: value for name, value in got.getheaders()
            if name.lower() not in ("connection", "transfer-encoding", "date", "server")
        }  # fmt: skip
        return self.answer(got.status, headers, content)

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        length = headers.pop("Content-Length", headers.pop("content-length", None))
        head = self.command == "HEAD"
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length if head and length else str(len(content)))
        self.end_headers()
        if not head:
            self.wfile.write(content)

    def drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_any
