"""What a monitor reads at /metrics (Prometheus)."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one server; nothing is global."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "swiftrl_requests", "Requests by route and status", ["route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self.prompt_tokens = Counter(
            "swiftrl_prompt_tokens", "Tokens of prompts", registry=self._registry
        )
        self.reply_tokens = Counter(
            "swiftrl_generation_tokens", "Tokens of replies", registry=self._registry
        )
        self.first_token = Histogram(
            "swiftrl_time_to_first_token_seconds", "From request to first token",
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "swiftrl_request_seconds", "From request to the end of the answer", ["route"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show a value that is read when asked for."""
        Gauge(name, what, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self._registry)
