"""The built-in rewards: values derived by hand."""

import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys

import pytest

from swiftrl.checking.answers import same_text
from swiftrl.checking.math_check import MathChecker
from swiftrl.core.errors import ConfigError, RewardError
from swiftrl.data.builtin.load import path
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.load import load_rewards
from swiftrl.rlhf.rewards.reward import REWARDS
from swiftrl.rlhf.rewards.scoring import columns_of, score

needs_math = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="math-verify is not installed"
)


def values(name, completions, *, prompts=None, max_completion_length=None, columns=None, **config):
    """Return what one reward gives, None as None."""
    settings = RewardConfig(reward_funcs=[name], **config)
    rewards = load_rewards(settings, max_completion_length=max_completion_length)
    prompts = prompts or [[{"role": "user", "content": "?"}]] * len(completions)
    scores = score(rewards, [1.0], prompts, completions, columns or {}, timeout_s=60)
    return [None if value != value else value for value in scores.values[:, 0].tolist()]


@pytest.mark.parametrize(
    ("reply", "reference", "same"),
    [
        ("42", "42", True),
        ("42.", "42", True),
        ("First 40, then 2.\n\n42\n", "42", True),
        ("42\nor so", "42", False),
        ("The answer is 42", "42", False),
        ("1,234", "1234", True),
        ("1,2", "12", False),
        ("5!", "5", False),
        ("120", "5!", False),
        ("Paris!", "paris", True),
        ("Paris.!!", "Paris", True),
        ("5!!", "5!", False),
        (".5", "5", False),
        ("-5", "5", False),
        ("<think>41?</think>\n42", "42", True),
        ("41?</think>42", "42", True),
        ("<think>42", "42", False),
        ("<think>no</think><answer> 42 </answer>", "42", True),
        ("<answer>42</answer> 41", "42", True),
        ("<answer>41</answer><answer>42</answer>", "42", True),
        ("<answer>41</answer>\n42", "42", False),
        ("42", "<answer>42</answer>", True),
        ("安静。", "安静", True),
        ("反义词如下：\n“安静”", "安静", True),
        ("答案是安静", "安静", False),
        ("４２", "42", True),
        ("", "42", False),
        ("\n \n", "42", False),
        ("", "?", False),
        ("?", "?", True),
        ("a b\nc d", "A  b\nc d", True),
    ],
)
def test_exact_comparison(reply, reference, same):
    assert same_text(reply, reference) is same


def test_accuracy_takes_solution_then_answer():
    completions = ["4", "5", "5"]
    columns = {"solution": ["4", 4, None], "answer": ["5", "5", "5"]}
    assert values("accuracy", completions, columns=columns, accuracy_mode="exact") == [1, 0, None]
    del columns["solution"]
    assert values("accuracy", completions, columns=columns, accuracy_mode="exact") == [0, 1, 1]


def test_a_reference_that_is_no_text_is_named():
    with pytest.raises(RewardError, match="completion 2: reward 'accuracy': 'answer' is a list"):
        columns = {"answer": ["1", ["1", "2"]]}
        values("accuracy", ["1", "1"], columns=columns, accuracy_mode="exact")


@needs_math
def test_mathematical_comparison():
    pairs = [
        (r"so \boxed{0.5}", r"\frac{1}{2}", 1),
        (r"<think>3?</think>It is $\frac12$.", "0.5", 1),
        ("<think>105</think>It is 106.", "105", 0),
        ("$1+x^2$", "$x^2+1$", 1),
        ("no idea", "105", 0),
        ("Paris", "Paris", None),
        ("答案是 $\\sqrt{4}$", "2", 1),
    ]
    completions, solutions, expected = zip(*pairs, strict=True)
    columns = {"solution": list(solutions)}
    assert values("accuracy", list(completions), columns=columns) == list(expected)


@needs_math
def test_a_comparison_that_never_ends_is_unscorable_and_the_next_one_goes_on():
    checker = MathChecker(limit_s=0.7)
    replies = ["1", "$9^{9^{9^{9}}}$", "2"]
    assert checker.check(replies, ["1", "1/2", "2"]) == [True, None, True]


