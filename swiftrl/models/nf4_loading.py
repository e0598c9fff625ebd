"""NF4 through transformers' interface for quantisers: one linear layer at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.utils.quantization_config import QuantizationConfigMixin

from swiftrl.core import log
from swiftrl.core.errors import ModelError
from swiftrl.models.quantiser import PackingQuantiser, mark_as_initialised, register
from swiftrl.models.split_experts import split_experts
from swiftrl.quant import nf4
from swiftrl.quant.linear import QuantLinear

__all__ = ["nf4_config", "to_nf4"]

_METHOD = "swiftrl_nf4"


class Nf4Config(QuantizationConfigMixin):
    """What transformers is given as `quantization_config`.

    Args:
        kept: names of linear layers that stay as they are.
    """

    def __init__(self, kept: Sequence[str] = ()) -> None:
        self.quant_method = _METHOD  # type: ignore[assignment]
        self.kept = list(kept)


class Nf4Quantizer(PackingQuantiser):
    """Takes each weight as it is read and puts a packed layer in the place of its own."""

    quantization_config: Nf4Config

    @property
    def quantized_element_size(self) -> float:
        """Bytes of a weight."""
        return 0.52

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        try:
            self.split = split_experts(model) > 0
        except ModelError as error:
            log.info(f"--quant_method nf4: {error}")
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        # On a processor what was not packed lies in the mapped file, and would keep all of it.
        for parameter in model.parameters():
            if parameter.device.type == "cpu" and parameter.is_floating_point():
                parameter.data = parameter.data.clone()
        return model

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        """Return whether a parameter is a weight to be packed."""
        name, _, leaf = param_name.rpartition(".")
        return leaf == "weight" and name in self._names(model)

    def get_quantize_ops(self) -> ConversionOps:
        """Return what packs a weight."""
        return _Pack()

    def _names(self, model: Any) -> frozenset[str]:
        """Return the layers to pack; asked before the first is."""
        found = getattr(self, "_found", None)
        if found is None:
            kept = set(self.quantization_config.kept)
            found = self._found = frozenset(
                name
                for name, module in model.named_modules()
                if type(module) is nn.Linear and name not in kept
            )
            if not found:
                raise ModelError(
                    f"{type(model).__name__} has no linear layers that --quant_method nf4 could "
                    "quantise; leave it."
                )
        return found


class _Pack(ConversionOps):
    def convert(  # type: ignore[override]
        self,
        input_dict: dict[str, Any],
        *,
        full_layer_name: str,
        model: Any,
        missing_keys: set[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Replace the layer of a weight; nothing is left for transformers to set."""
        (value,) = input_dict.values()
        name = full_layer_name.rpartition(".")[0]
        parent, _, leaf = name.rpartition(".")
        layer = to_nf4(model.get_submodule(name), value[0] if isinstance(value, list) else value)
        mark_as_initialised(layer)
        setattr(model.get_submodule(parent), leaf, layer)
        if missing_keys is not None:
            missing_keys.discard(full_layer_name)
        return {}


def to_nf4(linear: nn.Linear, weight: Tensor) -> QuantLinear:
    """Return a packed layer in the place of another, on the weight's device.

    Args:
        linear: whose bias is kept.
        weight: [O, I] its weight.
    """
    shape = linear.in_features, linear.out_features
    layout = nf4.layout(linear.out_features, linear.in_features)
    layer = QuantLinear(*shape, layout, nf4.dequantise, device="meta")
    layer.bias, layer.dtype = linear.bias, weight.dtype
    for name, tensor in nf4.quantise(weight).items():
        setattr(layer, name, nn.Parameter(tensor, requires_grad=False))
    return layer


def nf4_config(kept: Sequence[str]) -> Nf4Config:
    """Return what `from_pretrained` takes as `quantization_config`."""
    register(_METHOD, Nf4Quantizer, Nf4Config)
    return Nf4Config(kept)
