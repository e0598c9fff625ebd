"""From prompts to scored replies.

Shapes: P prompts (in this process), G replies to each.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from swiftrl.engine.base import Completion, Engine
from swiftrl.engine.rows import message_dict
from swiftrl.engine.sampling import SamplingParams
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.groups import Answered
from swiftrl.rlhf.online import RolloutConfig
from swiftrl.rlhf.order import Feed, share_of
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.prompts import EncodedPrompt, Prompts
from swiftrl.rlhf.rewards.reward import Reward
from swiftrl.rlhf.rewards.scoring import Scores, columns_of, score
from swiftrl.rlhf.rollout_metrics import length_sums, reward_sums
from swiftrl.rlhf.steps import Sums, merged
from swiftrl.rlhf.writing import Writer, write_replies
from swiftrl.templates.template import Template

__all__ = ["Answering"]

_FAR = 2**40
"""More prompts than any stream has, so that no two have a number in common."""


@dataclass
class Answering:
    """Has prompts answered by the policy, and the replies scored.

    Attributes:
        prompts: to answer.
        config: how.
        policy: has the weights.
        engine: writes the replies, with the policy's own weights.
        template: reads a prompt's pictures.
        rewards: score them.
        reward_weights: of each.
        reward_timeout_s: of one call.
        processes: those of the run.
        seed: with a prompt's number it decides its replies.
        metrics: sums and counts since they were last taken.
    """

    prompts: Prompts
    config: RolloutConfig
    policy: Policy
    engine: Engine
    template: Template
    rewards: Sequence[Reward]
    reward_weights: Sequence[float]
    reward_timeout_s: float
    processes: Processes
    seed: int
    metrics: Sums = field(default_factory=Sums)

    def answer(self, indices: Sequence[int], numbers: Sequence[int]) -> list[Answered]:
        """Return prompts with replies and scores.

        Args:
            indices: of the prompts in the data.
            numbers: with the seed they decide the replies.
        """
        size = self.config.num_generations
        prompts = [self.prompts[index] for index in indices]
        began = time.monotonic()
        media = [self.media(prompt) for prompt in prompts]
        completions = self._write(prompts, media, numbers, size, self.config.temperature)
        wrote = time.monotonic()
        scores = self._score(prompts, completions)
        self._note_time(completions, wrote - began, time.monotonic() - wrote)
        parts = zip(
            indices,
            numbers,
            prompts,
            media,
            completions,
            scores.values.split(size),
            scores.total.split(size),
            strict=True,
        )
        return [Answered(*part) for part in parts] if prompts else []

    def resample(self, answered: list[Answered], mine: Sequence[int]) -> list[Answered]:
        """Put other prompts in the place of those that teach nothing.

        They come from a permutation of their own, at the same place of the stream, so that they
        do not depend on how the step is divided, nor on what came before.

        Args:
            answered: of which some may teach nothing.
            mine: their places in the stream.
        """
        asked = len(answered)
        for attempt in range(1, self.config.max_resample_times + 1):
            flat = [index for index, one in enumerate(answered) if not one.teaches]
            # Every process writes as often as the others, be it nothing.
            if not self.processes.most(len(flat)):
                break
            order = Feed(self.prompts, seed=self.seed + attempt, shuffle=True, micro_batch_size=1)
            indices = [order.index_at(mine[index]) for index in flat]
            numbers = [attempt * _FAR + mine[index] for index in flat]
            asked += len(flat)
            for index, one in zip(flat, self.answer(indices, numbers), strict=True):
                answered[index] = one if one.teaches else answered[index]
        self.metrics.add({"prompts_per_group": (float(asked), float(len(answered)))})
        return answered

    def greedy(self, answered: Sequence[Answered]) -> Tensor:
        """Return [P] rewards of the likeliest reply to each prompt."""
        prompts, media = [one.prompt for one in answered], [one.media for one in answered]
        numbers = [one.number for one in answered]
        completions = self._write(prompts, media, numbers, 1, temperature=0.0)
        return self._score(prompts, completions).total

    def measure(self, held_out: Prompts) -> dict[str, float]:
        """Return the mean rewards of the likeliest reply to each held-out prompt."""
        mine = share_of(0, len(held_out), self.processes.replica, self.processes.replicas)
        prompts = [held_out[index] for index in mine]
        media = [self.media(prompt) for prompt in prompts]
        completions = self._write(prompts, media, mine, 1, temperature=0.0)
        scores = self._score(prompts, completions)
        sums = Sums()
        sums.add(reward_sums(scores))
        sums.add(length_sums(completions))
        return merged(self.processes.gather(sums.values)).means()

    def media(self, prompt: EncodedPrompt) -> dict[str, Any]:
        """Return the tensors of a prompt's pictures."""
        return self.template.media_tensors(prompt.row.conversation)

    def _write(
        self,
        prompts: Sequence[EncodedPrompt],
        media: Sequence[Mapping[str, Any]],
        numbers: Sequence[int],
        n: int,
        temperature: float,
    ) -> list[list[Completion]]:
        self.processes.at("writing the replies")
        sampling = SamplingParams(
            temperature=temperature,
            top_p=self.config.top_p,
            top_k=self.config.top_k,
            max_tokens=self.config.max_completion_length,
            stop=tuple(self.config.stop_words),
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

    def _note_time(
        self, completions: Sequence[Sequence[Completion]], writing_s: float, scoring_s: float
    ) -> None:
        main = float(self.processes.is_main)
        tokens = sum(len(reply.token_ids) for written in completions for reply in written)
        self.metrics.add(
            {
                "rollout_s": (writing_s * main, main),
                "scoring_s": (scoring_s * main, main),
                "rollout_tokens_per_s": (tokens / max(writing_s, 1e-9), main),
            }
        )
