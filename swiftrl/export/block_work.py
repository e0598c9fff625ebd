"""A block in work: what its layers have become so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.export.job import Job
from swiftrl.export.layer_error import relative_error
from swiftrl.export.method import Gatherer
from swiftrl.export.work_folder import DoneBlock
from swiftrl.quant.hessian import Hessian

__all__ = ["BlockWork", "pool"]

_TOGETHER = 2**27
"""Weights of layers with one input that are rounded as one matrix: 512 MiB in float32."""


def pool(found: Iterable[Gatherer | None]) -> Hessian | None:
    """Return the Hessian of all tokens that several saw; None if there are none."""
    known = [item for item in found if isinstance(item, Hessian)]
    if not known:
        return None
    total = Hessian.empty(known[0].sum_II.shape[0], known[0].sum_II.device)
    for item in known:
        total.sum_II += item.sum_II
        total.tokens += item.tokens
    return total


@dataclass
class BlockWork:
    """A block in work.

    Attributes:
        job: what is quantised and how.
        block: it.
        prefix: of its layers' full names.
        packed: tensors of the layers that are done, by full name.
        changed: its other weights that are not as they were, by full name.
        records: what the report says of its layers.
    """

    job: Job
    block: nn.Module
    prefix: str
    packed: dict[str, Tensor] = field(default_factory=dict)
    changed: dict[str, Tensor] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    def quantise_sets(
        self,
        sets: Sequence[tuple[str, ...]],
        found: Mapping[tuple[str, ...], Gatherer | None],
        *,
        pooled: bool,
    ) -> None:
        """Quantise the layers of some sets.

        Args:
            sets: of layers that share an input.
            found: what was gathered of each.
            pooled: they are experts: what all of them saw stands in where one saw little.
        """
        together = pool(found[names] for names in sets) if pooled else None
        for names in sets:
            for part in self._fitting(names):
                self.quantise(part, found[names], together)

    def _fitting(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Yield layers of one input, as many at a time as are rounded together."""
        part: list[str] = []
        size = 0
        for name in names:
            more = self._weight(name).numel()
            if part and size + more > _TOGETHER:
                yield part
                part, size = [], 0
            part.append(name)
            size += more
        yield part

    def quantise(
        self, names: Sequence[str], gathered: Gatherer | None, pooled: Gatherer | None
    ) -> None:
        """Quantise layers with one input: each output is rounded by itself, so all at once.

        Their weights become what a reader of the file will compute with.
        """
        plan = self.job.plan
        weights = [self._weight(name) for name in names]
        for name, weight in zip(names, weights, strict=True):
            if not bool(torch.isfinite(weight).all()):
                raise ExportError(
                    f"{self.prefix}{name}: its weight holds NaN or infinity; the model's files are "
                    "damaged, or its training diverged."
                )
        whole = weights[0] if len(weights) == 1 else torch.cat(weights)
        rounded = plan.method.quantise(whole, gathered, pooled, plan.scheme, self.job.config)
        parts = [rounded] if len(weights) == 1 else rounded.split([len(w) for w in weights])
        tokens = int(gathered.tokens) if isinstance(gathered, Hessian) else None
        hessian = gathered.mean() if isinstance(gathered, Hessian) and tokens else None
        for name, before, part in zip(names, weights, parts, strict=True):
            tensors = plan.format.pack(part, plan.scheme)
            after = plan.format.dequantise(tensors, plan.scheme, before.dtype)
            self.records.append(
                {
                    "layer": self.prefix + name,
                    "relative_error": relative_error(before, after, hessian),
                    "error_of": "weights" if hessian is None else "outputs",
                    "tokens": tokens,
                }
            )
            layer: Any = self.block.get_submodule(name)
            layer.weight.data = after
            start = f"{self.prefix}{name}"
            self.packed |= {f"{start}.{end}": tensor.cpu() for end, tensor in tensors.items()}

    def _weight(self, name: str) -> Tensor:
        return self.block.get_parameter(f"{name}.weight").data

    def change(self, names: Iterable[str]) -> None:
        """Keep other weights of the block as they are now."""
        for name in names:
            self.changed[self.prefix + name] = self.block.get_parameter(name).data.cpu().clone()

    def leave(self, name: str) -> None:
        """Let a layer be whose inputs are not known, since its weight is read by other code."""
        log.warn(
            f"{self.prefix}{name} stays as it is: no calibration row calls it as a layer, so that "
            "its inputs are not known."
        )

    def finished(self) -> DoneBlock:
        """Return the block as the folder keeps it."""
        return DoneBlock(self.packed, self.changed, self.records)
