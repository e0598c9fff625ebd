"""From prompts to trees of scored replies: what the optimizer steps of online learning train on.

Shapes: P prompts of a rollout (in this process), G replies to each, B = P G, N tokens of replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swiftrl.core import log
from swiftrl.rlhf.answering import Answering
from swiftrl.rlhf.completions_file import CompletionsFile
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.groups import Answered, Group, batches_of, lines_of
from swiftrl.rlhf.held import Block, bare, from_tensors, to_tensors
from swiftrl.rlhf.judging import Judged, Rollout
from swiftrl.rlhf.online import OnlineAlgorithm, Reading
from swiftrl.rlhf.order import Feed, MicroBatch, share_of
from swiftrl.rlhf.prompts import Prompts
from swiftrl.rlhf.reading import check_gap, read_tokens
from swiftrl.rlhf.reuse import ONCE, Reuse, Update
from swiftrl.rlhf.rewards.scoring import Scores
from swiftrl.rlhf.rollout_metrics import length_sums, reward_sums, spread_sums

__all__ = ["Rollouts"]

FLAT_STEPS = 3
_OLD: frozenset[Reading] = frozenset({"old_logps"})


@dataclass
class Rollouts:
    """Feeds the trainer with what the policy writes, with the weights of the step or of one before.

    Attributes:
        answering: has prompts answered and scored.
        algorithm: judges the replies.
        seed: of the order of the prompts.
        shuffle: whether to permute the prompts each epoch.
        micro_batch_size: most replies of a forward pass.
        reuse: how often a rollout is trained on.
        endless: rollouts are whole however many rows the trainer asks for.
        completions: where replies are written; None for nowhere.
    """

    answering: Answering
    algorithm: OnlineAlgorithm[Any]
    seed: int
    shuffle: bool
    micro_batch_size: int
    reuse: Reuse = ONCE
    endless: bool = False
    completions: CompletionsFile | None = None
    _proved: bool = False
    _flat_steps: int = 0
    _block: Block | None = None
    _taken_up: list[Group] = field(default_factory=list)

    def __post_init__(self) -> None:
        prompts = self.answering.prompts
        self.num_rows = len(prompts)
        self.fingerprint = prompts.fingerprint
        self._order = Feed(prompts, seed=self.seed, shuffle=self.shuffle, micro_batch_size=1)

    @property
    def group_size(self) -> int:
        """Replies to a prompt."""
        return self.algorithm.config.num_generations

    @property
    def processes(self) -> Processes:
        """Those of the run."""
        return self.answering.processes

    def measure(self, held_out: Prompts) -> dict[str, float]:
        """Return the mean rewards of the likeliest reply to each held-out prompt."""
        return self.answering.measure(held_out)

    def take_metrics(self) -> dict[str, tuple[float, float]]:
        """Return the sums and counts since the last call."""
        found = self.answering.metrics.values
        self.answering.metrics.values = {}
        return found

    def steps(self, start: int, stop: int, global_batch: int) -> Iterator[list[MicroBatch]]:
        """Yield this process's micro-batches of each step; replies are written when asked for.

        Args:
            start: rows consumed before, a prompt counted once in every pass.
            stop: one past the last.
            global_batch: prompts of a step over all processes.
        """
        block = self._resumed(global_batch)
        done_prompts = block.first if block else start // self.reuse.iterations
        if self.completions is not None and self.processes.is_main:
            self.completions.forget(done_prompts + (block is not None))
        row = start
        while row < stop:
            if block is None:
                block = self._written(done_prompts, stop - row, row, global_batch)
            for update in block.left:
                batches = self._batches(block, update)
                block.done += 1
                self._block = block if block.left else None
                yield batches
                row += update.rows
                if row >= stop:
                    return
            done_prompts, block = block.first + block.prompts, None

    def steps_left(self, rows: int, global_batch: int) -> int:
        """Return how many steps the next `rows` rows make."""
        block = self._resumed(global_batch)
        return self.reuse.steps_left(rows, global_batch, block.left if block else None)

    def held(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold of the rollout at hand; every process calls this."""
        block = self._block
        if block is None:
            return {}
        everyone = self.processes.gather([bare(group) for group in block.groups])
        return to_tensors(block, [group for part in everyone for group in part])

    def take_up(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `held` gave.

        Raises:
            ConfigError: it has another number of replies to a prompt.
        """
        (first, prompts, done), self._taken_up = from_tensors(
            tensors, self.answering.prompts, self.group_size
        )
        self._block = Block(first, prompts, [], [], done)

    def _resumed(self, global_batch: int) -> Block | None:
        """Return the block at hand with this process's share of the groups taken up."""
        block = self._block
        if block is not None and not block.updates:
            block.updates = self.reuse.updates_of(block.prompts, global_batch)
            mine = set(self._share(block.first, block.prompts, global_batch))
            block.groups = [
                replace(group, media=self.answering.media(group.prompt))
                for group in self._taken_up
                if group.position in mine
            ]
            self._taken_up = []
        return block

    def _size(self, rows: int, global_batch: int) -> int:
        """Return how many prompts the next rollout answers, of so many rows to come."""
        whole = self.reuse.steps * global_batch
        return whole if self.endless else min(whole, rows // self.reuse.iterations)

    def _share(self, first: int, prompts: int, global_batch: int) -> list[int]:
        """Return this process's places in the stream: its share of each optimizer step."""
        replica, replicas = self.processes.replica, self.processes.replicas
        return [
            place
            for start in range(0, prompts, global_batch)
            for place in share_of(
                first + start, first + min(start + global_batch, prompts), replica, replicas
            )
        ]

    def _batches(self, block: Block, update: Update) -> list[MicroBatch]:
        if self.reuse.updates > 1:
            main = float(self.processes.is_main)
            self.answering.metrics.add({"staleness": (block.done * main, main)})
        return batches_of(
            block.groups_of(update),
            self.micro_batch_size,
            drop_cut=self.algorithm.config.overlong_filter,
            iteration=update.iteration,
        )

    def _written(self, first: int, rows: int, row: int, global_batch: int) -> Block:
        """Return a new rollout, judged.

        Args:
            first: prompts answered before.
            rows: to come.
            row: of the stream, where it begins.
            global_batch: prompts of an optimizer step.
        """
        prompts = self._size(rows, global_batch)
        answering = self.answering
        answering.engine.policy_version = row
        mine = self._share(first, prompts, global_batch)
        answered = answering.answer([self._order.index_at(place) for place in mine], mine)
        if self.algorithm.config.dynamic_sample:
            answered = answering.resample(answered, mine)
        groups = [Group.of(one, position) for one, position in zip(answered, mine, strict=True)]
        read = self._read(groups)
        if "chance" in self.algorithm.reads:
            read["chance"] = self._chance(answered, groups)
        judged, own = self._judge(answered, groups, read)
        groups = _with_values(groups, judged, own, read)
        self._note(answered, groups, first)
        return Block(first, prompts, groups, self.reuse.updates_of(prompts, global_batch))

    def _read(self, groups: Sequence[Group]) -> dict[str, Tensor]:
        """Return what models say of this process's tokens, [N] by name."""
        wanted = self.algorithm.reads
        if self.reuse.updates > 1 or not self._proved:
            wanted |= _OLD
        read: dict[str, Tensor] = {}
        if wanted:
            self.processes.at("reading the replies")
            batches = batches_of(groups, self.micro_batch_size, drop_cut=False)
            read = read_tokens(self.answering.policy, batches, self.processes, wanted)
        read["engine_logps"] = _joined(
            [array for group in groups for array in group.token_values["engine_logps"]]
        )
        if not self._proved:
            check_gap(read["old_logps"], read["engine_logps"], self.processes)
            self._proved = True
            if self.reuse.updates == 1 and "old_logps" not in self.algorithm.reads:
                del read["old_logps"]
        return read

    def _chance(self, answered: Sequence[Answered], groups: Sequence[Group]) -> Tensor:
        """Return [N] numbers from 0 to 1."""
        return _joined(
            [
                np.random.default_rng([self.seed, one.number, sample]).random(
                    len(reply), np.float32
                )
                for one, group in zip(answered, groups, strict=True)
                for sample, reply in enumerate(group.replies)
            ]
        )

    def _judge(
        self, answered: Sequence[Answered], groups: Sequence[Group], read: Mapping[str, Tensor]
    ) -> tuple[Judged, tuple[slice, slice]]:
        """Return the judgement on the whole rollout, and which replies and tokens are own."""
        greedy = self.answering.greedy(answered) if self.algorithm.greedy else None
        lengths = [len(reply) for group in groups for reply in group.replies]
        mine = {
            "total": [one.total for one in answered],
            "values": [one.values for one in answered],
            "lengths": lengths,
            "cut": [cut for group in groups for cut in group.cut],
            "greedy": greedy,
            "read": dict(read),
        }
        everyone = self.processes.gather(mine)
        rollout = self._whole(everyone)
        judged = self.algorithm.judge(rollout)
        self._warn_of_flat_steps(bool(judged.sequence_values["advantages"].any()))
        if self.processes.is_main:
            self.answering.metrics.add(judged.metrics)
        before = everyone[: self.processes.replica]
        replies = sum(len(part["lengths"]) for part in before)
        tokens = sum(sum(part["lengths"]) for part in before)
        return judged, (
            slice(replies, replies + len(lengths)),
            slice(tokens, tokens + sum(lengths)),
        )

    def _whole(self, everyone: Sequence[Mapping[str, Any]]) -> Rollout:
        """Join all processes' parts of a rollout, one's behind the other's."""
        answering = self.answering
        total = torch.cat([torch.zeros(0), *(t for part in everyone for t in part["total"])])
        lengths = torch.tensor([n for part in everyone for n in part["lengths"]])
        rewards = len(answering.rewards)
        greedy = [part["greedy"] for part in everyone if part["greedy"] is not None]
        return Rollout(
            rewards_B=total,
            group_index_B=torch.arange(len(total)) // self.group_size,
            lengths_B=lengths,
            cut_B=torch.tensor([cut for part in everyone for cut in part["cut"]]),
            rewards_BF=torch.cat(
                [torch.zeros(0, rewards), *(t for part in everyone for t in part["values"])]
            ),
            reward_weights_F=torch.tensor(answering.reward_weights, dtype=torch.float32),
            greedy_P=torch.cat(greedy) if greedy else None,
            sequence_index_N=torch.repeat_interleave(torch.arange(len(total)), lengths),
            token_values={
                name: torch.cat([part["read"][name] for part in everyone])
                for name in everyone[0]["read"]
            },
        )

    def _warn_of_flat_steps(self, taught: bool) -> None:
        self._flat_steps = 0 if taught else self._flat_steps + 1
        if self._flat_steps == FLAT_STEPS and self.processes.is_main:
            log.warn(
                f"in {FLAT_STEPS} steps in a row every group's replies scored alike, so that "
                "nothing was learnt. Look at completions.jsonl: is the reward what you meant? "
                "Harder or easier prompts, a higher --temperature or more --num_generations help."
            )

    def _note(self, answered: Sequence[Answered], groups: Sequence[Group], first: int) -> None:
        """Take up metrics, and append the replies to completions.jsonl."""
        names = tuple(reward.name for reward in self.answering.rewards)
        scores = Scores(
            names,
            torch.cat([torch.zeros(0, len(names)), *(one.values for one in answered)]),
            torch.cat([torch.zeros(0), *(one.total for one in answered)]),
        )
        metrics = self.answering.metrics
        metrics.add(reward_sums(scores))
        metrics.add(length_sums([one.completions for one in answered]))
        if self.group_size > 1:
            metrics.add(spread_sums(scores.total.reshape(-1, self.group_size)))
        if self.completions is None:
            return
        rows = [
            (
                group.position,
                list(lines_of(one, group.sequence_values["advantages"], names, first)),
            )
            for one, group in zip(answered, groups, strict=True)
        ]
        everyone = [row for part in self.processes.gather(rows) for row in part]
        if self.processes.is_main:
            in_order = sorted(everyone, key=lambda row: row[0])
            self.completions.append([line for _, lines in in_order for line in lines])


def _joined(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *arrays]))


def _with_values(
    groups: Sequence[Group],
    judged: Judged,
    own: tuple[slice, slice],
    read: Mapping[str, Tensor],
) -> list[Group]:
    """Return the groups with what was read and judged of their replies and tokens."""
    by_sequence = {name: v[own[0]].tolist() for name, v in judged.sequence_values.items()}
    by_token = {**read, **{name: v[own[1]] for name, v in judged.token_values.items()}}
    lengths = [len(reply) for group in groups for reply in group.replies]
    split = {
        name: [part.float().numpy() for part in values.split(lengths)]
        for name, values in by_token.items()
    }
    result, at = [], 0
    for group in groups:
        part = slice(at, at + len(group.replies))
        at = part.stop
        result.append(
            replace(
                group,
                sequence_values={name: values[part] for name, values in by_sequence.items()},
                token_values={name: values[part] for name, values in split.items()},
            )
        )
    return result
