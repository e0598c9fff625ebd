"""Rows that calibrate, and rows held out to compare with: drawn by seed, as token ids.

Shapes: T tokens of a pass.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from swiftrl.core.errors import DataError
from swiftrl.data.config import DataConfig
from swiftrl.data.dataset import EncodedDataset, load_datasets
from swiftrl.data.encoded_row import EncodedRow
from swiftrl.data.mix import permutation
from swiftrl.data.rejects import Reject
from swiftrl.data.row_encoder import TemplateRowEncoder
from swiftrl.data.rows import BadRow, Origin, RowError, RowKind
from swiftrl.data.schema import detect_kind
from swiftrl.data.sources import DatasetSpec, resolve
from swiftrl.models.media_batch import row_arguments
from swiftrl.templates.template import Template

__all__ = ["BUILTIN", "Pass", "Samples", "draw_samples", "passes"]

BUILTIN = ("builtin:instructions", "builtin:pretrain")
BUILTIN_PICTURES = "builtin:vl-instructions"
_LEAST_TOKENS = 256
"""Of a pass, if there are so many: a processor is busy with them.

Rows of one pass attend behind a mask, in a time that grows by its square; more would only cost.
"""


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows that calibrate, and others that are held out.

    Attributes:
        calibration: rows.
        held_out: rows.
        fingerprint: changes with any token or its place.
        sources: what they come from, in words.
        rejects: rows that cannot be used.
    """

    calibration: tuple[EncodedRow, ...]
    held_out: tuple[EncodedRow, ...]
    fingerprint: str
    sources: tuple[str, ...]
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True, slots=True)
class Pass:
    """Rows that run through the model together, one behind the other and without padding.

    Attributes:
        token_ids: [T] int64
        counted: [T] bool, tokens that perplexity counts: never a row's first, nor a picture's.
        lengths: of its rows.
        origins: of its rows.
        media: tensors of the row's pictures, by the name of the model's argument; such a row is
            alone.
    """

    token_ids: torch.Tensor
    counted: torch.Tensor
    lengths: tuple[int, ...]
    origins: tuple[Origin, ...]
    media: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, model: Any) -> dict[str, Any]:
        """Return what a model is called with."""
        device = model.get_input_embeddings().weight.device
        ids = self.token_ids[None].to(device)
        if self.media:
            mask = torch.ones_like(ids)
            shown = {name: tensor.to(device) for name, tensor in self.media.items()}
            made = row_arguments(model, ids, mask, [shown], model.dtype)
            return {"input_ids": ids, "attention_mask": mask, **made}
        if len(self.lengths) == 1:
            mask = torch.ones_like(ids)
            return {"input_ids": ids, **row_arguments(model, ids, mask, [{}], model.dtype)}
        # Positions that start anew are where transformers' masks part rows.
        places = torch.cat([torch.arange(length, device=device) for length in self.lengths])
        return {"input_ids": ids, "position_ids": places[None]}

    def origin_at(self, token: int) -> Origin:
        """Return the row that a token belongs to."""
        ends = np.cumsum(self.lengths)
        return self.origins[int(np.searchsorted(ends, token, side="right"))]


