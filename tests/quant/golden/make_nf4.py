"""Writes nf4.safetensors with bitsandbytes 0.50.2 on a CPU: pip install bitsandbytes==0.50.2."""

from __future__ import annotations

from pathlib import Path

import torch
from bitsandbytes import functional
from safetensors.torch import save_file


def main() -> None:
    """Quantise weights of several types and scales, with a block of zeros and an outlier."""
    found = {}
    for number, (dtype, size) in enumerate(
        [(torch.bfloat16, 0.02), (torch.float16, 1.0), (torch.float32, 1e-3)]
    ):
        weight = torch.randn(72, 256, generator=torch.Generator().manual_seed(number)) * size
        weight[3, 64:128] = 0
        weight[5, 7] = 40 * size
        weight = weight.to(dtype)
        packed, state = functional.quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
        name = str(dtype).removeprefix("torch.")
        found |= {
            f"{name}.weight": weight,
            f"{name}.codes": packed.view(72, 128),
            f"{name}.absmax": state.absmax,
            f"{name}.absmax_scale": state.state2.absmax,
            f"{name}.absmax_mean": state.offset.view(1),
            f"{name}.dequantised": functional.dequantize_4bit(packed, state),
        }
    save_file(found, Path(__file__).with_name("nf4.safetensors"))


if __name__ == "__main__":
    main()
