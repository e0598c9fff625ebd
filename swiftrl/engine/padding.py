"""A model in the state that generation needs, and whether padding on the left goes unseen by it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin

__all__ = ["for_inference", "generate", "padding_is_unseen"]

_MIXIN: Any = GenerationMixin
# The checker finds no such method on a class that only models may mix in.
generate: Any = _MIXIN.generate
"""What every model inherits; its own may drop the processor that chooses tokens (Janus)."""

_LENGTH = 12
_PADDING = 5
_STEPS = 3


def padding_is_unseen(model: Any, tokenizer: Any, compute_dtype: torch.dtype | None) -> bool:
    """Return whether a model continues a padded prompt as it does the prompt alone.

    Recurrent models without a mask, and some caches, let padding in. A few tokens are tried.

    Args:
        model: a causal model, adapters included.
        tokenizer: of the model.
        compute_dtype: as in `for_inference`.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    padding = tokenizer.pad_token_id or 0
    words = torch.arange(_LENGTH) * 7 % max(base.get_input_embeddings().weight.shape[0] // 2, 1)
    alone = words[None].to(base.device)
    padded = torch.cat([alone.new_full((1, _PADDING), padding), alone], dim=1)
    mask = torch.ones_like(padded)
    mask[:, :_PADDING] = 0
    # A batch, as the shorter prompt is never alone with its padding.
    beside = torch.cat([padded, words.flip(0).repeat(2)[None, : padded.shape[1]].to(base.device)])
    masks = torch.cat([mask, torch.ones_like(mask)])
    config = GenerationConfig(
        do_sample=False, max_new_tokens=_STEPS, pad_token_id=padding, use_cache=True,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    with for_inference(base, config, compute_dtype):
        try:
            found = _logits(base, beside, masks, config)
        except (RuntimeError, ValueError, IndexError):
            return False
        wanted = _logits(base, alone, torch.ones_like(alone), config)
    exact = compute_dtype is None and next(base.parameters()).dtype == torch.float32
    bound = (1e-3 if exact else 0.1) * wanted.abs().max().clamp_min(1e-6)
    return bool((found - wanted).abs().max() <= bound)


def _logits(
    base: Any, ids: torch.Tensor, mask: torch.Tensor, config: GenerationConfig
) -> torch.Tensor:
    """Return the first row's logits of every step [steps, V]."""
    made = generate(base, input_ids=ids, attention_mask=mask, generation_config=config)
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
    try:
        with torch.no_grad(), mixed:
            yield
    finally:
        base.train(training)
        base.generation_config = published
