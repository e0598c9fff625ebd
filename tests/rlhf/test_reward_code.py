"""The reward of programs, and the limits that they run under."""

import os
import sys
import time

import pytest

from swiftrl.checking.sandbox import Limits, network_is_cut, run_program
from swiftrl.core.errors import ConfigError, RewardError
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.functions.code import passed_share, program_in
from swiftrl.rlhf.rewards.load import load_rewards
from swiftrl.rlhf.rewards.scoring import score

unix = pytest.mark.skipif(os.name != "posix", reason="limits of Unix")
LIMITS = Limits(time_s=5)


def test_the_program_is_the_last_block_of_the_answer():
    assert program_in("a\n```python\nx = 1\n```\nb\n```\ny = 2\n```") == "y = 2\n"
    assert program_in("<think>```python\nx\n```</think>y = 2") == "y = 2"
    assert program_in("<think>```python\nx\n```") == ""


DOUBLE = "n = int(input())\nprint(n * 2)"


def test_cases_count_by_share():
    """2 -> 4 and 3 -> 6 pass; -1 -> 2 does not; words are compared by line, ends stripped."""
    cases = [
        {"input": "2\n", "output": "4"},
        {"input": "3", "output": " 6\n\n"},
        {"input": "-1", "output": "2"},
        {"input": "x", "output": ""},  # the program fails
    ]
    assert passed_share(DOUBLE, cases, LIMITS) == 0.5


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("def f(x):\n    return x + 1", 1),
        ("def f(x):\n    return x", 0),
        ("def f(x:", 0),
        ("import sys\nsys.exit(0)", 0),
        ("import os\nos._exit(0)", 0),
        ("", 0),
        ("f = lambda x: x + 1\nprint('你好')", 1),
    ],
)
def test_statements_must_run_to_their_end(program, value):
    assert passed_share(program, "assert f(1) == 2", LIMITS) == value


def test_the_reward():
    rewards = load_rewards(RewardConfig(reward_funcs=["code"]))
    right, wrong = (
        "```python\ndef f():\n    return 3\n```",
        "```python\ndef f():\n    return 4\n```",
    )
    columns = {"tests": ["assert f() == 3"] * 2 + [None, [{"input": "", "output": ""}]]}
    prompts = [[]] * 4
    values = score(
        rewards, [1.0], prompts, [right, wrong, right, right], columns, timeout_s=60
    ).values[:, 0]
    assert values[[0, 1, 3]].tolist() == [1, 0, 1] and values[2].isnan()
    with pytest.raises(RewardError, match=r"^completion 1: reward 'code': 'tests' is no text"):
        score(rewards, [1.0], prompts, [right] * 4, {"tests": [[{"input": 1}]] * 4}, timeout_s=9)
    with pytest.raises(RewardError, match="needs the column 'tests'"):
        score(rewards, [1.0], prompts, [right] * 4, {}, timeout_s=9)


def test_settings_that_do_not_fit():
    with pytest.raises(ConfigError, match="--code_timeout 0: expected seconds above 0"):
        load_rewards(RewardConfig(reward_funcs=["code"], code_timeout=0))


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows know no such limit")
@pytest.mark.parametrize("settings", [{"code_memory": 4}, {"code_timeout": 0.001}])
def test_limits_under_which_nothing_runs_are_refused(settings):
    with pytest.raises(ConfigError, match="a program that only prints does not run within"):
        load_rewards(RewardConfig(reward_funcs=["code"], **settings))


def test_time_is_limited():
    started = time.monotonic()
    assert run_program("while True: pass", limits=Limits(time_s=0.5)).exit_code is None
    assert time.monotonic() - started < 5


@unix
def test_children_end_with_the_program(tmp_path):
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(1); open({str(mark)!r}, 'w')"
    program = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])"
    assert run_program(program, limits=LIMITS).exit_code == 0
    time.sleep(1.5)
    assert not mark.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows know no such limit")
def test_memory_is_limited():
    program = "x = bytearray(400 << 20)\nprint('had it')"
    assert run_program(program, limits=Limits(5, 1024)).stdout == "had it\n"
    outcome = run_program(program, limits=Limits(5, 256))
    assert outcome.exit_code == 1 and "MemoryError" in outcome.stderr


@unix
def test_output_is_limited():
    outcome = run_program("print('x' * (3 << 20))", limits=LIMITS)
    assert outcome.exit_code != 0 and len(outcome.stdout) <= 1 << 20


def test_the_folder_is_its_own_and_empty():
    program = "import os\nprint(os.listdir('.'))\nopen('a', 'w').write('b')\nprint(os.getcwd())"
    first, second = (run_program(program, limits=LIMITS).stdout.splitlines() for _ in range(2))
    assert first[0] == second[0] == "[]"
    assert first[1] != second[1]
    assert not os.path.exists(first[1])


def test_the_environment_is_not_handed_on(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "secret")
    (tmp_path / "random.py").write_text("raise SystemExit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    outcome = run_program("import os, random\nprint(os.environ.get('HF_TOKEN'))", limits=LIMITS)
    assert (outcome.stdout, outcome.exit_code) == ("None\n", 0)


@unix
def test_the_network_is_cut_where_the_system_lets_it(unused_port):
    if not network_is_cut():
        pytest.skip("this system forbids network namespaces to users")
    program = f"import socket\nsocket.create_connection(('127.0.0.1', {unused_port}), 1)"
    assert run_program(program, limits=LIMITS).exit_code == 1


@pytest.fixture
def unused_port():
    """A port on which this process, not the sandbox's, is listening."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
