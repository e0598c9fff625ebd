"""Forward passes of a continuous batch, and whether a model bears them.

Shapes: B rows, T packed tokens, R read places, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swiftrl.core.errors import EngineError, SwiftRLError
from swiftrl.engine.adapters import Adapters
from swiftrl.engine.attention import NAME, STEP, Decode, Prefill, Span, register
from swiftrl.engine.cache import SlotCache
from swiftrl.models.attention import use_attention

__all__ = ["Forward"]

_FAILURES = (
    SwiftRLError, RuntimeError, ValueError, TypeError, AttributeError, LookupError,
    NotImplementedError,
)  # fmt: skip
"""What a model's own code may raise where it does not bear something."""
_TRIAL = (13, 6)
"""Tokens of the two prompts of the trial."""
_STEPS = 3


class Forward:
    """Runs a model on prompts and on one more token of every row.

    Args:
        model: a causal model of transformers, or PEFT's around it.
        adapters: those that are loaded on it.
        compute_dtype: type of products where the weights are held in a wider one.
    """

    def __init__(
        self, model: Any, adapters: Adapters, compute_dtype: torch.dtype | None = None
    ) -> None:
        self.adapters = adapters
        self._base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._config = self._base.config.get_text_config(decoder=True)
        self._compute_dtype = compute_dtype
        self.device = self._base.device
        self.vocabulary = int(self._base.get_input_embeddings().weight.shape[0])
        register()

    def prefill(
        self,
        cache: SlotCache,
        ids: Sequence[int],
        spans: Sequence[Span],
        read: Sequence[int],
        adapter: str | None = None,
    ) -> Tensor:
        """Read prompts.

        Args:
            cache: takes keys and values.
            ids: T token ids, span after span.
            spans: of which row, from which place on, how many.
            read: places in `ids` whose next token's logits are wanted; at least one.
            adapter: of all of them.

        Returns:
            [R, V] logits, float32.
        """
        positions = [place for span in spans for place in range(span.start, span.start + span.size)]
        step = Prefill(cache, spans=spans)
        keep = torch.tensor(read, device=self.device)
        return self._run([list(ids)], [positions], step, keep, [adapter])[0]

    def decode(
        self,
        cache: SlotCache,
        ids: Sequence[int],
        lengths: Sequence[int],
        adapters: Sequence[str | None],
    ) -> Tensor:
        """Give rows 0 to B - 1 one more token each.

        Args:
            cache: holds their keys and values, and takes the new ones.
            ids: B new tokens.
            lengths: of the rows, the new token included.
            adapters: of the rows.

        Returns:
            [B, V] logits, float32.
        """
        step = Decode(cache, lengths=lengths)
        positions = [[length - 1] for length in lengths]
        return self._run([[token] for token in ids], positions, step, 0, adapters)[:, 0]

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Put new values into the model's parameters by name.

        Raises:
            EngineError: a name or a shape is not the model's; nothing was changed then.
        """
        own = dict(self._base.named_parameters())
        for name, value in weights.items():
            if name not in own or own[name].shape != value.shape:
                found = list(own[name].shape) if name in own else "absent"
                raise EngineError(
                    f"new weights: {name} of shape {list(value.shape)}; the model's is {found}."
                )
        with torch.no_grad():
            for name, value in weights.items():
                own[name].copy_(value)

    def _run(
        self,
        ids: list[list[int]],
        positions: list[list[int]],
        step: Prefill | Decode,
        keep: Tensor | int,
        adapters: Sequence[str | None],
    ) -> Tensor:
        with self._ready(), self.adapters.chosen(adapters) as arguments:
            output = self.adapters.model(
                input_ids=torch.tensor(ids, device=self.device),
                position_ids=torch.tensor(positions, device=self.device),
                use_cache=False,
                logits_to_keep=keep,
                **{STEP: step},
                **arguments,
            )
        return output.logits.float()

    @contextlib.contextmanager
    def _ready(self) -> Iterator[None]:
        before, training = self._config._attn_implementation, self._base.training
        use_attention(self._config, NAME)
        if training:
            self._base.eval()
        mixed = torch.autocast(
            self.device.type, self._compute_dtype, enabled=self._compute_dtype is not None
        )
        try:
            with torch.inference_mode(), mixed:
                yield
        finally:
            use_attention(self._config, before)
            if training:
                self._base.train()

    def why_not(self) -> str | None:
        """Return why the model does not bear a continuous batch, or None if it does.

        A few tokens are read in pieces and written beside others, and held against the plain
        forward pass.
        """
        if self._rotates_by_length():
            return "its positions are rotated by how long the longest row is"
        size = max(self.vocabulary // 2, 1)
        prompts = [[(7 * place + 3 * row) % size for place in range(count + _STEPS)]
                   for row, count in enumerate(_TRIAL)]  # fmt: skip
        try:
            found = self._tried(prompts)
            wanted = [self._plain(prompt)[-_STEPS - 1 :] for prompt in prompts]
        except _FAILURES as error:
            return " ".join(str(error).split())[:200] or type(error).__name__
        error = torch.cat(found) - torch.cat(wanted)
        exact = self._compute_dtype is None and self._base.dtype == torch.float32
        # Of all logits together: by rounding alone a router may send a token to another expert.
        scale = torch.cat(wanted).square().mean().sqrt().clamp_min(1e-6)
        if float(error.square().mean().sqrt() / scale) <= (1e-3 if exact else 0.2):
            return None
        return "it does not write there what its plain forward pass does"

    def _tried(self, prompts: list[list[int]]) -> list[Tensor]:
        """Return each prompt's last logits [steps + 1, V] as a continuous batch has them."""
        long, short = _TRIAL
        cache = SlotCache()
        cache.reserve(2, long + _STEPS)
        first = prompts[0][: long - 4]
        self.prefill(cache, first, [Span(0, 0, len(first))], [len(first) - 1])
        rest = [*prompts[0][long - 4 : long], *prompts[1][:short]]
        spans = [Span(0, long - 4, 4), Span(1, 0, short)]
        steps = [self.prefill(cache, rest, spans, [3, 3 + short])]
        for count in range(_STEPS):
            ids = [prompt[size + count] for prompt, size in zip(prompts, _TRIAL, strict=True)]
            steps.append(self.decode(cache, ids, [size + count + 1 for size in _TRIAL], [None] * 2))
        both = torch.stack(steps, dim=1)
        return [both[0], both[1]]

    def _plain(self, prompt: list[int]) -> Tensor:
        ids = torch.tensor([prompt], device=self.device)
        before = self._config._attn_implementation
        with self._ready(), self.adapters.chosen([None]):
            use_attention(self._config, before)
            return self._base(input_ids=ids, use_cache=False).logits[0].float()

    def _rotates_by_length(self) -> bool:
        """Return whether a row's rotation depends on the longest row beside it (long RoPE)."""
        rope = getattr(self._config, "rope_parameters", None) or {}
        kinds = [rope, *[part for part in rope.values() if isinstance(part, dict)]]
        return any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds)
