"""Which settings need what of the hardware, in one table, and what to do where it is lacking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftrl.backends.capabilities import Capabilities

__all__ = ["MODEL_QUANTIZATION", "NEEDS", "Need", "Problem", "asked", "problems"]

MODEL_QUANTIZATION = "model_quantization"
"""Not a flag: "quant_method" of `quantization_config` in the model's config.json."""


@dataclass(frozen=True, slots=True)
class Need:
    """A row: settings with these values together need a capability.

    Attributes:
        settings: name -> values; all names must have one of theirs. The first is the one named.
        needs: see `Capabilities.has`.
        why: what is lacking without it; completes "not on this chip: ...".
        instead: what to do, by backend; "" serves those not listed.
    """

    settings: Mapping[str, tuple[str, ...]]
    needs: str
    why: str
    instead: Mapping[str, str] = field(default_factory=dict)

    def todo(self, backend: str) -> str:
        """Return what to do instead on `backend`."""
        return self.instead.get(backend, self.instead.get("", ""))


_LORA = "Train LoRA on the bfloat16 weights instead"
_BNB_WHY = "bitsandbytes has no kernels for it"
_NF4 = "--quant_method nf4 quantises to the same 4 bits on all hardware."
_SERVE_WHY = "vLLM serves no such weights there"
_SERVE_INSTEAD = {
    "ascend": "vllm-ascend serves W8A8 weights made with msmodelslim (--vllm_quantization ascend) "
    "and compressed-tensors: convert the original model to one of these.",
    "": "Serve the bfloat16 weights.",
}
_SERVED = {
    "gptq": ("gptq", "gptq_marlin"),
    "awq": ("awq", "awq_marlin"),
    "bnb": ("bnb", "bitsandbytes"),
    "fp8": ("fp8",),
}
_FLASH_WHY = "FlashAttention's kernels are not made for it"
_FLASH_INSTEAD = {
    "ascend": "Use --attn_impl sdpa: training has Huawei's fused attention as it is.",
    "": "Use --attn_impl sdpa.",
}

NEEDS: tuple[Need, ...] = (
    Need(
        {"torch_dtype": ("bfloat16",)},
        "bf16",
        "it does not compute in bfloat16",
        {"": "Use --torch_dtype float16 or float32."},
    ),
    Need(
        {"torch_dtype": ("float16",)},
        "fp16",
        "float16 is emulated there and far slower than the other types",
        {"": "Use --torch_dtype bfloat16 or float32."},
    ),
    Need(
        {"attn_impl": ("flash_attn", "flash_attention_2")},
        "attention:flash_attention_2",
        _FLASH_WHY,
        _FLASH_INSTEAD,
    ),
    Need(
        {"attn_impl": ("flash_attention_3",)},
        "attention:flash_attention_3",
        _FLASH_WHY,
        {**_FLASH_INSTEAD, "cuda": "Use --attn_impl flash_attention_2 or sdpa."},
    ),
    Need(
        {"attn_impl": ("flex_attention",)},
        "attention:flex_attention",
        "FlexAttention is not compiled for it",
        {"": "Use --attn_impl sdpa."},
    ),
    Need(
        {"use_liger_kernel": ("true",)},
        "liger",
        "Liger's Triton kernels do not run on it",
        {"": "Leave it out: logits are never materialised here, with or without it."},
    ),
    Need(
        {"torch_compile": ("true",)},
        "compile",
        "torch.compile has no compiler for it",
        {"": "Leave it out."},
    ),
    Need(
        {"optim": ("adamw_torch_fused",)},
        "fused_adamw",
        "it has no fused AdamW",
        {"": "Use --optim adamw."},
    ),
    Need(
        {"optim": ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit")},
        "bnb",
        _BNB_WHY,
        {"": "Use --optim adamw."},
    ),
    Need({"quant_method": ("bnb",)}, "quant_load:bnb", _BNB_WHY, {"": _NF4}),
    Need({"load_in_4bit": ("true",)}, "quant_load:bnb", _BNB_WHY, {"": _NF4}),
    Need({"load_in_8bit": ("true",)}, "quant_load:bnb", _BNB_WHY, {"": _NF4}),
    Need(
        {"quant_method": ("fp8",)},
        "fp8",
        "it has no 8-bit floating-point products",
        {
            "ascend": f"{_LORA}; to serve in 8 bits, convert with msmodelslim to W8A8.",
            "cuda": f"{_LORA}, or use 4-bit weights: --quant_method bnb or nf4.",
            "": f"{_LORA}.",
        },
    ),
    Need(
        {"quant_method": ("eetq",)},
        "quant_load:eetq",
        "EETQ has kernels for NVIDIA GPUs only",
        {"": _NF4},
    ),
    *(
        Need(settings | {setting: values}, f"quant_serve:{form}", _SERVE_WHY, _SERVE_INSTEAD)
        for form, values in _SERVED.items()
        for settings, setting in (
            ({}, "vllm_quantization"),
            ({"use_vllm": ("true",)}, MODEL_QUANTIZATION),
            ({"infer_backend": ("vllm",)}, MODEL_QUANTIZATION),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A setting that the hardware cannot serve.

    Attributes:
        setting: its name.
        reason: why, and what to do instead.
    """

    setting: str
    reason: str

    def __str__(self) -> str:
        return f"--{self.setting}: {self.reason}"


def problems(
    values: Mapping[str, Any], capabilities: Capabilities, *, backend: str, chip: str
) -> Iterator[Problem]:
    """Yield what these settings ask for and the hardware lacks.

    Args:
        values: settings by name; the values as in flags or as Python has them.
        capabilities: what the chip can do.
        backend: its backend's name.
        chip: what to call it.
    """
    for need in NEEDS:
        if not asked(need, values) or capabilities.has(need.needs):
            continue
        name = next(iter(need.settings))
        value = _word(values[name])
        said = "" if value == "true" else f"{value} "
        if MODEL_QUANTIZATION in need.settings and name != MODEL_QUANTIZATION:
            said += f"with {_word(values[MODEL_QUANTIZATION])} weights "
        yield Problem(name, f"{said}cannot be used on {chip}: {need.why}. {need.todo(backend)}")


def asked(need: Need, values: Mapping[str, Any]) -> bool:
    """Return whether these settings ask for what a row is about."""
    return all(_word(values.get(name)) in wanted for name, wanted in need.settings.items())


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
