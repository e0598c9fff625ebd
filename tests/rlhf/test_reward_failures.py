"""Rewards from files, and each way in which a reward can fail: one message that names it."""

import asyncio
import math
import threading
import time
from pathlib import Path

import pytest
import torch

from swiftrl.core.errors import ConfigError, RewardError
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.load import load_rewards, weights_of
from swiftrl.rlhf.rewards.reward import Reward, RowFault
from swiftrl.rlhf.rewards.scoring import score

PROMPTS = [[{"role": "user", "content": text}] for text in ("one", "二")]
COMPLETIONS = ["1", "二"]


def scored(*functions, weights=None, columns=None, timeout_s=5.0, origins=None):
    rewards = [Reward(function.__name__, function) for function in functions]
    weights = weights or [1.0] * len(functions)
    return score(
        rewards, weights, PROMPTS, COMPLETIONS, columns or {}, timeout_s=timeout_s, origins=origins
    )


def returning(value):
    def reward(completions, **columns):
        return value

    return reward


def test_values_and_weighted_sums():
    def first(completions, **columns):
        return [1, None]

    def second(prompts, completions, **columns):
        return [True, None]

    def third(completions):
        return [0.5, 2.0]

    scores = scored(first, second, third, weights=[1.0, 10.0, 2.0])
    assert scores.names == ("first", "second", "third")
    assert scores.values.dtype == scores.total.dtype == torch.float32
    nan = math.nan
    expected = torch.tensor([[1, 1, 0.5], [nan, nan, 2.0]])
    torch.testing.assert_close(scores.values, expected, equal_nan=True)
    assert scores.total.tolist() == [1 + 10 + 1, 4]


def test_what_no_reward_scores_has_no_total():
    total = scored(returning([0.0, None])).total
    assert total[0] == 0 and total[1].isnan()


def test_no_completions():
    scores = score([Reward("a", returning(3))], [1.0], [], [], {}, timeout_s=1)
    assert scores.values.shape == (0, 1) and scores.total.shape == (0,)


def test_functions_get_what_they_ask_for():
    seen = {}

    def named(completions, level, prompts=None, absent="default"):
        seen["named"] = (prompts, completions, level, absent)
        return [0, 0]

    def anything(**columns):
        seen["anything"] = columns
        return [0, 0]

    columns = {"level": (1, 2), "completion_ids": [[1], [2, 3]]}
    scored(named, anything, columns=columns)
    assert seen["named"] == (PROMPTS, COMPLETIONS, [1, 2], "default")
    assert seen["anything"].keys() == {
        "prompts", "completions", "level", "completion_ids", "response_token_ids",
    }  # fmt: skip


def test_one_reward_cannot_change_the_lists_of_another():
    def clears(completions, **columns):
        completions.clear()
        columns["level"].clear()
        return [0, 0]

    def counts(completions, level):
        time.sleep(0.05)
        return [len(completions), len(level)]

    assert scored(clears, counts, columns={"level": [1, 2]}).values[:, 1].tolist() == [2, 2]


def test_rewards_run_at_the_same_time():
    """Each waits for the other: one after the other, they would never meet."""
    barrier = threading.Barrier(2, timeout=5)

    def left(completions):
        barrier.wait()
        return [0, 0]

    def right(completions):
        barrier.wait()
        return [1, 1]

    assert scored(left, right).total.tolist() == [1, 1]


def test_async_rewards_share_a_loop():
    met = []

    async def left(completions):
        met.append(asyncio.get_running_loop())
        await asyncio.sleep(0.01)
        return [len(met), None]

    async def right(completions):
        met.append(asyncio.get_running_loop())
        await asyncio.sleep(0.01)
        return [len(met), None]

    class Judge:
        async def __call__(self, completions, **columns):
            met.append(asyncio.get_running_loop())
            await asyncio.sleep(0.01)
            return [len(met), None]

    rewards = [Reward(str(i), f) for i, f in enumerate((left, right, Judge()))]
    scores = score(rewards, [1.0] * 3, PROMPTS, COMPLETIONS, {}, timeout_s=5)
    assert scores.values[0].tolist() == [3, 3, 3]
    assert len(set(met)) == 1


def test_a_plain_function_may_return_an_awaitable_or_run_a_loop():
    async def later(value):
        await asyncio.sleep(0)
        return value

    def awaitable(completions):
        return later([1, 2])

    def own_loop(completions):
        return asyncio.run(later([3, 4]))

    assert scored(awaitable, own_loop).values.tolist() == [[1, 3], [2, 4]]


def from_another_thread(work):
    """Run `work` off the main thread and return what it raised."""
    caught = []

    def run():
        try:
            work()
        except RewardError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    return caught[0]


def hangs(completions):
    threading.Event().wait(30)


async def hangs_waiting(completions):
    await asyncio.sleep(30)


async def hangs_blocking(completions):
    threading.Event().wait(30)


