"""What quantisers of ours have in common, through transformers' interface for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.core_model_loading import WeightRenaming
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import (
    AUTO_QUANTIZATION_CONFIG_MAPPING,
    AUTO_QUANTIZER_MAPPING,
)

from swiftrl.models.split_experts import merges_experts
from swiftrl.quant.linear import QuantLinear

__all__ = ["PackingQuantiser", "mark_as_initialised", "register"]


class PackingQuantiser(HfQuantizer):
    """Puts packed layers in the places of linear ones; experts may be linear layers of their own.

    Attributes:
        split: whether experts were taken apart; set before weights are read.
        renamings: of names in the files that transformers does not know of; set before, too.
    """

    requires_calibration = False
    split = False
    renamings: Sequence[WeightRenaming] = ()

    @property
    def is_trainable(self) -> bool:  # type: ignore[override]
        """Whether adapters on it train."""
        return True

    def is_serializable(self) -> bool:  # type: ignore[override]
        """Whether transformers can write it."""
        return False

    def update_weight_conversions(self, weight_conversions: Any, model: Any) -> list[Any]:
        """Leave out what would stack experts that are linear layers here; add renamings."""
        conversions = super().update_weight_conversions(weight_conversions, model)
        kept = [each for each in conversions if not (self.split and merges_experts(each))]
        return [*kept, *self.renamings]


def mark_as_initialised(layer: QuantLinear) -> None:
    """Keep transformers from giving a packed layer random values.

    It would unpack the weight, fill it in vain, and leave other random numbers to adapters.
    """
    for part in (layer, *layer.parameters()):
        part._is_hf_initialized = True  # type: ignore[union-attr, assignment]


def register(method: str, quantiser: type[HfQuantizer], config: type) -> None:
    """Let transformers find a quantiser by `quant_method`, where it looks quantisers up."""
    AUTO_QUANTIZER_MAPPING[method] = quantiser
    AUTO_QUANTIZATION_CONFIG_MAPPING[method] = config
