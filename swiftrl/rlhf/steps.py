"""Forward and backward over the micro-batches of one optimizer step, without dividing.

Suffixes: N trained tokens of a micro-batch, S trained tokens of a whole step over all processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from swiftrl.data.batch import TreeBatch, pack
from swiftrl.models.towers import keep_frozen_statistics
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.order import MicroBatch
from swiftrl.rlhf.parallel.base import Trained

__all__ = ["Passes", "PolicyLike", "Sums", "TokenValues", "evened", "merged"]


class TokenValues(Protocol):
    """What a forward pass gives of each trained token."""

    @property
    def logps(self) -> Tensor:
        """[N] log-probabilities, nats, float32."""
        ...

    @property
    def collision(self) -> Tensor | None:
        """[N] log sums of squared probabilities, without gradient, if asked for."""
        ...


class PolicyLike(Protocol):
    """What the passes need of a policy."""

    @property
    def model(self) -> nn.Module:
        """The model, adapters included."""
        ...

    def logprobs(self, batch: TreeBatch, *, collision: bool = False) -> TokenValues:
        """Log-probabilities of the batch's trained tokens, with gradient."""
        ...

    def scores(self, batch: TreeBatch) -> Tensor:
        """[B, K] scores of the sequences, with gradient."""
        ...

    def token_scores(self, batch: TreeBatch) -> Tensor:
        """[N, K] scores of the tokens that count, with gradient."""
        ...

    def distances(self, batch: TreeBatch) -> tuple[Tensor, Tensor]:
        """[N] how far from the teacher, with gradient; [N] log-probabilities, without."""
        ...

    def valued(self, batch: TreeBatch) -> tuple[Tensor, Tensor]:
        """[N] log-probabilities and [N] values, with gradient."""
        ...

    def reference(self, batch: TreeBatch) -> Tensor:
        """[N] the reference's, without gradient."""
        ...


@dataclass
class Sums:
    """Sums and counts by name, "loss" among them; their quotients are what is reported."""

    values: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, other: Mapping[str, tuple[float, float]]) -> None:
        """Add sums and counts name by name."""
        for name, (total, count) in other.items():
            before = self.values.get(name, (0.0, 0.0))
            self.values[name] = (before[0] + total, before[1] + count)

    def means(self) -> dict[str, float]:
        """Return the quotients of what was counted at all."""
        return {name: total / count for name, (total, count) in self.values.items() if count}


def merged(parts: Iterable[Mapping[str, tuple[float, float]]]) -> Sums:
    """Return the sum of several processes' sums, in their order."""
    result = Sums()
    for part in parts:
        result.add(part)
    return result


def evened(batches: Sequence[MicroBatch], processes: Processes) -> list[MicroBatch]:
    """Return a process's micro-batches, and empty ones up to the number that others have."""
    missing = processes.most(len(batches)) - len(batches)
    return [*batches, *(MicroBatch(pack([]), 0, ()) for _ in range(missing))]


class _Said(NamedTuple):
    """What a forward pass gives: [N] each, None where the algorithm does not ask."""

    logps: Tensor
    distances: Tensor | None = None
    collision: Tensor | None = None
    values: Tensor | None = None


