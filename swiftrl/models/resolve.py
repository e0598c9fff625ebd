"""From what a user types as `--model` to a checked folder and its spec."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ModelError
from swiftrl.models.builtin_models import builtin_names, builtin_path
from swiftrl.models.catalog import all_specs, by_hub_id, by_name
from swiftrl.models.folder import check_model_folder
from swiftrl.models.hub import download, is_hub_id
from swiftrl.models.identify import family_of
from swiftrl.models.remote_code import needs_remote_code
from swiftrl.models.spec import ModelSpec

__all__ = ["Resolved", "resolve"]

_BUILTIN_PREFIX = "builtin:"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model folder that has been checked.

    Attributes:
        path: the local folder.
        name: what the user typed, for messages and records.
        spec: the registry's entry, or None for an architecture it does not list.
        config: config.json as it stands.
    """

    path: Path
    name: str
    spec: ModelSpec | None
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str | None:
        """The model's class name, or None where config.json names only a model type."""
        return next(iter(self.config.get("architectures") or ()), None)

    @property
    def stored_dtype(self) -> str:
        """The type the weights are stored in, as config.json says; "float32" if it does not."""
        return str(self.config.get("dtype") or self.config.get("torch_dtype") or "float32")


def resolve(
    model: str,
    *,
    use_hf: bool = False,
    revision: str | None = None,
    model_type: str | None = None,
    token: str | None = None,
    flag: str = "--model",
) -> Resolved:
    """Find a model and check that it can be loaded, without reading its weights.

    Args:
        model: a local folder, "builtin:NAME", or a hub id "owner/name".
        use_hf: look hub ids up on Hugging Face instead of ModelScope.
        revision: branch, tag or commit on the hub.
        model_type: the registry entry to use, whatever the folder says.
        token: for private repositories.
        flag: that named the model, for messages.

    Raises:
        ModelError: nothing there, or what is there is incomplete or unsafe, or only the user can
            tell its family.
        ConfigError: unknown model_type, or an optional package is absent.
    """
    spec = by_name(model_type) if model_type else None
    path = _locate(model, flag, use_hf=use_hf, revision=revision, token=token)
    config = check_model_folder(path)
    return Resolved(path, model, spec or family_of(model, path, config), config)


def _locate(
    model: str, flag: str, *, use_hf: bool, revision: str | None, token: str | None
) -> Path:
    if model.startswith(_BUILTIN_PREFIX):
        return builtin_path(model)
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        hint = f" (perhaps {path.parent})" if (path.parent / "config.json").is_file() else ""
        raise ModelError(
            f"{flag} {model}: is a file; expected the folder that holds config.json and the "
            f"weights{hint}."
        )
    if is_hub_id(model):
        _check_loads(model, flag)
        try:
            return download(model, use_hf=use_hf, revision=revision, token=token)
        except ModelError as error:
            raise ModelError(f"{flag} {model}: no such folder here, and {error}") from None
    raise ModelError(
        f"{flag} {model}: no such folder (looked for {path.absolute()})." + _nearest(model, path)
    )


def _check_loads(hub_id: str, flag: str) -> None:
    listed = by_hub_id(hub_id)
    if listed is not None and needs_remote_code(listed):
        raise ModelError(
            f"{flag} {hub_id}: transformers has no architecture {listed.architectures[0]}; the "
            "model brings Python code of its own, which is never run. Use a version of the model "
            "that transformers implements (often published with -hf in its name)."
        )


def _nearest(model: str, path: Path) -> str:
    """Return hints: siblings of the folder, built-in names and hub ids that look alike."""
    hints = []
    if path.parent.is_dir():
        siblings = [item.name for item in path.parent.iterdir() if item.is_dir()]
        hints += [
            str(path.parent / name) for name in difflib.get_close_matches(path.name, siblings, n=1)
        ]
    hints += [f"builtin:{name}" for name in difflib.get_close_matches(path.name, builtin_names())]
    known = [hub.known[0] for spec in all_specs() for hub in spec.hub_ids]
    ids = {id.split("/")[-1]: id for id in known}
    hints += [ids[name] for name in difflib.get_close_matches(path.name, list(ids), n=2)]
    if hints:
        return f" Did you mean {' or '.join(hints)}?"
    return " Expected a local folder, builtin:NAME, or a hub id such as Qwen/Qwen3-0.6B."
