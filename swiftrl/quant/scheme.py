"""What quantised weights are: how they are stored, and integers on a grid.

Shapes: O outputs, I inputs, G groups of inputs that share a scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftrl.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["QuantWeight", "Scheme"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """How linear layers' weights are stored.

    Attributes:
        bits: of a weight.
        group_size: consecutive inputs under one scale; -1 for a whole row.
        symmetric: the grid is centred on zero: no zero points of its own.
        act_order: columns were rounded in the order of their inputs' size, so that a group's
            columns do not lie side by side ("desc_act").
    """

    bits: int
    group_size: int = 128
    symmetric: bool = True
    act_order: bool = False

    def groups(self, inputs: int) -> int:
        """Return how many groups `inputs` columns make.

        Raises:
            ConfigError: they do not divide evenly.
        """
        if self.group_size == -1:
            return 1
        if inputs % self.group_size:
            raise ConfigError(
                f"--group_size {self.group_size} does not divide a layer's {inputs} inputs."
            )
        return inputs // self.group_size


@dataclass(frozen=True, slots=True)
class QuantWeight:
    """A weight [O, I] as integers: (codes - zeros) * scales, by group of inputs.

    Attributes:
        codes: [O, I] uint8, 0 up to 2^bits - 1.
        scales: [O, G] floating point, as the format stores it.
        zeros: [O, G] uint8, the code that stands for zero; 2^(bits - 1) where symmetric.
        group_of: [I] int64, each input's group; None where inputs lie in order, I/G a group.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    group_of: torch.Tensor | None = None

    def split(self, outputs: Sequence[int]) -> list[QuantWeight]:
        """Return the weights of several layers that were rounded as one, by their outputs."""
        parts = zip(
            self.codes.split(list(outputs)),
            self.scales.split(list(outputs)),
            self.zeros.split(list(outputs)),
            strict=True,
        )
        return [QuantWeight(codes, scales, zeros, self.group_of) for codes, scales, zeros in parts]

    def dequantise(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight [O, I]; products are taken in float32, rounded once."""
        outputs, inputs = self.codes.shape
        if self.group_of is None:
            codes = self.codes.view(outputs, self.scales.shape[1], -1)
            centred = codes.float() - self.zeros[..., None].float()
            return (centred * self.scales[..., None].float()).view(outputs, inputs).to(dtype)
        group_of = self.group_of.long()
        centred = self.codes.float() - self.zeros[:, group_of].float()
        return (centred * self.scales[:, group_of].float()).to(dtype)
