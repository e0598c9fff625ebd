"""The folder that a model is written to."""

from __future__ import annotations

from pathlib import Path

from swiftrl.core.errors import ConfigError
from swiftrl.core.files import check_writable

__all__ = ["check_target"]


def check_target(target: Path, exist_ok: bool) -> None:
    """Refuse a folder that cannot be made, or that holds what is no model to be replaced."""
    check_writable(target)
    if target.is_file():
        raise ConfigError(f"--output_dir {target}: is a file; expected a folder.")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not exist_ok:
        raise ConfigError(
            f"--output_dir {target}: exists and is not empty. Choose another folder, or "
            "--exist_ok true to replace it."
        )
    if not (target / "config.json").is_file():
        raise ConfigError(
            f"--output_dir {target}: is not empty and holds no model (no config.json), so it is "
            "not replaced. Choose another folder."
        )
