"""GPTQ's layout of a linear layer: words along the inputs, one scale and zero a group and output.

`qweight` [I * bits / 32, O] and `qzeros` [G, O * bits / 32] are int32, `scales` [G, O] floating
point, `g_idx` [I] int32 is each input's group. Read by AutoGPTQ, GPTQModel, transformers, vLLM
and SGLang. Version 1 stores a zero point less one, version 2 as it is.

Shapes: O outputs, I inputs, G groups.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import torch
from torch import Tensor

from swiftrl.core.errors import ConfigError
from swiftrl.quant.grouped import dequantise_inputs_first, group_of_inputs, in_order
from swiftrl.quant.pack import BITS, WORD, pack, unpack, words_for
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["GptqLayout"]

_KNOWN = ("gptq", "gptq_v2")


@dataclass(frozen=True, slots=True)
class GptqLayout:
    """A version of the layout.

    Attributes:
        name: in "checkpoint_format".
        zero_offset: what is added to a zero point when it is stored.
    """

    name: str
    zero_offset: int

    def layout(
        self, outputs: int, inputs: int, scheme: Scheme, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and type of a layer's tensors; `dtype` is the scales'."""
        groups = scheme.groups(inputs)
        return {
            "qweight": ((words_for(inputs, scheme.bits), outputs), torch.int32),
            "qzeros": ((groups, words_for(outputs, scheme.bits)), torch.int32),
            "scales": ((groups, outputs), dtype),
            "g_idx": ((inputs,), torch.int32),
        }

    def pack(self, weight: QuantWeight, scheme: Scheme) -> dict[str, Tensor]:
        """Return a layer's tensors.

        Raises:
            ConfigError: the codes do not fill whole words, or version 1 is to hold a zero
                point of 0, which its readers take for different numbers.
        """
        inputs, groups = weight.codes.shape[1], weight.scales.shape[1]
        if self.zero_offset and not bool(weight.zeros.all()):
            raise ConfigError(
                f"the format {self.name} cannot hold a zero point of 0, which an asymmetric grid "
                "gives to weights that are all positive; use gptq_v2, or a symmetric grid."
            )
        zeros_OG = weight.zeros.long() + self.zero_offset
        group_of = weight.group_of
        if group_of is None:
            group_of = group_of_inputs(inputs, groups, weight.codes.device)
        return {
            "qweight": pack(weight.codes.t(), scheme.bits),
            "qzeros": pack(zeros_OG, scheme.bits).t().contiguous(),
            "scales": weight.scales.t().contiguous(),
            "g_idx": group_of.to(torch.int32),
        }

    def unpack(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> QuantWeight:
        """Return what `pack` was given; `g_idx` may be absent."""
        scales_GO, group_of = tensors["scales"], tensors.get("g_idx")
        if group_of is not None and in_order(group_of, scales_GO.shape[0]):
            group_of = None
        return QuantWeight(
            codes=unpack(tensors["qweight"], scheme.bits).t(),
            scales=scales_GO.t(),
            zeros=self._zeros(tensors, scheme).t(),
            group_of=None if group_of is None else group_of.long(),
        )

    def dequantise(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, dtype: torch.dtype
    ) -> Tensor:
        """Return the weight [O, I]; `g_idx` is read where the scheme says `act_order`."""
        return dequantise_inputs_first(
            unpack(tensors["qweight"], scheme.bits),
            tensors["scales"],
            self._zeros(tensors, scheme),
            dtype,
            tensors.get("g_idx") if scheme.act_order else None,
        )

    def to_config(self, scheme: Scheme, skipped: Sequence[str]) -> dict[str, Any]:
        """Return `quantization_config`; skipped layers are named by patterns ("dynamic").

        Raises:
            ConfigError: bits that are not packed, or zero points of version 1, which GPTQModel
                reads from its own files alone, and which cannot be 0.
        """
        words_for(lcm(*BITS) * WORD, scheme.bits)
        if self.zero_offset and not scheme.symmetric:
            raise ConfigError(
                f"the format {self.name} with an asymmetric grid: not all readers take such files. "
                "Use the format gptq_v2, or a symmetric grid."
            )
        config: dict[str, Any] = {
            "quant_method": "gptq",
            "checkpoint_format": self.name,
            "bits": scheme.bits,
            "group_size": scheme.group_size,
            "sym": scheme.symmetric,
            "desc_act": scheme.act_order,
            "true_sequential": True,
            "pack_dtype": "int32",
            "lm_head": False,
        }
        patterns = [f"-:^{re.escape(name)}$" for name in skipped if name != "lm_head"]
        if patterns:
            config["dynamic"] = {pattern: {} for pattern in patterns}
        return config

    def from_config(self, config: Mapping[str, Any]) -> Scheme | None:
        """Return the scheme; None for other methods and the layout's other version.

        Raises:
            ConfigError: a layout of one kernel, or layers that differ in their scheme.
        """
        if config.get("quant_method") != "gptq":
            return None
        name = str(config.get("checkpoint_format") or config.get("format") or "gptq").lower()
        if name not in _KNOWN or config.get("is_marlin_format"):
            found = "marlin" if config.get("is_marlin_format") else name
            raise ConfigError(
                f"GPTQ weights in the layout {found!r}, which one kernel alone reads; "
                f"expected {' or '.join(_KNOWN)}. Take the model's original GPTQ files."
            )
        if name != self.name:
            return None
        bits, words = int(config["bits"]), str(config.get("pack_dtype") or "int32")
        if bits not in BITS or words != "int32":
            raise ConfigError(
                f"GPTQ weights of {bits} bits in {words} words; expected "
                f"{', '.join(map(str, BITS))} bits in int32 words."
            )
        _refuse_mixed(config)
        return Scheme(
            bits=bits,
            group_size=int(config.get("group_size", 128)),
            symmetric=bool(config.get("sym", True)),
            act_order=bool(config.get("desc_act", False)),
        )

    def _zeros(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> Tensor:
        """Return the zero points, [G, O] uint8.

        One is added to whole words where no value crosses their ends, as GPTQModel takes it off
        them: a zero point of 0 borrows from the next, and so comes back.
        """
        words, bits = tensors["qzeros"], scheme.bits
        if self.zero_offset == 0:
            return unpack(words.t(), bits).t()
        if WORD % bits:
            return unpack(words.t(), bits).t() - self.zero_offset
        ones = sum(1 << place for place in range(0, WORD, bits))
        return unpack((words - self.zero_offset * ones).t(), bits).t()


def _refuse_mixed(config: Mapping[str, Any]) -> None:
    """Raise ConfigError where single layers have a scheme of their own."""
    for pattern, values in (config.get("dynamic") or {}).items():
        if pattern.startswith("-:"):
            continue
        for key in ("bits", "group_size", "sym", "desc_act"):
            if key in values and values[key] != config.get(key):
                raise ConfigError(
                    f'"dynamic" gives layers {pattern!r} {key} {values[key]} where others have '
                    f"{config.get(key)}; one scheme for all quantised layers is expected."
                )
