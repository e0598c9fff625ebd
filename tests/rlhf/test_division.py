"""A step's result does not depend on how its rows are divided: 1x8 = 8x1 = 2 processes x 4."""

import subprocess
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import Setup, environment, lines_of, make_trainer, program, run, tiny_rows, weights_of

from swiftrl.rlhf.algorithm import ALGORITHMS
from swiftrl.rlhf.order import collate

# 25 rows: the last step has a single one, and so leaves one of two processes without any.
EPOCHS, ROWS = 1.19, 21
DPO_LOSSES = ["sigmoid", "ipo", "bco_pair", "aot", "aot_unpaired"]
GRPO = {
    "dapo": {
        "loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.0,
        "rollout_importance_sampling_mode": "token_truncate",
    },
    "gspo": {
        "importance_sampling_level": "sequence", "rollout_importance_sampling_mode": "sequence_mask"
    },
    "dr_grpo": {"loss_type": "dr_grpo", "max_completion_length": 10},
    "cispo": {"loss_type": "cispo"},
    "gmpo": {"loss_type": "gmpo", "epsilon": 0.4},
    "clip_cov": {
        "loss_type": "clip_cov", "clip_cov_ratio": 0.2, "clip_cov_low": 0.0, "clip_cov_high": 9.0
    },
    "kl_cov": {"loss_type": "kl_cov", "kl_cov_ratio": 0.2},
}  # fmt: skip
CASES = {
    **{name: (name, {}) for name in ALGORITHMS.names() if name != "dpo"},
    # With a small beta the sigmoid is a line, and a loss that mixes rows would not show it.
    **{f"dpo-{loss}": ("dpo", {"loss_type": [loss], "beta": 1.0}) for loss in DPO_LOSSES},
    **{f"kto-{loss}": ("kto", {"loss_type": loss}) for loss in ("bco", "apo_zero_unpaired")},
    "dpo-wpo": ("dpo", {"use_weighting": True, "beta": 1.0}),
    "dpo-bco_pair-wpo": ("dpo", {"loss_type": ["bco_pair"], "use_weighting": True, "beta": 1.0}),
    **{f"grpo-{name}": ("grpo", options) for name, options in GRPO.items()},
    "dpo-sigmoid-bco_pair-rpo": ("dpo", {"loss_type": ["sigmoid", "bco_pair"], "rpo_alpha": 1.0}),
}


def setup_of(case, folder, per_pass, passes, **changes):
    algorithm, options = CASES[case]
    train = {
        "output_dir": str(folder),
        "per_device_train_batch_size": per_pass,
        "gradient_accumulation_steps": passes,
        "per_device_eval_batch_size": min(per_pass, 2),
        "num_train_epochs": EPOCHS,
        "optim": "sgd",
        "learning_rate": 0.5,
        "max_grad_norm": 1.0,
        "logging_steps": 2,
        "eval_on_start": True,
        "save_strategy": "no",
    }
    setup = Setup(
        train=train,
        algorithm=algorithm,
        options=options,
        num_rows=ROWS,
        num_held_out=7,
        untrained=[4],
        weights=str(folder.with_suffix(".safetensors")),
    )
    return replace(setup, **changes)


def assert_same_metrics(ours, expected):
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"tokens_per_s", "samples_per_s", "elapsed_s"}:
            assert one[name] == pytest.approx(other[name], rel=2e-4, abs=2e-5), name


def assert_same_weights(ours, expected, start):
    moved = 0.0
    for name, value in expected.items():
        moved = max(moved, float((value - start[name]).abs().max()))
        assert torch.allclose(ours[name], value, rtol=0, atol=2e-6), name
    assert moved > 1e-2, "the weights hardly moved: nothing was compared"


def in_one_pass(case, folder):
    """Return (weights before, weights after, metrics) of eight rows a pass, a pass a step."""
    trainer = make_trainer(setup_of(case, folder, 8, 1))
    start = weights_of(trainer)
    trainer.train()
    assert (trainer.state.step, trainer.state.rows) == (4, 25)
    return start, weights_of(trainer), lines_of(folder)


