"""Which layout a model gets: trees where its attention lets us, padded rows otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.data.batch import Tree, TreeBatch, pack
from swiftrl.models.attention import use_attention
from swiftrl.models.backbone import backbone_of
from swiftrl.models.heads import score_head
from swiftrl.models.media_arguments import reads_prompt_both_ways
from swiftrl.models.picture_rows import has_rows_of_pictures
from swiftrl.rlhf.media_inputs import media_rows
from swiftrl.rlhf.reference import evaluating
from swiftrl.rlhf.scoring import Scorer, causal_lm
from swiftrl.rlhf.tree_attention import register

__all__ = ["LayoutChoice", "choose_layout", "layout_error", "probe_batch", "vocabulary_size"]

_ATTENTION = {"full_attention", "sliding_attention"}
_FAILURES = (ModelError, TypeError, ValueError, RuntimeError, AttributeError, LookupError)
"""What a model's own code may raise on a few tokens."""
_RECURRENT = ("mamba", "ssm", "linear_attn", "rwkv", "recurrent", "short_conv", "shortconv")


@dataclass(frozen=True, slots=True)
class LayoutChoice:
    """A layout and why it was chosen."""

    layout: str
    reason: str


def choose_layout(
    model: nn.Module,
    requested: str = "auto",
    *,
    probe: bool = True,
    pictures: TreeBatch | None = None,
) -> LayoutChoice:
    """Choose between "tree" and "rows".

    A look at the architecture comes first; then, with `probe`, a batch of a dozen tokens runs in
    the tree layout and through the model's own forward, and the two must agree.

    Args:
        model: a causal language model, with or without PEFT adapters.
        requested: "auto", "tree" or "rows".
        probe: whether to run it.
        pictures: a batch with a picture, on which a multimodal model is tried as well.

    Raises:
        ConfigError: "tree" was asked for and does not apply.
        ModelError: tokens see those behind them.
    """
    if requested not in ("auto", "tree", "rows"):
        raise ConfigError(f"--layout {requested}: expected auto, tree or rows.")
    if probe and _looks_ahead(model):
        raise ModelError(
            f"{type(causal_lm(model)).__name__}: what it says of a token changes with the tokens "
            "behind it, so that a pass over a reply does not give the probabilities of its tokens. "
            "Choose a model that reads from left to right."
        )
    if requested == "rows":
        return LayoutChoice("rows", "asked for")
    obstacle = _obstacle(model, pictures is not None)
    if obstacle is None and probe:
        obstacle = _disagreement(model)
        if obstacle is None and pictures is not None:
            obstacle = _disagreement(model, pictures)
    if obstacle is None:
        return LayoutChoice("tree", "shared prompts run once")
    if requested == "tree":
        raise ConfigError(f"--layout tree: {obstacle}. Use --layout auto or rows.")
    return LayoutChoice("rows", obstacle)


def _obstacle(model: nn.Module, with_pictures: bool) -> str | None:
    lm = causal_lm(model)
    name = type(lm).__name__
    if with_pictures and has_rows_of_pictures(lm):
        return f"{name} sees pictures in cross-attention, those of its row"
    if getattr(lm, "_is_stateful", False):
        return f"{name} carries a recurrent state from token to token"
    if reads_prompt_both_ways(lm):
        return f"{name} reads its prompt in both directions"
    text = lm.config.get_text_config(decoder=True)
    other = sorted(set(getattr(text, "layer_types", None) or ()) - _ATTENTION)
    if other:
        return f"{name} has layers that tree attention does not know ({', '.join(other)})"
    for module_name, _ in lm.named_modules():
        leaf = module_name.rpartition(".")[2].lower()
        if any(word in leaf for word in _RECURRENT):
            return f"{name} has recurrent layers ({module_name})"
    # A multimodal model's language model may do what the whole does not claim.
    takers = [lm, *(module for module in lm.modules() if getattr(module, "config", None) is text)]
    if not any(getattr(module, "_supports_attention_backend", False) for module in takers):
        return f"{name} does not take its attention from transformers' AttentionInterface"
    if getattr(lm.config, "is_encoder_decoder", False):
        return f"{name} is an encoder-decoder"
    return None


def _first_sentence(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0][:200]


