"""Several processes write one checkpoint: each its own part, into the main one's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from swiftrl.core.errors import MachineError, SwiftRLError
from swiftrl.core.files import disk_errors
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.stored import Part, part_files, write_part

__all__ = ["PartWriting"]


class PartWriting:
    """One writing of parts; the main process leads, the others join.

    Args:
        parts: what this process holds; None if there is nothing to write in parts.
        processes: those of the run.
    """

    def __init__(self, parts: Mapping[str, Part] | None, processes: Processes) -> None:
        self.parts, self.processes = parts, processes
        self._begun = False

    def lead(self, folder: Path) -> None:
        """Have every process write its part into `folder`.

        Raises:
            SwiftRLError: one could not.
        """
        self._begun = True
        self.processes.share(folder)
        self._write(folder)
        found = len(part_files(folder))
        if found != self.processes.world_size:
            raise MachineError(
                f"{folder}: {found} of {self.processes.world_size} parts of the checkpoint are "
                "here: not all machines share this folder. Choose an --output_dir that they do, "
                'or give --fsdp a file with "state_dict_type": "FULL_STATE_DICT".'
            )

    def give_up(self) -> None:
        """Tell the others that nothing is to be written, if they still wait for a folder."""
        if self.parts is not None and not self._begun:
            self._begun = True
            self.processes.share(None)

    def join(self) -> None:
        """Write this process's part when the main one says where."""
        folder = self.processes.share(None)
        if folder is not None:
            self._write(folder)

    def _write(self, folder: Path) -> None:
        failure: SwiftRLError | None = None
        assert self.parts is not None
        try:
            with disk_errors(folder):
                write_part(folder, self.parts, self.processes.rank, self.processes.world_size)
        except SwiftRLError as error:
            failure = error
        failures = [each for each in self.processes.gather_all(failure) if each is not None]
        if failures and self.processes.is_main:
            raise failures[0]
