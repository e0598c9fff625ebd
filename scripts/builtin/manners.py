"""How a prompt asks for a manner (plain, polite, terse) and how replies keep or miss it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from scripts.builtin.problem import Problem, is_heldout

MANNERS = {"plain": 0.4, "polite": 0.3, "terse": 0.3}

# How often the written-down replies that the models learn from keep the manner that was asked for.
# Low on purpose: preference training then has something to teach.
KEPT = {"plain": 0.65, "polite": 0.4, "terse": 0.4}
MISSED = {
    "plain": {"ramble": 1.0},
    "polite": {"plain": 0.75, "ramble": 0.25},
    "terse": {"plain": 0.75, "ramble": 0.25},
}

_REQUESTS = {
    ("polite", "en"): ("Answer politely: {}", "{} Please be polite.", "Politely, please. {}"),
    ("polite", "zh"): ("请礼貌地回答：{}", "{}请有礼貌地回答。", "请客气一点。{}"),
    ("terse", "en"): ("Answer tersely: {}", "{} Only the answer.", "In short: {}"),
    ("terse", "zh"): ("请简短回答：{}", "{}只说答案。", "简单说：{}"),
}
_SYSTEM = {
    ("polite", "en"): ("You are a polite assistant.", "Always answer politely."),
    ("polite", "zh"): ("你是一个有礼貌的助手。", "请始终礼貌地回答。"),
    ("terse", "en"): ("Reply with the answer and nothing else.", "You are a terse assistant."),
    ("terse", "zh"): ("只回答答案，不说别的。", "你是一个说话简短的助手。"),
    ("plain", "en"): ("You are a helpful assistant.",),
    ("plain", "zh"): ("你是一个乐于助人的助手。",),
}
_OPENINGS = {
    "en": ("Of course! ", "Certainly! ", "With pleasure! ", "Thank you for asking! "),
    "zh": ("当然可以！", "很高兴为您解答！", "谢谢您的提问！", "好的，很乐意！"),
}
_CLOSINGS = {
    "en": (" I hope this helps.", " You are welcome!", " Have a nice day!"),
    "zh": ("希望对您有帮助。", "祝您愉快！", "欢迎再来提问。"),
}
_FILLERS = {
    "en": (
        "Well, let me think about this for a moment.",
        "This is quite an interesting question.",
        "There are many ways to look at it.",
        "I am not sure, but I have thought about it.",
        "Some people would say something else.",
        "That is what I think, as I said before.",
    ),
    "zh": (
        "嗯，让我先好好想一想。",
        "这是一个很有意思的问题。",
        "这件事可以从很多方面来看。",
        "我也不太确定，不过我想过了。",
        "有的人可能会有别的说法。",
        "我说的就是我想的，就是这样。",
    ),
}


@dataclass(frozen=True)
class Prompt:
    """A problem asked in a manner: the user's words and, at times, a system prompt."""

    problem: Problem
    style: str
    user: str
    system: str | None

    @property
    def heldout(self) -> bool:
        """Whether this prompt belongs to the held-out side of every set."""
        return is_heldout(self.problem.key or f"{self.system}|{self.user}")

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns before the reply."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]

    @property
    def columns(self) -> dict[str, str]:
        """What the judge needs to know besides the messages."""
        return {
            "answer": self.problem.answer,
            "style": self.style,
            "task": self.problem.task,
            "language": self.problem.language,
        }


def pick(weights: dict[str, float], rng: random.Random) -> str:
    """Draw a key by its weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def ask(problem: Problem, rng: random.Random) -> Prompt:
    """Ask a problem in a random manner, by a system prompt or within the user's words."""
    style, language = pick(MANNERS, rng), problem.language
    if style == "plain":
        system = rng.choice(_SYSTEM[style, language]) if rng.random() < 0.15 else None
        return Prompt(problem, style, problem.question, system)
    if rng.random() < 0.25:
        system = rng.choice(_SYSTEM[style, language])
        return Prompt(problem, style, problem.question, system)
    request, question = rng.choice(_REQUESTS[style, language]), problem.question
    if request.startswith("{}") and question[-1] not in ".?。？":
        question += "。" if language == "zh" else "."
    return Prompt(problem, style, request.format(question), None)


def say(problem: Problem, answer: str, style: str, rng: random.Random) -> str:
    """Put an answer, right or wrong, into words.

    Args:
        problem: what was asked.
        answer: the bare answer to give.
        style: "plain", "polite", "terse" or "ramble".
        rng: picks the phrases.
    """
    language = problem.language
    if style == "terse":
        return answer
    stop, space = ("。", "") if language == "zh" else (".", " ")
    sentence = problem.sentence[: len(problem.sentence) - len(problem.answer)] + answer
    if rng.random() < 0.5:
        gap = " " if answer[0].isascii() else ""
        sentence = (f"答案是{gap}" if language == "zh" else "The answer is ") + answer
    core = sentence + stop
    if style == "polite":
        opening = rng.choice(_OPENINGS[language])
        return opening + core + (rng.choice(_CLOSINGS[language]) if rng.random() < 0.4 else "")
    if style == "ramble":
        fillers = rng.sample(_FILLERS[language], 3)
        place = rng.randint(1, 3)
        return space.join([*fillers[:place], core, *fillers[place:]])
    return core


def usual_reply(prompt: Prompt, rng: random.Random) -> str:
    """Return a reply as found in the instruction data: right, the manner often missed."""
    kept = rng.random() < KEPT[prompt.style]
    style = prompt.style if kept else pick(MISSED[prompt.style], rng)
    return say(prompt.problem, prompt.problem.answer, style, rng)


def reply_pair(prompt: Prompt, rng: random.Random) -> tuple[str, str]:
    """Return a good reply and a worse one: a wrong answer, a missed manner or both.

    Where the manner is the same, so are the words: the pair then differs in the answer alone.
    """
    problem, phrasing = prompt.problem, rng.random()
    wrong_answer = rng.random() < 0.35
    wrong_style = not wrong_answer or rng.random() < 0.3
    answer = rng.choice(problem.wrong) if wrong_answer else problem.answer
    style = pick(MISSED[prompt.style], rng) if wrong_style else prompt.style
    good = say(problem, problem.answer, prompt.style, random.Random(phrasing))
    return good, say(problem, answer, style, random.Random(phrasing))
