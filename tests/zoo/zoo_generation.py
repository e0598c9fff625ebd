"""Replies of a tiny model, beside the forward pass without a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from zoo_case import Case
from zoo_require import require

from swiftrl.engine.sampling import SamplingParams
from swiftrl.engine.transformers import TransformersEngine
from swiftrl.models.media_arguments import reads_prompt_both_ways
from swiftrl.models.media_batch import row_arguments

__all__ = ["generation", "reply_types"]


def generation(case: Case) -> None:
    """Greedy replies, batched and cached, are those of the forward pass without a cache.

    A batch with media holds a prompt of text alone as well.
    """
    model = case.model()
    engine = TransformersEngine(model, _PlainTokenizer(), stop_token_ids=[])
    sampling = SamplingParams(temperature=0.0, max_tokens=6)
    prompts = [case.text(length, seed=length)[0].tolist() for length in (7, 11)]
    replies = engine.generate(prompts, sampling)
    _are_greedy(case, model, prompts, replies, [{}, {}])
    for kind, shown in case.media.items():
        prompts = [[*shown.token_ids, *case.text(3, seed=seed)[0].tolist()] for seed in (3, 4)]
        prompts.append(case.text(9)[0].tolist())
        pictures = [shown.tensors] * 2 + [{}]
        replies = engine.generate(prompts, sampling, media=pictures)
        _are_greedy(case, model, prompts, replies, pictures, f" behind a {kind}")


def reply_types(model: Any, ids: Tensor, prompt: int) -> dict[str, Tensor]:
    """Return what tells prompt from reply, to a model that reads a prompt in both directions."""
    if not reads_prompt_both_ways(model):
        return {}
    replied = torch.zeros_like(ids)
    replied[:, prompt:] = 1
    return {"token_type_ids": replied}


def _are_greedy(
    case: Case,
    model: Any,
    prompts: Any,
    replies: Any,
    shown: Sequence[Mapping[str, Tensor]],
    where: str = "",
) -> None:
    for prompt, (reply,), tensors in zip(prompts, replies, shown, strict=True):
        # Read up to a placeholder that a random model happens to say: the next step would call
        # for a picture of its own.
        plain = len([*takewhile(lambda token: token < case.words[1], reply.token_ids[:-1])])
        replied = torch.tensor([reply.token_ids[: plain + 1]])
        ids = torch.cat([torch.tensor([prompt]), replied[:, :-1]], dim=1)
        mask = torch.ones_like(ids)
        media = row_arguments(model, ids, mask, [tensors] if tensors else [], model.dtype)
        media |= reply_types(model, ids, len(prompt))
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False, **media).logits
        logits = logits[0, len(prompt) - 1 :].float()
        gap = float((logits.max(-1).values - logits.gather(1, replied.T).squeeze(1)).max())
        what = f"a reply of {len(prompt)} tokens' prompt{where}"
        require(gap <= 1e-3, f"{what} is {gap:.2g} from greedy")


class _PlainTokenizer:
    """Numbers for text: the engine only needs a decoder."""

    pad_token_id = 0
    eos_token_id = None
    all_special_ids: tuple[int, ...] = ()

    def get_vocab(self) -> dict[str, int]:
        return {}

    def decode(self, ids: Any, **_: Any) -> str:
        return " ".join(map(str, ids))

    def convert_ids_to_tokens(self, ids: Any, **_: Any) -> Any:
        return [str(number) for number in ids]
