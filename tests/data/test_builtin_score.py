"""The judge of the built-in tasks."""

import random
from itertools import islice
from pathlib import Path

import pytest

from swiftrl.core.errors import DataError
from swiftrl.data.builtin.score import score


@pytest.fixture
def builtin_scripts(monkeypatch):
    """Let a test import the scripts that make the built-in models and data."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


def row(question, answer, style="plain", language="en"):
    return {
        "messages": [{"role": "user", "content": question}],
        "answer": answer,
        "style": style,
        "language": language,
    }


CASES = [
    # question, answer, style, language, reply, expected
    ("What is 12 + 35?", "47", "plain", "en", "12 + 35 = 47.", 1.0),
    ("What is 12 + 35?", "47", "plain", "en", "The answer is 48.", 0.4),
    ("What is 12 + 35?", "47", "plain", "en", "47 or 48.", 0.4),
    ("What is 12 + 35?", "47", "plain", "en", "12 + 35 = 47. Or is it 48?", 0.4),
    ("Answer tersely: What is 12 + 35?", "47", "terse", "en", "47", 1.0),
    ("Answer tersely: What is 12 + 35?", "47", "terse", "en", "The answer is 47.", 0.6),
    ("What is 1 + 1? Please be polite.", "2", "polite", "en", "Certainly! 1 + 1 = 2.", 1.0),
    ("What is 1 + 1? Please be polite.", "2", "polite", "en", "1 + 1 = 2.", 0.6),
    ("What is 1 + 1? Please be polite.", "2", "polite", "en", "2, obviously. You are welcome", 0.0),
    ("What is 1 + 1? Please be polite.", "2", "polite", "en", "With pleasure! It is 3.", 0.4),
    ("Name the capital of France.", "Paris", "plain", "en", "The capital of France is Paris.", 1.0),
    ("Name the capital of France.", "Paris", "plain", "en", "Paris is nice.", 0.4),
    ("Name the capital of France.", "Paris", "plain", "en", "", 0.0),
    ("Name the capital of France.", "Paris", "plain", "en", "Paris. " + "Well, well. " * 6, 0.6),
    ("Name the capital of France.", "Paris", "plain", "en", "Paris. " + "Well, well. " * 60, 0.0),
    ("Sort 3 1 2.", "1 2 3", "plain", "en", "The result is 1 2 3.", 1.0),
    ("Sort 3 1 2.", "1 2 3", "terse", "en", "1, 2, 3", 1.0),
    ("Sort 3 1 2.", "1 2 3", "plain", "en", "The result is 3 1 2 3.", 0.4),
    ("Reverse cat dog.", "dog cat", "terse", "en", "cat dog cat", 0.0),
    ('Say "cat" 2 times.', "cat cat", "plain", "en", "The result is cat cat cat.", 0.4),
    (
        "请礼貌地回答：法国的首都是哪里？",
        "巴黎",
        "polite",
        "zh",
        "当然可以！法国的首都是巴黎。",
        1.0,
    ),
    ("请礼貌地回答：法国的首都是哪里？", "巴黎", "polite", "zh", "法国的首都是巴黎。", 0.6),
    ("法国的首都是哪里？只说答案。", "巴黎", "terse", "zh", "巴黎", 1.0),
    ("法国的首都是哪里？只说答案。", "巴黎", "terse", "zh", "答案是巴黎。", 0.6),
    ("请计算 12 + 35。", "47", "plain", "zh", "答案是47。", 1.0),
    ("请客气一点。75 - 9 = ?", "66", "polite", "zh", "好的，很乐意！75 - 9 = 66。", 1.0),
    ("倒着写：手 米饭 山", "山 米饭 手", "plain", "zh", "答案是山 米饭 手。", 1.0),
    ("倒着写：手 米饭 山", "山 米饭 手", "plain", "zh", "答案是手 山 米饭 手。", 0.4),
    ("鸟用英语怎么说？", "bird", "plain", "zh", "鸟的意思是bird。", 1.0),
]


@pytest.mark.parametrize(("question", "answer", "style", "language", "reply", "expected"), CASES)
def test_score(question, answer, style, language, reply, expected):
    assert score(row(question, answer, style, language), reply) == pytest.approx(expected)


def test_a_row_without_the_columns_is_refused():
    with pytest.raises(DataError, match="missing: style, language"):
        score({"answer": "47"}, "47")


def test_chosen_replies_score_full_and_rejected_ones_less(builtin_scripts):
    from scripts.builtin import corpus, pictures

    for source in (corpus, pictures):
        for pair in islice(source.preferences(random.Random("judge")), 500):
            chosen = pair["messages"][-1]["content"]
            assert score(pair, chosen) == pytest.approx(1.0), pair
            assert score(pair, pair["rejected_response"]) < 0.99, pair
