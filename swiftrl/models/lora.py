"""LoRA adapters: put on a model, loaded, and merged into its weights (`merge`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models.config import TunerConfig
from swiftrl.models.folder import ADAPTER_CONFIG, read_json, safetensors_header
from swiftrl.models.heads import SCORE_HEAD, score_head
from swiftrl.models.merge import merge
from swiftrl.models.quiet import quiet_peft
from swiftrl.models.spec import ModelSpec
from swiftrl.models.targets import (
    embedding_names,
    ends_with_any,
    lora_targets,
    saved_modules,
)
from swiftrl.models.tied_adapters import share_adapters

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = [
    "add_lora",
    "base_of_adapter",
    "changes_base_weights",
    "check_adapter_folder",
    "load_adapters",
    "merge",
    "put_adapter",
]

_ADAPTER_WEIGHTS = "adapter_model.safetensors"


def changes_base_weights(config: TunerConfig) -> bool:
    """Return whether the initialisation moves a part of the base weights into the adapter.

    Switching such an adapter off does not give the original model back, so it cannot serve as
    its own reference model.
    """
    return config.init_weights in ("pissa", "olora")


def add_lora(
    model: PreTrainedModel, config: TunerConfig, spec: ModelSpec | None = None
) -> PeftModel:
    """Put a new LoRA adapter, named "default", on `model`; everything else stops training.

    The adapter's weights, and the modules of `--modules_to_save`, are held in float32.

    Raises:
        ConfigError: a target does not exist, or settings contradict each other.
    """
    from peft import LoraConfig, get_peft_model

    if config.lora_rank < 1:
        raise ConfigError(f"--lora_rank {config.lora_rank}: expected at least 1.")
    if config.init_weights == "orthogonal" and config.lora_rank % 2:
        raise ConfigError(f"--init_weights orthogonal: --lora_rank {config.lora_rank} is not even.")
    targets = lora_targets(model, config, spec)
    saved = saved_modules(model, config.modules_to_save)
    if score_head(model) is not None:
        saved = sorted({*(saved or ()), SCORE_HEAD})
    # As a mapping, since PEFT declares as Literal what the settings have checked already.
    options: dict[str, Any] = {
        "task_type": _task(model),
        "r": config.lora_rank,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "bias": config.lora_bias,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "target_modules": targets,
        "modules_to_save": saved,
        "init_lora_weights": True if config.init_weights == "true" else config.init_weights,
        "ensure_weight_tying": _touches_tied_weights(model, targets, saved),
    }
    with quiet_peft():
        adapted: Any = get_peft_model(model, LoraConfig(**options))
    share_adapters(adapted)
    _hold_in_float32(adapted)
    return adapted


def _task(model: PreTrainedModel) -> str:
    """Return what PEFT calls the model's task."""
    if score_head(model) is None:
        return "CAUSAL_LM"
    return "TOKEN_CLS" if type(model).__name__.endswith("ForTokenClassification") else "SEQ_CLS"


def _touches_tied_weights(
    model: PreTrainedModel, targets: str | list[str], saved: list[str] | None
) -> bool:
    """Return whether modules_to_save trains an embedding that is also the output head.

    Raises:
        ConfigError: LoRA is asked for on such a weight: its two uses would want two updates.
    """
    if score_head(model) is not None:
        return False
    # Some configurations have no such field in their text half.
    if not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return False
    tied = embedding_names(model)
    if isinstance(targets, str):
        adapted = [name for name in tied if re.fullmatch(targets, name)]
    else:
        adapted = [name for name in tied if ends_with_any(name, targets)]
    if adapted:
        ending = adapted[0].split(".")[-1]
        raise ConfigError(
            f"LoRA cannot go on {ending}: this model's input embedding and output head are one "
            f"weight. Train it in full with --modules_to_save {ending}, or leave it out."
        )
    return any(ends_with_any(name, saved or []) for name in tied)


def _hold_in_float32(adapted: PeftModel) -> None:
    """Keep what trains in float32: updates below 2^-9 of a bfloat16 weight would vanish."""
    import torch

    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def check_adapter_folder(folder: Path) -> dict[str, Any]:
    """Return the configuration of a PEFT adapter, after checking its files.

    Raises:
        ModelError: no adapter there, or it is cut short or a pickle.
    """
    if not folder.is_dir():
        raise ModelError(f"--adapters {folder}: no such folder (looked for {folder.absolute()}).")
    if not (folder / ADAPTER_CONFIG).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
        hint = f" These folders in it do: {', '.join(inside)}." if inside else ""
        if (folder / "config.json").is_file():
            hint = " It holds a whole model: give it as --model."
        raise ModelError(f"--adapters {folder}: has no {ADAPTER_CONFIG}.{hint}")
    if not (folder / _ADAPTER_WEIGHTS).is_file():
        found = (
            " It holds adapter_model.bin, a pickle, which is refused because it can run code."
            if (folder / "adapter_model.bin").is_file()
            else ""
        )
        raise ModelError(f"--adapters {folder}: has no {_ADAPTER_WEIGHTS}.{found}")
    safetensors_header(folder / _ADAPTER_WEIGHTS)
    return read_json(folder / ADAPTER_CONFIG)


