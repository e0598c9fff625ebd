"""KTO and algorithms without a reference from the command line, and what is refused there."""

import json

import pytest

from swiftrl.cli.main import main


def rows(path, labels):
    with path.open("w") as file:
        for number, label in enumerate(labels):
            turns = [
                {"role": "user", "content": f"{number} + 1 = ?"},
                {"role": "assistant", "content": str(number + 1)},
            ]
            file.write(json.dumps({"messages": turns, "label": label}) + "\n")
    return str(path)


def train(*words, output):
    return main(
        ["rlhf", "--model", "builtin:tiny-instruct", "--output_dir", str(output),
         "--max_steps", "2", "--per_device_train_batch_size", "2",
         "--gradient_accumulation_steps", "2", *words]
    )  # fmt: skip


def test_kto_trains_on_labelled_rows(tmp_path, capsys):
    assert train("--rlhf_type", "kto", "--dataset", "builtin:labelled#16", output=tmp_path) == 0
    assert "accuracies" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([True] * 5, "all 5 training rows are labelled true; --rlhf_type kto needs good and bad"),
        ([False] * 5, "all 5 training rows are labelled false; --rlhf_type kto needs good and"),
    ],
)
def test_one_label_is_refused(labels, message, tmp_path, capsys):
    data = rows(tmp_path / "rows.jsonl", labels)
    assert train("--rlhf_type", "kto", "--dataset", data, output=tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_labelled_rows_given_to_dpo_name_kto(tmp_path, capsys):
    data = rows(tmp_path / "rows.jsonl", [True, False])
    assert train("--rlhf_type", "dpo", "--dataset", data, output=tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"{data}:1: " in error
    assert "For replies labelled good or bad use --rlhf_type kto." in error


def test_pairs_given_to_kto_name_dpo(tmp_path, capsys):
    words = ("--rlhf_type", "kto", "--dataset", "builtin:preferences#4")
    assert train(*words, output=tmp_path) == 2
    error = capsys.readouterr().err
    assert 'row needs "label" (true or false)' in error
    assert "For pairs use --rlhf_type dpo" in error


@pytest.mark.parametrize("name", ["orpo", "simpo", "cpo"])
def test_a_reference_is_refused_where_there_is_none(name, tmp_path, capsys):
    words = ("--rlhf_type", name, "--dataset", "builtin:preferences#4", "--ref_model", "x")
    assert train(*words, output=tmp_path) == 2
    assert f"--ref_model: this run has no reference model ({name}" in capsys.readouterr().err


def test_kto_cannot_compute_its_reference_beforehand(tmp_path, capsys):
    words = ("--rlhf_type", "kto", "--dataset", "builtin:labelled#4")
    assert train(*words, "--precompute_ref_log_probs", "true", output=tmp_path) == 2
    assert "which change from epoch to epoch" in capsys.readouterr().err
