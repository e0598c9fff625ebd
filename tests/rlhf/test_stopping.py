"""Signals, and processes that fail."""

import os
import signal
import subprocess
import time

import pytest
from tiny_run import Setup, environment, lines_of, make_trainer, program


def setup_of(folder, **train):
    held_out = train.pop("num_held_out", 0)
    base = {"output_dir": str(folder), "per_device_train_batch_size": 4, "num_train_epochs": 2}
    return Setup(train=base | train, num_rows=16, num_held_out=held_out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path, number, capsys):
    setup = setup_of(tmp_path, num_train_epochs=50, num_held_out=2)
    trainer = make_trainer(setup)
    step = trainer.stepper.step

    def signalled(batches, **more):
        if trainer.state.step == 2:
            os.kill(os.getpid(), number)
        return step(batches, **more)

    trainer.stepper.step = signalled
    before = signal.getsignal(number)
    result = trainer.train()
    assert signal.getsignal(number) is before
    assert result.state.step in (3, 4)
    assert result.stopped_by == signal.Signals(number).name
    assert result.checkpoint == tmp_path / f"checkpoint-{result.state.step}"
    assert f"--resume_from_checkpoint {result.checkpoint}" in capsys.readouterr().out


def test_a_signal_in_the_last_step_changes_nothing(tmp_path):
    setup = setup_of(tmp_path, num_train_epochs=2, num_held_out=2)
    trainer = make_trainer(setup)
    step = trainer.stepper.step
    trainer.stepper.step = lambda batches, *, rate, stop: step(
        batches, rate=rate, stop=trainer.state.step == 1
    )
    result = trainer.train()
    assert result.stopped_by is None
    assert any("eval_loss" in line for line in lines_of(tmp_path))


def test_sigterm_to_a_run_of_two_processes(tmp_path):
    setup = setup_of(tmp_path / "run", num_train_epochs=4000)
    with subprocess.Popen(
        program([setup], processes=2),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            wait_for_step(tmp_path / "run", process)
            process.send_signal(signal.SIGTERM)
            output, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "Go on with --resume_from_checkpoint" in output, error[-2000:]
    saved = list((tmp_path / "run").glob("checkpoint-*"))
    assert len(saved) == 1
    assert (saved[0] / "manifest.json").is_file()


def wait_for_step(folder, process, limit_s=60):
    """Return when a line of metrics is there."""
    end = time.monotonic() + limit_s
    metrics = folder / "metrics.jsonl"
    while not (metrics.is_file() and metrics.stat().st_size):
        assert process.poll() is None, process.stderr.read()[-2000:]
        assert time.monotonic() < end, "no step in time"
        time.sleep(0.05)


@pytest.mark.parametrize("way", ["exit", pytest.param("stall", marks=pytest.mark.slow)])
def test_a_process_that_fails_does_not_hang_the_others(tmp_path, way):
    setup = setup_of(tmp_path / "run", num_train_epochs=50)
    setup.fail_rank, setup.fail_way, setup.timeout_s = 1, way, 8.0
    began = time.monotonic()
    done = subprocess.run(
        program([setup], processes=2),
        env=environment(), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert time.monotonic() - began < 150, "a stalled exchange waits for minutes by default"
    if way == "stall":
        assert "no answer from the other processes of this run within 8 s" in done.stderr
        assert "in forward and backward of step 1" in done.stderr