def base_of_adapter(folder: Path) -> str | None:
    """Return what to give as --model for the base an adapter was trained on, if it names one."""
    base = check_adapter_folder(folder).get("base_model_name_or_path")
    # A built-in model's folder lies elsewhere in every installation.
    name = Path(base or "").name
    if base and Path(base).parent.parts[-3:] == ("swiftrl", "models", "builtin"):
        return f"builtin:{name}"
    return base


def load_adapters(
    model: PreTrainedModel, folders: Sequence[str | Path], *, trainable: bool = False
) -> PeftModel:
    """Put saved adapters on `model`; with several, their updates add up.

    Args:
        model: the base.
        folders: PEFT adapter folders, named "default", "adapter_1", ... on the model.
        trainable: continue training, which needs a single adapter.

    Raises:
        ModelError: an adapter is broken or belongs to another base.
        ConfigError: several adapters to train.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    if not folders:
        raise ConfigError("--adapters: expected at least one adapter folder.")
    if trainable and len(folders) > 1:
        raise ConfigError(
            f"--adapters: {len(folders)} adapters cannot be trained together. Merge all but one "
            "into the model first (swiftrl merge-lora)."
        )
    adapted: Any = model
    names = ["default"] + [f"adapter_{number}" for number in range(1, len(folders))]
    for name, folder in zip(names, map(Path, folders), strict=True):
        adapted = put_adapter(adapted, name, folder, trainable=trainable)
    share_adapters(adapted)
    tuner: Any = adapted.base_model
    tuner.set_adapter(names, inference_mode=not trainable)
    if trainable:
        # PEFT read modules_to_save in the base's type; read them again without the rounding.
        _hold_in_float32(adapted)
        weights = load_file(Path(folders[0]) / _ADAPTER_WEIGHTS)
        set_peft_model_state_dict(adapted, weights, adapter_name=names[0])
        _take_as_stored(adapted, names[0], Path(folders[0]))
    return adapted


def put_adapter(
    model: PreTrainedModel | PeftModel, name: str, folder: Path, *, trainable: bool = False
) -> PeftModel:
    """Put one saved adapter on a model, beside those that are there.

    Args:
        model: the base, or PEFT's model around it.
        name: of the adapter on the model.
        folder: a PEFT adapter's.
        trainable: it will be trained.

    Raises:
        ModelError: it is broken or belongs to another base.
    """
    from peft import PeftModel

    adapted: Any = model
    base: Any = adapted.get_base_model() if isinstance(adapted, PeftModel) else adapted
    check_adapter_folder(folder)
    try:
        with quiet_peft():
            if isinstance(adapted, PeftModel):
                adapted.load_adapter(str(folder), adapter_name=name)
            else:
                adapted = PeftModel.from_pretrained(
                    adapted, str(folder), adapter_name=name, is_trainable=trainable
                )
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ModelError(_other_base(folder, base, error)) from error
    _check_complete(adapted, name, folder, base)
    _take_as_stored(adapted, name, folder)
    return adapted


def _check_complete(adapted: PeftModel, name: str, folder: Path, model: PreTrainedModel) -> None:
    from peft import get_peft_model_state_dict

    with quiet_peft():
        # The default looks the base model up on the hub to learn whether its vocabulary grew.
        wanted = set(
            get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
        )
    held = set(safetensors_header(folder / _ADAPTER_WEIGHTS)) - {"__metadata__"}
    if missing := sorted(wanted - held):
        raise ModelError(
            _other_base(folder, model, f"{len(missing)} weights are absent, {missing[0]} first")
        )


def _take_as_stored(adapted: PeftModel, name: str, folder: Path) -> None:
    """Give adapter matrices the values that the file holds under their own names.

    PEFT renames stored keys as transformers renames those of a published checkpoint, and leaves
    at zero what it renamed although the adapter was trained under the present names.
    """
    from safetensors.torch import load_file

    parameters = dict(adapted.named_parameters())
    for key, value in load_file(folder / _ADAPTER_WEIGHTS).items():
        stem, dot, last = key.rpartition(".")
        parameter = parameters.get(f"{stem}.{name}{dot}{last}")
        if parameter is not None and parameter.shape == value.shape:
            parameter.data.copy_(value)


def _other_base(folder: Path, model: PreTrainedModel, error: object) -> str:
    trained_on = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    detail = " ".join(str(error).split())[:300]
    return (
        f"--adapters {folder}: does not fit {type(model).__name__} from "
        f"{model.config.name_or_path or 'memory'}; it was trained on {trained_on}. ({detail})"
    )
