import json

import pytest
import torch
from tiny_run import (
    Setup,
    lines_of,
    make_algorithm,
    make_trainer,
    run,
    tiny_rows,
    weights_of,
)

from swiftrl.core.errors import ConfigError, DataError
from swiftrl.rlhf.algorithm import LossOutput


def setup_of(folder, **train):
    held_out = train.pop("num_held_out", 0)
    base = {"output_dir": str(folder), "per_device_train_batch_size": 4, "num_train_epochs": 2}
    return Setup(train=base | train, num_rows=16, num_held_out=held_out)


def scripted(trainer, values, name="loss"):
    """Let the evaluations give `values` one after another."""
    queue = iter(values)
    trainer.evaluation.run = lambda: {"loss": 1.0, name: next(queue)}
    return trainer


def test_training_lowers_the_loss(tmp_path):
    setup = setup_of(tmp_path, num_train_epochs=15, logging_steps=1)
    setup.lora = False
    _, result = run(setup)
    lines = [line for line in lines_of(tmp_path) if "loss" in line]
    assert lines[0]["loss"] > 0.6 and lines[-1]["loss"] < 0.2
    assert result.state.step == 15 == len(lines)
    assert result.checkpoint == tmp_path / "checkpoint-15"
    assert result.stopped_by is None


def test_default_global_batch_is_sixteen_rows(tmp_path):
    assert make_trainer(setup_of(tmp_path / "a")).plan.global_batch == 16
    wide = setup_of(tmp_path / "b", per_device_train_batch_size=40)
    assert make_trainer(wide).plan.global_batch == 40


def test_fractions_of_epochs_and_max_steps(tmp_path):
    half = make_trainer(setup_of(tmp_path / "a", num_train_epochs=0.5)).plan
    assert (half.total_rows, half.total_steps) == (8, 1)
    steps = make_trainer(setup_of(tmp_path / "b", num_train_epochs=1, max_steps=7)).plan
    assert (steps.total_rows, steps.total_steps) == (7 * 16, 7)


def test_streams_need_an_end_and_then_train(tmp_path):
    class Stream:
        def __iter__(self):
            return iter(tiny_rows(10))

    with pytest.raises(ConfigError, match="--streaming needs --max_steps"):
        make_trainer(setup_of(tmp_path / "a"), data=Stream())
    _, result = run(setup_of(tmp_path / "b", max_steps=3), data=Stream())
    assert (result.state.step, result.state.rows) == (3, 48)


def test_sizes_below_one_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--logging_steps: found 0"):
        make_trainer(setup_of(tmp_path, logging_steps=0))


def test_full_training_reaches_every_weight(tmp_path):
    setup = setup_of(tmp_path, max_steps=1)
    setup.lora = False
    trainer = make_trainer(setup)
    start = weights_of(trainer)
    trainer.train()
    unchanged = [
        name for name, value in weights_of(trainer).items() if torch.equal(value, start[name])
    ]
    assert not unchanged


def test_evaluation_leaves_training_as_it_was(tmp_path):
    plain, _ = run(setup_of(tmp_path / "a", num_train_epochs=4))
    evaluated, _ = run(
        setup_of(
            tmp_path / "b", num_train_epochs=4, num_held_out=5, eval_steps=1, eval_on_start=True
        )
    )
    for name, value in weights_of(plain).items():
        assert torch.equal(weights_of(evaluated)[name], value), name
    held_out = [line for line in lines_of(tmp_path / "b") if "eval_loss" in line]
    assert [line["step"] for line in held_out] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("loss", ["sigmoid", "bco_pair"])
def test_evaluation_does_not_depend_on_its_batches(tmp_path, loss):
    found = []
    for size in (1, 3, 50):
        setup = setup_of(tmp_path / str(size), num_held_out=9, per_device_eval_batch_size=size)
        setup.options = {"loss_type": [loss]}
        found.append(make_trainer(setup).evaluation.run())
    for means in found[1:]:
        assert means == pytest.approx(found[0], rel=1e-5)


def test_evaluation_by_epoch(tmp_path):
    setup = setup_of(
        tmp_path, num_held_out=2, eval_strategy="epoch", save_strategy="epoch",
        gradient_accumulation_steps=2, num_train_epochs=2.5,
    )  # fmt: skip
    run(setup)
    assert [line["step"] for line in lines_of(tmp_path) if "eval_loss" in line] == [2, 4, 5]
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {
        "checkpoint-2", "checkpoint-4", "checkpoint-5",
    }  # fmt: skip


