"""AWQ: inputs scaled so that loud ones lose less, then weights rounded as by GPTQ or to nearest."""

from __future__ import annotations

from dataclasses import replace

import torch

from swiftrl.core.errors import ConfigError
from swiftrl.export.config import QuantConfig
from swiftrl.export.method import METHODS, Gatherer
from swiftrl.quant.awq import awq
from swiftrl.quant.grid import round_to_nearest
from swiftrl.quant.hessian import Hessian
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["METHOD"]


class Awq:
    """Scales are found before (`export.folding`); here weights are rounded on the best grids.

    The paper rounds to the nearest. What files hold is the same either way: scales, zero points
    and integers.
    """

    summary = "inputs scaled so that loud ones lose less (AWQ), then rounded as by gptq"
    formats = ("awq", "gptq_v2", "gptq")
    bits = (4, 8, 3, 2)
    reads_inputs = True
    scales_inputs = True

    def inverts_hessian(self, config: QuantConfig) -> bool:
        """Return whether weights are rounded as by gptq."""
        return config.awq_rounding == "gptq"

    def scheme(self, config: QuantConfig, bits: int, form: str) -> Scheme:
        """Return the scheme."""
        if form == "awq" and bits != 4:
            raise ConfigError(
                f"--quant_bits {bits}: the format awq holds 4 bits; use 4, or --quant_format "
                "gptq_v2, which holds the same weights in other bits."
            )
        if config.desc_act:
            raise ConfigError("--desc_act: columns are not ordered by awq; leave it, or use gptq.")
        symmetric = form == "gptq" if config.symmetric is None else config.symmetric
        return METHODS.get("gptq").scheme(replace(config, symmetric=symmetric), bits, form)

    def gatherer(self, layer: torch.nn.Linear, config: QuantConfig) -> Hessian:
        """Return an empty Hessian."""
        return Hessian.empty(layer.in_features, layer.weight.device)

    def quantise(
        self,
        weight: torch.Tensor,
        gathered: Gatherer | None,
        pooled: Gatherer | None,
        scheme: Scheme,
        config: QuantConfig,
    ) -> QuantWeight:
        """Return the rounded weight."""
        if config.awq_rounding == "gptq":
            return METHODS.get("gptq").quantise(weight, gathered, pooled, scheme, config)
        known = gathered if isinstance(gathered, Hessian) and int(gathered.tokens) else pooled
        if not isinstance(known, Hessian) or not int(known.tokens):
            return round_to_nearest(weight, scheme)
        return awq(weight, known.mean(), scheme)


METHOD = Awq()