@pytest.mark.parametrize("function", [hangs, hangs_waiting, hangs_blocking])
def test_a_reward_that_hangs_is_named_off_the_main_thread_too(function):
    def work():
        scored(returning([0, 0]), function, timeout_s=0.2)

    with pytest.raises(RewardError) as caught:
        work()
    for error in (from_another_thread(work), caught.value):
        assert str(error).startswith(
            f"reward '{function.__name__}': no result for 2 completions after 0.2 s "
            "(--reward_timeout)."
        )


def test_a_failure_is_not_waited_for():
    def fails(completions):
        raise KeyError("x")

    started = time.monotonic()
    with pytest.raises(RewardError, match="reward 'fails' raised KeyError: 'x'"):
        scored(hangs, fails, timeout_s=20)
    assert time.monotonic() - started < 5


def test_threads_that_a_hung_reward_leaves_behind_keep_no_process_alive():
    with pytest.raises(RewardError):
        scored(hangs, timeout_s=0.05)
    left = [t for t in threading.enumerate() if t.name == "swiftrl-reward"]
    assert left and all(thread.daemon for thread in left)


async def raises_async(completions):
    raise ValueError("broken")


def raises_quietly(completions):
    raise ValueError


def exits(completions):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises_async, "ValueError: broken"),
        (raises_quietly, "ValueError"),
        (exits, "SystemExit: 3"),
    ],
)
def test_a_reward_that_raises_is_named_with_its_line(function, message):
    with pytest.raises(RewardError) as caught:
        scored(function)
    line = function.__code__.co_firstlineno + 1
    assert str(caught.value).startswith(
        f"reward '{function.__name__}' raised {message} ({__file__}:{line}). "
    )
    assert type(caught.value.__cause__).__name__ == message.partition(":")[0]


EXPECTED = "Expected a list with a finite number, or None where there is no score, per completion."


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0], "reward 'reward' returned 1 values for 2 completions."),
        ([1.0] * 3, "reward 'reward' returned 3 values for 2 completions."),
        (None, "reward 'reward' returned None for 2 completions."),
        (1.0, "reward 'reward' returned 1.0 for 2 completions."),
        ("ab", "reward 'reward' returned str 'ab' for 2 completions."),
        ({0: 1.0, 1: 1.0}, "reward 'reward' returned dict {0: 1.0, 1: 1.0} for 2 completions."),
        ([0, math.nan], "rows.jsonl:8: reward 'reward' returned nan."),
        ([0, math.inf], "rows.jsonl:8: reward 'reward' returned inf."),
        ([0, 1e39], "rows.jsonl:8: reward 'reward' returned 1e+39."),
        ([0, 10**400], "rows.jsonl:8: reward 'reward' returned int 1000000"),
        (["1", 0], "rows.jsonl:7: reward 'reward' returned str '1'."),
        ([[1.0], 0], "rows.jsonl:7: reward 'reward' returned list [1.0]."),
        ([torch.tensor(1.0), 0], "rows.jsonl:7: reward 'reward' returned Tensor tensor(1.)."),
    ],
)
def test_what_is_no_list_of_numbers_is_refused(value, message):
    with pytest.raises(RewardError) as caught:
        scored(returning(value), origins=["rows.jsonl:7", "rows.jsonl:8"])
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(EXPECTED)


def test_without_origins_the_completion_is_counted():
    with pytest.raises(RewardError, match=r"^completion 2: reward 'reward' returned nan"):
        scored(returning([0, math.nan]))


def test_a_row_fault_names_the_row():
    def picky(completions):
        raise RowFault(1, "no unit.")

    with pytest.raises(RewardError, match=r"^rows.jsonl:8: reward 'picky': no unit\.$"):
        scored(picky, origins=["rows.jsonl:7", "rows.jsonl:8"])


def test_a_missing_column_is_named_with_those_there_are():
    def strict(completions, solution):
        return [0, 0]

    columns = {"solutions": [1, 2], "level": [1, 2], "completion_ids": [[1], [2]]}
    with pytest.raises(RewardError) as caught:
        scored(strict, columns=columns)
    assert str(caught.value) == (
        "reward 'strict' needs the column 'solution', which the data lack; their further columns: "
        "solutions, level. Did you mean 'solutions'? Add it to the data, or name the column that "
        'holds it: --columns \'{"YOUR_COLUMN": "solution"}\'.'
    )


def test_builtin_rewards_name_missing_columns_too():
    for name, wanted in [
        ("accuracy", "'solution' or 'answer'"),
        ("builtin", "'answer'"),
        ("soft_overlong", "'completion_ids'"),
    ]:
        settings = RewardConfig(
            reward_funcs=[name], accuracy_mode="exact", soft_max_length=8, soft_cache_length=4
        )
        with pytest.raises(RewardError, match=f"'{name}' needs the column {wanted}.*: none."):
            score(load_rewards(settings), [1.0], PROMPTS, COMPLETIONS, {}, timeout_s=5)


def test_a_column_may_not_hide_the_batch():
    with pytest.raises(RewardError, match="the data has a column 'completions'"):
        scored(returning([0, 0]), columns={"completions": ["a", "b"]})


