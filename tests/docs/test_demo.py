"""`make demo` in small: every step runs, and its statistics are right."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "demo.py"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    return module


def test_the_demo_runs(tmp_path):
    output = tmp_path / "out"
    words = ["--output", str(output), "--steps", "3", "--pairs", "96", "--prompts", "12"]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for expected in (
        "Before and after (3 steps of DPO)", "reward accuracy", "reward margin", "sign test",
        "greedy replies to 12 held-out prompts", "Curves:", "Merged model:", "swiftrl infer",
    ):  # fmt: skip
        assert expected in result.stdout
    lines = (output / "replies_after.jsonl").read_text().splitlines()
    assert all(json.loads(line)["response"] is not None for line in lines)
    assert len(lines) == 12
    assert (output / "merged" / "model.safetensors").is_file()
    assert list((output / "dpo" / "images").glob("*.png"))


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [(0, 0, 1.0), (5, 5, 1.0), (5, 0, 2 / 32), (6, 1, 2 * 8 / 128), (1, 6, 2 * 8 / 128)],
)
def test_sign_test(demo, wins, losses, expected):
    """Six of seven: 2 * (C(7,6) + C(7,7)) / 2^7 = 16 / 128."""
    assert demo.sign_test(wins, losses) == pytest.approx(expected)


def test_replies_are_judged_by_row(demo):
    row = {
        "messages": [{"role": "user", "content": "In short: What is 2 plus 3?"}],
        "answer": "5", "style": "terse", "language": "en",
    }  # fmt: skip
    before = [{**row, "response": "The answer is 5."}, {**row, "response": "5"}]
    after = [{**row, "response": "5"}, {**row, "response": "6"}]
    better, worse = demo.compare(before, after)
    assert (better.score_before, better.score_after) == (0.6, 1.0)
    assert worse.gain < 0
    assert demo.examples([better, worse]) == [better, worse]


def test_a_folder_of_others_is_left_alone(demo, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="no demo made it"):
        demo.prepare(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
