"""benchmarks/pairs.py: its folds keep prompts together, and its judges can tell."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    kept = list(sys.path)
    yield importlib.import_module("benchmarks.pairs")
    sys.path[:] = kept


def pair(prompt, chosen, rejected):
    return {"prompt": prompt, "chosen": {"value": chosen}, "rejected": {"value": rejected}}


def test_rows_of_one_prompt_share_a_fold_and_first_rows_are_never_held_out(bench):
    rows = [pair(f"question {n % 20}", f"a{n}", f"b{n}") for n in range(40)]
    fold_of = bench.folds(rows, 5, 6, 0)
    assert fold_of[:20] == fold_of[20:]
    assert fold_of[:6] == [-1] * 6
    assert set(fold_of[6:20]) == {0, 1, 2, 3, 4}
    assert fold_of != bench.folds(rows, 5, 6, 1)


def test_judges_see_a_word_and_not_a_coin(bench):
    """The chosen reply always says "please"; which one is longer alternates."""
    rows = [
        pair(str(n), "please " + "go on " * (n % 2), "now " + "go on " * ((n + 1) % 2))
        for n in range(100)
    ]
    told = bench.signal(rows, bench.folds(rows, 5, 0, 0))
    assert told.endswith("bag of words 1.000")
    assert "length alone 1.000" not in told


def test_jsonl_and_lists_are_read_alike(bench, tmp_path):
    rows = [pair("a", "b", "c"), pair("d", "e", "f")]
    lines = bench.write(tmp_path / "rows.jsonl", rows)
    listed = tmp_path / "rows.json"
    listed.write_text(bench.json.dumps(rows))
    assert bench.read(lines) == bench.read(listed) == rows
