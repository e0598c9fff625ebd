"""Extensions by file name: a registry lists a package's modules and imports one when asked."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
import zlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar, cast

from swiftrl.core.errors import ConfigError

__all__ = ["Registry", "did_you_mean", "load_file", "load_plugin"]

T = TypeVar("T")


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return " Did you mean X?" when a known name is close to `name`, else an empty string."""
    by_lower = {entry.lower(): entry for entry in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


class Registry(Generic[T]):
    """Named objects of one kind, one module each.

    The module's name is the key; the object is the module's attribute `attribute`. Modules are
    found by listing `package` and imported on look-up, so that listing names imports nothing.
    Other distributions add theirs by an entry point in the group `swiftrl.<kind>`; plugin files
    by calling `register`.
    """

    def __init__(self, kind: str, package: str, attribute: str) -> None:
        self.kind = kind
        self.package = package
        self.attribute = attribute
        self._registered: dict[str, T] = {}

    def names(self) -> list[str]:
        """Return every known name, sorted."""
        found = set(self._registered) | set(self._entry_points())
        spec = importlib.util.find_spec(self.package)
        if spec is not None and spec.submodule_search_locations:
            found |= {
                module.name
                for module in pkgutil.iter_modules(spec.submodule_search_locations)
                if not module.name.startswith("_")
            }
        return sorted(found)

    def register(self, name: str, item: T) -> None:
        """Add an object under `name`; a name that is taken raises ConfigError."""
        if name in self.names():
            raise ConfigError(f"{self.kind} {name!r} is registered already; choose another name.")
        self._registered[name] = item

    def get(self, name: str) -> T:
        """Return the object called `name`.

        Raises:
            ConfigError: no such name; the message lists the known ones.
        """
        if name in self._registered:
            return self._registered[name]
        plugins = self._entry_points()
        if name in plugins:
            return cast(T, plugins[name].load())
        known = self.names()
        if name not in known:
            raise ConfigError(
                f"unknown {self.kind} {name!r}.{did_you_mean(name, known)} "
                f"Known: {', '.join(known)}."
            )
        module = importlib.import_module(f"{self.package}.{name}")
        return cast(T, getattr(module, self.attribute))

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield every (name, object); this imports every module."""
        # Reading the installed distributions costs milliseconds: once, not for every name.
        plugins = self._entry_points()
        for name in self.names():
            if name in self._registered or name in plugins:
                yield name, self.get(name)
            else:
                module = importlib.import_module(f"{self.package}.{name}")
                yield name, cast(T, getattr(module, self.attribute))

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=f"swiftrl.{self.kind}")}


def load_plugin(path: str) -> None:
    """Run a user's plugin file, which registers its own objects (`--external_plugins`), once.

    Raises:
        ConfigError: the file is absent, is not Python, or imports what is not there.
    """
    load_file(path, "--external_plugins")


def load_file(path: str, flag: str) -> ModuleType:
    """Run a user's Python file once and return it as a module; `flag` is who asked for it.

    Raises:
        ConfigError: the file is absent, is not Python, or imports what is not there.
    """
    file = Path(path)
    if not file.is_file() or file.suffix != ".py":
        raise ConfigError(f"{flag} {path}: expected an existing .py file.")
    name = f"swiftrl_plugin_{file.stem}_{zlib.crc32(bytes(file.resolve())):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{flag} {path}: cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError) as error:
        del sys.modules[name]
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"{flag} {path}{line}: cannot be run: {error}.") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module
