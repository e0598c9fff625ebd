"""What quantised weights take, by method: arithmetic on their formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.core.errors import ConfigError
from swiftrl.models.quantised import stored_as
from swiftrl.quant.format import FORMATS
from swiftrl.quant.nf4 import BLOCK, SCALES_TOGETHER
from swiftrl.rlhf.planning.choices import Quantisation

__all__ = ["CALIBRATED", "quantisation", "stored_quantisation"]

CALIBRATED = ("gptq", "awq")
"""Methods whose models are made beforehand; training finds them in the files."""
_BITS = {"nf4": (4,), "bnb": (4, 8), "gptq": (4, 2, 3, 8), "awq": (4,)}
"""The first is the one where none is asked for."""
_SCALE_BITS = 16
_FLOAT32_BITS = 32


def quantisation(
    method: str, bits: int | None, group_size: int | None, *, double: bool = True
) -> Quantisation:
    """Return the bits of a weight.

    nf4: with double quantisation. bnb: NF4 or FP4, or LLM.int8, whose float32 a row counts for
    nothing. gptq, awq: a 16-bit scale and a zero point a group.

    Args:
        method: by name.
        bits: of a weight; None for the method's own.
        group_size: weights under one scale, of gptq and awq; None for 128.
        double: bnb's scales are quantised in turn.

    Raises:
        ConfigError: the method has no such number of bits.
    """
    bits = bits or _BITS[method][0]
    if bits not in _BITS[method]:
        known = ", ".join(map(str, sorted(_BITS[method])))
        raise ConfigError(f"--quant_bits {bits}: {method} has {known}.")
    if group_size is not None and group_size < 1:
        raise ConfigError(f"--group_size {group_size}: expected 1 or more.")
    name = f"{method} {bits}-bit"
    if method in CALIBRATED:
        return Quantisation(name, bits, (_SCALE_BITS + bits) / (group_size or 128))
    if bits == 8:
        return Quantisation(name, bits, 0.0)
    scales = 8 + _FLOAT32_BITS / SCALES_TOGETHER if double else _FLOAT32_BITS
    return Quantisation(name, bits, scales / BLOCK)


def stored_quantisation(section: Mapping[str, Any]) -> Quantisation:
    """Return the bits of a weight in files, as `quantization_config` of config.json says.

    Raises:
        ConfigError: no format that is known here.
    """
    stored = stored_as(section)
    if stored is not None:
        scheme = stored.scheme
        extra = (_SCALE_BITS + scheme.bits) / scheme.group_size if scheme.group_size > 0 else 0.0
        return Quantisation(f"{stored.name} {scheme.bits}-bit", scheme.bits, extra)
    raise ConfigError(
        f"the model's files are quantised by {section.get('quant_method')!r}, which is no format "
        f"that training reads; expected one of {', '.join(FORMATS.names())}."
    )
