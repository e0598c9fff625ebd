"""The server's life: a port, uvicorn, a banner, and an end that loses no accepted request."""

from __future__ import annotations

import signal
import socket
from typing import Any

from swiftrl.core import log
from swiftrl.core.errors import ConfigError
from swiftrl.deploy.config import DeployConfig

__all__ = ["banner", "listen", "serve"]


def listen(config: DeployConfig) -> socket.socket:
    """Return a socket bound to the server's address, before anything is loaded.

    Raises:
        ConfigError: the port is taken, or there is no such address.
    """
    if not 0 <= config.port < 65536:
        raise ConfigError(f"--port {config.port}: expected 0 to 65535.")
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((config.host, config.port))
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"--host {config.host} --port {config.port}: cannot listen there ({error.strerror}). "
            "Another program may have the port: choose another one, or --port 0 for any."
        ) from None
    return sock


def serve(app: Any, sock: socket.socket, config: DeployConfig) -> None:
    """Answer requests until SIGTERM or SIGINT; those that were accepted are finished first."""
    import uvicorn

    # uvicorn raises the signal once more when all is done, for whoever handled it before.
    handled = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)
    }
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(config.drain_timeout_s)),
            timeout_keep_alive=30,
            backlog=2048,
            ssl_certfile=config.ssl_certfile,
            ssl_keyfile=config.ssl_keyfile,
        )
    )
    try:
        server.run(sockets=[sock])
    finally:
        for number, before in handled.items():
            signal.signal(number, before)


def banner(config: DeployConfig, sock: socket.socket, model: str) -> None:
    """Tell people where the server is, and what to try."""
    host, port = sock.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    url = f"{'https' if config.ssl_certfile else 'http'}://{shown}:{port}"
    key = " -H 'Authorization: Bearer KEY'" if config.api_key else ""
    secret = "KEY" if config.api_key else "none"
    log.info(f"Serving {model} at {url} (Ctrl-C ends it). Try:")
    log.info(
        f"  curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}\''
    )
    log.info(f'  python: openai.OpenAI(base_url="{url}/v1", api_key="{secret}")')
    if not config.api_key and host not in ("127.0.0.1", "::1"):
        log.warn(f"everybody who reaches {host} may ask: --api_key KEY lets in those who know it.")
