"""Writes compressed_tensors.safetensors: pip install compressed-tensors==0.17.0.

Weights, scales and zero points; what the package makes of them in a file; and the weight that it
takes the file for.
"""

from __future__ import annotations

from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import save_file

OUTPUTS, INPUTS = 16, 64
CHANNEL = {"strategy": "channel", "num_bits": 8}
TOKENS = {"strategy": "token", "num_bits": 8, "dynamic": True}
# Name, the format's own name, how weights are stored, and inputs.
CASES = [
    ("w4", "pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32}, None),
    (
        "w4_asymmetric",
        "pack-quantized",
        {"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": False},
        None,
    ),
    ("w8_channel", "pack-quantized", CHANNEL, None),
    ("w8a8", "int-quantized", CHANNEL, TOKENS),
    ("fp8", "float-quantized", CHANNEL | {"type": "float"}, TOKENS | {"type": "float"}),
]


def main() -> None:
    """Compress and decompress a weight in every way."""
    found = {}
    for number, (name, form, weights, inputs) in enumerate(CASES):
        chance = torch.Generator().manual_seed(number)
        weight = torch.randn(OUTPUTS, INPUTS, generator=chance)
        weight[2] *= 50
        scheme = QuantizationScheme(
            targets=["Linear"], weights=weights, input_activations=inputs, format=form
        )
        groups = INPUTS // weights.get("group_size", INPUTS)
        span = weight.view(OUTPUTS, groups, -1)
        steps = 448.0 if form == "float-quantized" else (2 ** weights["num_bits"] - 1) / 2
        state = {"weight": weight, "weight_scale": span.abs().amax(-1) / steps}
        if not weights.get("symmetric", True):
            low = span.amin(-1)
            state["weight_scale"] = (span.amax(-1) - low) / 15
            zero = torch.round(-8 - low / state["weight_scale"]).clamp(-8, 7)
            state["weight_zero_point"] = zero.to(torch.int8)
        compressor = BaseCompressor.get_value_from_registry(form)
        stored = compressor.compress(state, scheme)
        found |= {f"{name}.{key}": value.contiguous() for key, value in stored.items()}
        found[f"{name}.original"] = weight
        if "weight_zero_point" in state:
            found[f"{name}.zeros"] = state["weight_zero_point"]
        again = compressor.decompress(dict(stored), scheme)
        found[f"{name}.dequantised"] = again["weight"].float().contiguous()
    save_file(found, Path(__file__).with_name("compressed_tensors.safetensors"))


if __name__ == "__main__":
    main()
