"""A model in the state that generation needs, and what it bears: padding on the left, a cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin

from swiftrl.models.backbone import head_of
from swiftrl.models.media_batch import row_arguments

__all__ = ["cache_agrees", "for_inference", "generate", "padding_is_unseen"]

_MIXIN: Any = GenerationMixin
# The checker finds no such method on a class that only models may mix in.
generate: Any = _MIXIN.generate
"""What every model inherits; its own may drop the processor that chooses tokens (Janus)."""

_LENGTH = 12
_PADDING = 5
_STEPS = 3


_FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError)
"""What a model's own code may raise where it does not bear something."""


def cache_agrees(model: Any, tokenizer: Any, compute_dtype: torch.dtype | None) -> bool:
    """Return whether a model that keeps a cache writes as its plain forward pass does.

    Some caches of transformers cannot be made, or hold what later tokens do not expect. A few
    tokens are tried. A model that does not run on text alone is believed.

    Args:
        model: a causal model, adapters included.
        tokenizer: of the model.
        compute_dtype: as in `for_inference`.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    words = _words(base)
    whole = torch.ones_like(words)
    config = _config(tokenizer.pad_token_id or 0, use_cache=True)
    with for_inference(base, config, compute_dtype):
        try:
            made = generate(
                base, input_ids=words, attention_mask=whole, generation_config=config,
                **row_arguments(base, words, whole, [], base.dtype),
            )  # fmt: skip
        except _FAILURES:
            return not _runs(base, words)
        ids = made.sequences[:, :-1]
        replied = (torch.arange(ids.shape[1], device=ids.device) >= _LENGTH).long()[None]
        types = row_arguments(base, ids, torch.ones_like(ids), [], base.dtype, replied)
        wanted = base(input_ids=ids, use_cache=False, **types).logits[0, _LENGTH - 1 :].float()
    found = torch.stack([step[0] for step in made.logits]).float()
    exact = compute_dtype is None and next(base.parameters()).dtype == torch.float32
    # Of all logits together: by rounding alone a router may send a token to another expert.
    error = (found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt().clamp_min(1e-6)
    return bool(error <= (1e-3 if exact else 0.2))


def _runs(base: Any, words: torch.Tensor) -> bool:
    try:
        base(input_ids=words, use_cache=False)
    except _FAILURES:
        return False
    return True


def _words(base: Any) -> torch.Tensor:
    size = max(base.get_input_embeddings().weight.shape[0] // 2, 1)
    return (torch.arange(_LENGTH) * 7 % size)[None].to(base.device)


def _config(padding: int, use_cache: bool) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False, max_new_tokens=_STEPS, pad_token_id=padding, use_cache=use_cache,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip


def padding_is_unseen(
    model: Any, tokenizer: Any, compute_dtype: torch.dtype | None, *, use_cache: bool = True
) -> bool:
    """Return whether a model continues a padded prompt as it does the prompt alone.

    Recurrent models without a mask, and some caches, let padding in. A few tokens are tried.

    Args:
        model: a causal model, adapters included.
        tokenizer: of the model.
        compute_dtype: as in `for_inference`.
        use_cache: whether it will write with one.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    padding = tokenizer.pad_token_id or 0
    alone = _words(base)
    words = alone[0]
    padded = torch.cat([alone.new_full((1, _PADDING), padding), alone], dim=1)
    mask = torch.ones_like(padded)
    mask[:, :_PADDING] = 0
    # A batch, as the shorter prompt is never alone with its padding.
    beside = torch.cat([padded, words.flip(0).repeat(2)[None, : padded.shape[1]]])
    masks = torch.cat([mask, torch.ones_like(mask)])
    config = _config(padding, use_cache)
    with for_inference(base, config, compute_dtype):
        try:
            found = _logits(base, beside, masks, config)
        except _FAILURES:
            return False
        wanted = _logits(base, alone, torch.ones_like(alone), config)
    exact = compute_dtype is None and next(base.parameters()).dtype == torch.float32
    bound = (1e-3 if exact else 0.1) * wanted.abs().max().clamp_min(1e-6)
    return bool((found - wanted).abs().max() <= bound)


def _logits(
    base: Any, ids: torch.Tensor, mask: torch.Tensor, config: GenerationConfig
) -> torch.Tensor:
    """Return the first row's logits of every step [steps, V]."""
    types = row_arguments(base, ids, mask, [], base.dtype)
    made = generate(base, input_ids=ids, attention_mask=mask, generation_config=config, **types)
    return torch.stack([step[0] for step in made.logits]).float()


@contextlib.contextmanager
def for_inference(
    base: Any, config: GenerationConfig, compute_dtype: torch.dtype | None
) -> Iterator[None]:
    """Put a model into the state `generate` needs, and back into training's."""
    training, published = base.training, base.generation_config
    # generate fills what `config` leaves open from here: penalties, for instance.
    base.generation_config = config
    base.eval()
    mixed = torch.autocast(base.device.type, compute_dtype, enabled=compute_dtype is not None)
    # A slice, as the last tokens of several prompts are, is multiplied on a CPU with a copy of the
    # head for each of them.
    head = head_of(base)
    hook = head.register_forward_pre_hook(_contiguous) if head is not None else None
    try:
        with torch.no_grad(), mixed:
            yield
    finally:
        if hook is not None:
            hook.remove()
        base.train(training)
        base.generation_config = published


def _contiguous(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(value.contiguous() for value in inputs)