class Passes:
    """Runs a policy and an algorithm over micro-batches.

    Args:
        policy: gives log-probabilities.
        algorithm: gives the loss.
        processes: those of the run.
        seed: decides, with a micro-batch's position, what dropout drops.
        lockstep: every process must do as many passes as the others, with empty micro-batches if
            need be; the policy's passes then have a gradient whatever the batch.
    """

    def __init__(
        self,
        policy: PolicyLike,
        algorithm: Algorithm[Any],
        processes: Processes,
        seed: int,
        *,
        lockstep: bool = False,
    ) -> None:
        self.lockstep = lockstep
        self.policy, self.algorithm, self.processes, self.seed = policy, algorithm, processes, seed
        # A model just built may have modules in either mode; `_switch` trusts the outermost one.
        policy.model.eval()

    def train(self, batches: Sequence[MicroBatch], trained: Trained, scale: float = 1.0) -> Sums:
        """Add the gradients of one step's summed loss, times `scale`, to those of `trained`.

        Returns:
            this process's share of the sums.
        """
        self._switch(training=True)
        alone = self.processes.replicas == 1 and len(batches) == 1
        batches = self._evened(batches)
        if self.algorithm.coupled and not alone:
            return self._coupled(batches, trained, scale)
        statistics = self._estimated(batches)
        outputs = []
        for number, micro in enumerate(batches, start=1):
            with self.processes.together():
                inputs = replace(self._inputs(micro, training=True), statistics=statistics)
                loss = inputs.trained[:0].sum()
                if micro.batch.num_sequences:
                    output = self.algorithm.loss(inputs)
                    outputs.append(output)
                    loss = self._tied(output.sum * scale, loss)
                trained.backward(loss, last=number == len(batches))
        return _to_sums(outputs)

    @torch.no_grad()
    def evaluate(self, batches: Sequence[MicroBatch]) -> Sums:
        """Return this process's share of the sums, without gradients; nothing changes."""
        self._switch(training=False)
        parts = [self._inputs(micro, training=False) for micro in self._evened(batches)]
        parts = parts[: len(batches)]
        if self.algorithm.coupled:
            step, _ = self._gathered(parts)
            return self._counted_once(self.algorithm.loss(step))
        statistics = self._estimated(batches)
        return _to_sums(
            [self.algorithm.loss(replace(part, statistics=statistics)) for part in parts]
        )

    def _evened(self, batches: Sequence[MicroBatch]) -> Sequence[MicroBatch]:
        return evened(batches, self.processes) if self.lockstep else batches

    def _tied(self, loss: Tensor, nothing: Tensor) -> Tensor:
        """Return the loss with a gradient, be it zero, where every process must have one."""
        return loss + nothing if self.lockstep and not loss.requires_grad else loss

    @torch.no_grad()
    def _estimated(self, batches: Sequence[MicroBatch]) -> dict[str, float]:
        """Return the step's means of what the algorithm estimates on mismatched rows."""
        if not self.algorithm.estimates:
            return {}
        mine = Sums()
        for micro in self._evened(batches):
            contrast = micro.contrast or pack([])
            known = bool(len(contrast.target_ids))
            if known or self.lockstep:
                inputs = self._inputs(replace(micro, batch=contrast), training=False)
                if known:
                    mine.add(_fetched(self.algorithm.estimate(inputs).items()).values)
        return merged(self.processes.gather(mine.values)).means()

    def _switch(self, *, training: bool) -> None:
        """Put the model into its mode; walking through all modules takes time on small models."""
        if self.policy.model.training != training:
            self.policy.model.train(training)
            if training:
                keep_frozen_statistics(self.policy.model)

    def _coupled(self, batches: Sequence[MicroBatch], trained: Trained, scale: float) -> Sums:
        """Two passes: log-probabilities of the whole step, then the gradient through each part.

        The loss is a function of all log-probabilities of the step; its gradient with respect to
        them, from the first pass, is the coefficient of each in the second.
        """
        with torch.no_grad():
            parts = [self._inputs(micro, training=True) for micro in batches]
        step, mine = self._gathered(
            [part for part, micro in zip(parts, batches, strict=True) if micro.batch.num_sequences]
        )
        leaf_S = step.logps.requires_grad_()
        with torch.enable_grad():
            output = self.algorithm.loss(step)
        coefficient_S = torch.zeros_like(leaf_S)
        if output.sum.requires_grad:
            coefficient_S = torch.autograd.grad(output.sum, leaf_S)[0]
        counts = [len(part.logps) for part in parts]
        coefficients = coefficient_S[mine].split(counts)
        for number, (micro, coefficient_N) in enumerate(
            zip(batches, coefficients, strict=True), start=1
        ):
            with self.processes.together():
                logps_N = self._logps(micro, micro.batch.to(self.processes.device))
                loss = (coefficient_N * logps_N).sum() * scale
                trained.backward(loss, last=number == len(batches))
        return self._counted_once(output)

    def _inputs(self, micro: MicroBatch, *, training: bool) -> LossInputs:
        batch = micro.batch.to(self.processes.device)
        if self.algorithm.num_scores:
            return self._scored(micro, batch, training=training)
        reference_N = None
        with self.processes.together():
            if self.algorithm.needs_reference:
                empty = not len(batch.target_ids) and not self.lockstep
                reference_N = batch.weights.new_zeros(0) if empty else self.policy.reference(batch)
            said = self._values(micro, batch)
        found = {} if said.collision is None else {"collision": said.collision}
        return LossInputs(
            logps=said.logps,
            distances=said.distances,
            values=said.values,
            ref_logps=reference_N,
            sequence_index=batch.sequence_index,
            weights=batch.weights,
            num_sequences=batch.num_sequences,
            columns=batch.columns,
            sequence_values=batch.sequence_values,
            token_values={**batch.token_values, **found},
            training=training,
        )

    def _scored(self, micro: MicroBatch, batch: TreeBatch, *, training: bool) -> LossInputs:
        torch.manual_seed(_mixed(self.seed, micro.position, self.processes.sequence.rank))
        with self.processes.together():
            if self.algorithm.scores_tokens:
                scores, kept = self.policy.token_scores(batch), slice(None)
            else:
                scores, kept = self.policy.scores(batch), slice(0)
        return LossInputs(
            logps=batch.weights.new_zeros(0),
            ref_logps=None,
            sequence_index=batch.sequence_index[kept],
            weights=batch.weights[kept],
            token_values={name: values[kept] for name, values in batch.token_values.items()},
            num_sequences=batch.num_sequences,
            columns=batch.columns,
            scores=scores,
            training=training,
        )

    def _logps(self, micro: MicroBatch, batch: TreeBatch) -> Tensor:
        """Return [N] log-probabilities."""
        return self._values(micro, batch)[0]

    def _values(self, micro: MicroBatch, batch: TreeBatch) -> _Said:
        """Return what the algorithm asks for.

        Dropout depends on the seed and the position alone.
        """
        taught, certain = self.algorithm.distance is not None, self.algorithm.wants_collision
        if not len(batch.target_ids) and not self.lockstep:
            nothing = batch.weights.new_zeros(0)
            return _Said(
                nothing,
                nothing if taught else None,
                nothing if certain else None,
                nothing if self.algorithm.values else None,
            )
        torch.manual_seed(_mixed(self.seed, micro.position, self.processes.sequence.rank))
        if taught:
            distances_N, logps_N = self.policy.distances(batch)
            return _Said(logps_N, distances_N)
        if self.algorithm.values:
            logps_N, values_N = self.policy.valued(batch)
            return _Said(logps_N, values=values_N)
        found = self.policy.logprobs(batch, **({"collision": True} if certain else {}))
        return _Said(found.logps, collision=found.collision)

    def _gathered(self, parts: Sequence[LossInputs]) -> tuple[LossInputs, slice]:
        """Join all replicas' micro-batches, one's behind the other's.

        Returns:
            the step's inputs, and which of its tokens are this process's.
        """
        local = [_on_host(part) for part in parts]
        everyone = self.processes.gather(local)
        counts = [sum(len(part.logps) for part in of_rank) for of_rank in everyone]
        first = sum(counts[: self.processes.replica])
        step = _joined([part for of_rank in everyone for part in of_rank], self.processes.device)
        return step, slice(first, first + counts[self.processes.replica])

    def _counted_once(self, output: LossOutput) -> Sums:
        """Every replica has the whole step's sums; only the first reports them."""
        return _to_sums([output]) if self.processes.replica == 0 else Sums()


