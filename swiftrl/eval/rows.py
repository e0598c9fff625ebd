"""The items of a task: its rows, from a hub or from the user's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swiftrl.core.errors import DataError
from swiftrl.data import hub, readers
from swiftrl.data.builtin.load import path as builtin_path
from swiftrl.data.rows import BadRow, Record
from swiftrl.eval.task import Item, Place, Task

__all__ = ["Items", "items_of"]

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.gz")


@dataclass(frozen=True, slots=True)
class Items:
    """What a task asks.

    Attributes:
        asked: the questions.
        examples: rows to show before a question; of its own group where it has one.
    """

    asked: tuple[Item, ...]
    examples: tuple[Item, ...]

    def shown_before(self, item: Item, number: int) -> tuple[Item, ...]:
        """Return the first `number` examples of an item's group, never the item itself."""
        fitting = [e for e in self.examples if e.group == item.group and e.prompt != item.prompt]
        return tuple(fitting[:number])


def items_of(
    name: str,
    task: Task,
    *,
    local: Path | None = None,
    subsets: Sequence[str] = (),
    few_shot: int = 0,
    limit: int | None = None,
    use_hf: bool = False,
) -> Items:
    """Read a task's rows.

    Args:
        name: the task's, for messages.
        task: what it is.
        local: a file with the rows, or a folder with a file a split (`test.jsonl`,
            `SUBSET_test.csv`); None takes them from the hub.
        subsets: of the data set, instead of the task's own.
        few_shot: examples wanted before each question.
        limit: first rows of each group to ask; None: all.
        use_hf: Hugging Face instead of ModelScope.

    Raises:
        DataError: no rows, a row that is not of the task, or too few examples.
    """
    place = task.place
    groups = tuple(subsets) or _groups(place, local)
    asked: list[Item] = []
    examples: list[Item] = []
    for group in groups:
        found = _read(name, task, place, place.split, group, local, use_hf)
        asked += _first(found, limit)
        if few_shot:
            split = place.few_shot_split or place.split
            examples += _read(name, task, place, split, group, local, use_hf)
    if not asked:
        raise DataError(f"--eval_dataset {name}: no questions in {local or place.hf or place.ms}.")
    items = Items(tuple(asked), tuple(examples))
    lacking = next((i for i in asked if len(items.shown_before(i, few_shot)) < few_shot), None)
    if lacking is not None:
        raise DataError(
            f"--eval_dataset {name}: {len(items.shown_before(lacking, few_shot))} examples for "
            f"{lacking.origin}; {few_shot} are to be shown. Lower few_shot_num in "
            f'--eval_dataset_args \'{{"{name}": {{"few_shot_num": ...}}}}\'.'
        )
    return items


def _groups(place: Place, local: Path | None) -> tuple[str, ...]:
    """Return the task's subsets; of the user's files, those there are."""
    if local is None:
        return place.subsets or ("",)
    return tuple(g for g in place.subsets if _find(local, g, place.split)) or ("",)


def _first(items: Sequence[Item], limit: int | None) -> Iterator[Item]:
    seen: dict[str, int] = {}
    for item in items:
        seen[item.group] = seen.get(item.group, 0) + 1
        if limit is None or seen[item.group] <= limit:
            yield item


def _read(
    name: str,
    task: Task,
    place: Place,
    split: str,
    group: str,
    local: Path | None,
    use_hf: bool,
) -> list[Item]:
    shown, records = _records(name, place, split, group, local, use_hf)
    return list(_items(name, task.read, shown, records, group))


def _records(
    name: str, place: Place, split: str, group: str, local: Path | None, use_hf: bool
) -> tuple[str, Iterator[Record]]:
    if place.builtin and local is None:
        local = Path(builtin_path(place.builtin, split))
    if local is not None:
        file = _file_in(name, local, group, split)
        return str(file), readers.read_records(file, str(file))
    site = "hf" if (use_hf and place.hf) or not place.ms else "ms"
    hub_id = place.hf if site == "hf" else place.ms
    if not hub_id:
        raise DataError(
            f"--eval_dataset {name}: has no data set of its own; name your file or folder, "
            f'--eval_dataset_args \'{{"{name}": {{"local_path": "..."}}}}\'.'
        )
    shown = f"{site}::{hub_id}" + (f":{group}" if group else "") + f" {split}"
    return shown, hub.split_records(hub.open_split(site, hub_id, group or None, split))


def _file_in(name: str, local: Path, group: str, split: str) -> Path:
    """Return the file of a split; of a folder the one that is called by group and split."""
    if local.is_file():
        return local
    if not local.is_dir():
        raise DataError(f"--eval_dataset {name}: {local} does not exist.")
    if (file := _find(local, group, split)) is not None:
        return file
    there = sorted(file.name for file in local.iterdir() if file.is_file())
    raise DataError(
        f"--eval_dataset {name}: {local} has no {group or 'SUBSET'}_{split} or {split} (.jsonl "
        f".json .csv .tsv .parquet); found {', '.join(there[:8]) or 'nothing'}. Name a subset by "
        "subset_list in --eval_dataset_args."
    )


def _find(local: Path, group: str, split: str) -> Path | None:
    """Return the file in a folder that holds a split of a group."""
    if group:
        stems = [f"{group}_{split}", f"{split}/{group}", f"{group}/{split}", group]
    else:
        stems = [split]
    files = (local / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _items(
    name: str,
    read: Callable[[Mapping[str, Any]], Item | None],
    shown: str,
    records: Iterator[Record],
    group: str,
) -> Iterator[Item]:
    for record in records:
        origin = f"{shown}:{record.line}"
        try:
            row = readers.decode(record)
            item = read(row)
        except BadRow as error:
            raise DataError(f"{origin}: {error}") from None
        except (KeyError, ValueError, TypeError, IndexError) as error:
            what = f"no column {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{origin}: not a row of {name}: {what}.") from error
        if item is not None:
            yield replace(item, origin=origin, group=item.group or group)
