"""Data sets of Hugging Face and ModelScope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from swiftrl.core.compat import require
from swiftrl.core.errors import DataError
from swiftrl.data.arrow_files import arrow_records
from swiftrl.data.rows import Record

__all__ = ["open_split", "split_records"]

_SITES = {"hf": "Hugging Face", "ms": "ModelScope"}
_UNREACHABLE = {
    "ConnectionError", "ConnectError", "TimeoutError", "Timeout", "NetworkError",
    "OfflineModeIsEnabled", "LocalEntryNotFoundError",
}  # fmt: skip
_UNKNOWN = {"DatasetNotFoundError", "RepositoryNotFoundError", "NotExistError"}
_TOKEN = re.compile(r"(hf_|ms-|Bearer\s+)[\w-]{8,}")
_BATCH_ROWS = 512


def open_split(
    hub: str, hub_id: str, subset: str | None, split: str, *, streaming: bool = False
) -> Any:
    """Return a split as a `datasets` data set, downloaded unless it is in the hub's cache.

    Args:
        hub: "hf" or "ms". ModelScope's repositories are downloaded whole and read from there.
        hub_id: "owner/name".
        subset: configuration of the data set, or None for the only one.
        split: "train", "test", ...
        streaming: read over the network as rows are needed (Hugging Face only).

    Raises:
        DataError: no such data set, subset or split, no access, or no connection.
    """
    import datasets

    place = hub_id if hub == "hf" else _from_modelscope(hub_id)
    try:
        return datasets.load_dataset(
            place, subset, split=split, streaming=streaming and hub == "hf"
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(_explain(error, hub, hub_id, subset)) from None


def split_records(split: Any) -> Iterator[Record]:
    """Yield the rows of an open split, media left as bytes and paths."""
    batches = split.with_format("arrow").iter(batch_size=_BATCH_ROWS)
    return arrow_records(batches)


def _from_modelscope(hub_id: str) -> str:
    purpose = f"--dataset {hub_id} from ModelScope (hf::{hub_id} takes it from Hugging Face)"
    download = require("modelscope.hub.snapshot_download", extra="modelscope", purpose=purpose)
    errors = require("modelscope.hub.errors", extra="modelscope", purpose=purpose)
    hub_error = getattr(errors, "HubError", OSError)
    try:
        return download.dataset_snapshot_download(hub_id)
    except (OSError, ValueError, hub_error) as error:
        raise DataError(_explain(error, "ms", hub_id, None)) from None


def _explain(error: Exception, hub: str, hub_id: str, subset: str | None) -> str:
    kinds = {cls.__name__ for cls in type(error).__mro__}
    where = f"{hub_id} on {_SITES[hub]}"
    other = "hf::" if hub == "ms" else "ms::"
    if kinds & _UNKNOWN:
        return (
            f"{where}: there is no such data set, or it is private. Check the spelling; "
            f"{other}{hub_id} looks on {_SITES[other[:2]]}."
        )
    if kinds & _UNREACHABLE:
        return (
            f"{where}: the site cannot be reached and the data set is not in the local cache. "
            "Check the network and proxy settings, or give a local file."
        )
    text = _TOKEN.sub(r"\1***", " ".join(str(error).split()))
    hint = "" if subset else f" A subset is named like this: {hub_id}:SUBSET."
    return f"{where}: {text[:400]}.{hint}"
