"""The embedded engine: a transformers model in this process, decoded by its own `generate`."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from swiftrl.engine.base import Chunk, Completion, FinishReason, Top
from swiftrl.engine.batching import Batching
from swiftrl.engine.bounds import bounds_of
from swiftrl.engine.detokenize import Detokenizer
from swiftrl.engine.grammar import Grammars
from swiftrl.engine.padding import for_inference, generate
from swiftrl.engine.sampling import Draw, SamplingParams, choose, generators
from swiftrl.models.load import stop_token_ids as stop_token_ids_of
from swiftrl.models.media_batch import row_arguments

__all__ = ["TransformersEngine"]


class TransformersEngine:
    """Batched and streaming generation with a model that may be in training beside it.

    transformers' `generate` runs the decoding, so that every architecture's cache and positions
    are right; tokens are chosen by `sampling.choose`, passed to it as a logits processor.

    Args:
        model: a causal model, adapters included.
        tokenizer: of the model.
        stop_token_ids: ids that end a reply; None takes the model's own.
        max_batch_size: sequences decoded at once.
        shown_token_ids: special tokens that texts show (`Template.mark_token_ids`), for a parser.
        compute_dtype: type of products where the weights are held in a wider one.
        max_model_len: most tokens of prompt and reply together, if fewer than the model's own.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        stop_token_ids: Sequence[int] | None = None,
        max_batch_size: int = 32,
        compute_dtype: torch.dtype | None = None,
        shown_token_ids: Collection[int] = (),
        max_model_len: int | None = None,
    ) -> None:
        self.model = model
        self.shown_token_ids = frozenset(shown_token_ids)
        self.tokenizer = tokenizer
        self.policy_version = 0
        self.compute_dtype = compute_dtype
        if stop_token_ids is None:
            stop_token_ids = stop_token_ids_of(model, tokenizer)
        self.stop_token_ids = tuple(stop_token_ids)
        self.bounds = bounds_of(model, max_model_len)
        self.grammars = Grammars(tokenizer, self.stop_token_ids)
        self.lock = threading.Lock()
        self.batching = Batching(model, tokenizer, max_batch_size, compute_dtype, self.lock)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingParams,
        n: int = 1,
        media: Sequence[Mapping[str, Any]] | None = None,
        *,
        numbers: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """Return `n` completions of each prompt; prompts of similar length run together."""
        for prompt in prompts:
            self.check_prompt(prompt)
        replies: list[list[Completion]] = [[] for _ in prompts]
        for batch in self.batching.jobs(prompts, media, sampling.seed, n, numbers):
            run = _Run(self, [prompts[index] for index, _ in batch], sampling)
            run.media = [media[index] for index, _ in batch] if media else []
            run.decode([source for _, source in batch])
            for row, (index, _) in enumerate(batch):
                replies[index].append(run.completion(row))
        return replies

    def stream(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        media: Mapping[str, Any] | None = None,
        *,
        sample: int = 0,
    ) -> Generator[Chunk, None, None]:
        """Yield a reply token by token; closing the iterator aborts the decoding.

        `sample` numbers it among the replies to its prompt.
        """
        tokens: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        run = _Run(self, [prompt], sampling, on_token=tokens.put)
        run.media = [media] if media else []

        def work() -> None:
            try:
                run.decode(generators(sampling.seed, 0, sample + 1)[-1:])
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                tokens.put(error)
            tokens.put(None)

        thread = threading.Thread(target=work, name="swiftrl-stream", daemon=True)
        thread.start()
        text = Detokenizer(self.tokenizer, sampling.stop, self.shown_token_ids)
        try:
            for place in count():
                if (token := tokens.get()) is None:
                    break
                if isinstance(token, BaseException):
                    raise token
                shown = "" if token in run.stop_ids else text.push(token)
                tops = (run.tops[0][place],) if sampling.top_logprobs else ()
                yield Chunk(shown, (token,), logprobs=(run.logprobs[0][place],), top_logprobs=tops)
            yield Chunk(text.finish(), (), run.completion(0))
        finally:
            run.aborted.set()
            thread.join()

    def check_prompt(self, prompt: Sequence[int]) -> None:
        """Refuse a prompt that is empty or leaves no room for a reply."""
        self.bounds.check_prompt(prompt)


