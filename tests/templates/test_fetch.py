"""Addresses in rows: public ones alone are fetched, redirects included."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from swiftrl.core.errors import TemplateError
from swiftrl.templates.fetch import FetchError, fetch, is_public
from swiftrl.templates.pictures import open_picture


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        port = self.server.server_address[1]
        moved = {
            "/moved": "/file?x=1",
            "/inward": f"http://127.0.0.2:{port}/file",
            "/disk": "file:///etc/passwd",
            "/round": "/round",
        }
        if self.path in moved:
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.end_headers()
        elif self.path.startswith("/file"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 1000)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def here(address: str) -> bool:
    return address == "127.0.0.1"


def test_a_file_is_fetched_and_cut_at_the_bound(site):
    assert fetch(f"{site}/file", 5000, allowed=here) == b"x" * 1000
    assert fetch(f"{site}/moved", 5000, allowed=here) == b"x" * 1000
    assert len(fetch(f"{site}/file", 100, allowed=here)) == 101


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/inward", "127.0.0.2.* is not public"),
        ("/disk", "expected an http or https address"),
        ("/round", "more than 5 redirects"),
        ("/none", "HTTP 404"),
    ],
)
def test_redirects_are_checked_and_answers_too(site, path, message):
    with pytest.raises(FetchError, match=message):
        fetch(site + path, 5000, allowed=here)


def test_hosts_that_are_named_are_the_only_ones(site):
    for url, rule in (
        (f"{site}/file", ("127.0.0.1",)),  # no https
        ("https://127.0.0.1:8443/file", ("127.0.0.1",)),
        ("https://other.example/file", ("pictures.example",)),
        ("https://other.example/file", ()),
        (f"{site}/file", False),
    ):
        with pytest.raises(FetchError, match="is not allowed"):
            fetch(url, 5000, rule=rule, allowed=here)
    with pytest.raises(TemplateError, match=r"https of pictures\.example is"):
        open_picture(f"{site}/file", allow_urls=("pictures.example",))


def test_this_machine_is_never_asked(site):
    with pytest.raises(TemplateError, match="is not public"):
        open_picture(f"{site}/file", allow_urls=True)
    with pytest.raises(TemplateError, match="is not public"):
        open_picture("http://localhost/a.png", allow_urls=True)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("172.16.0.9", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address, public):
    assert is_public(address) is public
