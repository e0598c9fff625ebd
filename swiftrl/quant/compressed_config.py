"""What formats of compressed-tensors share: `quantization_config`, one group of layers by a scheme.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from swiftrl.core.errors import ConfigError
from swiftrl.quant.scheme import Scheme

__all__ = ["METHOD", "CompressedTensors", "Stored", "check_rows", "read_config", "write_config"]

METHOD = "compressed-tensors"
_DYNAMIC_TOKENS = {"strategy": "token", "symmetric": True, "dynamic": True}


@dataclass(frozen=True, slots=True)
class Stored:
    """How compressed-tensors names a kind of weights.

    Attributes:
        format: its own name, e.g. "pack-quantized".
        type: of a stored weight, "int" or "float".
        activation_bits: of a layer's inputs, scaled token by token as they come; None where they
            stay as they are.
    """

    format: str
    type: str
    activation_bits: int | None = None


class _Dequantises(Protocol):
    def dequantise(self, dtype: torch.dtype) -> Tensor: ...


class CompressedTensors:
    """A format whose scheme lies in `quantization_config` as compressed-tensors has it.

    Attributes:
        stored: what it is called there.
    """

    stored: Stored

    def check(self, scheme: Scheme) -> None:
        """Raise ConfigError for a scheme that the format cannot hold."""
        raise NotImplementedError

    def unpack(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> _Dequantises:
        """Return what `pack` was given."""
        raise NotImplementedError

    def dequantise(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, dtype: torch.dtype
    ) -> Tensor:
        """Return the weight [O, I]."""
        return self.unpack(tensors, scheme).dequantise(dtype)

    def to_config(self, scheme: Scheme, skipped: Sequence[str]) -> dict[str, Any]:
        """Return `quantization_config`."""
        self.check(scheme)
        return write_config(self.stored, scheme, skipped)

    def from_config(self, config: Mapping[str, Any]) -> Scheme | None:
        """Return the scheme of the weights; None for other methods and kinds.

        Raises:
            ConfigError: another grid, or static scales of inputs.
        """
        scheme = read_config(self.stored, config)
        if scheme is not None:
            self.check(scheme)
        return scheme


def check_rows(name: str, scheme: Scheme) -> None:
    """Refuse all but 8 bits with one scale a row, centred on zero.

    Raises:
        ConfigError: another grid.
    """
    if (scheme.bits, scheme.group_size, scheme.symmetric) != (8, -1, True):
        raise ConfigError(
            f"the format {name} holds 8 bits, symmetric, with one scale a row (group_size -1); "
            f"found {scheme.bits} bits, {'' if scheme.symmetric else 'not '}symmetric, group_size "
            f"{scheme.group_size}."
        )


def write_config(stored: Stored, scheme: Scheme, skipped: Sequence[str]) -> dict[str, Any]:
    """Return the record for layers of one scheme.

    Raises:
        ConfigError: groups in the order of activations, which vLLM does not read here.
    """
    _refuse_act_order(scheme.act_order)
    grouped = scheme.group_size != -1
    weights = {
        "num_bits": scheme.bits,
        "type": stored.type,
        "symmetric": scheme.symmetric,
        "strategy": "group" if grouped else "channel",
        "group_size": scheme.group_size if grouped else None,
        "dynamic": False,
        "actorder": None,
    }
    bits = stored.activation_bits
    inputs = None if bits is None else {
        "num_bits": bits, "type": stored.type, "group_size": None, **_DYNAMIC_TOKENS,
    }  # fmt: skip
    group = {
        "targets": ["Linear"],
        "weights": weights,
        "input_activations": inputs,
        "output_activations": None,
    }
    return {
        "quant_method": METHOD,
        "format": stored.format,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": list(skipped),
        "kv_cache_scheme": None,
    }


def read_config(stored: Stored, config: Mapping[str, Any]) -> Scheme | None:
    """Return the scheme of a record; None if of another method or kind.

    Raises:
        ConfigError: this kind, but with settings that are not served here.
    """
    if config.get("quant_method") != METHOD:
        return None
    groups = list((config.get("config_groups") or {}).values())
    formats = {group.get("format") or config.get("format") for group in groups}
    if stored.format not in formats:
        return None
    if len(groups) != 1 or groups[0].get("targets") != ["Linear"]:
        raise ConfigError(
            f"compressed-tensors with {len(groups)} groups of layers, of the targets "
            f"{[group.get('targets') for group in groups]}; expected one group of ['Linear']. "
            "Take files in which all layers share a scheme."
        )
    group, weights = groups[0], groups[0]["weights"]
    inputs = group.get("input_activations")
    bits = None if inputs is None else inputs["num_bits"]
    static = inputs is not None and not inputs.get("dynamic")
    if weights["type"] != stored.type or bits != stored.activation_bits or static:
        raise ConfigError(
            f"compressed-tensors {stored.format} with {weights['type']} weights and "
            f"{'static ' if static else ''}inputs of {bits} bits; expected {stored.type} weights "
            f"and {'dynamic ' if stored.activation_bits else ''}inputs of "
            f"{stored.activation_bits} bits."
        )
    if weights["strategy"] not in ("group", "channel"):
        raise ConfigError(
            f"compressed-tensors {stored.format} with a scale by {weights['strategy']}; expected "
            "one by group or channel."
        )
    _refuse_act_order(weights.get("actorder") in ("group", "dynamic"))
    return Scheme(
        bits=int(weights["num_bits"]),
        group_size=int(weights["group_size"]) if weights["strategy"] == "group" else -1,
        symmetric=bool(weights.get("symmetric", True)),
    )


def _refuse_act_order(act_order: bool) -> None:
    if act_order:
        raise ConfigError(
            "compressed-tensors with groups in the order of activations (desc_act): not served. "
            "Use the format gptq, or do without desc_act."
        )
