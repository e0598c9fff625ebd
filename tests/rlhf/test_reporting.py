import json
import sys
from types import SimpleNamespace

import pytest
from tiny_run import Setup, lines_of, run

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.plots import curves, draw_curves
from swiftrl.rlhf.reporting import MetricsFile, open_trackers


def test_lines_are_json_and_what_is_no_number_is_null(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.add({"step": 1, "loss": 0.5})
    metrics.add({"step": 2, "loss": float("nan")})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": None},
    ]


def test_a_resumed_run_takes_lost_lines_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 2, "loss": 1.0}, {"step": 4, "loss": 0.5}, {"step": 4, "eval_loss": 0.6}]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"step": 6}]))
    path.open("a").write('{"step": 8, "lo')  # cut by a kill
    metrics = MetricsFile(path, resumed_step=4)
    metrics.add({"step": 6, "loss": 0.1})
    assert lines_of(tmp_path) == [*lines, {"step": 6, "loss": 0.1}]
    assert metrics.lines == lines_of(tmp_path)


def test_curves_put_training_and_held_out_together():
    lines = [
        {"step": 0, "epoch": 0, "eval_loss": 3.0},
        {"step": 1, "epoch": 0.5, "loss": 2.0, "elapsed_s": 9, "note": "text"},
        {"step": 2, "epoch": 1.0, "loss": None},
        {"step": 2, "epoch": 1.0, "eval_loss": 1.0},
    ]
    assert curves(lines) == {
        "loss": {"held out": ([0, 2], [3.0, 1.0]), "training": ([1], [2.0])},
    }


def test_curves_become_pictures(tmp_path):
    lines = [{"step": step, "loss": 1.0 / step, "rewards/margins": step} for step in (1, 2, 3)]
    written = draw_curves(lines, tmp_path / "images")
    assert {path.name for path in written} == {"loss.png", "rewards_margins.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_a_run_draws_its_curves_and_shows_before_and_after(tmp_path, capsys):
    train = {
        "output_dir": str(tmp_path), "num_train_epochs": 1, "per_device_train_batch_size": 4,
        "eval_on_start": True, "run_name": "mine", "report_to": ["tensorboard"],
    }  # fmt: skip
    _, result = run(Setup(train=train, num_rows=4, num_held_out=2, plots=True))
    names = {path.name for path in result.images}
    assert {"loss.png", "rewards_accuracies.png", "rewards_margins.png"} <= names
    assert {"learning_rate.png", "grad_norm.png"} <= names
    assert all(path.parent == tmp_path / "images" for path in result.images)
    shown = capsys.readouterr().out
    assert "before (step 0)" in shown and "last (step 1)" in shown
    assert "rewards/accuracies" in shown
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_tensorboard_holds_the_values(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tracker,) = open_trackers(["tensorboard"], folder=tmp_path, run_name=None, settings={})
    tracker.log(1, {"loss": 0.5})
    tracker.log(2, {"loss": 0.25})
    tracker.close()
    (resumed,) = open_trackers(["tensorboard"], folder=tmp_path, run_name=None, settings={}, step=1)
    resumed.log(2, {"loss": 0.125})
    resumed.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in events] == [(1, 0.5), (2, 0.125)]


def test_wandb_and_swanlab_get_the_same(tmp_path, monkeypatch):
    calls = []

    def recorder(name):
        def call(*positional, **named):
            calls.append((name, positional, named))
            return SimpleNamespace(log=recorder(f"{name}.run.log"), finish=recorder(f"{name}.end"))

        return call

    for name in ("wandb", "swanlab"):
        module = SimpleNamespace(
            init=recorder(f"{name}.init"),
            log=recorder(f"{name}.log"),
            finish=recorder(f"{name}.end"),
        )
        monkeypatch.setitem(sys.modules, name, module)
    trackers = open_trackers(
        ["wandb", "swanlab", "none"], folder=tmp_path, run_name="mine", settings={"seed": 1}
    )
    for tracker in trackers:
        tracker.log(3, {"loss": 0.5})
        tracker.close()
    names = [name for name, _, _ in calls]
    assert names == [
        "wandb.init", "swanlab.init", "wandb.init.run.log", "wandb.init.end", "swanlab.log",
        "swanlab.end",
    ]  # fmt: skip
    first, second = calls[0][2], calls[1][2]
    assert first["name"] == second["experiment_name"] == "mine"
    assert first["config"] == second["config"] == {"seed": 1}
    assert first["id"] == second["id"], "a resumed run finds itself again"
    assert calls[2][1:] == (({"loss": 0.5},), {"step": 3})
    assert calls[4][1:] == (({"loss": 0.5},), {"step": 3})


@pytest.mark.parametrize("name", ["wandb", "swanlab"])
def test_an_absent_tracker_names_its_extra(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"pip install 'swiftrl\[{name}\]'"):
        open_trackers([name], folder=tmp_path, run_name=None, settings={})
