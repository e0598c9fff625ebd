"""Distillation from the command line: on the data's replies, the student's and the teacher's."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from swiftrl.cli.main import main
from swiftrl.models.builtin_models import builtin_path

BASE = [
    "rlhf", "--rlhf_type", "gkd", "--model", "builtin:tiny-base",
    "--dataset", "builtin:instructions#64", "--per_device_train_batch_size", "4",
    "--gradient_accumulation_steps", "2", "--max_completion_length", "16",
    "--learning_rate", "1e-3", "--add_version", "false",
]  # fmt: skip
TEACHER = ["--teacher_model", "builtin:tiny-instruct"]


def train(folder, *words):
    return main([*BASE, "--output_dir", str(folder), *map(str, words)])


def lines(folder):
    found = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in found]


def named(folder, name):
    return [line[name] for line in lines(folder) if name in line]


def adapters(folder, step):
    return load_file(folder / f"checkpoint-{step}" / "adapter_model.safetensors")


def test_a_student_comes_closer_on_replies_of_its_own(tmp_path):
    words = ["--lmbda", "0.5", "--max_steps", 12, "--split_dataset_ratio", "0.25"]
    assert train(tmp_path / "run", *TEACHER, *words, "--logging_steps", 1) == 0
    before, *_, after = named(tmp_path / "run", "eval_distance")
    assert after < 0.95 * before
    shares = set(named(tmp_path / "run", "on_policy"))
    assert shares == {0.0, 1.0}, "some steps are written by the student, others are the data's"
    # Replies of a base model run to the limit, and are not the data's.
    assert named(tmp_path / "run", "completions/mean_length")


def test_a_resumed_run_writes_the_same(tmp_path):
    words = [*TEACHER, "--lmbda", "0.7", "--save_steps", 3, "--use_cpu", "true"]
    assert train(tmp_path / "whole", *words, "--max_steps", 6) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoint-6")
    resumed = ["--resume_from_checkpoint", tmp_path / "again" / "checkpoint-3"]
    assert train(tmp_path / "again", *words, "--max_steps", 6, *resumed) == 0
    whole, again = adapters(tmp_path / "whole", 6), adapters(tmp_path / "again", 6)
    assert all(value.equal(again[name]) for name, value in whole.items())


def test_the_teacher_writes(tmp_path):
    words = ["--seq_kd", "true", "--lmbda", 0, "--max_steps", 2, "--logging_steps", 1]
    assert train(tmp_path / "run", *TEACHER, *words) == 0
    assert named(tmp_path / "run", "on_policy") == [1.0, 1.0]


def test_likelihood_of_the_data_is_added(tmp_path):
    words = [*TEACHER, "--lmbda", 0, "--max_steps", 1, "--logging_steps", 1]
    for alpha in (0, 2):
        assert train(tmp_path / str(alpha), *words, "--sft_alpha", alpha) == 0
    plain, added = (lines(tmp_path / name)[0] for name in ("0", "2"))
    assert added["distance"] == pytest.approx(plain["distance"], rel=1e-5)
    assert added["loss"] == pytest.approx(plain["loss"] + 2 * plain["nll_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--teacher_model is missing"),
        ([*TEACHER, "--lmbda", "1.5"], "--lmbda 1.5: expected 0 to 1"),
        ([*TEACHER, "--beta", "-1"], "--beta -1.0: expected 0 to 1"),
        ([*TEACHER, "--seq_kd", "true", "--sft_alpha", "1"], "--sft_alpha with --seq_kd true"),
        ([*TEACHER, "--gkd_logits_topk", "0"], "--gkd_logits_topk 0: expected more than 0"),
        ([*TEACHER, "--ref_model", "x"], "--ref_model: this run has no reference model"),
    ],
)
def test_what_is_refused(words, message, tmp_path, capsys):
    assert train(tmp_path / "run", "--max_steps", 1, *words) == 2
    assert message in capsys.readouterr().err


def test_a_teacher_with_other_tokens_is_refused(tmp_path, capsys):
    folder = tmp_path / "teacher"
    shutil.copytree(builtin_path("tiny-instruct"), folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.get)[300:302]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert train(tmp_path / "run", "--teacher_model", folder, "--max_steps", 1) == 2
    error = capsys.readouterr().err
    assert f"--teacher_model {folder}: its tokenizer is another one: 2 of the student's" in error
    assert f"the student's token 300 is {one!r}, and the teacher has it as 301" in error
    assert not (tmp_path / "run").exists()
