"""GPTQ: errors of rounding made good by the weights still to be rounded (arXiv:2210.17323)."""

from __future__ import annotations

import torch

from swiftrl.core.errors import ConfigError
from swiftrl.export.config import QuantConfig
from swiftrl.export.method import Gatherer
from swiftrl.quant.gptq import gptq
from swiftrl.quant.hessian import Hessian, shrink, with_drift
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["METHOD"]

_DAMPING = 0.01


class Gptq:
    """Rounds with the Hessian of the layer's inputs."""

    summary = "each rounding error is made good by the weights behind it (GPTQ)"
    formats = ("gptq", "gptq_v2", "compressed_tensors")
    bits = (4, 8, 3, 2)
    reads_inputs = True
    scales_inputs = False

    def inverts_hessian(self, config: QuantConfig) -> bool:
        """Return True: weights make errors good by it."""
        return True

    def scheme(self, config: QuantConfig, bits: int, form: str) -> Scheme:
        """Return the scheme."""
        damping = config.damp_percent
        if damping is not None and not 0 <= damping <= 1:
            raise ConfigError(f"--damp_percent {damping}: expected 0 up to 1, e.g. {_DAMPING}.")
        symmetric = True if config.symmetric is None else config.symmetric
        return Scheme(bits, config.group_size, symmetric, config.desc_act)

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
        assert isinstance(gathered, Hessian)
        hessian = gathered.mean() if pooled is None else _drawn(gathered, pooled)
        damping = _DAMPING if config.damp_percent is None else config.damp_percent
        return gptq(with_drift(weight, gathered), hessian, scheme, damping=damping).weight


def _drawn(own: Hessian, pooled: Gatherer) -> torch.Tensor:
    assert isinstance(pooled, Hessian)
    return shrink(own, pooled)


METHOD = Gptq()
