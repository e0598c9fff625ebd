"""A small base for services that speak JSON, and Ollama as its documentation has it."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, Any]


class JsonService:
    """A server that gives each request to `answer`; subclasses say what comes back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"service": self})
        )
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_address[1]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], data: bytes
    ) -> Answer:
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    service: JsonService
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.service.lock:
            status, body = self.service.answer(
                self.command, parts.path, dict(parse_qsl(parts.query)), headers, data
            )
        content = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_any


class FakeOllama(JsonService):
    """Ollama's docs/api.md: blobs by digest, create from files, chat, delete."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.models: dict[str, dict[str, Any]] = {}
        super().__init__()

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], data: bytes
    ) -> Answer:
        if path.startswith("/api/blobs/"):
            digest = path.rpartition("/")[2]
            if method == "HEAD":
                return (200 if digest in self.blobs else 404), None
            if digest != f"sha256:{hashlib.sha256(data).hexdigest()}":
                return 400, {"error": "digest mismatch"}
            self.blobs[digest] = data
            return 201, None
        body = json.loads(data)
        if path == "/api/create":
            if not all(digest in self.blobs for digest in body["files"].values()):
                return 400, {"error": "blob not found"}
            self.models[body["model"]] = body
            return 200, {"status": "success"}
        if body["model"] not in self.models:
            return 404, {"error": f"model '{body['model']}' not found"}
        if path == "/api/delete" and method == "DELETE":
            del self.models[body["model"]]
            return 200, None
        return 200, {"message": {"role": "assistant", "content": "2"}, "done": True}
