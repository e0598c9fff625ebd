"""The commands that do not train: template, data, infer."""

import io
import json
from pathlib import Path

import device
import pytest

from swiftrl.cli.main import main

MODEL = ["--model", "builtin:tiny-instruct"]


def pair(prompt: str, chosen: str, rejected: str) -> str:
    return json.dumps(
        {
            "messages": [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": chosen},
            ],
            "rejected_response": rejected,
        }
    )


@pytest.fixture
def pairs(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(pair("1 + 1?", "2", "3") + "\n" + pair("2 + 2?", "4", "5") + "\n")
    return file


def test_template_marks_what_trains(pairs, capsys):
    assert main(["template", *MODEL, "--data", str(pairs)]) == 0
    out = capsys.readouterr().out
    assert "pairs.jsonl:1 chosen" in out
    assert "«2<|im_end|>»" in out
    assert "«3<|im_end|>»" in out
    assert "terminators" in out


def test_template_as_json(pairs, capsys):
    assert main(["template", *MODEL, "--data", str(pairs), "--rows", "1", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    chosen = row["sequences"][0]
    trained = [token["text"] for token in chosen["tokens"] if token["weight"]]
    assert "".join(trained) == "2<|im_end|>"
    assert chosen["trained"] == len(trained)


def test_template_alone_says_what_the_model_wants(capsys):
    assert main(["template", *MODEL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "<|im_end|>" in found["stop_tokens"]


def test_data_check_of_good_rows(pairs, capsys):
    assert main(["data", "check", str(pairs), *MODEL, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert report["files"][0]["rows"] == 2
    assert report["files"][0]["kinds"] == {"preference": 2}
    assert report["files"][0]["trained_tokens"] == 8


def test_data_check_names_bad_rows(pairs, capsys):
    with open(pairs, "a", encoding="utf-8") as file:
        file.write('{"messages": "x"}\n{broken\n')
    assert main(["data", "check", str(pairs)]) == 2
    out = capsys.readouterr().out
    assert "pairs.jsonl:3" in out
    assert "pairs.jsonl:4" in out


@pytest.mark.parametrize("words", [["data"], ["data", "check"], ["data", "look", "x.jsonl"]])
def test_data_says_what_it_expects(words, capsys):
    assert main(words) == 2
    assert "swiftrl data check FILE" in capsys.readouterr().err


def test_infer_answers_one_message(capsys):
    assert main(["infer", *MODEL, *device.flags(), "--prompt", "Name the capital of Germany."]) == 0
    assert capsys.readouterr().out.strip()


def test_infer_talks_over_a_pipe(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("What is 2 + 3?\n/nope\n/exit\n"))
    assert main(["infer", *MODEL, "--max_new_tokens", "8"]) == 0
    assert "/nope: no such command" in capsys.readouterr().out


def test_infer_answers_a_data_set(tmp_path, capsys):
    result = tmp_path / "replies.jsonl"
    words = ["--val_dataset", "builtin:prompts:heldout#4", "--result_path", str(result)]
    assert main(["infer", *MODEL, *words, "--num_return_sequences", "2", "--temperature", "1"]) == 0
    lines = [json.loads(line) for line in result.read_text().splitlines()]
    assert len(lines) == 4
    assert all(len(line["responses"]) == 2 and line["answer"] for line in lines)


def test_infer_sets_bad_rows_aside_in_a_file(tmp_path, capsys):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"query": "What is 1 + 1?"}\n{"messages": "x"}\n')
    words = ["--dataset", str(file), "--result_path", str(tmp_path / "out.jsonl")]
    assert main(["infer", *MODEL, *words, "--strict", "false", "--max_new_tokens", "4"]) == 0
    aside = tmp_path / "out-rejected_rows.jsonl"
    assert json.loads(aside.read_text())["line"] == 2
    assert f"1 bad rows were set aside in {aside}; the first, {file}:2:" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_infer_says_when_the_disk_is_full(pairs, capsys):
    words = ["--dataset", str(pairs), "--result_path", "/dev/full", "--max_new_tokens", "4"]
    assert main(["infer", *MODEL, *words]) == 1
    assert "swiftrl: /dev/full: no space left on the device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("model.safetensors", [], "exists and is not empty"),
        ("notes.txt", ["--exist_ok", "true"], "holds no model (no config.json)"),
    ],
)
def test_merging_replaces_nothing_unasked(tmp_path, name, words, message, capsys):
    (tmp_path / name).write_text("mine")
    command = ["merge-lora", "--adapters", "x", "--output_dir", str(tmp_path), *words]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"


def test_infer_refuses_what_cannot_be_meant(capsys):
    assert main(["infer", *MODEL, "--prompt", "x", "--temperature", "-1"]) == 2
    assert "temperature -1.0: expected >= 0" in capsys.readouterr().err
    assert main(["infer"]) == 2
    assert "--model is missing" in capsys.readouterr().err
