"""Round to nearest: no data, every weight by itself."""

from __future__ import annotations

import torch

from swiftrl.export.config import QuantConfig
from swiftrl.export.method import Gatherer
from swiftrl.quant.grid import round_to_nearest
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["METHOD"]


class RoundToNearest:
    """Every weight goes to the nearest point of its group's grid."""

    summary = "every weight to the nearest point of its group's grid; no data"
    formats = ("gptq", "gptq_v2", "awq", "compressed_tensors")
    bits = (4, 8, 3, 2)
    reads_inputs = False
    scales_inputs = False

    def inverts_hessian(self, config: QuantConfig) -> bool:
        """Return False: no inputs are looked at."""
        return False

    def scheme(self, config: QuantConfig, bits: int, form: str) -> Scheme:
        """Return the scheme; AWQ's format has zero points of its own."""
        symmetric = form != "awq" if config.symmetric is None else config.symmetric
        return Scheme(bits, config.group_size, symmetric)

    def gatherer(self, layer: torch.nn.Linear, config: QuantConfig) -> None:
        """Return None: nothing is gathered."""

    def quantise(
        self,
        weight: torch.Tensor,
        gathered: Gatherer | None,
        pooled: Gatherer | None,
        scheme: Scheme,
        config: QuantConfig,
    ) -> QuantWeight:
        """Return the weight on its grid."""
        # The grid spans the largest weight, as this method does elsewhere: a baseline.
        return round_to_nearest(weight, scheme, search=False)


METHOD = RoundToNearest()
