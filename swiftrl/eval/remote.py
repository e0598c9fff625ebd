"""A server that speaks OpenAI's HTTP API answers."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from swiftrl.core.errors import EngineError
from swiftrl.engine.sampling import SamplingParams
from swiftrl.eval.answering import Ask, Weigh

__all__ = ["RemoteAnswerer", "served_model"]

RETRIED = (408, 409, 429, 500, 502, 503, 504)
LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class RemoteAnswerer:
    """A server and one of its models.

    Attributes:
        url: up to and with /v1.
        model: as the server calls it.
        sampling: how; stop texts and length come with the requests.
        identity, chat: see `Answerer`.
        at_once: requests under way at a time.
        key: sent as a bearer token; never shown.
        timeout_s: of one request.
        tries: before a request counts as failed.
    """

    url: str
    model: str
    sampling: SamplingParams
    identity: str
    chat: bool
    at_once: int = 16
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 600.0
    tries: int = 5

    def replies(self, asks: Sequence[Ask]) -> list[str]:
        """Return a reply to each request.

        Raises:
            EngineError: the server refuses one, or does not answer.
        """
        return self._each(self._reply, asks)

    def likelihoods(self, pairs: Sequence[Weigh]) -> list[float]:
        """Return the log-probability of each continuation, nats, by echoed completions.

        Raises:
            EngineError: the server refuses one, or returns no log-probabilities of the prompt.
        """
        return self._each(self._likelihood, pairs)

    def _each(self, ask: Any, requests: Sequence[Any]) -> list[Any]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with (
            httpx.Client(timeout=self.timeout_s, headers=headers) as client,
            ThreadPoolExecutor(self.at_once) as pool,
        ):
            running = [pool.submit(ask, client, request) for request in requests]
            try:
                return [future.result() for future in running]
            except BaseException:
                for future in running:
                    future.cancel()
                raise

    def _reply(self, client: httpx.Client, ask: Ask) -> str:
        sampling = self.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": ask.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if ask.stop:
            body["stop"] = list(ask.stop[:4])  # the API takes no more
        if sampling.seed is not None and not sampling.greedy:
            body["seed"] = sampling.seed + ask.number
        if not self.chat:
            answer = self._post(client, "completions", {**body, "prompt": ask.system + ask.prompt})
            text = self._field(answer, "choices", 0, "text")
        else:
            messages = [{"role": "system", "content": ask.system}] if ask.system else []
            messages.append({"role": "user", "content": ask.prompt})
            answer = self._post(client, "chat/completions", {**body, "messages": messages})
            text = self._field(answer, "choices", 0, "message", "content") or ""
        ends = [place for stop in ask.stop[4:] if (place := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text

    def _likelihood(self, client: httpx.Client, pair: Weigh) -> float:
        whole = pair.context + pair.continuation
        begin = len(pair.context.rstrip())
        body = {
            "model": self.model, "prompt": whole, "max_tokens": 1, "echo": True, "logprobs": 1,
            "temperature": 0,
        }  # fmt: skip
        answer = self._post(client, "completions", body)
        logprobs = self._field(answer, "choices", 0, "logprobs")
        try:
            places, values = logprobs["text_offset"], logprobs["token_logprobs"]
            inside = [v for p, v in zip(places, values, strict=True) if begin <= p < len(whole)]
            return float(sum(inside))
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(
                f"{self.url}/completions: the log-probabilities of the prompt's tokens are "
                "missing, which likelihoods of choices are read from (echo with logprobs). "
                "--eval_prompt chat asks for letters instead."
            ) from error

    def _post(self, client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
        problem = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(min(2.0**attempt, LONGEST_WAIT_S) * random.uniform(0.5, 1.0))
            try:
                response = client.post(f"{self.url}/{path}", json=body)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 200:
                return _json(response, f"{self.url}/{path}")
            problem = f"HTTP {response.status_code}: {_told(response)}"
            if response.status_code not in RETRIED:
                break
        raise EngineError(f"--eval_url {self.url}/{path}: {problem}")

    def _field(self, answer: Any, *path: str | int) -> Any:
        for step in path:
            try:
                answer = answer[step]
            except (KeyError, IndexError, TypeError):
                raise EngineError(
                    f"--eval_url {self.url}: the answer has no {'.'.join(map(str, path))}: "
                    f"{str(answer)[:200]}"
                ) from None
        return answer


def served_model(url: str, key: str | None, asked: str | None) -> str:
    """Return the model to ask for: `asked`, if the server has it, or its only one.

    Raises:
        EngineError: the server does not answer, or has no such model, or several.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        response = httpx.get(f"{url}/models", headers=headers, timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EngineError(
            f"--eval_url {url}: {type(error).__name__}: {error}. Give the address up to /v1, e.g. "
            "http://127.0.0.1:8000/v1."
        ) from error
    if response.status_code != 200:
        raise EngineError(
            f"--eval_url {url}/models: HTTP {response.status_code}: {_told(response)}"
        )
    listed = _json(response, f"{url}/models")
    names = [str(entry.get("id")) for entry in listed.get("data", [])]
    if asked is None and len(names) == 1:
        return names[0]
    if asked in names:
        return str(asked)
    what = f"--model {asked}: not served at {url}" if asked else f"--eval_url {url}: give --model"
    raise EngineError(f"{what}; models there: {', '.join(names[:10]) or 'none'}.")


def _told(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:300]
    except (ValueError, KeyError, TypeError):
        return response.text[:300]


def _json(response: httpx.Response, place: str) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise EngineError(f"--eval_url {place}: no JSON came: {response.text[:200]}") from error
