"""Writes the token ids of the rows that `swiftrl export` draws, for everybody to read.

`swiftrl_rows.py CALIBRATION HELD_OUT FLAGS...` with the flags of `swiftrl export`. Of rows held out
it also writes which tokens count: those of replies, and of plain text. Prompts do not: no training
of the model was about them, and a worse model may well find them likelier.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from swiftrl.backends.detect import BACKENDS
from swiftrl.cli.command import settings_of
from swiftrl.cli.loading import find_model, load_template
from swiftrl.data.config import DataConfig
from swiftrl.export.calibration import draw_samples
from swiftrl.export.config import ExportConfig, QuantConfig
from swiftrl.models.config import ModelConfig
from swiftrl.templates.config import TemplateConfig

REPLY = "<|im_start|>assistant\n"
END = "<|im_end|>"


def counted(ids: list[int], reply: Sequence[int], end: int) -> list[bool]:
    """Return which tokens a model writes: all of plain text, the replies of a conversation."""
    starts = [n for n in range(len(ids)) if ids[n : n + len(reply)] == list(reply)]
    if not starts:
        return [True] * len(ids)
    counts = [False] * len(ids)
    for start in starts:
        first = start + len(reply)
        for place in range(first, ids.index(end, first) + 1 if end in ids[first:] else len(ids)):
            counts[place] = True
    return counts


def main(calibration: str, held_out: str, *flags: str) -> None:
    BACKENDS.get("cpu").default_env("infer")
    settings = settings_of("export", list(flags))
    resolved = find_model(settings[ModelConfig])
    samples = draw_samples(
        settings[DataConfig],
        load_template(settings, resolved, text_only=True),
        calibration=settings[QuantConfig].quant_n_samples,
        held_out=settings[QuantConfig].quant_eval_samples,
        max_length=settings[TemplateConfig].max_length,
        truncation_strategy=settings[TemplateConfig].truncation_strategy,
        seed=settings[ExportConfig].seed,
    )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolved.path)
    reply = tokenizer(REPLY, add_special_tokens=False)["input_ids"]
    end = tokenizer.convert_tokens_to_ids(END)
    rows = [row.sequences[0].token_ids.tolist() for row in samples.calibration]
    Path(calibration).write_text(json.dumps(rows))
    rows = [row.sequences[0].token_ids.tolist() for row in samples.held_out]
    held = [{"ids": row, "counted": counted(row, reply, end)} for row in rows]
    Path(held_out).write_text(json.dumps(held))


if __name__ == "__main__":
    main(*sys.argv[1:])
