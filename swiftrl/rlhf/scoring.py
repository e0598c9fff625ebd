"""A causal language model as a function from batches to log-probabilities of their tokens.

Shapes: T packed tokens, N trained tokens, B sequences, L longest sequence, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.data.batch import TreeBatch
from swiftrl.models.attention import use_attention
from swiftrl.models.backbone import backbone_of, text_part
from swiftrl.models.heads import score_head
from swiftrl.rlhf.last_layer import shorten_last_layer, whole_last_layer
from swiftrl.rlhf.logit_terms import find_ending
from swiftrl.rlhf.logprobs import CHUNK, LinearHead, LogitTerms, linear_logprobs, module_logprobs
from swiftrl.rlhf.media_inputs import media_rows, media_tree
from swiftrl.rlhf.parallel.sequence_group import SequenceGroup
from swiftrl.rlhf.parallel.sequence_rotary import rotaries_by_length, turned_as_whole
from swiftrl.rlhf.parallel.ulysses import Slice, cut
from swiftrl.rlhf.tree_attention import NAME, SEGMENTS, AttentionKernel, Segments, sdpa_kernel

__all__ = ["Inside", "Read", "Scorer", "TokenLogprobs", "causal_lm"]

_Values = tuple[Tensor, Tensor | None]
Read = Callable[[Tensor, Tensor], _Values]
"""From hidden states [n, D] and which of the N trained tokens they predict, to values of these."""
Inside = Callable[[nn.Module, Callable[[], _Values]], _Values]
"""Runs work with a model where its weights can be read (`Parallel.run`)."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """What a model says about the trained tokens of a batch.

    Attributes:
        logps: [N] log-probabilities, nats, float32; [N, K] scores of a model with a head of these.
        entropy: [N] entropies, nats, float32; None if not asked for.
        collision: [N] log sum of squared probabilities, float32, no gradient; None if not asked.
    """

    logps: Tensor
    entropy: Tensor | None = None
    collision: Tensor | None = None


def causal_lm(model: nn.Module) -> Any:
    """Return the transformers model inside a PEFT wrapper, or `model` itself.

    Raises:
        ModelError: the adapters change the input rather than the weights (prompt tuning).
    """
    if not hasattr(model, "peft_config"):
        return model
    config: Any = getattr(model, "active_peft_config", None)
    if config is not None and getattr(config, "is_prompt_learning", False):
        raise ModelError(
            f"{config.peft_type}: adapters that prepend virtual tokens cannot be trained "
            "here. Use --tuner_type lora or full."
        )
    get_base_model = getattr(model, "get_base_model", None)
    return get_base_model() if get_base_model is not None else model


def _at_once(model: nn.Module, work: Callable[[], _Values]) -> _Values:
    return work()


class Scorer:
    """Runs a model's backbone over a batch and reads the trained tokens' log-probabilities.

    The language-model head meets only the hidden states that predict a trained token.

    Args:
        model: a causal language model, with or without PEFT adapters.
        layout: "tree" or "rows".
        compute_dtype: type of the computation; trainable weights stay in float32.
        product_dtype: type of the head's matrix products; unset, `compute_dtype`.
        kernel: what computes tree attention.
        temperature: of the distribution.
        inside: runs the forward pass; unset, as any other function.
        idle: runs in place of a batch without trained tokens, whose log-probabilities [0] then
            have a gradient; unset, such a batch is none.
        most: tells the largest of a number over the processes; with it the backbone is called as
            often in each.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layout: str,
        compute_dtype: torch.dtype = torch.float32,
        product_dtype: torch.dtype | None = None,
        kernel: AttentionKernel = sdpa_kernel,
        temperature: float = 1.0,
        inside: Inside | None = None,
        idle: TreeBatch | None = None,
        most: Callable[[int], int] | None = None,
    ) -> None:
        self.model = model
        self._idle, self._most = idle, most
        self._inside = inside or _at_once
        self.layout = layout
        self.compute_dtype = compute_dtype
        self.product_dtype = product_dtype
        self.kernel = kernel
        self.shortened = False
        self._lm = causal_lm(model)
        self._text_config = self._lm.config.get_text_config(decoder=True)
        self._backbone = backbone_of(self._lm)
        self.scores = score_head(self._lm) is not None
        self._ending = None if self.scores else find_ending(self._lm, self._backbone, temperature)
        self._plain = self._text_config._attn_implementation
        self._group, self._turning = SequenceGroup(), list[nn.Module]()
        if layout == "tree":
            use_attention(self._text_config, NAME)

    def __call__(
        self, batch: TreeBatch, *, entropy: bool = False, collision: bool = False
    ) -> TokenLogprobs:
        """Return the log-probabilities of the batch's trained tokens, with gradient.

        Args:
            batch: whose tokens.
            entropy: return entropies too.
            collision: return collisions too; not both.
        """
        assert not (entropy and collision)
        wanted = {"want_entropy": entropy, "want_collision": collision}

        def read(of: TreeBatch) -> Read:
            return lambda hidden, index: self._read(hidden, of.target_ids[index], wanted)

        logps, other = self.run(batch, read)
        return TokenLogprobs(logps, None if collision else other, other if collision else None)

    def states(self, batch: TreeBatch) -> Tensor:
        """Return [N, D] what the head reads to predict each trained token."""

        def read(of: TreeBatch) -> Read:
            return lambda hidden, index: (self.before_head(hidden), None)

        return self.run(batch, read)[0]

    def valued(self, batch: TreeBatch, head: nn.Module, *, detach: bool) -> tuple[Tensor, Tensor]:
        """Return [N] log-probabilities and [N] values, float32, with gradient.

        Args:
            batch: whose trained tokens are read.
            head: gives a value from what the head of words reads.
            detach: keep the values' gradient from the model below.
        """

        def read(of: TreeBatch) -> Read:
            def both(hidden: Tensor, index: Tensor) -> _Values:
                logps, _ = self._read(hidden, of.target_ids[index], {})
                state = self.before_head(hidden.detach() if detach else hidden)
                place = next(head.parameters()).device
                with torch.autocast(place.type, enabled=False):
                    return logps, head(state.to(place).float()).squeeze(-1).to(logps.device)

            return both

        logps, values = self.run(batch, read)
        assert values is not None
        return logps, values

    @property
    def head(self) -> nn.Module:
        """The language-model head."""
        return self._backbone.head

    @property
    def terms(self) -> LogitTerms:
        """What becomes of the head's output."""
        return LogitTerms() if self._ending is None else self._ending.terms

    def linear_head(self, vocabulary: int) -> LinearHead:
        """Return how the first `vocabulary` logits come from what `states` gives.

        Raises:
            ModelError: the head is no plain linear layer.
        """
        head, ending = self._backbone.head, self._ending
        if type(head) is not nn.Linear or ending is None:
            raise ModelError(
                f"{type(self._lm).__name__}: its head is no plain linear layer "
                f"({type(head).__name__}), so it cannot teach. Merge its adapters first."
            )
        products = self.product_dtype or self.compute_dtype
        bias = ending.bias(head)
        return LinearHead(
            head.weight[:vocabulary].detach().to(products),
            None if bias is None else bias[:vocabulary].detach().to(products),
            ending.terms,
            products,
            CHUNK,
        )

    def run(self, batch: TreeBatch, read: Callable[[TreeBatch], Read]) -> _Values:
        """Return what is read from the hidden states, in the computation's type and place.

        Args:
            batch: whose trained tokens are read.
            read: gives the function that reads, of the batch that really runs.
        """
        if self._idle is not None and not len(batch.target_ids):
            values, others = self.run(self._idle, read)
            return values[:0], None if others is None else others[:0]
        return self._inside(self.model, lambda: self._values(batch, read(batch)))

    def share_tokens(self, group: SequenceGroup) -> None:
        """Run on a part of each batch's tokens from now on, and the group's others on the rest.

        Raises:
            ConfigError: the model's layers look at the length of the row.
        """
        self._turning = rotaries_by_length(self._lm) if group.size > 1 else []
        self._group = group

    def _values(self, batch: TreeBatch, read: Read) -> _Values:
        device_type = batch.token_ids.device.type
        narrow = self.compute_dtype != torch.float32
        with torch.autocast(
            device_type, dtype=self.compute_dtype if narrow else None, enabled=narrow
        ):
            if self._group.size > 1:
                return self._shared(batch, read)
            everything = torch.arange(len(batch.target_ids), device=batch.target_ids.device)
            return read(self._hidden(batch), everything)

    def _shared(self, batch: TreeBatch, read: Read) -> _Values:
        """The same, together with the other processes of the group."""
        part = cut(batch, self._group)
        hidden = self._packed(part.batch, part.source_index, part)
        values, others = read(hidden, part.mine)
        return part.whole(values), None if others is None else part.whole(others)

    def shorten(self, probe: TreeBatch) -> bool:
        """Leave tokens that nobody reads out of the last layer's MLP, if that changes nothing.

        Args:
            probe: a batch on the model's device to compare on.

        Returns:
            whether it was done.
        """
        if self.layout != "tree" or not shorten_last_layer(self._backbone.gives):
            return False
        with torch.no_grad():
            whole = self(probe).logps
            self.shortened = True
            try:
                # A layer of another make may fail in any way its own code can.
                found = self(probe).logps
                bound = 1e-4 if self.compute_dtype == torch.float32 else 1e-2
                self.shortened = bool((found - whole).abs().max() <= bound)
            except (TypeError, ValueError, RuntimeError, AttributeError, KeyError):
                self.shortened = False
        if not self.shortened:
            whole_last_layer(self._backbone.gives)
        return self.shortened

    @contextlib.contextmanager
    def plain_attention(self) -> Iterator[None]:
        """Give the model its ordinary attention back for a while, to generate for example."""
        tree = self._text_config._attn_implementation
        use_attention(self._text_config, self._plain)
        try:
            yield
        finally:
            use_attention(self._text_config, tree)

    def _hidden(self, batch: TreeBatch) -> Tensor:
        """[N, D] hidden states that predict the trained tokens."""
        if self.layout == "tree":
            return self._packed(batch, batch.source_index)
        rows = batch.to_rows()
        calls = media_rows(self._lm, self._backbone.reads, batch, rows)
        parts = [self._backbone(use_cache=False, **call.arguments) for call in calls]
        hidden = torch.cat(parts)
        if len(calls) > 1:
            hidden = hidden[torch.cat([call.rows for call in calls]).argsort()]
        hidden = hidden.flatten(0, 1)
        hidden = hidden.index_select(0, rows.source_index.to(hidden.device))
        return torch.cat([hidden, *self._calls_of_others(len(calls))])

    def _calls_of_others(self, mine: int) -> Iterator[Tensor]:
        """Run the backbone as often as other processes, which may part their rows differently.

        Yields:
            [0, D], with a gradient.
        """
        if self._most is None or self._idle is None or self._lm.config is self._text_config:
            return
        rows = self._idle.to_rows()
        (call,) = media_rows(self._lm, self._backbone.reads, self._idle, rows)
        for _ in range(self._most(mine) - mine):
            yield self._backbone(use_cache=False, **call.arguments).flatten(0, 1)[:0]

    def _packed(self, batch: TreeBatch, source: Tensor, part: Slice | None = None) -> Tensor:
        """Hidden states at `source` of the packed row, or of the part that is here."""
        rows, place, kernel = None, source, self.kernel
        if self.shortened:
            rows, place = source.unique(return_inverse=True)
            if not len(rows):  # nothing of this part is read; layers may not take no tokens at all
                rows = source.new_zeros(1)
        arguments = {"input_ids": batch.token_ids[None], "position_ids": batch.positions[None]}
        arguments |= media_tree(self._lm, self._backbone.reads, batch)
        with contextlib.ExitStack() as cutting:
            if part is not None:
                kernel = part.kernel(
                    kernel, batch.source_index.unique() if self.shortened else None
                )
                positions = arguments["position_ids"]
                cutting.enter_context(turned_as_whole(self._turning, positions, part.tokens))
                if batch.media:
                    cutting.enter_context(part.within(text_part(self._lm)))
                else:
                    arguments = part.arguments(arguments)
            segments = Segments(batch.shapes, kernel, rows)
            hidden = self._backbone(use_cache=False, **arguments, **{SEGMENTS: segments})
        return hidden[0].index_select(0, place.to(hidden.device))

    def _read(self, hidden: Tensor, ids: Tensor, wanted: Mapping[str, bool]) -> _Values:
        """What the head says, on the device of the batch wherever the head is."""
        place = next(self._backbone.head.parameters()).device
        values, others = self._said(hidden.to(place), ids.to(place), wanted)
        return values.to(ids.device), None if others is None else others.to(ids.device)

    def _said(self, hidden: Tensor, ids: Tensor, wanted: Mapping[str, bool]) -> _Values:
        head = self._backbone.head
        ending = self._ending
        if ending is None:
            with torch.autocast(hidden.device.type, enabled=False):
                return head(hidden.float()), None
        hidden = self.before_head(hidden)
        if type(head) is not nn.Linear:
            return module_logprobs(hidden, head, ids, terms=ending.terms, **wanted)
        return linear_logprobs(
            hidden,
            head.weight if ending.vocabulary is None else head.weight[: ending.vocabulary],
            ids,
            bias=ending.bias(head),
            soft_cap=ending.terms.soft_cap,
            logit_scale=ending.terms.scale,
            temperature=ending.terms.temperature,
            **wanted,
            products=self.product_dtype,
        )

    def before_head(self, hidden: Tensor) -> Tensor:
        """Return what the head reads, from what the backbone gives."""
        ending = self._ending
        return (
            hidden if ending is None or ending.before_head is None else ending.before_head(hidden)
        )
