"""Optional packages: imported when first needed, with an error that names the extra."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from swiftrl.core.errors import ConfigError

__all__ = ["check_installed", "require"]


def check_installed(module: str, *, extra: str, purpose: str) -> None:
    """Refuse what needs a package that is not there, without importing it.

    Args:
        module: the package's name.
        extra: the extra of swiftrl that installs it.
        purpose: what the user asked for.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise _missing(module, extra, purpose)


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
        raise _missing(module.split(".")[0], extra, purpose) from None


def _missing(package: str, extra: str, purpose: str) -> ConfigError:
    return ConfigError(
        f"{purpose} needs the package {package!r}, which is not installed: "
        f"pip install 'swiftrl[{extra}]'."
    )
