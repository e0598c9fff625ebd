"""LoRA adapters on one model: loaded and unloaded while it runs, several in one batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from swiftrl.core.errors import EngineError, ModelError
from swiftrl.models.folder import safetensors_header
from swiftrl.models.lora import check_adapter_folder, put_adapter

__all__ = ["Adapters"]

_BASE = "__base__"
"""PEFT's name for no adapter in a mixed batch."""


class Adapters:
    """The adapters of a model, by name, and which of them a forward pass uses.

    Args:
        model: a causal model of transformers, or PEFT's around it; adapters that are on it
            already belong to it, and are always on.

    Attributes:
        model: to be called; PEFT's once there is an adapter.
    """

    def __init__(self, model: Any) -> None:
        self.model: Any = model
        self._frozen = hasattr(model, "peft_config")
        self._names: dict[str, str] = {}
        self._count = 0
        self._active: str | None = None
        self.mixes = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of the loaded adapters."""
        return tuple(self._names)

    def add(self, name: str, folder: Path) -> None:
        """Load an adapter.

        Raises:
            EngineError: the name is taken, or the model has adapters of its own.
            ModelError: it is broken or belongs to another base.
        """
        if self._frozen:
            raise EngineError("this model has adapters of its own; merge them first.")
        if name in self._names:
            raise EngineError(f"there is an adapter {name!r} already; unload it first.")
        _check_fits(self.model, folder)
        # PEFT's names become parts of parameters' names.
        self._count += 1
        inner = f"live_{self._count}"
        self.model = put_adapter(self.model, inner, folder)
        self._names[name] = inner
        self.mixes = not any(config.use_dora for config in self.model.peft_config.values())
        self._activate(None, force=True)

    def remove(self, name: str) -> None:
        """Unload an adapter.

        Raises:
            EngineError: there is none of this name.
        """
        if name not in self._names:
            raise EngineError(f"there is no adapter {name!r} to unload.")
        inner = self._names.pop(name)
        if self._names:
            self.model.delete_adapter(inner)
            self._activate(None, force=True)
        else:
            self.model = self.model.unload()
            self._active, self.mixes = None, True

    @contextlib.contextmanager
    def chosen(self, names: Sequence[str | None]) -> Iterator[dict[str, Any]]:
        """Yield the arguments with which the rows of a batch use these adapters."""
        if not self._names:
            yield {}
        elif len(set(names)) == 1:
            self._activate(names[0])
            yield {}
        else:
            self.model.base_model.enable_adapter_layers()
            self._active = _BASE
            yield {"adapter_names": [self._names[n] if n else _BASE for n in names]}

    def _activate(self, name: str | None, *, force: bool = False) -> None:
        """Switch one adapter on for all rows, or all off."""
        if name == self._active and not force:
            return
        tuner = self.model.base_model
        if name is None:
            tuner.disable_adapter_layers()
        else:
            tuner.enable_adapter_layers()
            tuner.set_adapter(self._names[name], inference_mode=True)
        self._active = name


def _check_fits(model: Any, folder: Path) -> None:
    """Refuse an adapter of another base before PEFT changes the model for it.

    Raises:
        ModelError: a layer that it belongs to is absent or of another size.
    """
    described = check_adapter_folder(folder)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for key, entry in safetensors_header(folder / "adapter_model.safetensors").items():
        for part, side in ((".lora_A.weight", "in_features"), (".lora_B.weight", "out_features")):
            if not key.endswith(part):
                continue
            name = key.removeprefix("base_model.model.").removesuffix(part)
            layer, size = _layer(base, name), entry["shape"][1 if side == "in_features" else 0]
            if layer is None or getattr(layer, side, size) != size:
                found = "absent" if layer is None else f"{side} {getattr(layer, side)}"
                raise ModelError(
                    f"{folder}: does not fit {type(base).__name__}: {name} is {found} there, the "
                    f"adapter has {side} {size}. It was trained on "
                    f"{described.get('base_model_name_or_path')}."
                )


def _layer(base: Any, name: str) -> Any | None:
    try:
        return base.get_submodule(name)
    except AttributeError:
        return None
