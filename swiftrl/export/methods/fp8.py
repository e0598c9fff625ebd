"""FP8: weights as 8-bit floating point numbers, inputs rounded to them as they come."""

from __future__ import annotations

import torch

from swiftrl.export.config import QuantConfig
from swiftrl.export.method import Gatherer
from swiftrl.export.rows import one_scale_a_row
from swiftrl.quant.fp8 import Fp8Weight, round_to_fp8
from swiftrl.quant.scheme import Scheme

__all__ = ["METHOD"]


class Fp8:
    """Every weight goes to the nearest number of e4m3, on a scale of its row."""

    summary = "8-bit floating point weights and, as they come, inputs (W8A8); no data"
    formats = ("fp8",)
    bits = (8,)
    reads_inputs = False
    scales_inputs = False

    def inverts_hessian(self, config: QuantConfig) -> bool:
        """Return False: no inputs are looked at."""
        return False

    def scheme(self, config: QuantConfig, bits: int, form: str) -> Scheme:
        """Return the scheme."""
        return one_scale_a_row(config, "fp8")

    def gatherer(self, layer: torch.nn.Linear, config: QuantConfig) -> None:
        """Return None: nothing is gathered."""

    def quantise(
        self,
        weight: torch.Tensor,
        gathered: Gatherer | None,
        pooled: Gatherer | None,
        scheme: Scheme,
        config: QuantConfig,
    ) -> Fp8Weight:
        """Return the rounded weight; by the processor, since not every device has the type."""
        return round_to_fp8(weight.cpu())


METHOD = Fp8()
