"""The folder that a model is written to."""

from __future__ import annotations

from pathlib import Path

from swiftrl.core.errors import ConfigError

__all__ = ["check_target"]


def check_target(target: Path, exist_ok: bool) -> None:
    """Refuse a folder that holds something, unless it is a model that may be replaced."""
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
