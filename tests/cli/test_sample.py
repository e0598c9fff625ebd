"""`swiftrl sample`: rows that training takes, and a stopped run that goes on."""

import json

import pytest

from swiftrl.cli.main import main
from swiftrl.rlhf import sample

BASE = [
    "sample", "--model", "builtin:tiny-instruct", "--dataset", "builtin:prompts#24",
    "--reward_funcs", "builtin", "--num_return_sequences", "4", "--max_new_tokens", "16",
    "--max_batch_size", "16",
]  # fmt: skip


def sampled(path, *words):
    code = main([*BASE, "--result_path", str(path), *words])
    return code, [json.loads(line) for line in path.read_text().splitlines()]


def test_pairs_are_what_dpo_takes(tmp_path, capsys):
    path = tmp_path / "pairs.jsonl"
    code, rows = sampled(path, "--keep", "pairs")
    assert code == 0 and len(rows) > 10
    for row in rows:
        assert row["messages"][-1]["role"] == "assistant"
        assert row["margin"] == pytest.approx(row["score"] - row["rejected_score"])
        assert row["margin"] > 0
        assert row["messages"][-1]["content"] != row["rejected_response"]
    assert "swiftrl rlhf --rlhf_type dpo" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    words = ["rlhf", "--model", "builtin:tiny-instruct", "--dataset", str(path), "--max_steps", "1"]
    assert main([*words, "--output_dir", str(tmp_path / "dpo")]) == 0


def test_the_best_of_more_replies_is_better(tmp_path):
    _, one = sampled(tmp_path / "one.jsonl", "--num_return_sequences", "1")
    _, four = sampled(tmp_path / "four.jsonl")
    mean = [sum(row["score"] for row in rows) / len(rows) for rows in (one, four)]
    assert mean[1] > mean[0] + 0.1
    assert len(one) == len(four) == 24


def test_labels_are_what_kto_takes(tmp_path):
    _, rows = sampled(tmp_path / "all.jsonl", "--keep", "all", "--reward_threshold", "0.5")
    assert {row["label"] for row in rows} == {True, False}
    assert all(row["label"] == (row["score"] >= 0.5) for row in rows)


def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    _, whole = sampled(tmp_path / "whole.jsonl")
    path, partial = tmp_path / "again.jsonl", tmp_path / ".again.jsonl.partial"
    real, calls = sample.score, []

    def fails_late(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(sample, "score", fails_late)
    assert main([*BASE, "--result_path", str(path)]) == 130
    assert partial.exists() and not path.exists()
    with partial.open("ab") as file:
        file.write(b'{"rows": [{"mess')  # as a kill leaves it
    monkeypatch.setattr(sample, "score", real)
    assert main([*BASE, "--result_path", str(path), "--seed", "1"]) == 2
    assert "is the unfinished result of another model, data or settings" in capsys.readouterr().err
    code, rows = sampled(path)
    assert code == 0 and "goes on behind the 16 prompts" in capsys.readouterr().out
    assert rows == whole and not partial.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reward_funcs", "nothing"], "unknown reward 'nothing'"),
        (["--keep", "pairs", "--num_return_sequences", "1"], "needs --num_return_sequences 2"),
        (["--temperature", "0"], "--temperature 0: all replies"),
        (["--easy_query_threshold", "0.5"], "give that too"),
        (["--easy_query_threshold", "2"], "expected a share"),
        (["--n_best_to_keep", "0"], "--n_best_to_keep 0: expected at least 1"),
        (["--reward_model", "builtin:tiny-instruct"], "is no reward model"),
    ],
)
def test_what_is_refused(words, message, tmp_path, capsys):
    assert main([*BASE, "--result_path", str(tmp_path / "out.jsonl"), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_existing_file_is_kept(tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text("mine\n")
    assert main([*BASE, "--result_path", str(path)]) == 2
    assert "--exist_ok true to replace it" in capsys.readouterr().err
    assert path.read_text() == "mine\n"


def test_nothing_kept_is_said(tmp_path, capsys):
    path = tmp_path / "none.jsonl"
    assert main([*BASE, "--result_path", str(path), "--reward_threshold", "99"]) == 2
    assert "no row was kept" in capsys.readouterr().err
