"""torch, imported where a failure can be explained.

torch loads extensions of hardware at its own start (entry points "torch.backends"), so that a
machine without CANN, or with a wrong torch_npu, fails at `import torch`, whatever the command.
"""

from __future__ import annotations

import importlib.metadata
import re
from functools import cache

from swiftrl.backends import cann
from swiftrl.backends.check import Check, torch_build
from swiftrl.core.errors import BackendError

__all__ = ["import_torch", "torch_failure"]


@cache
def torch_failure() -> Check | None:
    """Import torch and return None, or why that fails and what to do.

    Asked again it does not try again: torch cannot be imported twice in a process.
    """
    try:
        __import__("torch")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        return _explained(error)
    return None


def import_torch() -> None:
    """Import torch.

    Raises:
        BackendError: it fails; the message says why and what to do.
    """
    failure = torch_failure()
    if failure is not None:
        raise BackendError(str(failure))


def _explained(error: BaseException) -> Check:
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        return Check("torch", "torch is not installed", "2.10 or newer", "make setup", ok=False)
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    extension = re.search(r"backend extension: (\w+)", str(error))
    if extension is None:
        return Check(
            "torch",
            f"import torch fails: {str(root).strip()}",
            "a whole installation",
            "install torch anew, in the build for this machine (docs: Installing)",
            ok=False,
        )
    if extension[1] == "torch_npu":
        return cann.why_import_fails(root)
    name = extension[1]
    return Check(
        "torch",
        f"import torch fails in {name} {_version(name)}: {str(root).strip()}",
        f"a {name} that fits torch {torch_build()[0]}",
        f"repair it, or pip uninstall {name}",
        ok=False,
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of an unknown version"
