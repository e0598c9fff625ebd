"""Quantised files through transformers' interface for quantisers, with layers of our own.

transformers builds the model, finds names and reads the tensors; here the linear layers that the
files hold packed are replaced before it does. No quantisation package is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key
from transformers.pytorch_utils import Conv1D
from transformers.utils.quantization_config import QuantizationConfigMixin

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models.backbone import head_of
from swiftrl.models.dequantise import plain_linear
from swiftrl.models.quantised import Stored, stored_as
from swiftrl.models.quantiser import PackingQuantiser, mark_as_initialised, register
from swiftrl.models.split_experts import SplitExperts, split_experts
from swiftrl.quant.grouped import in_order
from swiftrl.quant.linear import QuantLinear, of_format

__all__ = ["load_as_ours"]

_METHOD = "swiftrl_stored"
_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
_SPLIT = ".experts."


class StoredConfig(QuantizationConfigMixin):
    """Stands in `quantization_config` while transformers loads the model."""

    def __init__(self, section: Mapping[str, Any], **_: Any) -> None:
        """Remember the file's own words."""
        self.quant_method = _METHOD  # type: ignore[assignment]
        self.section = dict(section)


class StoredQuantizer(PackingQuantiser):
    """Puts packed layers in the places of those that the files hold packed."""

    quantization_config: StoredConfig

    def _process_model_before_weight_loading(
        self, model: Any, *, checkpoint_files: Sequence[str], **_: Any
    ) -> Any:
        stored = stored_as(self.quantization_config.section)
        assert stored is not None  # `load_as_ours` was asked for it
        with ExitStack() as stack:
            opened = [stack.enter_context(safe_open(f, framework="pt")) for f in checkpoint_files]
            places = {name: file for file in opened for name in file.keys()}  # noqa: SIM118
            packed = _packed_layers(places, stored)
            self.split = any(_SPLIT in name for name in packed) and split_experts(model) > 0
            self.renamings = _renamings(model, packed)
            for name, path in _model_names(model, packed, self.renamings).items():
                try:
                    model.set_submodule(path, _layer(model, path, name, places, stored))
                except ConfigError as error:
                    raise ModelError(f"{name}: {error}") from None
        return model

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        model.config.quantization_config = self.quantization_config.section
        for module in model.modules():
            if isinstance(module, QuantLinear):
                # transformers makes new parameters, and those of floating point trainable.
                module.requires_grad_(False)
        head = head_of(model)
        if isinstance(head, QuantLinear):
            # Log-probabilities read the head chunk by chunk.
            model.set_output_embeddings(plain_linear(head, model.dtype))


def load_as_ours(model_config: Any, section: Mapping[str, Any]) -> None:
    """Have `from_pretrained` with this configuration make layers of our own.

    Args:
        model_config: transformers' configuration of the model, changed in place.
        section: its `quantization_config`, of a kind that `stored_as` knows.
    """
    register(_METHOD, StoredQuantizer, StoredConfig)
    model_config.quantization_config = {"quant_method": _METHOD, "section": dict(section)}


def _packed_layers(places: Mapping[str, Any], stored: Stored) -> list[str]:
    """Return the layers, as the files name them, whose packed weights they hold.

    Raises:
        ModelError: none.
    """
    whole_row = replace(stored.scheme, group_size=-1)
    # A layout begins with the codes.
    ending = f".{next(iter(stored.form.layout(32, 32, whole_row, torch.float16)))}"
    found = sorted(name.removesuffix(ending) for name in places if name.endswith(ending))
    if not found:
        raise ModelError(
            f'config.json says {stored.name}, but the files hold no tensor that ends in "{ending}".'
            " They belong to different models."
        )
    return found


def _renamings(model: Any, packed: Sequence[str]) -> list[WeightRenaming]:
    """Return renamings of experts' layers where the files do not call them as the model's do.

    GPTQModel writes Mixtral's w1, w3 and w2 as gate_proj, up_proj and down_proj.
    """
    experts = next((m for m in model.modules() if isinstance(m, SplitExperts)), None)
    if experts is None:
        return []
    endings = {name.rpartition(".")[2] for name in packed if _SPLIT in name}
    return [
        WeightRenaming(rf"\.experts\.(\d+)\.{theirs}\.", rf".experts.\1.{ours}.")
        for theirs, ours in experts.other_names().items()
        if theirs in endings
    ]


def _model_names(
    model: Any, packed: Sequence[str], more: Sequence[WeightRenaming]
) -> dict[str, str]:
    """Return where each packed layer is in the model.

    Args:
        model: experts taken apart.
        packed: layers as the files name them.
        more: renamings that transformers does not know of.

    Raises:
        ModelError: the model has no linear layer there.
    """
    known = [t for t in get_model_conversion_mapping(model) if isinstance(t, WeightRenaming)]
    renamings = [*known, *more]
    state = model.state_dict()
    found = {}
    for name in packed:
        weight, _ = rename_source_key(
            f"{name}.weight", renamings, [], model.base_model_prefix, state
        )
        path = weight.removesuffix(".weight")
        if weight not in state or not isinstance(model.get_submodule(path), (nn.Linear, Conv1D)):
            raise ModelError(
                f"the files hold {name} quantised, and {type(model).__name__} has no linear layer "
                f"{path}."
            )
        found[name] = path
    return found


def _layer(
    model: Any, path: str, name: str, places: Mapping[str, Any], stored: Stored
) -> QuantLinear:
    """Return the packed layer, without values, for one that the files hold as `name`."""
    plain = model.get_submodule(path)
    shape = plain.weight.shape
    outputs, inputs = reversed(shape) if isinstance(plain, Conv1D) else shape
    scheme, scales, absent = stored.scheme, torch.float16, ["g_idx"]
    for key, (_, dtype) in stored.form.layout(outputs, inputs, scheme, scales).items():
        if dtype.is_floating_point and (file := places.get(f"{name}.{key}")) is not None:
            scales = _TYPES.get(file.get_slice(f"{name}.{key}").get_dtype(), scales)
    scheme = replace(scheme, act_order=False)
    if (file := places.get(f"{name}.g_idx")) is not None:
        # Whether groups lie in order is asked once, not whenever the layer is unpacked.
        ordered = in_order(file.get_tensor(f"{name}.g_idx"), scheme.groups(inputs))
        scheme, absent = replace(scheme, act_order=not ordered), []
    # Some quantisers give every layer a bias.
    biased = plain.bias is not None or f"{name}.bias" in places
    layer = of_format(
        stored.form,
        scheme,
        inputs,
        outputs,
        scales=scales,
        bias=plain.weight.dtype if biased else None,
        device="meta",
        absent=absent,
    )
    layer.dtype = plain.weight.dtype
    mark_as_initialised(layer)
    return layer
