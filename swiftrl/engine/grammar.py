"""Replies that must be JSON, match a regular expression or follow a grammar, by llguidance.

Shapes: V vocabulary.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swiftrl.core.errors import EngineError
from swiftrl.engine.sampling import Grammar

__all__ = ["Grammars"]

_KEPT = 64
_LONGEST = 200_000


class Grammars:
    """Makes matchers for the grammars that requests bring; threads may share it.

    Args:
        tokenizer: of the model.
        stop_token_ids: those that may end a reply once its text is complete.
    """

    def __init__(self, tokenizer: Any, stop_token_ids: Sequence[int]) -> None:
        self._tokenizer, self._stops = tokenizer, list(stop_token_ids)
        self._tokens: Any = None
        self._compiled: OrderedDict[Grammar, Any] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, grammar: Grammar) -> _Matcher:
        """Return a matcher at the beginning of a reply.

        Raises:
            EngineError: llguidance is not installed, or the grammar is none.
        """
        with self._lock:
            found = self._compiled.get(grammar)
            if found is None:
                found = self._compiled[grammar] = self._compile(grammar)
            self._compiled.move_to_end(grammar)
            while len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return _Matcher(found.deep_copy(), self._tokens.vocab_size)

    def _compile(self, grammar: Grammar) -> Any:
        if len(grammar.text) > _LONGEST:
            raise EngineError(
                f"a {grammar.kind} of {len(grammar.text)} characters: at most {_LONGEST}."
            )
        try:
            import llguidance
            import llguidance.hf
        except ImportError:
            raise EngineError(
                "structured output needs llguidance: pip install 'swiftrl[deploy]'."
            ) from None
        if self._tokens is None:
            self._tokens = llguidance.hf.from_tokenizer(
                self._tokenizer, eos_token=self._stops or None
            )
        make = {
            "json_schema": llguidance.LLMatcher.grammar_from_json_schema,
            "regex": llguidance.LLMatcher.grammar_from_regex,
            "lark": llguidance.LLMatcher.grammar_from_lark,
        }[grammar.kind]
        try:
            matcher = llguidance.LLMatcher(self._tokens, make(grammar.text), log_level=0)
        except ValueError as error:
            raise EngineError(f"{grammar.kind}: {error}") from None
        if matcher.is_error():
            reason = matcher.get_error().strip().splitlines()[0]
            raise EngineError(f"{grammar.kind}: {reason}")
        return matcher


class _Matcher:
    """A reply's place in its grammar; see `sampling.Matcher`."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher, self._size = matcher, size

    def allowed(self, device: object) -> Tensor:
        """Return [V] bool, the tokens that may come next.

        Raises:
            EngineError: the grammar is too complex to go on with.
        """
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        found = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        if self._matcher.is_error():
            raise EngineError(f"structured output: {self._matcher.get_error().strip()}")
        return found.flatten()[: self._size].bool().to(device)  # type: ignore[arg-type]

    def add(self, token: int) -> None:
        """Take the token that came."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)
