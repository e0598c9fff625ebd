"""The marks around a model's thoughts and its answer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MARKS", "Marks"]


@dataclass(frozen=True, slots=True)
class Marks:
    """How a model sets its thoughts apart.

    Attributes:
        open: text before the thoughts.
        close: text behind them.
        frames: texts around the answer that are no part of it.
        anywhere: thoughts may follow parts of the answer; else they only come first.
    """

    open: str
    close: str
    frames: tuple[str, ...] = ()
    anywhere: bool = False


MARKS: dict[str, Marks] = {
    "think": Marks("<think>", "</think>"),
    "think_answer": Marks("<think>", "</think>", frames=("<answer>", "</answer>")),
    "think_response": Marks("<think>", "</think>", frames=("<response>", "</response>")),
    "thought": Marks("<thought>", "</thought>"),
    "mistral": Marks("[THINK]", "[/THINK]"),
    "harmony": Marks(
        "<|channel|>analysis<|message|>",
        "<|end|>",
        frames=(
            "<|start|>assistant",
            "<|channel|>final<|message|>",
            "<|channel|>commentary<|message|>",
            "<|end|>",
            "<|return|>",
            "<|call|>",
        ),
        anywhere=True,
    ),
    "gemma4": Marks("<|channel>thought", "<channel|>", anywhere=True),
    "granite": Marks("Here is my thought process:", "Here is my response:"),
    "cohere": Marks(
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        frames=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
        anywhere=True,
    ),
    "seed": Marks("<seed:think>", "</seed:think>"),
    "minimax_m3": Marks("<mm:think>", "</mm:think>"),
    "hunyuan3": Marks("<think:opensource>", "</think:opensource>"),
    "kimi_k3": Marks(
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        frames=(
            "<|open|>response<|sep|>",
            "<|close|>response<|sep|>",
            "<|close|>message<|sep|>",
            "<|end_of_msg|>",
        ),
        anywhere=True,
    ),
    "apertus": Marks("<|inner_prefix|>", "<|inner_suffix|>", anywhere=True),
    "muse": Marks(" to=self<|message|>", "<|eom|>", frames=("<|start|>assistant",), anywhere=True),
    "minicpm3": Marks("<|thought_start|>", "<|thought_end|>"),
}
