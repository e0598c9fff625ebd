"""What a model does between its backbone's hidden states and its logits, its head aside.

Configurations name such terms, but a multimodal model may leave out what its language model does
alone, or turn it round: of two with `logits_scaling`, one divides by it and one multiplies. So
where there may be anything, the model itself is asked, on a few tokens.

Shapes: T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.core import log
from swiftrl.rlhf.logprobs import LogitTerms
from swiftrl.rlhf.tree_attention import NAME, use_attention

__all__ = ["Ending", "find_ending"]

_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling", "logits_mup_width_multiplier")
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows the backbone.

    Attributes:
        terms: what happens to the head's output.
        before_head: a layer between backbone and head (ModernBERT's prediction head).
        vocabulary: how many of the head's outputs count, if not all: the rest pad it.
    """

    terms: LogitTerms = field(default_factory=LogitTerms)
    before_head: nn.Module | None = None
    vocabulary: int | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What went through a model: [1, T, D] hidden states, [1, T, V] the head's output, logits."""

    hidden: Tensor
    head_input: Tensor
    head_output: Tensor
    logits: Tensor


def find_ending(lm: Any, backbone: nn.Module, temperature: float = 1.0) -> Ending:
    """Return how a causal language model ends.

    Args:
        lm: of transformers; it runs on a few tokens if it may end in any special way.
        backbone: of it.
        temperature: of the distribution.
    """
    named, *others = _readings(lm.config)
    head = lm.get_output_embeddings()
    between = [child for child in lm.children() if child is not backbone and child is not head]
    text = lm.config.get_text_config(decoder=True)
    padded = getattr(text, "unpadded_vocab_size", None)
    ending = Ending(named)
    if head is not None and (others or between or padded) and (seen := _look(lm, head, backbone)):
        found = _explained(seen, head, (named, *others), between)
        if found is None:
            log.warn(
                f"{type(lm).__name__}: a trial does not explain how its logits come about, so its "
                "configuration is believed; its log-probabilities may differ from the model's own."
            )
        ending = found or ending
    return replace(ending, terms=replace(ending.terms, temperature=temperature))


def _readings(config: Any) -> Iterator[LogitTerms]:
    """Yield what a configuration's terms may mean, as transformers' language models mean it first.

    Only one reading comes if there are no terms.
    """
    text = config.get_text_config(decoder=True)

    def number(name: str) -> float:
        return float(getattr(text, name, None) or 1.0)

    scale = 1.0
    for name in _FACTORS:
        scale *= number(name)
    for name in _DIVISORS:
        scale /= number(name)
    found = [float(cap) for name in _CAPS if (cap := getattr(text, name, None))]
    scales = dict.fromkeys((scale, scale * number("output_multiplier"), 1 / scale, 1.0))
    caps = dict.fromkeys((*found[:1], None))
    yield from (LogitTerms(factor, cap) for cap in caps for factor in scales)


def _explained(
    seen: _Seen, head: nn.Module, readings: tuple[LogitTerms, ...], between: list[nn.Module]
) -> Ending | None:
    """Return the ending that gives the logits, or None if none of these does."""
    wanted = seen.logits.float()
    width = wanted.shape[-1]
    bound = 1e-2 * wanted.abs().max().clamp_min(1e-6)
    best: tuple[float, Ending] | None = None
    for layer in (None, *between):
        output = _head_output(seen, head, layer)
        if output is None or output.shape[-1] < width:
            continue
        vocabulary = width if output.shape[-1] > width else None
        for terms in readings:
            error = float((terms.apply(output[..., :width].float()) - wanted).abs().max())
            if error <= bound and (best is None or error < best[0]):
                best = error, Ending(terms, layer, vocabulary)
    return best[1] if best else None


def _head_output(seen: _Seen, head: nn.Module, layer: nn.Module | None) -> Tensor | None:
    """Return the head's output on the hidden states, through a layer if one is given."""
    same = seen.hidden.shape == seen.head_input.shape
    if layer is None and same and torch.equal(seen.hidden, seen.head_input):
        return seen.head_output
    with torch.no_grad():
        # Any child may be tried, whatever it is for.
        try:
            return head(seen.hidden if layer is None else layer(seen.hidden))
        except (TypeError, ValueError, RuntimeError, AttributeError, LookupError):
            return None


def _look(lm: Any, head: nn.Module, backbone: nn.Module) -> _Seen | None:
    """Run a few tokens through; None if the model runs with more than tokens only."""
    kept: dict[str, Tensor] = {}

    def keep_head(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        kept["head_input"], kept["head_output"] = inputs[0], output

    def keep_hidden(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        kept["hidden"] = output.last_hidden_state if hasattr(output, "keys") else output[0]

    hooks = [head.register_forward_hook(keep_head), backbone.register_forward_hook(keep_hidden)]
    ids = torch.arange(1, 5, device=next(lm.parameters()).device)[None]
    text, training = lm.config.get_text_config(decoder=True), lm.training
    attention = text._attn_implementation
    if attention == NAME:
        # A copy of a model in training has tree attention, which a bare call would not feed.
        use_attention(text, "eager")
    try:
        with torch.no_grad():
            logits = lm.eval()(input_ids=ids, use_cache=False).logits
    except (TypeError, ValueError):
        return None
    finally:
        for hook in hooks:
            hook.remove()
        use_attention(text, attention)
        lm.train(training)
    return _Seen(**kept, logits=logits) if len(kept) == 3 else None
