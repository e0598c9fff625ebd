"""The embedded engine: a transformers model in this process, decoded by its own `generate`."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from swiftrl.core.errors import EngineError
from swiftrl.engine.base import Chunk, Completion, FinishReason
from swiftrl.engine.batching import Batching
from swiftrl.engine.detokenize import Detokenizer
from swiftrl.engine.padding import for_inference, generate
from swiftrl.engine.sampling import SamplingParams, choose, generators
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
    ) -> None:
        self.model = model
        self.shown_token_ids = frozenset(shown_token_ids)
        self.tokenizer = tokenizer
        self.policy_version = 0
        self.compute_dtype = compute_dtype
        if stop_token_ids is None:
            stop_token_ids = stop_token_ids_of(model, tokenizer)
        self.stop_token_ids = tuple(stop_token_ids)
        text_config = model.config.get_text_config()
        self._longest: int | None = getattr(text_config, "max_position_embeddings", None)
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
    ) -> Generator[Chunk, None, None]:
        """Yield a reply token by token; closing the iterator aborts the decoding."""
        tokens: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        run = _Run(self, [prompt], sampling, on_token=tokens.put)
        run.media = [media] if media else []

        def work() -> None:
            try:
                run.decode(generators(sampling.seed, 0, 1))
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                tokens.put(error)
            tokens.put(None)

        thread = threading.Thread(target=work, name="swiftrl-stream", daemon=True)
        thread.start()
        text = Detokenizer(self.tokenizer, sampling.stop, self.shown_token_ids)
        try:
            while (token := tokens.get()) is not None:
                if isinstance(token, BaseException):
                    raise token
                shown = "" if token in run.stop_ids else text.push(token)
                yield Chunk(shown, (token,))
            yield Chunk(text.finish(), (), run.completion(0))
        finally:
            run.aborted.set()
            thread.join()

    def check_prompt(self, prompt: Sequence[int]) -> None:
        """Refuse a prompt that is empty or leaves no room for a reply."""
        if not prompt:
            raise EngineError("a prompt has no tokens.")
        if self._longest is not None and len(prompt) >= self._longest:
            raise EngineError(
                f"a prompt of {len(prompt)} tokens leaves no room for a reply: the model takes "
                f"{self._longest} tokens in all. Shorten the conversation."
            )

    def room(self, prompt: Sequence[int], sampling: SamplingParams) -> int:
        """Return how many tokens a reply to `prompt` may have."""
        self.check_prompt(prompt)
        if self._longest is not None:
            left = self._longest - len(prompt)
            return min(left, sampling.max_tokens or left)
        if sampling.max_tokens is None:
            raise EngineError("max_tokens: this model states no longest sequence; give one.")
        return sampling.max_tokens


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
        self.stop_ids = {*engine.stop_token_ids, *sampling.stop_token_ids}
        self.media: list[Mapping[str, Any]] = []
        self.aborted = threading.Event()
        self.on_token = on_token
        self.rooms = [engine.room(prompt, sampling) for prompt in prompts]
        self.texts = [
            Detokenizer(engine.tokenizer, sampling.stop, engine.shown_token_ids) for _ in prompts
        ]
        self.tokens: list[list[int]] = [[] for _ in prompts]
        self.logprobs: list[list[float]] = [[] for _ in prompts]
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

    def add(self, row: int, token: int, logprob: float) -> None:
        """Take a sampled token; rows that are done ignore it."""
        if self.reasons[row] is not None:
            return
        self.tokens[row].append(token)
        self.logprobs[row].append(logprob)
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
        )


class _Chooser(LogitsProcessor):
    """Leaves one token possible in each row: the one that `sampling.choose` took."""

    def __init__(self, run: _Run, sources: list[random.Random]) -> None:
        self._run = run
        self._sources = sources
        self._seen_BV: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._seen_BV is None:
            self._seen_BV = torch.zeros_like(scores, dtype=torch.bool)
            for row, prompt in enumerate(self._run.prompts):
                # Placeholders may lie beyond what the model can say.
                said = [token for token in prompt if token < scores.shape[-1]]
                self._seen_BV[row, torch.tensor(said, device=scores.device).long()] = True
        tokens_B, logprobs_B = choose(
            scores.float(), self._seen_BV, self._run.sampling, self._sources
        )
        self._seen_BV.scatter_(1, tokens_B[:, None], True)
        for row, (token, logprob) in enumerate(
            zip(tokens_B.tolist(), logprobs_B.tolist(), strict=True)
        ):
            self._run.add(row, token, logprob)
        chosen = torch.full_like(scores, float("-inf"))
        return chosen.scatter_(1, tokens_B[:, None], 0.0)


class _Stopper(StoppingCriteria):
    """Says which rows are done."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def __call__(  # type: ignore[override]
        self, input_ids: torch.Tensor, scores: Any, **kwargs: Any
    ) -> torch.Tensor:
        done = [reason is not None for reason in self._run.reasons]
        return torch.tensor(done, device=input_ids.device)
