"""Optional packages: imported when first needed, with an error that names the extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from swiftrl.core.errors import ConfigError

__all__ = ["require"]


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import and return `module`.

    Args:
        module: dotted name.
        extra: the extra of swiftrl that installs it.
        purpose: what the user asked for, e.g. "--report_to wandb".

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise ConfigError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed: "
            f"pip install 'swiftrl[{extra}]'."
        ) from None
