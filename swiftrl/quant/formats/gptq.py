"""GPTQ's layout as AutoGPTQ began it: a zero point is stored less one."""

from __future__ import annotations

from swiftrl.quant.gptq_layout import GptqLayout

__all__ = ["FORMAT"]

FORMAT = GptqLayout("gptq", zero_offset=-1)
