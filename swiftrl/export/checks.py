"""What is refused before a model's weights are read: its layers, and too few rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from swiftrl.core import log
from swiftrl.core.errors import ConfigError, DataError
from swiftrl.export.calibration import Samples
from swiftrl.export.config import QuantConfig
from swiftrl.export.layers import check_groups, find_blocks, widths
from swiftrl.export.method import Plan
from swiftrl.models.resolve import Resolved
from swiftrl.models.skeleton import skeleton
from swiftrl.models.split_experts import split_experts

__all__ = ["Sizes", "check_model", "check_tokens", "take_apart"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is known of a model before its weights are read.

    Attributes:
        bytes: of its weights in the type of its files.
        widest: inputs of the widest layer that is quantised.
    """

    bytes: int
    widest: int


def check_model(resolved: Resolved, plan: Plan, config: QuantConfig) -> Sizes:
    """Refuse a model that cannot be quantised so, before its weights are read.

    Raises:
        ConfigError: it is quantised already, or groups or words do not fit its layers.
        ModelError: it has no blocks of linear layers.
    """
    found = resolved.config.get("quantization_config")
    if found is not None:
        how = found.get("quant_method") if isinstance(found, dict) else found
        raise ConfigError(
            f"--model {resolved.name}: is quantised already ({how}, by its config.json). Give the "
            "original model."
        )
    model = skeleton(resolved)
    take_apart(model, config)
    blocks = find_blocks(model, resolved.spec, config.modules_to_not_convert)
    check_groups(model, blocks, plan.scheme.group_size)
    for name in blocks.layers:
        layer: Any = model.get_submodule(name)
        try:
            plan.format.layout(layer.out_features, layer.in_features, plan.scheme, torch.float16)
        except ConfigError as error:
            raise ConfigError(
                f"{name}: {error} Leave it as it is by --modules_to_not_convert "
                f"{name.split('.')[-1]}, or choose another --quant_format."
            ) from error
    size = getattr(torch, resolved.stored_dtype, torch.float32).itemsize
    return Sizes(
        size * sum(parameter.numel() for parameter in model.parameters()),
        max(width for _, width in widths(model, blocks.layers)),
    )


_AMPLE = 4
"""Tokens an input of the widest layer from which on more rows change little."""


def check_tokens(samples: Samples, sizes: Sizes, plan: Plan, config: QuantConfig) -> None:
    """Refuse rows of too few tokens, before weights are read.

    Raises:
        DataError: X^T X of the widest layer would be singular, and the method inverts it.
    """
    if not plan.method.inverts_hessian(config):
        return
    tokens, widest = sum(len(row.sequences[0]) for row in samples.calibration), sizes.widest
    if tokens >= _AMPLE * widest:
        return
    text = (
        f"the {len(samples.calibration)} calibration rows hold {tokens} tokens, and the widest "
        f"layer has {widest} inputs"
    )
    more = "Give more or longer rows (--quant_n_samples, --max_length)"
    if tokens >= widest:
        log.warn(f"{text}: {_AMPLE} tokens an input or more are better. {more}.")
    elif config.force:
        log.warn(f"{text}: most of what {plan.name} goes by is damping. Going on (--force true).")
    else:
        raise DataError(
            f"too few samples: {text}. {plan.name} needs more tokens than inputs to know which "
            f"errors cancel. {more}, or take --quant_method awq --awq_rounding nearest; "
            "--force true goes on all the same."
        )


def take_apart(model: Any, config: QuantConfig) -> None:
    """Make linear layers of stacked experts, unless experts stay as they are.

    Raises:
        ModelError: they are of a kind that cannot be.
    """
    if not {"experts", "mlp"} & set(config.modules_to_not_convert):
        split_experts(model)
