"""Who answers: a model here, or a server; and the replies that are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from swiftrl.core.errors import DataError
from swiftrl.core.files import disk_errors

__all__ = ["Answerer", "Ask", "Kept", "Weigh", "ask_all", "keys_of"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a reply.

    Attributes:
        prompt: the user's message, or raw text that is gone on with.
        system: the system message; "" for none.
        stop: texts that end the reply.
        max_tokens: of the reply.
        number: of the item and of its try, which a seeded reply depends on.
    """

    prompt: str
    system: str
    stop: tuple[str, ...]
    max_tokens: int
    number: int


@dataclass(frozen=True, slots=True)
class Weigh:
    """A request for the log-probability, nats, of `continuation` behind `context`."""

    context: str
    continuation: str


class Answerer(Protocol):
    """A model, here or on a server.

    Attributes:
        identity: of the weights and of how they sample, for the replies that are kept.
        chat: prompts are the user's messages; False: raw text.
        at_once: requests given in one go.
    """

    @property
    def identity(self) -> str:
        """See the class."""
        ...

    @property
    def chat(self) -> bool:
        """See the class."""
        ...

    @property
    def at_once(self) -> int:
        """See the class."""
        ...

    def replies(self, asks: Sequence[Ask]) -> list[str]:
        """Return a reply to each request, in order.

        Raises:
            SwiftRLError: there is none.
        """
        ...

    def likelihoods(self, pairs: Sequence[Weigh]) -> list[float]:
        """Return the log-probability that each request asks for, in order.

        Raises:
            SwiftRLError: it cannot be had.
        """
        ...


def keys_of(identity: str, requests: Sequence[Ask | Weigh]) -> list[str]:
    """Return a name for each request that holds all that its answer depends on."""
    begin = hashlib.sha256(identity.encode())
    keys = []
    for request in requests:
        digest = begin.copy()
        digest.update(json.dumps([type(request).__name__, asdict(request)]).encode())
        keys.append(digest.hexdigest()[:32])
    return keys


class Kept:
    """Answers in a file, a line each, so that a run that was stopped goes on where it was.

    Args:
        path: the file; a line that was not written to its end is cut off.

    Raises:
        DataError: a line within the file is broken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, Any] = {}
        self._file: IO[str] | None = None
        if path.exists():
            with disk_errors(path):
                self._read(path)

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with path.open("rb+") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                key, value = json.loads(line)
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{path}:{number}: not an answer that was kept ({error}). Remove the file to "
                    "have all questions answered anew."
                ) from None
            self._found[key] = value

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def add(self, answers: Mapping[str, Any]) -> None:
        """Write answers to the disk."""
        with disk_errors(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8")
            for key, value in answers.items():
                if key in self._found:
                    continue
                self._file.write(json.dumps([key, value], ensure_ascii=False) + "\n")
            self._file.flush()
        self._found.update(answers)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def ask_all(
    requests: Sequence[Ask] | Sequence[Weigh],
    identity: str,
    answer: Callable[[Sequence[Any]], Sequence[Any]],
    kept: Kept,
    at_once: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Any]:
    """Return the answer to every request, without asking again where all of a batch are kept.

    Batches are the same in every run: in low precision a reply depends on those that are
    computed beside it, and a run that was stopped is to give what one in a single go gives.

    Args:
        requests: of one kind.
        identity: the answerer's.
        answer: answers some, in order.
        kept: where answers are looked up and written.
        at_once: requests of one call of `answer`.
        progress: told how many are answered.
    """
    keys = keys_of(identity, requests)
    different = list(dict(zip(keys, requests, strict=True)).items())
    for start in range(0, len(different), at_once):
        batch = different[start : start + at_once]
        if any(key not in kept for key, _ in batch):
            found = answer([request for _, request in batch])
            kept.add({key: value for (key, _), value in zip(batch, found, strict=True)})
        progress(round((start + len(batch)) / len(different) * len(requests)))
    return [kept[key] for key in keys]