def _looks_ahead(model: nn.Module) -> bool:
    """Return whether what is said of a token changes with later ones.

    A model that needs a picture is believed.
    """
    lm = causal_lm(model)
    device = lm.get_input_embeddings().weight.device
    batch = probe_batch(vocabulary_size(lm)).to(device)
    ids = batch.to_rows().token_ids[:1]
    other = ids.clone()
    other[:, -2:] = ids[:, :2]
    types = {"token_type_ids": torch.ones_like(ids)} if reads_prompt_both_ways(lm) else {}

    def run(tokens: Tensor) -> Tensor:
        if score_head(lm) is not None:
            return backbone_of(lm)(input_ids=tokens, use_cache=False, **types)
        return model(input_ids=tokens, use_cache=False, **types).logits

    with evaluating(model):
        try:
            seen, changed = (run(tokens)[:, :-2].float() for tokens in (ids, other))
        except _FAILURES:
            return False
    return bool((seen - changed).abs().max() > 0.05 * seen.abs().max())


def _disagreement(model: nn.Module, batch: TreeBatch | None = None) -> str | None:
    """Run the probe; return what is wrong, if anything."""
    name = type(causal_lm(model)).__name__
    try:
        error = layout_error(model, "tree", batch)
    except _FAILURES as failure:
        return f"{name} failed in the tree layout ({_first_sentence(failure)})"
    bound = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.1
    if not error <= bound:
        return f"{name} gives other log-probabilities in the tree layout (off by {error:.1%})"
    return None


def probe_batch(
    vocab_size: int, *, trunk: int = 4, branches: tuple[int, ...] = (3, 4)
) -> TreeBatch:
    """Two small trees of arbitrary tokens."""
    step = max(1, vocab_size // 41)

    def some(start: int, length: int) -> np.ndarray:
        return ((start + np.arange(length)) * step % vocab_size).astype(np.int32)

    trees = [
        Tree(
            some(7 * number + 1, trunk),
            tuple(some(11 * number + 5 * k + 17, n) for k, n in enumerate(branches)),
            tuple(np.ones(n, dtype=np.float32) for n in branches),
        )
        for number in range(2)
    ]
    return pack(trees)


def vocabulary_size(lm: Any) -> int:
    """Return how many tokens a model both reads and writes."""
    read = lm.get_input_embeddings().num_embeddings
    if score_head(lm) is not None:
        return read
    head = backbone_of(lm).head
    return min(read, getattr(head, "out_features", read))


def layout_error(model: nn.Module, layout: str, batch: TreeBatch | None = None) -> float:
    """Return how far a layout's log-probabilities lie from those of the model's own forward.

    Returns:
        root mean square of the difference, over the spread of the log-probabilities.
    """
    lm = causal_lm(model)
    batch = batch or probe_batch(vocabulary_size(lm))
    batch = batch.to(lm.get_input_embeddings().weight.device)
    with evaluating(model):
        expected = _own_logprobs(model, batch)
        found = _scored(model, layout, batch)
    spread = (expected - expected.mean()).square().mean().sqrt().clamp_min(1e-2)
    return float((found - expected).square().mean().sqrt() / spread)


def _scored(model: nn.Module, layout: str, batch: TreeBatch) -> Tensor:
    register()
    config = causal_lm(model).config.get_text_config(decoder=True)
    before = config._attn_implementation
    dtype = next(model.parameters()).dtype
    try:
        return Scorer(model, layout=layout, compute_dtype=dtype)(batch).logps
    finally:
        use_attention(config, before)


def _own_logprobs(model: nn.Module, batch: TreeBatch) -> Tensor:
    rows, lm = batch.to_rows(), causal_lm(model)
    if score_head(lm) is not None:  # its own forward reads the last tokens only
        return _scored(model, "rows", batch)
    logps = torch.zeros_like(batch.target_ids, dtype=torch.float32)
    calls = media_rows(lm, backbone_of(lm).reads, batch, rows, own_positions=True)
    width = rows.token_ids.shape[1]
    for call in calls:
        output: Any = model(use_cache=False, **call.arguments)
        place = (rows.source_index // width == call.rows[:, None]).nonzero()
        chosen = output.logits[place[:, 0], rows.source_index[place[:, 1]] % width].float()
        targets = batch.target_ids[place[:, 1], None]
        logps[place[:, 1]] = chosen.log_softmax(-1).gather(1, targets).squeeze(1)
    return logps
