"""A model of this process answers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from swiftrl.core.errors import EngineError
from swiftrl.core.messages import Conversation, Message
from swiftrl.engine.base import Engine
from swiftrl.engine.sampling import SamplingParams
from swiftrl.eval.answering import Ask, Weigh
from swiftrl.models.backbone import backbone_of
from swiftrl.templates.template import Template

__all__ = ["LocalAnswerer", "continuation_ids", "files_identity"]


@dataclass(frozen=True)
class LocalAnswerer:
    """An engine, and the model it runs for likelihoods.

    Attributes:
        engine: generates.
        model: of transformers, on its device.
        template: the model's.
        sampling: how; stop texts and length come with the requests.
        identity, chat, at_once: see `Answerer`.
        batch_size: sequences of a forward pass for likelihoods.
    """

    engine: Engine
    model: Any
    template: Template
    sampling: SamplingParams
    identity: str
    chat: bool
    at_once: int = 128
    batch_size: int = 8

    def replies(self, asks: Sequence[Ask]) -> list[str]:
        """Return a reply to each request; requests that end alike run together.

        Raises:
            EngineError: a prompt is too long for the model.
        """
        alike: dict[tuple[tuple[str, ...], int], list[int]] = defaultdict(list)
        for index, ask in enumerate(asks):
            alike[ask.stop, ask.max_tokens].append(index)
        found = [""] * len(asks)
        for (stop, max_tokens), chosen in alike.items():
            sampling = replace(self.sampling, stop=stop, max_tokens=max_tokens)
            prompts = [self._ids(asks[index]) for index in chosen]
            numbers = [asks[index].number for index in chosen]
            written = self.engine.generate(prompts, sampling, numbers=numbers)
            for index, completions in zip(chosen, written, strict=True):
                found[index] = completions[0].text
        return found

    def _ids(self, ask: Ask) -> list[int]:
        if not self.chat:
            return list(self.template.tokenizer.encode(ask.system + ask.prompt))
        messages = [Message("system", ask.system)] if ask.system else []
        return self.template.encode_prompt(Conversation((*messages, Message("user", ask.prompt))))

    @torch.no_grad()
    def likelihoods(self, pairs: Sequence[Weigh]) -> list[float]:
        """Return the log-probability of each continuation, nats.

        Raises:
            EngineError: a continuation has no tokens, or too many with its context.
        """
        tokenizer = self.template.tokenizer
        rows = [continuation_ids(tokenizer, pair.context, pair.continuation) for pair in pairs]
        longest = getattr(
            self.model.config.get_text_config(decoder=True), "max_position_embeddings", None
        )
        for pair, (ids, first) in zip(pairs, rows, strict=True):
            if first == len(ids) or not first:
                raise EngineError(
                    f"the continuation {pair.continuation[:60]!r} behind {pair.context[-60:]!r}: "
                    "both must have tokens for a likelihood."
                )
            if longest is not None and len(ids) > longest:
                raise EngineError(
                    f"a question of {len(ids)} tokens: the model takes {longest}. Show fewer "
                    "examples (few_shot_num)."
                )
        order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
        found = [0.0] * len(rows)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            for index, value in zip(chosen, self._sums([rows[i] for i in chosen]), strict=True):
                found[index] = value
        return found

    def _sums(self, rows: Sequence[tuple[list[int], int]]) -> list[float]:
        """Return each row's sum of log-probabilities from its position on, read off the head."""
        device = self.model.device
        width = max(len(ids) for ids, _ in rows)
        ids_BL = torch.zeros(len(rows), width, dtype=torch.int64)
        mask_BL = torch.zeros_like(ids_BL)
        for number, (ids, _) in enumerate(rows):
            ids_BL[number, : len(ids)] = torch.tensor(ids)
            mask_BL[number, : len(ids)] = 1
        ids_BL, mask_BL = ids_BL.to(device), mask_BL.to(device)
        backbone = backbone_of(self.model)
        hidden_BLD = backbone(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False)
        sums = []
        for number, (ids, first) in enumerate(rows):
            logits_TV = backbone.head(hidden_BLD[number, first - 1 : len(ids) - 1]).float()
            logps_TV = logits_TV.log_softmax(-1)
            targets_T = ids_BL[number, first : len(ids)]
            sums.append(float(logps_TV.gather(1, targets_T[:, None]).sum()))
        return sums


def continuation_ids(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], int]:
    """Return the tokens of both texts together, and where the continuation's begin.

    White space at the end of the context goes to the continuation, where tokenizers want it.
    """
    bare = context.rstrip()
    whole = list(tokenizer.encode(bare + context[len(bare) :] + continuation))
    before = len(tokenizer.encode(bare)) if bare else 0
    return whole, before


def files_identity(folders: Sequence[Path]) -> str:
    """Return a hash of the names, sizes and times of the files in some folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            found = file.stat()
            digest.update(f"{file} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