@needs_math
@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="Windows has no alarms")
def test_a_comparison_that_never_ends_does_not_outlive_its_parent():
    """Nobody stops this worker: it stops itself."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "swiftrl.checking.math_worker", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with worker:
        assert worker.stdin is not None and worker.stdout is not None
        assert worker.stdout.readline() == '"ready"\n'
        worker.stdin.write('["$9^{9^{9^{9}}}$", "1/2"]\n')
        worker.stdin.flush()
        assert worker.wait(20) == -signal.SIGALRM


def test_without_math_verify_the_extra_is_named(monkeypatch):
    makers = {name: REWARDS.get(name) for name in ("accuracy", "cosine")}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, maker in makers.items():
        with pytest.raises(ConfigError, match=rf"{name} needs .*'swiftrl\[math\]'.* exact"):
            maker.make(RewardConfig(cosine_max_len=9))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>a</think><answer>b</answer>", 1),
        ("\n<think>\na\nb\n</think>\n\n<answer>b\n</answer>\n", 1),
        ("<think>想一想</think><answer>四</answer>", 1),
        ("<think></think><answer></answer>", 1),
        ("<think>a</think> well <answer>b</answer>", 0),
        ("<think>a</think><answer>b</answer> more", 0),
        ("so <think>a</think><answer>b</answer>", 0),
        ("<answer>b</answer><think>a</think>", 0),
        ("<think>a</think><answer>b", 0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0),
        ("", 0),
    ],
)
def test_format(text, value):
    assert values("format", [text]) == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>a</think>Action: search\nAction Input: x", 1),
        ("<think>a</think>\n\nAction: search\n\nAction Input: {\n}\n", 1),
        ("<think>查天气</think>\nAction: 天气\nAction Input: 北京", 1),
        ("<think>a</think>Action: search\nAction Input:", 1),
        ("<think>a</think>Action:\nAction Input: x", 0),
        ("<think>a</think>Action: search Action Input: x", 0),
        ("<think>a</think>I go.\nAction: search\nAction Input: x", 0),
        ("<think>a<think>b</think>Action: search\nAction Input: x", 0),
        ("<think>a</think>Action: search\nAction Input: x</think>", 0),
        ("Action: search\nAction Input: x", 0),
        ("", 0),
    ],
)
def test_react_format(text, value):
    assert values("react_format", [text]) == [value]


def test_repetition():
    """3-grams: `a b c a b c` has abc bca cab abc, 3 distinct of 4; a a a a has 1 of 2."""
    completions = [
        "a b c a b c",
        "A a a a",
        "a b",
        "a b c",
        "",
        "好好好好",
        "天地人天地人",
        "好 a 好a好a",
    ]
    expected = [-0.25, -0.5, 0, 0, 0, -0.5, -0.25, -0.5]
    assert values("repetition", completions) == expected
    # 1-grams: a b c a b c has 3 distinct of 6.
    halved = {"repetition_n_grams": 1, "repetition_max_penalty": -2.0}
    assert values("repetition", ["a b c a b c"], **halved) == [-1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repetition_n_grams": 0}, "--repetition_n_grams 0: expected 1 or more"),
        ({"repetition_max_penalty": 0.5}, "--repetition_max_penalty 0.5: expected 0 or less"),
    ],
)
def test_repetition_refuses(settings, message):
    with pytest.raises(ConfigError, match=message):
        values("repetition", ["a"], **settings)


def test_soft_overlong():
    """L_max 10, L_cache 4: nothing up to 6 tokens, a quarter more for each of the next four."""
    lengths = [0, 6, 7, 8, 10, 11, 99]
    columns = {"completion_ids": [[1] * n for n in lengths]}
    found = values(
        "soft_overlong", ["x"] * 7, columns=columns, max_completion_length=10, soft_cache_length=4
    )
    assert found == [0, 0, -0.25, -0.5, -1, -1, -1]


def test_soft_overlong_refuses():
    with pytest.raises(ConfigError, match="needs --soft_max_length"):
        values("soft_overlong", ["a"], soft_cache_length=4)
    with pytest.raises(ConfigError, match="needs --soft_cache_length"):
        values("soft_overlong", ["a"], soft_max_length=4)
    for cache in (0, 5):
        with pytest.raises(ConfigError, match=rf"--soft_cache_length {cache}: expected 1 up to"):
            values("soft_overlong", ["a"], soft_max_length=4, soft_cache_length=cache)


def test_cosine():
    """Right 1 -> 0.5 and wrong -0.5 -> 0 over 12 tokens.

    cos(pi/3) = 1/2 at 4 tokens: a quarter of the way; cos(pi/2) = 0 at 6: half of it.
    """
    lengths = [0, 4, 6, 12, 20]
    columns = {
        "completion_ids": [[1] * n for n in lengths * 2] + [[1]],
        "solution": ["4"] * 10 + [None],
    }
    found = values(
        "cosine",
        ["4"] * 5 + ["5"] * 5 + ["4"],
        columns=columns,
        accuracy_mode="exact",
        max_completion_length=12,
    )
    right, wrong = [1, 0.875, 0.75, 0.5, 0.5], [-0.5, -0.375, -0.25, 0, 0]
    assert found[:10] == pytest.approx(right + wrong, abs=1e-7)
    assert found[10] is None


def test_cosine_refuses():
    with pytest.raises(ConfigError, match="cosine needs --cosine_max_len"):
        values("cosine", ["4"], accuracy_mode="exact")
    with pytest.raises(ConfigError, match="--cosine_max_len -1: expected 1 or more"):
        values("cosine", ["4"], accuracy_mode="exact", cosine_max_len=-1)


def test_builtin_judges_the_builtin_rows():
    """0.6 for the answer, 0.4 for the manner; rows of other data are unscorable."""
    lines = path("prompts", "heldout").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    row = next(r for r in rows if r["style"] == "terse" and r["task"] == "add")
    columns = columns_of([row, row, row, {"answer": "4"}])
    completions = [row["answer"], f"The answer is {row['answer']}.", "the sky", "4"]
    prompts = [row["messages"]] * 4
    found = values("builtin", completions, prompts=prompts, columns=columns)
    assert found[:3] == pytest.approx([1, 0.6, 0]) and found[3] is None
    found = values("builtin_answer", completions, prompts=prompts, columns=columns)
    assert found == [1, 1, 0, 1]


def test_columns_of_rows_that_differ():
    assert columns_of([{"a": 1}, {"b": 2}]) == {"a": [1, None], "b": [None, 2]}


def test_every_registered_reward_is_described_and_made():
    settings = RewardConfig(accuracy_mode="exact", soft_cache_length=1)
    for _, maker in REWARDS.items():
        assert maker.summary.endswith(".")
    rewards = load_rewards(
        dataclasses.replace(settings, reward_funcs=REWARDS.names()),
        max_completion_length=8,
    )
    assert [reward.name for reward in rewards] == REWARDS.names()
