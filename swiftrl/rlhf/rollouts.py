"""From prompts to trees of scored replies: what an optimizer step of online learning trains on.

Shapes: P prompts of a step (in this process), G replies to each, B = P G, R tokens of a reply.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from swiftrl.core import log
from swiftrl.core.errors import ModelError
from swiftrl.engine.base import Completion, Engine
from swiftrl.engine.rows import message_dict
from swiftrl.engine.sampling import SamplingParams
from swiftrl.rlhf.completions_file import CompletionsFile
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.groups import Answered, Group, batches_of, lines_of
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
from swiftrl.templates.template import Template

__all__ = ["Rollouts"]

FLAT_STEPS = 3
_FAR = 2**40
"""More prompts than any stream has, so that no two have a number in common."""
MOST_GAP = 0.2
"""Nats a token, on average, by which the engine may differ from the trainer."""


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
        completions = self._write(prompts, media, mine, 1, temperature=0.0)
        scores = self._score(prompts, completions)
        sums = Sums()
        sums.add(reward_sums(scores))
        sums.add(length_sums(completions))
        return merged(self.processes.gather(sums.values)).means()

    def _step(self, start: int, stop: int) -> list[MicroBatch]:
        mine = share_of(start, stop, self.processes.replica, self.processes.replicas)
        size = self.algorithm.config.num_generations
        answered = self._answered([self._order.index_at(position) for position in mine], mine)
        if self.algorithm.config.dynamic_sample:
            answered = self._resampled(answered, mine)
        scores = self._together(answered)
        advantages = self._advantages(scores, size)
        groups = [
            Group(one, advantages[index * size : (index + 1) * size])
            for index, one in enumerate(answered)
        ]
        self._note(groups, scores)
        self._log(start, groups)
        batches = batches_of(
            groups,
            mine.start,
            self.micro_batch_size,
            drop_cut=self.algorithm.config.overlong_filter,
        )
        if not self._proved:
            self._prove(batches)
        return batches

    def _answered(self, indices: Sequence[int], numbers: Sequence[int]) -> list[Answered]:
        """Return prompts with replies and scores; `numbers` and the seed decide the replies."""
        size = self.algorithm.config.num_generations
        prompts = [self.prompts[index] for index in indices]
        began = time.monotonic()
        media = [self._media(prompt) for prompt in prompts]
        completions = self._write(prompts, media, numbers, size, self.algorithm.config.temperature)
        wrote = time.monotonic()
        scores = self._score(prompts, completions)
        self._note_time(completions, wrote - began, time.monotonic() - wrote)
        parts = zip(
            prompts,
            media,
            completions,
            scores.values.split(size),
            scores.total.split(size),
            strict=True,
        )
        return [Answered(*part) for part in parts] if prompts else []

    def _resampled(self, answered: list[Answered], mine: range) -> list[Answered]:
        """Put other prompts in the place of those that teach nothing.

        They come from a permutation of their own, at the same place of the stream, so that they
        do not depend on how the step is divided, nor on what came before.
        """
        asked = len(answered)
        for attempt in range(1, self.algorithm.config.max_resample_times + 1):
            flat = [index for index, one in enumerate(answered) if not one.teaches]
            # Every process writes as often as the others, be it nothing.
            if not self.processes.most(len(flat)):
                break
            order = Feed(self.prompts, seed=self.seed + attempt, shuffle=True, micro_batch_size=1)
            indices = [order.index_at(mine[index]) for index in flat]
            numbers = [attempt * _FAR + mine[index] for index in flat]
            asked += len(flat)
            for index, one in zip(flat, self._answered(indices, numbers), strict=True):
                answered[index] = one if one.teaches else answered[index]
        self._metrics.add({"prompts_per_group": (float(asked), float(len(answered)))})
        return answered

    def _together(self, answered: Sequence[Answered]) -> Scores:
        names = tuple(reward.name for reward in self.rewards)
        if not answered:
            return Scores(names, torch.zeros(0, len(names)), torch.zeros(0))
        return Scores(
            names,
            torch.cat([one.values for one in answered]),
            torch.cat([one.total for one in answered]),
        )

    def _write(
        self,
        prompts: Sequence[EncodedPrompt],
        media: Sequence[Mapping[str, Any]],
        numbers: Sequence[int],
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
            numbers=numbers,
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

    def _note(self, groups: Sequence[Group], scores: Scores) -> None:
        self._metrics.add(reward_sums(scores))
        self._metrics.add(length_sums([group.answered.completions for group in groups]))
        self._metrics.add(spread_sums(scores.total.reshape(-1, self.group_size)))

    def _note_time(
        self, completions: Sequence[Sequence[Completion]], writing_s: float, scoring_s: float
    ) -> None:
        main = float(self.processes.is_main)
        tokens = sum(len(reply.token_ids) for written in completions for reply in written)
        self._metrics.add(
            {
                "rollout_s": (writing_s * main, main),
                "scoring_s": (scoring_s * main, main),
                "rollout_tokens_per_s": (tokens / max(writing_s, 1e-9), main),
            }
        )

    def _log(self, start: int, groups: Sequence[Group]) -> None:
        """Append the step's replies to completions.jsonl."""
        if self.completions is None:
            return
        names = [reward.name for reward in self.rewards]
        rows = [line for group in groups for line in lines_of(group, names, start)]
        everyone = self.processes.gather(rows)
        if self.processes.is_main:
            self.completions.append([row for part in everyone for row in part])
