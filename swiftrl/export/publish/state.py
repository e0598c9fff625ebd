"""What has been done, in a file: a run that was killed goes on from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swiftrl.core import log
from swiftrl.core.errors import ConfigError
from swiftrl.core.files import write_json

__all__ = ["State", "state_file"]

_FORMAT = 1


def state_file(folder: Path, target: str) -> Path:
    """Return where the state of publishing a folder to a target stands: beside the folder."""
    folder = folder.absolute()
    return folder.with_name(f".{folder.name}.{target}.export.json")


class State:
    """Steps that are done and what they gave; written anew with every change.

    It holds names, sizes, hashes and the service's ids; never a credential.

    Args:
        path: its file.
        destination: where the files go.
    """

    def __init__(self, path: Path, destination: str) -> None:
        self.path = path
        self._values: dict[str, Any] = self._read()
        if self._values.get("destination") != destination:
            self._values = {"format": _FORMAT, "destination": destination}

    def _read(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {}
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError:
            raise ConfigError(
                f"{self.path}: is not the state of an export (not JSON). Remove it to start anew."
            ) from None
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ConfigError(
                f"{self.path}: was written by another version. Remove it to start anew."
            )
        return values

    def section(self, name: str) -> dict[str, Any]:
        """Return a copy of what a part keeps here."""
        return dict(self._values.get(name, {}))

    def put(self, name: str, **values: Any) -> None:
        """Add to what a part keeps here, and write the file."""
        self._values[name] = {**self._values.get(name, {}), **values}
        self._write()

    def drop(self, name: str, *keys: str) -> None:
        """Remove some of what a part keeps here; without keys all of it."""
        section = self._values.get(name, {})
        for key in keys or tuple(section):
            section.pop(key, None)
        self._write()

    def take_up(self, content: str, stages: Sequence[str]) -> None:
        """Forget steps that were done for other files.

        Args:
            content: hash of names and hashes of all files.
            stages: names of the steps.
        """
        before = self._values.get("content")
        if before == content:
            return
        if before is not None:
            log.info("The files have changed since the last export there: steps start anew.")
        for stage in stages:
            self._values.pop(stage, None)
        self._values["content"] = content
        self._write()

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        write_json(self.path, self._values)
