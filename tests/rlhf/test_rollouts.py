"""Rollouts: from prompts to the trees of a step, with the built-in model."""

import json
import shutil

import device
import pytest
import torch

from swiftrl.cli.main import main
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.run_state import default_accumulation, make_plan

MODEL = ["--model", "builtin:tiny-instruct", *device.flags(), "--torch_dtype", "float32"]
SHORT = ["--rlhf_type", "grpo", "--num_generations", "4", "--max_completion_length", "12",
         "--reward_funcs", "builtin", "--lora_dropout", "0", "--learning_rate", "1e-3",
         "--logging_steps", "1", "--gradient_checkpointing", "false"]  # fmt: skip


def train(folder, *words, prompts="builtin:prompts#24", steps="3"):
    base = ["rlhf", *MODEL, *SHORT, "--dataset", prompts, "--max_steps", steps,
            "--output_dir", str(folder / "out"), "--add_version", "false",
            "--cache_dir", str(folder / "cache")]  # fmt: skip
    return main([*base, *words]), folder / "out"


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def completions(folder):
    return [json.loads(line) for line in (folder / "completions.jsonl").read_text().splitlines()]


def weights(folder):
    from safetensors.torch import load_file

    (last,) = folder.glob("checkpoint-3/adapter_model.safetensors")
    return load_file(last)


