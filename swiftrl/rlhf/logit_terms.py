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
from swiftrl.models.attention import use_attention
from swiftrl.models.backbone import Backbone
from swiftrl.models.value_head import value_head
from swiftrl.rlhf.logprobs import LogitTerms
from swiftrl.rlhf.tree_attention import NAME

__all__ = ["Ending", "find_ending"]

_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling", "logits_mup_width_multiplier")
_SHUT = -1e30
"""Logits that models set below this are of tokens that they never say."""
_NEVER = -1e4
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows the backbone.

    Attributes:
        terms: what happens to the head's output.
        before_head: a layer between backbone and head (ModernBERT's prediction head).
        vocabulary: how many of the head's outputs count, if not all: the rest pad it.
        unsaid: [S] tokens that the model never says, such as the codes of pictures (Chameleon).
    """

    terms: LogitTerms = field(default_factory=LogitTerms)
    before_head: nn.Module | None = None
    vocabulary: int | None = None
    unsaid: Tensor | None = None

    def bias(self, head: nn.Linear) -> Tensor | None:
        """Return what is added to the head's products, [V] or None."""
        own = head.bias if head.bias is None else head.bias[: self.vocabulary]
        if self.unsaid is None:
            return own
        added = head.weight.new_zeros(self.vocabulary or head.out_features)
        added[self.unsaid] = _NEVER
        return added if own is None else own + added


@dataclass(frozen=True, slots=True)
class _Seen:
    """What went through a model: [1, T, D] hidden states, [1, T, V] the head's output, logits."""

    hidden: Tensor
    head_input: Tensor
    head_output: Tensor
    logits: Tensor


def find_ending(lm: Any, backbone: Backbone, temperature: float = 1.0) -> Ending:
    """Return how a causal language model ends.

    Args:
        lm: of transformers; it runs on a few tokens if it may end in any special way.
        backbone: of it.
        temperature: of the distribution.
    """
    named, *others = _readings(lm.config)
    head, gives = backbone.head, backbone.gives
    owner = lm if backbone.reads is gives else _owner(lm, head)
    # A critic's head reads what the head of words reads, and stands beside it.
    known = (gives, head, value_head(lm))
    between = [child for child in owner.children() if not any(child is one for one in known)]
    text = lm.config.get_text_config(decoder=True)
    padded = getattr(text, "unpadded_vocab_size", None)
    ending = Ending(named)
    codes = getattr(lm.config, "vocabulary_map", None)
    if (others or between or padded or codes) and (seen := _look(lm, head, gives)):
        found = _explained(seen, head, (named, *others), between)
        if found is None:
            log.warn(
                f"{type(lm).__name__}: a trial does not explain how its logits come about, so its "
                "configuration is believed; its log-probabilities may differ from the model's own."
            )
        ending = found or ending
    return replace(ending, terms=replace(ending.terms, temperature=temperature))


def _owner(lm: nn.Module, head: nn.Module) -> nn.Module:
    """Return the part of a model whose child the head is."""
    return next(part for part in lm.modules() if any(child is head for child in part.children()))


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
    shut = (wanted <= _SHUT).all(dim=(0, 1))
    unsaid = shut.nonzero().squeeze(1) if shut.any() else None
    wanted = wanted[..., ~shut]
    bound = 1e-2 * wanted.abs().max().clamp_min(1e-6)
    best: tuple[float, Ending] | None = None
    for layer in (None, *between):
        output = _head_output(seen, head, layer)
        if output is None or output.shape[-1] < width:
            continue
        vocabulary = width if output.shape[-1] > width else None
        for terms in readings:
            found = terms.apply(output[..., :width].float())[..., ~shut]
            error = float((found - wanted).abs().max())
            if error <= bound and (best is None or error < best[0]):
                best = error, Ending(terms, layer, vocabulary, unsaid)
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
