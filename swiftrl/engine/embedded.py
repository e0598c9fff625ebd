"""The embedded engine: a transformers model in this process that takes requests at any time."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import torch

from swiftrl.core import log
from swiftrl.core.errors import EngineError, SwiftRLError
from swiftrl.engine.adapters import Adapters
from swiftrl.engine.base import Chunk, Completion, Deliver, Request
from swiftrl.engine.continuous import Continuous, Limits, Told
from swiftrl.engine.detokenize import Detokenizer
from swiftrl.engine.forward import Forward
from swiftrl.engine.reply import Reply
from swiftrl.engine.sampling import Draw, SamplingParams, generators
from swiftrl.engine.transformers import TransformersEngine

__all__ = ["EmbeddedEngine"]

Result = TypeVar("Result")


class EmbeddedEngine:
    """Continuous batching with a model of transformers, in a thread of its own.

    Requests join the running batch whenever they come. What does not bear that (a model whose
    cache is no keys and values, a prompt with pictures) is answered one after the other by
    transformers' `generate`, between the steps of the batch.

    Args:
        model: a causal model, which nobody else uses meanwhile.
        tokenizer: of the model.
        stop_token_ids: ids that end a reply; None takes the model's own.
        shown_token_ids: special tokens that texts show (`Template.mark_token_ids`), for a parser.
        limits: how much runs at once.
        max_model_len: most tokens of prompt and reply together, if fewer than the model's own.
        compute_dtype: type of products where the weights are held in a wider one.

    Attributes:
        continuous: whether requests are batched.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        stop_token_ids: Sequence[int] | None = None,
        shown_token_ids: Collection[int] = (),
        limits: Limits | None = None,
        max_model_len: int | None = None,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        limits = limits or Limits()
        self._single = TransformersEngine(
            model,
            tokenizer,
            stop_token_ids=stop_token_ids,
            max_batch_size=limits.replies,
            shown_token_ids=shown_token_ids,
            compute_dtype=compute_dtype,
            max_model_len=max_model_len,
        )
        self.tokenizer, self.bounds = tokenizer, self._single.bounds
        self.grammars = self._single.grammars
        self._adapters = Adapters(model)
        self._forward = Forward(model, self._adapters, compute_dtype)
        reason = self._forward.why_not()
        self.continuous = reason is None
        if reason is not None:
            log.warn(
                f"{type(model).__name__}: requests are answered one after the other, since it "
                f"does not bear a continuous batch: {reason}."
            )
        self._batch = Continuous(self._forward, limits)
        self._changed = threading.Condition()
        self._arrived: deque[Reply] = deque()
        self._one_by_one: deque[Reply] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._asleep = self._closing = False
        self.generated = 0
        self._thread = threading.Thread(target=self._work, name="swiftrl-engine", daemon=True)
        self._thread.start()

    @property
    def policy_version(self) -> int:
        """Number of the weights."""
        return self._batch.policy_version

    @policy_version.setter
    def policy_version(self, number: int) -> None:
        self._batch.policy_version = self._single.policy_version = number

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the loaded adapters."""
        return self._adapters.names

    @property
    def waiting(self) -> int:
        """Replies that have no place in the batch yet."""
        return len(self._batch.waiting) + len(self._arrived) + len(self._one_by_one)

    @property
    def running(self) -> int:
        """Replies that are being written."""
        return len(self._batch.running)

    def check_prompt(self, prompt: Sequence[int]) -> None:
        """Refuse a prompt that cannot be answered."""
        self.bounds.check_prompt(prompt)

    def submit(self, request: Request, deliver: Deliver) -> _Ticket:
        """Take a request; its chunks go to `deliver`, in the engine's thread."""
        replies = [self._reply(request, index, deliver, source) for index, source in enumerate(
            generators(request.sampling.seed, request.number, request.n))]  # fmt: skip
        with self._changed:
            if self._closing:
                raise EngineError("the engine is closing.")
            self._arrived.extend(replies)
            self._changed.notify()
        return _Ticket(replies, self._changed)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingParams,
        n: int = 1,
        media: Sequence[Mapping[str, Any]] | None = None,
        *,
        numbers: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """Return `n` completions of each prompt, in the prompts' order."""
        for prompt in prompts:
            self.check_prompt(prompt)
        numbers = range(len(prompts)) if numbers is None else numbers
        found: list[list[Completion | None]] = [[None] * n for _ in prompts]
        arrived: queue.SimpleQueue[tuple[int, Chunk]] = queue.SimpleQueue()
        tickets = []
        for index, prompt in enumerate(prompts):
            request = Request(
                prompt,
                sampling,
                n,
                media=media[index] if media else {},
                number=numbers[index],
                streamed=False,
            )
            tickets.append(self.submit(request, lambda c, at=index: arrived.put((at, c))))
        try:
            for _ in range(len(prompts) * n):
                index, chunk = arrived.get()
                if chunk.error is not None:
                    raise chunk.error
                found[index][chunk.index] = chunk.completion
        finally:
            for ticket in tickets:
                ticket.abort()
        return [[one for one in row if one is not None] for row in found]

    def stream(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        media: Mapping[str, Any] | None = None,
    ) -> Generator[Chunk, None, None]:
        """Yield a reply as it grows; closing the iterator aborts it."""
        chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        ticket = self.submit(Request(prompt, sampling, media=media or {}), chunks.put)
        try:
            while True:
                chunk = chunks.get()
                if chunk.error is not None:
                    raise chunk.error
                yield chunk
                if chunk.completion is not None:
                    return
        finally:
            ticket.abort()

    def add_adapter(self, name: str, folder: Path) -> None:
        """Load a LoRA adapter beside the others."""
        if not self.continuous:
            raise EngineError("adapters are loaded only on models that bear a continuous batch.")
        self._between_steps(lambda: self._adapters.add(name, folder))

    def remove_adapter(self, name: str) -> None:
        """Unload an adapter that nobody is using."""

        def remove() -> None:
            used = [one for one in (*self._batch.running, *self._batch.waiting, *self._arrived)
                    if one.adapter == name]  # fmt: skip
            if used:
                raise EngineError(f"{len(used)} replies are being written with {name!r}; retry.")
            self._adapters.remove(name)
            self._batch.forget_prefixes()

        self._between_steps(remove)

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Put new values into the model's parameters; replies on their way go on with them."""

        def update() -> None:
            self._forward.put(dict(weights))
            self._batch.forget()
            self._batch.policy_version += 1
            self._single.policy_version = self._batch.policy_version

        self._between_steps(update)

    def sleep(self) -> None:
        """Give the memory of keys and values back; requests wait until `wake`."""

        def rest() -> None:
            self._batch.forget()
            self._asleep = True

        self._between_steps(rest)

    def wake(self) -> None:
        """Go on after `sleep`."""

        def rise() -> None:
            self._asleep = False

        self._between_steps(rise)

    def run(self, job: Callable[[], Result]) -> Result:
        """Return what `job` gives, run between two steps: it has the model for itself."""
        return self._between_steps(job)

    def close(self) -> None:
        """End what is on its way and the engine's thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _between_steps(self, job: Callable[[], Result]) -> Result:
        done: Future[Result] = Future()
        with self._changed:
            if self._closing:
                raise EngineError("the engine is closing.")
            self._jobs.append((job, done))
            self._changed.notify()
        return done.result()

    def _reply(self, request: Request, index: int, deliver: Deliver, source: Any) -> Reply:
        """Return the reply to a request, which is checked."""
        sampling = request.sampling
        room = self.bounds.room(request.prompt, sampling)
        self.bounds.check_ids(request.prompt, "prompt")
        self.bounds.check_ids([token for token, _ in sampling.logit_bias], "logit_bias")
        if request.adapter is not None and request.adapter not in self.adapters:
            raise EngineError(f"there is no adapter {request.adapter!r}.")
        if request.prompt_logprobs is not None and (request.media or not self.continuous):
            raise EngineError("log-probabilities of the prompt are not available here.")
        matcher = self.grammars.matcher(sampling.grammar) if sampling.grammar else None
        stops = () if sampling.ignore_eos else self._single.stop_token_ids
        return Reply(
            request,
            index,
            deliver,
            draw=Draw(sampling, source, request.prompt, matcher),
            text=Detokenizer(self.tokenizer, sampling.stop, self._single.shown_token_ids),
            stop_ids=frozenset((*stops, *sampling.stop_token_ids)),
            room=room,
        )

    def _work(self) -> None:
        while self._wait():
            self._run_jobs()
            while self._arrived:
                self._sort_in(self._arrived.popleft())
            if self._asleep:
                continue
            for reply, chunk in self._step():
                self.generated += len(chunk.token_ids)
                reply.deliver(chunk)
            if self._one_by_one:
                self._write_alone(self._one_by_one.popleft())
        self._end_all()

    def _step(self) -> list[Told]:
        try:
            return self._batch.step()
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever happens
            log.warn(f"a step of the batch failed, its replies end: {error!r}")
            return self._batch.fail_all(error)

    def _wait(self) -> bool:
        """Wait for something to do; return whether to go on."""
        with self._changed:
            while not (self._closing or self._jobs or self._ready()):
                self._changed.wait()
            return not self._closing

    def _ready(self) -> bool:
        something = self._arrived or self._one_by_one or not self._batch.idle
        return bool(something) and not self._asleep

    def _run_jobs(self) -> None:
        while self._jobs:
            job, done = self._jobs.popleft()
            try:
                done.set_result(job())
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                done.set_exception(error)

    def _sort_in(self, reply: Reply) -> None:
        if self.continuous and not reply.request.media:
            self._batch.add(reply)
        else:
            self._one_by_one.append(reply)

    def _write_alone(self, reply: Reply) -> None:
        """Answer by transformers' own `generate`."""
        request = reply.request
        try:
            with self._adapters.chosen([reply.adapter]):
                chunks = self._single.stream(
                    request.prompt, request.sampling, request.media, sample=reply.index
                )
                for chunk in chunks:
                    self.generated += len(chunk.token_ids)
                    reply.pass_on(chunk)
                    if reply.aborted:
                        chunks.close()
                        break
        except SwiftRLError as error:
            reply.deliver(reply.fail(error))
        except Exception as error:  # noqa: BLE001 - whatever the model raises, others go on
            reason = " ".join(str(error).split())[:300]
            reply.deliver(reply.fail(EngineError(f"the model failed: {reason}")))
        else:
            if reply.reason is None:
                reply.deliver(reply.abort(self.policy_version))

    def _end_all(self) -> None:
        with self._changed:
            left = [*self._batch.running, *self._batch.waiting, *self._arrived, *self._one_by_one]
            jobs, self._jobs = list(self._jobs), deque()
        for reply in left:
            reply.deliver(reply.abort(self.policy_version))
        for _, done in jobs:
            done.set_exception(EngineError("the engine is closing."))


class _Ticket:
    """A request on its way; see `base.Ticket`."""

    def __init__(self, replies: Sequence[Reply], changed: threading.Condition) -> None:
        self._replies, self._changed = replies, changed

    def abort(self) -> None:
        """Stop it."""
        for reply in self._replies:
            reply.aborted = True
        with self._changed:
            self._changed.notify()