FILE = """
runs = []
runs.append(1)

def length(completions, **columns):
    return [len(text) / len(runs) for text in completions]

async def slowly(prompts, completions, **columns):
    return [len(prompt) for prompt in prompts]

class Judge:
    def __call__(self, completions, **columns):
        return [7.0 for _ in completions]

judge = Judge()
number = 3

def positional(completions, /):
    return [0.0 for _ in completions]

def swift_only(texts):
    return [0.0 for _ in texts]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "奖励.py"
    path.write_text(FILE, "utf-8")
    return path


def test_functions_of_a_file(file):
    entries = [f"{file}:length", f"{file}:slowly", f"{file}:judge"]
    rewards = load_rewards(RewardConfig(reward_funcs=entries))
    rewards += load_rewards(RewardConfig(reward_funcs=[f"{file}:length"]))  # not run again
    assert [reward.name for reward in rewards] == ["length", "slowly", "judge", "length"]
    scores = score(rewards, [1.0] * 4, PROMPTS, ["abc", "二"], {}, timeout_s=5)
    assert scores.values.tolist() == [[3, 1, 7, 3], [1, 1, 7, 1]]


def test_functions_of_one_name_are_told_apart(file, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("def length(completions):\n    return [0 for _ in completions]\n")
    entries = [f"{file}:length", f"{other}:length", f"{file}:judge"]
    names = [r.name for r in load_rewards(RewardConfig(reward_funcs=entries))]
    assert names == [*entries[:2], "judge"]


def test_a_failing_function_of_a_file_is_named_with_the_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def bad(completions):\n    import json\n    return json.loads('{')\n")
    rewards = load_rewards(RewardConfig(reward_funcs=[f"{path}:bad"]))
    with pytest.raises(RewardError) as caught:
        score(rewards, [1.0], PROMPTS, COMPLETIONS, {}, timeout_s=5)
    start = f"reward 'bad' ({path}:bad) raised JSONDecodeError: "
    assert str(caught.value).startswith(start) and f"({path}:3)" in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("acuracy", "unknown reward 'acuracy'. Did you mean 'accuracy'? Known: accuracy, "),
        ("{file}", "{file}: which function of the file? Write {file}:function."),
        ("{file}x.py:length", "{file}x.py: expected an existing .py file."),
        ("{file}:lenght", "has no 'lenght'. Did you mean 'length'? Its functions: length, slowly"),
        ("{file}:Judge", "{file}:Judge: is a class; expected a function"),
        ("{file}:number", "{file}:number: is of type int; expected a function"),
        ("{file}:positional", "{file}:positional: is called by keyword; leave out the '/'."),
        ("{file}:swift_only", "has no parameter 'completions' (it has: texts)"),
    ],
)
def test_entries_that_cannot_be_loaded(file, entry, message):
    with pytest.raises(ConfigError) as caught:
        load_rewards(RewardConfig(reward_funcs=[entry.format(file=file)]))
    assert str(caught.value).startswith("--reward_funcs")
    assert message.format(file=file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", ":1: cannot be run: invalid syntax"),
        ("import nothing_like_this\n", ": cannot be run: No module named 'nothing_like_this'"),
        ("\nx = 1 / 0\n", ": cannot be run: ZeroDivisionError: division by zero ({file}:2)."),
    ],
)
def test_files_that_cannot_be_run(tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_rewards(RewardConfig(reward_funcs=[f"{path}:f"]))
    assert str(caught.value).startswith(f"--reward_funcs {path}{message.format(file=path)}")


def test_weights():
    assert weights_of(RewardConfig(reward_funcs=["a", "b"])) == [1.0, 1.0]
    assert weights_of(RewardConfig(reward_funcs=["a"], reward_weights=[0.5])) == [0.5]
    for weights, message in [
        ([1.0], "--reward_weights has 1 numbers for 2 rewards (format repetition); give one each."),
        ([1.0, math.inf], "--reward_weights inf: expected a finite number."),
    ]:
        settings = RewardConfig(reward_funcs=["format", "repetition"], reward_weights=weights)
        with pytest.raises(ConfigError) as caught:
            load_rewards(settings)
        assert str(caught.value) == message


def test_settings_that_no_reward_can_have():
    with pytest.raises(ConfigError, match="format is named 2 times; name it once"):
        load_rewards(RewardConfig(reward_funcs=["format", "format"]))
    with pytest.raises(ConfigError, match="--reward_timeout 0: expected seconds above 0"):
        load_rewards(RewardConfig(reward_funcs=["format"], reward_timeout=0))


def test_the_example_in_the_docs():
    path = Path(__file__).resolve().parents[2] / "docs" / "examples" / "rewards.py"
    rewards = load_rewards(RewardConfig(reward_funcs=[f"{path}:brief", f"{path}:near"]))
    completions = ["", "x" * 97 + " 5.", "x" * 300, "4"]
    columns = {"answer": ["4", 4, "4", "四"]}
    scores = score(rewards, [1.0, 1.0], PROMPTS * 2, completions, columns, timeout_s=5)
    # 100 of 200 characters; 5 is 1 from 4, so 1 / 2.
    assert scores.values[:3].tolist() == [[1, 0], [0.5, 0.5], [0, 0]]
    assert scores.values[3, 1].isnan()
