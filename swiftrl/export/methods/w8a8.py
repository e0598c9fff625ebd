"""W8A8: 8-bit integers for weights, rounded by GPTQ, and for inputs as they come."""

from __future__ import annotations

import torch

from swiftrl.export.config import QuantConfig
from swiftrl.export.method import METHODS, Gatherer
from swiftrl.export.rows import one_scale_a_row
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["METHOD"]


class W8A8:
    """GPTQ with one scale a row, in the format of 8-bit products."""

    summary = "8-bit integer weights, rounded by GPTQ, and, as they come, inputs"
    formats = ("w8a8",)
    bits = (8,)
    reads_inputs = True
    scales_inputs = False

    def inverts_hessian(self, config: QuantConfig) -> bool:
        """Return True: weights make errors good by it."""
        return True

    def scheme(self, config: QuantConfig, bits: int, form: str) -> Scheme:
        """Return the scheme."""
        return one_scale_a_row(config, "w8a8")

    def gatherer(self, layer: torch.nn.Linear, config: QuantConfig) -> Gatherer | None:
        """Return GPTQ's."""
        return METHODS.get("gptq").gatherer(layer, config)

    def quantise(
        self,
        weight: torch.Tensor,
        gathered: Gatherer | None,
        pooled: Gatherer | None,
        scheme: Scheme,
        config: QuantConfig,
    ) -> QuantWeight:
        """Return the rounded weight."""
        return METHODS.get("gptq").quantise(weight, gathered, pooled, scheme, config)


METHOD = W8A8()
