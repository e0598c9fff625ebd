"""From prompts to trees of scored replies: what an optimizer step of online learning trains on.

Shapes: P prompts of a step (in this process), G replies to each, B = P G, R tokens of a reply.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from swiftrl.core import log
from swiftrl.core.errors import ModelError
from swiftrl.core.messages import text_of
from swiftrl.data.batch import Tree, make_tree, pack
from swiftrl.engine.base import Completion, Engine
from swiftrl.engine.rows import message_dict
from swiftrl.engine.sampling import SamplingParams
from swiftrl.rlhf.completions_file import CompletionsFile
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.online import OnlineAlgorithm
from swiftrl.rlhf.order import Feed, MicroBatch, share_of
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.prompts import EncodedPrompt, Prompts
from swiftrl.rlhf.reference import evaluating
from swiftrl.rlhf.rewards.reward import Reward
from swiftrl.rlhf.rewards.scoring import Scores, columns_of, score
from swiftrl.rlhf.rollout_metrics import length_sums, reward_sums, spread_sums
from swiftrl.rlhf.steps import Sums, evened, merged
from swiftrl.rlhf.writing import Writer, write_replies
from swiftrl.templates.encoding import Encoded
from swiftrl.templates.template import Template

__all__ = ["Rollouts"]

FLAT_STEPS = 3
MOST_GAP = 0.2
"""Nats a token, on average, by which the engine may differ from the trainer."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A prompt with its replies and what they are worth."""

    prompt: EncodedPrompt
    media: Mapping[str, Any]
    completions: list[Completion]
    advantages: list[float]


