"""Several optimizer steps a rollout: the order of steps, old log-probabilities, and resuming."""

import json
import shutil

import device
import pytest
import torch
from safetensors.torch import load_file

from swiftrl.cli.main import main
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import LossInputs
from swiftrl.rlhf.algorithms.grpo import Grpo, GrpoConfig
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.reuse import Reuse, Update
from swiftrl.rlhf.run_state import make_plan


def test_steps_of_a_block_by_hand():
    """Five prompts, two a step, twice: the last step of each pass has one."""
    updates = Reuse(iterations=2, steps=3).updates_of(5, 2)
    spans = [(0, 2), (2, 4), (4, 5)]
    assert updates == [Update(turn, *span) for turn in (0, 1) for span in spans]


def test_steps_left_by_hand():
    """Blocks of 4 prompts, two passes of two steps: 11 prompts are two blocks and three prompts,
    4 + 4 + 2 * 2 steps."""
    reuse = Reuse(iterations=2, steps=2)
    assert reuse.steps_left(2 * 11, 2) == 12
    # In the middle of a block: of its four steps the last is left, then a block of 3.
    begun = reuse.updates_of(4, 2)[3:]
    assert reuse.steps_left(2 + 2 * 3, 2, begun) == 1 + 4


def test_a_plan_counts_every_pass():
    config = TrainConfig(
        num_train_epochs=1, per_device_train_batch_size=8, gradient_accumulation_steps=1
    )
    reuse = Reuse(iterations=3, steps=2)
    plan = make_plan(
        config, num_rows=10, world_size=1, evaluates=False, replies=4, reuse=reuse,
        steps_left=reuse.steps_left,
    )  # fmt: skip
    assert (plan.global_batch, plan.total_rows, plan.total_steps) == (2, 30, 15)
    assert plan.epoch_of(15) == 0.5


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps_per_generation": 3}, "--steps_per_generation 3: expected a multiple"),
        ({"generation_batch_size": 9}, "--generation_batch_size 9"),
        ({"generation_batch_size": 8, "steps_per_generation": 2}, "say the same"),
        ({"num_iterations": 0}, "--num_iterations 0"),
    ],
)
def test_uses_that_do_not_fit_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        Grpo(GrpoConfig(**settings)).reuse(4, 2)


def test_how_a_rollout_is_used():
    def reuse(**settings):
        return Grpo(GrpoConfig(**settings)).reuse(4, 2)

    assert reuse() == Reuse(1, 1)
    assert reuse(steps_per_generation=4, num_iterations=3) == Reuse(3, 2)
    assert reuse(generation_batch_size=24) == Reuse(1, 3)


def test_the_ratio_is_to_what_was_sampled_from_and_is_clipped():
    """Ratios e^0.1, e^0.5, e^-0.5 with A = 1, 1, -1 and clips at 0.8 and 1.2: the second and the
    third token are beyond, and have no gradient; the first has -e^0.1 / 3."""
    old = torch.tensor([-1.0, -1.0, -1.0], dtype=torch.float64)
    logps = (old + torch.tensor([0.1, 0.5, -0.5], dtype=torch.float64)).requires_grad_()
    inputs = LossInputs(
        logps=logps, ref_logps=None, sequence_index=torch.tensor([0, 1, 2]),
        weights=torch.ones(3), num_sequences=3,
        sequence_values={"advantages": torch.tensor([1.0, 1.0, -1.0])},
        token_values={"engine_logps": old, "old_logps": old},
    )  # fmt: skip
    output = Grpo(GrpoConfig(beta=0.0)).loss(inputs)
    (gradient,) = torch.autograd.grad(output.sum / output.count, logps)
    expected = torch.tensor([-torch.tensor(0.1).exp() / 3, 0.0, 0.0])
    torch.testing.assert_close(gradient, expected.double())
    assert float(output.metrics["clip_ratio"][0]) == 2