def draw_samples(
    config: DataConfig,
    template: Template,
    *,
    calibration: int,
    held_out: int,
    max_length: int | None,
    truncation_strategy: str | None,
    seed: int,
    use_hf: bool = False,
) -> Samples:
    """Return rows drawn by seed from --dataset, or from built-in ones without it.

    Args:
        config: the data settings.
        template: the model's.
        calibration: how many rows calibrate.
        held_out: how many more are held out; of --val_dataset, if there is one.
        max_length: longest row in tokens.
        truncation_strategy: what happens to longer ones. Unset: text is split, conversations are
            set aside.
        seed: of the draw.
        use_hf: where hub ids without a prefix are sought.

    Raises:
        DataError: too few rows, or bad ones.
    """
    names = list(config.dataset) or [*BUILTIN, *([BUILTIN_PICTURES] if template.media else [])]
    seed = seed if config.data_seed is None else config.data_seed
    rejects: list[Reject] = []

    def load(names: Sequence[str], wanted: int) -> list[EncodedRow]:
        # Some more than wanted, since rows that are too long are set aside.
        each = math.ceil(wanted * 1.25)
        found: list[tuple[EncodedDataset, int]] = []
        for name in names:
            kind, sized = _look(name, each, config, use_hf)
            one = dataclasses.replace(
                config, dataset=[sized], val_dataset=[], split_dataset_ratio=0.0, interleave_prob=[]
            )
            encoder = TemplateRowEncoder(
                template,
                kind,
                columns=config.columns,
                max_length=max_length,
                truncation_strategy=truncation_strategy
                or ("split" if kind == "text" else "delete"),
                train="all",
            )
            loaded = load_datasets(one, encoder, seed=seed, use_hf=use_hf)
            rows = loaded.train
            rejects.extend(loaded.rejects)
            found += [(rows, int(index)) for index in permutation(len(rows), seed)[:each]]
        order = permutation(len(found), seed + 1)[:wanted]
        return [rows[index] for rows, index in (found[int(place)] for place in order)]

    if config.val_dataset:
        rows, others = load(names, calibration), load(config.val_dataset, held_out)
        _enough(len(rows), calibration, "--dataset", "--quant_n_samples")
        _enough(len(others), held_out, "--val_dataset", "--quant_eval_samples")
        used = [*names, *config.val_dataset]
    else:
        rows = load(names, calibration + held_out)
        _enough(
            len(rows), calibration + held_out, "--dataset",
            "--quant_n_samples and --quant_eval_samples",
        )  # fmt: skip
        others, rows, used = rows[:held_out], rows[held_out:], names
    chosen, kept = tuple(rows[:calibration]), tuple(others[:held_out])
    return Samples(chosen, kept, _fingerprint([*chosen, *kept]), tuple(used), tuple(rejects))


def _enough(found: int, wanted: int, data: str, flag: str) -> None:
    if found < wanted:
        raise DataError(
            f"{data}: too few samples: {found} rows can be used and {wanted} are wanted. Give more "
            f"data, or lower {flag}."
        )


def _look(name: str, wanted: int, config: DataConfig, use_hf: bool) -> tuple[RowKind, str]:
    """Return what kind of rows a data set has, and its name with how many to draw."""
    spec = DatasetSpec.parse(name)
    sources, drawn = resolve(spec, use_hf=use_hf, dataset_info=config.dataset_info)
    kind: RowKind = "instruction"
    for record in (next(source.records(), None) for source in sources):
        if record is not None and not isinstance(record.data, BadRow):
            try:
                kind = detect_kind(sources[0].decode(record), config.columns)
            except RowError:
                break  # named with all that is wrong with it when rows are encoded
            break
    kind = "instruction" if kind == "preference" else kind
    if drawn is not None:
        return kind, name
    total = sum(source.count() for source in sources)
    return kind, name if total <= wanted else str(dataclasses.replace(spec, sample=wanted))


def _fingerprint(rows: Sequence[EncodedRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.sequences[0].token_ids.astype("<i4").tobytes() + b"|")
        for name, tensor in sorted(row.tensors.items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def passes(rows: Sequence[EncodedRow], size: int, *, packed: bool) -> list[Pass]:
    """Return rows as passes through the model.

    Args:
        rows: encoded.
        size: rows of the largest length whose tokens a pass may hold.
        packed: several rows may share a pass; rows with pictures never do.
    """
    longest = max(len(row.sequences[0]) for row in rows)
    limit = max(longest, _LEAST_TOKENS) * size
    made: list[Pass] = []
    waiting: list[EncodedRow] = []
    for row in rows:
        if row.tensors or not packed:
            made.append(_together([row]))
            continue
        if sum(len(other.sequences[0]) for other in (*waiting, row)) > limit:
            made.append(_together(waiting))
            waiting = []
        waiting.append(row)
    if waiting:
        made.append(_together(waiting))
    return made


def _together(rows: Sequence[EncodedRow]) -> Pass:
    ids = [torch.from_numpy(row.sequences[0].token_ids.astype(np.int64)) for row in rows]
    counted = [_counted(row.sequences[0].loss_weights) for row in rows]
    return Pass(
        torch.cat(ids),
        torch.cat(counted),
        tuple(map(len, ids)),
        tuple(row.origin for row in rows),
        dict(rows[0].tensors),
    )


def _counted(loss_weights: np.ndarray) -> torch.Tensor:
    trained = torch.from_numpy(loss_weights > 0)
    if not bool(trained.any()):  # prompts, of which no token trains
        trained[1:] = True
    return trained
