"""What every route needs: the engine, the names it goes by, and how much is let in."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftrl.deploy.config import DeployConfig
from swiftrl.deploy.mailbox import Hub
from swiftrl.deploy.metrics import Metrics
from swiftrl.deploy.problems import Problem
from swiftrl.deploy.schemas import Sampled
from swiftrl.deploy.tokens import TokenTexts
from swiftrl.engine.embedded import EmbeddedEngine
from swiftrl.engine.sampling import Grammar, SamplingParams
from swiftrl.templates.template import Template

__all__ = ["Service"]


@dataclass
class Service:
    """One model, served.

    Attributes:
        engine: generates.
        template: of the model.
        names: of the model; the first is shown.
        defaults: of sampling, where a request says nothing.
        config: the server's settings.
        most_running: replies in a batch.
        hub: set when the server starts.
        draining: whether no new requests are taken.
        active: replies asked for and not over.
    """

    engine: EmbeddedEngine
    template: Template
    names: Sequence[str]
    defaults: SamplingParams
    config: DeployConfig
    most_running: int
    metrics: Metrics = field(default_factory=Metrics)
    hub: Hub | None = None
    draining: bool = False
    active: int = 0

    def __post_init__(self) -> None:
        self.tokens = TokenTexts(self.template.tokenizer)

    @property
    def most_bytes(self) -> int:
        """Of a request."""
        return int(self.config.max_request_mib * 2**20)

    def adapter(self, model: str | None) -> str | None:
        """Return the adapter that a model's name asks for, None for the base.

        Raises:
            Problem: there is no such model.
        """
        if model is None or model in self.names:
            return None
        if model in self.engine.adapters:
            return model
        known = ", ".join((*self.names, *self.engine.adapters))
        raise Problem(
            404, f"The model `{model[:200]}` does not exist; there are: {known}.",
            param="model", code="model_not_found",
        )  # fmt: skip

    @contextlib.contextmanager
    def place(self, replies: int) -> Iterator[None]:
        """Count replies while they are written.

        Raises:
            Problem: too many are, or the server is shutting down.
        """
        most = self.most_running + self.config.max_waiting
        if replies > most:
            raise Problem(400, f"{replies} replies in one request; at most {most}.", param="n")
        if self.active + replies > most:
            raise Problem(
                429, f"{self.active} replies are being written or wait; try again.",
                code="queue_full", headers={"Retry-After": "1"},
            )  # fmt: skip
        self.active += replies
        try:
            yield
        finally:
            self.active -= replies

    def sampling(
        self,
        body: Sampled,
        *,
        max_tokens: int | None,
        top_logprobs: int = 0,
        grammar: Grammar | None = None,
    ) -> SamplingParams:
        """Return how a request's replies are sampled.

        Raises:
            Problem: more likeliest tokens are asked for than the server tells.
        """
        if top_logprobs > self.config.max_logprobs:
            raise Problem(
                400, f"top_logprobs {top_logprobs}: at most {self.config.max_logprobs}.",
                param="top_logprobs", code="invalid_value",
            )  # fmt: skip
        defaults = self.defaults

        def value(name: str) -> Any:
            asked = getattr(body, name)
            return getattr(defaults, name) if asked is None else asked

        return SamplingParams(
            temperature=value("temperature"),
            top_p=value("top_p"),
            top_k=value("top_k"),
            min_p=value("min_p"),
            repetition_penalty=value("repetition_penalty"),
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            max_tokens=defaults.max_tokens if max_tokens is None else max_tokens,
            stop=_stops(body.stop, defaults.stop),
            stop_token_ids=tuple(body.stop_token_ids or ()),
            seed=value("seed"),
            logit_bias=_biases(body.logit_bias),
            grammar=grammar or _guided(body),
            ignore_eos=bool(body.ignore_eos),
            top_logprobs=top_logprobs,
            at_temperature=False,
        )


def _stops(asked: str | list[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    stops = tuple([asked] if isinstance(asked, str) else asked or ())
    if len(stops) > 16 or any(not 0 < len(stop) <= 1000 for stop in stops):
        raise Problem(
            400, "'stop': expected at most 16 texts of 1 to 1000 characters.", param="stop"
        )
    return (*stops, *default)


def _biases(asked: dict[str, float] | None) -> tuple[tuple[int, float], ...]:
    wrong = next((k for k in asked or {} if not (k.isdecimal() and k.isascii() and len(k) < 10)), 0)
    if wrong != 0 or len(asked or {}) > 1024:
        raise Problem(
            400, "'logit_bias': expected at most 1024 token ids with a number each.",
            param="logit_bias", code="invalid_value",
        )  # fmt: skip
    return tuple((int(token), bias) for token, bias in (asked or {}).items())


def _guided(body: Sampled) -> Grammar | None:
    """Return the grammar that vLLM's fields ask for."""
    if body.guided_regex is not None:
        return Grammar("regex", body.guided_regex)
    if body.guided_choice:
        return Grammar("regex", "|".join(f"({re.escape(one)})" for one in body.guided_choice))
    if body.guided_grammar is not None:
        return Grammar("lark", body.guided_grammar)
    if body.guided_json is not None:
        schema = body.guided_json
        return Grammar("json_schema", schema if isinstance(schema, str) else json.dumps(schema))
    return None
