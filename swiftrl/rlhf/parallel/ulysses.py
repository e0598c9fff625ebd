"""Sequence parallelism: each process of a group holds a slice of the tokens (arXiv:2309.14509).

Embedding, norms, MLPs and head work token by token, so that each process runs them on its slice.
Around attention an all-to-all turns "some tokens, all heads" into "all tokens, some heads", the
tree attention kernel runs as ever, and a second one turns its result back. Every process ends up
with the log-probabilities of all trained tokens, but with a gradient through its own alone: the
gradients of the group's processes add up to that of one process with all tokens.

Shapes: S processes of the group, T packed tokens, t = T / S, H query heads, K key-value heads,
D head width, F numbers that a token sends to a process, N trained tokens, n those predicted here.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.data.batch import TreeBatch, TreeShape
from swiftrl.models.attention import Terms
from swiftrl.rlhf.parallel.sequence_group import SequenceGroup
from swiftrl.rlhf.tree_attention import AttentionKernel, Segments

__all__ = ["Slice", "cut"]


class _Exchange(torch.autograd.Function):
    """An all-to-all of equal parts, which is its own transpose."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, group: SequenceGroup) -> Tensor:
        ctx.group = group
        return group.exchange(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.group.exchange(gradients[0]), None


class _Whole(torch.autograd.Function):
    """From [n] values here to the group's [N]; the gradient flows to one's own only.

    Every process computes the same loss from the whole, so that adding the others' gradients would
    count each value S times.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, mine: Tensor, total: int, group: SequenceGroup) -> Tensor:
        ctx.save_for_backward(mine)
        whole = values.new_zeros(total, *values.shape[1:])
        return group.add_(whole.index_copy_(0, mine, values))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (mine,) = ctx.saved_tensors
        return gradients[0].index_select(0, mine), None, None, None


@dataclass(frozen=True, slots=True)
class Slice:
    """This process's part of a batch.

    Attributes:
        batch: the whole batch, its row padded to a multiple of S.
        tokens: which of the row are here.
        mine: [n] which of the trained tokens are predicted here.
        source_index: [n] where, counted from the first token here.
        group: the processes that have the other parts.
    """

    batch: TreeBatch
    tokens: slice
    mine: Tensor
    source_index: Tensor
    group: SequenceGroup

    def arguments(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the part of a model's arguments [..., T]."""
        return {name: value[..., self.tokens] for name, value in whole.items()}

    @contextlib.contextmanager
    def within(self, text: nn.Module) -> Iterator[None]:
        """Cut what a multimodal model hands to its language model, media merged in already.

        Args:
            text: the language model.
        """
        length = len(self.batch.token_ids)

        def cut_arguments(
            module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if positional:
                raise ModelError(
                    f"{type(module).__name__} is given its input by position, of which sequence "
                    "parallelism does not know what it means. Leave --sequence_parallel_size."
                )
            changed = {name: self._argument(name, value, length) for name, value in named.items()}
            return (), _deep(named, changed, self.tokens)

        hook = text.register_forward_pre_hook(cut_arguments, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def _argument(self, name: str, value: Any, length: int) -> Any:
        """Return the part of an argument that is about the tokens here."""
        if not isinstance(value, Tensor) or not value.dim():
            return value
        by_number = not value.is_floating_point() or name == "position_ids"
        axis = value.dim() - 1 if by_number else 1
        if axis >= value.dim() or value.shape[axis] != length:
            return value
        return value.narrow(axis, self.tokens.start, self.tokens.stop - self.tokens.start)

    def kernel(self, kernel: AttentionKernel, read_rows: Tensor | None) -> AttentionKernel:
        """Return what attends from this slice, with `kernel` on the whole row and some heads.

        Args:
            kernel: computes tree attention.
            read_rows: [rows] tokens of the whole row whose hidden state is read; None for all.
        """
        whole = Segments(self.batch.shapes, kernel, read_rows)

        def attend(
            query: Tensor, key: Tensor, value: Tensor, segments: Segments, terms: Terms
        ) -> Tensor:
            every = replace(whole, last=segments.last)
            own = replace(terms, sinks=self._own_heads(terms.sinks))
            states = _tokens_for_heads((query, key, value), self.group)
            return _heads_for_tokens(kernel(*states, every, own), self.group)

        return attend

    def whole(self, values: Tensor) -> Tensor:
        """Return [N] of all trained tokens from the [n] of those predicted here."""
        total = len(self.batch.target_ids)
        return cast(Tensor, _Whole.apply(values, self.mine, total, self.group))

    def _own_heads(self, values: Tensor | None) -> Tensor | None:
        return None if values is None else values.chunk(self.group.size)[self.group.rank]


def _deep(whole: Mapping[str, Any], changed: dict[str, Any], tokens: slice) -> dict[str, Any]:
    """Cut what later layers add where pictures stand (Qwen3-VL's deep stack), a row a place."""
    places, added = whole.get("visual_pos_masks"), whole.get("deepstack_visual_embeds")
    if places is None or added is None:
        return changed
    before = int(places[..., : tokens.start].sum())
    here = slice(before, before + int(places[..., tokens].sum()))
    return changed | {"deepstack_visual_embeds": [rows[here] for rows in added]}


def cut(batch: TreeBatch, group: SequenceGroup) -> Slice:
    """Return this process's part of a batch: as many tokens as each of the others has."""
    batch = _padded(batch, -len(batch.token_ids) % group.size)
    length = len(batch.token_ids) // group.size
    tokens = slice(group.rank * length, (group.rank + 1) * length)
    place = batch.source_index - tokens.start
    mine = ((place >= 0) & (place < length)).nonzero().squeeze(1)
    return Slice(batch, tokens, mine, place[mine], group)


def _padded(batch: TreeBatch, missing: int) -> TreeBatch:
    """Return the batch with a tree of `missing` tokens behind it that trains nothing.

    Its token is the last one, which stands for no picture.
    """
    if not missing:
        return batch
    padding = torch.arange(missing, device=batch.positions.device)
    return replace(
        batch,
        token_ids=torch.cat([batch.token_ids, batch.token_ids[-1:].expand(missing)]),
        positions=torch.cat([batch.positions, padding]),
        shapes=(*batch.shapes, TreeShape(len(batch.token_ids), missing, ())),
        media=(*batch.media, {}) if batch.media else (),
    )


def _tokens_for_heads(
    states: tuple[Tensor, Tensor, Tensor], group: SequenceGroup
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn query [1, H, t, D] and key, value [1, K, t, D] into [1, H / S, T, D] and so on.

    Where S does not divide K, key-value heads are repeated until it does. All three travel at
    once, in the widest of their types, which loses nothing.
    """
    query, key, value = states
    if query.shape[1] % group.size:
        raise ModelError(
            f"a layer has {query.shape[1]} attention heads, which --sequence_parallel_size "
            f"{group.size} does not divide."
        )
    repeats = group.size // math.gcd(key.shape[1], group.size)
    if repeats > 1:
        key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    parts = [_by_process(x, group.size) for x in (query, key, value)]
    whole = cast(Tensor, _Exchange.apply(torch.cat(parts, dim=-1), group)).flatten(0, 1)
    pieces = whole.split([part.shape[-1] for part in parts], dim=-1)
    query, key, value = (
        piece.unflatten(-1, (-1, like.shape[-1])).transpose(0, 1)[None].to(like.dtype)
        for piece, like in zip(pieces, states, strict=True)
    )
    return query, key, value


def _by_process(states: Tensor, size: int) -> Tensor:
    """Return [S, t, F] of states [1, H, t, D]: to each process its heads."""
    return states[0].unflatten(0, (size, -1)).transpose(1, 2).flatten(2)


def _heads_for_tokens(attended: Tensor, group: SequenceGroup) -> Tensor:
    """Turn [1, T, H / S, D] into [1, t, H, D]."""
    _, _, heads, width = attended.shape
    parts = attended[0].flatten(1).unflatten(0, (group.size, -1))
    received = cast(Tensor, _Exchange.apply(parts, group))
    return received.transpose(0, 1).reshape(1, -1, group.size * heads, width)
