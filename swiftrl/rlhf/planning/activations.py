"""What the backward pass keeps of a forward pass, operation by operation, in bytes.

Each function mirrors an operation of the step: `fused_ops` (norms, LoRA layers, gates),
`fused_mlp`, `block_attention` and torch's attention in `tree_attention`, `logprobs`. A test holds
them against what autograd is seen to save (`torch.autograd.graph.saved_tensors_hooks`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from swiftrl.rlhf.planning.shape import Attention, Layer, Linear, Mlp
from swiftrl.rlhf.planning.workload import MicroBatch, Tree

__all__ = ["Arithmetic", "Tuning", "checkpointed", "head_kept", "kept_by_layer"]

_FLOAT32 = _SCALE = 4
"""A norm keeps one float32 factor a token."""
_INT64 = 8
_QUERIES = 128
_KEPT_WEIGHTS = 8


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Bytes of a number.

    Attributes:
        flow: of the hidden states between layers.
        result: of what linear layers return.
        attention: what computes it in the tree layout: "blocks" (`block_attention`), "segments"
            (torch's kernel, call by call), "explicit" (score by score, for soft caps and sinks) or
            "whole" (one call that keeps no copies: FlashAttention, FlexAttention).
    """

    flow: int
    result: int
    attention: str = "segments"

    @property
    def casts(self) -> bool:
        """Whether what goes into a linear layer is cast first, and the copy kept."""
        return self.flow != self.result


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a layer's linear layers train.

    Attributes:
        adapted: names of those with LoRA.
        trained: whether all weights train themselves.
        rank: of LoRA.
        dropout: whether LoRA drops inputs.
    """

    adapted: frozenset[str]
    trained: bool
    rank: int = 0
    dropout: bool = False

    def adapts(self, linear: Linear) -> bool:
        """Whether a layer has LoRA."""
        return linear.name in self.adapted


def kept_by_layer(
    layer: Layer, batch: MicroBatch, arithmetic: Arithmetic, tuning: Tuning, tokens: int
) -> float:
    """Return the bytes that a decoder layer's backward pass needs of its forward pass."""
    by_token = _norms(layer, arithmetic)
    by_token += _linear_inputs(layer, arithmetic, tuning)
    if layer.mlp is not None:
        by_token += _mlp(layer, layer.mlp, arithmetic, tuning)
    total = by_token * tokens
    if layer.attention is not None:
        total += _attention(layer.attention, batch, arithmetic)
    return total


def checkpointed(layer: Layer, arithmetic: Arithmetic, tokens: int) -> float:
    """Return the bytes that a layer keeps with gradient checkpointing: its input."""
    return layer.width * arithmetic.flow * tokens


def _norms(layer: Layer, arithmetic: Arithmetic) -> float:
    """Inputs of the norms; those of queries and keys are linear layers' results."""
    hidden = layer.norms * (layer.width * arithmetic.flow + _SCALE)
    attention = layer.attention
    scales = 0.0
    if attention is not None and layer.head_norms:
        scales = _SCALE * layer.head_norms * attention.heads / max(attention.query, 1)
    return hidden + layer.head_norms * arithmetic.result + scales


def _linear_inputs(layer: Layer, arithmetic: Arithmetic, tuning: Tuning) -> float:
    """What linear layers keep: inputs (one tensor serves all that take it), ranks, masks."""
    sources: dict[str, float] = {}
    extra = 0.0
    for linear in layer.linears:
        if _of_experts(linear):
            continue
        if tuning.adapts(linear):
            width = arithmetic.flow if linear.source != linear.name else arithmetic.result
            sources[linear.source] = linear.inputs * width
            extra += tuning.rank * arithmetic.result
            extra += linear.inputs * width if tuning.dropout else 0
        elif tuning.trained:
            if arithmetic.casts and linear.source != linear.name:
                extra += linear.inputs * arithmetic.result
            else:
                sources[linear.source] = linear.inputs * arithmetic.result
    # An MLP of one operation computes its inner values again.
    if _one_operation(layer, tuning):
        sources = {k: v for k, v in sources.items() if not k.endswith("down_proj")}
    return sum(sources.values()) + extra


def _of_experts(linear: Linear) -> bool:
    return ".experts." in linear.name


def _one_operation(layer: Layer, tuning: Tuning) -> bool:
    parts = [x for x in layer.linears if x.name.endswith(("gate_proj", "up_proj", "down_proj"))]
    return bool(parts) and not tuning.dropout and all(map(tuning.adapts, parts))


