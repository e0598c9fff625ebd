"""GPTQ's layout, version 2: a zero point is stored as it is."""

from __future__ import annotations

from swiftrl.quant.gptq_layout import GptqLayout

__all__ = ["FORMAT"]

FORMAT = GptqLayout("gptq_v2", zero_offset=0)
