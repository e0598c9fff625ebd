"""The reference's log-probabilities: where they come from, and how they are kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.core.files import disk_errors
from swiftrl.data.batch import TreeBatch
from swiftrl.rlhf.scoring import Scorer

__all__ = [
    "FrozenModel",
    "Precomputed",
    "Reference",
    "SwitchedAdapters",
    "evaluating",
    "fingerprint",
]


class Reference(Protocol):
    """What answers with the reference's [N] log-probabilities of a batch, without gradient."""

    def __call__(self, batch: TreeBatch) -> Tensor:
        """Return [N] float32, nats."""
        ...


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradient for a while; every module's mode is given back as it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


class FrozenModel:
    """A model of its own that does not train.

    Args:
        scorer: runs it.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        scorer.model.requires_grad_(False)
        scorer.model.eval()

    def __call__(self, batch: TreeBatch) -> Tensor:
        """Return [N] float32, nats."""
        with evaluating(self.scorer.model):
            return self.scorer(batch).logps


class SwitchedAdapters:
    """The trained model itself, with its adapters off or with other ones on.

    Args:
        scorer: runs the trained model.
        adapter: name of the PEFT adapter that makes the reference; None is none at all.
    """

    def __init__(self, scorer: Scorer, adapter: str | None = None) -> None:
        if not hasattr(scorer.model, "peft_config"):
            raise ModelError(
                f"{type(scorer.model).__name__} has no adapters to switch off, so it cannot be "
                "its own reference. Give --ref_model, or train with --tuner_type lora."
            )
        self.scorer = scorer
        self.adapter = adapter

    def __call__(self, batch: TreeBatch) -> Tensor:
        """Return [N] float32, nats."""
        with self.switched(), evaluating(self.scorer.model):
            return self.scorer(batch).logps

    @contextlib.contextmanager
    def switched(self) -> Iterator[None]:
        """Turn the model into the reference for a while."""
        model: Any = self.scorer.model
        if self.adapter is None:
            with model.disable_adapter():
                yield
            return
        trained = model.active_adapter
        model.set_adapter(self.adapter, inference_mode=True)
        try:
            yield
        finally:
            model.set_adapter(trained)


def fingerprint(
    model: nn.Module, gather: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> str:
    """Return 32 hexadecimal digits that change with a model's frozen weights or architecture.

    Of each tensor the name, shape, sum and 64 spread values enter.

    Args:
        model: whose frozen weights.
        gather: makes a weight whole.
    """
    digest = hashlib.blake2b(digest_size=16)
    frozen = [(name, p) for name, p in model.named_parameters() if not p.requires_grad]
    for name, tensor in sorted(frozen, key=lambda pair: pair[0]):
        whole = gather(tensor).detach()
        digest.update(f"{name}{tuple(whole.shape)}{whole.dtype}".encode())
        if whole.is_floating_point() and whole.numel():
            flat = whole.flatten()
            picked = flat[:: max(1, flat.numel() // 64)][:64].float()
            digest.update(picked.cpu().numpy().tobytes())
            digest.update(np.float32(flat.sum(dtype=torch.float32).item()).tobytes())
    return digest.hexdigest()


class Precomputed:
    """Log-probabilities computed once and kept on disk, row by row.

    Rows are known by their content (`TreeBatch.keys`), so that order, batching and layout do not
    matter, and rows added later are computed alone.

    Args:
        source: computes what is not there yet.
        folder: where the file lies; its name carries the reference's fingerprint.
        model_key: `fingerprint` of the reference.
    """

    def __init__(self, source: Reference, folder: Path, model_key: str) -> None:
        self.source = source
        self.path = folder / f"reference-{model_key}.safetensors"
        self._rows: dict[str, Tensor] = _read(self.path) if self.path.exists() else {}

    def __len__(self) -> int:
        return len(self._rows)

    def prepare(
        self,
        batches: Iterable[TreeBatch],
        *,
        on_batch: Callable[[int], None] | None = None,
        save: bool = True,
    ) -> int:
        """Compute the rows of `batches` that are absent, and save.

        Args:
            batches: on the model's device.
            on_batch: called with the number of batches done.
            save: whether to write them; one process does where several compute the same.

        Returns:
            how many rows were computed.
        """
        before = len(self._rows)
        for number, batch in enumerate(batches, start=1):
            if any(key not in self._rows for key in batch.keys):
                logps = self.source(batch).cpu()
                self._rows.update(zip(batch.keys, batch.split_by_tree(logps), strict=True))
            if on_batch is not None:
                on_batch(number)
        if save and len(self._rows) > before:
            self.save()
        return len(self._rows) - before

    def save(self) -> None:
        """Write every row, atomically."""
        _write(self.path, self._rows)

    def __call__(self, batch: TreeBatch) -> Tensor:
        """Return [N] float32, nats.

        Raises:
            ModelError: a row was never prepared.
        """
        if not batch.keys:
            return batch.weights.new_zeros(0)
        missing = sum(key not in self._rows for key in batch.keys)
        if missing:
            raise ModelError(
                f"{self.path}: {missing} of {len(batch.keys)} rows of a batch have no "
                "precomputed reference log-probabilities. Delete the file to compute it anew."
            )
        rows = [self._rows[key] for key in batch.keys]
        return torch.cat(rows).to(batch.token_ids.device, non_blocking=True)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
        rows = stored["logps"].split(stored["lengths"].tolist())
        keys = [bytes(key).hex() for key in stored["keys"].numpy()]
        return dict(zip(keys, rows, strict=True))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path}: not a whole file of reference log-probabilities ({error}). Delete it to "
            "compute them anew."
        ) from error


def _write(path: Path, rows: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    keys = np.frombuffer(b"".join(map(bytes.fromhex, rows)), dtype=np.uint8)
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {
                "keys": torch.from_numpy(keys.reshape(len(rows), -1).copy()),
                "lengths": torch.tensor([len(row) for row in rows.values()]),
                "logps": torch.cat(list(rows.values())),
            },
            temporary,
        )
        temporary.replace(path)