def test_the_best_weights_come_back_at_the_end(tmp_path):
    setup = setup_of(
        tmp_path, num_train_epochs=5, num_held_out=2, eval_steps=1, load_best_model_at_end=True,
        save_total_limit=1, metric_for_best_model="rewards/accuracies",
    )  # fmt: skip
    trainer = scripted(make_trainer(setup), [0.5, 0.9, 0.7, 0.9, 0.1], "rewards/accuracies")
    kept = {}
    save = trainer.saver.save

    def noted(global_batch):
        kept[trainer.state.step] = weights_of(trainer)
        save(global_batch)

    trainer.saver.save = noted
    result = trainer.train()
    assert (trainer.state.best_step, trainer.state.best_value) == (2, 0.9)
    assert result.checkpoint == result.best_checkpoint == tmp_path / "checkpoint-2"
    for name, value in weights_of(trainer).items():
        assert torch.equal(value, kept[2][name])
    # The limit of one keeps the best and the last.
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-5"}


def test_early_stopping(tmp_path, capsys):
    setup = setup_of(
        tmp_path, num_train_epochs=50, num_held_out=2, eval_steps=1, early_stop_interval=2
    )
    trainer = scripted(make_trainer(setup), [3.0, 2.0, 2.5, float("nan"), 1.0])
    result = trainer.train()
    assert result.state.step == 4
    assert "stopped early at step 4" in capsys.readouterr().out
    assert result.best_checkpoint is None, "nothing was saved after step 2"
    assert result.checkpoint == tmp_path / "checkpoint-4"


def test_an_unknown_metric_is_named_at_once(tmp_path):
    setup = setup_of(
        tmp_path, num_held_out=2, eval_on_start=True, metric_for_best_model="rewards/accuracy"
    )
    with pytest.raises(ConfigError, match="Did you mean 'rewards/accuracies'"):
        run(setup)


class Poisoned:
    """DPO whose loss is not finite in some calls."""

    def __init__(self, setup, bad):
        self.inner, self.bad, self.calls = make_algorithm(setup), bad, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def loss(self, inputs):
        output = self.inner.loss(inputs)
        self.calls += 1
        if self.calls in self.bad:
            return LossOutput(output.sum * float("nan"), output.count, output.metrics)
        return output


def test_steps_without_finite_gradients_are_skipped_and_counted(tmp_path, capsys):
    setup = setup_of(tmp_path, per_device_train_batch_size=16, num_train_epochs=4, logging_steps=1)
    trainer = make_trainer(setup, algorithm=Poisoned(setup, {2}))
    _, result = trainer, trainer.train()
    assert (result.state.step, result.state.skipped_steps) == (4, 1)
    error = capsys.readouterr().err
    assert "step 2 skipped" in error and "tiny.jsonl:" in error
    assert all(torch.isfinite(value).all() for value in weights_of(trainer).values())
    lines = lines_of(tmp_path)
    assert lines[-1]["skipped_steps"] == 1
    assert "loss" not in lines[1] and "loss" in lines[2]


def test_several_in_a_row_stop_the_run_and_name_the_rows(tmp_path):
    setup = setup_of(tmp_path, per_device_train_batch_size=16, num_train_epochs=40)
    trainer = make_trainer(setup, algorithm=Poisoned(setup, set(range(3, 99))))
    with pytest.raises(
        DataError, match=r"5 steps in a row. Rows of the last one: tiny.jsonl:\d+, "
    ):
        trainer.train()


def test_rows_that_train_nothing_do_not_crash(tmp_path):
    setup = setup_of(tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    setup.untrained = [0, 1, 2, 3, 4, 5]
    setup.algorithm, setup.options = "sft", {}
    _, result = run(setup)
    assert result.state.step == 8


def test_nothing_but_untrained_rows_is_an_error(tmp_path):
    setup = setup_of(tmp_path, num_train_epochs=9)
    setup.untrained = [*range(16)]
    setup.algorithm, setup.options = "sft", {}
    with pytest.raises(DataError, match="nothing was trained"):
        run(setup)


@pytest.mark.parametrize("name", ["load_best_model_at_end", "early_stop_interval"])
def test_what_needs_held_out_rows_says_so(tmp_path, name):
    with pytest.raises(ConfigError, match=f"--{name} needs held-out rows"):
        make_trainer(setup_of(tmp_path / "a", **{name: 1}))
    with pytest.raises(ConfigError, match=f"--{name} needs held-out rows"):
        make_trainer(setup_of(tmp_path / "b", num_held_out=2, eval_strategy="no", **{name: 1}))


def test_one_line_is_one_json_object_with_the_fields_promised(tmp_path):
    run(setup_of(tmp_path, num_train_epochs=4, logging_steps=3, num_held_out=2))
    lines = lines_of(tmp_path)
    training = [line for line in lines if "loss" in line]
    assert [line["step"] for line in training] == [1, 3, 4]
    wanted = {
        "step", "epoch", "loss", "learning_rate", "grad_norm", "rewards/accuracies",
        "tokens_per_s", "samples_per_s", "elapsed_s",
    }  # fmt: skip
    assert wanted <= training[-1].keys()
    assert training[-1]["epoch"] == 4.0
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["eval_loss"]
