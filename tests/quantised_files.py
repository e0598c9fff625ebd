"""Folders with quantised weights: a tiny model's linear layers rounded to the nearest."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_models import make_tokenizer
from transformers import AutoModelForCausalLM

from swiftrl.models.builtin_models import builtin_path
from swiftrl.models.split_experts import split_experts
from swiftrl.quant.format import FORMATS
from swiftrl.quant.grid import round_to_nearest
from swiftrl.quant.scheme import Scheme


def save_quantised(
    folder: Path, model, name: str, scheme: Scheme, *, skip=("lm_head",), renamed=()
) -> Path:
    """Write `model` with linear layers in the format `name`, and leave their rounded weights in it.

    Args:
        folder: new.
        model: changed: experts are split, and weights are what the files stand for.
        name: of the format.
        scheme: of the layers.
        skip: endings of layers that stay as they are.
        renamed: parts of names, each with what files have there instead.
    """
    form, tensors, held = FORMATS.get(name), dict(model.state_dict()), []
    if split_experts(model):
        tensors = dict(model.state_dict())
    for path, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear) or path.endswith(tuple(skip)):
            held += [path] if isinstance(layer, torch.nn.Linear) else []
            continue
        weight = round_to_nearest(tensors.pop(f"{path}.weight").float(), scheme)
        if name == "gptq":
            weight.zeros.clamp_(min=1)
        layer.weight.data = weight.dequantise(layer.weight.dtype)
        packed = form.pack(weight, scheme)
        tensors |= {f"{path}.{key}": tensor for key, tensor in packed.items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    folder.mkdir()
    contents = {}
    for key, tensor in tensors.items():
        for own, other in renamed:
            key = key.replace(own, other)
        contents[key] = tensor.cpu().contiguous().clone()
    save_file(contents, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {"quantization_config": form.to_config(scheme, held)}
    config["architectures"] = [type(model).__name__]
    (folder / "config.json").write_text(json.dumps(config))
    make_tokenizer().save_pretrained(folder)
    return folder


def save_quantised_builtin(
    folder: Path, name: str, scheme: Scheme, plain: Path | None = None
) -> Path:
    """Write the built-in model in the format `name`; and in `plain` what its files stand for."""
    source = builtin_path("builtin:tiny-instruct")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    save_quantised(folder, model, name, scheme)
    for target in filter(None, (folder, plain)):
        if target == plain:
            model.save_pretrained(target)
        for file in source.iterdir():
            if file.name not in ("config.json", "model.safetensors"):
                shutil.copyfile(file, target / file.name)
    return folder