@dataclass
class Rollouts:
    """Feeds the trainer with what the policy writes, step by step, with the weights of the step.

    Attributes:
        prompts: to answer.
        algorithm: turns rewards into advantages.
        policy: whose log-probabilities the engine's are held against.
        engine: writes the replies, with the policy's own weights.
        template: reads a prompt's pictures.
        rewards: score them.
        reward_weights: of each.
        reward_timeout_s: of one call.
        processes: those of the run.
        seed: with a prompt's place in the stream it decides its replies.
        shuffle: whether to permute the prompts each epoch.
        micro_batch_size: most replies of a forward pass.
        completions: where replies are written; None for nowhere.
    """

    prompts: Prompts
    algorithm: OnlineAlgorithm[Any]
    policy: Policy
    engine: Engine
    template: Template
    rewards: Sequence[Reward]
    reward_weights: Sequence[float]
    reward_timeout_s: float
    processes: Processes
    seed: int
    shuffle: bool
    micro_batch_size: int
    completions: CompletionsFile | None = None
    _metrics: Sums = field(default_factory=Sums)
    _proved: bool = False
    _flat_steps: int = 0

    def __post_init__(self) -> None:
        self.num_rows = len(self.prompts)
        self.fingerprint = self.prompts.fingerprint
        self._order = Feed(self.prompts, seed=self.seed, shuffle=self.shuffle, micro_batch_size=1)

    @property
    def group_size(self) -> int:
        """Replies to a prompt."""
        return self.algorithm.config.num_generations

    def steps(self, start: int, stop: int, global_batch: int) -> Iterator[list[MicroBatch]]:
        """Yield this process's micro-batches of each step; replies are written when asked for.

        Args:
            start: prompts consumed before.
            stop: one past the last.
            global_batch: prompts of a step over all processes.
        """
        if self.completions is not None and self.processes.is_main:
            self.completions.forget(start)
        for first in range(start, stop, global_batch):
            yield self._step(first, min(first + global_batch, stop))

    def take_metrics(self) -> dict[str, tuple[float, float]]:
        """Return the sums and counts since the last call."""
        found, self._metrics = self._metrics.values, Sums()
        return found

    def measure(self, held_out: Prompts) -> dict[str, float]:
        """Return the mean rewards of the likeliest reply to each held-out prompt."""
        mine = share_of(0, len(held_out), self.processes.replica, self.processes.replicas)
        prompts = [held_out[index] for index in mine]
        media = [self._media(prompt) for prompt in prompts]
        completions = self._write(prompts, media, mine.start, 1, temperature=0.0)
        scores = self._score(prompts, completions)
        sums = Sums()
        sums.add(reward_sums(scores))
        sums.add(length_sums(completions))
        return merged(self.processes.gather(sums.values)).means()

    def _step(self, start: int, stop: int) -> list[MicroBatch]:
        mine = share_of(start, stop, self.processes.replica, self.processes.replicas)
        prompts = [self.prompts[self._order.index_at(position)] for position in mine]
        size = self.algorithm.config.num_generations
        began = time.monotonic()
        media = [self._media(prompt) for prompt in prompts]
        completions = self._write(
            prompts, media, mine.start, size, self.algorithm.config.temperature
        )
        wrote = time.monotonic()
        scores = self._score(prompts, completions)
        advantages = self._advantages(scores, size)
        groups = [
            _Group(prompt, tensors, written, advantages[index * size : (index + 1) * size])
            for index, (prompt, tensors, written) in enumerate(
                zip(prompts, media, completions, strict=True)
            )
        ]
        self._note(groups, scores, wrote - began, time.monotonic() - wrote)
        self._log(start, groups, scores)
        batches = self._batches(groups, mine.start)
        if not self._proved:
            self._prove(batches)
        return batches

    def _write(
        self,
        prompts: Sequence[EncodedPrompt],
        media: Sequence[Mapping[str, Any]],
        first: int,
        n: int,
        temperature: float,
    ) -> list[list[Completion]]:
        self.processes.at("writing the replies")
        config = self.algorithm.config
        sampling = SamplingParams(
            temperature=temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            max_tokens=config.max_completion_length,
            stop=tuple(config.stop_words),
            seed=self.seed,
        )
        return write_replies(
            Writer(self.engine, self.policy.generating),
            self.processes,
            [prompt.token_ids for prompt in prompts],
            media,
            sampling,
            first=first,
            n=n,
        )

    def _media(self, prompt: EncodedPrompt) -> dict[str, Any]:
        return self.template.media_tensors(prompt.row.conversation)

    def _score(
        self, prompts: Sequence[EncodedPrompt], completions: Sequence[Sequence[Completion]]
    ) -> Scores:
        self.processes.at("scoring the replies")
        replies = [
            (prompt.row, reply)
            for prompt, written in zip(prompts, completions, strict=True)
            for reply in written
        ]
        columns = columns_of([row.extra for row, _ in replies])
        columns["completion_ids"] = [list(reply.token_ids) for _, reply in replies]
        return self.processes.sequence.once(
            lambda: score(
                self.rewards,
                self.reward_weights,
                [list(map(message_dict, row.conversation.messages)) for row, _ in replies],
                [reply.text for _, reply in replies],
                columns,
                timeout_s=self.reward_timeout_s,
                origins=[row.origin for row, _ in replies],
            )
        )

    def _advantages(self, scores: Scores, size: int) -> list[float]:
        """Return the advantages of this process's replies, by the rewards of the whole step."""
        everyone = self.processes.gather(scores.total.tolist())
        rewards = torch.tensor([value for part in everyone for value in part])
        groups = torch.arange(len(rewards)) // size
        found = self.algorithm.advantages(rewards, groups)
        self._warn_of_flat_steps(bool(found.any()))
        first = sum(map(len, everyone[: self.processes.replica]))
        return found[first : first + len(scores.total)].tolist()

    def _warn_of_flat_steps(self, taught: bool) -> None:
        self._flat_steps = 0 if taught else self._flat_steps + 1
        if self._flat_steps == FLAT_STEPS and self.processes.is_main:
            log.warn(
                f"in {FLAT_STEPS} steps in a row every group's replies scored alike, so that "
                "nothing was learnt. Look at completions.jsonl: is the reward what you meant? "
                "Harder or easier prompts, a higher --temperature or more --num_generations help."
            )

    def _batches(self, groups: Sequence[_Group], first: int) -> list[MicroBatch]:
        """Fold groups into micro-batches: several of them, or a part of one."""
        size = self.algorithm.config.num_generations
        parts = [
            (group, range(start, min(start + self.micro_batch_size, size)), first + index)
            for index, group in enumerate(groups)
            for start in range(0, size, self.micro_batch_size)
        ]
        together = max(self.micro_batch_size // size, 1)
        return [
            MicroBatch(
                pack([self._tree(group, chosen) for group, chosen, _ in some]),
                some[0][2] * size + some[0][1].start,
                tuple(str(g.prompt.row.origin) for g, chosen, _ in some if not chosen.start),
            )
            for some in (parts[at : at + together] for at in range(0, len(parts), together))
        ]

    def _tree(self, group: _Group, chosen: range) -> Tree:
        prompt = group.prompt.token_ids
        sequences, engine_logps = [], []
        for index in chosen:
            reply = group.completions[index]
            cut = reply.finish_reason == "length" and self.algorithm.config.overlong_filter
            weights = np.zeros(len(prompt) + len(reply.token_ids), dtype=np.float32)
            weights[len(prompt) :] = not cut
            ids = np.array([*prompt, *reply.token_ids], dtype=np.int32)
            sequences.append(Encoded(ids, weights))
            engine_logps.append(np.array([0.0] * len(prompt) + list(reply.logprobs), np.float32))
        return make_tree(
            sequences,
            media=group.media,
            sequence_values={"advantages": [group.advantages[index] for index in chosen]},
            token_values={"engine_logps": engine_logps},
        )

    def _prove(self, batches: Sequence[MicroBatch]) -> None:
        """Hold the engine's log-probabilities of the first replies against the trainer's.

        Raises:
            ModelError: they differ, so that the replies are not the policy's.
        """
        total = count = 0.0
        with evaluating(self.policy.model):
            lockstep = self.policy.parallel.lockstep
            for micro in evened(batches, self.processes) if lockstep else batches:
                batch = micro.batch.to(self.processes.device)
                if not len(batch.target_ids) and not lockstep:
                    continue
                found = self.policy.logprobs(batch).logps
                if not len(found):
                    continue
                total += float((found - batch.token_values["engine_logps"]).abs().sum())
                count += len(found)
        total, count = self.processes.sum([total, count])
        if count and total / count > MOST_GAP:
            raise ModelError(
                f"the engine's log-probabilities differ from the trainer's by {total / count:.3f} "
                f"nats a token on the first {int(count)} sampled tokens; at most {MOST_GAP} is "
                "expected. What it samples from is not the policy: set --top_p 1 --top_k -1, and "
                "try --torch_dtype float32 or --layout rows."
            )
        self._proved = True

    def _note(
        self, groups: Sequence[_Group], scores: Scores, writing_s: float, scoring_s: float
    ) -> None:
        completions = [group.completions for group in groups]
        main = float(self.processes.is_main)
        tokens = sum(len(reply.token_ids) for written in completions for reply in written)
        self._metrics.add(reward_sums(scores))
        self._metrics.add(length_sums(completions))
        self._metrics.add(spread_sums(scores.total.reshape(-1, self.group_size)))
        self._metrics.add(
            {
                "rollout_s": (writing_s * main, main),
                "scoring_s": (scoring_s * main, main),
                "rollout_tokens_per_s": (tokens / max(writing_s, 1e-9), main),
            }
        )

    def _log(self, start: int, groups: Sequence[_Group], scores: Scores) -> None:
        """Append the step's replies to completions.jsonl."""
        if self.completions is None:
            return
        rows = []
        values = iter(scores.values.tolist())
        totals = iter(scores.total.tolist())
        for group in groups:
            for reply, advantage in zip(group.completions, group.advantages, strict=True):
                named = zip(self.rewards, next(values), strict=True)
                rows.append(
                    {
                        "prompts_before": start,
                        "origin": str(group.prompt.row.origin),
                        "prompt": text_of(group.prompt.row.conversation.messages[-1]),
                        "completion": reply.text,
                        "finish_reason": reply.finish_reason,
                        "tokens": len(reply.token_ids),
                        "rewards": {item.name: _or_none(value) for item, value in named},
                        "reward": _or_none(next(totals)),
                        "advantage": advantage,
                    }
                )
        everyone = self.processes.gather(rows)
        if self.processes.is_main:
            self.completions.append([row for part in everyone for row in part])


def _or_none(value: float) -> float | None:
    return None if value != value else value
