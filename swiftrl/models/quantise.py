"""Weights quantised as they are read: `--quant_method`.

Each linear layer is quantised when its weight comes from the file, so that a model never exists in
full precision. The output head, routers, scores and the towers of other media stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swiftrl.core.compat import check_installed
from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.core.registry import did_you_mean
from swiftrl.models.config import QuantLoadConfig, TunerConfig
from swiftrl.models.heads import SCORE_HEAD
from swiftrl.models.quantised import section_of
from swiftrl.models.resolve import Resolved

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "BITS",
    "check_package",
    "check_quantisation",
    "count_weights",
    "keep_gradients",
    "quantising_arguments",
]

BITS = {"nf4": (4,), "bnb": (4, 8)}
"""Bits by method; the first is the one taken where none is asked for."""
_CALIBRATED = (
    "needs calibration data: make such a model first (swiftrl export --quant_method {0}), and "
    "give its folder as --model without this setting."
)
_INSTEAD = "is not part of this version; use nf4 (4 bits, all hardware) or bnb (4 or 8 bits)."
_ELSEWHERE = {
    "gptq": _CALIBRATED,
    "gptq_v2": _CALIBRATED,
    "awq": _CALIBRATED,
    "hqq": _INSTEAD,
    "eetq": _INSTEAD,
    "quanto": _INSTEAD,
    "fp8": _INSTEAD,
}
_READS_WEIGHTS = ("pissa", "olora")
_BLOCK = 64
"""Weights under one scale of bitsandbytes' 4-bit numbers."""


def check_quantisation(config: QuantLoadConfig, tuner: TunerConfig | None = None) -> None:
    """Refuse settings of quantisation that contradict each other, before anything is loaded.

    Args:
        config: the settings.
        tuner: what trains; None where nothing does.

    Raises:
        ConfigError: which, and what to do.
    """
    method = config.quant_method
    if method is None:
        for name in ("quant_bits", "bnb_4bit_compute_dtype"):
            if (value := getattr(config, name)) is not None:
                raise ConfigError(
                    f"--{name} {value} is for --quant_method, which is not given; add "
                    "--quant_method nf4 (or bnb), or leave it out."
                )
        return
    if method not in BITS:
        if method in _ELSEWHERE:
            raise ConfigError(f"--quant_method {method}: {_ELSEWHERE[method].format(method)}")
        raise ConfigError(
            f"--quant_method {method}: unknown; expected nf4 or bnb."
            + did_you_mean(method, tuple(BITS))
        )
    if config.quant_bits is not None and config.quant_bits not in BITS[method]:
        known = " or ".join(map(str, BITS[method]))
        other = ", or use --quant_method bnb" if config.quant_bits in BITS["bnb"] else ""
        raise ConfigError(
            f"--quant_bits {config.quant_bits}: --quant_method {method} has {known} bits{other}."
        )
    if method == "nf4" and config.bnb_4bit_compute_dtype is not None:
        raise ConfigError(
            "--bnb_4bit_compute_dtype is for --quant_method bnb; nf4 multiplies in --torch_dtype."
        )
    if tuner is not None:
        _check_tuner(method, tuner)


def check_package(config: QuantLoadConfig) -> None:
    """Refuse a method whose package is not installed.

    Raises:
        ConfigError: it names the extra that installs it.
    """
    if config.quant_method == "bnb":
        check_installed("bitsandbytes", extra="bnb", purpose="--quant_method bnb")


def _check_tuner(method: str, tuner: TunerConfig) -> None:
    if tuner.tuner_type == "full":
        raise ConfigError(
            f"--tuner_type full with --quant_method {method}: quantised weights cannot be trained "
            "themselves. Use --tuner_type lora, or leave --quant_method."
        )
    if tuner.init_weights in _READS_WEIGHTS:
        raise ConfigError(
            f"--init_weights {tuner.init_weights} changes the base weights, which --quant_method "
            f"{method} keeps packed; use --init_weights true, gaussian or orthogonal."
        )


def quantising_arguments(
    resolved: Resolved, config: QuantLoadConfig, compute: torch.dtype
) -> dict[str, Any]:
    """Return what `from_pretrained` takes to quantise a model as it reads it; {} to leave it.

    Args:
        resolved: its folder.
        config: how.
        compute: type of the computation.

    Raises:
        ConfigError: `check_quantisation`'s.
        ModelError: the files are quantised already.
    """
    check_quantisation(config)
    check_package(config)
    if config.quant_method is None:
        return {}
    if stored := section_of(resolved.config):
        raise ModelError(
            f"{resolved.path}: is stored quantised already ({stored.get('quant_method')}); leave "
            f"--quant_method {config.quant_method}, or give the unquantised model."
        )
    if config.quant_method == "nf4":
        from swiftrl.models.nf4_loading import nf4_config

        return {"quantization_config": nf4_config(_kept(resolved))}
    # Its kernel for CPUs unpacks rows that blocks of 64 do not fill to other values.
    kept = _kept(resolved, fills=_BLOCK)
    return {"quantization_config": _bitsandbytes(config, kept, compute)}


def _kept(resolved: Resolved, *, fills: int = 2) -> list[str]:
    """Return the linear layers that stay as they are.

    Args:
        resolved: the model's folder.
        fills: divides the number of inputs of those that do not.
    """
    from torch import nn

    from swiftrl.models.skeleton import skeleton
    from swiftrl.models.targets import linear_names
    from swiftrl.models.towers import tower_of

    model = skeleton(resolved)
    language = {n for n in linear_names(model) if tower_of(n, resolved.spec) == "language"}
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    others = [n for n, m in linears.items() if n not in language or m.in_features % fills]
    return [SCORE_HEAD, *others]


def _bitsandbytes(config: QuantLoadConfig, kept: list[str], compute: torch.dtype) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    if config.quant_bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    asked = config.bnb_4bit_compute_dtype
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=config.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=compute if asked is None else getattr(torch, asked),
        llm_int8_skip_modules=kept,
    )


def keep_gradients(model: nn.Module) -> None:
    """Keep bitsandbytes from rearranging weights on CPUs in a way that has no gradient.

    It does so in the first forward pass that wants none, once and for all; backward passes then
    lose in silence what should flow through the layer.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def count_weights(model: nn.Module) -> int:
    """Return how many weights a model has; packed ones count as what they stand for."""
    from torch import nn

    total, seen = 0, set[int]()
    module: Any
    for module in model.modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        packed = isinstance(module, nn.Linear) and not all(p.is_floating_point() for p in own)
        if packed:
            own = [p for p in own if p is module.bias]
            total += module.in_features * module.out_features
        total += sum(p.numel() for p in own)
    return total
