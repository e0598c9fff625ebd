"""How far quantised folders are from the original: one piece of code for everybody's files.

Weights are unpacked here, bit by bit and without swiftrl, written as a plain float32 model, and
compared with the original on held-out rows:

    python benchmarks/quant_score.py ORIGINAL ROWS FOLDER [FOLDER ...]

prints a JSON object a folder. ROWS is a JSON list of objects: "ids" of tokens, and "counted",
which of them perplexity counts. `nearest:128` as a FOLDER is plain rounding to the nearest, as in
the papers: grids from the least to the largest weight of groups of 128.

Shapes: O outputs, I inputs, G groups, T tokens, V vocabulary.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["dequantised", "plain_folder", "score"]

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
EXPERT_NAMES = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
"""Mixtral's names of an expert's layers, by what GPTQModel calls them."""


def values_of(words: Tensor, bits: int) -> Tensor:
    """Return the numbers [X, N] in a stream of bits along rows of words [X, W], lowest first."""
    import numpy as np

    stream = np.unpackbits(
        np.ascontiguousarray(words.numpy().astype("<i4")).view(np.uint8), axis=1, bitorder="little"
    )
    count = stream.shape[1] // bits
    parts = stream[:, : count * bits].reshape(len(stream), count, bits)
    return torch.from_numpy((parts * (1 << np.arange(bits))).sum(-1))


def _by_group(codes_OI: Tensor, zeros_OG: Tensor, scales_OG: Tensor, group_I: Tensor) -> Tensor:
    return (codes_OI - zeros_OG[:, group_I]).float() * scales_OG.float()[:, group_I]


def dequantised(tensors: dict[str, Tensor], config: dict[str, Any]) -> Tensor:
    """Return a layer's weight [O, I] from what its file holds, in float32."""
    if "weight_scale" in tensors:
        return _compressed(tensors, config)
    bits, scales = int(config["bits"]), tensors["scales"].t()
    if config["quant_method"] == "awq":
        inputs, outputs = tensors["qweight"].shape[0], scales.shape[0]
        places = torch.tensor(AWQ_ORDER).argsort()
        codes, zeros = (
            values_of(tensors[name], 4).view(-1, outputs // 8, 8)[..., places].reshape(-1, outputs)
            for name in ("qweight", "qzeros")
        )
        group = torch.arange(inputs) // (inputs // scales.shape[1])
        return _by_group(codes.t(), zeros.t(), scales, group)
    codes = values_of(tensors["qweight"].t(), bits)
    zeros = values_of(tensors["qzeros"], bits).t()
    if config.get("checkpoint_format", "gptq") == "gptq":
        zeros = (zeros + 1) % 2**bits
    return _by_group(codes, zeros, scales, tensors["g_idx"].long())


def _compressed(tensors: dict[str, Tensor], config: dict[str, Any]) -> Tensor:
    """Return a layer's weight from a file of compressed-tensors."""
    scales = tensors["weight_scale"]
    if "weight" in tensors:
        return tensors["weight"].float() * scales.float()
    (group,) = config["config_groups"].values()
    bits = group["weights"]["num_bits"]
    outputs, inputs = tensors["weight_shape"].tolist()
    codes = values_of(tensors["weight_packed"], bits)[:, :inputs]
    zeros = torch.full(scales.shape, 2 ** (bits - 1))
    if "weight_zero_point" in tensors:
        zeros = values_of(tensors["weight_zero_point"].t(), bits).t()[:outputs]
    return _by_group(codes, zeros, scales, torch.arange(inputs) // (inputs // scales.shape[1]))


def _every_tensor(folder: Path) -> dict[str, Tensor]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def _as_original(name: str, originals: dict[str, Tensor]) -> str:
    """Return what the original calls a weight."""
    name = name.removeprefix("base_model.")
    if name in originals:
        return name
    mixtral = re.sub(
        r"\.mlp\.experts\.(\d+)\.(\w+)\.",
        lambda found: f".block_sparse_moe.experts.{found[1]}.{EXPERT_NAMES[found[2]]}.",
        name,
    ).replace(".mlp.gate.", ".block_sparse_moe.gate.")
    if mixtral not in originals:
        raise SystemExit(f"{name}: the original has no such weight")
    return mixtral


def plain_weights(folder: Path, originals: dict[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
    """Return every weight of a quantised folder in float32, and which were in few bits."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    layers: dict[str, dict[str, Tensor]] = {}
    plain: dict[str, Tensor] = {}
    tensors = _every_tensor(folder)
    parts = ("qweight", "qzeros", "scales", "g_idx", "weight_packed", "weight_scale",
             "weight_shape", "weight_zero_point")  # fmt: skip
    for name, tensor in tensors.items():
        layer, part = name.rsplit(".", 1)
        if part in parts or (part == "weight" and f"{layer}.weight_scale" in tensors):
            layers.setdefault(layer, {})[part] = tensor
        else:
            plain[_as_original(name, originals)] = tensor.float()
    packed = set()
    for layer, found in layers.items():
        name = _as_original(f"{layer}.weight", originals)
        plain[name] = dequantised(found, config)
        packed.add(name)
    return plain, packed


def nearest_weights(
    originals: dict[str, Tensor], group_size: int, bits: int = 4
) -> tuple[dict[str, Tensor], set[str]]:
    """Return weights of decoder layers rounded plainly to the nearest, with zero points."""
    plain, packed = {}, set()
    for name, tensor in originals.items():
        plain[name] = weight = tensor.float()
        routes = name.endswith((".gate.weight", "router.weight"))
        if ".layers." not in name or weight.dim() != 2 or routes or "visual" in name:
            continue
        groups = weight.view(len(weight), -1, group_size)
        low, high = groups.amin(-1, True).clamp(max=0), groups.amax(-1, True).clamp(min=0)
        scale = ((high - low) / (2**bits - 1)).clamp(min=1e-8).half().float()
        zero = torch.round(-low / scale).clamp(0, 2**bits - 1)
        codes = torch.round(groups / scale + zero).clamp(0, 2**bits - 1)
        plain[name] = ((codes - zero) * scale).view_as(weight)
        packed.add(name)
    return plain, packed


def plain_folder(original: Path, weights: dict[str, Tensor], target: Path) -> None:
    """Write a model of plain float32 weights."""
    config = json.loads((original / "config.json").read_text()) | {"dtype": "float32"}
    (target / "config.json").write_text(json.dumps(config))
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()},
        target / "model.safetensors",
        metadata={"format": "pt"},
    )
    for extra in original.glob("generation_config.json"):
        shutil.copy(extra, target)


def load(folder: Path) -> Any:
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    kind = getattr(transformers, config.architectures[0])
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def blocks_of(model: Any) -> list[Any]:
    inner = model.model
    return list((inner.language_model if hasattr(inner, "language_model") else inner).layers)


class Inputs:
    """Sums of products of a layer's inputs, [I, I], by the name of its weight."""

    def __init__(self, model: Any, names: set[str]) -> None:
        self.sums: dict[str, Tensor] = {}
        self._names = names
        for name, module in model.named_modules():
            if f"{name}.weight" in names and isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(self._linear(f"{name}.weight"))
            elif hasattr(module, "gate_up_proj") and hasattr(module, "down_proj"):
                module.register_forward_pre_hook(self._experts(name))

    def _add(self, name: str, inputs: Tensor) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1]).double()
        self.sums[name] = self.sums.get(name, 0) + rows.t() @ rows

    def _linear(self, name: str) -> Any:
        return lambda module, args: self._add(name, args[0])

    def _experts(self, name: str) -> Any:
        """The experts' own arithmetic once more, for the inputs of each one's layers."""
        roles = ("gate_proj", "up_proj", "down_proj")
        if f"{name}.0.gate_proj.weight" not in self._names:
            name, roles = name.replace(".mlp.", ".block_sparse_moe."), ("w1", "w3", "w2")

        def hook(module: Any, args: tuple[Any, ...]) -> None:
            hidden, chosen = args[0].reshape(-1, args[0].shape[-1]), args[1]
            for number in range(len(module.gate_up_proj)):
                rows = hidden[(chosen == number).any(-1)]
                if not len(rows):
                    continue
                gate, up = (rows @ module.gate_up_proj[number].t()).chunk(2, -1)
                for role, inputs in zip(
                    roles, (rows, rows, torch.nn.functional.silu(gate) * up), strict=True
                ):
                    self._add(f"{name}.{number}.{role}.weight", inputs)

        return hook


class Original:
    """The original model on the held-out rows: logits, blocks' inputs and outputs, layers' inputs.

    Args:
        folder: the model.
        rows: "ids" and "counted" of each.
    """

    def __init__(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.weights = _every_tensor(folder)
        self.model = load(folder)
        self.rows = [torch.tensor([row["ids"]]) for row in rows]
        self.counted = [torch.tensor(row["counted"][1:]) for row in rows]
        self.block_calls: list[list[tuple[Tensor, Tensor]]] = []
        linear = {name for name, tensor in self.weights.items() if tensor.dim() == 2}
        self.inputs = Inputs(self.model, linear)
        for block in blocks_of(self.model):
            block.register_forward_hook(self._keep)
        self.logits = []
        with torch.no_grad():
            for row in self.rows:
                self.block_calls.append([])
                self.logits.append(self.model(row, use_cache=False).logits[0].log_softmax(-1))

    def _keep(self, module: Any, args: tuple[Any, ...], output: Any) -> None:
        output = output if isinstance(output, Tensor) else output[0]
        self.block_calls[-1].append((args[0].clone(), output.clone()))

    def layer_errors(self, weights: dict[str, Tensor], packed: set[str]) -> Iterator[float]:
        """Yield ||X (W - W')^T|| / ||X W^T|| of every layer that saw tokens."""
        for name in sorted(packed):
            if name not in self.inputs.sums:
                continue
            products = self.inputs.sums[name]
            weight = self.weights[name].double()
            error = weight - weights[name].double()
            lost = ((error @ products) * error).sum() / ((weight @ products) * weight).sum()
            yield math.sqrt(max(float(lost), 0.0))


def _block_errors(original: Original, other: Any) -> list[float]:
    """Return each block's error on the original's inputs, as a share of what the block adds."""
    blocks = blocks_of(other)
    wrong, whole = [0.0] * len(blocks), [0.0] * len(blocks)
    for row, calls in zip(original.rows, original.block_calls, strict=True):
        handles = []
        for number, (block, (given, expected)) in enumerate(zip(blocks, calls, strict=True)):

            def replace(module: Any, args: Any, *, given: Tensor = given) -> Any:
                return (given, *args[1:])

            def compare(
                module: Any, args: Any, output: Any, *,
                number: int = number, given: Tensor = given, expected: Tensor = expected,
            ) -> None:  # fmt: skip
                output = output if isinstance(output, Tensor) else output[0]
                wrong[number] += float((output - expected).double().square().sum())
                whole[number] += float((expected - given).double().square().sum())

            handles.append(block.register_forward_pre_hook(replace))
            handles.append(block.register_forward_hook(compare))
        other(row, use_cache=False)
        for handle in handles:
            handle.remove()
    return [math.sqrt(w / a) for w, a in zip(wrong, whole, strict=True)]


@torch.no_grad()
def score(original: Original, folder: str) -> dict[str, Any]:
    """Return what a quantised folder loses against the original."""
    if folder.startswith("nearest:"):
        weights, packed = nearest_weights(original.weights, int(folder.split(":")[1]))
        scaled = False
    else:
        weights, packed = plain_weights(Path(folder), original.weights)
        # Where norms changed, inputs were scaled and weights are not those of the original.
        scaled = any(
            name not in packed and not torch.equal(tensor, original.weights[name].float())
            for name, tensor in weights.items()
        )
    with tempfile.TemporaryDirectory() as target:
        plain_folder(original.folder, original.weights | weights, Path(target))
        other = load(Path(target))
    divergence, loss, loss_before, tokens, counted = 0.0, 0.0, 0.0, 0, 0
    for row, counts, before_TV in zip(
        original.rows, original.counted, original.logits, strict=True
    ):
        after_TV = other(row, use_cache=False).logits[0].log_softmax(-1)
        divergence += float((before_TV.exp() * (before_TV - after_TV))[:-1].sum())
        next_T1 = row[0, 1:, None]
        loss -= float(after_TV[:-1].gather(1, next_T1)[counts].sum())
        loss_before -= float(before_TV[:-1].gather(1, next_T1)[counts].sum())
        tokens += len(next_T1)
        counted += int(counts.sum())
    layers = [] if scaled else list(original.layer_errors(weights, packed))
    blocks = _block_errors(original, other)
    return {
        "folder": folder,
        "layers": len(packed),
        "perplexity": math.exp(loss / counted),
        "perplexity_before": math.exp(loss_before / counted),
        "kl": divergence / tokens,
        "layer_error": sum(layers) / len(layers) if layers else None,
        "block_error": sum(blocks) / len(blocks),
    }


def main(original: str, rows: str, *folders: str) -> None:
    torch.set_num_threads(1)
    held_out = Original(Path(original), json.loads(Path(rows).read_text()))
    for folder in folders:
        sys.stdout.write(json.dumps(score(held_out, folder)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
