"""Files from public http(s) addresses, for rows that name them: never from a private network.

A row's author chooses the address and this machine makes the request, so that the names of
machines, cloud metadata services and the like must not be reachable (server-side request
forgery). The address that was checked is the one connected to, and every redirect is checked anew.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urljoin, urlsplit

__all__ = ["FetchError", "UrlRule", "fetch", "is_public"]

UrlRule = bool | tuple[str, ...]
"""Whether addresses are fetched: never, of any public host, or by https of these hosts alone."""

_TIMEOUT_S = 30
_MOST_SECONDS = 120
_MOST_REDIRECTS = 5
_CHUNK = 1 << 16
_PORTS = {"http": 80, "https": 443}


class FetchError(OSError):
    """An address that may not be fetched, or an answer that is no file."""


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable from everywhere: no loopback, no private range."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return found.is_global and not found.is_multicast and (mapped is None or mapped.is_global)


def fetch(
    url: str,
    most_bytes: int,
    *,
    rule: UrlRule = True,
    allowed: Callable[[str], bool] = is_public,
) -> bytes:
    """Return what is at an address; at most one byte more than `most_bytes`.

    Args:
        url: http or https.
        most_bytes: reading stops behind these.
        rule: which hosts; redirects are held to it too.
        allowed: whether an IP address may be connected to.

    Raises:
        OSError: it cannot be reached, is not allowed, or does not answer with a file.
    """
    for _ in range(_MOST_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise FetchError(f"{url[:200]}: expected an http or https address")
        _check_rule(parts, rule)
        connection = _connected(parts, allowed)
        try:
            place = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.request("GET", place, headers={"User-Agent": "swiftrl", "Accept": "*/*"})
            answer = connection.getresponse()
            if answer.status not in (301, 302, 303, 307, 308):
                return _body(answer, most_bytes)
            url = urljoin(url, answer.headers.get("Location") or "")
        except http.client.HTTPException as error:
            raise FetchError(f"{type(error).__name__}: {error}") from None
        finally:
            connection.close()
    raise FetchError(f"more than {_MOST_REDIRECTS} redirects")


def _check_rule(parts: SplitResult, rule: UrlRule) -> None:
    if rule is True:
        return
    hosts = rule or ()
    if parts.scheme != "https" or parts.hostname not in hosts or parts.port not in (None, 443):
        named = ", ".join(hosts) or "no host"
        raise FetchError(
            f"{parts.scheme}://{parts.netloc[:100]} is not allowed; https of {named} is"
        )


def _connected(parts: SplitResult, allowed: Callable[[str], bool]) -> http.client.HTTPConnection:
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
    refused = [address for address in addresses if not allowed(address)]
    if refused:
        raise FetchError(f"{host} ({refused[0]}) is not public; such addresses are never fetched")
    sock = socket.create_connection((addresses[0], port), timeout=_TIMEOUT_S)
    if parts.scheme == "http":
        plain = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        plain.sock = sock
        return plain
    context = ssl.create_default_context()
    try:
        secured = context.wrap_socket(sock, server_hostname=host)
    except OSError:
        sock.close()
        raise
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
    connection.sock = secured
    return connection


def _body(answer: http.client.HTTPResponse, most_bytes: int) -> bytes:
    if answer.status != 200:
        raise FetchError(f"HTTP {answer.status} {answer.reason}")
    end, data = time.monotonic() + _MOST_SECONDS, bytearray()
    while len(data) <= most_bytes:
        chunk = answer.read(min(_CHUNK, most_bytes + 1 - len(data)))
        if not chunk:
            return bytes(data)
        data += chunk
        if time.monotonic() > end:
            raise FetchError(f"takes longer than {_MOST_SECONDS} seconds")
    return bytes(data)