@pytest.mark.parametrize("case", CASES)
def test_accumulation_changes_nothing_but_rounding(case, tmp_path):
    start, expected, expected_lines = in_one_pass(case, tmp_path / "reference")
    for name, (per_pass, passes) in {"1x8": (1, 8), "4x2": (4, 2)}.items():
        ours, _ = run(setup_of(case, tmp_path / name, per_pass, passes))
        assert_same_weights(weights_of(ours), expected, start)
        assert_same_metrics(lines_of(tmp_path / name), expected_lines)


def test_two_processes_change_nothing_but_rounding(tmp_path):
    """Every case in two real processes; recomputed activations, with dropout, besides."""
    folders = {(case, 4, 1): tmp_path / f"{case}-4" for case in CASES}
    folders |= {(case, 1, 4): tmp_path / f"{case}-1" for case in ("sft", "dpo-aot")}
    setups = [setup_of(case, folder, *split) for (case, *split), folder in folders.items()]
    for name in ("dropout", "checkpointed"):
        changes = {"dropout": 0.1, "checkpointing": name == "checkpointed"}
        setups.append(setup_of("dpo-sigmoid", tmp_path / name, 2, 2, **changes))
    done = subprocess.run(
        program(setups, processes=2),
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]

    for case in CASES:
        start, expected, expected_lines = in_one_pass(case, tmp_path / f"{case}-reference")
        for (name, *_), folder in folders.items():
            if name == case:
                ours = load_file(folder.with_suffix(".safetensors"))
                assert_same_weights(ours, expected, start)
                assert_same_metrics(lines_of(folder), expected_lines)
    plain, checkpointed = (
        load_file(tmp_path / f"{name}.safetensors") for name in ("dropout", "checkpointed")
    )
    start = weights_of(make_trainer(setup_of("dpo-sigmoid", tmp_path / "start", 2, 2)))
    assert_same_weights(checkpointed, plain, start)


@pytest.mark.parametrize("case", ["dpo-sigmoid", "dpo-aot", "sft"])
def test_the_gradient_is_that_of_the_mean_loss(case, tmp_path):
    """One step of SGD equals the step made by hand from one backward pass over all rows."""
    setup = setup_of(case, tmp_path / "run", 3, 3, num_held_out=0)
    setup.train |= {"max_steps": 1, "max_grad_norm": 0.0, "weight_decay": 0.0}
    trainer = make_trainer(setup)
    start = weights_of(trainer)
    rows = tiny_rows(
        ROWS, trainer.training.algorithm.row_kind, untrained=frozenset(setup.untrained)
    )
    taken = [rows[trainer.feed.index_at(position)] for position in range(9)]
    passes = trainer.stepper.passes
    passes.policy.model.train()
    output = passes.algorithm.loss(passes._inputs(collate(taken, 0), training=True))
    (output.sum / output.count).backward()
    by_hand = {
        name: start[name] - 0.5 * parameter.grad.cpu()
        for name, parameter in trainer.training.parameters.items()
        if parameter.grad is not None
    }
    trainer.train()
    assert by_hand
    for name, value in by_hand.items():
        found = trainer.training.parameters[name].cpu()
        assert torch.allclose(found, value, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("loss", ["aot", "bco_pair"])
def test_the_two_passes_of_a_coupled_loss_drop_the_same(loss, tmp_path):
    """With dropout, the log-probabilities of the second pass are those of the first."""
    setup = setup_of(f"dpo-{loss}", tmp_path / "run", 2, 4, num_held_out=0, dropout=0.3)
    trainer = make_trainer(setup)
    passes = trainer.stepper.passes
    seen = []
    plain = passes._values

    def noted(micro, batch):
        found = plain(micro, batch)
        seen.append((micro.position, found[0].detach().clone()))
        return found

    passes._values = noted
    passes.train(next(trainer.feed.steps(0, 8, 8)), trainer.training.trained)
    first, second = seen[:4], seen[4:]
    for (position, before), (again, after) in zip(first, second, strict=True):
        assert position == again
        assert torch.equal(before, after)
    assert not torch.equal(first[0][1][:4], first[1][1][:4])