def _mixed(seed: int, position: int, part: int) -> int:
    """Return a seed for a part of the tokens at a position; neighbours share no more than any."""
    mixed = seed * 0x9E3779B97F4A7C15 + position * 0xBF58476D1CE4E5B9 + part * 0x94D049BB133111EB
    return (mixed + 1) % 2**63


def _on_host(inputs: LossInputs) -> LossInputs:
    return _moved(inputs, torch.device("cpu"))


def _moved(inputs: LossInputs, device: torch.device) -> LossInputs:
    return LossInputs(
        logps=inputs.logps.detach().to(device),
        ref_logps=None if inputs.ref_logps is None else inputs.ref_logps.to(device),
        sequence_index=inputs.sequence_index.to(device),
        weights=inputs.weights.to(device),
        num_sequences=inputs.num_sequences,
        columns=_named(inputs.columns, device),
        sequence_values=_named(inputs.sequence_values, device),
        token_values=_named(inputs.token_values, device),
        training=inputs.training,
    )


def _named(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _joined_by_name(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _joined(parts: Sequence[LossInputs], device: torch.device) -> LossInputs:
    offset = 0
    indices = []
    for part in parts:
        indices.append(part.sequence_index + offset)
        offset += part.num_sequences
    references = [part.ref_logps for part in parts if part.ref_logps is not None]
    whole = LossInputs(
        logps=torch.cat([part.logps for part in parts]),
        ref_logps=torch.cat(references) if references else None,
        sequence_index=torch.cat(indices),
        weights=torch.cat([part.weights for part in parts]),
        num_sequences=offset,
        columns=_joined_by_name([part.columns for part in parts]),
        sequence_values=_joined_by_name([part.sequence_values for part in parts]),
        token_values=_joined_by_name([part.token_values for part in parts]),
        training=parts[0].training,
    )
    return _moved(whole, device)


def _to_sums(outputs: Sequence[LossOutput]) -> Sums:
    """Bring sums and counts to the host, all tensors in one copy."""
    return _fetched(
        (name, pair)
        for output in outputs
        for name, pair in (("loss", (output.sum, output.count)), *output.metrics.items())
    )


def _fetched(pairs: Iterable[tuple[str, tuple[Tensor | float, Tensor | float]]]) -> Sums:
    named = list(pairs)
    tensors = [value.detach() for _, pair in named for value in pair if isinstance(value, Tensor)]
    fetched = iter(
        torch.stack([t.float().reshape(()) for t in tensors]).tolist() if tensors else []
    )
    sums = Sums()
    for name, pair in named:
        total, count = (next(fetched) if isinstance(v, Tensor) else float(v) for v in pair)
        sums.add({name: (total, count)})
    return sums
