"""What an evaluation task is, and the registry of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from swiftrl.core.registry import Registry

__all__ = ["TASKS", "Item", "Place", "Scored", "Task"]


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        prompt: what the model is asked.
        target: the reply that an example in the prompt shows.
        reference: what the scorer needs to know.
        choices: texts of a multiple-choice question, in order; empty where the reply is free.
        gold: number of the right choice, from 0.
        system: the system message, if the task's rows bring one.
        origin: file and line, for messages.
    """

    prompt: str
    target: str = ""
    reference: Any = None
    choices: tuple[str, ...] = ()
    listed: bool = False
    contexts: tuple[str, ...] = ()
    gold: int | None = None
    group: str = ""
    system: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a reply is worth.

    Attributes:
        values: metric -> value; None where the item cannot be scored.
        answer: what was taken out of the reply, for majorities and the log.
    """

    values: Mapping[str, float | None]
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task's rows are.

    Attributes:
        hf, ms: ids on Hugging Face and on ModelScope.
        subsets: configurations of it; each is a group of the report.
        split: whose rows are asked.
        few_shot_split: whose rows are the examples; None: the same split's others.
        builtin: name of the package's own rows, instead of a hub's.
    """

    hf: str = ""
    ms: str = ""
    subsets: tuple[str, ...] = ()
    split: str = "test"
    few_shot_split: str | None = None
    builtin: str = ""


@dataclass(frozen=True)
class Task:
    """An evaluation task: one file in `eval/tasks`.

    Attributes:
        summary: one line for people.
        source: paper or place that defines it.
        place: where the rows are.
        read: makes an item of a row; None leaves the row out. Raises KeyError or ValueError on a
            row that is not of this task.
        score: judges a reply to an item; for choices the reply is the letter of the one chosen.
        metric: the one in tables.
        kind: "generate" reads what the model writes; "choice" compares the likelihoods of the
            choices, or asks for a letter where the prompt is a chat.
        few_shot: examples before the question.
        separator: between examples, and before the question.
        between: between an example's question and its target.
        preamble: before the examples.
        stop: texts that end a raw reply (a chat's end by themselves).
        max_tokens: of a reply.
        metrics: all that `score` gives.
        runs_programs: the model's programs are run.
    needs: a module, and the extra that brings it, which scoring takes.
    """

    summary: str
    source: str
    place: Place
    read: Callable[[Mapping[str, Any]], Item | None]
    score: Callable[[str, Item], Scored]
    metric: str
    kind: Literal["generate", "choice"] = "generate"
    few_shot: int = 0
    separator: str = "\n\n"
    between: str = " "
    preamble: str = ""
    stop: tuple[str, ...] = ()
    max_tokens: int = 512
    runs_programs: bool = False
    needs: tuple[str, str] | None = None


TASKS: Registry[Task] = Registry("evaluation task", "swiftrl.eval.tasks", "TASK")