class _Run:
    """One batch on its way through `generate`: what each row has so far, and which are done."""

    def __init__(
        self,
        engine: TransformersEngine,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingParams,
        on_token: Callable[[int], None] | None = None,
    ) -> None:
        self.engine, self.prompts, self.sampling = engine, prompts, sampling
        own = () if sampling.ignore_eos else engine.stop_token_ids
        self.stop_ids = {*own, *sampling.stop_token_ids}
        self.media: list[Mapping[str, Any]] = []
        self.aborted = threading.Event()
        self.on_token = on_token
        self.rooms = [engine.bounds.room(prompt, sampling) for prompt in prompts]
        self.texts = [
            Detokenizer(engine.tokenizer, sampling.stop, engine.shown_token_ids) for _ in prompts
        ]
        self.tokens: list[list[int]] = [[] for _ in prompts]
        self.logprobs: list[list[float]] = [[] for _ in prompts]
        self.tops: list[list[Top]] = [[] for _ in prompts]
        self.reasons: list[FinishReason | None] = [None for _ in prompts]

    def decode(self, sources: list[random.Random]) -> None:
        """Run the batch to its end; `sources` are each row's randomness."""
        model = self.engine.model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        padding = self.engine.tokenizer.pad_token_id
        padding = padding if padding is not None else next(iter(self.stop_ids), 0)
        width = max(len(prompt) for prompt in self.prompts)
        ids = torch.tensor([[padding] * (width - len(p)) + list(p) for p in self.prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in self.prompts])
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(self.rooms),
            pad_token_id=padding,
            use_cache=self.engine.batching.use_cache,
        )
        with self.engine.lock, for_inference(base, config, self.engine.compute_dtype):
            generate(
                base,
                input_ids=ids.to(base.device),
                attention_mask=mask.to(base.device),
                **self._media_arguments(base, ids, mask),
                generation_config=config,
                logits_processor=LogitsProcessorList([_Chooser(self, sources)]),
                stopping_criteria=StoppingCriteriaList([_Stopper(self)]),
            )

    def _media_arguments(self, base: Any, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        made = row_arguments(base, ids, mask, self.media, base.dtype)
        return {
            name: value.to(base.device) if isinstance(value, torch.Tensor) else value
            for name, value in made.items()
        }

    def add(self, row: int, token: int, logprob: float, top: Top) -> None:
        """Take a sampled token; rows that are done ignore it."""
        if self.reasons[row] is not None:
            return
        self.tokens[row].append(token)
        self.logprobs[row].append(logprob)
        self.tops[row].append(top)
        if self.on_token is not None:
            self.on_token(token)
        if token in self.stop_ids:
            self.reasons[row] = "stop"
            return
        # Only stop texts need the text at every step.
        if self.sampling.stop:
            self.texts[row].push(token)
        if self.texts[row].stopped:
            self.reasons[row] = "stop"
        elif self.aborted.is_set():
            self.reasons[row] = "abort"
        elif len(self.tokens[row]) >= self.rooms[row]:
            self.reasons[row] = "length"

    def completion(self, row: int) -> Completion:
        """Return a row's reply."""
        text = self.texts[row]
        if not self.sampling.stop:
            for token in self.tokens[row]:
                if token not in self.stop_ids:
                    text.push(token)
        text.finish()
        return Completion(
            token_ids=tuple(self.tokens[row]),
            logprobs=tuple(self.logprobs[row]),
            text=text.text,
            finish_reason=self.reasons[row] or "abort",
            policy_version=self.engine.policy_version,
            top_logprobs=tuple(self.tops[row]) if self.sampling.top_logprobs else (),
        )


class _Chooser(LogitsProcessor):
    """Leaves one token possible in each row: the one that `sampling.choose` took."""

    def __init__(self, run: _Run, sources: list[random.Random]) -> None:
        self._run = run
        grammar, grammars = run.sampling.grammar, run.engine.grammars
        self._draws = [
            Draw(run.sampling, source, prompt, grammars.matcher(grammar) if grammar else None)
            for source, prompt in zip(sources, run.prompts, strict=True)
        ]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # What a reply that is over would say next is of no interest.
        draws = [
            one if reason is None else Draw(SamplingParams(temperature=0), one.source)
            for one, reason in zip(self._draws, self._run.reasons, strict=True)
        ]
        chosen = choose(scores.float(), draws)
        for row, token in enumerate(chosen.tokens):
            self._run.add(row, token, chosen.logprobs[row], chosen.tops[row])
        tokens_B = torch.tensor(chosen.tokens, device=scores.device)
        possible = torch.full_like(scores, float("-inf"))
        return possible.scatter_(1, tokens_B[:, None], 0.0)


class _Stopper(StoppingCriteria):
    """Says which rows are done."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def __call__(  # type: ignore[override]
        self, input_ids: torch.Tensor, scores: Any, **kwargs: Any
    ) -> torch.Tensor:
        done = [reason is not None for reason in self._run.reasons]
        return torch.tensor(done, device=input_ids.device)