ALL_AT_ONCE = ["--per_device_train_batch_size", "16", "--gradient_accumulation_steps", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpo")
    held_out = ["--val_dataset", "builtin:prompts:heldout#6", "--save_steps", "2"]
    code, output = train(folder, *ALL_AT_ONCE, *held_out)
    assert code == 0
    return output


def test_what_a_run_writes(run):
    first, *others = metrics(run)
    assert first["step"] == 0
    assert {"eval_reward", "eval_rewards/builtin", "eval_completions/mean_length"} <= set(first)
    steps = [line for line in others if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    for line in steps:
        assert line["reward"] == line["rewards/builtin"]
        assert 0 <= line["zero_spread"] <= 1
        assert line["engine_gap"] < 1e-4  # the engine decodes with the trainer's own weights
        assert line["kl"] >= 0
    assert steps[0]["kl"] == pytest.approx(0.0, abs=1e-9)
    settings = json.loads((run / "args.json").read_text())
    assert settings["metric_for_best_model"] == "reward"


def test_completions_are_written_with_what_they_are_worth(run):
    rows = completions(run)
    assert len(rows) == 3 * 16
    for start in range(0, len(rows), 4):
        group = rows[start : start + 4]
        assert len({row["prompt"] for row in group}) == 1
        assert sum(row["advantage"] for row in group) == pytest.approx(0.0, abs=1e-5)
        rewards = [row["rewards"]["builtin"] for row in group]
        best = max(range(4), key=rewards.__getitem__)
        assert group[best]["advantage"] == max(row["advantage"] for row in group)
        if len(set(rewards)) == 1:
            assert all(row["advantage"] == 0 for row in group)
    assert all(row["origin"].startswith("builtin:prompts") for row in rows)


def test_however_a_step_is_divided(run, tmp_path):
    """16 replies at once, or by 8 (two groups), by 4 (one) and by 2 (half a group)."""
    expected, texts = weights(run), [row["completion"] for row in completions(run)]
    for size in (8, 4, 2):
        words = ["--per_device_train_batch_size", str(size),
                 "--gradient_accumulation_steps", str(16 // size)]  # fmt: skip
        code, output = train(tmp_path / str(size), *words)
        assert code == 0
        assert [row["completion"] for row in completions(output)] == texts
        for name, found in weights(output).items():
            torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-5)


def test_two_processes_write_and_learn_the_same(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC_PER_NODE", "2")
    words = ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1"]
    code, output = train(tmp_path, *words)
    assert code == 0
    texts = [row["completion"] for row in completions(run)]
    assert [row["completion"] for row in completions(output)] == texts
    expected = weights(run)
    for name, found in weights(output).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-5)


def test_two_processes_that_share_every_row_write_and_learn_the_same(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC_PER_NODE", "2")
    held_out = ["--val_dataset", "builtin:prompts:heldout#6", "--save_steps", "2"]
    code, output = train(tmp_path, *ALL_AT_ONCE, *held_out, "--sequence_parallel_size", "2")
    assert code == 0
    texts = [row["completion"] for row in completions(run)]
    assert [row["completion"] for row in completions(output)] == texts
    for line, expected in zip(metrics(output), metrics(run), strict=True):
        for name in ("loss", "kl", "reward", "eval_reward", "completions/mean_length"):
            if name in expected:
                assert line[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name
    expected = weights(run)
    for name, found in weights(output).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-5)


def test_a_resumed_run_ends_as_the_uninterrupted_one(run, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(run, output)
    shutil.rmtree(output / "checkpoint-3")
    held_out = ["--val_dataset", "builtin:prompts:heldout#6", "--save_steps", "2"]
    resume = ["--resume_from_checkpoint", str(output / "checkpoint-2")]
    code, _ = train(tmp_path, *ALL_AT_ONCE, *held_out, *resume)
    assert code == 0
    expected = weights(run)
    for name, found in weights(output).items():
        assert torch.equal(found, expected[name]), name
    assert completions(output) == completions(run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reward_funcs", "builtn"], "Did you mean"),
        (["--per_device_train_batch_size", "6"], "no multiple of --num_generations 4"),
        (["--streaming", "true", "--max_steps", "2"], "--streaming"),
        (["--precompute_ref_log_probs", "true"], "--precompute_ref_log_probs"),
        (["--max_completion_length", "100000"], "more than the model's"),
        (["--reward_weights", "1", "2"], "--reward_weights"),
        (["--num_generations", "1"], "--num_generations 1"),
        (["--max_length", "3"], "--max_length is 3"),
        (["--truncation_strategy", "left"], "never cut"),
    ],
)
def test_mistakes_are_named_before_training(tmp_path, capsys, words, message):
    accumulation = ["--gradient_accumulation_steps", "1", "--per_device_train_batch_size", "4"]
    code, _ = train(tmp_path, *accumulation, *words)
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_reward_of_ones_own_that_fails_stops_the_run(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("def length(completions, **_):\n    return [len(c) / 0 for c in completions]\n")
    code, _ = train(tmp_path, *ALL_AT_ONCE, "--reward_funcs", f"{file}:length")
    assert code == 2
    error = capsys.readouterr().err
    assert "length" in error
    assert "ZeroDivisionError" in error


def test_a_cut_reply_can_be_left_out(tmp_path):
    code, output = train(
        tmp_path, *ALL_AT_ONCE, "--max_completion_length", "2", "--overlong_filter", "true",
        steps="1",
    )  # fmt: skip
    assert code == 0
    reasons = {row["finish_reason"] for row in completions(output)}
    assert "length" in reasons


def test_batch_sizes_count_replies():
    config = TrainConfig(per_device_train_batch_size=4, max_steps=2)
    plan = make_plan(config, num_rows=10, world_size=1, evaluates=False, replies=8)
    assert plan.global_batch == 2
    assert default_accumulation(3, 8) == 8
    assert default_accumulation(1, 1) == 16
    wrong = TrainConfig(per_device_train_batch_size=4, gradient_accumulation_steps=1)
    with pytest.raises(ConfigError, match="4 replies a step"):
        make_plan(wrong, num_rows=10, world_size=1, evaluates=False, replies=8)


def test_rewards_that_follow_the_longest_reply(tmp_path):
    code, output = train(
        tmp_path, *ALL_AT_ONCE, "--reward_funcs", "builtin", "soft_overlong",
        "--soft_cache_length", "8", steps="1",
    )  # fmt: skip
    assert code == 0
    (line,) = [line for line in metrics(output) if "reward" in line]
    assert -1 <= line["rewards/soft_overlong"] <= 0
    total = line["rewards/builtin"] + line["rewards/soft_overlong"]
    assert line["reward"] == pytest.approx(total)


def test_steps_that_teach_nothing_are_named(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("def same(completions, **_):\n    return [1.0 for _ in completions]\n")
    code, output = train(tmp_path, *ALL_AT_ONCE, "--reward_funcs", f"{file}:same", "--beta", "0")
    assert code == 0
    captured = capsys.readouterr()
    assert "scored alike" in captured.out + captured.err
    steps = [line for line in metrics(output) if "zero_spread" in line]
    assert all(line["zero_spread"] == 1 for line in steps)


def test_bad_rows_of_both_sets_are_kept(tmp_path, capsys):
    good = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "answer": "5",
            "style": "plain", "language": "en"}  # fmt: skip
    for name in ("train", "held"):
        lines = [json.dumps(good), json.dumps({"messages": [{"role": "nobody", "content": name}]})]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    words = ["--val_dataset", str(tmp_path / "held.jsonl"), "--strict", "false"]
    code, output = train(
        tmp_path, *ALL_AT_ONCE, *words, prompts=str(tmp_path / "train.jsonl"), steps="1"
    )
    assert code == 0
    kept = (output / "rejected_rows.jsonl").read_text()
    assert "train.jsonl" in kept
    assert "held.jsonl" in kept
    captured = capsys.readouterr()
    assert "2 bad rows were set aside" in captured.out + captured.err


DYNAMIC = ["--dynamic_sample", "true", "--max_resample_times", "4", "--temperature", "0.6"]


def test_prompts_that_teach_nothing_are_replaced(tmp_path, monkeypatch):
    """By others of the data, whatever the number of processes; the stream goes on as before."""
    plain, once, twice = (tmp_path / name for name in ("plain", "once", "twice"))
    _, output = train(plain, *ALL_AT_ONCE, "--temperature", "0.6", "--beta", "0")
    assert sum(line["zero_spread"] for line in metrics(output) if "reward" in line) > 0
    _, output = train(once, *ALL_AT_ONCE, *DYNAMIC, "--beta", "0")
    lines = [line for line in metrics(output) if "reward" in line]
    assert sum(line["zero_spread"] for line in lines) == 0
    assert max(line["prompts_per_group"] for line in lines) > 1
    rows = completions(output)
    assert len(rows) == 3 * 16
    monkeypatch.setenv("NPROC_PER_NODE", "2")
    words = ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1"]
    code, other = train(twice, *words, *DYNAMIC, "--beta", "0")
    assert code == 0
    assert [row["completion"] for row in completions(other)] == [row["completion"] for row in rows]
    expected = weights(output)
    for name, found in weights(other).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-5)


def test_prompts_that_never_teach_are_kept_in_the_end(tmp_path):
    plugin = tmp_path / "same.py"
    plugin.write_text("def same(completions):\n    return [1.0] * len(completions)\n")
    words = ["--reward_funcs", f"{plugin}:same", "--dynamic_sample", "true",
             "--max_resample_times", "2"]  # fmt: skip
    code, output = train(tmp_path, *ALL_AT_ONCE, *words, steps="1")
    assert code == 0
    (line,) = (line for line in metrics(output) if "reward" in line)
    assert (line["zero_spread"], line["prompts_per_group"]) == (1.0, 3.0)
