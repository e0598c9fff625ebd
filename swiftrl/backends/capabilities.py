"""What hardware and its libraries can do, as data; generations of chips differ."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Capabilities", "Chip"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the hardware and its libraries can do. Asked when settings are read.

    Attributes:
        bf16: computes in bfloat16.
        fp16: computes in float16 fast enough to train with.
        fp8: has 8-bit floating-point products.
        float64: has double precision on the device.
        complex: has complex numbers on the device.
        fused_adamw: torch.optim.AdamW(fused=True) works.
        grouped_mm: PyTorch's grouped matrix product runs, for mixtures of experts.
        compile: torch.compile works.
        attention: implementations transformers may use, best first.
        quant_load: quantised weights that can be trained on.
        quant_serve: quantised weights that vLLM serves here.
        quant_export: formats whose export can run here.
        liger: Liger's Triton kernels run.
        bnb: bitsandbytes runs.
    """

    bf16: bool = True
    fp16: bool = True
    fp8: bool = False
    float64: bool = True
    complex: bool = True
    fused_adamw: bool = True
    grouped_mm: bool = False
    compile: bool = False
    attention: tuple[str, ...] = ("sdpa", "eager")
    quant_load: tuple[str, ...] = ()
    quant_serve: tuple[str, ...] = ()
    quant_export: tuple[str, ...] = ()
    liger: bool = False
    bnb: bool = False

    def has(self, need: str) -> bool:
        """Return whether a need is met: a field's name, or "field:entry" of a tuple."""
        name, _, entry = need.partition(":")
        value = getattr(self, name)
        return entry in value if entry else bool(value)


@dataclass(frozen=True, slots=True)
class Chip:
    """Chips of one kind of hardware that can do the same.

    Attributes:
        name: for people, e.g. "NVIDIA Hopper".
        capabilities: what they can do.
        examples: product names that people know.
    """

    name: str
    capabilities: Capabilities = Capabilities()
    examples: str = ""
