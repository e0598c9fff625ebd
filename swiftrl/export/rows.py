"""Schemes with one scale a row, as 8-bit products of weights and inputs need."""

from __future__ import annotations

from swiftrl.core.errors import ConfigError
from swiftrl.export.config import QuantConfig
from swiftrl.quant.scheme import Scheme

__all__ = ["one_scale_a_row"]

_UNSET = QuantConfig().group_size


def one_scale_a_row(config: QuantConfig, method: str) -> Scheme:
    """Return 8 bits, symmetric, one scale a row; the default of --group_size counts as unset.

    Raises:
        ConfigError: groups, a zero point or an order of columns were asked for.
    """
    asked = {
        f"--group_size {config.group_size}": config.group_size not in (_UNSET, -1),
        "--symmetric false": config.symmetric is False,
        "--desc_act true": config.desc_act,
    }
    if wrong := [flag for flag, given in asked.items() if given]:
        raise ConfigError(
            f"{', '.join(wrong)}: {method} has one scale a row, centred on zero; leave it out."
        )
    return Scheme(bits=8, group_size=-1)
