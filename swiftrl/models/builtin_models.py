"""Where the models shipped with the package are: `builtin:tiny-instruct` and the like."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from swiftrl.core.errors import ModelError
from swiftrl.core.registry import did_you_mean

__all__ = ["builtin_names", "builtin_path"]


def _root() -> Path:
    return Path(str(files("swiftrl.models"))) / "builtin"


def builtin_names() -> list[str]:
    """Return the built-in models' names without the prefix `builtin:`, sorted."""
    return sorted(file.parent.name for file in _root().glob("*/config.json"))


def builtin_path(name: str) -> Path:
    """Return the folder of a built-in model, in Hugging Face's layout.

    Args:
        name: one of `builtin_names()`, with or without the prefix `builtin:`.

    Raises:
        ModelError: no such model.
    """
    bare = name.removeprefix("builtin:")
    known = builtin_names()
    if bare not in known:
        raise ModelError(
            f"builtin:{bare}: unknown built-in model; known: "
            f"{', '.join(f'builtin:{known_name}' for known_name in known)}."
            + did_you_mean(bare, known)
        )
    return _root() / bare