REUSED = ["rlhf", "--rlhf_type", "grpo", "--model", "builtin:tiny-instruct", *device.flags(),
          "--torch_dtype", "float32", "--num_generations", "4", "--max_completion_length", "12",
          "--reward_funcs", "builtin", "--lora_dropout", "0.1", "--learning_rate", "1e-3",
          "--logging_steps", "1", "--gradient_checkpointing", "false", "--num_iterations", "2",
          "--dataset", "builtin:prompts#24", "--max_steps", "6", "--save_steps", "3",
          "--add_version", "false"]  # fmt: skip
TWO_PASSES = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2",
              "--steps_per_generation", "4"]  # fmt: skip


def train(folder, *words):
    folders = ["--output_dir", str(folder / "out"), "--cache_dir", str(folder / "cache")]
    assert main([*REUSED, *folders, *words]) == 0
    return folder / "out"


def lines(folder, name="metrics"):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "checkpoint-6" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("reuse"), *TWO_PASSES)


def test_replies_are_written_once_in_four_steps(run):
    """Two prompts a step, two steps a pass, two passes; six steps take two rollouts."""
    steps = [line for line in lines(run) if "loss" in line]
    assert [line["staleness"] for line in steps] == [0, 1, 2, 3, 0, 1]
    assert ["reward" in line for line in steps] == [True, False, False, False, True, False]
    rows = lines(run, "completions")
    assert [row["prompts_before"] for row in rows] == [0] * 16 + [4] * 16
    assert max(line["clip_ratio"] for line in steps) > 0


def test_a_checkpoint_amid_a_rollout_goes_on_bit_for_bit(run, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(run, output)
    shutil.rmtree(output / "checkpoint-6")
    assert (output / "checkpoint-3" / "trainer" / "rollout.safetensors").is_file()
    resume = ["--resume_from_checkpoint", str(output / "checkpoint-3")]
    train(tmp_path, *TWO_PASSES, *resume)
    for name, expected in weights(run).items():
        assert torch.equal(weights(output)[name], expected), name
    assert lines(output, "completions") == lines(run, "completions")


def test_however_the_steps_are_divided(tmp_path, monkeypatch):
    """Eight replies a pass, or two passes of four, or two processes with four each."""
    dry = ["--lora_dropout", "0"]
    expected = train(tmp_path / "1", *TWO_PASSES, *dry)
    whole = ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1",
             "--steps_per_generation", "2"]  # fmt: skip
    others = [train(tmp_path / "2", *whole, *dry)]
    monkeypatch.setenv("NPROC_PER_NODE", "2")
    two = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1",
           "--steps_per_generation", "2"]  # fmt: skip
    others.append(train(tmp_path / "3", *two, *dry))
    texts = [row["completion"] for row in lines(expected, "completions")]
    for output in others:
        assert [row["completion"] for row in lines(output, "completions")] == texts
        for name, value in weights(expected).items():
            torch.testing.assert_close(weights(output)[name], value, rtol=1e-3, atol=2e-5)
    # One process goes on where two stopped, in the middle of a rollout.
    monkeypatch.delenv("NPROC_PER_NODE")
    resumed = tmp_path / "3" / "out"
    shutil.rmtree(resumed / "checkpoint-6")
    train(tmp_path / "3", *whole, *dry, "--resume_from_checkpoint", str(resumed / "checkpoint-3"))
    for name, value in weights(expected).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=1e-3, atol=2e-5)


def test_another_use_is_refused_when_resuming(run, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copytree(run, output)
    resume = ["--resume_from_checkpoint", str(output / "checkpoint-3")]
    words = ["--output_dir", str(output), *TWO_PASSES[:-1], "2"]
    assert main([*REUSED, *words, *resume]) == 2
    assert "2 passes of 2 optimizer steps" in capsys.readouterr().err


def test_the_last_rollout_of_an_epoch_may_be_small(tmp_path):
    """Five prompts: a rollout of four and one of a single prompt, 2 * 2 + 2 * 1 steps."""
    words = ["--dataset", "builtin:prompts#5", "--max_steps", "-1", "--num_train_epochs", "1"]
    output = train(tmp_path, *TWO_PASSES, *words)
    assert [line["step"] for line in lines(output) if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert len(lines(output, "completions")) == 20