def _mlp(layer: Layer, mlp: Mlp, arithmetic: Arithmetic, tuning: Tuning) -> float:
    """The inner values: both factors of a gated MLP, the argument of a plain one's activation."""
    result = arithmetic.result
    if not mlp.experts:
        return mlp.inner * result * (2 if mlp.gated else 1)
    # gate and up in one tensor, the activation, the output; where they train their inputs as well.
    routed = 3 * mlp.inner + layer.width
    if tuning.trained:
        routed += mlp.inner + layer.width
    router = mlp.total * _FLOAT32 + mlp.experts * 4 * _INT64
    return mlp.experts * routed * arithmetic.flow + 2 * mlp.shared * result + router


def _attention(attention: Attention, batch: MicroBatch, arithmetic: Arithmetic) -> float:
    result, tokens = arithmetic.result, batch.tokens
    states = (attention.query + attention.key + attention.value) * result * tokens
    if batch.layout == "tree" and arithmetic.attention == "blocks":
        return states + _block_weights(batch, attention) * result
    # torch's kernel keeps one factor a query and head; its result is what o_proj takes, unless
    # the results of several calls are joined.
    states += _FLOAT32 * attention.heads * tokens
    if arithmetic.attention == "explicit":
        return _explicit(attention, batch, arithmetic)
    if batch.layout != "tree" or arithmetic.attention == "whole":
        return states
    forked = [tree for tree in batch.trees if len(tree.replies) > 1]
    copied = _keys_joined(batch)
    copies = (attention.key + attention.value) * copied + attention.output * tokens
    # Masks are shared by all layers unless each casts them.
    masks = sum(map(_mask, forked)) if arithmetic.casts else 0
    return states + (copies + masks) * result


def _explicit(attention: Attention, batch: MicroBatch, arithmetic: Arithmetic) -> float:
    """Queries, keys and values as often as queries share them, and three matrices of scores."""
    seen = batch.tokens
    if batch.layout == "tree":
        seen = _keys_joined(batch)
        seen += sum(t.prompt if len(t.replies) > 1 else t.tokens for t in batch.trees)
    states = attention.query * (batch.tokens + 2 * seen) * arithmetic.result
    # tanh and softmax in float32; the weights again in a narrower type.
    narrow = arithmetic.result if arithmetic.result != _FLOAT32 else 0
    return states + _scores_seen(batch) * attention.heads * (2 * _FLOAT32 + narrow)


def _keys_joined(batch: MicroBatch) -> int:
    """Tokens whose keys a reply's call gets: the prompt's, and its own."""
    forked = [tree for tree in batch.trees if len(tree.replies) > 1]
    return sum(tree.prompt * len(tree.replies) + sum(tree.replies) for tree in forked)


def _scores_seen(batch: MicroBatch) -> int:
    if batch.layout != "tree":
        return batch.sequences * batch.longest**2
    return sum(
        tree.prompt**2 + _mask(tree) if len(tree.replies) > 1 else tree.tokens**2
        for tree in batch.trees
    )


def _mask(tree: Tree) -> int:
    return sum(reply * (tree.prompt + reply) for reply in tree.replies)


def _block_weights(batch: MicroBatch, attention: Attention) -> float:
    """Softmax weights that are kept for the backward pass, over all heads."""
    scores = 0
    for tree in batch.trees:
        if len(tree.replies) == 1:
            scores += _scores(0, tree.tokens)
            continue
        scores += _scores(0, tree.prompt)
        scores += sum(_scores(tree.prompt, reply) for reply in tree.replies)
    width = attention.query // attention.heads
    return scores * attention.heads if scores <= _KEPT_WEIGHTS * batch.tokens * width else 0


def _scores(ahead: int, length: int) -> int:
    """Products of queries and keys, blocks of queries seeing no more than they need."""
    total = 0
    parts = max(round(length / _QUERIES), 1)
    step = _rounded(math.ceil(length / parts), 16)
    for first in range(0, length, step or 1):
        keys = ahead + first + step
        total += step * _rounded(keys, max(32, 1 << (keys.bit_length() - 4)))
    return total


def _rounded(count: int, unit: int) -> int:
    return math.ceil(count / unit) * unit


def head_kept(width: int, trained_tokens: int, tokens: int, arithmetic: Arithmetic) -> float:
    """Return what the last norm and the head keep: their inputs, and the gradient's direction."""
    return (width * arithmetic.flow + _SCALE) * tokens + width * arithmetic.flow * trained_tokens
