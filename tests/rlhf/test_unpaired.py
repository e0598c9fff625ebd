"""KTO, unpaired APO and BCO: numbers by hand, the KL estimate, and what it is measured on."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_run import Setup, lines_of, make_trainer, run, tiny_rows

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf import unpaired
from swiftrl.rlhf.algorithm import ALGORITHMS, LossInputs
from swiftrl.rlhf.contrast import mismatched_rows
from swiftrl.rlhf.order import Feed

GOOD_BAD = torch.tensor([True, False])


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_kto_by_hand():
    """Log-ratios 3 and 1, z0 = 2, beta 0.5: 1 - sigmoid(0.5) and 1 - sigmoid(0.5)."""
    loss = unpaired.kto_loss(t(3.0, 1.0), GOOD_BAD, beta=0.5, kl=2.0)
    assert loss.tolist() == pytest.approx([1 - sigmoid(0.5)] * 2)


def test_apo_zero_unpaired_by_hand():
    loss = unpaired.apo_zero_unpaired_loss(t(3.0, 1.0), GOOD_BAD, beta=0.5)
    assert loss.tolist() == pytest.approx([1 - sigmoid(1.5), sigmoid(0.5)])


def test_bco_by_hand():
    """Rewards 1.5 and 0.5, shift 1: logits 0.5 and -0.5; both -ln sigmoid(0.5)."""
    loss = unpaired.bco_loss(t(3.0, 1.0), GOOD_BAD, beta=0.5, delta=1.0)
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-0.5))] * 2)


@pytest.mark.parametrize(
    "loss",
    [
        lambda r: unpaired.kto_loss(r, GOOD_BAD, beta=0.3, kl=0.7),
        lambda r: unpaired.apo_zero_unpaired_loss(r, GOOD_BAD, beta=0.3),
        lambda r: unpaired.bco_loss(r, GOOD_BAD, beta=0.3, delta=0.1),
    ],
)
def test_gradients(loss):
    ratio = t(0.4, -1.3).requires_grad_()
    assert torch.autograd.gradcheck(loss, (ratio,))


def inputs_of(statistics=None, training=True) -> LossInputs:
    """Two replies, good of log-ratio 2 (tokens 0.5 + 1.5) and bad of log-ratio -1."""
    return LossInputs(
        logps=t(-0.5, -1.0, -2.0),
        ref_logps=t(-1.0, -2.5, -1.0),
        sequence_index=torch.tensor([0, 0, 1]),
        weights=torch.ones(3, dtype=torch.float64),
        num_sequences=2,
        columns={"label": torch.tensor([1.0, 0.0])},
        statistics=statistics or {},
        training=training,
    )


def kto(**options):
    kind = ALGORITHMS.get("kto")
    return kind(kind.Config(**options))


def test_weights_and_kl_enter_the_loss():
    output = kto(beta=1.0, desirable_weight=3.0, undesirable_weight=0.5).loss(inputs_of({"kl": 1}))
    expected = 3 * (1 - sigmoid(2 - 1)) + 0.5 * (1 - sigmoid(1 + 1))
    assert float(output.sum) == pytest.approx(expected)
    assert output.count == 2.0
    assert output.metrics["kl"] == (2.0, 2.0)


def test_a_negative_kl_estimate_counts_as_none():
    algorithm = kto(beta=1.0)
    none = algorithm.loss(inputs_of({"kl": 0.0})).sum
    assert float(algorithm.loss(inputs_of({"kl": -3.0})).sum) == pytest.approx(float(none))


def test_the_estimate_is_the_mean_log_ratio():
    (total, count) = kto().estimate(inputs_of())["kl"]
    assert (float(total), count) == (1.0, 2.0)


def test_bco_shifts_by_the_running_mean():
    """Rewards 2 and -1: mean 0.5 after one step; held-out rows leave it alone."""
    algorithm = kto(beta=1.0, loss_type="bco")
    output = algorithm.loss(inputs_of())
    expected = math.log1p(math.exp(-1.5)) + math.log1p(math.exp(-1.5))
    assert float(output.sum) == pytest.approx(expected)
    algorithm.loss(inputs_of(training=False))
    assert algorithm.state_dict() == {"reward_sum": 1.0, "reward_count": 2}


@pytest.mark.parametrize("name", ["beta", "desirable_weight", "undesirable_weight"])
def test_settings_that_cannot_be(name):
    with pytest.raises(ConfigError, match=f"--{name} 0.0: expected a number above 0."):
        kto(**{name: 0.0})


def row(prompt: list[int], reply: list[int], number: int = 0):
    weights = [0.0] * len(prompt) + [1.0] * len(reply)
    sequence = SimpleNamespace(
        token_ids=np.array(prompt + reply, dtype=np.int32),
        loss_weights=np.array(weights, dtype=np.float32),
    )
    return SimpleNamespace(sequences=(sequence,), columns={"label": 1.0}, origin=f"f:{number}")


def test_mismatched_rows_take_the_reply_before_within_the_step():
    rows = [row([1, 2], [10]), row([3], [20, 21]), row([4, 5, 6], [30])]
    made = mismatched_rows(rows.__getitem__, [0, 1, 2], 0, 3)
    assert [one.sequences[0].token_ids.tolist() for one in made] == [
        [1, 2, 30],
        [3, 10],
        [4, 5, 6, 20],
    ]  # fmt: skip  (the last is cut to the longer of its two rows)
    assert [one.sequences[0].loss_weights.tolist() for one in made] == [
        [0, 0, 1], [0, 1], [0, 0, 0, 1],
    ]  # fmt: skip


def test_replies_to_the_same_prompt_are_no_mismatch():
    rows = [row([1], [10]), row([2], [20]), row([2], [30])]
    made = mismatched_rows(rows.__getitem__, [2], 0, 3)
    assert made[0].sequences[0].token_ids.tolist() == [2, 10]
    same = [row([2], [20]), row([2], [30])]
    assert mismatched_rows(same.__getitem__, [0, 1], 0, 2) == []


def test_mismatches_do_not_depend_on_the_division():
    rows = tiny_rows(8, "labelled")

    def tokens(rank, world_size, per_pass):
        feed = Feed(
            rows, seed=0, shuffle=True, micro_batch_size=per_pass,
            rank=rank, world_size=world_size, contrast=True,
        )  # fmt: skip
        (step,) = feed.steps(0, 8, 8)
        return torch.cat([micro.contrast.token_ids for micro in step])

    whole = tokens(0, 1, 8)
    assert torch.equal(torch.cat([tokens(0, 2, 3), tokens(1, 2, 1)]), whole)


def test_kto_trains_and_reports_its_kl(tmp_path):
    """Full tuning against the same model: good replies gain on bad ones, and the KL rises."""
    setup = Setup(
        train={
            "output_dir": str(tmp_path),
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "max_steps": 30,
            "logging_steps": 1,
            "learning_rate": 3e-3,
            "save_strategy": "no",
        },
        algorithm="kto",
        lora=False,
        num_rows=8,
        num_held_out=4,
    )
    run(setup)
    lines = [line for line in lines_of(tmp_path) if "loss" in line]
    first, last = lines[0], lines[-1]
    assert first["kl"] == pytest.approx(0.0, abs=1e-5)
    assert first["loss"] == pytest.approx(0.5, abs=1e-4)
    assert last["loss"] < 0.45
    assert last["rewards/chosen"] > last["rewards/rejected"]
    assert any("eval_kl" in line or "eval/kl" in line for line in lines_of(tmp_path)), lines[-1]


def test_the_estimate_runs_without_gradient(tmp_path):
    setup = Setup(train={"output_dir": str(tmp_path)}, algorithm="kto", num_rows=4)
    trainer = make_trainer(setup)
    seen = []
    plain = trainer.stepper.passes.algorithm.estimate

    def noted(inputs):
        seen.append(inputs.logps.requires_grad)
        return plain(inputs)

    trainer.stepper.passes.algorithm.estimate = noted
    trainer.stepper.passes.train(next(trainer.feed.steps(0, 4, 4)), trainer.training.trained)
    assert seen
    assert not any(seen)
