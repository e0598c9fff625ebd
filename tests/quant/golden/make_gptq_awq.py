"""Make the golden files: layers packed by GPTQModel, one file a format and number of bits.

Run it with an environment that has gptqmodel (benchmarks/, `make bench-quant`):

    python tests/quant/golden/make_gptq_awq.py

Each file holds the codes, scales and zero points that went in, and the tensors that came out.
"""

from __future__ import annotations

from pathlib import Path

import torch
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
from gptqmodel.quantization import QuantizeConfig
from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
from safetensors.torch import save_file

OUTPUTS, INPUTS, GROUP = 32, 64, 32
FOLDER = Path(__file__).parent


def weight(bits: int, lowest_zero: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(bits)
    groups = INPUTS // GROUP
    return {
        "codes": torch.randint(0, 2**bits, (OUTPUTS, INPUTS), generator=generator),
        "zeros": torch.randint(lowest_zero, 2**bits, (OUTPUTS, groups), generator=generator),
        "scales": (torch.rand(OUTPUTS, groups, generator=generator) + 0.5).half().float(),
    }


def plain(parts: dict[str, torch.Tensor]) -> torch.nn.Linear:
    group = torch.arange(INPUTS) // GROUP
    layer = torch.nn.Linear(INPUTS, OUTPUTS, bias=False)
    layer.weight.data = (parts["codes"] - parts["zeros"][:, group]) * parts["scales"][:, group]
    return layer


def gptq(bits: int, version: int, *, act_order: bool = False) -> None:
    parts = weight(bits, lowest_zero=1)
    group = torch.arange(INPUTS) // GROUP
    if act_order:
        group = group[torch.randperm(INPUTS, generator=torch.Generator().manual_seed(7))]
    source = torch.nn.Linear(INPUTS, OUTPUTS, bias=False)
    source.weight.data = (parts["codes"] - parts["zeros"][:, group]) * parts["scales"][:, group]
    layer = TorchLinear(
        bits=bits, group_size=GROUP, desc_act=act_order, sym=False,
        in_features=INPUTS, out_features=OUTPUTS, bias=False,
    )  # fmt: skip
    layer.pack_original(source, parts["scales"], parts["zeros"].float(), group.int())
    if version == 1:
        convert_gptq_v2_to_v1_format_module(layer, QuantizeConfig(bits=bits))
    name = ("gptq", "gptq_v2")[version - 1]
    save(f"{name}_{bits}bit{'_act_order' if act_order else ''}", parts, layer, group)


def awq() -> None:
    parts = weight(4, lowest_zero=0)
    layer = AwqTorchLinear(
        bits=4, group_size=GROUP, desc_act=False, sym=False,
        in_features=INPUTS, out_features=OUTPUTS, bias=False,
    )  # fmt: skip
    layer.pack(plain(parts), parts["scales"], parts["zeros"].float())
    save("awq_4bit", parts, layer, None)


def save(
    name: str, parts: dict[str, torch.Tensor], layer: torch.nn.Module, group: torch.Tensor | None
) -> None:
    given = {
        "given.codes": parts["codes"].to(torch.uint8),
        "given.zeros": parts["zeros"].to(torch.uint8),
        "given.scales": parts["scales"].half(),
    }
    if group is not None:
        given["given.group_of"] = group.contiguous()
    names = ("qweight", "qzeros", "scales", *(("g_idx",) if group is not None else ()))
    packed = {key: getattr(layer, key).contiguous() for key in names}
    save_file(given | packed, FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    for bits in (2, 3, 4, 8):
        for version in (1, 2):
            gptq(bits, version)
    gptq(4, 1, act_order=True)
    awq()
