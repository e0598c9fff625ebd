"""A reference that follows the policy (TR-DPO): its values by hand, resuming, two processes."""

import subprocess

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import Setup, environment, lines_of, make_trainer, program, run, weights_of

from swiftrl.cli.main import main
from swiftrl.rlhf.order import collate


def setup_of(folder, *, alpha=0.6, every=2, lora=False, resume=None, **changes):
    train = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 6,
        "save_steps": 3,
        "logging_steps": 1,
        "resume_from_checkpoint": str(resume) if resume else None,
    }
    return Setup(train=train, lora=lora, moving=(alpha, every), num_rows=14, **changes)


@pytest.mark.parametrize(("alpha", "lora"), [(0.6, False), (1.0, True)])
def test_it_takes_a_share_of_the_policy_at_every_other_step(alpha, lora, tmp_path):
    trainer = make_trainer(setup_of(tmp_path, alpha=alpha, lora=lora, dropout=0.1))
    expected = weights_of(trainer)
    moving = trainer.training.reference
    follow, seen = moving.after_step, []

    def noted(step):
        follow(step)
        if step % 2 == 0:
            for name, value in weights_of(trainer).items():
                expected[name] = (1 - alpha) * expected[name] + alpha * value
        for name, value in moving.state().items():
            torch.testing.assert_close(value.cpu(), expected[name], rtol=0, atol=1e-6)
        seen.append(step)

    moving.after_step = noted
    trainer.train()
    assert seen == [1, 2, 3, 4, 5, 6]
    policy = weights_of(trainer)
    same = [torch.equal(policy[name], value.cpu()) for name, value in moving.state().items()]
    assert all(same) if alpha == 1.0 else not any(same)


def test_it_answers_with_the_values_it_has(tmp_path):
    """Its log-probabilities are the policy's at the start, and stay when the policy moves."""
    trainer = make_trainer(setup_of(tmp_path, every=100))
    policy = trainer.policy
    row = trainer.feed.data[0]
    batch = collate([row], 0).batch.to(trainer.processes.device)
    before = policy.logprobs(batch).logps.detach()
    assert torch.equal(policy.reference(batch), before)
    trainer.train()
    assert torch.equal(policy.reference(batch), before)
    assert not torch.allclose(policy.logprobs(batch).logps, before, atol=1e-2)


@pytest.mark.parametrize("lora", [False, True])
def test_resumed_is_uninterrupted_bit_for_bit(lora, tmp_path):
    alpha = 1.0 if lora else 0.6
    whole, _ = run(setup_of(tmp_path / "run", alpha=alpha, lora=lora))
    expected, lines = weights_of(whole), lines_of(tmp_path / "run")
    values = {name: value.clone() for name, value in whole.training.reference.state().items()}
    checkpoint = tmp_path / "run" / "checkpoint-3"
    again, _ = run(setup_of(tmp_path / "run", alpha=alpha, lora=lora, resume=checkpoint))
    for name, value in weights_of(again).items():
        assert torch.equal(value, expected[name]), name
    for name, value in again.training.reference.state().items():
        assert torch.equal(value, values[name]), name
    found = [line["loss"] for line in lines_of(tmp_path / "run")]
    assert found == [line["loss"] for line in lines]


def test_two_processes_follow_alike(tmp_path):
    one, _ = run(setup_of(tmp_path / "one"))
    setup = setup_of(tmp_path / "two", weights=str(tmp_path / "two.safetensors"))
    setup.train["gradient_accumulation_steps"] = 1
    done = subprocess.run(
        program([setup], processes=2),
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name, value in load_file(tmp_path / "two.safetensors").items():
        torch.testing.assert_close(value, weights_of(one)[name], rtol=0, atol=1e-5)


RUN = [
    "rlhf", "--model", "builtin:tiny-instruct", "--dataset", "builtin:preferences#8", "--use_cpu",
    "true", "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1",
    "--max_steps", "2", "--logging_steps", "1",
]  # fmt: skip


def test_the_command_moves_it(tmp_path):
    """With an update a step and alpha 1, every step starts at policy = reference: loss ln 2."""
    words = ["--sync_ref_model", "true", "--ref_model_sync_steps", "1", "--lora_dropout", "0"]
    assert main([*RUN, *words, "--output_dir", str(tmp_path), "--add_version", "false"]) == 0
    for line in lines_of(tmp_path):
        assert line["loss"] == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ref_model_mixup_alpha", "0.5"], "for --sync_ref_model true"),
        (["--sync_ref_model", "true", "--ref_model_mixup_alpha", "0.5"], "--tuner_type full"),
        (["--sync_ref_model", "true", "--ref_model_mixup_alpha", "0"], "expected above 0, up to 1"),
        (["--sync_ref_model", "true", "--ref_model_sync_steps", "0"], "expected 1 or more"),
        (["--sync_ref_model", "true", "--ref_model", "builtin:tiny-base"], "with --ref_model"),
        (["--sync_ref_model", "true", "--precompute_ref_log_probs", "true"], "and changes"),
        (["--sync_ref_model", "true", "--fsdp", "fsdp2"], "whole model in every process"),
        (["--sync_ref_model", "true", "--rlhf_type", "orpo"], "has no reference model"),
    ],
)
def test_what_cannot_be_is_refused(words, message, capsys):
    assert main([*RUN, *words]) == 2
    assert message in capsys.readouterr().err
