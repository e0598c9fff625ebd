"""AWQ's layout "gemm": words along the outputs, eight of 4 bits in an order of their own.

`qweight` [I, O / 8] and `qzeros` [G, O / 8] are int32, `scales` [G, O] floating point. Read by
AutoAWQ, GPTQModel, transformers, vLLM and SGLang.

Shapes: O outputs, I inputs, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swiftrl.core.errors import ConfigError
from swiftrl.quant.grouped import dequantise_inputs_first
from swiftrl.quant.pack import pack, words_for
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["FORMAT"]

_BITS = 4
_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of a word's eight outputs each of its places holds, the lowest bits first."""


class AwqLayout:
    """The layout "gemm"."""

    def layout(
        self, outputs: int, inputs: int, scheme: Scheme, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and type of a layer's tensors; `dtype` is the scales'."""
        groups, words = scheme.groups(inputs), words_for(outputs, _BITS)
        return {
            "qweight": ((inputs, words), torch.int32),
            "qzeros": ((groups, words), torch.int32),
            "scales": ((groups, outputs), dtype),
        }

    def pack(self, weight: QuantWeight, scheme: Scheme) -> dict[str, Tensor]:
        """Return a layer's tensors.

        Raises:
            ConfigError: other than 4 bits, groups that do not lie in order, or outputs that do
                not fill whole words.
        """
        _check(scheme.bits, act_order=weight.group_of is not None)
        return {
            "qweight": _pack_outputs(weight.codes),
            "qzeros": _pack_outputs(weight.zeros),
            "scales": weight.scales.t().contiguous(),
        }

    def unpack(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> QuantWeight:
        """Return what `pack` was given."""
        return QuantWeight(
            codes=_unpack_outputs(tensors["qweight"]).t(),
            scales=tensors["scales"].t(),
            zeros=_unpack_outputs(tensors["qzeros"]).t(),
        )

    def dequantise(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, dtype: torch.dtype
    ) -> Tensor:
        """Return the weight [O, I]."""
        return dequantise_inputs_first(
            _unpack_outputs(tensors["qweight"]),
            tensors["scales"],
            _unpack_outputs(tensors["qzeros"]),
            dtype,
        )

    def to_config(self, scheme: Scheme, skipped: Sequence[str]) -> dict[str, Any]:
        """Return `quantization_config`; zero points are always stored, as readers expect.

        Raises:
            ConfigError: other than 4 bits, or groups in an order of their own.
        """
        _check(scheme.bits, act_order=scheme.act_order)
        return {
            "quant_method": "awq",
            "version": "gemm",
            "bits": scheme.bits,
            "group_size": scheme.group_size,
            "zero_point": True,
            "modules_to_not_convert": list(skipped) or None,
        }

    def from_config(self, config: Mapping[str, Any]) -> Scheme | None:
        """Return the scheme; None for other methods.

        Raises:
            ConfigError: another layout than "gemm", other than 4 bits, no zero points.
        """
        if config.get("quant_method") != "awq":
            return None
        version = str(config.get("version") or config.get("format") or "gemm").lower()
        bits = int(config.get("bits", config.get("w_bit", _BITS)))
        if version != "gemm" or bits != _BITS or not config.get("zero_point", True):
            raise ConfigError(
                f"AWQ weights in the layout {version!r} with {bits} bits and zero_point "
                f"{config.get('zero_point', True)}; expected 'gemm', {_BITS} bits and zero points. "
                "Take the model's files in AutoAWQ's gemm layout."
            )
        group_size = int(config.get("group_size", config.get("q_group_size", 128)))
        return Scheme(bits=bits, group_size=group_size, symmetric=False)


def _check(bits: int, *, act_order: bool) -> None:
    if bits != _BITS or act_order:
        raise ConfigError(
            f"the format awq holds {_BITS} bits and groups in order; found {bits} bits"
            f"{' in groups by the size of their inputs' if act_order else ''}."
        )


def _pack_outputs(values_OX: Tensor) -> Tensor:
    """Return the values' words, [X, O / 8]."""
    words_for(len(values_OX), _BITS)
    order = torch.tensor(_ORDER, device=values_OX.device)
    ordered = values_OX.view(-1, 8, values_OX.shape[1])[:, order]
    return pack(ordered.reshape(values_OX.shape), _BITS).t().contiguous()


def _unpack_outputs(words_XW: Tensor) -> Tensor:
    """Return the values, [X, O] uint8."""
    rows = words_XW.shape[0]
    values = torch.empty(rows, words_XW.shape[1], 8, dtype=torch.uint8, device=words_XW.device)
    for half in range(2):
        # Every second place, as the bytes of a word, the lowest first.
        places = ((words_XW >> (_BITS * half)) & 0x0F0F0F0F).view(torch.uint8)
        for byte, place in enumerate(places.view(rows, -1, 4).unbind(-1)):
            values[..., _ORDER[2 * byte + half]] = place
    return values.view(rows, -1)


FORMAT = AwqLayout()
