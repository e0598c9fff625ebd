"""A task put to a model: prompts, replies, scores."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from swiftrl.core import log
from swiftrl.eval.answering import Answerer, Ask, Kept, Weigh, ask_all
from swiftrl.eval.answers import LETTERS
from swiftrl.eval.choices import as_chat, judged
from swiftrl.eval.rows import Items
from swiftrl.eval.statistics import Estimate, estimate, majority, pass_at_k
from swiftrl.eval.task import Item, Scored, Task

__all__ = ["Options", "Sample", "TaskResult", "prompt_of", "run_task", "summarise"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a task is put.

    Attributes:
        few_shot: examples before each question; None: the task's own number.
        max_tokens: of a reply; None: the task's own.
        repeats: replies to each question.
        workers: replies judged at a time (programs are run).
    """

    few_shot: int | None = None
    max_tokens: int | None = None
    repeats: int = 1
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """A question, and what came of it.

    Attributes:
        key: the same for the same question, whoever answers it.
        item: the question.
        prompt: as put to the model, its examples included.
        replies: one for each try; the letter of the likeliest for choices by likelihood.
        scored: of each try.
        likelihoods: nats of each choice, where these were compared.
    """

    key: str
    item: Item
    prompt: str
    replies: tuple[str, ...]
    scored: tuple[Scored, ...]
    likelihoods: tuple[float, ...] = ()

    def value(self, metric: str) -> float | None:
        """Return the mean over the tries; None if none could be scored."""
        known = [v for one in self.scored if (v := one.values.get(metric)) is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class TaskResult:
    """What a task gave.

    Attributes:
        name: the task's.
        metric: the one in tables.
        few_shot: examples shown.
        estimates: metric -> estimate over all questions.
        groups: group -> estimate of the main metric, where there are several.
        unscored: questions that no try could be scored of.
        samples: all questions, in order.
    """

    name: str
    metric: str
    few_shot: int
    estimates: Mapping[str, Estimate]
    groups: Mapping[str, Estimate]
    unscored: int
    samples: tuple[Sample, ...] = field(repr=False)


def prompt_of(task: Task, item: Item, examples: Sequence[Item], *, chat: bool) -> str:
    """Return the text that is put to the model: preamble, examples, question."""
    shown = [f"{_asked(task, e, chat)}{task.between}{_shown(task, e, chat)}" for e in examples]
    return task.preamble * bool(shown or not chat) + task.separator.join(
        [*shown, _asked(task, item, chat)]
    )


def _asked(task: Task, item: Item, chat: bool) -> str:
    return as_chat(item) if chat and task.kind == "choice" else item.prompt


def _shown(task: Task, item: Item, chat: bool) -> str:
    if chat and task.kind == "choice" and item.gold is not None:
        return LETTERS[item.gold]
    return item.target


def run_task(
    name: str, task: Task, items: Items, answerer: Answerer, kept: Kept, options: Options
) -> TaskResult:
    """Ask every question, judge the replies and count.

    Args:
        name: the task's.
        task: what it is.
        items: questions and examples.
        answerer: who answers.
        kept: answers there are already, and where new ones go.
        options: how.

    Raises:
        SwiftRLError: a question cannot be answered.
    """
    few_shot = task.few_shot if options.few_shot is None else options.few_shot
    prompts = [
        prompt_of(task, item, items.shown_before(item, few_shot), chat=answerer.chat)
        for item in items.asked
    ]
    weighs = task.kind == "choice" and not answerer.chat
    put = _weigh if weighs else _ask
    samples = tuple(put(name, task, items.asked, prompts, answerer, kept, options))
    # A letter is right or wrong: likelihoods by length come without one.
    metric = "acc" if task.kind == "choice" and not weighs else task.metric
    return summarise(name, metric, few_shot, samples)


def _ask(
    name: str,
    task: Task,
    items: Sequence[Item],
    prompts: Sequence[str],
    answerer: Answerer,
    kept: Kept,
    options: Options,
) -> Iterator[Sample]:
    """Have replies written, and judged side by side."""
    # What ends raw text may well stand within a chat's reply.
    stop = () if answerer.chat else task.stop
    longest = options.max_tokens or task.max_tokens
    asks = [
        Ask(prompt, item.system, stop, longest, number * options.repeats + attempt)
        for number, (item, prompt) in enumerate(zip(items, prompts, strict=True))
        for attempt in range(options.repeats)
    ]
    replies = ask_all(
        asks, answerer.identity, answerer.replies, kept, answerer.at_once, *_bar(name, len(asks))
    )
    pairs = [(reply, items[index // options.repeats]) for index, reply in enumerate(replies)]
    with ThreadPoolExecutor(options.workers if task.runs_programs else 1) as pool:
        scored = list(pool.map(lambda pair: task.score(*pair), pairs))
    for number, (item, prompt) in enumerate(zip(items, prompts, strict=True)):
        own = slice(number * options.repeats, (number + 1) * options.repeats)
        yield Sample(_key(prompt, item), item, prompt, tuple(replies[own]), tuple(scored[own]))


def _weigh(
    name: str,
    task: Task,
    items: Sequence[Item],
    prompts: Sequence[str],
    answerer: Answerer,
    kept: Kept,
    options: Options,
) -> Iterator[Sample]:
    """Compare the likelihoods of the choices."""
    pairs: list[Weigh] = []
    for item, prompt in zip(items, prompts, strict=True):
        before = item.system + prompt.removesuffix(item.prompt)
        if item.contexts:
            pairs += [Weigh(before + context, " " + item.target) for context in item.contexts]
        else:
            pairs += [Weigh(before + item.prompt, task.between + c) for c in item.choices]
    values = iter(
        ask_all(
            pairs,
            answerer.identity,
            answerer.likelihoods,
            kept,
            answerer.at_once,
            *_bar(name, len(pairs)),
        )
    )
    for item, prompt in zip(items, prompts, strict=True):
        own = tuple(next(values) for _ in item.choices)
        scored = judged(item, own)
        yield Sample(_key(prompt, item), item, prompt, (scored.answer or "",), (scored,), own)


def _bar(name: str, total: int) -> tuple[Callable[[int], None]]:
    progress = log.Progress(name, total)

    def tell(done: int) -> None:
        progress.update(done)
        if done >= total:
            progress.close()

    return (tell,)


def _key(prompt: str, item: Item) -> str:
    text = "\0".join([item.system, prompt, *item.choices, str(item.reference), str(item.gold)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def summarise(name: str, metric: str, few_shot: int, samples: Sequence[Sample]) -> TaskResult:
    """Return means and errors over the questions, by metric and by group.

    With several tries of each question, pass@k (k = 1, and as many as there are tries) and
    maj@k come beside metrics of right and wrong.
    """
    columns: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, list[float]] = defaultdict(list)
    unscored = 0
    for sample in samples:
        main = sample.value(metric)
        if main is None:
            unscored += 1
            continue
        groups[sample.item.group].append(main)
        names = sample.scored[0].values
        for key in names:
            if (value := sample.value(key)) is not None:
                columns[key].append(value)
        for key, value in _of_tries(sample, metric).items():
            columns[key].append(value)
    estimates = {key: estimate(values) for key, values in columns.items()}
    parts = {group: estimate(values) for group, values in groups.items()} if len(groups) > 1 else {}
    return TaskResult(name, metric, few_shot, estimates, parts, unscored, tuple(samples))


def _of_tries(sample: Sample, metric: str) -> dict[str, float]:
    tries = len(sample.scored)
    values = [one.values.get(metric) for one in sample.scored]
    if tries == 1 or any(value not in (0.0, 1.0) for value in values):
        return {}
    known: list[Any] = values
    return {
        f"pass@{tries}": pass_at_k(int(sum(known)), tries, tries),
        f"maj@{tries}": majority([one.answer for one in sample.scored], known),
    }
